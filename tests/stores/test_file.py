"""
Tests for L{gearsvc.stores.file}: the contract, the options, and what goes wrong
with files.  (The format: L{tests.stores.test_journal}.  Compaction:
L{tests.stores.test_compaction}.  Disks: L{tests.stores.test_file_disks}.)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.config import Settings
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.options import SettingsError
from gearsvc.plugins import make_queue_store
from gearsvc.stores import file as file_module
from gearsvc.stores import progress
from gearsvc.stores.file import FileStore
from gearsvc.testing import QueueStoreContract, fields_of, record
from tests.running import ROOT
from tests.stores.queuefiles import QueueFileCase, frames_of, jobs_of


class FileStoreContract(QueueStoreContract, TestCase):
    """
    The store contract, over L{FileStore}.
    """

    def setUp(self) -> None:
        """
        Choose a new file.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "queue.log"

    def make_store(self) -> IQueueStore:
        """
        A store in this test's file.
        """
        return FileStore(str(self.path))

    async def break_store(self, store: IQueueStore) -> None:
        """
        Move the file away, as somebody who tidies up does.
        """
        self.path.rename(self.directory / "away")

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Put it back.
        """
        (self.directory / "away").rename(self.path)

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Go on with what is on the disk at this moment; the store would write one
        more frame as it closes.
        """
        found = self.directory / "found.log"
        shutil.copy(self.path, found)
        await store.close()
        self.path = found


class FileStoreTests(TestCase):
    """
    What L{FileStore} adds to a L{QueueFile <gearsvc.stores.file.QueueFile>}:
    its thread, and the log.
    """

    def setUp(self) -> None:
        """
        Choose a new file, and read the log.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "queue.log"
        self.lines: list[str] = []
        case = self

        class Log:
            def notice(self, form: str, **values: object) -> None:
                case.lines.append(form.format(**values))

            warn = info = notice

        self.patch(progress, "log", Log())
        self.patch(file_module, "log", Log())

    async def open(self) -> FileStore:
        """
        @return: an open store that was read.
        """
        store = FileStore(str(self.path))
        await store.open()
        await store.replay(lambda records: None)
        return store

    async def test_killed(self) -> None:
        """
        What a process committed before it was killed with SIGKILL is there, and
        nobody else's lock is in the way.
        """
        program = (
            "import os, signal; from gearsvc.stores.file import *; from gearsvc.testing import record\n"
            f"file = QueueFile({str(self.path)!r}, print); file.open()\n"
            "file.write(*encode([record(n) for n in range(100)], []))\n"
            "file.write(*encode([], [record(n) for n in range(50)]))\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        ended = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.assertEqual(ended.returncode, -signal.SIGKILL)
        store = await self.open()
        await store.close()
        self.assertEqual(jobs_of(self.path.read_bytes()), [fields_of(record(number)) for number in range(50, 100)])

    async def test_torn(self) -> None:
        """
        The log has one line of a batch that was cut off.
        """
        await (await self.open()).close()
        with open(self.path, "ab") as file:
            file.write(b"torn")
        await (await self.open()).close()
        # What another thread says comes in another turn.
        await self.turn()
        self.assertEqual(len(self.lines), 1)
        self.assertIn("4 bytes were cut off at offset 96", self.lines[0])

    async def turn(self) -> None:
        """
        Let the reactor run.
        """
        from twisted.internet import reactor

        await deferLater(reactor, 0.01)

    async def test_open_again(self) -> None:
        """
        A store that could not be opened can be, once what was wrong is put
        right; and after it was closed, once more.
        """
        self.path = self.directory / "later" / "queue.log"
        store = FileStore(str(self.path))
        await self.assertFailure(store.open(), StoreError)
        self.path.parent.mkdir()
        for count in range(3):
            await store.open()
            self.assertEqual(await store.replay(lambda records: None), count)
            await store.commit([record(count)], [])
            await store.close()

    async def test_close_unopened(self) -> None:
        """
        A store that was not opened, or could not be, can be closed.
        """
        store = FileStore(str(self.directory / "none" / "queue.log"))
        await store.close()
        await self.assertFailure(store.open(), StoreError)
        await store.close()

    async def test_replay_twice(self) -> None:
        """
        A store can be replayed again after commits, and gives what is stored by
        then.
        """
        store = await self.open()
        await store.commit([record(1), record(2)], [])
        for handles in ([b"H:test:1", b"H:test:2"], [b"H:test:2"]):
            found: list[bytes] = []
            await store.replay(lambda records: found.extend(job.handle for job in records))
            self.assertEqual(found, handles)
            await store.commit([], [record(1)])
        await store.close()

    async def test_pieces(self) -> None:
        """
        A long replay says in the log how far it is, and comes in pieces of so
        many jobs, or of so many bytes.
        """
        self.patch(progress, "PROGRESS_ROWS", 1000)
        self.patch(file_module, "REPLAY_ROWS", 300)
        store = await self.open()
        await store.commit([record(number) for number in range(3000)], [])
        pieces: list[int] = []
        self.assertEqual(await store.replay(lambda records: pieces.append(len(records))), 3000)
        self.assertEqual(pieces, [300] * 10)
        self.assertEqual(self.lines, [f"Replaying the queue from {self.path}: {done} of 3000 jobs." for done in (1200, 2100)])
        await store.commit([record(number, workload=bytes(400)) for number in range(8)], [record(number) for number in range(3000)])
        self.patch(file_module, "REPLAY_BYTES", 1000)
        pieces.clear()
        await store.replay(lambda records: pieces.append(len(records)))
        self.assertEqual(pieces, [3, 3, 2])
        await store.close()

    async def test_what_does_not_fit(self) -> None:
        """
        A job that can't be written fails its batch, and nothing else.
        """
        store = await self.open()
        with self.assertRaisesRegex(StoreError, "H:test:2"):
            await store.commit([record(1), record(2, run_at=1 << 63)], [])
        await store.commit([record(3)], [])
        await store.close()
        self.assertEqual(jobs_of(self.path.read_bytes()), [fields_of(record(3))])

    async def test_description(self) -> None:
        """
        The store says where it is and what it survives.
        """
        store = await self.open()
        self.assertEqual(
            store.description, f"queue file {self.path}: what was acknowledged survives a crash of the server and of the machine"
        )
        await store.close()


class MakerTests(SynchronousTestCase):
    """
    C{-q file} and its options.
    """

    def test_made(self) -> None:
        """
        C{--file-path} names the file; a relative path is one in the directory
        of the moment.
        """
        for path in ("/tmp/queue.log", "queue.log"):
            store = make_queue_store(Settings(queue_type="file", plugin_options={"file-path": path}))
            assert isinstance(store, FileStore)
            self.assertIn(f"queue file {os.path.abspath(path)}:", store.description)

    def test_not_made(self) -> None:
        """
        No path, and a directory that is not there, are a line each that says
        what to do.
        """
        error = self.assertRaises(SettingsError, make_queue_store, Settings(queue_type="file"))
        self.assertEqual(str(error), "--queue-type file needs --file-path, the queue's file")
        error = self.assertRaises(SettingsError, make_queue_store, Settings(queue_type="file", plugin_options={"file-path": "/no/such/queue.log"}))
        self.assertEqual(str(error), "--file-path: there is no directory /no/such")


class FileTests(QueueFileCase):
    """
    What goes wrong with files.
    """

    def test_private(self) -> None:
        """
        Nobody else may read a new file: workloads may be secret.
        """
        self.open()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_empty_file(self) -> None:
        """
        An empty file that somebody has made keeps its permissions and becomes a
        queue.
        """
        self.path.touch()
        self.path.chmod(0o640)
        os.chown(self.path, 1, 2)
        file = self.open()
        self.write(file, record(1))
        file.close()
        status = self.path.stat()
        self.assertEqual((status.st_mode & 0o777, status.st_uid, status.st_gid), (0o640, 1, 2))
        self.assertEqual(self.stored(), [fields_of(record(1))])

    def test_every_frame(self) -> None:
        """
        A batch is one frame; one more is written when the file is opened, and
        when it is closed if there was a batch.
        """
        file = self.open()
        self.assertEqual(len(frames_of(self.path.read_bytes())), 1)
        file.close()
        self.assertEqual(len(frames_of(self.path.read_bytes())), 1)
        file = self.open()
        self.write(file, *[record(number) for number in range(1000)])
        self.write(file, removed=[record(3)])
        file.close()
        self.assertEqual(len(frames_of(self.path.read_bytes())), 1 + 1 + 2 + 1)

    def test_one_write_and_one_sync(self) -> None:
        """
        A batch is one write and one fdatasync, in this order.
        """
        file = self.open()
        calls: list[str] = []

        def watch(name: str) -> None:
            original = getattr(os, name)

            def call(*arguments: object) -> object:
                calls.append(name)
                return original(*arguments)

            self.patch(os, name, call)

        for name in ("pwritev", "pwrite", "write", "fdatasync", "fsync"):
            watch(name)
        self.write(file, *[record(number, workload=bytes(1000)) for number in range(1000)])
        self.assertEqual(calls, ["pwritev", "fdatasync"])

    def test_written_in_parts(self) -> None:
        """
        What the system takes in parts is one batch all the same.
        """
        file = self.open()
        pwritev, pwrite = os.pwritev, os.pwrite
        self.patch(os, "pwritev", lambda descriptor, parts, offset: pwritev(descriptor, [b"".join(parts)[:20]], offset))
        self.patch(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, bytes(data[:70]), offset))
        self.write(file, record(1), record(2))
        file.close()
        self.assertEqual(self.stored(), [fields_of(record(1)), fields_of(record(2))])

    def test_no_directory(self) -> None:
        """
        A directory that is not there is said so, and is not made.
        """
        self.path = self.directory / "none" / "queue.log"
        self.assert_refuses("its directory does not exist")
        self.assertFalse(self.path.parent.exists())
        (self.directory / "none").touch()
        self.assert_refuses("its directory is none")

    def test_a_directory(self) -> None:
        """
        A directory is no file.
        """
        self.path.mkdir()
        self.assert_refuses("it is a directory")

    def test_no_file(self) -> None:
        """
        What is neither a file nor a directory is refused, and is still there.
        """
        os.mkfifo(self.path)
        self.assert_refuses("is not a regular file")
        self.assertTrue(self.path.is_fifo())
        self.path = Path("/dev/null")
        self.assert_refuses("is not a regular file")
        self.assertTrue(self.path.is_char_device())

    def test_no_permission(self) -> None:
        """
        A directory, or a file, that this user may not write to is said so.
        """
        self.open().close()
        program = (
            "import os; from gearsvc.interfaces import StoreError; from gearsvc.stores.file import QueueFile\n"
            "os.setgid(65534); os.setuid(65534)\n"
            f"try: QueueFile({str(self.path)!r}, print).open()\n"
            "except StoreError as error: print(error)"
        )
        for mode in (0o755, 0o777):
            self.directory.chmod(mode)
            ended = subprocess.run(
                [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
            )
            self.assertEqual(ended.stderr, "")
            self.assertEqual(
                ended.stdout,
                f"The queue file {self.path} fails: this user may not open or write it;"
                " check who owns the file and its directory, and how the file system is mounted.\n",
            )

    def test_removed(self) -> None:
        """
        When the file is moved away or replaced under a running server, commits
        fail (what they wrote would be lost), until it is back.
        """
        file = self.open()
        self.write(file, record(1))
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        error = self.assertRaises(StoreError, self.write, file, record(2))
        self.assert_says(error, "moved, removed or replaced")
        self.assertFalse(error.uncertain)
        self.path.write_bytes(b"")
        self.assertRaises(StoreError, self.write, file, record(3))
        away.rename(self.path)
        self.write(file, record(4))
        file.close()
        self.assertEqual(self.stored(), [fields_of(record(1)), fields_of(record(4))])

    def test_removed_at_the_end(self) -> None:
        """
        A file that is gone when it is to be closed is a line in the log, and is
        not made again.
        """
        file = self.open()
        self.write(file, record(1))
        self.path.unlink()
        file.close()
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("moved, removed or replaced", self.warnings[0])
        self.assertEqual(os.listdir(self.directory), [])

    def test_changed(self) -> None:
        """
        When somebody else writes to the file, or cuts it, nothing more is
        written to it, for it would be in the wrong place; and the line that
        says so says what to do.
        """
        file = self.open()
        self.write(file, record(1))
        size = self.path.stat().st_size
        with open(self.path, "ab") as other:
            other.write(b"more")
        error = self.assertRaises(StoreError, self.write, file, record(2))
        self.assert_says(error, f"it has {size + 4} bytes in place of {size}", "restart")
        file.close()
        self.assertEqual(self.path.stat().st_size, size + 4)
        self.warnings.clear()
        self.assertEqual(self.stored(), [fields_of(record(1))])
        self.assertIn(" 4 bytes were cut off", self.warnings[0])

    def test_two_servers(self) -> None:
        """
        A second server on one file is refused and told which the first is,
        though it calls the file by another name; when the first has ended,
        nothing of the lock is left.
        """
        file = self.open()
        self.assert_refuses("in use by another server", f"process {os.getpid()}")
        link = self.directory / "link.log"
        link.symlink_to(self.path)
        path, self.path = self.path, link
        self.assert_refuses("in use by another server")
        self.path = path
        self.write(file, record(1))
        file.close()
        self.assertEqual(sorted(os.listdir(self.directory)), ["link.log", "queue.log"])

    def test_lock_of_the_dead(self) -> None:
        """
        A lock file that a killed server left is not in the way.
        """
        Path(f"{self.path}.lock").write_text("process 1 on nowhere, with a long name that has to go")
        self.open()
        self.assertEqual(Path(f"{self.path}.lock").read_text().split(" on ")[0], f"process {os.getpid()}")

    def test_symbolic_link(self) -> None:
        """
        A path that is a symbolic link stays one, and the file is where it
        points to, made there if need be.
        """
        target = self.directory / "elsewhere"
        target.mkdir()
        self.path.symlink_to(target / "real.log")
        file = self.open()
        self.write(file, record(1))
        file.close()
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(jobs_of((target / "real.log").read_bytes()), [fields_of(record(1))])
        self.assertEqual(os.listdir(target), ["real.log"])

    def test_large(self) -> None:
        """
        A workload that is larger than anything that is read at once comes back,
        between small ones.
        """
        jobs = [record(1), record(2, workload=os.urandom(5_000_000)), record(3)]
        file = self.open()
        self.write(file, *jobs)
        self.write(file, record(2, workload=jobs[1].workload, attempts=1), record(4))
        file.close()
        jobs[1].attempts = 1
        self.assertTrue(self.stored() == [fields_of(job) for job in [*jobs, record(4)]], "what was stored has changed")
