"""
C{gearsvc submit}.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from datetime import datetime

from gearsvc.commandline.frame import USAGE, add_json, add_server, add_timeout, describe, servers_of

DESCRIPTION = """
Submit a job, and write its result to standard output. The job's data is DATA, or
what standard input holds; with --lines or --null every line, or what is between
NULs, is a job of its own.
"""

EXAMPLES = """
gearsvc submit upper "hello"
gearsvc submit resize < cat.png > small.png
gearsvc submit --background --unique report-2026 report 2026
gearsvc submit --at +10m remind "tea"
gearsvc submit --lines --outstanding 50 fetch < urls > pages
find . -name '*.png' -print0 | gearsvc submit --null --background resize
"""

MORE = """
Many jobs: the results come in the order of the input, as soon as that allows,
each with the same end as the input has: a line feed for --lines (if the result
has none), a NUL for --null. One that fails keeps none of the others from being
done. Input is read as jobs end, so there may be any number of them.

Background jobs, and those of --at, are not waited for: what is written are
their handles, a line for each, when the server has them. Warnings, errors and
progress go to standard error.

--json writes an object for each job, in a line: function, handle, status
(completed, failed or submitted), result, warnings, error, and with many jobs the
number of its line.  What is no text is base64, as result_base64.

The exit status tells the worst that has happened:
  0    all jobs were done, or were taken in the background
  1    a job failed
  2    the command line cannot be understood
  3    no server could be reached, or none was left
  4    a server refused a job; its queue is full, for example
  5    a job took longer than --timeout
  130  Ctrl-C
"""

PRIORITIES = ("high", "normal", "low")

OUTSTANDING = 16
"""
How many jobs are outstanding if C{--outstanding} does not say.
"""

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(given: str) -> int:
    """
    A check for a point of time, in Unix seconds: C{+90}, C{+10m}, or ISO 8601.
    """
    found = re.fullmatch(r"\+(\d+(?:\.\d+)?)([smhd]?)", given, re.ASCII)
    try:
        if found:
            return math.ceil(time.time() + float(found[1]) * UNITS[found[2]])
        # (A time without a zone is one of this machine's.)
        return math.ceil(datetime.fromisoformat(given).timestamp())
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"must be a time such as 2026-12-24T18:00, or how long from now, such as +90, +10m or +2h, not {given!r}"
        ) from None


def number(given: str) -> int:
    """
    A check for how many.
    """
    if not (given.isascii() and given.isdecimal() and 0 < int(given) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {given!r}")
    return int(given)


def attempts(given: str) -> int:
    """
    A check for how many times more.
    """
    return 0 if given == "0" else number(given)


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.add_argument("function", metavar="FUNCTION", help="the function that is to do it")
    parser.add_argument("data", metavar="DATA", nargs="?", default="-", help="the data (default: -, standard input)")
    many = parser.add_argument_group("many jobs").add_mutually_exclusive_group()
    many.add_argument("--lines", action="store_true", help="a job for each line of standard input")
    many.add_argument("--null", action="store_true", help="the same, for what is separated by NULs")
    parser.add_argument(
        "--outstanding",
        metavar="N",
        type=number,
        default=OUTSTANDING,
        help=f"how many of them are with the servers at a time (default: {OUTSTANDING})",
    )
    parser.add_argument("--background", action="store_true", help="do not wait for the result; write the handle")
    parser.add_argument("--priority", choices=PRIORITIES, default="normal", help="the priority (default: normal)")
    parser.add_argument(
        "--unique",
        metavar="ID",
        default="",
        help="the unique id: jobs of a function that have the same are done once. {} in it stands for the data, "
        "and - alone for an id made from the data, of any size",
    )
    parser.add_argument(
        "--at", metavar="TIME", type=moment, help="not before: 2026-12-24T18:00 (here), or +90, +10m, +2h, +1d from now"
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=attempts,
        default=0,
        help="submit a job again up to N times if its server goes away before it is done (default: 0)",
    )
    add_timeout(parser, None, "how long a job may take, from when it is submitted")
    add_server(parser, repeatable=True)
    add_json(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """
    Submit.
    """
    many = arguments.lines or arguments.null
    problem = None
    if many and arguments.data != "-":
        problem = "--lines and --null read standard input, and take no DATA"
    elif many and arguments.unique not in ("", "-") and "{}" not in arguments.unique:
        problem = "one --unique for all makes one job of them; - or an ID with {} makes one of each"
    elif arguments.at is not None and arguments.priority != "normal":
        problem = "a job of --at has the normal priority; leave --priority out"
    elif not arguments.function:
        problem = "FUNCTION is empty; name the function"
    if problem is not None:
        print(f"gearsvc submit: {problem}", file=sys.stderr)
        return USAGE
    servers = servers_of(arguments)
    if arguments.data == "-" and sys.stdin.isatty():
        print("gearsvc submit: reads the data from the terminal; Ctrl-D ends it", file=sys.stderr)
    # The reactor takes its time to be imported.
    from gearsvc.commandline.running import run_reactor
    from gearsvc.commandline.submitting import Submission

    submission = Submission(arguments, servers)
    return run_reactor("gearsvc submit", submission.run, submission.interrupt)
