"""
Processes that are started again when they end, whatever they ended of.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol

ROOT = Path(__file__).resolve().parent.parent.parent
"""
The checkout, which has what the processes import.
"""

SHORT_LIFE = 2.0
MOST_FAILURES = 5
"""
A process that ends so many times, after at most so many seconds each, is given up.
"""

GRACE = 5.0
"""
How many seconds a process may take to end before it is killed.
"""


class Process(ProcessProtocol):
    """
    One of them.

    @ivar stopped: fires when it has ended for good.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        command: Sequence[str],
        say: Callable[[str, str], None],
        give_up: Callable[[str], None],
        log: Path | None = None,
    ) -> None:
        """
        @param say: called with its name and each line that it prints.
        @param give_up: called with what to say about it, if it cannot be kept running.
        @param log: where its output goes, if it is not to be said.
        """
        self.name = name
        self.stopped: Deferred[None] = Deferred()
        self._reactor = reactor
        self._command = command
        self._say = say
        self._give_up = give_up
        self._log = log
        self._output = b""
        self._failures = 0
        self._kept = True
        self._timer: Any = None

    def start(self) -> None:
        """
        Start it.
        """
        self._timer = None
        self._started = time.monotonic()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
        environment.update(PYTHONPATH=path, PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
        outputs: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
        if self._log is None:
            self._spawn(environment, outputs)
        else:
            with open(self._log, "ab") as log:
                self._spawn(environment, {**outputs, 1: log.fileno(), 2: log.fileno()})

    def _spawn(self, environment: dict[str, str], files: dict[int, Any]) -> None:
        self._reactor.spawnProcess(self, self._command[0], self._command, env=environment, path=str(ROOT), childFDs=files)

    def connectionMade(self) -> None:
        """
        Say that it runs.
        """
        process: Any = self.transport
        self._say(self.name, f"runs as process {process.pid}")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Say what it says, line by line.
        """
        *lines, self._output = (self._output + data).split(b"\n")
        for line in lines:
            self._say(self.name, line.decode("utf-8", "replace"))

    def processEnded(self, reason: Any) -> None:
        """
        Start it again, a little later each time, unless it was to end.
        """
        if self._output:
            self.childDataReceived(1, b"\n")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._kept:
            self.stopped.callback(None)
            return
        short = time.monotonic() - self._started < SHORT_LIFE
        self._failures = self._failures + 1 if short else 0
        how = "ended" if reason.check(ProcessDone) else f"was ended by {self._cause(reason.value)}"
        if self._failures == MOST_FAILURES:
            self._kept = False
            self.stopped.callback(None)
            self._give_up(f"{self.name} {how}, again and again." + self._last_words())
            return
        # Not at once: a Ctrl-C reaches all processes of a terminal, and what ends of that is not started again.
        self._timer = self._reactor.callLater(0.1 * 2**self._failures, self._start_again, how)

    def _start_again(self, how: str) -> None:
        self._say(self.name, f"{how}; it is started again")
        self.start()

    @staticmethod
    def _cause(ended: Any) -> str:
        return f"signal {ended.signal}" if ended.signal is not None else f"an error (status {ended.exitCode})"

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-5:]
        return " Its last words:\n" + "\n".join(lines)

    def let_end(self) -> None:
        """
        From now on, do not start it again.
        """
        if not self._kept:
            return
        self._kept = False
        if self._timer is not None or self.transport is None:
            # It is not running.
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self.stopped.callback(None)

    def stop(self) -> Deferred[None]:
        """
        Tell it to end, and kill it if it does not.

        @return: fires when it has ended.
        """
        self.let_end()
        if not self.stopped.called and self._timer is None:
            self._signal("TERM")
            self._timer = self._reactor.callLater(GRACE, self._kill)
        return self.stopped

    def _kill(self) -> None:
        self._timer = None
        self._say(self.name, f"has not ended within {GRACE:.0f} seconds, and is killed")
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        process: Any = self.transport
        process.signalProcess(name)


def module(name: str, *arguments: object) -> list[str]:
    """
    The command that runs a module with the Python that runs this one.
    """
    return [sys.executable, "-m", name, *map(str, arguments)]


async def stop_all(processes: Sequence[Process]) -> None:
    """
    Stop some processes at once, and wait until they have ended.
    """
    await DeferredList([process.stop() for process in processes])
