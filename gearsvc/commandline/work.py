"""
C{gearsvc work}.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gearsvc.commandline.frame import CommandError, Parser, add_server, describe, seconds, servers_of
from gearsvc.commandline.submit import number

NAME = "gearsvc work"

DESCRIPTION = """
Do the jobs of a function with a command. It is started for each job: it reads the
job's data from standard input, and what it writes to standard output is the
result. If it ends with another status than 0, the job fails. What it writes to
standard error is logged, with the job's handle.
"""

EXAMPLES = """
gearsvc work upper -- tr a-z A-Z
gearsvc work resize --jobs 4 --timeout 60 -- convert - -resize 200x200 -
gearsvc work build --function test --count 100 -- ./run-job.sh
gearsvc work --server one:4730 --server two:4730 fetch -- xargs curl -s
"""

MORE = """
The command is run without a shell, and may have options of its own behind the
"--". Its environment tells which job it is: GEARMAN_FUNCTION, GEARMAN_HANDLE and
GEARMAN_UNIQUE, and GEARMAN_SERVERS where the servers are.

Ctrl-C, or SIGTERM: takes no more jobs, lets those that run finish, and ends. A
second one ends them too (by SIGTERM, and after some seconds by SIGKILL), a third
one does so at once.

A server that is not there, or goes away, is tried again and again. A job whose
worker goes away is queued again by its server.

The exit status is 0 if it ended because of --count or a first signal, 1 if it
could not begin, 2 for a command line that cannot be understood, and 130 or 143 if
jobs were ended by a second signal.
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.usage = "gearsvc work FUNCTION [options] -- COMMAND [ARGUMENT ...]"
    parser.add_argument("first", metavar="FUNCTION", help="the function whose jobs to do")
    parser.add_argument("command", metavar="COMMAND", nargs="*", help="what does them, with its arguments")
    parser.add_argument(
        "--function", metavar="FUNCTION", action="append", default=[], help="a further function, as often as there are any"
    )
    parser.add_argument("--jobs", metavar="N", type=number, default=1, help="do up to N jobs at a time (default: 1)")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help="end a command that takes longer, and all that it has started; its job fails (default: no limit)",
    )
    count = "end after N jobs (default: no limit); with --jobs and several servers it may be a few more"
    parser.add_argument("--count", metavar="N", type=number, help=count)
    parser.add_argument(
        "--lines", action="store_true", help="send each line of the output at once, as data, and an empty result in the end"
    )
    add_server(parser, repeatable=True)


def main(words: Sequence[str]) -> int:
    """
    Work until told to end.

    @param words: the command line, after C{work}.
    @return: the exit status.
    @raise CommandError: if it cannot begin.
    """
    parser = Parser(prog=NAME)
    add_parser(parser)
    # What is behind "--" is the command's own, and no parser's business.
    at = list(words).index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:at])
    command = [*arguments.command, *(words[at:] if arguments.command else words[at + 1 :])]
    if not command:
        parser.error("a command is missing, as in: gearsvc work FUNCTION -- COMMAND")
    functions = [arguments.first, *arguments.function]
    if "" in functions:
        parser.error("a function has no name")
    servers = servers_of(arguments)
    # These take their time to be imported.
    from gearsvc.client.commands import CommandUnusable, check_command
    from gearsvc.commandline.running import run_reactor
    from gearsvc.commandline.working import Work

    try:
        check_command(command)
    except CommandUnusable as error:
        raise CommandError(f"{error}; what is behind -- must be a command") from None
    work = Work(
        functions,
        command,
        servers,
        jobs=arguments.jobs,
        timeout=arguments.timeout,
        count=arguments.count,
        lines=arguments.lines,
    )
    return run_reactor(NAME, work.run, work.interrupt)
