"""
What the log says of a long replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gearsvc.logs import Logger

log = Logger(__name__)

PROGRESS_ROWS = 100_000
"""
How many jobs one line of the log stands for.
"""


_listeners: list[Callable[[int], None]] = []


@contextmanager
def totals_told_to(listener: Callable[[int], None]) -> Iterator[None]:
    """
    Have a function hear how many jobs a replay is about to give, for somebody
    who shows its progress elsewhere than in the log.

    @param listener: called once in each replay that begins, in the reactor's
        thread, if the store knows the number.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Progress:
    """
    Counts the jobs of a replay, with a line in the log now and then.

    @ivar done: how many have been counted.
    """

    def __init__(self, where: str, total: int) -> None:
        """
        @param where: the store, as the log is to name it.
        @param total: how many jobs it holds.
        """
        self._where = where
        self._total = total
        self.done = 0
        for listener in _listeners:
            listener(total)

    def advance(self, count: int) -> None:
        """
        So many more jobs have been replayed.
        """
        before = self.done
        self.done += count
        if self.done // PROGRESS_ROWS > before // PROGRESS_ROWS and self.done < self._total:
            log.notice(
                "Replaying the queue from {where}: {done} of {total} jobs.", where=self._where, done=self.done, total=self._total
            )
