"""
Answers to what can't be done: a status, and one sentence.

To a program it is C{application/problem+json} (RFC 9457), to a person plain
text.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request

from gearsvc.console.search import BadQuery
from gearsvc.console.slices import TooBusy
from gearsvc.logs import Logger

log = Logger(__name__)


class Problem(Exception):
    """
    A request can't be answered as it wants to be.

    @ivar status: the HTTP status.
    @ivar sentence: what is wrong and, where there is something to be done, what to do.
    @ivar headers: what else the answer says.
    """

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def title(status: int) -> str:
    """
    What a status is called.
    """
    return HTTPStatus(status).phrase


def problem_of(failure: Failure) -> Problem:
    """
    What to answer with where something failed.  What nobody has thought of is
    logged.
    """
    error = failure.value
    if isinstance(error, Problem):
        return error
    if isinstance(error, BadQuery):
        return Problem(400, str(error))
    if isinstance(error, TooBusy):
        return Problem(503, str(error), Retry_After="1")
    if isinstance(error, CancelledError):
        return Problem(503, "The server is stopping.")
    log.failure("a mistake in the console", failure)
    return Problem(500, "The console made a mistake; the server's log has more.")


def write_problem(request: Request, problem: Problem) -> bytes:
    """
    Answer with a problem: in JSON below C{/api}, or to whoever wants that.
    """
    request.setResponseCode(problem.status, title(problem.status).encode())
    for name, value in problem.headers.items():
        request.setHeader(name, value)
    accept = request.getHeader("accept") or ""
    if not request.path.startswith(b"/api/") and "json" not in accept:
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return problem.sentence.encode("utf-8", "backslashreplace") + b"\n"
    request.setHeader("Content-Type", "application/problem+json")
    said = {"type": "about:blank", "title": title(problem.status), "status": problem.status, "detail": problem.sentence}
    return json.dumps(said).encode() + b"\n"


class ProblemResource(Resource):
    """
    Answers everything with a problem.
    """

    isLeaf = True

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem

    def render(self, request: Request) -> bytes:
        """
        Write it.
        """
        return write_problem(request, self._problem)
