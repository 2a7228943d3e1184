"""
A queue store that keeps nothing.
"""

from __future__ import annotations

from typing import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IQueueStore, StoreError

_FIELDS = ("handle", "function", "unique", "priority", "workload", "run_at", "reducer", "attempts", "submitted")


class Rows(dict[bytes, JobRecord]):
    """
    What is stored, by handle.

    @ivar user: the open store that uses it, or C{None}.
    """

    user: MemoryStore | None = None


@implementer(IQueueStore)
class MemoryStore:
    """
    Jobs in a dictionary: the smallest thing that is an L{IQueueStore}.

    The server's own queue in memory (C{-q builtin}) has no store at all.  This
    one is for tests, and to read before you write one.

    @ivar rows: what is stored.  Another store that is given the same rows
        replays them.
    """

    description = "memory: a crash or a restart loses every job"

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = Rows() if rows is None else rows

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.
        """
        if self.rows.user is not None:
            return fail(StoreError("These rows are in use by another server; give each its own."))
        self.rows.user = self
        return succeed(None)

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        records = [_copy(record) for record in self.rows.values()]
        accepted = accept(records) if records else None
        return (accepted or succeed(None)).addCallback(lambda _: len(records))

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
        self.rows.user = None
        return succeed(None)


def _copy(record: JobRecord) -> JobRecord:
    """
    A record as it is now: the job server changes its own.
    """
    return JobRecord(*[getattr(record, field) for field in _FIELDS])
