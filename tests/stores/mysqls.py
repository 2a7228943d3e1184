"""
What the tests of the store in MySQL share.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import mysqlownership, reconnecting
from gearsvc.stores.mysql import MySQLStore
from gearsvc.stores.mysqlconnection import Place
from tests.running import HOST
from tests.servers import MariaDB

GEARMANDS_TABLE = (
    "CREATE TABLE gearman_queue(unique_key VARCHAR(64),function_name VARCHAR(255),priority INT,data LONGBLOB,"
    "when_to_run INT,unique key (unique_key, function_name))"
)
"""What gearmand creates."""

USER, PASSWORD = "gearman", "secret"
"""The account of L{MariaDB}."""


class QuickMariaDB(MariaDB):
    """
    One that does not wait for its disk: for tests after which nobody looks at what a crash of it has left.
    """

    def __init__(self) -> None:
        super().__init__("--innodb-flush-method=nosync", "--sync-frm=0")


def options(port: int, database: str) -> list[str]:
    """
    What tells a server, ours or gearmand, of a database on this host.
    """
    account = ["--mysql-user", USER, "--mysql-password", PASSWORD]
    return ["-q", "mysql", "--mysql-host", HOST, "--mysql-port", str(port), "--mysql-db", database, *account]


class MySQLCase(TestCase):
    """
    A test with a database of its own.

    @ivar server: the MariaDB that all these tests of a run share.
    @ivar database: the database's name.
    """

    table = "gearman_queue"

    def setUp(self) -> None:
        """
        Make the database.
        """
        self.patch(reconnecting, "LAST_PAUSE", 0.2)
        self.patch(mysqlownership, "LOCK_SECONDS", 0.5)
        self.server = self.make_server()
        self.database = self.server.new_database()
        self.stores: list[MySQLStore] = []

    async def tearDown(self) -> None:
        """
        Close what the test has left open.
        """
        for store in self.stores:
            await store.close()

    def make_server(self) -> MariaDB:
        """
        @return: a running server.
        """
        return QuickMariaDB.shared()

    def place(self, **fields: Any) -> Place:
        """
        The database's; with other fields, if any are given.
        """
        known = {"host": HOST, "port": self.server.port, "user": USER, "password": PASSWORD, "database": self.database}
        return Place(**{**known, **fields})

    def make_store(self, **fields: Any) -> MySQLStore:
        """
        A store that is closed after the test.
        """
        store = MySQLStore(self.place(**fields), self.table)
        self.stores.append(store)
        return store

    async def opened(self) -> MySQLStore:
        """
        An open store.
        """
        store = self.make_store()
        await store.open()
        return store

    async def replayed(self) -> list[JobRecord]:
        """
        @return: what a server that starts now would replay.
        """
        store = await self.opened()
        jobs: list[JobRecord] = []
        await store.replay(jobs.extend)
        await store.close()
        return jobs

    async def write(self, added: list[JobRecord], removed: list[JobRecord]) -> None:
        """
        Commit one batch, as a server that starts for that alone.
        """
        store = await self.opened()
        await store.commit(added, removed)
        await store.close()

    def sql(self, *statements: str) -> list[Any]:
        """
        Do something to the database as another program would.

        @return: the rows of the last statement.
        """
        return self.server.sql(*statements, database=self.database)

    async def assert_refuses(self, *words: str, unreachable: bool = False, **fields: Any) -> None:
        """
        Hold that the store can't be opened, and that the one line that says why has these words.
        """
        error = await self.assertFailure(self.make_store(**fields).open(), StoreError)
        self.assert_says(error, *words)
        self.assertEqual(error.unreachable, unreachable, str(error))

    def assert_says(self, error: StoreError, *words: str) -> None:
        """
        Hold that an error is one line that has these words, and no password.
        """
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertNotIn(PASSWORD, str(error))
