"""
The life of a job from the queue to its end::

    QUEUED or DELAYED --(grab)--> RUNNING --> FINISHED
            ^______(worker lost)_____/

L{Lifecycle} holds the tables: jobs by handle, functions by name.  How jobs come
in is in L{gearsvc.core.jobserver}, which is this and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from gearsvc.core import wire
from gearsvc.core.clock import Alarm, Clock
from gearsvc.core.counts import Counts, count
from gearsvc.core.delays import Delays
from gearsvc.core.jobs import FINISHED, PENDING, QUEUED, RUNNING, STORING, Job
from gearsvc.core.observing import Observers
from gearsvc.core.packets import Type
from gearsvc.core.queues import FunctionQueue
from gearsvc.core.sessions import AWAKE, Session
from gearsvc.core.store import Store
from gearsvc.core.switchboard import Switchboard
from gearsvc.core.wakeups import Wakeups

if TYPE_CHECKING:
    from gearsvc.config import Settings

MAX_FUNCTION = 8191
"""How many bytes the name of a function may have; gearmand's limit for any argument."""

FUNCTION_TOO_LARGE = wire.error(b"ARGUMENT_TOO_LARGE", b"Function name too large: it may have 8191 bytes")


class Lifecycle(Switchboard):
    """
    The jobs that wait and run, and the workers that have them.

    @ivar store: where background jobs are kept, or C{None}.
    @ivar jobs: every job that is not finished, by its handle.
    @ivar functions: every function's queue, by its name.
    @ivar limits: for functions that are not known yet: their queue limits.
    @ivar running: how many jobs a worker has.
    @ivar draining: whether no more jobs are handed out.
    @ivar observers: who hears of what happens (L{IJobObserver
        <gearsvc.interfaces.IJobObserver>}).
    @ivar dropped: what happened to the jobs of functions that were dropped, and
        submissions of functions that there can't be.
    """

    def __init__(self, settings: Settings, clock: Clock, store: Store | None) -> None:
        super().__init__(settings, clock)
        self.store = store
        self.jobs: dict[bytes, Job] = {}
        self.functions: dict[bytes, FunctionQueue] = {}
        self.limits: dict[bytes, tuple[int, int, int]] = {}
        self.running = 0
        self.draining = False
        self.observers = Observers()
        self.dropped = Counts()
        self._job_retries = max(settings.job_retries, 0)
        self._round_robin = settings.round_robin
        self._global_priority = settings.global_priority
        self._wakeups = Wakeups(self.functions, clock, settings.worker_wakeup, settings.wakeup_delay, self.flush, self.now)
        self._delays = Delays(clock, self._enqueue, self.flush)
        self._timeouts: dict[Job, Alarm] = {}
        self._when_idle: list[Callable[[], object]] = []

    def disconnect(self, session: Session) -> None:
        """
        A connection has ended: jobs that it ran are queued again, at the head
        and in their order, and queued foreground jobs that nobody else waits
        for are gone.
        """
        if session not in self.sessions:
            return
        super().disconnect(session)
        for queue in list(session.abilities):
            self.remove_ability(session, queue.name)
        for job in reversed(list(session.running)):
            self._requeue(job, "lost")
        for job in list(session.awaited):
            job.clients = tuple(client for client in job.clients if client is not session)
            self._discard_if_abandoned(job)
        session.awaited.clear()
        self.flush()

    # Queueing and waking

    def create_function(self, name: bytes) -> FunctionQueue:
        """
        The queue of a function, made if there is none.
        """
        queue = self.functions.get(name)
        if queue is None:
            queue = self.functions[name] = FunctionQueue(name)
            queue.limits = self.limits.pop(name, queue.limits)
        return queue

    def _enqueue(self, job: Job) -> None:
        """
        Put a job at the end of its line, or aside until its time.
        """
        queue = job.queue
        if job.run_at and job.run_at > self.clock.time():
            self._delays.delay(job)
            return
        job.state = QUEUED
        queue.lines[job.priority].append(job)
        if queue.workers:
            self._wakeups.wake(queue)

    # Workers

    def add_ability(self, session: Session, function: bytes, seconds: float) -> None:
        """
        A worker can do a function from now on, and may take so many seconds
        for a job of it (0 is any time).  One that could do it already has its
        time changed.
        """
        if len(function) > MAX_FUNCTION:
            session.send(FUNCTION_TOO_LARGE)
            return
        queue = self.create_function(function)
        new = queue not in session.abilities
        session.abilities[queue] = queue.workers[session] = seconds
        if session.wakefulness != AWAKE:
            queue.sleepers[session] = None
            if queue.high or queue.normal or queue.low:
                self._wakeups.wake(queue)
        if new:
            for listener in self.observers.worker_joined:
                listener(session, queue.name)

    def remove_ability(self, session: Session, function: bytes) -> None:
        """
        A worker is given no more jobs of a function; those it has it keeps.
        """
        queue = self.functions.get(function)
        if queue is not None and session.abilities.pop(queue, None) is not None:
            del queue.workers[session]
            queue.sleepers.pop(session, None)
            queue.left_at = self.now()
            for listener in self.observers.worker_left:
                listener(session, queue.name)

    def next_queue(self, session: Session) -> FunctionQueue | None:
        """
        The queue from which a worker's next job comes, or C{None} if no job
        waits that it can do.  PRE_SLEEP and GRAB_JOB both ask here, so that
        they never contradict each other.
        """
        if self.draining:
            return None
        if self._global_priority:
            for priority in (0, 1, 2):
                for queue in session.abilities:
                    if queue.lines[priority] and not queue.paused:
                        return queue
            return None
        for queue in session.abilities:
            if (queue.high or queue.normal or queue.low) and not queue.paused:
                return queue
        return None

    def grab(self, session: Session) -> Job | None:
        """
        Give a worker its next job, if there is one.
        """
        session.wakefulness = AWAKE
        queue = self.next_queue(session)
        if queue is None:
            return None
        session.since = now = self._now or self.now()
        job = queue.take()
        job.state = RUNNING
        job.worker = session
        session.running[job] = (now, None)
        queue.running += 1
        self.running += 1
        if not job.attempts:
            since = job.submitted
            if job.run_at > since:
                since = job.run_at
            if since:
                queue.counts.wait.observe(now - since)
        seconds = session.abilities[queue]
        if seconds:
            self._timeouts[job] = self.clock.call_later(seconds, self._time_out, job)
        if self._round_robin:
            del session.abilities[queue]
            session.abilities[queue] = seconds
        for listener in self.observers.job_started:
            listener(job, session)
        return job

    def sleep(self, session: Session) -> None:
        """
        A worker is going to wait for a NOOP.
        """
        self._wakeups.sleep(session, self.next_queue(session) is not None)

    def progressed(self, job: Job) -> None:
        """
        A job's worker has said how far it is.
        """
        for listener in self.observers.job_progressed:
            listener(job)

    def complete(self, job: Job, worker: Session, body: bytes) -> None:
        """
        A job's worker has finished it; the clients have been told.

        @param body: the WORK_COMPLETE's: the handle, NUL, the result.
        """
        listeners = self.observers.job_completed
        if listeners:
            result = body[len(job.handle) + 1 :]
            for listener in listeners:
                listener(job, result)
        job._function.counts.completed += 1
        worker.done += 1
        self._end(job)

    def fail_job(self, job: Job, reason: str, data: bytes = b"") -> None:
        """
        A job's worker has given it up; the clients have been told.

        @param data: the exception, if it is one.
        """
        for listener in self.observers.job_failed:
            listener(job, reason, data)
        count(job.queue.counts.failed, reason)
        self._end(job)

    def _time_out(self, job: Job) -> None:
        del self._timeouts[job]
        self._requeue(job, "timeout")
        self.flush()

    def _requeue(self, job: Job, reason: str) -> None:
        """
        A worker was lost over a job, or took too long: queue it again, at the
        head, unless that was its last attempt or nobody wants it any more.
        """
        self._take_back(job)
        job.attempts += 1
        queue = job.queue
        job.state = QUEUED
        queue.lines[job.priority].appendleft(job)
        if self._discard_if_abandoned(job):
            return
        if self._job_retries and job.attempts >= self._job_retries:
            self._send_fail(job)
            self.fail_job(job, "attempts")
            return
        if job.kept >= PENDING:
            assert self.store is not None
            self.store.update(job)
        count(queue.counts.retried, reason)
        for listener in self.observers.job_retried:
            listener(job, reason)
        if queue.workers:
            self._wakeups.wake(queue)

    # Ends

    def _take_back(self, job: Job) -> None:
        """
        Take a running job from its worker.
        """
        queue = job._function
        queue.running -= 1
        self.running -= 1
        worker = job.worker
        assert worker is not None
        queue.counts.run.observe((self._now or self.now()) - worker.running.pop(job)[0])
        job.worker = None
        if self._timeouts:
            timeout = self._timeouts.pop(job, None)
            if timeout is not None:
                timeout.cancel()
        if self._when_idle and not self.running:
            # In a later turn: the job has then left every table, the store
            # and its clients have been told.
            for when_idle in self._when_idle:
                self.clock.call_later(0, when_idle)
            self._when_idle.clear()

    def _end(self, job: Job) -> None:
        """
        Take a job out of every table.
        """
        queue = job._function
        if job.unique:
            queue.forget(job)
        state = job.state
        if state == RUNNING:
            self._take_back(job)
        elif state != STORING:
            queue.bury(job)
        job.state = FINISHED
        queue.total -= 1
        del self.jobs[job.handle]
        if job.clients:
            for client in job.clients:
                client.awaited.pop(job, None)
            job.clients = ()
        if job.kept >= PENDING:
            assert self.store is not None
            self.store.remove(job)

    def _discard_if_abandoned(self, job: Job) -> bool:
        """
        Let go of a foreground job that waits though nobody waits for it.  (One
        that runs goes on: its worker can't be stopped.)
        """
        if job.kept or job.clients or job.state == RUNNING:
            return False
        self._take_away(job, "abandoned")
        return True

    def _take_away(self, job: Job, reason: str) -> None:
        for listener in self.observers.job_cancelled:
            listener(job, reason)
        count(job.queue.counts.cancelled, reason)
        self._end(job)

    def _send_fail(self, job: Job) -> None:
        packet = wire.encode(Type.WORK_FAIL, job.handle)
        for client in job.clients:
            client.send(packet)

    def _cancel(self, job: Job, reason: str) -> None:
        self._send_fail(job)
        if job.worker is not None:
            job.worker.settle(job.handle)
        self._take_away(job, reason)

    # The end of the server

    def drain(self, when_idle: Callable[[], object]) -> None:
        """
        Hand out no more jobs, and call back once none runs.
        """
        self.draining = self._wakeups.stopped = True
        if self.running:
            self._when_idle.append(when_idle)
        else:
            when_idle()

    def stop_timers(self) -> None:
        """
        Let no timer ring any more, for the server ends: none that would wake
        a worker, queue a job whose time has come, or take one from its worker.
        """
        self._wakeups.stop()
        self._delays.stop()
        for timeout in self._timeouts.values():
            timeout.cancel()
        self._timeouts.clear()
