"""
The workers that the server has started (C{--worker}), as the API shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gearsvc.console.problems import Problem
from gearsvc.console.values import Name

if TYPE_CHECKING:
    from gearsvc.service import JobServerService
    from gearsvc.workerprocesses.started import Crew


@dataclass(frozen=True, slots=True)
class StartedWorker:
    """
    A worker that the server has started.

    @ivar number: tells it from the others for the same functions.
    @ivar pid: the id of its process; C{None} if there is none at the moment, or
        another one for each job.
    @ivar starts: how many processes it has been.
    @ivar since: since when it is there, or its process.
    @ivar leaving: whether it is one too many, and goes when its job is done.
    @ivar connections: the numbers of its connections.
    """

    number: int
    pid: int | None
    starts: int
    since: float
    leaving: bool
    connections: list[int]


@dataclass(frozen=True, slots=True)
class StartedWorkers:
    """
    Workers that the server has started, all of a kind.

    @ivar name: their functions, with commas between.
    @ivar kind: C{"command"} (run for each job), C{"socket"} (its standard input
        is a connection) or C{"connect"} (it connects by itself).
    @ivar program: what is run, without its arguments, which may hold a secret.
    @ivar count: how many there are to be.
    """

    name: Name
    kind: str
    program: str
    count: int
    workers: list[StartedWorker]


def all_started(service: JobServerService) -> list[StartedWorkers]:
    """
    All of them.
    """
    return [_view(crew) for crew in service.started.crews.values()]


def set_count(service: JobServerService, name: bytes, count: int) -> StartedWorkers:
    """
    Have more or fewer of some.

    @raise Problem: if there are none of that name.
    """
    found = service.started.crews.get(name.decode(errors="surrogateescape"))
    if found is None:
        raise Problem(404, f"The server has started no workers for {Name(name)[:200]!r}.")
    # Those that are too many go when they have finished: nobody waits for that here.
    service.started.set_count(found.wanted.name, count)
    return _view(found)


def _view(crew: Crew) -> StartedWorkers:
    wanted = crew.wanted
    workers = [
        StartedWorker(
            worker.number, worker.pid, worker.starts, worker.since, worker.retiring, [each.number for each in worker.sessions]
        )
        for _, worker in sorted(crew.workers.items())
    ]
    return StartedWorkers(
        Name(wanted.name.encode(errors="surrogateescape")),
        wanted.kind,
        Name(wanted.command[0].encode(errors="surrogateescape")),
        wanted.count,
        workers,
    )
