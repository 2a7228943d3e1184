"""
All commands as one parser: what completion and the manual page are made of.
"""

from __future__ import annotations

from gearsvc.commandline.commands import GROUPS
from gearsvc.commandline.frame import Parser, fill


def whole_parser() -> Parser:
    """
    A parser with a parser for each command.  It is not what reads a command
    line (L{gearsvc.cli} reads the command's name alone, and imports no other).
    """
    parser = Parser(prog="gearsvc", description="A Gearman job server, and what there is to do with one.")
    parser.add_argument("-V", "--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for group in GROUPS.values():
        for command in group:
            # (gearadmin's -h is its host.)
            own_help = command.name not in ("gearadmin", "gearman", "serve")
            fill(commands.add_parser(command.name, help=command.summary, add_help=own_help, conflict_handler="resolve"), command)
    return parser
