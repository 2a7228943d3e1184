"""
L{GearmanWorker} with real servers: ours, and gearmand.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from gearsvc.client import AssignedJob, Data, GearmanWorker, JobException, JobFailed, Priority, Progress, Warning
from gearsvc.client.working import Working
from tests.client.test_client import ClientCase, place, shared_server
from tests.running import HOST, RunningServer, start_server


class WorkerCase(ClientCase):
    """
    A test of a worker.
    """

    def new_worker(self, *servers: str, **options: Any) -> GearmanWorker:
        """
        A worker, which has begun, and is closed in the end.
        """
        worker = GearmanWorker(servers or [place(self.server)], **options)
        self.addCleanup(worker.close)
        worker.start()
        return worker

    def doing(self, do: Callable[[AssignedJob], Any], concurrency: int = 1, **options: Any) -> GearmanWorker:
        """
        A worker that does the test's function.
        """
        worker = self.new_worker(concurrency=concurrency)
        worker.register(self.function, do, **options)
        return worker

    def own_server(self) -> RunningServer:
        """
        A server that may be killed.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, directory)
        server = start_server(kind=self.kind, directory=directory)
        self.addCleanup(lambda: server.running and server.kill())
        return server

    def jobs(self) -> tuple[int, int, int]:
        """
        How many jobs of the function there are, how many of them run, and how many workers it has.
        """
        return self.server.status(self.function.decode())


class _Held:
    """
    A function whose jobs run until the test says so.
    """

    def __init__(self) -> None:
        self.jobs: list[AssignedJob] = []
        self.ends: list[Deferred[Any]] = []
        self.cancelled = 0

    async def do(self, job: AssignedJob) -> Any:
        """
        Do one.
        """
        self.jobs.append(job)
        end: Deferred[Any] = Deferred()
        self.ends.append(end)
        try:
            return await end
        except CancelledError:
            self.cancelled += 1
            raise


class WorkerTests(WorkerCase):
    """
    What holds with any server.
    """

    async def test_kinds_of_results(self) -> None:
        """
        A callable may return bytes, text, nothing, a Deferred or a coroutine.
        """

        async def later(job: AssignedJob) -> str:
            await self.sleep(0)
            return "coroutine"

        forms: dict[bytes, Callable[[AssignedJob], Any]] = {
            b"by\0tes": lambda job: job.workload,
            "tëxt".encode(): lambda job: "tëxt",
            b"": lambda job: None,
            b"deferred": lambda job: succeed(b"deferred"),
            b"coroutine": later,
        }
        self.doing(lambda job: forms[job.workload](job))
        for expected in forms:
            self.assertEqual(await self.client.submit(self.function, expected), expected)

    async def test_what_a_job_knows(self) -> None:
        """
        A job has its handle, function, unique id, reducer and workload.
        """
        found: list[AssignedJob] = []
        self.doing(found.append)
        plain, reduced = self.client.submit(self.function, "a", unique="u"), self.client.submit(self.function, "b", reducer="sum")
        await plain
        await reduced
        one, other = sorted(found, key=lambda job: job.workload)
        self.assertEqual((one.handle, one.function, one.unique, one.reducer), (plain.handle, self.function, b"u", b""))
        self.assertEqual((other.handle, other.unique, other.reducer), (reduced.handle, b"", b"sum"))

    async def test_what_a_job_sends(self) -> None:
        """
        Data, warnings and progress arrive in their order, and before the result.
        """

        def do(job: AssignedJob) -> bytes:
            job.send_data(b"a")
            job.send_progress(1, 3)
            job.send_warning("b")
            job.send_data("c")
            return b"d"

        for threaded in (False, True):
            worker = self.doing(do, threaded=threaded)
            job = self.client.submit(self.function)
            events = [event async for event in job.events()]
            self.assertEqual([*events, await job], [Data(b"a"), Progress(1, 3), Warning(b"b"), Data(b"c"), b"d"])
            await worker.drain()

    async def test_impossible_progress(self) -> None:
        """
        Progress that servers would not keep is refused where it is said.
        """
        self.doing(lambda job: job.send_progress(-1, 3))
        with self.assertRaisesRegex(JobException, "progress is two whole numbers from 0 to 4294967295, not -1"):
            await self.client.submit(self.function)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_exception(self) -> None:
        """
        The client has the text of an exception, or its name if it has none; it is logged once, with the function and the
        handle.
        """

        def fail(job: AssignedJob) -> None:
            raise ValueError(job.workload.decode())

        self.doing(fail)
        for workload, expected in ((b"no good", b"no good"), (b"", b"ValueError")):
            job = self.client.submit(self.function, workload)
            with capturedLogs() as logs:
                with self.assertRaises(JobException) as caught:
                    await job
            self.assertEqual((caught.exception.data, caught.exception.handle), (expected, job.handle))
            [event] = [event for event in logs if "log_failure" in event]
            self.assertEqual((event["handle"], event["function"]), (job.handle.decode(), self.function.decode()))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    async def test_failure(self) -> None:
        """
        JobFailed is a failure without an exception, JobException has the data that it was given; neither is logged.  The
        worker goes on.
        """
        outcomes: list[Any] = [JobFailed(), JobException(b"my\0data"), None]

        def do(job: AssignedJob) -> bytes:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            return b"well"

        self.doing(do)
        with self.assertRaises(JobFailed) as caught:
            await self.client.submit(self.function)
        self.assertNotIsInstance(caught.exception, JobException)
        with self.assertRaises(JobException) as raised:
            await self.client.submit(self.function)
        self.assertEqual(raised.exception.data, b"my\0data")
        self.assertEqual(await self.client.submit(self.function), b"well")

    async def test_result_that_is_none(self) -> None:
        """
        A callable that returns something else has made a mistake, which is told.
        """
        self.doing(lambda job: 42)
        with self.assertRaisesRegex(JobException, "a job's result is bytes, str or None, not int"):
            await self.client.submit(self.function)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    async def test_concurrency(self) -> None:
        """
        So many jobs run at a time, and no more are taken.
        """
        held = _Held()
        worker = self.doing(held.do, concurrency=3)
        jobs = [self.client.submit(self.function, str(number)) for number in range(5)]
        await self.until(lambda: len(held.jobs) == 3, "three jobs run")
        await self.client.echo()
        self.assertEqual((self.jobs()[:2], worker.running), ((5, 3), 3))
        for number in range(5):
            await self.until(lambda: len(held.ends) > number, "the next one runs")
            held.ends[number].callback(b"done")
        self.assertEqual([await job for job in jobs], [b"done"] * 5)
        self.assertEqual(worker.running, 0)

    async def test_threads(self) -> None:
        """
        Callables in threads block neither each other nor the reactor: two that wait for each other end.
        """
        both = threading.Barrier(2, timeout=10)

        def do(job: AssignedJob) -> str:
            both.wait()
            return threading.current_thread().name

        self.doing(do, concurrency=2, threaded=True)
        jobs = [self.client.submit(self.function), self.client.submit(self.function)]
        self.assertEqual(len({await job for job in jobs}), 2)

    async def test_sleeping_on_two_servers(self) -> None:
        """
        A worker of several servers that sleeps on all is woken by each.
        """
        ours, gearmand = shared_server("gearsvc"), shared_server("gearmand")
        worker = self.new_worker(place(ours), place(gearmand))
        worker.register(self.function, lambda job: job.workload)
        clients = [self.new_client(place(server)) for server in (ours, gearmand, ours, gearmand)]
        for client in clients:
            self.assertEqual(await client.submit(self.function, "x"), b"x")
            # For long enough that the next one finds it asleep.
            await self.sleep(0.02)

    async def test_one_server_away(self) -> None:
        """
        That one server is away does not keep a worker from doing the jobs of another.
        """
        worker = self.new_worker(f"{HOST}:1", place(self.server))
        worker.register(self.function, lambda job: job.workload)
        self.assertEqual(await self.client.submit(self.function, "x"), b"x")
        await worker.drain()

    async def test_woken_for_nothing(self) -> None:
        """
        gearmand wakes a worker again and again while a job waits for its time; the worker does not run in circles, and does
        what may be done.
        """
        grabs = 0
        grab = Working.grab

        def count(working: Working) -> None:
            nonlocal grabs
            grabs += 1
            grab(working)

        self.patch(Working, "grab", count)
        await self.client.submit(self.function, "tomorrow", at=4_000_000_000)
        self.doing(lambda job: job.workload)
        await self.sleep(0.6)
        self.assertLess(grabs, 12)
        self.assertEqual(await self.client.submit(self.function, "now", priority=Priority.HIGH), b"now")

    async def test_register_and_unregister(self) -> None:
        """
        A function may come and go while the worker works.
        """
        other = self.function[:50] + b"-other"
        worker = self.doing(lambda job: b"first")
        worker.register(other, lambda job: b"other")
        self.assertEqual(await self.client.submit(self.function), b"first")
        worker.register(self.function, lambda job: b"second")
        self.assertEqual(await self.client.submit(self.function), b"second")
        worker.unregister(self.function)
        waits = self.client.submit(self.function)
        self.assertEqual(await self.client.submit(other), b"other")
        self.assertEqual(self.jobs(), (1, 0, 0))
        worker.register(self.function, lambda job: b"third")
        self.assertEqual(await waits, b"third")

    async def test_unregister_while_it_runs(self) -> None:
        """
        A job whose function is taken back runs on, and its result arrives; another of the function is not taken.
        """
        held = _Held()
        worker = self.doing(held.do, concurrency=2)
        running = self.client.submit(self.function)
        await self.until(lambda: held.jobs, "the job runs")
        worker.unregister(self.function)
        waits = self.client.submit(self.function)
        await waits.created
        held.ends[0].callback(b"done")
        self.assertEqual(await running, b"done")
        await self.until(lambda: self.jobs() == (1, 0, 0), "the function is taken back")
        self.assertEqual(len(held.jobs), 1)
        worker.register(self.function, lambda job: b"later")
        self.assertEqual(await waits, b"later")

    async def test_client_id(self) -> None:
        """
        The server knows the worker by its client id.
        """
        worker = self.new_worker(client_id="the-wörker")
        worker.register(self.function, lambda job: None)
        await self.client.submit(self.function)
        self.assertIn(" the-wörker : ".encode() + self.function, self.server.admin("workers"))

    async def test_time_is_up(self) -> None:
        """
        A coroutine that takes too long is cancelled, what comes of it is dropped, and the server gives the job out again.
        """
        lates: list[AssignedJob] = []

        async def do(job: AssignedJob) -> bytes:
            if lates:
                return b"in time"
            lates.append(job)
            try:
                await Deferred()
            except CancelledError:
                job.send_data("too late")
            return b"too late"

        self.doing(do, timeout=0.2)
        job = self.client.submit(self.function)
        events = [event async for event in job.events()]
        self.assertEqual(([*events], await job), ([], b"in time"))
        self.assertEqual([each.lost for each in lates], [True])

    async def test_connection_lost(self) -> None:
        """
        When the server goes away a job learns that it is lost, and its result is dropped; when the server is back, so is the
        worker, with its functions and its client id.
        """
        server = self.own_server()
        held = _Held()
        worker = self.new_worker(place(server), client_id="me")
        worker.register(self.function, held.do)
        client = self.new_client(place(server))
        lost = client.submit(self.function, retries=9)
        await self.until(lambda: held.jobs, "the job runs")
        self.assertFalse(held.jobs[0].lost)
        server.kill()
        await self.until(lambda: held.jobs[0].lost, "the job learns of it")
        server.start()
        # There is one hand, and it is not free.
        await self.until(lambda: server.status(self.function.decode()) == (1, 0, 1), "both are back")
        self.assertEqual(worker.running, 1)
        held.ends[0].callback(b"of the first attempt")
        await self.until(lambda: len(held.ends) == 2, "it runs anew")
        self.assertIn(b" me : ", server.admin("workers"))
        held.ends[1].callback(b"of the second")
        self.assertEqual(await lost, b"of the second")

    async def test_drain(self) -> None:
        """
        A worker that is drained finishes what it has, takes no more, leaves, and then says so.
        """
        held = _Held()
        worker = self.doing(held.do)
        running = self.client.submit(self.function)
        await self.until(lambda: held.jobs, "the job runs")
        waiting = self.client.submit(self.function)
        await waiting.created
        gone = [worker.drain(), worker.drain()]
        await self.sleep(0.05)
        self.assertEqual([each.called for each in gone], [False, False])
        held.ends[0].callback(b"done")
        for each in gone:
            await each
        self.assertEqual((await running, len(held.jobs)), (b"done", 1))
        await self.until(lambda: self.jobs() == (1, 0, 0), "the worker is gone")
        self.doing(lambda job: b"by another")
        self.assertEqual(await waiting, b"by another")
        await worker.drain()

    async def test_drain_from_a_job(self) -> None:
        """
        A job may be the last: it says so while it runs, and its result arrives.
        """
        gone: list[Deferred[None]] = []
        worker = self.new_worker()

        def do(job: AssignedJob) -> bytes:
            gone.append(worker.drain())
            return b"the last"

        worker.register(self.function, do)
        self.assertEqual(await self.client.submit(self.function), b"the last")
        await gone[0]

    async def test_drain_idle(self) -> None:
        """
        A worker that was never started, or sleeps, leaves without ado.
        """
        await GearmanWorker(place(self.server)).drain()
        worker = self.doing(lambda job: None)
        await self.client.submit(self.function)
        await worker.drain()
        await self.until(lambda: self.jobs() == (0, 0, 0), "the worker is gone")

    async def test_close(self) -> None:
        """
        A worker that is closed leaves at once: its job is cancelled, and the server gives it to another.
        """
        held = _Held()
        worker = self.doing(held.do)
        job = self.client.submit(self.function)
        await self.until(lambda: held.jobs, "the job runs")
        await worker.close()
        self.assertEqual((held.jobs[0].lost, held.cancelled, worker.running), (True, 1, 0))
        self.doing(lambda job: b"by another")
        self.assertEqual(await job, b"by another")

    async def test_close_while_a_thread_runs(self) -> None:
        """
        A thread is not waited for, and may still say what it likes: nobody hears it.
        """
        begun, end, ended = threading.Event(), threading.Event(), threading.Event()

        def do(job: AssignedJob) -> bytes:
            begun.set()
            end.wait(10)
            if job.lost:
                job.send_data("late")
                ended.set()
            return b"late"

        worker = self.doing(do, threaded=True)
        job = self.client.submit(self.function)
        await self.until(begun.is_set, "the job runs")
        await worker.close()
        end.set()
        await self.until(ended.is_set, "the thread goes on")
        self.doing(lambda job: b"by another")
        self.assertEqual(([event async for event in job.events()], await job), ([], b"by another"))


class OurServerTests(WorkerTests, TestCase):
    """
    With our server.
    """


class GearmandTests(WorkerTests, TestCase):
    """
    With gearmand.
    """

    kind = "gearmand"

    async def test_timer_that_gearmand_forgets(self) -> None:
        """
        gearmand forgets the time-out of a job when its worker asks for another one.  The client hears of a failure all the
        same, from the worker.
        """
        held = _Held()
        worker = self.doing(held.do, concurrency=2, timeout=1)
        worker.register(self.function[:50] + b"-quick", lambda job: None)
        job = self.client.submit(self.function)
        await self.until(lambda: held.jobs, "the job runs")
        await self.client.submit(self.function[:50] + b"-quick")
        with self.assertRaises(JobFailed):
            await job
        self.assertEqual((held.cancelled, len(held.jobs)), (1, 1))


class OtherTests(TestCase):
    """
    Without a job server.
    """

    def test_what_can_not_be(self) -> None:
        """
        Arguments that make no sense are refused at once, in words.
        """
        worker = GearmanWorker()
        for call, message in (
            (lambda: GearmanWorker(concurrency=0), "a worker does at least one job at a time, not 0"),
            (lambda: GearmanWorker([]), "no server is named"),
            (lambda: worker.register("", print), "'' is no name of a function"),
            (lambda: worker.register("a\0b", print), r"'a\\x00b' is no name of a function"),
            (lambda: worker.register("f", print, timeout=0), "a time-out is more than 0 seconds"),
        ):
            self.assertRaisesRegex(ValueError, message, call)

    async def test_started_twice(self) -> None:
        """
        A worker is started once.
        """
        worker = GearmanWorker(f"{HOST}:1")
        worker.start()
        self.assertRaises(RuntimeError, worker.start)
        await worker.close()
        self.assertRaises(RuntimeError, worker.start)

    async def test_no_job_server(self) -> None:
        """
        A peer that speaks something else is left.
        """
        from twisted.internet import reactor

        left: Deferred[None] = Deferred()

        class Web(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                left.callback(None)

        port = reactor.listenTCP(0, Factory.forProtocol(Web), interface=HOST)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        worker = GearmanWorker(f"{HOST}:{port.getHost().port}")
        worker.register("f", lambda job: None)
        with capturedLogs() as logs:
            worker.start()
            await left
        await worker.close()
        said = [event["why"] for event in logs if "why" in event]
        self.assertEqual(said, ["what answers there is no job server, or a broken one: it sent TEXT to a worker"])
