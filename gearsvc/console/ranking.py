"""
Functions in the order of what they have: the most jobs that wait, the oldest
of them, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gearsvc.console import looks
from gearsvc.console.series import Series
from gearsvc.console.slices import Work
from gearsvc.console.values import Function, Name
from gearsvc.core.jobserver import JobServer
from gearsvc.core.queues import FunctionQueue

RANKS: dict[str, Callable[[FunctionQueue, Series, float], float]] = {
    "name": lambda queue, series, now: 0,
    "waiting": lambda queue, series, now: looks.waiting(queue).total,
    "running": lambda queue, series, now: queue.running,
    "delayed": lambda queue, series, now: looks.delayed(queue),
    "oldest": lambda queue, series, now: _or_least(looks.oldest_age(queue, now)),
    "workers": lambda queue, series, now: len(queue.workers),
    "rate": lambda queue, series, now: series.rates_of(queue).completed,
    "failures": lambda queue, series, now: _or_least(series.failure_share_of(queue)),
}
"""
What there is to go by.  Those that have equally much of it are in the order of
their names.
"""


@dataclass(frozen=True, slots=True)
class Ranked:
    """
    Some functions.

    @ivar total: how many there are, with those before and after these.
    """

    functions: list[Function]
    total: int


def ranked(
    server: JobServer, series: Series, by: str, down: bool, first: int, limit: int, contains: str
) -> Work[Ranked]:
    """
    Put functions in order, and look at some of them.
    """
    rank = RANKS[by]
    now = server.clock.time()
    found: list[tuple[float, bytes]] = []
    for number, (name, queue) in enumerate(list(server.functions.items())):
        if not contains or contains in Name(name).lower():
            value = rank(queue, series, now)
            found.append((-value if down else value, name))
        if number % 64 == 63:
            yield
    found.sort(key=lambda each: each[1], reverse=down and by == "name")
    found.sort(key=lambda each: each[0])
    functions: list[Function] = []
    for number, (_, name) in enumerate(found[first : first + limit]):
        there = server.functions.get(name)
        if there is not None:
            functions.append(looks.function_view(there, series, now))
        if number % 16 == 15:
            yield
    return Ranked(functions, len(found))


def _or_least(value: float | None) -> float:
    return -1.0 if value is None else value
