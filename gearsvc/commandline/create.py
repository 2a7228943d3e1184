"""
C{gearsvc create}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, given
from gearsvc.commandline.frame import add_server, add_timeout, describe, servers_of

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
    describe(parser, DESCRIPTION, EXAMPLES)
    parser.add_argument("functions", metavar="FUNCTION", nargs="+", help="a function")
    add_server(parser)
    add_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Make them known.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    for function in arguments.functions:
        server.do(b"create", b"function", given(function))
    return 0
