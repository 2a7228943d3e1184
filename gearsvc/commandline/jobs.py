"""
C{gearsvc jobs}.
"""

from __future__ import annotations

import argparse

from gearsvc.commandline.administration import Administration, named
from gearsvc.commandline.frame import add_json, add_server, add_timeout, describe, servers_of
from gearsvc.commandline.table import write_json, write_table
from gearsvc.core.explain import text

DESCRIPTION = """
Show the jobs that wait or run, by their handles or their unique ids. ("gearsvc
explain" says more of one of them, and so does the console.)
"""

EXAMPLES = """
gearsvc jobs
gearsvc jobs --unique
gearsvc jobs --json
"""

MORE = """
With --json, it is a list of objects with handle, retries, ignored and background;
with --unique, of objects with unique (and unique_base64 where that is no UTF-8).
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("--unique", action="store_true", help="the unique ids")
    add_server(parser)
    add_timeout(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """
    Show them.
    """
    server = Administration(servers_of(arguments)[0], arguments.timeout)
    nothing = "There are no jobs."
    if arguments.unique:
        uniques = server.unique_ids()
        if arguments.json:
            write_json([named("unique", unique) for unique in uniques])
        else:
            write_table(("UNIQUE ID",), [(text(unique),) for unique in uniques], nothing)
        return 0
    jobs = server.jobs()
    if arguments.json:
        write_json(
            [
                {**named("handle", job.handle), "retries": job.retries, "ignored": job.ignored, "background": job.background}
                for job in jobs
            ]
        )
    else:
        write_table(
            ("HANDLE", "RETRIES", "BACKGROUND"),
            # (gearmand lists those that were cancelled, too.)
            [(text(job.handle), job.retries, "yes" if job.background else "no") for job in jobs if not job.ignored],
            nothing,
        )
    return 0
