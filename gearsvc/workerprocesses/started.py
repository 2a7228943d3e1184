"""
All workers that a server has started.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, gatherResults, succeed

from gearsvc.core.sessions import Session
from gearsvc.logs import Logger
from gearsvc.options import SettingsError
from gearsvc.protocols.gearman import GearmanProtocol
from gearsvc.workerprocesses.wanted import COMMAND, CONNECT, MOST, SOCKET, WantedWorkers, wanted_workers

if TYPE_CHECKING:
    from gearsvc.service import JobServerService
    from gearsvc.workerprocesses.commands import CommandWorker
    from gearsvc.workerprocesses.processes import WorkerProcess

log = Logger(__name__)

LAST_WAIT = 10.0
"""Seconds after which a process that must go now is not waited for any more: SIGKILL has not ended it."""


@dataclass
class Crew:
    """
    Workers that do the same.

    @ivar wanted: what they are, and how many of them.
    @ivar workers: those that there are, by number.
    """

    wanted: WantedWorkers
    workers: dict[int, CommandWorker | WorkerProcess] = field(default_factory=dict)


class StartedWorkers:
    """
    Starts workers, keeps them running, and ends them with the server.

    @ivar crews: them all, by the names of their functions, with commas between.
    @ivar patience: how many seconds they have to finish their jobs when the
        server ends.
    """

    events = ("worker_joined", "worker_left")

    def __init__(self, service: JobServerService, wanted: Iterable[WantedWorkers]) -> None:
        """
        @raise SettingsError: if a program is not there, or two have the same functions.
        """
        self.crews: dict[str, Crew] = {}
        self.patience = service.settings.drain_seconds
        self._service = service
        self._runs = False
        self._observes = False
        self._ended = False
        for each in wanted:
            self._add(each)

    def _add(self, wanted: WantedWorkers) -> Crew:
        if wanted.name in self.crews:
            raise SettingsError(f"--worker: there are workers for {wanted.name} already; give one count for all of them")
        wanted.check_program()
        # Now, and not when the server has become a user who cannot read it.
        _maker(wanted.kind)
        crew = self.crews[wanted.name] = Crew(wanted)
        return crew

    # Starting

    def start(self) -> None:
        """
        Start them all; the server serves them now.
        """
        self._runs = True
        if self.address() is None and any(crew.wanted.kind == CONNECT for crew in self.crews.values()):
            log.announce("the server has no port that the workers could connect to which it starts: they get no GEARMAN_SERVERS")
        if self.crews:
            self._begin()
        for crew in self.crews.values():
            self._adjust(crew)

    def _begin(self) -> None:
        if not self._observes:
            self._observes = True
            # (Of an IJobObserver it has what it names in its events.)
            observer: Any = self
            self._service.job_server.observers.add(observer)

    def start_worker(self, text: str) -> str:
        """
        Start some more workers.

        @param text: what C{--worker} takes.
        @return: their name, for L{set_count}.
        @raise SettingsError: if it can't be done.
        """
        try:
            wanted = wanted_workers(text)
        except ValueError as error:
            raise SettingsError(f"--worker: {error}") from None
        if self._ended:
            raise SettingsError("--worker: the server ends")
        crew = self._add(wanted)
        if self._runs:
            self._begin()
            self._adjust(crew)
        return wanted.name

    def set_count(self, name: str, count: int) -> Deferred[None]:
        """
        Have more or fewer workers of some functions.  Those that are too many
        finish their jobs before they go.

        @param name: the functions, with commas between.
        @return: fires when those that are too many have gone.
        @raise KeyError: if there are no such workers.
        @raise ValueError: if there can't be so many.
        """
        crew = self.crews[name]
        if not 0 <= count <= MOST:
            raise ValueError(f"there can be from 0 to {MOST} workers of one kind, not {count}")
        crew.wanted = replace(crew.wanted, count=count)
        if not self._runs or self._ended:
            return succeed(None)
        log.notice("of {name} there are to be {count} workers", name=name, count=count)
        return self._adjust(crew)

    def _adjust(self, crew: Crew) -> Deferred[None]:
        wanted = crew.wanted
        staying = sorted(number for number, worker in crew.workers.items() if not worker.retiring)
        leaving = staying[wanted.count :]
        number = 0
        for _ in range(wanted.count - len(staying)):
            number += 1
            while number in crew.workers:
                number += 1
            worker = crew.workers[number] = _maker(wanted.kind)(self._service, wanted, number)
            worker.start()
        return gatherResults([self._retire(crew, number) for number in leaving]).addCallback(lambda _: None)

    def _retire(self, crew: Crew, number: int) -> Deferred[None]:
        return crew.workers[number].retire().addCallback(lambda _: crew.workers.pop(number, None)).addCallback(lambda _: None)

    def environment(self, kind: str) -> dict[str, str]:
        """
        What the environment of a worker has, beyond the server's own.
        """
        given = {}
        if (address := self.address()) is not None:
            given["GEARMAN_SERVERS"] = address
        if kind == SOCKET:
            given["GEARMAN_WORKER_USE_STDIO"] = "1"
            given["GEARMAN_FD"] = "0"
        return given

    def address(self) -> str | None:
        """
        Where this machine reaches the server: C{host:port}, or C{unix:PATH} if
        there is no port.
        """
        found: list[str] = []
        for port in self._service.ports:
            host = port.getHost()
            if isinstance(host, UNIXAddress):
                if host.name:
                    found.append(f"unix:{host.name.decode(errors='surrogateescape')}")
            elif ":" in host.host:
                found.append(f"[{'::1' if host.host == '::' else host.host}]:{host.port}")
            else:
                found.insert(0, f"{'127.0.0.1' if host.host == '0.0.0.0' else host.host}:{host.port}")
        return min(found, key=lambda each: (each.startswith("unix:"), each.startswith("["))) if found else None

    # Their connections

    def worker_joined(self, worker: Session, function: bytes) -> None:
        """
        Perhaps it is one of ours.  See L{IJobObserver<gearsvc.interfaces.IJobObserver>}.
        """
        # (With its first function, and not again with each.)
        if not worker.named and len(worker.abilities) <= 1 and any(self._that_connect()):
            self._service.reactor.callLater(0, self._find_owner, worker)

    def worker_left(self, worker: Session, function: bytes) -> None:
        """
        Perhaps one of ours has lost its connection.  See L{IJobObserver<gearsvc.interfaces.IJobObserver>}.
        """
        if worker.named:
            self._service.reactor.callLater(0, self._look)

    def _that_connect(self) -> Iterable[CommandWorker | WorkerProcess]:
        return (worker for crew in self.crews.values() if crew.wanted.kind == CONNECT for worker in crew.workers.values())

    def _find_owner(self, session: Session) -> None:
        connection = session.peer
        if session.named or not isinstance(connection, GearmanProtocol) or connection.descriptor < 0:
            return
        if connection in self._service.factory.connections:
            next((worker for worker in self._that_connect() if worker.owns(connection)), None)

    def _look(self) -> None:
        for crew in self.crews.values():
            for worker in crew.workers.values():
                worker.connection_ended()

    # Ending

    def stop(self) -> Deferred[None]:
        """
        End them all: each finishes its job, but none later than L{patience} allows.

        @return: fires when they are gone.
        """
        if self._ended:
            return succeed(None)
        self._ended = True
        everybody = [(crew, number) for crew in self.crews.values() for number in list(crew.workers)]
        if not everybody:
            return succeed(None)
        over: Deferred[None] = Deferred()
        later = self._service.reactor.callLater
        calls = [later(self.patience, self._hurry), later(self.patience + LAST_WAIT, self._give_up, over)]

        def all_gone(_: object) -> None:
            for call in calls:
                if call.active():
                    call.cancel()
            if not over.called:
                over.callback(None)

        gatherResults([self._retire(crew, number) for crew, number in everybody]).addCallback(all_gone)
        return over

    def _give_up(self, over: Deferred[None]) -> None:
        titles = [worker.title for crew in self.crews.values() for worker in crew.workers.values()]
        log.error("not even SIGKILL has ended {titles}: not waiting for them", titles=", ".join(titles))
        over.callback(None)

    def _hurry(self) -> None:
        for crew in self.crews.values():
            for worker in list(crew.workers.values()):
                worker.hurry()


def _maker(kind: str) -> type[CommandWorker] | type[WorkerProcess]:
    # (A server that starts no workers goes without these.)
    if kind == COMMAND:
        from gearsvc.workerprocesses.commands import CommandWorker

        return CommandWorker
    from gearsvc.workerprocesses.processes import WorkerProcess

    return WorkerProcess
