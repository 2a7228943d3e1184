"""
The store in PostgreSQL.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError, some_text

if TYPE_CHECKING:
    from gearsvc.config import Settings


def table_name(text: str) -> str:
    """
    A check for the name of a table.
    """
    text = some_text(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"must be UTF-8, not {text!r}") from None
    return text


@implementer(IPlugin, IQueueStoreMaker)
class PostgresMaker:
    """
    A table in a PostgreSQL database, in gearmand's layout.
    """

    names = ("postgres", "libpq", "postgresql")
    summary = "in a PostgreSQL database: acknowledged jobs survive a crash"

    conninfo = Option(
        "libpq-conninfo",
        "Where the database is, as libpq wants it: 'host=db dbname=gearman user=gearman', or a URI.",
        default="",
        metavar="STRING",
        shown="as for psql, as is all that it leaves out",
    )
    table = Option(
        "libpq-table",
        "The table, as in an SQL statement. It is made if it is not there.",
        table_name,
        "queue",
        metavar="NAME",
    )
    options = (conninfo, table)

    def missing(self) -> str:
        """
        See L{IQueueStoreMaker.missing}.
        """
        return "" if find_spec("psycopg2") and find_spec("txpostgres") else "pip install 'gearsvc[postgres]'"

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        Make the store.

        @raise SettingsError: if the connection string can't be read.
        """
        from gearsvc.stores.postgres import PostgresStore

        try:
            return PostgresStore(settings.value_of(self.conninfo), settings.value_of(self.table))
        except ValueError as error:
            raise SettingsError(
                f"--libpq-conninfo can't be read: {error}; it has to be like 'host=db dbname=gearman user=gearman',"
                " with quotes around a value that holds blanks"
            ) from None


postgres = PostgresMaker()
