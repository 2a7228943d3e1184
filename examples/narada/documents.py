"""
The database: URLs, pages, links, and the index.

It is one file of SQLite, which all workers have open.  A job may be done again
whenever its worker or the server went away in the middle of it, so every step
here may be taken twice and changes nothing the second time:

  - a URL has one row, whoever finds it how often;
  - it is at the least I{level}, the number of links that lead to it from where
    the crawl began; one that turns out to be nearer is moved, and what is
    beyond it follows;
  - a page is stored with its links, in one transaction;
  - C{fed} is the level from which its links have been handed on; while it is
    missing, or greater than the row's own, they still have to be.

So whether a crawl is complete is known from the tables alone, and so is what
has to be done if its queue was lost.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from examples.narada.parsing import Page
from examples.narada.query import match_expression
from examples.narada.urls import site_of

MARK_BEGIN, MARK_END = "\x02", "\x03"
"""
Around each word in an excerpt that was searched for.  Texts of pages have no control characters, so these cannot be theirs.
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS site (
    name TEXT PRIMARY KEY,
    start TEXT NOT NULL,
    depth INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    delay REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS origin (
    name TEXT PRIMARY KEY,
    robots TEXT,
    next_request REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS url (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,
    site TEXT NOT NULL REFERENCES site,
    level INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    fed INTEGER,
    note TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS url_site ON url (site, state);
CREATE TABLE IF NOT EXISTS link (
    source INTEGER NOT NULL REFERENCES url,
    target TEXT NOT NULL,
    step INTEGER NOT NULL,
    PRIMARY KEY (source, target)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS document (
    id INTEGER PRIMARY KEY REFERENCES url,
    title TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS document_index USING fts5 (
    title, text, content='document', content_rowid='id', tokenize="porter unicode61 remove_diacritics 2"
);
"""

WAITING, RUNNING, FETCHED, INDEXED = "waiting", "running", "fetched", "indexed"
MOVED, LEFT_OUT, FAILED = "moved", "left out", "failed"
"""
What a URL's state is: it waits for its request, or is being requested; its page is stored, or in the index; it leads to
another URL; it is nothing to index; or it could not be had.
"""
STATES = (WAITING, RUNNING, FETCHED, INDEXED, MOVED, LEFT_OUT, FAILED)

# What a page is of that has links to feed, while they are not yet, from where it is now.
_UNFED = "(url.fed IS NULL OR url.fed > url.level)"


@dataclass(frozen=True)
class Limits:
    """
    How far a crawl goes.

    @ivar depth: how many links away from where it begins.
    @ivar pages: how many URLs at most.
    @ivar delay: seconds from one request to the next, at least.
    """

    depth: int = 3
    pages: int = 100
    delay: float = 0.5


@dataclass(frozen=True)
class Row:
    """
    A URL, as the table has it.

    @ivar new: whether it was not there before.
    """

    number: int
    url: str
    level: int
    state: str
    fed: int | None
    new: bool = False

    @property
    def wants_request(self) -> bool:
        """
        Whether it has not been requested yet, or not to the end.
        """
        return self.state in (WAITING, RUNNING)

    @property
    def wants_feeding(self) -> bool:
        """
        Whether its links have to be handed on from where it is now.
        """
        return not self.wants_request and self.state != FAILED and (self.fed is None or self.fed > self.level)


@dataclass(frozen=True)
class Found:
    """
    A page that a query found.

    @ivar excerpt: some of its text, with L{MARK_BEGIN} and L{MARK_END}; and so is its title.
    """

    url: str
    title: str
    excerpt: str


@dataclass(frozen=True)
class Results:
    """
    What a query found, the best first.

    @ivar total: how many pages; L{found} has some of these.
    """

    total: int
    found: Sequence[Found]


class Documents:
    """
    The database.  Whoever opens it makes it, if it is not there.

    @raise sqlite3.Error: from any method, if the file is none of ours, the disk is full, or the like; nothing is changed then.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        # Readers go on while somebody writes; a commit is on the disk when it returns.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._writing():
            for statement in _SCHEMA.split(";\n"):
                self._connection.execute(statement)

    def close(self) -> None:
        """
        Close it.
        """
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """
        One transaction: what is read in it stays so until it is over.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _row(self, url: str) -> Row | None:
        found = self._connection.execute("SELECT id, url, level, state, fed FROM url WHERE url = ?", (url,)).fetchone()
        return Row(*found) if found else None

    # Insert.

    def set_limits(self, start: str, limits: Limits) -> None:
        """
        Begin the crawl of a site, or change how far it goes.
        """
        with self._writing():
            self._connection.execute(
                "INSERT INTO site VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " start = excluded.start, depth = excluded.depth, pages = excluded.pages, delay = excluded.delay",
                (site_of(start), start, limits.depth, limits.pages, limits.delay),
            )

    def insert(self, url: str, level: int) -> Row | str:
        """
        Write a URL down, unless it is there; and move it if it is nearer than was known.

        @return: its row; or why there is none.
        """
        site = site_of(url)
        with self._writing():
            limits = self._connection.execute("SELECT depth, pages FROM site WHERE name = ?", (site,)).fetchone()
            if limits is None:
                return "no crawl of its site has begun"
            depth, pages = limits
            if level > depth:
                return "too deep"
            new = self._row(url) is None
            if new:
                [known] = self._connection.execute("SELECT count(*) FROM url WHERE site = ?", (site,)).fetchone()
                if known >= pages:
                    return "enough pages"
            self._connection.execute(
                "INSERT INTO url (url, site, level, changed) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (url) DO UPDATE SET level = min(level, excluded.level)",
                (url, site, level, time.time()),
            )
            row = self._row(url)
            assert row is not None
            return replace(row, new=new)

    # Fetch.

    def begin(self, url: str) -> Row | None:
        """
        Note that a URL is going to be requested, if it still has to be.

        @return: its row, as it was before; C{None} if nobody inserted it.
        """
        with self._writing():
            row = self._row(url)
            if row is not None and row.wants_request:
                self._change(row, RUNNING)
        return row

    def _change(self, row: Row, state: str, note: str = "") -> None:
        self._connection.execute(
            "UPDATE url SET state = ?, note = ?, changed = ? WHERE id = ?", (state, note, time.time(), row.number)
        )

    def _finish(self, row: Row, state: str, note: str, links: Iterable[str], step: int) -> Row:
        now = self._row(row.url)
        assert now is not None
        if now.wants_request:
            self._change(row, state, note)
            self._connection.executemany(
                "INSERT OR IGNORE INTO link VALUES (?, ?, ?)", [(row.number, target, step) for target in links]
            )
            now = self._row(row.url)
            assert now is not None
        return now

    def store(self, row: Row, page: Page, links: Sequence[str]) -> Row:
        """
        Keep a page and those of its links that are to be followed; unless it has been kept meanwhile.

        @return: its row.
        """
        with self._writing():
            if not page.index:
                return self._finish(row, LEFT_OUT, "asks not to be indexed", links, 1)
            self._connection.execute("INSERT OR IGNORE INTO document VALUES (?, ?, ?)", (row.number, page.title, page.text))
            return self._finish(row, FETCHED, "", links, 1)

    def move(self, row: Row, target: str | None, note: str) -> Row:
        """
        Keep that a URL leads to another one, which is as near as itself.

        @param target: C{None} if it is not to be followed.
        """
        with self._writing():
            return self._finish(row, MOVED, note, [target] if target else [], 0)

    def give_up(self, row: Row, state: str, note: str) -> Row:
        """
        Keep that there is nothing to be had from a URL.

        @param state: L{LEFT_OUT} or L{FAILED}.
        """
        with self._writing():
            return self._finish(row, state, note, (), 1)

    def targets(self, row: Row) -> list[tuple[str, int]]:
        """
        Where a page leads: URLs and their levels, as far as these are not too deep.
        """
        return self._connection.execute(
            "SELECT target, url.level + step FROM link JOIN url ON url.id = source JOIN site ON site.name = url.site"
            " WHERE source = ? AND url.level + step <= site.depth",
            (row.number,),
        ).fetchall()

    def fed(self, row: Row) -> None:
        """
        Note that all L{targets} of a page have been handed on from the level that the row has.
        """
        with self._writing():
            self._connection.execute(
                "UPDATE url SET fed = min(?, coalesce(fed, ?)) WHERE id = ?", (row.level, row.level, row.number)
            )

    def robots(self, origin: str) -> str | None:
        """
        The C{robots.txt} of a scheme, host and port, if it has been requested yet.
        """
        found = self._connection.execute("SELECT robots FROM origin WHERE name = ?", (origin,)).fetchone()
        return found[0] if found else None

    def keep_robots(self, origin: str, text: str) -> None:
        """
        Keep a C{robots.txt}, so that it is requested once.
        """
        with self._writing():
            self._connection.execute(
                "INSERT INTO origin (name, robots) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET robots = excluded.robots",
                (origin, text),
            )

    def delay(self, site: str) -> float:
        """
        How long requests to a site have to be apart, as whoever began its crawl wants it.
        """
        found = self._connection.execute("SELECT delay FROM site WHERE name = ?", (site,)).fetchone()
        return float(found[0]) if found else 0.0

    def reserve(self, origin: str, delay: float) -> float:
        """
        Take one's turn: no two workers get the same time for a request.

        @return: in how many seconds the request may be made.
        """
        with self._writing():
            now = time.time()
            found = self._connection.execute("SELECT next_request FROM origin WHERE name = ?", (origin,)).fetchone()
            mine = max(now, found[0]) if found else now
            self._connection.execute(
                "INSERT INTO origin (name, next_request) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET next_request = excluded.next_request",
                (origin, mine + delay),
            )
        return float(mine - now)

    # Index.

    def index(self, urls: Iterable[str]) -> int:
        """
        Put pages into the index, all in one transaction; those that are there already stay as they are.

        @return: how many were put there.
        """
        count = 0
        with self._writing():
            for url in urls:
                row = self._row(url)
                if row is not None and row.state == FETCHED:
                    self._connection.execute(
                        "INSERT INTO document_index (rowid, title, text) SELECT id, title, text FROM document WHERE id = ?",
                        (row.number,),
                    )
                    self._change(row, INDEXED)
                    count += 1
        return count

    # Search.

    def search(self, query: str, limit: int = 10, offset: int = 0) -> Results:
        """
        The pages that a query finds: those whose title has the words come before those that have them in their text.

        @raise BadQuery: see L{match_expression}.
        """
        expression = match_expression(query)
        [total] = self._connection.execute(
            "SELECT count(*) FROM document_index WHERE document_index MATCH ?", (expression,)
        ).fetchone()
        found = self._connection.execute(
            "SELECT url.url, highlight(document_index, 0, ?, ?), snippet(document_index, 1, ?, ?, '…', 32)"
            " FROM document_index JOIN url ON url.id = document_index.rowid"
            " WHERE document_index MATCH ? ORDER BY bm25(document_index, 8.0, 1.0), url.url LIMIT ? OFFSET ?",
            (MARK_BEGIN, MARK_END, MARK_BEGIN, MARK_END, expression, limit, offset),
        ).fetchall()
        return Results(total, [Found(*each) for each in found])

    # Progress.

    def counts(self) -> dict[str, int]:
        """
        How many URLs there are of each state.
        """
        counted = dict(self._connection.execute("SELECT state, count(*) FROM url GROUP BY state"))
        return {state: counted.get(state, 0) for state in STATES}

    def urls(self, state: str) -> list[tuple[str, str]]:
        """
        The URLs of one state, each with what there is to say of it, by name.
        """
        return self._connection.execute("SELECT url, note FROM url WHERE state = ? ORDER BY url", (state,)).fetchall()

    def latest(self, limit: int) -> list[tuple[str, str, str]]:
        """
        The URLs to which something happened last: URL, state, and what there is to say of it.
        """
        return self._connection.execute(
            "SELECT url, state, note FROM url WHERE state != ? ORDER BY changed DESC, id DESC LIMIT ?", (WAITING, limit)
        ).fetchall()

    def unfinished(self) -> list[tuple[str, int]]:
        """
        The URLs that have to be inserted, once more or for the first time, for the crawls to go on if no job is queued: none
        when all is done.
        """
        return self._connection.execute(
            "SELECT start, 0 FROM site WHERE NOT EXISTS (SELECT 1 FROM url WHERE url = site.start)"
            " UNION SELECT url, level FROM url WHERE state IN (?, ?, ?)"
            f" UNION SELECT url.url, url.level FROM url JOIN link ON source = url.id WHERE {_UNFED}"
            " UNION SELECT target, min(source.level + step) FROM link JOIN url AS source ON source.id = link.source"
            " JOIN site ON site.name = source.site LEFT JOIN url AS known ON known.url = target"
            " WHERE source.level + step <= site.depth AND (known.level > source.level + step OR known.id IS NULL"
            " AND (SELECT count(*) FROM url WHERE url.site = site.name) < site.pages)"
            " GROUP BY target",
            (WAITING, RUNNING, FETCHED),
        ).fetchall()
