"""
The command C{gearsvc}.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gearsvc import __version__

USAGE = """\
Usage: gearsvc COMMAND [options]

Commands:
  serve      Run the job server, with gearmand's command line.
  queue      Look at stored jobs, and move them from store to store.
  top        Watch a server in the terminal.

  --help     Show this text and exit; gearsvc COMMAND --help is about a command.
  --version  Show the version and exit.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    @param arguments: the command line, without the program's name.
    @return: the exit status.
    """
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "serve":
        from gearsvc.serve import main as serve

        return serve(rest)
    if command == "queue":
        from gearsvc.queuecommand.words import main as queue

        return queue(rest)
    if command == "top":
        from gearsvc.top.command import main as top

        return top(rest)
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if command in ("-V", "--version"):
        print(f"gearsvc {__version__}")
        return 0
    problem = f"there is no command {command!r}" if command else "a command is missing"
    print(f"gearsvc: {problem}; gearsvc --help lists all commands", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
