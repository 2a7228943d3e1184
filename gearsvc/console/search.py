"""
Finding jobs among many.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from gearsvc.console.history import Ended, History
from gearsvc.console.looks import ended_view, job_view
from gearsvc.console.register import Register
from gearsvc.console.slices import Work
from gearsvc.console.values import ENDED, LIVE, STATES, Job, Jobs
from gearsvc.core import jobs
from gearsvc.core.jobserver import JobServer
from gearsvc.core.queues import FunctionQueue

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
    @ivar states: where it is: some of L{LIVE} or some of L{ENDED
        <gearsvc.console.values.ENDED>}, but not of both.  None is all that live.
    @ivar unique: its unique id.
    @ivar older: for so many seconds it has been there, or for more (of those
        that are over: so long ago it ended).
    @ivar younger: for so many seconds at most.
    @ivar oldest_first: the order: that of submission, or that of the end;
        the newest first unless this says otherwise.
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
        if self.states & set(LIVE) and self.states & set(ENDED):
            raise BadQuery("Jobs that live and jobs that are over are not listed together: ask for one kind of states.")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadQuery(f"The limit has to be from 1 to {MAX_LIMIT}.")


def search(server: JobServer, register: Register, history: History, query: JobQuery) -> Work[Jobs]:
    """
    Look for jobs.

    @raise BadQuery: if C{after} is none that an answer gave.
    """
    if query.states & set(ENDED):
        return _search_ended(server, history, query)
    if query.states == {"running"}:
        return _search_running(server, query)
    return _search_live(server, register, query)


class _Page:
    """
    The jobs that were found so far, and where the next page begins.
    """

    def __init__(self, limit: int) -> None:
        self.jobs: list[Job] = []
        self.following: str | None = None
        self._limit = limit
        self._last: tuple[Any, ...] = ()

    @property
    def full(self) -> bool:
        return len(self.jobs) == self._limit

    def add(self, job: Job, *place: Any) -> None:
        self.jobs.append(job)
        self._last = place

    def goes_on(self) -> Jobs:
        """
        The answer, if there are more.
        """
        return Jobs(self.jobs, _cursor(*self._last))

    def ends(self) -> Jobs:
        """
        The answer, if there are not.
        """
        return Jobs(self.jobs, None)


def _search_live(server: JobServer, register: Register, query: JobQuery) -> Work[Jobs]:
    position: int | None = None
    if query.after is not None:
        (position,) = _place(query.after, "live", int)
    queue = server.functions.get(query.function) if query.function is not None else None
    if query.function is not None and queue is None:
        return Jobs([], None)
    register.update()
    now = server.clock.time()
    accepts = _filter(query, queue, now)
    page = _Page(query.limit)
    # How many there are to be seen before it makes no sense to look on.
    left = queue.total if queue is not None else len(server.jobs)
    if query.oldest_first:
        pieces = register.up(position if position is not None else -1)
    else:
        pieces = register.down(position)
    table = server.jobs
    for piece in pieces:
        for place, handle in piece:
            job = table.get(handle)
            if job is None or queue is not None and job._function is not queue:
                continue
            left -= 1
            if accepts(job):
                if page.full:
                    return page.goes_on()
                page.add(job_view(job, now), "live", place)
        if left <= 0:
            break
        yield
    return page.ends()


def _filter(query: JobQuery, queue: FunctionQueue | None, now: float) -> Any:
    states = {STATES.index(each) for each in query.states} or set(range(len(LIVE)))
    unique = query.unique
    born_before = now - query.older if query.older is not None else float("inf")
    born_after = now - query.younger if query.younger is not None else float("-inf")
    aged = query.older is not None or query.younger is not None

    def accepts(job: jobs.Job) -> bool:
        if job.state not in states or unique is not None and job.unique != unique:
            return False
        return not aged or job.submitted != 0.0 and born_after <= job.submitted <= born_before

    return accepts


def _search_running(server: JobServer, query: JobQuery) -> Work[Jobs]:
    """
    The jobs that run: there are no more of them than workers have, so they can
    be sorted.
    """
    place: tuple[float, bytes] | None = None
    if query.after is not None:
        submitted, handle = _place(query.after, "running", float, str)
        place = (submitted, handle.encode("latin-1", "replace"))
    queue = server.functions.get(query.function) if query.function is not None else None
    now = server.clock.time()
    accepts = _filter(query, queue, now)
    found: list[tuple[float, bytes, jobs.Job]] = []
    for number, session in enumerate(list(server.sessions)):
        for job in session.running:
            if (query.function is None or job._function is queue) and accepts(job):
                found.append((job.submitted, job.handle, job))
        if number % 256 == 255:
            yield
    found.sort(key=lambda each: each[:2], reverse=not query.oldest_first)
    page = _Page(query.limit)
    for submitted, handle, job in found:
        here = (submitted, handle)
        if place is not None and (here <= place if query.oldest_first else here >= place):
            continue
        if job.worker is None:
            # It has ended meanwhile.
            continue
        if page.full:
            return page.goes_on()
        page.add(job_view(job, now), "running", submitted, handle.decode("latin-1"))
    return page.ends()


def _search_ended(server: JobServer, history: History, query: JobQuery) -> Work[Jobs]:
    number: int | None = None
    if query.after is not None:
        (number,) = _place(query.after, "ended", int)
    now = server.clock.time()
    page = _Page(query.limit)
    entries = list(history.newest())
    if query.oldest_first:
        entries.reverse()
    for index, (place, ended) in enumerate(entries):
        if number is None or (place > number if query.oldest_first else place < number):
            if _accepts_ended(query, ended, now):
                if page.full:
                    return page.goes_on()
                page.add(ended_view(ended), "ended", place)
        if index % 256 == 255:
            yield
    return page.ends()


def _accepts_ended(query: JobQuery, ended: Ended, now: float) -> bool:
    return (
        ended.state in query.states
        and (query.function is None or ended.function == query.function)
        and (query.unique is None or ended.unique == query.unique)
        and (query.older is None or ended.ended <= now - query.older)
        and (query.younger is None or ended.ended >= now - query.younger)
    )


def _cursor(*place: Any) -> str:
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _place(cursor: str, kind: str, *types: type) -> list[Any]:
    """
    Undo L{_cursor}.
    """
    try:
        place = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(place, list) and place[:1] == [kind] and [type(each) for each in place[1:]] == list(types):
            return place[1:]
    except (ValueError, RecursionError):
        pass
    raise BadQuery("'after' has to be what the page before gave as 'following', and of the same search.")
