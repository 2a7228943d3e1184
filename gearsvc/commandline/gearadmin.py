"""
C{gearsvc gearadmin}: gearadmin(1)'s command line, word for word.

What it writes, and in which order, is gearadmin's, and so is its exit status: 0
also where the server refuses a command, which is told on standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

from gearsvc.commandline.frame import DEFAULT_HOST, DEFAULT_PORT, Parser, describe, report
from gearsvc.top.reading import TextConnection, Unreachable

NAME = "gearsvc gearadmin"

DESCRIPTION = """
gearadmin(1), with its own command line: to look at a server, and to change it. "gearsvc
status", "workers", "jobs" and others do the same, and read better.
"""

EXAMPLES = """
gearsvc gearadmin --status
gearsvc gearadmin -h gearman.example -p 4731 --workers
gearsvc gearadmin --cancel-job H:server:1234
"""


class Operation(NamedTuple):
    """
    An option that does something.

    @ivar command: what is said to the server; the option's argument follows it.
    @ivar is_list: whether a list is the answer.
    """

    option: str
    command: bytes
    help: str
    is_list: bool = False
    argument: str | None = None


# In gearadmin's order.
OPERATIONS = (
    Operation("getpid", b"getpid", "the server's process id"),
    Operation("create-function", b"create function", "make a function known", argument="FUNCTION"),
    Operation("drop-function", b"drop function", "have a function forgotten", argument="FUNCTION"),
    Operation("cancel-job", b"cancel job", "remove a job that waits", argument="HANDLE"),
    Operation("show-jobs", b"show jobs", "all jobs", is_list=True),
    Operation("show-unique-jobs", b"show unique jobs", "the unique ids of all jobs", is_list=True),
    Operation("server-verbose", b"verbose", "how much the server logs"),
    Operation("server-version", b"version", "the server's version"),
    Operation("workers", b"workers", "all connections, and what they can do", is_list=True),
    Operation("priority-status", b"prioritystatus", "how many jobs of each function wait, by priority", is_list=True),
    Operation("status", b"status", "how many jobs each function has, how many run, how many workers it has", is_list=True),
)


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES)
    parser.add_argument("--help", action="help", help="show this text and exit")
    parser.add_argument("-h", "--host", metavar="HOST", default=DEFAULT_HOST, help="the server's host (default: localhost)")
    parser.add_argument("-p", "--port", metavar="PORT", default=str(DEFAULT_PORT), help="its port (default: 4730)")
    for operation in OPERATIONS:
        name = operation.option.replace("-", "_")
        if operation.argument is None:
            parser.add_argument(f"--{operation.option}", action="store_true", dest=name, help=operation.help)
        else:
            parser.add_argument(f"--{operation.option}", metavar=operation.argument, dest=name, help=operation.help)
    parser.add_argument("-S", "--ssl", action="store_true", help="taken, and not heeded: the server speaks plain text")
    # gearadmin takes no notice of them, either.
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)


def main(words: Sequence[str]) -> int:
    """
    Run it.

    @return: gearadmin's exit status.
    """
    parser = Parser(prog=NAME, add_help=False, allow_abbrev=True)
    add_parser(parser)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as end:
        # gearadmin's status for this is 1.
        return 1 if end.code else 0
    wanted = [(each, getattr(arguments, each.option.replace("-", "_"))) for each in OPERATIONS]
    wanted = [(each, value) for each, value in wanted if value not in (None, False)]
    if not wanted:
        report(NAME, "no operation is given; --status, for example, or --help for all of them")
        return 1
    if not (arguments.port.isascii() and arguments.port.isdecimal()) or not 0 < int(arguments.port) < 65536:
        report(NAME, f"--port must be a number from 1 to 65535, not {arguments.port!r}")
        return 1
    connection = TextConnection(arguments.host, int(arguments.port))
    try:
        for operation, value in wanted:
            _perform(connection, operation, value)
    except Unreachable as error:
        report(NAME, f"{error}; is the server running there? -h and -p name another")
        return 1
    return 0


def _perform(connection: TextConnection, operation: Operation, value: str | bool) -> None:
    line = operation.command
    if isinstance(value, str):
        line += b" " + value.encode(errors="surrogateescape")
    answer = connection.ask(line, operation.is_list)
    if answer and answer[0].startswith(b"ERR"):
        sys.stdout.flush()
        sys.stderr.buffer.write(b"Error: " + answer[0][3:].strip() + b"\n")
        sys.stderr.flush()
        return
    if operation.is_list:
        answer.append(b".")
    elif operation.argument is None:
        answer = [answer[0].removeprefix(b"OK ")]
    # As they are: programs read this.
    sys.stdout.buffer.write(b"".join(each + b"\n" for each in answer))
    sys.stdout.buffer.flush()
