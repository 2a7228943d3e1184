"""
What became of the jobs that ended last.

The job server forgets a job the moment it is over.  A L{History} remembers the
last so many of them, with the beginnings of workload and result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

from zope.interface import implementer

from gearsvc.core.jobs import FOR_CLIENTS, Job
from gearsvc.core.observing import Observers
from gearsvc.core.sessions import Session
from gearsvc.interfaces import IJobObserver

MAX_PAYLOADS = 128 * 1024 * 1024
"""
How many bytes of workloads and results are remembered at most: of so many jobs
that this holds, were each as large as it may be.
"""


SPAN = 10
LEAST_A_SECOND = 500
"""
Of the jobs that complete in a second, as many are remembered as let all that is
remembered stay for so many seconds; but always so many.  To remember a job costs
as much as a tenth of its way through the job server or more, mostly for memory
that no cache holds; where many thousand complete each second, most of them would
be forgotten before anybody could look, and would push out those that failed.
"""

KNOWN_WORKERS = 1000
"""
Of how many workers the names are kept at hand.
"""

ENDS = ("job_completed", "job_failed", "job_cancelled")
"""
What is to be heard of, until so many have completed; and then the rest of it.
"""


class Ended(NamedTuple):
    """
    A job that is over.

    @ivar state: how it ended: C{"completed"}, C{"failed"} or C{"cancelled"}.
    @ivar reason: why, if it did not complete (see L{IJobObserver
        <gearsvc.interfaces.IJobObserver>}); C{""} if it did.
    @ivar priority: a number, as L{JobRecord.priority <gearsvc.core.jobs.JobRecord>}.
    @ivar foreground: whether it was there only for those who waited for it.
    @ivar submitted: C{0.0} if that is not known.
    @ivar started: when its worker was given it; C{0.0} if none had it when it ended.
    @ivar worker: that worker's number, client id and address, or C{None}.
    @ivar clients: how many waited for it.
    @ivar size: how many bytes the workload had.
    @ivar result_size: how many bytes the result, or the exception, had.
    """

    state: str
    reason: str
    ended: float
    handle: bytes
    function: bytes
    unique: bytes
    priority: int
    foreground: bool
    submitted: float
    run_at: int
    attempts: int
    reducer: bytes | None
    clients: int
    started: float
    worker: tuple[int, bytes, str] | None
    size: int
    result_size: int


class Payloads(NamedTuple):
    """
    The beginnings of a job's workload, and of its result or exception.
    """

    workload: bytes
    result: bytes


@implementer(IJobObserver)
class History:
    """
    The jobs that ended last: all of them, unless too many complete in a second
    (L{SPAN}).

    What is remembered of a job is put together as it ends, in the midst of the
    job server's work; so it is two bare tuples of what is there anyway.

    @ivar size: how many jobs it remembers.
    @ivar payload_bytes: how many bytes of each workload and result.
    @ivar events: what it wants to hear of.
    @ivar count: how many jobs it has ever remembered.
    """

    events: Collection[str] = ENDS

    def __init__(self, size: int, payload_bytes: int, time: Callable[[], float]) -> None:
        """
        @param time: the time, in Unix seconds.
        """
        self.size = size
        self.payload_bytes = payload_bytes
        self.count = 0
        if not size:
            self.events = ()
        self._observers: Observers | None = None
        self._completed_a_second = self._left = max(size // SPAN, LEAST_A_SECOND)
        self._workers: dict[int, tuple[int, bytes, str]] = {}
        self._time = time
        self._ended: deque[tuple[Any, ...]] = deque(maxlen=size)
        # Aligned with the newest of the above.
        self._payloads: deque[tuple[Any, ...]] = deque(
            maxlen=min(size, MAX_PAYLOADS // (2 * payload_bytes)) if payload_bytes else 0
        )

    def listen(self, observers: Observers) -> None:
        """
        Remember jobs from now on.
        """
        self._observers = observers
        observers.add(self)

    def cease(self) -> None:
        """
        Remember no more jobs; those that are remembered stay.
        """
        if self._observers is not None:
            self._observers.remove(self)
            self._observers = None

    def next_second(self) -> None:
        """
        Remember those that complete again, if there were too many.
        """
        self._left = self._completed_a_second
        if self.events == ENDS[1:]:
            self._want(ENDS)

    def _want(self, events: Collection[str]) -> None:
        # An event that nobody wants costs the job server nothing.
        observers = self._observers
        self.cease()
        self.events = events
        if observers is not None:
            self.listen(observers)

    def __len__(self) -> int:
        """
        How many jobs it remembers now.
        """
        return len(self._ended)

    def newest(self) -> Iterator[tuple[int, Ended]]:
        """
        The jobs, the one that ended last first, each with its number: how many
        had been remembered when it was.  To be gone through at once: it ends with an
        error if a job ends meanwhile.
        """
        for number, entry in zip(range(self.count, 0, -1), reversed(self._ended)):
            yield number, Ended._make(entry)

    def find(self, handle: bytes) -> tuple[Ended, Payloads | None] | None:
        """
        A job by its handle, with its payloads if they are still remembered.
        """
        for index, entry in enumerate(reversed(self._ended)):
            if entry[3] == handle:
                payloads = None
                if index < len(self._payloads):
                    payloads = Payloads._make(next(islice(reversed(self._payloads), index, None)))
                return Ended._make(entry), payloads
        return None

    # The observer

    def job_completed(self, job: Job, result: bytes) -> None:
        """See L{IJobObserver}."""
        self._left -= 1
        if not self._left:
            self._want(ENDS[1:])
        self._remember("completed", "", job, result)

    def job_failed(self, job: Job, reason: str, data: bytes) -> None:
        """See L{IJobObserver}."""
        self._remember("failed", reason, job, data)

    def job_cancelled(self, job: Job, reason: str) -> None:
        """See L{IJobObserver}."""
        self._remember("cancelled", reason, job, b"")

    def job_submitted(self, job: Job) -> None:
        """Not asked for; see L{IJobObserver}."""

    def job_started(self, job: Job, worker: Session) -> None:
        """Not asked for; see L{IJobObserver}."""

    def job_progressed(self, job: Job) -> None:
        """Not asked for; see L{IJobObserver}."""

    def job_retried(self, job: Job, reason: str) -> None:
        """Not asked for; see L{IJobObserver}."""

    def worker_joined(self, worker: Session, function: bytes) -> None:
        """Not asked for; see L{IJobObserver}."""

    def worker_left(self, worker: Session, function: bytes) -> None:
        """Not asked for; see L{IJobObserver}."""

    def _know(self, worker: Session) -> tuple[int, bytes, str]:
        # To ask a connection for its address takes longer than all the rest.
        workers = self._workers
        if len(workers) >= KNOWN_WORKERS:
            workers.clear()
        known = workers[worker.number] = (worker.number, worker.client_id, worker.peer.host)
        return known

    def _remember(self, state: str, reason: str, job: Job, result: bytes) -> None:
        worker = job.worker
        workload = job.workload
        self.count += 1
        known = None
        if worker is not None:
            known = self._workers.get(worker.number)
            if known is None or known[1] is not worker.client_id:
                known = self._know(worker)
        # In the order of Ended's fields.
        self._ended.append(
            (
                state,
                reason,
                self._time(),
                job.handle,
                job._function.name,
                job.unique,
                job.priority,
                job.kept == FOR_CLIENTS,
                job.submitted,
                job.run_at,
                job.attempts,
                job.reducer,
                len(job.clients),
                worker.running[job][0] if worker is not None else 0.0,
                known,
                len(workload),
                len(result),
            )
        )
        limit = self.payload_bytes
        self._payloads.append((workload[:limit], result[:limit]))
