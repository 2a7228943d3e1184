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
from typing import IO, Callable, Mapping, Sequence

from tests.running import HOST, PATIENCE, RunningServer, start_server, wait_until

HERE = Path(__file__).resolve().parent


class Program(subprocess.Popen[bytes]):
    """
    A program that runs beside the test, in a process group of its own.

    Its output is a pipe, for tests that read a line while it runs.  What it
    complains goes to a file: libgearman's worker complains without end while
    it has no server, and is not to stop when nobody reads that.
    """

    stdout: IO[bytes]

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
        """
        Start it.
        """
        self.complaints: IO[bytes] = tempfile.TemporaryFile()
        super().__init__(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, bytes, bytes]:
        """
        Wait until the program ends by itself.

        @return: its exit code, and what it wrote to its standard output and error.
        """
        output, _ = self.communicate(timeout=PATIENCE)
        self.complaints.seek(0)
        return self.returncode, output, self.complaints.read()

    def end(self) -> None:
        """
        Kill the program if it still runs, and all that it started.
        """
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait(PATIENCE)
        self.stdout.close()
        self.complaints.close()


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

    def start_program(self, *command: str) -> Program:
        """
        Start a program, which is gone when the test ends, its children too.
        """
        program = Program(command, self.directory, self.environment())
        self.addCleanup(program.end)
        return program

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

    def output_despite_lost_worker(self, start_worker: Callable[[], Program]) -> bytes:
        """
        Kill a worker over a job of its function C{hold}, and start another one.

        @param start_worker: starts a worker whose C{hold} ends when the file is there that its workload names.
        @return: what the client of the job has heard of it by its end.
        """
        lost = start_worker()
        release = self.directory / "release"
        client = self.start_gearman("-f", "hold", str(release))
        self.wait_for_jobs("hold", 1, 1)
        lost.end()
        self.wait_for_jobs("hold", 1, 0)
        release.touch()
        start_worker()
        code, output, _ = client.finish()
        self.assertEqual(code, 0)
        return output

    def gearman(self, *arguments: str, input: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run gearman(1) against the server.
        """
        return self.run_program("gearman", "-h", HOST, "-p", str(self.server.port), *arguments, input=input, **environment)

    def start_gearman(self, *arguments: str) -> Program:
        """
        Start gearman(1), as a worker for example.
        """
        return self.start_program("gearman", "-h", HOST, "-p", str(self.server.port), *arguments)

    def worker(self, function: str, *command: str) -> Program:
        """
        Start a gearman(1) worker and wait until the server knows it.
        """
        worker = self.start_gearman("-w", "-f", function, "--", *command)
        self.wait_for_workers(function)
        return worker
