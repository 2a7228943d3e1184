"""
The worker's side of the protocol on one connection, without any I/O.

A worker says what it can do and then asks for a job.  It gets one, or is told
that there is none; then it says that it sleeps, and the server wakes it with a
NOOP when a job has come::

    connected --> READY --GRAB_JOB_ALL--> GRABBING --JOB_ASSIGN--> READY
                    ^                         |
                    |                       NO_JOB
                    |                         v
                    +---------NOOP--------- ASLEEP   (PRE_SLEEP has been sent)

READY means that there may be a job, not that one is asked for: a worker whose
hands are full stays READY and asks when it has a hand free.  No wake-up is
lost, since a server that has a job answers PRE_SLEEP with a NOOP at once.

The other side of that: gearmand 1.1 answers every PRE_SLEEP with a NOOP, and
every grab with NO_JOB, while a job waits for its time.  A worker that is woken
for nothing again and again takes a rest, L{Standing.RESTING}, before it asks
anew.

CANT_DO is not sent while a job of the function runs, for gearmand would queue
that job again and give it to somebody else.  Until it has ended nothing is
grabbed on this connection, so that no job of a function comes that was taken
back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from gearsvc.client.conversation import BadAnswer
from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.wire import DEFAULT_MAX_PACKET, Packet, PacketDecoder, encode

SHORT_SLEEP = 0.1
"""A NOOP that comes within so many seconds after PRE_SLEEP is the answer to it, and not news of a job."""

FALSE_ALARMS = 3
"""How many of those may lead to nothing, one after the other, before the worker rests."""

FIRST_REST = 0.05
LAST_REST = 1.0
"""How many seconds a worker rests: twice as many each time."""

_SHORTEST_TIMEOUT = 1.0


class Standing(Enum):
    """
    How it stands between the worker and the server.
    """

    READY = "ready"
    GRABBING = "grabbing"
    ASLEEP = "asleep"
    RESTING = "resting"


class Assignment(NamedTuple):
    """
    A job that the server has given to the worker.
    """

    handle: bytes
    function: bytes
    unique: bytes
    reducer: bytes
    workload: bytes


class Rest(NamedTuple):
    """
    The worker was woken for nothing several times: L{Working.rested} is to be
    called after so many seconds.
    """

    seconds: float


class Complaint(NamedTuple):
    """
    The server has sent an ERROR.

    @ivar expected: whether that can happen when all is well: the job had ended
        before its result came, because its time was up, say.
    """

    code: bytes
    text: bytes
    expected: bool


Event = Assignment | Rest | Complaint


def server_timeout(seconds: float) -> float:
    """
    What a server makes of a time-out: less than a second is a second.
    """
    return max(seconds, _SHORTEST_TIMEOUT)


class Working:
    """
    What one connection has to do with the worker.

    What is to be sent collects until L{data_to_send} takes it.

    @ivar standing: how it stands.
    @ivar running: the function of each job that this connection's server waits
        for, by handle.
    @ivar leaving: whether no job is to be taken any more.
    """

    def __init__(
        self, abilities: dict[bytes, float | None], client_id: bytes = b"", max_packet: int = DEFAULT_MAX_PACKET
    ) -> None:
        """
        Greet the server.

        @param abilities: the functions, in order, and how long a job of each
            may take, in seconds.
        @param max_packet: the largest packet that the server may send.
        """
        self._decoder = PacketDecoder(max_packet, RESPONSE)
        self.standing = Standing.READY
        self.running: dict[bytes, bytes] = {}
        self.leaving = False
        self._abilities: dict[bytes, float | None] = {}
        # Functions whose CANT_DO waits for the end of their jobs.
        self._withdrawn: set[bytes] = set()
        # Handles of jobs whose time was up a while ago, and of which the server has yet to be told.
        self._overdue: OrderedDict[bytes, None] = OrderedDict()
        self._grab_as = Type.GRAB_JOB_ALL
        self._slept_at = 0.0
        self._false_alarms = 0
        # Whether the NOOP that woke us last came at once; None before one has come, and when we woke by ourselves.
        self._woken_at_once: bool | None = None
        self._out: list[bytes] = []
        if client_id:
            self._say(Type.SET_CLIENT_ID, client_id)
        for function, timeout in abilities.items():
            self.register(function, timeout)

    def data_to_send(self) -> bytes:
        """
        Take what is to be sent now.
        """
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _say(self, kind: Type, *arguments: bytes) -> None:
        self._out.append(encode(kind, b"\0".join(arguments), REQUEST))

    # Abilities

    def register(self, function: bytes, timeout: float | None) -> None:
        """
        The worker can do a function, or has another time-out for it.
        """
        self._withdrawn.discard(function)
        if function in self._abilities and self._abilities[function] == timeout:
            return
        self._abilities[function] = timeout
        if timeout is None:
            self._say(Type.CAN_DO, function)
        else:
            self._say(Type.CAN_DO_TIMEOUT, function, b"%d" % max(1, round(timeout * 1000)))
        if self.standing is Standing.ASLEEP:
            # The server would not wake us for a job that waits already.
            self.standing = Standing.READY

    def unregister(self, function: bytes) -> None:
        """
        The worker can't do a function any more.  The server is told when no
        job of it runs.
        """
        if function in self._abilities:
            self._withdrawn.add(function)
            self._withdraw()

    def leave(self) -> None:
        """
        Take no job any more, and finish those that there are.
        """
        self.leaving = True
        for function in list(self._abilities):
            self.unregister(function)

    @property
    def finished(self) -> bool:
        """
        Whether nothing keeps the worker that is leaving: no job runs, and none
        can come.
        """
        return self.leaving and not self.running and self.standing is not Standing.GRABBING

    def _withdraw(self) -> None:
        busy = set(self.running.values())
        for function in [each for each in self._abilities if each in self._withdrawn and each not in busy]:
            self._withdrawn.remove(function)
            del self._abilities[function]
            self._say(Type.CANT_DO, function)

    # Grabbing

    @property
    def can_grab(self) -> bool:
        """
        Whether to ask for a job makes sense now.
        """
        return self.standing is Standing.READY and bool(self._abilities) and not self._withdrawn and not self.leaving

    def grab(self) -> None:
        """
        Ask for a job.  Only while L{can_grab}.
        """
        if not self.can_grab:
            raise RuntimeError("a job cannot be asked for now")
        self.standing = Standing.GRABBING
        self._say(self._grab_as)

    def rested(self) -> None:
        """
        The worker has rested.
        """
        if self.standing is Standing.RESTING:
            self.standing = Standing.READY

    def packets(self, data: bytes) -> Iterator[Packet]:
        """
        Cut what the server sends into packets, for L{receive}.

        @raise BadAnswer: behind the last of them, if what follows is none.
        """
        yield from self._decoder.feed(data)
        if self._decoder.failure is not None:
            raise BadAnswer(f"it sent what is no packet: {self._decoder.failure.text.decode('utf-8', 'backslashreplace')}")

    def receive(self, kind: int, body: bytes, now: float) -> Event | None:
        """
        The server has sent a packet.

        @param now: the time, from a clock that never goes back.
        @raise BadAnswer: if it is nothing that a server says to a worker.  The
            connection is of no use then.
        """
        if kind == Type.NOOP:
            if self.standing is Standing.ASLEEP:
                self.standing = Standing.READY
                self._woken_at_once = now - self._slept_at < SHORT_SLEEP
            # Else it crossed our GRAB_JOB, which asks for what it tells of.
            return None
        if kind == Type.NO_JOB:
            self._expect_answer(kind)
            return self._no_job(now)
        if kind in _ASSIGNMENTS:
            self._expect_answer(kind)
            return self._assigned(kind, body)
        if kind == Type.ERROR:
            return self._error(body)
        raise BadAnswer(f"it sent {_name(kind)} to a worker")

    def _expect_answer(self, kind: int) -> None:
        if self.standing is not Standing.GRABBING:
            raise BadAnswer(f"it sent {_name(kind)}, and no job had been asked for")

    def _no_job(self, now: float) -> Rest | None:
        woken_at_once, self._woken_at_once = self._woken_at_once, None
        if woken_at_once is not None:
            self._false_alarms = self._false_alarms + 1 if woken_at_once else 0
        self.standing = Standing.READY
        self._settle_overdue()
        if self.leaving:
            return None
        if woken_at_once and self._false_alarms >= FALSE_ALARMS:
            self.standing = Standing.RESTING
            return Rest(min(FIRST_REST * 2 ** min(self._false_alarms - FALSE_ALARMS, 10), LAST_REST))
        self.standing = Standing.ASLEEP
        self._slept_at = now
        self._say(Type.PRE_SLEEP)
        return None

    def _assigned(self, kind: int, body: bytes) -> Assignment:
        parts = body.split(b"\0", _ASSIGNMENTS[kind])
        if len(parts) <= _ASSIGNMENTS[kind]:
            raise BadAnswer(f"its {_name(kind)} ends too early")
        handle, function, workload = parts[0], parts[1], parts[-1]
        self._false_alarms = 0
        self._woken_at_once = None
        self.standing = Standing.READY
        self.running[handle] = function
        self._overdue.pop(handle, None)
        self._settle_overdue()
        unique = parts[2] if len(parts) > 3 else b""
        reducer = parts[3] if len(parts) > 4 else b""
        return Assignment(handle, function, unique, reducer, workload)

    def _error(self, body: bytes) -> Complaint:
        code, _, text = body.partition(b"\0")
        if self.standing is Standing.GRABBING and code == b"INVALID_COMMAND" and self._grab_as in _OLDER_GRAB:
            self._grab_as = _OLDER_GRAB[self._grab_as]
            self._say(self._grab_as)
            return Complaint(code, text, True)
        return Complaint(code, text, code == b"JOB_NOT_FOUND")

    # Jobs

    def send(self, kind: Type, handle: bytes, *arguments: bytes) -> bool:
        """
        Say something of a job that runs: WORK_DATA, WORK_WARNING or WORK_STATUS.

        @return: whether it was said; the server does not want to hear of a job
            that it does not wait for.
        """
        if handle not in self.running:
            return False
        self._say(kind, handle, *arguments)
        return True

    def complete(self, handle: bytes, result: bytes) -> bool:
        """
        A job has been done.
        """
        return self._end(handle, Type.WORK_COMPLETE, result)

    def fail(self, handle: bytes) -> bool:
        """
        A job has failed.
        """
        return self._end(handle, Type.WORK_FAIL)

    def fail_with(self, handle: bytes, exception: bytes) -> bool:
        """
        A job has failed with an exception.

        That is two packets.  For gearmand the first one ends the job, and it
        answers the second one with JOB_NOT_FOUND; for others it does not, and
        without the second one their clients would wait for ever.
        """
        return self.send(Type.WORK_EXCEPTION, handle, exception) and self.fail(handle)

    def expire(self, handle: bytes) -> bool:
        """
        A job's time is up: the server does by itself what it does with those,
        which is to queue it again.
        """
        return self._forget(handle)

    def settle(self, handle: bytes) -> None:
        """
        A job's time was up a good while ago.

        gearmand has one timer for all jobs of a connection: the next grab and
        PRE_SLEEP stop it, and the job would be waited for until the connection
        ends.  So it is told that it has failed.  Where it has been queued again
        that does no harm, unless it has been given to this same connection
        again; so that is not said while an answer may be on its way.
        """
        if handle not in self.running:
            self._overdue[handle] = None
            self._settle_overdue()

    def _settle_overdue(self) -> None:
        if self.standing is not Standing.GRABBING:
            while self._overdue:
                self._say(Type.WORK_FAIL, self._overdue.popitem(last=False)[0])

    def _end(self, handle: bytes, kind: Type, *arguments: bytes) -> bool:
        if not self.send(kind, handle, *arguments):
            return False
        return self._forget(handle)

    def _forget(self, handle: bytes) -> bool:
        if self.running.pop(handle, None) is None:
            return False
        self._withdraw()
        return True


_ASSIGNMENTS: dict[int, int] = {Type.JOB_ASSIGN: 2, Type.JOB_ASSIGN_UNIQ: 3, Type.JOB_ASSIGN_ALL: 4}

_OLDER_GRAB = {Type.GRAB_JOB_ALL: Type.GRAB_JOB_UNIQ, Type.GRAB_JOB_UNIQ: Type.GRAB_JOB}


def _name(kind: int) -> str:
    return Type(kind).name if kind in Type._value2member_map_ else f"packet type {kind}"
