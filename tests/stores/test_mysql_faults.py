"""
Tests for L{gearsvc.stores.mysql}: a real server, and a real MariaDB in trouble.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from gearsvc.interfaces import StoreError
from gearsvc.stores import mysqlconnection
from gearsvc.testing import record
from tests.running import wait_until
from tests.servers import MariaDB
from tests.stores.faults import BACK, BROKEN, DroppedTable, ServerCase
from tests.stores.mysqls import MySQLCase, options


class MySQLFaults(DroppedTable, SynchronousTestCase):
    """
    What holds for every store, with MariaDB.
    """

    database: MariaDB

    def make_database(self) -> MariaDB:
        """
        A MariaDB of the test's own.
        """
        return MariaDB()

    def create(self) -> None:
        """
        The database in it.
        """
        self.name = self.database.new_database()

    def options(self, port: int) -> list[str]:
        """
        The database, by its options.
        """
        return options(port, self.name)

    def drop_table(self) -> None:
        """
        As a person would do it.
        """
        self.database.sql("DROP TABLE gearman_queue", database=self.name)


def small_disk(case: SynchronousTestCase, size: str) -> Path:
    """
    @return: a directory on a disk of its own, which is MariaDB's.
    """
    directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
    case.addCleanup(directory.rmdir)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    case.addCleanup(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
    account = pwd.getpwnam(MariaDB.user)
    os.chown(directory, account.pw_uid, account.pw_gid)
    return directory


def resize(directory: Path, size: str) -> None:
    """
    Make that disk larger or smaller.
    """
    subprocess.run(["mount", "-o", f"remount,size={size}", str(directory)], check=True)


class FullDiskTests(ServerCase, SynchronousTestCase):
    """
    A database whose disk is full.
    """

    def setUp(self) -> None:
        """
        Start MariaDB on a disk that has little room once it has begun.
        """
        self.disk = small_disk(self, "200m")
        self.database = MariaDB(
            "--innodb-log-file-size=4M", "--innodb-temp-data-file-path=ibtmp1:1M:autoextend", directory=self.disk
        )
        self.addCleanup(self.database.end)
        self.database.start()
        self.name = self.database.new_database()
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        status = os.statvfs(self.disk)
        resize(self.disk, str((status.f_blocks - status.f_bfree) * status.f_frsize + 8 * 1024 * 1024))

    def start(self) -> None:
        """
        Start the job server on it.
        """
        self.start_with(*options(self.database.port, self.name))

    def test_disk_full(self) -> None:
        """
        Submissions are refused with the reason; with room again they are taken; what was acknowledged, and nothing else, is
        there after a crash.  (Workloads of more than a page are not tried: when one of them does not fit, MariaDB 10.11 itself
        ends, since it can't undo it.)
        """
        self.start()
        client = self.connect()
        acknowledged: set[bytes] = set()
        for _ in range(5000):
            kind, answer = self.submit(client, bytes(3000))
            if kind == Type.ERROR:
                break
            acknowledged.add(answer)
        self.assertEqual(kind, Type.ERROR)
        self.assertIn(b"its disk is full", answer)
        self.assertTrue(acknowledged)
        self.assert_serves()
        resize(self.disk, "200m")
        kind, answer = self.submit(client, bytes(3000))
        self.assertEqual(kind, Type.JOB_CREATED, answer)
        acknowledged.add(answer)
        self.assertEqual((self.server.log.count(BROKEN), self.server.log.count(BACK)), (1, 1), self.server.log)
        self.assertEqual(self.stored(), acknowledged)


class FullBinaryLogTests(MySQLCase):
    """
    A database whose binary log is on a full disk: MariaDB waits there until somebody makes room, and answers nothing meanwhile.
    """

    def make_server(self) -> MariaDB:
        """
        One of the test's own.
        """
        self.disk = small_disk(self, "1m")
        server = MariaDB(f"--log-bin={self.disk}/bin", "--server-id=1", "--binlog-format=ROW")
        self.addCleanup(server.end)
        server.start()
        return server

    async def test_waits_for_room(self) -> None:
        """
        A commit that waits there is given up in time, without holding up the reactor; and so is the next one, as it ends what
        the first is still at: of jobs that were refused, none is there when there is room again.
        """
        self.patch(mysqlconnection, "COMMIT_SECONDS", 1.0)
        store = await self.opened()
        longest, last = 0.0, time.monotonic()

        def tick() -> None:
            nonlocal longest, last
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

        ticks = LoopingCall(tick)
        ticks.start(0.01)
        self.addCleanup(ticks.stop)
        kept: list[bytes] = []
        for number in range(100):
            try:
                await store.commit([record(number, workload=bytes(50_000))], [])
            except StoreError as failure:
                error = failure
                break
            kept.append(record(number).handle)
        self.assert_says(error, "waiting for room on its disk")
        self.assertTrue(error.uncertain and kept)
        self.assertLess(longest, 0.5)
        error = await self.assertFailure(store.commit([record(200, workload=bytes(50_000))], []), StoreError)
        self.assertTrue(error.uncertain)
        find = f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}'"
        await store.close()
        for (session,) in self.server.sql(find):
            self.server.sql(f"KILL {session}")
        wait_until(lambda: not self.server.sql(find), "the sessions have ended")
        self.assertEqual([handle for (handle,) in self.sql("SELECT handle FROM gearman_queue ORDER BY position")], kept)
