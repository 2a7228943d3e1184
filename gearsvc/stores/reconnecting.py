"""
How often a store tries to reach a database that is gone.

A store connects when there is something to commit.  The first try after a
connection was lost is made at once, for the database may have been gone for a
moment only; while tries fail, they become rarer, and what comes between two of
them fails with the reason of the last one.
"""

from __future__ import annotations

from typing import Callable

from gearsvc.interfaces import StoreError

FIRST_PAUSE = 0.1
LAST_PAUSE = 2.0
"""
Seconds between two tries to connect: twice as many after each failure.
"""


class Backoff:
    """
    Says when to try.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: tells the time, which never goes back.
        """
        self._seconds = seconds
        self._pause = 0.0
        self._next = 0.0
        self._reason: StoreError | None = None

    def check(self) -> None:
        """
        May a try be made now?

        @raise StoreError: if it is too early: why the last one failed.
        """
        if self._reason is not None and self._seconds() < self._next:
            again = StoreError(*self._reason.args)
            again.unreachable = self._reason.unreachable
            raise again

    def failed(self, reason: StoreError) -> None:
        """
        A try has failed.
        """
        self._reason = reason
        self._pause = min(2 * self._pause, LAST_PAUSE) or FIRST_PAUSE
        self._next = self._seconds() + self._pause

    def succeeded(self) -> None:
        """
        A try has succeeded: the next one, whenever it is, may be made at once.
        """
        self._reason = None
        self._pause = 0.0
