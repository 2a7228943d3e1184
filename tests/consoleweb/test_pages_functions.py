"""
The page of all functions and that of one, and what can be done there.
"""

from __future__ import annotations

from urllib.parse import quote

from gearsvc.console.pages import functions
from gearsvc.console.values import Name
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import encode
from tests.consoleweb.case import HOSTILE, WITH_NUL, MoodyStore
from tests.consoleweb.pages import PageCase, facts, find, forms, links, rows, text_of, tiles, with_class


class FunctionsTests(PageCase):
    """
    C{/functions}
    """

    async def test_empty(self) -> None:
        """
        Without any function the page says when there is one.
        """
        await self.open()
        page = await self.page("/functions")
        self.assertIn("There are no functions", text_of(with_class(page, "empty")[0]))

    async def test_sorted(self) -> None:
        """
        The most jobs that wait come first unless one wants another order, whose link turns it around when it is there.
        """
        await self.open()
        for name, number in ((b"a", 2), (b"b", 3), (b"c", 0), (b"d", 2)):
            for each in range(number):
                await self.submit(name, b"%d" % each)
        await self.worker("c")

        async def order(query: str) -> list[str]:
            page = await self.page(f"/functions{query}")
            (current,) = [each for each in page.iter("th") if each.get("aria-sort")]
            self.turned = current.find("a").get("href")  # type: ignore[union-attr]
            return [row[0].split()[0] for row in rows(page, "functions-table")]

        self.assertEqual(await order(""), ["b", "a", "d", "c"])
        self.assertEqual(self.turned, "/functions?sort=waiting")
        self.assertEqual(await order("?sort=waiting"), ["c", "a", "d", "b"])
        self.assertEqual(self.turned, "/functions?sort=waiting&down=1")
        self.assertEqual(await order("?sort=name"), ["a", "b", "c", "d"])
        self.assertEqual(await order("?sort=name&down=1"), ["d", "c", "b", "a"])
        self.assertEqual(await order("?sort=workers&down=1"), ["c", "a", "b", "d"])
        for key in ("running", "delayed", "oldest", "rate", "failures"):
            self.assertEqual(len(await order(f"?sort={key}&down=1")), 4)
        self.assertEqual(await order("?sort=nonsense&down=0"), ["b", "a", "d", "c"])

    async def test_search(self) -> None:
        """
        Those whose names hold something can be found, in any case of letters; the search keeps the order.
        """
        await self.open()
        for name in (b"Resize", b"resize.large", b"mail"):
            await self.submit(name)
        page = await self.page("/functions?q=RESIZE&sort=name")
        self.assertEqual([row[0].split()[0] for row in rows(page, "functions-table")], ["Resize", "resize.large"])
        self.assertEqual(find(page, "q").get("value"), "RESIZE")
        self.assertIn("/functions?q=RESIZE&sort=waiting&down=1", links(page))
        self.assertIn(("sort", "name"), [(each.get("name"), each.get("value")) for each in page.iter("input")])
        page = await self.page("/functions?q=" + quote("<b>&'\""))
        self.assertIn("No function's name holds this.", text_of(with_class(page, "empty")[0]))
        self.assertEqual(find(page, "q").get("value"), "<b>&'\"")

    async def test_pages(self) -> None:
        """
        Many functions are on several pages, each of them on one.
        """
        self.patch(functions, "PER_PAGE", 2)
        await self.open()
        for number in range(5):
            await self.submit(b"f%d" % number)
        path, seen = "/functions?sort=name", []
        while True:
            page = await self.page(path)
            seen += [row[0].split()[0] for row in rows(page, "functions-table")]
            following = [each.get("href", "") for each in page.iter("a") if each.get("rel") == "next"]
            if not following:
                break
            (path,) = following
        self.assertEqual(seen, ["f0", "f1", "f2", "f3", "f4"])
        self.assertEqual(path, "/functions?sort=name&page=3")
        self.assertEqual(text_of(with_class(page, "paging")[0]), "Previous5 to 5 of 5")
        for query in ("?page=0", "?page=-1", "?page=x", "?page=", "?page=1&page=2"):
            self.assertEqual(len(rows(await self.page(f"/functions{query}"), "functions-table")), 2)
        page = await self.page("/functions?page=99999999999999999999")
        self.assertEqual(len(rows(page, "functions-table")), 2)

    async def test_pause_and_come_back(self) -> None:
        """
        A function is paused in the list, which is shown again as it was.
        """
        await self.open()
        await self.submit(b"f")
        page = await self.page("/functions?sort=name")
        (form,) = [each for each in page.iter("form") if each.get("method") == "post"]
        fields = {each.get("name", ""): each.get("value", "") for each in form.iter("input")}
        self.assertEqual(fields, {"action": "pause", "back": "/functions?sort=name"})
        answer = await self.send(form.get("action", ""), **fields)
        self.assertRegex(answer.headers["location"], r"\A/functions\?sort=name&done=")
        page = await self.page(answer.headers["location"])
        self.assertEqual(self.notice(page), "f is paused: its jobs stay, and none is handed out.")
        self.assertEqual([row[0] for row in rows(page, "functions-table")], ["f paused"])
        for elsewhere in ("//evil.example/", "https://evil.example/", "/\\evil.example", "/a\r\nSet-Cookie: a=b"):
            answer = await self.send("/functions/f", action="resume", back=elsewhere)
            self.assertRegex(answer.headers["location"], r"\A/\?done=")

    async def test_hostile(self) -> None:
        """
        Each name is text, and its link leads to the page of the function that has it.
        """
        await self.open()
        for name in HOSTILE:
            await self.submit(name)
        page = await self.page("/functions?sort=name")
        self.assertEqual(len(rows(page, "functions-table")), len(HOSTILE))
        for name in HOSTILE:
            path = f"/functions/{Name(name).path}"
            self.assertIn(path, links(page))
            one = await self.page(path)
            (heading,) = one.iter("h1")
            self.assertEqual("only begins like this" in text_of(find(one, "state")), len(Name(name)) > 200)
            self.assertTrue(text_of(heading).startswith(" ".join(str(Name(name))[:50].split())), heading)
            self.assertEqual(tiles(one)["Waiting"], "1")


class FunctionTests(PageCase):
    """
    C{/functions/NAME}
    """

    async def test_unknown(self) -> None:
        """
        What is not there is said not to be there.
        """
        await self.open()
        page = await self.page("/functions/%3Cb%3E", 404)
        self.assertEqual(self.notice(page), "There is no function '<b>'.")
        self.assertEqual(self.notice(self.read(await self.send("/functions/f", action="pause"), 404)), "There is no function 'f'.")

    async def test_shown(self) -> None:
        """
        Its jobs, its workers and what became of its jobs are there, and nothing of another function.
        """
        await self.open()
        worker = await self.worker("f", "g")
        handles = [await self.submit(b"f", b"%d" % number) for number in range(12)]
        await self.submit(b"g")
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_STATUS {handles[0]}|1|4")
        await self.until(lambda: any(job.progress for job in self.service.job_server.jobs.values()))
        page = await self.page("/functions/f")
        seen = tiles(page)
        self.assertEqual((seen["Waiting"], seen["Running"], seen["Workers busy"]), ("11", "1", "1 of 1"))
        jobs = rows(page, "jobs")
        self.assertEqual([row[0] for row in jobs], handles[:11])
        self.assertEqual([row[1] for row in jobs[:2]], ["running", "queued"])
        self.assertIn("25%", jobs[0][4])
        ((_, host, state, _, job, done),) = rows(page, "workers")
        self.assertEqual((host, state, job, done), ("127.0.0.1", "busy", handles[0], "0"))
        self.assertEqual(facts(find(page, "accounts"))["Submitted"], "12")
        for path in (f"/jobs/{Name(handles[0].encode()).path}", "/jobs?function=f&state=failed", "/workers?function=f"):
            self.assertIn(path, links(page))

    async def test_history(self) -> None:
        """
        What was done lately is a line, and how long it took a table.
        """
        await self.open()
        worker = await self.worker("f")
        handle = await self.submit(b"f")
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_COMPLETE {handle}|x")
        await self.until(lambda: not self.service.job_server.running)
        page = await self.page("/functions/f")
        self.assertIn("No job was completed in the last ten minutes.", text_of(find(page, "history")))
        self.console.views.series._step(self.service.job_server.clock.time())
        page = await self.page("/functions/f")
        self.assertIn("1 job done; at most 1 in ten seconds.", text_of(find(page, "history")))
        waited, ran = rows(page, "times")
        self.assertEqual((waited[0], ran[0], len(ran)), ("Waited", "Ran", 6))
        self.assertNotIn("–", ran)

    async def test_pause(self) -> None:
        """
        A paused function hands nothing out, says so, and offers to go on.
        """
        await self.open()
        worker = await self.worker("f")
        await self.submit(b"f")
        page = await self.done("/functions/f", action="pause")
        self.assertIn("Paused since", text_of(find(page, "state")))
        self.assertNotIn("pause", forms(page))
        worker.says("GRAB_JOB")
        self.assertEqual(await worker.hears(), "NO_JOB")
        page = await self.done("/functions/f", action="resume")
        self.assertEqual(self.notice(page), "f goes on.")
        self.assertIn("pause", forms(page))
        worker.says("GRAB_JOB")
        self.assertIn("JOB_ASSIGN", await worker.hears())

    async def test_pause_not_stored(self) -> None:
        """
        A pause that the store does not take is none, and the page says why.
        """
        store = MoodyStore()
        await self.open(store)
        await self.worker("f")
        await self.until(lambda: b"f" in self.service.job_server.functions)
        store.break_down("the disk is full")
        page = self.read(await self.send("/functions/f", action="pause"), 503)
        self.assertIn("The function is not paused: the disk is full", self.notice(page))
        self.assertIn("pause", forms(page))

    async def test_limits(self) -> None:
        """
        Limits are set, and shown in their fields; what is no number changes nothing.
        """
        await self.open()
        await self.submit(b"f")
        page = await self.done("/functions/f", action="limit", high="0", normal="1000", low=" 5 ")
        self.assertEqual(self.notice(page), "The limits of f are set: no limit for high, 1,000 for normal, 5 for low.")
        self.assertEqual([find(page, f"limit-{each}").get("value") for each in ("high", "normal", "low")], ["0", "1000", "5"])
        for wrong in ("", "-1", "1.5", "x", "2147483648", "9" * 50, "\u0661"):
            page = self.read(await self.send("/functions/f", action="limit", high="1", normal=wrong, low="1"), 400)
            self.assertIn("The limit for normal priority has to be a whole number", self.notice(page))
        self.assertEqual(self.service.job_server.functions[b"f"].limits, (0, 1000, 5))

    async def test_drain(self) -> None:
        """
        A function can be made to take no new jobs, and to take them again.
        """
        await self.open()
        await self.submit(b"f")
        page = await self.done("/functions/f", action="drain")
        self.assertEqual(self.notice(page), "f takes no new jobs.")
        self.assertIn("It takes no new jobs.", text_of(find(page, "state")))
        self.assertTrue(self.service.job_server.functions[b"f"].draining)
        page = await self.done("/functions/f", action="accept")
        self.assertNotIn("accept", forms(page))
        self.assertFalse(self.service.job_server.functions[b"f"].draining)

    async def test_clear(self) -> None:
        """
        What waits is cancelled once the name was typed, and not before.
        """
        await self.open()
        for number in range(3):
            await self.submit(b"f", b"%d" % number)
        for wrong in ("", "F", "g"):
            page = self.read(await self.send("/functions/f", action="clear", confirm=wrong), 409)
            self.assertEqual(self.notice(page), "Nothing was done: to confirm, type 'f'.")
        self.assertEqual(self.service.job_server.functions[b"f"].total, 3)
        page = await self.done("/functions/f", action="clear", confirm="f")
        self.assertEqual(self.notice(page), "3 jobs of f were cancelled.")
        self.assertEqual(tiles(page)["Waiting"], "0")

    async def test_drop(self) -> None:
        """
        A function is forgotten once no worker can do it.
        """
        await self.open()
        worker = await self.worker("f")
        await self.submit(b"f")
        page = self.read(await self.send("/functions/f", action="drop", confirm="f"), 409)
        self.assertIn("The function has workers", self.notice(page))
        worker.hangs_up()
        await self.until(lambda: not self.service.job_server.functions[b"f"].workers)
        page = await self.done("/functions/f", action="drop", confirm="f")
        self.assertEqual(self.notice(page), "f is gone, and 1 job with it.")
        self.assertEqual(text_of(next(page.iter("h1"))), "Functions")
        self.assertNotIn(b"f", self.service.job_server.functions)

    async def test_hostile_confirmation(self) -> None:
        """
        Whatever a function is called, the page says what to type, and that is what confirms.
        """
        await self.open()
        names = (*HOSTILE, *WITH_NUL, b"")
        worker = await self.connect()
        for name in names:
            worker.transport.write(encode(Type.CAN_DO, name, REQUEST))
        await worker.echoes()
        for name in names:
            path = f"/functions/{Name(name).path}"
            page = await self.page(path)
            form = forms(page)["clear"]
            (phrase,) = [each.get("data-phrase", "") for each in form.iter("input") if each.get("name") == "confirm"]
            self.assertIn(phrase, ["".join(code.itertext()) for code in form.iter("code")])
            self.assertTrue(phrase)
            answer = await self.send(form.get("action", ""), action="clear", confirm=phrase + "x")
            self.assertEqual(answer.status, 409)
            page = await self.done(form.get("action", ""), action="clear", confirm=phrase)
            self.assertIn("0 jobs of", self.notice(page))
