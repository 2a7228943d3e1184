"""
The site that is crawled when no other is named: of a club that never was, the Willamette Greens.

Most of it is files, in C{site}.  What a crawler meets on the Web besides is
made here: pages that have moved, that have gone, that lead round in a circle or
on for ever, servers that are busy, other encodings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

FILES = Path(__file__).resolve().parent / "site"

ROBOTS = b"""\
User-agent: *
Disallow: /private/
"""

MOVED = {
    "/home.html": "/",
    "/old-news.html": "/news.html",
    "/round.html": "/about-round.html",
    "/about-round.html": "/round.html",
    "/partner": "http://partner.example/greens",
}

ENCODINGS = {
    "/recipes/hachis.html": ("iso-8859-1", "text/html; charset=ISO-8859-1"),
    "/recipes/miso.html": ("shift_jis", "text/html"),
    "/recipes/fasolada.html": ("utf-16", "text/html"),
    "/seeds.html": ("utf-8", "text/html; charset=x-user-defined"),
}
"""
The pages that are not sent as UTF-8, and what is said of them.
"""

BUSY = frozenset(("/seeds.html",))
"""
The pages that cannot be had at the first try.
"""


class SmallSite(Resource):
    """
    The site.

    @ivar requests: the paths, with queries, that were requested, in this order.
    @ivar hold: called with each of these; the answer is held back until the L{Deferred} that it returns has fired.
    """

    isLeaf = True

    def __init__(self, hold: Callable[[str], Deferred[None] | None] = lambda path: None) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.hold = hold

    def render_GET(self, request: Request) -> Any:
        """
        Answer, or wait until it may be answered.
        """
        path = request.uri.decode("ascii", "replace")
        first = path not in self.requests
        self.requests.append(path)
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        held = self.hold(path)
        if held is None:
            return self._answer(request, path, first)

        def release(_: None) -> None:
            if not gone:
                request.write(self._answer(request, path, first))
                request.finish()

        held.addCallback(release)
        return NOT_DONE_YET

    def _answer(self, request: Request, path: str, first: bool) -> bytes:
        name, _, query = path.partition("?")
        if path == "/robots.txt":
            return self._send(request, 200, "text/plain", ROBOTS)
        if path in MOVED:
            request.setHeader("Location", MOVED[path])
            return self._send(request, 302, "text/html", b"It is elsewhere.\n")
        if path in BUSY and first:
            return self._send(request, 503, "text/plain", b"Not now.\n")
        if path == "/gone.html":
            return self._send(request, 410, "text/plain", b"That is gone.\n")
        if name == "/calendar" and query.removeprefix("month=").isdecimal():
            return self._send(request, 200, "text/html; charset=utf-8", _calendar(int(query[6:])))
        file = (FILES / ("index.html" if name == "/" else name.lstrip("/"))).resolve()
        if not file.is_file() or FILES not in file.parents:
            return self._send(request, 404, "text/html", b"<title>Not found</title>There is no such page.\n")
        if file.suffix == ".svg":
            return self._send(request, 200, "image/svg+xml", file.read_bytes())
        if file.suffix == ".txt":
            return self._send(request, 200, "text/plain; charset=utf-8", file.read_bytes())
        encoding, said = ENCODINGS.get(name, ("utf-8", "text/html; charset=utf-8"))
        return self._send(request, 200, said, file.read_text("utf-8").encode(encoding))

    def _send(self, request: Request, status: int, kind: str, content: bytes) -> bytes:
        request.setResponseCode(status)
        request.setHeader("Content-Type", kind)
        request.setHeader("Content-Length", str(len(content)))
        return content


def _calendar(month: int) -> bytes:
    """
    A month, and a link to the next one, for ever.
    """
    return (
        f"<!doctype html><title>Month {month}</title><h1>Month {month}</h1><p>Nothing has been planned for this month yet."
        f' <a href="/calendar?month={month + 1}">The month after it</a>\n'
    ).encode()
