"""
The stores that need nothing but Python: the queue in memory, and SQLite.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError, some_text, yes_or_no

if TYPE_CHECKING:
    from gearsvc.config import Settings


@implementer(IPlugin, IQueueStoreMaker)
class MemoryMaker:
    """
    The queue in memory alone.
    """

    names = ("builtin", "memory")
    summary = "in memory alone: a restart loses the queue"
    options: tuple[Option, ...] = ()

    def missing(self) -> str:
        """
        Python has all that it needs.
        """
        return ""

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        There is nothing to make.
        """
        return None


@implementer(IPlugin, IQueueStoreMaker)
class SQLiteMaker:
    """
    An SQLite database, in gearmand's layout.
    """

    names = ("libsqlite3", "sqlite", "sqlite3")
    summary = "in an SQLite database: acknowledged jobs survive a crash"

    database = Option(
        "libsqlite3-db", "The database's file. It is made if it is not there.", some_text, metavar="FILE", made=True
    )
    table = Option("libsqlite3-table", "The table.", some_text, "gearman_queue", metavar="NAME")
    on_shutdown = Option(
        "store-queue-on-shutdown",
        "Keep jobs in memory and store them when the server ends: fast, and a crash loses them.",
        yes_or_no,
        False,
    )
    options = (database, table, on_shutdown)

    def missing(self) -> str:
        """
        Python has all that it needs.
        """
        return ""

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        Make the store.  C{store-queue-on-shutdown} is for the server, which
        then calls it less often.

        @raise SettingsError: if there is no database to use.
        """
        path = settings.value_of(self.database)
        if path is None:
            raise SettingsError(f"--queue-type {settings.queue_type} needs --libsqlite3-db, the database's file")
        # A relative path may mean another directory once the server runs
        # (twistd --rundir), and is left to the store.
        directory = os.path.dirname(path)
        if os.path.isabs(path) and not os.path.isdir(directory):
            raise SettingsError(f"--libsqlite3-db: there is no directory {directory}")
        from gearsvc.stores.sqlite import SQLiteStore

        return SQLiteStore(path, table=settings.value_of(self.table))


memory = MemoryMaker()
sqlite = SQLiteMaker()
