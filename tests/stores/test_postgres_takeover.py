"""
Tests for L{gearsvc.stores.postgres} with the real gearmand: each of the two
goes on with a table that the other wrote.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.servers import PostgreSQL
from tests.stores.takeover import Takeover


class PostgresTakeoverTests(Takeover, SynchronousTestCase):
    """
    What holds for every store, with PostgreSQL.
    """

    # It reads the numbers of its replay as text, and asks for them in binary: every job has a high priority then, and
    # its time is 0.  What it writes is right, and is what we read.
    replays_epochs = False
    replays_priorities = False
    # The server refuses a text that is not in the database's encoding.
    odd_bytes = False
    # No text holds a NUL, so that the name is in a column of our own, and here is another.
    pause_shown = rb"\A\.\ngearsvc:[0-9a-f]{32}\t1\t0\t0\nresize\t0\t0\t1\Z"

    def setUp(self) -> None:
        """
        Make a database.
        """
        database = PostgreSQL.shared()
        self.conninfo = database.conninfo(database.new_database())

    def store_options(self, kind: str) -> list[str]:
        """
        Both have the same options.
        """
        return ["-q", "postgres", "--libpq-conninfo", self.conninfo]


class OddPlaceTests(PostgresTakeoverTests):
    """
    The same in a database that takes any bytes for text, in a schema and with a
    table whose names have to be quoted.
    """

    odd_bytes = True

    def setUp(self) -> None:
        """
        Make the database and the schema.
        """
        database = PostgreSQL.shared()
        name = f"{database.new_database()}_latin1"
        database.sql(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
            database="postgres",
        )
        database.sql('CREATE SCHEMA "Jobs"', database=name)
        self.conninfo = database.conninfo(name)

    def store_options(self, kind: str) -> list[str]:
        """
        gearmand puts the table's name into its statements as it is.
        """
        return [*super().store_options(kind), "--libpq-table", '"Jobs"."My ""Queue"']
