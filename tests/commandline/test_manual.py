"""
What is made from the parsers of all commands: help, and the manual page.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.commandline.commands import COMMANDS
from gearsvc.commandline.whole import whole_parser
from tests.running import ROOT

MANUAL = ROOT / "man" / "gearsvc.1"


class ManualTests(SynchronousTestCase):
    """
    C{man gearsvc}.
    """

    def test_is_what_the_parsers_say(self) -> None:
        """
        The page is what scripts/build-manual makes of the parsers now.
        """
        code = "import runpy, sys; sys.stdout.write(runpy.run_path('scripts/build-manual')['manual']())"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(MANUAL.read_text(), done.stdout, "run scripts/build-manual")

    def test_can_be_read(self) -> None:
        """
        man(1) shows it without a warning, with every command, its options and examples.
        """
        environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
        done = subprocess.run(["man", "-l", "--warnings", str(MANUAL)], capture_output=True, text=True, env=environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        shown = re.sub(".\b", "", done.stdout)
        for name in COMMANDS:
            self.assertIn(f"COMMAND 'gearsvc {name}'", shown)
            self.assertRegex(shown, rf"(?m)^ +gearsvc {name}\b.* ")
        self.assertIn("--libsqlite3-db", shown)
        self.assertIn("gearsvc status --sort waiting", shown)


class HelpTests(SynchronousTestCase):
    """
    C{--help}, of every command.
    """

    def test_all_have_examples(self) -> None:
        """
        Every command has a description, examples that call it by its name, and a word on each of its options; no line of it is
        too long for a terminal.
        """
        [commands] = [each for each in whole_parser()._actions if isinstance(each, argparse._SubParsersAction)]
        self.assertEqual(list(commands.choices), list(COMMANDS))
        for name, parser in commands.choices.items():
            self.assertTrue(parser.description, name)
            _, _, examples = (parser.epilog or "").partition("examples:\n")
            self.assertIn(f"gearsvc {name}", examples)
            for line in [*(parser.description or "").splitlines(), *(parser.epilog or "").splitlines()]:
                self.assertLessEqual(len(line), 100, name)
            for action in parser._actions:
                if not isinstance(action, argparse._SubParsersAction):
                    self.assertTrue(action.help, f"{name}: {action.dest}")
