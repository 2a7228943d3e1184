"""
C{gearsvc drop}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.changing import JSON, add_how, change_each
from gearsvc.commandline.frame import describe

DESCRIPTION = """
Have a server forget functions, with the jobs that wait. A function that workers can
do is not dropped.
"""

EXAMPLES = """
gearsvc drop resize
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
    Drop them.
    """
    return change_each(arguments, "drop", "function", arguments.functions, b"drop", b"function")
