"""
L{examples.narada.searchpage}, served, with a search that is not there.
"""

from __future__ import annotations

import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.server import Site

from examples.narada.documents import FAILED, MARK_BEGIN, MARK_END, Documents, Limits, Row
from examples.narada.searchpage import SearchPage
from gearsvc.client import ServerUnavailable
from tests.running import HOST

EVIL = "<script>alert(1)</script>\"'&"


class Elements(HTMLParser):
    """
    What elements a page has, and what their attributes say.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Note it.
        """
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """
        Note it.
        """
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """
        The attributes of each element of a kind.
        """
        return [attributes for name, attributes in self.found if name == tag]


class SearchPageTests(TestCase):
    """
    The page.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Serve it.
        """
        from twisted.internet import reactor

        self.reactor: Any = reactor
        directory = Path(tempfile.mkdtemp(prefix="narada-test-"))
        self.addCleanup(shutil.rmtree, directory)
        self.documents = Documents(directory / "narada.db")
        self.addCleanup(self.documents.close)
        self.asked: list[tuple[str, int, int]] = []
        self.answer: dict[str, Any] | Exception = {"total": 0, "found": []}
        listening = self.reactor.listenTCP(0, Site(SearchPage(self.search, self.documents)), interface=HOST)
        self.addCleanup(listening.stopListening)
        self.base = f"http://{HOST}:{listening.getHost().port}"

    async def search(self, query: str, limit: int, offset: int) -> dict[str, Any]:
        """
        Answer as the search worker would.
        """
        self.asked.append((query, limit, offset))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def get(self, path: str, status: int = 200) -> Elements:
        """
        Request something of it.
        """
        response = await Agent(self.reactor).request(b"GET", (self.base + path).encode())
        self.assertEqual(response.code, status)
        self.assertIn("script-src 'self'", response.headers.getRawHeaders("content-security-policy")[0])
        return Elements((await readBody(response)).decode())

    async def test_search(self) -> None:
        """
        What was found is shown with its link and the words marked, and the query is still in the box.
        """
        found = {"url": "http://h/", "title": f"A {MARK_BEGIN}leek{MARK_END}", "excerpt": f"…of {MARK_BEGIN}leeks{MARK_END} and"}
        self.answer = {"total": 1, "found": [found]}
        page = await self.get("/?q=" + quote("leek é"))
        self.assertEqual(self.asked, [("leek é", 10, 0)])
        self.assertIn("1 document matched", page.text)
        self.assertIn("…of leeks and", page.text)
        self.assertEqual(len(page.all("mark")), 2)
        self.assertIn("http://h/", [each["href"] for each in page.all("a")])
        self.assertEqual([each["value"] for each in page.all("input")], ["leek é"])

    async def test_pages(self) -> None:
        """
        Where there is more than fits, there are links to what comes before and after.
        """
        self.answer = {"total": 25, "found": []}
        page = await self.get("/?q=a%26b&page=2")
        self.assertEqual(self.asked, [("a&b", 10, 10)])
        links = [each["href"] for each in page.all("a")]
        self.assertIn("/?q=a%26b", links)
        self.assertIn("/?q=a%26b&page=3", links)
        for number, offset in (("3", 20), ("x", 0), ("-1", 0), ("9" * 99, 0), ("", 0)):
            page = await self.get(f"/?q=a&page={number}")
            self.assertEqual(self.asked[-1][2], offset)

    async def test_everything_is_escaped(self) -> None:
        """
        Nothing that a page, a URL or a query says becomes a part of the page that shows it.
        """
        self.answer = {"total": 1, "found": [{"url": "http://h/" + EVIL, "title": EVIL, "excerpt": f"{MARK_BEGIN}{EVIL}{MARK_END}"}]}
        self.documents.set_limits("http://h/", Limits(1, 9, 0))
        row = self.documents.insert("http://h/" + EVIL, 0)
        assert isinstance(row, Row)
        self.documents.give_up(row, FAILED, EVIL)
        page = await self.get("/?q=" + quote(EVIL))
        self.assertEqual([each.get("src") for each in page.all("script")], ["/script.js"])
        # The page's title; title, URL and excerpt of what was found; URL and note of the crawl.
        self.assertEqual(page.text.count(EVIL), 6)
        self.answer = {"error": EVIL}
        self.assertIn(EVIL, (await self.get("/?q=a")).text)

    async def test_no_search(self) -> None:
        """
        If no worker answers, the page says so, and shows the progress all the same; without a query, nobody is asked.
        """
        self.answer = ServerUnavailable("the job server is not there")
        page = await self.get("/?q=a", status=503)
        self.assertIn("the job server is not there", page.text)
        self.assertIn("indexed", page.text)
        await self.get("/?q=+")
        self.assertEqual(len(self.asked), 1)

    async def test_progress(self) -> None:
        """
        How many URLs are of each state, and what happened last, is on the page, and by itself for the script.
        """
        self.documents.set_limits("http://h/", Limits(1, 9, 0))
        for path in ("a", "b", "c"):
            self.documents.insert(f"http://h/{path}", 0)
        row = self.documents.begin("http://h/a")
        assert row is not None
        self.documents.give_up(row, FAILED, "404")
        for path in ("/", "/progress"):
            page = await self.get(path)
            self.assertIn("The crawl goes on", page.text)
            self.assertRegex(page.text, r"waiting\s*2\s*running\s*0.*failed\s*1\s*http://h/a\s*failed, 404")
        self.assertEqual(page.all("form"), [])

    async def test_nothing_else(self) -> None:
        """
        There is nothing else to be had.
        """
        await self.get("/narada.db", status=404)
        await self.get("/style.css")
        await self.get("/script.js")
