"""
C{/healthz} and C{/readyz}: for what restarts a server, and what sends it work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.http import OK, SERVICE_UNAVAILABLE, Request
from twisted.web.resource import Resource

if TYPE_CHECKING:
    from gearsvc.service import JobServerService


def not_ready(service: JobServerService) -> str | None:
    """
    Why a server should not be sent work now.

    @return: one line, or C{None} if it should.
    """
    if service.failed is not None:
        return f"the server does not serve: {service.failed}"
    if not service.ready:
        return "the stored queue has not been replayed yet"
    if service.job_server.draining:
        return "the server is about to end, and hands out no more jobs"
    failure = service.keeper.failure if service.keeper is not None else None
    if failure is not None:
        return f"the queue store fails: {failure}"
    return None


class HealthResource(Resource):
    """
    Answers as long as the server's loop runs.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        It does.
        """
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return b"ok\n"


class ReadyResource(Resource):
    """
    Answers 200 if the server should be sent work, and 503 with the reason if not.
    """

    isLeaf = True

    def __init__(self, service: JobServerService) -> None:
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> bytes:
        """
        Say it.
        """
        reason = not_ready(self._service)
        request.setResponseCode(OK if reason is None else SERVICE_UNAVAILABLE)
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return (reason or "ready").encode() + b"\n"
