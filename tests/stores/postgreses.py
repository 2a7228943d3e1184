"""
What tests of the store in PostgreSQL share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import postgresownership
from gearsvc.stores.postgres import PostgresStore
from gearsvc.testing import fields_of
from tests.proxy import Proxy
from tests.servers import PostgreSQL

GEARMANDS_TABLE = (
    "CREATE TABLE IF NOT EXISTS queue (unique_key VARCHAR(64), function_name VARCHAR(255), priority INTEGER,"
    " data BYTEA, when_to_run INTEGER, UNIQUE (unique_key, function_name))"
)
"""
As gearmand makes it.
"""


class PostgresCase(TestCase):
    """
    A test with a database of its own.

    @ivar server: PostgreSQL, shared with other tests.
    @ivar database: the database's name.
    @ivar wire: what stores that L{make} makes connect through.
    """

    table = "queue"

    def setUp(self) -> None:
        """
        Make the database, and a wire to it.
        """
        # No other server lets go of a table while a test waits.
        self.patch(postgresownership, "LOCK_SECONDS", 0.5)
        self.server = PostgreSQL.shared()
        self.database = self.server.new_database()
        self.wire = Proxy(self.server.port)
        self.addCleanup(self.wire.close)

    def sql(self, *statements: str) -> list[Any]:
        """
        Run statements as a person would.

        @return: the rows of the last one.
        """
        return self.server.sql(*statements, database=self.database)

    def make(self, more: str = "") -> PostgresStore:
        """
        @param more: for the connection string.
        @return: a new store, not yet open, that is closed when the test ends.
        """
        store = PostgresStore(f"{self.server.conninfo(self.database, self.wire.port)} {more}", self.table)
        self.addCleanup(store.close)
        return store

    async def open(self, more: str = "") -> PostgresStore:
        """
        @return: an open store.
        """
        store = self.make(more)
        await store.open()
        return store

    async def replay(self) -> list[JobRecord]:
        """
        @return: what a store replays now, with no other one open.
        """
        store = await self.open()
        records: list[JobRecord] = []
        await store.replay(records.extend)
        await store.close()
        return records

    async def write(self, added: Sequence[JobRecord], removed: Sequence[JobRecord] = ()) -> None:
        """
        Commit one batch, with no other store open.
        """
        store = await self.open()
        await store.commit(added, removed)
        await store.close()

    async def assert_stored(self, *records: JobRecord) -> None:
        """
        Hold that a store replays these, in this order.
        """
        self.assertEqual(
            [fields_of(record) for record in await self.replay()], [fields_of(record) for record in records]
        )

    async def assert_refuses(self, *words: str, more: str = "") -> StoreError:
        """
        Hold that a store can't be opened, and says so in one line.

        @param words: what the line holds.
        """
        store = self.make(more)
        try:
            await store.open()
        except StoreError as error:
            self.assert_says(error, *words)
            return error
        self.fail("the store was opened")

    def assert_says(self, error: StoreError, *words: str) -> None:
        """
        Hold that an error is one line, and holds some words.
        """
        self.assertNotIn("\n", str(error))
        for word in words:
            self.assertIn(word, str(error))
