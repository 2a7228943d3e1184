"""
HTTP, and the manners of a robot: it says who it is, keeps to C{robots.txt}, waits between two requests to one host, gives up
on what is too slow or too large, and tries again, a few times, where a server is busy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.robotparser import RobotFileParser

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from examples.narada.documents import Documents
from examples.narada.urls import origin_of, site_of

NAME = "Narada"
USER_AGENT = f"{NAME}/1.0 (gearsvc's example of a crawler)"

LARGEST = 1_000_000
"""
How many bytes a page may have.
"""

PATIENCE = 15.0
"""
How many seconds one answer may take.
"""

ATTEMPTS = 3
PAUSE = 0.5
"""
How many seconds later a request is made for the second time; it is twice that for the third time.
"""

BUSY = (429, 500, 502, 503, 504)


class Unreachable(Exception):
    """
    A URL cannot be had; the message says why.
    """


class TooLarge(Exception):
    """
    An answer has more than L{LARGEST} bytes.
    """


@dataclass
class Answer:
    """
    What a server answered.

    @ivar kind: the content's type, in small letters, without parameters.
    @ivar charset: its encoding, as the server says, or nothing.
    @ivar location: where it redirects to, or nothing.
    """

    status: int
    kind: str
    charset: str
    location: str
    content: bytes
    headers: Headers


class _Body(Protocol):
    """
    Collects an answer's content, up to L{LARGEST} bytes.
    """

    def __init__(self, finished: Deferred[bytes]) -> None:
        self._finished = finished
        self._pieces: list[bytes] = []
        self._size = 0
        self._too_large = False

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it, or hang up.
        """
        self._size += len(data)
        if self._size > LARGEST:
            if not self._too_large:
                self._too_large = True
                transport: Any = self.transport
                transport.abortConnection()
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Hand it over.
        """
        if self._too_large:
            self._finished.errback(TooLarge())
        elif reason is None or reason.check(ResponseDone, PotentialDataLoss):
            self._finished.callback(b"".join(self._pieces))
        else:
            self._finished.errback(reason)


def _content_type(value: str) -> tuple[str, str]:
    """
    The type and the charset that C{Content-Type} names.
    """
    kind, *parameters = value.split(";")
    for parameter in parameters:
        name, _, given = parameter.partition("=")
        if name.strip().lower() == "charset":
            return kind.strip().lower(), given.strip().strip("\"'")
    return kind.strip().lower(), ""


def _reason(error: Exception) -> str:
    """
    Why a request failed, in few words.
    """
    if isinstance(error, DNSLookupError):
        return "there is no such host"
    if isinstance(error, ResponseFailed):
        return "the connection was lost" if error.reasons and error.reasons[0].check(ConnectionClosed) else "no HTTP"
    return str(error).rstrip(".") or type(error).__name__


class Robot:
    """
    Requests pages.
    """

    def __init__(self, reactor: Any, documents: Documents) -> None:
        self._reactor = reactor
        self._documents = documents
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(reactor, connectTimeout=PATIENCE, pool=self._pool)
        self._rules: dict[str, RobotFileParser] = {}

    async def get(self, url: str) -> Answer:
        """
        Request a URL, when it is its turn, and again if the server is busy.

        @raise Unreachable: if there is no answer, however often.
        @raise TooLarge: see L{LARGEST}.
        """
        for attempt in range(1, ATTEMPTS + 1):
            await self._turn(url)
            try:
                answer = await self._request(url)
            except Unreachable:
                if attempt == ATTEMPTS:
                    raise
            else:
                if answer.status not in BUSY or attempt == ATTEMPTS:
                    return answer
            await self._sleep(PAUSE * attempt)
        raise AssertionError("not reached")

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds, lambda: None)

    async def _turn(self, url: str) -> None:
        origin = origin_of(url)
        delay = self._documents.delay(site_of(url))
        if origin in self._rules:
            delay = max(delay, min(float(self._rules[origin].crawl_delay(NAME) or 0), 30.0))
        if wait := self._documents.reserve(origin, delay):
            await self._sleep(wait)

    async def _request(self, url: str) -> Answer:
        within: Deferred[Answer] = Deferred.fromCoroutine(self._request_at_once(url))
        within.addTimeout(PATIENCE, self._reactor, onTimeoutCancel=self._too_slow)
        return await within

    @staticmethod
    def _too_slow(result: Any, seconds: float) -> Any:
        raise Unreachable(f"no answer within {seconds:.0f} seconds")

    async def _request_at_once(self, url: str) -> Answer:
        headers = Headers({"User-Agent": [USER_AGENT], "Accept": ["text/html, application/xhtml+xml, text/plain;q=0.5"]})
        try:
            response: Any = await self._agent.request(b"GET", url.encode("ascii"), headers)
            body: Deferred[bytes] = Deferred(lambda _: response._transport.abortConnection())
            response.deliverBody(_Body(body))
            content = await body
        except (ConnectError, ConnectionClosed, DNSLookupError, ResponseFailed) as error:
            raise Unreachable(_reason(error)) from None
        kind, charset = _content_type((response.headers.getRawHeaders("content-type") or [""])[0])
        location = (response.headers.getRawHeaders("location") or [""])[0]
        return Answer(response.code, kind, charset, location, content, response.headers)

    async def may(self, url: str) -> bool:
        """
        Whether the host's C{robots.txt} lets us request a URL.

        @raise Unreachable: if that cannot be known now.
        """
        origin = origin_of(url)
        if origin not in self._rules:
            text = self._documents.robots(origin)
            if text is None:
                text = await self._request_rules(origin)
                self._documents.keep_robots(origin, text)
            rules = RobotFileParser()
            rules.parse(text.splitlines())
            self._rules[origin] = rules
        return self._rules[origin].can_fetch(NAME, url)

    async def _request_rules(self, origin: str) -> str:
        try:
            answer = await self.get(f"{origin}/robots.txt")
        except TooLarge:
            raise Unreachable("its robots.txt cannot be had, it is too large") from None
        if answer.status in BUSY:
            # Who cannot say what is forbidden forbids all (RFC 9309).
            raise Unreachable(f"its robots.txt cannot be had, {answer.status}")
        return answer.content.decode("utf-8", "replace") if answer.status == 200 else ""

    def close(self) -> Deferred[None]:
        """
        Close the connections that are kept open.
        """
        closing: Callable[[], Deferred[None]] = self._pool.closeCachedConnections
        return closing()
