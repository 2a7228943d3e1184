"""
A job that a client has submitted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from gearsvc.client.errors import GearmanError, JobException, JobFailed, ServerError, SubmitTimeout
from gearsvc.core.explain import text
from gearsvc.core.jobs import Priority
from gearsvc.core.packets import Type
from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.client.client import Line


log = Logger(__name__)


class Data(NamedTuple):
    """
    A piece of the result, which the worker has sent before the end.
    """

    data: bytes


class Warning(NamedTuple):
    """
    A warning of the worker's.
    """

    data: bytes


class Progress(NamedTuple):
    """
    How far the worker is.
    """

    numerator: int
    denominator: int


Event = Union[Data, Warning, Progress]

_ENDS = frozenset((Type.WORK_COMPLETE, Type.WORK_FAIL, Type.WORK_EXCEPTION))


class SubmittedJob:
    """
    A job, from its submission to its end.

    C{await job} gives its result.  What fails is raised there, or arrives at
    L{created}, L{finished} or the end of L{events}, and is logged only if
    nobody looks at any of these.

    @ivar function: the function.
    @ivar workload: what to do it with.
    @ivar unique: the unique id, or C{b""}.  (A job that may be submitted again
        has one, so that it is not done twice.)
    @ivar priority: its priority.
    @ivar background: whether nobody waits for its result.
    @ivar handle: the server's name for it, C{b""} before it is created.
    @ivar server: the name of the server that it was submitted to last.
    @ivar submissions: how often it was submitted.
    @ivar done: whether it has ended, or, in the background, was accepted or refused.
    """

    answer = Type.JOB_CREATED

    def __init__(
        self,
        function: bytes,
        workload: bytes,
        unique: bytes,
        priority: Priority,
        background: bool,
        packet: tuple[Type, tuple[bytes, ...]],
        retries: int,
        callbacks: tuple[Callable[..., object] | None, ...],
    ) -> None:
        """
        Made by L{GearmanClient.submit<gearsvc.client.client.GearmanClient.submit>}.
        """
        self.function = function
        self.workload = workload
        self.unique = unique
        self.priority = priority
        self.background = background
        self.handle = b""
        self.server = ""
        self.submissions = 0
        self.done = False
        # What the client needs of it: the packet, where it is, and whether it may wait for a server to be tried again.
        self.packet = packet
        self.patient = False
        self.line: Line | None = None
        self.timer: IDelayedCall | None = None
        self._retries = retries
        self._on_data, self._on_warning, self._on_progress, self._on_resubmit = callbacks
        self._result: bytes | Failure = b""
        self._created: Deferred[bytes] | None = None
        self._finished: Deferred[bytes] | None = None
        self._waiting: list[Deferred[bytes]] = []
        self._events: deque[Event] | None = None
        self._event: Deferred[None] | None = None

    def __repr__(self) -> str:
        name = f" {text(self.handle)}" if self.handle else ""
        return f"<SubmittedJob{name} of {text(self.function)}>"

    # Its client's side

    @property
    def created(self) -> Deferred[bytes]:
        """
        Fires with the handle when the server has accepted the job; a background
        job is stored by then, if the server has a store.  Fails as L{finished}
        does, if that comes first.
        """
        if self._created is None:
            self._created = Deferred(self._cancel)
            if isinstance(self._result, Failure) and not self.handle:
                self._created.errback(self._result)
            elif self.handle:
                self._created.callback(self.handle)
        return self._created

    @property
    def finished(self) -> Deferred[bytes]:
        """
        Fires with the result; of a background job it fires with C{b""} once it
        is L{created}.  To cancel it gives the job up: nothing more is heard of
        it, though it may run, and all others that wait for it hear that it was
        cancelled.

        Fails with L{JobFailed<gearsvc.client.errors.JobFailed>} or
        L{JobException<gearsvc.client.errors.JobException>},
        L{ServerUnavailable<gearsvc.client.errors.ServerUnavailable>},
        L{ServerError<gearsvc.client.errors.ServerError>} or
        L{QueueFull<gearsvc.client.errors.QueueFull>}, or
        L{SubmitTimeout<gearsvc.client.errors.SubmitTimeout>}.
        """
        if self._finished is None:
            self._finished = self._end_of(Deferred(self._cancel))
        return self._finished

    def __await__(self) -> Generator[Any, Any, bytes]:
        """
        Wait for the result; as often as you like.
        """
        return self._another().__await__()

    def _another(self) -> Deferred[bytes]:
        waiting: Deferred[bytes] = self._end_of(Deferred(self._cancel))
        if not waiting.called:
            self._waiting.append(waiting)
        return waiting

    def _end_of(self, deferred: Deferred[bytes]) -> Deferred[bytes]:
        if self.done:
            if isinstance(self._result, Failure):
                if self._finished is not None:
                    # It is heard of now.
                    self._finished.addErrback(lambda _: None)
                deferred.errback(self._result)
            else:
                deferred.callback(self._result)
        return deferred

    async def events(self) -> AsyncIterator[Event]:
        """
        What the worker tells before the end, from the first use of the
        iterator on: L{Data}, L{Warning} and L{Progress}.  It ends with the
        job; if that fails, by raising why.
        """
        if self._events is None:
            self._events = deque()
        end = self._another()
        # It is raised below.
        end.addErrback(lambda _: None)
        while True:
            while self._events:
                yield self._events.popleft()
            if self.done:
                break
            self._event = Deferred()
            await self._event
        if isinstance(self._result, Failure):
            self._result.raiseException()

    def _cancel(self, deferred: Deferred[bytes]) -> None:
        if not self.done:
            self._waiting = [each for each in self._waiting if each is not deferred]
            if self._finished is deferred:
                self._finished = None
            if self._created is deferred:
                self._created = None
            self.give_up(None)

    def give_up(self, error: GearmanError | None) -> None:
        """
        Hear nothing more of it.

        @param error: why; C{None} if the one who waits has cancelled that.
        """
        if not self.done:
            self._end(Failure(CancelledError() if error is None else error), cancelled=error is None)

    def expire(self, seconds: float) -> None:
        """
        Its time is over.
        """
        self.timer = None
        self.give_up(SubmitTimeout(f"the job of {text(self.function)} was not done within {seconds:g} seconds"))

    # The conversation's side

    def answered(self, body: bytes) -> None:
        """
        The server has created the job.
        """
        self.handle = body.rstrip(b"\0")
        if self.done:
            return
        if not self.background:
            assert self.line is not None
            self.line.listen(self)
        if self._created is not None and not self._created.called:
            self._created.callback(self.handle)
        if self.background:
            self._end(b"")

    def refused(self, error: ServerError) -> None:
        """
        The server does not take the job.
        """
        if not self.done:
            self._end(Failure(error))

    def heard(self, kind: int, body: bytes) -> bool:
        """
        Something has happened to it.
        """
        if kind in _ENDS:
            if not self.done:
                if kind == Type.WORK_COMPLETE:
                    self._end(body)
                elif kind == Type.WORK_FAIL:
                    self._end(Failure(JobFailed(f"the job of {text(self.function)} has failed", self.handle)))
                else:
                    self._end(Failure(JobException(body, self.handle)))
            return True
        if self.done:
            return False
        event: Event
        if kind == Type.WORK_STATUS:
            numerator, _, denominator = body.partition(b"\0")
            event = Progress(_number(numerator), _number(denominator))
            _tell(self._on_progress, *event)
        elif kind == Type.WORK_DATA:
            event = Data(body)
            _tell(self._on_data, body)
        else:
            event = Warning(body)
            _tell(self._on_warning, body)
        if self._events is not None:
            self._events.append(event)
            self._notify()
        return False

    def lost(self, error: GearmanError) -> bool:
        """
        Its server went away, or could not be reached.

        @return: whether it is to be submitted again.
        """
        if self._retries > 0:
            self._retries -= 1
            self.patient = True
            self.handle = b""
            _tell(self._on_resubmit, error)
            return True
        self._end(Failure(error))
        return False

    def _end(self, result: bytes | Failure, cancelled: bool = False) -> None:
        self.done = True
        self._result = result
        self._leave()
        waiting, self._waiting = self._waiting, []
        created, finished = self._created, self._finished
        # Who cancels it knows.
        heard = cancelled or bool(waiting)
        if isinstance(result, Failure):
            if created is not None and not created.called:
                heard = True
                created.errback(result)
            if finished is None and not heard:
                # If nobody ever looks at it, Twisted says so in the log.
                self._finished = finished = Deferred()
            if finished is not None:
                finished.errback(result)
            for each in waiting:
                each.errback(result)
        else:
            if finished is not None:
                finished.callback(result)
            for each in waiting:
                each.callback(result)
        self._notify()

    def _notify(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            event.callback(None)

    def _leave(self) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.over(self)
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()


def _tell(callback: Callable[..., object] | None, *arguments: object) -> None:
    if callback is not None:
        try:
            callback(*arguments)
        except Exception:
            # A mistake of a listener's is none of the connection's.
            log.failure("Unexpected error while telling what a job's worker says")


def _number(digits: bytes) -> int:
    try:
        return int(digits.rstrip(b"\0"))
    except ValueError:
        # Workers may say what they like.
        return 0
