"""
Resources on a port of their own, and somebody who fetches them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.protocols.case import ServiceCase


class Reader(Protocol):
    """
    A connection whose reader writes down what comes, when it likes to.
    """

    def connectionMade(self) -> None:
        """
        Begin.
        """
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Write it down.
        """
        self.heard += data


class WebCase(ServiceCase):
    """
    A job server in this process, and resources about it at a free port.
    """

    async def open(self, **resources: Resource) -> None:
        """
        Serve resources, each by its name.
        """
        root = Resource()
        for name, resource in resources.items():
            root.putChild(name.encode(), resource)
        self._port = self.reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        self.addCleanup(self._port.stopListening)

    async def fetch(self, path: str, **headers: str) -> tuple[int, str, str]:
        """
        @return: status, content type and body.
        """
        url = f"http://127.0.0.1:{self._port.getHost().port}/{path}"
        response: Any = await Agent(self.reactor).request(
            b"GET", url.encode(), Headers({name: [value] for name, value in headers.items()})
        )
        body = await readBody(response)
        return response.code, response.headers.getRawHeaders("content-type", [""])[0], body.decode()

    async def read(self, path: str) -> Reader:
        """
        Ask for a path, and leave the connection open.
        """
        endpoint = HostnameEndpoint(self.reactor, "127.0.0.1", self._port.getHost().port)
        reader: Any = await endpoint.connect(Factory.forProtocol(Reader))
        reader.transport.write(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.addCleanup(reader.transport.abortConnection)
        return reader
