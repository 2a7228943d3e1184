"""
Tables for people: drawn on a terminal, plain columns elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

BETWEEN = 2
"""
Blanks between two columns.
"""

NARROWEST = 12
"""
Into how many characters a terminal may fold a name.
"""


@dataclass(frozen=True)
class Column:
    """
    A column of a table.

    @ivar title: its title.
    @ivar number: whether it is one of numbers.
    @ivar names: whether it holds what may be long, and is folded where it is
        too long for a terminal.
    @ivar optional: whether a terminal, where room is scarce, goes without it if
        it is all empty, or zero.
    """

    title: str
    number: bool = False
    names: bool = False
    optional: bool = False


class Table:
    """
    A table of texts.

    @ivar columns: the columns.
    @ivar rows: the rows: as many texts each.
    @ivar total: one more, under a line.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.rows: list[list[str]] = []
        self.total: list[str] | None = None

    def show(self) -> None:
        """
        Write it to stdout.
        """
        if sys.stdout.isatty():
            self._draw()
        else:
            self._write()

    def _write(self) -> None:
        rows = [[column.title for column in self.columns], *self.rows, *([self.total] if self.total else [])]
        widths = [max(map(len, cells)) for cells in zip(*rows)]
        for row in rows:
            cells = [
                cell.rjust(width) if column.number else cell.ljust(width)
                for column, width, cell in zip(self.columns, widths, row)
            ]
            print((" " * BETWEEN).join(cells).rstrip())

    def _draw(self) -> None:
        # The library takes its time to be imported.
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table as DrawnTable
        from rich.text import Text

        console = Console(highlight=False)
        drawn = DrawnTable(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_footer=self.total is not None)
        footers = self.total or [""] * len(self.columns)
        shown: list[list[str]] = []
        needed = 0
        for column, footer, *cells in zip(self.columns, footers, *self.rows):
            if column.optional and not set(cells) - {"", "0"}:
                continue
            width = max(map(len, [column.title, footer, *cells]))
            needed += BETWEEN + (min(width, NARROWEST) if column.names else width)
            drawn.add_column(
                Text(column.title),
                Text(footer),
                justify="right" if column.number else "left",
                overflow="fold",
                no_wrap=not column.names,
            )
            shown.append(cells)
        if needed > console.width:
            # Lines that the terminal breaks are easier to read than a name in ten.
            self._write()
            return
        for row in zip(*shown):
            drawn.add_row(*map(Text, row))
        console.print(drawn)


def say(text: str) -> None:
    """
    Write a paragraph to stdout: a line, or on a terminal as many as it takes.
    """
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(text))
