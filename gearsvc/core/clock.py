"""
Time, as the core asks for it.
"""

from __future__ import annotations

from typing import Callable, Protocol


class Alarm(Protocol):
    """
    A call that is yet to come.
    """

    def cancel(self) -> object:
        """
        Let it not come.
        """


class Clock(Protocol):
    """
    What tells the core the time.
    """

    def time(self) -> float:
        """
        The time, in Unix seconds.
        """

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: object) -> Alarm:
        """
        Call a function later; after 0 seconds is in a later turn all the same.
        """
