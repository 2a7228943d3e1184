"""
The command line of C{gearsvc queue}.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

PROGRAM = "gearsvc queue"

LISTED = 50
"""
How many jobs C{show --jobs} lists if it is not told.
"""

DESCRIPTION = "Look at the jobs in a store, and move them to another, while no server runs on them."

STORES = """\
A STORE (and FROM, and TO) is one word: the configuration file of a server, or a
queue type and its options, in quotes, as they stand on a server's command line.

  /etc/gearsvc.conf
  "libsqlite3 --libsqlite3-db /var/lib/gearman/queue.db"
  "postgres --libpq-conninfo 'host=db dbname=jobs'"

Others can see the words of a command line, so a password belongs into a file.
"gearsvc serve --help-stores" lists all stores and their options.
"""

EXAMPLES = """\
examples:
  gearsvc queue show /etc/gearsvc.conf
  gearsvc queue copy "libsqlite3 --libsqlite3-db old.db" /etc/gearsvc.conf
  gearsvc queue export /etc/gearsvc.conf jobs.jsonl
"""

AGAIN = """\
It may be interrupted, and run again: each job is there once in the end, in its
order, behind what was there before. A job is there already if one with its
handle is, or one with its function and unique id.
"""


STYLE: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}


class Parser(argparse.ArgumentParser):
    """
    A parser whose errors are one line, and status 1.
    """

    def error(self, message: str) -> NoReturn:
        """
        End the process.
        """
        print(f"{self.prog}: {message}; {self.prog} --help shows how it is used", file=sys.stderr)
        raise SystemExit(1)


def make_parser() -> Parser:
    """
    The command line.
    """
    parser = Parser(prog=PROGRAM, **STYLE)
    add_parser(parser)
    return parser


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser of the command line.
    """
    parser.description = DESCRIPTION
    parser.epilog = STORES + "\n" + EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)

    def command(name: str, summary: str, description: str, examples: str) -> argparse.ArgumentParser:
        epilog = f"{STORES}\nexamples:\n{examples}"
        return commands.add_parser(name, help=summary, description=description, epilog=epilog, **STYLE)

    added = command(
        "copy",
        "copy all jobs of one store to another",
        f"Copy all jobs of one store to another. FROM keeps what it has.\n\n{AGAIN}",
        '  gearsvc queue copy "libsqlite3 --libsqlite3-db old.db" /etc/gearsvc.conf\n'
        "  gearsvc queue copy /etc/gearsvc.conf \"postgres --libpq-conninfo 'host=db dbname=jobs'\"\n",
    )
    added.add_argument("source", metavar="FROM", help="the store that has the jobs")
    added.add_argument("target", metavar="TO", help="the store that is to have them")
    _add_quiet(added)

    added = command(
        "show",
        "show how many jobs of which function there are",
        "Show what a store holds: how many jobs of which function and priority there are,\n"
        "how many of them wait for their time, when the oldest one was submitted, and how\n"
        "many bytes their workloads have.",
        "  gearsvc queue show /etc/gearsvc.conf\n  gearsvc queue show --jobs 10 /etc/gearsvc.conf\n",
    )
    added.add_argument("store", metavar="STORE", help="the store")
    added.add_argument(
        "--jobs",
        metavar="N",
        nargs="?",
        type=_count,
        const=LISTED,
        help=f"list the first N jobs one by one (default: {LISTED})",
    )
    added.add_argument(
        "--json",
        action="store_true",
        help="write JSON, for programs: an object, or with --jobs one of each job in a line",
    )

    added = command(
        "export",
        "write all jobs of a store to a file of JSON lines",
        "Write all jobs of a store to a file of JSON lines: a first line that says what it is,\n"
        "then a line for each job. The file appears when it is complete.",
        "  gearsvc queue export /etc/gearsvc.conf jobs.jsonl\n"
        "  gearsvc queue export /etc/gearsvc.conf | gzip > jobs.jsonl.gz\n",
    )
    added.add_argument("store", metavar="STORE", help="the store")
    added.add_argument("file", metavar="FILE", nargs="?", default="-", help="the file (default: -, standard output)")
    added.add_argument("--force", action="store_true", help="replace a file that is there already")
    _add_quiet(added)

    added = command(
        "import",
        "store all jobs of such a file",
        f"Store all jobs of a file of JSON lines, as export writes it.\n\n{AGAIN}",
        "  gearsvc queue import /etc/gearsvc.conf jobs.jsonl\n"
        "  zcat jobs.jsonl.gz | gearsvc queue import /etc/gearsvc.conf\n",
    )
    added.add_argument("store", metavar="STORE", help="the store")
    added.add_argument("file", metavar="FILE", nargs="?", default="-", help="the file (default: -, standard input)")
    _add_quiet(added)


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="show no progress, and no line in the end")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a number of jobs, not {text!r}")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """
    Run a command.

    @param arguments: the command line, after C{queue}.
    @return: the exit status: 0 if all is done, 1 for a line on stderr that
        says why not, 130 for Ctrl-C.
    """
    parser = make_parser()
    options, rest = parser.parse_known_args(_with_count(arguments))
    if rest:
        # It is not repeated: a password may be among it.
        parser.error("there are too many words (a store and its options are one, in quotes)")
    # These take their time to be imported.
    from gearsvc.queuecommand.commands import run_command

    try:
        return run_command(options)
    except KeyboardInterrupt:
        # Nothing has begun yet.
        return 128 + signal.SIGINT


def _with_count(arguments: Sequence[str]) -> list[str]:
    """
    Let C{--jobs STORE} be what it looks like.
    """
    words = list(arguments)
    for index, word in enumerate(words):
        if word == "--jobs" and not "".join(words[index + 1 : index + 2]).isdigit():
            words[index] = f"--jobs={LISTED}"
    return words
