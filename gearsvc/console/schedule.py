"""
Jobs that wait for their time, in the order of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from gearsvc.console.looks import delayed, job_view
from gearsvc.console.slices import Work
from gearsvc.console.values import Job
from gearsvc.core.jobs import DELAYED
from gearsvc.core.jobserver import JobServer


@dataclass(frozen=True, slots=True)
class Scheduled:
    """
    Some jobs that wait for their time.

    @ivar total: how many there are, with those before and after these.
    """

    jobs: list[Job]
    total: int


def scheduled(server: JobServer, function: bytes | None, first: int, limit: int) -> Work[Scheduled]:
    """
    Find those whose time comes next.

    Each function has a heap of them, which is copied: then it can be gone
    through from its top while the job server changes its own, and no more of it
    is looked at than is asked for.

    @param function: only those of this function.
    @param first: how many to pass over.
    """
    queues = [queue for name, queue in server.functions.items() if queue.delayed and function in (None, name)]
    total = sum(map(delayed, queues))
    heaps = []
    for queue in queues:
        heaps.append(list(queue.delayed))
        yield
    # What may be next of all: the top of each heap, and what is below those that were taken.
    tops = [(heap[0][:2], number, 0) for number, heap in enumerate(heaps)]
    heapify(tops)
    jobs: list[Job] = []
    passed = steps = 0
    now = server.clock.time()
    while tops and len(jobs) < limit:
        _, number, index = heappop(tops)
        heap = heaps[number]
        for below in (2 * index + 1, 2 * index + 2):
            if below < len(heap):
                heappush(tops, (heap[below][:2], number, below))
        job = heap[index][2]
        if job.state == DELAYED:
            passed += 1
            if passed > first:
                jobs.append(job_view(job, now))
        steps += 1
        if steps % 64 == 0:
            yield
    return Scheduled(jobs, total)
