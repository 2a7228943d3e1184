"""
Tests for L{gearsvc.stores.memory}: the contract holds without a database.
"""

from __future__ import annotations

from typing import Sequence

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores.memory import MemoryStore, Rows
from gearsvc.testing import QueueStoreContract


class BreakableStore(MemoryStore):
    """
    A store in memory that fails when it is told to.
    """

    broken = False

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Commit, or fail.
        """
        return fail(StoreError("the memory is out to lunch")) if self.broken else super().commit(added, removed)


class MemoryStoreTests(QueueStoreContract, TestCase):
    """
    The store contract, over L{MemoryStore}.
    """

    def setUp(self) -> None:
        """
        Begin with nothing stored.
        """
        self.rows = Rows()

    def make_store(self) -> IQueueStore:
        """
        A store over this test's rows.
        """
        return BreakableStore(self.rows)

    async def break_store(self, store: IQueueStore) -> None:
        """
        Let commits fail.
        """
        assert isinstance(store, BreakableStore)
        store.broken = True

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Let commits succeed.
        """
        assert isinstance(store, BreakableStore)
        store.broken = False

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Somebody else takes the rows.
        """
        self.rows.user = None
