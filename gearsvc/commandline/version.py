"""
C{gearsvc version}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration
from gearsvc.commandline.frame import add_json, add_server, add_timeout, describe, servers_of
from gearsvc.commandline.table import write_json
from gearsvc.core.explain import text

DESCRIPTION = """
Show the version of a server. (That of this program is shown by "gearsvc --version".)
"""

EXAMPLES = """
gearsvc version --server gearman.example
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, "With --json, it is an object with version, pid and verbose.")
    add_server(parser)
    add_timeout(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Show it.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    version = text(server.value(b"version"))
    if arguments.json:
        pid = server.value(b"getpid")
        write_json({"version": version, "pid": int(pid) if pid.isdigit() else None, "verbose": text(server.value(b"verbose"))})
    else:
        print(version)
    return 0
