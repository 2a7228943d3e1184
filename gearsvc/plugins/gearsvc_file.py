"""
The store that is a file of our own.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError, some_text

if TYPE_CHECKING:
    from gearsvc.config import Settings


@implementer(IPlugin, IQueueStoreMaker)
class FileMaker:
    """
    A log of batches.
    """

    names = ("file",)
    summary = "in a file of gearsvc's own, a log: acknowledged jobs survive a crash"

    path = Option("file-path", "The queue's file. It is made if it is not there.", some_text, metavar="FILE", made=True)
    options = (path,)

    def missing(self) -> str:
        """
        Python has all that it needs.
        """
        return ""

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        Make the store.

        @raise SettingsError: if there is no file to use.
        """
        path = settings.value_of(self.path)
        if path is None:
            raise SettingsError(f"--queue-type {settings.queue_type} needs --file-path, the queue's file")
        # A relative path may mean another directory once the server runs
        # (twistd --rundir), and is left to the store.
        directory = os.path.dirname(path)
        if os.path.isabs(path) and not os.path.isdir(directory):
            raise SettingsError(f"--file-path: there is no directory {directory}")
        from gearsvc.stores.file import FileStore

        return FileStore(path)


file = FileMaker()
