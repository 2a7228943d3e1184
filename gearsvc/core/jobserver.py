"""
Every rule about jobs.

    submit --> STORING --(committed)--> QUEUED or DELAYED --(grab)--> RUNNING --> FINISHED
          \\______(no store needed)______/        ^______(worker lost)____/

L{JobServer} holds the tables: jobs by handle, functions by name.
L{gearsvc.core.requests} turns packets into calls of the methods here, and
L{gearsvc.core.admin} text lines; replies leave through the sessions
(L{gearsvc.core.switchboard}).

Nothing here does I/O.  Time comes from a clock that is handed in; a store is
an object with C{add}, C{update} and C{remove}
(L{gearsvc.stores.batching.GroupCommit}) that answers through
L{JobServer.stored}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Sequence

from gearsvc.core import admin, requests, wire
from gearsvc.core.clock import Alarm, Clock
from gearsvc.core.counts import Counts, count
from gearsvc.core.delays import Delays
from gearsvc.core.jobs import (
    DELAYED,
    FINISHED,
    FOR_CLIENTS,
    IN_MEMORY,
    PENDING,
    QUEUED,
    RUNNING,
    STORED,
    STORING,
    Job,
    JobRecord,
    Priority,
)
from gearsvc.core.observing import Observers
from gearsvc.core.packets import Type
from gearsvc.core.pauses import MARK, Answered, Pauses
from gearsvc.core.queues import FunctionQueue
from gearsvc.core.sessions import AWAKE, Session, job_created
from gearsvc.core.store import Store
from gearsvc.core.switchboard import Switchboard
from gearsvc.core.wakeups import Wakeups

if TYPE_CHECKING:
    from gearsvc.config import Settings

MAX_UNIQUE = 64
"""How many bytes a unique id or a reducer may have."""

MAX_FUNCTION = 8191
"""How many bytes the name of a function may have; gearmand's limit for any argument."""

_QUEUE_FULL = wire.error(b"QUEUE_ERROR", b"Job queue is full")
_DRAINING = wire.error(b"QUEUE_ERROR", b"The function takes no more jobs: it is being drained")
_UNIQUE_TOO_LARGE = wire.error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
_FUNCTION_TOO_LARGE = wire.error(b"ARGUMENT_TOO_LARGE", b"Function name too large: it may have 8191 bytes")


class JobServer(Switchboard):
    """
    A Gearman job server without its sockets.

    @ivar jobs: every job that is not finished, by its handle.
    @ivar functions: every function's queue, by its name.
    @ivar limits: for functions that are not known yet: their queue limits.
    @ivar running: how many jobs a worker has.
    @ivar draining: whether no more jobs are handed out.
    @ivar observers: who hears of what happens (L{IJobObserver}).
    @ivar dropped: what happened to the jobs of functions that were dropped, and
        submissions of functions that there can't be.
    @ivar shut_down: what the admin command C{shutdown} calls, with whether to
        be graceful.
    """

    def __init__(
        self, settings: Settings, clock: Clock, handle_prefix: bytes, first_number: int = 1, store: Store | None = None
    ) -> None:
        """
        @param handle_prefix: handles are this, a colon, and a number.
        @param first_number: the first such number.  It has to be higher than
            any that an earlier run of the server used.
        """
        super().__init__(settings, clock)
        self.store = store
        self.jobs: dict[bytes, Job] = {}
        self.functions: dict[bytes, FunctionQueue] = {}
        self.limits: dict[bytes, tuple[int, int, int]] = {}
        self.running = 0
        self.draining = False
        self.observers = Observers()
        self.dropped = Counts()
        self.shut_down: Callable[[bool], object] | None = None
        self._prefix = handle_prefix + b":"
        self._number = first_number - 1
        self._job_retries = max(settings.job_retries, 0)
        self._round_robin = settings.round_robin
        self._global_priority = settings.global_priority
        self._wakeups = Wakeups(self.functions, clock, settings.worker_wakeup, settings.wakeup_delay, self.flush, self.now)
        self._pauses = Pauses()
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

    # Submitting

    def submit(
        self,
        session: Session,
        function: bytes,
        unique: bytes,
        workload: bytes,
        priority: int,
        background: bool,
        run_at: int = 0,
        reducer: bytes | None = None,
    ) -> None:
        """
        Take a job in and answer with JOB_CREATED, or with an ERROR; or let the
        session join the job of the same unique id that is there already.

        @param run_at: not before this time, in Unix seconds.
        """
        queue = self.functions.get(function)
        if queue is None:
            if len(function) > MAX_FUNCTION:
                session.send(_FUNCTION_TOO_LARGE)
                count(self.dropped.rejected, "function")
                return
            queue = self.create_function(function)
        if unique:
            if len(unique) > MAX_UNIQUE:
                self._reject(session, queue, "unique", _UNIQUE_TOO_LARGE)
                return
            existing = queue.find(unique, workload)
            if existing is not None:
                queue.counts.coalesced += 1
                self._join(session, existing, background)
                return
        if reducer is not None and len(reducer) > MAX_UNIQUE:
            self._reject(session, queue, "unique", _UNIQUE_TOO_LARGE)
            return
        limit = queue.limits[priority]
        if limit and queue.total >= limit:
            self._reject(session, queue, "full", _QUEUE_FULL)
            return
        if queue.draining:
            self._reject(session, queue, "draining", _DRAINING)
            return
        self._number += 1
        handle = b"%b%d" % (self._prefix, self._number)
        job = Job(handle, queue, unique, priority, workload, IN_MEMORY if background else FOR_CLIENTS, self.now(), run_at, reducer)
        queue.total += 1
        self.jobs[handle] = job
        if unique:
            queue.know(job)
        for listener in self.observers.job_submitted:
            listener(job)
        if not background:
            job.clients = (session,)
            session.awaited[job] = None
        elif self.store is not None:
            job.state = STORING
            queue.storing += 1
            self._keep(session, job)
            return
        queue.counts.submitted += 1
        session.send(job_created(handle))
        self._enqueue(job)

    def _reject(self, session: Session, queue: FunctionQueue, reason: str, packet: bytes) -> None:
        session.send(packet)
        count(queue.counts.rejected, reason)

    def _join(self, session: Session, job: Job, background: bool) -> None:
        """
        Coalesce a submission with a job that is there already.  The job is in
        the background from the first submission that says so, and is stored
        then; a client who joins a job that is being stored is answered when it
        is.
        """
        if not background:
            job.clients += (session,)
            session.awaited[job] = None
            if job.state == STORING:
                self.hold(session, job)
                return
        elif job.kept == FOR_CLIENTS:
            job.kept = IN_MEMORY
            if self.store is not None:
                self._keep(session, job)
                return
        elif job.kept == PENDING:
            self.hold(session, job)
            return
        session.send(job_created(job.handle))

    def _keep(self, session: Session, job: Job) -> None:
        """
        Have a job stored; the session hears of it when it is.
        """
        job.kept = PENDING
        self.hold(session, job)
        assert self.store is not None
        self.store.add(job)

    def stored(self, records: Sequence[JobRecord], failure: str | None) -> None:
        """
        The store has answered for one batch of added jobs.

        @param records: the very jobs that were added.
        @param failure: why none of them is stored, or C{None}.
        """
        jobs = self._without_pauses(records, failure)
        if failure is None:
            for job in jobs:
                job.kept = STORED
        else:
            self._refuse(jobs, failure)
        # Clients first: they wait, and a worker that wakes takes a processor.
        for session in list(self._holding):
            self.drained(session)
        if failure is None:
            for job in jobs:
                if job.state == STORING:
                    queue = job.queue
                    queue.storing -= 1
                    queue.counts.submitted += 1
                    self._enqueue(job)
        self.flush()

    def _without_pauses(self, records: Sequence[JobRecord], failure: str | None) -> list[Job]:
        """
        @return: the jobs among what the store has answered for.
        """
        jobs = [record for record in records if isinstance(record, Job)]
        if len(jobs) < len(records):
            for record in records:
                if not isinstance(record, Job) and (queue := self._pauses.stored(record, failure)) is not None:
                    self._wakeups.wake_for_all(queue)
        return jobs

    def _refuse(self, jobs: Sequence[Job], failure: str) -> None:
        """
        Answer QUEUE_ERROR for jobs that could not be stored.  One that had
        been queued before, in the foreground, goes on as it was.
        """
        refused = set(jobs)
        packet = wire.error(b"QUEUE_ERROR", failure.encode())
        for session in self._holding:
            session.refuse(refused, packet)
        for job in jobs:
            job.kept = FOR_CLIENTS
            if job.state == STORING:
                for listener in self.observers.job_failed:
                    listener(job, "store", failure.encode())
                job.queue.storing -= 1
                count(job.queue.counts.rejected, "store")
                self._end(job)
            elif job.state != FINISHED:
                self._discard_if_abandoned(job)

    def replay(self, records: Sequence[JobRecord]) -> None:
        """
        Queue jobs that the store kept, in their order, each with its handle; a
        record without one is given one.
        """
        submitted = 0.0
        for record in records:
            # Jobs that came in one turn have one time, and one float, here as well.
            if record.submitted != submitted:
                submitted = record.submitted
            if record.function.startswith(MARK):
                self._replay_pause(record)
                continue
            queue = self.functions.get(record.function) or self.create_function(record.function)
            if not record.handle or record.handle in self.jobs:
                record.handle = self._new_handle()
            elif record.handle.startswith(self._prefix):
                number = record.handle[len(self._prefix) :]
                if number.isdigit():
                    self._number = max(self._number, int(number))
            job = Job(
                record.handle,
                queue,
                record.unique,
                # gearmand's tables may hold any number.
                record.priority if record.priority in (0, 1, 2) else Priority.NORMAL,
                record.workload,
                STORED,
                submitted,
                record.run_at,
                record.reducer,
                record.attempts,
                record.key,
            )
            queue.total += 1
            queue.counts.replayed += 1
            self.jobs[job.handle] = job
            if job.unique:
                queue.know(job)
            self._enqueue(job)

    def _replay_pause(self, record: JobRecord) -> None:
        queue = self.create_function(record.function.removeprefix(MARK))
        if not record.handle:
            # gearmand has had the store meanwhile, and written the record anew.
            record.handle = self._new_handle()
        if not self._pauses.replay(queue, record) and self.store is not None:
            self.store.remove(record)

    def _new_handle(self) -> bytes:
        self._number += 1
        return b"%b%d" % (self._prefix, self._number)

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
            session.send(_FUNCTION_TOO_LARGE)
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

    # Administration

    def cancel(self, handle: bytes) -> bool:
        """
        End a job: its clients get WORK_FAIL and nothing after it; what its
        worker still sends of it is dropped.

        @return: whether there was such a job.  One that is being stored is
            not there yet: nobody has been told its handle.
        """
        job = self.jobs.get(handle)
        if job is None or job.state == STORING:
            return False
        self._cancel(job, "cancel")
        return True

    def drop_function(self, name: bytes) -> str | None:
        """
        Forget a function, with its waiting jobs, whose clients get WORK_FAIL.
        Upper and lower case are the same, as to gearmand, unless there is a
        function of exactly this name.

        @return: C{None}, or why it can't be dropped.
        """
        queue = self.functions.get(name)
        if queue is None:
            folded = name.lower()
            queue = next((found for key, found in self.functions.items() if key.lower() == folded), None)
        if queue is None:
            return "function not found"
        jobs = [job for job in self.jobs.values() if job.queue is queue]
        if queue.workers or queue.running or any(job.state == STORING for job in jobs):
            return "there are still connected workers or executing clients"
        for job in jobs:
            self._cancel(job, "drop")
        self._pauses.resume(queue, self.store)
        self._delays.forget(queue)
        self.dropped.add(queue.counts)
        del self.functions[queue.name]
        return None

    def limit_queue(self, name: bytes, limits: tuple[int, int, int]) -> None:
        """
        Refuse jobs while a function has this many: for each priority of the
        new job, 0 is any number.  A function that is not known yet will have
        these limits once it is.
        """
        queue = self.functions.get(name)
        if queue is not None:
            queue.limits = limits
        else:
            self.limits[name] = limits

    def clear(self, name: bytes) -> int:
        """
        Cancel every job of a function that waits; those that run go on.

        @return: how many those were.
        """
        queue = self.functions.get(name)
        waiting = [job for job in self.jobs.values() if job.queue is queue and job.state in (QUEUED, DELAYED)]
        for job in waiting:
            self._cancel(job, "cancel")
        return len(waiting)

    def drain_function(self, name: bytes, draining: bool = True) -> None:
        """
        Take no new jobs of a function, while those that it has go on being
        handed out; or take them again.  It is forgotten with the server.
        """
        self.create_function(name).draining = draining

    def pause(self, name: bytes, answered: Answered) -> None:
        """
        Hand out no more jobs of a function until L{resume}; those that run go
        on, and new ones are taken.

        @param answered: see L{Pauses.pause}.
        """
        self._pauses.pause(self.create_function(name), self.clock.time(), self._new_handle(), self.store, answered)

    def resume(self, name: bytes) -> bool:
        """
        Undo L{pause}: the jobs are handed out again, and workers woken.

        @return: whether the function was paused.
        """
        queue = self.functions.get(name)
        if queue is None or not self._pauses.resume(queue, self.store):
            return False
        self._wakeups.wake_for_all(queue)
        return True

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


# What a text line asks for is one more kind of request.
requests.HANDLERS[Type.TEXT] = admin.answer
