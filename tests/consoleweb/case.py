"""
A job server with its console, and what hostile peers call things.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from gearsvc.config import Settings
from gearsvc.console.site import Console
from gearsvc.console.views import Views
from gearsvc.core.jobs import JobRecord
from gearsvc.core.jobserver import JobServer
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import encode
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores.memory import MemoryStore
from tests.core.case import CoreCase
from tests.protocols.case import ServiceCase

HOSTILE = (
    b"<script>alert(1)</script>",
    b'"><img src=x onerror=alert(1)>',
    b"' onmouseover='alert(1)",
    b"</title></textarea></style><script>alert(1)</script>",
    b"javascript:alert(1)",
    b"<!--",
    b"]]>",
    b"&lt;b&gt; &amp; &#60;",
    b"${alert(1)} {{7*7}} %s %d {0} {name}",
    b"../../../../etc/passwd",
    b"..",
    b".",
    b"a/b\\c",
    b"%2e%2e%2f%00",
    b"?limit=1&state=running#top",
    b"~",
    b"~YQ",
    b" leading and trailing ",
    b"line\r\nSet-Cookie: a=b\r\n\r\n<b>",
    b"tab\tbell\a\x1b[31mred\x1b[0m",
    b"\xff\xfe\x80 no UTF-8",
    b"half \xed\xa0\x80 surrogate",
    "right-to-left \u202egnp.exe".encode(),
    "zero\u200bwidth\ufeff and \u2066isolate".encode(),
    "\U0001f600 \u4f60\u597d \u00e4\u0308".encode(),
    b"'; DROP TABLE gearman_queue; --",
    b"=cmd|' /C calc'!A0",
    b"constructor",
    b"__proto__",
    b"null",
    b"x" * 8191,
    b"\xf0\x9f\x98\x80" * 2047,
)
"""
Names that a client can give a function: everything that has ever been fun to
put where somebody else has to show it.
"""

WITH_NUL = (b"nul\0inside", b"\0", b"\0gearsvc paused\0x")
"""
More of them, that only a worker can give, for a NUL ends a name in a submission.
"""


@dataclass
class Answer:
    """
    What came of a request.

    @ivar headers: in lower case; the first of each.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """
        The body, as what it stands for.
        """
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """
        The sentence of a problem.

        @raise AssertionError: if it is none.
        """
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.headers, self.body)
        said = self.json
        assert said["status"] == self.status and set(said) == {"type", "title", "status", "detail"}, said
        detail: str = said["detail"]
        assert detail.endswith((".", "'")) or ":" in detail, detail
        return detail


class _Raw(Protocol):
    def __init__(self, data: bytes) -> None:
        self.heard = b""
        self.done: Deferred[bytes] = Deferred()
        self._data = data

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._data)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.done.callback(self.heard)


class ConsoleCase(ServiceCase):
    """
    A test of a job server in this process, with its console at a free port.

    @ivar console: the console, once L{open} was called.
    """

    def make_with_console(self, store: IQueueStore | None = None, **options: Any) -> Any:
        """
        Make a server with a console.

        @param options: of the server, and of the console: C{console_token_file}, C{history} and so on.
        """
        console = {
            name.replace("_", "-"): options.pop(name) for name in list(options) if name.startswith("console_") or name == "history"
        }
        console.setdefault("console-port", ("0",))
        plugin_options = {**console, **options.pop("plugin_options", {})}
        make = self.durable if options.pop("durable", False) else self.make
        arguments = {} if store is None else {"store": store}
        return make(**arguments, protocol=("console",), plugin_options=plugin_options, **options)

    async def open(self, store: IQueueStore | None = None, **options: Any) -> None:
        """
        Start it; see L{make_with_console}.
        """
        service = self.make_with_console(store, **options)
        self.console: Console = service._protocols[0]
        self.use(service)
        await service.when_ready()
        self.port = self.console.ports[0].getHost().port

    def use(self, service: Any) -> None:
        """
        Start a server that was made, and do not wait until it is ready.
        """
        self.service = service
        service.startService()
        pool = HTTPConnectionPool(self.reactor)
        self.addCleanup(pool.closeCachedConnections)
        self._agent = Agent(self.reactor, pool=pool)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> Answer:
        """
        Make a request.

        @param path: with its query, quoted.
        @param body: bytes, or what becomes JSON.
        """
        fields = {name: [value] for name, value in (headers or {}).items()}
        producer = None
        if body is not None:
            fields.setdefault("Content-Type", [kind])
            producer = FileBodyProducer(BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()))
        response: Any = await self._agent.request(
            method.encode(), f"http://127.0.0.1:{self.port}{path}".encode(), Headers(fields), producer
        )
        content = await readBody(response)
        names = {name.decode().lower(): values[0].decode() for name, values in response.headers.getAllRawHeaders()}
        return Answer(response.code, names, content)

    async def get(self, path: str, **headers: str) -> Answer:
        """
        Ask for something of the API.
        """
        return await self.ask("GET", f"/api/v1{path}", headers=headers)

    async def post(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> Answer:
        """
        Do something by the API.
        """
        return await self.ask(method, f"/api/v1{path}", body, headers)

    async def raw(self, data: bytes) -> bytes:
        """
        Send bytes on a connection of their own.

        @return: all that comes until the console closes it.
        """
        endpoint = HostnameEndpoint(self.reactor, "127.0.0.1", self.port)
        protocol: _Raw = await connectProtocol(endpoint, _Raw(data))  # type: ignore[arg-type]
        return await protocol.done

    async def submit(self, function: bytes, unique: bytes = b"", workload: bytes = b"w") -> str:
        """
        Submit a job in the background, as a Gearman client.

        @return: its handle.
        """
        client = await self.connect()
        client.transport.write(encode(Type.SUBMIT_JOB_BG, b"%b\0%b\0%b" % (function, unique, workload), REQUEST))
        answer = await client.hears()
        self.assertTrue(answer.startswith("JOB_CREATED "), answer)
        return answer.split()[1]


class MoodyStore(MemoryStore):
    """
    A store that fails, or takes its time, when a test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._problem = ""
        self._held: Deferred[None] | None = None

    def break_down(self, problem: str) -> None:
        """
        Commit nothing until L{recover}.
        """
        self._problem = problem

    def recover(self) -> None:
        """
        Commit again.
        """
        self._problem = ""

    def hold(self) -> None:
        """
        Take until L{release}.
        """
        self._held = Deferred()

    def release(self) -> None:
        """
        Have done.
        """
        held, self._held = self._held, None
        assert held is not None
        held.callback(None)

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        if self._problem:
            return fail(StoreError(self._problem))
        if self._held is not None:
            return self._held.addCallback(lambda _: super(MoodyStore, self).commit(added, removed))
        return super().commit(added, removed)


class FakeService:
    """
    As much of a service as views need.
    """

    keeper = None
    store = None

    def __init__(self, server: JobServer, reactor: Clock) -> None:
        self.job_server = server
        self.settings: Settings = server.settings
        self.reactor = reactor


class ViewsCase(CoreCase):
    """
    A test of what there is to see of a job server on a table.

    @ivar views: what there is to see.
    @ivar reactor: what makes calls later.
    """

    def serve(self, store: Any = None, **settings: Any) -> None:
        """
        Begin anew with other settings, with a store, or with other settings of the views.
        """
        mine = {name: settings.pop(name) for name in ("history", "payload_bytes", "mask_payloads") if name in settings}
        super().serve(store, **settings)
        self.reactor = Clock()
        service: Any = FakeService(self.server, self.reactor)
        self.views = Views(service, self.reactor, **mine)
        self.views.start()

    def passes(self, seconds: int) -> None:
        """
        Let time pass, a second at a time.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.reactor.advance(1)

    def told(self, asked: Deferred[Any]) -> Any:
        """
        The answer to something that may take long.
        """
        outcome: list[Any] = []
        asked.addBoth(outcome.append)
        for _ in range(10_000):
            if outcome:
                break
            self.reactor.advance(0.01)
        (answer,) = outcome
        if isinstance(answer, Failure):
            answer.raiseException()
        return answer
