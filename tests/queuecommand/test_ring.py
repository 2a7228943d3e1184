"""
Tests for C{gearsvc queue} over all stores, each against its real server.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from typing import ClassVar, Sequence

from gearsvc.core.jobs import JobRecord
from gearsvc.plugins import queue_store_makers
from gearsvc.queuecommand.joblines import as_line, from_line
from gearsvc.testing import fields_of, record
from tests.queuecommand.cases import QueueCommandCase
from tests.running import HOST, PATIENCE
from tests.servers import MariaDB, Memcached, PostgreSQL, Redis

TAKEN_OVER_WITHIN = 10.0
"""
How many seconds a store may still count as used by a process that was killed.
"""

NAMES = [b"f", b"F", b"a-b", b"\0", b"'", b'"', b"\\", b" blank ", b"%s", b"*", b"f" * 200]
NAMES += [b"\xff\xfe", b"\xc3\xa9", b"e\xcc\x81"]
"""
Functions, and unique ids, that some database or other finds hard to keep, or to tell apart.
"""


class EveryStore:
    """
    A new, empty store of each kind, by the words that name it.
    """

    _number: ClassVar[int] = 0

    def words(self, kind: str) -> str:
        """
        The word for one that nobody has used.

        @param kind: what C{-q} calls it.
        """
        EveryStore._number += 1
        name = f"ring_{os.getpid()}_{EveryStore._number}"
        if kind == "postgres":
            database = PostgreSQL.shared()
            options = ["--libpq-conninfo", database.conninfo(database.new_database())]
        elif kind in ("mysql", "libdrizzle"):
            mariadb = MariaDB.shared()
            account = {"host": HOST, "port": str(mariadb.port), "user": "gearman", "password": "secret"}
            account["db"] = mariadb.new_database()
            options = [word for option, value in account.items() for word in (f"--{kind}-{option}", value)]
        elif kind == "redis":
            options = ["--redis-server", HOST, "--redis-port", str(Redis.shared().port), "--redis-prefix", name]
        elif kind == "libmemcached":
            options = ["--libmemcached-servers", f"{HOST}:{Memcached.shared().port}", "--libmemcached-prefix", name]
        elif kind == "libtokyocabinet":
            options = ["--libtokyocabinet-file", f"{name}.tch"]
        elif kind == "file":
            options = ["--file-path", f"{name}.log"]
        else:
            assert kind == "libsqlite3", f"how is a store of the kind {kind} made?"
            options = ["--libsqlite3-db", f"{name}.db"]
        return shlex.join([kind, *options])


def every_kind_of_job() -> list[JobRecord]:
    """
    Jobs that differ in all that jobs can differ in.
    """
    jobs: list[JobRecord] = []

    def add(**fields: object) -> None:
        jobs.append(record(len(jobs), **fields))

    for function in NAMES:
        for unique in [b"", b"-", *(name[:64] for name in NAMES)]:
            add(function=function, unique=unique, reducer=None if unique else function)
    for priority in (2, 0, 1):
        for run_at in (0, 1, 2**31 + 5, 2**40):
            add(priority=priority, run_at=run_at, attempts=run_at % 4, submitted=1700000000.125)
    for workload in (b"", b"\0", bytes(range(256)), os.urandom(1_500_000)):
        add(workload=workload)
    add(submitted=0.0)
    jobs += [record(number) for number in range(len(jobs), 5000)]
    return jobs


class RingTests(QueueCommandCase):
    """
    Between all stores that come with gearsvc.
    """

    def setUp(self) -> None:
        """
        Name the kinds of stores.
        """
        super().setUp()
        self.stores = EveryStore()
        self.kinds = [maker.names[0] for maker in queue_store_makers() if "memory" not in maker.names]

    def load(self, store: str, jobs: Sequence[JobRecord]) -> None:
        """
        Put jobs into a store.
        """
        process = self.start("import", "--quiet", store)
        assert process.stdin is not None
        output, errors = process.communicate(b"".join(map(as_line, jobs)).decode(), 3 * PATIENCE)
        self.assertEqual((process.returncode, output, errors), (0, "", ""))

    def jobs_of(self, store: str) -> list[JobRecord]:
        """
        All jobs of a store.
        """
        result = self.queue("export", "--quiet", store)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return [job for job in map(from_line, result.stdout.encode().splitlines()) if job is not None]

    def assert_holds(self, store: str, jobs: Sequence[JobRecord]) -> None:
        """
        Hold that a store has exactly these jobs, in their order.
        """
        found = self.jobs_of(store)
        self.assertEqual(len(found), len(jobs), store)
        for job, expected in zip(found, jobs):
            # (Compared in a way that does not print workloads.)
            if fields_of(job) != fields_of(expected):
                job.workload, expected.workload = job.workload[:300], expected.workload[:300]
                self.assertEqual(fields_of(job), fields_of(expected), store)

    def test_ring(self) -> None:
        """
        Every kind of job goes from store to store through all of them and back, and is what it was, in its place.
        """
        jobs = every_kind_of_job()
        ring = [self.stores.words(kind) for kind in [*self.kinds, self.kinds[0]]]
        self.load(ring[0], jobs)
        for source, target in zip(ring, ring[1:]):
            self.assert_says(self.queue("copy", source, target), f"{len(jobs):,} jobs copied.")
            self.assert_says(self.queue("copy", source, target), f"0 jobs copied, {len(jobs):,} there already.")
        if [fields_of(job) for job in self.jobs_of(ring[-1])] != [fields_of(job) for job in jobs]:
            for store in ring:
                self.assert_holds(store, jobs)
        self.assert_holds(ring[0], jobs)

    def test_same_store(self) -> None:
        """
        No store is copied to itself.
        """
        for kind in self.kinds:
            store = self.stores.words(kind)
            # A file must be there.
            self.load(store, [])
            self.assert_refuses(self.queue("copy", store, store), "FROM and TO are one and the same store")

    def queue_soon(self, *words: str) -> subprocess.CompletedProcess[str]:
        """
        Run C{gearsvc queue}, again if the store still counts as used by a process that was killed.
        """
        began = time.monotonic()
        while True:
            result = self.queue(*words)
            if result.returncode == 0:
                return result
            self.assert_refuses(result, "in use by another server")
            self.assertLess(time.monotonic() - began, TAKEN_OVER_WITHIN, result.stderr)
            time.sleep(0.2)

    def test_ends(self) -> None:
        """
        A process that is interrupted while it writes a store, or reads it, leaves it closed; one that is killed does
        not keep the next one from it for long; in the end each job is there once, in its order.
        """
        jobs = self.some_jobs(9000)
        lines = [as_line(job).decode() for job in jobs]
        (self.directory / "jobs.jsonl").write_text("".join(lines))
        for kind in self.kinds:
            store = self.stores.words(kind)
            self.end_writing(store, lines[:5000], signal.SIGKILL)
            self.queue_soon("show", store)
            self.end_writing(store, lines[:7000], signal.SIGINT)
            result = self.queue("import", store, "jobs.jsonl")
            self.assertRegex(result.stdout, r"^\d,000 jobs imported, \d,000 there already\.$", result.stderr)

            self.end_reading(store, signal.SIGINT)
            self.end_reading(store, signal.SIGKILL)
            result = self.queue_soon("export", store)
            found = [job for job in map(from_line, result.stdout.encode().splitlines()) if job is not None]
            self.assertEqual([fields_of(job) for job in found], [fields_of(job) for job in jobs], kind)

    def end_writing(self, store: str, lines: Sequence[str], number: signal.Signals) -> None:
        """
        End an import in its midst.

        @param lines: what it has been given until then.
        """
        writing = self.start("import", store)
        assert writing.stdin is not None
        # When most of it has been read, some of it has been stored.
        writing.stdin.write("".join(lines))
        writing.stdin.flush()
        self.assert_ended_by(number, writing)

    def end_reading(self, store: str, number: signal.Signals) -> None:
        """
        End an export in its midst.
        """
        reading = self.start("export", store)
        assert reading.stdout is not None
        # The rest does not fit into the pipe.
        self.assertIn("gearsvc jobs", reading.stdout.readline())
        self.assert_ended_by(number, reading)

    def assert_ended_by(self, number: signal.Signals, process: subprocess.Popen[str]) -> None:
        """
        Send a signal to a command, and hold that it ends as it should.
        """
        process.send_signal(number)
        status = process.wait(PATIENCE)
        assert process.stderr is not None
        if number == signal.SIGINT:
            self.assertEqual(status, 130)
            self.assert_one_line(process.stderr.read(), "interrupted")
        else:
            self.assertEqual((status, process.stderr.read()), (-number, ""))
