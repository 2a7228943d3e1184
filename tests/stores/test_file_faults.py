"""
What clients and workers see of a server whose queue file is in trouble.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import AT_ONCE, ServerFailed, free_port, start_server, wait_until
from tests.stores.faults import BACK, BROKEN, ServerCase
from tests.stores.queuefiles import frames_of, jobs_of


class FileFaultTests(ServerCase, SynchronousTestCase):
    """
    A server with its queue on a disk of two megabytes.
    """

    def setUp(self) -> None:
        """
        Mount the disk; the server's log is elsewhere.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.disk = self.directory / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(self.disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(self.disk)], check=True)
        self.path = self.disk / "queue.log"

    def start(self) -> None:
        """
        Start the server on the file.
        """
        self.start_with("-q", "file", "--file-path", str(self.path), "--verbose", "NOTICE")

    def assert_does_not_start(self, *words: str) -> None:
        """
        Hold that a server does not start, and says why in one line.
        """
        (self.directory / "second").mkdir(exist_ok=True)
        with self.assertRaises(ServerFailed) as caught:
            start_server(
                "-q", "file", "--file-path", str(self.path), directory=self.directory / "second", kind="gearsvc", port=free_port()
            )
        output = str(caught.exception)
        self.assertIn("ended with 1", output)
        self.assertNotIn("Traceback", output)
        # (The log and the standard error stream are one file here.)
        said = [line for line in output.splitlines() if words[0] in line and "#error" not in line]
        self.assertEqual(len(said), 1, output)
        for word in words:
            self.assertIn(word, said[0])

    def test_disk_full(self) -> None:
        """
        On a full disk, submissions are refused under load and everything else
        goes on; once there is room they are taken, and what was acknowledged,
        and nothing else, is there after a crash.
        """
        ballast = self.disk / "ballast"

        def fill() -> None:
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    return

        self.assert_survives(fill, ballast.unlink, b"the disk is full")

    def test_moved(self) -> None:
        """
        While somebody has moved the file away, submissions are refused, with
        the reason, under load; once it is back they are taken.
        """
        away = self.disk / "away"
        self.assert_survives(lambda: self.path.rename(away), lambda: away.rename(self.path), b"was moved, removed or replaced")

    def test_removed(self) -> None:
        """
        When the file is removed, submissions are refused with a line that says
        what to do; once the server was started again, there is a new one.
        """
        self.start()
        client = self.connect()
        self.assertEqual(self.submit(client, b"lost with the file")[0], Type.JOB_CREATED)
        self.path.unlink()
        for _ in range(3):
            kind, error = self.submit(client, b"refused")
            self.assertEqual(kind, Type.ERROR)
            self.assertTrue(error.startswith(b"QUEUE_ERROR\0"))
            self.assertIn(b"put it back, or restart to begin with what is there", error)
        self.assert_serves()
        self.assertEqual(self.server.log.count(BROKEN), 1, self.server.log)
        self.server.stop()
        self.assertNotIn("Traceback", self.server.log)
        self.server.start()
        self.assertEqual(self.submit(self.connect(), b"in the new one")[0], Type.JOB_CREATED)

    def test_worker_outlives_a_removal_that_fails(self) -> None:
        """
        A worker whose finished job can't be removed is not troubled with it;
        the job is removed once the file is back, though nobody submits
        anything.
        """
        self.start()
        client, worker = self.connect(), self.connect()
        _, handle = self.submit(client, b"once")
        worker.write((Type.CAN_DO, b"f"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.JOB_ASSIGN, handle + b"\0f\0once"))
        away = self.disk / "away"
        self.path.rename(away)
        worker.write((Type.WORK_COMPLETE, handle + b"\0"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.NO_JOB, b""))
        wait_until(lambda: BROKEN in self.server.log, "the removal fails")
        away.rename(self.path)
        wait_until(lambda: BACK in self.server.log, "the removal succeeds")
        self.assert_two_lines()
        self.assertEqual(self.stored(), set())

    def test_second_server(self) -> None:
        """
        A second server on the same file refuses to start, and names the first;
        the first serves on.
        """
        self.start()
        self.assertEqual(self.submit(self.connect(), b"first")[0], Type.JOB_CREATED)
        self.assert_does_not_start("in use by another server", f"process {self.server.pid}", str(self.path))
        self.assertEqual(self.submit(self.connect(), b"second")[0], Type.JOB_CREATED)
        self.assertEqual(len(self.stored()), 2)

    def test_restart(self) -> None:
        """
        A server that is started again right after it was killed, or ended, is
        not kept out by what the old one left behind; and says where the queue
        is.
        """
        self.start()
        self.assertEqual(self.submit(self.connect(), b"kept")[0], Type.JOB_CREATED)
        for end in (self.server.kill, self.server.stop):
            end()
            began = time.monotonic()
            self.server.start()
            self.assertLess(time.monotonic() - began, AT_ONCE)
            self.assertEqual(self.server.status("f")[0], 1)
        self.assertIn("1 stored jobs are queued", self.server.log)
        self.assertIn(f"queue file {self.path}: what was acknowledged survives a crash", self.server.log)
        self.assertNotIn("Traceback", self.server.log)

    def test_torn(self) -> None:
        """
        A server whose last batch a crash has torn starts with all before it,
        and says what it cut off, where.
        """
        self.start()
        client = self.connect()
        _, kept = self.submit(client, b"kept")
        self.submit(client, b"torn")
        self.server.kill()
        data = self.path.read_bytes()
        start, end = frames_of(data)[-1]
        self.path.write_bytes(data[:-3])
        self.server.start()
        lines = [line for line in self.server.log.splitlines() if "cut off" in line]
        self.assertEqual(len(lines), 1, self.server.log)
        self.assertIn(f"{end - 3 - start} bytes were cut off at offset {start}.", lines[0])
        self.assertEqual(self.stored(), {kept})

    def test_damaged(self) -> None:
        """
        A damaged file keeps the server from starting, with one line that says
        where it is damaged and what to do, and is left as it is.
        """
        self.start()
        client = self.connect()
        for _ in range(3):
            self.submit(client, b"job")
        self.server.stop()
        data = bytearray(self.path.read_bytes())
        start, _ = frames_of(bytes(data))[2]
        data[start + 60] ^= 1
        self.path.write_bytes(data)
        self.assert_does_not_start(f"damaged at offset {start} of {len(data)}", str(self.path), "restore it from a copy")
        self.assertEqual(self.path.read_bytes(), data)

    def test_not_ours(self) -> None:
        """
        A file of something else keeps the server from starting, in one line,
        and is left as it is.
        """
        self.path.write_bytes(b"Dear diary, today I learned about queues.\n" * 100)
        before = self.path.read_bytes()
        self.assert_does_not_start("is not a queue of gearsvc's", str(self.path))
        self.assertEqual(self.path.read_bytes(), before)

    def test_read_only(self) -> None:
        """
        A disk that can't be written keeps the server from starting, with one
        line that says why.
        """
        self.start()
        self.assertEqual(self.server.stop(), 0)
        subprocess.run(["mount", "-o", "remount,ro", str(self.disk)], check=True)
        self.assert_does_not_start("it can't be written; check who owns the file")

    def test_no_directory(self) -> None:
        """
        A directory that is not there keeps the server from starting, with one
        line that says so, whether it is found by the option or by the store.
        """
        self.path = self.disk / "none" / "queue.log"
        self.assert_does_not_start("there is no directory")
        self.path = Path("none/queue.log")
        self.assert_does_not_start("its directory does not exist")

    def test_relative_path(self) -> None:
        """
        A relative path is one in the directory in which the server was started.
        """
        self.start_with("-q", "file", "--file-path", "queue.log")
        _, handle = self.submit(self.connect(), b"here")
        self.server.stop()
        self.assertEqual([job[0] for job in jobs_of((self.directory / "queue.log").read_bytes())], [handle])

    def test_large(self) -> None:
        """
        A workload of 64 MiB goes through.
        """
        subprocess.run(["mount", "-o", "remount,size=200m", str(self.disk)], check=True)
        self.start()
        client = self.connect()
        workload = os.urandom(1024) * (64 * 1024)
        kind, handle = self.submit(client, workload)
        self.assertEqual(kind, Type.JOB_CREATED, handle)
        self.assertEqual(self.stored(), {handle})
        worker = self.connect()
        worker.write((Type.CAN_DO, b"f"), (Type.GRAB_JOB, b""))
        kind, body = worker.read()
        self.assertTrue((kind, body) == (Type.JOB_ASSIGN, handle + b"\0f\0" + workload), "the workload has changed")
