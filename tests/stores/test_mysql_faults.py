"""
Tests for L{gearsvc.stores.mysql}: a real server, and a real MariaDB in trouble.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.running import HOST
from tests.servers import MariaDB
from tests.stores.faults import DroppedTable


class MySQLFaults(DroppedTable, SynchronousTestCase):
    """
    What holds for every store, with MariaDB.
    """

    database: MariaDB

    def make_database(self) -> MariaDB:
        """
        A MariaDB of the test's own.
        """
        return MariaDB()

    def create(self) -> None:
        """
        The database in it.
        """
        self.name = self.database.new_database()

    def options(self, port: int) -> list[str]:
        """
        The database, by its options.
        """
        account = ["--mysql-user", "gearman", "--mysql-password", "secret"]
        return ["-q", "mysql", "--mysql-host", HOST, "--mysql-port", str(port), "--mysql-db", self.name, *account]

    def drop_table(self) -> None:
        """
        As a person would do it.
        """
        self.database.sql("DROP TABLE gearman_queue", database=self.name)
