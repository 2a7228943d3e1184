"""
The pages of workers, of clients, and of what is scheduled.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from gearsvc.console.pages import scheduled, workers
from gearsvc.console.values import Name
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import encode
from tests.consoleweb.case import HOSTILE, ViewsCase
from tests.consoleweb.pages import PageCase, facts, find, forms, links, rows, text_of, with_class
from tests.protocols.case import Peer


class WorkersTests(PageCase):
    """
    C{/workers}
    """

    async def named(self, name: str, *functions: str) -> Peer:
        """
        A connection that says who it is.
        """
        peer = await self.worker(*functions)
        peer.says(f"SET_CLIENT_ID {name}")
        await peer.echoes()
        return peer

    async def test_empty(self) -> None:
        """
        Where nobody is, the page says so.
        """
        await self.open()
        self.assertIn("No worker is connected.", text_of(with_class(await self.page("/workers"), "empty")[0]))
        self.assertIn(
            "No client is connected.", text_of(with_class(await self.page("/workers?show=clients"), "empty")[0])
        )

    async def test_rows(self) -> None:
        """
        Workers are shown with what they do, and clients on a page of their own with what they wait for.
        """
        await self.open()
        idle = await self.named("idle", "f", "g", "h", "i")
        busy = await self.named("busy", "f")
        client = await self.named("shop")
        client.says("SUBMIT_JOB f|u|x")
        handle = (await client.hears()).split()[1]
        busy.says("GRAB_JOB")
        await busy.hears()
        busy.says(f"WORK_STATUS {handle}|1|2")
        await client.hears()
        idle.says("PRE_SLEEP")
        await idle.echoes()
        page = await self.page("/workers")
        first, second = rows(page, "connections")
        self.assertEqual(
            [first[index] for index in (1, 2, 4, 5, 6)], ["127.0.0.1", "asleep", "", "f, g, h and 1 more", "0"]
        )
        self.assertTrue(first[0].startswith("idle #"), first)
        self.assertEqual((second[0].split()[0], second[2], second[4]), ("busy", "busy", f"{handle} f 50%"))
        self.assertEqual(text_of(find(page, "summary")), "2 workers: 1 busy, 1 asleep")
        self.assertIn(f"/jobs/{Name(handle.encode()).path}", links(page))
        page = await self.page("/workers?show=clients")
        ((named, host, awaited, _),) = rows(page, "connections")
        self.assertEqual((named.split()[0], host, awaited), ("shop", "127.0.0.1", "1"))
        self.assertEqual(text_of(next(page.iter("h1"))), "Clients")

    async def test_sorted(self) -> None:
        """
        A click on a column's head sorts by it, and another turns the order around.
        """
        await self.open()
        await self.named("b", "f")
        await self.named("c", "f", "g")
        await self.named("a", "f", "g", "h")
        await self.worker("f")

        async def order(query: str) -> str:
            page = await self.page(f"/workers{query}")
            return " ".join(row[0].split()[0] for row in rows(page, "connections"))

        nameless = (await order("")).split()[-1]
        self.assertEqual(await order(""), f"b c a {nameless}")
        self.assertEqual(await order("?sort=connected&down=1"), f"{nameless} a c b")
        self.assertEqual(await order("?sort=id"), f"a b c {nameless}")
        self.assertEqual(await order("?sort=functions&down=1"), f"a c b {nameless}")
        for key in ("host", "state", "since", "done", "nonsense"):
            self.assertEqual(len((await order(f"?sort={key}")).split()), 4)
            self.assertEqual(len((await order(f"?sort={key}&down=1")).split()), 4)
        for key in ("id", "host", "awaited", "connected"):
            await self.page(f"/workers?show=clients&sort={key}")

    async def test_pages(self) -> None:
        """
        Many workers are on several pages, each of them on one; where there are too many to be sorted, too.
        """
        self.patch(workers, "PER_PAGE", 2)
        await self.open()
        for number in range(5):
            await self.named(f"w{number}", "f")
        self.assertEqual(await self.all_of("/workers?sort=id"), ["w0", "w1", "w2", "w3", "w4"])
        self.assertEqual(len(rows(await self.page("/workers?page=77"), "connections")), 1)
        self.patch(workers, "SORTED", 3)
        self.assertEqual(await self.all_of("/workers?sort=id"), ["w0", "w1", "w2", "w3", "w4"])
        self.assertEqual([each for each in (await self.page("/workers")).iter("th") if each.get("aria-sort")], [])

    async def all_of(self, path: str) -> list[str]:
        """
        Who is on a page and on those that follow it.
        """
        seen = []
        while path:
            page = await self.page(path)
            seen += [row[0].split()[0] for row in rows(page, "connections")]
            path = next((each.get("href", "") for each in page.iter("a") if each.get("rel") == "next"), "")
        return seen

    async def test_of_function(self) -> None:
        """
        Those that can do a function are found by its name.
        """
        await self.open()
        await self.named("one", "f")
        await self.named("two", "g")
        page = await self.page("/workers?function=g")
        self.assertEqual([row[0].split()[0] for row in rows(page, "connections")], ["two"])
        self.assertEqual(find(page, "function").get("value"), "g")
        self.assertIn("No worker can do this function.", text_of(await self.page("/workers?function=h")))
        page = await self.page("/workers?function=~%21", 400)
        self.assertIn("This is no name", text_of(find(page, "function-problem")))

    async def test_one(self) -> None:
        """
        One worker's page says all that is known of it.
        """
        await self.open()
        worker = await self.named("mule", "f")
        worker.says("CAN_DO_TIMEOUT g|90000")
        handle = await self.submit(b"f")
        worker.says("GRAB_JOB")
        await worker.hears()
        page = await self.page(
            next(path for path in links(await self.page("/workers")) if path.startswith("/workers/"))
        )
        self.assertRegex(text_of(next(page.iter("h1"))), r"\AWorker #\d+ mule busy\Z")
        known = facts(find(page, "facts"))
        self.assertEqual((known["Client id"], known["Address"], known["Functions"]), ("mule", "127.0.0.1", "2"))
        ((job, function, *_),) = rows(page, "jobs")
        self.assertEqual((job, function), (handle, "f"))
        self.assertEqual(rows(page, "functions"), [["f", "any time"], ["g", "90 s"]])
        for name in ("99999", "0", "-1", "x", "%3Cb%3E", "9" * 50, "%D9%A1"):
            self.assertIn("There is no connection", self.notice(await self.page(f"/workers/{name}", 404)))

    async def test_client(self) -> None:
        """
        So does one client's.
        """
        await self.open()
        await self.named("shop")
        number = next(iter(self.service.job_server.sessions)).number
        page = await self.page(f"/workers/{number}")
        self.assertEqual(text_of(next(page.iter("h1"))), f"Client #{number} shop")
        self.assertEqual(facts(find(page, "facts"))["Waits for the results of"], "0 jobs")

    async def test_hostile(self) -> None:
        """
        Whatever a worker calls itself and what it can do is text.
        """
        await self.open()
        for name in HOSTILE:
            peer = await self.connect()
            peer.transport.write(encode(Type.SET_CLIENT_ID, name, REQUEST) + encode(Type.CAN_DO, name, REQUEST))
            await peer.echoes()
        page = await self.page("/workers")
        self.assertEqual(len(rows(page, "connections")), len(HOSTILE))
        for name, session in zip(HOSTILE, list(self.service.job_server.sessions)):
            one = await self.page(f"/workers/{session.number}")
            # The server keeps no more of what a peer calls itself.
            said = str(Name(session.client_id))
            self.assertEqual(" ".join(said.split()), facts(find(one, "facts"))["Client id"])
            self.assertIn(f"/functions/{Name(name).path}", links(one))


class ScheduledViewTests(ViewsCase):
    """
    The jobs that wait for their time.
    """

    def test_in_order(self) -> None:
        """
        They come in the order of their times, over all functions, on whatever page, and none that was cancelled.
        """
        self.serve()
        now = int(self.clock.time())
        client = self.connect()
        for number in range(200):
            client.says(f"SUBMIT_JOB_EPOCH f{number % 7}|u{number}|{now + 1000 + number * 37 % 200}|x")
        for handle in list(self.server.jobs)[::5]:
            self.server.cancel(handle)
        found = []
        for first in range(0, 200, 30):
            page = self.told(self.views.scheduled(None, first, 30))
            self.assertEqual(page.total, 160)
            found += page.jobs
        self.assertEqual(sorted(found, key=lambda each: each.run_at or 0), found)
        self.assertEqual({each.handle.raw for each in found}, set(self.server.jobs))
        self.assertEqual(len(found), 160)
        of_one = self.told(self.views.scheduled(b"f3", 0, 1000))
        self.assertEqual({each.function for each in of_one.jobs}, {"f3"})
        self.assertEqual(len(of_one.jobs), of_one.total)
        self.assertEqual(self.told(self.views.scheduled(b"none")).total, 0)


class ScheduledTests(PageCase):
    """
    C{/scheduled}
    """

    async def later(self, function: str, unique: str, seconds: int) -> str:
        """
        Submit a job that waits for its time.
        """
        client = await self.connect()
        client.says(f"SUBMIT_JOB_EPOCH {function}|{unique}|{int(self.service.job_server.clock.time()) + seconds}|x")
        return (await client.hears()).split()[1]

    def handles(self, page: Element) -> list[str]:
        """
        The jobs on a page.
        """
        return [row[2] for row in rows(page, "scheduled")]

    async def test_empty(self) -> None:
        """
        Where none waits, the page says so.
        """
        await self.open()
        await self.submit(b"f")
        self.assertIn("No job waits for its time.", text_of(with_class(await self.page("/scheduled"), "empty")[0]))
        self.assertIn(
            "No job of <b> waits", text_of(with_class(await self.page("/scheduled?function=%3Cb%3E"), "empty")[0])
        )
        page = await self.page("/scheduled?function=~%21", 400)
        self.assertIn("This is no name", text_of(find(page, "function-problem")))

    async def test_order(self) -> None:
        """
        The next one is first, with its time and how soon that is.
        """
        await self.open()
        third = await self.later("f", "1", 90_000)
        first = await self.later("f", "2", 3600)
        second = await self.later("g", "3", 7205)
        page = await self.page("/scheduled")
        self.assertEqual(self.handles(page), [first, second, third])
        self.assertEqual(text_of(find(page, "summary")), "3 jobs wait for their time.")
        when, soon, *_ = rows(page, "scheduled")[1]
        self.assertRegex(when, r"\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")
        self.assertEqual(soon, "in 2 h")
        self.assertEqual(self.handles(await self.page("/scheduled?function=f")), [first, third])

    async def test_pages(self) -> None:
        """
        Many are on several pages, each of them on one.
        """
        self.patch(scheduled, "PER_PAGE", 2)
        await self.open()
        there = [await self.later("f", f"{number}", 3600 + 60 * number) for number in range(5)]
        self.assertEqual(self.handles(await self.page("/scheduled")), there[:2])
        page = await self.page("/scheduled?page=3")
        self.assertEqual(self.handles(page), there[4:])
        self.assertEqual(text_of(with_class(page, "paging")[0]), "Previous5 to 5 of 5")
        page = await self.page("/scheduled?page=4")
        self.assertIn("There are not so many any more.", text_of(with_class(page, "empty")[0]))
        await self.page("/scheduled?page=99999999999")

    async def test_cancel(self) -> None:
        """
        One is cancelled, and the list is shown again as it was.
        """
        await self.open()
        handle = await self.later("f", "1", 3600)
        await self.later("g", "1", 3600)
        page = await self.page("/scheduled?function=f")
        form = forms(page)["cancel"]
        fields = {each.get("name", ""): each.get("value", "") for each in form.iter("input")}
        page = await self.done(form.get("action", ""), **fields)
        self.assertEqual(self.notice(page), f"The job {handle} is cancelled.")
        self.assertEqual(find(page, "function").get("value"), "f")
        self.assertEqual(len(self.service.job_server.jobs), 1)
        page = self.read(await self.send("/scheduled", action="cancel", job=handle), 404)
        self.assertIn("is over and forgotten", self.notice(page))
        page = self.read(await self.send("/scheduled", action="cancel", job="~!"), 400)
        self.assertIn("is no handle", self.notice(page))
