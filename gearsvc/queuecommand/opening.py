"""
How a store is named on the command line of C{gearsvc queue}.

One word is a whole server's worth of options, as far as they concern its store::

    /etc/gearsvc.conf                                   a configuration file
    "libsqlite3 --libsqlite3-db queue.db"               a store, and its options
    "-q libsqlite3 --libsqlite3-db queue.db"            the same, as a server has it

They are read as C{gearsvc serve} reads them: all stores that are installed can
be named, and what is wrong is said in the same words.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.python import usage

from gearsvc.config import Settings
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.options import SettingsError
from gearsvc.plugins import find_queue_store_maker, make_queue_store, queue_store_makers
from gearsvc.queuecommand.running import Interruption
from gearsvc.serve import ServeOptions
from gearsvc.stores.ownership import this_server


class StoreOptions(ServeOptions):
    """
    A server's options, in one word of another command line.
    """

    where_listed = "'gearsvc serve --help-stores' lists the options of stores"

    def stray(self, word: str) -> str:
        """
        Most often, quotes inside the quotes are missing; the word may be a part of a password.
        """
        return (
            "a value with blanks in it needs quotes of its own, as in "
            "\"postgres --libpq-conninfo 'host=db dbname=jobs'\""
        )


def store_settings(argument: str) -> Settings:
    """
    The settings of a server with a store.

    @param argument: the store, as it is named on the command line.
    @raise SettingsError: if it names none.
    """
    try:
        words = shlex.split(argument)
    except ValueError:
        raise SettingsError("a quote is not closed") from None
    names = {name for maker in queue_store_makers() for name in maker.names}
    if words and words[0].lower() in names:
        words.insert(0, "--queue-type")
    elif not (words and words[0].startswith("-")):
        if not os.path.isfile(argument):
            raise SettingsError(_no_store(argument, words))
        words = ["--config", argument]
    # Within quotes, the shell leaves it as it is.
    words = [os.path.expanduser(word) if word.startswith("~/") else word for word in words]
    options = StoreOptions()
    try:
        options.parseOptions(words)
    except usage.UsageError as error:
        raise SettingsError(str(error)) from None
    return options.settings


def _no_store(argument: str, words: list[str]) -> str:
    stores = ", ".join(maker.names[0] for maker in queue_store_makers() if "memory" not in maker.names)
    if os.path.isdir(argument):
        return f"{argument} is a directory; name a configuration file, or a store with its options"
    name = words[0] if words else argument
    return (
        f"there is no file and no store {name!r};"
        f" name a configuration file, or one of {stores} with its options, in quotes"
    )


def make_store(argument: str, holds_jobs: bool = False) -> IQueueStore:
    """
    Make the store of an argument.

    @param holds_jobs: whether jobs are to be read from it: a file that is not
        there is then a mistake, and not to be made.
    @raise SettingsError: if that is not possible.
    """
    settings = store_settings(argument)
    store = make_queue_store(settings)
    if store is None:
        raise SettingsError(f"a queue in memory alone (--queue-type {settings.queue_type}) stores nothing")
    if holds_jobs:
        for option in find_queue_store_maker(settings.queue_type).options:
            value = settings.value_of(option) if option.made else None
            # Behind a #, Tokyo Cabinet has its parameters.
            if value is not None and not os.path.exists(value.partition("#")[0]):
                raise SettingsError(f"--{option.name}: there is no {value}, and so no jobs")
    return store


@asynccontextmanager
async def opened(store: IQueueStore, interruption: Interruption) -> AsyncIterator[IQueueStore]:
    """
    Open a store, and close it in the end.

    @raise StoreError: if it can't be opened, or closed.
    """
    try:
        await interruption.before(store.open())
    except StoreError as error:
        if this_server() in str(error):
            # The other one that we have open.
            raise StoreError("FROM and TO are one and the same store.") from None
        raise
    try:
        yield store
    except BaseException:
        try:
            await store.close()
        except (StoreError, OSError):
            # What went wrong first is what is told.
            pass
        raise
    await store.close()
