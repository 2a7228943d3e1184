"""
C{gearsvc submit}: where the data comes from, what is written where, and the exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import socket
import subprocess
import time
import unittest
from datetime import datetime, timezone

from gearsvc.commandline.inorder import InOrder
from gearsvc.commandline.submit import moment
from gearsvc.commandline.submitting import unique_id
from tests.commandline.scripted import GEARSVC, ScriptedCase
from tests.running import HOST, PATIENCE, free_port, wait_until

NO_SERVER, REFUSED, TOO_LATE = 3, 4, 5


class SubmitCase(ScriptedCase):
    """
    Runs C{gearsvc submit} against our server.
    """

    def submit(self, *words: str, input: bytes = b"") -> tuple[int, bytes, bytes]:
        """
        Run it.

        @return: exit status, standard output and error.
        """
        done = self.gearsvc("submit", "--server", self.at, *words, input=input)
        return done.returncode, done.stdout, done.stderr


class OneJobTests(SubmitCase):
    """
    A single job.
    """

    def test_data(self) -> None:
        """
        The data is the argument, or standard input with any bytes; the result comes out as it is.
        """
        self.assertEqual(self.submit("echo", "hello"), (0, b"hello", b""))
        self.assertEqual(self.submit("echo", ""), (0, b"", b""))
        for words in ((), ("-",)):
            self.assertEqual(self.submit("echo", *words, input=bytes(range(256))), (0, bytes(range(256)), b""))

    def test_everything(self) -> None:
        """
        Pieces and the result go to standard output in their order, warnings and progress to standard error.
        """
        status, output, errors = self.submit("talk", "x")
        self.assertEqual((status, output), (0, b"ab\nc"))
        self.assertEqual(
            errors.decode().splitlines(),
            ["gearsvc submit: warning: careful", "gearsvc submit: 50 % (1 of 2)", "gearsvc submit: 66 % (2 of 3)"],
        )
        self.assertNotIn(b"%", self.submit("talk", "x", "--quiet")[2])

    def test_failures(self) -> None:
        """
        A job that fails has status 1; what came of it is written, and why it failed is told, safe for a terminal.
        """
        status, output, errors = self.submit("late-fail", "x")
        self.assertEqual((status, output), (1, b"so far\n"))
        self.assert_one_line(errors, "the job failed")
        status, output, errors = self.submit("raise", "x")
        self.assertEqual((status, output), (1, b""))
        self.assert_one_line(errors, "the job failed: no \\x1b[31mink")

    def test_json(self) -> None:
        """
        With C{--json} all that became of the job is an object.
        """
        status, output, errors = self.submit("talk", "x", "--json", "--quiet")
        told = json.loads(output)
        self.assertRegex(told.pop("handle"), r"\AH:[^:]+:\d+\Z")
        self.assertEqual(told, {"function": "talk", "status": "completed", "result": "ab\nc", "warnings": ["careful\\n"]})
        self.assertEqual((status, errors), (0, b""))
        self.assertEqual(json.loads(self.submit("echo", "--json", input=b"\xff")[1])["result_base64"], "/w==")
        status, output, _ = self.submit("raise", "x", "--json")
        told = json.loads(output)
        self.assertEqual((status, told["status"], told["error"]), (1, "failed", "the job failed: no \\x1b[31mink"))

    def test_background(self) -> None:
        """
        A background job is not waited for: its handle is written, by which the server knows it.
        """
        status, output, errors = self.submit("nobody", "x", "--background", "--unique", "mine", "--priority", "high")
        self.assertEqual((status, errors), (0, b""))
        self.assertIn(output.rstrip(b"\n") + b"\t", self.server.admin("show jobs"))
        self.assertIn(b"mine\n", self.server.admin("show unique jobs"))
        self.assertIn(b"nobody\t1\t", self.server.admin("prioritystatus"))

    def test_at(self) -> None:
        """
        A job of C{--at} waits for its time, and is in the background.
        """
        begun = time.time()
        status, output, _ = self.submit("echo", "x", "--at", "+3600", "--json")
        told = json.loads(output)
        self.assertEqual((status, told["status"]), (0, "submitted"))
        self.assertNotIn("result", told)
        self.assertEqual(self.server.status("echo")[:2], (1, 0))
        self.assertEqual(self.server.admin(f"cancel job {told['handle']}"), b"OK\r\n")
        self.assertLess(time.time() - begun, 3600)

    def test_timeout(self) -> None:
        """
        A job that takes too long has a status of its own, and the server forgets it.
        """
        status, output, errors = self.submit("slow", "x", "--timeout", "0.2")
        self.assertEqual((status, output), (TOO_LATE, b""))
        self.assert_one_line(errors, "--timeout")
        wait_until(lambda: self.server.status("slow")[0] == 0, "the job is gone")

    def test_no_server(self) -> None:
        """
        A server that is not there has a status of its own, and one line says where it was looked for.
        """
        port = str(free_port())
        done = self.gearsvc("submit", "--server", f"{HOST}:{port}", "echo", "x")
        self.assertEqual((done.returncode, done.stdout), (NO_SERVER, b""))
        self.assert_one_line(done.stderr, port)

    def test_servers(self) -> None:
        """
        With several servers one of which is down, the others do it; the environment may name them.
        """
        both = f"{HOST}:{free_port()},{self.at}"
        for _ in range(2):
            done = self.gearsvc("submit", "echo", "x", GEARMAN_SERVERS=both)
            self.assertEqual((done.returncode, done.stdout), (0, b"x"), done.stderr)

    def test_refused(self) -> None:
        """
        A job that the server has no room for has a status of its own.
        """
        self.server.admin("maxqueue full 1")
        self.assertEqual(self.submit("full", "x", "--background")[0], 0)
        status, output, errors = self.submit("full", "y", "--background")
        self.assertEqual((status, output), (REFUSED, b""))
        self.assert_one_line(errors, "queue")

    def test_server_that_goes_away(self) -> None:
        """
        A job whose server goes away is not lost in silence: it is submitted again as often as C{--retries} allows.
        """
        with socket.create_server((HOST, 0)) as listener:
            listener.settimeout(PATIENCE)
            process = self.start_gearsvc(
                "submit", "--server", f"{HOST}:{listener.getsockname()[1]}", "--retries", "1", "echo", "x"
            )
            for _ in range(2):
                connection, _address = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    received = b""
                    while b"echo\0" not in received:
                        received += connection.recv(1000)
            output, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, output), (NO_SERVER, b""), errors)
        self.assertIn(b"submitted again", errors)

    def test_interrupt(self) -> None:
        """
        Ctrl-C ends it with status 130 and without a traceback, whether it waits for a job or for its input.
        """
        process = self.start_gearsvc("submit", "--server", self.at, "waits", "x")
        wait_until(lambda: self.server.status("waits")[0] == 1, "the job is there")
        reading = self.start_gearsvc("submit", "--server", self.at, "--lines", "waits-too")
        assert reading.stdin is not None
        reading.stdin.write(b"one\n")
        reading.stdin.flush()
        wait_until(lambda: self.server.status("waits-too")[0] == 1, "the first job is there")
        for each, told in ((process, rb"\A\Z"), (reading, rb"\Agearsvc submit: stopped; [^\n]*\n\Z")):
            each.send_signal(signal.SIGINT)
            # (communicate() would end its input.)
            self.assertEqual(each.wait(PATIENCE), 130)
            self.assertRegex(each.communicate()[1], told)
        wait_until(lambda: self.server.status("waits")[0] == 0, "the job is gone")

    def test_mistakes(self) -> None:
        """
        A command line that makes no sense is told in one line, with status 2.
        """
        for words, what in (
            (("echo", "x", "--lines"), "DATA"),
            (("echo", "--lines", "--null"), "--null"),
            (("echo", "--lines", "--unique", "same"), "{}"),
            (("echo", "x", "--at", "soon"), "'soon'"),
            (("echo", "x", "--at", "+1", "--priority", "low"), "--priority"),
            (("", "x"), "FUNCTION"),
            (("echo", "x", "--outstanding", "0"), "--outstanding"),
        ):
            status, errors = self.refused("submit", *words)
            self.assertEqual(status, 2, words)
            self.assert_one_line(errors, "gearsvc submit: ", what)


class ManyJobsTests(SubmitCase):
    """
    C{--lines} and C{--null}.
    """

    def test_lines(self) -> None:
        """
        Every line is a job, the last one even without its end; each result ends with a line feed, and keeps one it has.
        """
        self.assertEqual(self.submit("--lines", "echo", input=b"a\n\nb\r\nc"), (0, b"a\n\nb\r\nc\n", b""))
        self.assertEqual(self.submit("--lines", "late-fail", input=b"a\n")[:2], (1, b"so far\n"))

    def test_null(self) -> None:
        """
        With C{--null} what is between NULs is a job, line feeds and all, and so are the results.
        """
        self.assertEqual(self.submit("--null", "echo", input=b"a\nb\0c\0"), (0, b"a\nb\0c\0", b""))

    def test_order(self) -> None:
        """
        However many are outstanding, the results come in the order of the input.
        """
        given = b"".join(b"%d\n" % number for number in range(2000))
        self.assertEqual(self.submit("--lines", "--outstanding", "100", "echo", input=given), (0, given, b""))

    def test_outstanding(self) -> None:
        """
        No more jobs than C{--outstanding} says are with the server at a time.
        """
        process = self.start_gearsvc("submit", "--server", self.at, "--lines", "--outstanding", "3", "held")
        assert process.stdin is not None
        process.stdin.write(b"x\n" * 1000)
        process.stdin.flush()
        wait_until(lambda: self.server.status("held")[0] == 3, "three jobs are there")
        time.sleep(0.1)
        self.assertEqual(self.server.status("held")[0], 3)

    def test_failures(self) -> None:
        """
        A job that fails is told with its line, and the others are done all the same.
        """
        status, output, errors = self.submit("--lines", "raise", input=b"a\nb\n")
        self.assertEqual((status, output), (1, b""))
        self.assertEqual(
            sorted(errors.decode().splitlines()),
            [f"gearsvc submit: line {number}: the job failed: no \\x1b[31mink" for number in (1, 2)],
        )

    def test_background(self) -> None:
        """
        In the background each line has its handle, and C{--unique -} makes one job of equal lines.
        """
        status, output, _ = self.submit("--lines", "--background", "--unique", "-", "nobody-yet", input=b"a\nb\na\n")
        handles = output.split()
        self.assertEqual((status, len(handles)), (0, 3))
        self.assertEqual(handles[0], handles[2])
        self.assertEqual(self.server.status("nobody-yet"), (2, 0, 0))

    def test_json(self) -> None:
        """
        Each job is an object in a line, in order, with its number.
        """
        _, output, _ = self.submit("--lines", "--json", "echo", input=b"a\nb\n")
        told = [json.loads(line) for line in output.splitlines()]
        self.assertEqual([(each["number"], each["result"]) for each in told], [(1, "a"), (2, "b")])

    def test_no_server(self) -> None:
        """
        Without a server it ends at the first job, and reads no more.
        """
        process = self.start_gearsvc("submit", "--server", f"{HOST}:{free_port()}", "--lines", "echo")
        assert process.stdin is not None
        process.stdin.write(b"x\n")
        process.stdin.flush()
        self.assertEqual(process.wait(PATIENCE), NO_SERVER)

    def test_closed_output(self) -> None:
        """
        When nobody reads the results any more it ends without a word.
        """
        process = self.start_gearsvc("submit", "--server", self.at, "--lines", "echo")
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"x\n" * 1000)
        process.stdin.flush()
        self.assertEqual(process.wait(PATIENCE), 1)
        assert process.stderr is not None
        self.assertEqual(process.stderr.read(), b"")
        process.stdout = None

    def test_input_is_not_read_ahead(self) -> None:
        """
        Input is read as jobs end: of any number of lines no more are in memory than are outstanding, and a piece.
        """
        process = self.start_gearsvc("submit", "--server", self.at, "--lines", "never")
        assert process.stdin is not None
        descriptor = process.stdin.fileno()
        os.set_blocking(descriptor, False)
        piece = b"line\n" * 2000
        written = 0
        # Until it has taken nothing for a while, with the jobs at the server.
        full_since = None
        while full_since is None or time.monotonic() - full_since < 0.3:
            try:
                written += os.write(descriptor, piece)
                full_since = None
            except BlockingIOError:
                if self.server.status("never")[0] == 16 and full_since is None:
                    full_since = time.monotonic()
                time.sleep(0.02)
            self.assertLess(written, 1_000_000)

    def test_bar(self) -> None:
        """
        On a terminal a bar shows how many are done of how many there are in a file.
        """
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        path = self.directory / "lines"
        path.write_bytes(b"x\n" * 20)
        with path.open("rb") as lines:
            with subprocess.Popen(
                [*GEARSVC, "submit", "--server", self.at, "--lines", "echo"],
                stdin=lines,
                stdout=subprocess.DEVNULL,
                stderr=theirs,
                env=self.environment(TERM="xterm", COLUMNS="120"),
            ) as process:
                self.assertEqual(process.wait(PATIENCE), 0)
        os.close(theirs)
        self.assertIn(b"20 of 20", os.read(ours, 100_000))


class PartsTests(unittest.TestCase):
    """
    What needs no server.
    """

    def test_moments(self) -> None:
        """
        C{--at} takes ISO 8601, with or without a zone, and lengths of time.
        """
        self.assertEqual(moment("2026-12-24T18:00Z"), 1798135200)
        self.assertEqual(moment("2026-12-24T20:00:00.5+02:00"), 1798135201)
        here = datetime(2026, 12, 24, 18).timestamp()
        self.assertEqual(moment("2026-12-24 18:00"), here)
        now = datetime.now(timezone.utc).timestamp()
        for given, seconds in (("+90", 90), ("+1.5m", 90), ("+2h", 7200), ("+1d", 86400)):
            self.assertTrue(0 <= moment(given) - now - seconds < 5, given)
        for given in ("", "+", "now", "+1w", "-5", "2026-13-01", "+1e9", "\N{ARABIC-INDIC DIGIT ONE}"):
            self.assertRaises(argparse.ArgumentTypeError, moment, given)

    def test_unique_ids(self) -> None:
        """
        C{{}} stands for the data; C{-} is the data itself if it can be an id, else what tells it from others.
        """
        self.assertEqual(unique_id("job-{}", b"7"), b"job-7")
        self.assertEqual(unique_id("-", b"short"), b"short")
        long = unique_id("-", b"x" * 1000)
        self.assertLess(len(long), 64)
        self.assertNotEqual(long, unique_id("-", b"x" * 1001))
        self.assertNotIn(b"\0", unique_id("-", b"a\0b"))

    def test_order(self) -> None:
        """
        The first output that has not ended is written as it comes; the others wait for their turn.
        """
        written: list[bytes] = []
        order = InOrder(written.append)
        first, second, third = order.begin(), order.begin(), order.begin()
        second.write(b"2")
        third.write(b"3")
        third.end()
        first.write(b"1")
        self.assertEqual((written, order.waiting), ([b"1"], 3))
        first.end()
        self.assertEqual((written, order.waiting), ([b"1", b"2"], 2))
        second.write(b"2")
        second.end()
        self.assertEqual((written, order.waiting), ([b"1", b"2", b"2", b"3"], 0))
