"""
C{gearsvc create}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.changing import JSON, add_how, change_each
from gearsvc.commandline.frame import describe

DESCRIPTION = """
Make functions known to a server before there is a worker or a job: they are listed
then, and a limit can be set.
"""

EXAMPLES = """
gearsvc create resize
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, JSON.format("function"))
    parser.add_argument("functions", metavar="FUNCTION", nargs="+", help="a function")
    add_how(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Make them known.
    """
    return change_each(arguments, "create", "function", arguments.functions, b"create", b"function")
