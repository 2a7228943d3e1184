"""
The progress bar.  (The only module that is slow to import: see
L{display_on_stderr <gearsvc.queuecommand.display.display_on_stderr>}.)
"""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

REDRAWN = 5
"""
How often it is drawn anew in a second.
"""


class CountColumn(ProgressColumn):
    """
    How much is done, of how much, and how fast.
    """

    def render(self, task: Task) -> Text:
        """
        The column of one bar.
        """
        in_bytes = task.fields["unit"] == "bytes"
        write = decimal if in_bytes else lambda number: f"{number:,}"
        text = write(int(task.completed))
        if task.total is not None:
            text += f" of {write(int(task.total))}"
        if not in_bytes:
            text += " jobs"
        if task.speed is not None:
            text += f", {write(int(task.speed))}/s"
        return Text(text)


class TimeColumn(ProgressColumn):
    """
    The time left, or where that can't be known, the time taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left = TimeRemainingColumn()
        self._taken = TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        """
        The column of one bar.
        """
        if task.total is None:
            return self._taken.render(task)
        return self._left.render(task).append(" left")


class Bar:
    """
    A L{Display <gearsvc.queuecommand.display.Display>} on a terminal.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            CountColumn(),
            TimeColumn(),
            console=Console(stderr=True),
            refresh_per_second=REDRAWN,
            transient=True,
        )
        self._task: TaskID | None = None

    def begin(self, doing: str, total: int | None = None, unit: str = "jobs") -> None:
        """
        See L{Display.begin}.
        """
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(doing, total=total, unit=unit)
        self._progress.start()

    def expect(self, total: int) -> None:
        """
        See L{Display.expect}.
        """
        if self._task is not None:
            self._progress.update(self._task, total=total)

    def advance(self, count: int) -> None:
        """
        See L{Display.advance}.
        """
        if self._task is not None:
            self._progress.advance(self._task, count)

    def end(self) -> None:
        """
        See L{Display.end}.
        """
        self._progress.stop()
