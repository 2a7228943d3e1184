"""
A connection that comes and goes, on a fake clock.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gearsvc.client.connection import FIRST_PAUSE, LAST_PAUSE, Connection, Peer
from gearsvc.client.servers import Server


@implementer(IStreamClientEndpoint)
class EndpointByHand:
    """
    An endpoint that connects when the test says so, or never.

    @ivar refuses: whether nothing listens there.
    """

    def __init__(self) -> None:
        self.refuses = False
        self.tries = 0
        self.cancelled = 0
        self._factory: Any = None
        self._waiting: Deferred[Any] | None = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """
        Begin.
        """
        self.tries += 1
        if self.refuses:
            return fail(ConnectionRefusedError())
        self._factory = factory
        self._waiting = Deferred(self._cancel)
        return self._waiting

    def _cancel(self, _: Deferred[Any]) -> None:
        self.cancelled += 1

    def accept(self) -> tuple[Any, StringTransport]:
        """
        Connect.
        """
        protocol = self._factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        assert self._waiting is not None
        self._waiting.callback(protocol)
        return protocol, transport


class Remembers(Peer):
    """
    Remembers what it hears.
    """

    def __init__(self) -> None:
        self.heard: list[object] = []

    def connected(self, connection: Connection) -> None:
        """
        Remember it.
        """
        self.heard.append("connected")

    def received(self, connection: Connection, data: bytes) -> None:
        """
        Remember it.
        """
        self.heard.append(data)

    def lost(self, connection: Connection, why: str) -> None:
        """
        Remember it.
        """
        self.heard.append(f"lost: {why}")


class ConnectionTests(SynchronousTestCase):
    """
    L{Connection}.
    """

    def setUp(self) -> None:
        """
        Have one, which is not connected.
        """
        self.clock = Clock()
        self.endpoint = EndpointByHand()
        self.peer = Remembers()
        self.connection = self.make()

    def make(self, stays: bool = False) -> Connection:
        """
        @return: a connection.
        """
        return Connection(Server("one", self.endpoint), self.clock, self.peer, stays)

    def connect(self) -> tuple[Any, StringTransport]:
        """
        Connect it.
        """
        self.connection.connect()
        self.clock.advance(0)
        return self.endpoint.accept()

    def test_lazy(self) -> None:
        """
        It connects when it is told to, once, and not before the caller has gone on.
        """
        self.assertEqual(self.endpoint.tries, 0)
        self.connection.connect()
        self.connection.connect()
        self.assertEqual((self.endpoint.tries, self.connection.up), (0, False))
        self.clock.advance(0)
        self.connection.connect()
        self.assertEqual((self.endpoint.tries, self.peer.heard), (1, []))
        self.endpoint.accept()
        self.assertEqual((self.connection.up, self.peer.heard), (True, ["connected"]))

    def test_one_write(self) -> None:
        """
        What is written in one turn leaves together.
        """
        _, transport = self.connect()
        self.connection.write(b"one")
        self.connection.write(b"two")
        self.assertEqual(transport.value(), b"")
        self.clock.advance(0)
        self.assertEqual(transport.value(), b"onetwo")

    def test_pauses(self) -> None:
        """
        A server that is away is left alone for a while, longer each time, until it has said something.
        """
        self.endpoint.refuses = True
        pauses = []
        for _ in range(12):
            self.connection.connect()
            self.clock.advance(0)
            self.assertTrue(self.connection.resting)
            pauses.append(round(self.connection.rest, 6))
            self.clock.advance(self.connection.rest)
            self.assertFalse(self.connection.resting)
        self.assertEqual((pauses[0], pauses[1], pauses[-1]), (FIRST_PAUSE, 2 * FIRST_PAUSE, LAST_PAUSE))
        self.assertEqual(self.connection.failures, 12)
        self.endpoint.refuses = False
        protocol, _ = self.connect()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertAlmostEqual(self.connection.rest, LAST_PAUSE)
        self.clock.advance(LAST_PAUSE)
        protocol, _ = self.connect()
        protocol.dataReceived(b"hello")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertAlmostEqual(self.connection.rest, FIRST_PAUSE)
        self.assertEqual(self.peer.heard[-3:], ["connected", b"hello", "lost: it closed the connection"])

    def test_stays(self) -> None:
        """
        One that stays is made again by itself.
        """
        self.connection = self.make(stays=True)
        protocol, _ = self.connect()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.endpoint.tries, 1)
        self.clock.pump([FIRST_PAUSE, 0])
        self.assertEqual(self.endpoint.tries, 2)

    def test_close(self) -> None:
        """
        What was written before the end is sent; then nothing is tried any more.
        """
        self.connection = self.make(stays=True)
        protocol, transport = self.connect()
        self.connection.write(b"bye")
        closed = self.connection.close()
        self.assertEqual((transport.value(), transport.disconnecting), (b"bye", True))
        self.assertNoResult(closed)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(closed)
        self.connection.connect()
        self.assertEqual((self.clock.getDelayedCalls(), self.endpoint.tries), ([], 1))

    def test_close_early(self) -> None:
        """
        It can be closed before it is connected, at any point, and leaves nothing behind.
        """
        self.successResultOf(self.make().close())
        self.connection.connect()
        self.successResultOf(self.connection.close())
        self.assertEqual((self.clock.getDelayedCalls(), self.endpoint.tries), ([], 0))
        self.connection = self.make(stays=True)
        self.connection.connect()
        self.clock.advance(0)
        self.successResultOf(self.connection.close())
        self.assertEqual((self.endpoint.cancelled, self.clock.getDelayedCalls()), (1, []))
        self.endpoint.refuses = True
        self.connection = self.make(stays=True)
        self.connection.connect()
        self.clock.advance(0)
        self.successResultOf(self.connection.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_broken(self) -> None:
        """
        A connection that is broken off is lost for the reason that was given.
        """
        protocol, transport = self.connect()
        self.connection.abort("it makes no sense")
        self.assertTrue(transport.disconnected or transport.aborting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.peer.heard[-1], "lost: it makes no sense")
