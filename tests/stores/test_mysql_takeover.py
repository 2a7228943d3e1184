"""
Tests for L{gearsvc.stores.mysql} with the real gearmand: each of the two goes on with a table that the other wrote.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.running import HOST
from tests.servers import MariaDB
from tests.stores.takeover import Takeover


class MySQLTakeoverTests(Takeover, SynchronousTestCase):
    """
    What holds for every store, with MariaDB.
    """

    # In a table of its own making, a name is text: what is not UTF-8 is refused.
    odd_bytes = False

    def setUp(self) -> None:
        """
        Make a database.
        """
        self.server_ = MariaDB.shared()
        self.database = self.server_.new_database()

    def store_options(self, kind: str) -> list[str]:
        """
        Both have the same options.
        """
        account = ["--mysql-user", "gearman", "--mysql-password", "secret"]
        where = ["--mysql-host", HOST, "--mysql-port", str(self.server_.port), "--mysql-db", self.database]
        return ["-q", "mysql", *where, *account]
