"""
What can be done to a running job server.

The API and the pages do it through L{Actions}; whether somebody may is for the
L{Guard <gearsvc.console.safety.Guard>}.  What can't be done is a L{Problem
<gearsvc.console.problems.Problem>}, raised or the failure of the Deferred.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from gearsvc.console.problems import Problem
from gearsvc.console.search import MAX_LIMIT, JobQuery, search
from gearsvc.console.slices import Work
from gearsvc.console.submitting import Submission, Submitted
from gearsvc.console.values import LIVE, PRIORITIES, STATES, Jobs, Name
from gearsvc.console.views import Views
from gearsvc.core.jobs import DELAYED, QUEUED
from gearsvc.core.jobserver import MAX_UNIQUE
from gearsvc.core.queues import FunctionQueue

if TYPE_CHECKING:
    from gearsvc.service import JobServerService


@dataclass(frozen=True, slots=True)
class Cancelled:
    """
    How many jobs were cancelled.
    """

    cancelled: int


@dataclass(frozen=True, slots=True)
class CancelledJobs:
    """
    Which jobs were cancelled, and which could not be: they are over, never
    were there, or are being stored.
    """

    cancelled: list[Name]
    missing: list[Name]


@dataclass(frozen=True, slots=True)
class Draining:
    """
    The server is about to end.

    @ivar running: how many jobs still run.
    """

    running: int


class Actions:
    """
    What can be done.
    """

    def __init__(self, service: JobServerService, views: Views) -> None:
        self._service = service
        self._server = service.job_server
        self._reactor = service.reactor
        self._views = views

    # Jobs

    def submit(
        self,
        function: bytes,
        workload: bytes,
        unique: bytes = b"",
        priority: str = "normal",
        background: bool = False,
        run_at: int = 0,
        timeout: float = 30.0,
        host: str = "console",
    ) -> Deferred[Submitted]:
        """
        Submit a job, and wait until it is accepted (one in the background) or done.

        @param run_at: not before this time, in Unix seconds: such a job is in
            the background; 0 is at once.
        @param timeout: how many seconds to wait for a job's end.  One that no
            worker has by then is gone, and so is one whose Deferred is cancelled.
        @param host: on whose behalf.
        """
        if b"\0" in function or b"\0" in unique:
            # No packet could say such a thing; the rest of the server relies on that.
            raise Problem(400, "Neither a function's name nor a unique id may hold a NUL.")
        if len(unique) > MAX_UNIQUE:
            raise Problem(400, f"A unique id may have {MAX_UNIQUE} bytes, and no more.")
        submission = Submission(self._server, self._reactor, host)
        return submission.submit(
            function, unique, workload, PRIORITIES.index(priority), background or run_at > 0, run_at, timeout
        )

    def cancel(self, handle: bytes) -> None:
        """
        Cancel a job: its clients are told that it failed.
        """
        if handle not in self._server.jobs:
            raise no_job(handle)
        if not self._server.cancel(handle):
            raise Problem(409, "The job is being stored; it can be cancelled once it is.")
        self._server.flush()

    def cancel_many(self, handles: Iterable[bytes]) -> CancelledJobs:
        """
        Cancel some jobs, as far as they are there.
        """
        cancelled: list[Name] = []
        missing: list[Name] = []
        for handle in handles:
            (cancelled if self._server.cancel(handle) else missing).append(Name(handle))
        self._server.flush()
        return CancelledJobs(cancelled, missing)

    def cancel_found(self, query: JobQuery) -> Deferred[Cancelled]:
        """
        Cancel all jobs that a search finds, on whatever page, but for those
        that come meanwhile, are over, or are being stored.
        """
        states = query.states & set(LIVE) if query.states else frozenset(LIVE)
        if not states:
            raise Problem(400, "Jobs that are over can't be cancelled; search for some that are not.")
        query = replace(query, states=states, limit=MAX_LIMIT, after=None, oldest_first=False)
        return self._views.slices.run(self._cancel_found(query)).addCallback(Cancelled)

    # Functions

    def pause(self, function: bytes) -> Deferred[None]:
        """
        Hand out no more jobs of a function.

        @return: fires when the store has it, and it outlives the server.
        """
        self._queue(function)
        answered: Deferred[str | None] = Deferred()
        # In a later turn: the job server is in the midst of something.
        self._server.pause(function, lambda failure: self._reactor.callLater(0, answered.callback, failure))
        self._server.flush()

        def paused(failure: str | None) -> None:
            if failure is not None:
                raise Problem(503, f"The function is not paused: {failure}", Retry_After="5")

        return answered.addCallback(paused)

    def resume(self, function: bytes) -> None:
        """
        Hand out the jobs of a function again.
        """
        self._queue(function)
        self._server.resume(function)
        self._server.flush()

    def limit(self, function: bytes, high: int, normal: int, low: int) -> None:
        """
        Set how many jobs a function may have when one of a priority is
        submitted; 0 is no limit.
        """
        self._queue(function)
        self._server.limit_queue(function, (high, normal, low))

    def drain_function(self, function: bytes, draining: bool) -> None:
        """
        Take no new jobs of a function, or take them again.
        """
        self._queue(function)
        self._server.drain_function(function, draining)

    def clear(self, function: bytes, confirm: str) -> Deferred[Cancelled]:
        """
        Cancel the jobs of a function that wait, but for those that come meanwhile.

        @param confirm: the function's name again.
        """
        queue = self._queue(function)
        self._confirm(confirm, function)
        return self._views.slices.run(self._clear(queue)).addCallback(Cancelled)

    def drop(self, function: bytes, confirm: str) -> Deferred[Cancelled]:
        """
        Forget a function, and cancel its jobs.

        @param confirm: the function's name again.
        """
        queue = self._queue(function)
        self._confirm(confirm, function)
        if queue.workers or queue.running or queue.storing:
            raise Problem(409, "The function has workers, or jobs that run or are being stored; pause it or drain it instead.")

        def drop(cancelled: int) -> Cancelled:
            more = queue.total
            problem = self._server.drop_function(function) if self._server.functions.get(function) is queue else None
            self._server.flush()
            if problem is not None:
                raise Problem(409, f"{cancelled} jobs were cancelled, but the function is still there: {problem}.")
            return Cancelled(cancelled + more)

        return self._views.slices.run(self._clear(queue)).addCallback(drop)

    # The server

    def drain(self) -> Draining:
        """
        End the server when the running jobs are done, or after C{--drain-seconds}.
        """
        running = self._server.running
        # In a later turn, so that this is answered before anything ends.
        if self._server.shut_down is not None:
            self._reactor.callLater(0, self._server.shut_down, True)
        else:
            self._reactor.callLater(0, self._service.drain, self._service.settings.drain_seconds)
        return Draining(running)

    def _queue(self, function: bytes) -> FunctionQueue:
        queue = self._server.functions.get(function)
        if queue is None:
            raise no_function(function)
        return queue

    def _confirm(self, confirm: str, function: bytes) -> None:
        name = Name(function)
        if confirm != name and confirm.encode("utf-8", "surrogatepass") != function:
            raise Problem(409, f"To confirm, repeat the function's name: {name[:200]}")

    def _cancel_found(self, query: JobQuery) -> Work[int]:
        server, views = self._server, self._views
        cancelled = 0
        while True:
            found: Jobs = yield from search(server, views.register, views.history, query)
            for number, each in enumerate(found.jobs):
                job = server.jobs.get(each.handle.raw)
                # It may have begun to run since it was found.
                if job is not None and STATES[job.state] in query.states:
                    cancelled += server.cancel(job.handle)
                if number % 64 == 63:
                    server.flush()
                    yield
            server.flush()
            if found.following is None:
                return cancelled
            query = replace(query, after=found.following)

    def _clear(self, queue: FunctionQueue) -> Work[int]:
        server, register = self._server, self._views.register
        register.update()
        cancelled = 0
        for piece in register.down():
            for _, handle in piece:
                job = server.jobs.get(handle)
                if job is not None and job._function is queue and job.state in (QUEUED, DELAYED):
                    cancelled += server.cancel(handle)
            server.flush()
            yield
        return cancelled


def no_function(name: bytes) -> Problem:
    """
    What to say of a function that is not there.
    """
    return Problem(404, f"There is no function {Name(name)[:200]!r}.")


def no_job(handle: bytes) -> Problem:
    """
    What to say of a job that is not there.
    """
    return Problem(404, f"There is no job {Name(handle)[:200]!r}: it never was, or is over and forgotten.")
