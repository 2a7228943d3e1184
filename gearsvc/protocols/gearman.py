"""
The Gearman protocol on a Twisted transport.

What a turn produces for a connection arrives here as one list of bytes.  As
long as nothing is waiting to be sent it goes to the socket at once: a write
through the reactor costs two system calls and a turn of the loop more, which
is a third of what a small job costs.  What the socket does not take waits in a
backlog that the transport pulls from.

A peer that does not read is a peer whose requests are not read either, and one
for which more than C{--max-output} waits loses its connection.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IPullProducer, IReactorTime, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.core.packets import Type
from gearsvc.core.requests import LARGE
from gearsvc.core.wire import Packet, PacketDecoder
from gearsvc.interfaces import IPeer
from gearsvc.logs import DEBUG, Logger, is_logged
from gearsvc.protocols.reading import SMALL_READ, ReadingRoom

if TYPE_CHECKING:
    from gearsvc.config import Settings
    from gearsvc.core.jobserver import JobServer

log = Logger(__name__)

CONGESTED = 256 * 1024
"""How many bytes may wait for a peer before its own requests have to."""

CROWDED = 10_000
"""How many of a peer's requests may be held back behind others before it is not read from."""

LINGER = 2.0
"""
Seconds for which a connection that we end is still read from, once everything
is sent.  Closing it at once, with bytes of the peer's unread, would reset it,
and the ERROR that says why would be lost on the way.
"""

UNANSWERED = frozenset(
    (Type.WORK_DATA, Type.WORK_WARNING, Type.WORK_STATUS, Type.WORK_COMPLETE, Type.WORK_FAIL, Type.WORK_EXCEPTION)
)
"""
What a worker says without an answer from us.  Where it writes its next packet
apart and has not turned Nagle's algorithm off (gearmanode), its system holds
that back until ours has acknowledged these, which it does after 40 ms.
"""

_PIECE = 512 * 1024

_KEEPALIVE = (
    ("keepalive_idle", "TCP_KEEPIDLE"),
    ("keepalive_interval", "TCP_KEEPINTVL"),
    ("keepalive_count", "TCP_KEEPCNT"),
)


def keep_alive(transport: Any, settings: Settings) -> None:
    """
    Let the system probe a TCP connection when it is idle, if C{--keepalive}
    says so.
    """
    if settings.keepalive:
        transport.setTcpKeepAlive(True)
        for setting, name in _KEEPALIVE:
            value = getattr(settings, setting)
            if value > 0 and hasattr(socket, name):
                transport.getHandle().setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@implementer(IPeer, IPullProducer)
class GearmanProtocol(Protocol):
    """
    One connection of a client, a worker or an administrator.

    @ivar session: what the job server knows of it, while it is connected.
    @ivar crowded: whether so many of its requests are under way that no more
        are read.
    """

    factory: GearmanFactory
    # Any transport of a stream: more is asked of it than ITransport has.
    transport: Any

    def __init__(self, server: JobServer, settings: Settings, clock: IReactorTime) -> None:
        self.descriptor = -1
        self.congested = False
        self.crowded = False
        self._server = server
        self._clock = clock
        self._max_output = settings.max_output
        self._decoder = PacketDecoder(settings.max_packet)
        self._socket: socket.socket | None = None
        self._acknowledges = False
        self._backlog: deque[bytes] = deque()
        self._waiting = 0
        self._pulling = False
        self._closing = False
        # Whether all is said, and the peer hears nothing more.
        self._finished = False
        self._linger: IDelayedCall | None = None
        self.read_size = SMALL_READ

    # The transport's side

    def connectionMade(self) -> None:
        """
        Let the peer in.
        """
        transport = self.transport
        if isinstance(transport, Connection):
            handle = transport.getHandle()
            self.descriptor = handle.fileno()
            if not ISSLTransport.providedBy(transport):
                self._socket = handle
                # Linux has it, and TCP has it.
                self._acknowledges = hasattr(socket, "TCP_QUICKACK") and handle.family != socket.AF_UNIX
        self.session = self._server.connect(self)
        # The reactor has begun to read.
        transport.pauseProducing()
        self.resume_reading()
        self.factory.joined(self)

    def pause_reading(self) -> None:
        """
        Read nothing from the peer for now.
        """
        if self._socket is not None and self.factory.room is not None:
            self.factory.room.remove(self.descriptor)
        else:
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """
        Read from the peer, unless it is a bad time.
        """
        if self.factory.held or self.congested or self.crowded:
            return
        if self._socket is not None and self.factory.room is not None:
            self.factory.room.add(self, self._socket)
        else:
            self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """
        Take what the reactor has read.
        """
        self.received(data)
        self._server.flush()

    def received(self, data: bytes) -> None:
        """
        Pass complete packets on to the job server.
        """
        decoder = self._decoder
        packets = decoder.feed(data)
        if packets:
            if self.factory.log_packets:
                self.factory.show(self, packets)
            self._server.receive(self.session, packets)
            if packets[-1][0] in UNANSWERED and self._acknowledges and self._socket is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if decoder.failure is not None and not self.session.closed:
            self._server.fail(self.session, decoder.failure)
        held = self.session.held
        if held is not None and len(held) > CROWDED and not self.crowded:
            self.crowded = True
            self.pause_reading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Let the peer go.
        """
        if self.factory.room is not None:
            self.factory.room.remove(self.descriptor)
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._socket = None
        self._backlog.clear()
        self._waiting = 0
        self._server.disconnect(self.session)
        self.factory.left(self)

    # IPeer, the job server's side

    @property
    def host(self) -> str:
        """
        The peer's address; C{-} for that of a Unix socket, which has none.
        """
        # Asked for each time: behind a proxy, it is known only later.
        return getattr(self.transport.getPeer(), "host", None) or "-"

    def transmit(self, chunks: list[bytes]) -> None:
        """
        Send what one turn has produced.  See L{IPeer}.
        """
        if self.crowded and (self.session.held is None or len(self.session.held) <= CROWDED):
            self.crowded = False
            self.resume_reading()
        if self._pulling or self._socket is None:
            self._wait(chunks)
            return
        try:
            if len(chunks) == 1:
                data = chunks[0]
                sent = self._socket.send(data)
            elif len(chunks) == 2 and len(chunks[1]) >= LARGE:
                sent = self._socket.sendmsg(chunks)
                if sent == len(chunks[0]) + len(chunks[1]):
                    return
                data = b"".join(chunks)
            else:
                data = b"".join(chunks)
                sent = self._socket.send(data)
        except OSError:
            # There is no room, or the connection is broken: then the transport
            # finds out as it tries in its turn.
            self._wait(chunks)
        else:
            if sent < len(data):
                self._wait([data[sent:]])

    def close(self) -> None:
        """
        Close once everything is sent.  See L{IPeer}.
        """
        self._closing = True
        if not self._pulling:
            self._finish()

    def _finish(self) -> None:
        """
        Let the peer know that this was all, and read on until it has closed
        its side too: but not for long.
        """
        self._finished = True
        if self._socket is None:
            self.transport.loseConnection()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            # It is broken: reading finds out.
            pass
        self._linger = self._clock.callLater(LINGER, self._leave)

    def _leave(self) -> None:
        self.pause_reading()
        self.transport.loseConnection()

    def abort(self) -> None:
        """
        End the connection at once, whatever is waiting in either direction.
        """
        self.session.closed = self._finished = True
        self.pause_reading()
        self.transport.abortConnection()

    def overflow(self, waiting: int) -> None:
        """
        End the connection at once, with a line in the log.  See L{IPeer}.
        """
        if self._finished:
            return
        self.factory.overflowed(self, waiting)
        self._backlog.clear()
        self._waiting = 0
        self.abort()

    # What waits for the peer to read

    def _wait(self, chunks: list[bytes]) -> None:
        transport = self.transport
        if self._finished or not transport.connected:
            return
        if self._waiting > self._max_output:
            self.overflow(self._waiting)
            return
        self._backlog.extend(chunks)
        self._waiting += sum(map(len, chunks))
        if not self._pulling:
            self._pulling = True
            transport.registerProducer(self, False)
        elif self._waiting > CONGESTED and not self.congested:
            self.congested = True
            self.pause_reading()

    def resumeProducing(self) -> None:
        """
        The transport has sent all that it had: give it more.
        """
        transport = self.transport
        if self._backlog:
            chunks = [self._backlog.popleft()]
            size = len(chunks[0])
            while self._backlog and size + len(self._backlog[0]) <= _PIECE:
                chunks.append(self._backlog.popleft())
                size += len(chunks[-1])
            self._waiting -= size
            transport.write(b"".join(chunks))
            return
        self._pulling = False
        transport.unregisterProducer()
        if self.congested:
            self.congested = False
            self.resume_reading()
        if self._closing:
            self._finish()
        else:
            self._server.drained(self.session)

    def stopProducing(self) -> None:
        """
        The transport is about to close its socket, for it could not write.
        """
        self.pause_reading()


class GearmanFactory(Factory):
    """
    Makes a L{GearmanProtocol} for each connection.

    @ivar connections: the open ones.
    @ivar held: whether nothing is read for now.
    @ivar room: where connections are read, if not by the reactor itself.
    @ivar log_packets: whether each packet is worth a line in the log.
    """

    noisy = False

    def __init__(
        self,
        server: JobServer,
        settings: Settings,
        clock: IReactorTime,
        changed: Callable[[GearmanProtocol | None], object] = lambda joined: None,
    ) -> None:
        """
        @param changed: called with each new connection, and with C{None} each
            time that one has gone.
        """
        self.server = server
        self.settings = settings
        self.clock = clock
        self.connections: set[GearmanProtocol] = set()
        self.log_packets = False
        self._changed = changed
        self.held = False
        self.room: ReadingRoom | None = None
        self._ended: Deferred[None] | None = None

    def startFactory(self) -> None:
        """
        The first port opens: by now it is known what is to be logged.
        """
        self.log_packets = is_logged(DEBUG)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        Make the protocol of a new connection.
        """
        protocol = GearmanProtocol(self.server, self.settings, self.clock)
        protocol.factory = self
        return protocol

    def hold(self) -> None:
        """
        Read nothing from connections, also from those to come, until
        L{release}: the queue is not complete yet, or the server stops.
        """
        self.held = True
        for protocol in self.connections:
            protocol.pause_reading()

    def release(self) -> None:
        """
        Read from all connections.
        """
        self.held = False
        for protocol in self.connections:
            protocol.resume_reading()

    def joined(self, protocol: GearmanProtocol) -> None:
        """
        A connection was made.
        """
        self.connections.add(protocol)
        transport = protocol.transport
        if protocol.descriptor >= 0 and transport.getHandle().family != socket.AF_UNIX:
            transport.setTcpNoDelay(True)
            keep_alive(transport, self.settings)
        self._changed(protocol)

    def left(self, protocol: GearmanProtocol) -> None:
        """
        A connection is gone.
        """
        self.connections.discard(protocol)
        self._changed(None)
        if self._ended is not None and not self.connections:
            ended, self._ended = self._ended, None
            ended.callback(None)

    def end(self, seconds: float) -> Deferred[None]:
        """
        End all connections, once what is waiting for their peers is sent.

        @param seconds: how long that may take.
        @return: fires when the last one has gone.
        """
        self.hold()
        if not self.connections:
            return succeed(None)
        ended = self._ended = Deferred()
        for protocol in list(self.connections):
            protocol.transport.loseConnection()
        impatience = self.clock.callLater(seconds, self._abort)

        def all_gone(_: None) -> None:
            if impatience.active():
                impatience.cancel()

        return ended.addCallback(all_gone)

    def _abort(self) -> None:
        for protocol in list(self.connections):
            protocol.abort()

    def overflowed(self, protocol: GearmanProtocol, waiting: int) -> None:
        """
        A peer has lost its connection because it does not read.
        """
        log.error(
            "closed the connection of {host}: it does not read, and {waiting} bytes are waiting for it (--max-output is {limit})",
            host=protocol.host,
            waiting=waiting,
            limit=self.settings.max_output,
        )

    def show(self, protocol: GearmanProtocol, packets: list[Packet]) -> None:
        """
        Log packets, by name and size: never what is in them.
        """
        for kind, body in packets:
            log.debug(
                "{host} [{descriptor}] sent {packet}, {size} bytes",
                host=protocol.host,
                descriptor=protocol.descriptor,
                packet="a text line" if kind == Type.TEXT else Type(kind).name if kind in Type._value2member_map_ else kind,
                size=len(body),
            )
