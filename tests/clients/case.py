"""
What the tests of all clients share: a server for each test, and the client's processes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Sequence

from tests.running import HOST, PATIENCE, RunningServer, start_server, wait_until

HERE = Path(__file__).resolve().parent


class ClientTestCase(unittest.TestCase):
    """
    A test of a client against a server of its own.

    After every test the client's processes are gone, the server has ended
    with exit code 0, and its log holds no error.

    @cvar options: the server's options beyond its port.
    @ivar server: the server.
    @ivar is_gearmand: whether the server is gearmand.  Where gearmand behaves
        otherwise, a test says what it does and why ours does not.
    @ivar directory: an empty directory for files.
    """

    options: Sequence[str] = ()
    server: RunningServer

    def setUp(self) -> None:
        """
        Start a server.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = start_server(*self.options, directory=self.directory)
        self.is_gearmand = self.server.kind == "gearmand"
        self.addCleanup(self._stop_server)

    def _stop_server(self) -> None:
        if self.server.running:
            self.assertEqual(self.server.stop(), 0, self.server.log)
        for sign in ("Traceback", "Unhandled", "CRITICAL"):
            self.assertNotIn(sign, self.server.log)

    def environment(self) -> dict[str, str]:
        """
        The environment of a client, without what would lead it to another server.
        """
        return {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}

    def run_program(self, *command: str, input: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run a program to its end.

        @param input: its standard input.
        @param environment: variables beyond the usual ones.
        """
        return subprocess.run(
            command, input=input, capture_output=True, timeout=PATIENCE, cwd=self.directory, env=self.environment() | environment
        )

    def start_program(self, *command: str) -> subprocess.Popen[bytes]:
        """
        Start a program, which is gone when the test ends, its children too.
        """
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self.environment(),
            start_new_session=True,
        )
        self.addCleanup(self.end_program, program)
        return program

    def end_program(self, program: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """
        Kill a program that C{start_program} started, if it still runs.

        @return: what it wrote to its standard output and error.
        """
        if program.stdout is None or program.stdout.closed:
            return b"", b""
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return program.communicate(timeout=PATIENCE)

    def finish_program(self, program: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
        """
        Wait until a program that C{start_program} started ends by itself.

        @return: its exit code, standard output and standard error.
        """
        output, errors = program.communicate(timeout=PATIENCE)
        return program.returncode, output, errors

    def wait_for_workers(self, function: str, count: int = 1) -> None:
        """
        Wait until so many workers can do a function.
        """
        wait_until(lambda: self.server.status(function)[2] == count, f"{count} workers for {function}")

    def wait_for_jobs(self, function: str, total: int, running: int = 0) -> None:
        """
        Wait until a function has so many jobs, of which so many run.
        """
        wait_until(
            lambda: self.server.status(function)[:2] == (total, running), f"{total} jobs of {function}, {running} of them running"
        )

    def gearman(self, *arguments: str, input: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run gearman(1) against the server.
        """
        return self.run_program("gearman", "-h", HOST, "-p", str(self.server.port), *arguments, input=input, **environment)

    def start_gearman(self, *arguments: str) -> subprocess.Popen[bytes]:
        """
        Start gearman(1), as a worker for example.
        """
        return self.start_program("gearman", "-h", HOST, "-p", str(self.server.port), *arguments)

    def worker(self, function: str, *command: str) -> subprocess.Popen[bytes]:
        """
        Start a gearman(1) worker and wait until the server knows it.
        """
        worker = self.start_gearman("-w", "-f", function, "--", *command)
        self.wait_for_workers(function)
        return worker
