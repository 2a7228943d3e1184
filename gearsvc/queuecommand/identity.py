"""
Which job is which, between two stores.

A job is the same in both if it has the same handle, and what it is to do is
the same.  A job that gearmand stored has no handle: it is given one that is
made of the job, the same each time.  A handle that another job of the target
has (two servers on one host that were started in the same second count alike)
gives way to one that is made likewise.

Two jobs of one function with the same unique id are one job to Gearman, and
the first one stands for both.  (Not if that is empty or C{-}, which are no
ids.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from hashlib import blake2b

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError

HANDLE_PREFIX = b"H:adopted:"
"""
What the handles begin with that are made here: no server's own begin so, or
it has been told to.
"""

SMALLEST_NUMBER = 10**18
"""
The numbers behind it have 19 digits.  A server's own have 15 for the next
seventy years: see L{gearsvc.service.HANDLE_EPOCH}.
"""

CACHE_KIBIBYTES = 65_536
"""
How much of what is known is kept in memory; the rest is in a temporary file.
"""

CLOCK_STEP = 0.002
"""
Times of submission that differ by less are equal: a store keeps milliseconds.
"""


class Verdict(Enum):
    """
    What became of a job that is about to be stored.
    """

    NEW = "new"
    """The target does not have it."""

    THERE = "there"
    """The target has it."""

    JOINED = "joined"
    """The target has another job of its function and unique id."""


def content_of(record: JobRecord) -> bytes:
    """
    A digest of what a job is to do: of all that no server changes.
    """
    function, unique, reducer = record.function, record.unique, record.reducer
    reducers = -1 if reducer is None else len(reducer)
    digest = blake2b(
        b"%d %d %d %d %d " % (len(function), len(unique), reducers, record.priority, record.run_at), digest_size=16
    )
    digest.update(function)
    digest.update(unique)
    digest.update(reducer or b"")
    digest.update(record.workload)
    return digest.digest()


def made_handle(*parts: bytes) -> bytes:
    """
    A handle that is the same each time it is made of the same.
    """
    digest = blake2b(b"".join(b"%d:%b" % (len(part), part) for part in parts), digest_size=8).digest()
    return b"%b%d" % (HANDLE_PREFIX, SMALLEST_NUMBER + int.from_bytes(digest) % (9 * SMALLEST_NUMBER))


class KnownJobs:
    """
    All jobs of the target, in as much memory for a million as for a hundred
    million.
    """

    def __init__(self) -> None:
        # A database without a name is a temporary file.
        database = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{CACHE_KIBIBYTES}",
            "CREATE TABLE handles (handle BLOB PRIMARY KEY, content BLOB, submitted REAL) WITHOUT ROWID",
            "CREATE TABLE uniques (id BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID",
            "CREATE TABLE twins (theirs INTEGER, content BLOB, number INTEGER, PRIMARY KEY (theirs, content))"
            " WITHOUT ROWID",
        ):
            database.execute(statement)
        self._database = database
        self._execute = database.cursor().execute

    def learn(self, records: Sequence[JobRecord]) -> None:
        """
        The target has these jobs.  It is told of all of them, in their order.
        """
        with self._transaction():
            for record in records:
                content = content_of(record)
                self._name(record, content, theirs=False)
                self._know_unique(record, content)
                self._know_handle(record, content)

    def admit(self, records: Sequence[JobRecord]) -> list[Verdict]:
        """
        These jobs are about to be stored.  Each of them has a handle then, and
        those that are new are known from now on.

        @param records: some jobs of the source, which are handed in in their order.
        """
        with self._transaction():
            return [self._admit(record) for record in records]

    def close(self) -> None:
        """
        Remove the temporary file.
        """
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._execute("BEGIN")
            yield
            self._execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(
                f"The temporary file of all jobs in TO can't be written: {error};"
                " SQLITE_TMPDIR may name another directory for it."
            ) from None

    def _admit(self, record: JobRecord) -> Verdict:
        content = content_of(record)
        self._name(record, content, theirs=True)
        verdict = self._know_unique(record, content)
        if verdict is Verdict.NEW and not self._know_handle(record, content):
            verdict = Verdict.THERE
        return verdict

    def _name(self, record: JobRecord, content: bytes, theirs: bool) -> None:
        """
        Give a handle to a job without one.

        @param theirs: whether it is the source's.
        """
        if record.handle:
            return
        if _has_id(record):
            record.handle = made_handle(record.function, record.unique)
            return
        # Jobs that are alike in everything are told apart by counting.
        [number] = self._execute(
            "INSERT INTO twins VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number",
            (theirs, content),
        ).fetchone()
        record.handle = made_handle(content, b"%d" % number)

    def _know_unique(self, record: JobRecord, content: bytes) -> Verdict:
        if not _has_id(record):
            return Verdict.NEW
        identity = blake2b(b"%d %b%b" % (len(record.function), record.function, record.unique), digest_size=16).digest()
        if self._execute("INSERT OR IGNORE INTO uniques VALUES (?, ?)", (identity, content)).rowcount:
            return Verdict.NEW
        [other] = self._execute("SELECT content FROM uniques WHERE id = ?", (identity,)).fetchone()
        return Verdict.THERE if other == content else Verdict.JOINED

    def _know_handle(self, record: JobRecord, content: bytes) -> bool:
        """
        @return: whether the job was not known.  If its handle was another
            job's, it has a new one.
        """
        while not self._execute(
            "INSERT OR IGNORE INTO handles VALUES (?, ?, ?)", (record.handle, content, record.submitted)
        ).rowcount:
            other, submitted = self._execute(
                "SELECT content, submitted FROM handles WHERE handle = ?", (record.handle,)
            ).fetchone()
            if other == content and abs(submitted - record.submitted) < CLOCK_STEP:
                return False
            record.handle = made_handle(record.handle, content)
        return True


def _has_id(record: JobRecord) -> bool:
    return record.unique not in (b"", b"-")
