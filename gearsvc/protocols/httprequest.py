"""
One HTTP request, which is a job.

The path names the function, some headers say the rest (L{read_head}), and the
body is the workload.  What the job server sends to a client is packets:
L{JobRequest.told} makes the answer of them.
"""

from __future__ import annotations

import re
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Mapping, NamedTuple
from urllib.parse import unquote_to_bytes

from twisted.web.http import Request
from twisted.web.http_headers import Headers

from gearsvc import __version__
from gearsvc.core.jobs import Priority
from gearsvc.core.packets import Type

if TYPE_CHECKING:
    from gearsvc.protocols.httpconnection import HTTPConnection

METHODS = (b"GET", b"HEAD", b"POST", b"PUT")
"""What a job can be submitted by."""

RETRY_AFTER = 5
"""Seconds after which a client that got a 503 may try again."""

PIECE = 256 * 1024
"""How much of an answer is given to the transport at once."""

BODY_MARK = 16 * 1024
"""After so many more bytes of its body, a request has as much time again."""

PRIORITIES = {b"": Priority.NORMAL, b"high": Priority.HIGH, b"normal": Priority.NORMAL, b"low": Priority.LOW}

SERVER = b"Gearman/" + __version__.encode()

_BACKGROUND = {b"": False, b"false": False, b"true": True}
_AUTHORITY = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(rb"[^\x21-\x7e]")


class Refused(Exception):
    """
    A request that gets no job.

    @ivar code: the status of the answer.
    @ivar reason: what is wrong, in a line for people.
    @ivar headers: what else the answer says.
    """

    def __init__(self, code: int, reason: str, headers: Mapping[str, str] = {}) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.headers = headers


class Submission(NamedTuple):
    """
    What the head of a request asks for.
    """

    function: bytes
    unique: bytes
    priority: Priority
    background: bool


def later(reason: str) -> Refused:
    """
    A refusal for the time being.
    """
    return Refused(503, reason, {"Retry-After": str(RETRY_AFTER)})


def phrase(code: int) -> bytes:
    """
    What stands behind a status.
    """
    return HTTPStatus(code).phrase.encode()


def read_head(method: bytes, target: bytes, headers: Headers) -> Submission:
    """
    Read what a request's head asks for.

    @param target: what stands in the request line.
    @raise Refused: if it asks for nothing that there is.
    """
    if method not in METHODS:
        allowed = b", ".join(METHODS).decode()
        raise Refused(405, f"a job is submitted by one of {allowed}", {"Allow": allowed})
    path = _AUTHORITY.sub(b"", target, 1).split(b"?", 1)[0]
    if path[:1] not in (b"/", b""):
        raise Refused(400, "the path begins with a slash: /FUNCTION")
    if _BAD_ESCAPE.search(path):
        raise Refused(400, "the path has a % without two hexadecimal digits after it; a % itself is written %25")
    function = unquote_to_bytes(path[1:])
    if not function:
        raise Refused(404, "the path names a function: /FUNCTION")
    if b"\0" in function:
        # A worker would take what is behind it for the workload.
        raise Refused(400, "the path has a NUL (%00): a function's name cannot hold one")
    priority = _only(headers, "X-Gearman-Priority").lower()
    if priority not in PRIORITIES:
        raise Refused(400, "X-Gearman-Priority is high, normal or low")
    background = _only(headers, "X-Gearman-Background").lower()
    if background not in _BACKGROUND:
        raise Refused(400, "X-Gearman-Background is true or false")
    return Submission(function, _only(headers, "X-Gearman-Unique"), PRIORITIES[priority], _BACKGROUND[background])


def _only(headers: Headers, name: str) -> bytes:
    values = headers.getRawHeaders(name.encode(), [])
    if len(values) > 1:
        raise Refused(400, f"{name} is there more than once")
    return values[0] if values else b""


class JobRequest(Request):
    """
    One request, from its head to the end of its answer.

    @ivar submission: what is asked for, or why it is refused.
    @ivar is_complete: whether all of the answer is known.
    """

    channel: HTTPConnection

    def __init__(self, channel: HTTPConnection, queued: object = False) -> None:
        super().__init__(channel, False)
        self.submission: Submission | Refused
        self.is_complete = False
        self._body: list[bytes] = []
        self._size = 0
        self._mark = BODY_MARK
        self._handle = b""
        # What waits for the client to read, as (bytes, where to go on in them).
        self._unsent: deque[tuple[bytes, int]] = deque()
        self._unsent_size = 0
        # How much a HEAD would have got, had it been a GET.
        self._streamed = 0

    @property
    def is_background(self) -> bool:
        """
        Whether it waits for no more than its job's handle.
        """
        return isinstance(self.submission, Submission) and self.submission.background

    # What comes in

    def read_head(self, method: bytes, target: bytes, version: bytes, length: int | None) -> None:
        """
        The head is complete.

        @param length: how long the body is; C{None} is not known yet.
        """
        self.method = method
        self.uri = target
        self.clientproto = version
        try:
            self._check_time()
            self.submission = read_head(method, target, self.requestHeaders)
            self._check_size(length or 0)
        except Refused as refused:
            self.submission = refused

    def _check_time(self) -> None:
        if self.channel.is_closing_down:
            raise later("the server takes no more jobs: it is about to stop")

    def _check_size(self, size: int) -> None:
        limit = self.channel.max_body
        if size > limit:
            raise Refused(413, f"the workload is larger than {limit} bytes, the limit of the server (--max-packet)")

    def parseCookies(self) -> None:
        """
        There are none that we know.
        """

    def gotLength(self, length: int | None) -> None:
        """
        A body follows.  Where Twisted would open a file for it, it is kept.
        """

    def handleContentChunk(self, data: bytes) -> None:
        """
        Take some of the body.
        """
        if self.finished:
            return
        self._size += len(data)
        if isinstance(self.submission, Refused):
            # There may be a great deal of it, and nobody wants it.
            pass
        elif self._size <= self.channel.max_body:
            self._body.append(data)
        else:
            self._body.clear()
            try:
                self._check_size(self._size)
            except Refused as refused:
                self.submission = refused
            self.refuse_now()
            return
        if self._size >= self._mark:
            self._mark = self._size + BODY_MARK
            self.channel.expect_more()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        The request is complete: submit its job.
        """
        try:
            self._check_time()
        except Refused as refused:
            self.channel.persistent = False
            self.submission = refused
        if isinstance(self.submission, Refused):
            self.refuse(self.submission)
            return
        workload = b"".join(self._body)
        self._body.clear()
        self.channel.submit(self.submission, workload)

    # What goes out

    def told(self, kind: int, body: bytes) -> None:
        """
        Hear from the job server.

        @param kind: the packet's type.
        """
        if kind == Type.JOB_CREATED:
            self._handle = body
            if self.is_background:
                self._answer(200, b"JOB_CREATED", b"")
        elif kind == Type.WORK_DATA:
            self._stream(body)
        elif kind == Type.WORK_COMPLETE:
            start = body.index(b"\0") + 1
            if self.startedWriting:
                self._push(body, start)
                self._complete()
            else:
                self._answer(200, b"WORK_COMPLETE", body, start)
        elif kind == Type.WORK_EXCEPTION:
            self._fail(b"WORK_EXCEPTION", body, body.index(b"\0") + 1)
        elif kind == Type.WORK_FAIL:
            self._fail(b"WORK_FAIL", b"the job failed\n", 0)
        elif kind == Type.ERROR:
            code, _, text = body.partition(b"\0")
            reason = text.decode(errors="replace")
            self.refuse(later(reason) if code == b"QUEUE_ERROR" else Refused(400, reason), b"ERROR")

    def refuse_now(self) -> None:
        """
        Refuse what has not come to its end: the rest of it is not read.
        """
        self.channel.persistent = False
        assert isinstance(self.submission, Refused)
        self.refuse(self.submission)

    def refuse(self, refused: Refused, command: bytes = b"") -> None:
        """
        Answer that there is no result; if a part of one was sent, break off,
        so that the client does not take it for the whole.
        """
        if self.startedWriting:
            self.channel.break_off()
            return
        for name, value in refused.headers.items():
            self.setHeader(name, value)
        self._answer(refused.code, command, refused.reason.encode() + b"\n", is_text=True)

    def _fail(self, command: bytes, body: bytes, start: int) -> None:
        if self.startedWriting:
            self.channel.break_off()
        else:
            self._answer(500, command, body, start, is_text=command == b"WORK_FAIL")

    def _answer(self, code: int, command: bytes, body: bytes, start: int = 0, is_text: bool = False) -> None:
        """
        Give an answer of which all is known.

        @param start: where in C{body} it begins.
        """
        self.setResponseCode(code, phrase(code))
        self._set_headers(command)
        if is_text:
            self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        self.setHeader(b"Content-Length", b"%d" % (len(body) - start + self._streamed))
        if self.method == b"HEAD":
            start = len(body)
        self._push(body, start)
        self._complete()

    def _set_headers(self, command: bytes) -> None:
        if self._handle:
            # One that an older server stored may hold anything.
            self.setHeader(b"X-Gearman-Job-Handle", _UNPRINTABLE.sub(b"?", self._handle))
        if command:
            self.setHeader(b"X-Gearman-Command", command)
        self.setHeader(b"Server", SERVER)
        self.setHeader(b"Date", self.channel.factory.date())
        if not self.channel.persistent:
            self.setHeader(b"Connection", b"close")
        elif self.clientproto == b"HTTP/1.0":
            self.setHeader(b"Connection", b"keep-alive")

    def _stream(self, body: bytes) -> None:
        """
        Send a part of the result as it comes.
        """
        start = body.index(b"\0") + 1
        if self.method == b"HEAD":
            self._streamed += len(body) - start
            return
        if not self.startedWriting:
            if self.clientproto == b"HTTP/1.0":
                # The end of the connection is the end of the result.
                self.channel.persistent = False
            self._set_headers(b"WORK_DATA")
        self._push(body, start)

    def _push(self, data: bytes, start: int) -> None:
        """
        Send a piece of the body, after all that waits.
        """
        if self._unsent_size > self.channel.max_output:
            self.channel.overflow(self._unsent_size)
            return
        self._unsent.append((data, start))
        self._unsent_size += len(data) - start
        self.resume()

    def _complete(self) -> None:
        self.is_complete = True
        self.channel.answering()
        self.resume()

    def resume(self) -> None:
        """
        Send on, as long as the client keeps up.
        """
        while self._unsent and not self.channel.congested:
            data, start = self._unsent.popleft()
            piece = data[start : start + PIECE] if start or len(data) > PIECE else data
            start += len(piece)
            if start < len(data):
                self._unsent.appendleft((data, start))
            self._unsent_size -= len(piece)
            self.write(piece)
        if self.is_complete and not self._unsent and not self.channel.congested:
            self.finish()
