"""
The overview, and what all pages have in common.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from gearsvc import __version__
from gearsvc.console.pages import serving, tree
from gearsvc.console.pages.serving import Asked, Notices, Page, Shown
from tests.consoleweb.case import HOSTILE, MoodyStore
from tests.consoleweb.pages import PageCase, facts, find, forms, links, rows, text_of, tiles, with_class

OPERATOR = "operator-0123456789"
VIEWER = "viewer-0123456789"


class OverviewTests(PageCase):
    """
    C{/}
    """

    async def test_empty(self) -> None:
        """
        A server that has done nothing says how to begin, with its own port.
        """
        await self.open(port=("0",))
        page = await self.page("/")
        self.assertEqual(text_of(next(page.iter("title"))), "Overview - gearsvc")
        self.assertEqual(
            tiles(page),
            {
                "Waiting": "0",
                "Running": "0",
                "Oldest waits": "–",
                "Done": "0/s",
                "Failed": "–",
                "Workers busy": "0 of 0",
                "Store": "memory",
                "Balance": "0",
            },
        )
        self.assertIn("Nothing needs attention.", text_of(find(page, "attention")))
        self.assertIn("gearman -p 0 -w -f reverse", text_of(find(page, "functions")))
        self.assertIn(f"gearsvc {__version__}", text_of(with_class(page, "end")[0]))

    async def test_busy(self) -> None:
        """
        What waits, what runs, who works and what became of all jobs is there, and the sums are right.
        """
        await self.open()
        worker = await self.worker("resize")
        for number in range(3):
            await self.submit(b"resize", b"u%d" % number)
        await self.submit(b"alone")
        worker.says("GRAB_JOB")
        handle = (await worker.hears()).split()[1].split("|")[0]
        page = await self.page("/")
        seen = tiles(page)
        self.assertEqual((seen["Waiting"], seen["Running"], seen["Workers busy"]), ("3", "1", "1 of 1"))
        self.assertEqual([row[:3] for row in rows(page, "functions")], [["resize", "2", "1"], ["alone no worker", "1", "0"]])
        attention = text_of(find(page, "attention"))
        self.assertIn("alone: 1 job waits, and no worker can do it. Start a worker that can do it, or clear it. Its jobs", attention)
        worker.says(f"WORK_FAIL {handle}")
        await self.until(lambda: not self.service.job_server.running)
        page = await self.page("/")
        known = facts(find(page, "accounts"))
        self.assertEqual((known["Submitted"], known["Failed"], known["Still there"]), ("4", "1 1 fail", "3"))
        self.assertEqual(known["Unaccounted for"], "0")

    async def test_charts(self) -> None:
        """
        The charts say in words, too, what they show.
        """
        await self.open()
        await self.submit(b"f")
        await self.until(lambda: len(self.console.views.moments()) > 0)
        page = await self.page("/")
        for key, said in (
            ("throughput", r"Jobs a second, the last ten minutes\. Submitted: [\d.]+ now"),
            ("waits", r"Waiting time, the last ten minutes\. Nothing happened\."),
            ("depth", r"Jobs there, the last ten minutes\. Waiting: 1 now, from 1 to 1\. Running: 0 now"),
        ):
            (drawing,) = find(page, key).iter("svg")
            self.assertRegex(drawing.get("aria-label", ""), said)

    async def test_store(self) -> None:
        """
        A store that fails is the first thing that one sees.
        """
        store = MoodyStore()
        await self.open(store)
        self.assertEqual(tiles(await self.page("/"))["Store"], "up")
        store.break_down("the disk is full")
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        await client.hears()
        page = await self.page("/")
        self.assertEqual(tiles(page)["Store"], "fails")
        first = find(page, "attention").find("ul/li")
        assert first is not None
        self.assertIn("The store fails: the disk is full", text_of(first))

    async def test_many(self) -> None:
        """
        Of many things of one kind to look at the first are shown, and the others can be; of many functions there is a link to all.
        """
        await self.open()
        for number in range(12):
            await self.submit(b"f%d" % number)
        await self.done("/functions/f7", action="drain")
        page = await self.page("/")
        attention = find(page, "attention")
        self.assertEqual(text_of(with_class(attention, "count")[0]), "13")
        self.assertEqual(len(attention.findall("ul/li")), 4)
        self.assertEqual(text_of(find(page, "attention-more").find("summary")), "9 more")  # type: ignore[arg-type]
        self.assertEqual(len(rows(page, "functions")), 8)
        self.assertIn("All 12", text_of(find(page, "functions")))

    async def test_hostile(self) -> None:
        """
        No name can be anything but text.
        """
        await self.open()
        for name in HOSTILE:
            await self.submit(name)
        page = await self.page("/")
        self.assertEqual(tiles(page)["Waiting"], str(len(HOSTILE)))
        self.assertIn("<script>alert(1)</script>: 1 job waits", text_of(find(page, "attention")))


class SiteTests(PageCase):
    """
    What all pages have in common.
    """

    async def test_navigation(self) -> None:
        """
        Every page of the navigation is there, and marks where one is.
        """
        await self.open()
        page = await self.page("/")
        bar = next(page.iter("nav"))
        for path in links(bar):
            if path == "/metrics":
                self.assertEqual((await self.ask("GET", path)).status, 200)
                continue
            there = await self.page(path)
            (current,) = [each for each in next(there.iter("nav")).iter("a") if each.get("aria-current") == "page"]
            self.assertEqual(current.get("href"), path)

    async def test_nothing(self) -> None:
        """
        Where there is nothing a person gets a page that says so, and a program one line.
        """
        await self.open()
        for path in ("/nothing", "/functions/f/g", "//healthz", "/functions/", "/Overview", "/%00", "/static"):
            answer = await self.ask("GET", path)
            self.assertEqual(answer.status, 404 if path != "/functions/" else 200, path)
        self.assertEqual((await self.ask("GET", "/nothing")).body, b"There is nothing at this path.\n")
        page = await self.page("/nothing", 404)
        self.assertEqual(self.notice(page), "There is nothing at this path.")
        self.assertIn("/functions", links(page))
        answer = await self.send("/nothing", action="pause")
        self.assertEqual(self.notice(self.read(answer, 404)), "There is nothing at this path.")

    async def test_bad_segment(self) -> None:
        """
        A name in a path that is none is refused in one line.
        """
        await self.open()
        answer = await self.ask("GET", "/functions/~a")
        self.assertEqual(answer.status, 400)
        self.assertIn(b"has to be base64", answer.body)

    async def test_unknown_form(self) -> None:
        """
        A form that a page does not have does nothing.
        """
        await self.open()
        for fields in ({}, {"action": "explode"}, {"action": "\xff"}):
            answer = await self.send("/", **fields)
            self.assertIn("This form is none that the page has", self.notice(self.read(answer, 400)))

    async def test_head(self) -> None:
        """
        What would be there can be asked for without it.
        """
        await self.open()
        answer = await self.ask("HEAD", "/")
        self.assertEqual((answer.status, answer.body), (200, b""))

    async def test_mistake(self) -> None:
        """
        A mistake in a page is logged, and is no traceback on it.
        """
        await self.open()

        async def show(self: Page, asked: Asked) -> Shown:
            raise ZeroDivisionError("secret")

        self.patch(tree.OverviewPage, "show", show)
        page = await self.page("/", 500)
        self.assertEqual(self.notice(page), "The console made a mistake; the server's log has more.")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_mistake_in_writing(self) -> None:
        """
        Neither is one that shows only while the page is written.
        """
        await self.open()

        async def show(self: Page, asked: Asked) -> Shown:
            unknown: Any = object()
            return Shown("x", unknown)

        self.patch(tree.OverviewPage, "show", show)
        answer = await self.ask("GET", "/")
        self.assertEqual((answer.status, answer.body), (500, b"The console made a mistake; the server's log has more.\n"))
        (failure,) = self.flushLoggedErrors()
        self.assertIn("object", str(failure.value))

    async def test_gone_meanwhile(self) -> None:
        """
        Who goes away while a page is looked up or written ends the work, and that is no mistake.
        """
        await self.open()
        self.patch(serving, "SLICE", 0.0)
        begun: list[Deferred[str]] = []
        ended: list[None] = []
        made: list[int] = []

        async def look_up(page: Page, asked: Asked) -> Shown:
            begun.append(Deferred(lambda _: ended.append(None)))
            return Shown("x", await begun[0])

        async def write(page: Page, asked: Asked) -> Shown:
            return Shown("x", asked.breathing(made.append(number) or "x" for number in range(100_000)))

        for show, is_begun in ((look_up, begun), (write, made)):
            self.patch(tree.OverviewPage, "show", show)
            peer = await self.connect_to_console()
            peer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await self.until(lambda: bool(is_begun))
            peer.abortConnection()
            await self.until(lambda: not self.console._connections.protocols)
            await self.turns()
        self.assertEqual(len(ended), 1)
        there = len(made)
        await self.turns(20)
        self.assertEqual(len(made), there)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def connect_to_console(self) -> Any:
        """
        A connection that says nothing by itself.
        """
        endpoint = HostnameEndpoint(self.reactor, "127.0.0.1", self.port)
        return (await connectProtocol(endpoint, Protocol())).transport

    async def test_viewer(self) -> None:
        """
        A viewer sees everything and no form but the one to leave; what such a form would send is refused.
        """
        await self._with_tokens()
        await self.submit(b"f")
        viewer = {"Cookie": await self._log_in(VIEWER)}
        for path in ("/", "/functions", "/functions/f"):
            page = await self.page(path, **viewer)
            self.assertEqual(forms(page), {})
            self.assertEqual([form.get("action") for form in page.iter("form") if form.get("method") == "post"], ["/logout"])
            self.assertEqual(text_of(with_class(page, "role")[0]), "viewer")
        answer = await self.send("/functions/f", viewer, action="pause")
        self.assertEqual(answer.status, 403)
        self.assertFalse(self.service.job_server.functions[b"f"].paused)

    async def test_operator(self) -> None:
        """
        An operator who has logged in sees forms, and they do something.
        """
        await self._with_tokens()
        await self.submit(b"f")
        operator = {"Cookie": await self._log_in(OPERATOR)}
        self.assertIn("pause", forms(await self.page("/functions/f", **operator)))
        page = await self.done("/functions/f", operator, action="pause")
        self.assertIn("f is paused", self.notice(page))

    async def test_nobody(self) -> None:
        """
        Who has not logged in is sent to where one does, and from there back.
        """
        await self._with_tokens()
        answer = await self.ask("GET", "/functions?sort=name", headers={"Accept": "text/html"})
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login?next=%2Ffunctions%3Fsort%3Dname"))
        page = await self.page(answer.headers["location"])
        (back,) = [each.get("value") for each in page.iter("input") if each.get("name") == "next"]
        self.assertEqual(back, "/functions?sort=name")
        answer = await self.send("/login", token="wrong", next="/")
        page = self.read(answer, 403)
        self.assertEqual(text_of(find(page, "problem")), "This is none of the console's tokens.")
        self.assertEqual(find(page, "token").get("aria-invalid"), "true")

    async def _with_tokens(self) -> None:
        path = self.directory() / "tokens"
        path.touch(0o600)
        path.write_text(f"viewer {VIEWER}\noperator {OPERATOR}\n")
        await self.open(console_token_file=str(path))

    async def _log_in(self, token: str) -> str:
        answer = await self.send("/login", token=token)
        self.assertEqual(answer.status, 303)
        return answer.headers["set-cookie"].partition(";")[0]


class NoticeTests(PageCase):
    """
    What came of a change.
    """

    async def test_not_from_links(self) -> None:
        """
        No link can make a page say something.
        """
        await self.open()
        self.assertEqual(self.notice(await self.page("/?done=All+is+lost")), "")

    def test_forgotten(self) -> None:
        """
        A notice is there for a minute, and among the last hundred.
        """
        now = [0.0]
        notices = Notices(lambda: now[0])
        first = notices.keep("first")
        self.assertEqual(notices.find(first), "first")
        now[0] = 59.0
        self.assertEqual(notices.find(first), "first")
        second = notices.keep("second")
        now[0] = 60.0
        self.assertEqual((notices.find(first), notices.find(second)), ("", "second"))
        for _ in range(100):
            notices.keep("more")
        self.assertEqual(notices.find(second), "")
        self.assertTrue(re.fullmatch(r"[A-Za-z0-9_-]{12}", first))
