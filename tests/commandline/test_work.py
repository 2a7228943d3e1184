"""
C{gearsvc work}: a command does jobs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.commandline.scripted import ScriptedCase
from tests.running import HOST, PATIENCE, free_port, start_server, wait_until


class WorkCase(ScriptedCase):
    """
    Runs C{gearsvc work} against our server.
    """

    def work(self, function: str, *words: str, workers: int = 1, **variables: str) -> subprocess.Popen[bytes]:
        """
        Start it, and wait until the server knows it.

        @param workers: how many of the function there are then.
        """
        process = self.start_gearsvc("work", "--server", self.at, function, *words, **variables)
        wait_until(lambda: self.server.status(function)[2] == workers or process.poll() is not None, f"{function} has a worker")
        return process

    def ask(self, function: str, data: bytes = b"x", *flags: str) -> tuple[int, bytes]:
        """
        Submit a job with gearman(1).

        @return: its exit status, and the result.
        """
        done = self.run_program("gearman", "-h", HOST, "-p", str(self.server.port), "-f", function, *flags, input=data)
        return done.returncode, done.stdout

    def end_of(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """
        Wait for its end.

        @return: its exit status, and what it wrote to stderr.
        """
        _, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, errors.decode()

    def is_gone(self, pid: int) -> bool:
        """
        Whether a process does not run any more.
        """
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True


class JobTests(WorkCase):
    """
    One job after the other.
    """

    def test_result(self) -> None:
        """
        The data is the command's standard input, and its standard output is the result, whatever bytes they are; C{--count}
        ends it after so many, with status 0.
        """
        process = self.work("through", "--count", "2", "--", "cat")
        data = os.urandom(1_000_000)
        self.assertEqual(self.ask("through", data), (0, data))
        self.assertEqual(self.ask("through", b"", "-s"), (0, b""))
        self.assertEqual(self.end_of(process), (0, ""))

    def test_failure(self) -> None:
        """
        A command that fails makes the job fail, and leaves what it has written; why is told with the handle, and so is
        what it wrote to standard error, safe for a terminal.
        """
        process = self.work("bad", "--count", "1", "--", "sh", "-c", r"echo so far; printf 'a \033[31mred line\nlast' >&2; exit 3")
        self.assertEqual(self.ask("bad"), (1, b"so far\n"))
        status, errors = self.end_of(process)
        self.assertEqual(status, 0)
        lines = [re.sub(r"H:\S+:\d+:", "HANDLE:", line) for line in errors.splitlines()]
        self.assertEqual(
            lines,
            [
                "gearsvc work: bad HANDLE: a \\x1b[31mred line",
                "gearsvc work: bad HANDLE: last",
                "gearsvc work: bad HANDLE: the command ended with status 3",
            ],
        )

    def test_signal(self) -> None:
        """
        A command that is ended by a signal makes the job fail.
        """
        process = self.work("dies", "--count", "1", "--", "sh", "-c", "kill -9 $$")
        self.assertEqual(self.ask("dies"), (1, b""))
        self.assertIn("SIGKILL", self.end_of(process)[1])

    def test_environment(self) -> None:
        """
        The command's environment says which job it is, and where the servers are.
        """
        self.work("tell", "--count", "1", "--", "sh", "-c", 'echo "$GEARMAN_FUNCTION $GEARMAN_UNIQUE $GEARMAN_SERVERS $GEARMAN_HANDLE"')
        status, output = self.ask("tell", b"x", "-u", "mine")
        self.assertEqual(status, 0)
        self.assertRegex(output.decode(), rf"\Atell mine {re.escape(self.at)} H:\S+:\d+\n\Z")

    def test_deaf_commands(self) -> None:
        """
        A command that does not read its data, or closes its input early, does no harm.
        """
        self.work("deaf", "--count", "2", "--", "sh", "-c", "exec 0<&-; echo done")
        for _ in range(2):
            self.assertEqual(self.ask("deaf", bytes(1_000_000)), (0, b"done\n"))

    def test_lines(self) -> None:
        """
        With C{--lines} a line reaches the client when it is there.
        """
        os.mkfifo(self.directory / "hold")
        self.work("lines", "--count", "1", "--lines", "--", "sh", "-c", "echo one; read nothing < hold; echo two")
        client = subprocess.Popen(
            ["gearman", "-h", HOST, "-p", str(self.server.port), "-f", "lines", "-s"],
            stdout=subprocess.PIPE,
            env=self.environment(),
        )
        assert client.stdout is not None
        self.assertEqual(client.stdout.readline(), b"one\n")
        (self.directory / "hold").write_text("go on\n")
        self.assertEqual(client.communicate(timeout=PATIENCE)[0], b"two\n")

    def test_several_functions(self) -> None:
        """
        C{--function} adds functions; a command may have options and a "--" of its own.
        """
        process = self.work("one", "--function", "two", "--count", "2", "--", "printf", "%s", "--", "-x")
        for function in ("one", "two"):
            self.assertEqual(self.ask(function), (0, b"---x"))
        self.assertEqual(self.end_of(process)[0], 0)

    def test_several_jobs(self) -> None:
        """
        C{--jobs} is how many it does at a time, and C{--count} holds then too.
        """
        os.mkfifo(self.directory / "hold")
        process = self.work("slow", "--jobs", "2", "--count", "3", "--", "sh", "-c", "read nothing < hold || :")
        for _ in range(5):
            self.ask("slow", b"x", "-b")
        wait_until(lambda: self.server.status("slow")[1] == 2, "two jobs run")
        self.assertEqual(self.server.status("slow")[0], 5)
        # (A reader of the pipe may get all of the lines.)
        while process.poll() is None:
            try:
                descriptor = os.open(self.directory / "hold", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            # (Or be gone by now.)
            with open(descriptor, "wb", buffering=0) as hold, suppress(BrokenPipeError):
                hold.write(b"go on\n")
        self.assertEqual(self.end_of(process), (0, ""))
        self.assertEqual(self.server.status("slow"), (2, 0, 0))

    def test_timeout(self) -> None:
        """
        A command that takes longer than C{--timeout} is ended with all that it has started, and its job fails.
        """
        process = self.work("late", "--count", "1", "--timeout", "0.3", "--", "sh", "-c", "sleep 100 & echo $!; wait")
        status, output = self.ask("late")
        self.assertEqual(status, 1)
        wait_until(lambda: self.is_gone(int(output)), "its child is gone too")
        self.assertIn("more than 0.3 seconds", self.end_of(process)[1])

    def test_child_left_behind(self) -> None:
        """
        A process that the command leaves behind with its standard error does not hold up the result.
        """
        self.work("leaves", "--count", "1", "--", "sh", "-c", "sleep 100 > /dev/null & echo $!")
        status, output = self.ask("leaves")
        self.assertEqual(status, 0)
        os.kill(int(output), signal.SIGKILL)


class ServerTests(WorkCase):
    """
    Its servers.
    """

    def test_servers(self) -> None:
        """
        It works for several servers at once, and comes back to one that was down.
        """
        other = start_server(directory=self.directory)
        self.addCleanup(lambda: other.running and other.stop())
        process = self.work("both", "--server", f"{HOST}:{other.port}", "--count", "3", "--", "cat")
        wait_until(lambda: other.status("both")[2] == 1, "it works for the other one")
        self.assertEqual(self.ask("both"), (0, b"x"))
        other.kill()
        other.start()
        wait_until(lambda: other.status("both")[2] == 1, "it works for the other one again")
        for port in (other.port, self.server.port):
            done = self.run_program("gearman", "-h", HOST, "-p", str(port), "-f", "both", "y")
            self.assertEqual((done.returncode, done.stdout), (0, b"y"))
        self.assertEqual(self.end_of(process)[0], 0)

    def test_no_server(self) -> None:
        """
        A server that is not there is told of, and waited for.
        """
        port = free_port()
        process = self.start_gearsvc("work", "--server", f"{HOST}:{port}", "--count", "1", "f", "--", "cat")
        assert process.stderr is not None
        self.assertIn(str(port), process.stderr.readline().decode())
        server = start_server(directory=self.directory, port=port)
        self.addCleanup(server.stop)
        done = self.run_program("gearman", "-h", HOST, "-p", str(port), "-f", "f", "x")
        self.assertEqual(done.stdout, b"x")
        self.assertEqual(self.end_of(process)[0], 0)


class EndTests(WorkCase):
    """
    How it ends.
    """

    def interrupt(self, process: subprocess.Popen[bytes], number: int) -> None:
        """
        Send it a first signal, while a job runs, and wait until it has noticed.
        """
        process.send_signal(number)
        assert process.stderr is not None
        self.assertEqual(process.stderr.readline(), b"gearsvc work: a job runs yet, and may finish; once more ends that too\n")

    def test_drain(self) -> None:
        """
        A first signal lets the running job finish, and takes no other one.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                hold = self.directory / f"hold {number}"
                os.mkfifo(hold)
                process = self.work("finish", "--", "sh", "-c", f"cat; read nothing < '{hold}'")
                for _ in range(2):
                    self.ask("finish", b"x", "-b")
                wait_until(lambda: self.server.status("finish")[1] == 1, "a job runs")
                self.interrupt(process, number)
                self.assertIsNone(process.poll())
                hold.write_text("go on\n")
                self.assertEqual(self.end_of(process), (0, ""))
                self.assertEqual(self.server.status("finish"), (1, 0, 0))
                self.run_program("gearman", "-h", HOST, "-p", str(self.server.port), "-w", "-c", "1", "-f", "finish")

    def test_idle(self) -> None:
        """
        Without a job it ends at once, and says nothing.
        """
        process = self.work("idle", "--", "cat")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.end_of(process), (0, ""))

    def test_second_signal(self) -> None:
        """
        A second signal ends the running command and all that it has started; its job fails.
        """
        pid_file = self.directory / "pid"
        process = self.work("stop", "--", "sh", "-c", f"sleep 100 & echo $! > {pid_file}; wait")
        self.ask("stop", b"x", "-b")
        wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "the job runs")
        self.interrupt(process, signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.end_of(process)[0], 128 + signal.SIGTERM)
        wait_until(lambda: self.is_gone(int(pid_file.read_text())), "the command's child is gone")

    def test_third_signal(self) -> None:
        """
        A third signal ends what does not mind the second one.
        """
        ready = self.directory / "ready"
        process = self.work("stubborn", "--", "sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 0.1; done")
        self.ask("stubborn", b"x", "-b")
        wait_until(ready.exists, "the job runs")
        self.interrupt(process, signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        self.assertIn(self.end_of(process)[0], (128 + signal.SIGTERM, 128 + signal.SIGINT))

    def test_mistakes(self) -> None:
        """
        What cannot work is told in one line before it begins.
        """
        plain = self.directory / "plain"
        plain.write_text("no program")
        for words, status, what in (
            (("f", "--", "/nonexistent/program"), 1, "/nonexistent/program"),
            (("f", "--", str(plain)), 1, "not executable"),
            (("f",), 2, "--"),
            (("f", "--"), 2, "--"),
            ((), 2, "FUNCTION"),
            (("", "--", "cat"), 2, "name"),
            (("f", "--jobs", "many", "--", "cat"), 2, "--jobs"),
            (("f", "--server", "one:two", "--", "cat"), 2, "--server"),
        ):
            found, errors = self.refused("work", *words)
            self.assertEqual(found, status, words)
            self.assert_one_line(errors, "gearsvc work: ", what)
