"""
What observers hear.
"""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from gearsvc.interfaces import IJobObserver
from tests.core.case import NOON, Connection, CoreCase, FakeStore, Recorder


class ObserverTests(CoreCase):
    """
    Each event, once, as it happens.
    """

    def serve(self, store: FakeStore | None = None, **settings: Any) -> None:
        """
        Serve, with somebody who listens.
        """
        super().serve(store, **settings)
        self.recorder = Recorder()
        self.server.observers.add(self.recorder)

    def running_job(self, **settings: Any) -> tuple[Connection, Connection]:
        """
        The client and the worker of a job H:1 that runs.
        """
        self.serve(**settings)
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        self.recorder.takes()
        return client, worker

    def test_interface(self) -> None:
        """
        The recorder of these tests is an observer as the server expects one.
        """
        self.assertTrue(verifyObject(IJobObserver, self.recorder))

    def test_life(self) -> None:
        """
        A job is submitted, started, progresses and is completed.
        """
        client, worker = self.connect(), self.connect()
        client.says("SUBMIT_JOB f||x")
        worker.says("CAN_DO f", "GRAB_JOB", "WORK_DATA H:1|a", "WORK_STATUS H:1|1|2", "WORK_COMPLETE H:1|b")
        self.assertEqual(
            self.recorder.takes(),
            ["job_submitted H:1", "worker_joined f", "job_started H:1", "job_progressed H:1 1 2", "job_completed H:1 b"],
        )

    def test_joining_is_not_new(self) -> None:
        """
        A submission that joins a job is no new job, and neither is one that is refused.
        """
        client = self.connect()
        client.says("maxqueue f 1\n", "SUBMIT_JOB f|u|x", "SUBMIT_JOB f|u|x", "SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB f||x")
        client.says(f"SUBMIT_JOB f|{'u' * 65}|x")
        self.assertEqual(self.recorder.takes(), ["job_submitted H:1"])

    def test_failures(self) -> None:
        """
        A WORK_FAIL and a WORK_EXCEPTION are failures, each with its reason.
        """
        for message, reason in (("WORK_FAIL H:1", "fail"), ("WORK_EXCEPTION H:1|x", "exception x")):
            _, worker = self.running_job()
            worker.says(message)
            self.assertEqual(self.recorder.takes(), [f"job_failed H:1 {reason}"])

    def test_lost(self) -> None:
        """
        A lost worker has left, and its job is tried again.
        """
        _, worker = self.running_job()
        worker.hangs_up()
        self.assertEqual(self.recorder.takes(), ["worker_left f", "job_retried H:1 lost"])

    def test_lost_for_good(self) -> None:
        """
        After the last attempt the job has failed.
        """
        _, worker = self.running_job(job_retries=1)
        worker.hangs_up()
        self.assertEqual(self.recorder.takes(), ["worker_left f", "job_failed H:1 attempts"])

    def test_timeout(self) -> None:
        """
        A job that took too long is tried again, for that reason.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.connect().says("CAN_DO_TIMEOUT f|1000", "GRAB_JOB")
        self.recorder.takes()
        self.clock.advance(1)
        self.assertEqual(self.recorder.takes(), ["job_retried H:1 timeout"])

    def test_abandoned(self) -> None:
        """
        A job that nobody waits for any more is cancelled: when its client goes, or when its worker does later.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f||x")
        self.recorder.takes()
        client.hangs_up()
        self.assertEqual(self.recorder.takes(), ["job_cancelled H:1 abandoned"])
        client, worker = self.running_job()
        client.hangs_up()
        self.assertEqual(self.recorder.takes(), [])
        worker.hangs_up()
        self.assertEqual(self.recorder.takes(), ["worker_left f", "job_cancelled H:1 abandoned"])

    def test_cancelled(self) -> None:
        """
        A cancelled job is cancelled, and what its worker says later is no event.
        """
        client, worker = self.running_job()
        client.says("cancel job H:1\n")
        worker.says("WORK_STATUS H:1|1|2", "WORK_COMPLETE H:1|x")
        self.assertEqual(self.recorder.takes(), ["job_cancelled H:1 cancel"])

    def test_dropped(self) -> None:
        """
        So are the jobs of a function that is dropped.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f||x", f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x")
        self.recorder.takes()
        client.says("drop function f\n")
        self.assertEqual(self.recorder.takes(), ["job_cancelled H:1 drop", "job_cancelled H:2 drop"])

    def test_not_stored(self) -> None:
        """
        A job that cannot be stored was submitted, and has failed.
        """
        store = FakeStore()
        self.serve(store)
        self.connect().says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG f||x")
        store.answers("no", number=1)
        store.answers()
        self.assertEqual(self.recorder.takes(), ["job_submitted H:1", "job_submitted H:2", "job_failed H:1 store no"])

    def test_batch_in_order(self) -> None:
        """
        The jobs of a batch that cannot be stored fail in the order of their submission.
        """
        store = FakeStore()
        self.serve(store)
        self.connect().says(*["SUBMIT_JOB_BG f||x"] * 50)
        self.recorder.takes()
        store.answers("no")
        self.assertEqual(self.recorder.takes(), [f"job_failed H:{number} store no" for number in range(1, 51)])

    def test_abilities(self) -> None:
        """
        A worker joins a function once, and leaves it once.
        """
        worker = self.connect()
        worker.says("CAN_DO f", "CAN_DO f", "CAN_DO_TIMEOUT f|5", "CAN_DO g", "CANT_DO g", "CANT_DO g")
        worker.says("CAN_DO g", "RESET_ABILITIES")
        self.assertEqual(
            self.recorder.takes(),
            [
                "worker_joined f",
                "worker_joined g",
                "worker_left g",
                "worker_joined g",
                "worker_left f",
                "worker_left g",
            ],
        )
        worker.hangs_up()
        self.assertEqual(self.recorder.takes(), [])

    def test_all_of_them(self) -> None:
        """
        Every observer hears every event.
        """
        second = Recorder()
        self.server.observers.add(second)
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(self.recorder.takes(), second.takes())
