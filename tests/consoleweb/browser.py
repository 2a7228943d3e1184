"""
The console's pages in a real browser: Debian's Chromium, without a window,
driven by playwright.

One browser serves all tests of a process.  What drives it blocks, so it lives
in a thread of its own, and the reactor goes on meanwhile::

    tab = await self.tab()
    await tab.open("/jobs")
    await tab.do(lambda page: page.click("text=Search"))

Each L{Tab} is a browser of its own as far as cookies go, and writes down what
must never happen: a script that is not the console's, an error in one that is,
a rule of the Content-Security-Policy that is broken, a request that fails or
that goes elsewhere.
"""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from playwright.sync_api import ConsoleMessage, Dialog, Page, Request, Response, sync_playwright
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.consoleweb.case import ConsoleCase

T = TypeVar("T")

PATIENCE = 60.0
"""
How many seconds anything in the browser may take before it counts as hung.
"""

DESKTOP = (1280, 900)
PHONE = (360, 740)
"""
Sizes of windows.
"""


class Browser(Thread):
    """
    The browser, and the thread in which it is driven.
    """

    def __init__(self) -> None:
        super().__init__(name="browser", daemon=True)
        self._orders: SimpleQueue[tuple[Callable[[Any], Any], Callable[[Any], None]] | None] = SimpleQueue()

    def run(self) -> None:
        """
        Start it, and do what is asked for.
        """
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            self._refuse(AssertionError("there is no chromium; run tests/install-test-dependencies.sh"))
            return
        with sync_playwright() as playwright:
            # Root may not have Chromium's sandbox, and needs none of this machine's own pages.
            options = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = playwright.chromium.launch(executable_path=program, args=[*options, "--disable-dev-shm-usage"])
            while (order := self._orders.get()) is not None:
                call, answer = order
                outcome: Any
                try:
                    outcome = call(chromium)
                except BaseException:
                    # Whoever asked for it is told.
                    outcome = Failure()
                answer(outcome)
            chromium.close()

    def _refuse(self, error: Exception) -> None:
        while (order := self._orders.get()) is not None:
            order[1](Failure(error))

    def ask(self, call: Callable[[Any], T]) -> Deferred[T]:
        """
        Call something with the browser, in its thread.

        @return: fires, in the reactor's, with what it returns.
        """
        from twisted.internet import reactor

        loop: Any = reactor
        done: Deferred[T] = Deferred()
        self._orders.put((call, lambda outcome: loop.callFromThread(done.callback, outcome)))
        return done

    def close(self) -> None:
        """
        Close it, and wait until it is gone.
        """
        self._orders.put(None)
        self.join(PATIENCE)


_browser: Browser | None = None


def browser() -> Browser:
    """
    The browser of this process, which is started the first time.
    """
    global _browser
    if _browser is None:
        _browser = Browser()
        _browser.start()
        atexit.register(_browser.close)
    return _browser


class Tab:
    """
    A window of the browser's, with cookies of its own.

    @ivar wrong: what must not have happened, and did.
    @ivar requests: the paths of all requests that were made.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.expected: set[int] = set()
        self._context: Any = None
        self._page: Any = None

    def make(self, chromium: Any, scripts: bool, dark: bool, size: tuple[int, int], zone: str) -> None:
        """
        Open it.  To be called in the browser's thread, as is all that is below L{do}.
        """
        width, height = size
        self._context = chromium.new_context(
            base_url=self.base,
            java_script_enabled=scripts,
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": height},
            timezone_id=zone,
            locale="en-GB",
            reduced_motion="reduce",
        )
        self._context.set_default_timeout(PATIENCE * 1000)
        page: Page = self._context.new_page()
        self._page = page
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self._asked)
        page.on("request", self._requested)
        page.on("response", self._answered)
        if scripts:
            page.add_init_script(
                "document.addEventListener('securitypolicyviolation',"
                " each => console.error('CSP', each.violatedDirective, each.blockedURI, each.sample))"
            )

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            # The status of an answer is looked at where it comes in.
            if not message.text.startswith("Failed to load resource: the server responded"):
                self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        if not request.url.startswith(self.base + "/"):
            self.wrong.append(f"request elsewhere: {request.url}")
        self.requests.append(request.url.removeprefix(self.base))

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.wrong.append(f"{response.status} of {response.url}")

    async def do(self, call: Callable[[Any], T]) -> T:
        """
        Do something with playwright's page.
        """
        return await browser().ask(lambda chromium: call(self._page))

    async def open(self, path: str) -> None:
        """
        Go to a path of the console's.
        """
        await self.do(lambda page: page.goto(path))

    async def see(self, selector: str) -> str:
        """
        Wait until something is to be seen.

        @return: its text.
        """

        def look(page: Any) -> str:
            found = page.locator(selector).first
            found.wait_for()
            text: str = found.inner_text()
            return text

        return await self.do(look)

    async def click(self, selector: str) -> None:
        """
        Click at something, once it can be seen.
        """
        await self.do(lambda page: page.locator(selector).first.click())

    async def press(self, key: str, selector: str = "") -> None:
        """
        Press a key: where the focus is, or somewhere else.
        """
        await self.do(lambda page: page.press(selector, key) if selector else page.keyboard.press(key))

    async def evaluate(self, script: str) -> Any:
        """
        The value of an expression of JavaScript.
        """
        return await self.do(lambda page: page.evaluate(script))

    async def overflow(self) -> int:
        """
        By how many pixels the page is wider than the window.
        """
        width: int = await self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    async def shoot(self, path: str, whole: bool = False) -> None:
        """
        Take a picture.

        @param whole: of the whole page, and not only of what fits the window.
        """
        await self.do(lambda page: page.screenshot(path=path, full_page=whole))

    async def close(self) -> None:
        """
        Close it.
        """
        if self._context is not None:
            await browser().ask(lambda chromium: self._context.close())


class BrowserCase(ConsoleCase):
    """
    A test of the console in a browser.
    """

    # Where the machine is busy, a browser is the first to be slow.
    timeout = 300

    async def tab(
        self, scripts: bool = True, dark: bool = False, size: tuple[int, int] = DESKTOP, zone: str = "Europe/Berlin"
    ) -> Tab:
        """
        A new window.  When the test is over, nothing may have gone wrong in it.

        @param scripts: whether scripts are run.
        """
        tab = Tab(f"http://127.0.0.1:{self.port}")
        await browser().ask(lambda chromium: tab.make(chromium, scripts, dark, size, zone))

        async def end() -> None:
            await tab.close()
            self.assertEqual(tab.wrong, [])

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        return tab
