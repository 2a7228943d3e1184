"""
The page at which jobs are looked for, and what can be done there.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.console.pages import jobs, serving
from gearsvc.console.pages.searching import BadField, seconds_of
from gearsvc.console.pages.serving import Asked
from gearsvc.console.values import Name
from gearsvc.core.jobs import Job
from tests.consoleweb.case import HOSTILE, MoodyStore
from tests.consoleweb.pages import PageCase, find, forms, links, rows, text_of, with_class


class SecondsTests(SynchronousTestCase):
    """
    Lengths of time as people type them.
    """

    def test_read(self) -> None:
        """
        A number is of seconds unless it has a unit, and several of them are added.
        """
        for typed, seconds in {
            b"": None,
            b"  ": None,
            b"90": 90,
            b"1.5 h": 5400,
            b"5 min": 300,
            b"5m": 300,
            b"1H 30M": 5400,
            b"2d": 172_800,
            b"250 ms": 0.25,
            b"9" * 400: 1e10,
        }.items():
            self.assertEqual(seconds_of("older", typed), seconds, typed)

    def test_wrong(self) -> None:
        """
        What is none is refused, with the field that holds it.
        """
        for typed in (
            b"soon",
            b"-5",
            b"5 parsecs",
            b"1e9",
            b"5 min ago",
            b"5,5",
            b"\xff",
            b"nan",
            b"<b>",
            b"5 000",
            b"1 h 30",
        ):
            with self.assertRaisesRegex(BadField, "is no length of time; write 90") as caught:
                seconds_of("older", typed)
            self.assertEqual(caught.exception.field, "older")


class JobsCase(PageCase):
    """
    A test of the page.
    """

    async def listed(self, query: str = "") -> list[str]:
        """
        The handles of the jobs on a page.
        """
        self.seen = await self.page(f"/jobs{query}")
        return handles(self.seen)

    def job(self, handle: str) -> Job:
        """
        A job, as the server has it.
        """
        return self.service.job_server.jobs[handle.encode()]


def handles(page: Element) -> list[str]:
    """
    The handles of the jobs on a page, where there are boxes to choose them.
    """
    return [row[1] for row in rows(page, "jobs")] if any(each.get("id") == "jobs" for each in page.iter()) else []


class SearchTests(JobsCase):
    """
    C{GET /jobs}
    """

    async def test_empty(self) -> None:
        """
        Where no job is, the page says so, shows where those are that are over, and offers to submit one.
        """
        await self.open()
        page = await self.page("/jobs")
        self.assertIn("No job waits or runs.", text_of(with_class(page, "empty")[0]))
        self.assertIn("/jobs?state=completed&state=failed&state=cancelled", links(page))
        self.assertEqual(set(forms(page)), {"submit"})
        self.assertIn("No job is like that.", text_of(with_class(await self.page("/jobs?state=failed"), "empty")[0]))

    async def test_row(self) -> None:
        """
        A row says what an operator asks first, and leads to the job, its function and its worker.
        """
        await self.open()
        worker = await self.worker("f")
        worker.says("SET_CLIENT_ID mule-7")
        client = await self.connect()
        client.says("SUBMIT_JOB_HIGH_BG f|u1|" + "x" * 2048)
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB")
        await worker.hears()
        page = await self.page("/jobs")
        ((box, job, state, function, unique, submitted, ran, doing, attempts, size),) = rows(page, "jobs")
        self.assertEqual((box, job, state, function, unique), ("", handle, "running high", "f", "u1"))
        self.assertEqual((doing, attempts, size), ("mule-7", "", "2.0 KiB"))
        self.assertRegex(submitted, r"ago|just now")
        self.assertRegex(ran, r"\A[<0-9]")
        worker.says(f"WORK_STATUS {handle}|1|4")
        await self.until(lambda: self.job(handle).progress is not None)
        page = await self.page("/jobs")
        self.assertEqual(rows(page, "jobs")[0][7], "25%")
        for path in (f"/jobs/{Name(handle.encode()).path}", "/functions/f"):
            self.assertIn(path, links(page))
        self.assertEqual(text_of(find(page, "summary")), "1 job")

    async def test_states(self) -> None:
        """
        Those that are not over are shown unless states are chosen; then those, with why a job failed.
        """
        await self.open()
        worker = await self.worker("f")
        done, failed, running, queued = [await self.submit(b"f", b"%d" % number) for number in range(4)]
        for _ in range(3):
            worker.says("GRAB_JOB")
            await worker.hears()
        worker.says(f"WORK_COMPLETE {done}|x", f"WORK_FAIL {failed}")
        await worker.echoes()
        self.assertEqual(await self.listed(), [queued, running])
        self.assertEqual(await self.listed("?state=queued"), [queued])
        self.assertEqual(await self.listed("?state=running"), [running])
        self.assertEqual(await self.listed("?state=completed&state=failed"), [failed, done])
        self.assertEqual([row[2] for row in rows(self.seen, "jobs")], ["failed", "completed"])
        self.assertEqual([each.get("title") for each in with_class(self.seen, "bad")], ["fail"])
        self.assertEqual(await self.listed("?state=running&state=failed&state="), [running, failed])
        chosen = [
            each.get("value")
            for each in self.seen.iter("input")
            if each.get("name") == "state" and "checked" in each.attrib
        ]
        self.assertEqual(chosen, ["running", "failed"])

    async def test_function_and_unique(self) -> None:
        """
        A function's name and a unique id find what has exactly these, and stay in their fields.
        """
        await self.open()
        first = await self.submit(b"f", b"a")
        second = await self.submit(b"f", b"b")
        other = await self.submit(b"g", b"a")
        self.assertEqual(await self.listed("?function=f"), [second, first])
        self.assertEqual(text_of(find(self.seen, "summary")), "2 jobs")
        self.assertEqual(await self.listed("?unique=a"), [other, first])
        self.assertEqual(await self.listed("?function=f&unique=a"), [first])
        self.assertEqual((find(self.seen, "function").get("value"), find(self.seen, "unique").get("value")), ("f", "a"))
        self.assertEqual(await self.listed("?function=h"), [])
        self.assertEqual([each.get("value") for each in find(self.seen, "functions")], ["f", "g"])

    async def test_ages(self) -> None:
        """
        Jobs are found by how long they have been there.
        """
        await self.open()
        old, new = await self.submit(b"f", b"1"), await self.submit(b"f", b"2")
        self.job(old).submitted -= 7200
        self.assertEqual(await self.listed("?older=1h"), [old])
        self.assertEqual(await self.listed("?younger=1%20h"), [new])
        self.assertEqual(await self.listed("?older=1h&younger=3h"), [old])
        self.assertEqual(await self.listed("?older=3h"), [])
        self.assertEqual(find(self.seen, "older").get("value"), "3h")

    async def test_order_and_pages(self) -> None:
        """
        The newest are first unless one wants the oldest; many are on several pages, each of them on one.
        """
        await self.open()
        there = [await self.submit(b"f", b"%d" % number) for number in range(5)]
        for sort, expected in (("", there[::-1]), ("&sort=submitted&down=1", there[::-1]), ("&sort=submitted", there)):
            path, seen, pages = f"/jobs?limit=2{sort}", [], 0
            while path:
                page = await self.page(path)
                self.assertEqual(text_of(find(page, "summary")), f"{len(handles(page))} of 5 jobs")
                seen += handles(page)
                pages += 1
                path = next((each.get("href", "") for each in page.iter("a") if each.get("rel") == "next"), "")
            self.assertEqual((seen, pages), (expected, 3))
            self.assertIn(f"/jobs?limit=2{sort}", links(page))
        page = await self.page("/jobs?limit=2")
        (current,) = [each for each in page.iter("th") if each.get("aria-sort")]
        self.assertEqual(
            (current.get("aria-sort"), current[0].get("href")), ("descending", "/jobs?limit=2&sort=submitted")
        )
        self.assertEqual(len(await self.listed("?limit=99999999")), 5)

    async def test_wrong(self) -> None:
        """
        What makes no sense is said at its field, and finds nothing, not everything.
        """
        await self.open()
        await self.submit(b"f")
        for query, field, sentence in (
            ("older=soon", "older", "'soon' is no length of time"),
            ("younger=%3Cb%3E", "younger", "'<b>' is no length of time"),
            ("function=~%21", "function", "This is no name"),
            ("unique=~%21", "unique", "This is no name"),
        ):
            page = await self.page(f"/jobs?{query}", 400)
            self.assertIn(sentence, text_of(find(page, f"{field}-problem")))
            self.assertEqual(find(page, field).get("aria-invalid"), "true")
            self.assertEqual((list(page.iter("table")), forms(page)), ([], {}))
        page = await self.page("/jobs?state=asleep", 400)
        self.assertIn("There is no state 'asleep'", text_of(page))
        page = await self.page("/jobs?after=nonsense", 400)
        self.assertIn("'after' has to be what the page before gave", self.notice(page))

    async def test_hostile(self) -> None:
        """
        Each name is text; it finds its job, and its job's page shows it.
        """
        await self.open()
        there = {}
        for name in HOSTILE:
            there[name] = await self.submit(name, name[:64], name)
        self.assertEqual(len(await self.listed()), len(HOSTILE))
        for name, handle in there.items():
            path = Name(name).path
            self.assertEqual(await self.listed(f"?function={path}&unique={Name(name[:64]).path}"), [handle])
            again = quote(find(self.seen, "function").get("value", ""))
            self.assertEqual(await self.listed(f"?function={again}"), [handle])
            one = await self.page(f"/jobs/{handle}")
            self.assertIn(" ".join(str(Name(name))[:50].split()), text_of(find(one, "facts")))

    async def test_many(self) -> None:
        """
        Of many jobs, a page shows some, and knows how many there are.
        """
        await self.open()
        client = await self.connect()
        client.says(*(f"SUBMIT_JOB_BG f|{number}|x" for number in range(20_000)))
        await client.hears_all(20_000)
        self.assertEqual(len(await self.listed("?limit=50&function=f")), 50)
        self.assertEqual(text_of(find(self.seen, "summary")), "50 of 20,000 jobs")
        self.assertEqual(len(await self.listed("?unique=7")), 1)
        page = await self.done("/jobs", action="cancel-all", confirm="cancel all")
        self.assertEqual((self.notice(page), len(self.service.job_server.jobs)), ("20,000 jobs were cancelled.", 0))

    async def test_gone(self) -> None:
        """
        Who goes away while a page is being made leaves nothing behind, and no word in the log.
        """
        self.patch(serving, "SLICE", 0.0)
        self.patch(serving, "PAUSE", 0.01)
        await self.open()
        client = await self.connect()
        client.says(*(f"SUBMIT_JOB_BG f|{number}|x" for number in range(100)))
        await client.hears_all(100)
        made: list[Asked] = []
        breathing = Asked.breathing

        def breathe(asked: Asked, pieces: Iterable[object]) -> Iterator[object]:
            made.append(asked)
            return breathing(asked, pieces)

        self.patch(Asked, "breathing", breathe)
        endpoint = HostnameEndpoint(self.reactor, "127.0.0.1", self.port)
        browser: Any = await connectProtocol(endpoint, Protocol())
        browser.transport.write(b"GET /jobs HTTP/1.1\r\nAccept: text/html\r\nHost: localhost\r\n\r\n")
        await self.until(lambda: bool(made))
        browser.transport.abortConnection()
        await self.until(lambda: made[0].request._disconnected)
        await self.turns(20)
        self.assertEqual(self.logged(), [])
        # What nobody took would be an error that trial reports.
        gc.collect()


class CancelTests(JobsCase):
    """
    C{POST /jobs}, to cancel.
    """

    async def test_chosen(self) -> None:
        """
        The chosen jobs are cancelled, those who wait for them are told, and the search is shown again.
        """
        await self.open()
        client = await self.connect()
        client.says("SUBMIT_JOB f|1|x")
        handle = (await client.hears()).split()[1]
        others = [await self.submit(b"f", b"%d" % number) for number in (2, 3)]
        await self.listed("?function=f")
        form = forms(self.seen)["cancel"]
        boxes = {each.get("value"): each.get("form") for each in self.seen.iter("input") if each.get("name") == "job"}
        self.assertEqual(boxes, dict.fromkeys([handle, *others], form.get("id")))
        back = next(each.get("value", "") for each in form.iter("input") if each.get("name") == "back")
        page = await self.done("/jobs", action="cancel", job=[handle, others[0], "H:gone"], back=back)
        self.assertEqual(self.notice(page), "2 jobs were cancelled. 1 job was over before, or being stored.")
        self.assertEqual(await client.hears(), f"WORK_FAIL {handle}")
        self.assertEqual(handles(page), [others[1]])
        self.assertEqual(find(page, "function").get("value"), "f")
        self.assertEqual(await self.listed("?state=cancelled"), [others[0], handle])
        self.assertNotIn("cancel", forms(self.seen))
        self.assertNotIn("cancel-all", forms(self.seen))

    async def test_none(self) -> None:
        """
        Without a choice, or with what is no handle, nothing is done.
        """
        await self.open()
        await self.submit(b"f")
        page = self.read(await self.send("/jobs", action="cancel"), 400)
        self.assertIn("choose the jobs to cancel first", self.notice(page))
        page = self.read(await self.send("/jobs", action="cancel", job="~!<b>"), 400)
        self.assertIn("Nothing was done: ~!<b> is no handle", self.notice(page))
        page = self.read(await self.send("/jobs", action="nonsense"), 400)
        self.assertIn("This form is none that the page has", self.notice(page))
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_all_that_is_found(self) -> None:
        """
        All that a search finds, on every page of it, is cancelled once the name is typed in; nothing else is.
        """
        self.patch(jobs, "SUGGESTED", 1)
        await self.open()
        worker = await self.worker("f")
        running = await self.submit(b"f", b"running")
        worker.says("GRAB_JOB")
        await worker.hears()
        for number in range(5):
            await self.submit(b"f", b"%d" % number)
        other = await self.submit(b"g")
        await self.listed("?function=f&state=queued&limit=2")
        form = forms(self.seen)["cancel-all"]
        self.assertIn("This cancels all queued jobs of f, on this page and on all others.", text_of(form))
        path = form.get("action", "")
        for wrong in ("", "g", "cancel all"):
            page = self.read(await self.send(path, action="cancel-all", confirm=wrong), 409)
            self.assertEqual(self.notice(page), "Nothing was done: to confirm, type 'f'.")
        self.assertEqual(len(self.service.job_server.jobs), 7)
        page = await self.done(path, action="cancel-all", confirm=" f ")
        self.assertEqual(self.notice(page), "5 jobs were cancelled.")
        self.assertEqual(await self.listed(), [other, running])

    async def test_all(self) -> None:
        """
        Without a function, other words have to be typed in; what is over can't be cancelled.
        """
        await self.open()
        handle = await self.submit(b"f")
        self.job(handle).submitted -= 600
        await self.submit(b"f", b"new")
        await self.listed("?older=5%20min")
        self.assertIn("all jobs that are not over that are older than 5 min", text_of(forms(self.seen)["cancel-all"]))
        self.assertEqual(
            self.notice(await self.done("/jobs?older=5%20min", action="cancel-all", confirm="cancel all")),
            "1 job was cancelled.",
        )
        page = self.read(await self.send("/jobs?state=failed", action="cancel-all", confirm="cancel all"), 400)
        self.assertIn("Jobs that are over can't be cancelled", self.notice(page))
        page = self.read(await self.send("/jobs?older=soon", action="cancel-all", confirm="cancel all"), 400)
        self.assertIn("Nothing was done. 'soon' is no length of time", self.notice(page))
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_hostile_handles(self) -> None:
        """
        Whatever a handle is made of, its box stands for it.
        """
        for prefix in ("<b>", "~", "a/b", '"', "%2e", "\xe4"):
            await self.open(job_handle_prefix=prefix)
            await self.submit(b"f")
            page = await self.page("/jobs")
            (box,) = [each.get("value", "") for each in page.iter("input") if each.get("name") == "job"]
            self.assertEqual(self.notice(await self.done("/jobs", action="cancel", job=box)), "1 job was cancelled.")

    async def test_being_stored(self) -> None:
        """
        A job that is being stored is shown, and can't be cancelled yet.
        """
        store = MoodyStore()
        await self.open(store)
        store.hold()
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f|u|x")
        await self.until(lambda: bool(self.service.job_server.jobs))
        (handle,) = await self.listed("?state=storing")
        self.assertEqual(
            self.notice(await self.done("/jobs?state=storing", action="cancel-all", confirm="cancel all")),
            "0 jobs were cancelled.",
        )
        page = await self.page(f"/jobs/{handle}")
        self.assertIn("it can be cancelled once it is", text_of(find(page, "cancelling")))
        page = self.read(await self.send(f"/jobs/{handle}", action="cancel"), 409)
        self.assertIn("it can be cancelled once it is", self.notice(page))
        store.release()
        await client.hears()

    async def test_viewer(self) -> None:
        """
        Who may only look sees no boxes and no forms, and is refused.
        """
        path = self.directory() / "tokens"
        path.touch(0o600)
        path.write_text("viewer viewer-0123456789\noperator operator-0123456789\n")
        await self.open(console_token_file=str(path))
        handle = await self.submit(b"f")
        viewer = {"Authorization": "Bearer viewer-0123456789"}
        for each in ("/jobs", f"/jobs/{handle}", "/scheduled", "/workers"):
            page = await self.page(each, **viewer)
            self.assertEqual(forms(page), {})
        self.assertEqual(rows(await self.page("/jobs", **viewer), "jobs")[0][0], handle)
        answer = await self.send("/jobs", viewer, action="cancel", job=handle)
        self.assertEqual(answer.status, 403)
        self.assertIn(handle.encode(), self.service.job_server.jobs)
        answer = await self.send("/jobs", {"Authorization": "Bearer operator-0123456789"}, action="cancel", job=handle)
        self.assertEqual((answer.status, self.service.job_server.jobs), (303, {}))


class SubmitTests(JobsCase):
    """
    C{POST /jobs}, to submit.
    """

    async def test_submit(self) -> None:
        """
        A job is submitted as the form says, and its page is shown.
        """
        await self.open()
        page = await self.done(
            "/jobs", action="submit", function="f", unique="u", priority="high", workload="one\r\n<two>", delay=""
        )
        self.assertEqual(self.notice(page), "The job is submitted.")
        (job,) = self.service.job_server.jobs.values()
        self.assertEqual(
            (job.function, job.unique, job.priority, job.workload, job.background), (b"f", b"u", 0, b"one\n<two>", True)
        )
        self.assertIn(job.handle.decode(), text_of(next(page.iter("h1"))))

    async def test_later(self) -> None:
        """
        It can wait for its time.
        """
        await self.open()
        await self.done("/jobs", action="submit", function="f", workload="", delay="2 h")
        (job,) = self.service.job_server.jobs.values()
        self.assertLess(abs(job.run_at - 7200 - self.service.job_server.clock.time()), 60)
        self.assertEqual(await self.listed("?state=delayed"), [job.handle.decode()])

    async def test_wrong(self) -> None:
        """
        What can't be submitted is not, and the page says why.
        """
        await self.open()
        for fields, sentence in (
            ({"function": ""}, "a job needs a function"),
            ({"function": "~!"}, "The function's name is wrong"),
            ({"function": "a\0b"}, "may hold a NUL"),
            ({"function": "f", "unique": "u" * 65}, "A unique id may have 64 bytes"),
            ({"function": "f", "priority": "highest"}, "There is no priority 'highest'"),
            ({"function": "f", "delay": "soon"}, "Nothing was submitted. 'soon' is no length of time"),
        ):
            page = self.read(await self.send("/jobs", None, action="submit", **fields), 400)
            self.assertIn(sentence, self.notice(page))
        self.assertEqual(self.service.job_server.jobs, {})
