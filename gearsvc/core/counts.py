"""
What happened to the jobs of each function, in numbers.

The counts are always on, for they cost next to nothing, and every view (text,
metrics, pages) reads the same ones.  They only grow; what is there now
(queued, running) is in L{gearsvc.core.queues}.

Of each function, at any moment between two turns::

    accepted = completed + failed + cancelled + what is there now

where accepted is what was submitted and what the store gave back at the start.
L{FunctionQueue.balance <gearsvc.core.queues.FunctionQueue.balance>} is the
difference.
"""

from __future__ import annotations

from bisect import bisect_left

WAIT_BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
RUN_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""
The upper bounds, in seconds, of the buckets in which times are counted.
"""


class Histogram:
    """
    How often a time was in which range.

    @ivar bounds: the upper bounds of the buckets, in seconds.
    @ivar buckets: how many times were in each of them; the last one, without a
        bound, is for those above all.
    @ivar total: the sum of all times, in seconds.
    """

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """
        Count a time.  (One below zero, from a clock that was set back, counts as zero.)
        """
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        if seconds > 0.0:
            self.total += seconds

    def add(self, other: Histogram) -> None:
        """
        Count all that another one with the same bounds has counted.
        """
        self.buckets = [ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.total += other.total

    @property
    def count(self) -> int:
        """
        How many times were counted.
        """
        return sum(self.buckets)


class Counts:
    """
    What happened to jobs since the server started.

    @ivar submitted: new jobs that were accepted: with a store, once they were
        stored.
    @ivar replayed: jobs that the store gave back at the start.
    @ivar coalesced: submissions that joined a job.
    @ivar rejected: submissions that were refused, by reason: C{"full"},
        C{"store"}, C{"unique"} (too large), C{"function"} (too large),
        C{"draining"}.
    @ivar completed: jobs that ended with a result.
    @ivar failed: jobs that ended without one, by the reasons of
        L{IJobObserver.job_failed <gearsvc.interfaces.IJobObserver>}.
    @ivar retried: how often a job was queued again, by reason: C{"lost"}, C{"timeout"}.
    @ivar cancelled: jobs that were taken away, by reason: C{"cancel"},
        C{"drop"}, C{"abandoned"}.
    @ivar wait: how long jobs waited until they were first given to a worker,
        from their submission or, if that was later, from their time.
    @ivar run: how long workers had jobs, however that ended.
    """

    __slots__ = (
        "submitted",
        "replayed",
        "coalesced",
        "rejected",
        "completed",
        "failed",
        "retried",
        "cancelled",
        "wait",
        "run",
    )

    def __init__(self) -> None:
        self.submitted = 0
        self.replayed = 0
        self.coalesced = 0
        self.rejected: dict[str, int] = {}
        self.completed = 0
        self.failed: dict[str, int] = {}
        self.retried: dict[str, int] = {}
        self.cancelled: dict[str, int] = {}
        self.wait = Histogram(WAIT_BOUNDS)
        self.run = Histogram(RUN_BOUNDS)

    @property
    def accepted(self) -> int:
        """
        How many jobs there have been.
        """
        return self.submitted + self.replayed

    @property
    def ended(self) -> int:
        """
        How many of them are over.
        """
        return self.completed + sum(self.failed.values()) + sum(self.cancelled.values())

    def add(self, other: Counts) -> None:
        """
        Count all that others have counted.
        """
        self.submitted += other.submitted
        self.replayed += other.replayed
        self.coalesced += other.coalesced
        self.completed += other.completed
        for ours, theirs in (
            (self.rejected, other.rejected),
            (self.failed, other.failed),
            (self.retried, other.retried),
            (self.cancelled, other.cancelled),
        ):
            for reason, number in theirs.items():
                count(ours, reason, number)
        self.wait.add(other.wait)
        self.run.add(other.run)


def count(reasons: dict[str, int], reason: str, number: int = 1) -> None:
    """
    Count something by its reason.
    """
    reasons[reason] = reasons.get(reason, 0) + number
