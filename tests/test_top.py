"""
C{gearsvc top}: against gearmand, against ours, and on a terminal.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from fcntl import ioctl

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.top.reading import Row, Snapshot, Source, TextConnection, Unreachable
from gearsvc.top.screen import View, rows_of, span
from tests.commands import GEARSVC, CommandCase
from tests.running import HOST, PATIENCE, RunningServer, free_port, start_server, wait_until


class RowTests(SynchronousTestCase):
    """
    What is shown, and in which order.
    """

    def test_order(self) -> None:
        """
        Rows are sorted by the column that was chosen, the large ones first, what is not known last, and by name where that is
        the same.
        """
        rows = [Row("b", 1, 5, 0), Row("a", 1, 0, 2, oldest=3.0), Row("C", 7, 1, 1, oldest=9.0), Row("idle", 0, 0, 0)]
        snapshot = Snapshot("here", "1", rows, 1, 1, 0.0)
        for sort, names in (("w", "C a b idle"), ("n", "a b C idle"), ("r", "b C a idle"), ("k", "a C b idle"), ("o", "C a b idle")):
            self.assertEqual([row.name for row in rows_of(snapshot, View(sort))], names.split(), sort)
        self.assertEqual([row.name for row in rows_of(snapshot, View("n", idle=False))], ["a", "b", "C"])

    def test_spans(self) -> None:
        """
        Lengths of time have two units at most.
        """
        spans = {None: "", 0.04: "0.0s", 9.9: "9.9s", 59.0: "59s", 125.0: "2m 05s", 7260.0: "2h 01m", 90000.0: "1d 01h"}
        self.assertEqual({seconds: span(seconds) for seconds in spans}, spans)


class StubServer:
    """
    Answers each line of the text protocol as it is told.
    """

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self.answers = answers
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rb") as lines:
                    for line in lines:
                        connection.sendall(self.answers.get(line.strip(), b"ERR UNKNOWN_COMMAND Unknown+server+command\r\n"))

    def close(self) -> None:
        """
        Answer nobody any more.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class ReadingTests(SynchronousTestCase):
    """
    What servers answer.
    """

    def snapshot(self, **answers: bytes) -> Snapshot:
        """
        What is made of a server's answers.
        """
        told = {name.replace("_", " ").encode(): answer for name, answer in answers.items()}
        server = StubServer({b"version": b"OK 1\n", b"status": b".\n", b"workers": b".\n", **told})
        self.addCleanup(server.close)
        connection = TextConnection(HOST, server.port)
        self.addCleanup(connection.close)
        return Source(connection, None, False).snapshot()

    def test_strange_lines(self) -> None:
        """
        Names may hold tabs and what is no UTF-8, a gearmand may say that -1 jobs run, and a line that is none is passed over.
        """
        found = self.snapshot(status=b"a\tb\t3\t1\t2\n\xff\x1b[2J\t1\t0\t0\nf\t2\t-1\t1\nnonsense\n.\n")
        self.assertEqual(
            [(row.name, row.waiting, row.running, row.workers) for row in found.rows],
            [("a\\tb", 2, 1, 2), ("\\xff\\x1b[2J", 1, 0, 0), ("f", 2, 0, 1)],
        )

    def test_without_more(self) -> None:
        """
        A server that knows neither prioritystatus nor pauses is shown without them.
        """
        [row] = self.snapshot(status=b"f\t1\t0\t0\n.\n").rows
        self.assertEqual((row.priorities, row.paused), (None, False))

    def test_no_server(self) -> None:
        """
        Where nothing listens, the reason is one line.
        """
        port = free_port()
        with self.assertRaises(Unreachable) as caught:
            Source(TextConnection(HOST, port), None, False).snapshot()
        self.assertEqual(str(caught.exception), f"{HOST}:{port}: Connection refused")

    def test_no_gearman(self) -> None:
        """
        What says something else and hangs up is no server, and is told so.
        """
        listener = socket.create_server((HOST, 0))
        self.addCleanup(listener.close)

        def serve() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"220 mail.example.com ESMTP")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with self.assertRaises(Unreachable):
            Source(TextConnection(HOST, listener.getsockname()[1]), None, False).snapshot()
        thread.join()


class CommandTests(CommandCase):
    """
    The command.
    """

    def start(self, kind: str, *options: str) -> RunningServer:
        """
        Start a server.
        """
        server = start_server(*options, directory=self.directory, kind=kind, port=self.port)
        self.addCleanup(server.kill)
        return server

    def once(self, *words: str) -> str:
        """
        @return: what C{--once} prints.
        """
        result = self.run_command(*GEARSVC, "top", f"{HOST}:{self.port}", "--once", *words)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def submit(self, function: str, count: int) -> None:
        """
        Submit background jobs.
        """
        with socket.create_connection((HOST, self.port), PATIENCE) as connection:
            body = function.encode() + b"\0\0x"
            connection.sendall((b"\0REQ" + struct.pack(">II", 18, len(body)) + body) * count)
            connection.recv(4)
            wait_until(lambda: b"%d\t0\t0" % count in self.status(function), "the jobs are there")

    def status(self, function: str) -> bytes:
        """
        @return: a function's line of status, without its name.
        """
        with socket.create_connection((HOST, self.port), PATIENCE) as connection:
            connection.sendall(b"status\n")
            with connection.makefile("rb") as lines:
                found = [line for line in iter(lines.readline, b".\n") if line.startswith(function.encode() + b"\t")]
        return found[0].partition(b"\t")[2] if found else b""

    def test_gearmand(self) -> None:
        """
        Against gearmand it shows what there is: functions, waiting, running, workers.
        """
        self.start("gearmand")
        self.submit("resize", 3)
        told = self.once()
        self.assertIn("version 1.1", told)
        self.assertRegex(told, r"FUNCTION +WAITING \* +RUNNING +WORKERS\n")
        self.assertRegex(told, r"\nresize  no worker +3 +0 +0\n")
        self.assertNotIn("OLDEST", told)

    def test_ours(self) -> None:
        """
        Against ours without a console it shows the same.
        """
        self.start("gearsvc")
        self.submit("resize", 2)
        self.assertRegex(self.once(), r"\nresize  no worker +2 +0 +0\n")

    def test_console(self) -> None:
        """
        With a console it shows how old the oldest job is, what is done each second, and what wants attention.
        """
        port = free_port()
        self.start("gearsvc", "-r", "console", "--console-port", str(port))
        self.submit("resize", 2)
        told = self.once("--console", f"http://{HOST}:{port}")
        self.assertRegex(told, r"WORKERS +OLDEST +DONE/S +FAILED")
        self.assertRegex(told, r"\nresize  no worker +2 +0 +0 +\d+(\.\d)?s +0\.0")
        self.assertRegex(told, r"(?m)^! .*resize")

    def test_console_of_another_server(self) -> None:
        """
        A console that is another server's is not believed.
        """
        port = free_port()
        self.start("gearsvc", "-r", "console", "--console-port", str(port))
        (self.directory / "other").mkdir()
        other = start_server(directory=self.directory / "other", kind="gearsvc")
        self.addCleanup(other.kill)
        result = self.run_command(*GEARSVC, "top", f"{HOST}:{other.port}", "--once", "--console", f"http://{HOST}:{port}")
        self.assertIn("is the console of another server", result.stdout)
        self.assertNotIn("OLDEST", result.stdout)

    def test_token(self) -> None:
        """
        A console that wants a token is told one from a file.
        """
        tokens, token = self.directory / "tokens", self.directory / "token"
        tokens.write_text("viewer abcdefghijklmnopqrstuvwxyz\n")
        token.write_text("abcdefghijklmnopqrstuvwxyz\n")
        tokens.chmod(0o600)
        port = free_port()
        self.start("gearsvc", "-r", "console", "--console-port", str(port), "--console-token-file", str(tokens))
        self.submit("resize", 1)
        url = f"http://{HOST}:{port}"
        self.assertIn("No console:", self.once("--console", url))
        self.assertIn("--token-file", self.once("--console", url))
        self.assertIn("OLDEST", self.once("--console", url, "--token-file", str(token)))

    def test_wrong_words(self) -> None:
        """
        What can't be is told in one line: with status 2 for words that cannot be understood, and 1 for what cannot be done.
        """
        for words, part, status in (
            (["x:y"], "HOST:PORT", 2),
            (["--interval", "0"], "'0'", 2),
            (["--sort", "colour"], "waiting", 2),
            (["--console", "ftp://x"], "ftp://x", 1),
            (["--token-file", "/no/such/file"], "/no/such/file", 1),
            (["--nosuch"], "--nosuch", 2),
            ([f"{HOST}:{free_port()}", "--once"], "refused", 1),
            ([f"{HOST}:{free_port()}"], "--once", 1),
        ):
            result = self.run_command(*GEARSVC, "top", *words)
            self.assertEqual((result.returncode, result.stdout), (status, ""), words)
            self.assert_one_line(result.stderr, "gearsvc top: ", part)

    def test_help(self) -> None:
        """
        --help has examples, and C{gearsvc --help} lists the command.
        """
        self.assertIn("gearsvc top --once", self.run_command(*GEARSVC, "top", "--help").stdout)
        self.assertRegex(self.run_command(*GEARSVC, "--help").stdout, r"(?m)^  top +\S")


class TerminalTests(CommandCase):
    """
    On a terminal.
    """

    @contextlib.contextmanager
    def terminal(self, *words: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """
        Run the command on a terminal of 24 lines.

        @return: what writes keys and reads the screen, and the process.
        """
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        process = subprocess.Popen(
            # Who runs the tests in the background may have SIGINT ignored.
            ["env", "--default-signal=INT", *GEARSVC, "top", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.directory,
            env=self.environment(TERM="xterm"),
            start_new_session=True,
        )
        os.close(theirs)
        try:
            yield ours, process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(ours)

    def read_until(self, terminal: int, pattern: str) -> str:
        """
        Read what is written to the terminal until it has something, colours aside.
        """
        deadline = time.monotonic() + PATIENCE
        seen = ""
        while not re.search(pattern, re.sub(r"\x1b\[[\d;]*m", "", seen), re.DOTALL):
            self.assertLess(time.monotonic(), deadline, f"{pattern!r} does not come: {seen[-2000:]!r}")
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
        return seen

    def test_keys(self) -> None:
        """
        It refreshes in place, sorts by the key that is pressed, says when the server is gone and shows it when it is back, and
        leaves the terminal as it was.
        """
        server = start_server(directory=self.directory, kind="gearsvc", port=self.port)
        self.addCleanup(lambda: server.running and server.kill())
        server.admin("create function alpha")
        with self.terminal(f"{HOST}:{self.port}", "--interval", "0.1") as (terminal, process):
            self.read_until(terminal, r"WAITING \*.*alpha")
            os.write(terminal, b"n")
            self.read_until(terminal, r"FUNCTION \*")
            server.admin("create function beta")
            self.read_until(terminal, r"beta")
            server.kill()
            self.read_until(terminal, r"No answer:.*trying again")
            server.start()
            server.admin("create function gamma")
            self.read_until(terminal, r"gamma")
            os.write(terminal, b"q")
            # The other screen is left.
            self.read_until(terminal, r"\x1b\[\?1049l")
            self.assertEqual(process.wait(PATIENCE), 0)

    def test_interrupt(self) -> None:
        """
        Ctrl-C ends it, without a traceback.
        """
        with self.terminal(f"{HOST}:{free_port()}", "--interval", "0.1") as (terminal, process):
            self.read_until(terminal, r"No answer")
            process.send_signal(signal.SIGINT)
            self.assertNotIn("Traceback", self.read_until(terminal, r"\x1b\[\?1049l"))
            self.assertEqual(process.wait(PATIENCE), 0)

    def test_many_functions(self) -> None:
        """
        What does not fit on the screen is reached with the arrow keys.
        """
        server = start_server(directory=self.directory, kind="gearsvc", port=self.port)
        self.addCleanup(server.kill)
        with server.connect() as connection:
            connection.sendall(b"".join(b"create function f%02d\r\n" % number for number in range(60)) + b"version\r\n")
            connection.makefile("rb").read(60 * 4 + 3)
        with self.terminal(f"{HOST}:{self.port}", "--interval", "0.1", "--sort", "function") as (terminal, process):
            seen = self.read_until(terminal, r"f05.*more below")
            self.assertNotIn("f50", seen)
            os.write(terminal, b"\x1b[6~" * 3)
            self.read_until(terminal, r"f59")
            os.write(terminal, b"q")
            self.assertEqual(process.wait(PATIENCE), 0)
