"""
Why a job is not running: each cause, brought about by clients and workers on the wire, and asked for in both ways.
"""

from __future__ import annotations

import re
import time
from typing import Any

from gearsvc.console.ends import REASONS
from gearsvc.interfaces import IJobObserver
from tests.consoleweb.case import ConsoleCase, MoodyStore
from tests.protocols.case import Peer

SECOND = "(less than a second|a second|[0-9]+ seconds)"
"""
How long something has been so that a test has just brought about.
"""


class Case(ConsoleCase):
    """
    Asking why.
    """

    async def why(self, handle: str, cause: str, sentence: str) -> dict[str, Any]:
        """
        Ask by the text protocol and by the API, and hold that both say the same, and what.

        @param sentence: a pattern that the whole sentence matches; C{SECOND} stands for a short time.
        @return: the facts that the API gives.
        """
        began = time.time()
        asker = await self.connect()
        asker.says(f"explain {handle}\n")
        said, *lines = [line.removesuffix("\n") for line in await asker.hears_list()]
        answer = await self.get(f"/jobs/{handle}/explain")
        asker.hangs_up()
        self.assertEqual(answer.status, 200, answer.body)
        why = answer.json
        facts: dict[str, Any] = why["facts"]
        pattern = rf"\A{sentence.replace('SECOND', SECOND)}\Z"
        self.assertRegex(why["sentence"], pattern)
        self.assertRegex(said, pattern)
        self.assertEqual(why["cause"], cause)
        told = {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in facts.items()}
        self.assertEqual(dict(line.split("\t") for line in lines), {"cause": cause, **told})
        self.assertEqual((facts["handle"], facts["function"]), (handle, "f"))
        for name in ("paused_since", "left_at", "asleep_since", "woken_at", "busy_since", "started", "ended", "submitted"):
            if name in facts:
                self.assertLess(began - 60, facts[name])
                self.assertLessEqual(facts[name], time.time() + 0.001)
        return facts

    async def grabs(self, worker: Peer) -> str:
        """
        Let a worker take a job.

        @return: its handle.
        """
        worker.says("GRAB_JOB")
        heard = await worker.hears()
        self.assertTrue(heard.startswith("JOB_ASSIGN "), heard)
        return heard.split()[1].split("|")[0]

    async def sleeper(self, *functions: str) -> Peer:
        """
        A worker that is asleep.
        """
        worker = await self.worker(*functions)
        worker.says("PRE_SLEEP")
        await worker.echoes()
        return worker


class WaitingTests(Case):
    """
    What keeps a job waiting.
    """

    async def test_no_worker(self) -> None:
        """
        Nobody has ever been able to do it.
        """
        await self.open()
        handle = await self.submit(b"f")
        await self.worker("g")
        facts = await self.why(handle, "no_worker", r"No worker that can do its function has connected since the server started\.")
        self.assertEqual(facts["attempts"], 0)

    async def test_workers_gone(self) -> None:
        """
        The last worker that could has gone.
        """
        await self.open()
        worker = await self.worker("f")
        handle = await self.submit(b"f")
        worker.hangs_up()
        await self.until(lambda: not self.service.job_server.functions[b"f"].workers)
        facts = await self.why(handle, "workers_gone", r"No worker can do its function now; the last one left SECOND ago\.")
        self.assertIn("left_at", facts)

    async def test_busy(self) -> None:
        """
        The worker has another job: which, and since when.
        """
        await self.open()
        worker = await self.worker("f")
        first, second = await self.submit(b"f"), await self.submit(b"f")
        worker.says("SET_CLIENT_ID w")
        await self.grabs(worker)
        facts = await self.why(second, "busy", rf"The one worker that can do it is busy, for SECOND, with {first}\.")
        self.assertEqual((facts["ahead"], facts["workers"], facts["busy"]), (0, 1, ["127.0.0.1#1 (w)"]))
        self.assertEqual(facts["busy_with"], [f"{first} of f since {facts['busy_since']:.3f}"])

    async def test_behind(self) -> None:
        """
        Others of higher or equal priority wait before it.
        """
        await self.open()
        worker, client = await self.worker("f"), await self.connect()
        client.says(*["SUBMIT_JOB_BG f||x"] * 1204, "SUBMIT_JOB_LOW_BG f||mine", "SUBMIT_JOB_LOW_BG f||later")
        handle = (await client.hears_all(1206))[-2].split()[1]
        await self.grabs(worker)
        sentence = r"1,203 jobs of higher or equal priority wait before it\. The one worker that can do it is busy, .*"
        facts = await self.why(handle, "behind", sentence)
        self.assertEqual((facts["ahead"], len(facts["busy_with"])), (1203, 1))

    async def test_busy_elsewhere(self) -> None:
        """
        The workers have jobs of other functions.
        """
        await self.open()
        worker = await self.worker("g", "f")
        handle, other = await self.submit(b"f"), await self.submit(b"g")
        await self.grabs(worker)
        sentence = rf"The one worker that can do it is busy with other functions, such as g: for SECOND, with {other}\."
        await self.why(handle, "busy_elsewhere", sentence)

    async def test_others_first(self) -> None:
        """
        The workers are handed the jobs of another function before it.
        """
        await self.open()
        worker = await self.worker("g", "f")
        await self.submit(b"f")
        await self.grabs(worker)
        handle = await self.submit(b"f")
        await self.submit(b"g")
        facts = await self.why(handle, "others_first", r"Jobs of g are handed out before it to the one worker that can do it: .*")
        self.assertEqual(facts["first"], ["g"])

    async def test_asleep(self) -> None:
        """
        One worker sleeps, since when, and another one was woken, when.
        """
        await self.open(worker_wakeup=1, wakeup_delay=60.0)
        first = await self.sleeper("f")
        await self.sleeper("f")
        handle = await self.submit(b"f")
        self.assertEqual(await first.hears(), "NOOP")
        sentence = r"The one worker that can do it is asleep, for SECOND; more are woken within --wakeup-delay\. 1 more was woken .*"
        facts = await self.why(handle, "asleep", sentence)
        self.assertEqual((facts["asleep"], facts["woken"]), (["127.0.0.1#2"], ["127.0.0.1#1"]))
        self.assertLessEqual(facts["asleep_since"], facts["woken_at"])

    async def test_woken(self) -> None:
        """
        All that slept were woken, and none has come.
        """
        await self.open(wakeup_delay=60.0)
        workers = [await self.sleeper("f") for _ in range(2)]
        handle = await self.submit(b"f")
        self.assertEqual([await worker.hears() for worker in workers], ["NOOP"] * 2)
        sentence = r"2 workers that can do it were woken, the first SECOND ago, and have not asked for a job since\."
        facts = await self.why(handle, "woken", sentence)
        self.assertIn("woken_at", facts)

    async def test_not_asking(self) -> None:
        """
        A worker is there, and says nothing.
        """
        await self.open()
        await self.worker("f")
        handle = await self.submit(b"f")
        sentence = r"The one worker that can do it is connected, but neither asleep nor asking for jobs\."
        facts = await self.why(handle, "not_asking", sentence)
        self.assertEqual(facts["idle"], ["127.0.0.1#1"])

    async def test_deaf(self) -> None:
        """
        A worker does not read what it is sent.
        """
        await self.open()
        worker, ours = await self.connect_tight()
        worker.says("CAN_DO f")
        await worker.echoes()
        worker.transport.pauseProducing()
        worker.says(*["ECHO_REQ " + "x" * 100_000] * 20)
        await self.until(lambda: ours.congested)
        handle = await self.submit(b"f")
        facts = await self.why(handle, "deaf", r"The one worker can do it, and it reads too slowly what the server sends\.")
        self.assertEqual(facts["deaf"], ["127.0.0.1#1"])

    async def test_paused(self) -> None:
        """
        Its function is paused.
        """
        await self.open()
        await self.sleeper("f")
        handle = await self.submit(b"f")
        self.assertEqual((await self.post("/functions/f/pause")).status, 200)
        facts = await self.why(handle, "paused", r"Its function has been paused for SECOND\.")
        self.assertIn("paused_since", facts)

    async def test_delayed(self) -> None:
        """
        Its time has not come.
        """
        await self.open()
        await self.sleeper("f")
        client = await self.connect()
        run_at = int(time.time()) + 3 * 86400 + 60
        client.says(f"SUBMIT_JOB_EPOCH f||{run_at}|x")
        handle = (await client.hears()).split()[1]
        facts = await self.why(handle, "delayed", r"It is not to run before its time, which is in 3 days\.")
        self.assertEqual(facts["run_at"], run_at)

    async def test_draining(self) -> None:
        """
        The server is about to end, and waits for a job that runs.
        """
        await self.open()
        worker = await self.worker("f")
        await self.submit(b"f")
        await self.grabs(worker)
        handle = await self.submit(b"f")
        client = await self.connect()
        draining = self.service.drain(60)
        answer = await self.get(f"/jobs/{handle}/explain")
        client.says(f"explain {handle}\n")
        sentence = "The server is about to end, and hands out no more jobs."
        self.assertEqual((answer.json["cause"], answer.json["sentence"], answer.json["facts"]["running"]), ("draining", sentence, 1))
        self.assertEqual((await client.hears_list())[:2], [f"{sentence}\n", "cause\tdraining\n"])
        worker.hangs_up()
        await draining

    async def test_lost(self) -> None:
        """
        That its worker was lost is said on top of what it waits for now: a worker that broke off, and one that took too long.
        """
        await self.open()
        handle = await self.submit(b"f")
        worker = await self.worker("f")
        await self.grabs(worker)
        worker.hangs_up()
        await self.until(lambda: not self.service.job_server.running)
        lost = r"Its worker was lost, or took too long, {} before\."
        facts = await self.why(handle, "workers_gone", rf"No worker can do its function now; .* {lost.format('once')}")
        self.assertEqual(facts["attempts"], 1)
        slow = await self.connect()
        slow.says("CAN_DO_TIMEOUT f|1")
        await self.grabs(slow)
        await self.until(lambda: not self.service.job_server.running)
        facts = await self.why(handle, "not_asking", rf"The one worker that can do it is connected, .* {lost.format('twice')}")
        self.assertEqual(facts["attempts"], 2)


class StoringTests(Case):
    """
    Before it is accepted.
    """

    async def stored_later(self, store: MoodyStore) -> tuple[Peer, str]:
        """
        Submit a job of which the store has not yet said that it has it.

        @return: the client, and the handle, which only the console knows.
        """
        store.hold()
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        await self.until(lambda: bool(self.service.job_server.jobs))
        (seen,) = (await self.get("/jobs?state=storing")).json["jobs"]
        return client, seen["handle"]

    async def test_storing(self) -> None:
        """
        The store has not yet said that it has it.
        """
        store = MoodyStore()
        await self.open(store)
        await self.worker("f")
        client, handle = await self.stored_later(store)
        await self.why(handle, "storing", r"It is being stored; nobody has been told yet that it was accepted\.")
        store.release()
        self.assertEqual(await client.hears(), f"JOB_CREATED {handle}")
        await self.why(handle, "not_asking", ".*")

    async def test_store_fails(self) -> None:
        """
        The store has failed before, and why, in one line.
        """
        store = MoodyStore()
        await self.open(store)
        client = await self.connect()
        store.break_down("the disk is full\n.\n")
        client.says("SUBMIT_JOB_BG f||x")
        self.assertIn("the disk is full", await client.hears())
        store.recover()
        client, handle = await self.stored_later(store)
        facts = await self.why(handle, "store_fails", r"It is to be stored, and the store fails: the disk is full\\n\.\\n")
        self.assertEqual(facts["failure"], r"the disk is full\n.\n")
        store.release()
        self.assertEqual(await client.hears(), f"JOB_CREATED {handle}")


class RunningTests(Case):
    """
    It does run, or it did.
    """

    async def test_running(self) -> None:
        """
        Who has it, since when, and how far it is.
        """
        await self.open()
        worker = await self.worker("f")
        handle = await self.submit(b"f")
        worker.says("SET_CLIENT_ID w")
        await self.grabs(worker)
        worker.says(f"WORK_STATUS {handle}|3|10")
        await worker.echoes()
        sentence = r"It runs: the worker 127\.0\.0\.1#1 \(w\) has had it for SECOND, and is at 3 of 10\."
        facts = await self.why(handle, "running", sentence)
        self.assertEqual((facts["worker"], facts["numerator"], facts["denominator"]), ("127.0.0.1#1 (w)", "3", "10"))
        self.assertIn("started", facts)

    async def test_over(self) -> None:
        """
        What became of one that is over: how and when it ended, and who had it.
        """
        await self.open()
        worker = await self.worker("f")
        had = r", after the worker 127\.0\.0\.1#1 had had it for SECOND"
        for reply, cause, sentence in (
            ("WORK_COMPLETE %s|done", "completed", rf"It is over: it completed SECOND ago{had}\."),
            ("WORK_FAIL %s", "failed", rf"It is over: it failed SECOND ago{had}: its worker said that it failed\."),
            ("WORK_EXCEPTION %s|no", "failed", rf"It is over: it failed SECOND ago{had}: its worker sent an exception\."),
        ):
            handle = await self.submit(b"f")
            await self.grabs(worker)
            worker.says(reply % handle)
            await worker.echoes()
            facts = await self.why(handle, cause, sentence)
            self.assertLessEqual(facts["started"], facts["ended"])
        handle = await self.submit(b"f")
        self.assertEqual((await self.post(f"/jobs/{handle}/cancel")).status, 200)
        facts = await self.why(handle, "cancelled", r"It is over: it was cancelled SECOND ago: somebody cancelled it\.")
        self.assertEqual(facts["reason"], "cancel")
        self.assertNotIn("started", facts)

    async def test_reasons(self) -> None:
        """
        Every reason for which the observers' interface says that a job can end has words.
        """
        documented = "".join(IJobObserver[event].getDoc() for event in ("job_failed", "job_cancelled"))
        self.assertEqual(set(REASONS), set(re.findall(r'C\{"(\w+)"\}', documented)))

    async def test_unknown(self) -> None:
        """
        A job that never was, and one that is over and forgotten.
        """
        await self.open(history=0)
        worker, client = await self.worker("f"), await self.connect()
        handle = await self.submit(b"f")
        await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {handle}|")
        await worker.echoes()
        for unknown in (handle, "H:nosuch:1"):
            answer = await self.get(f"/jobs/{unknown}/explain")
            self.assertEqual(answer.status, 404)
            self.assertEqual(answer.detail, f"There is no job '{unknown}': it never was, or is over and forgotten.")
            client.says(f"explain {unknown}\n")
            self.assertEqual(await client.hears(), "ERR UNKNOWN_JOB\r\n")
