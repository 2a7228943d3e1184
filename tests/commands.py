"""
How a test runs C{gearsvc} and C{twistd gearman} as commands: their output,
their exit status, the processes that they leave behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.running import HOST, PATIENCE, ROOT, free_port, wait_until

GEARSVC = [sys.executable, "-m", "gearsvc.cli"]
SERVE = [*GEARSVC, "serve"]
TWISTD = [str(Path(sys.executable).with_name("twistd"))]
TWISTD_GEARMAN = [*TWISTD, "-n", "--pidfile=", "gearman"]


class CommandCase(SynchronousTestCase):
    """
    Has a directory of its own, in which its commands run.

    @ivar directory: the directory.
    @ivar port: a free port.
    @ivar at: the option that has a server listen there, on loopback alone.
    """

    def setUp(self) -> None:
        """
        Make the directory.
        """
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.port = free_port()
        self.at = f"--port=tcp:{self.port}:interface={HOST}"

    def environment(self, **variables: str) -> dict[str, str]:
        """
        The environment that commands run in, with some variables more.
        """
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
        clean["PYTHONPATH"] = os.pathsep.join([*filter(None, [variables.pop("PYTHONPATH", "")]), str(ROOT)])
        return {**clean, **variables}

    def run_command(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """
        Run a command to its end.

        @param variables: environment variables.
        """
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def start_command(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """
        Start a server in the foreground, and wait until it can be connected
        to.  It is killed at the end of the test, if it still runs.

        @param variables: environment variables.
        """
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(self._end, process)
        wait_until(lambda: process.poll() is not None or self.answers(), f"{command} does not answer")
        if process.returncode is not None:
            self.fail(f"{command} ended with {process.returncode}: {process.communicate()[0]}")
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def end_daemon(self, pid: int) -> None:
        """
        End a daemon, which is nobody's child, and wait until it is gone.
        """
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"{pid} is still there")

    def admin(self, line: str) -> str:
        """
        Send one line of the admin protocol.

        @return: the first line of the answer.
        """
        import socket

        with socket.create_connection((HOST, self.port), PATIENCE) as connection, connection.makefile("rw") as lines:
            lines.write(line + "\n")
            lines.flush()
            return lines.readline()

    def answers(self) -> bool:
        """
        Whether a server answers on L{port}.
        """
        try:
            return self.admin("version").startswith("OK")
        except OSError:
            return False

    def assert_one_line(self, text: str, *parts: str) -> None:
        """
        Hold that a text is one line that has certain parts.
        """
        self.assertEqual(len(text.splitlines()), 1, text)
        for part in parts:
            self.assertIn(part, text)

    def end_of(self, process: subprocess.Popen[str]) -> str:
        """
        Wait for a process to end with status 0.

        @return: its output.
        """
        output = process.communicate(timeout=PATIENCE)[0]
        self.assertEqual(process.returncode, 0, output)
        return output
