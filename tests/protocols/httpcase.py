r"""
HTTP clients of a job server in this process, over real sockets, byte for byte.

    client = await self.http()
    client.says("POST /reverse HTTP/1.1", "Content-Length: 5", "", "hello")
    job = await self.grabs(worker)
    worker.says(f"WORK_COMPLETE {job}|olleh")
    answer = await client.hears()
    self.assertEqual((answer.code, answer.body), (200, b"olleh"))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from gearsvc.protocols.http import HTTPFactory, HTTPService
from tests.protocols.case import LOOPBACK, PATIENCE, HungUp, Peer, ServiceCase


class Malformed(AssertionError):
    """
    What the server sent is not HTTP.
    """


@dataclass
class Answer:
    """
    An answer.

    @ivar version: C{HTTP/1.1} or C{HTTP/1.0}.
    @ivar headers: by their names in lower case; none is there twice.
    @ivar body: all of it, chunks put together.
    @ivar chunks: how it came in chunks, if it did.
    """

    version: str
    code: int
    phrase: str
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes]

    @property
    def reason(self) -> str:
        """
        The body of an answer that is for people: one line of text.
        """
        assert self.headers["content-type"] == "text/plain; charset=utf-8", self.headers
        line = self.body.decode()
        assert line.endswith("\n") and line.count("\n") == 1 and len(line) > 5, line
        return line[:-1]


class Incomplete(Exception):
    """
    Of an answer not all has come.

    @ivar needed: how many bytes there have to be before it is worth another look.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def parse_answer(data: bytes | bytearray, method: str = "GET", ended: bool = False) -> tuple[Answer, int]:
    """
    Take an answer from the beginning of what came.

    @param method: what was asked.
    @param ended: whether no more comes.
    @return: the answer, and where it ends.
    @raise Incomplete: if it is not complete.
    @raise Malformed: if it is not HTTP, as strictly as can be.
    """

    def up_to(end: bytes, start: int) -> int:
        found = data.find(end, start)
        if found < 0:
            raise Incomplete(len(data) + 1)
        return found

    at = up_to(b"\r\n\r\n", 0)
    head = data[:at].decode("latin-1")
    at += 4
    status, *lines = head.split("\r\n")
    version, code, phrase = status.split(" ", 2)
    if version not in ("HTTP/1.0", "HTTP/1.1") or len(code) != 3 or not phrase.isprintable() or not phrase:
        raise Malformed(status)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        if not colon or name.lower() in headers or not value.isprintable():
            raise Malformed(line)
        headers[name.lower()] = value
    chunks: list[bytes] = []
    if method == "HEAD" or code == "100":
        end = at
    elif "transfer-encoding" in headers:
        if headers["transfer-encoding"] != "chunked" or "content-length" in headers or version == "HTTP/1.0":
            raise Malformed(headers)
        while not chunks or chunks[-1]:
            start = up_to(b"\r\n", at) + 2
            end = start + int(data[at : start - 2], 16)
            if len(data) < end + 2:
                raise Incomplete(end + 2)
            if data[end : end + 2] != b"\r\n":
                raise Malformed(data[end : end + 2])
            chunks.append(bytes(data[start:end]))
            at = end = end + 2
        chunks.pop()
    elif "content-length" in headers:
        end = at + int(headers["content-length"])
        if len(data) < end:
            raise Incomplete(end)
    else:
        end = len(data)
        if not ended:
            raise Incomplete(end + 1)
    body = b"".join(chunks) or bytes(data[at:end])
    return Answer(version, int(code), phrase, headers, body, chunks), end


class HTTPPeer(Protocol):
    """
    The other end of an HTTP connection.

    @ivar received: what has come and was not asked for yet.
    @ivar lost: why the connection ended, or C{None}.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: Failure | None = None
        self._waiting: Deferred[None] | None = None
        self._methods: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        """
        Hear something.
        """
        self.received += data
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

    async def _wait(self) -> None:
        from twisted.internet import reactor

        assert self._waiting is None, "one at a time"
        self._waiting = Deferred()
        await self._waiting.addTimeout(PATIENCE, reactor)

    def says(self, *lines: str) -> None:
        """
        Send a request, in one write: its lines, of which the last one is the
        body if an empty one stands before it.
        """
        self._methods.append(lines[0].split(" ")[0])
        head, body = (lines[:-2], lines[-1]) if len(lines) > 2 and lines[-2] == "" else (lines, "")
        self.transport.write("".join(f"{line}\r\n" for line in head).encode("latin-1") + b"\r\n" + body.encode("latin-1"))

    def says_bytes(self, data: bytes) -> None:
        """
        Send just these bytes.
        """
        self.transport.write(data)

    async def hears(self) -> Answer:
        """
        The next answer.

        @raise HungUp: if the connection ends before.
        """
        method = self._methods.pop(0) if self._methods else "GET"
        while True:
            try:
                answer, end = parse_answer(self.received, method, self.lost is not None)
            except Incomplete as incomplete:
                if self.lost is not None:
                    raise HungUp(bytes(self.received)) from None
                while len(self.received) < incomplete.needed and self.lost is None:
                    await self._wait()
            else:
                del self.received[:end]
                return answer

    async def hears_bytes(self, end: bytes) -> bytes:
        """
        All bytes up to some.
        """
        while end not in self.received:
            if self.lost is not None:
                raise HungUp(bytes(self.received))
            await self._wait()
        stop = self.received.index(end) + len(end)
        heard = bytes(self.received[:stop])
        del self.received[:stop]
        return heard

    async def ends(self) -> bytes:
        """
        Wait until the server has closed the connection.

        @return: what was heard before.
        """
        while self.lost is None:
            await self._wait()
        heard = bytes(self.received)
        self.received.clear()
        return heard

    def hangs_up(self) -> None:
        """
        Break the connection off.
        """
        self.transport.abortConnection()


class HTTPCase(ServiceCase):
    """
    A test of a job server in this process that HTTP clients reach.
    """

    def setUp(self) -> None:
        """
        Nobody is connected yet.
        """
        super().setUp()
        self._http_peers: list[HTTPPeer] = []

    def make(self, *arguments: Any, **settings: Any) -> Any:
        """
        Make a service, with a port for HTTP.
        """
        options = settings.setdefault("plugin_options", {})
        options.setdefault("http-port", (LOOPBACK,))
        settings.setdefault("protocol", ("http",))
        return super().make(*arguments, **settings)

    async def _stop(self, service: Any) -> None:
        for peer in self._http_peers:
            if peer.lost is None:
                peer.hangs_up()
        await super()._stop(service)

    @property
    def web(self) -> HTTPService:
        """
        The service that listens for HTTP.
        """
        (service,) = self.service.services
        assert isinstance(service, HTTPService)
        return service

    @property
    def factory(self) -> HTTPFactory:
        """
        What makes its connections.
        """
        return self.web.factory

    @property
    def http_port(self) -> int:
        """
        Its port.
        """
        port: int = self.web.ports[0].getHost().port
        return port

    async def http(self, description: str = "") -> HTTPPeer:
        """
        A new connection.
        """
        endpoint = clientFromString(self.reactor, description or f"tcp:127.0.0.1:{self.http_port}")
        peer: HTTPPeer = await connectProtocol(endpoint, HTTPPeer())
        self._http_peers.append(peer)
        return peer

    async def ask(self, *lines: str) -> Answer:
        """
        Send a request on a connection of its own.

        @return: its answer.
        """
        client = await self.http()
        client.says(*lines)
        answer = await client.hears()
        client.hangs_up()
        return answer

    async def grabs(self, worker: Peer) -> tuple[str, str, str, str]:
        """
        Let a worker take the next job, once there is one.

        @return: handle, function, unique id and workload, as messages show
            them.
        """
        while True:
            worker.says("PRE_SLEEP")
            heard = await worker.hears()
            assert heard == "NOOP", heard
            worker.says("GRAB_JOB_UNIQ")
            heard = await worker.hears()
            if heard != "NO_JOB":
                handle, function, unique, workload = heard.removeprefix("JOB_ASSIGN_UNIQ ").split("|", 3)
                return handle, function, unique, workload
