"""
Opening ports: numbers, at every address that C{--listen} names, and Twisted's
endpoints.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Sequence

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from gearsvc.config import Settings

ACCEPTED_AT_ONCE = 16
"""How many connections a port accepts in one go."""


def open_ports(
    reactor: Any, ports: Sequence[str], factory: IProtocolFactory, settings: Settings, addresses: tuple[str, ...] | None = None
) -> list[Any]:
    """
    Open ports, all of them or none.

    @param ports: what an option says that was checked by
        L{port_or_endpoint<gearsvc.options.port_or_endpoint>}.
    @param settings: where C{--listen} and C{--backlog} are.
    @param addresses: where port numbers are opened, in place of C{--listen}.
    @return: the ports (L{IListeningPort}).
    @raise CannotListenError: if one of them can't be opened, for it is taken
        or not allowed.
    """
    where = settings.listen if addresses is None else addresses
    opened: list[Any] = []
    try:
        for port in ports:
            if port.isdigit():
                for listener in listening_sockets(int(port), where, settings.backlog):
                    # The reactor takes a duplicate.
                    opened.append(reactor.adoptStreamPort(listener.fileno(), listener.family, factory))
                    listener.close()
            else:
                opened.append(_open_endpoint(reactor, port, factory, settings.backlog))
    except BaseException:
        for each in opened:
            each.stopListening()
        raise
    for each in opened:
        each.numberAccepts = ACCEPTED_AT_ONCE
    return opened


def _open_endpoint(reactor: Any, description: str, factory: IProtocolFactory, backlog: int) -> IListeningPort:
    outcome: list[Any] = []
    listening = serverFromString(reactor, description).listen(factory)
    listening.addBoth(outcome.append)
    if not outcome:
        listening.cancel()
        raise CannotListenError(description, None, OSError(errno.EAGAIN, "the endpoint does not listen at once"))
    if isinstance(outcome[0], Failure):
        if outcome[0].check(OSError):
            # A Unix socket's directory is not there, or not ours.
            raise CannotListenError(description, None, outcome[0].value)
        outcome[0].raiseException()
    if isinstance(outcome[0], Port) and "backlog=" not in description:
        # Twisted's default is 50.
        outcome[0].socket.listen(backlog)
    return outcome[0]


def listening_sockets(number: int, addresses: tuple[str, ...], backlog: int) -> list[socket.socket]:
    """
    Open a port at every address, as gearmand does: a socket for each, those
    of IPv6 for IPv6 alone.

    @param addresses: names or addresses; none is every address there is.
    @raise CannotListenError: if one of them can't be opened; then none is.
    """
    opened: list[socket.socket] = []
    for address in addresses or (None,):
        before = len(opened)
        try:
            found = socket.getaddrinfo(address, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            _close(opened)
            raise CannotListenError(address, number, error) from None
        for family, kind, protocol, _, name in found:
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError:
                # The machine has no such family: getaddrinfo knows it all the same.
                continue
            try:
                listener.setblocking(False)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # Of port 0 the first address takes any, the others take the same.
                port = number or (opened[0].getsockname()[1] if opened else 0)
                listener.bind((name[0], port, *name[2:]))
                listener.listen(backlog)
            except OSError as error:
                listener.close()
                if address is None and family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    continue
                _close(opened)
                raise CannotListenError(address or name[0], number, error) from None
            opened.append(listener)
        if address is not None and len(opened) == before:
            _close(opened)
            raise CannotListenError(address, number, OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT)))
    return opened


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def written(address: Any) -> str:
    """
    An address as people write it.
    """
    host = getattr(address, "host", None)
    if host is None:
        return str(getattr(address, "name", address))
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
