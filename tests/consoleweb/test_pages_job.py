"""
The page of one job, and how workloads are shown.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.console.pages import payloads
from gearsvc.console.pages.payloads import hexadecimal, in_form, indented
from gearsvc.console.values import payload
from tests.consoleweb.pages import PageCase, facts, find, forms, links, text_of, with_class


class PayloadTests(SynchronousTestCase):
    """
    Workloads in their forms.
    """

    def test_indented(self) -> None:
        """
        JSON has a line for each part, and is not changed otherwise.
        """
        self.assertEqual(
            indented('{"b":[1, 2.50000000000000000001,{}], "a":[ ],"b" :"x\\"}{,:", "c":{"d":null}}'),
            '{\n  "b": [\n    1,\n    2.50000000000000000001,\n    {}\n  ],\n  "a": [],\n'
            '  "b": "x\\"}{,:",\n  "c": {\n    "d": null\n  }\n}',
        )

    def test_deep(self) -> None:
        """
        What would be more indentation than anything else is left as it is.
        """
        deep = "[" * 900 + "]" * 900
        self.assertLess(len(indented(deep)), 2_000_000)
        self.patch(payloads, "MAX_SHOWN", 10_000)
        self.assertEqual(indented(deep), deep)

    def test_hexadecimal(self) -> None:
        """
        Bytes stand sixteen in a line, with their place and what of them is ASCII.
        """
        self.assertEqual(
            hexadecimal(b"<b>\0\xff" + b"0123456789abcdef").split("\n"),
            [
                "00000000  3c 62 3e 00 ff 30 31 32  33 34 35 36 37 38 39 61  <b>..0123456789a",
                "00000010  62 63 64 65 66                                    bcdef",
            ],
        )
        self.patch(payloads, "MAX_SHOWN", 160)
        self.assertEqual(len(hexadecimal(b"x" * 1000).split("\n")), 2)

    def test_text(self) -> None:
        """
        Bytes that are no text can be read as such: what does not print is escaped.
        """
        data = b"one\ntwo\t\xff\0\x1b[31m"
        self.assertEqual(in_form(payload(data, len(data), 100, False), "text"), "one\ntwo\\t\\xff\\x00\\x1b[31m")


class JobTests(PageCase):
    """
    C{/jobs/HANDLE}
    """

    async def test_unknown(self) -> None:
        """
        What is not there is said not to be there.
        """
        await self.open()
        page = await self.page("/jobs/%3Cb%3E", 404)
        self.assertEqual(self.notice(page), "There is no job '<b>': it never was, or is over and forgotten.")
        page = self.read(await self.send("/jobs/H:9", action="cancel"), 404)
        self.assertIn("There is no job 'H:9'", self.notice(page))

    async def test_queued(self) -> None:
        """
        Why it does not run is one sentence, with the facts below it.
        """
        await self.open()
        handle = await self.submit(b"f", b"u1")
        page = await self.page(f"/jobs/{handle}")
        why = find(page, "why")
        self.assertIn("Why isn't it running?", text_of(why))
        self.assertIn("No worker that can do its function has connected since the server started.", text_of(why))
        self.assertEqual(facts(why)["cause"], "no_worker")
        known = facts(find(page, "facts"))
        self.assertEqual((known["Function"], known["Unique id"], known["Priority"]), ("f", "u1", "normal"))
        self.assertTrue(known["Kind"].startswith("background"))
        self.assertEqual(known["Clients that wait for it"], "nobody")
        steps = [text_of(step) for step in find(page, "timeline").iter("li")]
        self.assertEqual(len(steps), 2)
        self.assertRegex(steps[0], r"\ASubmitted \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")
        self.assertTrue(steps[1].startswith("Waits for a worker for"), steps)
        self.assertIn("/functions/f", links(page))

    async def test_running(self) -> None:
        """
        One that runs shows how far it is, who has it, and who waits for it.
        """
        await self.open()
        worker = await self.worker("f")
        worker.says("SET_CLIENT_ID mule-7")
        client = await self.connect()
        client.says("SET_CLIENT_ID shop", "SUBMIT_JOB f|u|x")
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_STATUS {handle}|30|120")
        await client.hears()
        page = await self.page(f"/jobs/{handle}")
        self.assertIn("How is it doing?", text_of(find(page, "why")))
        self.assertIn("is at 30 of 120", text_of(find(page, "why")))
        steps = [text_of(step) for step in find(page, "timeline").iter("li")]
        self.assertEqual([step.split(" ")[0] for step in steps], ["Submitted", "Given", "Runs"])
        self.assertTrue(steps[2].endswith("25%"), steps)
        ((bar),) = find(page, "timeline").iter("progress")
        self.assertEqual(bar.get("value"), "0.250")
        known = facts(find(page, "facts"))
        self.assertRegex(known["Worker"], r"\Amule-7 #\d+ at 127.0.0.1\Z")
        self.assertRegex(known["Clients that wait for it"], r"\Ashop #\d+ at 127.0.0.1\Z")
        self.assertTrue(known["Kind"].startswith("foreground"))

    async def test_delayed(self) -> None:
        """
        One that waits for its time shows when that is.
        """
        await self.open()
        client = await self.connect()
        client.says(f"SUBMIT_JOB_EPOCH f|u|{int(self.service.job_server.clock.time()) + 7000}|x")
        handle = (await client.hears()).split()[1]
        page = await self.page(f"/jobs/{handle}")
        self.assertIn("It is not to run before its time, which is in 117 minutes.", text_of(find(page, "why")))
        steps = [text_of(step) for step in find(page, "timeline").iter("li")]
        self.assertRegex(steps[1], r"\AWaits for its time \d{4}-.* in 1 h 5\d min\Z")

    async def test_retried(self) -> None:
        """
        That a worker was lost over it is told.
        """
        await self.open()
        handle = await self.submit(b"f")
        worker = await self.worker("f")
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.hangs_up()
        await self.until(lambda: self.service.job_server.jobs[handle.encode()].attempts == 1)
        page = await self.page(f"/jobs/{handle}")
        self.assertEqual(facts(find(page, "facts"))["Attempts that failed"], "1")
        self.assertIn("Queued again once", text_of(find(page, "timeline")))

    async def test_over(self) -> None:
        """
        One that is over shows how it ended, its result or its exception, and no longer follows what happens.
        """
        await self.open()
        worker = await self.worker("f")
        done, failed, broken, cancelled = [await self.submit(b"f", b"%d" % number) for number in range(4)]
        worker.says("OPTION_REQ exceptions", *["GRAB_JOB"] * 3)
        await worker.hears_all(4)
        worker.says(
            f'WORK_COMPLETE {done}|{{"sum": 7}}',
            f"WORK_FAIL {failed}",
            f"WORK_EXCEPTION {broken}|<b>no</b>",
            f"WORK_FAIL {broken}",
        )
        await worker.echoes()
        await self.send(f"/jobs/{cancelled}", action="cancel")
        page = await self.page(f"/jobs/{done}")
        self.assertIn("It completed", text_of(find(page, "why")))
        self.assertEqual(text_of(find(page, "result-card")).split(" ", 1)[1].split(" { ")[1], '"sum": 7 } 10 bytes.')
        self.assertEqual(
            [text_of(step).split(" ")[0] for step in find(page, "timeline").iter("li")],
            ["Submitted", "Given", "Completed"],
        )
        self.assertNotIn("data-live", find(page, "main").attrib)
        self.assertEqual(forms(page), {})
        page = await self.page(f"/jobs/{failed}")
        self.assertIn("It failed: its worker said that it failed", text_of(find(page, "why")))
        self.assertIn("It is empty.", text_of(find(page, "result-card")))
        page = await self.page(f"/jobs/{broken}")
        self.assertIn("It failed: its worker sent an exception", text_of(find(page, "why")))
        self.assertIn("Exception", text_of(find(page, "result-card")))
        self.assertIn("<b>no</b>", text_of(find(page, "result-card")))
        page = await self.page(f"/jobs/{cancelled}")
        self.assertIn("It was cancelled: somebody cancelled it", text_of(find(page, "why")))

    async def test_forms_of_a_workload(self) -> None:
        """
        A workload is shown in the form that fits it, and in others on demand.
        """
        await self.open()
        handle = await self.submit(b"f", b"1", b'{"a":[1,2]}')
        expected = {
            "": '{\n  "a": [\n    1,\n    2\n  ]\n}',
            "?workload=json": '{\n  "a": [\n    1,\n    2\n  ]\n}',
            "?workload=text": '{"a":[1,2]}',
            "?workload=hex": '00000000  7b 22 61 22 3a 5b 31 2c  32 5d 7d                 {"a":[1,2]}',
            "?workload=%3Cb%3E": '{\n  "a": [\n    1,\n    2\n  ]\n}',
        }
        for query, shown in expected.items():
            page = await self.page(f"/jobs/{handle}{query}")
            (code,) = find(page, "workload-card").iter("code")
            self.assertEqual(code.text, shown)
        self.assertIn(f"/jobs/{handle}?workload=hex#workload-card", links(page))
        handle = await self.submit(b"f", b"2", b"\xff\0\x01")
        page = await self.page(f"/jobs/{handle}")
        (code,) = find(page, "workload-card").iter("code")
        self.assertTrue((code.text or "").startswith("00000000  ff 00 01"))
        self.assertEqual(
            [text_of(each) for each in with_class(find(page, "workload-card"), "forms")[0]], ["Text", "Hex"]
        )

    async def test_cut_and_hidden(self) -> None:
        """
        Of a long workload only the beginning is shown, and nothing of any if so configured.
        """
        await self.open(console_payload_bytes=16)
        handle = await self.submit(b"f", b"1", b"0123456789abcdefSECRET")
        page = await self.page(f"/jobs/{handle}")
        self.assertIn("The first 16 of 22 bytes.", text_of(find(page, "workload-card")))
        self.assertNotIn("SECRET", text_of(page))
        await self.open(console_mask_payloads=True)
        handle = await self.submit(b"f", b"1", b"SECRET")
        for query in ("", "?workload=text", "?workload=hex"):
            page = await self.page(f"/jobs/{handle}{query}")
            self.assertIn("6 B; what it is, is not shown here.", text_of(find(page, "workload-card")))
            self.assertNotIn("SECRET", text_of(page))

    async def test_cancel(self) -> None:
        """
        It is cancelled, and the page says what became of it.
        """
        await self.open()
        client = await self.connect()
        client.says("SUBMIT_JOB f|u|x")
        handle = (await client.hears()).split()[1]
        page = await self.page(f"/jobs/{handle}?workload=hex")
        path = forms(page)["cancel"].get("action", "")
        self.assertEqual(path, f"/jobs/{handle}?workload=hex")
        page = await self.done(path, action="cancel")
        self.assertEqual(self.notice(page), "The job is cancelled.")
        self.assertIn("It was cancelled", text_of(find(page, "why")))
        self.assertEqual(await client.hears(), f"WORK_FAIL {handle}")
        page = self.read(await self.send(path, action="cancel"), 404)
        self.assertIn("is over and forgotten", self.notice(page))
