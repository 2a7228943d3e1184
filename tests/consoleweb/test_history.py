"""
The jobs that ended last.
"""

from __future__ import annotations

from typing import Any
from unittest import TestCase
from unittest.mock import patch

from zope.interface.verify import verifyObject

from gearsvc.console import history
from gearsvc.console.history import History
from gearsvc.console.search import JobQuery
from gearsvc.console.values import ENDED, WholeJob
from gearsvc.interfaces import IJobObserver
from tests.consoleweb.case import ViewsCase
from tests.core.case import NOON


class InterfaceTests(TestCase):
    """
    What the job server knows of it.
    """

    def test_observer(self) -> None:
        """
        It is an observer, of nothing but ends; one that remembers nothing wants to hear nothing.
        """
        some = History(10, 10, lambda: 0.0)
        verifyObject(IJobObserver, some)
        self.assertEqual(sorted(some.events), ["job_cancelled", "job_completed", "job_failed"])
        self.assertEqual(list(History(0, 10, lambda: 0.0).events), [])


class HistoryTests(ViewsCase):
    """
    A history of a job server's.
    """

    def work(self, *answers: str, function: str = "f") -> list[str]:
        """
        Submit a job for each answer (C{"WORK_COMPLETE %s|result"}), and have it answered.

        @return: their handles.
        """
        client, worker = self.connect(), self.worker(function)
        handles = []
        for answer in answers:
            client.says(f"SUBMIT_JOB {function}|u{len(handles)}|workload")
            (assigned,) = worker.says("GRAB_JOB")
            handle = assigned.split()[1].split("|")[0]
            self.clock.advance(2)
            worker.says(answer % handle)
            handles.append(handle)
        return handles

    def job(self, handle: str) -> WholeJob:
        """
        What is remembered of one.
        """
        found = self.views.job(handle.encode())
        assert found is not None
        return found

    def listed(self, **query: Any) -> list[str]:
        """
        The handles of those that are remembered.
        """
        query.setdefault("states", frozenset(ENDED))
        return [job.handle for job in self.told(self.views.jobs(JobQuery(**query))).jobs]

    def test_completed(self) -> None:
        """
        Of a job that is done, everything is remembered: when, by whom, with what.
        """
        (handle,) = self.work("WORK_COMPLETE %s|result")
        whole = self.job(handle)
        job = whole.job
        self.assertEqual((job.state, job.reason, job.function, job.unique), ("completed", None, "f", "u0"))
        self.assertEqual((job.submitted, job.started, job.ended, job.age), (NOON, NOON, NOON + 2, 2.0))
        self.assertEqual((job.priority, job.background, job.clients, job.size), ("normal", False, 1, 8))
        assert job.worker is not None and whole.workload is not None and whole.result is not None
        self.assertEqual((job.worker.number, job.worker.client_id, job.worker.host), (2, "-", "127.0.0.1"))
        self.assertEqual((whole.workload.shown, whole.result.shown), ("workload", "result"))

    def test_failed(self) -> None:
        """
        Of one that failed, why: with the exception, if there was one.
        """
        failed, raised = self.work("WORK_FAIL %s", "WORK_EXCEPTION %s|no such file")
        self.assertEqual((self.job(failed).job.state, self.job(failed).job.reason), ("failed", "fail"))
        whole = self.job(raised)
        assert whole.result is not None
        self.assertEqual((whole.job.reason, whole.result.shown), ("exception", "no such file"))

    def test_attempts(self) -> None:
        """
        One that lost too many workers has none, and tells how many there were.
        """
        self.serve(job_retries=2)
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u|w")
        for _ in range(2):
            worker = self.worker("f")
            worker.says("GRAB_JOB")
            worker.hangs_up()
        (handle,) = self.listed()
        job = self.job(handle).job
        self.assertEqual((job.state, job.reason, job.attempts, job.worker, job.started), ("failed", "attempts", 2, None, None))

    def test_cancelled(self) -> None:
        """
        One that was taken away tells by whom: an administrator, a dropped function, a client who went.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f|a|w", "SUBMIT_JOB_BG f|b|w", "SUBMIT_JOB_BG g|c|w")
        self.server.cancel(b"H:2")
        self.server.drop_function(b"g")
        client.hangs_up()
        reasons = {job.unique: job.reason for job in self.told(self.views.jobs(JobQuery(states=frozenset({"cancelled"})))).jobs}
        self.assertEqual(reasons, {"a": "abandoned", "b": "cancel", "c": "drop"})

    def test_bounded(self) -> None:
        """
        No more than so many are remembered: the last ones, the newest first.
        """
        self.serve(history=3)
        handles = self.work(*["WORK_COMPLETE %s|"] * 5)
        self.assertEqual(self.listed(), handles[:1:-1])
        self.assertIsNone(self.views.job(handles[0].encode()))
        self.assertEqual((len(self.views.history), self.views.history.count), (3, 5))

    def test_too_many(self) -> None:
        """
        Of those that complete in a second, so many are remembered, and the job server is asked for no more; those that fail
        all are.  In the next second it goes on.
        """
        self.enterContext(patch.object(history, "LEAST_A_SECOND", 2))
        self.serve(history=10)
        complete = ["WORK_COMPLETE %s|"]
        handles = self.work(*complete * 2)
        self.assertEqual(self.server.observers.job_completed, ())
        self.work(*complete)
        handles += self.work("WORK_FAIL %s")
        self.reactor.advance(1)
        handles += self.work(*complete * 2)
        self.work(*complete)
        self.assertEqual(self.listed(oldest_first=True), handles)
        self.views.stop()
        self.assertEqual(self.server.observers.job_failed, ())

    def test_none(self) -> None:
        """
        Where nothing is to be remembered, nothing is, and the job server calls nobody.
        """
        self.serve(history=0)
        self.work("WORK_COMPLETE %s|")
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.server.observers.job_completed, ())

    def test_cut(self) -> None:
        """
        Of workload and result as much is remembered as is to be shown, and their sizes.
        """
        self.serve(payload_bytes=4)
        (handle,) = self.work("WORK_COMPLETE %s|result")
        whole = self.job(handle)
        assert whole.workload is not None and whole.result is not None
        self.assertEqual((whole.workload.shown, whole.workload.size, whole.workload.cut), ("work", 8, True))
        self.assertEqual((whole.result.shown, whole.result.size, whole.result.cut), ("resu", 6, True))

    def test_masked(self) -> None:
        """
        Where payloads are not to be shown, only their sizes are remembered.
        """
        self.serve(mask_payloads=True)
        (handle,) = self.work("WORK_COMPLETE %s|secret")
        whole = self.job(handle)
        assert whole.workload is not None and whole.result is not None
        self.assertEqual((whole.workload.kind, whole.workload.size), ("hidden", 8))
        self.assertEqual((whole.result.kind, whole.result.size, whole.result.shown), ("hidden", 6, ""))
        self.assertFalse(any(b"secret" in part for entry in self.views.history._payloads for part in entry))

    def test_payloads_bounded(self) -> None:
        """
        With large payloads, those of the oldest jobs are forgotten, and the jobs are not.
        """
        before, history.MAX_PAYLOADS = history.MAX_PAYLOADS, 3 * 2 * 4096
        try:
            self.serve()
        finally:
            history.MAX_PAYLOADS = before
        handles = self.work(*["WORK_COMPLETE %s|result"] * 5)
        self.assertEqual([self.job(handle).result is not None for handle in handles], [False, False, True, True, True])
        self.assertEqual([self.job(handle).job.state for handle in handles], ["completed"] * 5)

    def test_search(self) -> None:
        """
        They are found by function, unique id, state, and by how long ago they ended.
        """
        first = self.work("WORK_COMPLETE %s|", "WORK_FAIL %s", function="f")
        self.clock.advance(100)
        second = self.work("WORK_COMPLETE %s|", function="g")
        self.assertEqual(self.listed(), [*second, *first[::-1]])
        self.assertEqual(self.listed(oldest_first=True), [*first, *second])
        self.assertEqual(self.listed(function=b"f"), first[::-1])
        self.assertEqual(self.listed(function=b"g", unique=b"u0"), second)
        self.assertEqual(self.listed(states=frozenset({"failed"})), first[1:])
        self.assertEqual(self.listed(older=50.0), first[::-1])
        self.assertEqual(self.listed(younger=50.0), second)

    def test_pages(self) -> None:
        """
        A page begins where the one before ended, though more jobs have ended meanwhile.
        """
        handles = self.work(*["WORK_COMPLETE %s|"] * 5)
        first = self.told(self.views.jobs(JobQuery(states=frozenset(ENDED), limit=2)))
        self.work("WORK_COMPLETE %s|")
        second = self.told(self.views.jobs(JobQuery(states=frozenset(ENDED), limit=2, after=first.following)))
        third = self.told(self.views.jobs(JobQuery(states=frozenset(ENDED), limit=2, after=second.following)))
        self.assertEqual([job.handle for page in (first, second, third) for job in page.jobs], handles[::-1])
        self.assertIsNone(third.following)

    def test_stopped(self) -> None:
        """
        A console that has stopped hears of nothing more.
        """
        self.views.stop()
        self.work("WORK_COMPLETE %s|")
        self.assertEqual(len(self.views.history), 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
