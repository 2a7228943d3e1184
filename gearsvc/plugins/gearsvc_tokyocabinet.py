"""
The store in a Tokyo Cabinet database.
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

SUFFIXES = (".tch", ".hdb", ".tcb", ".bdb")
"""
By which Tokyo Cabinet tells hash tables and B+ trees, the kinds that can keep a queue.
"""


def database_name(text: str) -> str:
    """
    A check for the name of a database.
    """
    text = some_text(text)
    if not text.partition("#")[0].endswith(SUFFIXES):
        raise ValueError(f"must be a file that ends in .tch (a hash table) or .tcb (a B+ tree), not {text!r}")
    return text


@implementer(IPlugin, IQueueStoreMaker)
class TokyoCabinetMaker:
    """
    A Tokyo Cabinet database, in gearmand's layout.
    """

    names = ("libtokyocabinet", "tokyocabinet")
    summary = "in a Tokyo Cabinet database: acknowledged jobs survive a crash"

    file = Option(
        "libtokyocabinet-file",
        "The database's file, which ends in .tch (a hash table) or .tcb (a B+ tree). It is made if it is not there.",
        database_name,
        metavar="FILE",
        made=True,
    )
    # Without a value on the command line, as gearmand's.
    optimize = Option(
        "libtokyocabinet-optimize",
        "Rewrite the file at the start if much of it is unused. This is so by default; in the configuration file, "
        "libtokyocabinet-optimize = no turns it off.",
        yes_or_no,
        True,
    )
    options = (file, optimize)

    def missing(self) -> str:
        """
        The C library is the system's.
        """
        from gearsvc.stores.tokyocabinetlibrary import NoLibrary, load

        try:
            load()
        except NoLibrary:
            return "install libtokyocabinet (Debian: apt-get install libtokyocabinet9)"
        return ""

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        Make the store.

        @raise SettingsError: if there is no file to use.
        """
        name = settings.value_of(self.file)
        if name is None:
            raise SettingsError(f"--queue-type {settings.queue_type} needs --libtokyocabinet-file, the database's file")
        # A relative path may mean another directory once the server runs
        # (twistd --rundir), and is left to the store.
        directory = os.path.dirname(name.partition("#")[0])
        if os.path.isabs(name) and not os.path.isdir(directory):
            raise SettingsError(f"--libtokyocabinet-file: there is no directory {directory}")
        from gearsvc.stores.tokyocabinet import TokyoCabinetStore

        return TokyoCabinetStore(name, settings.value_of(self.optimize))


tokyocabinet = TokyoCabinetMaker()
