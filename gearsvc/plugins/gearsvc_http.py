"""
Jobs over HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IProtocolMaker
from gearsvc.options import Option, not_negative_seconds, port_or_endpoint

if TYPE_CHECKING:
    from twisted.application.service import IService

    from gearsvc.config import Settings
    from gearsvc.service import JobServerService


@implementer(IPlugin, IProtocolMaker)
class HTTPMaker:
    """
    gearmand's HTTP protocol.
    """

    names = ("http",)
    summary = "jobs over HTTP: POST /FUNCTION with the workload, the answer is the result"

    port = Option(
        "http-port",
        "A port number, opened where --listen says, or a Twisted endpoint. May be given more than once.",
        port_or_endpoint,
        ("8080",),
        metavar="PORT",
        repeatable=True,
        shown="8080",
    )
    timeout = Option(
        "http-timeout",
        "How long a request waits for its job before it is answered with 504, and the job let go; 0 is for ever.",
        not_negative_seconds,
        0.0,
        metavar="SECONDS",
        shown="0",
    )
    options = (port, timeout)

    def make(self, server: JobServerService, settings: Settings) -> IService:
        """
        Make the service that listens.
        """
        from gearsvc.protocols.http import HTTPService

        return HTTPService(server, settings.value_of(self.port), settings.value_of(self.timeout))


http = HTTPMaker()
