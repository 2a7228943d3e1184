"""
The small parts that pages are made of: numbers, times, names, states.

Numbers and times are for people: a thousand has its comma, an age two digits
that matter.  What is exact stands in the title, or in C{datetime}.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.values import Name, Progress

LONG = 60
"""
How many characters of a name stand in a line; the others are in the title.
"""

NONE = "–"
"""
What stands where there is no number.
"""


def number(value: float | None, digits: int = 0) -> str:
    """
    A number, with commas.
    """
    return NONE if value is None else f"{value:,.{digits}f}"


def rate(value: float) -> str:
    """
    How many a second: C{0}, C{0.03}, C{4.2}, C{1,204}.
    """
    if value >= 10 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def share(value: float | None) -> str:
    """
    A part of a whole, in percent: what is not nothing is not shown as 0.
    """
    if value is None:
        return NONE
    return "< 0.1%" if 0 < value < 0.001 else f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"


def size(value: int) -> str:
    """
    A number of bytes.
    """
    if value < 1024:
        return f"{value} B"
    for unit, length in (("KiB", 1024), ("MiB", 1024**2), ("GiB", 1024**3)):
        if value < length * 1024 or unit == "GiB":
            return f"{value / length:,.1f} {unit}"
    raise AssertionError("unreachable")


def age(seconds: float | None) -> str:
    """
    A length of time: C{3 ms}, C{12 s}, C{3 min}, C{1 h 20 min}, C{2 d 4 h}.
    """
    if seconds is None:
        return NONE
    seconds = max(seconds, 0.0)
    if seconds < 0.0005:
        return "0 s" if seconds == 0 else "< 1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    hours = round(seconds / 3600)
    return f"{hours // 24:,} d" + (f" {hours % 24} h" if hours % 24 and hours < 24 * 10 else "")


def moment(at: float | None) -> Any:
    """
    A time: in UTC, and with the script in the viewer's zone.
    """
    if at is None:
        return NONE
    try:
        when = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        # A client chose it.
        return f"{at:.0f} s after 1970"
    return element("time", f"{when:%Y-%m-%d %H:%M:%S}", datetime=f"{when:%Y-%m-%dT%H:%M:%SZ}")


def ago(at: float | None, now: float) -> Any:
    """
    How long ago a time is, or how soon it will be; the time itself is in the title.
    """
    if at is None:
        return NONE
    try:
        when = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f} s after 1970"
    said = "just now" if abs(now - at) < 1 else f"{age(now - at)} ago" if at < now else f"in {age(at - now)}"
    return element("time", said, datetime=f"{when:%Y-%m-%dT%H:%M:%SZ}", title=f"{when:%Y-%m-%d %H:%M:%S} UTC", class_="ago")


def cut(text: str, length: int = LONG) -> str:
    """
    The beginning of a text, if it is long.
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def name(of: Name, length: int = LONG) -> Tag:
    """
    A name that a peer chose.
    """
    shown = element("span", cut(of, length), class_="name") if of else element("span", "(empty)", class_="name quiet")
    if len(of) > length:
        shown.attributes["title"] = of[:1000]
    return shown


def function_link(of: Name, length: int = LONG) -> Tag:
    """
    A function's name, leading to its page.
    """
    return element("a", name(of, length), href=function_path(of))


def function_path(of: Name) -> str:
    """
    Where the page of a function is.
    """
    return f"/functions/{of.path}"


def job_link(handle: Name) -> Tag:
    """
    A job's handle, leading to its page.
    """
    return element("a", name(handle, 40), href=f"/jobs/{handle.path}")


def worker_link(number: int, client_id: Name | None = None) -> Tag:
    """
    A connection, leading to its page.
    """
    said = name(client_id, 30) if client_id not in (None, "-", "") else f"#{number}"
    return element("a", said, href=f"/workers/{number}")


def badge(word: str, kind: str = "") -> Tag:
    """
    A state, as one word.

    @param kind: C{good}, C{bad}, C{warn}, C{busy}, or nothing.
    """
    return element("span", word, class_=f"badge {kind}".rstrip())


JOB_STATES = {
    "storing": "warn",
    "queued": "",
    "delayed": "",
    "running": "busy",
    "completed": "good",
    "failed": "bad",
    "cancelled": "warn",
}
"""
How the states of a job look.
"""


def job_state(state: str, reason: str | None = None) -> Tag:
    """
    The state of a job.
    """
    shown = badge(state, JOB_STATES.get(state, ""))
    if reason:
        shown.attributes["title"] = reason.replace("_", " ")
    return shown


def bar(part: float | None, label: str) -> Tag:
    """
    How far something is, from 0 to 1; C{None} is not known.
    """
    if part is None:
        return element("progress", class_="bar", max="1", aria_label=label)
    return element("progress", class_="bar", max="1", value=f"{min(max(part, 0.0), 1.0):.3f}", aria_label=label)


def progress(of: Progress | None) -> Any:
    """
    How far a job is, as its worker says.
    """
    if of is None:
        return NONE
    said = f"{cut(of.numerator, 20)} / {cut(of.denominator, 20)}"
    if of.share is None:
        return said
    return element("span", bar(of.share, said), element("span", f"{of.share:.0%}"), class_="progress", title=said)


def empty(sentence: str, *more: Any) -> Tag:
    """
    What stands in place of a table without rows.
    """
    return element("div", element("p", sentence), *more, class_="empty")


def facts(rows: Sequence[tuple[str, Any]]) -> Tag:
    """
    A list of what is known of something.
    """
    return element(
        "dl", *(element("div", element("dt", label), element("dd", value)) for label, value in rows), class_="facts"
    )


def card(heading: str, *body: Any, key: str = "", more: Any = "") -> Tag:
    """
    A part of a page, with a heading.

    @param key: tells it from all others on the page.
    @param more: what stands at the end of the heading's line.
    """
    made = element("section", element("header", element("h2", heading), more, class_="card-head"), *body, class_="card")
    if key:
        made.attributes["id"] = key
    return made


def tile(label: str, value: Any, below: Any = "", kind: str = "", href: str = "") -> Tag:
    """
    A number that is looked at often.

    @param below: what it is, or is of.
    @param kind: C{good}, C{warn}, C{bad}, or nothing.
    @param href: where there is more.
    """
    body = [
        element("span", label, class_="label"),
        element("span", value, class_="value"),
        element("span", below, class_="below"),
    ]
    attributes = {"class_": f"tile {kind}".rstrip(), "data_key": label}
    return element("a", *body, href=href, **attributes) if href else element("div", *body, **attributes)
