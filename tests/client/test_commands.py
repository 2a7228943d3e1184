"""
L{gearsvc.client.commands}: a program does a job.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.client.assigned import AssignedJob
from gearsvc.client.commands import LONGEST_LINE, CommandUnusable, JobCommand, Lines, check_command
from gearsvc.client.errors import JobFailed
from gearsvc.core.packets import Type
from tests.running import PATIENCE


class CommandTests(TestCase):
    """
    Commands that run.
    """

    timeout = PATIENCE

    def setUp(self) -> None:
        """
        Nothing has been said yet.
        """
        self.sent: list[tuple[Type, bytes]] = []
        self.told: list[str] = []

    def job(self, workload: bytes = b"", reducer: bytes = b"") -> AssignedJob:
        """
        A job that keeps what is sent.
        """

        def tell(kind: Type, *arguments: bytes) -> None:
            [data] = arguments
            self.sent.append((kind, data))

        def never(*arguments: Any) -> None:
            raise AssertionError("no thread is needed")

        return AssignedJob(b"H:host:1", b"f\xff", workload, b"mine", reducer, tell=tell, call_from_thread=never)

    def command(self, script: str, **options: Any) -> JobCommand:
        """
        A command that is a script of the shell.
        """
        return JobCommand(["sh", "-c", script], tell=lambda job, line: self.told.append(line), **options)

    async def test_result(self) -> None:
        """
        The output is the result; a large workload and a large result pass, at once.
        """
        data = os.urandom(3_000_000)
        self.assertEqual(await self.command("cat")(self.job(data)), data)
        self.assertEqual((self.sent, self.told), ([], []))

    async def test_variables(self) -> None:
        """
        The environment says which job it is, byte for byte, and has what else it is to have.
        """
        command = self.command('printf %s "$GEARMAN_FUNCTION,$GEARMAN_HANDLE,$GEARMAN_UNIQUE,$GEARMAN_REDUCER,$MORE"', environment={"MORE": "m"})
        self.assertEqual(await command(self.job(reducer=b"sum")), b"f\xff,H:host:1,mine,sum,m")

    async def test_failure(self) -> None:
        """
        What a command that fails has written is sent as data; how it failed can be told apart from what it said.
        """
        failures: list[str] = []
        command = self.command("echo so far; echo why >&2; exit 7", tell_failure=lambda job, line: failures.append(line))
        with self.assertRaises(JobFailed):
            await command(self.job())
        self.assertEqual(self.sent, [(Type.WORK_DATA, b"so far\n")])
        self.assertEqual((self.told, failures), (["why"], ["the command ended with status 7"]))

    async def test_lines(self) -> None:
        """
        With lines each one is sent when it is there, with or without its end, and the result is empty.
        """
        for strip, expected in ((False, [b"a\n", b"b"]), (True, [b"a", b"b"])):
            self.sent.clear()
            command = self.command("printf 'a\\nb'", lines=True, strip=strip)
            self.assertEqual(await command(self.job()), b"")
            self.assertEqual([data for _, data in self.sent], expected)

    async def test_program_that_is_gone(self) -> None:
        """
        A program that is not there any more makes the job fail, and is told.
        """
        command = JobCommand(["/nonexistent/program"], tell=lambda job, line: self.told.append(line))
        with self.assertRaises(JobFailed):
            await command(self.job())
        self.assertEqual(self.told, ["'/nonexistent/program' cannot be run: No such file or directory"])
        self.assertEqual(command.running, 0)

    async def test_stubborn_program(self) -> None:
        """
        A program that does not mind SIGTERM when its time is up is ended by SIGKILL.
        """
        command = self.command("trap '' TERM; echo; while :; do sleep 0.05; done", timeout=0.2, grace=0.2)
        with self.assertRaises(JobFailed):
            await command(self.job())
        self.assertEqual(self.told, ["the command took more than 0.2 seconds, and was ended"])

    async def test_cancelling(self) -> None:
        """
        To cancel a job ends its program.
        """
        ready: Deferred[None] = Deferred()
        command = JobCommand(["sh", "-c", "echo ready >&2; exec sleep 100"], tell=lambda job, line: ready.callback(None))
        doing = Deferred.fromCoroutine(command(self.job()))
        await ready
        [process] = command._running
        doing.cancel()
        with self.assertRaises(CancelledError):
            await doing
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        while process._process.returncode is None or not process._error.closed:
            await deferLater(reactor, 0.01)
        self.assertEqual(process._process.returncode, -signal.SIGTERM)


class PartsTests(SynchronousTestCase):
    """
    What needs no program.
    """

    def test_check(self) -> None:
        """
        What cannot be run is found out before there is a job.
        """
        check_command(["sh", "-c", "whatever"])
        for name in ("no-such-program", "/nonexistent/program", os.path.abspath(os.curdir)):
            self.assertRaises(CommandUnusable, check_command, [name])

    def test_lines(self) -> None:
        """
        Lines are the same however they arrive; one that is too long is cut.
        """
        written = b"one\n\ntwo\r\n" + b"x" * (2 * LONGEST_LINE + 5) + b"\nrest"
        expected = [b"one\n", b"\n", b"two\r\n", b"x" * LONGEST_LINE, b"x" * LONGEST_LINE, b"xxxxx\n", b"rest"]
        for size in (1, 3, 5000, len(written)):
            found: list[bytes] = []
            lines = Lines(found.append, keep_end=True, longest=LONGEST_LINE)
            for at in range(0, len(written), size):
                lines.feed(written[at : at + size])
            lines.end()
            self.assertEqual(found, expected)
