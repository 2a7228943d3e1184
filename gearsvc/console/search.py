"""
Finding jobs among many.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gearsvc.console.history import Ended, History
from gearsvc.console.looks import ended_view, job_view
from gearsvc.console.register import Register
from gearsvc.console.slices import Work
from gearsvc.console.values import ENDED, LIVE, STATES, Job, Jobs
from gearsvc.core import jobs
from gearsvc.core.jobserver import JobServer

MAX_LIMIT = 1000
"""
How many jobs a page may have.
"""


class BadQuery(Exception):
    """
    There can be no answer to a query.

    @ivar args: one sentence that says why.
    """


@dataclass(frozen=True)
class JobQuery:
    """
    What to look for; all of it has to be true of a job.

    @ivar function: its function's name.
    @ivar states: where it is: some of L{STATES}.  None is all of those that live.
    @ivar unique: its unique id.
    @ivar older: for so many seconds it has been there, or for more (of those
        that are over: so long ago it ended).
    @ivar younger: for so many seconds at most.
    @ivar oldest_first: the order: that of submission and, of those that are
        over, that of their ends.  The newest are first unless this says
        otherwise, and those that live before those that are over.
    @ivar limit: how many to find.
    @ivar after: where the page before this one ended.
    @raise BadQuery: if it makes no sense.
    """

    function: bytes | None = None
    states: frozenset[str] = frozenset()
    unique: bytes | None = None
    older: float | None = None
    younger: float | None = None
    oldest_first: bool = False
    limit: int = 100
    after: str | None = None

    def __post_init__(self) -> None:
        if unknown := self.states - set(STATES):
            raise BadQuery(f"There is no state {min(unknown)!r}; there is: {', '.join(STATES)}.")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadQuery(f"The limit has to be from 1 to {MAX_LIMIT}.")


def search(server: JobServer, register: Register, history: History, query: JobQuery) -> Work[Jobs]:
    """
    Look for jobs.

    @raise BadQuery: if C{after} is none that an answer gave.
    """
    live = query.states & set(LIVE) or (frozenset() if query.states else frozenset(LIVE))
    page = _Page(query.limit)
    sources: list[tuple[str, Callable[[list[Any] | None], Work[bool]]]] = []
    if live == {"running"}:
        sources.append(("running", lambda place: _search_running(server, query, page, place)))
    elif live:
        sources.append(("live", lambda place: _search_live(server, register, query, live, page, place)))
    if query.states & set(ENDED):
        sources.append(("ended", lambda place: _search_ended(server, history, query, page, place)))
    if query.oldest_first:
        sources.reverse()
    place: list[Any] | None = None
    if query.after is not None:
        kind, *place = _place(query.after)
        kinds = [each for each, _ in sources]
        if kind not in kinds:
            raise _bad_place()
        sources = sources[kinds.index(kind) :]
    for _, source in sources:
        if (yield from source(place)):
            return Jobs(page.jobs, _cursor(*page.last))
        place = None
    return Jobs(page.jobs, None)


class _Page:
    """
    The jobs that were found so far.

    @ivar last: where the last of them is.
    """

    def __init__(self, limit: int) -> None:
        self.jobs: list[Job] = []
        self.last: tuple[Any, ...] = ()
        self._limit = limit

    @property
    def full(self) -> bool:
        return len(self.jobs) == self._limit

    def add(self, job: Job, *place: Any) -> None:
        self.jobs.append(job)
        self.last = place


# Each of these adds to a page what it finds behind a place; they return whether
# there is more than fits.


def _search_live(
    server: JobServer, register: Register, query: JobQuery, states: frozenset[str], page: _Page, place: list[Any] | None
) -> Work[bool]:
    queue = server.functions.get(query.function) if query.function is not None else None
    if query.function is not None and queue is None:
        return False
    register.update()
    now = server.clock.time()
    accepted = _filter(query, states, now)
    # How many there are to be seen before it makes no sense to look on.
    left = queue.total if queue is not None else len(server.jobs)
    position = place[0] if place is not None else None
    pieces = register.up(position if position is not None else -1) if query.oldest_first else register.down(position)
    get = server.jobs.get
    for piece in pieces:
        there = [(here, job) for here, handle in piece if (job := get(handle)) is not None]
        if queue is not None:
            there = [each for each in there if each[1]._function is queue]
        left -= len(there)
        for number, (here, job) in enumerate(accepted(there)):
            if number % 64 == 63:
                yield
            if job.state == jobs.FINISHED:
                # It has ended meanwhile.
                continue
            if page.full:
                return True
            page.add(job_view(job, now), "live", here)
        if left <= 0:
            break
        yield
    return False


T = TypeVar("T")


def _filter(query: JobQuery, states: frozenset[str], now: float) -> Callable[[list[tuple[T, jobs.Job]]], list[tuple[T, jobs.Job]]]:
    """
    What sorts out jobs, each with its place: many at a time, for there may be
    many.
    """
    numbers = frozenset(STATES.index(each) for each in states)
    unique = query.unique
    first = now - query.younger if query.younger is not None else float("-inf")
    last = now - query.older if query.older is not None else float("inf")

    def accepted(candidates: list[tuple[T, jobs.Job]]) -> list[tuple[T, jobs.Job]]:
        if len(numbers) < len(LIVE):
            candidates = [each for each in candidates if each[1].state in numbers]
        if unique is not None:
            candidates = [each for each in candidates if each[1].unique == unique]
        if query.older is not None or query.younger is not None:
            # One of which it is not known when it was submitted has no age.
            candidates = [each for each in candidates if each[1].submitted and first <= each[1].submitted <= last]
        return candidates

    return accepted


def _search_running(server: JobServer, query: JobQuery, page: _Page, place: list[Any] | None) -> Work[bool]:
    """
    The jobs that run: there are no more of them than workers have, so they can
    be sorted.
    """
    behind = (place[0], place[1].encode("latin-1", "replace")) if place is not None else None
    queue = server.functions.get(query.function) if query.function is not None else None
    now = server.clock.time()
    accepted = _filter(query, frozenset({"running"}), now)
    found: list[tuple[tuple[float, bytes], jobs.Job]] = []
    for number, session in enumerate(list(server.sessions)):
        for job in session.running:
            if query.function is None or job._function is queue:
                found.append(((job.submitted, job.handle), job))
        if number % 256 == 255:
            yield
    found = accepted(found)
    found.sort(key=lambda each: each[0], reverse=not query.oldest_first)
    for number, (here, job) in enumerate(found):
        if number % 64 == 63:
            yield
        if behind is not None and (here <= behind if query.oldest_first else here >= behind) or job.worker is None:
            # It was on a page before; or it runs no more.
            continue
        if page.full:
            return True
        page.add(job_view(job, now), "running", here[0], here[1].decode("latin-1"))
    return False


def _search_ended(server: JobServer, history: History, query: JobQuery, page: _Page, place: list[Any] | None) -> Work[bool]:
    now = server.clock.time()
    entries = list(history.newest())
    if query.oldest_first:
        entries.reverse()
    for index, (number, ended) in enumerate(entries):
        if place is None or (number > place[0] if query.oldest_first else number < place[0]):
            if _accepts_ended(query, ended, now):
                if page.full:
                    return True
                page.add(ended_view(ended), "ended", number)
        if index % 256 == 255:
            yield
    return False


def _accepts_ended(query: JobQuery, ended: Ended, now: float) -> bool:
    return (
        ended.state in query.states
        and (query.function is None or ended.function == query.function)
        and (query.unique is None or ended.unique == query.unique)
        and (query.older is None or ended.ended <= now - query.older)
        and (query.younger is None or ended.ended >= now - query.younger)
    )


_PLACES = {"live": 2, "running": 3, "ended": 2}


def _cursor(*place: Any) -> str:
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _place(cursor: str) -> list[Any]:
    """
    Undo L{_cursor}.
    """
    try:
        place: Any = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise _bad_place() from None
    if isinstance(place, list) and [type(each) for each in place] in ([str, int], [str, float, str]):
        if _PLACES.get(place[0]) == len(place):
            return place
    raise _bad_place()


def _bad_place() -> BadQuery:
    return BadQuery("'after' has to be what the page before gave as 'following', and of the same search.")
