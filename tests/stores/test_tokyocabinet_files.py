"""
Tests for L{gearsvc.stores.tokyocabinet}: what goes wrong with files, disks and processes.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import tokyocabinet
from gearsvc.stores.tokyocabinet import Database, TokyoCabinetStore
from gearsvc.stores.tokyocabinetrecords import Row, names_of
from gearsvc.testing import fields_of, record
from tests.running import AT_ONCE, ROOT
from tests.stores.logs import Log
from tests.stores.test_tokyocabinet import new_path
from tests.stores.tokyocabinets import Cabinet, gearmands_record

SUFFIXES = (".tch", ".tcb")


class DatabaseCase(SynchronousTestCase):
    """
    A test with L{Database}s.
    """

    def setUp(self) -> None:
        """
        Choose a file.
        """
        self.path = new_path(self, ".tch")
        self.log = Log()
        self.patch(tokyocabinet, "log", self.log)

    def open(self, name: str = "", **options: bool) -> Database:
        """
        @return: a database in this test's file, or another; it is closed after the test.
        """
        database = Database(name or str(self.path), **options)
        database.open()
        self.addCleanup(database.close)
        return database

    def read(self, name: str = "", **options: bool) -> list[JobRecord]:
        """
        @return: what a server that starts now would replay.
        """
        database = self.open(name, **options)
        count = database.count()
        jobs = [job for piece in database.pieces() for job in piece]
        database.close()
        self.assertEqual(len(jobs), count)
        return jobs

    def write(self, database: Database, *jobs: JobRecord, removed: tuple[JobRecord, ...] = ()) -> None:
        """
        Commit one batch.
        """
        database.write([Row(job) for job in jobs], [names_of(job).key for job in removed])

    def assert_refuses(self, *words: str) -> None:
        """
        Hold that the file can't be used, and that the one line that says why names it and has these words.
        """
        self.assert_says(self.assertRaises(StoreError, self.read), *words)

    def assert_says(self, error: StoreError, *words: str) -> None:
        """
        Hold that an error is one line that names the file and has these words.
        """
        for word in (str(self.path), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertFalse(error.unreachable)
        self.assertFalse(error.uncertain)


class FileTests(DatabaseCase):
    """
    Files.
    """

    def test_no_database(self) -> None:
        """
        A file that is no database, or one of the other kind, is refused and left as it is.
        """
        for suffix in SUFFIXES:
            self.path = new_path(self, suffix)
            for text in (b"Dear diary, " * 1000, b"short", bytes(5000)):
                self.path.write_bytes(text)
                self.assert_refuses()
                self.assertEqual(self.path.read_bytes(), text)
                self.assertEqual([each.name for each in self.path.parent.iterdir()], [self.path.name])
            other = new_path(self, SUFFIXES[suffix == ".tch"])
            with Cabinet(other) as cabinet:
                cabinet.put(*gearmands_record(b"f", b"u", b"w"))
            other.rename(self.path)
            self.assert_refuses("is no Tokyo Cabinet database of this kind")

    def test_cut_short(self) -> None:
        """
        A file whose end is missing is refused.
        """
        for suffix in SUFFIXES:
            self.path = new_path(self, suffix)
            database = self.open()
            self.write(database, *[record(number, workload=bytes(500)) for number in range(100)])
            database.close()
            whole = self.path.read_bytes()
            for size in (100, 300, len(whole) // 2, len(whole) - 1):
                self.path.write_bytes(whole[:size])
                self.assert_refuses()

    def test_damaged(self) -> None:
        """
        A file with records that are none is refused when it is read.
        """
        for suffix in SUFFIXES:
            self.path = new_path(self, suffix)
            database = self.open()
            self.write(database, *[record(number, workload=bytes(500)) for number in range(1000)])
            database.close()
            with open(self.path, "r+b") as file:
                file.seek(-300_000, os.SEEK_END)
                file.write(b"\xff" * 4096 * 20)
            self.assert_refuses("damaged")

    def test_record_lost(self) -> None:
        """
        If some records can't be found among others, the log says so, and the others are jobs.
        """
        database = self.open()
        self.write(database, *[record(number) for number in range(10)])
        database.close()
        data = self.path.read_bytes()
        at = data.index(b"resize-gearsvc:H:test:5")
        # What tells a record from a free block stands somewhat before the key; the next is looked for at a wrong place then.
        begin = data.rindex(b"\xc8", 0, at)
        self.path.write_bytes(data[:begin] + b"\xb0" + data[begin + 1 :])
        found = len(self.read())
        self.assertTrue(5 <= found < 10, found)
        [(level, line)] = self.log.lines
        self.assertEqual((level, line), ("error", f"{self.path} is damaged: {10 - found} of its records can't be found."))

    def test_foreign_records(self) -> None:
        """
        Records that are no jobs are left as they are, and the log says how many there are.
        """
        with Cabinet(self.path) as cabinet:
            cabinet.put(b"name", b"value")
            cabinet.put(*gearmands_record(b"f", b"u", b"w"))
        self.assertEqual([job.workload for job in self.read()], [b"w"])
        [(level, line)] = self.log.lines
        self.assertEqual((level, line), ("error", f"1 records of {self.path} are no jobs, and are left as they are."))
        with Cabinet(self.path) as cabinet:
            self.assertEqual(cabinet.get(b"name"), b"value")

    def test_no_directory(self) -> None:
        """
        A directory that is not there is said so, and is not made.
        """
        self.path = self.path / "queue.tch"
        self.assert_refuses("directory")
        self.assertFalse(self.path.parent.exists())

    def test_a_directory(self) -> None:
        """
        A directory is no file.
        """
        self.path.mkdir()
        self.assert_refuses("it is a directory")

    def test_removed(self) -> None:
        """
        When the file is moved away or replaced under a running server, commits fail (what they wrote would be lost), until it
        is back.
        """
        database = self.open()
        self.write(database, record(1))
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        self.assert_says(self.assertRaises(StoreError, self.write, database, record(2)), "moved, removed or replaced")
        self.path.write_bytes(b"")
        self.assertRaises(StoreError, self.write, database, record(3))
        away.rename(self.path)
        self.write(database, record(4))
        database.close()
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(1)), fields_of(record(4))])

    def test_two_servers(self) -> None:
        """
        A second server on one file is refused and told which the first is; when the first has ended, nothing of the lock is
        left.
        """
        database = self.open()
        self.assert_refuses("in use by another server", f"process {os.getpid()}")
        self.write(database, record(1))
        database.close()
        self.assertEqual(len(self.read()), 1)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], [self.path.name])

    def test_gearmand_is_there(self) -> None:
        """
        While another program, such as gearmand, has the file open, it is refused at once; when that has ended it can be opened.
        """
        program = (
            "import sys; from pathlib import Path; from tests.stores.tokyocabinets import Cabinet\n"
            f"with Cabinet(Path({str(self.path)!r})): print('open', flush=True); sys.stdin.read()"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"open\n")
            began = time.monotonic()
            self.assert_refuses("another program has it open (gearmand?)")
            self.assertLess(time.monotonic() - began, AT_ONCE)
            other.communicate()
        self.assertEqual(self.read(), [])

    def test_keeps_others_out(self) -> None:
        """
        While we have the file open, Tokyo Cabinet keeps other programs out: also after a large batch, and one that failed.
        """
        program = (
            "from pathlib import Path; from tests.stores.tokyocabinets import Cabinet\n"
            f"Cabinet(Path({str(self.path)!r} + '#mode=wf'))"
        )

        def opens() -> bool:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True).returncode == 0

        database = self.open()
        self.write(database, *[record(number) for number in range(1000)])
        self.assertFalse(opens())
        self.path.rename(self.path.with_suffix(".away"))
        self.assertRaises(StoreError, self.write, database, record(2))
        self.path.with_suffix(".away").rename(self.path)
        self.write(database, record(2))
        self.assertFalse(opens())
        database.close()
        self.assertTrue(opens())

    def test_parameters(self) -> None:
        """
        Parameters of tcadbopen may stand behind the name, and files that were made with others are used as they are.
        """
        name = f"{self.path}#bnum=1000#opts=d#apow=8"
        database = self.open(name)
        self.write(database, *[record(number, workload=b"x" * 10_000) for number in range(100)])
        database.close()
        self.assertLess(self.path.stat().st_size, 200_000)
        self.assertEqual(len(self.read()), 100)
        self.assertEqual(len(self.read(name)), 100)


class RewriteTests(DatabaseCase):
    """
    Files of which much is unused.
    """

    def fill(self) -> None:
        """
        Make the file large, and remove most of it again.
        """
        database = self.open(optimize=False)
        jobs = [record(number, workload=os.urandom(10_000)) for number in range(2000)]
        self.write(database, *jobs)
        self.left = jobs[500:1000:100]
        self.write(database, removed=tuple(job for job in jobs if job not in self.left))
        database.close()

    def test_rewritten(self) -> None:
        """
        Such a file is rewritten at the start: it is small then, and holds the same in the same order; it can be written on.
        """
        for suffix in SUFFIXES:
            self.path = new_path(self, suffix)
            self.fill()
            large = self.path.stat().st_size
            self.assertEqual([fields_of(job) for job in self.read(optimize=False)], [fields_of(job) for job in self.left])
            self.assertEqual(self.path.stat().st_size, large)
            database = self.open()
            database.count()
            self.assertLess(self.path.stat().st_size, large / 2)
            self.write(database, record(5000))
            database.close()
            self.assertEqual([fields_of(job) for job in self.read()], [fields_of(job) for job in [*self.left, record(5000)]])
            self.assertEqual([each.name for each in self.path.parent.iterdir()], [self.path.name])
            self.assertEqual(self.log.lines, [])

    def test_not_rewritten(self) -> None:
        """
        If that fails, the file is used as it is, and the log says why; what is left of a try that was broken off is not in the
        way of the next.
        """
        self.fill()
        new = Path(f"{self.path}.new.tch")
        new.mkdir()
        self.assertEqual(len(self.read()), len(self.left))
        [(level, line)] = self.log.lines
        self.assertEqual(level, "warn")
        self.assertIn("It is used as it is.", line)
        new.rmdir()
        new.write_bytes(b"half of it")
        large = self.path.stat().st_size
        self.assertEqual(len(self.read()), len(self.left))
        self.assertLess(self.path.stat().st_size, large / 2)
        self.assertFalse(new.exists())


class PieceTests(DatabaseCase):
    """
    A replay in pieces.
    """

    def test_large(self) -> None:
        """
        Large workloads are read when their turn comes; pieces hold few jobs if they are large.
        """
        self.patch(tokyocabinet, "REPLAY_BYTES", 500_000)
        for suffix in SUFFIXES:
            self.path = new_path(self, suffix)
            database = self.open()
            jobs = [record(number, workload=bytes([number]) * 200_000) for number in range(4)]
            self.write(database, *jobs[:2], record(10), *jobs[2:])
            database.close()
            database = self.open()
            self.assertEqual(database.count(), 5)
            pieces = list(database.pieces())
            self.assertEqual([len(piece) for piece in pieces], [4, 1])
            found = [fields_of(job) for piece in pieces for job in piece]
            self.assertTrue(found == [fields_of(job) for job in [*jobs[:2], record(10), *jobs[2:]]], "the jobs have changed")


class DiskTests(DatabaseCase):
    """
    What goes wrong with disks, on small real ones (so these tests need root).
    """

    def setUp(self) -> None:
        """
        Make a directory for a disk.
        """
        super().setUp()
        self.disk = self.path.with_suffix("")
        self.disk.mkdir()

    def mount(self, size: str, suffix: str = ".tch") -> None:
        """
        Mount a file system, for this test's file.
        """
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.disk)], check=True)
        self.path = self.disk / f"queue{suffix}"

    def remount(self, option: str) -> None:
        """
        Change it.
        """
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.disk)], check=True)

    def test_full(self) -> None:
        """
        On a full disk commits fail and say so, whatever they hold, and none of them is half there; jobs that are over can be
        removed; with room again all commits succeed, in the same server.
        """
        for suffix in SUFFIXES:
            self.mount("6m", suffix)
            database = self.open()
            kept = [record(number) for number in range(10)]
            self.write(database, *kept)
            large = [record(number, workload=os.urandom(100_000)) for number in range(100, 160)]
            for batch in (large, large, [record(number, workload=bytes(100)) for number in range(100_000)]):
                error = self.assertRaises(StoreError, self.write, database, *batch, removed=tuple(kept[:2]))
                self.assert_says(error, "the disk is full")
            self.write(database, removed=(kept[0],))
            self.remount("size=60m")
            self.write(database, *large)
            self.write(database, record(200))
            database.close()
            found = [fields_of(job) for job in self.read()]
            self.assertTrue(found == [fields_of(job) for job in [*kept[1:], *large, record(200)]], "the jobs have changed")

    def test_full_at_random(self) -> None:
        """
        However close to the end of the disk a batch comes, it is stored whole or not at all.
        """
        for seed, suffix in enumerate(SUFFIXES * 2):
            chance = random.Random(seed)
            self.mount(f"{chance.randrange(4000, 8000, 4)}k", suffix)
            database = self.open()
            jobs: dict[int, JobRecord] = {}
            failed = 0
            for start in itertools.count(0, 100):
                if failed > 12:
                    break
                sizes = [0, 50, 3000] if chance.random() < 0.7 else [100, 60_000]
                batch = [
                    record(start + number, workload=os.urandom(chance.choice(sizes)))
                    for number in range(chance.choice([1, 5, 100] if sizes[0] == 0 else [1, 5]))
                ]
                over = chance.sample(sorted(jobs), min(len(jobs), chance.choice([0, 1, 50]))) if failed % 4 < 3 else []
                try:
                    self.write(database, *batch, removed=tuple(jobs[number] for number in over))
                except StoreError as error:
                    self.assert_says(error, "the disk is full")
                    failed += 1
                else:
                    for number in over:
                        del jobs[number]
                    jobs.update((start + number, job) for number, job in enumerate(batch))
            database.close()
            found = {fields_of(job) for job in self.read()}
            self.assertTrue(found == {fields_of(job) for job in jobs.values()}, "the jobs have changed")

    def test_full_at_start(self) -> None:
        """
        A disk with no room, or nearly none, is an error when the file is made, and when one with holes (that was copied) is
        opened; it never ends the process (SIGBUS).
        """
        for suffix in SUFFIXES:
            for size in (4096, 100_000, 1_000_000):
                self.mount("2m", suffix)
                (self.disk / "ballast").write_bytes(bytes(2 * 1024 * 1024 - 8192 - size))
                self.assert_refuses("the disk is full")
                self.assertEqual(self.path.stat().st_size, 0)
            self.mount("2m", suffix)
            with Cabinet(Path(f"{self.path}#bnum=200000")) as cabinet:
                cabinet.put(*gearmands_record(b"f", b"u", b"w"))
            whole = self.path.with_suffix(".whole")
            self.path.rename(whole)
            subprocess.run(["cp", "--sparse=always", str(whole), str(self.path)], check=True)
            whole.unlink()
            room = os.statvfs(self.disk)
            (self.disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - 8192))
            self.assert_refuses("the disk is full")
            (self.disk / "ballast").unlink()
            self.assertEqual(len(self.read()), 1)

    def test_read_only(self) -> None:
        """
        A disk that can't be written is an error that says so when the file is opened; once it can be written, all is well.
        """
        self.mount("6m")
        database = self.open()
        self.write(database, record(1))
        database.close()
        self.remount("ro")
        self.assert_refuses("can't be written")
        self.remount("rw")
        self.assertEqual([fields_of(job) for job in self.read()], [fields_of(record(1))])


BATCHES = """
import os, sys
from gearsvc.stores.tokyocabinet import Database
from gearsvc.stores.tokyocabinetrecords import Row, names_of
from tests.stores.test_tokyocabinet_files import batch
database = Database(sys.argv[1])
database.open()
database.count()
list(database.pieces())
number = int(sys.argv[2])
while True:
    added, removed = batch(number)
    database.write([Row(job) for job in added], [names_of(job).key for job in removed])
    os.write(1, b"%d\\n" % number)
    number += 1
"""


def batch(number: int) -> tuple[list[JobRecord], list[JobRecord]]:
    """
    @return: what the batch of a number adds, and what it removes.
    """

    def added(number: int) -> list[JobRecord]:
        chance = random.Random(number)
        return [
            record(number * 100 + each, unique=b"%d" % each if each % 3 else b"", workload=bytes(chance.choice([0, 300, 5000])))
            for each in range(chance.choice([1, 20, 99]))
        ]

    # One unique id may be used again at once.
    return added(number), added(number - 1)[::2] if number else []


class KilledTests(DatabaseCase):
    """
    A process that is killed (SIGKILL) in the midst of its commits.
    """

    def test_killed(self) -> None:
        """
        All that was committed is there, the next batch whole or not at all, and another process goes on with it.
        """
        chance = random.Random(1)
        for suffix in SUFFIXES:
            self.path = new_path(self, suffix)
            jobs: dict[bytes, JobRecord] = {}
            following = 0
            for _ in range(6):
                with subprocess.Popen(
                    [sys.executable, "-c", BATCHES, str(self.path), str(following)],
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.PIPE,
                ) as process:
                    assert process.stdout is not None
                    first = process.stdout.readline()
                    time.sleep(chance.random() * 0.1)
                    process.kill()
                    committed = int((first + process.stdout.read()).split()[-1])
                found = {job.handle: fields_of(job) for job in self.read()}
                for each in range(following, committed + 2):
                    before = dict(jobs)
                    added, removed = batch(each)
                    for job in removed:
                        jobs.pop(job.handle, None)
                    # A job whose unique id is used again is replaced.
                    names = {names_of(job).key for job in added}
                    jobs = {handle: job for handle, job in jobs.items() if names_of(job).key not in names}
                    jobs.update((job.handle, job) for job in added)
                expected = {handle: fields_of(job) for handle, job in jobs.items()}
                following = committed + 2
                if found != expected:
                    jobs = before
                    following -= 1
                    expected = {handle: fields_of(job) for handle, job in jobs.items()}
                self.assertTrue(found == expected, "what was committed has changed")


class StoreTests(TestCase):
    """
    What L{TokyoCabinetStore} adds to a L{Database}: its thread.
    """

    async def test_open_again(self) -> None:
        """
        A store that could not be opened can be, once what was wrong is put right.
        """
        directory = new_path(self, "")
        store = TokyoCabinetStore(str(directory / "queue.tch"))
        await self.assertFailure(store.open(), StoreError)
        directory.mkdir()
        await store.open()
        self.assertEqual(await store.replay(lambda records: None), 0)
        await store.close()

    async def test_close_unopened(self) -> None:
        """
        A store that was not opened, or could not be, can be closed.
        """
        store = TokyoCabinetStore(str(new_path(self, "") / "queue.tch"))
        await store.close()
        await self.assertFailure(store.open(), StoreError)
        await store.close()
