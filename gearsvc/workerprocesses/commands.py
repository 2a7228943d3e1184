"""
Workers that run a command for each job, as C{gearsvc work} does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from gearsvc.client import AssignedJob
from gearsvc.client.commands import JobCommand
from gearsvc.core.explain import text
from gearsvc.core.sessions import Session
from gearsvc.logs import Logger
from gearsvc.protocols.gearman import GearmanProtocol
from gearsvc.workerprocesses.wanted import WantedWorkers

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

log = Logger(__name__)

LAST_CHANCE = 2.0
"""Seconds between SIGTERM and SIGKILL for a command that must end now."""

IDLE_CHECK = 0.05
"""How often a command that is to end is looked at, in seconds."""


class CommandWorker:
    """
    One worker, in this process: the command is a process for each job.

    @ivar wanted: what it is.
    @ivar number: which of those it is.
    @ivar pid: C{None}; the process is another one each time.
    @ivar starts: always 1.
    @ivar since: when it was started, in Unix seconds.
    @ivar retiring: whether it is to go.
    """

    pid = None
    starts = 1

    def __init__(self, service: JobServerService, wanted: WantedWorkers, number: int) -> None:
        self.wanted = wanted
        self.number = number
        self.since = 0.0
        self.retiring = False
        self._service = service
        self._name = f"started:{self.title}".encode(errors="surrogateescape")
        self._command = JobCommand(
            wanted.command,
            environment=service.started.environment(wanted.kind),
            tell=self._tell,
            reactor=service.reactor,
        )
        self._worker = service.worker(client_id=self._name)
        for function in wanted.functions:
            self._worker.register(function.encode(errors="surrogateescape"), self._do)
        self._gone: Deferred[None] = Deferred()

    @property
    def title(self) -> str:
        """
        What the log calls it.
        """
        return f"{self.wanted.name}/{self.number}"

    @property
    def sessions(self) -> list[Session]:
        """
        Its connection.
        """
        return [
            session
            for session in self._service.job_server.sessions
            if session.client_id == self._name and session.peer.host == "in-process"
        ]

    def start(self) -> None:
        """
        Begin to work.
        """
        self.since = self._service.job_server.now()
        self._worker.start()

    def owns(self, connection: GearmanProtocol) -> bool:
        """
        It is connected already.
        """
        return False

    def connection_ended(self) -> None:
        """
        It connects again by itself.
        """

    def retire(self) -> Deferred[None]:
        """
        Take no more jobs, finish the one that there is, and go.

        @return: fires when it is gone.
        """
        if not self.retiring:
            self.retiring = True
            Deferred.fromCoroutine(self._leave()).addErrback(
                lambda failure: log.failure("cannot wait for {title}", failure, title=self.title)
            )
        gone: Deferred[None] = Deferred()
        self._gone.addCallback(lambda _: gone.callback(None))
        return gone

    async def _leave(self) -> None:
        try:
            await self._worker.drain()
            # One that nobody waits for any more may take a while to end.
            while self._command.running:
                await deferLater(self._service.reactor, IDLE_CHECK)
        finally:
            self._gone.callback(None)

    async def _do(self, job: AssignedJob) -> bytes:
        done: Deferred[bytes] = Deferred()
        Deferred.fromCoroutine(self._command(job)).addBoth(lambda result: None if done.called else done.callback(result))
        try:
            return await done
        except CancelledError:
            # The job is somebody else's now: the command ends, and its result is nobody's.
            self._command.end()
            raise

    def hurry(self) -> None:
        """
        End the command that runs; the job goes back to the queue.
        """
        self._command.grace = LAST_CHANCE
        self._worker.close().addErrback(lambda failure: log.failure("cannot end {title}", failure, title=self.title))

    def _tell(self, job: AssignedJob, line: str) -> None:
        log.announce("{title} {handle}: {line}", title=self.title, handle=text(job.handle), line=line)
