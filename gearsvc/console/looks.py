"""
From what the job server holds to the plain values that are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

from gearsvc.console import attention
from gearsvc.console.history import Ended
from gearsvc.console.series import Series, percentiles_of
from gearsvc.console.values import (
    LISTED,
    PRIORITIES,
    STATES,
    Ability,
    Assignment,
    Connection,
    Function,
    Job,
    Limits,
    Name,
    Peer,
    Progress,
    Tally,
    Waiting,
)
from gearsvc.core import jobs
from gearsvc.core.counts import Counts
from gearsvc.core.queues import FunctionQueue
from gearsvc.core.sessions import ASLEEP, AWAKE, WOKEN, Session

T = TypeVar("T")


def waiting(queue: FunctionQueue) -> Waiting:
    """
    How many jobs of a function could be handed out.
    """
    return Waiting(*(len(line) - queue.dead(priority) for priority, line in enumerate(queue.lines)))


def oldest_age(queue: FunctionQueue, now: float) -> float | None:
    """
    How long the job of a function that has waited longest has waited: one of
    those at the heads of its lines.
    """
    since = [max(line[0].submitted, line[0].run_at) for line in queue.lines if line]
    since = [each for each in since if each]
    return max(now - min(since), 0.0) if since else None


LOOKED_AT = 1000
"""
How many jobs that are over are passed over to find one that waits.
"""


def upcoming(queue: FunctionQueue, limit: int, now: float) -> list[Job]:
    """
    The jobs of a function that are to be handed out next, in that order.

    @param limit: how many, at most.
    """
    found: list[Job] = []
    for line in queue.lines:
        for job in islice(line, LOOKED_AT):
            if len(found) == limit:
                return found
            if job.state == jobs.QUEUED:
                found.append(job_view(job, now))
    return found


def function_view(queue: FunctionQueue, series: Series, now: float) -> Function:
    """
    A function.
    """
    queued = waiting(queue)
    age = oldest_age(queue, now)
    share = series.failure_share_of(queue)
    next_job = next((job for _, _, job in queue.delayed[:1]), None)
    return Function(
        name=Name(queue.name),
        queued=queued,
        delayed=delayed(queue),
        next_at=float(next_job.run_at) if next_job is not None else None,
        storing=queue.storing,
        running=queue.running,
        total=queue.total,
        oldest_age=age,
        workers=len(queue.workers),
        busy=sum(1 for worker in queue.workers if worker.running),
        asleep=sum(1 for worker in queue.workers if worker.wakefulness != AWAKE),
        left_at=queue.left_at or None,
        paused_since=queue.paused or None,
        draining=queue.draining,
        limits=Limits(*queue.limits),
        rates=series.rates_of(queue),
        failure_share=share,
        tally=tally(queue.counts, queue.balance),
        wait=percentiles_of(queue.counts.wait),
        run=percentiles_of(queue.counts.run),
        sparkline=series.sparkline_of(queue),
        attention=attention.worst_first(attention.of_function(queue, queued.total, age, share)),
    )


def delayed(queue: FunctionQueue) -> int:
    """
    How many jobs of a function wait for their time.
    """
    return len(queue.delayed) - queue.dead(3)


def tally(counts: Counts, balance: int) -> Tally:
    """
    Some counts.
    """
    return Tally(
        submitted=counts.submitted,
        replayed=counts.replayed,
        coalesced=counts.coalesced,
        completed=counts.completed,
        failed=dict(counts.failed),
        cancelled=dict(counts.cancelled),
        retried=dict(counts.retried),
        rejected=dict(counts.rejected),
        balance=balance,
    )


def is_worker(session: Session) -> bool:
    """
    Whether a connection can do a function, or has a job.
    """
    return bool(session.abilities or session.running)


def peer_view(session: Session) -> Peer:
    """
    A connection, in few words.
    """
    return Peer(session.number, Name(session.client_id), session.peer.host)


def connection_view(session: Session) -> Connection:
    """
    A connection.
    """
    if session.running:
        state = "busy"
    else:
        state = {AWAKE: "awake", ASLEEP: "asleep", WOKEN: "woken"}[session.wakefulness]
    return Connection(
        number=session.number,
        client_id=Name(session.client_id),
        host=session.peer.host,
        connected=session.connected,
        functions=[Ability(Name(queue.name), seconds or None) for queue, seconds in _some(session.abilities.items())],
        function_count=len(session.abilities),
        state=state,
        since=session.since or None,
        jobs=[
            Assignment(Name(job.handle), Name(job.function), since, progress_view(progress))
            for job, (since, progress) in _some(session.running.items())
        ],
        job_count=len(session.running),
        done=session.done,
        awaited=len(session.awaited),
        congested=session.peer.congested,
    )


def progress_view(progress: tuple[bytes, bytes] | None) -> Progress | None:
    """
    What a worker said of a job's progress.
    """
    if progress is None:
        return None
    numerator, denominator = progress
    share = None
    try:
        if (whole := float(denominator)) > 0.0 and 0.0 <= (done := float(numerator)) <= whole < float("inf"):
            share = done / whole
    except ValueError:
        # Any bytes will do; only numbers can be compared.
        pass
    return Progress(Name(numerator), Name(denominator), share)


def job_view(job: jobs.Job, now: float) -> Job:
    """
    A job that lives.
    """
    return Job(
        handle=Name(job.handle),
        function=Name(job.function),
        unique=Name(job.unique),
        priority=PRIORITIES[job.priority],
        state=STATES[job.state],
        reason=None,
        background=job.background,
        submitted=job.submitted or None,
        run_at=job.run_at or None,
        started=job.running_since or None,
        ended=None,
        age=max(now - job.submitted, 0.0) if job.submitted else None,
        attempts=job.attempts,
        worker=peer_view(job.worker) if job.worker is not None else None,
        progress=progress_view(job.progress),
        clients=len(set(job.clients)),
        size=len(job.workload),
    )


def ended_view(ended: Ended) -> Job:
    """
    A job that is over.
    """
    return Job(
        handle=Name(ended.handle),
        function=Name(ended.function),
        unique=Name(ended.unique),
        priority=PRIORITIES[ended.priority],
        state=ended.state,
        reason=ended.reason or None,
        background=not ended.foreground,
        submitted=ended.submitted or None,
        run_at=ended.run_at or None,
        started=ended.started or None,
        ended=ended.ended,
        age=max(ended.ended - ended.submitted, 0.0) if ended.submitted else None,
        attempts=ended.attempts,
        worker=Peer(ended.worker[0], Name(ended.worker[1]), ended.worker[2]) if ended.worker is not None else None,
        progress=None,
        clients=ended.clients,
        size=ended.size,
    )


def _some(items: Iterable[T]) -> list[T]:
    return list(islice(items, LISTED))
