"""
Tests for L{gearsvc.stores.redis}: a real server, and a real Redis in trouble.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import wait_until
from tests.servers import DatabaseServer, Redis
from tests.stores.faults import ServerCase, StoreFaults
from tests.stores.redises import ask


class RedisFaults(StoreFaults, SynchronousTestCase):
    """
    What holds for every store, with a Redis that keeps all that it has acknowledged.
    """

    def make_database(self) -> DatabaseServer:
        """
        A Redis of the test's own.
        """
        return Redis("--appendfsync", "always")

    def options(self, port: int) -> list[str]:
        """
        The Redis, by its options.
        """
        return ["-q", "redis", "--redis-port", str(port)]

    def test_flushed(self) -> None:
        """
        When somebody flushes Redis, the log says so, and what it means; jobs are taken on.
        """
        self.start()
        client = self.connect()
        self.assertEqual(self.submit(client, b"lost")[0], Type.JOB_CREATED)
        ask(self.database.port, ("FLUSHALL",))
        kind, handle = self.submit(client, b"kept")
        self.assertEqual(kind, Type.JOB_CREATED, handle)
        self.assertEqual(self.server.log.count("has come back empty"), 1, self.server.log)
        self.assertEqual(self.server.status("f")[0], 2)
        self.assertEqual(self.stored(), {handle})

    def test_full(self) -> None:
        """
        A Redis whose memory is full refuses jobs, and its server, which is killed meanwhile, starts, so that workers make
        room.
        """
        self.start()
        client = self.connect()
        _, handle = self.submit(client, b"first")
        ask(self.database.port, ("CONFIG", "SET", "maxmemory", "1mb"))
        kind, error = self.submit(client, b"too much")
        self.assertEqual(kind, Type.ERROR)
        self.assertIn(b"is full (its maxmemory), and refuses new jobs: run workers, or give it more memory", error)
        self.assertEqual(self.stored(), {handle})
        worker = self.connect()
        worker.write((Type.CAN_DO, b"f"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.JOB_ASSIGN, handle + b"\0f\0first"))
        worker.write((Type.WORK_COMPLETE, handle + b"\0"))
        wait_until(lambda: self.server.status("f")[0] == 0, "the job is over")
        wait_until(lambda: not ask(self.database.port, ("KEYS", "_gear_*")), "it is removed")
        self.assertEqual(self.stored(), set())


class FullDiskTests(ServerCase, SynchronousTestCase):
    """
    A Redis whose append-only file is on a full disk (so these tests need root).
    """

    def setUp(self) -> None:
        """
        Mount a small disk.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.disk = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(self.disk.rmdir)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.disk)], check=True)
        account = pwd.getpwnam(Redis.user)
        os.chown(self.disk, account.pw_uid, account.pw_gid)

    def start(self) -> None:
        """
        Start the job server.
        """
        self.start_with("-q", "redis", "--redis-port", str(self.database.port))

    def start_redis(self, policy: str) -> None:
        """
        Start a Redis on the disk.
        """
        self.policy = policy
        self.database = Redis("--appendfsync", policy, "--auto-aof-rewrite-percentage", "0", directory=self.disk)
        self.addCleanup(self.database.end)
        self.database.start()

    def fill(self) -> None:
        """
        Take all the room that there is now.
        """
        with contextlib.suppress(OSError), open(self.disk / "ballast", "ab", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass

    def make_room(self) -> None:
        """
        Do as an administrator would.
        """
        (self.disk / "ballast").unlink()
        # A Redis that syncs always ends when it can't.
        if self.policy == "always":
            wait_until(lambda: not self.database.running, "Redis has ended")
            self.database.start()

    def test_always(self) -> None:
        """
        One that syncs each batch ends rather than acknowledge what it can't write: submissions are refused until there is
        room and it was started again, and what was acknowledged, and nothing else, is there.
        """
        self.start_redis("always")
        self.assert_survives(self.fill, self.make_room)

    def test_every_second(self) -> None:
        """
        One that syncs each second refuses, once it has seen that its disk is full, with the reason; with room again it goes
        on, and all that was acknowledged is there, after a crash of the job server.
        """
        self.start_redis("everysec")
        self.assert_survives(self.fill, self.make_room, b"can't write to its disk (No space left on device)")
