"""
A server with workers that it has started.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

from tests.running import HOST, RunningServer, start_server, wait_until
from tests.checkout import run


def exists(pid: int) -> bool:
    """
    Whether there is a process, be it a zombie.
    """
    return Path(f"/proc/{pid}").exists()


class StartedCase(unittest.TestCase):
    """
    Has a directory, and servers that run there.

    After each test there are no errors in the log.

    @ivar directory: the directory.
    """

    def setUp(self) -> None:
        """
        Make the directory.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def start(self, *workers: str, options: tuple[str, ...] = ()) -> RunningServer:
        """
        Start a server with such workers.
        """
        words = [word for each in workers for word in ("--worker", each)]
        server = start_server("-v", "INFO", *options, *words, directory=self.directory, kind="gearsvc")
        self.addCleanup(self._end, server)
        return server

    def _end(self, server: RunningServer) -> None:
        if server.running:
            self.assertEqual(server.stop(), 0, server.log)
        for sign in ("Traceback", "Unhandled", "critical"):
            self.assertNotIn(sign, server.log)

    def gearman(self, server: RunningServer, *words: str) -> str:
        """
        Run gearman(1).

        @return: its output.
        """
        return run("gearman", "-h", HOST, "-p", str(server.port), *words)

    def workers(self, server: RunningServer) -> dict[str, list[str]]:
        """
        What C{workers} says of those that have a function: functions, by client id.
        """
        found = {}
        for line in server.admin("workers").decode().splitlines()[:-1]:
            before, functions = line.split(" :")
            if functions:
                found[before.split()[2]] = functions.split()
        return found

    def wait_for_workers(self, server: RunningServer, function: str, count: int) -> list[int]:
        """
        Wait until there are so many workers for a function.

        @return: their process ids, in the order of their numbers; 0 for one without.
        """
        wait_until(lambda: server.status(function)[2] == count and "-" not in self.workers(server), f"{count} workers for {function}\n{server.log}")
        names = sorted(name for name, functions in self.workers(server).items() if function in functions)
        return [int(name.partition("[")[2].rstrip("]") or 0) for name in names]

    def wait_for_file(self, name: str) -> str:
        """
        Wait until a file is there that has a line.

        @return: what it holds.
        """
        path = self.directory / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"the file {name}")
        return path.read_text()

    def wait_for_log(self, server: RunningServer, text: str, count: int = 1) -> None:
        """
        Wait until the log holds a text.
        """
        wait_until(lambda: server.log.count(text) >= count, f"{text!r} in the log")


