"""
Tests for L{gearsvc.stores.mysql}: the contract over a real MariaDB, with and without the thread.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from gearsvc.interfaces import IQueueStore
from gearsvc.stores import mysql, mysqlownership, reconnecting
from gearsvc.stores.mysql import MySQLStore
from gearsvc.stores.mysqlconnection import Place
from tests.proxy import Proxy
from tests.running import HOST
from tests.stores.mysqls import QuickMariaDB
from tests.stores.wire import WireContract


class MySQLContract(WireContract, TestCase):
    """
    The store contract, over L{MySQLStore}.
    """

    def setUp(self) -> None:
        """
        Make a database, and put a wire before it.
        """
        self.patch(reconnecting, "LAST_PAUSE", 0.2)
        self.patch(mysqlownership, "LOCK_SECONDS", 0.5)
        self.server = QuickMariaDB.shared()
        self.database = self.server.new_database()
        self.wire = Proxy(self.server.port)
        self.addCleanup(self.wire.close)
        self.stores: list[MySQLStore] = []

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
        store = MySQLStore(Place(HOST, self.wire.port, "gearman", "secret", self.database))
        self.stores.append(store)
        return store

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Break the connection: that is all that the server sees of a process that was killed.
        """
        assert isinstance(store, MySQLStore)
        self.stores.remove(store)
        self.wire.cut()
        await store.close()
        self.wire.mend()


class MySQLContractWithoutThread(MySQLContract):
    """
    The same, with all but the largest batches sent without the thread.
    """

    def setUp(self) -> None:
        """
        Take nearly every batch for a small one.
        """
        super().setUp()
        for limit in ("CHANNEL_JOBS", "CHANNEL_BYTES"):
            self.patch(mysql, limit, 1_000_000)
