"""
C{gearsvc ping}.
"""

from __future__ import annotations

import argparse
import time

from gearsvc.commandline.administration import Administration
from gearsvc.commandline.frame import CommandError, add_server, add_timeout, describe, report, servers_of
from gearsvc.core.explain import text

NAME = "gearsvc ping"

DESCRIPTION = """
Ask servers whether they are there, and how long they take to say so.
"""

EXAMPLES = """
gearsvc ping
gearsvc ping --server one.example --server two.example:4731 --timeout 1
"""

MORE = """
The exit status is 1 if one of them does not answer.
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    add_server(parser, repeatable=True)
    add_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Ask them.
    """
    status = 0
    for address in servers_of(arguments):
        server = Administration(address, arguments.timeout)
        try:
            # The first question has the connection's time in it.
            server.value(b"version")
            began = time.perf_counter()
            version = server.value(b"version")
        except CommandError as error:
            report(NAME, str(error))
            status = 1
        else:
            print(f"{server.name}: {(time.perf_counter() - began) * 1000:.2f} ms, version {text(version)}", flush=True)
    return status
