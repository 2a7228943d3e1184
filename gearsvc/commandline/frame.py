"""
What all commands have in common: their parser, how they fail, which server they
are about.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from gearsvc.commandline.commands import COMMANDS, Command

DEFAULT_HOST = "localhost"
DEFAULT_PORT = 4730

TIMEOUT = 5.0
"""
How many seconds a server may take to answer, if C{--timeout} does not say.
"""

ENVIRONMENT = ("GEARMAN_SERVER", "GEARMAN_SERVERS")
"""
What names servers where C{--server} does not, the first that is set.
"""

USAGE = 2
"""
The exit status of a command line that cannot be understood.
"""

Address = tuple[str, int]


class CommandError(Exception):
    """
    A command cannot do what it was asked to.

    @ivar args: one string of one line: what is wrong, and what to do.
    """


class Parser(argparse.ArgumentParser):
    """
    A parser whose errors are one line, and status 2.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # A word that is short for an option today may be short for two tomorrow.
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """
        End the process.
        """
        line = escaped(f"{self.prog}: {message}; {self.prog} --help shows how it is used")
        print(line, file=sys.stderr)
        raise SystemExit(USAGE)


def escaped(message: str) -> str:
    """
    A message as one line that is safe for a terminal, whatever was put into it.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode() for each in message)


def report(name: str, message: str) -> None:
    """
    Tell the user, in one line on stderr.

    @param name: the command.
    """
    print(escaped(f"{name}: {message}"), file=sys.stderr, flush=True)


def describe(parser: argparse.ArgumentParser, description: str, examples: str, more: str = "") -> None:
    """
    Say what a command is for.

    @param description: one or more paragraphs, of lines that fit a terminal.
    @param examples: command lines, each in a line of its own.
    @param more: further paragraphs, shown behind the options.
    """
    parser.description = description.strip()
    lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
    parser.epilog = (more.strip() + "\n\n" if more else "") + f"examples:\n{lines}"


def address(given: str) -> Address:
    """
    A check for C{HOST}, C{HOST:PORT} or C{[IPv6]:PORT}.
    """
    host, port = given, str(DEFAULT_PORT)
    if given.startswith("["):
        host, _, rest = given[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif given.count(":") == 1:
        host, _, port = given.partition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"must be HOST or HOST:PORT, not {given!r}")
    return host, int(port)


def seconds(given: str) -> float:
    """
    A check for a time-out.
    """
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    # (What is no number is not between any two, either.)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, such as 2.5, not {given!r}")
    return value


def add_server(parser: argparse.ArgumentParser, *, repeatable: bool = False) -> None:
    """
    Add C{--server}: what it names is for L{servers_of} to say.

    @param repeatable: whether it may be given more than once.
    """
    parser.add_argument(
        "--server",
        metavar="HOST[:PORT]",
        type=address,
        action="append" if repeatable else "store",
        help=("a server, as often as there are any" if repeatable else "the server")
        + f" (default: what GEARMAN_SERVER or GEARMAN_SERVERS names, or {DEFAULT_HOST}:{DEFAULT_PORT})",
    )


def add_timeout(parser: argparse.ArgumentParser, default: float | None = TIMEOUT, about: str = "how long the server may take to answer") -> None:
    """
    Add C{--timeout}.

    @param default: what it is if it is not given; C{None} is no limit.
    """
    shown = "no limit" if default is None else f"{default:g}"
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, default=default, help=f"{about} (default: {shown})")


def add_json(parser: argparse.ArgumentParser, about: str = "write JSON, for programs") -> None:
    """
    Add C{--json}.
    """
    parser.add_argument("--json", action="store_true", help=about)


def servers_of(arguments: argparse.Namespace) -> list[Address]:
    """
    The servers that a command is about: those of C{--server}, or those that the
    environment names, with commas between them, or the one on this machine.

    @raise CommandError: if the environment names what cannot be a server.
    """
    given = arguments.server
    if given:
        return given if isinstance(given, list) else [given]
    for variable in ENVIRONMENT:
        words = [word for word in os.environ.get(variable, "").replace(",", " ").split() if word]
        try:
            if words:
                return [address(word) for word in words]
        except argparse.ArgumentTypeError as error:
            raise CommandError(f"{variable}: a server {error}; set it right, or give --server") from None
    return [(DEFAULT_HOST, DEFAULT_PORT)]


def fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """
    Fill a parser with what a command takes.
    """
    add: Callable[[argparse.ArgumentParser], None] = import_module(command.module).add_parser
    add(parser)


def run_command(name: str, words: Sequence[str]) -> int:
    """
    Run a command.

    @param words: the command line, after its name.
    @return: the exit status.
    """
    command = COMMANDS[name]
    module = import_module(command.module)
    try:
        main: Callable[[Sequence[str]], int] | None = getattr(module, "main", None)
        if main is not None:
            return main(words)
        parser = Parser(prog=f"gearsvc {name}")
        fill(parser, command)
        status: int = module.run(parser.parse_args(words))
        # What cannot be written is to be found out while it can be told.
        sys.stdout.flush()
        return status
    except CommandError as error:
        print(escaped(f"gearsvc {name}: {error}"), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read it has seen enough, as "head" has.  Nothing is left to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
