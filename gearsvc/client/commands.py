"""
Commands that do jobs: any program becomes a worker's function::

    worker.register("upper", JobCommand(["tr", "a-z", "A-Z"]))

The program is started anew for each job.  It reads the workload from its
standard input, and what it writes to its standard output is the result.  It may
leave its input alone.

  - Its environment says which job it is: GEARMAN_FUNCTION, GEARMAN_HANDLE,
    GEARMAN_UNIQUE, and GEARMAN_REDUCER for a reduce job.
  - If it ends with another status than 0, or by a signal, the job fails.  The
    client gets first, as data, what the program had written, as it does from
    gearman(1).
  - What it writes to its standard error is told line by line, and so is how it
    failed.
  - It has a session and a process group of its own, so that a Ctrl-C in the
    terminal does not reach it, and that it ends with all its children when its
    time is up: by SIGTERM, and a few seconds later by SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

from gearsvc.client.assigned import AssignedJob
from gearsvc.client.errors import JobFailed
from gearsvc.client.processes import GRACE, RunningProcess
from gearsvc.core.explain import text
from gearsvc.logs import Logger

LONGEST_LINE = 8192
"""
A line of standard error that is longer than this is told in pieces.
"""

log = Logger(__name__)


class CommandUnusable(Exception):
    """
    There is no such program, or it is none that can be run.

    @ivar args: one string of one line that says so.
    """


def check_command(words: Sequence[str]) -> None:
    """
    Find out, before there is a job, whether a command can be run.

    @raise CommandUnusable: if not.
    """
    name = words[0]
    if shutil.which(name) is None:
        there = os.path.dirname(name) and os.path.exists(name)
        raise CommandUnusable(f"{name!r} cannot be run, since it is not executable" if there else f"there is no program {name!r}")


def log_line(job: AssignedJob, line: str) -> None:
    """
    Log what a command has to say.
    """
    log.warn("{function} {handle}: {line}", function=text(job.function), handle=text(job.handle), line=line)


class JobCommand:
    """
    A command that does jobs: what
    L{GearmanWorker.register<gearsvc.client.worker.GearmanWorker.register>} takes.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        timeout: float | None = None,
        grace: float = GRACE,
        lines: bool = False,
        strip: bool = False,
        environment: Mapping[str, str] | None = None,
        tell: Callable[[AssignedJob, str], object] = log_line,
        tell_failure: Callable[[AssignedJob, str], object] | None = None,
        reactor: Any = None,
    ) -> None:
        """
        @param words: the program and its arguments; no shell reads them.
        @param timeout: after how many seconds it is ended, and the job fails.
        @param grace: how many seconds are between SIGTERM and SIGKILL then.
        @param lines: whether each line of output is sent at once, as data; the
            result is empty then.
        @param strip: whether such a line is sent without the line feed at its end.
        @param environment: variables beyond those that we have ourselves.
        @param tell: takes, for a job, a line of standard error; what controls
            a terminal is escaped already.  By default it is logged.
        @param tell_failure: takes, for a job, how the command failed; by
            default, C{tell} does.
        @param reactor: the reactor, if it is not the global one.
        """
        if reactor is None:
            from twisted.internet import reactor
        self.words = list(words)
        self.timeout = timeout
        self.grace = grace
        self.lines = lines
        self.strip = strip
        self._environment = dict(environment or {})
        self._tell = tell
        self._tell_failure = tell_failure or tell
        self._reactor: Any = reactor
        self._running: set[RunningProcess] = set()

    @property
    def running(self) -> int:
        """
        How many jobs it does at the moment.
        """
        return len(self._running)

    def end(self) -> None:
        """
        End the programs that run, with their children: their jobs fail.
        """
        for process in self._running:
            process.end(self.grace)

    def kill(self) -> None:
        """
        End them at once, by SIGKILL.
        """
        for process in self._running:
            process.signal(signal.SIGKILL)

    async def __call__(self, job: AssignedJob) -> bytes:
        """
        Do a job.  To cancel that ends the program.

        @return: the result.
        @raise JobFailed: if the command fails, cannot be run, or takes too long.
        """
        # It is all in one piece of memory, which becomes the result.
        output = BytesIO()
        pieces = Lines(job.send_data, keep_end=not self.strip)
        errors = Lines(lambda line: self._tell(job, text(line)), keep_end=False, longest=LONGEST_LINE)
        try:
            process = RunningProcess(
                self.words,
                input=job.workload,
                environment={**os.environ, **self._environment, **variables(job)},
                on_output=pieces.feed if self.lines else output.write,
                on_error=errors.feed,
                reactor=self._reactor,
            )
        except OSError as error:
            raise self._failed(job, f"{self.words[0]!r} cannot be run: {error.strerror}") from None
        self._running.add(process)
        timer = None
        overdue = False

        def time_is_up() -> None:
            nonlocal overdue
            overdue = True
            process.end(self.grace)

        if self.timeout is not None:
            timer = self._reactor.callLater(self.timeout, time_is_up)
        try:
            status = await process.ended
        finally:
            self._running.discard(process)
            if timer is not None and timer.active():
                timer.cancel()
        errors.end()
        pieces.end()
        if status == 0 and not overdue:
            return output.getvalue()
        if output.tell():
            job.send_data(output.getvalue())
        if overdue:
            raise self._failed(job, f"the command took more than {self.timeout:g} seconds, and was ended")
        raise self._failed(job, f"the command {how_it_ended(status)}")

    def _failed(self, job: AssignedJob, reason: str) -> JobFailed:
        self._tell_failure(job, reason)
        return JobFailed(reason)


def variables(job: AssignedJob) -> dict[str, str]:
    """
    What tells a program which job it does.
    """
    given = {"GEARMAN_FUNCTION": job.function, "GEARMAN_HANDLE": job.handle, "GEARMAN_UNIQUE": job.unique}
    if job.reducer:
        given["GEARMAN_REDUCER"] = job.reducer
    # (No NUL can be in them: they were separated by it.)
    return {name: os.fsdecode(value) for name, value in given.items()}


def how_it_ended(status: int) -> str:
    """
    An exit status as a person would say it.
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended by {name}"


class Lines:
    """
    Cuts what a program writes into lines.
    """

    def __init__(self, receive: Callable[[bytes], object], *, keep_end: bool, longest: int | None = None) -> None:
        """
        @param receive: takes each line.
        @param keep_end: whether the line feed stays at its end.
        @param longest: how many bytes may be in a line; a longer one becomes several.
        """
        self._receive = receive
        self._keep_end = keep_end
        self._longest = longest
        # The beginning of a line, joined only once there is its end.
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """
        Take some more of it.
        """
        at = 0
        while at < len(piece):
            limit = len(piece) if self._longest is None else at + self._longest - self._size
            found = piece.find(b"\n", at, limit) + 1
            part = piece[at : found or limit]
            at += len(part)
            self._begun.append(part)
            self._size += len(part)
            if found or self._size == self._longest:
                self.end()

    def end(self) -> None:
        """
        Nothing more comes: what is there is a line.
        """
        line = b"".join(self._begun)
        self._begun.clear()
        self._size = 0
        if line:
            self._receive(line if self._keep_end else line.removesuffix(b"\n"))

