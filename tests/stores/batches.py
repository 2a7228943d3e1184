"""
A store whose commits the test ends, and what L{gearsvc.stores.batching} is tested with beside it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IPromptQueueStore, IQueueStore, StoreError
from gearsvc.stores import batching
from gearsvc.stores.batching import LINGER, GroupCommit


@implementer(IQueueStore)
class StoreByHand:
    """
    A store that commits when the test says so.

    @ivar rows: what is stored: attempts by handle.
    @ivar added: what the commit that is under way adds, or C{None}.
    @ivar removed: what it removes.
    @ivar commits: how many there were.
    """

    description = "by hand"

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self.added: list[JobRecord] | None = None
        self.removed: list[JobRecord] = []
        self.commits = 0
        self._snapshot: dict[bytes, int] = {}
        self._answer: Deferred[None] = Deferred()

    def open(self) -> Deferred[None]:
        """
        Not used here.
        """
        raise NotImplementedError

    def replay(self, accept: Callable[[Sequence[JobRecord]], None]) -> Deferred[int]:
        """
        Not used here.
        """
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        """
        Not used here.
        """
        raise NotImplementedError

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Begin a commit.
        """
        assert self.added is None, "two commits at once"
        assert added or removed, "an empty batch"
        self.added, self.removed = list(added), list(removed)
        self._snapshot = {job.handle: job.attempts for job in added}
        self.commits += 1
        self._answer = Deferred()
        return self._answer

    def apply(self) -> None:
        """
        Do what the commit under way says.
        """
        for job in self.removed:
            self.rows.pop(job.handle, None)
        self.rows.update(self._snapshot)

    def succeed(self) -> None:
        """
        End the commit well.
        """
        self.apply()
        self.added = None
        self._answer.callback(None)

    def fail(self, error: Exception | None = None) -> None:
        """
        End the commit badly.
        """
        self.added = None
        self._answer.errback(error or StoreError("the disk is full"))


@implementer(IPromptQueueStore)
class PromptStoreByHand(StoreByHand):
    """
    A store by hand with a shorter way for one job.

    @ivar alone: the jobs that went that way.
    @ivar refuses: whether nothing can go that way now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alone: list[JobRecord] = []
        self.refuses = False

    def commit_one(self, record: JobRecord, done: Callable[[Failure | None], object]) -> bool:
        """
        Begin a commit of one job.
        """
        if self.refuses:
            return False
        self.alone.append(record)
        self.commit([record], []).addCallbacks(done, done)
        return True


@contextmanager
def in_turn(group: GroupCommit) -> Iterator[None]:
    """
    What is handed in meanwhile comes at once, and a batch of it begins as soon as that is all.
    """
    group.in_turn = True
    yield
    group.in_turn = False
    if group.ready:
        group.begin_batch()


class Log:
    """
    Remembers what was logged.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, form: str, *failures: object, **values: object) -> None:
        """
        Log.
        """
        self.lines.append(form.format(**values))

    info = announce = warn = error = failure = line


class BatchingCase(SynchronousTestCase):
    """
    A test with a store by hand, a fake clock and a log.
    """

    def setUp(self) -> None:
        """
        Put them together.
        """
        self.store = StoreByHand()
        self.clock = Clock()
        self.settled: list[tuple[list[JobRecord], str | None]] = []
        self.log = Log()
        self.patch(batching, "log", self.log)

    def group(self, max_rows: int = batching.MAX_ROWS, max_bytes: int = batching.MAX_BYTES) -> GroupCommit:
        """
        @return: a group commit over the store.
        """
        return GroupCommit(self.store, self.hear, self.clock, max_rows, max_bytes)

    def hear(self, records: list[JobRecord], failure: str | None) -> None:
        """
        Remember what became of a batch.
        """
        self.settled.append((records, failure))

    def turn(self) -> None:
        """
        Let the reactor's turn end.
        """
        self.clock.advance(0)

    def linger(self) -> None:
        """
        Let the time pass for which nobody waits.
        """
        self.clock.advance(LINGER)


def one_by_one(store: Any) -> Callable[[Sequence[JobRecord], Sequence[JobRecord]], Deferred[None]]:
    """
    @param store: an L{IPromptQueueStore}.
    @return: what does as its C{commit}, and has a batch of one new job go the shorter way, if that is possible.
    """
    commit = store.commit

    def commit_one_by_one(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        outcome: Deferred[Any] = Deferred()
        if len(added) == 1 and not removed and store.commit_one(added[0], outcome.callback):
            return outcome
        committed: Deferred[None] = commit(added, removed)
        return committed

    return commit_one_by_one
