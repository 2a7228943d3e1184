"""
A job that is submitted through the console.

To the job server, a L{Submission} is a connection like any other: a client that
submits one job, waits for what comes of it, and goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gearsvc.console.problems import Problem
from gearsvc.console.values import Name, Payload, payload
from gearsvc.core.packets import RESPONSE, Type
from gearsvc.core.wire import PacketDecoder
from gearsvc.interfaces import IPeer

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer

CLIENT_ID = b"console"
"""
What such a client calls itself.
"""

MAX_RESULT = 16 * 1024 * 1024
"""
How many bytes a result may have.
"""


@dataclass(frozen=True, slots=True)
class Submitted:
    """
    What came of a job that was submitted.

    @ivar state: C{"accepted"} (a job in the background), C{"completed"},
        C{"failed"} or C{"exception"}.
    @ivar data: what the worker sent before the job's end (WORK_DATA); C{None}
        if it did not.
    @ivar warnings: the warnings it sent.
    @ivar result: the result or the exception, the whole of it; C{None} if there is none.
    """

    handle: Name
    state: str
    data: Payload | None
    warnings: list[Payload]
    result: Payload | None


@implementer(IPeer)
class Submission:
    """
    One job of a client that is not there otherwise.

    @ivar host: whose it is.
    @ivar done: fires with a L{Submitted}, or fails with a L{Problem}.
        Cancelling it is to wait no more: a job in the foreground that no
        worker has is then gone.
    """

    descriptor = -1
    congested = False

    def __init__(self, server: JobServer, reactor: Any, host: str) -> None:
        self.host = host
        self.done: Deferred[Submitted] = Deferred(lambda _: self._leave())
        self._server = server
        self._reactor = reactor
        self._decoder = PacketDecoder(0xFFFFFFFF, RESPONSE)
        self._background = False
        self._handle = b""
        self._data: list[bytes] = []
        self._warnings: list[bytes] = []
        self._size = 0
        self._has_data = False
        self._timer: Any = None
        self._outcome: Submitted | Problem | None = None
        self.session = server.connect(self)
        self.session.client_id = CLIENT_ID
        self.session.exceptions = True

    def submit(
        self, function: bytes, unique: bytes, workload: bytes, priority: int, background: bool, run_at: int, seconds: float
    ) -> Deferred[Submitted]:
        """
        Submit the job.

        @param run_at: not before this time, in Unix seconds; 0 is at once.
        @param seconds: how long to wait for its end, at most.
        @return: L{done}.
        """
        self._background = background
        if not background:
            self._timer = self._reactor.callLater(seconds, self._time_out, seconds)
        self._server.submit(self.session, function, unique, workload, priority, background, run_at)
        self._server.flush()
        return self.done

    # What the job server asks of its peers

    def transmit(self, chunks: list[bytes]) -> None:
        """
        Hear of the job.
        """
        for kind, body in self._decoder.feed(b"".join(chunks)):
            if self._outcome is None:
                self._told(kind, body)

    def close(self) -> None:
        """
        Nothing that it sends leads to this; see L{IPeer}.
        """
        self._fail(502, "The job server has ended the connection.")

    def overflow(self, waiting: int) -> None:
        """
        It takes all it is sent, so this is not called; see L{IPeer}.
        """
        self._fail(502, "The job server has ended the connection.")

    def _told(self, kind: int, body: bytes) -> None:
        if kind == Type.ERROR:
            code, _, text = body.partition(b"\0")
            reason = text.decode("utf-8", "backslashreplace")
            if code == b"QUEUE_ERROR":
                self._fail(503, f"The job was not accepted: {reason}.".replace("..", "."), Retry_After="5")
            else:
                self._fail(400, f"The job was not accepted: {reason}.")
        elif kind == Type.JOB_CREATED:
            self._handle = body
            if self._background:
                self._succeed("accepted", None)
        elif kind in (Type.WORK_DATA, Type.WORK_WARNING):
            data = body.partition(b"\0")[2]
            self._size += len(data)
            if self._size > MAX_RESULT:
                self._fail(502, f"The worker has sent more than {MAX_RESULT:,} bytes; submit such jobs with a Gearman client.")
            elif kind == Type.WORK_DATA:
                self._has_data = True
                self._data.append(data)
            else:
                self._warnings.append(data)
        elif kind == Type.WORK_COMPLETE:
            self._succeed("completed", body.partition(b"\0")[2])
        elif kind == Type.WORK_EXCEPTION:
            self._succeed("exception", body.partition(b"\0")[2])
        elif kind == Type.WORK_FAIL:
            self._succeed("failed", None)

    def _time_out(self, seconds: float) -> None:
        self._timer = None
        handle = Name(self._handle)
        self._fail(504, f"The job {handle} was not done after {seconds:g} s; if a worker has it, it goes on.")

    def _succeed(self, state: str, result: bytes | None) -> None:
        self._end(
            Submitted(
                Name(self._handle),
                state,
                _whole(b"".join(self._data)) if self._has_data else None,
                [_whole(each) for each in self._warnings],
                _whole(result) if result is not None else None,
            )
        )

    def _fail(self, status: int, sentence: str, **headers: str) -> None:
        if self._outcome is None:
            self._end(Problem(status, sentence, **headers))

    def _end(self, outcome: Submitted | Problem) -> None:
        # In a later turn: the job server is in the midst of something.
        self._outcome = outcome
        self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        if not self.done.called:
            outcome = self._outcome
            self._leave()
            if isinstance(outcome, Problem):
                self.done.errback(outcome)
            elif outcome is not None:
                self.done.callback(outcome)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._server.disconnect(self.session)


def _whole(data: bytes) -> Payload:
    return payload(data, len(data), len(data), False)
