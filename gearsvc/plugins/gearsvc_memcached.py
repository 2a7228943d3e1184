"""
The store in memcached.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError, some_text

if TYPE_CHECKING:
    from gearsvc.config import Settings

LONGEST_PREFIX = 64
"""
How many bytes the prefix may have: it leaves most of a key to the names.
"""


def servers(text: str) -> str:
    """
    A check for a list of servers, as libmemcached takes it.
    """
    text = some_text(text)
    # Only what needs it pays for importing the client.
    from gearsvc.stores.memcachedclient import parse_addresses

    parse_addresses(text)
    return text


def key_prefix(text: str) -> str:
    """
    A check for what keys begin with.
    """
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", text) or len(text.encode("utf-8", "surrogateescape")) > LONGEST_PREFIX:
        raise ValueError(f"must be 1 to {LONGEST_PREFIX} bytes without blanks and control characters, not {text!r}")
    return text


@implementer(IPlugin, IQueueStoreMaker)
class MemcachedMaker:
    """
    memcached, in gearmand's layout.
    """

    names = ("libmemcached", "memcached")
    summary = "in memcached: acknowledged jobs survive a crash of this server, not one of memcached"

    servers = Option(
        "libmemcached-servers",
        "The memcached servers: HOST:PORT, [IPv6]:PORT or /SOCKET, with commas between them; the port is 11211 if it is not given.",
        servers,
        metavar="LIST",
    )
    prefix = Option("libmemcached-prefix", "What the keys of jobs begin with.", key_prefix, "gear_", metavar="PREFIX")
    options = (servers, prefix)

    def missing(self) -> str:
        """
        Twisted has the client.
        """
        return ""

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        Make the store.

        @raise SettingsError: if there are no servers to use.
        """
        listed = settings.value_of(self.servers)
        if listed is None:
            raise SettingsError(f"--queue-type {settings.queue_type} needs --libmemcached-servers, such as 127.0.0.1:11211")
        from gearsvc.stores.memcached import MemcachedStore
        from gearsvc.stores.memcachedclient import parse_addresses

        prefix = settings.value_of(self.prefix).encode("utf-8", "surrogateescape")
        return MemcachedStore(parse_addresses(listed), prefix)


memcached = MemcachedMaker()
