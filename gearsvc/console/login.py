"""
The page at which a person gives a token, and gets a cookie for it.
"""

from __future__ import annotations

from typing import Any

from twisted.web.http import FORBIDDEN, SEE_OTHER
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, flattenString, tags

from gearsvc.console.files import StaticFiles
from gearsvc.console.pages.elements import element, head
from gearsvc.console.safety import Guard, Role

MAX_NEXT = 2000
"""
How long the path may be to which a login leads.
"""


def local_path(path: bytes) -> bytes:
    """
    A path of this server's, or C{b"/"} in place of what would lead elsewhere.
    """
    plain = path.startswith(b"/") and not path.startswith((b"//", b"/\\")) and len(path) <= MAX_NEXT
    return path if plain and all(0x20 < byte < 0x7F for byte in path) else b"/"


class LoginResource(Resource):
    """
    C{GET} shows the page, C{POST} takes the token: C{token}, and C{next}, where to go then.
    """

    isLeaf = True

    def __init__(self, guard: Guard, files: StaticFiles) -> None:
        """
        @param files: what the page is shown with.
        """
        super().__init__()
        self._guard = guard
        self._files = files

    def render_GET(self, request: Request) -> Any:
        """
        Show the page.
        """
        return self._page(request, "")

    def render_POST(self, request: Request) -> Any:
        """
        Take the token.
        """
        role = self._guard.log_in(request, _argument(request, b"token").strip()[:1000])
        if role is Role.NOBODY:
            request.setResponseCode(FORBIDDEN)
            return self._page(request, "This is none of the console's tokens.")
        request.setResponseCode(SEE_OTHER)
        request.setHeader("Location", local_path(_argument(request, b"next")))
        return b""

    def _page(self, request: Request, problem: str) -> Any:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        path = local_path(_argument(request, b"next")).decode("ascii")
        page = element(
            "html",
            head("Log in - gearsvc", self._files.link("console.css"), self._files.link("icon.svg")),
            tags.body(
                element(
                    "main",
                    element("img", src=self._files.link("icon.svg"), alt="", width="48", height="48"),
                    tags.h1("gearsvc"),
                    element("p", "The console of a Gearman job server.", class_="quiet"),
                    element("p", problem, role="alert", class_="notice bad", id="problem") if problem else "",
                    element(
                        "form",
                        element("label", "Token", for_="token"),
                        _field(problem),
                        element("p", "A viewer's or an operator's, from the file that the server was started with.", id="hint", class_="hint"),
                        element("input", type="hidden", name="next", value=path),
                        element("button", "Log in", type="submit", class_="first"),
                        method="post",
                        action="/login",
                    ),
                ),
                class_="login",
            ),
            lang="en",
        )
        return _written(request, page)


class LogoutResource(Resource):
    """
    C{POST} takes the cookie back.
    """

    isLeaf = True

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def render_POST(self, request: Request) -> bytes:
        """
        Take it back.
        """
        self._guard.log_out(request)
        request.setResponseCode(SEE_OTHER)
        request.setHeader("Location", b"/login")
        return b""


def _field(problem: str) -> Tag:
    field = element(
        "input",
        type="password",
        id="token",
        name="token",
        autocomplete="current-password",
        required="",
        autofocus="",
        aria_describedby="hint problem" if problem else "hint",
    )
    if problem:
        field.attributes["aria-invalid"] = "true"
    return field


def _argument(request: Request, name: bytes) -> bytes:
    values: list[bytes] = (request.args or {}).get(name, [])
    return values[0] if values else b""


def _written(request: Request, page: Tag) -> bytes:
    written: list[bytes] = []
    # There is nothing in it to wait for.
    flattenString(request, page).addCallback(written.append)
    return b"<!DOCTYPE html>\n" + written[0]
