"""
Tests for L{gearsvc.stores.postgres}: a real server, and a real PostgreSQL in trouble.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import wait_until
from tests.servers import PostgreSQL
from tests.stores.faults import DroppedTable, ServerCase


class PostgresFaults(DroppedTable, SynchronousTestCase):
    """
    What holds for every store, with PostgreSQL.
    """

    database: PostgreSQL

    def make_database(self) -> PostgreSQL:
        """
        A PostgreSQL of the test's own.
        """
        return PostgreSQL()

    def create(self) -> None:
        """
        The database in it.
        """
        self.name = self.database.new_database()

    def options(self, port: int) -> list[str]:
        """
        The database, by its options.
        """
        return ["-q", "postgres", "--libpq-conninfo", self.database.conninfo(self.name, port)]

    def drop_table(self) -> None:
        """
        As a person would do it.
        """
        self.database.sql("DROP TABLE queue", database=self.name)
