"""
Tests for L{gearsvc.stores.postgres}, with a real PostgreSQL.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from gearsvc.interfaces import IQueueStore
from gearsvc.stores.postgres import PostgresStore
from gearsvc.testing import BrokenConnectionContract, sleep
from tests.proxy import Proxy
from tests.servers import PostgreSQL


class PostgresContractTests(BrokenConnectionContract, TestCase):
    """
    What every store promises.
    """

    def setUp(self) -> None:
        """
        Make a database, and a wire to it.
        """
        self.server = PostgreSQL.shared()
        self.wire = Proxy(self.server.port)
        self.addCleanup(self.wire.close)
        self.conninfo = self.server.conninfo(self.server.new_database(), self.wire.port)

    def make_store(self) -> IQueueStore:
        """
        All of one test use one database.
        """
        return PostgresStore(self.conninfo)

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Nothing but the connection tells the database of a process that was killed.
        """
        self.wire.cut_once()

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
        await sleep(0.5)

    def cut_after(self, count: int) -> None:
        """
        The wire can do that.
        """
        self.wire.cut_after(count)

    def lose_answers(self) -> None:
        """
        The wire can do that.
        """
        self.wire.lose_answers()
