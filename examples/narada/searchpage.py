"""
The page with the search and the crawl's progress.

Everything on it comes from the Web or from whoever searches, and is escaped by
twisted.web.template.  It works without scripts; with them, the progress is
renewed while it goes on, and nothing else changes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.template import Tag, flattenString, tags

from examples.narada.documents import FETCHED, MARK_BEGIN, MARK_END, RUNNING, WAITING, Documents
from examples.narada.query import LONGEST
from gearsvc.client import GearmanError

Search = Callable[[str, int, int], Awaitable[dict[str, Any]]]
"""
Asks the search worker: the query, how many results, and from which on.
"""

PER_PAGE = 10

STYLE = """
:root { color-scheme: light dark; --ink: #1c2420; --dim: #5d6a62; --paper: #fbfaf6; --card: #fff; --line: #dfe3da;
  --green: #2c6e3f; --link: #1d5c8a; --mark: #fbe89a; --red: #a8321f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9e3; --dim: #9aa69d; --paper: #161a17; --card: #1e2420;
  --line: #343c36; --green: #7cc48c; --link: #8cc0ea; --mark: #5c5317; --red: #f0907e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.5 system-ui, sans-serif; }
.page { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; letter-spacing: -.02em; display: flex; flex-wrap: wrap; align-items: baseline;
  gap: 0 .6rem; }
h1 a { color: var(--green); text-decoration: none; }
h1 small { font-size: .95rem; font-weight: normal; color: var(--dim); letter-spacing: 0; line-height: 1.3; }
form { display: flex; gap: .5rem; }
input { flex: 1; min-width: 0; font: inherit; padding: .55rem .8rem; color: inherit; background: var(--card);
  border: 1px solid var(--dim); border-radius: .5rem; }
button { font: inherit; padding: .55rem 1.1rem; border: 0; border-radius: .5rem; background: var(--green); color: var(--paper); }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.hint, .count { color: var(--dim); font-size: .9rem; margin: .6rem 0 1.2rem; }
.hint a { color: var(--link); margin-right: .3rem; }
.trouble { color: var(--red); }
ol { list-style: none; margin: 0; padding: 0; }
.found { margin: 0 0 1.4rem; overflow-wrap: anywhere; }
.found a { color: var(--link); font-size: 1.12rem; text-decoration: none; }
.found a:hover { text-decoration: underline; }
.found cite { display: block; font-style: normal; font-size: .85rem; color: var(--green); }
.found p { margin: .15rem 0 0; }
mark { background: var(--mark); color: inherit; border-radius: .15rem; padding: 0 .1rem; }
.turn { display: flex; justify-content: space-between; }
.turn a { color: var(--link); }
section { margin-top: 2rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h2 { font-size: 1rem; margin: 0 0 .7rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(4.4rem, 1fr)); gap: .5rem; margin: 0 0 1rem; }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .45rem .7rem; }
dt { font-size: .8rem; color: var(--dim); }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.latest li { display: flex; flex-wrap: wrap; gap: 0 .8rem; font-size: .88rem; padding: .2rem 0; border-top: 1px solid var(--line); }
.latest .url { flex: 1 1 16rem; min-width: 0; overflow-wrap: anywhere; }
.latest .state { color: var(--dim); max-width: 100%; overflow-wrap: anywhere; }
.latest .failed .state { color: var(--red); }
"""

SCRIPT = """
"use strict";
const section = document.getElementById("progress");
async function renew() {
  try {
    const answer = await fetch("/progress");
    if (answer.ok) {
      // The server has escaped it.
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      section.replaceChildren(...parsed.body.childNodes);
    }
  } catch (error) {
    // Narada has ended, or starts again.
  }
  setTimeout(renew, 1000);
}
renew();
"""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)


def marked(text: str) -> list[Tag | str]:
    """
    Text with the words that were searched for marked.
    """
    pieces: list[Tag | str] = []
    for piece in re.split(f"({MARK_BEGIN}[^{MARK_END}]*{MARK_END})", text):
        pieces.append(Tag("mark")(piece.strip(MARK_BEGIN + MARK_END)) if piece.startswith(MARK_BEGIN) else piece)
    return pieces


def address(query: str, page: int = 1) -> str:
    """
    Where the results of a query are.
    """
    return "/?" + urlencode({"q": query, **({"page": str(page)} if page > 1 else {})})


class SearchPage(Resource):
    """
    The page.
    """

    isLeaf = True

    def __init__(self, search: Search, documents: Documents) -> None:
        super().__init__()
        self._search = search
        self._documents = documents

    def render_GET(self, request: Request) -> Any:
        """
        Show it, or what belongs to it.
        """
        request.setHeader("Content-Security-Policy", _POLICY)
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.setHeader("Referrer-Policy", "no-referrer")
        path = request.path.decode("ascii", "replace")
        if path == "/style.css":
            request.setHeader("Content-Type", "text/css; charset=utf-8")
            return STYLE.encode()
        if path == "/script.js":
            request.setHeader("Content-Type", "text/javascript; charset=utf-8")
            return SCRIPT.encode()
        if path not in ("/", "/progress"):
            return notFound(message="There is no such page.").render(request)
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        request.setHeader("Cache-Control", "no-store")
        making = Deferred.fromCoroutine(self._make(request, path))

        def made(html: bytes) -> None:
            if not gone:
                request.write(html)
                request.finish()

        making.addCallback(made).addErrback(lambda failure: None if gone else request.processingFailed(failure))
        return NOT_DONE_YET

    async def _make(self, request: Request, path: str) -> bytes:
        if path == "/progress":
            return await flattenString(request, self._progress())
        query = self._argument(request, b"q").strip()
        number = self._argument(request, b"page")
        page = max(1, int(number)) if number.isdecimal() and len(number) < 6 else 1
        if query:
            results = await self._results(request, query, page)
        else:
            results = [self._hint()]
        return b"<!doctype html>\n" + await flattenString(request, self._frame(query, results))

    @staticmethod
    def _argument(request: Request, name: bytes) -> str:
        return str((request.args or {}).get(name, [b""])[0].decode("utf-8", "replace"))

    def _frame(self, query: str, results: list[Tag]) -> Tag:
        return tags.html(
            tags.head(
                tags.meta(charset="utf-8"),
                tags.title(f"{query[:60]} - Narada" if query else "Narada"),
                tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
                tags.link(rel="stylesheet", href="/style.css"),
                tags.script(src="/script.js", defer="defer"),
            ),
            tags.body(
                tags.div(
                    tags.h1(tags.a("Narada", href="/"), tags.small("a search engine made of four Gearman workers")),
                    tags.form(
                        tags.input(
                            name="q", value=query, maxlength=str(LONGEST), placeholder="Search",
                            autocomplete="off", type="search", **{"aria-label": "Search"},
                        ),
                        tags.button("Search"),
                        action="/", role="search",
                    ),
                    Tag("main")(*results),
                    Tag("section")(*self._progress(), id="progress"),
                    class_="page",
                )
            ),
            lang="en",
        )

    @staticmethod
    def _hint() -> Tag:
        examples = ("volunteer", '"board of directors"', "vegfest -oregon", "hazel*", "soup OR stew")
        return tags.p("For instance: ", *(tags.a(each, " ", href=address(each)) for each in examples), class_="hint")

    async def _results(self, request: Request, query: str, page: int) -> list[Tag]:
        try:
            answer = await self._search(query, PER_PAGE, (page - 1) * PER_PAGE)
        except GearmanError as error:
            request.setResponseCode(503)
            return [tags.p(f"The search does not answer: {error}. Try again in a moment.", class_="count trouble")]
        if "error" in answer:
            return [tags.p(answer["error"], class_="count")]
        total = answer["total"]
        count = tags.p(f"{total} document{'s' if total != 1 else ''} matched", class_="count")
        found = [
            tags.li(
                tags.a(*(marked(each["title"]) if each["title"] else [each["url"]]), href=each["url"], rel="noreferrer"),
                tags.cite(each["url"]),
                tags.p(*marked(each["excerpt"])),
                class_="found",
            )
            for each in answer["found"]
        ]
        before = tags.a("← Before", href=address(query, page - 1)) if page > 1 else tags.span()
        more = tags.a("More →", href=address(query, page + 1)) if page * PER_PAGE < total else tags.span()
        return [count, tags.ol(*found), tags.p(before, more, class_="turn")]

    def _progress(self) -> list[Tag]:
        counts = self._documents.counts()
        unfinished = counts[WAITING] + counts[RUNNING] + counts[FETCHED]
        tiles = [tags.div(tags.dt(state), tags.dd(str(count))) for state, count in counts.items()]
        latest = [
            tags.li(
                tags.span(url, class_="url"),
                tags.span(f"{state}, {note}" if note else state, class_="state"),
                class_=state.replace(" ", "-"),
            )
            for url, state, note in self._documents.latest(8)
        ]
        return [
            tags.h2("The crawl goes on" if unfinished else "The crawl"),
            tags.dl(*tiles),
            tags.ol(*latest, class_="latest"),
        ]
