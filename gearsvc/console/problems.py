"""
Answers to what can't be done: a status, and one sentence.

To a program it is C{application/problem+json} (RFC 9457), to a person plain
text.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from twisted.web.resource import Resource
from twisted.web.server import Request



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
