"""
A connection to a store, read and written past the reactor: for stores whose answers take less time than a turn of it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sized

from twisted.internet.tcp import Connection

from gearsvc import shortcut

READ_BYTES = 64 * 1024
"""
How much is read at once.
"""


class DirectSocket:
    """
    The socket of a connection that the reactor has made, and ends.
    """

    def __init__(self, transport: Connection, take: Callable[[bytes], object], due: Sized) -> None:
        """
        @param transport: the connection, in plain text.
        @param take: takes what was read.
        @param due: is not empty while an answer is due.
        """
        self._transport = transport
        self._take = take
        self._socket: socket.socket = transport.getHandle()
        self._descriptor = transport.fileno()
        shortcut.add(transport.reactor, self._descriptor, self._read, due=due)

    def send(self, data: bytes) -> None:
        """
        Send something, while nothing that was sent before waits in the transport: a write through the reactor would wait for
        its next turn.
        """
        try:
            sent = self._socket.send(data)
        except OSError:
            # There is no room, or the connection is broken: then the transport finds out as it tries in its turn.
            sent = 0
        if sent < len(data):
            self._transport.write(data[sent:])

    def lost(self) -> None:
        """
        The connection has ended.
        """
        shortcut.remove(self._transport.reactor, self._descriptor)

    def _read(self) -> bool:
        """
        Read what has come, in the reactor's place.

        @return: whether the reactor has to look itself.
        """
        try:
            data = self._socket.recv(READ_BYTES)
        except OSError:
            return True
        if data:
            self._take(data)
        return not data
