"""
The four workers, each a process.

    python -m examples.narada.workers fetch --server 127.0.0.1:4730 --database narada.db

A worker answers for its job: it is done when all that comes of it is in the
database, and every job that it leads to has been acknowledged by the server.
So a worker may be killed at any moment, and so may the server: whatever was not
done is handed out again.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater, react

from examples.narada.documents import FAILED, LEFT_OUT, Documents, Limits, Row
from examples.narada.fetching import Answer, Robot, TooLarge, Unreachable
from examples.narada.parsing import parse, parse_text, plain
from examples.narada.query import BadQuery
from examples.narada.urls import BadURL, normal, site_of, unique_of
from gearsvc.client import AssignedJob, GearmanClient, GearmanError, GearmanWorker, JobFailed

INSERT, FETCH, INDEX, SEARCH = "narada_insert", "narada_fetch", "narada_index", "narada_search"
"""
The functions.  Their workloads are objects of JSON:

  - insert: C{url}; C{level}, how many links away it is from where the crawl began; and where it begins one, C{depth},
    C{pages} and C{delay}, see L{Limits};
  - fetch and index: C{url};
  - search: C{query}, C{limit}, C{offset}.

The result of a search is one, too: C{total}, and C{found}, a list of objects with C{url}, C{title} and C{excerpt}, see
L{examples.narada.documents.Found}; or C{error}, a sentence that says what is wrong with the query.
"""

MOST = 1_000_000
"""
How large the numbers of a crawl may be.
"""

BATCH = 10
"""
How many pages are indexed together.
"""


def say(text: str) -> None:
    """
    Print a line, at once.
    """
    print(plain(text), flush=True)


def read(job: AssignedJob, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """
    What a job's workload says.

    @param kinds: what may be in it, and of which type that has to be.
    @raise JobFailed: if it is something else.
    """
    try:
        given = json.loads(job.workload)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(
        name in kinds and isinstance(value, kinds[name]) and not isinstance(value, bool) for name, value in given.items()
    ):
        say(f"{job.function.decode()} cannot do this: {job.workload[:200]!r}")
        raise JobFailed(f"the workload should be a JSON object of {', '.join(kinds)}")
    return given


def read_url(job: AssignedJob, given: dict[str, Any]) -> str:
    """
    The URL that a job is about.

    @raise JobFailed: if there is none.
    """
    try:
        return normal(given.get("url", ""))
    except BadURL as error:
        say(f"{job.function.decode()} cannot do this: {error}")
        raise JobFailed(str(error)) from None


class Part:
    """
    What the workers have in common.

    @ivar functions: what it can do: names and callables.
    """

    concurrency = 1

    def __init__(self, reactor: Any, documents: Documents, client: GearmanClient) -> None:
        self.reactor = reactor
        self.documents = documents
        self.client = client

    async def hand_on(self, job: AssignedJob, function: str, unique: str, **workload: object) -> None:
        """
        Submit a background job, and wait until the server has it for certain.

        That the server does not take it now is no reason to fail: the job that this is done for would be lost.

        @param job: the one that is being done.
        @raise JobFailed: if that one is ours no more.  Whoever gets it next submits the same again, perhaps for the second
            time, and the unique id makes one of it.
        """
        while True:
            try:
                await self.client.submit(function, json.dumps(workload), unique=unique, background=True)
            except GearmanError as error:
                if job.lost:
                    raise JobFailed("the server has it again") from None
                say(f"cannot submit, and will try again: {error}")
                await deferLater(self.reactor, 0.3, lambda: None)
            else:
                return

    async def feed(self, job: AssignedJob, row: Row) -> int:
        """
        Hand on the links of a page that is stored.

        @return: how many these are.
        """
        targets = self.documents.targets(row)
        for target, level in targets:
            await self.hand_on(job, INSERT, unique_of(target, level), url=target, level=level)
        self.documents.fed(row)
        return len(targets)

    async def close(self) -> None:
        """
        Let go of what it has.
        """


class Insert(Part):
    """
    Writes URLs down, and has those fetched that are new.
    """

    name = INSERT
    concurrency = 4

    async def work(self, job: AssignedJob) -> bytes:
        """
        Insert a URL.
        """
        given = read(job, url=str, level=int, depth=int, pages=int, delay=(int, float))
        url = read_url(job, given)
        level = given.get("level", 0)
        limits = Limits(**{name: given[name] for name in ("depth", "pages", "delay") if name in given})
        if not (0 <= level <= MOST and 0 <= limits.depth <= MOST and 0 <= limits.pages <= MOST and 0 <= limits.delay <= 3600):
            say(f"{url}: out of all bounds, {given}")
            raise JobFailed("a number is out of all bounds")
        if "depth" in given:
            self.documents.set_limits(url, limits)
        row = self.documents.insert(url, level)
        if isinstance(row, str):
            say(f"{url}: {row}")
        elif row.wants_request:
            if row.new:
                say(url)
            await self.hand_on(job, FETCH, unique_of(url), url=url)
        elif row.wants_feeding:
            # It is nearer than was known when it was fetched, and what it links to is as well.
            await self.feed(job, row)
        return b""


class Fetch(Part):
    """
    Requests pages, and hands on what they link to.
    """

    name = FETCH

    def __init__(self, reactor: Any, documents: Documents, client: GearmanClient) -> None:
        super().__init__(reactor, documents, client)
        self._robot = Robot(reactor, documents)

    async def work(self, job: AssignedJob) -> bytes:
        """
        Fetch a URL, unless it has been; and see to it that all has come of it that should.
        """
        url = read_url(job, read(job, url=str))
        row = self.documents.begin(url)
        if row is None:
            say(f"{url}: nobody inserted it")
            return b""
        if row.wants_request:
            row = await self._fetch(row)
        if row.state == "fetched":
            await self.hand_on(job, INDEX, unique_of(url), url=url)
        if row.wants_feeding:
            await self.feed(job, row)
        return b""

    async def _fetch(self, row: Row) -> Row:
        url = row.url
        try:
            if not await self._robot.may(url):
                return self._leave_out(row, "robots.txt forbids it")
            answer = await self._robot.get(url)
        except Unreachable as error:
            return self._give_up(row, str(error))
        except TooLarge:
            return self._leave_out(row, "too large")
        if 300 <= answer.status < 400 and answer.location:
            return self._move(row, answer)
        if answer.status != 200:
            return self._give_up(row, str(answer.status))
        if answer.kind in ("text/html", "application/xhtml+xml"):
            page = parse(answer.content, url, answer.charset)
        elif answer.kind == "text/plain":
            page = parse_text(answer.content, answer.charset)
        else:
            return self._leave_out(row, answer.kind or "of no known type")
        orders = ",".join(answer.headers.getRawHeaders("x-robots-tag") or ()).lower()
        page.index &= "noindex" not in orders and "none" not in orders
        local = [link for link in page.links if link != url and site_of(link) == site_of(url)]
        remote = sum(site_of(link) != site_of(url) for link in page.links)
        links = f"{len(local)} link{'s' if len(local) != 1 else ''}"
        say(f"{url}: “{page.title[:60]}”, {links}" + (f", and {remote} to other sites" if remote else ""))
        return self.documents.store(row, page, local)

    def _give_up(self, row: Row, why: str) -> Row:
        say(f"{row.url}: {why}")
        return self.documents.give_up(row, FAILED, plain(why)[:200])

    def _leave_out(self, row: Row, why: str) -> Row:
        say(f"{row.url}: left out, {why}")
        return self.documents.give_up(row, LEFT_OUT, plain(why)[:200])

    def _move(self, row: Row, answer: Answer) -> Row:
        try:
            target = normal(answer.location, row.url)
        except BadURL as error:
            return self._give_up(row, f"redirects to nowhere: {error}")
        if site_of(target) != site_of(row.url):
            say(f"{row.url}: moved to another site, {target}")
            return self.documents.move(row, None, f"to another site, {target}")
        say(f"{row.url}: moved to {target}")
        return self.documents.move(row, target, f"to {target}")

    async def close(self) -> None:
        """
        Close connections that are kept open.
        """
        await self._robot.close()


class Index(Part):
    """
    Puts pages into the index, several at a time, since each time costs a commit: it takes up to L{BATCH} jobs, and none of
    them is done before the batch is.
    """

    name = INDEX
    concurrency = BATCH

    def __init__(self, reactor: Any, documents: Documents, client: GearmanClient) -> None:
        super().__init__(reactor, documents, client)
        self._batch: list[tuple[str, Deferred[bytes]]] = []
        self._timer: Any = None

    def work(self, job: AssignedJob) -> Deferred[bytes]:
        """
        Let a page wait for the others of its batch.
        """
        done: Deferred[bytes] = Deferred()
        self._batch.append((read_url(job, read(job, url=str)), done))
        if self._timer is None:
            self._timer = self.reactor.callLater(0.1, self._commit)
        if len(self._batch) == BATCH:
            self._timer.cancel()
            self._commit()
        return done

    def _commit(self) -> None:
        self._timer = None
        batch, self._batch = self._batch, []
        try:
            count = self.documents.index(url for url, _ in batch)
        except Exception as error:
            for _, done in batch:
                done.errback(error)
            return
        say(f"{count} page{'s' if count != 1 else ''} into the index")
        for _, done in batch:
            done.callback(b"")


class Search(Part):
    """
    Answers queries.
    """

    name = SEARCH

    def work(self, job: AssignedJob) -> bytes:
        """
        Search.
        """
        given = read(job, query=str, limit=int, offset=int)
        query, limit = given.get("query", ""), max(1, min(given.get("limit", 10), 100))
        offset = max(0, min(given.get("offset", 0), 1_000_000))
        try:
            results = self.documents.search(query, limit, offset)
        except BadQuery as error:
            return json.dumps({"error": str(error)}).encode()
        return json.dumps({"total": results.total, "found": [vars(each) for each in results.found]}).encode()


PARTS: dict[str, type[Any]] = {"insert": Insert, "fetch": Fetch, "index": Index, "search": Search}


class _UntilClosed(Protocol):
    """
    Standard input, of which only the end is of interest.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def connectionLost(self, reason: Any = None) -> None:
        """
        Whoever started this process is gone.
        """
        if self._reactor.running:
            self._reactor.stop()


async def run(reactor: Any, arguments: argparse.Namespace) -> None:
    """
    Work until told to stop; then finish what was begun.
    """
    # A Ctrl-C goes to all processes of a terminal.  This one ends when it is told to by the one that started it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments.with_parent:
        from twisted.internet.stdio import StandardIO

        StandardIO(_UntilClosed(reactor))
    documents = Documents(arguments.database)
    client = GearmanClient([arguments.server])
    part = PARTS[arguments.part](reactor, documents, client)
    worker = GearmanWorker([arguments.server], concurrency=part.concurrency, client_id=f"narada-{arguments.part}")
    worker.register(part.name, part.work)
    worker.start()

    async def finish() -> None:
        await worker.drain()
        await client.close()
        await part.close()
        documents.close()

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(finish()))
    await Deferred()


def main(given: Sequence[str] | None = None) -> None:
    """
    Do what the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="python -m examples.narada.workers", description="One of the four workers of Narada, a search engine."
    )
    parser.add_argument("part", choices=PARTS, help="which one")
    parser.add_argument("--server", default="127.0.0.1:4730", help="the job server's host and port (%(default)s)")
    parser.add_argument("--database", type=Path, default=Path("narada.db"), help="the database's file (%(default)s)")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args(given)
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, arguments)))


if __name__ == "__main__":
    main()
