"""
C{gearsvc drop}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, given
from gearsvc.commandline.frame import add_server, add_timeout, describe, servers_of

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
    describe(parser, DESCRIPTION, EXAMPLES)
    parser.add_argument("functions", metavar="FUNCTION", nargs="+", help="a function")
    add_server(parser)
    add_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Drop them.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    for function in arguments.functions:
        server.do(b"drop", b"function", given(function))
    return 0
