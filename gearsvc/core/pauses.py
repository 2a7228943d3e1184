"""
Functions that are paused: their jobs stay queued, and none is handed out.

A pause outlives the server where the queue does: it is kept in the store like a
job, as a record whose function's name begins with NUL.  No client can submit
such a job: in a packet a NUL ends the name, and HTTP and the console refuse it.
So every store keeps pauses without knowing of them, and gearmand, if it takes
the store over, has a job that nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from gearsvc.core.jobs import JobRecord, Priority
from gearsvc.core.store import Store

if TYPE_CHECKING:
    from gearsvc.core.queues import FunctionQueue

MARK = b"\0gearsvc paused\0"
"""
What comes before the function's name in the record of a pause.
"""


def paused_function(record: JobRecord) -> bytes | None:
    """
    The function that a record of a store's says is paused; C{None} if it is a job.
    """
    return record.function[len(MARK) :] if record.function.startswith(MARK) else None


Answered = Callable[["str | None"], object]
"""
Hears that what was asked for is done, and will outlive the server where the
queue does (C{None}); or why it is not.
"""


class Pauses:
    """
    Which functions are paused.
    """

    def __init__(self) -> None:
        self._records: dict[FunctionQueue, JobRecord] = {}
        self._asked: dict[JobRecord, tuple[FunctionQueue, Answered]] = {}

    def pause(self, queue: FunctionQueue, now: float, handle: bytes, store: Store | None, answered: Answered) -> None:
        """
        Hand out no more jobs of a function, from now on.  One that is paused
        already stays so, since then.

        @param now: the time, in Unix seconds.
        @param handle: one that no job has.
        @param answered: called when the store has answered; if it has refused,
            the function is not paused.  Without a store it is called at once.
        """
        if queue.paused:
            answered(None)
            return
        queue.paused = now
        record = self._records[queue] = JobRecord(handle, MARK + queue.name, b"", Priority.NORMAL, b"", submitted=now)
        if store is None:
            answered(None)
            return
        self._asked[record] = (queue, answered)
        store.add(record)

    def resume(self, queue: FunctionQueue, store: Store | None) -> bool:
        """
        Hand out a function's jobs again.

        @return: whether it was paused.
        """
        if not queue.paused:
            return False
        queue.paused = 0.0
        record = self._records.pop(queue)
        asked = self._asked.pop(record, None)
        if store is not None:
            store.remove(record)
        if asked is not None:
            asked[1]("the function was resumed meanwhile")
        return True

    def stored(self, record: JobRecord, failure: str | None) -> FunctionQueue | None:
        """
        The store has answered for a pause.

        @param failure: why it is not kept, or C{None}.
        @return: the function's queue, if it is not paused after all.
        """
        asked = self._asked.pop(record, None)
        if asked is None:
            return None
        queue, answered = asked
        if failure is not None:
            queue.paused = 0.0
            del self._records[queue]
        answered(failure)
        return queue if failure is not None else None

    def replay(self, queue: FunctionQueue, record: JobRecord) -> bool:
        """
        Take back a pause that the store kept.

        @return: C{False} if it is superfluous: the function is paused already.
        """
        if queue.paused:
            return False
        queue.paused = record.submitted or 1.0
        self._records[queue] = record
        return True
