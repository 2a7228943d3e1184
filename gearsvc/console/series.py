"""
How fast things go: what happened each second, and to each function.

Nothing is counted here.  A L{Series} looks at the job server's counts once a
second and remembers the differences, for charts and rates.  What a look costs
grows with the number of functions; so with very many of them, it looks less
often.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from gearsvc.console.values import Moment, Percentiles, Rates
from gearsvc.core.counts import WAIT_BOUNDS, Counts, Histogram
from gearsvc.core.queues import FunctionQueue

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer

MOMENTS = 600
"""
How many looks are remembered: ten minutes, if there is one each second.
"""

STEP = 10.0
STEPS = 60
"""
Seconds between two looks at a single function, and how many of those are remembered.
"""

FUNCTIONS_A_SECOND = 1000
"""
How many functions are looked at in a second at most.
"""

TRACKED = 2000
"""
How many functions have rates and a sparkline at most: the first that did something.
"""


class Totals(NamedTuple):
    """
    What has happened to jobs until some time.
    """

    at: float
    submitted: int
    completed: int
    failed: int
    cancelled: int
    retried: int


def totals(at: float, counts: Counts) -> Totals:
    """
    The sums of some counts.
    """
    return Totals(
        at,
        counts.submitted,
        counts.completed,
        sum(counts.failed.values()),
        sum(counts.cancelled.values()),
        sum(counts.retried.values()),
    )


def rates(first: Totals, last: Totals) -> Rates:
    """
    What happened each second between two times.
    """
    seconds = last.at - first.at
    if seconds <= 0.0:
        return Rates(0.0, 0.0, 0.0, 0.0, 0.0)
    return Rates(*(round((after - before) / seconds, 3) for before, after in zip(first[1:], last[1:])))


def failure_share(first: Totals, last: Totals) -> float | None:
    """
    Of the jobs that ended with a result or without one between two times, how
    many were the latter; C{None} if there were none.
    """
    failed = last.failed - first.failed
    ended = last.completed - first.completed + failed
    return failed / ended if ended > 0 else None


def percentiles(bounds: tuple[float, ...], buckets: list[int], total: float) -> Percentiles:
    """
    What a histogram says of the times that were counted: they are taken to be
    spread evenly over each bucket, and those above the last bound to be at it.
    """
    count = sum(buckets)
    if count <= 0:
        return Percentiles(0, None, None, None, None, None)

    def at(share: float) -> float:
        wanted = share * count
        for index, number in enumerate(buckets):
            if number and wanted <= number:
                if index == len(bounds):
                    break
                low = bounds[index - 1] if index else 0.0
                return low + (bounds[index] - low) * wanted / number
            wanted -= number
        return bounds[-1]

    return Percentiles(count, at(0.5), at(0.9), at(0.95), at(0.99), total / count)


def percentiles_of(histogram: Histogram) -> Percentiles:
    """
    What a histogram says.
    """
    return percentiles(histogram.bounds, histogram.buckets, histogram.total)


class _Look(NamedTuple):
    totals: Totals
    wait: list[int]
    wait_total: float
    waiting: int
    running: int


class Series:
    """
    What happened in the last ten minutes.
    """

    def __init__(self, server: JobServer, reactor: Any) -> None:
        """
        @param reactor: calls later.
        """
        self._server = server
        self._reactor = reactor
        self._looks: deque[_Look] = deque(maxlen=MOMENTS + 1)
        # Where each function is, and the way of those that did something.
        self._last: dict[FunctionQueue, Totals] = {}
        self._functions: dict[FunctionQueue, deque[Totals]] = {}
        self._stepped = 0.0
        self._call: Any = None
        self._connections = 0
        self._watchers: list[Callable[[], None]] = []

    def watch(self, watcher: Callable[[], None]) -> None:
        """
        Call somebody after each look that found something to be other than at
        the one before.
        """
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """
        Call somebody no more.
        """
        self._watchers.remove(watcher)

    def start(self) -> None:
        """
        Begin to look.
        """
        self._look()

    def stop(self) -> None:
        """
        Cease to look.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    # What was seen

    def rates(self, since: float = 60.0) -> Rates:
        """
        What happened each second in the last minute, or in as many seconds as told.
        """
        if not self._looks:
            return Rates(0.0, 0.0, 0.0, 0.0, 0.0)
        last = self._looks[-1]
        return rates(self._before(last.totals.at - since).totals, last.totals)

    def failure_share(self) -> float | None:
        """
        How many of the jobs that ended in the last ten minutes failed.
        """
        return failure_share(self._looks[0].totals, self._looks[-1].totals) if self._looks else None

    def wait(self, since: float = 60.0) -> Percentiles:
        """
        How long the jobs that were handed out in the last minute had waited.
        """
        if not self._looks:
            return Percentiles(0, None, None, None, None, None)
        last = self._looks[-1]
        first = self._before(last.totals.at - since)
        return _wait_between(first, last)

    def moments(self, count: int = MOMENTS, step: int = 0) -> list[Moment]:
        """
        What happened from one look to the next, the oldest first.

        @param count: how many, at most; the newest of them.
        @param step: if not 0, moments of so many seconds, which begin when the
            time is a multiple of it; the last goes on.
        """
        looks = list(self._looks)
        if step:
            last = looks[-1:]
            looks = [
                later
                for earlier, later in zip([None, *looks], looks)
                if earlier is None or later.totals.at // step != earlier.totals.at // step
            ]
            looks += [each for each in last if each is not looks[-1]]
        looks = looks[-count - 1 :]
        return [_moment(earlier, later) for earlier, later in zip(looks, looks[1:])]

    def rates_of(self, queue: FunctionQueue) -> Rates:
        """
        What happened to a function's jobs each second in the last minute.
        """
        seen = self._functions.get(queue)
        now = totals(self._server.clock.time(), queue.counts)
        if not seen:
            return Rates(0.0, 0.0, 0.0, 0.0, 0.0)
        first = next((each for each in reversed(seen) if each.at <= now.at - 60.0), seen[0])
        return rates(first, now)

    def failure_share_of(self, queue: FunctionQueue) -> float | None:
        """
        How many of a function's jobs that ended in the last ten minutes failed.
        """
        seen = self._functions.get(queue)
        return failure_share(seen[0], totals(0.0, queue.counts)) if seen else None

    def sparkline_of(self, queue: FunctionQueue) -> list[int]:
        """
        How many of a function's jobs were completed in each step, the oldest
        first; nothing, if none was.
        """
        seen = list(self._functions.get(queue, ()))
        line = [after.completed - before.completed for before, after in zip(seen, seen[1:])]
        return [0] * (STEPS - len(line)) + line if any(line) else []

    # Looking

    def _before(self, at: float) -> _Look:
        """
        The last look that was not after a time, or the first of all.
        """
        for look in reversed(self._looks):
            if look.totals.at <= at:
                return look
        return self._looks[0]

    def _look(self) -> None:
        server = self._server
        now = server.clock.time()
        queues = server.functions.values()
        self._looks.append(_look_at(now, [server.dropped, *(queue.counts for queue in queues)], len(server.jobs), server.running))
        if now - self._stepped >= STEP or now < self._stepped:
            self._step(now)
        self._call = self._reactor.callLater(max(1.0, len(queues) / FUNCTIONS_A_SECOND), self._look)
        before, connections = self._connections, len(server.sessions)
        self._connections = connections
        if self._watchers and (connections != before or self._has_changed()):
            for watcher in list(self._watchers):
                watcher()

    def _has_changed(self) -> bool:
        if len(self._looks) < 2:
            return True
        before, last = self._looks[-2], self._looks[-1]
        return before.totals[1:] != last.totals[1:] or before[1:] != last[1:]

    def _step(self, now: float) -> None:
        """
        Look at every function: remember where those are that do something.
        """
        tracked, last = self._functions, self._last
        present = self._server.functions
        for table in (tracked, last):
            for queue in [each for each in table if present.get(each.name) is not each]:
                # It was dropped.
                del table[queue]
        for queue in present.values():
            here = totals(now, queue.counts)
            # One that was not there before has done nothing before.
            before = last.get(queue) or (Totals(self._stepped, 0, 0, 0, 0, 0) if self._stepped else here)
            last[queue] = here
            seen = tracked.get(queue)
            if seen is None:
                if here[1:] == before[1:] or len(tracked) >= TRACKED:
                    continue
                seen = tracked[queue] = deque([before], maxlen=STEPS + 1)
            seen.append(here)
            if len(seen) > STEPS and seen[0][1:] == here[1:]:
                # It has done nothing for ten minutes.
                del tracked[queue]
        self._stepped = now


def _look_at(now: float, all_counts: Iterable[Counts], jobs: int, running: int) -> _Look:
    sums = [0, 0, 0, 0, 0]
    wait = [0] * (len(WAIT_BOUNDS) + 1)
    wait_total = 0.0
    for counts in all_counts:
        sums[0] += counts.submitted
        sums[1] += counts.completed
        for index, reasons in ((2, counts.failed), (3, counts.cancelled), (4, counts.retried)):
            if reasons:
                sums[index] += sum(reasons.values())
        if counts.wait.total or counts.submitted or counts.replayed:
            wait = [ours + theirs for ours, theirs in zip(wait, counts.wait.buckets)]
            wait_total += counts.wait.total
    return _Look(Totals(now, *sums), wait, wait_total, jobs - running, running)


def _moment(first: _Look, last: _Look) -> Moment:
    before, after = first.totals, last.totals
    return Moment(
        at=after.at,
        seconds=after.at - before.at,
        submitted=after.submitted - before.submitted,
        completed=after.completed - before.completed,
        failed=after.failed - before.failed,
        cancelled=after.cancelled - before.cancelled,
        retried=after.retried - before.retried,
        waiting=last.waiting,
        running=last.running,
        wait=_wait_between(first, last),
    )


def _wait_between(first: _Look, last: _Look) -> Percentiles:
    return percentiles(
        WAIT_BOUNDS, [after - before for before, after in zip(first.wait, last.wait)], last.wait_total - first.wait_total
    )
