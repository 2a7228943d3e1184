"""
How a page is asked for and answered.

A page is written once the whole of it is there, so that an answer has a length
and a mistake can still become one; but it is made piece by piece, and the
server does other things in between: see L{Asked.breathing}.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from secrets import token_urlsafe
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.error import FlattenerError
from twisted.web.http import SEE_OTHER
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.template import flatten

from gearsvc.console.login import local_path
from gearsvc.console.pages import layout
from gearsvc.console.problems import Problem, problem_of, title
from gearsvc.console.safety import Role
from gearsvc.console.slices import PAUSE, SLICE
from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.console.pages.tree import Pages
    from gearsvc.console.site import Console

log = Logger(__name__)

NOTICE_SECONDS = 60.0
MAX_NOTICES = 100
"""
For how long what came of a change can be shown, and how many of those are kept.
"""

DONE = "done"
"""
The parameter that says which notice is to be shown.
"""


class Asked:
    """
    A request for a page.

    @ivar request: the request itself.
    @ivar name: what the last segment of the path stands for; empty of a page without one.
    @ivar operator: whether who asks may change something.
    @ivar query: the parameters.
    """

    def __init__(self, request: Request, name: bytes, operator: bool, reactor: Any) -> None:
        self.request = request
        self.name = name
        self.operator = operator
        self._reactor = reactor
        query = request.uri.partition(b"?")[2].decode("latin-1")
        self.query: dict[str, list[bytes]] = {}
        # In this encoding, each character is a byte.
        for key, value in parse_qsl(query, keep_blank_values=True, encoding="latin-1"):
            self.query.setdefault(key.encode("latin-1").decode("utf-8", "replace"), []).append(value.encode("latin-1"))

    @property
    def path(self) -> str:
        """
        The page's path, without parameters.
        """
        return local_path(self.request.uri.partition(b"?")[0]).decode("ascii")

    @property
    def here(self) -> str:
        """
        The page's path, with its parameters but for the notice.
        """
        return self.link()

    def link(self, **changed: str | int | None) -> str:
        """
        This page with other parameters.

        @param changed: those that differ; C{None} is without it.
        """
        pairs: list[tuple[str, bytes | str]] = [
            (key, value) for key, values in self.query.items() if key != DONE and key not in changed for value in values
        ]
        pairs += [(key, str(value)) for key, value in changed.items() if value is not None]
        return self.path + (f"?{urlencode(pairs)}" if pairs else "")

    def raw(self, key: str, default: bytes = b"") -> bytes:
        """
        A parameter, as bytes.
        """
        return self.query.get(key, [default])[0]

    def text(self, key: str, default: str = "") -> str:
        """
        A parameter, as text.
        """
        return self.raw(key, default.encode()).decode("utf-8", "replace")

    def number(self, key: str, default: int, most: int) -> int:
        """
        A parameter, as a whole number from 0 to C{most}; the default if it is none.
        """
        given = self.raw(key)
        return min(int(given), most) if given.isdigit() and len(given) < 19 else default

    def field(self, key: str) -> bytes:
        """
        A field of the form that was sent; empty if it is not there.
        """
        return self.fields(key)[0] if self.fields(key) else b""

    def fields(self, key: str) -> list[bytes]:
        """
        All fields of the form that have a name.
        """
        found: list[bytes] = (self.request.args or {}).get(key.encode(), [])
        return found

    def breathing(self, pieces: Iterable[Any]) -> Iterator[Any]:
        """
        Pieces of a page that are many, or long to make: between them, the
        server is let do other things whenever some milliseconds are over.
        """
        end = perf_counter() + SLICE
        for piece in pieces:
            yield piece
            if perf_counter() >= end:
                yield self._pause()
                if self.request._disconnected:
                    # Nobody waits for the rest.
                    raise CancelledError
                end = perf_counter() + SLICE

    def _pause(self) -> Deferred[str]:
        """
        Nothing, in a while.  Cancelled, it is over: what is written to a page
        may not fail, for nobody would take the failure.
        """

        def cancel(paused: Deferred[str]) -> None:
            call.cancel()
            paused.callback("")

        paused: Deferred[str] = Deferred(cancel)
        call = self._reactor.callLater(PAUSE, paused.callback, "")
        return paused


@dataclass(frozen=True)
class Shown:
    """
    What a page shows.

    @ivar title: what it is called; it begins what the browser calls it, too.
    @ivar body: what stands below the title: anything that L{twisted.web.template} takes.
    @ivar section: to which link of the navigation it belongs.
    @ivar heading: what stands as its title, if that is more than text.
    @ivar aside: what stands beside the title: what is done most often, say.
    @ivar live: whether the script keeps it up to date.
    @ivar every: after how many seconds at the latest.
    """

    title: str
    body: Any
    section: str = ""
    heading: Any = None
    aside: Any = ""
    live: bool = True
    every: int = 10


@dataclass(frozen=True)
class Done:
    """
    What came of a change.

    @ivar sentence: the notice.
    @ivar path: the page that shows it.
    """

    sentence: str
    path: str


Action = Callable[[Asked], Awaitable[Done]]


class Page:
    """
    One page, or one for each name.

    @cvar section: to which link of the navigation it belongs.
    """

    section: ClassVar[str] = ""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.views = console.views

    @property
    def actions(self) -> dict[str, Action]:
        """
        What can be done here, by the value of the field C{action}.
        """
        return {}

    async def show(self, asked: Asked) -> Shown:
        """
        What there is to see.

        @raise Problem: if there is nothing.
        """
        raise NotImplementedError

    async def act(self, asked: Asked) -> Done:
        """
        Do what a form says.

        @raise Problem: if that can't be done.
        """
        action = self.actions.get(asked.field("action").decode("ascii", "replace"))
        if action is None:
            raise Problem(400, "This form is none that the page has; load the page anew.")
        return await action(asked)


class Notices:
    """
    What came of changes, until it was shown: a page cannot be made to say
    something by a link to it.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def keep(self, sentence: str) -> str:
        """
        @return: what to ask for it with.
        """
        key = token_urlsafe(9)
        self._kept[key] = (self._seconds() + NOTICE_SECONDS, sentence)
        if len(self._kept) > MAX_NOTICES:
            self._kept.popitem(last=False)
        return key

    def find(self, key: str) -> str:
        """
        @return: it; empty if there is none.
        """
        until, sentence = self._kept.get(key, (0.0, ""))
        return sentence if self._seconds() < until else ""


class PageResource(Resource):
    """
    Answers requests for a page.
    """

    isLeaf = True

    def __init__(self, pages: Pages, page: Page, name: bytes = b"") -> None:
        super().__init__()
        self._pages = pages
        self._page = page
        self._name = name

    def render_GET(self, request: Request) -> int:
        """
        Show it.
        """
        return self._answer(request, self._show(self._asked(request)))

    def render_POST(self, request: Request) -> int:
        """
        Do what a form says, and show what came of it: on the page to which the
        browser is sent, or, if it can't be done, right here.
        """
        return self._answer(request, self._act(self._asked(request)))

    def _asked(self, request: Request) -> Asked:
        role = self._pages.console.guard.role(request)
        return Asked(request, self._name, role is Role.OPERATOR, self._pages.console.service.reactor)

    async def _show(self, asked: Asked, problem: Problem | None = None) -> bytes:
        try:
            shown = await self._page.show(asked)
        except CancelledError:
            raise
        except Exception:
            if problem is None:
                problem = problem_of(Failure())
            shown = Shown(title(problem.status), "", self._page.section, live=False)
        if problem is not None:
            asked.request.setResponseCode(problem.status, title(problem.status).encode())
            for name, value in problem.headers.items():
                asked.request.setHeader(name, value)
        notice = self._pages.notices.find(asked.text(DONE))
        page = layout.page(self._pages, asked, shown, notice, problem.sentence if problem is not None else "")
        pieces: list[bytes] = [b"<!DOCTYPE html>\n"]
        try:
            await flatten(asked.request, page, pieces.append)
        except FlattenerError as error:
            if isinstance(error.args[0], CancelledError):
                # Whoever asked for it has gone away.
                raise error.args[0] from None
            raise
        asked.request.setHeader("Content-Type", "text/html; charset=utf-8")
        return b"".join(pieces)

    async def _act(self, asked: Asked) -> bytes:
        try:
            done = await self._page.act(asked)
        except Problem as problem:
            return await self._show(asked, problem)
        path, _, query = done.path.partition("?")
        key = self._pages.notices.keep(done.sentence)
        asked.request.setResponseCode(SEE_OTHER)
        asked.request.setHeader("Location", f"{path}?{query + '&' if query else ''}{DONE}={key}")
        return b""

    def _answer(self, request: Request, answer: Any) -> int:
        answering = Deferred.fromCoroutine(answer)
        gone = request.notifyFinish()
        gone.addErrback(lambda _: answering.cancel())

        def write(written: bytes) -> None:
            if not request._disconnected:
                request.setHeader("Content-Length", b"%d" % len(written))
                request.write(written)
                request.finish()

        def fail(failure: Failure) -> None:
            # The page was given up where the server stops, or where whoever asked for it has gone.
            if not request._disconnected and failure.check(CancelledError) is None:
                log.failure("a mistake in a page of the console", failure)
            request.setResponseCode(500)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            write(b"The console made a mistake; the server's log has more.\n")

        answering.addCallback(write)
        answering.addErrback(fail)
        return NOT_DONE_YET
