"""
C{gearsvc explain}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, Refused, given
from gearsvc.commandline.frame import CommandError, add_json, add_server, add_timeout, describe, servers_of
from gearsvc.commandline.table import write_json
from gearsvc.core.explain import text

DESCRIPTION = """
Say why a job does not run, or what became of it, with the facts behind that. Of a
gearsvc alone: other servers cannot say.
"""

EXAMPLES = """
gearsvc explain H:server:1234
gearsvc explain H:server:1234 --json
"""

MORE = """
With --json, it is an object with sentence and facts, an object of texts.
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("handle", metavar="HANDLE", help="the job's handle")
    add_server(parser)
    add_timeout(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Say it.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    try:
        sentence, *facts = server.ask([b"explain", given(arguments.handle)], is_list=True)
    except Refused as error:
        if error.code.upper() == b"UNKNOWN_COMMAND":
            raise CommandError(f"{server.name} is no gearsvc, and cannot say why a job waits") from None
        if error.code == b"UNKNOWN_JOB":
            raise CommandError(f"{server.name} knows no job of the handle {arguments.handle}") from None
        raise
    if arguments.json:
        named = (fact.partition(b"\t") for fact in facts)
        write_json({"sentence": text(sentence), "facts": {text(name): text(value) for name, _, value in named}})
    else:
        print(text(sentence))
        for fact in facts:
            name, _, value = fact.partition(b"\t")
            print(f"  {text(name).replace('_', ' ')}: {text(value)}")
    return 0
