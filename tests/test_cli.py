"""
The command C{gearsvc}.
"""

from __future__ import annotations

from gearsvc import __version__
from gearsvc.commandline.commands import COMMANDS
from tests.commands import GEARSVC, CommandCase


class CommandLineTests(CommandCase):
    """
    What is there besides C{serve}.
    """

    def test_help(self) -> None:
        """
        --help lists the commands.
        """
        for word in ("--help", "-h"):
            result = self.run_command(*GEARSVC, word)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            for command in COMMANDS:
                self.assertRegex(result.stdout, rf"(?m)^  {command} ")

    def test_version(self) -> None:
        """
        --version says the version.
        """
        for word in ("--version", "-V"):
            self.assertEqual(self.run_command(*GEARSVC, word).stdout, f"gearsvc {__version__}\n")

    def test_wrong_command(self) -> None:
        """
        No command, or one that is not there, is one line on stderr and status 2.
        """
        for words, part in (([], "missing"), (["nonsense"], "'nonsense'"), (["-d"], "'-d'")):
            result = self.run_command(*GEARSVC, *words)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assert_one_line(result.stderr, part, "gearsvc --help")
