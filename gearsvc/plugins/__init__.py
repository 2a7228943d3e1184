"""
The plugins of gearsvc: stores and protocols, its own and other people's.

A plugin is a module in C{gearsvc/plugins/} anywhere on C{sys.path}, in a
directory without C{__init__.py}, that holds an object which provides
L{twisted.plugin.IPlugin} and one of the makers of L{gearsvc.interfaces}.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from twisted.plugin import getPlugins, pluginPackagePaths

from gearsvc.interfaces import IProtocolMaker, IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError

if TYPE_CHECKING:
    from gearsvc.config import Settings

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []

Maker = TypeVar("Maker", IQueueStoreMaker, IProtocolMaker)


def queue_store_makers() -> list[IQueueStoreMaker]:
    """
    Every store that is installed, by name.
    """
    return sorted(getPlugins(IQueueStoreMaker, sys.modules[__name__]), key=attrgetter("names"))


def protocol_makers() -> list[IProtocolMaker]:
    """
    Every protocol that is installed, by name.
    """
    return sorted(getPlugins(IProtocolMaker, sys.modules[__name__]), key=attrgetter("names"))


def find_queue_store_maker(name: str) -> IQueueStoreMaker:
    """
    The store of a name.

    @param name: what L{Settings.queue_type <gearsvc.config.Settings>} says.
    @raise SettingsError: if none has it; the line lists those there are.
    """
    return _find(queue_store_makers(), name, "--queue-type", "store")


def make_queue_store(settings: Settings) -> IQueueStore | None:
    """
    Make the store that C{--queue-type} names.

    @return: the store, or C{None} for a queue in memory alone.
    @raise SettingsError: if there is no such store, if what it needs is not
        installed, or if a setting of it is missing or wrong.
    """
    maker = find_queue_store_maker(settings.queue_type)
    if missing := maker.missing():
        raise SettingsError(f"--queue-type {settings.queue_type} needs what is not installed; {missing}")
    return maker.make(settings)


def find_protocol_maker(name: str) -> IProtocolMaker:
    """
    The protocol of a name.

    @param name: an item of L{Settings.protocol <gearsvc.config.Settings>}.
    @raise SettingsError: if none has it; the line lists those there are.
    """
    return _find(protocol_makers(), name, "--protocol", "protocol")


def plugin_options(taken: Iterable[Option]) -> list[Option]:
    """
    The options of all plugins.

    @param taken: the options of the server itself.
    @raise SettingsError: if a plugin declares an option that is another's.
        Plugins may share one, if they declare it alike.
    """
    names = {option.name for option in taken}
    found: dict[str, Option] = {}
    owners = [(maker.names[0], maker.options) for maker in queue_store_makers()]
    owners += [(maker.names[0], maker.options) for maker in protocol_makers()]
    for owner, options in owners:
        for option in options:
            if option.name in names or found.setdefault(option.name, option) != option:
                raise SettingsError(f"the plugin {owner} declares --{option.name}, which is another's; remove the plugin")
    return list(found.values())


def _find(makers: list[Maker], name: str, option: str, kind: str) -> Maker:
    for maker in makers:
        if name in maker.names:
            return maker
    there = ", ".join(maker.names[0] for maker in makers)
    raise SettingsError(f"{option}: there is no {kind} {name!r}; " + (f"there is: {there}" if there else "none is installed"))
