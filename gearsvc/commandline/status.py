"""
C{gearsvc status}.
"""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase

from gearsvc.commandline.administration import Administration, FunctionStatus, named
from gearsvc.commandline.frame import add_json, add_server, add_timeout, describe, servers_of
from gearsvc.commandline.table import write_json, write_table
from gearsvc.core.explain import text

DESCRIPTION = """
Show the functions of a server: how many jobs wait, by priority, how many run, and
how many workers can do them.
"""

EXAMPLES = """
gearsvc status
gearsvc status --server gearman.example 'image-*'
gearsvc status --sort waiting
gearsvc status --json
"""

MORE = """
With --json, it is a list of objects with function, waiting, running, workers, and
high, normal and low, which add up to waiting with any server. (function_base64 is
there as well where the name is no UTF-8.)
"""

SORTS = ("function", "waiting", "running", "workers")


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument(
        "patterns", metavar="PATTERN", nargs="*", help="show only functions like one of these: * is anything, ? a character"
    )
    parser.add_argument(
        "--sort", choices=SORTS, default="function", help="what comes first: most of it, or the first by name (default: function)"
    )
    add_server(parser)
    add_timeout(parser)
    add_json(parser)


def waiting(each: FunctionStatus) -> int:
    """
    How many jobs of a function wait.
    """
    return max(0, each.jobs - each.running)


def run(arguments: argparse.Namespace) -> int:
    """
    Show it.
    """
    functions = Administration(servers_of(arguments)[0], arguments.timeout).functions()
    if arguments.patterns:
        functions = [each for each in functions if any(fnmatchcase(text(each.function), one) for one in arguments.patterns)]
    if arguments.sort != "function":
        functions.sort(key=lambda each: -waiting(each) if arguments.sort == "waiting" else -getattr(each, arguments.sort))
    if arguments.json:
        write_json(
            [
                {
                    **named("function", each.function),
                    "waiting": waiting(each),
                    "running": each.running,
                    "workers": each.workers,
                    "high": each.high,
                    "normal": each.normal,
                    "low": each.low,
                }
                for each in functions
            ]
        )
    else:
        write_table(
            ("FUNCTION", "WAITING", "RUNNING", "WORKERS", "HIGH", "NORMAL", "LOW"),
            [
                (text(each.function), waiting(each), each.running, each.workers, each.high, each.normal, each.low)
                for each in functions
            ],
            "There is no such function." if arguments.patterns else "There are no functions.",
        )
    return 0
