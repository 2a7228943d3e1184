"""
Runs a command that needs the reactor, to its end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, eventAsText
from zope.interface import implementer

from gearsvc.commandline.frame import CommandError, report as report
from gearsvc.logs import WARNING, begin_logging, level_of, set_verbosity


@implementer(ILogObserver)
class LogLines:
    """
    Shows what is logged, a line for each event, and no traceback.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, event: LogEvent) -> None:
        if level_of(event) > WARNING:
            return
        failure = event.get("log_failure")
        if failure is not None:
            report(self._name, f"there is a mistake in the program: {failure.value!r}")
        elif event.get("log_namespace") != "twisted.internet.defer":
            # (That says that a failure is about to follow.)
            report(self._name, eventAsText(event, includeTimestamp=False, includeSystem=False))


def run_reactor(name: str, work: Callable[[Any], Coroutine[Deferred[Any], Any, int]], on_signal: Callable[[int], object]) -> int:
    """
    Run the reactor until a command has ended.

    @param name: what the user calls it, for its log.
    @param work: the command: takes the reactor, and returns the exit status.
    @param on_signal: called, in the reactor, with each SIGINT and SIGTERM: it
        has the command end.
    @return: the exit status.
    @raise CommandError: what the command raises.
    """
    from twisted.internet import reactor as global_reactor

    # mypy takes the reactor for one of its many interfaces.
    reactor: Any = global_reactor
    outcome: list[int | BaseException] = []

    async def command() -> None:
        try:
            outcome.append(await work(reactor))
        except Exception as error:
            outcome.append(error)
        finally:
            reactor.stop()

    def handle(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(on_signal, number)

    def start() -> None:
        # The reactor has its own, which would end it at once.
        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)
        Deferred.fromCoroutine(command())

    set_verbosity("WARNING")
    begin_logging([LogLines(name)], on_stderr=True)
    reactor.callWhenRunning(start)
    reactor.run()
    ended = outcome[0] if outcome else CommandError("the reactor has ended before the command has")
    if isinstance(ended, BaseException):
        raise ended
    return ended


def server_name(host: str, port: int) -> str:
    """
    A server as L{gearsvc.client} takes it.
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
