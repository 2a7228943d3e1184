"""
Tables, which are sorted by a click on what stands above a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.parts import number
from gearsvc.console.pages.serving import Asked


@dataclass(frozen=True)
class Column:
    """
    A column of a table.

    @ivar label: what stands above it.
    @ivar kind: its class: C{num} is to the right, with figures of one width;
        C{wide} may be broken; C{narrow} falls away on a narrow screen.
    @ivar sort: what the table is sorted by with it; empty if it can't be.
    @ivar down: whether what is largest comes first, at the first click.
    @ivar title: what it is, if its label does not say it all.
    """

    label: str
    kind: str = ""
    sort: str = ""
    down: bool = False
    title: str = ""


@dataclass(frozen=True)
class Order:
    """
    How a table is sorted.
    """

    key: str
    down: bool


def order_of(asked: Asked, columns: Sequence[Column], default: Order) -> Order:
    """
    How a table is to be sorted: C{?sort=KEY}, and C{&down=1} for the largest first.
    """
    key = asked.text("sort")
    if key not in {column.sort for column in columns if column.sort}:
        return default
    return Order(key, asked.text("down") == "1")


def table(
    asked: Asked,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Tag],
    order: Order | None = None,
    key: str = "table",
) -> Tag:
    """
    A table.

    @param caption: what it holds, for those who do not see it.
    @param rows: see L{row}; made one by one while the page is written.
    @param order: how it is sorted; C{None} if it is not to be.
    @param key: tells it from all others on the page.
    """
    return element(
        "div",
        element(
            "table",
            element("caption", caption, class_="hidden"),
            element("thead", element("tr", *(_header(asked, column, order) for column in columns))),
            element("tbody", asked.breathing(rows)),
        ),
        class_="scroll",
        id=key,
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def row(key: str, columns: Sequence[Column], *cells: Any) -> Tag:
    """
    A row.

    @param key: tells it from all others of the table.
    @param cells: one for each column.
    """
    made = []
    for column, cell in zip(columns, cells, strict=True):
        made.append(element("td", cell, class_=column.kind) if column.kind else element("td", cell))
    return element("tr", *made, data_key=key)


def _header(asked: Asked, column: Column, order: Order | None) -> Tag:
    header = element("th", scope="col")
    if column.kind:
        header.attributes["class"] = column.kind
    if column.title:
        header.attributes["title"] = column.title
    if not column.sort or order is None:
        return header(column.label)
    current = column.sort == order.key
    down = not order.down if current else column.down
    if current:
        header.attributes["aria-sort"] = "descending" if order.down else "ascending"
    return header(element("a", column.label, href=asked.link(sort=column.sort, down="1" if down else None, page=None, after=None)))


def pages(asked: Asked, first: int, shown: int, total: int, per_page: int) -> Any:
    """
    Where in a list one is, and the way to the other parts of it: C{?page=N}, from 1.

    @param first: how many come before.
    @param shown: how many are here.
    """
    if total <= per_page and not first:
        return ""
    page = first // per_page + 1
    last = max((total + per_page - 1) // per_page, 1)
    return element(
        "nav",
        element("a", "Previous", href=asked.link(page=page - 1 if page > 2 else None), rel="prev") if page > 1 else "",
        element("span", f"{number(first + 1)} to {number(first + shown)} of {number(total)}"),
        element("a", "Next", href=asked.link(page=page + 1), rel="next") if page < last else "",
        class_="paging",
        aria_label="Pages of this list",
    )


def following(asked: Asked, after: str | None, started: bool, key: str = "after") -> Any:
    """
    The way on in a list that is as long as it is: C{?after=}, from there.

    @param after: what the next part begins after; C{None} if there is none.
    @param started: whether there are parts before this one.
    """
    if after is None and not started:
        return ""
    return element(
        "nav",
        element("a", "From the beginning", href=asked.link(**{key: None}), rel="first") if started else "",
        element("a", "Next", href=asked.link(**{key: after}), rel="next") if after is not None else "",
        class_="paging",
        aria_label="Pages of this list",
    )
