"""
Runs one command that needs the reactor, to its end.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, eventAsText
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.interfaces import StoreError
from gearsvc.logs import ERROR, begin_logging, level_of
from gearsvc.options import SettingsError
from gearsvc.process import reason_of

Result = TypeVar("Result")

BROKEN_PIPE = 128 + signal.SIGPIPE
"""
The exit status when nobody reads what is printed.
"""


SHOW_CURSOR = b"\x1b[?25h\n"


class CommandError(Exception):
    """
    A command can't do what it was asked to.

    @ivar args: one string of one line: what is wrong, and what to do.
    """


class Interrupted(Exception):
    """
    The user has asked for the end.
    """


EXPECTED = (CommandError, StoreError, SettingsError, OSError)
"""
What ends a command without being a mistake in the program.
"""


def mistake(error: BaseException, raised: TracebackType | None) -> str:
    """
    One line about what nobody expected, for whoever is to mend it.

    @param raised: where it was.
    """
    frames = traceback.extract_tb(raised)
    place = f", in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"there is a mistake in the program: {error!r}{place}"


class Interruption:
    """
    Ctrl-C, and SIGTERM: the first one is for the command to see when it can
    stop, the second one ends the process at once.

    @ivar status: the exit status for it; 0 while there was none.
    """

    def __init__(self) -> None:
        self.status = 0
        self._outcome: Deferred[Any] | None = None

    def request(self, number: int) -> None:
        """
        A signal has come: called in its handler, at any point of the program.
        """
        if self.status:
            if sys.stderr.isatty():
                # A progress bar has hidden the cursor.
                os.write(sys.stderr.fileno(), SHOW_CURSOR)
            os._exit(self.status)
        self.status = 128 + number

    def wake(self) -> None:
        """
        End what waits in L{before}; called by the reactor, after L{request}.
        """
        if self._outcome is not None:
            self._outcome.errback(Failure(Interrupted()))

    def check(self) -> None:
        """
        @raise Interrupted: if the user wants us to stop.
        """
        if self.status:
            raise Interrupted

    async def before(self, work: Deferred[Result]) -> Result:
        """
        Wait for something that may be left alone in its midst.

        @raise Interrupted: if the user does not want to wait for it.
        """
        self.check()
        outcome = self._outcome = Deferred[Result]()

        def ended(result: Result | Failure) -> None:
            if not outcome.called:
                outcome.callback(result)

        work.addBoth(ended)
        try:
            return await outcome
        finally:
            self._outcome = None


@implementer(ILogObserver)
class LogLines:
    """
    Shows what stores log, a line for each event; of what nobody caught, too,
    there is no more than a line.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, event: LogEvent) -> None:
        if level_of(event) > ERROR:
            return
        failure = event.get("log_failure")
        if failure is not None:
            report(self._name, mistake(failure.value, failure.getTracebackObject()))
        elif event.get("log_namespace") != "twisted.internet.defer":
            # (That says that a failure is about to follow.)
            report(self._name, eventAsText(event, includeTimestamp=False, includeSystem=False))


def report(name: str, text: str) -> None:
    """
    Tell the user, in one line on stderr.

    @param name: the command.
    """
    print(f"{name}: {' '.join(text.split())}", file=sys.stderr, flush=True)


def run(
    name: str,
    work: Callable[[Interruption], Coroutine[Deferred[Any], Any, None]],
    so_far: Callable[[], str],
    clear: Callable[[], None],
) -> int:
    """
    Run the reactor until a command has ended.

    @param name: what the user calls it, for errors.
    @param work: the command.
    @param so_far: a sentence on what has been done, and what to do, for when
        it ends early.
    @param clear: called before anything is printed in the end.
    @return: the exit status.
    """
    from twisted.internet import reactor as global_reactor

    # mypy takes the reactor for one of its many interfaces.
    reactor: Any = global_reactor
    interruption = Interruption()
    statuses: list[int] = []

    async def command() -> None:
        try:
            statuses.append(await ended())
        finally:
            reactor.stop()

    async def ended() -> int:
        try:
            try:
                await work(interruption)
            finally:
                clear()
            sys.stdout.flush()
        except Interrupted:
            tell("interrupted")
            return interruption.status
        except BrokenPipeError:
            # What is left in the buffer has nowhere to go to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except EXPECTED as error:
            tell(reason_of(error))
            return 1
        except Exception as error:
            tell(mistake(error, error.__traceback__))
            return 1
        return 0

    def tell(reason: str) -> None:
        done = so_far()
        report(name, f"{reason.rstrip('.')}. {done}" if done else reason)

    def handle(number: int, frame: FrameType | None) -> None:
        interruption.request(number)
        reactor.callFromThread(interruption.wake)

    def start() -> None:
        # The reactor has its own, which would end it under an open store.
        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)
        Deferred.fromCoroutine(command())

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names may hold what the terminal's encoding does not have.
        sys.stdout.reconfigure(errors="backslashreplace")
    begin_logging([LogLines(name)], on_stderr=True)
    reactor.callWhenRunning(start)
    reactor.run()
    return statuses[0]
