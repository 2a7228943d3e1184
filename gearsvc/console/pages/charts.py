"""
Charts, drawn on the server.

The drawing alone is SVG, and stretched to whatever room there is; so what is
text stands around it.  How things look is in the style sheet, by class.  The
numbers stand in C{data-chart}, from which the script shows those at the pointer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.parts import age

WIDTH = 600.0
HEIGHT = 100.0
"""
The drawing's own measures.
"""

WINDOW = 600.0
"""
How many seconds a chart shows.
"""


@dataclass(frozen=True)
class Line:
    """
    A line of a chart.

    @ivar kind: its class.
    @ivar values: one for each time; C{None} where there is none.
    @ivar filled: whether what is below it has its colour.
    """

    label: str
    kind: str
    values: Sequence[float | None]
    filled: bool = False


@dataclass(frozen=True)
class Scale:
    """
    From values to heights.

    @ivar ticks: the values at which there are lines across, evenly spaced, from the bottom.
    @ivar height: how high a value is, from 0 to 1.
    """

    ticks: Sequence[float]
    height: Callable[[float], float]


def linear(most: float) -> Scale:
    """
    A scale from 0 to a round number that is not below the largest value.
    """
    top = 1.0
    if most > 0:
        power = 10.0 ** floor(log10(most))
        top = next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= most * 0.999999)
    return Scale((0.0, top / 2, top), lambda value: value / top)


def logarithmic(most: float, least: float = 0.001) -> Scale:
    """
    A scale of powers of ten, for what may be short or very long.
    """
    low = round(log10(least))
    high = max(ceil(log10(most) - 1e-9) if most > 0 else low, low + 3)
    ticks = tuple(10.0**power for power in range(low, high + 1))
    return Scale(ticks, lambda value: (log10(max(value, least)) - low) / (high - low))


def chart(
    key: str,
    heading: str,
    at: Sequence[float],
    now: float,
    lines: Sequence[Line],
    scale: Scale,
    say: Callable[[float], str],
    about: str = "",
) -> Tag:
    """
    A chart of the last ten minutes.

    @param key: tells it from all others on the page.
    @param at: the times.
    @param now: where it ends.
    @param say: a value, in words.
    @param about: what it shows, if the heading does not say it all.
    """
    begin = now - WINDOW
    across = [(each - begin) / WINDOW * WIDTH for each in at]
    drawing = element(
        "svg",
        *(_grid(tick, scale) for tick in scale.ticks),
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        preserveAspectRatio="none",
        role="img",
        aria_label=_in_words(heading, lines, say),
    )
    for line in lines:
        heights = [None if value is None else HEIGHT * (1 - min(scale.height(value), 1.0)) for value in line.values]
        if line.filled:
            drawing(element("path", d=_area(across, heights), class_=f"area {line.kind}"))
        drawing(element("path", d=_path(across, heights), class_=f"line {line.kind}"))
    numbers = {
        "at": [round(each, 1) for each in at],
        "begin": round(begin, 1),
        "end": round(now, 1),
        "lines": [
            {"label": line.label, "kind": line.kind, "said": ["" if value is None else say(value) for value in line.values]}
            for line in lines
        ],
    }
    return element(
        "figure",
        element(
            "figcaption",
            element("h2", heading),
            element("span", about, class_="quiet") if about else "",
            element("ul", *(_legend(line, say) for line in lines), class_="legend"),
        ),
        element(
            "div",
            element("div", *(element("span", say(tick)) for tick in reversed(scale.ticks)), class_="axis-y", aria_hidden="true"),
            element("div", drawing, class_="drawing"),
            class_="plot",
        ),
        element(
            "div",
            element("span", "10 min ago"),
            element("span", "5 min ago"),
            element("span", "now"),
            class_="axis-x",
            aria_hidden="true",
        ),
        class_="chart card",
        id=key,
        data_chart=json.dumps(numbers, separators=(",", ":")),
    )


def sparkline(values: Sequence[float], label: str) -> Any:
    """
    A line without numbers: how something went.

    @param values: nothing, if nothing happened.
    @param label: what it shows, in words.
    """
    if not values:
        return ""
    most = max(values) or 1
    step = 120 / max(len(values) - 1, 1)
    points = [(number * step, 23 - 21 * value / most) for number, value in enumerate(values)]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element(
        "svg",
        element("path", d=f"{line}L120 24L0 24Z", class_="area done"),
        element("path", d=line, class_="line done"),
        viewBox="0 0 120 24",
        width="120",
        height="24",
        preserveAspectRatio="none",
        class_="sparkline",
        role="img",
        aria_label=label,
    )


def seconds(value: float) -> str:
    """
    A length of time beside a chart: a power of ten as itself.
    """
    if value >= 1 and 10 ** round(log10(value)) == value:
        return f"{value:,.0f} s"
    return age(value)


def _grid(tick: float, scale: Scale) -> Tag:
    height = f"{HEIGHT * (1 - scale.height(tick)):.1f}"
    return element("line", x1="0", x2=f"{WIDTH:.0f}", y1=height, y2=height, class_="grid")


def _legend(line: Line, say: Callable[[float], str]) -> Tag:
    last = line.values[-1] if line.values else None
    return element(
        "li",
        element("i", class_=f"key {line.kind}"),
        f"{line.label} ",
        element("b", "–" if last is None else say(last)),
    )


def _runs(across: Sequence[float], heights: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """
    The pieces of a line, between its gaps.
    """
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(across, heights):
        if y is None:
            if runs[-1]:
                runs.append([])
        elif x >= -10:
            runs[-1].append((max(x, 0.0), y))
    return [run for run in runs if run]


def _path(across: Sequence[float], heights: Sequence[float | None]) -> str:
    pieces = []
    for run in _runs(across, heights):
        points = [f"{x:.1f} {y:.1f}" for x, y in run]
        # One alone is a dot: a line without length, with round ends.
        pieces.append("M" + "L".join(points if len(points) > 1 else points * 2))
    return "".join(pieces)


def _area(across: Sequence[float], heights: Sequence[float | None]) -> str:
    return "".join(
        f"M{run[0][0]:.1f} {HEIGHT:.0f}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + f"L{run[-1][0]:.1f} {HEIGHT:.0f}Z"
        for run in _runs(across, heights)
    )


def _in_words(heading: str, lines: Sequence[Line], say: Callable[[float], str]) -> str:
    """
    What a chart shows, for those who do not see it.
    """
    sentences = []
    for line in lines:
        there = [value for value in line.values if value is not None]
        if there:
            sentences.append(f"{line.label}: {say(there[-1])} now, from {say(min(there))} to {say(max(there))}.")
    return f"{heading}, the last ten minutes. " + (" ".join(sentences) or "Nothing happened.")
