"""
C{gearsvc cancel}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, Refused, given
from gearsvc.commandline.frame import add_server, add_timeout, describe, report, servers_of

NAME = "gearsvc cancel"

DESCRIPTION = """
Remove jobs. Their clients hear that they failed. A worker that has begun with one is
not stopped; what it still sends is of no use.
"""

EXAMPLES = """
gearsvc cancel H:server:1234
gearsvc jobs --json | jq -r '.[].handle' | xargs gearsvc cancel
"""

MORE = """
The exit status is 1 if one of them is not there (any more).
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("handles", metavar="HANDLE", nargs="+", help="a job's handle")
    add_server(parser)
    add_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Cancel them.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    status = 0
    for handle in arguments.handles:
        try:
            server.do(b"cancel", b"job", given(handle))
        except Refused as error:
            if error.code != b"UNKNOWN_JOB":
                raise
            report(NAME, f"{handle}: there is no job of this handle")
            status = 1
    return status
