"""
docs/testing.md: its tests are run, as somebody else's.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from tests.checkout import run
from tests.running import ROOT

FILE = re.compile(r"^`([\w./-]+)`\n\n```\w+\n((?s:.*?))^```$", re.MULTILINE)
"""
A file: its name, and a block with all that is in it.
"""


class PageTests(unittest.TestCase):
    """
    The tests that the page shows.
    """

    def setUp(self) -> None:
        """
        Write them.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-page-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.files = dict(FILE.findall((ROOT / "docs" / "testing.md").read_text()))
        self.assertEqual(sorted(self.files), ["test_reminders.py", "test_under_trial.py", "test_words.py"])
        for name, text in self.files.items():
            (self.directory / name).write_text(text)

    def run_tests(self, *words: str) -> str:
        """
        Run a test runner there.
        """
        return run(sys.executable, "-m", *words, directory=self.directory)

    def test_pytest(self) -> None:
        """
        They pass under pytest, for which the fixtures are there by themselves.
        """
        answer = self.run_tests("pytest", "-q", "test_reminders.py", "test_words.py")
        self.assertRegex(answer, r"(?m)^3 passed\b")

    def test_trial(self) -> None:
        """
        They pass under trial.
        """
        answer = self.run_tests("twisted.trial", "test_under_trial")
        self.assertRegex(answer, r"PASSED \(successes=2\)")

    def test_a_failure_is_one(self) -> None:
        """
        What does not hold fails: the clock's server says that nothing has come of a job yet.
        """
        (self.directory / "test_wrong.py").write_text(
            "def test_wrong(gearman_clock):\n    gearman_clock.result(gearman_clock.client().submit('nobody'))\n"
        )
        with self.assertRaisesRegex(Exception, "nothing has come of it yet"):
            self.run_tests("pytest", "-q", "test_wrong.py")

