"""
What pages do by themselves, in a browser: C{console.js}.

The browser's clock is set by hand, so that nothing is waited for.
"""

from __future__ import annotations

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.overview import OverviewPage
from gearsvc.console.pages.serving import Asked, Shown
from tests.consoleweb.browser import BrowserCase, Tab


class LiveTests(BrowserCase):
    """
    A page that is open.
    """

    async def watch(self, path: str) -> Tab:
        """
        Open a page, and wait until it follows what happens.
        """
        tab = await self.tab()
        await tab.do(lambda page: page.clock.install())
        await tab.open(path)
        await tab.see(".live.on")
        return tab

    async def test_follows(self) -> None:
        """
        What happens is seen on the page, without its being loaded anew, and not more often than every two seconds.
        """
        await self.open()
        tab = await self.watch("/")
        await tab.evaluate("document.body.dataset.same = 'yes'")
        before = tab.requests.count("/")
        await self.submit(b"resize")
        await self.until_seen(tab, "#functions tbody .name", "resize")
        self.assertEqual(await tab.evaluate("document.body.dataset.same"), "yes")
        self.assertEqual(tab.requests.count("/"), before + 1)

    async def test_keeps(self) -> None:
        """
        What is typed, open, focused and chosen stays while the page around it changes.
        """
        await self.open()
        await self.submit(b"f", b"1")
        tab = await self.watch("/functions/f")
        await tab.click("#clear-form summary")
        await tab.do(lambda page: page.fill("#limit-low", "77"))
        await tab.do(lambda page: page.fill("#clear-confirm", "wro"))
        await tab.evaluate("window.kept = document.activeElement")
        self.assertTrue(await tab.evaluate("document.querySelector('#clear-form button').disabled"))
        await self.submit(b"f", b"2")
        await self.until_seen(tab, ".strip .tile .value", "2")
        self.assertEqual(
            await tab.evaluate(
                "[document.activeElement === window.kept, document.activeElement.value, document.querySelector('#limit-low').value,"
                " document.querySelector('#clear-form').open, document.querySelector('#clear-form button').disabled]"
            ),
            [True, "wro", "77", True, True],
        )
        await tab.do(lambda page: page.fill("#clear-confirm", "f"))
        self.assertFalse(await tab.evaluate("document.querySelector('#clear-form button').disabled"))
        await tab.click("#clear-form button")
        self.assertEqual(await tab.see("#notices"), "2 jobs of f were cancelled.")
        self.assertEqual(await tab.evaluate("location.search"), "")

    async def test_zone(self) -> None:
        """
        Times are in the viewer's zone, and the page says which that is.
        """
        await self.open()

        async def show(page: OverviewPage, asked: Asked) -> Shown:
            return Shown("Times", element("time", "2027-07-15 08:00:00", datetime="2027-07-15T08:00:00Z"))

        self.patch(OverviewPage, "show", show)
        tab = await self.tab(zone="Asia/Tokyo")
        await tab.open("/")
        self.assertEqual(await tab.see("time"), "2027-07-15 17:00:00")
        self.assertEqual(await tab.see("#zone"), "Times are in the zone Asia/Tokyo.")
        plain = await self.tab(scripts=False)
        await plain.open("/")
        self.assertEqual(await plain.see("time"), "2027-07-15 08:00:00")
        self.assertEqual(await plain.see("#zone"), "Times are in UTC.")

    async def test_rests(self) -> None:
        """
        A page that nobody sees asks for nothing; once it is seen again, it is looked at anew.
        """
        await self.open()
        tab = await self.watch("/")
        await self.hide(tab, True)
        await self.until(lambda: not self.streams())
        before = len(tab.requests)
        await tab.do(lambda page: page.clock.fast_forward(60_000))
        self.assertEqual(len(tab.requests), before)
        await self.submit(b"resize")
        await self.hide(tab, False)
        await self.until_seen(tab, "#functions tbody .name", "resize")
        await self.until(lambda: len(self.streams()) == 1)

    async def test_without_events(self) -> None:
        """
        Where no events come, the page asks by itself; where no server is, it says so.
        """
        await self.open()
        tab = await self.tab()
        await tab.do(lambda page: page.clock.install())
        await tab.do(lambda page: page.route("**/events**", lambda route: route.abort()))
        await tab.open("/")
        await self.submit(b"resize")
        await self.until_seen(tab, "#functions tbody .name", "resize", 5000)
        await tab.do(lambda page: page.route("**/", lambda route: route.abort()))
        await self.until_seen(tab, ".live.off", "the server is not there", 5000)
        await tab.do(lambda page: page.unroute("**/"))
        await self.until_seen(tab, ".live.on", "live", 5000)
        tab.wrong = [each for each in tab.wrong if "ERR_FAILED" not in each]

    async def test_logged_out(self) -> None:
        """
        Whose login is over is told, and asks no more.
        """
        path = self.directory() / "tokens"
        path.touch(0o600)
        path.write_text("operator operator-0123456789\n")
        await self.open(console_token_file=str(path))
        tab = await self.tab()
        await tab.do(lambda page: page.clock.install())
        await tab.open("/functions")
        await tab.do(lambda page: page.fill("#token", "operator-0123456789"))
        await tab.click("button")
        self.assertEqual(await tab.see("h1"), "Functions")
        self.console.guard._sessions.clear()
        await self.until_seen(tab, ".live.off", "logged out; load the page anew", 10_000)

    async def test_chart(self) -> None:
        """
        A chart says what was at the time that is pointed at, with the keyboard too.
        """
        await self.open()
        await self.submit(b"f")
        await self.until(lambda: len(self.console.views.moments()) > 0)
        tab = await self.watch("/")
        self.assertEqual(await tab.see("#depth .axis-x span:last-child"), "now")
        await tab.do(lambda page: page.locator("#depth .drawing").hover())
        self.assertRegex(await tab.see("#depth .axis-x span:last-child"), r"\Aat \d\d:\d\d:\d\d\Z")
        self.assertEqual(await tab.evaluate("document.querySelectorAll('#depth .pointer').length"), 1)
        await tab.do(lambda page: page.mouse.move(0, 0))
        self.assertEqual(await tab.see("#depth .axis-x span:last-child"), "now")
        await tab.do(lambda page: page.locator("#depth .drawing").press("ArrowLeft"))
        self.assertRegex(await tab.see("#depth .axis-x span:last-child"), r"\Aat \d\d:\d\d:\d\d\Z")
        await tab.do(lambda page: page.keyboard.press("Tab"))
        self.assertEqual(await tab.see("#depth .axis-x span:last-child"), "now")

    def streams(self) -> list[object]:
        """
        Who reads events.
        """
        return list(self.console.views.series._watchers)

    async def hide(self, tab: Tab, hidden: bool) -> None:
        """
        Let the page be behind another, or before it again.
        """
        said = "true" if hidden else "false"
        await tab.evaluate(
            f"Object.defineProperty(document, 'hidden', {{ value: {said}, configurable: true }});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    async def until_seen(self, tab: Tab, selector: str, text: str, step: int = 1000) -> None:
        """
        Let time pass in the browser until something is to be seen.
        """
        deadline = self.reactor.seconds() + 30
        script = f"[...document.querySelectorAll({selector!r})].map(each => each.textContent)"
        while text not in (seen := await tab.evaluate(script)):
            self.assertLess(self.reactor.seconds(), deadline, seen)
            await tab.do(lambda page: page.clock.fast_forward(step))
