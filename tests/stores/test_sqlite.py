"""
Tests for L{gearsvc.stores.sqlite}: the contract, old tables, and what goes
wrong with files and disks.  (With gearmand: L{tests.stores.test_takeover}.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores import progress, sqlite
from gearsvc.stores.rows import row_key
from gearsvc.stores.sqlite import Database, SQLiteStore
from gearsvc.testing import QueueStoreContract, fields_of, record
from tests.running import ROOT

GEARMANDS_TABLE = (
    "CREATE TABLE gearman_queue ( unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB, when_to_run INTEGER,"
    " PRIMARY KEY (unique_key, function_name))"
)
"""What gearmand 1.1 creates."""

OLD_TABLE = GEARMANDS_TABLE.replace(" when_to_run INTEGER,", "")
"""What it created before it knew SUBMIT_JOB_EPOCH."""

FIRST_TABLE = "CREATE TABLE gearman_queue(unique_key TEXT PRIMARY KEY,function_name TEXT,priority INTEGER,data BLOB)"
"""What the first gearmand with SQLite created, in 2009."""


def new_path(case: SynchronousTestCase) -> Path:
    """
    @return: where no file is, in a new directory that is removed after the test.
    """
    directory = tempfile.mkdtemp(prefix="gearsvc-")
    case.addCleanup(shutil.rmtree, directory)
    return Path(directory) / "queue.db"


def run_sql(path: Path, *statements: str) -> list[Any]:
    """
    Do something to a database as another program would.

    @return: the rows of the last statement.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows
    finally:
        connection.close()


class SQLiteStoreContract(QueueStoreContract, TestCase):
    """
    The store contract, over L{SQLiteStore}.
    """

    def setUp(self) -> None:
        """
        Choose a new file, and wait less than a server would for a lock.
        """
        self.path = new_path(self)
        self.patch(sqlite, "BUSY_SECONDS", 0.1)

    def make_store(self) -> IQueueStore:
        """
        A store in this test's file.
        """
        return SQLiteStore(str(self.path))

    async def break_store(self, store: IQueueStore) -> None:
        """
        Lock the database, as somebody's forgotten sqlite3 does.
        """
        self.other = sqlite3.connect(self.path, isolation_level=None)
        self.other.execute("BEGIN IMMEDIATE")

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Let the lock go.
        """
        self.other.close()

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Go on with what is on the disk at this moment; the store would tidy up
        as it closes.
        """
        found = new_path(self)
        shutil.copy(self.path, found)
        shutil.copy(f"{self.path}-wal", f"{found}-wal")
        await store.close()
        self.path = found


class SQLiteStoreTests(TestCase):
    """
    What L{SQLiteStore} adds to a L{Database}: its thread.
    """

    async def test_killed(self) -> None:
        """
        What a process committed before it was killed with SIGKILL is there, and
        nobody else's lock is in the way.
        """
        path = new_path(self)
        program = (
            "import os, signal; from gearsvc.stores.sqlite import *; from gearsvc.testing import record\n"
            f"database = Database({str(path)!r}, 'gearman_queue'); database.open()\n"
            "database.write([as_row(record(n)) for n in range(100)], [])\n"
            "database.write([], [(row_key(record(n)), b'resize') for n in range(50)])\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        ended = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.assertEqual(ended.returncode, -signal.SIGKILL)
        store = SQLiteStore(str(path))
        await store.open()
        replayed: list[JobRecord] = []
        await store.replay(replayed.extend)
        await store.close()
        self.assertEqual([fields_of(job) for job in replayed], [fields_of(record(number)) for number in range(50, 100)])

    async def test_open_again(self) -> None:
        """
        A store that could not be opened can be, once what was wrong is put
        right.
        """
        directory = new_path(self)
        store = SQLiteStore(str(directory / "queue.db"))
        await self.assertFailure(store.open(), StoreError)
        directory.mkdir()
        await store.open()
        self.assertEqual(await store.replay(lambda records: None), 0)
        await store.close()

    async def test_close_unopened(self) -> None:
        """
        A store that was not opened, or could not be, can be closed.
        """
        store = SQLiteStore(str(new_path(self) / "queue.db"))
        await store.close()
        await self.assertFailure(store.open(), StoreError)
        await store.close()

    async def test_progress(self) -> None:
        """
        A long replay says in the log how far it is, once for each so many jobs
        and not at the end, and comes in pieces.
        """
        lines: list[str] = []

        class Log:
            def notice(self, form: str, **values: object) -> None:
                lines.append(form.format(**values))

        self.patch(progress, "log", Log())
        self.patch(progress, "PROGRESS_ROWS", 1000)
        self.patch(sqlite, "REPLAY_ROWS", 300)
        path = new_path(self)
        store = SQLiteStore(str(path))
        await store.open()
        await store.commit([record(number) for number in range(3000)], [])
        pieces: list[int] = []
        self.assertEqual(await store.replay(lambda records: pieces.append(len(records))), 3000)
        await store.close()
        self.assertEqual(pieces, [300] * 10)
        self.assertEqual(lines, [f"Replaying the queue from {path}: {done} of 3000 jobs." for done in (1200, 2100)])

    async def test_large_pieces(self) -> None:
        """
        A piece of a replay holds few jobs if they are large.
        """
        self.patch(sqlite, "REPLAY_BYTES", 1000)
        store = SQLiteStore(str(new_path(self)))
        await store.open()
        await store.commit([record(number, workload=bytes(400)) for number in range(8)], [])
        pieces: list[int] = []
        await store.replay(lambda records: pieces.append(len(records)))
        await store.close()
        self.assertEqual(pieces, [3, 3, 2])


class DatabaseCase(SynchronousTestCase):
    """
    A test with a L{Database} in a file of its own.
    """

    table = "gearman_queue"

    def setUp(self) -> None:
        """
        Choose a file, and wait less than a server would for a lock.
        """
        self.path = new_path(self)
        self.patch(sqlite, "BUSY_SECONDS", 0.1)

    def open(self) -> Database:
        """
        @return: the open database; it is closed after the test.
        """
        database = Database(str(self.path), self.table)
        database.open()
        self.addCleanup(database.close)
        return database

    def read(self) -> list[JobRecord]:
        """
        @return: what a server that starts now would replay.
        """
        database = self.open()
        jobs = [job for piece in database.pieces() for job in piece]
        database.close()
        return jobs

    def write(self, database: Database, *jobs: JobRecord) -> None:
        """
        Commit some jobs.
        """
        database.write([sqlite.as_row(job) for job in jobs], [])

    def assert_refuses(self, *words: str) -> None:
        """
        Hold that the database cannot be opened, and that the one line that says
        why names the file and has these words.
        """
        error = self.assertRaises(StoreError, self.open)
        self.assert_says(error, *words)

    def assert_says(self, error: StoreError, *words: str) -> None:
        """
        Hold that an error is one line that names the file and has these words.
        """
        for word in [str(self.path), *words]:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))


class TableTests(DatabaseCase):
    """
    Tables that somebody else made.
    """

    def test_gearmands_rows(self) -> None:
        """
        Rows that gearmand wrote are jobs without a handle, with NULL for an
        empty workload or no time; what is no priority is normal; a unique id of
        which gearmand cut the last byte is the rest.
        """
        cut = "v" * 63
        run_sql(
            self.path,
            GEARMANDS_TABLE,
            "INSERT INTO gearman_queue VALUES ('u', 'f', 0, x'00ff', 0)",
            "INSERT INTO gearman_queue VALUES ('', 'f', 2, NULL, NULL)",
            "INSERT INTO gearman_queue VALUES ('-', 'f', 7, 'text', 5000000000)",
            "INSERT INTO gearman_queue VALUES ('p', 'f', NULL, x'', -1)",
            "INSERT INTO gearman_queue VALUES ('q', 'f', 'high', 12, 'soon')",
            f"INSERT INTO gearman_queue VALUES ('{cut}' || char(0), 'f', 1, x'01', 0)",
        )
        self.assertEqual(
            [(job.handle, job.unique, job.priority, job.workload, job.run_at) for job in self.read()],
            [
                (b"", b"u", 0, b"\0\xff", 0),
                (b"", b"", 2, b"", 0),
                (b"", b"-", 1, b"text", 5000000000),
                (b"", b"p", 1, b"", -1),
                (b"", b"q", 1, b"12", 0),
                (b"", cut.encode(), 1, b"\1", 0),
            ],
        )

    def test_gearmands_rows_are_found_again(self) -> None:
        """
        Each row that gearmand wrote can be changed in its place and removed by
        the job that was replayed from it, once that has a handle.
        """
        run_sql(
            self.path,
            GEARMANDS_TABLE,
            *[f"INSERT INTO gearman_queue VALUES ('{unique}', 'f', 1, 'x', 0)" for unique in ("", "u", "-", "w" * 64)],
        )
        jobs = self.read()
        for number, job in enumerate(jobs):
            job.handle, job.attempts = b"H:new:%d" % number, number
        database = self.open()
        self.write(database, *jobs)
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(job) for job in jobs])
        database = self.open()
        database.write([], [(row_key(job), job.function) for job in jobs])
        database.close()
        self.assertEqual(self.read(), [])

    def test_old_tables(self) -> None:
        """
        Tables of every age are brought up to date, in place: their jobs are
        there in order, and jobs of two functions with one unique id fit in.
        """
        for created in (GEARMANDS_TABLE, OLD_TABLE, FIRST_TABLE):
            self.path = new_path(self)
            insert = "INSERT INTO gearman_queue (unique_key, function_name, priority, data) VALUES"
            run_sql(self.path, created, *[f"{insert} ('{unique}', 'f', 1, '{unique}')" for unique in "cab"])
            database = self.open()
            self.write(database, record(1, unique=b"a", function=b"g"), record(2))
            database.close()
            self.assertEqual([job.workload for job in self.read()], [b"c", b"a", b"b", b"workload 1", b"workload 2"])
            self.assertEqual(run_sql(self.path, "SELECT name FROM sqlite_master WHERE type = 'table'"), [("gearman_queue",)])

    def test_rewritten_by_gearmand(self) -> None:
        """
        A row of ours that gearmand wrote anew (it knows the key alone) is a job
        without a unique id again, and is found again.
        """
        database = self.open()
        self.write(database, record(1))
        database.close()
        run_sql(
            self.path,
            "REPLACE INTO gearman_queue (unique_key, function_name, priority, data, when_to_run)"
            " SELECT unique_key, function_name, priority, data, when_to_run FROM gearman_queue",
        )
        [job] = self.read()
        self.assertEqual((job.handle, job.unique, job.workload), (b"", b"", b"workload 1"))
        job.handle = b"H:new:1"
        database = self.open()
        database.write([], [(row_key(job), job.function)])
        database.close()
        self.assertEqual(self.read(), [])

    def test_rows_by_hand(self) -> None:
        """
        Rows that somebody inserted with NULL or a blob where gearmand writes
        text are jobs, and can be removed one by one.
        """
        run_sql(
            self.path,
            GEARMANDS_TABLE,
            "INSERT INTO gearman_queue (function_name, data) VALUES ('f', 'first'), ('f', 'second'), (NULL, 'third')",
            "INSERT INTO gearman_queue (unique_key, function_name, data) VALUES (x'7562', 'f', 'fourth')",
        )
        jobs = self.read()
        self.assertEqual(
            [(job.function, job.unique, job.workload) for job in jobs],
            [(b"f", b"", b"first"), (b"f", b"", b"second"), (b"", b"", b"third"), (b"f", b"ub", b"fourth")],
        )
        database = self.open()
        database.write([], [(row_key(job), job.function) for job in jobs[::2]])
        database.close()
        self.assertEqual([job.workload for job in self.read()], [b"second", b"fourth"])

    def test_keys(self) -> None:
        """
        A row's key is the unique id if that tells the job apart and gearmand
        can keep it, else one made of the handle that fits into 63 bytes.
        """
        self.assertEqual(row_key(record(1, unique=b"u")), b"u")
        self.assertEqual(row_key(record(1, unique=b"u" * 63)), b"u" * 63)
        for unique in (b"", b"-", b"u" * 64, b"gearsvc:H:test:2"):
            self.assertEqual(row_key(record(1, unique=unique)), b"gearsvc:H:test:1")
        long = [row_key(record(1, handle=b"H:%b:%d" % (b"h" * 55, number))) for number in (1, 2)]
        self.assertNotEqual(*long)
        for key in long:
            self.assertTrue(key.startswith(b"gearsvc:"))
            self.assertLessEqual(len(key), 63)

    def test_odd_table_name(self) -> None:
        """
        The table may have any name.
        """
        self.table = 'a "table" of; jobs'
        database = self.open()
        self.write(database, record(1))
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(1))])

    def test_beside_others(self) -> None:
        """
        Other tables of the database, and another queue, are left alone.
        """
        run_sql(self.path, "CREATE TABLE people (name TEXT)", "INSERT INTO people VALUES ('Ada')")
        first = self.open()
        self.write(first, record(1))
        first.close()
        self.table = "second_queue"
        self.assertEqual(self.read(), [])
        self.assertEqual(run_sql(self.path, "SELECT * FROM people"), [("Ada",)])
        self.assertEqual(run_sql(self.path, "SELECT COUNT(*) FROM gearman_queue"), [(1,)])

    def test_foreign_tables(self) -> None:
        """
        A table that is no queue, a view, and one that could not take a job are
        refused and left as they are, byte for byte.
        """
        for created, word in [
            ("CREATE TABLE gearman_queue (name TEXT, data BLOB)", "function_name"),
            ("CREATE VIEW gearman_queue AS SELECT 1", "view"),
            (FIRST_TABLE.replace("data BLOB", "data BLOB, mine TEXT"), "primary key"),
            (GEARMANDS_TABLE.replace("when_to_run INTEGER", "mine TEXT NOT NULL"), "mine"),
        ]:
            self.path = new_path(self)
            run_sql(self.path, created)
            before = run_sql(self.path, "SELECT * FROM sqlite_master")
            self.assert_refuses(word)
            self.assertEqual(run_sql(self.path, "SELECT * FROM sqlite_master"), before)

    def test_half_written(self) -> None:
        """
        When the last row of a batch can't be written, none of it is stored and
        nothing is removed.
        """
        database = self.open()
        self.write(database, record(1))
        run_sql(
            self.path,
            "CREATE TRIGGER no BEFORE INSERT ON gearman_queue WHEN NEW.function_name = 'no'"
            " BEGIN SELECT RAISE(ABORT, 'not here'); END",
        )
        rows = [sqlite.as_row(job) for job in (record(2), record(3, function=b"no"))]
        error = self.assertRaises(StoreError, database.write, rows, [(row_key(record(1)), b"resize")])
        self.assert_says(error, "not here")
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(1))])


class FileTests(DatabaseCase):
    """
    What goes wrong with files.
    """

    def test_no_database(self) -> None:
        """
        A file that is no database is refused and left as it is.
        """
        text = b"Dear diary, " * 1000
        self.path.write_bytes(text)
        self.assert_refuses("is not an SQLite database")
        self.assertEqual(self.path.read_bytes(), text)

    def test_utf16(self) -> None:
        """
        A database whose text is UTF-16, in which our keys would be nonsense,
        is refused.
        """
        run_sql(self.path, "PRAGMA encoding = 'UTF-16'", "CREATE TABLE other (a)")
        self.assert_refuses("UTF-16")

    def test_no_directory(self) -> None:
        """
        A directory that is not there is said so, and is not made.
        """
        self.path = self.path / "queue.db"
        self.assert_refuses("directory")
        self.assertFalse(self.path.parent.exists())

    def test_damaged(self) -> None:
        """
        A database with a page that is no page is refused when it is read.
        """
        database = self.open()
        self.write(database, *[record(number, workload=bytes(1000)) for number in range(100)])
        database.close()
        with open(self.path, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 4096 * 20)
        error = self.assertRaises(StoreError, self.read)
        self.assert_says(error, "damaged")

    def test_locked(self) -> None:
        """
        While another process has the database locked, commits fail and say so;
        then they succeed.
        """
        database = self.open()
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        error = self.assertRaises(StoreError, self.write, database, record(1))
        self.assert_says(error, "locked")
        other.execute("ROLLBACK")
        self.write(database, record(2))
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(2))])

    def test_removed(self) -> None:
        """
        When the file is moved away or replaced under a running server, commits
        fail (what they wrote would be lost), until it is back.
        """
        database = self.open()
        self.write(database, record(1))
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        error = self.assertRaises(StoreError, self.write, database, record(2))
        self.assert_says(error, "moved, removed or replaced")
        self.path.write_bytes(b"")
        self.assertRaises(StoreError, self.write, database, record(3))
        away.rename(self.path)
        self.write(database, record(4))
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(1)), fields_of(record(4))])

    def test_two_servers(self) -> None:
        """
        A second server on one file is refused and told which the first is; when
        the first has ended, nothing of the lock is left.
        """
        database = self.open()
        self.assert_refuses("in use", f"process {os.getpid()}")
        self.write(database, record(1))
        database.close()
        self.assertEqual(len(self.read()), 1)
        self.assertFalse(Path(f"{self.path}.lock").exists())

    def test_lock_of_the_dead(self) -> None:
        """
        A lock file that a killed server left is not in the way.
        """
        Path(f"{self.path}.lock").write_text("process 1 on nowhere, with a long name that has to go")
        self.open()
        self.assertEqual(Path(f"{self.path}.lock").read_text().split(" on ")[0], f"process {os.getpid()}")


class DiskTests(DatabaseCase):
    """
    What goes wrong with disks, on small real ones (so these tests need root).
    """

    def setUp(self) -> None:
        """
        Mount a file system of two megabytes.
        """
        super().setUp()
        self.disk = self.path
        self.disk.mkdir()
        self.mount("-t", "tmpfs", "-o", "size=2m", "tmpfs")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.disk)], check=True)
        self.path = self.disk / "queue.db"

    def mount(self, *options: str) -> None:
        """
        Mount, or remount, this test's disk.
        """
        subprocess.run(["mount", *options, str(self.disk)], check=True)

    def test_full(self) -> None:
        """
        On a full disk commits fail and say so, and none of them is half there;
        with room again they succeed, in the same server.
        """
        database = self.open()
        self.write(database, record(1))
        large = [record(number, workload=bytes(100_000)) for number in range(2, 32)]
        for _ in range(2):
            error = self.assertRaises(StoreError, self.write, database, *large)
            self.assert_says(error, "disk is full")
        self.mount("-o", "remount,size=20m")
        self.write(database, *large)
        self.write(database, record(40))
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(job) for job in [record(1), *large, record(40)]])

    def test_full_at_start(self) -> None:
        """
        A disk with no room at all is a StoreError when the store is opened.
        """
        with contextlib.suppress(OSError), open(self.disk / "ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        self.assert_refuses()

    def test_read_only(self) -> None:
        """
        A disk that can't be written is a StoreError that says so when the store
        is opened; once it can be written, all is well.
        """
        database = self.open()
        self.write(database, record(1))
        database.close()
        self.mount("-o", "remount,ro")
        self.assert_refuses("may write")
        self.mount("-o", "remount,rw")
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(1))])
