"""
The form that looks for jobs, and what it asks for.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.parts import cut
from gearsvc.console.pages.serving import Asked
from gearsvc.console.problems import Problem
from gearsvc.console.search import JobQuery
from gearsvc.console.values import STATES, Name, name_of_segment

PER_PAGE = 100
PAGE_SIZES = (50, 100, 250, 500)
"""
How many jobs a page may have.
"""

SUGGESTED = 200
"""
How many functions are suggested where one can be typed in.
"""

_SECONDS = {
    "": 1.0,
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")
_MOST = 1e10


class BadField(ValueError):
    """
    What stands in a field makes no sense.

    @ivar field: the field's name.
    """

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True)
class Search:
    """
    What somebody looks for.

    @ivar query: the same for the job server.
    @ivar problem: what is wrong with it; C{None} if nothing is.
    """

    query: JobQuery
    problem: BadField | None


def search_of(asked: Asked) -> Search:
    """
    Read the parameters.  Where they make no sense, nothing is looked for.
    """
    try:
        return Search(_query(asked), None)
    except BadField as problem:
        return Search(JobQuery(), problem)


def _query(asked: Asked) -> JobQuery:
    states = {state.decode("ascii", "replace") for state in asked.query.get("state", []) if state}
    if unknown := states - set(STATES):
        raise BadField("state", f"There is no state {min(unknown)[:50]!r}; there is: {', '.join(STATES)}.")
    return JobQuery(
        function=name_of_field(asked, "function"),
        states=frozenset(states),
        unique=name_of_field(asked, "unique"),
        older=seconds_of("older", asked.raw("older")),
        younger=seconds_of("younger", asked.raw("younger")),
        oldest_first=asked.text("sort") == "submitted" and asked.text("down") != "1",
        limit=max(asked.number("limit", PER_PAGE, PAGE_SIZES[-1]), 1),
        after=asked.text("after") or None,
    )


def name_of_field(asked: Asked, key: str) -> bytes | None:
    """
    The name that was typed in: as it is, or a tilde and base64, as in paths.

    @raise BadField: if it is none.
    """
    given = asked.raw(key)
    try:
        return name_of_segment(given) if given else None
    except ValueError as error:
        raise BadField(key, f"This is no name: {error}.") from None


def field_of_name(name: bytes | None) -> str:
    """
    Undo L{name_of_field}.
    """
    if name is None:
        return ""
    made = Name(name)
    if made and made.base64 is None and not made.startswith("~"):
        return str(made)
    # The text would not lead back to it.
    return "~" + urlsafe_b64encode(name).decode().rstrip("=")


def handle_of_field(given: bytes) -> bytes:
    """
    The handle that a form holds.

    @raise Problem: if it is none.
    """
    try:
        return name_of_segment(given)
    except ValueError as error:
        raise Problem(400, f"Nothing was done: {cut(Name(given), 100)} is no handle: {error}.") from None


def seconds_of(key: str, typed: bytes) -> float | None:
    """
    The length of time that was typed in: C{90}, C{5 min}, C{1h 30m}, C{2 d}.

    @param key: into which field.
    @raise BadField: if it is none.
    """
    given = typed.decode("utf-8", "replace").strip().lower()
    if not given:
        return None
    seconds = 0.0
    position = 0
    while position < len(given):
        match = _PART.match(given, position)
        # Only what stands alone needs no unit.
        if match is None or match[2] not in _SECONDS or not match[2] and match[0] != given:
            raise BadField(key, f"{given[:50]!r} is no length of time; write 90 (seconds), 5 min, 2 h or 1 d.")
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
        while position < len(given) and given[position] == " ":
            position += 1
    return min(seconds, _MOST)


def search_form(asked: Asked, search: Search, functions: Sequence[Name]) -> Tag:
    """
    The form.

    @param functions: what is suggested.
    """
    problem = search.problem
    limit = str(search.query.limit)
    fields = [
        text_field(asked, "function", "Function", problem, list_="functions"),
        text_field(asked, "unique", "Unique id", problem),
        text_field(asked, "older", "Older than", problem, placeholder="5 min", size="8"),
        text_field(asked, "younger", "Younger than", problem, placeholder="2 h", size="8"),
        element(
            "div",
            element("label", "On a page", for_="limit"),
            element(
                "select",
                *(_option(str(each), limit) for each in sorted({*PAGE_SIZES, search.query.limit})),
                id="limit",
                name="limit",
            ),
            class_="field",
        ),
    ]
    chosen = {state.decode("ascii", "replace") for state in asked.query.get("state", [])}
    return element(
        "form",
        element("div", *fields, class_="fields"),
        element(
            "fieldset",
            element("legend", "State"),
            *(_state(state, state in chosen) for state in STATES),
            element("span", "None of them: all that are not over.", class_="hint"),
            class_="chips",
        ),
        *(
            element("input", type="hidden", name=key, value=asked.text(key))
            for key in ("sort", "down")
            if key in asked.query
        ),
        element(
            "div",
            element("button", "Search", type="submit", class_="first"),
            element("a", "Everything", href=asked.path, class_="button quiet"),
            class_="buttons",
        ),
        element("datalist", *(element("option", value=field_of_name(each.raw)) for each in functions), id="functions"),
        method="get",
        action=asked.path,
        class_="search",
        role="search",
        id="search",
    )


def text_field(asked: Asked, key: str, label: str, problem: BadField | None = None, **attributes: str) -> Tag:
    """
    A field of a form that is sent by GET, with what was typed in and, if that
    makes no sense, why.
    """
    given = asked.raw(key)
    # What is no text, for it came by a link, stays what it is.
    value = field_of_name(given) if given and not given.startswith(b"~") else asked.text(key)
    field = element(
        "input",
        type="text",
        id=key,
        name=key,
        value=value,
        autocomplete="off",
        autocapitalize="off",
        spellcheck="false",
        **attributes,
    )
    more: Any = ""
    if problem is not None and problem.field == key:
        field.attributes["aria-invalid"] = "true"
        field.attributes["aria-describedby"] = f"{key}-problem"
        more = element("p", str(problem), class_="problem", id=f"{key}-problem", role="alert")
    return element("div", element("label", label, for_=key), field, more, class_="field")


def _state(state: str, chosen: bool) -> Tag:
    field = element("input", type="checkbox", name="state", value=state)
    if chosen:
        field.attributes["checked"] = ""
    return element("label", field, element("span", state))


def _option(value: str, chosen: str) -> Tag:
    option = element("option", value, value=value)
    if value == chosen:
        option.attributes["selected"] = ""
    return option
