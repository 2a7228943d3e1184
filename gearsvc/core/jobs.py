"""
What the job server knows of one job.

A L{JobRecord} is the part of a job that outlives the server: a store writes
it and gives it back at the next start.  A L{Job} is a record that lives: it
has a state, perhaps clients who wait for it, and perhaps a worker.  They are
one object, because a million of them may wait at once and every object costs
(a queued job is to take less than 400 bytes beyond its payload), but what is
stored stands in one class and what is not in the other.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearsvc.core.queues import FunctionQueue
    from gearsvc.core.sessions import Session


class Priority(IntEnum):
    """
    The three priorities, with the numbers that gearmand writes into its queue
    tables.
    """

    HIGH = 0
    NORMAL = 1
    LOW = 2


class State(IntEnum):
    """
    Where a job is in its life.

    C{STORING -> QUEUED | DELAYED -> RUNNING -> FINISHED}; a job that needs no
    store begins at QUEUED, a worker that is lost takes a job from RUNNING back
    to QUEUED, and any state may end in FINISHED.
    """

    STORING = 0
    """The store has not yet committed it: it is neither acknowledged nor can it be grabbed."""

    QUEUED = 1
    """It waits in its function's queue."""

    DELAYED = 2
    """It waits for its time (SUBMIT_JOB_EPOCH)."""

    RUNNING = 3
    """A worker has it."""

    FINISHED = 4
    """It is over, however it ended; no table of the server holds it any more."""


# The states as plain numbers, for the hot path: a member of an enumeration is
# three times as slow to find, and to compare.
STORING, QUEUED, DELAYED, RUNNING, FINISHED = map(int, State)


class JobRecord:
    """
    The part of a job that a store keeps.

    @ivar handle: the job's handle, unique over restarts; C{b""} in a record
        that a store replays from a table in which gearmand kept no handle.
    @ivar unique: the unique id as the client gave it: C{b""} is none, C{b"-"}
        asks for coalescing by workload; at most 64 bytes.
    @ivar priority: 0 high, 1 normal, 2 low (L{Priority}).
    @ivar workload: the job's argument, any bytes.
    @ivar run_at: when it may run, in Unix seconds; 0 is at once.
    @ivar reducer: the reducer of a SUBMIT_REDUCE_JOB, or C{None}.
    @ivar attempts: how often a worker was lost, or timed out, over this job.
    @ivar submitted: when it was submitted, in Unix seconds; 0.0 where a table
        of gearmand's does not tell.
    @ivar key: what the store that holds this job wants to remember of where it
        is kept (set by the store in a replay; opaque to everyone else).
    """

    __slots__ = ("handle", "_function", "unique", "priority", "workload", "run_at", "reducer", "attempts", "submitted", "key")

    def __init__(
        self,
        handle: bytes,
        function: bytes,
        unique: bytes,
        priority: int,
        workload: bytes,
        run_at: int = 0,
        reducer: bytes | None = None,
        attempts: int = 0,
        submitted: float = 0.0,
        key: object = None,
    ) -> None:
        self.handle = handle
        self._function: Any = function
        self.unique = unique
        self.priority = priority
        self.workload = workload
        self.run_at = run_at
        self.reducer = reducer
        self.attempts = attempts
        self.submitted = submitted
        self.key = key

    @property
    def function(self) -> bytes:
        """
        The function's name.
        """
        name: bytes = self._function
        return name

    def __repr__(self) -> str:
        """
        The job without its workload, which has no place in a log.
        """
        return f"<{type(self).__name__} {self.handle.decode('utf-8', 'backslashreplace')} of {self.function!r}>"


class Kept(IntEnum):
    """
    For whom a job is kept, and where.
    """

    FOR_CLIENTS = 0
    """In the foreground: only as long as somebody waits for it."""

    IN_MEMORY = 1
    """In the background, where there is no store."""

    PENDING = 2
    """In the background: it was given to the store, which has not answered."""

    STORED = 3
    """In the background: the store has committed it."""


FOR_CLIENTS, IN_MEMORY, PENDING, STORED = map(int, Kept)


class Job(JobRecord):
    """
    A job that lives.

    @ivar state: where it is in its life (L{State}).
    @ivar kept: for whom it is kept, and where (L{Kept}).
    @ivar clients: the sessions that wait for it, in the order in which they
        joined; one that submitted it twice is there twice.
    @ivar worker: the session that runs it, while it is running.
    """

    # Two more would cost 16 bytes of each of a million jobs; so what can be
    # found elsewhere is: the function's name in its queue (which takes the
    # name's place), the progress with the worker.
    __slots__ = ("state", "kept", "clients", "worker")

    def __init__(
        self,
        handle: bytes,
        queue: FunctionQueue,
        unique: bytes,
        priority: int,
        workload: bytes,
        kept: int,
        submitted: float,
        run_at: int = 0,
        reducer: bytes | None = None,
        attempts: int = 0,
        key: object = None,
    ) -> None:
        # Every field of the record is set here and not by JobRecord.__init__:
        # this runs once for each job that is submitted.
        self.handle = handle
        self._function = queue
        self.unique = unique
        self.priority = priority
        self.workload = workload
        self.run_at = run_at
        self.reducer = reducer
        self.attempts = attempts
        self.submitted = submitted
        self.key = key
        self.state = QUEUED
        self.kept = kept
        self.clients: tuple[Session, ...] = ()
        self.worker: Session | None = None

    @property
    def queue(self) -> FunctionQueue:
        """
        The queue of its function.
        """
        queue: FunctionQueue = self._function
        return queue

    @property
    def function(self) -> bytes:
        """
        The function's name.
        """
        name: bytes = self._function.name
        return name

    @property
    def background(self) -> bool:
        """
        Whether it goes on though nobody waits for it.
        """
        return self.kept != FOR_CLIENTS

    @property
    def progress(self) -> tuple[bytes, bytes] | None:
        """
        Numerator and denominator of the last WORK_STATUS, as the worker wrote
        them, while it is running; or C{None}.
        """
        return self.worker.running[self][1] if self.worker is not None else None

    @property
    def running_since(self) -> float:
        """
        When its worker was given it, in Unix seconds, while it is running; or 0.0.
        """
        return self.worker.running[self][0] if self.worker is not None else 0.0
