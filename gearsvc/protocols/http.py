"""
gearmand's HTTP protocol.  A request is a job, and its answer the result::

    POST /reverse HTTP/1.1              HTTP/1.1 200 OK
    Content-Length: 12                  X-Gearman-Job-Handle: H:lap:1
                                        Content-Length: 12
    Hello World!
                                        !dlroW olleH

L{HTTPService} listens, L{gearsvc.protocols.httpconnection} is one connection
and L{gearsvc.protocols.httprequest} one request.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.web.http import datetimeToString

from gearsvc.listening import open_ports, written
from gearsvc.logs import DEBUG, Logger, is_logged
from gearsvc.protocols.httpconnection import STALLED_SECONDS, HTTPConnection
from gearsvc.protocols.httprequest import JobRequest, later

if TYPE_CHECKING:
    from gearsvc.config import Settings
    from gearsvc.core.jobserver import JobServer
    from gearsvc.service import JobServerService

log = Logger(__name__)

TICK = 0.25
"""Seconds between two looks at the clock, for all connections."""

GOODBYE = 2.0
"""Seconds that clients have to take what is waiting for them when the server stops."""


class HTTPFactory(ServerFactory):
    """
    Makes an L{HTTPConnection} for each connection.

    @ivar server: the job server.
    @ivar job_seconds: how long a request waits for its job; 0 is for ever.
    @ivar connections: the open ones.
    @ivar is_ending: whether the server stops.
    """

    noisy = False

    def __init__(self, server: JobServer, settings: Settings, clock: Any, job_seconds: float = 0.0) -> None:
        """
        @param clock: the reactor, as far as it tells the time.
        """
        self.server = server
        self.settings = settings
        self.clock = clock
        self.job_seconds = job_seconds
        self.connections: set[HTTPConnection] = set()
        self.is_ending = False
        self._ended: Deferred[None] | None = None
        self._tick: IDelayedCall | None = None
        self._date = (0, b"")
        self._is_crowded = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        Make the protocol of a new connection.
        """
        return HTTPConnection(self)

    def joined(self, connection: HTTPConnection) -> None:
        """
        A connection was made.  Those of HTTP leave a quarter of all file
        descriptors to workers and to clients that speak Gearman's own
        protocol.
        """
        self.connections.add(connection)
        if self._tick is None:
            self._tick = self.clock.callLater(TICK, self._look_at_clock)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if connection.descriptor < limit - limit // 4:
            self._is_crowded = False
            return
        if not self._is_crowded:
            self._is_crowded = True
            log.error(
                "no file descriptors are left for more HTTP connections than {count}: new ones get a 503 "
                "(the limit is {limit}: raise it with --file-descriptors, or the system's own limit)",
                count=len(self.connections) - 1,
                limit=limit,
            )
        connection.refuse(later("the server has too many connections"))

    def left(self, connection: HTTPConnection) -> None:
        """
        A connection is gone.
        """
        self.connections.discard(connection)
        if self.connections:
            return
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)

    def _look_at_clock(self) -> None:
        self._tick = None
        now = self.clock.seconds()
        for connection in list(self.connections):
            connection.look_at_clock(now)
        if self.connections:
            self._tick = self.clock.callLater(TICK, self._look_at_clock)

    def date(self) -> bytes:
        """
        What the header C{Date} says.
        """
        now = int(self.server.clock.time())
        if now != self._date[0]:
            self._date = (now, datetimeToString(now))
        return self._date[1]

    def log(self, request: JobRequest) -> None:
        """
        A request has been answered.  What the log has of it is no more than
        the beginning of the function's name.
        """
        if is_logged(DEBUG):
            log.debug(
                "{host} [{descriptor}]: {method} {path} is answered with {code}",
                host=request.channel.host,
                descriptor=request.channel.descriptor,
                method=request.method.decode(),
                path=repr(request.uri.split(b"?")[0][:100])[1:],
                code=request.code,
            )

    def overflowed(self, connection: HTTPConnection, waiting: int) -> None:
        """
        A client has lost its connection because too much waits for it.
        """
        log.error(
            "closed the HTTP connection of {host}: it does not read, and {waiting} bytes are waiting for it "
            "(--max-output is {limit})",
            host=connection.host,
            waiting=waiting,
            limit=self.settings.max_output,
        )

    def stalled(self, connection: HTTPConnection) -> None:
        """
        A client has lost its connection because it does not read.
        """
        log.warn(
            "closed the HTTP connection of {host}: it has read nothing for {seconds:g} s of what is waiting for it",
            host=connection.host,
            seconds=STALLED_SECONDS,
        )

    def end(self, seconds: float) -> Deferred[None]:
        """
        End all connections: a request that waits for its job gets a 503, one
        whose answer is on its way, or whose job is being stored, gets it.

        @param seconds: how long that may take.
        @return: fires when the last one has gone.
        """
        self.is_ending = True
        if not self.connections:
            return succeed(None)
        ended = self._ended = Deferred()
        for connection in list(self.connections):
            connection.end()
        impatience = self.clock.callLater(seconds, self._abort)

        def all_gone(_: None) -> None:
            if impatience.active():
                impatience.cancel()

        return ended.addCallback(all_gone)

    def _abort(self) -> None:
        for connection in list(self.connections):
            connection.abort()


class HTTPService(Service):
    """
    Listens for HTTP.

    @ivar ports: the open ports (L{IListeningPort<twisted.internet.interfaces.IListeningPort>}).
    """

    def __init__(self, server: JobServerService, ports: tuple[str, ...], job_seconds: float) -> None:
        """
        @param ports: numbers and endpoints.
        @param job_seconds: how long a request waits for its job; 0 is for
            ever.
        """
        self._reactor = server.reactor
        self._server = server.job_server
        self._settings = server.settings
        self._numbers = ports
        self._job_seconds = job_seconds
        self.ports: list[Any] = []

    def startService(self) -> None:
        """
        Open the ports.

        @raise CannotListenError: if one can't be opened.
        """
        Service.startService(self)
        self.factory = HTTPFactory(self._server, self._settings, self._reactor, self._job_seconds)
        self.ports = open_ports(self._reactor, self._numbers, self.factory, self._settings)
        for port in self.ports:
            log.notice("listening on {address}, for HTTP", address=written(port.getHost()))

    def stopService(self) -> Deferred[None]:
        """
        Close the ports, then the connections.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        await self.factory.end(GOODBYE)
