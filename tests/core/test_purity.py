"""
The core does no I/O, and knows of no framework.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from unittest import TestCase

import gearsvc

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import gearsvc.core
names = [module.name for module in pkgutil.walk_packages(gearsvc.core.__path__, "gearsvc.core.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(sys.modules)]))
"""


class ImportTests(TestCase):
    """
    What the core imports.
    """

    def test_no_framework(self) -> None:
        """
        All modules of gearsvc.core together import neither Twisted nor zope, nor the rest of gearsvc, nor sockets and threads.
        """
        root = os.path.dirname(os.path.dirname(os.path.abspath(gearsvc.__file__)))
        found = subprocess.run(
            [sys.executable, "-c", IMPORT_ALL],
            env={**os.environ, "PYTHONPATH": root, "COVERAGE_PROCESS_START": ""},
            stdout=subprocess.PIPE,
            check=True,
        )
        names, modules = json.loads(found.stdout)
        self.assertIn("gearsvc.core.jobserver", names)
        self.assertEqual([name for name in modules if name.split(".")[0] in ("twisted", "zope", "socket", "asyncio")], [])
        self.assertEqual([name for name in modules if name.startswith("gearsvc.") and not name.startswith("gearsvc.core")], [])
