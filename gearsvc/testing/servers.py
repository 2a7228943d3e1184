"""
Job servers for tests: one whose time is a test's, and one on the reactor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gearsvc.config import Settings
from gearsvc.core.jobserver import JobServer
from gearsvc.service import JobServerService

if TYPE_CHECKING:
    from gearsvc.client import GearmanClient, GearmanWorker

NOON = 1_700_000_000.0
"""The time of day, in Unix seconds, when a L{JobServerClock} starts."""


async def _outcome(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class JobServerClock(Clock):
    """
    A reactor's time, which passes when a test says so.  It starts at L{NOON}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = NOON

    def advance(self, amount: float) -> None:
        """
        Let time pass, step by step: each call is made at its own time, and
        what it asks for in turn is made too if that is due before the end.
        """
        end = self.rightNow + amount
        while (calls := self.getDelayedCalls()) and (first := min(call.getTime() for call in calls)) <= end:
            super().advance(max(first - self.rightNow, 0.0))
        self.rightNow = end

    def callFromThread(self, function: Callable[..., object], *arguments: object, **named: object) -> None:
        """
        Call a function in the next turn.  (There is one thread: that of the
        test.)
        """
        self.callLater(0, function, *arguments, **named)


class ClockedJobServer:
    """
    A job server in memory that runs on a L{JobServerClock}: a job of next week
    is run at once, and no test waits.

    The clients and workers in its process run on the same clock, so nothing
    happens before C{advance} or C{result} is called.  Its queue is in memory,
    and it has no ports; functions that run in threads need a reactor.

    @ivar clock: its time.
    @ivar service: the server as a service.
    """

    def __init__(self, **settings: Any) -> None:
        """
        @param settings: see L{Settings<gearsvc.config.Settings>}.
        """
        self.clock = JobServerClock()
        self.service = JobServerService(Settings(**{"port": (), **settings}), self.clock, self.clock.seconds)
        self.service.startService()
        self.advance()

    @property
    def job_server(self) -> JobServer:
        """
        The rules, and the jobs that there are.
        """
        return self.service.job_server

    def client(self, **options: Any) -> GearmanClient:
        """
        A new client.
        """
        return self.service.client(**options)

    def worker(self, **options: Any) -> GearmanWorker:
        """
        A new worker.
        """
        return self.service.worker(**options)

    def time(self) -> float:
        """
        The time of day, in Unix seconds.
        """
        return self.clock.seconds()

    def advance(self, seconds: float = 0.0) -> None:
        """
        Let time pass, with all that happens meanwhile; 0 is all that can
        happen now.
        """
        self.clock.advance(seconds)

    def result(self, awaitable: Awaitable[Any]) -> Any:
        """
        What a Deferred, a coroutine or a submitted job comes to, once all that
        can happen now has happened.

        @raise AssertionError: if that is nothing yet.
        @raise Exception: whatever it fails with.
        """
        outcome: list[Any] = []
        Deferred.fromCoroutine(_outcome(awaitable)).addBoth(outcome.append)
        self.advance()
        if not outcome:
            raise AssertionError("nothing has come of it yet: let time pass (advance), or look at what it waits for")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def stop(self) -> None:
        """
        Stop the server, with its clients and workers.  Once it has stopped,
        this does nothing.

        @raise AssertionError: if it does not stop.
        """
        if self.service.ending:
            return
        outcome: list[Any] = []
        self.service.stopService().addBoth(outcome.append)
        self.advance(10)
        if not outcome:
            raise AssertionError("the job server does not stop")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()


class RunningJobServer:
    """
    A job server on the reactor, which serves a free port of 127.0.0.1, and its
    own process in memory.

    @ivar service: the server as a service.
    """

    def __init__(self, **settings: Any) -> None:
        """
        @param settings: see L{Settings<gearsvc.config.Settings>}.
        """
        self.service = JobServerService(Settings(**{"port": ("tcp:0:interface=127.0.0.1",), **settings}))

    async def start(self) -> None:
        """
        Start, and wait until it serves.

        @raise Exception: if it can't; see L{JobServerService.when_ready}.
        """
        self.service.startService()
        await self.service.when_ready()

    async def stop(self) -> None:
        """
        Stop, with the clients and workers in its process.
        """
        await self.service.stopService()

    @property
    def job_server(self) -> JobServer:
        """
        The rules, and the jobs that there are.
        """
        return self.service.job_server

    @property
    def port(self) -> int:
        """
        The port's number.
        """
        number: int = self.service.ports[0].getHost().port
        return number

    @property
    def address(self) -> str:
        """
        Where clients find it, as in C{127.0.0.1:4730}.
        """
        return f"127.0.0.1:{self.port}"

    def client(self, **options: Any) -> GearmanClient:
        """
        A new client, connected in memory.
        """
        return self.service.client(**options)

    def worker(self, **options: Any) -> GearmanWorker:
        """
        A new worker, connected in memory.
        """
        return self.service.worker(**options)
