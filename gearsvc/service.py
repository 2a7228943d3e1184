"""
The services that make up a running server.

L{JobServerService} is a whole job server as one Twisted service: add it to any
application, next to others, as often as you like.  What concerns a process and
not a server (signals, limits, the garbage collector) is not done here but in
L{gearsvc.process}.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Callable, Sequence
from weakref import WeakSet

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, TimeoutError, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from gearsvc.config import Settings
from gearsvc.core.jobserver import JobServer
from gearsvc.inprocess import InProcessEndpoint
from gearsvc.interfaces import IEarlyProtocol, IQueueStore, StoreError
from gearsvc.listening import ACCEPTED_AT_ONCE, open_ports, written
from gearsvc.logs import Logger
from gearsvc.options import HANDLE_PREFIX_LIMIT, port_or_endpoint
from gearsvc.plugins import find_protocol_maker, make_queue_store
from gearsvc.protocols.gearman import GearmanFactory, GearmanProtocol
from gearsvc.protocols.reading import ReadingRoom
from gearsvc.stores.batching import GroupCommit, StoreOnShutdown
from gearsvc.workerprocesses.started import StartedWorkers

if TYPE_CHECKING:
    from gearsvc.client import GearmanClient, GearmanWorker

log = Logger(__name__)

HANDLE_EPOCH = 1704067200
"""The start of 2024, from which the numbers in handles are counted."""

HANDLES_A_SECOND = 100_000
"""
How many numbers each second has: no server makes as many jobs as that for all
of its life, so one that starts later starts with a higher number than any that
an earlier one has used.
"""

RESERVED_DESCRIPTORS = 48
"""How many file descriptors connections leave to the rest of the process."""

GOODBYE = 2.0
"""Seconds that peers have to take what is waiting for them when the server stops."""

MOST_ACCEPTED_AT_ONCE = RESERVED_DESCRIPTORS - 16
"""
How many connections a port may be told to accept in one go: they have to fit
what is reserved, for a port that is accepting can't be stopped.
"""

FIRST_STORE_WAIT = 0.5
LAST_STORE_WAIT = 5.0
"""
Seconds until a store that can't be reached is tried again: twice as many each
time.
"""


class ServerStopped(Exception):
    """
    The server will not serve, for it was stopped before it did.
    """


class ReactorClock:
    """
    The reactor's time, as the core wants it.

    @ivar time: tells the time of day, in Unix seconds.
    """

    def __init__(self, reactor: Any, time: Callable[[], float] = time.time) -> None:
        self.time = time
        self._call_later = reactor.callLater

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: object) -> Any:
        """
        Call a function later.  See L{gearsvc.core.jobserver.Clock}.
        """
        return self._call_later(seconds, function, *arguments)


class JobServerService(MultiService):
    """
    A job server: its ports, its queue, its store, its further protocols.  It
    is started once: to serve again after a stop, make another one.

    Ports are opened when the service starts (before privileges are dropped,
    under C{twistd}), but nothing is read from their connections until the
    stored queue is complete.

    @ivar settings: what it was told.
    @ivar job_server: the rules, and the state that views read.
    @ivar store: where background jobs are kept, or C{None}.
    @ivar keeper: what stands between the two, or C{None}.
    @ivar ports: the open ports (L{IListeningPort<twisted.internet.interfaces.IListeningPort>}).
    @ivar factory: makes the server's end of each connection.
    @ivar started: the workers that it has started (C{--worker}).
    @ivar reactor: what it runs on.
    @ivar ending: whether it was told to stop: it serves nobody new.
    """

    def __init__(self, settings: Settings, reactor: Any = None, now: Callable[[], float] = time.time) -> None:
        """
        @param reactor: the reactor; the usual one, if not given.  A server
            without ports and with a store in memory is content with
            L{twisted.internet.task.Clock}.
        @param now: tells the time of day, in Unix seconds.
        @raise gearsvc.config.SettingsError: if the settings don't fit together.
        """
        MultiService.__init__(self)
        if reactor is None:
            from twisted.internet import reactor
        self.settings = settings
        self.ports: list[Any] = []
        self.reactor = reactor
        prefix = settings.job_handle_prefix
        if prefix is None:
            prefix = "H:" + os.uname().nodename[: HANDLE_PREFIX_LIMIT - 2]
        first = int((time.time() - HANDLE_EPOCH) * HANDLES_A_SECOND) + 1
        self.job_server = JobServer(settings, ReactorClock(reactor, now), prefix.encode("utf-8", "surrogateescape"), first)
        self.store: IQueueStore | None = make_queue_store(settings)
        self.keeper: GroupCommit | StoreOnShutdown | None = None
        if self.store is not None:
            make: Any = StoreOnShutdown if settings.plugin_options.get("store-queue-on-shutdown") else GroupCommit
            self.keeper = make(self.store, self.job_server.stored, reactor)
            self.job_server.store = self.keeper
        self._protocols = [find_protocol_maker(name).make(self, settings) for name in settings.protocol]
        self.factory = GearmanFactory(self.job_server, settings, reactor, self._accept_while_possible)
        self.factory.hold()
        self.started = StartedWorkers(self, settings.worker)
        self.ending = False
        self._listens = False
        # How many connections those ports accept in one go for which somebody has said it.
        self._patience: dict[Any, int] = {}
        self._impatient: IDelayedCall | None = None
        # The clients and workers in this process, which end with the server.
        self._companions: WeakSet[Any] = WeakSet()
        # How many connections there are descriptors for, if they have run out.
        self._most: int | None = None
        self._drains: list[Deferred[None]] = []
        # What becomes of the start: None while it is under way.
        self._outcome: Failure | bool | None = None
        self._waiting_for_ready: list[Deferred[None]] = []
        self._store_is_open = False
        # Runs until the store is tried again.
        self._pause: Deferred[None] | None = None

    # Starting

    def privilegedStartService(self) -> None:
        """
        Open the ports.

        @raise CannotListenError: if one can't be opened, for it is taken or
            not allowed.
        """
        MultiService.privilegedStartService(self)
        self._listen()

    def startService(self) -> None:
        """
        Open the ports, unless L{privilegedStartService} did, then the store;
        when the queue that it holds is complete, begin to serve.
        """
        self._listen()
        MultiService.startService(self)
        Deferred.fromCoroutine(self._start()).addBoth(self._started)

    async def _start(self) -> None:
        early: list[Any] = [protocol for protocol in self._protocols if IEarlyProtocol.providedBy(protocol)]
        for protocol in early:
            protocol.setServiceParent(self)
        if self.store is not None:
            began = self.reactor.seconds()
            await self._open_store(self.store)
            self._store_is_open = True
            count = await self.store.replay(self.job_server.replay)
            self.job_server.flush()
            log.notice(
                "{count} stored jobs are queued, after {seconds:.1f} s; {store}",
                count=count,
                seconds=self.reactor.seconds() - began,
                store=self.store.description,
            )
            if isinstance(self.keeper, StoreOnShutdown):
                log.notice("what is submitted from now on is stored when the server ends as it should: a crash loses it")

        if self.running:
            for protocol in self._protocols:
                if protocol not in early:
                    protocol.setServiceParent(self)
            for protocol in early:
                protocol.serve()
            self.factory.release()
            self.started.start()

    async def _open_store(self, store: IQueueStore) -> None:
        """
        Open the store; while it can't be reached, try again.
        """
        deadline = self.reactor.seconds() + self.settings.store_wait
        delay = FIRST_STORE_WAIT
        while True:
            try:
                return await store.open()
            except StoreError as error:
                left = deadline - self.reactor.seconds()
                if not error.unreachable or left <= 0 or not self.running:
                    raise
                log.announce("{why} Trying again for {left:.0f} s.", why=error, left=left)
            self._pause = Deferred()
            self._pause.addTimeout(min(delay, left), self.reactor, onTimeoutCancel=lambda result, seconds: None)
            await self._pause
            delay = min(2 * delay, LAST_STORE_WAIT)

    def _started(self, outcome: Failure | None) -> None:
        waiting, self._waiting_for_ready = self._waiting_for_ready, []
        if not isinstance(outcome, Failure):
            self._outcome = True
            for each in waiting:
                each.callback(None)
            return
        self._outcome = outcome
        for each in waiting:
            each.errback(outcome)
        if not waiting:
            # Nobody has asked yet, and perhaps nobody ever will.
            log.critical("the server does not serve: {reason}", reason=outcome.getErrorMessage())
        # No answer is better than one that never comes.
        Deferred.fromCoroutine(self._close_ports()).addCallback(lambda _: self.factory.end(0))

    def _listen(self) -> None:
        if not self._listens:
            self._open(self.settings.port)
            self._listens = True

    def _open(self, ports: Sequence[str], addresses: tuple[str, ...] | None = None) -> list[Any]:
        opened = open_ports(self.reactor, ports, self.factory, self.settings, addresses)
        self.ports = [*self.ports, *opened]
        for port in opened:
            log.notice("listening on {address}", address=written(port.getHost()))
        if opened and self.factory.room is None and hasattr(select, "epoll"):
            batches = self.keeper if isinstance(self.keeper, GroupCommit) else None
            self.factory.room = ReadingRoom(self.reactor, self.job_server.flush, batches)
        return opened

    def listen(
        self, port: int | str, *, addresses: Sequence[str] | None = None, accept_per_loop: int | None = None
    ) -> list[Any]:
        """
        Open one more port, also while the server runs.

        @param port: a number, or Twisted's description of an endpoint, as
            C{--port} has it.
        @param addresses: names or addresses at which the number is opened;
            those of C{--listen}, if not given.
        @param accept_per_loop: how many connections it accepts in one go
            (from 1 to L{MOST_ACCEPTED_AT_ONCE}); if not given, as many as
            others.
        @return: what listens (L{IListeningPort
            <twisted.internet.interfaces.IListeningPort>}), one for each
            address.  They are in L{ports}, and closed when the server stops;
            to close one earlier, call its C{stopListening}.
        @raise ValueError: if one of these can't be.
        @raise CannotListenError: if it can't be opened, for it is taken or not
            allowed, or because the server has stopped.
        """
        if accept_per_loop is not None and not 1 <= accept_per_loop <= MOST_ACCEPTED_AT_ONCE:
            raise ValueError(f"accept_per_loop must be from 1 to {MOST_ACCEPTED_AT_ONCE}, not {accept_per_loop}")
        try:
            description = port_or_endpoint(str(port))
        except ValueError as error:
            raise ValueError(f"the port {error}") from None
        if self.ending:
            raise CannotListenError(None, port, "the server has stopped")
        opened = self._open([description], None if addresses is None else tuple(addresses))
        if accept_per_loop is not None:
            for each in opened:
                self._patience[each] = each.numberAccepts = accept_per_loop
        return opened

    def adopt(self, connection: socket.socket) -> GearmanProtocol:
        """
        Serve a peer on a socket that is connected to it already: TCP's, or one
        end of L{socket.socketpair}.

        @param connection: the socket.  The server has a duplicate of it: close
            this one, if the end of the connection is to be seen by the peer.
        @return: the server's end.
        @raise ConnectionDone: if the server has stopped.
        """
        if self.ending:
            raise ConnectionDone("the server has stopped")
        transport = self.reactor.adoptStreamConnection(connection.fileno(), connection.family, self.factory)
        protocol: GearmanProtocol = transport.protocol
        return protocol

    # Peers in this process

    def client(self, **options: Any) -> GearmanClient:
        """
        A client in this process, which needs no port; see
        L{gearsvc.inprocess}.  It may be used before the server is ready, and
        is heard then.  It is closed when the server stops, if not before.

        @param options: see L{GearmanClient<gearsvc.client.client.GearmanClient>}.
        """
        from gearsvc.client import GearmanClient

        client: GearmanClient = self._accompany(GearmanClient, options)
        return client

    def worker(self, **options: Any) -> GearmanWorker:
        """
        A worker in this process: L{client} says how.

        @param options: see L{GearmanWorker<gearsvc.client.worker.GearmanWorker>}.
        """
        from gearsvc.client import GearmanWorker

        worker: GearmanWorker = self._accompany(GearmanWorker, options)
        return worker

    def _accompany(self, make: Any, options: dict[str, Any]) -> Any:
        companion = make([InProcessEndpoint(self)], reactor=self.reactor, **options)
        self._companions.add(companion)
        return companion

    # Workers in processes of their own

    def start_worker(self, workers: str) -> str:
        """
        Start workers, and keep them running until the server stops.

        @param workers: what C{--worker} takes, as in C{"2 upper -- tr a-z A-Z"}.
        @return: their name, for L{set_count}: their functions, with commas between.
        @raise gearsvc.config.SettingsError: if it can't be done.
        """
        return self.started.start_worker(workers)

    def set_count(self, name: str, count: int) -> Deferred[None]:
        """
        Have more or fewer of the workers that the server has started; see
        L{StartedWorkers.set_count<gearsvc.workerprocesses.started.StartedWorkers.set_count>}.
        """
        return self.started.set_count(name, count)

    # Ready, or not

    @property
    def ready(self) -> bool:
        """
        Whether the queue is complete and peers are served.
        """
        return self._outcome is True

    @property
    def failed(self) -> str | None:
        """
        Why it will never serve peers; C{None} as long as it may.
        """
        return self._outcome.getErrorMessage() if isinstance(self._outcome, Failure) else None

    def when_ready(self) -> Deferred[None]:
        """
        @return: fires once the queue is complete and peers are served; fails
            with L{StoreError <gearsvc.interfaces.StoreError>} if the store
            can't be used, and with L{ServerStopped} if the server was stopped
            before it was started.
        """
        if self._outcome is None:
            ready: Deferred[None] = Deferred()
            self._waiting_for_ready.append(ready)
            return ready
        return fail(self._outcome) if isinstance(self._outcome, Failure) else succeed(None)

    # Serving

    def _accept_while_possible(self, joined: GearmanProtocol | None) -> None:
        """
        Accept no more connections while descriptors are about to run out: the
        lowest free one is always taken, so a high one says that they are.  The
        log hears of it once, until a tenth of the connections has gone.

        @param joined: a new connection, or C{None} when one has gone.
        """
        count = len(self.factory.connections)
        if self._patience and self._impatient is None and joined is not None:
            self._impatient = self.reactor.callLater(0, self._calm_down)
        if joined is None:
            if self._most is not None and count < self._most:
                for port in self.ports:
                    port.numberAccepts = min(self._most - count, self._patience.get(port, self._most))
                    port.resumeProducing()
                if count < self._most * 0.9:
                    self._most = None
            return
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if joined.descriptor >= max(limit - RESERVED_DESCRIPTORS, limit // 2):
            if self._most is None:
                log.error(
                    "no file descriptors are left for more connections than {count}: new ones wait until others end "
                    "(the limit is {limit}: raise it with --file-descriptors, or the system's own limit)",
                    count=count,
                    limit=limit,
                )
            self._most = min(count, self._most or count)
        for port in self.ports:
            # Twisted raises it by 20 in a burst, and what a port accepts in one
            # go can't be stopped: it has to fit what is reserved.
            port.numberAccepts = min(port.numberAccepts, self._patience.get(port, ACCEPTED_AT_ONCE))
            if self._most is not None and count >= self._most:
                port.pauseProducing()

    def _calm_down(self) -> None:
        """
        Twisted has raised the number of connections that a port accepts in one
        go, as it does in a burst, after we last heard of one.
        """
        self._impatient = None
        for port, number in self._patience.items():
            port.numberAccepts = min(port.numberAccepts, number)

    async def _close_ports(self) -> None:
        ports, self.ports = self.ports, []
        self._patience.clear()
        for port in ports:
            await maybeDeferred(port.stopListening)

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Close the ports, hand out no more jobs, and let those that run finish.

        @return: fires when none runs any more, or after so many seconds.
        """
        return Deferred.fromCoroutine(self._drain(seconds))

    async def _drain(self, seconds: float) -> None:
        await self._close_ports()
        idle: Deferred[None] = Deferred()
        self._drains.append(idle)
        self.job_server.drain(lambda: None if idle.called else idle.callback(None))
        try:
            await idle.addTimeout(seconds, self.reactor)
        except TimeoutError:
            log.warn(
                "{count} jobs still run after {seconds:g} s: not waiting for them", count=self.job_server.running, seconds=seconds
            )
            self.started.patience = 0.0

    # Stopping

    def stopService(self) -> Deferred[None]:
        """
        Close the ports, read nothing more, store and acknowledge what came
        in, then end the connections and close the store.

        @return: fires when all of that is done.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        starting = self.running and self._outcome is None
        if self.ready:
            await self._close_ports()
            await self.started.stop()
        self.ending = True
        self.factory.hold()
        await self._close_ports()
        await maybeDeferred(MultiService.stopService, self)
        if starting:
            # In the midst of the replay, or before it.
            if self._pause is not None and not self._pause.called:
                self._pause.callback(None)
            await self.when_ready().addErrback(lambda _: None)
        elif self._outcome is None:
            self._outcome = Failure(ServerStopped("it was stopped before it was started"))
            for each in self._waiting_for_ready:
                each.errback(self._outcome)
            self._waiting_for_ready.clear()
        self.job_server.stop_timers()
        for drain in self._drains:
            if not drain.called:
                drain.callback(None)
        if self.keeper is not None and self._outcome is True:
            await self.keeper.flush()
        # The jobs that workers have stay in the store: that they lose us is
        # not that we have lost them.
        self.job_server.sessions.clear()
        await self.factory.end(GOODBYE)
        for companion in list(self._companions):
            try:
                await maybeDeferred(companion.close)
            except Exception:
                log.failure("Unexpected error while closing what runs in the server's process")
        if self.factory.room is not None:
            self.factory.room.close()
        if self._impatient is not None:
            self._impatient.cancel()
            self._impatient = None
        if self.store is not None and self._store_is_open:
            await self.store.close()
