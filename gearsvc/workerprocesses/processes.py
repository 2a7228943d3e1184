"""
Workers that are processes of their own and speak Gearman.

A process that ends is started again: at once if it had run for a while, and
otherwise later and later, as long as it keeps ending.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from gearsvc.client.commands import LONGEST_LINE, Lines, how_it_ended
from gearsvc.core.explain import text
from gearsvc.core.packets import Type
from gearsvc.core.sessions import Session
from gearsvc.logs import Logger
from gearsvc.protocols.gearman import GearmanProtocol
from gearsvc.workerprocesses.launch import spawn
from gearsvc.workerprocesses.owners import owner
from gearsvc.workerprocesses.wanted import SOCKET, WantedWorkers

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

log = Logger(__name__)

STEADY = 10.0
"""A process that has run for so many seconds is one that works."""

FIRST_DELAY = 0.5
LAST_DELAY = 30.0
"""Seconds until a process that did not is started again: twice as many each time."""

LAST_CHANCE = 2.0
"""Seconds between SIGTERM and SIGKILL for a process that must go now."""

IDLE_CHECK = 0.05
"""How often a worker that is to go is looked at, in seconds, while it has a job."""


OF_WORKERS = ("GEARMAN_SERVERS", "GEARMAN_WORKER_USE_STDIO", "GEARMAN_FD")
"""What the environment tells a worker of its server."""


class WorkerProcess:
    """
    One worker: a process, and the next one when it has ended.

    @ivar wanted: what it is.
    @ivar number: which of those it is.
    @ivar pid: the id of its process; C{None} while there is none.
    @ivar starts: how many processes it has been so far.
    @ivar since: when the process was started, in Unix seconds.
    @ivar retiring: whether it is to go.
    """

    def __init__(self, service: JobServerService, wanted: WantedWorkers, number: int) -> None:
        self.wanted = wanted
        self.number = number
        self.pid: int | None = None
        self.starts = 0
        self.since = 0.0
        self.retiring = False
        self._service = service
        self._reactor = service.reactor
        self._gone: Deferred[None] = Deferred()
        self._began = 0.0
        self._delay = 0.0
        self._later: dict[str, IDelayedCall] = {}
        self._connections: list[GearmanProtocol] = []
        self._stopping = False
        self._exited = False

    @property
    def title(self) -> str:
        """
        What the log calls it.
        """
        return f"{self.wanted.name}/{self.number}" + (f"[{self.pid}]" if self.pid is not None else "")

    @property
    def sessions(self) -> list[Session]:
        """
        Its connections, as far as they are known.
        """
        there = self._service.job_server.sessions
        return [connection.session for connection in self._connections if connection.session in there]

    def start(self) -> None:
        """
        Start a process.
        """
        self.starts += 1
        self.since = self._service.job_server.now()
        self._began = self._reactor.seconds()
        # (What is set for the server itself may name another one.)
        ours = {name: value for name, value in os.environ.items() if name not in OF_WORKERS}
        environment = {**ours, **self._service.started.environment(self.wanted.kind)}
        if self.wanted.kind == SOCKET:
            near, theirs = socket.socketpair()
            near.setblocking(False)
            self._connections = [self._service.adopt(near)]
            near.close()
        else:
            self._connections = []
            theirs = open(os.devnull, "rb")  # type: ignore[assignment]
        self._exited = False
        with theirs:
            descriptors: dict[int, int | str] = {0: theirs.fileno(), 1: "r", 2: "r"}
            self.pid = spawn(self._reactor, _Output(self), self.wanted.command, environment, descriptors)
        for connection in self._connections:
            self._name(connection)
        log.info("{title} is started", title=self.title)
        if self._exited:
            # It was over before its id was known.
            self.exited()

    def owns(self, connection: GearmanProtocol) -> bool:
        """
        Find out whether a new connection is that of the process, and name it if so.
        """
        handle = connection.transport.getHandle()
        if self.pid is None or owner(handle, [self.pid]) is None:
            return False
        self._connections = [each for each in self._connections if each in self._service.factory.connections]
        self._connections.append(connection)
        self._name(connection)
        return True

    def _name(self, connection: GearmanProtocol) -> None:
        connection.session.client_id = f"started:{self.title}".encode(errors="surrogateescape")
        connection.session.named = True

    def connection_ended(self) -> None:
        """
        Look whether the process has lost the socket that it cannot do without;
        end it then.
        """
        if self.wanted.kind == SOCKET and self.pid is not None and not self.sessions and not self._stopping:
            log.info("{title} has closed its connection, and is ended", title=self.title)
            self._terminate(LAST_CHANCE)

    def said(self, line: bytes, complaint: bool) -> None:
        """
        The process wrote a line.
        """
        tell = log.announce if complaint else log.notice
        tell("{title}: {line}", title=self.title, line=text(line))

    def exited(self) -> None:
        """
        The process has ended: what it has started, and is in its group still, ends with it.
        """
        self._exited = True
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def ended(self, status: int) -> None:
        """
        The process has ended, and has said what it had to say.
        """
        title, ran = self.title, self._reactor.seconds() - self._began
        self.pid = None
        self._stopping = False
        self._cancel("kill")
        if self._connections:
            # What it sent last is yet to be read; but somebody else may have the socket, too.
            self._reactor.callLater(LAST_CHANCE, _abort, self._service, self._connections)
        if self.retiring:
            self._leave()
            return
        how = how_it_ended(status)
        if ran >= STEADY:
            self._delay = 0.0
            (log.info if status == 0 else log.announce)("{title} {how}; it is started again", title=title, how=how)
        else:
            if not self._delay:
                log.announce(
                    "{title} {how} after {ran:.1f} s; it is started again, less and less often while it keeps ending",
                    title=title,
                    how=how,
                    ran=ran,
                )
            self._delay = min(max(2 * self._delay, FIRST_DELAY), LAST_DELAY)
        self._later["start"] = self._reactor.callLater(self._delay, self._start_again)

    def _start_again(self) -> None:
        try:
            self.start()
        except OSError as error:
            log.error("{title} cannot be started: {reason}", title=self.title, reason=error.strerror)
            self._delay = min(max(2 * self._delay, FIRST_DELAY), LAST_DELAY)
            self._later["start"] = self._reactor.callLater(self._delay, self._start_again)

    def retire(self) -> Deferred[None]:
        """
        Give it no more jobs, let it finish what it has, and then end it: by
        SIGTERM, and after C{--drain-seconds} by SIGKILL.

        @return: fires when the process is gone.
        """
        if not self.retiring:
            self.retiring = True
            self._cancel("start")
            if self.pid is None:
                self._leave()
            else:
                for session in self.sessions:
                    self._service.job_server.receive(session, [(Type.RESET_ABILITIES, b"")])
                self._service.job_server.flush()
                Deferred.fromCoroutine(self._finish()).addErrback(
                    lambda failure: log.failure("cannot wait for {title}", failure, title=self.title)
                )
        gone: Deferred[None] = Deferred()
        self._gone.addCallback(lambda _: gone.callback(None))
        return gone

    async def _finish(self) -> None:
        while any(session.running for session in self.sessions):
            await deferLater(self._reactor, IDLE_CHECK)
        if self.pid is not None and not self._stopping:
            self._terminate(self._service.settings.drain_seconds)

    def hurry(self) -> None:
        """
        End it now, whatever it does.
        """
        if self.pid is not None:
            self._terminate(LAST_CHANCE)

    def _leave(self) -> None:
        if not self._gone.called:
            self._gone.callback(None)

    def _terminate(self, grace: float) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)
        # What is stopped would not notice.
        self._signal(signal.SIGCONT)
        self._cancel("kill")
        self._later["kill"] = self._reactor.callLater(grace, self._signal, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """
        Send a signal to the process and all that it has started.
        """
        if self.pid is None or self._exited:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # It has no group of its own yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _cancel(self, what: str) -> None:
        call = self._later.pop(what, None)
        if call is not None and call.active():
            call.cancel()


def _abort(service: JobServerService, connections: list[GearmanProtocol]) -> None:
    for connection in connections:
        if connection in service.factory.connections:
            connection.abort()


class _Output(ProcessProtocol):
    """
    What the process writes.
    """

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._lines: dict[int, Any] = {
            1: Lines(lambda line: worker.said(line, False), keep_end=False, longest=LONGEST_LINE),
            2: Lines(lambda line: worker.said(line, True), keep_end=False, longest=LONGEST_LINE),
        }

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._lines[childFD].feed(data)

    def processExited(self, reason: Failure) -> None:
        error: Any = reason.value
        status = -error.signal if error.signal is not None else error.exitCode
        self._status = status
        # Its last words may be in the pipe yet; and what it left behind may hold
        # that open for ever, so that is ended first.
        self._worker.exited()
        self._late = self._worker._reactor.callLater(LAST_CHANCE, self._over)

    def processEnded(self, reason: Failure) -> None:
        if self._late.active():
            self._late.cancel()
            self._over()

    def _over(self) -> None:
        for lines in self._lines.values():
            lines.end()
        self._worker.ended(self._status)
