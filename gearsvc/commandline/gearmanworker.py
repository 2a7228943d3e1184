"""
C{gearsvc gearman -w}.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred

from gearsvc.client.assigned import AssignedJob
from gearsvc.client.commands import CommandUnusable, JobCommand, check_command
from gearsvc.client.errors import JobFailed
from gearsvc.client.worker import GearmanWorker
from gearsvc.commandline.frame import CommandError
from gearsvc.commandline.gearman import NAME, Options, places
from gearsvc.commandline.running import report
from gearsvc.core.explain import text


class Worker:
    """
    A worker with a command, or one that writes what it gets to standard output.
    """

    def __init__(self, options: Options) -> None:
        """
        @raise CommandError: if the command cannot be run.
        """
        self._options = options
        self._command: JobCommand | None = None
        if options.words:
            try:
                check_command(options.words)
            except CommandUnusable as error:
                raise CommandError(f"{error}; name a command that is there") from None
        # How many are left to be done; never 0 if there is no limit.
        self._left = options.count or -1
        self._patience: Any = None
        self._broken: BrokenPipeError | None = None
        self._draining = False
        self._ended: Deferred[None] = Deferred()
        self._status = 0

    async def run(self, reactor: Any) -> int:
        """
        Work until it is to end.

        @return: the exit status.
        """
        self._reactor = reactor
        options = self._options
        if options.words:
            self._command = JobCommand(
                options.words, lines=options.lines, strip=options.strip, tell=tell, tell_failure=tell_failure, reactor=reactor
            )
        self._worker = GearmanWorker(places(options, reactor), reactor=reactor)
        for function in options.functions:
            self._worker.register(function.encode(errors="surrogateescape"), self._do)
        self._worker.start()
        self._wait()
        await self._ended
        await self._worker.close()
        if self._broken is not None:
            raise self._broken
        return self._status

    def _wait(self) -> None:
        if self._options.timeout is not None and not self._draining:
            self._patience = self._reactor.callLater(self._options.timeout, self._nothing_came)

    def _nothing_came(self) -> None:
        # -c counts this, as it does in gearman(1): so a worker ends that has nothing to do.
        report(NAME, f"GEARMAN_TIMEOUT: no job came in {self._options.timeout} seconds")
        self._count()
        self._wait()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._drain()

    async def _do(self, job: AssignedJob) -> bytes:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._count()
        try:
            if self._command is not None:
                return await self._command(job)
            self._write(job.workload)
            return b""
        finally:
            self._wait()

    def _write(self, data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            # It would be so for each of the jobs to come.
            self._broken = error
            self._drain()
            raise JobFailed("nobody reads what is written") from None

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            if self._patience is not None and self._patience.active():
                self._patience.cancel()
            self._worker.drain().addCallbacks(lambda _: self._ended.callback(None), self._ended.errback)

    def interrupt(self, number: int) -> None:
        """
        The user wants it to end: after its job, and if asked again, at once.
        """
        if self._status and self._command is not None:
            self._command.end()
        self._status = 128 + number
        self._drain()


def tell(job: AssignedJob, line: str) -> None:
    """
    Show a line of the command's standard error, as it is.
    """
    print(line, file=sys.stderr, flush=True)


def tell_failure(job: AssignedJob, line: str) -> None:
    """
    Tell how a command failed.
    """
    report(NAME, f"{text(job.function)} {text(job.handle)}: {line}")
