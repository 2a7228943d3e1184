"""
Tests for L{gearsvc.stores.redis}: the contract over a real Redis.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from gearsvc.interfaces import IQueueStore
from gearsvc.stores.redis import RedisStore
from tests.stores.redises import OneByOne, RedisCase, of_the_dead
from tests.stores.wire import WireContract


class RedisContract(WireContract, RedisCase, TestCase):
    """
    The store contract, over L{RedisStore}.
    """

    def make_store(self) -> IQueueStore:
        """
        A store behind the wire.
        """
        return self.make()

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Break the connection, and make the lease that of a process that is gone.
        """
        assert isinstance(store, RedisStore)
        self.wire.cut()
        await store.close()
        self.ask("SET", self.lease, of_the_dead(), "PX", 6000)
        self.wire.mend()


class OneByOneContract(OneByOne, RedisContract):
    """
    The store contract, where batches of one job go the shorter way.
    """
