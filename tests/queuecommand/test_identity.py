"""
Tests for L{gearsvc.queuecommand.identity}: which jobs are the same, and what handles are made.
"""

from __future__ import annotations

import re
import time
from typing import Sequence

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.queuecommand import identity
from gearsvc.queuecommand.identity import KnownJobs, Verdict
from gearsvc.queuecommand.joblines import LONGEST_HANDLE
from gearsvc.service import HANDLE_EPOCH, HANDLES_A_SECOND
from gearsvc.testing import record

NEW, THERE, JOINED = Verdict


class KnownJobsTests(SynchronousTestCase):
    """
    A target is told what it has, and asked what is new.
    """

    def known(self, *jobs: JobRecord) -> KnownJobs:
        """
        What knows the jobs of a target.
        """
        known = KnownJobs()
        self.addCleanup(known.close)
        known.learn(jobs)
        return known

    def admitted(self, known: KnownJobs, jobs: Sequence[JobRecord]) -> list[bytes]:
        """
        Hold that all these jobs are new.

        @return: their handles.
        """
        self.assertEqual(known.admit(jobs), [NEW] * len(jobs))
        return [job.handle for job in jobs]

    def test_same_handle(self) -> None:
        """
        A job with the handle of one that is there, and its content, is there, whatever its attempts.
        """
        known = self.known(record(1), record(2, unique=b"u"))
        self.assertEqual(known.admit([record(1, attempts=3), record(2, unique=b"u"), record(3)]), [THERE, THERE, NEW])

    def test_admitted_once(self) -> None:
        """
        A job that was admitted is there from then on.
        """
        known = self.known()
        self.assertEqual(known.admit([record(1), record(1)]), [NEW, THERE])
        self.assertEqual(known.admit([record(1)]), [THERE])

    def test_milliseconds(self) -> None:
        """
        A store that keeps milliseconds of the time of submission has the same job.
        """
        known = self.known(record(1, submitted=1700000000.123))
        self.assertEqual(known.admit([record(1, submitted=1700000000.1234567)]), [THERE])

    def test_same_unique_id(self) -> None:
        """
        A job of the function and unique id of one that is there is left out; of another function, it is not.
        """
        known = self.known(record(1, unique=b"u"))
        jobs = [
            record(2, unique=b"u", workload=b"other"),
            record(3, unique=b"u", function=b"rotate"),
            record(4, unique=b"U"),
        ]
        self.assertEqual(known.admit(jobs), [JOINED, NEW, NEW])

    def test_function_and_id_are_told_apart(self) -> None:
        """
        Where the function ends and the unique id begins counts.
        """
        known = self.known(record(1, function=b"ab", unique=b"c"))
        self.assertEqual(known.admit([record(2, function=b"a", unique=b"bc")]), [NEW])

    def test_no_unique_id(self) -> None:
        """
        Neither nothing nor a dash is a unique id: such jobs are as many as there are handles.
        """
        known = self.known(record(1), record(2, unique=b"-"))
        jobs = [record(3, workload=b"same"), record(4, workload=b"same"), record(5, unique=b"-"), record(1)]
        self.assertEqual(known.admit(jobs), [NEW, NEW, NEW, THERE])

    def test_handle_of_another_job(self) -> None:
        """
        A job whose handle another job has is not taken for that: it is given another handle, the same each time.
        """
        first, second = record(1, workload=b"first"), record(1, workload=b"second")
        known = self.known(first)
        [handle] = self.admitted(known, [second])
        self.assertNotEqual(handle, first.handle)
        again = self.known(first)
        self.assertEqual(self.admitted(again, [record(1, workload=b"second")]), [handle])
        self.assertEqual(again.admit([record(1, workload=b"second"), record(1, workload=b"first")]), [THERE, THERE])

    def test_handle_and_content_of_another_job(self) -> None:
        """
        Two jobs that differ in nothing but the time of submission are two jobs.
        """
        jobs = [record(1, workload=b"tick", submitted=1700000000.0 + second) for second in range(3)]
        handles = self.admitted(self.known(), jobs)
        self.assertEqual(len(set(handles)), 3)
        again = [record(1, workload=b"tick", submitted=1700000000.0 + second) for second in range(3)]
        self.assertEqual(self.known(*jobs).admit(again), [THERE] * 3)

    def test_made_handles(self) -> None:
        """
        Jobs without a handle, as gearmand stores them, are given handles: the same each time, one for each job, also
        for those that are alike.
        """

        def jobs() -> list[JobRecord]:
            uniques = [b"u", b"v", b"", b"", b"-", b""]
            workloads = [b"a", b"a", b"a", b"b", b"a", b"a"]
            return [
                record(0, handle=b"", submitted=0.0, unique=unique, workload=workload)
                for unique, workload in zip(uniques, workloads)
            ]

        handles = self.admitted(self.known(), jobs())
        self.assertEqual(len(set(handles)), len(handles))
        self.assertEqual(self.admitted(self.known(), jobs()), handles)

        # As far as an interrupted copy came.
        copied = jobs()
        for job, handle in zip(copied, handles):
            job.handle = handle
        known = self.known(*copied[:4])
        self.assertEqual(known.admit(jobs()), [THERE] * 4 + [NEW] * 2)

        # A target that gearmand wrote.
        self.assertEqual(self.known(*jobs()).admit(jobs()), [THERE] * 6)
        self.assertEqual(self.known(*jobs()).admit(copied), [THERE] * 6)

    def test_form_of_made_handles(self) -> None:
        """
        A handle that is made is short enough for clients, and its number is one that no server's counter comes to in a
        hundred years.
        """
        highest = (time.time() + 100 * 366 * 86400 - HANDLE_EPOCH) * HANDLES_A_SECOND
        for number in range(1000):
            handle = identity.made_handle(b"%d" % number)
            self.assertLessEqual(len(handle), LONGEST_HANDLE)
            match = re.fullmatch(rb"H:adopted:(\d{19})", handle)
            assert match is not None, handle
            self.assertGreater(int(match[1]), highest)

    def test_handles_do_not_depend_on_the_version(self) -> None:
        """
        Handles stay what they are in all versions: a copy may be gone on with by another one.
        """
        jobs = [record(0, handle=b"", unique=unique, run_at=5, reducer=b"sum") for unique in (b"u", b"", b"")]
        self.assertEqual(
            self.admitted(self.known(), jobs),
            [b"H:adopted:5841613512635538725", b"H:adopted:1507896486576563489", b"H:adopted:6778425335280614965"],
        )

    def test_temporary_file(self) -> None:
        """
        What does not fit into the memory is in a file; if that can't be written, a line says so.
        """
        self.patch(identity, "CACHE_KIBIBYTES", 16)
        known = self.known()
        jobs = [record(number) for number in range(5000)]
        self.admitted(known, jobs)
        self.assertEqual(known.admit(jobs), [THERE] * 5000)
        known._execute("PRAGMA max_page_count = 1")
        with self.assertRaisesRegex(StoreError, "temporary file .* full.*SQLITE_TMPDIR"):
            known.admit([record(number) for number in range(5000, 20000)])
