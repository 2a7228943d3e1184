"""
All pages in Chromium: as people use them, with whatever names peers give.
"""

from __future__ import annotations

import re
from typing import Any

from gearsvc.console.values import Name
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import encode
from tests.consoleweb.browser import PHONE, BrowserCase, Tab
from tests.consoleweb.case import HOSTILE

CONTRAST = """
() => {
  const numbers = (colour) => {
    const found = colour.match(/[0-9.e-]+/g).map(Number);
    const scale = colour.startsWith("color(") ? 1 : 255;
    return [...found.slice(0, 3).map((each) => each / scale), found.length > 3 ? found[3] : 1];
  };
  const over = (top, below) => [0, 1, 2].map((each) => top[each] * top[3] + below[each] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => (each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.push(numbers(getComputedStyle(each).backgroundColor));
    }
    return layers.reverse().reduce((below, top) => over(top, below), [1, 1, 1, 1]);
  };
  const poor = [];
  for (const element of document.body.querySelectorAll("*")) {
    const said = [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
    if (!said || element.closest("button:disabled, .hidden, .skip") || !element.checkVisibility()) continue;
    const below = ground(element);
    const [a, b] = [light(over(numbers(getComputedStyle(element).color), below)), light(below)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const named = `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`;
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${named}`);
  }
  return poor;
}
"""
"""
What on a page has less contrast than WCAG's level AA asks for.
"""


class PagesCase(BrowserCase):
    """
    A test with a server on which there is something of everything.
    """

    async def populate(self) -> list[str]:
        """
        Let peers of all kinds come.

        @return: the paths of all pages.
        """
        worker = await self.connect()
        for name in HOSTILE:
            worker.transport.write(encode(Type.CAN_DO, name, REQUEST))
        worker.transport.write(encode(Type.SET_CLIENT_ID, b"<img src=x onerror=alert(1)>", REQUEST))
        await worker.echoes()
        paths = [
            "/",
            "/functions",
            "/jobs",
            "/scheduled",
            "/workers",
            "/workers?show=clients",
            "/workers/1",
            "/nothing",
            "/jobs?older=x",
        ]
        handles = [await self.submit(name, name[:64], name) for name in HOSTILE]
        worker.says(*["GRAB_JOB"] * 3)
        given = [line.split("|")[0].split()[1] for line in await worker.hears_all(3)]
        worker.transport.write(
            encode(Type.WORK_STATUS, given[0].encode() + b"\0<script>alert(1)</script>\0'\"><b>", REQUEST)
            + encode(Type.WORK_STATUS, given[1].encode() + b"\x001\x003", REQUEST)
            + encode(Type.WORK_COMPLETE, given[2].encode() + b"\0</pre><script>alert(1)</script>", REQUEST)
        )
        await worker.echoes()
        client = await self.connect()
        later = int(self.service.job_server.clock.time()) + 5000
        client.transport.write(
            b"".join(
                encode(Type.SUBMIT_JOB_EPOCH, b"%b\0later\0%d\0%b" % (name, later, name), REQUEST) for name in HOSTILE
            )
        )
        await client.hears_all(len(HOSTILE))
        paths += [f"/functions/{Name(name).path}" for name in HOSTILE[:2] + HOSTILE[-1:]]
        paths += [f"/jobs/{Name(handle.encode()).path}?workload=text" for handle in [*given, handles[-1]]]
        paths += ["/jobs?state=completed&state=running&limit=500", f"/jobs?function={Name(HOSTILE[-1]).path}"]
        return paths

    async def everywhere(self, tab: Tab, paths: list[str], look: Any) -> None:
        """
        Look at all pages.
        """
        tab.expected = {400, 404}
        for path in paths:
            await tab.open(path)
            await tab.see("h1")
            await look(path)


class EverywhereTests(PagesCase):
    """
    What is so on every page.
    """

    async def test_hostile(self) -> None:
        """
        No name runs a script, makes an element or breaks the Content-Security-Policy, and no page fails; on a telephone
        none is wider than the window; and all of it can be read.
        """
        await self.open()
        paths = await self.populate()
        tab = await self.tab(size=PHONE)

        async def look(path: str) -> None:
            seen = await tab.evaluate(
                "[document.querySelectorAll('script:not([src^=\"/static/console.js\"])').length,"
                " document.querySelectorAll('img:not([src^=\"/static/\"])').length,"
                " [...document.querySelectorAll('*')].flatMap(each => [...each.attributes])"
                ".filter(each => each.name === 'style' || each.name.startsWith('on')).length,"
                " document.querySelectorAll('h1').length]"
            )
            self.assertEqual(seen, [0, 0, 0, 1], path)
            self.assertEqual(await tab.overflow(), 0, path)
            self.assertEqual(await tab.evaluate(CONTRAST), [], path)

        await self.everywhere(tab, paths, look)
        self.assertEqual(tab.wrong, [])

    async def test_policy(self) -> None:
        """
        A script that got into a page nevertheless would not be run; and a tab would tell of it.
        """
        await self.open()
        tab = await self.tab()
        await tab.open("/")
        await tab.evaluate(
            "(() => { const script = document.createElement('script'), image = document.createElement('img');"
            " script.textContent = 'alert(1)'; document.body.append(script);"
            " image.src = 'https://evil.example/'; document.body.append(image);"
            " document.body.setAttribute('style', 'display: none') })()"
        )
        await tab.see("h1")
        await self.until(lambda: len([each for each in tab.wrong if each.startswith("error: CSP")]) >= 3)
        refused = {each.split()[2] for each in tab.wrong if each.startswith("error: CSP")}
        self.assertEqual(refused, {"script-src-elem", "img-src", "style-src-attr"})
        self.assertEqual([each for each in tab.wrong if each.startswith("dialog")], [])
        # That it was asked for is told, too, though the browser did not.
        self.assertIn("request elsewhere: https://evil.example/", tab.wrong)
        tab.wrong.clear()

    async def test_dark(self) -> None:
        """
        Where the viewer's system is dark, the pages are, and can be read as well.
        """
        await self.open()
        paths = await self.populate()
        tab = await self.tab(dark=True)

        async def look(path: str) -> None:
            self.assertEqual(await tab.evaluate(CONTRAST), [], path)

        # One of each kind.
        await self.everywhere(tab, [*paths[:6], paths[9], paths[12], paths[13]], look)
        ground = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        self.assertLess(max(map(int, re.findall("[0-9]+", ground))), 64, ground)

    async def test_keyboard(self) -> None:
        """
        Everything can be reached and done with the keyboard alone, and one sees where one is.
        """
        await self.open()
        for number in range(3):
            await self.submit(b"f", b"%d" % number)
        tab = await self.tab()
        await tab.open("/jobs?sort=submitted&down=1")
        await tab.see("#jobs tbody tr")
        await tab.press("Tab")
        self.assertEqual(
            await tab.evaluate(
                "[document.activeElement.className, document.activeElement.getBoundingClientRect().top >= 0]"
            ),
            ["skip", True],
        )
        await tab.press("Enter")
        self.assertEqual(await tab.evaluate("document.activeElement.id"), "main")
        reached = []
        for _ in range(60):
            await tab.press("Tab")
            here = await tab.evaluate(
                "(() => { const here = document.activeElement, style = getComputedStyle(here.closest('label') || here);"
                " return [here.tagName, here.name || here.textContent.trim(),"
                " getComputedStyle(here).outlineStyle !== 'none' || style.outlineStyle !== 'none'] })()"
            )
            if here[0] == "BODY":
                break
            self.assertTrue(here[2], here)
            reached.append(here[1])
        for wanted in (
            "function",
            "state",
            "Search",
            "job",
            "Submitted",
            "Cancel all that this search finds",
            "Submit a job",
        ):
            self.assertIn(wanted, reached)
        # The head of the column, a box, and what opens.
        await tab.do(lambda page: page.focus("th a"))
        await tab.press("Enter")
        await tab.see('th[aria-sort="ascending"]')
        await tab.do(lambda page: page.focus("#jobs tbody input"))
        await tab.press(" ")
        self.assertEqual(await tab.see(".chosen [data-count]"), "1 chosen")
        await tab.do(lambda page: page.focus("#submit-form summary"))
        await tab.press("Enter")
        await tab.see("#new-workload")


class WithoutScriptsTests(PagesCase):
    """
    The pages in a browser that runs no scripts.
    """

    async def test_use(self) -> None:
        """
        Jobs are looked for, chosen, cancelled, submitted and looked at, and functions paused, without any script.
        """
        await self.open()
        for number in range(4):
            await self.submit(b"resize", b"%d" % number)
        await self.submit(b"mail")
        tab = await self.tab(scripts=False)
        await tab.open("/")
        await tab.click("nav a >> text=Jobs")
        await tab.do(lambda page: page.fill("#function", "resize"))
        await tab.do(lambda page: page.check("input[value=queued]"))
        await tab.click("#search button")
        self.assertEqual(await tab.see("#summary"), "4 jobs")
        await tab.do(lambda page: page.locator("#jobs tbody input").first.check())
        await tab.click("text=Cancel the chosen jobs")
        self.assertEqual(await tab.see("#notices"), "1 job was cancelled.")
        self.assertEqual(await tab.see("#summary"), "3 jobs")
        self.assertFalse(await tab.do(lambda page: page.is_visible("text=All of this page")))
        tab.expected = {409}
        await tab.click("#cancel-all-form summary")
        await tab.do(lambda page: page.fill("#cancel-all-confirm", "mail"))
        await tab.click("#cancel-all-form button")
        self.assertEqual(await tab.see("[role=alert]"), "Nothing was done: to confirm, type 'resize'.")
        await tab.click("#cancel-all-form summary")
        await tab.do(lambda page: page.fill("#cancel-all-confirm", "resize"))
        await tab.click("#cancel-all-form button")
        self.assertEqual(await tab.see("#notices"), "3 jobs were cancelled.")
        await tab.click("text=Everything")
        await tab.click("#submit-form summary")
        await tab.do(lambda page: page.fill("#new-function", "mail"))
        await tab.do(lambda page: page.fill("#new-workload", "two\nlines"))
        await tab.click("#submit-form button")
        self.assertEqual(await tab.see("#notices"), "The job is submitted.")
        self.assertEqual(await tab.see("#workload-card code"), "two\nlines")
        await tab.click("text=Hex")
        self.assertIn("74 77 6f 0a 6c 69 6e 65", await tab.see("#workload-card code"))
        await tab.click("#facts a >> text=mail")
        await tab.click("text=Pause")
        self.assertIn("is paused", await tab.see("#notices"))
        self.assertTrue(self.service.job_server.functions[b"mail"].paused)


class WithScriptsTests(PagesCase):
    """
    What a script adds.
    """

    async def test_live(self) -> None:
        """
        A job that comes is there by itself; what was chosen and typed before stays.
        """
        await self.open()
        await self.submit(b"f", b"1")
        tab = await self.tab()
        await tab.open("/jobs")
        await tab.see(".live.on")
        await tab.evaluate("document.body.dataset.same = 'yes'")
        await tab.do(lambda page: page.check("#jobs tbody input"))
        await tab.do(lambda page: page.fill("#unique", "half-typ"))
        await self.submit(b"f", b"2")
        await tab.see("#jobs tbody tr >> nth=1")
        self.assertEqual(
            await tab.evaluate(
                "[[...document.querySelectorAll('#jobs tbody input')].map(each => each.checked),"
                " document.querySelector('#unique').value]"
            ),
            [[False, True], "half-typ"],
        )
        self.assertEqual(await tab.evaluate("document.body.dataset.same"), "yes")

    async def test_choose(self) -> None:
        """
        All jobs of a page are chosen with one click, and there is nothing to press while none is.
        """
        await self.open()
        for number in range(3):
            await self.submit(b"f", b"%d" % number)
        tab = await self.tab()
        await tab.open("/jobs")
        self.assertTrue(await tab.do(lambda page: page.is_disabled("text=Cancel the chosen jobs")))
        await tab.click("text=All of this page")
        self.assertEqual(await tab.see(".chosen [data-count]"), "3 chosen")
        await tab.do(lambda page: page.locator("#jobs tbody input").first.uncheck())
        self.assertEqual(await tab.see(".chosen [data-count]"), "2 chosen")
        self.assertTrue(await tab.evaluate("document.querySelector('[data-all]').indeterminate"))
        await tab.click("text=Cancel the chosen jobs")
        self.assertEqual(await tab.see("#notices"), "2 jobs were cancelled.")
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_confirm(self) -> None:
        """
        What can't be undone can be pressed once the name is typed in.
        """
        await self.open()
        await self.submit(b"resize")
        tab = await self.tab()
        await tab.open("/jobs?function=resize")
        await tab.click("#cancel-all-form summary")
        for typed, disabled in (("", True), ("resiz", True), ("resize", False)):
            await tab.do(lambda page: page.fill("#cancel-all-confirm", typed))
            self.assertEqual(await tab.do(lambda page: page.is_disabled("#cancel-all-form button")), disabled)
        await tab.press("Enter", "#cancel-all-confirm")
        self.assertEqual(await tab.see("#notices"), "1 job was cancelled.")
