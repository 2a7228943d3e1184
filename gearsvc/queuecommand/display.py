"""
How a command shows how far it has come.
"""

from __future__ import annotations

import sys
from typing import Protocol


class Display(Protocol):
    """
    Shows how far a command has come.
    """

    def begin(self, doing: str, total: int | None = None, unit: str = "jobs") -> None:
        """
        Something begins that takes its time.

        @param doing: what, as in C{"copying"}.
        @param total: how much is to be done, if that is known.
        @param unit: what is counted: C{"jobs"} or C{"bytes"}.
        """

    def expect(self, total: int) -> None:
        """
        So much is to be done.
        """

    def advance(self, count: int) -> None:
        """
        So much more has been done.
        """

    def end(self) -> None:
        """
        Leave the screen to others.
        """


class NoDisplay:
    """
    Shows nothing.
    """

    def begin(self, doing: str, total: int | None = None, unit: str = "jobs") -> None:
        """
        See L{Display.begin}.
        """

    def expect(self, total: int) -> None:
        """
        See L{Display.expect}.
        """

    def advance(self, count: int) -> None:
        """
        See L{Display.advance}.
        """

    def end(self) -> None:
        """
        See L{Display.end}.
        """


def display_on_stderr(quiet: bool) -> Display:
    """
    What shows progress on stderr, if that is a terminal.

    @param quiet: whether the user wants none.
    """
    if quiet or not sys.stderr.isatty():
        return NoDisplay()
    # The library takes its time to be imported.
    from gearsvc.queuecommand.bar import Bar

    return Bar()
