"""
The stores in MySQL or MariaDB, with the options of gearmand's two modules for it.
"""

from __future__ import annotations

import os.path
from importlib.util import find_spec
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError, some_text, whole_number, yes_or_no

if TYPE_CHECKING:
    from gearsvc.config import Settings

port = whole_number(1, 65535)


class Maker:
    """
    What both have in common.
    """

    def missing(self) -> str:
        """
        PyMySQL is not needed by anything else.
        """
        return "" if find_spec("pymysql") else "pip install 'gearsvc[mysql]'"


@implementer(IPlugin, IQueueStoreMaker)
class MySQLMaker(Maker):
    """
    A database of MySQL's or MariaDB's, in the layout and with the options of
    gearmand's MySQL module.
    """

    names = ("mysql", "mariadb")
    summary = "in a MySQL or MariaDB database: acknowledged jobs survive a crash"

    host = Option(
        "mysql-host",
        "The server's host. localhost is the server's Unix socket, if there is one and the port is 3306.",
        some_text,
        metavar="HOST",
        shown="localhost",
    )
    port = Option("mysql-port", "The server's port.", port, metavar="PORT", shown="3306")
    user = Option("mysql-user", "The account's name; without one, this process's user.", metavar="NAME", default="")
    password = Option("mysql-password", "The account's password.", metavar="PASSWORD", default="")
    database = Option("mysql-db", "The database, which must be there.", some_text, metavar="NAME")
    table = Option("mysql-table", "The table. It is made if it is not there.", some_text, "gearman_queue", metavar="NAME")
    socket = Option("mysql-socket", "The server's Unix socket, to be used instead of its host and port.", some_text, metavar="FILE")
    defaults = Option(
        "mysql-defaults-file",
        "A my.cnf; what is not given here is taken from its group [gearmand]: user, password, database, host, port, socket,"
        " ssl-ca and the like.",
        some_text,
        metavar="FILE",
    )
    options = (host, port, user, password, database, table, socket, defaults)

    def make(self, settings: Settings) -> IQueueStore:
        """
        Make the store.

        @raise SettingsError: if there is no database to use.
        """
        database = settings.value_of(self.database)
        defaults = settings.value_of(self.defaults)
        if database is None and defaults is None:
            raise SettingsError(f"--queue-type {settings.queue_type} needs --mysql-db, the database's name")
        if defaults is not None and not os.path.isfile(defaults):
            raise SettingsError(f"--mysql-defaults-file: there is no file {defaults}")
        from gearsvc.stores.mysql import MySQLStore
        from gearsvc.stores.mysqlconnection import Place

        place = Place(
            host=settings.value_of(self.host) or "",
            port=settings.value_of(self.port) or 0,
            user=settings.value_of(self.user),
            password=settings.value_of(self.password),
            database=database or "",
            socket=settings.value_of(self.socket) or "",
            defaults_file=defaults or "",
        )
        return MySQLStore(place, table=settings.value_of(self.table))


@implementer(IPlugin, IQueueStoreMaker)
class DrizzleMaker(Maker):
    """
    The same, with the options and defaults of gearmand's libdrizzle module.
    Drizzle itself is no more, and only its MySQL protocol is spoken.
    """

    names = ("libdrizzle", "drizzle")
    summary = "the same as mysql, with the options of gearmand's libdrizzle module"

    host = Option("libdrizzle-host", "The server's host.", some_text, "127.0.0.1", metavar="HOST")
    port = Option("libdrizzle-port", "The server's port.", port, 3306, metavar="PORT")
    socket = Option(
        "libdrizzle-uds", "The server's Unix socket, to be used instead of its host and port.", some_text, metavar="FILE"
    )
    user = Option("libdrizzle-user", "The account's name.", some_text, "root", metavar="NAME")
    password = Option("libdrizzle-password", "The account's password.", metavar="PASSWORD", default="")
    database = Option("libdrizzle-db", "The database, which must be there.", some_text, "gearman", metavar="NAME")
    table = Option("libdrizzle-table", "The table. It is made if it is not there.", some_text, "queue", metavar="NAME")
    protocol = Option("libdrizzle-mysql", "Speak MySQL's protocol: it is the only one, with or without this.", yes_or_no, False)
    options = (host, port, socket, user, password, database, table, protocol)

    def make(self, settings: Settings) -> IQueueStore:
        """
        Make the store.
        """
        from gearsvc.stores.mysql import MySQLStore
        from gearsvc.stores.mysqlconnection import Place

        place = Place(
            host=settings.value_of(self.host),
            port=settings.value_of(self.port),
            user=settings.value_of(self.user),
            password=settings.value_of(self.password),
            database=settings.value_of(self.database),
            socket=settings.value_of(self.socket) or "",
        )
        return MySQLStore(place, table=settings.value_of(self.table))


mysql = MySQLMaker()
drizzle = DrizzleMaker()
