"""
C{gearsvc maxqueue}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, given, named
from gearsvc.commandline.changing import add_how
from gearsvc.commandline.frame import CommandError, describe, servers_of
from gearsvc.commandline.table import write_json

DESCRIPTION = """
Limit how many jobs of a function there may be. What is submitted beyond that is
refused, as "queue full". A limit for one priority counts the jobs of all priorities,
and refuses those of its own. Limits are forgotten when the server ends.
"""

EXAMPLES = """
gearsvc maxqueue resize 1000
gearsvc maxqueue resize --high 0 --normal 1000 --low 100
gearsvc maxqueue resize none
"""

MORE = """
With --json, it is an object: function, and the limits high, normal and low, which
are null where there is none.
"""


def limit(word: str) -> int:
    """
    A check for a limit; 0 is none.
    """
    if word == "none":
        return 0
    if not (word.isascii() and word.isdecimal() and int(word) < 1 << 31):
        raise argparse.ArgumentTypeError(f"must be a number of jobs, or none, not {word!r}")
    return int(word)


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("function", metavar="FUNCTION", help="the function")
    parser.add_argument(
        "limit", metavar="LIMIT", nargs="?", type=limit, help="how many; 0 or none: no limit"
    )
    for name in ("high", "normal", "low"):
        parser.add_argument(
            f"--{name}", metavar="LIMIT", type=limit, help=f"the limit for jobs of {name} priority (default: LIMIT)"
        )
    add_how(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Limit it.
    """
    by_priority = [arguments.high, arguments.normal, arguments.low]
    if arguments.limit is None and by_priority == [None, None, None]:
        raise CommandError("there is no limit to set; give one, or none to have no limit any more")
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    limits = [arguments.limit or 0]
    if any(each is not None for each in by_priority):
        limits = [arguments.limit or 0 if each is None else each for each in by_priority]
    server.do(b"maxqueue", given(arguments.function), *(b"%d" % each for each in limits))
    if arguments.json:
        high, normal, low = (each or None for each in (limits * 3)[:3])
        write_json({**named("function", given(arguments.function)), "high": high, "normal": normal, "low": low})
    return 0
