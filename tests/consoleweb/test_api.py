"""
Everything there is to see and to do, in JSON.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from gearsvc.console import slices, submitting
from gearsvc.console.values import Name
from gearsvc.core.jobs import JobRecord
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import encode
from tests.consoleweb.case import HOSTILE, WITH_NUL, Answer, ConsoleCase, MoodyStore
from tests.protocols.case import Peer


class Case(ConsoleCase):
    """
    Short ways to what is asked.
    """

    async def seen(self, path: str) -> Any:
        """
        What is at a path.
        """
        answer = await self.get(path)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["content-type"], "application/json")
        return answer.json

    async def done(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """
        What comes of doing something.
        """
        answer = await self.post(path, body, method)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    async def answers(self, worker: Peer, *replies: str) -> str:
        """
        Let a worker take a job as soon as there is one, and answer.

        @param replies: as in C{"WORK_COMPLETE %s|result"}.
        @return: the job's handle.
        """
        while True:
            worker.says("GRAB_JOB")
            heard = await worker.hears()
            if heard != "NO_JOB":
                break
            await deferLater(self.reactor, 0.01)
        handle = heard.split()[1].split("|")[0]
        worker.says(*(reply % handle for reply in replies))
        return handle


class SeeingTests(Case):
    """
    What there is to see.
    """

    async def test_overview(self) -> None:
        """
        The server at a glance.
        """
        await self.open()
        await self.submit(b"f")
        seen = await self.seen("/overview")
        self.assertEqual((seen["queued"]["normal"], seen["functions"], seen["tally"]["balance"]), (1, 1, 0))
        self.assertEqual([each["kind"] for each in seen["attention"]], ["no_worker"])

    async def test_function(self) -> None:
        """
        One function, and that there is none.
        """
        await self.open()
        await self.submit(b"f")
        self.assertEqual((await self.seen("/functions/f"))["queued"], {"high": 0, "normal": 1, "low": 0})
        answer = await self.get("/functions/g")
        self.assertEqual((answer.status, answer.detail), (404, "There is no function 'g'."))

    async def test_functions(self) -> None:
        """
        All functions, page by page: what one gives as C{following} the next takes as C{after}.
        """
        await self.open()
        for name in HOSTILE:
            self.service.job_server.create_function(name)
        names, after = [], ""
        while True:
            page = await self.seen(f"/functions?limit=7{after}")
            names += [each["name"] for each in page["functions"]]
            if page["following"] is None:
                break
            raw = self.console.views.function(sorted(HOSTILE)[len(names) - 1])
            assert raw is not None
            after = f"&after={raw.name.path}"
        self.assertEqual(names, [str(Name(name)) for name in sorted(HOSTILE)])

    async def test_hostile_names(self) -> None:
        """
        Every function is reached at a path, whatever its name, and says the same name again, reversibly.
        """
        await self.open()
        for name in (*HOSTILE, *WITH_NUL):
            self.service.job_server.create_function(name)
            seen = await self.seen(f"/functions/{Name(name).path}")
            encoded = seen.get("name_base64")
            self.assertEqual(encoded if encoded is not None else b64encode(seen["name"].encode()).decode(), b64encode(name).decode())

    async def test_jobs(self) -> None:
        """
        Jobs are found by what is asked for.
        """
        await self.open()
        first, second = await self.submit(b"f", b"u1"), await self.submit(b"\xff/g", b"u2")
        self.assertEqual([each["handle"] for each in (await self.seen("/jobs"))["jobs"]], [second, first])
        for query, expected in (
            ("function=f", [first]),
            ("function=%FF%2Fg", [second]),
            ("function=~_y9n", [second]),
            ("function=", [second, first]),
            ("unique=u2", [second]),
            ("state=queued&state=running&order=oldest", [first, second]),
            ("state=running", []),
            ("older=0&younger=1e3", [second, first]),
            ("older=1000", []),
        ):
            found = await self.seen(f"/jobs?{query}")
            self.assertEqual([each["handle"] for each in found["jobs"]], expected, query)
        page = await self.seen("/jobs?limit=1")
        page = await self.seen(f"/jobs?limit=1&after={page['following']}")
        self.assertEqual(([each["handle"] for each in page["jobs"]], page["following"]), ([first], None))

    async def test_job(self) -> None:
        """
        One job, with its workload as far as that is to be shown, and why it does not run.
        """
        await self.open(console_payload_bytes=5)
        handle = await self.submit(b"f", b"u", b'{"a": 1}')
        seen = await self.seen(f"/jobs/{handle}")
        self.assertEqual((seen["job"]["state"], seen["job"]["unique"], seen["result"]), ("queued", "u", None))
        self.assertEqual(
            seen["workload"],
            {"size": 8, "kind": "text", "shown": '{"a":', "base64": b64encode(b'{"a":').decode(), "cut": True},
        )
        why = await self.seen(f"/jobs/{handle}/explain")
        self.assertEqual((why["cause"], why["facts"]["function"]), ("no_worker", "f"))
        for path in ("/jobs/H:999", "/jobs/H:999/explain"):
            answer = await self.get(path)
            self.assertEqual((answer.status, answer.detail), (404, "There is no job 'H:999': it never was, or is over and forgotten."))

    async def test_masked(self) -> None:
        """
        Where payloads are masked, no answer holds one, however the job ends.
        """
        await self.open(console_mask_payloads=True)
        worker = await self.worker("f")
        handle = await self.submit(b"f", workload=b"open sesame")
        self.assertNotIn(b"sesame", (await self.get(f"/jobs/{handle}")).body)
        await self.answers(worker, "WORK_EXCEPTION %s|open sesame")
        await worker.echoes()
        answer = await self.get(f"/jobs/{handle}")
        self.assertEqual((answer.json["job"]["state"], answer.json["result"]["kind"]), ("failed", "hidden"))
        self.assertNotIn(b"sesame", answer.body)
        self.assertNotIn(b64encode(b"open sesame")[:8], answer.body)

    async def test_history(self) -> None:
        """
        A job that is over can still be seen, and no more of them than C{--history} says.
        """
        await self.open(history=2)
        worker = await self.worker("f")
        handles = []
        for number in range(3):
            handles.append(await self.submit(b"f", workload=b"%d" % number))
            await self.answers(worker, f"WORK_COMPLETE %s|result {number}")
            await worker.echoes()
        found = await self.seen("/jobs?state=completed")
        self.assertEqual([each["handle"] for each in found["jobs"]], handles[:0:-1])
        self.assertEqual((await self.seen(f"/jobs/{handles[2]}"))["result"]["shown"], "result 2")
        self.assertEqual((await self.get(f"/jobs/{handles[0]}")).status, 404)

    async def test_connections(self) -> None:
        """
        Workers and clients, and one of them by its number.
        """
        await self.open()
        client, worker = await self.connect(), await self.worker("f", "g")
        client.says("SUBMIT_JOB f||w")
        await client.hears()
        (seen,) = (await self.seen("/workers"))["connections"]
        self.assertEqual(([each["name"] for each in seen["functions"]], seen["state"]), (["f", "g"], "awake"))
        self.assertEqual((await self.seen(f"/connections/{seen['number']}"))["number"], seen["number"])
        self.assertEqual((await self.seen("/workers?function=h"))["connections"], [])
        (seen,) = (await self.seen("/clients"))["connections"]
        self.assertEqual((seen["awaited"], seen["host"]), (1, "127.0.0.1"))
        worker.hangs_up()
        await self.until(lambda: len(self.connections) == 1)
        answer = await self.get("/connections/2")
        self.assertEqual((answer.status, answer.detail), (404, "There is no connection 2; it may have ended."))

    async def test_series(self) -> None:
        """
        What happened from second to second.
        """
        await self.open()
        await self.submit(b"f")
        await self.until(lambda: len(self.console.views.moments()) > 0)
        (moment,) = await self.seen("/series?moments=5")
        self.assertEqual((moment["submitted"], moment["waiting"]), (1, 1))

    async def test_store(self) -> None:
        """
        How the store is, and that it fails.
        """
        store = MoodyStore()
        await self.open(store)
        seen = (await self.seen("/overview"))["store"]
        self.assertEqual((seen["up"], seen["failure"], seen["broken_for"]), (True, None, None))
        keeper: Any = self.service.keeper
        keeper.failure, keeper.broken_since = "the disk is full", self.reactor.seconds() - 5
        seen = await self.seen("/overview")
        self.assertEqual((seen["store"]["up"], seen["store"]["failure"]), (False, "the disk is full"))
        self.assertGreaterEqual(seen["store"]["broken_for"], 5)
        self.assertEqual(seen["attention"][0]["sentence"], "The store fails: the disk is full")
        keeper.failure = keeper.broken_since = None

    async def test_head(self) -> None:
        """
        C{HEAD} is C{GET} without its body.
        """
        await self.open()
        for path in ("/overview", "/openapi.json", "/nothing"):
            head, got = await self.post(path, method="HEAD"), await self.get(path)
            self.assertEqual((head.status, head.body), (got.status, b""))
            self.assertEqual(head.headers["content-type"], got.headers["content-type"])


class SubmittingTests(Case):
    """
    Submitting a job.
    """

    async def test_background(self) -> None:
        """
        A job in the background is answered when it is accepted.
        """
        await self.open()
        said = await self.done("/functions/f/jobs", {"workload": "hällo", "unique": "u", "priority": "high", "background": True})
        self.assertEqual((said["state"], said["result"]), ("accepted", None))
        job = self.service.job_server.jobs[said["handle"].encode()]
        self.assertEqual((job.workload, job.unique, job.priority, job.background), ("hällo".encode(), b"u", 0, True))
        await self.turns()
        self.assertEqual(self.service.job_server.sessions, {})

    async def test_binary(self) -> None:
        """
        In JSON, a workload of any bytes is given in base64.
        """
        await self.open()
        said = await self.done("/functions/f/jobs", {"workload_base64": "AP8=", "background": True})
        self.assertEqual(self.service.job_server.jobs[said["handle"].encode()].workload, b"\0\xff")

    async def test_raw(self) -> None:
        """
        Raw, the body is the workload, and the query says the rest.
        """
        await self.open()
        answer = await self.ask(
            "POST",
            "/api/v1/functions/%FF%20g/jobs?background=true&unique=~_w&priority=low&run_at=4000000000",
            b"\0\xff{",
            kind="application/octet-stream",
        )
        job = self.service.job_server.jobs[answer.json["handle"].encode()]
        self.assertEqual((job.function, job.workload, job.unique, job.priority, job.run_at), (b"\xff g", b"\0\xff{", b"\xff", 2, 4_000_000_000))

    async def test_later(self) -> None:
        """
        A job for later is in the background, and answered when it is accepted.
        """
        await self.open()
        said = await self.done("/functions/f/jobs", {"run_at": 4_000_000_000})
        self.assertEqual((said["state"], (await self.seen(f"/jobs/{said['handle']}"))["job"]["state"]), ("accepted", "delayed"))

    async def test_wait(self) -> None:
        """
        Otherwise it is answered when it is done, with what the worker sent, all of it.
        """
        await self.open(console_payload_bytes=2)
        worker = await self.worker("f")
        waiting = Deferred.fromCoroutine(self.done("/functions/f/jobs", {"workload": "w"}))
        await self.answers(
            worker, "WORK_DATA %s|one ", "WORK_STATUS %s|1|2", "WORK_WARNING %s|careful", "WORK_DATA %s|two", "WORK_COMPLETE %s|the result"
        )
        said = await waiting
        self.assertEqual((said["state"], said["result"]["shown"], said["data"]["shown"]), ("completed", "the result", "one two"))
        self.assertEqual([each["shown"] for each in said["warnings"]], ["careful"])
        await self.until(lambda: len(self.service.job_server.sessions) == 1)

    async def test_ends(self) -> None:
        """
        A job that fails is told as that, with its exception if it has one.
        """
        await self.open()
        worker = await self.worker("f")
        for reply, state, result in (
            ("WORK_FAIL %s", "failed", None),
            ("WORK_EXCEPTION %s|no such file", "exception", "no such file"),
            ("WORK_COMPLETE %s|", "completed", ""),
        ):
            waiting = Deferred.fromCoroutine(self.done("/functions/f/jobs", {}))
            await self.answers(worker, reply)
            said = await waiting
            self.assertEqual((said["state"], said["result"] and said["result"]["shown"]), (state, result))

    async def test_timeout(self) -> None:
        """
        One that is not done in time is given up, and gone if no worker has it.
        """
        await self.open()
        answer = await self.post("/functions/f/jobs", {"timeout": 0.01})
        self.assertEqual(answer.status, 504)
        self.assertIn("was not done after 0.01 s", answer.detail)
        self.assertEqual((self.service.job_server.jobs, self.service.job_server.sessions), ({}, {}))

    async def test_goes_away(self) -> None:
        """
        So is one whose client goes away.
        """
        await self.open()
        client = await self.connect(description=f"tcp:127.0.0.1:{self.port}")
        head = b"POST /api/v1/functions/f/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        client.transport.write(head + b"{}")
        server = self.service.job_server
        await self.until(lambda: len(server.jobs) == 1)
        client.hangs_up()
        await self.until(lambda: not server.jobs)
        self.assertEqual(server.sessions, {})

    async def test_coalesces(self) -> None:
        """
        Two that submit the same wait for the same job.
        """
        await self.open()
        worker = await self.worker("f")
        waiting = [Deferred.fromCoroutine(self.done("/functions/f/jobs", {"unique": "u"})) for _ in range(2)]
        await self.until(lambda: len(self.service.job_server.sessions) == 3)
        handle = await self.answers(worker, "WORK_COMPLETE %s|x")
        self.assertEqual([(await each)["handle"] for each in waiting], [handle, handle])

    async def test_refused(self) -> None:
        """
        What the job server refuses is told with its reason, as the client's mistake or as something that may pass.
        """
        await self.open()
        server = self.service.job_server
        server.limit_queue(b"f", (1, 1, 1))
        await self.submit(b"f")
        answer = await self.post("/functions/f/jobs", {"background": True})
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
        self.assertEqual(answer.detail, "The job was not accepted: Job queue is full.")
        server.drain_function(b"g")
        answer = await self.post("/functions/g/jobs", {"background": True})
        self.assertEqual((answer.status, answer.detail), (503, "The job was not accepted: The function takes no more jobs: it is being drained."))
        answer = await self.post(f"/functions/{'~' + 'eHh4' * 2731}/jobs", {"background": True})
        self.assertEqual((answer.status, "may have 8191 bytes" in answer.detail), (400, True))
        answer = await self.post("/functions/g/jobs", {"unique": "ü" * 33})
        self.assertEqual((answer.status, answer.detail), (400, "A unique id may have 64 bytes, and no more."))

    async def test_nul(self) -> None:
        """
        No name holds a NUL: it could be taken for a pause when the store gives it back.
        """
        await self.open()
        for path, body in (
            ("/functions/a%00b/jobs", {"background": True}),
            (f"/functions/{Name(WITH_NUL[2]).path}/jobs", {"background": True}),
            ("/functions/f/jobs", {"background": True, "unique": "a\0b"}),
        ):
            answer = await self.post(path, body)
            self.assertEqual((answer.status, "may hold a NUL" in answer.detail), (400, True))
        self.assertEqual(self.service.job_server.functions, {})

    async def test_large_result(self) -> None:
        """
        A result that would fill the server's memory is not waited for.
        """
        self.patch(submitting, "MAX_RESULT", 1000)
        await self.open()
        worker = await self.worker("f")
        waiting = Deferred.fromCoroutine(self.post("/functions/f/jobs", {}))
        await self.answers(worker, *["WORK_DATA %s|" + "x" * 400] * 3, "WORK_COMPLETE %s|")
        answer = await waiting
        self.assertEqual((answer.status, "more than 1,000 bytes" in answer.detail), (502, True))

    async def test_store_fails(self) -> None:
        """
        A job that can't be stored is refused with the store's reason.
        """
        store = MoodyStore()
        await self.open(store)
        store.break_down("the disk is full")
        answer = await self.post("/functions/f/jobs", {"background": True})
        self.assertEqual((answer.status, "the disk is full" in answer.detail), (503, True))
        store.recover()


class DoingTests(Case):
    """
    What can be done.
    """

    async def test_cancel(self) -> None:
        """
        A job is cancelled: its client is told that it failed, and it is seen as cancelled.
        """
        await self.open()
        client = await self.connect()
        client.says("SUBMIT_JOB f||w")
        handle = (await client.hears()).split()[1]
        self.assertEqual(await self.done(f"/jobs/{handle}/cancel"), {"cancelled": 1})
        self.assertEqual(await client.hears(), f"WORK_FAIL {handle}")
        seen = (await self.seen(f"/jobs/{handle}"))["job"]
        self.assertEqual((seen["state"], seen["reason"]), ("cancelled", "cancel"))
        self.assertEqual((await self.post(f"/jobs/{handle}/cancel")).status, 404)

    async def test_cancel_storing(self) -> None:
        """
        One that is being stored can't be yet.
        """
        store = MoodyStore()
        await self.open(store)
        store.hold()
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f||w")
        server = self.service.job_server
        await self.until(lambda: bool(server.jobs))
        (handle,) = server.jobs
        answer = await self.post(f"/jobs/{handle.decode()}/cancel")
        self.assertEqual((answer.status, answer.detail), (409, "The job is being stored; it can be cancelled once it is."))
        store.release()
        await client.hears()

    async def test_cancel_many(self) -> None:
        """
        Many are cancelled at once, and those that are not there are named.
        """
        await self.open()
        handles = [await self.submit(b"f") for _ in range(3)]
        said = await self.done("/jobs/cancel", {"handles": [*handles[:2], "H:999", handles[0]]})
        self.assertEqual(said, {"cancelled": handles[:2], "missing": ["H:999", handles[0]]})
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_pause(self) -> None:
        """
        A function is paused and resumed; workers are woken then.
        """
        await self.open()
        await self.submit(b"f")
        worker = await self.worker("f")
        self.assertIsNotNone((await self.done("/functions/f/pause"))["paused_since"])
        worker.says("GRAB_JOB", "PRE_SLEEP")
        self.assertEqual(await worker.hears(), "NO_JOB")
        await worker.echoes()
        self.assertIsNone((await self.done("/functions/f/resume"))["paused_since"])
        self.assertEqual(await worker.hears(), "NOOP")

    async def test_pause_is_stored(self) -> None:
        """
        A pause is answered when the store has it: then it is there after a restart.
        """
        await self.open(durable=True)
        await self.submit(b"f")
        await self.done("/functions/f/pause")
        await self.service.stopService()
        await self.open(durable=True)
        self.assertIsNotNone((await self.seen("/functions/f"))["paused_since"])

    async def test_pause_refused(self) -> None:
        """
        A pause that can't be stored is none, and the answer says why.
        """
        store = MoodyStore()
        await self.open(store)
        await self.submit(b"f")
        store.break_down("the disk is full")
        answer = await self.post("/functions/f/pause")
        self.assertEqual((answer.status, "the disk is full" in answer.detail), (503, True))
        self.assertIsNone((await self.seen("/functions/f"))["paused_since"])
        store.recover()

    async def test_limits(self) -> None:
        """
        A function's limits are set.
        """
        await self.open()
        await self.submit(b"f")
        said = await self.done("/functions/f/limits", {"high": 3, "normal": 2, "low": 1}, "PUT")
        self.assertEqual(said["limits"], {"high": 3, "normal": 2, "low": 1})
        self.assertEqual(self.service.job_server.functions[b"f"].limits, (3, 2, 1))

    async def test_drain_function(self) -> None:
        """
        A function takes no new jobs, and takes them again.
        """
        await self.open()
        await self.submit(b"f")
        self.assertTrue((await self.done("/functions/f/draining", {"draining": True}, "PUT"))["draining"])
        self.assertEqual((await self.post("/functions/f/jobs", {"background": True})).status, 503)
        self.assertFalse((await self.done("/functions/f/draining", {"draining": False}, "PUT"))["draining"])
        self.assertEqual((await self.post("/functions/f/jobs", {"background": True})).status, 200)

    async def test_clear(self) -> None:
        """
        A function's waiting jobs are cancelled when its name is repeated; those that run go on, and other functions' stay.
        """
        await self.open()
        worker = await self.worker("f")
        for _ in range(3):
            await self.submit(b"f")
        await self.submit(b"g")
        await self.done("/functions/f/jobs", {"run_at": 4_000_000_000})
        running = await self.answers(worker)
        for confirm in ("", "F", "f ", "g"):
            answer = await self.post("/functions/f/clear", {"confirm": confirm})
            self.assertEqual((answer.status, answer.detail), (409, "To confirm, repeat the function's name: f"))
        self.assertEqual(len(self.service.job_server.jobs), 5)
        self.assertEqual(await self.done("/functions/f/clear", {"confirm": "f"}), {"cancelled": 3})
        self.assertEqual(sorted(job.function for job in self.service.job_server.jobs.values()), [b"f", b"g"])
        self.assertIn(running.encode(), self.service.job_server.jobs)

    async def test_clear_hostile(self) -> None:
        """
        A name is repeated as it is shown, or as it is.
        """
        await self.open()
        for name in (b"\xff\0", "\u202egnp".encode(), b"<b>"):
            self.service.job_server.create_function(name)
            self.assertEqual(await self.done(f"/functions/{Name(name).path}/clear", {"confirm": str(Name(name))}), {"cancelled": 0})
        self.assertEqual(await self.done(f"/functions/{Name(chr(0x202e).encode() + b'gnp').path}/clear", {"confirm": "\u202egnp"}), {"cancelled": 0})

    async def test_clear_many(self) -> None:
        """
        Very many are cancelled in slices, between which the server serves.
        """
        self.patch(slices, "SLICE", 0.0)
        await self.open(MoodyStore())
        self.service.job_server.replay([JobRecord(b"", b"f", b"", 1, b"w", submitted=1.0) for _ in range(20_000)])
        client = await self.connect()
        clearing = Deferred.fromCoroutine(self.done("/functions/f/clear", {"confirm": "f"}))
        echoes = 0
        while not clearing.called:
            await client.echoes()
            echoes += 1
        self.assertEqual(await clearing, {"cancelled": 20_000})
        self.assertGreater(echoes, 5)

    async def test_drop(self) -> None:
        """
        A function without workers is forgotten, with its jobs, when its name is repeated.
        """
        await self.open()
        worker = await self.worker("f")
        for _ in range(3):
            await self.submit(b"f")
        answer = await self.post("/functions/f/drop", {"confirm": "f"})
        self.assertEqual((answer.status, "The function has workers" in answer.detail), (409, True))
        worker.hangs_up()
        await self.until(lambda: not self.service.job_server.functions[b"f"].workers)
        self.assertEqual((await self.post("/functions/f/drop", {"confirm": "x"})).status, 409)
        self.assertEqual(await self.done("/functions/f/drop", {"confirm": "f"}), {"cancelled": 3})
        self.assertEqual((await self.get("/functions/f")).status, 404)
        self.assertEqual((self.service.job_server.functions, self.service.job_server.jobs), ({}, {}))

    async def test_unknown_functions(self) -> None:
        """
        Nothing is done to a function that is not there, and none is made by trying.
        """
        await self.open()
        for path, body, method in (
            ("pause", None, "POST"),
            ("resume", None, "POST"),
            ("limits", {"high": 0, "normal": 0, "low": 0}, "PUT"),
            ("draining", {"draining": True}, "PUT"),
            ("clear", {"confirm": "f"}, "POST"),
            ("drop", {"confirm": "f"}, "POST"),
        ):
            answer = await self.post(f"/functions/f/{path}", body, method)
            self.assertEqual((answer.status, answer.detail), (404, "There is no function 'f'."))
        self.assertEqual(self.service.job_server.functions, {})

    async def test_drain(self) -> None:
        """
        The server hands out no more jobs, and ends when those that run are done: the process, if it is one of its own.
        """
        await self.open()
        worker = await self.worker("f")
        await self.submit(b"f")
        await self.answers(worker)
        self.assertEqual((await self.post("/drain", {"confirm": "yes"})).status, 400)
        answer = await self.post("/drain", {"confirm": "drain"})
        self.assertEqual((answer.status, answer.json), (202, {"running": 1}))
        await self.until(lambda: self.service.job_server.draining)
        self.assertTrue((await self.seen("/overview"))["draining"])
        self.assertEqual((await self.ask("GET", "/readyz")).status, 503)

    async def test_drain_process(self) -> None:
        """
        It asks the process to end gracefully where there is one.
        """
        await self.open()
        asked: list[bool] = []
        self.service.job_server.shut_down = asked.append
        await self.post("/drain", {"confirm": "drain"})
        await self.turns()
        self.assertEqual(asked, [True])


class MistakeTests(Case):
    """
    Requests that can't be answered.
    """

    async def told(self, status: int, answer: Answer) -> str:
        """
        The sentence of a problem.
        """
        self.assertEqual(answer.status, status, answer.body)
        return answer.detail

    async def test_paths(self) -> None:
        """
        Where nothing is, the answer says where to look.
        """
        await self.open()
        for path in ("", "/", "/nothing", "/functions/", "/functions/f/nothing", "/jobs//explain", "/functions/~a"):
            answer = await self.get(path)
            self.assertEqual(answer.status, 400 if path == "/functions/~a" else 404, path)
            self.assertIn("base64" if path == "/functions/~a" else "/api/v1/openapi.json says what there is", answer.detail)

    async def test_methods(self) -> None:
        """
        What can only be asked for in another way says in which.
        """
        await self.open()
        for method, path, allowed in (
            ("DELETE", "/functions/f", "GET"),
            ("GET", "/functions/f/pause", "POST"),
            ("POST", "/functions/f/limits", "PUT"),
            ("GET", "/jobs/cancel", "POST"),
            ("OPTIONS", "/jobs", "GET"),
            ("TRACE", "/jobs", "GET"),
            ("BREW", "/jobs", "GET"),
        ):
            answer = await self.post(path, method=method)
            self.assertEqual(await self.told(405, answer), f"This can only be asked for by {allowed}.")
            self.assertEqual(answer.headers["allow"], allowed)

    async def test_parameters(self) -> None:
        """
        A parameter that is wrong, unknown, or there twice is refused with its name.
        """
        await self.open()
        for path, sentence in (
            ("/jobs?limit=0", "'limit' has to be from 1 to 1000."),
            ("/jobs?limit=1001", "'limit' has to be from 1 to 1000."),
            ("/jobs?limit=ten", "'limit' has to be a whole number."),
            ("/jobs?limit=1.0", "'limit' has to be a whole number."),
            ("/jobs?limit=%D9%A1", "'limit' has to be a whole number."),
            ("/jobs?limit=", "'limit' has to be a whole number."),
            ("/jobs?limit=9999999999999999999999", "'limit' has to be a whole number."),
            ("/jobs?limit=1&limit=2", "'limit' is there more than once."),
            ("/jobs?older=-1", "'older' has to be from 0 to 253402300799."),
            ("/jobs?older=nan", "'older' has to be a number."),
            ("/jobs?older=1e999", "'older' has to be a number."),
            ("/jobs?state=lost", "'state' has to be one of: storing, queued, delayed, running, completed, failed, cancelled."),
            ("/jobs?order=%FF", "'order' has to be UTF-8."),
            ("/jobs?unique=~!", "'unique': what follows a tilde in a path has to be base64, with - and _ in place of + and /."),
            ("/jobs?after=x", "'after' has to be what the page before gave as 'following', and of the same search."),
            ("/overview?x=1", "There is no parameter 'x' here; there is: none."),
            ("/clients?%3Cb%3E", "There is no parameter '<b>' here; there is: limit, after."),
            ("/jobs?limit", "'limit' has to be a whole number."),
            ("/functions?contains=" + "x" * 1001, "'contains' may have 1,000 characters, and no more."),
            ("/connections/x", "'number' has to be a whole number."),
        ):
            self.assertEqual(await self.told(400, await self.get(path)), sentence, path)

    async def test_bodies(self) -> None:
        """
        So is a body.
        """
        await self.open()
        self.service.job_server.create_function(b"f")
        for path, body, sentence in (
            ("drop", b"", "The body is no JSON"),
            ("drop", b"\xff", "The body is no JSON"),
            ("drop", b"[" * 10_000, "The body is nested too deep."),
            ("drop", b"[]", "The body has to be an object."),
            ("drop", b"null", "The body has to be an object."),
            ("drop", b"{}", "'confirm' is missing."),
            ("drop", b'{"confirm": 1}', "'confirm' has to be a string."),
            ("drop", b'{"confirm": "f", "<b>": 1}', "There is no '<b>' here; there is: confirm."),
            ("jobs", b'{"timeout": NaN}', "The body is no JSON: NaN is no number."),
            ("jobs", b'{"timeout": 1e999}', "'timeout' has to be a number."),
            ("jobs", b'{"timeout": true}', "'timeout' has to be a number."),
            ("jobs", b'{"timeout": 3601}', "'timeout' has to be from 0.001 to 3600.0."),
            ("jobs", b'{"background": 1}', "'background' has to be true or false."),
            ("jobs", b'{"run_at": 1.5}', "'run_at' has to be a whole number."),
            ("jobs", b'{"run_at": ' + b"9" * 5000 + b"}", "The body is no JSON"),
            ("jobs", b'{"priority": "urgent"}', "'priority' has to be one of: high, normal, low."),
            ("jobs", b'{"workload": "\\ud800"}', "'workload' holds what no text may hold: half of a surrogate pair."),
            ("jobs", b'{"workload_base64": "A"}', "'workload_base64' has to be like this"),
            ("jobs", b'{"workload_base64": "QQ==\\n"}', "'workload_base64' is no base64."),
        ):
            detail = await self.told(400, await self.post(f"/functions/f/{path}", body))
            self.assertTrue(detail.startswith(sentence), detail)
        for handles in ([], ["~$"], ["x"] * 1001, "H:1", [1]):
            await self.told(400, await self.post("/jobs/cancel", {"handles": handles}))

    async def test_content_types(self) -> None:
        """
        A body of another kind is refused: a form, as a page from elsewhere could send it, too.
        """
        await self.open()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data", "application/json-seq", ""):
            answer = await self.ask("POST", "/api/v1/functions/f/jobs", b"{}", kind=kind)
            self.assertIn("has to be application/json or application/octet-stream", await self.told(415, answer))
        answer = await self.ask("POST", "/api/v1/functions/f/jobs", {"background": True}, kind="Application/JSON; charset=utf-8")
        self.assertEqual(answer.status, 200)
        answer = await self.ask("POST", "/api/v1/functions/f/drop", b"{}", kind="application/octet-stream")
        self.assertEqual(answer.status, 415)

    async def test_busy(self) -> None:
        """
        Where too many ask, more are told to come again.
        """
        self.patch(slices, "MAX_WAITING", 0)
        await self.open()
        answer = await self.get("/overview")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
        self.assertIn("try again later", answer.detail)

    async def test_mistake_of_ours(self) -> None:
        """
        A mistake of the console's is told as that, without what it was; the log has it.
        """
        await self.open()
        self.patch(self.console.views, "overview", lambda: 1 / 0)
        self.assertEqual(await self.told(500, await self.get("/overview")), "The console made a mistake; the server's log has more.")
        (logged,) = self.flushLoggedErrors(ZeroDivisionError)
        self.events.clear()

    async def test_question_given_up(self) -> None:
        """
        A search that its client has given up is given up.
        """
        self.patch(slices, "SLICE", 0.0)
        await self.open()
        self.service.job_server.replay([JobRecord(b"", b"f", b"", 1, b"w", submitted=1.0) for _ in range(100_000)])
        client = await self.connect(description=f"tcp:127.0.0.1:{self.port}")
        client.transport.write(b"GET /api/v1/jobs?unique=nobody HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await self.until(lambda: bool(self.console.views.slices._waiting))
        client.hangs_up()
        await self.until(lambda: not self.console.views.slices._waiting)


class ServingTests(Case):
    """
    That the console does not stand in the job server's way.
    """

    async def test_search_among_many(self) -> None:
        """
        While somebody searches among a hundred thousand jobs, others are served.
        """
        await self.open()
        self.service.job_server.replay([JobRecord(b"", b"f", b"", 1, b"w", submitted=1.0) for _ in range(100_000)])
        self.console.views.register.update()
        client = await self.connect()
        searching = Deferred.fromCoroutine(self.seen("/jobs?unique=nobody"))
        echoes = 0
        while not searching.called:
            client.says("ECHO_REQ x")
            await client.hears()
            echoes += 1
        self.assertEqual(await searching, {"jobs": [], "following": None})
        self.assertGreater(echoes, 3)

    async def test_hears_only_ends(self) -> None:
        """
        Of the job server's events, the console wants only those that its history needs.
        """
        await self.open()
        observers = self.service.job_server.observers
        wanted = {name for name in observers.__slots__ if name != "_observers" and getattr(observers, name)}
        self.assertEqual(wanted, {"job_completed", "job_failed", "job_cancelled"})

    async def test_wire_names(self) -> None:
        """
        What hostile clients submit is seen as they submitted it.
        """
        await self.open()
        for name in HOSTILE:
            await self.submit(name, name[:64], name)
        for name in HOSTILE:
            (job,) = (await self.seen(f"/jobs?function={Name(name).path}"))["jobs"]
            self.assertEqual((job["function"], job["unique"]), (str(Name(name)), str(Name(name[:64]))))
            whole = await self.seen(f"/jobs/{job['handle']}")
            self.assertEqual(whole["workload"]["base64"], b64encode(name[:4096]).decode())

    async def test_hostile_worker(self) -> None:
        """
        So with what a hostile worker calls itself, and says of its progress.
        """
        await self.open()
        worker = await self.connect()
        name = HOSTILE[0]
        worker.transport.write(encode(Type.SET_CLIENT_ID, name, REQUEST) + encode(Type.CAN_DO, WITH_NUL[0], REQUEST))
        await worker.echoes()
        (seen,) = (await self.seen("/workers"))["connections"]
        self.assertEqual((seen["client_id"], seen["functions"][0]["name"]), (name.decode(), "nul\\x00inside"))
