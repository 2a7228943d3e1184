"""
C{/events}: what happens to jobs, as it happens, as server-sent events.

Each event has the observer interface's name for it and a JSON object::

    event: job_failed
    data: {"time": 1764320000.25, "function": "resize", "handle": "H:vm:1", "unique": "u", "reason": "fail"}

A reader that does not keep up loses events, and is told how many with the next
one that it gets::

    event: lost
    data: {"count": 1203}

A reader that only wants to know when to look again asks for the event
C{changed}: it comes once a second at most, and costs nothing for each job.

What is on its way to a reader is bounded, so that a slow one, or one that never
reads, costs the server next to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.web.http import BAD_REQUEST, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from gearsvc.console.series import Series
from gearsvc.core.explain import text
from gearsvc.core.jobs import Job
from gearsvc.core.observing import EVENTS
from gearsvc.core.sessions import Session
from gearsvc.interfaces import IJobObserver

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer

MAX_READERS = 100
"""
How many may read events at once.
"""

MAX_WAITING = 1000
MAX_BYTES = 256 * 1024
"""
How many events wait for a reader at most, and about how many bytes; those beyond
are lost to it.  (A name may have 8191 bytes, and five times as many once it is
escaped.)
"""

GATHER = 0.1
"""
Seconds for which events are gathered, so that a thousand of them are one write.
"""

CHANGED = "changed"
"""
The event that says that something is other than it was; only for those who ask
for it by name.
"""

HEARTBEAT = 15.0
"""
Seconds of silence after which a comment is sent, which keeps connections open
through proxies, and finds out about those that are gone.
"""


@implementer(IJobObserver, IPushProducer)
class EventStream:
    """
    Writes events to one reader.

    @ivar events: which.
    @ivar lost: how many this reader has missed and was not told of yet.
    """

    def __init__(
        self,
        server: JobServer,
        request: Request,
        reactor: Any,
        events: Collection[str],
        functions: Collection[bytes],
        series: Series,
    ) -> None:
        """
        @param functions: of which functions; none is of all.
        @param series: tells when something has changed.
        """
        self.events = tuple(event for event in events if event != CHANGED)
        self._series = series if CHANGED in events else None
        self.lost = 0
        self._server = server
        self._request = request
        self._reactor = reactor
        self._functions = functions
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._call: IDelayedCall | None = None
        self._paused = False

    def start(self) -> None:
        """
        Write events from now on.
        """
        request = self._request
        request.setHeader("content-type", "text/event-stream; charset=utf-8")
        request.setHeader("x-accel-buffering", "no")
        request.registerProducer(self, True)
        request.notifyFinish().addErrback(lambda reason: self.stop())
        # The reader learns that it is connected, and how soon to come again.
        request.write(b"retry: 2000\n\n")
        if self.events:
            self._server.observers.add(self)
        if self._series is not None:
            self._series.watch(self._changed)
        self._wait(HEARTBEAT)

    def stop(self) -> None:
        """
        Write no more.
        """
        if self.events:
            self._server.observers.remove(self)
        if self._series is not None:
            self._series.unwatch(self._changed)
        self._waiting.clear()
        self._bytes = 0
        if self._call is not None:
            self._call.cancel()
            self._call = None

    # What the connection tells.

    def pauseProducing(self) -> None:
        """
        The reader does not keep up.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        The reader has read what it was sent.
        """
        self._paused = False
        self._soon()

    def stopProducing(self) -> None:
        """
        The reader is gone; L{stop} is called for that.
        """

    # What the job server tells.

    def job_submitted(self, job: Job) -> None:
        """See L{IJobObserver}."""
        self._write_job("job_submitted", job)

    def job_started(self, job: Job, worker: Session) -> None:
        """See L{IJobObserver}."""
        self._write_job("job_started", job, worker=worker.number)

    def job_progressed(self, job: Job) -> None:
        """See L{IJobObserver}."""
        numerator, denominator = job.progress or (b"0", b"0")
        self._write_job("job_progressed", job, numerator=text(numerator), denominator=text(denominator))

    def job_completed(self, job: Job, result: bytes) -> None:
        """See L{IJobObserver}."""
        self._write_job("job_completed", job, size=len(result))

    def job_failed(self, job: Job, reason: str, data: bytes) -> None:
        """See L{IJobObserver}."""
        self._write_job("job_failed", job, reason=reason)

    def job_retried(self, job: Job, reason: str) -> None:
        """See L{IJobObserver}."""
        self._write_job("job_retried", job, reason=reason, attempts=job.attempts)

    def job_cancelled(self, job: Job, reason: str) -> None:
        """See L{IJobObserver}."""
        self._write_job("job_cancelled", job, reason=reason)

    def worker_joined(self, worker: Session, function: bytes) -> None:
        """See L{IJobObserver}."""
        self._write("worker_joined", function, lambda: {"worker": worker.number})

    def worker_left(self, worker: Session, function: bytes) -> None:
        """See L{IJobObserver}."""
        self._write("worker_left", function, lambda: {"worker": worker.number})

    def _changed(self) -> None:
        if not self._full():
            self._add(CHANGED, {"time": round(self._server.clock.time(), 3)})

    def _write_job(self, event: str, job: Job, **more: object) -> None:
        self._write(event, job.function, lambda: {"handle": text(job.handle), "unique": text(job.unique), **more})

    def _write(self, event: str, function: bytes, fields: Callable[[], dict[str, object]]) -> None:
        """
        @param fields: makes what the event says; called only if somebody will
            read it.
        """
        if self._functions and function not in self._functions:
            return
        if self._full():
            self.lost += 1
            return
        self._add(event, {"time": round(self._server.clock.time(), 3), "function": text(function), **fields()})

    def _full(self) -> bool:
        return self._paused or len(self._waiting) >= MAX_WAITING or self._bytes >= MAX_BYTES

    def _add(self, event: str, said: dict[str, object]) -> None:
        written = _event(event, said)
        self._waiting.append(written)
        self._bytes += len(written)
        if len(self._waiting) == 1:
            self._soon()

    def _soon(self) -> None:
        self._wait(GATHER)

    def _wait(self, seconds: float) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = self._reactor.callLater(seconds, self._flush)

    def _flush(self) -> None:
        self._call = None
        if not self._paused:
            waiting, self._waiting, self._bytes = self._waiting, [], 0
            if self.lost:
                waiting.append(_event("lost", {"count": self.lost}))
                self.lost = 0
            self._request.write(b"".join(waiting) or b":\n\n")
        self._wait(HEARTBEAT)


def _event(name: str, said: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(said)}\n\n".encode()


class EventsResource(Resource):
    """
    Answers with a stream of events: C{?function=NAME} and C{?event=NAME}, each
    as often as wanted, choose which.
    """

    isLeaf = True

    def __init__(self, server: JobServer, reactor: Any, series: Series) -> None:
        """
        @param reactor: calls later.
        @param series: tells when something has changed.
        """
        super().__init__()
        self._server = server
        self._series = series
        self._reactor = reactor
        self.streams: set[EventStream] = set()

    def render_GET(self, request: Request) -> bytes | int:
        """
        Begin a stream.
        """
        arguments: dict[bytes, list[bytes]] = request.args or {}
        events = [name.decode("ascii", "replace") for name in arguments.get(b"event", [])]
        unknown = sorted(set(events) - {*EVENTS, CHANGED})
        if unknown:
            return self._refuse(request, BAD_REQUEST, f"There is no event {ascii(unknown[0])}; there is: {', '.join((*EVENTS, CHANGED))}.")
        if len(self.streams) >= MAX_READERS:
            request.setHeader("retry-after", "5")
            return self._refuse(request, SERVICE_UNAVAILABLE, f"{MAX_READERS} read events already; come again later.")
        stream = EventStream(
            self._server,
            request,
            self._reactor,
            tuple(events) or EVENTS,
            frozenset(arguments.get(b"function", [])),
            self._series,
        )
        self.streams.add(stream)
        request.notifyFinish().addBoth(lambda _: self.streams.discard(stream))
        stream.start()
        return NOT_DONE_YET

    @staticmethod
    def _refuse(request: Request, code: int, reason: str) -> bytes:
        request.setResponseCode(code)
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return reason.encode() + b"\n"
