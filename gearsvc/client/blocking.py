"""
Clients and workers for programs that know nothing of Twisted::

    from gearsvc.client.blocking import GearmanClient

    with GearmanClient("gearman.example") as client:
        print(client.submit("resize", image).result())

Everything happens in one thread, which runs Twisted's reactor; it is started
when it is first needed, is shared by all that is made here, and ends with the
program, which does not wait for it.  Where a program runs the reactor itself,
that one is used, once it runs, from any other thread than its own.  Everything
here may be called from several threads at once.

A program that forks does so before it uses anything of this: the thread is not
there in the child.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from queue import SimpleQueue
from threading import Event as Flag
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from gearsvc.client import (
    AssignedJob,
    ClientClosed,
    Data,
    GearmanError,
    JobException,
    JobFailed,
    JobStatus,
    Priority,
    Progress,
    QueueFull,
    ServerError,
    ServerUnavailable,
    SubmitTimeout,
    SubmittedJob,
    Warning,
)
from gearsvc.client.client import GearmanClient as _Client
from gearsvc.client.client import Name
from gearsvc.client.reactorthread import THREAD
from gearsvc.client.servers import Where
from gearsvc.client.submitted import Event
from gearsvc.client.tasks import Outcome
from gearsvc.client.worker import GearmanWorker as _Worker

__all__ = [
    "AssignedJob",
    "ClientClosed",
    "Data",
    "GearmanClient",
    "GearmanError",
    "GearmanWorker",
    "Job",
    "JobException",
    "JobFailed",
    "JobStatus",
    "Priority",
    "Progress",
    "QueueFull",
    "ServerError",
    "ServerUnavailable",
    "SubmitTimeout",
    "TaskSet",
    "Warning",
]

Value = TypeVar("Value")


def _get(outcome: Future[Value], timeout: float | None, what: str) -> Value:
    try:
        return outcome.result(timeout)
    except FutureTimeout:
        if outcome.done():
            # The job's own.
            raise
        raise TimeoutError(f"{what} within {timeout:g} seconds") from None


class Job:
    """
    A job that was submitted.

    To go over it gives what its worker tells before the end:
    L{Data<gearsvc.client.submitted.Data>},
    L{Warning<gearsvc.client.submitted.Warning>} and
    L{Progress<gearsvc.client.submitted.Progress>}, from the job's beginning,
    each of them once.  That ends with the job; if it fails, by raising why.
    """

    def __init__(self, client: _Client, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """
        Made by L{GearmanClient.submit}, in the reactor's thread.
        """
        self._created: Future[bytes] = Future()
        self._result: Future[bytes] = Future()
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        put = self._events.put
        self._job: SubmittedJob = client.submit(
            *arguments,
            **options,
            on_data=lambda data: put(Data(data)),
            on_warning=lambda data: put(Warning(data)),
            on_progress=lambda numerator, denominator: put(Progress(numerator, denominator)),
        )
        _fill(self._created, self._job.created)
        _fill(self._result, self._job.finished).addBoth(lambda _: put(None))

    def __repr__(self) -> str:
        return repr(self._job).replace("SubmittedJob", "Job", 1)

    @property
    def handle(self) -> bytes:
        """
        The server's name for the job, C{b""} before it has created it: see
        L{created}.
        """
        return self._job.handle

    @property
    def unique(self) -> bytes:
        """
        The unique id, or C{b""}.
        """
        return self._job.unique

    @property
    def done(self) -> bool:
        """
        Whether L{result} would give an answer at once.
        """
        return self._result.done()

    def created(self, timeout: float | None = None) -> bytes:
        """
        Wait until the server has accepted the job.

        @return: its handle.
        @raise TimeoutError: if it has not within so many seconds.  It may do so later.
        @raise GearmanError: if it does not.
        """
        return _get(self._created, timeout, "the job was not accepted")

    def result(self, timeout: float | None = None) -> bytes:
        """
        Wait for the job's result, as often as you like.

        @return: the result; of a background job C{b""}.
        @raise TimeoutError: if there is none within so many seconds.  The job
            goes on, and may be asked for again.
        @raise JobFailed: if the worker says so; it is a
            L{JobException<gearsvc.client.errors.JobException>} if it says how.
        @raise GearmanError: if something else has become of it.
        """
        return _get(self._result, timeout, "the job was not done")

    def __iter__(self) -> Iterator[Event]:
        """
        What the worker tells.
        """
        while (event := self._events.get()) is not None:
            yield event
        # For who asks once more.
        self._events.put(None)
        self.result()


def _fill(outcome: Future[bytes], deferred: Deferred[bytes]) -> Deferred[None]:
    return deferred.addCallbacks(outcome.set_result, lambda failure: outcome.set_exception(failure.value))


class TaskSet:
    """
    Jobs that are submitted together, so many at a time, and gathered.
    """

    def __init__(self, client: _Client, outstanding: int, progress: Callable[[int, int], object] | None) -> None:
        """
        Made by L{GearmanClient.task_set}, in the reactor's thread.
        """
        self._tasks = client.task_set(outstanding, progress)

    def __len__(self) -> int:
        """
        How many jobs there are.
        """
        return len(self._tasks)

    def add(self, *arguments: Any, **options: Any) -> None:
        """
        Add a job; it is submitted when there is room.  The arguments are those
        of L{GearmanClient.submit}.
        """
        THREAD.call(self._tasks.add, *arguments, **options)

    def wait(self, timeout: float | None = None) -> list[Outcome]:
        """
        Wait until all jobs that were added are done.

        @return: what became of each, in the order in which they were added: its
            result, or the exception that L{Job.result} would raise.
        @raise TimeoutError: if they are not within so many seconds.
        """
        return _get(THREAD.begin(self._tasks.wait), timeout, "the jobs were not done")


class GearmanClient:
    """
    Submits jobs to one or several servers, and asks about them: what
    L{gearsvc.client.client.GearmanClient} does, for programs that wait.
    """

    def __init__(self, servers: Where | Sequence[Where] = "localhost", *, max_packet: int = 1 << 30) -> None:
        """
        @param servers: where they are: see L{Where<gearsvc.client.servers.Where>}.
        @param max_packet: how large the largest result may be, in bytes.
        @raise ValueError: if one of them is no place.
        @raise RuntimeError: in the reactor's own thread.
        """
        self._client: _Client = THREAD.call(_Client, servers, max_packet=max_packet)

    def __enter__(self) -> GearmanClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority = Priority.NORMAL,
        background: bool = False,
        at: float | datetime | None = None,
        reducer: Name | None = None,
        retries: int = 0,
        timeout: float | None = None,
    ) -> Job:
        """
        Submit a job.  The arguments are those of
        L{gearsvc.client.client.GearmanClient.submit}.

        This does not wait for a foreground job.  For one in the background it
        waits until the server has accepted it, since the program may end next.

        @raise ValueError: if one of the arguments can't be.
        @raise GearmanError: if a background job is not accepted.
        """
        options = {
            "unique": unique,
            "priority": priority,
            "background": background,
            "at": at,
            "reducer": reducer,
            "retries": retries,
            "timeout": timeout,
        }
        job: Job = THREAD.call(Job, self._client, (function, workload), options)
        if background or at is not None:
            job.result()
        return job

    def map(
        self, function: Name, workloads: Iterable[Name], *, outstanding: int = 100, **options: Any
    ) -> Iterator[bytes]:
        """
        Submit a job for each workload, and go over their results, in order.

        The workloads are taken one by one, as there is room.

        @param outstanding: how many results may be awaited at a time.
        @param options: as of L{submit}.
        @raise ValueError: if none may be awaited.
        @raise GearmanError: in the place of a job that has failed.  The results
            of those behind it are not had then; L{task_set} gives all.
        """
        if outstanding < 1:
            raise ValueError(f"at least one job has to be under way at a time, not {outstanding}")
        return self._map(function, workloads, outstanding, options)

    def _map(self, function: Name, workloads: Iterable[Name], outstanding: int, options: dict[str, Any]) -> Iterator[bytes]:
        jobs: deque[Job] = deque()
        for workload in workloads:
            jobs.append(self.submit(function, workload, **options))
            if len(jobs) == outstanding:
                yield jobs.popleft().result()
        while jobs:
            yield jobs.popleft().result()

    def task_set(self, outstanding: int = 100, progress: Callable[[int, int], object] | None = None) -> TaskSet:
        """
        Many jobs that belong together.

        @param outstanding: how many of them may be under way at a time.
        @param progress: called after each with how many are done, and how many
            there are so far.  It is called in the reactor's thread, and must
            not wait for anything.
        @raise ValueError: if none may be under way.
        """
        tasks: TaskSet = THREAD.call(TaskSet, self._client, outstanding, progress)
        return tasks

    def status(self, handle: Name, timeout: float | None = None) -> JobStatus:
        """
        Ask all servers about a job.

        @raise TimeoutError: if they have not answered within so many seconds.
        @raise ServerUnavailable: if none knows it, and one is not there.
        """
        asked: Future[JobStatus] = THREAD.begin(self._client.status, handle)
        return _get(asked, timeout, "no server has answered")

    def status_by_unique(self, unique: Name, timeout: float | None = None) -> JobStatus:
        """
        Ask about a job by its unique id, at the server to which such jobs go.

        @raise TimeoutError: if it has not answered within so many seconds.
        @raise ServerError: if the server does not know the question.
        @raise ServerUnavailable: if it is not there.
        """
        asked: Future[JobStatus] = THREAD.begin(self._client.status_by_unique, unique)
        return _get(asked, timeout, "the server has not answered")

    def echo(self, data: Name = b"", timeout: float | None = None) -> bytes:
        """
        Have a server say something back.

        @raise TimeoutError: if it has not within so many seconds.
        @raise ServerUnavailable: if none is there.
        """
        asked: Future[bytes] = THREAD.begin(self._client.echo, data)
        return _get(asked, timeout, "no server has answered")

    def close(self) -> None:
        """
        Leave all servers.  What is not done fails with
        L{ClientClosed<gearsvc.client.errors.ClientClosed>}.
        """
        THREAD.call(self._client.close)


class GearmanWorker:
    """
    Does jobs of one or several servers: what
    L{gearsvc.client.worker.GearmanWorker} does, with functions that run in
    threads::

        worker = GearmanWorker("gearman.example", concurrency=4)
        worker.register("resize", resize)
        worker.work()
    """

    def __init__(
        self,
        servers: Where | Sequence[Where] = "localhost",
        *,
        concurrency: int = 1,
        client_id: Name = b"",
        max_packet: int = 1 << 30,
    ) -> None:
        """
        @param concurrency: how many jobs it does at a time, over all servers:
            each in a thread.
        @raise ValueError: if one of these can't be.
        @raise RuntimeError: in the reactor's own thread.
        """
        self._worker: _Worker = THREAD.call(
            _Worker, servers, concurrency=concurrency, client_id=client_id, max_packet=max_packet
        )
        self._stopping = Flag()
        self._left: Future[None] = Future()

    def register(
        self, function: Name, callable: Callable[[AssignedJob], bytes | str | None], *, timeout: float | None = None
    ) -> None:
        """
        Do jobs of a function from now on.  At any time, in a job too.

        @param callable: what does one: see
            L{gearsvc.client.worker.GearmanWorker.register}.  It runs in a thread.
        @param timeout: after how many seconds a job of it is taken for lost; what
            comes of it then is dropped.
        @raise ValueError: if the name or the time-out can't be.
        """
        THREAD.call(self._worker.register, function, callable, timeout=timeout, threaded=True)

    def unregister(self, function: Name) -> None:
        """
        Do no more jobs of a function.
        """
        THREAD.call(self._worker.unregister, function)

    def work(self) -> None:
        """
        Work until L{stop} is called, or Ctrl-C; then finish the jobs that run,
        and return.  A second Ctrl-C leaves at once, as the exception that it
        is; what runs is then queued again by its server.

        @raise RuntimeError: if it has worked before.
        """
        THREAD.call(self._worker.start)
        try:
            try:
                self._left.result()
            except KeyboardInterrupt:
                self.stop()
                self._left.result()
        except BaseException:
            THREAD.call(self._worker.close)
            raise

    def stop(self) -> None:
        """
        Take no more jobs, finish those that run, and have L{work} return.  This
        does not wait: it may be called from a job, another thread, or a signal's
        handler.
        """
        if not self._stopping.is_set():
            self._stopping.set()
            from twisted.internet import reactor

            running: Any = reactor
            running.callFromThread(self._drain)

    def _drain(self) -> None:
        self._worker.drain().addCallbacks(self._left.set_result, lambda failure: self._left.set_exception(failure.value))
