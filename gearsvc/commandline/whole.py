"""
All commands as one parser: what completion and the manual page are made of.
"""

from __future__ import annotations

from gearsvc.commandline.commands import GROUPS
from gearsvc.commandline.frame import Parser, fill


def whole_parser(*, brief: bool = False) -> Parser:
    """
    A parser with a parser for each command.  It is not what reads a command
    line (L{gearsvc.cli} reads the command's name alone, and imports no other).

    @param brief: whether commands are described by their summaries.
    """
    parser = Parser(prog="gearsvc", description="A Gearman job server, and what there is to do with one.")
    parser.add_argument("-V", "--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for group in GROUPS.values():
        for command in group:
            # (gearadmin's -h is its host.)
            own_help = command.name not in ("gearadmin", "gearman", "serve")
            each = commands.add_parser(command.name, help=command.summary, add_help=own_help, conflict_handler="resolve")
            fill(each, command)
            if brief:
                each.description = command.summary
    return parser
