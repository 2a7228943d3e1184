"""
What becomes of those that wait for jobs, when the server is played by the test.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.client import GearmanClient, GearmanError, ServerUnavailable, SubmittedJob
from gearsvc.core.packets import RESPONSE, Type
from gearsvc.core.wire import encode
from tests.client.test_connection import EndpointByHand


async def result_of(job: SubmittedJob) -> bytes:
    """
    Wait for a job.
    """
    return await job


class OutstandingCase(SynchronousTestCase):
    """
    A client on a fake clock.
    """

    def setUp(self) -> None:
        """
        Have one, which is not connected.
        """
        self.clock = Clock()
        self.endpoint = EndpointByHand()
        self.client = GearmanClient([self.endpoint], reactor=self.clock)

    def connect(self) -> tuple[Any, StringTransport]:
        """
        Let it connect, say what it has to say, and ask for exceptions with success.
        """
        self.clock.advance(0)
        protocol, transport = self.endpoint.accept()
        self.clock.advance(0)
        protocol.dataReceived(encode(Type.OPTION_RES, b"exceptions", RESPONSE))
        return protocol, transport


class BackgroundTests(OutstandingCase):
    """
    A background job whose server went away.
    """

    def test_unanswered(self) -> None:
        """
        One that was sent, and not answered, may be there: its error says so, and that of a foreground job does not.
        """
        background, foreground = self.client.submit("f", background=True), self.client.submit("f")
        protocol, transport = self.connect()
        self.assertIn(b"f\0", transport.value())
        protocol.connectionLost(Failure(ConnectionDone()))
        error = self.failureResultOf(background.finished, ServerUnavailable).value
        self.assertRegex(str(error), "is not there: it closed the connection; .* background job, which may be there or not$")
        error = self.failureResultOf(foreground.finished, ServerUnavailable).value
        self.assertRegex(str(error), "is not there: it closed the connection$")

    def test_unsaid(self) -> None:
        """
        One that was never sent is not there.
        """
        self.endpoint.refuses = True
        job = self.client.submit("f", background=True)
        self.clock.advance(0)
        self.assertNotIn("may be there", str(self.failureResultOf(job.finished, ServerUnavailable).value))

    def test_accepted(self) -> None:
        """
        One that was accepted does not hear of it.
        """
        job = self.client.submit("f", background=True)
        protocol, _ = self.connect()
        protocol.dataReceived(encode(Type.JOB_CREATED, b"H:one:1", RESPONSE))
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.successResultOf(job.finished), b"")

    def test_again(self) -> None:
        """
        With retries, it is submitted again, under the same unique id, when the server may be tried again; the reason is told.
        """
        told: list[GearmanError] = []
        job = self.client.submit("f", background=True, retries=1, on_resubmit=told.append)
        protocol, first = self.connect()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertRegex(str(told), "which may be there or not")
        self.clock.advance(1)
        protocol, second = self.connect()
        self.assertIn(b"f\0" + job.unique + b"\0", second.value())
        self.assertEqual((len(job.unique), second.value()), (32, first.value()))
        protocol.dataReceived(encode(Type.JOB_CREATED, b"H:one:1", RESPONSE))
        self.assertEqual(self.successResultOf(job.created), b"H:one:1")


class CancelledTests(OutstandingCase):
    """
    Several that wait for one job.
    """

    def test_others_hear(self) -> None:
        """
        When one of them cancels, the others hear that the job was cancelled, rather than nothing for ever.
        """
        job = self.client.submit("f")
        first, second = Deferred.fromCoroutine(result_of(job)), Deferred.fromCoroutine(result_of(job))
        created, finished = job.created, job.finished
        first.cancel()
        for each in (first, second, created, finished):
            self.failureResultOf(each, CancelledError)

    def test_quiet(self) -> None:
        """
        Who cancels it knows: nothing is logged.
        """
        job = self.client.submit("f")
        waiting = Deferred.fromCoroutine(result_of(job))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        del job, waiting
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


class TaskSetTests(OutstandingCase):
    """
    Jobs of a task set that wait for room.
    """

    def test_mistake(self) -> None:
        """
        A job that can't be is refused when it is added, not when there is room for it, and is none of the set's.
        """
        tasks = self.client.task_set(outstanding=1)
        tasks.add("f")
        self.assertRaisesRegex(ValueError, "has a NUL in it", tasks.add, "f\0")
        self.assertEqual(len(tasks), 1)
        gathered = tasks.wait()
        self.client.close()
        self.assertEqual(len(self.successResultOf(gathered)), 1)

    def test_progress(self) -> None:
        """
        A progress callback that fails is logged, and the jobs are done all the same.
        """

        def mistaken(done: int, count: int) -> None:
            raise KeyError("mistaken")

        tasks = self.client.task_set(outstanding=1, progress=mistaken)
        tasks.add("f", b"1")
        tasks.add("f", b"2")
        gathered = tasks.wait()
        protocol, _ = self.connect()
        for handle in (b"H:one:1", b"H:one:2"):
            protocol.dataReceived(encode(Type.JOB_CREATED, handle, RESPONSE))
            protocol.dataReceived(encode(Type.WORK_COMPLETE, handle + b"\0done", RESPONSE))
        self.assertEqual(self.successResultOf(gathered), [b"done", b"done"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_timeout(self) -> None:
        """
        The time-out of a job begins when the job is submitted, not when it is added.
        """
        tasks = self.client.task_set(outstanding=1)
        tasks.add("f", timeout=5)
        tasks.add("f", timeout=5)
        gathered = tasks.wait()
        self.connect()
        self.clock.advance(5)
        self.assertEqual(tasks.done, 1)
        self.clock.advance(4)
        self.assertNoResult(gathered)
        self.clock.advance(1)
        self.assertEqual([type(each).__name__ for each in self.successResultOf(gathered)], ["SubmitTimeout"] * 2)
