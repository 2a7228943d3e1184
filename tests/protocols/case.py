"""
A job server on the reactor, and peers that talk to it over real sockets.

Messages are written as in L{tests.core.case}: C{"SUBMIT_JOB reverse|u1|hello"},
or a line of text with its line end::

    client, worker = await self.connect(), await self.worker("reverse")
    client.says("SUBMIT_JOB reverse|u1|hello")
    await client.hears()                            # "JOB_CREATED H:1"
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from gearsvc import logs
from gearsvc.config import Settings
from gearsvc.core.packets import RESPONSE
from gearsvc.core.wire import PacketDecoder
from gearsvc.interfaces import IQueueStore
from gearsvc.protocols.gearman import GearmanProtocol
from gearsvc.service import JobServerService
from gearsvc.stores.batching import GroupCommit
from tests.core.case import readable, wire_form

LOOPBACK = "tcp:0:interface=127.0.0.1"
"""A port that is free, for peers on this machine alone."""

PATIENCE = 30.0
"""How many seconds anything may take before it counts as hung."""

SMALL_BUFFER = 128 * 1024
"""
What is asked of the kernel where a test has to fill a socket.  (With less than
what fits a packet of the loopback interface it would wait for timers.)
"""


class HungUp(Exception):
    """
    The server has closed the connection, or the connection broke; what had
    been heard and not been asked for is the exception's argument.
    """


class Peer(Protocol):
    """
    The other end of a connection to the server.

    @ivar transport: the connection; C{pauseProducing} makes a peer of it that
        does not read.
    @ivar received: how many bytes have come.
    @ivar pieces: in how many reads.
    @ivar lost: why the connection ended, or C{None}.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = 0
        self.pieces = 0
        self.lost: Failure | None = None
        self._decoder = PacketDecoder(magic=RESPONSE)
        self._heard: deque[str] = deque()
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Hear something.
        """
        self.received += len(data)
        self.pieces += 1
        self._heard.extend(map(readable, self._decoder.feed(data)))
        assert self._decoder.failure is None, self._decoder.failure
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The end.
        """
        self.lost = reason
        self._go_on()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def says(self, *messages: str) -> None:
        """
        Send messages in one write.
        """
        self.transport.write(b"".join(map(wire_form, messages)))

    async def hears(self) -> str:
        """
        The next message.

        @raise HungUp: if the connection ends before one comes.
        """
        while not self._heard:
            await self._more()
        return self._heard.popleft()

    async def hears_all(self, number: int) -> list[str]:
        """
        The next so many messages.
        """
        while len(self._heard) < number:
            await self._more()
        return [self._heard.popleft() for _ in range(number)]

    async def hears_list(self) -> list[str]:
        """
        The lines of an answer that ends with a full stop, without it.
        """
        lines = []
        while (line := await self.hears()) != ".\n":
            lines.append(line)
        return lines

    async def echoes(self) -> None:
        """
        Return once the server has handled all that was said; nothing may be
        heard before.
        """
        self.says("ECHO_REQ are you there?")
        heard = await self.hears()
        assert heard == "ECHO_RES are you there?", heard

    async def ends(self) -> list[str]:
        """
        Wait until the server has closed the connection.

        @return: what was heard before.
        """
        while self.lost is None:
            await self._wait()
        heard, self._heard = list(self._heard), deque()
        return heard

    async def _more(self) -> None:
        if self.lost is not None:
            raise HungUp(list(self._heard))
        await self._wait()

    async def _wait(self) -> None:
        assert self._waiting is None, "one at a time"
        self._waiting = Deferred()
        await self._waiting.addTimeout(PATIENCE, _reactor())

    def hangs_up(self) -> None:
        """
        Break the connection off: the server sees a reset.
        """
        self.transport.abortConnection()


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class ServiceCase(TestCase):
    """
    A test of a job server that runs in this process.

    @ivar service: the server, once L{serve} was called.
    @ivar events: what gearsvc has logged, at the default level unless told
        otherwise.
    """

    timeout = 100

    def setUp(self) -> None:
        """
        Watch the log.
        """
        self.patch(logs, "_verbosity", logs.ERROR)
        self.events: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            if "gearman_level" in event:
                self.events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.reactor = _reactor()
        self._peers: list[Peer] = []

    def logged(self) -> list[str]:
        """
        What gearsvc has logged, as text.
        """
        return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in self.events]

    def directory(self) -> Path:
        """
        A new directory.
        """
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        return path

    def socket_path(self) -> Path:
        """
        Where a Unix socket can be made.  Its name may not be long, as those of trial's directories are.
        """
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        return Path(directory) / "socket"

    def make(self, store: IQueueStore | None = None, **settings: Any) -> JobServerService:
        """
        Make a service, listening on loopback unless told otherwise.  It is
        stopped when the test is over.
        """
        settings.setdefault("port", (LOOPBACK,))
        settings.setdefault("job_handle_prefix", "H")
        service = JobServerService(Settings(**settings))
        if store is not None:
            service.store = store
            service.job_server.store = service.keeper = GroupCommit(store, service.job_server.stored, self.reactor)
        self.addCleanup(self._stop, service)
        return service

    def durable(self, **settings: Any) -> JobServerService:
        """
        Make a service that keeps its jobs in SQLite, in L{database}.
        """
        if not hasattr(self, "database"):
            self.database = self.directory() / "queue.db"
        plugin_options = {"libsqlite3-db": str(self.database), **settings.pop("plugin_options", {})}
        return self.make(queue_type="libsqlite3", plugin_options=plugin_options, **settings)

    async def _stop(self, service: JobServerService) -> None:
        for peer in self._peers:
            if peer.lost is None:
                peer.hangs_up()
        if service.running or service.ports:
            await service.stopService()

    async def serve(self, store: IQueueStore | None = None, **settings: Any) -> JobServerService:
        """
        Start a service, as L{service}, and wait until it is ready.
        """
        return await self.start(self.make(store, **settings))

    async def start(self, service: JobServerService) -> JobServerService:
        """
        Start a service that was made, as L{service}, and wait until it is
        ready.
        """
        self.service = service
        service.startService()
        await service.when_ready()
        return service

    async def connect(self, port: int = 0, description: str = "") -> Peer:
        """
        A new connection.

        @param port: which of the server's ports.
        @param description: the endpoint, where it is not a loopback port.
        """
        if not description:
            description = f"tcp:127.0.0.1:{self.service.ports[port].getHost().port}"
        peer: Peer = await connectProtocol(clientFromString(self.reactor, description), Peer())
        self._peers.append(peer)
        return peer

    @property
    def connections(self) -> set[GearmanProtocol]:
        """
        The server's ends of all connections.
        """
        return self.service.factory.connections

    async def worker(self, *functions: str) -> Peer:
        """
        A new connection that can do these functions.
        """
        peer = await self.connect()
        peer.says(*(f"CAN_DO {function}" for function in functions))
        await peer.echoes()
        return peer

    async def server_end(self, peer: Peer) -> GearmanProtocol:
        """
        The server's end of a connection.
        """
        await peer.echoes()
        address = peer.transport.getHost()
        (ours,) = [ours for ours in self.connections if ours.transport.getPeer() == address]
        return ours

    async def connect_tight(self) -> tuple[Peer, GearmanProtocol]:
        """
        A new connection between whose ends little fits.

        @return: both ends.
        """
        peer = await self.connect()
        ours = await self.server_end(peer)
        ours.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        peer.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        return peer, ours

    async def turns(self, number: int = 5) -> None:
        """
        Let the reactor go around some times.
        """
        for _ in range(number):
            await deferLater(self.reactor, 0, lambda: None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """
        Let the reactor go around until something is so.
        """
        deadline = self.reactor.seconds() + PATIENCE
        while not condition():
            self.assertLess(self.reactor.seconds(), deadline, "it did not come to pass")
            await deferLater(self.reactor, 0.002, lambda: None)

    def assert_nothing_left(self) -> None:
        """
        No connection and no job is in any table of the server.
        """
        server = self.service.job_server
        self.assertEqual((server.sessions, server.jobs, server.running), ({}, {}, 0))
        for queue in server.functions.values():
            self.assertEqual((queue.total, queue.running, queue.workers), (0, 0, {}))
