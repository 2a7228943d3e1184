"""
Tests for L{gearsvc.stores.redis}: the contract over a real Redis.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from gearsvc.interfaces import IQueueStore
from gearsvc.stores import reconnecting
from gearsvc.stores.redis import RedisStore
from gearsvc.testing import BrokenConnectionContract, sleep
from tests.stores.redises import RedisCase, of_the_dead


class RedisContract(BrokenConnectionContract, RedisCase, TestCase):
    """
    The store contract, over L{RedisStore}.
    """

    def make_store(self) -> IQueueStore:
        """
        A store behind the wire.
        """
        return self.make()

    async def break_store(self, store: IQueueStore) -> None:
        """
        Cut the wire.
        """
        self.wire.cut()

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Mend it, and wait until the store tries again.
        """
        self.wire.mend()
        await sleep(reconnecting.LAST_PAUSE)

    def cut_after(self, count: int) -> None:
        self.wire.cut_after(count)

    def lose_answers(self) -> None:
        self.wire.lose_answers()

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Break the connection, and make the lease that of a process that is gone.
        """
        assert isinstance(store, RedisStore)
        self.wire.cut()
        await store.close()
        self.ask("SET", self.lease, of_the_dead(), "PX", 6000)
        self.wire.mend()
