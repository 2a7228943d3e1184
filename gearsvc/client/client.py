"""
A client of one or several job servers::

    client = GearmanClient(["one.example", "two.example:4731"])
    result = await client.submit("resize", image)

It connects when there is something to say, and again when there is something to
say after a connection was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Union
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall

from gearsvc.client.connection import Connection, Peer
from gearsvc.client.conversation import BadAnswer, Conversation
from gearsvc.client.errors import ClientClosed, GearmanError, ServerError, ServerUnavailable
from gearsvc.client.servers import Ring, Server, Where, servers_of
from gearsvc.client.submitted import SubmittedJob
from gearsvc.client.tasks import TaskSet
from gearsvc.core.jobs import Priority
from gearsvc.core.packets import Type

LONGEST_UNIQUE = 64
"""
How many bytes a unique id may have.
"""

Name = Union[str, bytes]

_SUBMIT = {
    (Priority.HIGH, False): Type.SUBMIT_JOB_HIGH,
    (Priority.NORMAL, False): Type.SUBMIT_JOB,
    (Priority.LOW, False): Type.SUBMIT_JOB_LOW,
    (Priority.HIGH, True): Type.SUBMIT_JOB_HIGH_BG,
    (Priority.NORMAL, True): Type.SUBMIT_JOB_BG,
    (Priority.LOW, True): Type.SUBMIT_JOB_LOW_BG,
}


class JobStatus(NamedTuple):
    """
    What a server knows of a job.

    @ivar known: whether it knows the job; if not, the rest is 0.
    @ivar clients: how many wait for it, if that was told (it is for a unique id).
    """

    known: bool
    running: bool
    numerator: int
    denominator: int
    clients: int | None = None


class Line(Peer):
    """
    One server, and what is said to it.
    """

    def __init__(self, client: GearmanClient, server: Server, reactor: Any, max_packet: int) -> None:
        self.connection = Connection(server, reactor, self)
        self._client = client
        self._max_packet = max_packet
        self._conversation = Conversation(max_packet)
        # What is to be said once it is connected.
        self._waiting: deque[Any] = deque()
        # What has been said, as long as it may have to be said again.
        self._outstanding: dict[Any, None] = {}

    def put(self, each: SubmittedJob | Question) -> None:
        """
        Submit a job, or ask a question.
        """
        self._outstanding[each] = None
        if self.connection.up:
            self._say(each)
        else:
            self._waiting.append(each)
            self.connection.connect()

    def _say(self, each: SubmittedJob | Question) -> None:
        kind, arguments = each.packet
        self.connection.write(self._conversation.ask(each, kind, *arguments))

    def listen(self, job: SubmittedJob) -> None:
        """
        Hear what becomes of a job.
        """
        self._conversation.listen(job.handle, job)

    def over(self, each: SubmittedJob | Question) -> None:
        """
        Nothing more is to be done about it.
        """
        self._outstanding.pop(each, None)

    # The connection's side

    def connected(self, connection: Connection) -> None:
        """
        Say what waits.
        """
        self._conversation = Conversation(self._max_packet)
        # Without this, a server tells that a job has failed, and not how.
        connection.write(self._conversation.ask(_Exceptions(), Type.OPTION_REQ, b"exceptions"))
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if not each.done:
                self._say(each)

    def received(self, connection: Connection, data: bytes) -> None:
        """
        Hear what the server says.
        """
        try:
            self._conversation.feed(data)
        except BadAnswer as error:
            connection.abort(f"what answers there is no job server, or a broken one: {error}")

    def lost(self, connection: Connection, why: str) -> None:
        """
        All that was said is to be said to another one.
        """
        error = ServerUnavailable(f"the job server {connection.server.name} is not there: {why}")
        # One that was accepted is outstanding no more.
        unsure = ServerUnavailable(f"{error}; it had not said whether it has accepted the background job, which may be there or not")
        outstanding, self._outstanding = self._outstanding, {}
        unsaid = set(self._waiting)
        self._waiting.clear()
        self._conversation = Conversation(self._max_packet)
        for each in outstanding:
            each.line = None
            # What was not said yet goes to another server, if there is one, as if it had gone there first.
            if not each.done and (
                each in unsaid and self._client.has_place or each.lost(unsure if each.background and each not in unsaid else error)
            ):
                self._client.place(each)

    def give_up(self, error: GearmanError) -> None:
        """
        Nothing more will be said.
        """
        outstanding, self._outstanding = self._outstanding, {}
        self._waiting.clear()
        for each in outstanding:
            each.line = None
            each.give_up(error)


class _Exceptions:
    """
    Asks to be told exceptions.
    """

    answer = Type.OPTION_RES

    def answered(self, body: bytes) -> None:
        """
        It will.
        """

    def refused(self, error: ServerError) -> None:
        """
        An old server: it tells of failures alone.
        """


class Question:
    """
    Something that is asked about, and not submitted.
    """

    def __init__(self, answer: Type, packet: tuple[Type, tuple[bytes, ...]], read: Callable[[bytes], Any], unique: bytes = b"") -> None:
        self.answer = answer
        self.packet = packet
        self.unique = unique
        self.done = False
        self.patient = False
        self.background = False
        self.line: Line | None = None
        self.server = ""
        self._read = read
        self.result: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, _: Deferred[Any]) -> None:
        self.done = True

    def answered(self, body: bytes) -> None:
        """
        The server has answered.
        """
        self._end()
        if not self.result.called:
            self.result.callback(self._read(body))

    def refused(self, error: ServerError) -> None:
        """
        The server does not know how to.
        """
        self._end()
        if not self.result.called:
            self.result.errback(error)

    def lost(self, error: GearmanError) -> bool:
        """
        The server went away.
        """
        self.give_up(error)
        return False

    def give_up(self, error: GearmanError) -> None:
        """
        There will be no answer.
        """
        self._end()
        if not self.result.called:
            self.result.errback(error)

    def _end(self) -> None:
        self.done = True
        if self.line is not None:
            self.line.over(self)
            self.line = None


class GearmanClient:
    """
    Submits jobs to one or several servers, and asks about them.

    Nothing is connected before there is something to say.  A server that is
    away is passed over, and tried again after a pause, which grows from a
    fraction of a second to half a minute; with none left, what is submitted
    fails with L{ServerUnavailable<gearsvc.client.errors.ServerUnavailable>}.
    """

    def __init__(self, servers: Where | Sequence[Where] = "localhost", *, reactor: Any = None, max_packet: int = 1 << 30) -> None:
        """
        @param servers: where they are: see L{Where<gearsvc.client.servers.Where>}.
        @param reactor: the usual one, if not given.
        @param max_packet: how large the largest result may be, in bytes.
        @raise ValueError: if one of them is no place.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        found = servers_of(servers, reactor)
        self._lines = [Line(self, server, reactor, max_packet) for server in found]
        self._ring = Ring([server.name for server in found])
        # What waits until a server may be tried again.
        self._homeless: list[Any] = []
        self._timer: IDelayedCall | None = None
        self._closed = False

    def submit(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority = Priority.NORMAL,
        background: bool = False,
        at: float | datetime | None = None,
        reducer: Name | None = None,
        retries: int = 0,
        timeout: float | None = None,
        on_data: Callable[[bytes], object] | None = None,
        on_warning: Callable[[bytes], object] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        on_resubmit: Callable[[GearmanError], object] | None = None,
    ) -> SubmittedJob:
        """
        Submit a job.

        Jobs that are submitted to one server arrive there in this order.

        @param function: its name, without NUL; text is encoded as UTF-8, here and below.
        @param unique: who submits a job with the function and the unique id of
            one that is not over joins that one; C{b"-"} takes the workload for
            the unique id.  At most 64 bytes, without NUL.
        @param background: whether nobody waits for the result.
        @param at: when it may run, at the earliest: a time with a zone, or Unix
            seconds.  Such a job is in the background, and has no other priority
            than the normal one: the protocol has no packet for more.
        @param reducer: what the worker is to do with the results of parts; for
            workers that know of it.
        @param retries: how often the job may be submitted again when its server
            went away: to another one if there is one, and under the same unique
            id.  If it has none, it is given one.
        @param timeout: after how many seconds it is given up, with
            L{SubmitTimeout<gearsvc.client.errors.SubmitTimeout>}.
        @param on_data: called with a piece of the result.
        @param on_warning: called with a warning.
        @param on_progress: called with how far the worker is: two numbers.
        @param on_resubmit: called with the reason when it is submitted again.
        @raise ValueError: if one of these can't be.
        """
        job = self.prepare(
            function,
            workload,
            unique=unique,
            priority=priority,
            background=background,
            at=at,
            reducer=reducer,
            retries=retries,
            on_data=on_data,
            on_warning=on_warning,
            on_progress=on_progress,
            on_resubmit=on_resubmit,
        )
        self.begin(job, timeout)
        return job

    def prepare(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority = Priority.NORMAL,
        background: bool = False,
        at: float | datetime | None = None,
        reducer: Name | None = None,
        retries: int = 0,
        on_data: Callable[[bytes], object] | None = None,
        on_warning: Callable[[bytes], object] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        on_resubmit: Callable[[GearmanError], object] | None = None,
    ) -> SubmittedJob:
        """
        Make a job that is to be submitted later, with L{begin}; the arguments
        are those of L{submit}.

        @raise ValueError: if one of these can't be.
        """
        name, key = _name(function, "function"), _name(unique, "unique id", LONGEST_UNIQUE)
        if not name:
            raise ValueError("the function has no name")
        if retries and not key:
            key = uuid4().hex.encode()
        work = _bytes(workload)
        packet: tuple[Type, tuple[bytes, ...]]
        if at is not None:
            when = at.timestamp() if isinstance(at, datetime) else at
            if reducer is not None or priority != Priority.NORMAL:
                raise ValueError("a job for a later time has normal priority, and no reducer")
            background = True
            packet = Type.SUBMIT_JOB_EPOCH, (name, key, b"%d" % when, work)
        elif reducer is not None:
            if priority != Priority.NORMAL:
                raise ValueError("a job with a reducer has normal priority")
            kind = Type.SUBMIT_REDUCE_JOB_BACKGROUND if background else Type.SUBMIT_REDUCE_JOB
            # (What is empty was to say how to aggregate; no server looks at it.)
            packet = kind, (name, key, _name(reducer, "reducer", LONGEST_UNIQUE), b"", work)
        else:
            packet = _SUBMIT[priority, background], (name, key, work)
        callbacks = (on_data, on_warning, on_progress, on_resubmit)
        return SubmittedJob(name, work, key, priority, background, packet, retries, callbacks)

    def begin(self, job: SubmittedJob, timeout: float | None = None) -> None:
        """
        Submit a job that was prepared: once.
        """
        if timeout is not None:
            job.timer = self._reactor.callLater(timeout, job.expire, timeout)
        self.place(job)

    def status(self, handle: Name) -> Deferred[JobStatus]:
        """
        Ask all servers about a job.

        @return: fires with what the one that knows it says; fails with
            L{ServerUnavailable<gearsvc.client.errors.ServerUnavailable>} if none
            knows it, and one is not there.
        """
        name = _name(handle, "handle")
        asked = [
            self._ask(Question(Type.STATUS_RES, (Type.GET_STATUS, (name,)), _status), line) for line in self._lines
        ]
        return _first_known(asked)

    def status_by_unique(self, unique: Name) -> Deferred[JobStatus]:
        """
        Ask about a job by its unique id, at the server to which such jobs go.

        @return: fails with L{ServerError<gearsvc.client.errors.ServerError>} if
            the server does not know the question, and with
            L{ServerUnavailable<gearsvc.client.errors.ServerUnavailable>} if it
            is not there.
        """
        key = _name(unique, "unique id", LONGEST_UNIQUE)
        return self._ask(Question(Type.STATUS_RES_UNIQUE, (Type.GET_STATUS_UNIQUE, (key,)), _status_by_unique, key))

    def echo(self, data: Name = b"") -> Deferred[bytes]:
        """
        Have a server say something back.
        """
        return self._ask(Question(Type.ECHO_RES, (Type.ECHO_REQ, (_bytes(data),)), bytes))

    def task_set(self, outstanding: int = 100, progress: Callable[[int, int], object] | None = None) -> TaskSet:
        """
        Many jobs that belong together.

        @param outstanding: how many of them may be under way at a time.
        @param progress: called after each with how many are done, and how many
            there are so far.
        """
        return TaskSet(self, outstanding, progress)

    def close(self) -> Deferred[None]:
        """
        Leave all servers.  What is not done fails with
        L{ClientClosed<gearsvc.client.errors.ClientClosed>}; foreground jobs that
        nobody else waits for are dropped by their server.

        @return: fires when all connections have ended.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error = ClientClosed("the client was closed")
        homeless, self._homeless = self._homeless, []
        for each in homeless:
            each.give_up(error)
        for line in self._lines:
            line.give_up(error)
        return gatherResults([line.connection.close() for line in self._lines]).addCallback(lambda _: None)

    def _ask(self, question: Question, line: Line | None = None) -> Deferred[Any]:
        if line is None:
            self.place(question)
        elif self._closed:
            question.give_up(ClientClosed("the client was closed"))
        else:
            self._put(question, line)
        return question.result

    def place(self, each: SubmittedJob | Question) -> None:
        """
        Give a job, or a question, to the server that it belongs to, or to the
        next one that may be there.
        """
        if self._closed:
            each.give_up(ClientClosed("the client was closed"))
            return
        order = self._ring.of(each.unique) if each.unique else self._ring.in_turn()
        for index in order:
            if not self._lines[index].connection.resting:
                self._put(each, self._lines[index])
                return
        if each.patient:
            self._homeless.append(each)
            if self._timer is None:
                self._timer = self._reactor.callLater(min(line.connection.rest for line in self._lines), self._house)
        else:
            away = ", ".join(line.connection.server.name for line in self._lines)
            error = ServerUnavailable(f"no job server is there, and none is tried again just now: {away}")
            # Not before whoever submits it has it.
            self._reactor.callLater(0, self._refuse, each, error)

    def _refuse(self, each: SubmittedJob | Question, error: GearmanError) -> None:
        if not each.done and each.lost(error):
            self.place(each)

    @property
    def has_place(self) -> bool:
        """
        Whether there is a server that may be there.
        """
        return not self._closed and any(not line.connection.resting for line in self._lines)

    def _put(self, each: SubmittedJob | Question, line: Line) -> None:
        each.line = line
        each.server = line.connection.server.name
        if isinstance(each, SubmittedJob):
            each.submissions += 1
        line.put(each)

    def _house(self) -> None:
        """
        A server may be tried again.
        """
        self._timer = None
        homeless, self._homeless = self._homeless, []
        for each in homeless:
            if not each.done:
                self.place(each)


def _bytes(value: Name) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _name(value: Name, what: str, longest: int | None = None) -> bytes:
    name = _bytes(value)
    if b"\0" in name:
        raise ValueError(f"the {what} {name!r} has a NUL in it")
    if longest is not None and len(name) > longest:
        raise ValueError(f"the {what} has {len(name)} bytes; {longest} are allowed")
    return name


def _status(body: bytes) -> JobStatus:
    _, known, running, numerator, denominator = (body.split(b"\0") + [b""] * 4)[:5]
    return JobStatus(known == b"1", running == b"1", _number(numerator), _number(denominator))


def _status_by_unique(body: bytes) -> JobStatus:
    status = _status(body)
    parts = body.split(b"\0")
    return status._replace(clients=_number(parts[5]) if len(parts) > 5 else None)


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() else 0


def _first_known(asked: list[Deferred[JobStatus]]) -> Deferred[JobStatus]:
    """
    @return: fires with the first answer that knows the job, or when all have
        answered.
    """
    found: Deferred[JobStatus] = Deferred()
    answers: list[Any] = []

    def take(answer: Any) -> None:
        answers.append(answer)
        if found.called:
            return
        if isinstance(answer, JobStatus):
            if answer.known or (len(answers) == len(asked) and all(isinstance(each, JobStatus) for each in answers)):
                found.callback(answer)
                return
        if len(answers) == len(asked):
            found.errback(next(each for each in answers if not isinstance(each, JobStatus)))

    for each in asked:
        each.addBoth(take)
    return found


