"""
Does jobs with a command: what C{gearsvc work} runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from gearsvc.client.assigned import AssignedJob
from gearsvc.client.commands import JobCommand
from gearsvc.client.worker import GearmanWorker
from gearsvc.commandline.frame import ENVIRONMENT, Address
from gearsvc.commandline.running import report, server_name
from gearsvc.core.explain import text

NAME = "gearsvc work"


class Work:
    """
    One run of the command.
    """

    def __init__(
        self,
        functions: Sequence[str],
        command: Sequence[str],
        servers: Sequence[Address],
        *,
        jobs: int = 1,
        timeout: float | None = None,
        count: int | None = None,
        lines: bool = False,
    ) -> None:
        """
        @param jobs: how many to do at a time.
        @param timeout: how many seconds one may take.
        @param count: after how many to end.
        @param lines: whether each line of output is sent at once.
        """
        self._functions = functions
        self._command_words = command
        self._servers = [server_name(*server) for server in servers]
        self._jobs = jobs if count is None else min(jobs, count)
        self._timeout = timeout
        self._count = count
        self._lines = lines
        self._taken = 0
        self._signals = 0
        self._draining = False
        self._ended: Deferred[None] = Deferred()
        self._status = 0

    async def run(self, reactor: Any) -> int:
        """
        Work until it is to end.

        @return: the exit status.
        """
        # So that what a command submits goes to the same servers.
        environment = dict.fromkeys(ENVIRONMENT, ",".join(self._servers))
        self._command = JobCommand(
            self._command_words, timeout=self._timeout, lines=self._lines, environment=environment, tell=tell, reactor=reactor
        )
        self._worker = GearmanWorker(self._servers, concurrency=self._jobs, reactor=reactor)
        for function in self._functions:
            self._worker.register(function.encode(errors="surrogateescape"), self._do)
        self._worker.start()
        await self._ended
        await self._worker.close()
        return self._status

    async def _do(self, job: AssignedJob) -> bytes:
        self._taken += 1
        if self._count is not None and self._taken >= self._count:
            self._drain()
        return await self._command(job)

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self._worker.drain().addCallbacks(lambda _: self._ended.callback(None), self._ended.errback)

    def interrupt(self, number: int) -> None:
        """
        The user wants it to end.
        """
        self._signals += 1
        running = self._command.running
        if self._signals == 1:
            if running:
                jobs = "a job runs" if running == 1 else f"{running} jobs run"
                report(NAME, f"{jobs} yet, and may finish; once more ends that too")
            self._drain()
        elif self._signals == 2:
            self._status = 128 + number
            self._command.end()
        else:
            self._command.kill()


def tell(job: AssignedJob, line: str) -> None:
    """
    Log a line of what a command has to say.
    """
    report(NAME, f"{text(job.function)} {text(job.handle)}: {line}")
