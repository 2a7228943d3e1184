"""
C{gearsvc gearman}: gearman(1)'s command line.
"""

from __future__ import annotations

import argparse
import getopt
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gearsvc.commandline.frame import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    Address,
    CommandError,
    Parser,
    describe,
    escaped,
    servers_of,
)

NAME = "gearsvc gearman"

FLAGS = "bc:f:h:HILnNp:Pst:u:vwi:dS"
"""
All flags, as getopt(3) has them.
"""

ERROR = 1
"""
The exit status of what went wrong, a bad command line too.
"""

DESCRIPTION = """
Take the command line of gearman(1), and do what it does: submit jobs, or with -w
do them. It is there for scripts that have been written for gearman(1); "gearsvc
submit" and "gearsvc work" do more, and read better.
"""

EXAMPLES = """
gearsvc gearman -f upper hello
gearsvc gearman -b -f resize < cat.png
gearsvc gearman -w -f upper -- tr a-z A-Z
gearsvc gearman -n -P -f size -f upper < words
"""

MORE = """
Client: every DATA is a job, one after the other; without any, standard input is
the data. With several -f, each of the functions gets it.
Worker: COMMAND reads a job's data from its standard input and writes the result
to standard output; options of its own stand behind "--". Without a command, the
data is written to standard output, and the result is empty.

What differs from gearman(1): a job that could not be submitted, or was not done
in time, makes the exit status 1, where gearman(1) has 0. Jobs that are lines may
have any length and any bytes. With -w, each line is sent once, a command that
cannot be run or is ended by a signal makes the job fail, -c counts jobs, done or
failed, and a worker waits for a server that is not there. -h and -p are preferred
to GEARMAN_SERVER. -S really speaks TLS, for which gearman(1) has to be built; many
are not, and speak plainly all the same.
"""


class Misuse(Exception):
    """
    The command line cannot be understood.

    @ivar args: why.
    """


@dataclass
class Options:
    """
    What the command line says: see L{add_parser}.
    """

    functions: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    servers: list[Address] = field(default_factory=list)
    help: bool = False
    worker: bool = False
    background: bool = False
    priority: str = "NORMAL"
    lines: bool = False
    strip: bool = False
    prefix: bool = False
    empty: bool = False
    unique: str = ""
    count: int = 0
    timeout: float | None = None
    verbose: bool = False
    pid_file: str | None = None
    daemon: bool = False
    tls: bool = False


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser with gearman(1)'s flags, for those who ask what there is.
    It is L{parse} that reads them, as getopt(3) does.
    """
    # -h is the host.
    parser.conflict_handler = "resolve"
    describe(parser, DESCRIPTION, EXAMPLES, MORE)
    parser.usage = "gearsvc gearman [options] [DATA ...]\n       gearsvc gearman -w [options] [-- COMMAND [ARGUMENT ...]]"
    both = parser.add_argument_group("client and worker")
    both.add_argument("-f", metavar="FUNCTION", action="append", help="a function; there may be several")
    both.add_argument("-h", metavar="HOST", help=f"the server (default: what GEARMAN_SERVER names, or {DEFAULT_HOST})")
    both.add_argument("-p", metavar="PORT", help=f"its port (default: {DEFAULT_PORT})")
    both.add_argument("-t", metavar="MILLISECONDS", help="how long to wait for something to happen (default: no limit)")
    both.add_argument("-i", metavar="FILE", help="keep the process id in a file")
    both.add_argument("-d", action="store_true", help="go on in the background, without a terminal")
    both.add_argument("-v", action="store_true", help="write the handle of each job")
    tls = "speak TLS, with the certificates that GEARMAN_CA_CERTIFICATE, GEARMAN_CLIENT_PEM and GEARMAN_CLIENT_KEY name"
    both.add_argument("-S", action="store_true", help=tls)
    both.add_argument("-H", action="store_true", help="show this text and exit")
    client = parser.add_argument_group("client")
    client.add_argument("-b", action="store_true", help="background jobs")
    client.add_argument("-I", action="store_true", help="high priority")
    client.add_argument("-L", action="store_true", help="low priority")
    lines = "each line of standard input is a job; worker: each line of output is sent at once"
    client.add_argument("-n", action="store_true", help=lines)
    client.add_argument("-N", action="store_true", help="the same, without the line feed")
    client.add_argument("-P", action="store_true", help="write the function's name before what comes of it")
    client.add_argument("-s", action="store_true", help="a job without data; leave standard input alone")
    client.add_argument("-u", metavar="ID", help="the unique id; - and # make one from the data")
    worker = parser.add_argument_group("worker")
    worker.add_argument("-w", action="store_true", help="be a worker")
    worker.add_argument("-c", metavar="N", help="end after N jobs")
    parser.add_argument("words", metavar="DATA", nargs="*", help="a job's data, or with -w a command and its arguments")


def parse(words: Sequence[str]) -> Options:
    """
    Read the command line.

    @raise Misuse: if it cannot be understood.
    @raise CommandError: if the environment cannot.
    """
    options = Options()
    host: str | None = None
    port: int | None = None
    try:
        flags, options.words = getopt.gnu_getopt(list(words), FLAGS, ["help"])
    except getopt.GetoptError as error:
        raise Misuse(error.msg) from None
    for flag, value in flags:
        match flag:
            case "-f":
                if not value:
                    raise Misuse("-f names no function")
                options.functions.append(value)
            case "-h":
                host = value
            case "-p":
                port = whole(flag, value, 65535)
            case "-t":
                options.timeout = None if value.startswith("-") else whole(flag, value) / 1000
            case "-c":
                options.count = whole(flag, value)
            case "-u":
                options.unique = value
            case "-i":
                options.pid_file = value
            case "-I":
                options.priority = "HIGH"
            case "-L":
                options.priority = "LOW"
            case "-N":
                options.lines = options.strip = True
            case _:
                setattr(options, SWITCHES[flag], True)
    if not options.help:
        if not options.functions:
            raise Misuse("no function is given, as -f would")
        if host is None and port is None:
            options.servers = servers_of(argparse.Namespace(server=None))
        else:
            options.servers = [(host or DEFAULT_HOST, port or DEFAULT_PORT)]
    return options


SWITCHES = {
    "-b": "background",
    "-d": "daemon",
    "-H": "help",
    "--help": "help",
    "-n": "lines",
    "-P": "prefix",
    "-s": "empty",
    "-S": "tls",
    "-v": "verbose",
    "-w": "worker",
}


def whole(flag: str, value: str, limit: int = 2**31 - 1) -> int:
    """
    The number that is behind a flag.

    @raise Misuse: if it is none.
    """
    if not (value.isascii() and value.isdecimal() and int(value) <= limit):
        raise Misuse(f"{flag} must be a number from 0 to {limit}, not {value!r}")
    return int(value)


def places(options: Options, reactor: Any) -> list[Any]:
    """
    The servers, as L{gearsvc.client} takes them.

    @raise CommandError: if C{-S} cannot be done.
    """
    if options.tls:
        from gearsvc.commandline.encryption import encrypted

        return list(encrypted(options.servers, reactor))
    from gearsvc.commandline.running import server_name

    return [server_name(*server) for server in options.servers]


def main(words: Sequence[str]) -> int:
    """
    Be gearman(1).

    @param words: the command line, after C{gearman}.
    @return: the exit status.
    """
    try:
        options = parse(words)
    except Misuse as error:
        print(escaped(f"{NAME}: {error}; {NAME} -H shows all flags"), file=sys.stderr)
        return ERROR
    if options.help:
        parser = Parser(prog=NAME)
        add_parser(parser)
        parser.print_help()
        return 0
    return _in_background(options) if options.daemon else _with_pid_file(options)


def _in_background(options: Options) -> int:
    from gearsvc.daemon import detach

    ready = detach(keep_stderr=False)
    # Whoever started it waits no longer; until now it could have been told of what is wrong.
    ready()
    return _with_pid_file(options)


def _with_pid_file(options: Options) -> int:
    from gearsvc.daemon import PidFile
    from gearsvc.options import SettingsError

    if options.pid_file is None:
        return _run(options)
    pid_file = PidFile(options.pid_file)
    try:
        pid_file.write()
    except SettingsError as error:
        raise CommandError(str(error).replace("--pid-file", "-i")) from None
    try:
        return _run(options)
    finally:
        pid_file.remove()


def _run(options: Options) -> int:
    # These take their time to be imported.
    from gearsvc.commandline.gearmanclient import Client
    from gearsvc.commandline.gearmanworker import Worker
    from gearsvc.commandline.running import run_reactor

    program = Worker(options) if options.worker else Client(options)
    return run_reactor(NAME, program.run, program.interrupt)
