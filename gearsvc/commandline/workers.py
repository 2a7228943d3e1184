"""
C{gearsvc workers}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, given, named
from gearsvc.commandline.frame import add_json, add_server, add_timeout, describe, servers_of
from gearsvc.commandline.table import write_json, write_table
from gearsvc.core.explain import text

DESCRIPTION = """
Show the workers of a server, and what they can do.
"""

EXAMPLES = """
gearsvc workers
gearsvc workers --function resize
gearsvc workers --all
gearsvc workers --json
"""

MORE = """
With --json, it is a list of objects with number, address, client_id (null if it has
none) and functions, a list of objects with function (and function_base64 where that
is no UTF-8).
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("--function", metavar="FUNCTION", help="only those that can do this function")
    parser.add_argument("--all", action="store_true", help="all connections, those of clients too")
    add_server(parser)
    add_timeout(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Show them.
    """
    peers = Administration(servers_of(arguments)[0], arguments.timeout).peers()
    if arguments.function is not None:
        peers = [each for each in peers if given(arguments.function) in each.functions]
    elif not arguments.all:
        peers = [each for each in peers if each.functions]
    if arguments.json:
        write_json(
            [
                {
                    "number": each.number,
                    "address": text(each.address),
                    **({"client_id": None} if each.client_id == b"-" else named("client_id", each.client_id)),
                    "functions": [named("function", function) for function in each.functions],
                }
                for each in peers
            ]
        )
    else:
        write_table(
            ("NUMBER", "ADDRESS", "CLIENT ID", "FUNCTIONS"),
            [
                (str(each.number), text(each.address), text(each.client_id), ", ".join(map(text, each.functions)))
                for each in peers
            ],
            "There are no workers." if arguments.function is None else f"No worker can do {text(given(arguments.function))}.",
        )
    return 0
