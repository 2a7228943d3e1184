"""
Where servers are, and which of several a job goes to.

Jobs with a unique id go to the server to which every other client sends them
as well, or they would not be coalesced: each server has many places on a ring
of hashes, and a unique id belongs to the one that comes next.  So when a server
is added, or is away, only the unique ids move that are its own.  The places are
made of the server's name as it was given: all clients should name it alike.

All other jobs take turns.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Union

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint

DEFAULT_PORT = 4730

CONNECT_SECONDS = 10.0
"""
How long a server may take to accept a connection.
"""

PLACES = 100
"""
How many places each server has on the ring.
"""

Where = Union[str, IStreamClientEndpoint]
"""
Where a server is: C{host}, C{host:port}, C{[::1]:port}, Twisted's description
of an endpoint, such as C{unix:/run/gearman.sock}, or an endpoint.
"""


class Server:
    """
    Where one server is.

    @ivar name: how it was named: what it is known by, on the ring and in errors.
    """

    def __init__(self, name: str, endpoint: IStreamClientEndpoint) -> None:
        self.name = name
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return f"<Server {self.name}>"


def servers_of(where: Where | Sequence[Where], reactor: Any) -> list[Server]:
    """
    Where servers are.

    @param where: one or several.
    @raise ValueError: if that names none, or is no place.
    """
    if isinstance(where, str) or IStreamClientEndpoint.providedBy(where):
        where = [where]
    found = [_server(each, reactor) for each in where]
    if not found:
        raise ValueError("no server is named")
    return found


def _server(where: Any, reactor: Any) -> Server:
    if IStreamClientEndpoint.providedBy(where):
        return Server(repr(where), where)
    if not isinstance(where, str):
        raise ValueError(f"{where!r} is no server: name a host, host:port, or give an endpoint")
    host, port = _host_and_port(where)
    if host is None:
        try:
            return Server(where, clientFromString(reactor, where))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{where!r} is no server: {error}") from None
    return Server(where, HostnameEndpoint(reactor, host, port, CONNECT_SECONDS))


def _host_and_port(where: str) -> tuple[str | None, int]:
    """
    @return: the host, or C{None} for what looks like an endpoint's description.
    @raise ValueError: if it is neither.
    """
    host, colon, port = where.strip().rpartition(":")
    if where.startswith("["):
        address, bracket, rest = where[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{where!r} is no server: an address in brackets is followed by a colon and a port, or by nothing")
        host, colon, port = address, rest[:1], rest[1:]
    elif not colon or where.count(":") > 1 and _is_address(where):
        host, colon, port = where.strip(), "", ""
    elif not port.isdigit():
        return None, 0
    elif ":" in host:
        return None, 0
    if not host:
        raise ValueError(f"{where!r} is no server: it names no host")
    if not colon:
        return host, DEFAULT_PORT
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{where!r} is no server: a port is a number from 1 to 65535")
    return host, int(port)


def _is_address(where: str) -> bool:
    return all(each in "0123456789abcdefABCDEF:." for each in where)


class Ring:
    """
    Several servers, in the order in which a job may go to them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._count = len(names)
        self._turn = 0
        places = sorted((_hash(b"%b-%d" % (name.encode(), number)), index) for index, name in enumerate(names) for number in range(PLACES))
        self._hashes = [place for place, _ in places]
        self._owners = [index for _, index in places]

    def in_turn(self) -> list[int]:
        """
        The servers for a job that may go anywhere: the one whose turn it is
        comes first.
        """
        first = self._turn
        self._turn = (first + 1) % self._count
        return [(first + each) % self._count for each in range(self._count)]

    def of(self, unique: bytes) -> list[int]:
        """
        The servers for a unique id: its own first, then the one that has it
        while that is away, and so on.
        """
        if self._count == 1:
            return [0]
        start = bisect(self._hashes, _hash(unique))
        owners = self._owners
        found: dict[int, None] = {}
        for each in range(len(owners)):
            found[owners[(start + each) % len(owners)]] = None
            if len(found) == self._count:
                break
        return list(found)


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
