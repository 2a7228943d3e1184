"""
All functions: what waits, what runs, how fast it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages.charts import sparkline
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.forms import button
from gearsvc.console.pages.parts import (
    age,
    badge,
    card,
    empty,
    function_link,
    function_path,
    number,
    rate,
    share,
)
from gearsvc.console.pages.serving import Asked, Page, Shown
from gearsvc.console.pages.tables import Column, Order, order_of, pages, row, table
from gearsvc.console.ranking import Ranked
from gearsvc.console.values import Function

PER_PAGE = 100
"""
How many functions a page has.
"""

COLUMNS = (
    Column("Function", "wide", "name"),
    Column("Waiting", "num", "waiting", True),
    Column("Running", "num", "running", True),
    Column("Later", "num", "delayed", True, "Jobs that wait for their time"),
    Column("Oldest", "num", "oldest", True, "How long the job that has waited longest has waited"),
    Column("Busy", "num", "workers", True, "Workers that have a job, of those that can do the function"),
    Column("Done/s", "num", "rate", True, "Jobs completed each second, in the last minute"),
    Column("Failed", "num", "failures", True, "Of the jobs that ended in the last ten minutes"),
    Column("Ten minutes", "spark"),
)

ACTIONS = Column("", "actions")


class FunctionsPage(Page):
    """
    C{/functions}: C{?q=} for those whose names hold something, C{?sort=} and C{?page=}.
    """

    section = "/functions"

    async def show(self, asked: Asked) -> Shown:
        """
        Show them.
        """
        order = order_of(asked, COLUMNS, Order("waiting", True))
        wanted = asked.text("q")[:200]
        page = max(asked.number("page", 1, 10**6), 1)
        first = (page - 1) * PER_PAGE
        ranked = await self.views.ranked(order.key, order.down, first, PER_PAGE, wanted)
        return Shown(
            "Functions",
            [
                _search(asked, wanted),
                listed(asked, ranked.functions, order)
                if ranked.functions
                else empty("No function's name holds this.", element("p", element("a", "All functions", href="/functions")))
                if wanted
                else empty("There are no functions: one is there as soon as a worker can do it, or a job of it is submitted."),
                pages(asked, first, len(ranked.functions), ranked.total, PER_PAGE),
            ],
            self.section,
        )


def listed(asked: Asked, functions: Sequence[Function], order: Order | None) -> Tag:
    """
    A table of functions.
    """
    columns = (*COLUMNS, ACTIONS) if asked.operator else COLUMNS
    return table(asked, "Functions", columns, _rows(asked, columns, functions), order, "functions-table")


def busiest(asked: Asked, ranked: Ranked, most: int) -> Tag:
    """
    The functions for which the most jobs wait.
    """
    more: Any = element("a", f"All {number(ranked.total)}", href="/functions") if ranked.total > most else ""
    return card("Functions with the most to do", listed(asked, ranked.functions, None), key="functions", more=more)


def states(function: Function) -> list[Any]:
    """
    What is unusual about a function, in a word each.
    """
    found: list[Any] = []
    if function.paused_since is not None:
        found.append(badge("paused", "warn"))
    if function.draining:
        found.append(badge("draining", "warn"))
    for each in function.attention:
        if each.kind not in ("paused", "draining"):
            shown = badge(each.kind.replace("_", " "), "bad" if each.severity == "error" else "warn")
            shown.attributes["title"] = each.sentence
            found.append(shown)
    return [part for shown in found for part in (" ", shown)]


def pausing(function: Function, back: str = "", quiet: bool = True) -> Any:
    """
    The button that pauses a function, or resumes it.
    """
    path = function_path(function.name)
    kind = "quiet" if quiet else ""
    if function.paused_since is not None:
        return button(path, "resume", "Resume", back, kind or "first", function.name[:100])
    return button(path, "pause", "Pause", back, kind, function.name[:100])


def _rows(asked: Asked, columns: Sequence[Column], functions: Sequence[Function]) -> Iterator[Tag]:
    for each in functions:
        line = " ".join(str(value) for value in each.sparkline)
        cells = [
            [function_link(each.name), *states(each)],
            _some(each.queued.total),
            _some(each.running),
            _some(each.delayed),
            age(each.oldest_age),
            f"{number(each.busy)} / {number(each.workers)}",
            _some(each.rates.completed, rate(each.rates.completed)),
            share(each.failure_share),
            sparkline(each.sparkline, f"Jobs done in each ten seconds: {line}") if line else "",
        ]
        if asked.operator:
            cells.append(pausing(each, asked.here))
        yield row(each.name.path[:500], columns, *cells)


def _some(value: float, said: str = "") -> Any:
    """
    A number; nothing is not as visible as something.
    """
    return said or number(value) if value else element("span", "0", class_="none")


def _search(asked: Asked, wanted: str) -> Tag:
    kept = [element("input", type="hidden", name=key, value=asked.text(key)) for key in ("sort", "down") if asked.text(key)]
    return element(
        "form",
        element("label", "Name holds", for_="q"),
        element("input", type="search", id="q", name="q", value=wanted, autocomplete="off", spellcheck="false", maxlength="200"),
        *kept,
        element("button", "Find", type="submit"),
        method="get",
        action="/functions",
        role="search",
        class_="filter",
    )
