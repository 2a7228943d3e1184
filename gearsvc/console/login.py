"""
The page at which a person gives a token, and gets a cookie for it.
"""

from __future__ import annotations

from typing import Any

from twisted.web.http import FORBIDDEN, SEE_OTHER
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, flattenString, tags

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

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

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
        page = tags.html(
            tags.head(
                tags.meta(charset="utf-8"),
                tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
                tags.title("Log in - gearsvc"),
                tags.link(rel="stylesheet", href="/static/console.css"),
            ),
            tags.body(
                Tag("main", attributes={"class": "login"})(
                    tags.h1("gearsvc"),
                    tags.p(problem, role="alert", class_="problem") if problem else "",
                    tags.form(
                        tags.label("Token", for_="token"),
                        tags.input(
                            type="password", id="token", name="token", autocomplete="current-password", required="", autofocus=""
                        ),
                        tags.input(type="hidden", name="next", value=path),
                        tags.button("Log in", type="submit"),
                        method="post",
                        action="/login",
                    ),
                ),
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


def _argument(request: Request, name: bytes) -> bytes:
    values: list[bytes] = (request.args or {}).get(name, [])
    return values[0] if values else b""


def _written(request: Request, page: Tag) -> bytes:
    written: list[bytes] = []
    # There is nothing in it to wait for.
    flattenString(request, page).addCallback(written.append)
    return b"<!DOCTYPE html>\n" + written[0]
