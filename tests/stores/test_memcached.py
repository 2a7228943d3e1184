"""
Tests for L{gearsvc.stores.memcached}: the contract over a real memcached.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import TestCase

from gearsvc.interfaces import IQueueStore
from gearsvc.stores import ownership, reconnecting
from gearsvc.stores.memcached import MemcachedStore
from gearsvc.stores.memcachedclient import Address
from tests.proxy import Proxy
from tests.running import HOST
from tests.servers import Memcached
from tests.stores.batches import one_by_one
from tests.stores.memcacheds import ask, put
from tests.stores.wire import WireContract


class MemcachedContract(WireContract, TestCase):
    """
    The store contract, over L{MemcachedStore}.
    """

    def setUp(self) -> None:
        """
        Empty the server, and put a wire before it.
        """
        self.patch(reconnecting, "LAST_PAUSE", 0.2)
        self.database = Memcached.shared()
        ask(self.database.port, b"flush_all")
        self.wire = Proxy(self.database.port)
        self.addCleanup(self.wire.close)
        self.stores: list[MemcachedStore] = []

    async def tearDown(self) -> None:
        """
        Close what a test has left open.
        """
        for store in self.stores:
            await store.close()

    def make_store(self) -> IQueueStore:
        """
        A store behind the wire.
        """
        store = MemcachedStore([Address(HOST, self.wire.port)])
        self.stores.append(store)
        return store

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Break the connection, and make the lease that of a process that is gone.
        """
        assert isinstance(store, MemcachedStore)
        self.stores.remove(store)
        self.wire.cut()
        await store.close()
        put(self.database.port, b"gearsvc:gear_lease", value_of_the_dead())
        self.wire.mend()


class OneByOneContract(MemcachedContract):
    """
    The store contract, where batches of one job go the shorter way.
    """

    def make_store(self) -> IQueueStore:
        """
        A store behind the wire.
        """
        store = super().make_store()
        self.patch(store, "commit", one_by_one(store))
        return store


def value_of_the_dead() -> bytes:
    """
    @return: the lease of a process of this machine that is gone.
    """
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return f"word 7 {ownership.this_machine()} {gone.pid} 123 process {gone.pid} on here".encode()
