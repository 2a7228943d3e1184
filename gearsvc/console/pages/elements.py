"""
Elements, and the head of every page.
"""

from __future__ import annotations

from typing import Any

from twisted.web.template import Tag, tags


def element(kind: str, /, *children: Any, **attributes: str) -> Tag:
    """
    An element, with all its attributes: an underscore at the end of one's name
    falls away, and those within become hyphens.
    """
    given: dict[Any, Any] = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    return Tag(kind, attributes=given, children=list(children))


def head(name: str, stylesheet: str, icon: str, *more: Any) -> Tag:
    """
    The head of a page.

    @param name: what the browser calls it.
    """
    return tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(name),
        tags.link(rel="icon", type="image/svg+xml", href=icon),
        tags.link(rel="stylesheet", href=stylesheet),
        *more,
    )
