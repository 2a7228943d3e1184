"""
What an acknowledgement is worth: the server is killed again and again under
load, and then what its clients were told is reconciled with what its workers
ran.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.wire import Packet, PacketDecoder, encode
from tests.consoleweb.remote import RemoteConsole
from tests.durable import OnFile, OnMemcached, OnMySQL, OnPostgreSQL, OnRedis, OnSQLite, OnTokyoCabinet
from tests.running import HOST, PATIENCE, RunningServer, start_server, wait_until

if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    # Not a test case itself.
    Base = object

SUBMITTERS = 3
WORKERS = 3
WINDOW = 25
"""How many submissions each submitter has unacknowledged."""


class Connection:
    """
    One connection to the server that runs at this moment, used by one thread.

    @ivar pid: the process at its other end.
    """

    def __init__(self, server: RunningServer) -> None:
        self._socket = socket.create_connection((HOST, server.port), PATIENCE)
        self._socket.settimeout(PATIENCE)
        self._decoder = PacketDecoder(magic=RESPONSE)
        self._packets: list[Packet] = []
        self._socket.sendall(b"getpid\r\n")
        self.pid = int(self.read()[1].split()[1])

    def write(self, *packets: tuple[Type, bytes]) -> None:
        """
        Send some packets at once.
        """
        self._socket.sendall(b"".join(encode(kind, body, REQUEST) for kind, body in packets))

    def read(self) -> Packet:
        """
        @return: the next packet or line.
        @raise OSError: if the server has gone.
        """
        while not self._packets:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the server has gone")
            self._packets = self._decoder.feed(data)[::-1]
        return self._packets.pop()

    def close(self) -> None:
        """
        Hang up.
        """
        self._socket.close()


class Balance(NamedTuple):
    """
    What the server says of the jobs of a function.

    @ivar waiting: those that no worker has, also those that are being stored.
    """

    accepted: int
    completed: int
    failed: int
    cancelled: int
    waiting: int
    running: int
    storing: int
    unaccounted: int


class Ledger:
    """
    What clients were told and what workers did.

    @ivar acknowledged: the workloads of acknowledged jobs, by handle.
    @ivar runs: for each workload, the connections on which it was assigned to
        a worker, in order, each with whether the worker died of it.
    @ivar completed: the workloads whose workers said WORK_COMPLETE.
    @ivar problems: what may never happen.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.submitted = 0
        self.acknowledged: dict[bytes, bytes] = {}
        self.runs: defaultdict[bytes, list[tuple[int, bool]]] = defaultdict(list)
        self.completed: set[bytes] = set()
        self.problems: list[str] = []

    def new_workload(self) -> bytes:
        """
        A workload that no other job has.
        """
        with self.lock:
            self.submitted += 1
            return b"job %d" % self.submitted

    def acknowledge(self, handle: bytes, workload: bytes) -> None:
        """
        The server has promised to run a job.
        """
        with self.lock:
            if handle in self.acknowledged:
                self.problems.append(f"{handle!r} is the handle of {self.acknowledged[handle]!r} and of {workload!r}")
            self.acknowledged[handle] = workload


class Crashes(Base):
    """
    C{kill -9}, again and again.

    @cvar kills: how often.
    """

    kills = 5

    def store_options(self, directory: Path) -> list[str]:
        """
        See L{tests.durable}.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """
        A durable server, with a console.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.console = RemoteConsole()
        self.balances: list[Balance] = []
        self.server = start_server(*self.store_options(directory), *self.console.options, directory=directory, kind="gearsvc")
        self.addCleanup(lambda: self.server.running and self.server.kill())
        self.ledger = Ledger()
        self.seed = random.SystemRandom().randrange(1 << 32)
        self.submitting = True
        self.working = True

    def submit_jobs(self) -> None:
        """
        Keep some submissions under way, through all restarts.
        """
        while self.submitting:
            with contextlib.suppress(OSError):
                connection = Connection(self.server)
                waiting: list[bytes] = []
                try:
                    while self.submitting or waiting:
                        while self.submitting and len(waiting) < WINDOW:
                            workload = self.ledger.new_workload()
                            unique = workload if len(waiting) % 2 else b""
                            waiting.append(workload)
                            connection.write((Type.SUBMIT_JOB_BG, b"work\0" + unique + b"\0" + workload))
                        kind, body = connection.read()
                        if kind == Type.JOB_CREATED:
                            self.ledger.acknowledge(body, waiting.pop(0))
                        else:
                            waiting.pop(0)
                            self.ledger.problems.append(f"a submission was answered with {kind} {body!r}")
                finally:
                    connection.close()
            # Nobody listens while the server starts.  It needs the processor more than those that ask for it.
            time.sleep(0.01)

    def run_jobs(self, dice: random.Random) -> None:
        """
        Work, through all restarts; and now and then die over a job.
        """
        while self.working:
            with contextlib.suppress(OSError):
                connection = Connection(self.server)
                try:
                    connection.write((Type.CAN_DO, b"work"), (Type.GRAB_JOB, b""))
                    while self.working:
                        kind, body = connection.read()
                        if kind == Type.JOB_ASSIGN:
                            handle, _, workload = body.split(b"\0", 2)
                            dies = dice.random() < 0.002
                            with self.ledger.lock:
                                self.ledger.runs[workload].append((connection.pid, dies))
                            if dies:
                                break
                            connection.write((Type.WORK_COMPLETE, handle + b"\0"), (Type.GRAB_JOB, b""))
                            with self.ledger.lock:
                                self.ledger.completed.add(workload)
                        elif kind == Type.NO_JOB:
                            connection.write((Type.PRE_SLEEP, b""))
                        elif kind == Type.NOOP:
                            connection.write((Type.GRAB_JOB, b""))
                        else:
                            self.ledger.problems.append(f"a worker was sent {kind} {body!r}")
                finally:
                    connection.close()
            time.sleep(0.01)

    def test_nothing_acknowledged_is_lost(self) -> None:
        """
        Killed again and again under load, the server runs every job that it
        acknowledged, and runs none twice unless the worker or the server that
        had it died.  Of each of its lives its numbers balance: what it was
        given and what the store gave back is over, or is there.
        """
        dice = random.Random(self.seed)
        submitters = [threading.Thread(target=self.submit_jobs) for _ in range(SUBMITTERS)]
        workers = [threading.Thread(target=self.run_jobs, args=(random.Random(dice.random()),)) for _ in range(WORKERS)]
        try:
            for thread in submitters + workers:
                thread.start()
            for _ in range(self.kills):
                time.sleep(dice.uniform(0.02, 0.5))
                self.take_balance()
                self.server.kill()
                self.server.start()
                self.take_balance()
            self.submitting = False
            for thread in submitters:
                thread.join()
            wait_until(lambda: self.server.status("work")[0] == 0, "the queue runs empty")
            self.take_balance()
        finally:
            self.submitting = self.working = False
            self.server.stop()
            for thread in submitters + workers:
                thread.join()
        self.reconcile()
        self.reconcile_numbers()
        self.server.start()
        self.assertEqual(self.server.admin("show jobs"), b".\n")
        self.server.stop()

    def take_balance(self) -> None:
        """
        See, at one moment in the midst of it all, what the server says of its
        jobs.
        """
        found = self.console.metrics()

        def total(name: str) -> int:
            return int(sum(value for key, value in found.items() if key[:2] == (name, "work")))

        self.balances.append(
            Balance(
                total("gearman_jobs_submitted_total") + total("gearman_jobs_replayed_total"),
                total("gearman_jobs_completed_total"),
                total("gearman_jobs_failed_total"),
                total("gearman_jobs_cancelled_total"),
                total("gearman_jobs_waiting"),
                total("gearman_jobs_running"),
                total("gearman_jobs_storing"),
                total("gearman_jobs_unaccounted"),
            )
        )

    def reconcile_numbers(self) -> None:
        """
        Hold that nothing is missing in any balance.
        """
        for balance in self.balances:
            there = balance.waiting - balance.storing + balance.running
            over = balance.completed + balance.failed + balance.cancelled
            self.assertEqual((balance.accepted - over - there, balance.unaccounted), (0, 0), balance)
        # The test has to have tested something.
        self.assertGreater(max(balance.completed for balance in self.balances), 0)
        self.assertGreater(max(balance.waiting for balance in self.balances), 0)

    def reconcile(self) -> None:
        """
        Compare what was promised, what was done, and what is left.
        """
        ledger = self.ledger
        problems = ledger.problems
        for handle, workload in ledger.acknowledged.items():
            if workload not in ledger.completed:
                problems.append(f"{workload!r} was acknowledged as {handle!r}, and lost")
        for workload, runs in ledger.runs.items():
            for (pid, died), (next_pid, _) in zip(runs, runs[1:]):
                if pid == next_pid and not died:
                    problems.append(f"{workload!r} ran twice, though its worker and its server lived")
        self.assertEqual(problems[:5], [], f"seed {self.seed}, {len(problems)} problems, process {os.getpid()}")
        # The test has to have tested something.
        again = sum(len(runs) > 1 for runs in ledger.runs.values())
        self.assertGreater(len(ledger.acknowledged), self.kills)
        self.assertGreater(again, 0)


class SQLiteCrashTests(OnSQLite, Crashes, SynchronousTestCase):
    """
    With the queue in SQLite.
    """

    kills = 20


class FileCrashTests(OnFile, Crashes, SynchronousTestCase):
    """
    With the queue in a file of our own.
    """

    kills = 10


class TokyoCabinetCrashTests(OnTokyoCabinet, Crashes, SynchronousTestCase):
    """
    With the queue in Tokyo Cabinet.
    """


class PostgreSQLCrashTests(OnPostgreSQL, Crashes, SynchronousTestCase):
    """
    With the queue in PostgreSQL.
    """


class MySQLCrashTests(OnMySQL, Crashes, SynchronousTestCase):
    """
    With the queue in MariaDB.
    """


class RedisCrashTests(OnRedis, Crashes, SynchronousTestCase):
    """
    With the queue in Redis.
    """


class MemcachedCrashTests(OnMemcached, Crashes, SynchronousTestCase):
    """
    With the queue in a memcached that goes on.
    """
