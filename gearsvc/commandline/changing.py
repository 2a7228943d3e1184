"""
A change that is made to some jobs or functions, one after the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gearsvc.commandline.administration import Administration, Refused, given, named
from gearsvc.commandline.frame import add_json, add_server, add_timeout, report, servers_of
from gearsvc.commandline.table import write_json

JSON = "With --json, it is a list of objects: {}, done, and error, which says why it is not done."
"""
What a command's help says of C{--json}; it is given the key.
"""


def add_how(parser: argparse.ArgumentParser) -> None:
    """
    Add what all changes take.
    """
    add_server(parser)
    add_timeout(parser)
    add_json(parser)


def change_each(
    arguments: argparse.Namespace, command: str, key: str, words: Sequence[str], *what: bytes, refusals: dict[bytes, str] | None = None
) -> int:
    """
    Change some things.  What the server refuses to do to one of them is told, and keeps none of the others from being done.

    @param command: which command this is for.
    @param key: what the things are, for JSON.
    @param words: the things.
    @param what: what is asked of the server, before the thing.
    @param refusals: why a server refuses, by its code, where that is clearer than what it says.
    @return: the exit status.
    @raise CommandError: if the server is not there, or cannot be told of one of them.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    rows = []
    for word in words:
        error = None
        try:
            server.do(*what, given(word))
        except Refused as refused:
            error = (refusals or {}).get(refused.code, str(refused))
            report(f"gearsvc {command}", f"{word}: {error}")
        rows.append({**named(key, given(word)), "done": error is None, "error": error})
    if arguments.json:
        write_json(rows)
    return 0 if all(row["done"] for row in rows) else 1
