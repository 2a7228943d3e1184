"""
The store in Redis.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError, some_text, whole_number, yes_or_no

if TYPE_CHECKING:
    from gearsvc.config import Settings


def password(text: str) -> str:
    """
    A check for a password: any characters, blanks too, but nothing.
    """
    if not text:
        raise ValueError("must not be empty")
    return text


@implementer(IPlugin, IQueueStoreMaker)
class RedisMaker:
    """
    Redis, in gearmand's layout.
    """

    names = ("redis",)
    summary = "in Redis: acknowledged jobs survive a crash of this server, and one of Redis as far as its settings say"

    server = Option("redis-server", "Redis' host, or the path of its Unix socket.", some_text, "127.0.0.1", metavar="HOST")
    port = Option("redis-port", "Its port.", whole_number(1, 65535), 6379, metavar="PORT")
    user = Option("redis-user", "The user to log in as, if Redis has users.", some_text, metavar="NAME")
    password = Option("redis-password", "The password to log in with.", password, metavar="PASSWORD")
    database = Option("redis-database", "The number of the database.", whole_number(0, 2**31 - 1), 0, metavar="N")
    prefix = Option("redis-prefix", "What the keys of jobs begin with.", some_text, "_gear_", metavar="PREFIX")
    tls = Option("redis-tls", "Speak TLS to Redis, and check its certificate.", yes_or_no, False)
    ca_file = Option(
        "redis-ca-file",
        "The certificates of the authorities that may vouch for Redis, in PEM. Without it, those of the system may.",
        some_text,
        metavar="FILE",
    )
    certificate = Option(
        "redis-certificate",
        "A certificate and its key, in one PEM file, to show to a Redis that wants one.",
        some_text,
        metavar="FILE",
    )
    options = (server, port, user, password, database, prefix, tls, ca_file, certificate)

    def missing(self) -> str:
        """
        txredisapi, and what it imports whether there is TLS or not: Twisted's libraries for that.
        """
        needed = ("txredisapi", "OpenSSL", "service_identity")
        return "" if all(map(importlib.util.find_spec, needed)) else "pip install 'gearsvc[redis]'"

    def make(self, settings: Settings) -> IQueueStore | None:
        """
        Make the store.

        @raise SettingsError: if options do not go together, or a file can't be used.
        """
        value = settings.value_of
        host, tls = value(self.server), value(self.tls)
        if value(self.user) is not None and value(self.password) is None:
            raise SettingsError("--redis-user needs --redis-password")
        for option in (self.ca_file, self.certificate):
            if value(option) is not None and not tls:
                raise SettingsError(f"--{option.name} needs --redis-tls")
        if tls and host.startswith("/"):
            raise SettingsError("--redis-tls does not go with a Unix socket, which --redis-server names")
        from gearsvc.stores.redis import RedisStore
        from gearsvc.stores.redisconnection import Server
        from gearsvc.stores.redistls import check_of

        server = Server(
            host,
            value(self.port),
            value(self.user),
            value(self.password),
            value(self.database),
            check_of(host, value(self.ca_file), value(self.certificate)) if tls else None,
        )
        return RedisStore(server, value(self.prefix).encode("utf-8", "surrogateescape"))


redis = RedisMaker()
