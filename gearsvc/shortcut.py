"""
A shorter way from the reactor's epoll to what is read most.

Twisted's reactor calls each reader that is ready through a log context of its
own, some fifteen calls, and looks at its timers and its threads before it waits
again, some ten more.  Where one small packet arrives at a time, as from a client
and a worker who wait for each other, that is a fifth of all that a job costs.
Here the readers that are known are called as soon as epoll names them, and the
reactor sees what is left.

And where an answer is due that comes sooner than a sleeping processor wakes, it
is looked for a moment before anything sleeps, and so is what follows it:
L{GLANCE}.

It stands in for C{_poller}, where Twisted's epoll reactor keeps its epoll.  That
is Twisted's own and no promise of it, so nothing relies on it: who takes the
shortcut is a reader of the reactor all the same, and where there is no such epoll
the reactor calls it, as it calls others.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any, Callable, Sized

from gearsvc.logs import Logger

log = Logger(__name__)

Read = Callable[[], object]
"""
Reads what is ready.  It returns something true if the reactor has to look
itself, because the other side has gone.  If it raises an exception, that is
logged, and the reactor ends the connection.
"""

_READABLE = getattr(select, "EPOLLIN", 0)
"""
The one event for which the reactor is not needed: with any other, it is.
"""


GLANCE = 50e-6
"""
Seconds for which an answer that is due is looked for again and again, before
the server sleeps until it comes.  A Redis on the same machine answers in some
30 microseconds; on a virtual machine it takes as long again to be woken then.
And one who has waited for the answer may soon have something else to say.
"""

MOST_SKIPPED = 255
"""
How many times, at most, nothing is looked for after that was in vain: once after
the first time, then three times, seven, and so on.  So it costs next to nothing
where answers take longer, and where nobody has something else to say.
"""

MOST_ROUNDS = 100
"""
After how many rounds of events the reactor has its turn, even if it seems to
need none: it throws away cancelled timers then.
"""


class Glances:
    """
    Whether it is worth looking for something before sleeping.
    """

    def __init__(self) -> None:
        self._skipped = self._to_skip = 0

    def is_worth_it(self) -> bool:
        """
        Decide, each time.  If it is, say then which of the following it was.
        """
        if self._to_skip:
            self._to_skip -= 1
            return False
        return True

    def found(self) -> None:
        """
        It was there.
        """
        self._skipped = 0

    def in_vain(self) -> None:
        """
        It was not.
        """
        self._to_skip = self._skipped = min(2 * self._skipped + 1, MOST_SKIPPED)


class Shortcut:
    """
    A reactor's epoll, with its shortcuts.

    @ivar reads: what to call, by descriptor.
    @ivar last: those of them that are called after the others.
    @ivar due: by descriptor, what is not empty while an answer is due there.
    """

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: one that has an epoll, a C{select.epoll}.
        """
        self.reactor = reactor
        self.poller: Any = reactor._poller
        self.reads: dict[int, Read] = {}
        self.last: set[int] = set()
        self.due: dict[int, Sized] = {}
        self._for_answers = Glances()
        self._for_more = Glances()
        self._found = False

    def __getattr__(self, name: str) -> Any:
        """
        All but L{poll} is the epoll's.
        """
        return getattr(self.poller, name)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """
        Wait for events, and see to those that have a shortcut: until there are
        others, or the reactor has something else to do.

        @param timeout: how many seconds to wait; -1 is for ever.
        @param most: how many events to take at once.
        @return: the other events: the descriptor of each, and what is ready.
        """
        reads = self.reads
        reactor = self.reactor
        for _ in range(MOST_ROUNDS):
            events = (self._glance(most) if self.due and timeout else []) or self.poller.poll(timeout, most)
            if len(events) > 1 and self.last:
                events.sort(key=self._is_last)
            left = []
            for found in events:
                descriptor, event = found
                if event == _READABLE and descriptor in reads:
                    try:
                        if not reads[descriptor]():
                            continue
                    except Exception:
                        # As the reactor has it: a mistake of ours costs the connection.
                        log.failure("Unexpected error while reading")
                        found = (descriptor, select.EPOLLHUP)
                left.append(found)
            # (What a thread or a signal wants of the reactor comes as an event.  One that would not say by this name that it
            # was told to stop has its turn each time.)
            if left or not events or not reactor.running or getattr(reactor, "_stopped", True):
                break
            until_timer = reactor.timeout()
            if until_timer is not None:
                timeout = until_timer if timeout < 0 else min(timeout, until_timer)
            if not timeout:
                break
        return left

    def _glance(self, most: int) -> list[tuple[int, int]]:
        """
        Look for events without sleeping: if an answer is due, or if the last
        ones were found like this.

        @return: those that there are, if any.
        """
        just_found, self._found = self._found, False
        is_due = any(self.due.values())
        glances = self._for_answers if is_due else self._for_more
        if not (is_due or just_found) or not glances.is_worth_it():
            return []
        poll = self.poller.poll
        end = time.perf_counter() + GLANCE
        while True:
            events: list[tuple[int, int]] = poll(0, most)
            if events:
                self._found = True
                glances.found()
                return events
            if time.perf_counter() > end:
                glances.in_vain()
                return []

    def _is_last(self, found: tuple[int, int]) -> bool:
        return found[0] in self.last


def add(reactor: Any, descriptor: int, read: Read, last: bool = False, due: Sized | None = None) -> None:
    """
    Take the shortcut from now on, if there is one.  The descriptor has to be one
    of the reactor's readers while it is to be read from.

    @param last: whether to read from it after all others that are ready.
    @param due: is not empty while an answer is due there that may come in a
        moment.
    """
    poller = getattr(reactor, "_poller", None)
    if not isinstance(poller, Shortcut):
        if not isinstance(poller, getattr(select, "epoll", ())):
            return
        poller = reactor._poller = Shortcut(reactor)
    poller.reads[descriptor] = read
    if last:
        poller.last.add(descriptor)
    if due is not None and _can_wait_awake():
        poller.due[descriptor] = due


def remove(reactor: Any, descriptor: int) -> None:
    """
    Take it no more; it need not have been taken.  This has to be said before
    another connection can get the descriptor.
    """
    poller = getattr(reactor, "_poller", None)
    if isinstance(poller, Shortcut):
        poller.reads.pop(descriptor, None)
        poller.last.discard(descriptor)
        poller.due.pop(descriptor, None)
        if not poller.reads:
            reactor._poller = poller.poller


def _can_wait_awake() -> bool:
    """
    Whether there is a processor left for whoever is to answer.
    """
    return len(os.sched_getaffinity(0)) > 1
