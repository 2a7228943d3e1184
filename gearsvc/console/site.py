"""
The console as a whole: its resources, and the ports at which they are.

Every request goes through L{ConsoleSite.getResourceFor}, and so by the
L{Guard}: no resource need think of who asks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import SEE_OTHER, HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from gearsvc.console.actions import Actions
from gearsvc.console.api import ApiResource
from gearsvc.console.events import EventsResource
from gearsvc.console.health import HealthResource, ReadyResource, not_ready
from gearsvc.console.files import StaticFiles
from gearsvc.console.login import LoginResource, LogoutResource, local_path
from gearsvc.console.metrics import MetricsResource, ReactorLag
from gearsvc.console.pages.tree import Pages
from gearsvc.console.problems import Problem, ProblemResource, write_problem
from gearsvc.console.safety import Guard, Refusal, Role, is_loopback, read_tokens, set_headers
from gearsvc.console.views import HISTORY, PAYLOAD_BYTES, Views
from gearsvc.interfaces import IEarlyProtocol
from gearsvc.listening import open_ports, written
from gearsvc.logs import Logger
from gearsvc.options import SettingsError

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

log = Logger(__name__)

MAX_CONNECTIONS = 250
"""
How many connections the console has at most: it must not take those of the job
server's peers.
"""

MAX_BODY = 16 * 1024 * 1024
MAX_FORM = 64 * 1024
"""
How many bytes the body of a request may have, and that of a form, or of
somebody who may change nothing.
"""

NOTHING = Problem(404, "There is nothing at this path.")

_ALWAYS = (b"/healthz", b"/readyz", b"/metrics")
"""
What is answered also before the stored queue is complete.
"""

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

IDLE = 60
"""
Seconds after which a connection is closed on which no request is made.
"""


@dataclass(frozen=True)
class ConsoleSettings:
    """
    What the console was told.

    @ivar ports: numbers, or Twisted endpoints.
    @ivar listen: at which addresses numbers are opened.
    @ivar hosts: names under which it can be reached, besides this machine's.
    @ivar token_file: who may do what; C{None} if everybody may do everything.
    @ivar history: how many jobs that are over are remembered.
    @ivar payload_bytes: how much of a workload or a result is shown.
    @ivar mask_payloads: whether none is.
    """

    ports: tuple[str, ...] = ("4780",)
    listen: tuple[str, ...] = ("127.0.0.1",)
    hosts: tuple[str, ...] = ()
    token_file: str | None = None
    history: int = HISTORY
    payload_bytes: int = PAYLOAD_BYTES
    mask_payloads: bool = False


class Branch(Resource):
    """
    A path below which there are others, and nothing else.
    """

    def render(self, request: Request) -> bytes:
        """
        There is nothing at the path itself.
        """
        return write_problem(request, NOTHING)

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Nor is there anything else below it.
        """
        return ProblemResource(NOTHING)


class Root(Resource):
    """
    The resources of the console: the pages, and what is no page.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        service = console.service
        files = StaticFiles()
        self._pages = Pages(console, files)
        for path, resource in {
            b"events": EventsResource(service.job_server, service.reactor, console.views.series),
            b"metrics": console.metrics,
            b"healthz": HealthResource(),
            b"readyz": ReadyResource(service),
            b"static": files,
            b"login": LoginResource(console.guard, files),
            b"logout": LogoutResource(console.guard),
        }.items():
            self.putChild(path, resource)
        api = Branch()
        api.putChild(b"v1", ApiResource(console))
        self.putChild(b"api", api)

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Everything else is a page.
        """
        return self._pages.find([path, *(request.postpath or [])], request)


class ConsoleRequest(Request):
    """
    A request whose body has a limit: what is beyond it is not kept, and the
    answer is 413.

    @ivar too_large: the limit, once the body was larger.
    """

    too_large = 0

    def gotLength(self, length: int | None) -> None:
        """
        The headers are there.
        """
        channel: Any = self.channel
        site: ConsoleSite = channel.site
        form = (self.getHeader("content-type") or "").lower().startswith(_FORMS)
        self._limit = MAX_BODY if not form and site.guard.role(self) is Role.OPERATOR else MAX_FORM
        self._received = 0
        if length is not None and length > self._limit:
            self.too_large = self._limit
        super().gotLength(0 if self.too_large else length)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        All of it is there.
        """
        # The API takes no forms, and says so itself.
        self._parsePOSTFormSubmission = not path.startswith(b"/api/")
        super().requestReceived(command, path, version)

    def handleContentChunk(self, data: bytes) -> None:
        """
        A piece of the body is there.
        """
        self._received += len(data)
        if self._received <= self._limit and not self.too_large:
            super().handleContentChunk(data)
            return
        self.too_large = self._limit
        if self._received > 4 * MAX_BODY:
            channel: Any = self.channel
            channel.transport.abortConnection()


class ConsoleChannel(HTTPChannel):
    """
    A connection, which says what is wrong with a line that is too long.
    """

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Say it.
        """
        sentence = b"The path, or a header, is too long: a line may have %d bytes.\n" % self.MAX_LENGTH
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(sentence), sentence)
        )
        self.loseConnection()


class ConsoleSite(Site):
    """
    Sees to it that every request is let in, or refused.

    @ivar guard: who decides.
    """

    displayTracebacks = False
    noisy = False
    protocol: Any = ConsoleChannel

    def __init__(self, root: Resource, guard: Guard, service: JobServerService) -> None:
        super().__init__(root, requestFactory=ConsoleRequest, timeout=IDLE, reactor=service.reactor)
        self.guard = guard
        self._service = service

    def getResourceFor(self, request: ConsoleRequest) -> IResource:
        """
        What answers a request.
        """
        set_headers(request)
        refusal = self.guard.refusal(request)
        if refusal is not None:
            return self._refuse(request, refusal)
        if not self._service.ready and request.path not in _ALWAYS:
            return ProblemResource(Problem(503, f"There is nothing to see: {not_ready(self._service)}.", Retry_After="1"))
        if request.too_large:
            return ProblemResource(Problem(413, f"The body is too large: it may have {request.too_large:,} bytes."))
        found: IResource = super().getResourceFor(request)
        return found

    def _refuse(self, request: ConsoleRequest, refusal: Refusal) -> IResource:
        if refusal.status != 401:
            return ProblemResource(Problem(refusal.status, refusal.sentence))
        if request.method == b"GET" and b"text/html" in (request.getHeader(b"accept") or b""):
            path = quote(local_path(request.uri), safe="")
            return ProblemResource(Problem(SEE_OTHER, refusal.sentence, Location=f"/login?next={path}"))
        return ProblemResource(Problem(401, refusal.sentence, WWW_Authenticate='Bearer realm="gearsvc"'))

    def log(self, request: Any) -> None:
        """
        One line, for those who debug: a page that is open asks each second.
        """
        log.debug(
            "console: {method} {uri} from {host}: {code}",
            method=request.method,
            uri=request.uri[:200],
            host=getattr(request.getClientAddress(), "host", "a local socket"),
            code=request.code,
        )


class Connections(WrappingFactory):
    """
    Knows the connections, so that there are not too many, and that they can be ended.
    """

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        A connection, unless there are too many.
        """
        return super().buildProtocol(addr) if len(self.protocols) < MAX_CONNECTIONS else None

    def end(self) -> None:
        """
        End all of them.
        """
        for protocol in list(self.protocols):
            protocol.transport.abortConnection()


@implementer(IEarlyProtocol)
class Console(Service):
    """
    The console of a job server, as the service that listens.

    @ivar service: the job server's.
    @ivar settings: what the console was told.
    @ivar views: what there is to see.
    @ivar actions: what can be done.
    @ivar guard: who may see it.
    @ivar lag: how late the reactor is.
    @ivar metrics: the resource that Prometheus asks.
    @ivar ports: the open ports.
    """

    def __init__(self, service: JobServerService, settings: ConsoleSettings) -> None:
        """
        @raise SettingsError: if a setting is wrong, or if the console would be
            open to everybody.
        """
        self.service = service
        self.settings = settings
        self.ports: list[Any] = []
        self._serves = False
        for port in settings.ports:
            self._refuse_unless_local(_addresses(port, settings.listen))
        tokens = read_tokens(settings.token_file) if settings.token_file is not None else None
        self.guard = Guard(tokens, settings.hosts, service.reactor.seconds)
        self.views = Views(service, service.reactor, settings.history, settings.payload_bytes, settings.mask_payloads)
        self.actions = Actions(service, self.views)
        self.lag = ReactorLag(service.reactor)
        self.metrics = MetricsResource(service, self.lag)
        self._connections = Connections(ConsoleSite(Root(self), self.guard, service))

    def startService(self) -> None:
        """
        Listen.

        @raise SettingsError: if that can't be done, or if what is open can be
            reached from elsewhere and must not be.
        """
        try:
            self.ports = open_ports(
                self.service.reactor,
                self.settings.ports,
                self._connections,
                replace(self.service.settings, listen=self.settings.listen),
            )
        except CannotListenError as error:
            where = f"{error.interface or ''}:{error.port}".strip(":")
            why = getattr(error.socketError, "strerror", None) or str(error.socketError)
            raise SettingsError(f"--console-port: cannot listen on {where}: {why}; choose another --console-port") from None
        try:
            self._refuse_unless_local([getattr(port.getHost(), "host", None) for port in self.ports])
        except SettingsError:
            for port in self.ports:
                port.stopListening()
            raise
        super().startService()
        self.lag.start()
        for port in self.ports:
            log.notice("the console is at {address}", address=written(port.getHost()))

    def serve(self) -> None:
        """
        See L{IEarlyProtocol}.
        """
        self.views.start()
        self._serves = True

    def stopService(self) -> Deferred[None]:
        """
        Close the ports, and end all connections.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        if ports:
            self.lag.stop()
            self.metrics.stop()
            if self._serves:
                self.views.stop()
            self._connections.end()

    def _refuse_unless_local(self, addresses: Sequence[str | None]) -> None:
        """
        @param addresses: where it listens; C{None} is a socket of this machine.
        """
        if self.settings.token_file is not None:
            return
        for address in addresses:
            if address is not None and not is_loopback(address):
                raise SettingsError(
                    f"the console would listen at {address or 'all addresses'}, and let everybody who reaches it change everything; "
                    "give --console-token-file a file with lines 'viewer TOKEN' and 'operator TOKEN', or let it listen at 127.0.0.1"
                )


def _addresses(port: str, listen: Sequence[str]) -> list[str | None]:
    """
    At which addresses a port would be opened, as far as one can tell before it is.
    """
    if port.isdigit():
        return list(listen)
    interface = re.search(r":interface=((?:\\.|[^:\\])*)", port)
    if interface is not None:
        return [re.sub(r"\\(.)", r"\1", interface[1])]
    # What else an endpoint may be shows when it is open.
    return [""] if re.fullmatch(r"(tcp6?|ssl):(port=)?[0-9]+", port) else []
