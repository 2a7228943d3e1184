"""
One HTTP connection, which is a client of the job server.

Twisted's parser takes requests apart, one after the other; what stands here
around it is limits of size and time, with an answer that says which of them
was met, and a peer (L{IPeer}) through which the job server speaks to the
request that waits.
"""

from __future__ import annotations

import re
import socket
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableDescriptor, IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from zope.interface import implementer

from gearsvc.core.packets import RESPONSE
from gearsvc.core.wire import PacketDecoder
from gearsvc.interfaces import IPeer
from gearsvc.protocols.gearman import keep_alive
from gearsvc.protocols.httprequest import SERVER, JobRequest, Refused, Submission, later, phrase

if TYPE_CHECKING:
    from gearsvc.protocols.http import HTTPFactory

MAX_HEAD = 32 * 1024
"""
How many bytes the head of a request may have.  The name of a function may have
8191, which are three times as many where each of them is written as %XX.
"""

MAX_HEADERS = 200
"""How many headers a request may have."""

IDLE_SECONDS = 60.0
"""How long a connection may wait for its next request."""

READING_SECONDS = 30.0
"""How long a request's head may take, then each 16 KiB of its body."""

STALLED_SECONDS = 60.0
"""How long a client may read nothing of what is waiting for it."""

LINGER = 2.0
"""
Seconds for which a connection that we end is still read from.  Closing it at
once, with bytes of the client's unread, would reset it, and the answer that
says why be lost on the way.
"""

# A packet's size is a number of 32 bits, and a workload is handed to a worker
# with its function's name and more.
_LARGEST = (1 << 32) - (1 << 16)

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


class Phase(Enum):
    """
    What a connection is about.
    """

    IDLE = "waits for a request"
    READING = "reads a request"
    WORKING = "waits for the job"
    ANSWERING = "has the rest of an answer to send"
    ENDING = "has nothing more to say"
    LINGERING = "waits for the client to close its side"


@implementer(IPeer, IHalfCloseableProtocol)
class HTTPConnection(HTTPChannel):
    """
    One connection of an HTTP client.

    @ivar session: what the job server knows of it.
    @ivar congested: whether it reads too slowly for what it is sent.
    @ivar phase: what it is about.
    @ivar deadline: when that takes too long.
    @ivar max_body: how many bytes a body may have.
    @ivar max_output: how many bytes may wait for it.
    """

    factory: HTTPFactory
    transport: Any
    requestFactory: Any = JobRequest

    # A line feed ends a line, for a request may be typed by hand; that there
    # is a carriage return before each or before none is seen to below.
    delimiter = b"\n"
    # Of the head's limits ours come first: they have an answer of their own.
    MAX_LENGTH = MAX_HEAD
    totalHeadersSize = 2 * MAX_HEAD
    maxHeaders = 2 * MAX_HEADERS

    def __init__(self, factory: HTTPFactory) -> None:
        super().__init__()
        self.factory = factory
        self.descriptor = -1
        self.congested = False
        self.phase = Phase.IDLE
        self.deadline = inf
        self.max_body = min(factory.settings.max_packet, _LARGEST)
        self.max_output = factory.settings.max_output
        self._server = factory.server
        self._answers = PacketDecoder(0xFFFFFFFF, RESPONSE)
        self._stalled = inf
        self._is_reading = False
        self._rest = b""
        self._start_head()

    def _start_head(self) -> None:
        self._request_line = b""
        self._is_typed = False
        self._head_size = 0
        self._head_lines = 0

    def _enter(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self.deadline = self.factory.clock.seconds() + seconds

    # Connecting

    def connectionMade(self) -> None:
        """
        Let the client in.
        """
        super().connectionMade()
        transport = self.transport
        if isinstance(transport, Connection):
            handle = transport.getHandle()
            self.descriptor = handle.fileno()
            if handle.family != socket.AF_UNIX:
                keep_alive(transport, self.factory.settings)
        self._connect()
        self._enter(Phase.IDLE, IDLE_SECONDS)
        self.factory.joined(self)

    def _connect(self) -> None:
        self.session = self._server.connect(self)
        self.session.exceptions = True

    def _let_go(self) -> None:
        """
        Wait no more for the job.
        """
        self._server.disconnect(self.session)
        self._connect()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Let the client go, and with it its job.
        """
        self.phase = Phase.ENDING
        super().connectionLost(reason)
        self._server.disconnect(self.session)
        self.factory.left(self)

    def readConnectionLost(self) -> None:
        """
        The client has closed its side.  One who waits has gone; one for whom
        there is an answer gets all of it.
        """
        if self.phase is Phase.ANSWERING:
            self.persistent = False
        elif self.phase is Phase.ENDING:
            self._enter(Phase.LINGERING, inf)
        else:
            if self.phase is Phase.WORKING:
                self._let_go()
            self._enter(Phase.ENDING, STALLED_SECONDS)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        All is sent, and the client told so: it has a moment to close its side.
        """
        if self.phase is Phase.LINGERING:
            self.transport.loseConnection()
        else:
            self._enter(Phase.LINGERING, LINGER)

    def loseConnection(self) -> None:
        """
        End the connection once everything is sent; nothing more is taken from
        it.
        """
        if self._is_ending():
            return
        self._enter(Phase.ENDING, STALLED_SECONDS)
        self._stalled = inf
        transport = self.transport
        transport.unregisterProducer()
        if IHalfCloseableDescriptor(transport, None) is not None:
            transport.resumeProducing()
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def _is_ending(self) -> bool:
        return self.phase is Phase.ENDING or self.phase is Phase.LINGERING

    def break_off(self) -> None:
        """
        End the connection in the middle of an answer, so that the client
        notices.
        """
        if self.requests[0].chunked:
            # It misses the last chunk, and may have what was sent before.
            self.loseConnection()
        else:
            self.abort()

    def abort(self) -> None:
        """
        End the connection at once.
        """
        self._enter(Phase.ENDING, inf)
        self._stalled = inf
        self.transport.abortConnection()

    def end(self) -> None:
        """
        The server stops: let the client know.
        """
        self.persistent = False
        stopping = later("the server is stopping")
        if self.phase is Phase.READING:
            self.refuse(stopping)
        elif self.phase is Phase.IDLE:
            self.loseConnection()
        elif self.phase is Phase.WORKING and not self.requests[0].is_background:
            # (A job in the background is being stored: what has come in is
            # still acknowledged.)
            self._let_go()
            self.requests[0].refuse(stopping)

    # Time

    def look_at_clock(self, now: float) -> None:
        """
        End what takes too long.
        """
        if now >= self._stalled:
            self.factory.stalled(self)
            self.abort()
        elif now >= self.deadline:
            self._be_late()

    def _be_late(self) -> None:
        if self.phase is Phase.READING:
            self.refuse(Refused(408, "the request took too long to arrive"))
        elif self.phase is Phase.WORKING:
            self._let_go()
            self.requests[0].refuse(Refused(504, f"the job has no result after {self.factory.job_seconds:g} s (--http-timeout)"))
        elif self.phase is Phase.LINGERING:
            self.transport.loseConnection()
        elif self.phase is Phase.ENDING:
            self.abort()
        else:
            self.loseConnection()

    def expect_more(self) -> None:
        """
        What was awaited has come: the rest of the request has as much time
        again.
        """
        if self.phase is Phase.READING:
            self._enter(Phase.READING, READING_SECONDS)

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Take what was read.
        """
        if self._is_ending():
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.READING, READING_SECONDS)
        if self._rest:
            data, self._rest = self._rest + data, b""
        self._is_reading = True
        try:
            super().dataReceived(data)
        finally:
            self._is_reading = False

    def lineReceived(self, line: bytes) -> bool:
        """
        Take a line of a head.

        @return: whether that was the last line to take.
        """
        typed = line[-1:] != b"\r"
        if not typed:
            line = line[:-1]
        self._head_size += len(line) + 2
        if not self._request_line:
            self._request_line = line
            self._is_typed = typed
            version = line.rpartition(b" ")[2]
            if version[:5] == b"HTTP/" and version not in (b"HTTP/1.0", b"HTTP/1.1"):
                self.refuse(Refused(505, "HTTP/1.1 is spoken here, and HTTP/1.0"))
                return True
        else:
            self._head_lines += 1
            if self._head_size > MAX_HEAD or self._head_lines > MAX_HEADERS + 1:
                self._refuse_head()
                return True
            if typed != self._is_typed:
                # What one takes for the end of a line and another does not
                # smuggles headers past a proxy.
                self.refuse(Refused(400, "a line of the head ends otherwise than the first: all of them end with CR LF"))
                return True
        super().lineReceived(line)
        return self._is_ending()

    def lineLengthExceeded(self, line: bytes) -> bool:
        """
        A line is too long.
        """
        if self._request_line:
            self._refuse_head()
        else:
            self.refuse(Refused(414, f"the request line is longer than {MAX_HEAD} bytes"))
        return True

    def _refuse_head(self) -> None:
        self.refuse(Refused(431, f"the head is larger than {MAX_HEAD} bytes, or has more than {MAX_HEADERS} headers"))

    def headerReceived(self, line: bytes) -> bool:
        """
        Take a header.
        """
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > 19 and value.strip().isdigit():
            # Python makes no number of some thousand digits.
            self.refuse(Refused(413, "the workload is larger than any server's limit"))
            return False
        if b"\0" in line or b"\r" in line or not _TOKEN.fullmatch(name):
            # Older releases of Twisted let some of it pass.
            self._respondToBadRequestAndDisconnect()
            return False
        taken: bool = super().headerReceived(line)
        return taken

    def allHeadersReceived(self) -> None:
        """
        The head is complete.
        """
        self.expect_more()
        request: JobRequest = self.requests[-1]
        method, target, version = self._request_line.split(b" ")
        encodings = request.requestHeaders.getRawHeaders(b"Transfer-Encoding", [])
        if encodings and (version == b"HTTP/1.0" or [each.lower() for each in encodings] != [b"chunked"]):
            self.refuse(Refused(400, "the one Transfer-Encoding is chunked, and HTTP/1.0 has none"))
            return
        request.read_head(method, target, version, self.length)
        if not isinstance(request.submission, Refused):
            super().allHeadersReceived()
            return
        expected = request.requestHeaders.hasHeader(b"Expect")
        # Or the client would be asked to go on.
        request.requestHeaders.removeHeader(b"Expect")
        super().allHeadersReceived()
        if self.length != 0 and (expected or request.submission.code == 413):
            request.refuse_now()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """
        Whether another request may follow on this connection.
        """
        if self.is_closing_down:
            return False
        values = request.requestHeaders.getRawHeaders(b"Connection", [])
        tokens = {token.strip().lower() for value in values for token in value.split(b",")}
        if b"close" in tokens:
            return False
        return version == b"HTTP/1.1" or b"keep-alive" in tokens

    def allContentReceived(self) -> None:
        """
        The request is complete, unless it was refused before.
        """
        if self._is_ending():
            return
        self._start_head()
        super().allContentReceived()

    def setLineMode(self, extra: bytes = b"") -> None:
        """
        A request is over; what came behind it is the next one.
        """
        if extra:
            self._enter(Phase.READING, READING_SECONDS)
        else:
            self._enter(Phase.IDLE, IDLE_SECONDS)
        if self._is_reading or not extra:
            super().setLineMode(extra)
            return
        # The job server is telling its peers what there is to tell: a new
        # request has to wait until it is through.
        super().setLineMode()
        self._rest = extra
        self.factory.clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        if self._rest:
            self.dataReceived(b"")

    def refuse(self, refused: Refused) -> None:
        """
        Answer what is no request, or not a whole one, and end the connection.
        """
        if self._is_ending():
            return
        body = refused.reason.encode() + b"\n"
        headers = Headers()
        for name, value in refused.headers.items():
            headers.setRawHeaders(name, [value])
        headers.setRawHeaders(b"Server", [SERVER])
        headers.setRawHeaders(b"Date", [self.factory.date()])
        headers.setRawHeaders(b"Content-Type", [b"text/plain; charset=utf-8"])
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        headers.setRawHeaders(b"Connection", [b"close"])
        self.writeHeaders(b"HTTP/1.1", b"%d" % refused.code, phrase(refused.code), headers)
        self.transport.write(body)
        self.loseConnection()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """
        Send the head of an answer in one piece.  (Twisted's method gives each
        word to the transport, which takes as long as all the rest of it.)
        """
        lines = [b"%b %b %b\r\n" % (version, code, reason)]
        lines += [b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        lines.append(b"\r\n")
        self.transport.write(b"".join(lines))

    def _respondToBadRequestAndDisconnect(self) -> None:
        """
        Twisted's parser can make nothing of it.
        """
        if not self.line_mode:
            reason = "the body's chunks are malformed"
        elif self._head_lines == 0:
            reason = "a request begins with METHOD /FUNCTION HTTP/1.1"
        else:
            reason = "a header is no 'Name: value', or the headers do not agree on the body's length"
        self.refuse(Refused(400, reason))

    # The job server's side

    @property
    def host(self) -> str:
        """
        The client's address; C{-} for that of a Unix socket, which has none.
        """
        return getattr(self.transport.getPeer(), "host", None) or "-"

    @property
    def is_closing_down(self) -> bool:
        """
        Whether the server takes no more jobs.
        """
        return self._server.draining or self.factory.is_ending

    def submit(self, submission: Submission, workload: bytes) -> None:
        """
        Submit the request's job.  What the job server says of it is the
        request's to hear.
        """
        self._enter(Phase.WORKING, self.factory.job_seconds or inf)
        function, unique, priority, background = submission
        self._server.submit(self.session, function, unique, workload, priority, background)
        self._server.flush()

    def transmit(self, chunks: list[bytes]) -> None:
        """
        Take the packets of a turn.  See L{IPeer}.
        """
        for kind, body in self._answers.feed(b"".join(chunks)):
            if self.phase is Phase.WORKING:
                self.requests[0].told(kind, body)

    def answering(self) -> None:
        """
        The request has all of its answer, and the client has to take it.
        """
        self._enter(Phase.ANSWERING, inf)

    def close(self) -> None:
        """
        Close once everything is sent.  See L{IPeer}.
        """
        self.loseConnection()

    def overflow(self, waiting: int) -> None:
        """
        End the connection at once, with a line in the log.  See L{IPeer}.
        """
        self.factory.overflowed(self, waiting)
        self.abort()

    def pauseProducing(self) -> None:
        """
        The transport has enough for now.
        """
        super().pauseProducing()
        self.congested = True
        self._stalled = self.factory.clock.seconds() + STALLED_SECONDS

    def resumeProducing(self) -> None:
        """
        The transport has sent what it had.
        """
        super().resumeProducing()
        self.congested = False
        self._stalled = inf
        if self.requests:
            self.requests[0].resume()
