"""
Why a job is not running: the question that every operator asks.

L{explain} looks at the same things in the same order as the rules in
L{gearsvc.core.jobserver} do, and names the first that keeps the job where it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from typing import TYPE_CHECKING, NamedTuple

from gearsvc.core.jobs import DELAYED, FINISHED, RUNNING, STORING, Job
from gearsvc.core.sessions import ASLEEP, WOKEN, Session

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer
    from gearsvc.core.queues import FunctionQueue

Fact = str | int | float | list[str]

LISTED = 10
"""
How many workers or jobs an explanation names at most.
"""


class Explanation(NamedTuple):
    """
    Why a job is where it is.

    @ivar cause: one word for programs; each has a branch below.
    @ivar sentence: the same for a person.
    @ivar facts: what the sentence rests on.  Times are in Unix seconds.
    """

    cause: str
    sentence: str
    facts: dict[str, Fact]


def explain(server: JobServer, job: Job) -> Explanation:
    """
    Why a job of the server's is where it is.  Takes time in proportion to the
    jobs that wait before it, and to the workers of its function.
    """
    now = server.clock.time()
    facts: dict[str, Fact] = {
        "handle": text(job.handle),
        "function": text(job.function),
        "attempts": job.attempts,
        "submitted": job.submitted,
    }
    cause, sentence, more = _explain(server, job, now)
    if job.attempts:
        times = "once" if job.attempts == 1 else "twice" if job.attempts == 2 else f"{job.attempts} times"
        sentence += f" Its worker was lost, or took too long, {times} before."
    return Explanation(cause, sentence, {**facts, **more})


def text(name: bytes) -> str:
    """
    Bytes of a peer's as text, with what is no UTF-8 and what controls a
    terminal escaped.
    """
    decoded = name.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in decoded)


def span(seconds: float) -> str:
    """
    A length of time as a person would say it.
    """
    if seconds < 0.95:
        return "less than a second" if seconds < 0.5 else "a second"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    rounded = max(1, round(seconds))
    return "a second" if rounded == 1 else f"{rounded} seconds"


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _named(session: Session) -> str:
    """
    A worker as an operator knows it.
    """
    client_id = "" if session.client_id == b"-" else f" ({text(session.client_id)})"
    return f"{session.peer.host}#{session.number}{client_id}"


def _explain(server: JobServer, job: Job, now: float) -> Explanation:
    if job.state == RUNNING:
        return _running(job, now)
    if job.state == STORING:
        return _storing(server, now)
    if job.state == DELAYED:
        return Explanation(
            "delayed", f"It is not to run before its time, which is in {span(job.run_at - now)}.", {"run_at": job.run_at}
        )
    return _queued(server, job, now)


def _running(job: Job, now: float) -> Explanation:
    worker = job.worker
    assert worker is not None
    facts: dict[str, Fact] = {"worker": _named(worker), "started": job.running_since}
    sentence = f"It runs: the worker {_named(worker)} has had it for {span(now - job.running_since)}"
    if job.progress is not None:
        facts["numerator"], facts["denominator"] = map(text, job.progress)
        sentence += f", and is at {facts['numerator']} of {facts['denominator']}"
    return Explanation("running", sentence + ".", facts)


def _storing(server: JobServer, now: float) -> Explanation:
    failure = server.store.failure if server.store is not None else None
    if failure is not None:
        # It may be what a database says, of several lines.
        failure = text(failure.encode("utf-8", "backslashreplace"))
        return Explanation("store_fails", f"It is to be stored, and the store fails: {failure}", {"failure": failure})
    return Explanation("storing", "It is being stored; nobody has been told yet that it was accepted.", {})


def _queued(server: JobServer, job: Job, now: float) -> Explanation:
    queue = job.queue
    if server.draining:
        return Explanation("draining", "The server is about to end, and hands out no more jobs.", {"running": server.running})
    if queue.paused:
        return Explanation(
            "paused", f"Its function has been paused for {span(now - queue.paused)}.", {"paused_since": queue.paused}
        )
    if not queue.workers:
        if queue.left_at:
            return Explanation(
                "workers_gone",
                f"No worker can do its function now; the last one left {span(now - queue.left_at)} ago.",
                {"left_at": queue.left_at},
            )
        return Explanation("no_worker", "No worker that can do its function has connected since the server started.", {})
    ahead = _ahead(queue, job)
    facts: dict[str, Fact] = {"ahead": ahead, "workers": len(queue.workers)}
    cause, sentence, more = _of_workers(server, queue, now)
    facts.update(more)
    if ahead:
        wait = "waits" if ahead == 1 else "wait"
        sentence = f"{_number(ahead, 'job')} of higher or equal priority {wait} before it. {sentence}"
        cause = "behind" if cause == "busy" else cause
    return Explanation(cause, sentence, facts)


def _ahead(queue: FunctionQueue, job: Job) -> int:
    """
    How many jobs of the function are handed out before this one.
    """
    lines = queue.lines[: job.priority]
    before = sum(len(line) for line in lines) - sum(queue.dead(priority) for priority in range(job.priority))
    own = queue.lines[job.priority]
    position = own.index(job)
    if queue.dead(job.priority):
        return before + sum(1 for other, _ in zip(own, range(position)) if other.state != FINISHED)
    return before + position


def _of_workers(server: JobServer, queue: FunctionQueue, now: float) -> Explanation:
    """
    What keeps the workers of a function from taking its next job: the state of
    those that are the closest to taking it.
    """
    workers = list(queue.workers)
    deaf = [worker for worker in workers if worker.peer.congested]
    asleep = [worker for worker in workers if worker.wakefulness == ASLEEP]
    woken = [worker for worker in workers if worker.wakefulness == WOKEN]
    busy = [worker for worker in workers if worker.running]
    if deaf and len(deaf) == len(workers):
        return Explanation(
            "deaf",
            f"{_those(workers)} can do it, and {_reads(deaf)} too slowly what the server sends.",
            {"deaf": _list(deaf)},
        )
    if asleep:
        longest = min(worker.since for worker in asleep)
        facts: dict[str, Fact] = {"asleep": _list(asleep), "asleep_since": longest}
        others = ""
        if woken:
            # They were asleep as well.
            facts["woken"], facts["woken_at"] = _list(woken), min(worker.since for worker in woken)
            others = f" {len(woken):,} more {_was(woken)} woken and {_has(woken)} not asked for a job yet."
        return Explanation(
            "asleep",
            f"{_those(asleep)} that can do it {_is(asleep)} asleep, {_longest(asleep)}{span(now - longest)};"
            f" more are woken within --wakeup-delay.{others}",
            facts,
        )
    idle = [worker for worker in workers if not worker.running and worker.wakefulness != WOKEN]
    if woken:
        first = min(worker.since for worker in woken)
        return Explanation(
            "woken",
            f"{_those(woken)} that can do it {_was(woken)} woken, the first {span(now - first)} ago, and"
            f" {_has(woken)} not asked for a job since.",
            {"woken": _list(woken), "woken_at": first},
        )
    if idle:
        return Explanation(
            "not_asking",
            f"{_those(idle)} that can do it {_is(idle)} connected, but neither asleep nor asking for jobs.",
            {"idle": _list(idle)},
        )
    return _busy(server, queue, busy, now)


def _busy(server: JobServer, queue: FunctionQueue, busy: list[Session], now: float) -> Explanation:
    jobs = sorted(((since, job) for worker in busy for job, (since, _) in worker.running.items()), key=lambda each: each[0])
    facts: dict[str, Fact] = {
        "busy": _list(busy),
        "busy_with": [f"{text(job.handle)} of {text(job.function)} since {since:.3f}" for since, job in jobs[:LISTED]],
        "busy_since": jobs[0][0],
    }
    longest = f"{_longest(jobs)}{span(now - jobs[0][0])}, with {text(jobs[0][1].handle)}"
    elsewhere = Counter(job.function for _, job in jobs if job.queue is not queue)
    if sum(elsewhere.values()) == len(jobs):
        function, _ = elsewhere.most_common(1)[0]
        return Explanation(
            "busy_elsewhere",
            f"{_those(busy)} that can do it {_is(busy)} busy with other functions, such as {text(function)}: {longest}.",
            facts,
        )
    before = {each for each in (server.next_queue(worker) for worker in busy) if each is not None}
    if before and queue not in before:
        names = sorted(text(each.name) for each in before)
        return Explanation(
            "others_first",
            f"Jobs of {', '.join(names[:LISTED])} are handed out before it to {_those(busy).lower()} that can do it: {longest}.",
            {**facts, "first": names[:LISTED]},
        )
    return Explanation("busy", f"{_those(busy)} that can do it {_is(busy)} busy, {longest}.", facts)


def _those(workers: list[Session]) -> str:
    return "The one worker" if len(workers) == 1 else f"{len(workers):,} workers"


def _is(workers: list[Session]) -> str:
    return "is" if len(workers) == 1 else "are"


def _longest(those: Sized) -> str:
    return "for " if len(those) == 1 else "the longest for "


def _was(workers: list[Session]) -> str:
    return "was" if len(workers) == 1 else "were"


def _has(workers: list[Session]) -> str:
    return "has" if len(workers) == 1 else "have"


def _reads(workers: list[Session]) -> str:
    return "it reads" if len(workers) == 1 else "they read"


def _list(workers: list[Session]) -> list[str]:
    return [_named(worker) for worker in workers[:LISTED]]
