"""
The durable queue in an SQLite database, C{-q libsqlite3}.

The table is gearmand's own, and columns that gearmand ignores hold what it
forgets, so that a file goes back and forth between the two::

    unique_key     the row's key: the unique id, or one that is made (rows.row_key)
    function_name
    priority       0 high, 1 normal, 2 low
    data           the workload
    when_to_run    Unix seconds, 0 is at once
    handle, unique_id, reducer, attempts, submitted

C{unique_key} and C{function_name} together are the primary key.  Text columns
hold arbitrary bytes, as gearmand's do: what goes in is C{CAST(? AS TEXT)}, what
comes out C{CAST(... AS BLOB)}.  The order of rowids is the order of submission.

L{Database} does the work and blocks; L{SQLiteStore} runs it in one thread, so
that a slow disk or somebody else's lock never stops the reactor.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from itertools import islice
from typing import Any, Iterable, Iterator, Sequence
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores.ownership import LockFile, check_in_place
from gearsvc.stores.rows import MADE_KEY, row_key, unique_of
from gearsvc.stores.threads import ThreadedStore

BUSY_SECONDS = 2.0
"""
How long to wait for another process that has locked the database.
"""

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How much of the table is in memory on its way to the job server.
"""

_REQUIRED = {"unique_key": "TEXT", "function_name": "TEXT", "priority": "INTEGER", "data": "BLOB"}
_OPTIONAL = {
    "when_to_run": "INTEGER",
    "handle": "TEXT",
    "unique_id": "TEXT",
    "reducer": "TEXT",
    "attempts": "INTEGER",
    "submitted": "REAL",
}
_COLUMNS = {**_REQUIRED, **_OPTIONAL}

_REASONS = {
    sqlite3.SQLITE_BUSY: f"another process has had it locked for more than {BUSY_SECONDS:g} seconds",
    sqlite3.SQLITE_LOCKED: f"another process has had it locked for more than {BUSY_SECONDS:g} seconds",
    sqlite3.SQLITE_READONLY: "it cannot be written; check who owns the file and its directory, and how the file system is mounted",
    sqlite3.SQLITE_PERM: "it cannot be written; check who owns the file and its directory, and how the file system is mounted",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory exists and that this user may write there",
    sqlite3.SQLITE_NOTADB: "that file is not an SQLite database; name another one",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; sqlite3's .recover may save what is in it",
}


def as_row(record: JobRecord) -> tuple[Any, ...]:
    """
    A job as it is now, in the order of the table's columns.
    """
    return (
        row_key(record),
        record.function,
        record.priority,
        record.workload,
        record.run_at,
        record.handle,
        record.unique,
        record.reducer,
        record.attempts,
        record.submitted,
    )


class Database:
    """
    The database file.  Every method blocks, and is called in one thread.

    @ivar path: the file's absolute path.
    """

    def __init__(self, path: str, table: str) -> None:
        self.path = os.path.abspath(path)
        self._table = table
        name = '"' + table.replace('"', '""') + '"'
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None
        # SQLite's own locks can't say that a server uses the file, as they keep
        # out gearmand and sqlite3.
        self._lock = LockFile(self.path + ".lock", f"The queue database {self.path}")
        self._cursor: sqlite3.Cursor | None = None
        columns = ", ".join(_COLUMNS)
        values = ", ".join("CAST(? AS TEXT)" if kind == "TEXT" else "?" for kind in _COLUMNS.values())
        changes = ", ".join(f"{column} = excluded.{column}" for column in list(_COLUMNS)[2:])
        self._insert = (
            f"INSERT INTO {name} ({columns}) VALUES ({values}) ON CONFLICT (unique_key, function_name) DO UPDATE SET {changes}"
        )
        self._delete = f"DELETE FROM {name} WHERE unique_key = CAST(? AS TEXT) AND function_name = CAST(? AS TEXT)"
        self._select = (
            "SELECT CAST(unique_key AS BLOB), CAST(function_name AS BLOB), CASE WHEN priority IN (0, 2) THEN priority ELSE 1 END,"
            " CAST(COALESCE(data, x'') AS BLOB), CAST(COALESCE(when_to_run, 0) AS INTEGER), CAST(COALESCE(handle, '') AS BLOB),"
            " CAST(unique_id AS BLOB), CAST(reducer AS BLOB), CAST(COALESCE(attempts, 0) AS INTEGER),"
            f" CAST(COALESCE(submitted, 0) AS REAL) FROM {name} ORDER BY rowid"
        )

    # Opening.

    def open(self, create: bool = True) -> None:
        """
        Open the file, and make the table what L{write} and L{read} need.

        A file that is no database of ours is left as it is.

        @param create: whether to create the file if there is none.
        @raise StoreError: if it can't be used.
        """
        uri = f"file:{quote(self.path)}?mode={'rwc' if create else 'rw'}"
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._explain(error) from None
        try:
            self._check(connection)
            self._lock.take()
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            self._bring_up_to_date(connection)
            self._try_out(connection)
            connection.execute("COMMIT")
            status = os.stat(self.path)
        except (sqlite3.Error, OSError, StoreError) as error:
            connection.close()
            if create:
                self._lock.release()
            raise self._explain(error) from None
        self._connection = connection
        self._file = status

    def _check(self, connection: sqlite3.Connection) -> None:
        """
        Look, without changing anything, whether the table may be ours.
        """
        if connection.execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
            raise StoreError(f"The queue database {self.path} keeps its text in UTF-16; name another one.")
        found = connection.execute("SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE", [self._table]).fetchone()
        if found is None:
            return
        missing = set(_REQUIRED) - self._columns(connection)
        if found[0] != "table" or missing:
            why = f"has no column {', '.join(sorted(missing))}" if found[0] == "table" else f"is a {found[0]}"
            raise self._foreign(why)

    def _foreign(self, why: str) -> StoreError:
        return StoreError(f"In {self.path}, {self._table} is not a queue of Gearman jobs: it {why}; name another table.")

    def _columns(self, connection: sqlite3.Connection) -> set[str]:
        return {row[1].lower() for row in connection.execute(f"PRAGMA table_info({self._name})")}

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        """
        Create the table, or give one that gearmand wrote what it lacks.
        """
        columns = self._columns(connection)
        if columns and not self._has_key(connection):
            self._rebuild(connection, columns)
            columns = set(_COLUMNS)
        if not columns:
            self._create(connection)
        for column in _OPTIONAL:
            if columns and column not in columns:
                connection.execute(f"ALTER TABLE {self._name} ADD COLUMN {column} {_OPTIONAL[column]}")
        # Rows that somebody wrote by hand: a key that is no text could not be
        # found again.
        odd = "typeof(unique_key) <> 'text' OR typeof(function_name) <> 'text'"
        if connection.execute(f"SELECT 1 FROM {self._name} WHERE {odd} LIMIT 1").fetchone():
            connection.execute(
                f"UPDATE OR REPLACE {self._name} SET function_name = CAST(COALESCE(function_name, '') AS TEXT), unique_key ="
                f" CAST(COALESCE(unique_key, '{MADE_KEY.decode()}row:' || rowid) AS TEXT) WHERE {odd}"
            )

    def _create(self, connection: sqlite3.Connection) -> None:
        columns = ", ".join(f"{column} {kind}" for column, kind in _COLUMNS.items())
        connection.execute(f"CREATE TABLE {self._name} ({columns}, PRIMARY KEY (unique_key, function_name))")

    def _has_key(self, connection: sqlite3.Connection) -> bool:
        for _, index, unique, *_ in connection.execute(f"PRAGMA index_list({self._name})").fetchall():
            quoted = '"' + index.replace('"', '""') + '"'
            parts = {row[2] for row in connection.execute(f"PRAGMA index_info({quoted})")}
            if unique and parts == {"unique_key", "function_name"}:
                return True
        return False

    def _rebuild(self, connection: sqlite3.Connection, columns: set[str]) -> None:
        """
        Copy a table of the first gearmands, whose primary key is C{unique_key}
        alone: two functions can't have jobs of one unique id in it.
        """
        if columns - set(_COLUMNS):
            raise self._foreign("has no primary key (unique_key, function_name)")
        known = ", ".join(sorted(columns))
        old = '"' + self._table.replace('"', '""') + ' before gearsvc"'
        connection.execute(f"ALTER TABLE {self._name} RENAME TO {old}")
        self._create(connection)
        connection.execute(f"INSERT INTO {self._name} (rowid, {known}) SELECT rowid, {known} FROM {old} ORDER BY rowid")
        connection.execute(f"DROP TABLE {old}")

    def _try_out(self, connection: sqlite3.Connection) -> None:
        """
        Write a job and take it back: a column or a trigger of somebody's might
        not let us, and it is better to know that now.
        """
        connection.execute("SAVEPOINT trial")
        connection.execute(self._insert, as_row(JobRecord(b"", b"", MADE_KEY, 1, b"")))
        connection.execute("ROLLBACK TO trial")
        connection.execute("RELEASE trial")

    # Using.

    def write(self, added: list[tuple[Any, ...]], removed: list[tuple[bytes, bytes]]) -> None:
        """
        Commit one batch.

        @param added: rows, as L{as_row} makes them.
        @param removed: the keys and functions of rows.
        @raise StoreError: if nothing of it is stored.
        """
        if self._connection is None:
            self.open(create=False)
        connection = self._connection
        assert connection is not None
        check_in_place(self.path, self._file, f"The queue database {self.path}")
        try:
            connection.execute("BEGIN IMMEDIATE")
            if removed:
                connection.executemany(self._delete, removed)
            if added:
                connection.executemany(self._insert, added)
            connection.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._roll_back(error)
            raise self._explain(error) from None

    def _roll_back(self, error: Exception) -> None:
        connection = self._connection
        assert connection is not None
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                return
        # What is wrong may be wrong with the connection (one that was made
        # while the file was read-only stays read-only).
        self._connection = None
        connection.close()

    def count(self) -> int:
        """
        @return: how many jobs are stored.
        """
        assert self._connection is not None
        try:
            return int(self._connection.execute(f"SELECT COUNT(*) FROM {self._name}").fetchone()[0])
        except sqlite3.Error as error:
            raise self._explain(error) from None

    def pieces(self) -> Iterator[list[JobRecord]]:
        """
        Read the table.

        @return: some records at a time.
        @raise StoreError: if that fails.
        """
        assert self._connection is not None
        names: dict[bytes, bytes] = {}
        try:
            cursor = self._connection.execute(self._select)
            while piece := list(_records(cursor, names)):
                yield piece
        except sqlite3.Error as error:
            raise self._explain(error) from None

    def close(self) -> None:
        """
        Close the file.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._lock.release()

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        reason = _REASONS.get(_code(error)) or str(error)
        explained = StoreError(f"The queue database {self.path} fails: {reason}.")
        # When a commit ends in an I/O error, the journal may be found complete
        # after a crash.
        explained.uncertain = _code(error) == sqlite3.SQLITE_IOERR
        return explained


def _code(error: Exception) -> int:
    """
    SQLite's primary result code.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _records(rows: Iterable[tuple[Any, ...]], names: dict[bytes, bytes]) -> Iterator[JobRecord]:
    """
    Make a piece of a replay.

    @param names: one object for each function name and reducer: a million jobs
        share them.
    """
    size = 0
    for key, function, priority, workload, run_at, handle, unique, reducer, attempts, submitted in islice(rows, REPLAY_ROWS):
        if unique is None:
            unique = unique_of(key)
        if reducer is not None:
            reducer = names.setdefault(reducer, reducer)
        function = names.setdefault(function, function)
        record = JobRecord(handle, function, unique, priority, workload, run_at, reducer, attempts, submitted)
        if not handle or row_key(record) != key:
            record.key = key
        yield record
        size += len(workload)
        if size > REPLAY_BYTES:
            return


@implementer(IQueueStore)
class SQLiteStore(ThreadedStore):
    """
    Jobs in an SQLite database.
    """

    def __init__(self, path: str, table: str = "gearman_queue", reactor: IReactorFromThreads | None = None) -> None:
        """
        @param path: the file; it is created if its directory exists.
        @param table: the table in it; likewise.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._database = Database(path, table)
        super().__init__(self._database, "SQLite queue", reactor)
        self.description = (
            f"SQLite database {self._database.path}, table {table}:"
            " what was acknowledged survives a crash of the server and of the machine"
        )

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        rows = [as_row(record) for record in added]
        keys = [(row_key(record), record.function) for record in removed]
        return self.thread.run(self._database.write, rows, keys)
