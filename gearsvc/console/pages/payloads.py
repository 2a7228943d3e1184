"""
Workloads and results: as text, as JSON with a line for each part of it, or as
bytes in hexadecimal, whatever they are.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.parts import number, size
from gearsvc.console.pages.serving import Asked
from gearsvc.console.values import Name, Payload

FORMS = ("text", "json", "hex")
"""
In which forms a payload can be shown.
"""

MAX_SHOWN = 256 * 1024
"""
How many characters a form may have: indented JSON, and bytes in hexadecimal,
are several times as long as what they show.
"""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s"\[\]{},:]+', re.DOTALL)


def payload_card(asked: Asked, heading: str, key: str, of: Payload | None, without: str) -> Tag:
    """
    A payload as a part of a page: C{?KEY=hex} shows it in another form.

    @param key: tells it from all others on the page.
    @param without: what to say if it is not there.
    """
    links: Any = ""
    if of is None:
        body: Any = element("p", without, class_="quiet")
    elif of.kind == "hidden":
        body = element("p", f"{size(of.size)}; what it is, is not shown here.", class_="quiet")
    elif not of.size:
        body = element("p", "It is empty.", class_="quiet")
    else:
        asked_for = asked.text(key)
        form = asked_for if asked_for in _forms(of) else of.kind
        links = element(
            "nav",
            *(_link(asked, key, each, each == form) for each in _forms(of)),
            class_="forms",
            aria_label=f"Forms of the {key}",
        )
        body = [
            element(
                "pre", element("code", in_form(of, form)), class_=f"payload {form}", tabindex="0", aria_label=heading
            ),
            _how_much(of),
        ]
    return element(
        "section",
        element("header", element("h2", heading), links, class_="card-head"),
        body,
        class_="card",
        id=f"{key}-card",
    )


def _forms(of: Payload) -> list[str]:
    return [form for form in FORMS if form != "json" or of.kind == "json"]


def _link(asked: Asked, key: str, form: str, current: bool) -> Tag:
    label = {"text": "Text", "json": "JSON", "hex": "Hex"}[form]
    link = element("a", label, href=f"{asked.link(**{key: form})}#{key}-card")
    if current:
        link.attributes["aria-current"] = "true"
    return link


def _how_much(of: Payload) -> Tag:
    shown = len(b64decode(of.base64 or ""))
    said = f"The first {number(shown)} of {number(of.size)} bytes." if of.cut else f"{number(of.size)} bytes."
    return element("p", said, class_="hint")


def in_form(of: Payload, form: str) -> str:
    """
    What is to be shown of a payload, in a form.
    """
    if form == "json":
        return indented(of.shown)
    data = b64decode(of.base64 or "")
    if form == "hex":
        return hexadecimal(data)
    if of.kind != "hex":
        return of.shown
    # Here, lines are lines.
    return "\n".join(Name(line) for line in data.split(b"\n"))


def hexadecimal(data: bytes) -> str:
    """
    Bytes, sixteen in a line, with where they are and what of them is ASCII.
    """
    lines = []
    for start in range(0, min(len(data), MAX_SHOWN // 5), 16):
        piece = data[start : start + 16]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
        lines.append(f"{start:08x}  {piece[:8].hex(' '):23}  {piece[8:].hex(' '):23}  {shown}")
    return "\n".join(lines)


def indented(text: str) -> str:
    """
    JSON with a line for each part of it.  Nothing else of it is changed: not
    the digits of a number, not a key that is there twice.
    """
    pieces: list[str] = []
    length = 0
    for piece in _indented(text):
        length += len(piece)
        if length > MAX_SHOWN:
            # It is nested so deep that it is more indentation than anything else.
            return text
        pieces.append(piece)
    return "".join(pieces)


def _indented(text: str) -> Iterator[str]:
    depth = 0
    last = ""
    for match in _TOKENS.finditer(text):
        token = match[0]
        if token in "]}":
            depth -= 1
            if last not in ("[", "{"):
                yield "\n" + "  " * depth
        elif last in ("[", "{", ","):
            yield "\n" + "  " * depth
        yield ": " if token == ":" else token
        if token in "[{":
            depth += 1
        last = token
