"""
What an operator should look at.

The kinds are:

  - C{store}: the store fails.
  - C{balance}: jobs are unaccounted for.
  - C{no_worker}: jobs wait, and no worker can do them.
  - C{failing}: more than L{FAILING} of the jobs that ended failed.
  - C{full}: the function has as many jobs as it may have.
  - C{old}: the oldest job has waited for more than L{OLD} seconds.
  - C{draining}: the function, or the server, is to come to an end.
  - C{paused}: jobs wait, and the function is paused.
"""

from __future__ import annotations

from gearsvc.console.values import PRIORITIES, Attention, Name, StoreState
from gearsvc.core.explain import span
from gearsvc.core.queues import FunctionQueue

OLD = 300.0
"""
Seconds after which a job that waits is an old one.
"""

FAILING = 0.1
FEW = 10
"""
The share of failures among the jobs that ended in the last ten minutes from
which on a function is failing; fewer failures than a few say nothing.
"""

KINDS = ("store", "balance", "no_worker", "failing", "full", "old", "draining", "paused")
"""
The worst first.
"""

_ERRORS = ("store", "balance", "no_worker", "failing")


def of_function(queue: FunctionQueue, waiting: int, oldest_age: float | None, failure_share: float | None) -> list[Attention]:
    """
    What there is to look at of a function.

    @param waiting: how many of its jobs could be handed out.
    @param oldest_age: how long the first of them has waited.
    @param failure_share: how many of its jobs that ended lately failed.
    """
    found: list[Attention] = []

    def say(kind: str, sentence: str, number: int) -> None:
        found.append(Attention(kind, "error" if kind in _ERRORS else "warning", Name(queue.name), sentence, number))

    if balance := queue.balance:
        say("balance", f"{_jobs(balance)} {'is' if abs(balance) == 1 else 'are'} unaccounted for.", balance)
    if waiting and queue.paused:
        say("paused", f"It is paused, and {_jobs(waiting)} {_wait(waiting)}.", waiting)
    elif waiting and not queue.workers:
        say("no_worker", f"{_jobs(waiting)} {_wait(waiting)}, and no worker can do {_them(waiting)}.", waiting)
    elif oldest_age is not None and oldest_age > OLD:
        whose = "The job that waits" if waiting == 1 else f"The first of {_jobs(waiting)} that wait"
        say("old", f"{whose} has waited for {span(oldest_age)}.", waiting)
    if failure_share is not None and failure_share > FAILING:
        failed = sum(queue.counts.failed.values())
        if failed >= FEW:
            say("failing", f"{failure_share:.0%} of the jobs that ended in the last ten minutes failed.", failed)
    full = [name for name, limit in zip(PRIORITIES, queue.limits) if limit and queue.total >= limit]
    if full:
        say("full", f"It has {_jobs(queue.total)}, and more of {' or '.join(full)} priority are refused.", queue.total)
    if queue.draining:
        say("draining", "It takes no new jobs.", queue.total)
    return found


def of_server(draining: bool, running: int, store: StoreState | None) -> list[Attention]:
    """
    What there is to look at of the server as a whole.
    """
    found = []
    if store is not None and not store.up:
        found.append(Attention("store", "error", None, f"The store fails: {store.failure}", store.pending))
    if draining:
        still = "still runs" if running == 1 else "still run"
        sentence = f"The server hands out no more jobs, and is about to end; {_jobs(running)} {still}."
        found.append(Attention("draining", "warning", None, sentence, running))
    return found


def worst_first(found: list[Attention]) -> list[Attention]:
    """
    In the order of L{KINDS}; of each, those with the most jobs first.
    """
    return sorted(found, key=lambda each: (KINDS.index(each.kind), -abs(each.number)))


def _jobs(number: int) -> str:
    return f"{abs(number):,} job" + ("" if abs(number) == 1 else "s")


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"


def _them(number: int) -> str:
    return "it" if number == 1 else "them"
