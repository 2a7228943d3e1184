"""
What mypy says of gearsvc.
"""

from __future__ import annotations

import subprocess
import sys
import unittest

from tests.running import ROOT


class TypeTests(unittest.TestCase):
    """
    The annotations hold.
    """

    def test_mypy(self) -> None:
        """
        mypy, with the plugin that knows zope's interfaces, finds nothing to complain of in gearsvc.
        """
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "gearsvc", "twisted/plugins/gearsvc_plugin.py"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
