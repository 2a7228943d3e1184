"""
C{gearsvc ping}.
"""

from __future__ import annotations

import argparse
import time

from gearsvc.commandline.administration import Administration
from gearsvc.commandline.frame import CommandError, add_json, add_server, add_timeout, describe, report, servers_of
from gearsvc.commandline.table import write_json
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

With --json, it is a list of objects: server, seconds (null if it does not answer),
version, and error.
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    add_server(parser, repeatable=True)
    add_timeout(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Ask them.
    """
    rows = []
    for address in servers_of(arguments):
        server = Administration(address, arguments.timeout)
        version = seconds = problem = None
        try:
            # The first question has the connection's time in it.
            server.value(b"version")
            began = time.perf_counter()
            version = text(server.value(b"version"))
            seconds = time.perf_counter() - began
        except CommandError as error:
            problem = str(error)
            report(NAME, problem)
        else:
            if not arguments.json:
                print(f"{server.name}: {seconds * 1000:.2f} ms, version {version}", flush=True)
        rows.append({"server": server.name, "seconds": seconds, "version": version, "error": problem})
    if arguments.json:
        write_json(rows)
    return 1 if any(row["error"] for row in rows) else 0
