"""
The client's side of the protocol on one connection, without any I/O.

A server answers what it is asked in the order in which it was asked: each
submission with JOB_CREATED, and each of the other questions with an answer of
its own, or any of them with ERROR in its place.  In between comes what happens
to jobs, by their handles.

Who submits a job twice under the same unique id has the same handle twice, and
then hears of everything twice as well, once for each submission, one after the
other.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from gearsvc.client.errors import QueueFull, ServerError
from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.wire import DEFAULT_MAX_PACKET, PacketDecoder, encode


class Asking(Protocol):
    """
    What waits for an answer.

    @ivar answer: the type of the answer.
    """

    answer: Type

    def answered(self, body: bytes) -> object:
        """
        The answer is there.
        """

    def refused(self, error: ServerError) -> object:
        """
        An error is there in its place.
        """


class Listening(Protocol):
    """
    What hears of a job.
    """

    def heard(self, kind: int, body: bytes) -> bool:
        """
        Something has happened to the job.

        @param body: what follows the handle.
        @return: whether that was the last of it.
        """


class BadAnswer(Exception):
    """
    The server has said what no server says to a client.
    """


_OF_JOBS = frozenset(
    (Type.WORK_COMPLETE, Type.WORK_FAIL, Type.WORK_EXCEPTION, Type.WORK_DATA, Type.WORK_WARNING, Type.WORK_STATUS)
)

_ANSWERS = frozenset((Type.JOB_CREATED, Type.STATUS_RES, Type.STATUS_RES_UNIQUE, Type.ECHO_RES, Type.OPTION_RES))

_FULL = b"queue is full"


class Conversation:
    """
    What is said on one connection.

    @ivar asked: what waits for its answer, in order.
    @ivar jobs: those that listen to each handle.
    """

    def __init__(self, max_packet: int = DEFAULT_MAX_PACKET) -> None:
        """
        @param max_packet: the largest packet that the server may send.
        """
        self.asked: deque[Any] = deque()
        self.jobs: dict[bytes, deque[Any]] = {}
        self._decoder = PacketDecoder(max_packet, RESPONSE)

    def ask(self, asking: Asking, kind: Type, *arguments: bytes) -> bytes:
        """
        Ask for something.

        @return: what is to be sent.
        """
        self.asked.append(asking)
        return encode(kind, b"\0".join(arguments), REQUEST)

    def listen(self, handle: bytes, listening: Listening) -> None:
        """
        Hear of a job from now on: called for an answer of JOB_CREATED.
        """
        there = self.jobs.get(handle)
        if there is None:
            self.jobs[handle] = deque((listening,))
        else:
            there.append(listening)

    def feed(self, data: bytes) -> None:
        """
        Hear what the server says, and tell those whom it concerns.

        @raise BadAnswer: if it is nothing that a server says to a client.  The
            connection is of no use then.
        """
        for kind, body in self._decoder.feed(data):
            if kind in _OF_JOBS:
                self._tell(kind, body)
            elif kind in _ANSWERS:
                if not self.asked or self.asked[0].answer != kind:
                    raise BadAnswer(f"it sent {_name(kind)}, which it had not been asked for")
                self.asked.popleft().answered(body)
            elif kind == Type.ERROR:
                if not self.asked:
                    raise BadAnswer(f"it sent an error, and had not been asked for anything: {body!r}")
                code, _, said = body.partition(b"\0")
                said = said.rstrip(b"\0")
                error = QueueFull(code, said) if _FULL in said.lower() else ServerError(code, said)
                self.asked.popleft().refused(error)
            else:
                raise BadAnswer(f"it sent {_name(kind)} to a client")
        if self._decoder.failure is not None:
            raise BadAnswer(f"it sent what is no packet: {self._decoder.failure.text.decode('utf-8', 'backslashreplace')}")

    def _tell(self, kind: int, body: bytes) -> None:
        handle, _, rest = body.partition(b"\0")
        there = self.jobs.get(handle)
        if there is None:
            # Of a job that we have given up, or whose end was told already.
            return
        listening = there[0]
        if listening.heard(kind, rest):
            there.popleft()
            if not there:
                del self.jobs[handle]
        elif len(there) > 1:
            # The next one of the same is for the next one.
            there.rotate(-1)


def _name(kind: int) -> str:
    return Type(kind).name if kind in Type._value2member_map_ else f"packet type {kind}"
