"""
A connection to one server, which comes and goes.

It is made when it is wanted.  When it can't be made, or is lost, it is not
tried again before a pause is over, which is twice as long after each failure.
What is written in one turn of the reactor leaves together.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from gearsvc.client.servers import Server

FIRST_PAUSE = 0.2
LAST_PAUSE = 30.0
"""
Seconds until a server that is away is tried again.
"""


class Peer:
    """
    Who uses a connection; the methods do nothing here.
    """

    def connected(self, connection: Connection) -> None:
        """
        It is there.
        """

    def received(self, connection: Connection, data: bytes) -> None:
        """
        The server has said something.
        """

    def lost(self, connection: Connection, why: str) -> None:
        """
        It is gone, or could not be made.

        @param why: a clause for people.
        """


class Connection:
    """
    One server, connected or not.

    @ivar server: where it is.
    @ivar up: whether it is connected.
    @ivar failures: how many times in succession it could not be connected to,
        or was lost before it had said anything.
    """

    def __init__(self, server: Server, reactor: Any, peer: Peer, stays: bool = False) -> None:
        """
        @param peer: hears of it.
        @param stays: whether it is made again by itself when it is gone, as long
            as it is not closed.
        """
        self.server = server
        self.up = False
        self.failures = 0
        self._reactor = reactor
        self._peer = peer
        self._stays = stays
        self._protocol: _Protocol | None = None
        # Until the next turn, and then until it succeeds or fails.
        self._beginning: IDelayedCall | None = None
        self._attempt: Deferred[IProtocol] | None = None
        self._next = 0.0
        self._pause = 0.0
        self._retry: IDelayedCall | None = None
        self._closed = False
        self._why: str | None = None
        self._ended: list[Deferred[None]] = []
        self._out: list[bytes] = []
        self._flush: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<Connection to {self.server.name}{'' if self.up else ', which is not there'}>"

    @property
    def resting(self) -> bool:
        """
        Whether the server was away, and it is too early to try again.
        """
        return not (self.up or self._connecting) and self._next > self._reactor.seconds()

    @property
    def rest(self) -> float:
        """
        For how many seconds more it is L{resting}.
        """
        return max(0.0, self._next - self._reactor.seconds()) if self.resting else 0.0

    @property
    def _connecting(self) -> bool:
        return self._beginning is not None or self._attempt is not None

    def connect(self) -> None:
        """
        Connect, if it is not connected, and does not try to.  The peer hears
        how that ends, never before this returns.
        """
        if self.up or self._connecting or self._closed:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._why = None
        self._beginning = self._reactor.callLater(0, self._begin)

    def _begin(self) -> None:
        self._beginning = None
        factory = Factory.forProtocol(lambda: _Protocol(self))
        factory.noisy = False
        self._attempt = attempt = self.server.endpoint.connect(factory)
        attempt.addErrback(self._failed)

    def write(self, data: bytes) -> None:
        """
        Send bytes, with all that is sent in this turn.  Only while it is L{up}.
        """
        self._out.append(data)
        if self._flush is None:
            self._flush = self._reactor.callLater(0, self._write)

    def abort(self, why: str) -> None:
        """
        Break the connection: the server says what makes no sense.

        @param why: what the peer is to hear.
        """
        if self._protocol is not None and self._protocol.transport is not None:
            self._why = why
            transport: Any = self._protocol.transport
            transport.abortConnection()

    def close(self) -> Deferred[None]:
        """
        End it for good, after all that was written has been sent.

        @return: fires when it has ended.
        """
        self._closed = True
        for call in (self._retry, self._beginning):
            if call is not None:
                call.cancel()
        self._retry = self._beginning = None
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        if self.up:
            assert self._protocol is not None and self._protocol.transport is not None
            self._write()
            self._protocol.transport.loseConnection()
        else:
            attempt, self._attempt = self._attempt, None
            if attempt is not None:
                attempt.cancel()
            self._end()
        return ended

    def _write(self) -> None:
        if self._flush is not None:
            if self._flush.active():
                self._flush.cancel()
            self._flush = None
        if self._out and self._protocol is not None and self._protocol.transport is not None:
            data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
            self._out.clear()
            self._protocol.transport.write(data)

    def _made(self, protocol: _Protocol) -> None:
        if self._closed:
            # It was closed while it was made.
            assert protocol.transport is not None
            protocol.transport.loseConnection()
            return
        self._attempt = None
        self._protocol = protocol
        self.up = True
        transport: Any = protocol.transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._peer.connected(self)

    def _heard(self, data: bytes) -> None:
        self._pause = 0.0
        self.failures = 0
        self._peer.received(self, data)

    def _failed(self, reason: Failure) -> None:
        self._attempt = None
        if self._closed:
            return
        error = reason.value
        # (What Twisted says itself has the number of the error, and says it twice.)
        self._gone(str(error.args[0]) if isinstance(error, ConnectError) and error.args and error.args[0] else reason.getErrorMessage())

    def _lost(self, protocol: _Protocol, reason: Failure) -> None:
        if self._protocol is not protocol:
            return
        self._protocol = None
        self.up = False
        self._out.clear()
        if self._flush is not None:
            if self._flush.active():
                self._flush.cancel()
            self._flush = None
        why = self._why or ("it closed the connection" if reason.check(ConnectionDone) else reason.getErrorMessage())
        if self._closed:
            self._peer.lost(self, why)
            self._end()
        else:
            self._gone(why)

    def _gone(self, why: str) -> None:
        self.failures += 1
        self._pause = min(2 * self._pause, LAST_PAUSE) or FIRST_PAUSE
        self._next = self._reactor.seconds() + self._pause
        if self._stays:
            self._retry = self._reactor.callLater(self._pause, self._again)
        self._peer.lost(self, why.rstrip("."))

    def _again(self) -> None:
        self._retry = None
        self.connect()

    def _end(self) -> None:
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)


class _Protocol(Protocol):
    """
    One life of a connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connectionMade(self) -> None:
        self._connection._made(self)

    def dataReceived(self, data: bytes) -> None:
        self._connection._heard(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connection._lost(self, reason)


