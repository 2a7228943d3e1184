"""
The scripts of docs/worker.md and docs/blocking.md, run as the pages say.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from tests.checkout import copy_checkout
from tests.console import Console, read_steps
from tests.running import ROOT


class PageTests(unittest.TestCase):
    """
    Pages whose blocks of Python are files, named in their first lines.
    """

    def play(self, name: str, scripts: list[str]) -> None:
        """
        Write a page's scripts, and run its commands.
        """
        page = (ROOT / "docs" / name).read_text()
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-page-"))
        self.addCleanup(shutil.rmtree, directory)
        checkout = copy_checkout(directory / "gearsvc")
        found = re.findall(r"^```python\n# (\w+\.py)\n((?s:.+?))^```$", page, re.MULTILINE)
        self.assertEqual([script for script, _ in found], scripts)
        console = Console(checkout)
        self.addCleanup(console.close)
        console.add_program("python", f'exec {sys.executable} "$@"')
        for script, text in found:
            (checkout / script).write_text(text.replace(":4730", f":{console.ports[4730]}"))
        for step in read_steps(page):
            console.run(step)

    def test_worker(self) -> None:
        """
        The worker of docs/worker.md does what is shown.
        """
        self.play("worker.md", ["words.py"])

    def test_blocking(self) -> None:
        """
        The scripts of docs/blocking.md print what is shown.
        """
        self.play("blocking.md", ["reverse.py", "several.py", "worker.py"])

    def test_four_lines(self) -> None:
        """
        A script needs four lines, as is said: three, and an empty one.
        """
        page = (ROOT / "docs" / "blocking.md").read_text()
        [script] = re.findall(r"^# reverse\.py\n((?s:.+?))^```$", page, re.MULTILINE)
        self.assertEqual(len(script.splitlines()), 4)
