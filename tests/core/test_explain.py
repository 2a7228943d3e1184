"""
Why a job is not running: each cause, brought about.
"""

from __future__ import annotations

import re

from gearsvc.core.explain import Explanation, explain, span, text
from tests.core.case import NOON, CoreCase, StoreCase


class ExplainTests(CoreCase):
    """
    One cause after the other.
    """

    def why(self, handle: bytes = b"H:1", cause: str = "", sentence: str = "") -> Explanation:
        """
        Ask, and hold what the answer is.

        @param sentence: a pattern that the whole sentence matches.
        """
        found = explain(self.server, self.server.jobs[handle])
        self.assertEqual(found.cause, cause)
        self.assertRegex(found.sentence, rf"\A{sentence}\Z")
        return found

    def test_no_worker(self) -> None:
        """
        Nobody has ever been able to do it.
        """
        self.connect().says("SUBMIT_JOB f||x")
        self.worker("g")
        self.why(cause="no_worker", sentence=r"No worker that can do its function has connected since the server started\.")

    def test_workers_gone(self) -> None:
        """
        Those who could have gone.
        """
        worker = self.worker("f")
        self.connect().says("SUBMIT_JOB f||x")
        worker.hangs_up()
        self.clock.advance(180)
        found = self.why(cause="workers_gone", sentence=r"No worker can do its function now; the last one left 3 minutes ago\.")
        self.assertEqual(found.facts["left_at"], NOON)

    def test_busy(self) -> None:
        """
        The workers have other jobs of the function.
        """
        worker = self.worker("f")
        self.connect().says("SUBMIT_JOB f||x", "SUBMIT_JOB f||y")
        worker.says("SET_CLIENT_ID w", "GRAB_JOB")
        self.clock.advance(12)
        found = self.why(
            b"H:2", "busy", r"The one worker that can do it is busy, for 12 seconds, with H:1\."
        )
        self.assertEqual((found.facts["ahead"], found.facts["busy"]), (0, ["127.0.0.1#1 (w)"]))
        self.assertEqual(found.facts["busy_with"], [f"H:1 of f since {NOON:.3f}"])

    def test_behind(self) -> None:
        """
        Other jobs wait before it, of higher priority and of its own; those that were taken away do not count.
        """
        worker, client = self.worker("f"), self.connect()
        client.says(*["SUBMIT_JOB f||x"] * 4, "SUBMIT_JOB f||mine", "SUBMIT_JOB f||later", "SUBMIT_JOB_HIGH f||x")
        client.says("SUBMIT_JOB_LOW f||x", "cancel job H:2\n", "cancel job H:3\n")
        worker.says("GRAB_JOB")
        found = self.why(b"H:5", "behind", r"2 jobs of higher or equal priority wait before it\. The one worker .* is busy, .*")
        self.assertEqual(found.facts["ahead"], 2)
        self.assertEqual(explain(self.server, self.server.jobs[b"H:8"]).facts["ahead"], 4)

    def test_busy_elsewhere(self) -> None:
        """
        The workers have jobs of other functions.
        """
        worker = self.worker("g", "f")
        self.connect().says("SUBMIT_JOB f||x", "SUBMIT_JOB g||y")
        worker.says("GRAB_JOB")
        self.why(cause="busy_elsewhere", sentence=r"The one worker .* is busy with other functions, such as g: .* with H:2\.")

    def test_others_first(self) -> None:
        """
        The workers are handed jobs of other functions before it.
        """
        worker = self.worker("g", "f")
        self.connect().says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB")
        self.connect().says("SUBMIT_JOB f||mine", "SUBMIT_JOB g||y")
        found = self.why(b"H:2", "others_first", r"Jobs of g are handed out before it to the one worker that can do it: .*")
        self.assertEqual(found.facts["first"], ["g"])

    def test_asleep(self) -> None:
        """
        Workers sleep, and were not woken for it, though others were.
        """
        self.serve(worker_wakeup=1)
        first, _ = self.sleeper("f"), self.sleeper("f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(first.hears(), ["NOOP"])
        sentence = r"The one worker that can do it is asleep, .* woken within --wakeup-delay\. 1 more was woken and has not asked .*"
        found = self.why(cause="asleep", sentence=sentence)
        self.assertEqual((found.facts["asleep_since"], found.facts["woken_at"]), (NOON, NOON))

    def test_woken(self) -> None:
        """
        A worker was woken, and has not come.
        """
        self.sleeper("f")
        self.connect().says("SUBMIT_JOB f||x")
        self.clock.advance(0.9)
        found = self.why(cause="woken", sentence=r"The one worker .* was woken, the first a second ago, and has not asked .*")
        self.assertEqual(found.facts["woken_at"], NOON)

    def test_not_asking(self) -> None:
        """
        A worker is there, and says nothing.
        """
        self.worker("f")
        self.connect().says("SUBMIT_JOB f||x")
        self.why(cause="not_asking", sentence=r"The one worker .* is connected, but neither asleep nor asking for jobs\.")

    def test_deaf(self) -> None:
        """
        The workers don't read what they are sent.
        """
        worker = self.sleeper("f")
        worker.congested = True
        self.connect().says("SUBMIT_JOB f||x")
        self.why(cause="deaf", sentence=r"The one worker can do it, and it reads too slowly what the server sends\.")

    def test_paused(self) -> None:
        """
        Its function is paused.
        """
        self.sleeper("f")
        self.server.pause(b"f", lambda answer: None)
        self.connect().says("SUBMIT_JOB f||x")
        self.clock.advance(7200)
        self.why(b"H:2", "paused", r"Its function has been paused for 2 hours\.")

    def test_delayed(self) -> None:
        """
        Its time has not come.
        """
        self.sleeper("f")
        self.connect().says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 3 * 86400}|x")
        found = self.why(cause="delayed", sentence=r"It is not to run before its time, which is in 3 days\.")
        self.assertEqual(found.facts["run_at"], int(NOON) + 3 * 86400)

    def test_draining(self) -> None:
        """
        The server is about to end.
        """
        self.sleeper("f")
        self.server.drain(lambda: None)
        self.connect().says("SUBMIT_JOB f||x")
        self.why(cause="draining", sentence=r"The server is about to end, and hands out no more jobs\.")

    def test_running(self) -> None:
        """
        It does run: where, since when, and how far it is.
        """
        worker = self.worker("f")
        self.connect().says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "WORK_STATUS H:1|3|10")
        self.clock.advance(4)
        found = self.why(cause="running", sentence=r"It runs: the worker 127\.0\.0\.1#1 has had it for 4 seconds, and is at 3 of 10\.")
        self.assertEqual(found.facts["started"], NOON)

    def test_lost(self) -> None:
        """
        That its worker was lost is said on top of what it waits for now.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        for number, times in enumerate(("once", "twice", "3 times"), 1):
            worker = self.worker("f")
            worker.says("GRAB_JOB")
            worker.hangs_up()
            found = self.why(cause="workers_gone", sentence=rf"No worker .*\. Its worker was lost, or took too long, {times} before\.")
            self.assertEqual(found.facts["attempts"], number)

    def test_text_command(self) -> None:
        """
        C{explain HANDLE} says the sentence, then the facts, a line each; a handle that no job has, and no handle, are errors.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f||x")
        lines = client.says("explain H:1\n")
        self.assertEqual(lines[0], "No worker that can do its function has connected since the server started.\n")
        self.assertEqual(lines[1], "cause\tno_worker\n")
        self.assertIn("function\tf\n", lines)
        self.assertEqual(lines[-1], ".\n")
        self.assertEqual(client.says("explain H:77\n"), ["ERR UNKNOWN_JOB\r\n"])
        self.assertTrue(client.says("explain\n")[0].startswith("ERR INVALID_ARGUMENTS"))

    def test_hostile_names(self) -> None:
        """
        What controls a terminal, or breaks a line, is escaped.
        """
        worker = self.connect()
        worker.sends(b"\0REQ\0\0\0\x16\0\0\0\x06a\n\x1b[2J")
        worker.sends(b"\0REQ\0\0\0\x01\0\0\0\x07f\r\n.\r\n\xff")
        client = self.connect()
        client.sends(b"\0REQ\0\0\0\x12\0\0\0\x0af\r\n.\r\n\xff\0\0x")
        lines = client.says("explain H:1\n")
        self.assertIn("function\tf\\r\\n.\\r\\n\\xff\n", lines)
        self.assertEqual(sum(line == ".\n" for line in lines), 1)
        self.assertIn("(a\\n\\x1b[2J)", "".join(lines))


class StoringTests(StoreCase):
    """
    Before it is accepted.
    """

    def test_storing(self) -> None:
        """
        It is being stored; or the store can't, and why.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        job = self.server.jobs[b"H:1"]
        self.assertEqual(explain(self.server, job).cause, "storing")
        self.store.failure = "the disk is full"
        found = explain(self.server, job)
        self.assertEqual((found.cause, found.facts["failure"]), ("store_fails", "the disk is full"))
        self.assertIn("the disk is full", found.sentence)


class WordsTests(CoreCase):
    """
    How it is said.
    """

    def test_spans(self) -> None:
        """
        A length of time is one number and a unit.
        """
        spans = {0: "less than a second", 0.7: "a second", 1: "a second", 59: "59 seconds", 119: "119 seconds", 120: "2 minutes"}
        spans |= {7200: "2 hours", 86400 * 2: "2 days", 86400 * 40: "40 days"}
        self.assertEqual({seconds: span(seconds) for seconds in spans}, spans)

    def test_text(self) -> None:
        """
        Text stays as it is, all else is escaped.
        """
        self.assertEqual(text("naïve ☃".encode()), "naïve ☃")
        self.assertTrue(re.fullmatch(r"[\x20-\x7e]+", text(bytes(range(128)) + b"\xff" + "\u202e".encode())))
