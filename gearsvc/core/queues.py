"""
The queue of one function: its waiting jobs, its delayed ones, its workers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from gearsvc.core.counts import Counts
from gearsvc.core.jobs import DELAYED, FINISHED, Job

if TYPE_CHECKING:
    from gearsvc.core.sessions import Session

_UNLIMITED = (0, 0, 0)


class FunctionQueue:
    """
    What the server knows of one function.

    A job that is taken out of the middle of a line (cancelled, or abandoned by
    its client) leaves its emptied object behind, for a deque can't drop it
    cheaply.  Two invariants keep that invisible: the head of a line is always
    a job that can run, so a line is empty exactly if it is false; and a line
    is rebuilt before more than half of it (and more than a few) is dead.

    @ivar name: the function's name.
    @ivar high: jobs of high priority, oldest first; C{normal} and C{low} likewise.
    @ivar lines: the three of them, by priority.
    @ivar delayed: a heap of C{(run_at, number, job)} that wait for their time.
    @ivar total: how many jobs it has, in any state but finished.
    @ivar running: how many of them a worker has.
    @ivar storing: how many of them the store has not answered for yet.
    @ivar paused: since when none is handed out, in Unix seconds; 0.0 if they are.
    @ivar draining: whether it takes no new jobs.
    @ivar counts: what happened to its jobs.
    @ivar left_at: when a worker last ceased to do it, in Unix seconds; 0.0 if none has.
    @ivar limits: how many jobs it may have when one of high, normal, low
        priority is submitted; 0 is no limit.
    @ivar by_unique: its jobs by their unique id.
    @ivar by_workload: its jobs whose unique id is C{-}, by their workload.
    @ivar workers: the sessions that can do it, with the seconds they allow a
        job (0 is any time), in the order in which they registered; one that
        did not come when it was woken goes to the end.
    @ivar sleepers: those of them that may be asleep, longest first.  A session
        that has woken since is still here: who takes one out looks.
    """

    __slots__ = (
        "name",
        "high",
        "normal",
        "low",
        "lines",
        "delayed",
        "total",
        "running",
        "storing",
        "paused",
        "draining",
        "counts",
        "left_at",
        "limits",
        "by_unique",
        "by_workload",
        "workers",
        "sleepers",
        "_dead",
        "_number",
    )

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.high: deque[Job] = deque()
        self.normal: deque[Job] = deque()
        self.low: deque[Job] = deque()
        self.lines = (self.high, self.normal, self.low)
        self.delayed: list[tuple[int, int, Job]] = []
        self.total = 0
        self.running = 0
        self.storing = 0
        self.paused = 0.0
        self.draining = False
        self.counts = Counts()
        self.left_at = 0.0
        self.limits = _UNLIMITED
        self.by_unique: dict[bytes, Job] = {}
        self.by_workload: dict[bytes, Job] = {}
        self.workers: dict[Session, float] = {}
        self.sleepers: OrderedDict[Session, None] = OrderedDict()
        # How many dead jobs are in each line, and (last) among the delayed.
        self._dead = [0, 0, 0, 0]
        self._number = 0

    @property
    def balance(self) -> int:
        """
        How many jobs are unaccounted for: accepted, not ended, and not here.
        It is 0, or something is very wrong.
        """
        return self.counts.accepted - self.counts.ended - (self.total - self.storing)

    def find(self, unique: bytes, workload: bytes) -> Job | None:
        """
        The job that a submission with this unique id (not an empty one)
        coalesces with.
        """
        if unique == b"-":
            return self.by_workload.get(workload) if workload else None
        return self.by_unique.get(unique)

    def know(self, job: Job) -> None:
        """
        Let later submissions with the job's unique id (not an empty one) find
        it.  Of two jobs with one unique id, as gearmand may have stored, the
        first is found.
        """
        if job.unique != b"-":
            self.by_unique.setdefault(job.unique, job)
        elif job.workload:
            self.by_workload.setdefault(job.workload, job)

    def forget(self, job: Job) -> None:
        """
        Undo L{know}.
        """
        table, key = (self.by_workload, job.workload) if job.unique == b"-" else (self.by_unique, job.unique)
        if table.get(key) is job:
            del table[key]

    def delay(self, job: Job) -> None:
        """
        Keep a job until its time.
        """
        job.state = DELAYED
        self._number += 1
        heappush(self.delayed, (job.run_at, self._number, job))

    def due(self, now: float) -> list[Job]:
        """
        Take out the delayed jobs whose time has come, the earliest first.
        """
        due = []
        while self.delayed and (self.delayed[0][0] <= now or self.delayed[0][2].state == FINISHED):
            job = heappop(self.delayed)[2]
            if job.state == FINISHED:
                self._dead[3] -= 1
            else:
                due.append(job)
        return due

    def take(self) -> Job:
        """
        Take the job to run next.

        @raise IndexError: if no job waits.
        """
        line = self.high or self.normal or self.low
        job = line.popleft()
        if self._dead[job.priority]:
            self._uncover(line, job.priority)
        return job

    def bury(self, job: Job) -> None:
        """
        Take a job that waits (queued or delayed) out of its line, and let go
        of its workload.
        """
        was = job.state
        job.state = FINISHED
        job.workload = b""
        if was == DELAYED:
            self._dead[3] += 1
            if self._dead[3] > 64 and self._dead[3] * 2 > len(self.delayed):
                self.delayed = [entry for entry in self.delayed if entry[2].state != FINISHED]
                heapify(self.delayed)
                self._dead[3] = 0
            return
        priority = job.priority
        line = self.lines[priority]
        self._dead[priority] += 1
        self._uncover(line, priority)
        if self._dead[priority] > 64 and self._dead[priority] * 2 > len(line):
            alive = [other for other in line if other.state != FINISHED]
            line.clear()
            line.extend(alive)
            self._dead[priority] = 0

    def _uncover(self, line: deque[Job], priority: int) -> None:
        """
        Bring a job that can run to the head of a line.
        """
        while line and line[0].state == FINISHED:
            line.popleft()
            self._dead[priority] -= 1

    def dead(self, priority: int) -> int:
        """
        How many of a line's jobs are only there because they could not be taken
        out; of 3, how many of the delayed ones.
        """
        return self._dead[priority]

    def waiting(self) -> tuple[int, int, int]:
        """
        How many jobs wait, delayed ones too, of high, normal and low priority.
        """
        counts = [len(line) - dead for line, dead in zip(self.lines, self._dead)]
        for _, _, job in self.delayed:
            if job.state == DELAYED:
                counts[job.priority] += 1
        return counts[0], counts[1], counts[2]
