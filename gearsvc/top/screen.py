"""
What C{gearsvc top} looks like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gearsvc.top.reading import Row, Snapshot


@dataclass(frozen=True)
class Column:
    """
    A column of the table.

    @ivar key: the key that sorts by it.
    @ivar value: what it is sorted by; C{None} stands behind all others.
    @ivar shown: what stands there.
    @ivar largest_first: whether the interesting end is the large one.
    """

    title: str
    key: str
    value: Callable[[Row], float | str | None]
    shown: Callable[[Row], str]
    largest_first: bool = True


def span(seconds: float | None) -> str:
    """
    A length of time in two units at most, as in C{2m 05s}.
    """
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def _rate(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.1f}" if number < 100 else f"{number:,.0f}"


COLUMNS = (
    Column("FUNCTION", "n", lambda row: row.name.lower(), lambda row: row.name, largest_first=False),
    Column("WAITING", "w", lambda row: row.waiting, lambda row: f"{row.waiting:,}"),
    Column("HIGH", "", lambda row: 0, lambda row: f"{row.priorities[0]:,}" if row.priorities and row.priorities[0] else ""),
    Column("LOW", "", lambda row: 0, lambda row: f"{row.priorities[2]:,}" if row.priorities and row.priorities[2] else ""),
    Column("RUNNING", "r", lambda row: row.running, lambda row: f"{row.running:,}"),
    Column("WORKERS", "k", lambda row: row.workers, lambda row: f"{row.workers:,}"),
    Column("OLDEST", "o", lambda row: row.oldest, lambda row: span(row.oldest)),
    Column("DONE/S", "d", lambda row: row.done, lambda row: _rate(row.done)),
    Column("FAILED", "f", lambda row: row.failed, lambda row: f"{row.failed:.1%}" if row.failed else ""),
)
"""
All columns.  The last three are shown if the server tells what belongs there.
"""

ONLY_WITH_CONSOLE = ("OLDEST", "DONE/S", "FAILED")
WITH_PRIORITIES = ("HIGH", "LOW")

SORT_KEYS = {column.key: column for column in COLUMNS if column.key}


@dataclass
class View:
    """
    How the user wants to see it.

    @ivar sort: the key of the column to sort by.
    @ivar idle: whether functions without jobs and workers are shown.
    @ivar first: how many rows are above the first that is shown.
    """

    sort: str = "w"
    idle: bool = True
    first: int = 0


def rows_of(snapshot: Snapshot, view: View) -> list[Row]:
    """
    The rows to show, in their order: by the column that was chosen, and by name
    where that is the same.
    """
    column = SORT_KEYS[view.sort]
    rows = [row for row in snapshot.rows if view.idle or row.waiting or row.running or row.workers]
    rows.sort(key=lambda row: row.name.lower())
    known = [row for row in rows if column.value(row) is not None]
    unknown = [row for row in rows if column.value(row) is None]
    known.sort(key=lambda row: column.value(row) or 0, reverse=column.largest_first)
    return known + unknown


def render(snapshot: Snapshot | None, problem: str, view: View, height: int | None, interval: float) -> RenderableType:
    """
    The whole screen.

    @param snapshot: the last one there is.
    @param problem: why there is no newer one; C{""} if there is nothing wrong.
    @param height: how many lines there are; C{None} is as many as it takes.
    """
    lines: list[RenderableType] = []
    if snapshot is not None:
        lines.append(_head(snapshot))
        lines.append(_sums(snapshot))
    if problem:
        lines.append(Text(f"No answer: {problem}; trying again every {interval:g} s.", style="bold red"))
    if snapshot is None:
        return Group(*lines)
    lines += [Text(f"! {note}", style="yellow", no_wrap=True, overflow="ellipsis") for note in snapshot.notes]
    rows = rows_of(snapshot, view)
    room = len(rows) if height is None else max(height - len(lines) - 4, 1)
    view.first = max(0, min(view.first, len(rows) - room))
    lines.append(Text(""))
    lines.append(_table(snapshot, rows[view.first : view.first + room], view, height is not None))
    if height is not None:
        below = len(rows) - view.first - room
        more = f"{below:,} more below (arrow keys)  " if below > 0 else ""
        keys = f"{more}q quit  i {'hide' if view.idle else 'show'} idle  underlined: sort"
        lines.append(Text(keys, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def _head(snapshot: Snapshot) -> Text:
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(snapshot.server, style="bold")
    head.append(f"  version {snapshot.version}  {time.strftime('%H:%M:%S', time.localtime(snapshot.taken))}")
    return head


def _sums(snapshot: Snapshot) -> Text:
    rows = snapshot.rows
    words = [
        f"{sum(row.waiting for row in rows):,} waiting",
        f"{sum(row.running for row in rows):,} running",
        _counted(snapshot.workers, "worker"),
        _counted(snapshot.connections, "connection"),
        _counted(len(rows), "function"),
    ]
    if snapshot.has_console:
        words.append(f"{_rate(sum(row.done or 0 for row in rows))} done/s")
    return Text("  ".join(words), no_wrap=True, overflow="ellipsis")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _is_shown(column: Column, snapshot: Snapshot) -> bool:
    if column.title in ONLY_WITH_CONSOLE:
        return snapshot.has_console
    if column.title in WITH_PRIORITIES:
        return any(row.priorities and (row.priorities[0] or row.priorities[2]) for row in snapshot.rows)
    return True


def _table(snapshot: Snapshot, rows: list[Row], view: View, is_wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="reverse", expand=is_wide)
    shown = [column for column in COLUMNS if _is_shown(column, snapshot)]
    for column in shown:
        marked = Text(column.title + (" *" if column.key == view.sort else ""))
        if column.key:
            at = column.title.rindex(column.key.upper())
            marked.stylize("underline", at, at + 1)
        if column is COLUMNS[0]:
            table.add_column(marked, ratio=1, no_wrap=True, overflow="ellipsis")
        else:
            table.add_column(marked, justify="right", no_wrap=True)
    for row in rows:
        cells = [Text(column.shown(row)) for column in shown]
        # A long name leaves no room for the words; the colour is there still.
        if row.paused:
            cells[0] = Text(f"{row.name}  paused", style="yellow")
        elif row.waiting and not row.workers:
            cells[0] = Text(f"{row.name}  no worker", style="red")
        table.add_row(*cells, style="dim" if not (row.waiting or row.running) else "")
    return table
