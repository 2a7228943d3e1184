"""
Forms: what an operator can do.

Each is sent to a page's own path, with the field C{action} that says what to do
(L{Page.actions <gearsvc.console.pages.serving.Page.actions>}) and, if the
browser is to go elsewhere then, C{back}.  A viewer sees none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.login import local_path
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.parts import LONG
from gearsvc.console.pages.serving import Asked
from gearsvc.console.values import Name


def form(path: str, action: str, *body: Any, back: str = "", class_: str = "") -> Tag:
    """
    A form.

    @param path: of the page that does it.
    @param action: what it is to do.
    @param back: where the browser goes then; the page itself if empty.
    """
    made = element("form", element("input", type="hidden", name="action", value=action), method="post", action=path)
    if class_:
        made.attributes["class"] = class_
    if back:
        made(element("input", type="hidden", name="back", value=back))
    return made(*body)


def button(path: str, action: str, label: str, back: str = "", kind: str = "", about: str = "") -> Tag:
    """
    A form that is nothing but a button.

    @param kind: C{first} is what one most likely wants, C{danger} can't be undone, C{quiet} stands in a table.
    @param about: what it is about, where there are many of the same label.
    """
    made = element("button", label, type="submit")
    if kind:
        made.attributes["class"] = kind
    if about:
        made.attributes["aria-label"] = f"{label}: {about}"
    return form(path, action, made, back=back, class_="inline")


def confirmed(
    path: str, action: str, label: str, sentence: str, phrase: str, back: str = "", body: Sequence[Any] = ()
) -> Tag:
    """
    A form for what can't be undone: it opens on a click, and has a phrase typed in.

    @param label: what it does, in a word or two.
    @param sentence: what comes of it.
    @param phrase: what has to be typed; the field is C{confirm}.
    @param body: other fields.
    """
    hint = f"{action}-hint"
    return element(
        "details",
        element("summary", label, class_="danger"),
        form(
            path,
            action,
            element("p", sentence),
            *body,
            element("label", "To confirm, type ", element("code", phrase), id=hint, for_=f"{action}-confirm"),
            element(
                "input",
                type="text",
                id=f"{action}-confirm",
                name="confirm",
                required="",
                autocomplete="off",
                autocapitalize="off",
                spellcheck="false",
                data_phrase=phrase,
            ),
            element("button", label, type="submit", class_="danger"),
            back=back,
        ),
        class_="confirm",
        id=f"{action}-form",
    )


def typed(name: Name, action: str) -> str:
    """
    What has to be typed to confirm something about a name: the name as it is
    shown or, if nobody would type it, what is to be done.
    """
    return str(name) if 0 < len(name) <= LONG and name == name.strip() else action


def back_from(asked: Asked, default: str) -> str:
    """
    Where the browser goes when a form is done.
    """
    given = asked.field("back")
    return local_path(given).decode("ascii") if given else default
