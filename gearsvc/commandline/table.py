"""
Tables for people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

GAP = "  "


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str | int]], nothing: str) -> None:
    """
    Write a table to standard output: numbers to the right, with separators of
    thousands; texts to the left.  Everything has to be safe for a terminal.

    @param nothing: what to write in place of a table without rows.
    """
    if not rows:
        print(nothing)
        return
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    numeric = [all(isinstance(row[column], int) for row in rows) for column in range(len(headings))]
    widths = [max(cell_len(line[column]) for line in [headings, *cells]) for column in range(len(headings))]
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    for index, line in enumerate([headings, *cells]):
        padded = [
            " " * (width - cell_len(cell)) + cell if right else cell + " " * (width - cell_len(cell))
            for cell, width, right in zip(line, widths, numeric)
        ]
        written = GAP.join(padded).rstrip()
        print(f"{bold}{written}{plain}" if index == 0 else written)


def write_json(value: Any) -> None:
    """
    Write JSON to standard output.
    """
    print(json.dumps(value, indent=2, ensure_ascii=False))
