"""
The command C{gearsvc}.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gearsvc import __version__
from gearsvc.commandline.commands import COMMANDS, overview

USAGE = """\
Usage: gearsvc COMMAND [options]

{}
  --help     Show this text and exit; gearsvc COMMAND --help is about a command.
  --version  Show the version and exit.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    @param arguments: the command line, without the program's name.
    @return: the exit status: 2 for a command line that cannot be understood.
    """
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if command in COMMANDS:
        from gearsvc.commandline.frame import run_command

        return run_command(command, rest)
    if command in ("-h", "--help", "help"):
        if command == "help" and rest and rest[0] in COMMANDS:
            return main([rest[0], "--help"])
        print(USAGE.format(overview()), end="")
        return 0
    if command in ("-V", "--version"):
        print(f"gearsvc {__version__}")
        return 0
    problem = f"there is no command {command!r}" if command else "a command is missing"
    print(f"gearsvc: {problem}; gearsvc --help lists all commands", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
