"""
A job server on a table: no sockets, no reactor, a clock that stands still.

Tests read as dialogues, in the notation of C{tests/dialogue.py}: a message is
a packet's name and its arguments, with C{|} for the NUL between them, or a
line of text with its line end.  What a connection says returns what it has
heard since it was last asked::

    client, worker = self.connect(), self.worker("reverse")
    client.says("SUBMIT_JOB reverse|u1|hello")      # ["JOB_CREATED H:1"]
    worker.says("GRAB_JOB")                         # ["JOB_ASSIGN H:1|reverse|hello"]
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Any, Callable, Iterator
from unittest import TestCase

from zope.interface import implementer

from gearsvc.config import Settings
from gearsvc.core.jobs import Job, JobRecord, State
from gearsvc.core.jobserver import JobServer
from gearsvc.core.observing import EVENTS
from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.sessions import Session
from gearsvc.core.wire import PacketDecoder, encode
from gearsvc.interfaces import IJobObserver, IPeer

NOON = 1_000_000_000.0
"""When the clock starts: a Unix time like any other."""


class FakeAlarm:
    """
    A call that L{FakeClock} is yet to make.
    """

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.pending = True

    def cancel(self) -> None:
        """
        As the reactor's: cancelling what has been called, or cancelled, is an error.
        """
        assert self.pending, "cancelled too late, or twice"
        self.pending = False


class FakeClock:
    """
    Time that passes when a test says so.

    @ivar wall: what L{time} says.  It may be set without any time passing, as
        an administrator sets a machine's clock.
    """

    def __init__(self) -> None:
        self.wall = NOON
        self._elapsed = 0.0
        self._number = count()
        self._calls: list[tuple[float, int, FakeAlarm]] = []

    def time(self) -> float:
        """
        The time of day.
        """
        return self.wall

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: object) -> FakeAlarm:
        """
        Call a function once so many seconds have passed.
        """
        assert seconds >= 0
        alarm = FakeAlarm(function, arguments)
        heappush(self._calls, (self._elapsed + seconds, next(self._number), alarm))
        return alarm

    def advance(self, seconds: float = 0.0) -> None:
        """
        Let time pass, and make the calls that are due: also those that such a
        call asks for.
        """
        end = self._elapsed + seconds
        while self._calls and self._calls[0][0] <= end:
            at, _, alarm = heappop(self._calls)
            self._pass(at - self._elapsed)
            if alarm.pending:
                alarm.pending = False
                alarm.function(*alarm.arguments)
        self._pass(end - self._elapsed)

    def turn(self) -> None:
        """
        Make the calls that are due now, but not those that they ask for.
        """
        due = [alarm for at, _, alarm in self._calls if at <= self._elapsed and alarm.pending]
        for alarm in due:
            if alarm.pending:
                alarm.pending = False
                alarm.function(*alarm.arguments)

    def pending(self) -> int:
        """
        How many calls are yet to come.
        """
        return sum(alarm.pending for _, _, alarm in self._calls)

    def _pass(self, seconds: float) -> None:
        self._elapsed += seconds
        self.wall += seconds


class FakeStore:
    """
    A store that answers when the test says so.

    @ivar server: whom to answer.
    @ivar pending: what was added, and is not answered yet.
    @ivar rows: what is stored.
    @ivar calls: everything that was asked for, as in C{"add H:1"}.
    @ivar failure: what is wrong with it, where the test says so.
    """

    failure: str | None = None

    def __init__(self) -> None:
        self.server: JobServer | None = None
        self.pending: list[JobRecord] = []
        self.rows: set[JobRecord] = set()
        self.calls: list[str] = []
        self._removed: set[JobRecord] = set()

    def add(self, record: JobRecord) -> None:
        """
        Remember a job for the next answer.
        """
        assert record not in self.rows and record not in self.pending, "added twice"
        self.calls.append(f"add {record.handle.decode()}")
        self.pending.append(record)

    def update(self, record: JobRecord) -> None:
        """
        Take a job that has changed.
        """
        assert record in self.rows or record in self.pending, "updated, but never added"
        self.calls.append(f"update {record.handle.decode()}")

    def remove(self, record: JobRecord) -> None:
        """
        Take a job away; one that is not answered yet is answered all the same.
        """
        assert record in self.rows or record in self.pending, "removed, but never added"
        assert record not in self._removed, "removed twice"
        self.calls.append(f"remove {record.handle.decode()}")
        if record in self.rows:
            self.rows.remove(record)
        else:
            self._removed.add(record)

    def answers(self, failure: str | None = None, number: int | None = None) -> None:
        """
        Commit the oldest jobs that wait for it, or refuse them.

        @param number: how many; all, unless told otherwise.
        """
        number = len(self.pending) if number is None else number
        batch, self.pending = self.pending[:number], self.pending[number:]
        if failure is None:
            self.rows.update(record for record in batch if record not in self._removed)
        self._removed.difference_update(batch)
        assert self.server is not None
        self.server.stored(batch, failure)


@implementer(IPeer)
class Connection:
    """
    One connection to the server: what is at its other end, and how to talk.

    @ivar session: what the server knows of it.
    @ivar congested: whether its peer has stopped reading.
    @ivar closed: whether the server has closed it.
    @ivar overflowed: with how many bytes waiting the server has ended it.
    @ivar writes: how many times the server has transmitted something.
    """

    def __init__(self, server: JobServer, descriptor: int = 7, host: str = "127.0.0.1") -> None:
        self.host = host
        self.descriptor = descriptor
        self.congested = False
        self.closed = False
        self.writes = 0
        self.overflowed = 0
        self.server = server
        self._requests = PacketDecoder(server.settings.max_packet)
        self._responses = PacketDecoder(magic=RESPONSE)
        self._heard: list[str] = []
        self.session: Session = server.connect(self)

    def transmit(self, chunks: list[bytes]) -> None:
        """
        See L{IPeer.transmit}.
        """
        if self.closed or self.session not in self.server.sessions:
            return
        self.writes += 1
        self._heard += map(readable, self._responses.feed(b"".join(chunks)))
        assert self._responses.failure is None, self._responses.failure

    def close(self) -> None:
        """
        See L{IPeer.close}.
        """
        self.closed = True

    def overflow(self, waiting: int) -> None:
        """
        See L{IPeer.overflow}.
        """
        self.overflowed = waiting
        self.server.disconnect(self.session)

    def says(self, *messages: str) -> list[str]:
        """
        Send messages in one write.

        @return: what has come since the last call, the replies included.
        """
        return self.sends(b"".join(map(wire_form, messages)))

    def sends(self, data: bytes) -> list[str]:
        """
        The same, with the very bytes.
        """
        self.server.receive(self.session, self._requests.feed(data))
        if self._requests.failure is not None and not self.session.closed:
            self.server.fail(self.session, self._requests.failure)
        self.server.flush()
        return self.hears()

    def hears(self) -> list[str]:
        """
        What has come since the last call.
        """
        heard, self._heard = self._heard, []
        return heard

    def hangs_up(self) -> None:
        """
        End the connection from this side.
        """
        self.server.disconnect(self.session)


def wire_form(message: str) -> bytes:
    """
    The bytes of a message, as a client or a worker sends it.
    """
    if message.endswith("\n"):
        return message.encode("latin-1")
    name, _, arguments = message.partition(" ")
    return encode(Type[name], arguments.encode("latin-1").replace(b"|", b"\0"), REQUEST)


def readable(packet: tuple[int, bytes]) -> str:
    """
    The message that a packet of the server's is.
    """
    kind, body = packet
    if kind == Type.TEXT:
        return body.decode("latin-1") + "\n"
    assert kind != Type.WRONG_DIRECTION, "the server sent a request"
    text = body.decode("latin-1").replace("\0", "|")
    return f"{Type(kind).name} {text}" if text else Type(kind).name


@implementer(IJobObserver)
class Recorder:
    """
    An observer that writes down what it hears.

    @ivar events: what it wants to hear of: all of it.
    @ivar heard: as in C{"job_retried H:1 lost"} or C{"worker_joined f"}.
    """

    events = EVENTS

    def __init__(self) -> None:
        self.heard: list[str] = []

    def takes(self) -> list[str]:
        """
        What has happened since the last call.
        """
        heard, self.heard = self.heard, []
        return heard

    def _write(self, *words: str | bytes) -> None:
        self.heard.append(" ".join(word.decode() if isinstance(word, bytes) else word for word in words))

    def job_submitted(self, job: Job) -> None:
        """See L{IJobObserver}."""
        self._write("job_submitted", job.handle)

    def job_started(self, job: Job, worker: Session) -> None:
        """See L{IJobObserver}."""
        assert job.worker is worker and job.state == State.RUNNING
        self._write("job_started", job.handle)

    def job_progressed(self, job: Job) -> None:
        """See L{IJobObserver}."""
        assert job.progress is not None
        self._write("job_progressed", job.handle, *job.progress)

    def job_completed(self, job: Job, result: bytes) -> None:
        """See L{IJobObserver}."""
        assert job.worker is not None and job.state == State.RUNNING
        self._write("job_completed", job.handle, *filter(None, [result]))

    def job_failed(self, job: Job, reason: str, data: bytes) -> None:
        """See L{IJobObserver}."""
        assert job.state != State.FINISHED
        self._write("job_failed", job.handle, reason, *filter(None, [data]))

    def job_retried(self, job: Job, reason: str) -> None:
        """See L{IJobObserver}."""
        assert job.state == State.QUEUED
        self._write("job_retried", job.handle, reason)

    def job_cancelled(self, job: Job, reason: str) -> None:
        """See L{IJobObserver}."""
        assert job.state != State.FINISHED
        self._write("job_cancelled", job.handle, reason)

    def worker_joined(self, worker: Session, function: bytes) -> None:
        """See L{IJobObserver}."""
        self._write("worker_joined", function)

    def worker_left(self, worker: Session, function: bytes) -> None:
        """See L{IJobObserver}."""
        self._write("worker_left", function)


class CoreCase(TestCase):
    """
    A test of the core.  Handles are C{H:1}, C{H:2} and so on.

    @ivar server: the server, of default settings and without a store until
        L{serve} is called.
    """

    maxDiff = None

    def setUp(self) -> None:
        """
        Serve.
        """
        self.serve()

    def serve(self, store: FakeStore | None = None, **settings: Any) -> None:
        """
        Begin anew with other settings, or with a store.
        """
        self.clock = FakeClock()
        self.server = JobServer(Settings(**settings), self.clock, b"H", store=store)
        if store is not None:
            store.server = self.server
        self._descriptors: Iterator[int] = count(7)

    def connect(self) -> Connection:
        """
        One more connection.
        """
        return Connection(self.server, next(self._descriptors))

    def worker(self, *functions: str) -> Connection:
        """
        One more connection, which can do these functions.
        """
        connection = self.connect()
        connection.says(*(f"CAN_DO {function}" for function in functions))
        return connection

    def sleeper(self, *functions: str) -> Connection:
        """
        A worker that has gone to sleep.
        """
        connection = self.worker(*functions)
        connection.says("PRE_SLEEP")
        return connection

    def status(self) -> list[str]:
        """
        The lines of C{status}, as in C{"f 2 1 1"}: all jobs, running, workers.
        """
        return [line.replace("\t", " ").strip() for line in self.connect().says("status\n")][:-1]

    def assert_nothing_left(self) -> None:
        """
        No job, and nothing that held one, is in any table of the server.
        """
        server = self.server
        self.assertEqual((server.jobs, server.running, server._timeouts), ({}, 0, {}))
        self.assertEqual(server._holding, {})
        for session in server.sessions:
            self.assertEqual((session.running, session.awaited, session.held, session.out), ({}, {}, None, []))
        for queue in server.functions.values():
            self.assertEqual((queue.total, queue.running), (0, 0))
            self.assertEqual((queue.by_unique, queue.by_workload), ({}, {}))
            self.assertFalse(queue.high or queue.normal or queue.low)
            self.assertEqual(queue.waiting(), (0, 0, 0))


class StoreCase(CoreCase):
    """
    A server with a store.
    """

    def serve(self, store: FakeStore | None = None, **settings: Any) -> None:
        """
        Serve with a store.
        """
        self.store = FakeStore()
        super().serve(self.store, **settings)
