"""
C{/api/v1}: everything there is to see and to do, in JSON.

What that is stands in L{gearsvc.console.operations}, as a table; here a request
is taken apart and checked by that table, and answered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gearsvc.console.openapi import describe
from gearsvc.console.operations import ROUTES
from gearsvc.console.problems import Problem, problem_of, write_problem
from gearsvc.console.routes import Body, Parameter, Route
from gearsvc.console.schemas import Invalid, check, value_of
from gearsvc.console.slices import Work
from gearsvc.console.values import Name, as_json, name_of_segment
from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.console.site import Console

log = Logger(__name__)

DESCRIPTION = "openapi.json"
"""
Where the description of all this is.
"""


class ApiResource(Resource):
    """
    Answers all requests below C{/api/v1}.
    """

    isLeaf = True

    def __init__(self, console: Console, routes: Sequence[Route] = ROUTES) -> None:
        super().__init__()
        self._console = console
        self._routes = routes
        self._description = b""

    def render(self, request: Request) -> bytes | int:
        """
        Answer, now or later.
        """
        if request.postpath == [DESCRIPTION.encode()] and request.method in (b"GET", b"HEAD"):
            if not self._description:
                self._description = json.dumps(describe(self._routes)).encode()
            request.setHeader("Content-Type", "application/json")
            return self._description
        try:
            route, arguments, body = self._read(request)
        except Problem as problem:
            return write_problem(request, problem)
        answering = maybeDeferred(route.handle, self._console, arguments, body)
        answering.addCallback(lambda value: self._console.views.slices.run(encoded(value)) if route.answer is not None else "")
        gone = request.notifyFinish()
        gone.addErrback(lambda _: answering.cancel())

        def write(text: str) -> None:
            request.setResponseCode(route.status)
            if route.answer is None:
                request.responseHeaders.removeHeader("Content-Type")
            else:
                written = text.encode() + b"\n"
                request.setHeader("Content-Type", "application/json")
                request.setHeader("Content-Length", b"%d" % len(written))
                request.write(written)
            request.finish()

        def refuse(failure: Failure) -> None:
            problem = problem_of(failure)
            if not request._disconnected:
                written = write_problem(request, problem)
                request.setHeader("Content-Length", b"%d" % len(written))
                request.write(written)
                request.finish()

        answering.addCallbacks(write, refuse)
        answering.addErrback(lambda failure: log.failure("the console could not answer", failure))
        return NOT_DONE_YET

    # Reading requests

    def _read(self, request: Request) -> tuple[Route, dict[str, Any], Any]:
        """
        @raise Problem: if it is nothing that can be asked for.
        """
        path: list[bytes] = request.postpath or []
        here = [route for route in self._routes if _matches(route, path)]
        # A path without parameters goes before one with.
        here = [route for route in here if route.path == min(here, key=lambda each: len(each.in_path)).path]
        if not here:
            raise Problem(404, f"There is nothing at this path; /api/v1/{DESCRIPTION} says what there is.")
        method = request.method.decode("ascii", "replace")
        route = next((each for each in here if each.method == ("GET" if method == "HEAD" else method)), None)
        if route is None:
            allowed = ", ".join(each.method for each in here)
            raise Problem(405, f"This can only be asked for by {allowed}.", Allow=allowed)
        try:
            arguments = _arguments_of_path(route, path)
            arguments.update(_arguments_of_query(route, request))
            return route, arguments, _body(route.body, request) if route.body is not None else None
        except Invalid as invalid:
            raise Problem(400, str(invalid)) from None


def _matches(route: Route, path: list[bytes]) -> bool:
    parts = route.parts
    return len(parts) == len(path) and all(
        segment != b"" if part.startswith("{") else segment == part.encode() for part, segment in zip(parts, path)
    )


def _arguments_of_path(route: Route, path: list[bytes]) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in route.in_path}
    return {
        part[1:-1]: _value(known[part[1:-1]], segment) for part, segment in zip(route.parts, path) if part.startswith("{")
    }


def _arguments_of_query(route: Route, request: Request) -> dict[str, Any]:
    given: dict[bytes, list[bytes]] = {}
    for part in filter(None, request.uri.partition(b"?")[2].split(b"&")):
        name, _, value = part.replace(b"+", b" ").partition(b"=")
        given.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    arguments: dict[str, Any] = {}
    for parameter in route.query:
        values = given.pop(parameter.name.encode(), [])
        if parameter.many:
            arguments[parameter.name] = [_value(parameter, each) for each in values]
        elif parameter.bytes and values == [b""]:
            # An empty field of a form.  (The empty name is a tilde.)
            arguments[parameter.name] = parameter.default
        elif len(values) > 1:
            raise Invalid(f"{parameter.name!r} is there more than once.")
        else:
            arguments[parameter.name] = _value(parameter, values[0]) if values else parameter.default
    if given:
        unknown = Name(min(given))[:100]
        there = ", ".join(parameter.name for parameter in route.query) or "none"
        raise Invalid(f"There is no parameter {unknown!r} here; there is: {there}.")
    return arguments


def _value(parameter: Parameter, raw: bytes) -> Any:
    what = repr(parameter.name)
    if parameter.bytes:
        try:
            return name_of_segment(raw)
        except ValueError as error:
            raise Invalid(f"{what}: {error}.") from None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{what} has to be UTF-8.") from None
    return value_of(text, parameter.schema, what)


def _body(body: Body, request: Request) -> Any:
    """
    @return: an object, or the very bytes.
    """
    kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
    assert request.content is not None
    content: bytes = request.content.read()
    if body.raw and kind == "application/octet-stream":
        return content
    if kind != "application/json":
        kinds = "application/json" + (" or application/octet-stream" if body.raw else "")
        raise Problem(415, f"The body has to be {kinds}, as the header Content-Type.")
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise Invalid("The body is nested too deep.") from None
    except ValueError as error:
        raise Invalid(f"The body is no JSON: {error}.") from None
    check(value, body.schema, "The body")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


# Writing answers


def encoded(value: Any) -> Work[str]:
    """
    A value in JSON, piece by piece.
    """
    if isinstance(value, list):
        pieces = []
        for number, each in enumerate(value):
            pieces.append(json.dumps(as_json(each)))
            if number % 8 == 7:
                yield
        return f"[{','.join(pieces)}]"
    if not is_dataclass(value):
        return json.dumps(as_json(value))
    parts = []
    for field in fields(value):
        part = getattr(value, field.name)
        written = yield from encoded(part)
        parts.append(f'"{field.name}":{written}')
        if isinstance(part, Name) and part.base64 is not None:
            parts.append(f'"{field.name}_base64":{json.dumps(part.base64)}')
    return f"{{{','.join(parts)}}}"
