"""
A queue store that keeps nothing.
"""

from __future__ import annotations

from typing import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore

_FIELDS = ("handle", "function", "unique", "priority", "workload", "run_at", "reducer", "attempts", "submitted")


@implementer(IQueueStore)
class MemoryStore:
    """
    Jobs in a dictionary: the smallest thing that is an L{IQueueStore}.

    The server's own queue in memory (C{-q builtin}) has no store at all.  This
    one is for tests, and to read before you write one.

    @ivar rows: what is stored.  Another store that is given the same dictionary
        replays it.
    """

    description = "memory: a crash or a restart loses every job"

    def __init__(self, rows: dict[bytes, JobRecord] | None = None) -> None:
        self.rows: dict[bytes, JobRecord] = {} if rows is None else rows

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.
        """
        return succeed(None)

    def replay(self, accept: Callable[[Sequence[JobRecord]], None]) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        records = [_copy(record) for record in self.rows.values()]
        if records:
            accept(records)
        return succeed(len(records))

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        for record in removed:
            self.rows.pop(record.handle, None)
        for record in added:
            self.rows[record.handle] = _copy(record)
        return succeed(None)

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        return succeed(None)


def _copy(record: JobRecord) -> JobRecord:
    """
    A record as it is now: the job server changes its own.
    """
    return JobRecord(*[getattr(record, field) for field in _FIELDS])
