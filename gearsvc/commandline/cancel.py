"""
C{gearsvc cancel}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.changing import JSON, add_how, change_each
from gearsvc.commandline.frame import describe

DESCRIPTION = """
Remove jobs. Their clients hear that they failed. A worker that has begun with one is
not stopped; what it still sends is of no use.
"""

EXAMPLES = """
gearsvc cancel H:server:1234
gearsvc jobs --json | jq -r '.[].handle' | xargs gearsvc cancel
"""

MORE = f"""
The exit status is 1 if one of them is not there (any more).

{JSON.format("handle")}
"""

REFUSALS = {b"UNKNOWN_JOB": "there is no job of this handle"}


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("handles", metavar="HANDLE", nargs="+", help="a job's handle")
    add_how(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Cancel them.
    """
    return change_each(arguments, "cancel", "handle", arguments.handles, b"cancel", b"job", refusals=REFUSALS)
