"""
Tests for L{gearsvc.stores.postgres}: a real server, and a real PostgreSQL in trouble.
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
from tests.servers import PostgreSQL
from tests.stores.faults import DroppedTable, ServerCase


class PostgresFaults(DroppedTable, SynchronousTestCase):
    """
    What holds for every store, with PostgreSQL.
    """

    database: PostgreSQL

    def make_database(self) -> PostgreSQL:
        """
        A PostgreSQL of the test's own.
        """
        return PostgreSQL()

    def create(self) -> None:
        """
        The database in it.
        """
        self.name = self.database.new_database()

    def options(self, port: int) -> list[str]:
        """
        The database, by its options.
        """
        return ["-q", "postgres", "--libpq-conninfo", self.database.conninfo(self.name, port)]

    def drop_table(self) -> None:
        """
        As a person would do it.
        """
        self.database.sql("DROP TABLE queue", database=self.name)


class LogApartPostgreSQL(PostgreSQL):
    """
    One that keeps its log somewhere else, and takes little room there.
    """

    def __init__(self, place: Path) -> None:
        """
        @param place: where to make the log's directory.
        """
        super().__init__("-c", "min_wal_size=2MB", "-c", "max_wal_size=4MB")
        self.place = place

    def prepare(self) -> None:
        """
        Make the cluster.
        """
        data, log = str(self.directory / "data"), str(self.place / "log")
        self.run(
            self.program("initdb"), "-D", data, "-U", "gearman", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N",
            "--waldir", log, "--wal-segsize=1",
        )  # fmt: skip


class DiskTests(ServerCase, SynchronousTestCase):
    """
    PostgreSQL with a small disk of its own (so these tests need root).
    """

    def setUp(self) -> None:
        """
        Mount the disk.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.disk = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(self.disk.rmdir)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(self.disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.disk)], check=True)
        account = pwd.getpwnam(PostgreSQL.user)
        os.chown(self.disk, account.pw_uid, account.pw_gid)

    def start(self) -> None:
        """
        Start the job server.
        """
        self.start_with("-q", "postgres", "--libpq-conninfo", self.database.conninfo(self.name))

    def fill(self) -> None:
        """
        Take all the room that there is now.
        """
        with contextlib.suppress(OSError), open(self.disk / "ballast", "ab", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass

    def test_full(self) -> None:
        """
        While the disk that the table is on is full, submissions are refused with the reason; with room again they are
        taken, and what was acknowledged, and nothing else, is there after a crash.
        """
        self.database = PostgreSQL()
        self.addCleanup(self.database.end)
        self.database.start()
        self.name = self.database.new_database()
        self.database.sql(f"CREATE TABLESPACE small LOCATION '{self.disk}'", database=self.name)
        self.database.sql(f"ALTER DATABASE {self.name} SET default_tablespace = small", database=self.name)
        self.start()
        client = self.connect()
        acknowledged: set[bytes] = set()
        kind, handle = self.submit(client, os.urandom(100_000))
        acknowledged.add(handle)
        self.fill()
        for _ in range(20):
            kind, answer = self.submit(client, os.urandom(100_000))
            if kind == Type.ERROR:
                break
            acknowledged.add(answer)
        self.assertEqual(kind, Type.ERROR)
        self.assertIn(b"No space left on device; make room on its disk.", answer)
        (self.disk / "ballast").unlink()
        kind, handle = self.submit(client, os.urandom(100_000))
        self.assertEqual(kind, Type.JOB_CREATED, handle)
        acknowledged.add(handle)
        self.assert_two_lines()
        self.assertEqual(self.stored(), acknowledged)

    def test_full_log(self) -> None:
        """
        When PostgreSQL ends because the disk of its log is full, nothing that was acknowledged is lost; once there is
        room, and it was started again, all goes on.
        """
        self.database = LogApartPostgreSQL(self.disk)
        self.addCleanup(self.database.end)
        self.database.start()
        self.name = self.database.new_database()
        self.assert_survives(self.fill, self.make_room)
        self.assertIn("PANIC", self.database.log)

    def make_room(self) -> None:
        """
        Do as an administrator would.
        """
        (self.disk / "ballast").unlink()
        wait_until(lambda: not self.database.running or self.database.answers(), "PostgreSQL has ended, or recovered")
        if not self.database.running:
            self.database.start()
