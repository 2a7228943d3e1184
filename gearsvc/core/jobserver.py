"""
Every rule about jobs::

    submit --> STORING --(committed)--> QUEUED or DELAYED --(grab)--> RUNNING --> FINISHED
          \\______(no store needed)______/        ^______(worker lost)____/

L{JobServer} is the whole: how jobs come in and how they are administered is here,
what becomes of them after that in L{gearsvc.core.lifecycle}.
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
from gearsvc.core.clock import Clock
from gearsvc.core.counts import count
from gearsvc.core.explain import Explanation
from gearsvc.core.jobs import (
    DELAYED,
    FINISHED,
    FOR_CLIENTS,
    IN_MEMORY,
    PENDING,
    QUEUED,
    STORED,
    STORING,
    Job,
    JobRecord,
    Priority,
)
from gearsvc.core.lifecycle import FUNCTION_TOO_LARGE, MAX_FUNCTION, Lifecycle
from gearsvc.core.packets import Type
from gearsvc.core.pauses import MARK, Answered, Pauses
from gearsvc.core.queues import FunctionQueue
from gearsvc.core.sessions import Session, job_created
from gearsvc.core.store import Store

if TYPE_CHECKING:
    from gearsvc.config import Settings

MAX_UNIQUE = 64
"""How many bytes a unique id or a reducer may have."""

_QUEUE_FULL = wire.error(b"QUEUE_ERROR", b"Job queue is full")
_DRAINING = wire.error(b"QUEUE_ERROR", b"The function takes no more jobs: it is being drained")
_UNIQUE_TOO_LARGE = wire.error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")


def _forgotten(handle: bytes) -> None:
    """
    Nothing is known of a job that is over.
    """


class JobServer(Lifecycle):
    """
    A Gearman job server without its sockets.

    @ivar shut_down: what the admin command C{shutdown} calls, with whether to
        be graceful.
    @ivar explain_ended: what became of a job that is over, by its handle.  The
        server has forgotten such a job; whoever remembers some may answer.
    """

    def __init__(
        self, settings: Settings, clock: Clock, handle_prefix: bytes, first_number: int = 1, store: Store | None = None
    ) -> None:
        """
        @param handle_prefix: handles are this, a colon, and a number.
        @param first_number: the first such number.  It has to be higher than
            any that an earlier run of the server used.
        """
        super().__init__(settings, clock, store)
        self.shut_down: Callable[[bool], object] | None = None
        self.explain_ended: Callable[[bytes], Explanation | None] = _forgotten
        self._prefix = handle_prefix + b":"
        self._number = first_number - 1
        self._pauses = Pauses()

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
                session.send(FUNCTION_TOO_LARGE)
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
        jobs = [record for record in records if isinstance(record, Job)]
        if len(jobs) < len(records):
            self._settle_pauses(records, failure)
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

    def _settle_pauses(self, records: Sequence[JobRecord], failure: str | None) -> None:
        """
        See to the pauses among what the store has answered for.
        """
        for record in records:
            if not isinstance(record, Job) and (queue := self._pauses.stored(record, failure)) is not None:
                self._wakeups.wake_for_all(queue)

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
                record.handle = self.new_handle()
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
            record.handle = self.new_handle()
        if not self._pauses.replay(queue, record) and self.store is not None:
            self.store.remove(record)

    def new_handle(self) -> bytes:
        """
        A handle that no job has, nor will be given again.
        """
        self._number += 1
        return b"%b%d" % (self._prefix, self._number)

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

    def job_of_unique(self, function: bytes, unique: bytes) -> Job | None:
        """
        The job that a submission with this unique id would join.
        """
        queue = self.functions.get(function)
        return queue.find(unique, b"") if queue is not None else None

    def wake_sleepers(self, function: bytes) -> None:
        """
        Send a NOOP to workers of a function that are asleep, to as many as for
        a new job.
        """
        queue = self.functions.get(function)
        if queue is not None:
            self._wakeups.wake(queue)
            self.flush()

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
        self._pauses.pause(self.create_function(name), self.clock.time(), self.new_handle(), self.store, answered)

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


# What a text line asks for is one more kind of request.
requests.HANDLERS[Type.TEXT] = admin.answer
