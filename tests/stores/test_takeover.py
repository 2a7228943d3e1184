"""
Tests for L{gearsvc.stores.sqlite} with the real gearmand: each of the two goes
on with a file that the other wrote.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.core.packets import Type
from gearsvc.stores.rows import row_key
from gearsvc.stores.sqlite import Database, as_row
from gearsvc.testing import fields_of, record
from tests.running import RunningServer, start_server
from tests.stores.takeover import Peer, Takeover


class SQLiteTakeoverTests(Takeover, SynchronousTestCase):
    """
    What holds for every store, with an SQLite file.
    """

    def setUp(self) -> None:
        """
        Choose a file in a new directory.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, directory)
        self.path = directory / "queue.db"

    def store_options(self, kind: str) -> list[str]:
        """
        Both have the same options.
        """
        return ["-q", "libsqlite3", "--libsqlite3-db", str(self.path)]


class TakeoverTests(SynchronousTestCase):
    """
    The same, row by row.
    """

    def setUp(self) -> None:
        """
        Choose a file in a new directory.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "queue.db"

    def gearmand(self) -> tuple[RunningServer, Peer]:
        """
        @return: gearmand, running on this test's file, and a connection to it.
        """
        server = start_server("-q", "libsqlite3", "--libsqlite3-db", str(self.path), directory=self.directory, kind="gearmand")
        self.addCleanup(server.kill)
        peer = Peer(server)
        self.addCleanup(peer.close)
        return server, peer

    def replay(self) -> list[JobRecord]:
        """
        @return: what gearsvc finds in this test's file.
        """
        database = Database(str(self.path), "gearman_queue")
        database.open()
        self.addCleanup(database.close)
        jobs = [job for piece in database.pieces() for job in piece]
        database.close()
        return jobs

    def write(self, added: list[JobRecord], removed: list[JobRecord]) -> None:
        """
        Commit one batch as gearsvc does.
        """
        database = Database(str(self.path), "gearman_queue")
        database.open()
        self.addCleanup(database.close)
        database.write([as_row(job) for job in added], [(row_key(job), job.function) for job in removed])
        database.close()

    def test_from_gearmand(self) -> None:
        """
        Jobs that gearmand stored before it was killed come back in the order of
        submission, with their priorities, times, unique ids and workloads; and
        can be removed.  (Of several jobs without a unique id gearmand itself
        keeps the last alone, and of a unique id of 64 bytes all but the last
        byte.)
        """
        server, client = self.gearmand()
        later = int(time.time()) + 3600
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"normal", b"one")
        client.submit(Type.SUBMIT_JOB_LOW_BG, b"resize", b"low", b"two\0\xff\n")
        client.submit(Type.SUBMIT_JOB_HIGH_BG, b"re\xffsize", b"high\xfe", b"three")
        client.submit(Type.SUBMIT_JOB_EPOCH, b"resize", b"later", b"%d" % later, b"four")
        client.submit(Type.SUBMIT_JOB_EPOCH, b"resize", b"much later", b"%d" % 2**33, b"five")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"empty", b"")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"six")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"seven")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"-", b"eight")
        client.submit(Type.SUBMIT_JOB_BG, b"rotate", b"normal", b"nine")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"u" * 63, b"ten")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"v" * 64, b"eleven")
        server.kill()
        jobs = self.replay()
        self.assertEqual(
            [(job.function, job.unique, job.priority, job.run_at, job.workload) for job in jobs],
            [
                (b"resize", b"normal", 1, 0, b"one"),
                (b"resize", b"low", 2, 0, b"two\0\xff\n"),
                (b"re\xffsize", b"high\xfe", 0, 0, b"three"),
                (b"resize", b"later", 1, later, b"four"),
                (b"resize", b"much later", 1, 2**33, b"five"),
                (b"resize", b"empty", 1, 0, b""),
                (b"resize", b"", 1, 0, b"seven"),
                (b"resize", b"-", 1, 0, b"eight"),
                (b"rotate", b"normal", 1, 0, b"nine"),
                (b"resize", b"u" * 63, 1, 0, b"ten"),
                (b"resize", b"v" * 63, 1, 0, b"eleven"),
            ],
        )
        for number, job in enumerate(jobs):
            job.handle = b"H:new:%d" % number
        self.write([], jobs)
        self.assertEqual(self.replay(), [])

    def test_to_gearmand(self) -> None:
        """
        gearmand opens a file that we wrote, runs its jobs by priority, and
        removes them: without a unique id or with C{-}, with an empty workload,
        NUL, a reducer, a unique id of 64 bytes, a handle of 63.
        """
        jobs = [
            record(1, workload=b"one"),
            record(2, workload=b""),
            record(3, unique=b"-", workload=b"two"),
            record(4, unique=b"-", workload=b"three\0\0"),
            record(5, unique=b"u" * 63, priority=0, workload=b"four"),
            record(6, unique=b"v" * 64, workload=b"five"),
            record(7, handle=b"H:" + b"h" * 59 + b":7", workload=b"six"),
            record(8, unique=b"reduced", reducer=b"sum", attempts=3, workload=b"seven", run_at=1),
            record(9, function=b"r\xff", unique=b"low\xfe", priority=2, workload=b"eight"),
            record(10, function=b"later", unique=b"later", run_at=int(time.time()) + 3600),
        ]
        self.write(jobs, [])
        server, worker = self.gearmand()
        done = worker.drain(b"resize", b"r\xff", b"later")
        self.assertEqual(
            sorted(workload for _, _, workload in done), sorted(job.workload for job in jobs[:-1])
        )
        self.assertIn((b"resize", b"u" * 63, b"four"), done)
        self.assertIn((b"r\xff", b"low\xfe", b"eight"), done)
        self.assertEqual(next(workload for function, _, workload in done if function == b"resize"), b"four")
        self.assertEqual(server.stop(), 0)
        self.assertEqual([fields_of(job) for job in self.replay()], [fields_of(jobs[-1])])

    def test_there_and_back(self) -> None:
        """
        A file that gearmand wrote, to which we added and from which we removed,
        goes back to gearmand, and comes back to us with what each of us left.
        """
        server, client = self.gearmand()
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"theirs", b"one")
        client.submit(Type.SUBMIT_JOB_BG, b"rotate", b"theirs", b"two")
        server.kill()
        theirs = self.replay()
        theirs[0].handle = b"H:new:1"
        self.write([record(1, workload=b"three"), record(2, workload=b"four", function=b"rotate")], [theirs[0]])
        server, peer = self.gearmand()
        peer.submit(Type.SUBMIT_JOB_BG, b"resize", b"more", b"five")
        self.assertEqual(sorted(workload for _, _, workload in peer.drain(b"rotate")), [b"four", b"two"])
        self.assertEqual(server.stop(), 0)
        self.assertEqual(
            [(job.handle, job.unique, job.workload) for job in self.replay()],
            [(b"H:test:1", b"", b"three"), (b"", b"more", b"five")],
        )
