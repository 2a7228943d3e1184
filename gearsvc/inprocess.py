"""
Connections to a job server in the same process, without a port.

What clients and workers say, and are told, is what they would hear from a
socket: only the bytes are handed over in memory.  Any Twisted protocol can be
connected so, by L{InProcessEndpoint}; for the usual case there are
L{JobServerService.client<gearsvc.service.JobServerService.client>} and
L{JobServerService.worker<gearsvc.service.JobServerService.worker>}::

    connection = await connectProtocol(InProcessEndpoint(service), MyProtocol())

As with a socket, nothing is delivered while C{write} is still on the stack, what
one end writes arrives in its order, an end that has paused is delivered nothing
until it resumes, and a producer is asked to pause while much waits for the other
end.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Callable, Iterable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

log = Logger(__name__)

AT_ONCE = 64 * 1024
"""How many bytes are delivered in one turn, unless a single write was larger."""

MUCH = 64 * 1024
"""How many bytes wait for the other end when a producer is asked to pause."""

_numbers = count(1)


@implementer(IAddress)
class InProcessAddress:
    """
    Where an end of such a connection is.

    @ivar host: what C{workers} and the log call it.
    @ivar port: the connection's number, which no other one of this process
        has; both of its ends have it.
    """

    host = "in-process"

    def __init__(self, number: int) -> None:
        self.port = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InProcessAddress) and other.port == self.port

    def __hash__(self) -> int:
        return hash((InProcessAddress, self.port))

    def __repr__(self) -> str:
        return f"InProcessAddress({self.port})"


@implementer(ITransport, IConsumer, IPushProducer)
class InProcessTransport:
    """
    One end of a connection in memory.  Its methods are those of Twisted's
    transports, with their promises.

    @ivar protocol: what is told of what arrives.
    @ivar connected: whether the connection is there, though it may be about to
        end.
    @ivar disconnecting: whether this end has asked for the end.
    """

    def __init__(self, clock: IReactorTime, address: InProcessAddress) -> None:
        """
        @param clock: what delivers, by C{callLater}.
        """
        self.protocol: IProtocol | None = None
        self.connected = True
        self.disconnecting = False
        self.producer: Any = None
        self._address = address
        self._clock = clock
        self._other = self
        # Written, and not delivered yet.
        self._outgoing: deque[bytes] = deque()
        self._waiting = 0
        self._turn: IDelayedCall | None = None
        self._aborting = False
        self._reads = True
        self._streams = False
        self._producer_paused = False
        self._when_lost: Callable[[], object] = lambda: None

    # What ITransport promises

    def getHost(self) -> InProcessAddress:
        """
        Where this end is.
        """
        return self._address

    def getPeer(self) -> InProcessAddress:
        """
        Where the other end is.
        """
        return self._other._address

    def write(self, data: bytes) -> None:
        """
        Deliver bytes to the other end, in a later turn, after all that was
        written before.  After the end of the connection they are dropped.

        @raise TypeError: if the data is no bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if not data or not self.connected or self._aborting:
            return
        # (What may change under us is copied; bytes are not.)
        data = bytes(data)
        self._outgoing.append(data)
        self._waiting += len(data)
        if self._other._reads or self._other.disconnecting:
            self._schedule()
        if self._streams and not self._producer_paused and self._waiting > MUCH:
            self._producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Write some pieces.

        @raise TypeError: if one of them is no bytes.
        """
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """
        End the connection once all that is written has been delivered, and the
        producer, if there is one, has been unregistered.  Nothing more is
        delivered to this end.
        """
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._reads = False
            self._schedule()
            if self._other._outgoing:
                self._other._schedule()

    def abortConnection(self) -> None:
        """
        End the connection in the next turn, whatever waits in either direction.
        """
        if self.connected and not self._aborting:
            self._aborting = self.disconnecting = True
            self._reads = False
            self._discard()
            self._clock.callLater(0, self._end, Failure(ConnectionAborted()), Failure(ConnectionLost()))

    # What IConsumer promises

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let a producer write: see L{IConsumer.registerProducer}.

        @raise RuntimeError: if there is one already.
        """
        if self.producer is not None:
            raise RuntimeError(f"Cannot register producer {producer}, because producer {self.producer} was never unregistered.")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self._streams = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        The producer is done.
        """
        self.producer = None
        self._streams = False
        if self.connected and self.disconnecting:
            self._schedule()

    # What IPushProducer promises

    def pauseProducing(self) -> None:
        """
        Deliver nothing to this end until L{resumeProducing}.  That the other
        end has gone, and has nothing waiting, is told all the same.
        """
        self._reads = False

    def resumeProducing(self) -> None:
        """
        Deliver to this end again.
        """
        if self.connected and not self.disconnecting:
            self._reads = True
            other = self._other
            if other._outgoing:
                other._schedule()

    def stopProducing(self) -> None:
        """
        End the connection, as L{loseConnection} does.
        """
        self.loseConnection()

    # Delivery

    def _schedule(self) -> None:
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        """
        Hand one piece of what is written to the other end; when all of it has
        been, ask for more, or end the connection.
        """
        self._turn = None
        other = self._other
        if self._outgoing:
            if other.disconnecting:
                # It does not listen any more, as a socket that was closed.
                self._discard()
            elif not other._reads:
                # It says when it does.
                return
            else:
                other._receive(self._next_piece())
                if self._outgoing and other._reads:
                    self._schedule()
        if self._outgoing or not self.connected or self._aborting:
            return
        if self.producer is not None:
            if self._producer_paused or not self._streams:
                self._producer_paused = False
                self.producer.resumeProducing()
        elif self.disconnecting:
            self._end(Failure(ConnectionDone()), Failure(ConnectionDone()))

    def _next_piece(self) -> bytes:
        outgoing = self._outgoing
        piece = outgoing.popleft()
        if outgoing:
            pieces = [piece]
            size = len(piece)
            while outgoing and size + len(outgoing[0]) <= AT_ONCE:
                pieces.append(outgoing.popleft())
                size += len(pieces[-1])
            piece = b"".join(pieces)
        self._waiting -= len(piece)
        return piece

    def _receive(self, data: bytes) -> None:
        assert self.protocol is not None
        try:
            self.protocol.dataReceived(data)
        except Exception:
            # As the reactor has it: a mistake costs one connection.
            log.failure("Unexpected error while handling what arrived in memory")
            if self.connected:
                self._end(Failure(), Failure(ConnectionLost()))

    def _discard(self) -> None:
        self._outgoing.clear()
        self._waiting = 0

    def _end(self, here: Failure, there: Failure) -> None:
        """
        The connection is over, for both ends.

        @param here: the reason that this end is told.
        @param there: the reason that the other one is told.
        """
        for end, reason in ((self, here), (self._other, there)):
            if end.connected:
                end._lose(reason)

    def _lose(self, reason: Failure) -> None:
        self.connected = self._reads = False
        self.disconnecting = True
        self._discard()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        producer, self.producer = self.producer, None
        assert self.protocol is not None
        try:
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(reason)
            self._when_lost()
        except Exception:
            log.failure("Unexpected error while handling the end of a connection in memory")


def connect_in_memory(clock: IReactorTime, near: IProtocol, far: IProtocol) -> tuple[InProcessTransport, InProcessTransport]:
    """
    Connect two protocols with each other.

    @param clock: the reactor, or L{twisted.internet.task.Clock}: then all
        that is said is heard as it advances.
    @param near: the protocol that connects.
    @param far: the protocol that is connected to, and hears of it first.
    @return: the transports of both.
    """
    address = InProcessAddress(next(_numbers))
    ends = InProcessTransport(clock, address), InProcessTransport(clock, address)
    for end, other, protocol in zip(ends, reversed(ends), (near, far)):
        end._other = other
        end.protocol = protocol
    try:
        far.makeConnection(ends[1])
        near.makeConnection(ends[0])
    except BaseException:
        ends[0].abortConnection()
        raise
    return ends


@implementer(IStreamClientEndpoint)
class InProcessEndpoint:
    """
    Where a job server of the same process is.  It may be connected to as often
    as there is need.
    """

    def __init__(self, service: JobServerService) -> None:
        """
        @param service: the job server.  It need not be started yet.
        """
        self._service = service

    def __repr__(self) -> str:
        return "<the job server of this process>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect to the job server, once it is ready.

        @return: fires with the protocol when it is connected, in a later turn;
            fails with L{ConnectionRefusedError
            <twisted.internet.error.ConnectionRefusedError>}, which says why,
            if the job server has stopped, or does not come to serve.  It can
            be cancelled while it waits.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> IProtocol:
        service = self._service
        if not service.ending:
            try:
                await service.when_ready()
            except CancelledError:
                raise
            except Exception as error:
                raise ConnectionRefusedError(string=f"the job server of this process does not serve: {error}") from error
            await deferLater(service.reactor, 0, lambda: None)
        if service.ending:
            raise ConnectionRefusedError(string="the job server of this process has stopped")
        factory.doStart()
        try:
            protocol: IProtocol | None = factory.buildProtocol(InProcessAddress(0))
            if protocol is None:
                raise NoProtocol()
            near, _ = connect_in_memory(service.reactor, protocol, service.factory.buildProtocol(None))
        except BaseException:
            factory.doStop()
            raise
        near._when_lost = factory.doStop
        return protocol
