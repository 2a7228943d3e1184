"""
L{gearsvc.testing}: what docs/testing.md shows is a project of somebody else's, whose tests pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from gearsvc.testing import ClockedJobServer, JobServerClock
from tests.running import ROOT

PAGE = ROOT / "docs" / "testing.md"

FILE = re.compile(r"^`(\w+\.py)`\n\n```python\n((?s:.*?))^```$", re.MULTILINE)


class ProjectTests(unittest.TestCase):
    """
    The project's tests, run as its owner would.
    """

    def setUp(self) -> None:
        """
        Write the project.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-testing-"))
        self.addCleanup(shutil.rmtree, self.directory)
        for name, text in FILE.findall(PAGE.read_text()):
            (self.directory / name).write_text(text)

    def run_module(self, *words: str) -> str:
        """
        Run a module of this environment in the project.

        @return: all that it wrote.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.output = done.stdout + done.stderr
        return self.output

    def test_pytest(self) -> None:
        """
        The fixtures are there without a word in the project, and its tests pass.
        """
        self.assertRegex(self.run_module("pytest", "-q", "test_reports.py", "test_server.py"), r"(?m)^7 passed in ")

    def test_trial(self) -> None:
        """
        The helper for trial does what the page shows, under trial and, with trial's own tests first, under pytest.
        """
        self.assertIn("PASSED (successes=2)", self.run_module("twisted.trial", "test_trial"))
        self.assertRegex(self.run_module("pytest", "-q", "test_trial.py"), r"(?m)^2 passed in ")

    def test_without_a_reactor(self) -> None:
        """
        Without pytest-twisted, the clock works all the same, without a reactor; the other fixture says what is missing.
        """
        (self.directory / "conftest.py").write_text(
            "import sys\n\n\ndef pytest_unconfigure(config):\n    print('reactor:', 'twisted.internet.reactor' in sys.modules)\n"
        )
        output = self.run_module("pytest", "-q", "-s", "-p", "no:twisted", "test_reports.py")
        self.assertRegex(output, r"(?m)^5 passed in ")
        self.assertIn("reactor: False", output)
        (self.directory / "test_other.py").write_text("def test_other(gearman_server):\n    pass\n")
        output = self.run_module("pytest", "-q", "-p", "no:twisted", "test_other.py")
        self.assertIn("gearman_server needs the reactor to run: install pytest-twisted, or use gearman_clock", output)

    def test_costs_nothing(self) -> None:
        """
        Where no test asks for a fixture, the plugin imports neither Twisted nor the rest of gearsvc.
        """
        (self.directory / "test_nothing.py").write_text(
            "import sys\n\n\ndef test_nothing():\n"
            "    found = {name for name in sys.modules if name.split('.')[0] in ('gearsvc', 'twisted', 'zope')}\n"
            "    assert found == {'gearsvc', 'gearsvc.pytest_plugin'}, found\n"
        )
        output = self.run_module("pytest", "-q", "-p", "no:twisted", "-p", "no:hypothesispytest", "test_nothing.py")
        self.assertRegex(output, r"(?m)^1 passed in ", output)


class ClockTests(unittest.TestCase):
    """
    L{JobServerClock}, and the server on it.
    """

    def test_in_order(self) -> None:
        """
        Calls are made at their own times, those that they ask for too, in order.
        """
        clock = JobServerClock()
        start = clock.seconds()
        made: list[tuple[str, float]] = []

        def tick(name: str, again: float) -> None:
            made.append((name, clock.seconds() - start))
            clock.callLater(again, tick, name, again)

        clock.callLater(2, tick, "two", 2)
        clock.callLater(3, tick, "three", 3)
        clock.advance(6.5)
        self.assertEqual(made, [("two", 2), ("three", 3), ("two", 4), ("three", 6), ("two", 6)])
        self.assertEqual(clock.seconds() - start, 6.5)

    def test_time_of_day(self) -> None:
        """
        The server's time of day passes with the clock.
        """
        server = ClockedJobServer()
        before = server.time()
        server.advance(100)
        self.assertEqual((server.time() - before, server.job_server.clock.time() - before), (100, 100))
        server.stop()

    def test_failure(self) -> None:
        """
        What a Deferred fails with is raised, and so is a coroutine's exception.
        """
        server = ClockedJobServer()
        self.addCleanup(server.stop)

        async def fail() -> None:
            raise LookupError("no such thing")

        self.assertRaises(LookupError, server.result, fail())
