"""
What docs/jobs-from-the-shell.md says is so: its commands are run.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import unittest
from pathlib import Path

from tests.checkout import copy_checkout
from tests.console import Console, read_steps
from tests.running import HOST, ROOT, wait_until

PAGE = ROOT / "docs" / "jobs-from-the-shell.md"


def is_there(port: int) -> bool:
    """
    Whether something listens on a port.
    """
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class ShellPageTests(unittest.TestCase):
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
        self.assertGreater(len(steps), 14)
        for step in steps:
            console.run(step)
            if step.terminal == "server":
                # A worker that came before it would try again only after a while.
                wait_until(lambda: is_there(console.ports[4730]), "the server is there")
