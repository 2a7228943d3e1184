"""
What docs/command-line.md says is so: its commands are run.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

from gearsvc.commandline.commands import COMMANDS
from tests.checkout import copy_checkout
from tests.commandline.test_shell_page import is_there
from tests.console import Console, read_steps
from tests.running import HOST, ROOT, wait_until

PAGE = ROOT / "docs" / "command-line.md"


class CommandLinePageTests(unittest.TestCase):
    """
    The commands of the page.
    """

    def test_page(self) -> None:
        """
        Every command writes what is shown.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-page-"))
        self.addCleanup(shutil.rmtree, directory)
        console = Console(copy_checkout(directory / "gearsvc"))
        self.addCleanup(console.close)
        console.environment["GEARMAN_SERVERS"] = f"{HOST}:{console.ports[4730]}"
        steps = list(read_steps(PAGE.read_text()))
        self.assertGreater(len(steps), 18)
        for step in steps:
            console.run(step)
            if step.terminal == "server":
                wait_until(lambda: is_there(console.ports[4730]), "the server is there")

    def test_all_commands(self) -> None:
        """
        The page names every command.
        """
        page = PAGE.read_text()
        for name in COMMANDS:
            if name != "gearman":
                self.assertRegex(page, rf"`gearsvc {name}\b|\$ gearsvc {name}\b", name)
