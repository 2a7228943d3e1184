"""
What all pages have around them: the navigation, the title, what came of a
change, and the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.template import Tag, tags

from gearsvc import __version__
from gearsvc.console.pages.elements import element, head

if TYPE_CHECKING:
    from gearsvc.console.pages.serving import Asked, Shown
    from gearsvc.console.pages.tree import Pages

NAVIGATION = (
    ("Overview", "/"),
    ("Functions", "/functions"),
    ("Jobs", "/jobs"),
    ("Scheduled", "/scheduled"),
    ("Workers", "/workers"),
    ("Metrics", "/metrics"),
)
"""
Where one can go from everywhere.
"""


def page(pages: Pages, asked: Asked, shown: Shown, notice: str, problem: str) -> Tag:
    """
    A whole page.

    @param notice: what came of a change; empty if nothing did.
    @param problem: what went wrong; empty if nothing did.
    """
    files = pages.files
    # A page is named before its server, so that a row of tabs can be read.
    return element(
        "html",
        head(
            f"{shown.title[:200]} - gearsvc",
            files.link("console.css"),
            files.link("icon.svg"),
            element("script", src=files.link("console.js"), defer=""),
        ),
        tags.body(
            element("a", "Skip to the content", class_="skip", href="#main"),
            _banner(pages, asked, shown),
            # A live region has to be there before something comes into it.
            element(
                "div",
                element("p", notice, class_="notice good") if notice else "",
                element("p", problem, class_="notice bad", role="alert") if problem else "",
                id="notices",
                role="status",
            ),
            _main(shown),
            _footer(pages),
        ),
        lang="en",
    )


def _main(shown: Shown) -> Tag:
    main = element(
        "main",
        element(
            "div",
            element("h1", shown.heading if shown.heading is not None else shown.title),
            shown.aside,
            class_="title",
        ),
        shown.body,
        id="main",
        tabindex="-1",
    )
    if shown.live:
        main.attributes["data-live"] = str(shown.every)
    return main


def _banner(pages: Pages, asked: Asked, shown: Shown) -> Tag:
    links = []
    for label, path in NAVIGATION:
        link = element("a", label, href=path)
        if path == shown.section:
            link.attributes["aria-current"] = "page"
        links.append(tags.li(link))
    return element(
        "header",
        element("a", element("img", src=pages.files.link("icon.svg"), alt="", width="20", height="20"), "gearsvc", class_="brand", href="/"),
        element("nav", tags.ul(*links), aria_label="Pages"),
        _who(pages, asked),
        class_="banner",
    )


def _who(pages: Pages, asked: Asked) -> Tag:
    live = element("span", "", id="live", class_="live", role="status")
    if not pages.console.guard.needs_login:
        return element("div", live, class_="who")
    return element(
        "div",
        live,
        element("span", "operator" if asked.operator else "viewer", class_="role"),
        element("form", element("button", "Log out", type="submit", class_="quiet"), method="post", action="/logout"),
        class_="who",
    )


def _footer(pages: Pages) -> Tag:
    return element(
        "footer",
        element("span", f"gearsvc {__version__}"),
        element("a", "API", href="/api/v1/openapi.json"),
        element("a", "Health", href="/readyz"),
        element("span", "Times are in UTC.", id="zone"),
        class_="end",
    )
