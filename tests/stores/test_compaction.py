"""
Tests for L{gearsvc.stores.compaction}: that it happens when it pays, stops
nothing, and loses nothing at whatever moment it ends.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from itertools import count
from pathlib import Path
from typing import Any

from gearsvc.interfaces import StoreError
from gearsvc.stores import compaction, file as file_module
from gearsvc.stores.compaction import Compaction, Rewriting
from gearsvc.stores.file import QueueFile
from gearsvc.stores.journal import Journal
from gearsvc.stores.journalentries import Pace, at_once
from gearsvc.testing import fields_of, record
from tests.running import wait_until
from tests.stores.queuefiles import QueueFileCase, frames_of, jobs_of


class CompactionCase(QueueFileCase):
    """
    A queue that is compacted when some kilobytes of it are over.
    """

    def setUp(self) -> None:
        """
        Choose the limits.
        """
        super().setUp()
        self.patch(file_module, "COMPACT_BYTES", 20_000)
        self.patch(compaction, "FRAME_BYTES", 3_000)

    def fill(self, file: QueueFile, last: int = 200) -> list[Any]:
        """
        Commit jobs, most of which are over at the end; it pays to compact the
        file from the last commit on.

        @return: what is stored then.
        """
        jobs = [record(number, workload=bytes(300), unique=b"u%d" % number) for number in range(last)]
        for start in range(0, last, 20):
            self.write(file, *jobs[start : start + 20])
        jobs[5].attempts = 1
        self.write(file, jobs[5])
        self.write(file, removed=[job for number, job in enumerate(jobs) if number % 5])
        return [fields_of(job) for job in jobs[::5]]

    def wait(self, file: QueueFile) -> None:
        """
        Wait until nothing is being compacted.
        """
        running = file._compaction
        assert running is not None, "nothing was compacted"
        wait_until(lambda: not running.running, "the compaction is over")


class CompactionTests(CompactionCase):
    """
    What a compaction does.
    """

    def test_compacted(self) -> None:
        """
        When more is over than is needed, the file is made anew: it holds what
        is stored, in order, in frames of some size, and not much more; the log
        hears of it, nothing is left beside it, and commits go on.
        """
        file = self.open()
        stored = self.fill(file)
        self.wait(file)
        after = self.path.read_bytes()
        self.assertEqual(jobs_of(after), stored)
        entries = sum(50 + sum(len(part) for part in job if isinstance(part, bytes)) for job in stored)
        frames = frames_of(after)
        self.assertEqual(len(after), 64 + entries + 32 * len(frames))
        self.assertEqual(max(end - start for start, end in frames) // 1000, 3)
        self.assertEqual(len(self.news), 1)
        self.assertRegex(self.news[0], f"was compacted from [0-9]+ to {len(after)} bytes")
        self.write(file, record(900))
        file.close()
        self.assertEqual(sorted(os.listdir(self.directory)), ["queue.log"])
        self.assertEqual(self.stored(), [*stored, fields_of(record(900))])
        self.assertEqual(self.warnings, [])

    def test_when_it_pays(self) -> None:
        """
        A file is not compacted while less is over than is needed, or while only
        little is; nor before it was read.
        """
        jobs = [record(number, workload=bytes(1000)) for number in range(100)]
        file = self.open()
        self.write(file, *jobs)
        self.write(file, removed=jobs[:18])
        self.assertIsNone(file._compaction, "less than 20,000 bytes are over")
        self.write(file, removed=jobs[18:45])
        self.assertIsNone(file._compaction, "more is needed than is over")
        file.close()
        file = QueueFile(str(self.path), self.tell)
        file.open()
        self.addCleanup(file.close)
        self.write(file, removed=jobs[45:60])
        self.assertIsNone(file._compaction, "nobody knows how much is needed")
        self.assertEqual(sum(map(len, file.pieces())), 40)
        self.write(file)
        self.wait(file)
        self.assertEqual(jobs_of(self.path.read_bytes()), [fields_of(job) for job in jobs[60:]])

    def test_again_and_again(self) -> None:
        """
        A queue through which jobs go all the time stays small, and what is
        needed is known for good: a million bytes go through, and the file
        never has a tenth of them.
        """
        file = self.open()
        largest = 0
        waiting = [record(number, workload=bytes(100)) for number in range(20)]
        self.write(file, *waiting)
        for number in range(20, 1500):
            new = record(number, workload=bytes(500))
            waiting.append(new)
            self.write(file, new, removed=[waiting.pop(0)])
            if number % 10 == 0:
                waiting[0].attempts = 1
                self.write(file, waiting[0])
            if file._compaction is not None and number % 50 == 0:
                self.wait(file)
            largest = max(largest, self.path.stat().st_size)
        self.assertLess(largest, 100_000)
        self.assertGreater(len(self.news), 10)
        file.close()
        self.assertEqual(self.stored(), [fields_of(job) for job in waiting])

    def test_nothing_left(self) -> None:
        """
        A queue that has run empty is a header.
        """
        file = self.open()
        jobs = [record(number, workload=bytes(1000)) for number in range(100)]
        self.write(file, *jobs)
        self.write(file, removed=jobs)
        self.wait(file)
        self.assertEqual(self.path.stat().st_size, 64)
        file.close()
        self.assertEqual(self.stored(), [])

    def test_owner(self) -> None:
        """
        The new file has the owner and the permissions of the old one, and
        stands where a symbolic link points to.
        """
        link = self.directory / "link.log"
        link.symlink_to(self.path)
        self.open().close()
        self.path.chmod(0o640)
        os.chown(self.path, 3, 4)
        before = self.path.stat().st_ino
        target, self.path = self.path, link
        file = self.open()
        self.fill(file)
        self.wait(file)
        status = target.lstat()
        self.assertNotEqual(status.st_ino, before)
        self.assertEqual((status.st_mode & 0o777, status.st_uid, status.st_gid), (0o640, 3, 4))
        self.assertTrue(link.is_symlink())

    def test_nobody_elses_permissions(self) -> None:
        """
        Where the owner can't be kept, the new file is for the server's user
        alone.
        """

        def refuse(*arguments: object) -> None:
            raise PermissionError(errno.EPERM, "not yours")

        file = self.open()
        self.path.chmod(0o664)
        os.chown(self.path, 3, 4)
        self.patch(os, "fchown", refuse)
        self.fill(file)
        self.wait(file)
        status = self.path.stat()
        self.assertEqual((status.st_mode & 0o777, status.st_uid), (0o600, os.getuid()))

    def test_commits_go_on(self) -> None:
        """
        Commits go on while the file is compacted, however long that takes, and
        are in the new file; those that came last too.
        """
        hold = threading.Event()
        pace = Compaction.pace

        def held(running: Compaction) -> None:
            hold.wait()
            pace(running)

        self.patch(Compaction, "pace", held)
        file = self.open()
        self.addCleanup(hold.set)
        stored = self.fill(file)
        more = [record(number, workload=bytes(1000)) for number in range(1000, 1500)]
        for start in range(0, 500, 10):
            self.write(file, *more[start : start + 10])
        self.write(file, removed=more[::2])
        self.write(file, removed=[record(0, workload=bytes(300), unique=b"u0")])
        self.assertEqual(self.news, [])
        hold.set()
        self.wait(file)
        self.assertEqual(len(self.news), 1)
        self.assertEqual(jobs_of(self.path.read_bytes()), [*stored[1:], *[fields_of(job) for job in more[1::2]]])
        live = file._live
        file.close()
        file = self.open()
        self.assertEqual(file._live, live, "how much is needed is not what was counted")

    def test_commits_are_too_fast(self) -> None:
        """
        A compaction ends though more is committed meanwhile, each time, than it
        may copy with commits stopped.
        """
        self.patch(compaction, "LAST_BYTES", -1)
        file = self.open()
        numbers = count(1000)
        follow = Rewriting.follow

        def outrun(rewriting: Rewriting, source: Journal, start: int, end: int, pace: Pace = at_once) -> None:
            follow(rewriting, source, start, end, pace)
            if not file._mutex.locked():
                self.write(file, record(next(numbers), workload=bytes(6000)))

        self.patch(Rewriting, "follow", outrun)
        self.patch(Compaction, "running", True)
        self.patch(Compaction, "start", lambda running: None)
        stored = self.fill(file)
        running = file._compaction
        assert running is not None
        running._run()
        file._compaction = None
        self.assertEqual(len(self.news), 1)
        late = [fields_of(record(number, workload=bytes(6000))) for number in range(1000, next(numbers))]
        self.assertEqual(len(late), 1 + compaction.LAST_ROUNDS)
        self.assertEqual(jobs_of(self.path.read_bytes()), [*stored, *late])

    def test_closed_meanwhile(self) -> None:
        """
        A file that is closed in the midst of a compaction keeps what it has, and
        nothing is left of the other.
        """
        self.patch(compaction, "WORK_SECONDS", 0.0)
        self.patch(compaction, "PAUSE_SECONDS", 60.0)
        file = self.open()
        stored = self.fill(file)
        wait_until((self.directory / "queue.log.new").exists, "the compaction has begun")
        file.close()
        self.assertEqual(os.listdir(self.directory), ["queue.log"])
        self.assertEqual(self.stored(), stored)

    def test_reads_go_on(self) -> None:
        """
        Who reads the file when it is compacted reads on in the old one.
        """
        self.patch(file_module, "REPLAY_ROWS", 10)
        file = self.open()
        stored = self.fill(file)
        self.wait(file)
        pieces = file.pieces()
        found = next(pieces)
        file._live = 0
        self.write(file, *[record(number, workload=bytes(1000), attempts=1) for number in range(1000, 1030)])
        self.wait(file)
        self.assertEqual(len(self.news), 2)
        for piece in pieces:
            found += piece
        self.assertEqual([fields_of(job) for job in found], stored)


class Disk:
    """
    What a crash of the machine leaves of a directory: of each file at least
    what was synced, under the names that were synced or those of the moment.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._contents: dict[int, bytes] = {}
        self._names = self._names_now()

    def _names_now(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self._directory)}

    def synced(self, descriptor: int) -> None:
        """
        A file or a directory was synced.
        """
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._names = self._names_now()
        else:
            self._contents[status.st_ino] = os.pread(descriptor, status.st_size, 0)

    def after_a_crash(self) -> set[tuple[bytes | None, ...]]:
        """
        @return: what there may be, of the queue and of the new file.
        """
        now = {inode: (self._directory / name).read_bytes() for name, inode in self._names_now().items() if name != "queue.log.lock"}
        return {
            tuple(contents.get(names.get(name, 0)) for name in ("queue.log", "queue.log.new"))
            for names in (self._names, self._names_now())
            for contents in (self._contents, {**self._contents, **now})
        }


class CrashTests(CompactionCase):
    """
    The server, or the machine, ends in the midst of it.
    """

    def test_every_moment(self) -> None:
        """
        At every moment of a compaction (before and behind each call that
        changes something, with commits in between), a crash of the server, and
        one of the machine that takes what was not synced, the directory or
        files or both, leave all that was committed, and nothing else.
        """
        file = self.open()
        model = {job[0]: job for job in self.fill_model()}
        disk = Disk(self.directory)
        # What the disk shows, and what is to be there: when.
        moments: dict[tuple[tuple[bytes | None, ...], tuple[Any, ...]], str] = {}
        quiet = False

        def look(moment: str) -> None:
            # (In a commit, it is not yet said what is to be there.)
            if not quiet:
                for state in disk.after_a_crash():
                    moments.setdefault((state, tuple(model.values())), moment)

        def watch(name: str) -> None:
            original = getattr(os, name)

            def call(*arguments: Any) -> Any:
                look(f"before {name}")
                result = original(*arguments)
                if name in ("fsync", "fdatasync"):
                    disk.synced(arguments[0])
                look(f"behind {name}")
                if name == "fdatasync" and not quiet and not file._mutex.locked():
                    commit(next(late))
                return result

            self.patch(os, name, call)

        def commit(number: int) -> None:
            nonlocal quiet
            job, gone = record(number, workload=bytes(200)), next(iter(model))
            quiet = True
            self.write(file, job, removed=[record(0, handle=gone)])
            quiet = False
            del model[gone]
            model[job.handle] = fields_of(job)
            look("after a commit")

        commits, late = iter(range(1000, 1010)), count(2000)
        paces = count()

        def pace(running: Compaction) -> None:
            if next(paces) % 3 == 0 and (number := next(commits, None)):
                commit(number)

        self.patch(Compaction, "running", True)
        self.patch(Compaction, "pace", pace)
        self.patch(Compaction, "start", lambda running: None)
        self.fill(file)
        running = file._compaction
        assert running is not None and file._file is not None
        disk.synced(file._file.descriptor)
        calls = ("open", "pwritev", "fdatasync", "fsync", "rename", "unlink", "ftruncate")
        originals = {name: getattr(os, name) for name in calls}
        for name in calls:
            watch(name)
        running._run()
        commit(3000)
        for name, original in originals.items():
            setattr(os, name, original)
        file._compaction = None
        file.close()
        self.assertEqual(self.warnings, [])
        self.assertIsNone(next(commits, None), "no commits came between")
        self.assertGreater(len(moments), 20)
        for number, (((content, new), expected), moment) in enumerate(moments.items()):
            directory = self.directory / f"moment {number}"
            directory.mkdir()
            self.path = directory / "queue.log"
            self.assertIsNotNone(content, moment)
            for path, data in ((self.path, content), (directory / "queue.log.new", new)):
                if data is not None:
                    path.write_bytes(data)
            self.assertEqual(self.stored(), list(expected), moment)
            self.assertEqual(self.warnings, [], moment)
            self.assertEqual(os.listdir(directory), ["queue.log"], moment)

    def fill_model(self) -> list[Any]:
        """
        @return: what L{fill} leaves.
        """
        jobs = [record(number, workload=bytes(300), unique=b"u%d" % number) for number in range(0, 200, 5)]
        jobs[1].attempts = 1
        return [fields_of(job) for job in jobs]

    def test_what_it_left(self) -> None:
        """
        A new file that a compaction left is removed at the next start, and
        counts for nothing; a file that is refused leaves it alone.
        """
        file = self.open()
        self.write(file, record(1))
        file.close()
        left = self.directory / "queue.log.new"
        left.write_bytes(self.path.read_bytes()[:90])
        self.assertEqual(self.stored(), [fields_of(record(1))])
        self.assertFalse(left.exists())
        left.write_bytes(b"mine")
        self.path.write_bytes(b"not a queue")
        self.assert_refuses("is not a queue")
        self.assertTrue(left.exists())


class FailureTests(CompactionCase):
    """
    A compaction that can't be done.
    """

    def fail_in(self, module: Any, name: str, error: BaseException, count: int = 1) -> None:
        """
        Let a function of the system fail from its nth call on, in a compaction
        alone.
        """
        original = getattr(module, name)
        calls = 0

        def call(*arguments: Any) -> Any:
            nonlocal calls
            if threading.current_thread().name == "queue file compaction":
                calls += 1
                if calls >= count:
                    raise error
            return original(*arguments)

        self.patch(module, name, call)

    def test_not_possible(self) -> None:
        """
        Whatever fails, the old file is the queue and goes on, the new one is
        removed, and the log has one line; it is not tried again for a while.
        """
        full = OSError(errno.ENOSPC, "No space left on device")
        broken = OSError(errno.EIO, "Input/output error")
        for name, error, count in (
            ("pwritev", full, 1),
            ("pwritev", full, 4),
            ("fdatasync", broken, 1),
            ("rename", PermissionError(errno.EACCES, ""), 1),
            ("pread", broken, 1),
            ("preadv", broken, 1),
        ):
            self.path = self.directory / f"{name}{count}.log"
            self.warnings.clear()
            file = self.open()
            original = getattr(os, name)
            self.fail_in(os, name, error, count)
            stored = self.fill(file)
            self.wait(file)
            self.write(file, record(900))
            self.assertEqual(len(self.warnings), 1, name)
            self.assertIn(f"The queue file {self.path} could not be compacted, and grows until it can be", self.warnings[0])
            self.assertFalse(os.path.exists(f"{self.path}.new"), name)
            self.write(file, record(901))
            self.assertEqual(len(self.warnings), 1, name)
            setattr(os, name, original)
            file._compact_after = 0.0
            self.write(file, record(902))
            self.wait(file)
            self.assertEqual(len(self.warnings), 1, name)
            self.assertEqual(jobs_of(self.path.read_bytes()), [*stored, *[fields_of(record(number)) for number in (900, 901, 902)]])
        self.assertEqual(len(self.news), 6)

    def test_directory_not_synced(self) -> None:
        """
        When the new file is in place, and a crash of the machine might undo
        that, nothing is committed before it can't.
        """
        self.fail_in(os, "fsync", OSError(errno.EIO, ""))
        file = self.open()
        stored = self.fill(file)
        self.wait(file)
        self.assertEqual(len(self.warnings), 1)
        inode = self.path.stat().st_ino
        self.write(file, record(900))
        self.assertNotEqual(self.path.stat().st_ino, inode, "the file was not made anew")
        file.close()
        self.assertEqual(os.listdir(self.directory), ["queue.log"])
        self.assertEqual(self.stored(), [*stored, fields_of(record(900))])

    def test_damaged_meanwhile(self) -> None:
        """
        Damage that a compaction meets is told with its offset; the file is left
        as it is.
        """
        file = self.open()
        self.patch(Compaction, "start", lambda running: None)
        self.fill(file)
        running = file._compaction
        assert running is not None
        start, _ = frames_of(self.path.read_bytes())[3]
        with open(self.path, "r+b") as other:
            other.seek(start + 50)
            other.write(b"\xff\xff")
        before = self.path.read_bytes()
        running._run()
        file._compaction = None
        self.assertEqual(len(self.warnings), 1)
        self.assertIn(f"damaged at offset {start} of {len(before)}", self.warnings[0])
        self.assertEqual(self.path.read_bytes(), before)

    def test_moved_meanwhile(self) -> None:
        """
        When the file is moved away in the midst of it, the new one does not
        take its place.
        """
        file = self.open()
        self.patch(Compaction, "start", lambda running: None)
        stored = self.fill(file)
        running = file._compaction
        assert running is not None
        away = self.directory / "away"
        self.path.rename(away)
        running._run()
        file._compaction = None
        self.assertIn("moved, removed or replaced", self.warnings[0])
        self.assertFalse(self.path.exists())
        self.assertEqual(jobs_of(away.read_bytes()), stored)

    def test_full_by_ourselves(self) -> None:
        """
        A disk that a compaction has filled has room for a commit: the
        compaction is given up for it.
        """
        full = False
        pwritev = os.pwritev

        def write(descriptor: int, parts: list[bytes], offset: int) -> int:
            if full and threading.current_thread().name != "queue file compaction" and (self.directory / "queue.log.new").exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwritev(descriptor, parts, offset)

        self.patch(compaction, "WORK_SECONDS", 0.0)
        self.patch(compaction, "PAUSE_SECONDS", 60.0)
        self.patch(os, "pwritev", write)
        file = self.open()
        stored = self.fill(file)
        wait_until((self.directory / "queue.log.new").exists, "the compaction has begun")
        full = True
        self.write(file, record(900))
        file.close()
        self.assertEqual(self.stored(), [*stored, fields_of(record(900))])

    def test_unknown(self) -> None:
        """
        A bug in it is a line of the log, too, and does not come each time.
        """
        self.fail_in(compaction, "find_live", ZeroDivisionError("by hand"))
        file = self.open()
        self.fill(file)
        self.wait(file)
        self.write(file, record(900))
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("ZeroDivisionError by hand", self.warnings[0])


    def test_commit_fails_meanwhile(self) -> None:
        """
        A commit that fails says so though a compaction runs, and the compaction
        does not bring it back.
        """
        hold = threading.Event()
        pace = Compaction.pace

        def held(running: Compaction) -> None:
            hold.wait()
            pace(running)

        self.patch(Compaction, "pace", held)
        file = self.open()
        self.addCleanup(hold.set)
        stored = self.fill(file)
        fdatasync = os.fdatasync
        working = False

        def sync(descriptor: int) -> None:
            if not working:
                raise OSError(errno.EIO, "Input/output error")
            fdatasync(descriptor)

        self.patch(os, "fdatasync", sync)
        error = self.assertRaises(StoreError, self.write, file, record(900))
        working = True
        self.assertTrue(error.uncertain)
        hold.set()
        self.write(file, record(901))
        file.close()
        self.assertEqual(self.stored(), [*stored, fields_of(record(901))])
