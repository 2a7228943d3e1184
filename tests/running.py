"""
How a test starts a real job server, ours or gearmand, in a process of its own.

    server = start_server("-q", "libsqlite3", "--libsqlite3-db", "queue.db", directory=directory)
    server.admin("status")
    server.kill(); server.start()       # the same options, the same port
    assert server.stop() == 0

Every server listens on a free port of 127.0.0.1, keeps its files in a
directory of its own and writes its log there.  Which server it is can be
chosen by the test, or for a whole run by the environment:

    GEARSVC_TEST_SERVER=gearmand trial tests.clients

proves against the C server that a test of a client holds what it says.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: what a server under test imports gearsvc from."""

HOST = "127.0.0.1"

# Not what a test may have seeded: another run of the tests goes on beside this one.
_any = random.SystemRandom()

PATIENCE = 60.0
"""
How many seconds anything in these tests may take before it counts as hung.  It is far above what anything needs, since the
machine may be busy, and no test waits it out when all is well.
"""

AT_ONCE = 10.0
"""How many seconds what waits for nobody may take: less than any time-out that it could have run into."""


class ServerFailed(Exception):
    """
    A server did not start, or ended when nobody asked it to; the message holds its log.
    """


def free_port() -> int:
    """
    A port of 127.0.0.1 on which nothing listens at this moment.

    It is below those that Linux gives to outgoing connections: one of those could take it before the server does, or while
    the server is down for a while.
    """
    while True:
        port = _any.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """
    Ask again and again until the answer is yes.

    @param what: what is waited for, as a user would say it.
    @raise AssertionError: if it does not come to pass.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE:.0f} seconds in vain: {what}")
        time.sleep(0.01)


def twistd_command(port: int, directory: Path) -> list[str]:
    """
    The command line of our server, in the foreground.
    """
    twistd = Path(sys.executable).with_name("twistd")
    return [str(twistd), "-n", "--pidfile=", "gearman", "--port", f"tcp:{port}:interface={HOST}"]


def gearmand_command(port: int, directory: Path) -> list[str]:
    """
    The command line of the C server, in the foreground.
    """
    pid_file = directory / "gearmand.pid"
    return ["gearmand", "--port", str(port), "--listen", HOST, "--log-file", "stderr", "--pid-file", str(pid_file)]


def _is_whole(answer: bytes, listing: bool) -> bool:
    """
    Whether an answer of the text protocol has arrived to its end.
    """
    if listing and not answer.startswith(b"ERR "):
        return answer == b".\n" or answer.endswith(b"\n.\n")
    return answer.endswith(b"\n")


COMMANDS = {"gearsvc": twistd_command, "gearmand": gearmand_command}

DEFAULT_KIND = os.environ.get("GEARSVC_TEST_SERVER", "gearsvc")


class RunningServer:
    """
    A job server in a process of its own, started, stopped and killed as often as a test likes.

    @ivar kind: C{"gearsvc"} or C{"gearmand"}.
    @ivar port: its Gearman port, the same after every start.
    @ivar directory: its working directory, which holds its log and whatever files its options name.
    @ivar process: the process that runs, or ran last.
    """

    def __init__(self, kind: str, options: Sequence[str], directory: Path, port: int) -> None:
        self.kind = kind
        self.port = port
        self.directory = directory
        self.command = [*COMMANDS[kind](port, directory), *options]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """
        All that the server wrote to its standard output and error since it was first started.
        """
        path = self.directory / "server.log"
        return path.read_text(errors="backslashreplace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """
        The process id of the server.
        """
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """
        Start the process, and return when it answers C{version}.

        @raise ServerFailed: if it ends before, or does not answer.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None:
                raise ServerFailed(f"{self.command} ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.command} does not answer:\n{self.log}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.admin("version").startswith(b"OK ")
        except OSError:
            return False

    def stop(self) -> int:
        """
        Ask the server to end (SIGTERM) and wait until it has.

        @return: its exit code.
        """
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.command} ignores SIGTERM:\n{self.log}") from None

    def kill(self) -> None:
        """
        End the server at once (SIGKILL), as a crash would.
        """
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    @property
    def running(self) -> bool:
        """
        Whether the process is there.
        """
        return self.process is not None and self.process.poll() is None

    def connect(self) -> socket.socket:
        """
        A new connection to the server.
        """
        return socket.create_connection((HOST, self.port), PATIENCE)

    def admin(self, command: str) -> bytes:
        """
        Send one line of the text protocol.

        @return: the whole answer: one line, or lines up to the one that is a dot.
        """
        listing = command.split()[0] in ("status", "prioritystatus", "workers", "show")
        with self.connect() as connection:
            connection.sendall(command.encode() + b"\r\n")
            answer = b""
            while not _is_whole(answer, listing):
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionError(f"the server closed the connection after {answer!r}")
                answer += piece
            return answer

    def waiting_clients(self, unique: str) -> int:
        """
        How many foreground clients wait for the job with this unique id (GET_STATUS_UNIQUE).
        """
        with self.connect() as connection:
            connection.sendall(struct.pack(">4sII", b"\0REQ", 41, len(unique)) + unique.encode())
            with connection.makefile("rb") as answer:
                magic, kind, size = struct.unpack(">4sII", answer.read(12))
                assert (magic, kind) == (b"\0RES", 42)
                return int(answer.read(size).split(b"\0")[5])

    def status(self, function: str) -> tuple[int, int, int]:
        """
        What C{status} says of one function: jobs in all, jobs that run, workers; zeros if it does not list it.
        """
        for line in self.admin("status").splitlines():
            name, _, numbers = line.partition(b"\t")
            if name == function.encode():
                total, active, workers = (int(number) for number in numbers.split(b"\t"))
                return total, active, workers
        return 0, 0, 0


def start_server(*options: str, directory: Path, kind: str = DEFAULT_KIND, port: int | None = None) -> RunningServer:
    """
    Start a job server and wait until it answers.

    @param options: command line options beyond the port.
    @param directory: where it runs and keeps its log; it must exist.
    @param kind: C{"gearsvc"} or C{"gearmand"}.
    @param port: where it listens; a free port if not given.
    """
    server = RunningServer(kind, options, directory, free_port() if port is None else port)
    server.start()
    return server
