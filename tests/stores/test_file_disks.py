"""
What the queue file does when disks fail: on small real ones (so these tests
need root), and with a system that is made to say what disks seldom do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from gearsvc.interfaces import StoreError
from gearsvc.stores import file as file_module, reconnecting
from gearsvc.stores.file import QueueFile
from gearsvc.testing import fields_of, record
from tests.stores.queuefiles import QueueFileCase, jobs_of


class DiskCase(QueueFileCase):
    """
    A test that mounts disks.
    """

    def mount(self, directory: Path, *options: str) -> None:
        """
        Mount something on a new directory until the test ends.
        """
        directory.mkdir()
        subprocess.run(["mount", *options, str(directory)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(directory)], check=True)

    def fill(self, path: Path) -> None:
        """
        Write a file that takes all the room there is.
        """
        with contextlib.suppress(OSError), open(path, "wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass


class SmallDiskTests(DiskCase):
    """
    A disk of two megabytes.
    """

    def setUp(self) -> None:
        """
        Mount it.
        """
        super().setUp()
        self.disk = self.directory / "disk"
        self.mount(self.disk, "-t", "tmpfs", "-o", "size=2m", "tmpfs")
        self.path = self.disk / "queue.log"

    def remount(self, options: str) -> None:
        """
        Change the disk.
        """
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.disk)], check=True)

    def test_full(self) -> None:
        """
        On a full disk commits fail and say so, and none of them is half there:
        what was written of it is cut off at once.  With room again they
        succeed, in the same server.
        """
        file = self.open()
        self.write(file, record(1))
        size = self.path.stat().st_size
        large = [record(number, workload=bytes(100_000)) for number in range(2, 32)]
        for _ in range(2):
            error = self.assertRaises(StoreError, self.write, file, *large)
            self.assert_says(error, "the disk is full")
            self.assertFalse(error.uncertain)
            self.assertEqual(self.path.stat().st_size, size)
        self.write(file, record(39))
        self.remount("size=20m")
        self.write(file, *large)
        self.write(file, record(40))
        file.close()
        self.assertEqual(self.stored(), [fields_of(job) for job in [record(1), record(39), *large, record(40)]])
        self.assertEqual(self.warnings, [])

    def test_full_at_start(self) -> None:
        """
        A disk with no room at all is said so when the file is made, or opened,
        and what is there is left; then it can be opened.
        """
        ballast = self.disk / "ballast"
        self.fill(ballast)
        self.assert_refuses("the disk is full")
        self.assertEqual(os.listdir(self.disk), ["ballast"])
        ballast.unlink()
        file = self.open()
        # To the last byte of a page, so that the next one needs another.
        self.write(file, record(1))
        room = -(self.path.stat().st_size + 32 + 50 + len(b"H:test:2resize") + 32) % 4096
        self.write(file, record(2, workload=bytes(room)))
        file.close()
        self.assertEqual(self.path.stat().st_size % 4096, 0)
        self.fill(ballast)
        self.assert_refuses("the disk is full")
        ballast.unlink()
        self.assertEqual(len(self.stored()), 2)

    def test_full_at_the_end(self) -> None:
        """
        A disk that is full when the file is closed costs a line in the log, and
        nothing else.
        """
        file = self.open()
        room = -(self.path.stat().st_size + 32 + 50 + len(b"H:test:2resize")) % 4096
        self.write(file, record(2, workload=bytes(room)))
        self.assertEqual(self.path.stat().st_size % 4096, 0)
        self.fill(self.disk / "ballast")
        file.close()
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("the disk is full", self.warnings[0])
        (self.disk / "ballast").unlink()
        self.assertEqual(len(self.stored()), 1)

    def test_full_of_what_is_over(self) -> None:
        """
        On a disk that has no room for a compaction, commits go on until it is
        full, and the file is compacted once there is room.
        """
        self.patch(file_module, "COMPACT_BYTES", 100_000)
        self.patch(file_module, "COMPACT_AGAIN_SECONDS", 0.0)
        file = self.open()
        keep = [record(number, workload=bytes(100_000)) for number in range(8)]
        self.write(file, *keep)
        gone = 0
        with self.assertRaises(StoreError):
            for gone in count(100):
                self.write(file, record(gone, workload=bytes(50_000)))
                self.write(file, removed=[record(gone, workload=bytes(50_000))])
        self.assertGreater(gone, 115)
        self.assertIn("could not be compacted, and grows until it can be", self.warnings[0])
        self.assertIn("the disk is full", self.warnings[0])
        self.remount("size=20m")
        self.write(file, record(900))
        running = file._compaction
        assert running is not None
        running._thread.join(20)
        self.assertLess(self.path.stat().st_size, 900_000)
        self.assertEqual(len(self.news), 1)
        file.close()
        self.assertEqual(self.stored(), [fields_of(job) for job in [*keep, record(900)]])

    def test_read_only(self) -> None:
        """
        A disk that can't be written is said so when the file is opened; once it
        can be, all is well.
        """
        file = self.open()
        self.write(file, record(1))
        file.close()
        self.remount("ro")
        self.assert_refuses("it can't be written; check who owns the file and its directory, and how the file system is mounted")
        self.remount("rw")
        self.assertEqual(self.stored(), [fields_of(record(1))])


class BrokenDiskTests(DiskCase):
    """
    A disk that takes writes and does not keep them: its sync fails, once, and
    then the system takes what it has in memory for written.

    (A file system in a file on another one that is full.)
    """

    def test_sync_fails(self) -> None:
        """
        A batch whose sync failed is refused as uncertain; no other one is
        committed before all that was is on the disk anew; and in the end all
        of that is there, though the system forgets what it has in memory.
        """
        ram, disk = self.directory / "ram", self.directory / "disk"
        self.mount(ram, "-t", "tmpfs", "-o", "size=3m", "tmpfs")
        with open(ram / "image", "wb") as image:
            image.truncate(16 * 1024 * 1024)
        subprocess.run(["mkfs.ext2", "-q", "-F", "-E", "nodiscard", str(ram / "image")], check=True)
        self.mount(disk, "-o", "loop", str(ram / "image"))
        self.patch(reconnecting, "LAST_PAUSE", 0.0)
        self.patch(reconnecting, "FIRST_PAUSE", 0.0)
        self.path = disk / "queue.log"
        file = self.open()
        self.write(file, record(1), record(2, workload=bytes(10_000)))
        self.write(file, record(3), removed=[record(1)])
        subprocess.run(["sync", "-f", str(disk)], check=True)
        self.fill(ram / "ballast")
        error = self.assertRaises(StoreError, self.write, file, record(4, workload=b"x" * 300_000))
        self.assertTrue(error.uncertain)
        self.assert_says(error)
        for _ in range(3):
            error = self.assertRaises(StoreError, self.write, file, record(5, workload=b"x" * 300_000))
            self.assert_says(error)
        (ram / "ballast").unlink()
        before = self.path.stat().st_ino
        # That it was refused is not to be undone by what the disk has.
        self.write(file, record(6), removed=[record(4), record(5)])
        self.assertNotEqual(self.path.stat().st_ino, before)
        self.write(file, record(7))
        expected = [fields_of(job) for job in (record(2, workload=bytes(10_000)), record(3), record(6), record(7))]
        with open(self.path, "rb") as other:
            os.posix_fadvise(other.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.assertEqual(jobs_of(self.path.read_bytes()), expected)
        file.close()
        self.assertEqual(self.stored(), expected)
        self.assertEqual(self.warnings, [])


class SystemTests(QueueFileCase):
    """
    What the system may say.
    """

    def setUp(self) -> None:
        """
        No pauses.
        """
        super().setUp()
        self.patch(reconnecting, "LAST_PAUSE", 0.0)
        self.patch(reconnecting, "FIRST_PAUSE", 0.0)

    def let(self, name: str, number: int, times: int = 1, first: Callable[..., object] | None = None) -> None:
        """
        Let a call of the system fail.

        @param number: the error.
        @param times: how often.
        @param first: what it does all the same.
        """
        original = getattr(os, name)
        left = times

        def call(*arguments: Any) -> Any:
            nonlocal left
            if left:
                left -= 1
                if first is not None:
                    first(*arguments)
                raise OSError(number, os.strerror(number))
            return original(*arguments)

        self.patch(os, name, call)

    def filled(self) -> QueueFile:
        """
        @return: an open file with a job.
        """
        file = self.open()
        self.write(file, record(1))
        return file

    def test_reasons(self) -> None:
        """
        What may be done something about is said in words, anything else as the
        system has it; and a write that failed is not uncertain.
        """
        file = self.filled()
        for number, words in (
            (errno.ENOSPC, "the disk is full"),
            (errno.EDQUOT, "the disk quota is used up"),
            (errno.EFBIG, "ulimit -f"),
            (errno.EIO, "look into the system's log"),
            (errno.EROFS, "how the file system is mounted"),
            (errno.ENOMEM, "Cannot allocate memory"),
        ):
            self.let("pwritev", number)
            error = self.assertRaises(StoreError, self.write, file, record(2))
            self.assert_says(error, words)
            self.assertFalse(error.uncertain)
        self.write(file, record(3))
        file.close()
        self.assertEqual(self.stored(), [fields_of(record(1)), fields_of(record(3))])

    def test_sync_fails(self) -> None:
        """
        After a sync that failed, the next commit is made to a new file, in
        which the batch that failed is not; and the jobs keep their places.
        """
        file = self.filled()
        self.write(file, record(2), record(3))
        self.write(file, record(1, attempts=2), removed=[record(2)])
        before = self.path.stat().st_ino
        self.let("fdatasync", errno.EIO)
        error = self.assertRaises(StoreError, self.write, file, record(4))
        self.assert_says(error, "input/output error")
        self.assertTrue(error.uncertain)
        expected = [fields_of(record(1, attempts=2)), fields_of(record(3))]
        self.assertEqual(jobs_of(self.path.read_bytes()), expected, "the batch was not cut off")
        self.write(file, record(5))
        self.assertNotEqual(self.path.stat().st_ino, before)
        self.write(file, record(6))
        file.close()
        self.assertEqual(self.stored(), [*expected, fields_of(record(5)), fields_of(record(6))])
        self.assertEqual(sorted(os.listdir(self.directory)), ["queue.log"])

    def test_closed_after_a_failure(self) -> None:
        """
        A file that is closed while its sync fails has what was committed, and
        nothing of the batch that failed.
        """
        file = self.filled()
        self.let("fdatasync", errno.EIO)
        self.assertRaises(StoreError, self.write, file, record(2))
        file.close()
        self.assertEqual(self.stored(), [fields_of(record(1))])
        self.assertEqual(self.warnings, [])

    def test_made_anew_in_vain(self) -> None:
        """
        While the new file can't be made either, commits fail with the reason,
        and nothing is left beside the file; not each of them tries, for it may
        take long.
        """
        file = self.filled()
        self.let("fdatasync", errno.EIO, times=4)
        self.assertTrue(self.assertRaises(StoreError, self.write, file, record(2)).uncertain)
        for _ in range(3):
            error = self.assertRaises(StoreError, self.write, file, record(2))
            self.assert_says(error, "input/output error")
            self.assertFalse(error.uncertain)
            self.assertEqual(sorted(os.listdir(self.directory)), ["queue.log", "queue.log.lock"])
        self.write(file, record(3))
        self.patch(reconnecting, "FIRST_PAUSE", 60.0)
        self.let("fdatasync", errno.EIO, times=2)
        opened: list[object] = []
        self.assertRaises(StoreError, self.write, file, record(2))
        self.assertRaises(StoreError, self.write, file, record(2))
        self.let("open", errno.EIO, first=lambda *arguments: opened.append(arguments))
        error = self.assertRaises(StoreError, self.write, file, record(2))
        self.assert_says(error, "input/output error")
        self.assertEqual(opened, [])

    def test_not_cut_off(self) -> None:
        """
        Where what was written of a batch can't even be cut off, nothing is
        written behind it: the file is made anew.
        """
        file = self.filled()
        before = self.path.stat().st_ino
        self.let("pwritev", errno.ENOSPC, first=lambda descriptor, parts, offset: os.pwrite(descriptor, b"torn", offset))
        self.let("ftruncate", errno.EIO)
        self.assertRaises(StoreError, self.write, file, record(2))
        self.write(file, record(3))
        self.assertNotEqual(self.path.stat().st_ino, before)
        self.assertEqual(jobs_of(self.path.read_bytes()), [fields_of(record(1)), fields_of(record(3))])

    def test_damaged_when_made_anew(self) -> None:
        """
        What was committed, and is not what it was when the file is made anew,
        is said with the offset; the file is left.
        """
        file = self.filled()
        self.let("fdatasync", errno.EIO)
        self.assertRaises(StoreError, self.write, file, record(2))
        with open(self.path, "r+b") as other:
            other.seek(-1, os.SEEK_END)
            other.write(b"\xff")
        before = self.path.read_bytes()
        error = self.assertRaises(StoreError, self.write, file, record(3))
        self.assert_says(error, "damaged at offset 96 ")
        self.assertEqual(self.path.read_bytes(), before)

    def test_reading_fails(self) -> None:
        """
        A disk that can't be read is said so when the file is opened, and when
        it is replayed.
        """
        self.filled().close()
        self.let("preadv", errno.EIO)
        self.assert_refuses("input/output error")
        file = QueueFile(str(self.path), self.tell)
        file.open()
        self.addCleanup(file.close)
        self.let("pread", errno.EIO)
        self.assert_says(self.assertRaises(StoreError, list, file.pieces()), "input/output error")

    def test_opening_is_not_synced(self) -> None:
        """
        A file whose opening can't be synced is not opened.
        """
        self.let("fdatasync", errno.EIO)
        self.assertRaises(StoreError, self.open)
        self.assertEqual(os.listdir(self.directory), [])
        self.let("fsync", errno.EIO)
        self.assertRaises(StoreError, self.open)
        file = self.filled()
        file.close()
        self.let("fdatasync", errno.EIO)
        self.assertRaises(StoreError, self.open)
        self.assertEqual(self.stored(), [fields_of(record(1))])
