"""
What clients and workers see of a durable server whose database is in trouble.

Real trouble: another process locks it, its disk is full, it is no database.
"""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import PATIENCE, ServerFailed, free_port, start_server, twistd_command, wait_until
from tests.test_crash import Connection

BROKEN = "The queue store cannot commit"
BACK = "The queue store is back"


class StoreFaultTests(SynchronousTestCase):
    """
    A server whose database stops working, and works again.
    """

    def setUp(self) -> None:
        """
        A directory on a disk of its own, with room for two megabytes.
        """
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(self.directory.rmdir)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(self.directory)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.directory)], check=True)
        self.database = self.directory / "queue.db"

    def start(self) -> None:
        """
        Start the server, on a database in that directory.
        """
        self.server = start_server("-q", "sqlite", "--libsqlite3-db", str(self.database), directory=self.directory)
        self.addCleanup(lambda: self.server.running and self.server.kill())

    def connect(self) -> Connection:
        """
        A connection that ends with the test.
        """
        connection = Connection(self.server)
        self.addCleanup(connection.close)
        return connection

    def submit(self, connection: Connection, workload: bytes) -> tuple[int, bytes]:
        """
        Submit a background job, and wait for the answer.
        """
        connection.write((Type.SUBMIT_JOB_BG, b"f\0\0" + workload))
        return connection.read()

    def test_locked(self) -> None:
        """
        While another process has the database locked, submissions are refused
        with the reason, everything that needs no store goes on, and two lines
        in the log tell of it; then it works again by itself.
        """
        self.start()
        client, other, worker = self.connect(), self.connect(), self.connect()
        self.assertEqual(self.submit(client, b"before")[0], Type.JOB_CREATED)
        blocker = sqlite3.connect(self.database, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("BEGIN EXCLUSIVE")

        client.write((Type.SUBMIT_JOB_BG, b"f\0\0while locked"))
        other.write((Type.ECHO_REQ, b"there?"))
        self.assertEqual(other.read(), (Type.ECHO_RES, b"there?"))
        worker.write((Type.CAN_DO, b"g"), (Type.PRE_SLEEP, b""))
        other.write((Type.SUBMIT_JOB, b"g\0\0foreground"))
        kind, handle = other.read()
        self.assertEqual((kind, worker.read()), (Type.JOB_CREATED, (Type.NOOP, b"")))
        worker.write((Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.JOB_ASSIGN, handle + b"\0g\0foreground"))
        worker.write((Type.WORK_COMPLETE, handle + b"\0done"))
        self.assertEqual(other.read(), (Type.WORK_COMPLETE, handle + b"\0done"))
        for _ in range(3):
            kind, error = client.read()
            self.assertEqual(kind, Type.ERROR)
            self.assertIn(b"QUEUE_ERROR\0", error)
            self.assertIn(b"locked", error)
            client.write((Type.SUBMIT_JOB_BG, b"f\0\0while locked"))
        client.read()

        blocker.execute("COMMIT")
        self.assertEqual(self.submit(client, b"after")[0], Type.JOB_CREATED)
        self.assertEqual(self.server.status("f")[0], 2)
        self.assertEqual((self.server.log.count(BROKEN), self.server.log.count(BACK)), (1, 1), self.server.log)
        self.assertNotIn("Traceback", self.server.log)

    def test_disk_full(self) -> None:
        """
        On a full disk submissions are refused; with room again they are taken,
        and what was acknowledged, and nothing else, is there after a crash.
        """
        ballast = self.directory / "ballast"
        ballast.write_bytes(bytes(700_000))
        self.start()
        client = self.connect()
        acknowledged: set[bytes] = set()
        for _ in range(60):
            kind, answer = self.submit(client, bytes(100_000))
            if kind == Type.ERROR:
                break
            acknowledged.add(answer)
        self.assertEqual(kind, Type.ERROR)
        self.assertIn(b"disk is full", answer)
        self.assertTrue(acknowledged)
        ballast.unlink()
        kind, answer = self.submit(client, b"small again")
        self.assertEqual(kind, Type.JOB_CREATED)
        acknowledged.add(answer)
        self.assertEqual((self.server.log.count(BROKEN), self.server.log.count(BACK)), (1, 1), self.server.log)
        self.server.kill()
        self.server.start()
        stored = {line.split(b"\t")[0] for line in self.server.admin("show jobs").splitlines()} - {b"."}
        self.assertEqual(stored, acknowledged)

    def test_worker_outlives_a_removal_that_fails(self) -> None:
        """
        A worker whose finished job can't be removed is not troubled with it;
        the job is removed later, and does not run again after a restart.
        """
        self.start()
        client, worker = self.connect(), self.connect()
        _, handle = self.submit(client, b"once")
        worker.write((Type.CAN_DO, b"f"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.JOB_ASSIGN, handle + b"\0f\0once"))
        blocker = sqlite3.connect(self.database, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("BEGIN EXCLUSIVE")
        worker.write((Type.WORK_COMPLETE, handle + b"\0"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.NO_JOB, b""))
        wait_until(lambda: BROKEN in self.server.log, "the removal fails")
        blocker.execute("COMMIT")
        wait_until(lambda: BACK in self.server.log, "the removal succeeds")
        worker.write((Type.ECHO_REQ, b"alive"))
        self.assertEqual(worker.read(), (Type.ECHO_RES, b"alive"))
        self.server.kill()
        self.server.start()
        self.assertEqual(self.server.admin("show jobs"), b".\n")

    def test_no_database(self) -> None:
        """
        On a file that is no database the server does not start: it says so in
        one line, and leaves the file as it is.
        """
        self.database.write_bytes(b"Dear diary, today I learned about queues.\n" * 100)
        content = self.database.read_bytes()
        command = [*twistd_command(free_port(), self.directory), "-q", "sqlite", "--libsqlite3-db", str(self.database)]
        ended = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(ended.returncode, 1)
        said = [line for line in ended.stderr.splitlines() if "not an SQLite database" in line]
        self.assertEqual(len(said), 1, ended.stderr)
        self.assertNotIn("Traceback", ended.stderr + ended.stdout)
        self.assertEqual(self.database.read_bytes(), content)

    def test_read_only(self) -> None:
        """
        A database that can't be written keeps the server from starting, with
        one line that says why.
        """
        self.start()
        self.assertEqual(self.server.stop(), 0)
        subprocess.run(["mount", "-o", "remount,ro", str(self.directory)], check=True)
        # The log is on that disk as well: a server elsewhere, on the same database.
        elsewhere = Path(tempfile.mkdtemp())
        self.addCleanup(subprocess.run, ["rm", "-r", str(elsewhere)], check=True)
        problem = self.assertRaises(
            ServerFailed, start_server, "-q", "sqlite", "--libsqlite3-db", str(self.database), directory=elsewhere
        )
        self.assertIn("check that its directory exists and that this user may write there", str(problem))
        self.assertNotIn("Traceback", str(problem))
