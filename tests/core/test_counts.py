"""
What the server counts.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.counts import Counts, Histogram
from gearsvc.core.queues import FunctionQueue
from tests.core.case import NOON, CoreCase, StoreCase


class HistogramTests(SynchronousTestCase):
    """
    Times in ranges.
    """

    def test_buckets(self) -> None:
        """
        A time is counted up to its bound and not beyond, one above all bounds in the last bucket, and one below zero as zero.
        """
        times = Histogram((1.0, 5.0))
        for seconds in (0.5, 1.0, 1.1, 5.0, 7.0, -3.0):
            times.observe(seconds)
        self.assertEqual((times.buckets, times.count), ([3, 2, 1], 6))
        self.assertAlmostEqual(times.total, 14.6)


class CountTests(CoreCase):
    """
    Each thing that can happen, once.
    """

    def queue(self, name: bytes = b"f") -> FunctionQueue:
        """
        A function's queue, whose balance is looked at.
        """
        queue = self.server.functions[name]
        self.assertEqual(queue.balance, 0)
        return queue

    def test_life(self) -> None:
        """
        A job is submitted, started and completed; how long it waited and ran is counted, in whole turns of the clock.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x", "SUBMIT_JOB f|u|x")
        self.clock.advance(2)
        worker.says("GRAB_JOB")
        self.clock.advance(3)
        self.assertEqual(self.queue().counts.completed, 0)
        worker.says("WORK_COMPLETE H:1|done")
        counts = self.queue().counts
        self.assertEqual((counts.submitted, counts.coalesced, counts.completed), (1, 1, 1))
        self.assertEqual((counts.wait.count, counts.wait.total), (1, 2.0))
        self.assertEqual((counts.run.count, counts.run.total), (1, 3.0))
        self.assertEqual(worker.session.done, 1)

    def test_delayed(self) -> None:
        """
        A job that has a time waits from then on, not from its submission.
        """
        worker = self.worker("f")
        self.connect().says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 100}|x")
        self.clock.advance(107)
        worker.says("GRAB_JOB")
        self.assertAlmostEqual(self.queue().counts.wait.total, 7.0)

    def test_ends(self) -> None:
        """
        What ends a job otherwise is counted by its reason.
        """
        self.serve(job_retries=2)
        client = self.connect()
        client.says(*[f"SUBMIT_JOB f|{number}|x" for number in range(6)])
        worker = self.worker("f")
        worker.says(*["GRAB_JOB"] * 2, "WORK_FAIL H:1", "WORK_EXCEPTION H:2|x", "GRAB_JOB")
        worker.hangs_up()
        worker = self.worker("f")
        worker.says("GRAB_JOB")
        worker.hangs_up()
        self.connect().says("cancel job H:4\n")
        client.hangs_up()
        counts = self.queue().counts
        self.assertEqual(counts.failed, {"fail": 1, "exception": 1, "attempts": 1})
        self.assertEqual(counts.retried, {"lost": 1})
        self.assertEqual(counts.cancelled, {"cancel": 1, "abandoned": 2})
        self.assertEqual((counts.accepted, counts.ended), (6, 6))

    def test_time_out(self) -> None:
        """
        A job whose worker takes too long is retried for that reason.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.connect().says("CAN_DO_TIMEOUT f|2000", "GRAB_JOB")
        self.clock.advance(2)
        self.assertEqual(self.queue().counts.retried, {"timeout": 1})

    def test_rejected(self) -> None:
        """
        A submission that is refused is no job, and is counted by its reason.
        """
        client = self.connect()
        client.says("maxqueue f 1\n", *["SUBMIT_JOB f||x"] * 3, f"SUBMIT_JOB f|{'u' * 65}|x", f"SUBMIT_JOB {'f' * 8192}||x")
        self.assertEqual(self.queue().counts.rejected, {"full": 2, "unique": 1})
        self.assertEqual(self.server.dropped.rejected, {"function": 1})
        self.assertEqual(self.queue().counts.submitted, 1)

    def test_drained_function(self) -> None:
        """
        A function that is drained refuses new jobs, lets others join those that it has, and hands these out.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        self.server.drain_function(b"f")
        self.assertIn("it is being drained", client.says("SUBMIT_JOB f||y")[0])
        self.assertEqual(client.says("SUBMIT_JOB f|u|x"), ["JOB_CREATED H:1"])
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])
        self.assertEqual(self.queue().counts.rejected, {"draining": 1})
        self.server.drain_function(b"f", False)
        self.assertEqual(client.says("SUBMIT_JOB f||y"), ["JOB_CREATED H:2"])

    def test_dropped(self) -> None:
        """
        What happened to the jobs of a function that was dropped is not forgotten.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB f||y", "drop function f\n")
        self.assertEqual(self.server.functions, {})
        dropped = self.server.dropped
        self.assertEqual((dropped.submitted, dropped.cancelled, dropped.accepted - dropped.ended), (2, {"drop": 2}, 0))

    def test_clear(self) -> None:
        """
        Clearing a function cancels the jobs that wait, delayed ones too, tells their clients, and leaves those that run.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB f||y", f"SUBMIT_JOB_EPOCH f||{int(NOON) + 100}|z", "SUBMIT_JOB g||x")
        worker.says("GRAB_JOB")
        self.assertEqual(self.server.clear(b"f"), 2)
        self.server.flush()
        self.assertEqual(client.hears(), ["WORK_FAIL H:2"])
        self.assertEqual(self.status(), ["f 1 1 1", "g 1 0 0"])
        self.assertEqual((self.queue().counts.cancelled, self.server.clear(b"nosuch")), ({"cancel": 2}, 0))

    def test_addition(self) -> None:
        """
        Counts of several functions add up.
        """
        for function, handle in (("f", "H:1"), ("g", "H:3")):
            self.connect().says(f"SUBMIT_JOB_BG {function}||x", f"SUBMIT_JOB_BG {function}||x")
            self.worker(function).says("GRAB_JOB", f"WORK_FAIL {handle}")
        total = Counts()
        for queue in self.server.functions.values():
            total.add(queue.counts)
        self.assertEqual((total.submitted, total.failed, total.wait.count, total.run.count), (4, {"fail": 2}, 2, 2))


class StoredCountTests(StoreCase):
    """
    Jobs of a store.
    """

    def test_accepted_once_stored(self) -> None:
        """
        A job counts as submitted when it is stored; one that the store refuses is rejected, and was never a job.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG f||y")
        queue = self.server.functions[b"f"]
        self.assertEqual((queue.counts.submitted, queue.storing, queue.balance), (0, 2, 0))
        self.store.answers(number=1)
        self.assertEqual((queue.counts.submitted, queue.storing, queue.balance), (1, 1, 0))
        self.store.answers("the disk is full")
        self.assertEqual((queue.counts.submitted, queue.storing, queue.balance), (1, 0, 0))
        self.assertEqual((queue.counts.rejected, queue.counts.failed), ({"store": 1}, {}))

    def test_replayed(self) -> None:
        """
        What the store gives back at the start was accepted once, and counts again.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.store.answers()
        rows = list(self.store.rows)
        again = self.__class__("test_replayed")
        again.setUp()
        again.server.replay(rows)
        queue = again.server.functions[b"f"]
        self.assertEqual((queue.counts.replayed, queue.counts.submitted, queue.balance), (1, 0, 0))
