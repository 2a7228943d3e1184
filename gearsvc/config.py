"""
Every option of gearsvc, and how command line, environment and file become one
frozen L{Settings}.

An option is declared once, as a field of L{Settings}: name, type, default,
check and help text stand side by side there and nowhere else.  What belongs to
one store or protocol is declared by its plugin, as an L{Option}, and its value
is found in L{Settings.plugin_options}.

What is given in more than one place is taken from the first of: the command
line, the environment (C{GEARMAND_PORT}), the configuration file, the default.

The configuration file is INI.  Keys are the long names of options; a flag is
C{yes} or C{no}; what may be given more than once has one value per line,
indented.  Sections are there for the reader: any name will do, and no key may
stand in two of them::

    [gearman]
    port =
        4730
        unix:/run/gearman.sock
    round-robin = yes

    [libsqlite3]
    queue-type = libsqlite3
    libsqlite3-db = /var/lib/gearman/queue.db
"""

from __future__ import annotations

import configparser
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from gearsvc.options import (
    LEVELS,
    Option as Option,
    SettingsError as SettingsError,
    attempts,
    handle_prefix,
    level,
    lower_case_name,
    no_tls_yet,
    not_negative_seconds,
    port_or_endpoint,
    seconds,
    size,
    some_text,
    user_name,
    whole_number,
    yes_or_no,
)
from gearsvc.workerprocesses.wanted import WantedWorkers, wanted_workers

DEFAULT_PORT = "4730"

def option(default: Any, help: str, **rest: Any) -> Any:
    """
    Declare a field of L{Settings} that is an option.  Its name is the field's.
    """
    if default is False:
        rest.setdefault("parse", yes_or_no)
    return field(default=default, metadata={"option": Option("", help, default=default, **rest)})


LISTENING = "Listening"
JOBS = "Jobs and workers"
STORING = "Where background jobs are kept"
LIMITS = "Limits"
LOGGING = "Log and process"
NO_EFFECT = "Accepted as gearmand has them, without effect"
TLS = "TLS (refused until there is support for it)"


@dataclass(frozen=True)
class Settings:
    """
    Everything that can be set, checked.

    A program may make one directly, with any of the fields below: it goes
    through the same checks as the command line, and a port may be a number::

        Settings(port=("tcp:4730:interface=127.0.0.1",), queue_type="libsqlite3",
                 plugin_options={"libsqlite3-db": "queue.db"})

    @ivar plugin_options: the options of stores and protocols, by long name.
        Look them up by L{value_of}, which knows their defaults.
    @raise SettingsError: if a value is wrong.
    """

    port: tuple[str, ...] = option(
        (DEFAULT_PORT,),
        "A port number, or a Twisted endpoint: tcp:4730, tcp:4730:interface=127.0.0.1, unix:/run/gearman.sock. "
        "May be given more than once.",
        short="p", metavar="PORT", parse=port_or_endpoint, repeatable=True, group=LISTENING, shown=DEFAULT_PORT,
    )
    listen: tuple[str, ...] = option(
        (),
        "A name or an address, IPv4 or IPv6, at which port numbers are opened. May be given more than once.",
        short="L", metavar="ADDRESS", parse=some_text, repeatable=True, group=LISTENING, shown="all addresses",
    )
    protocol: tuple[str, ...] = option(
        (),
        "One more way to reach the server, beside Gearman's own protocol. May be given more than once.",
        short="r", metavar="NAME", parse=lower_case_name, repeatable=True, group=LISTENING,
    )
    backlog: int = option(
        1024,
        "How many connections may wait to be accepted.",
        short="b", metavar="N", parse=whole_number(1, 2**31 - 1), group=LISTENING,
    )
    keepalive: bool = option(False, "Let the system probe idle connections (TCP keepalive).", group=LISTENING)
    keepalive_idle: int = option(
        -1,
        "With --keepalive: seconds until an idle connection is probed first; -1 leaves it to the system.",
        metavar="SECONDS", parse=whole_number(-1, 32767), group=LISTENING,
    )
    keepalive_interval: int = option(
        -1,
        "With --keepalive: seconds between probes; -1 leaves it to the system.",
        metavar="SECONDS", parse=whole_number(-1, 32767), group=LISTENING,
    )
    keepalive_count: int = option(
        -1,
        "With --keepalive: unanswered probes after which a connection is lost; -1 leaves it to the system.",
        metavar="N", parse=whole_number(-1, 127), group=LISTENING,
    )

    job_retries: int = option(
        0,
        "How many workers may be lost over a job before it fails; 0 (or -1) is no limit.",
        short="j", metavar="N", parse=attempts, group=JOBS,
    )
    job_handle_prefix: str | None = option(
        None,
        "What job handles begin with.",
        metavar="PREFIX", parse=handle_prefix, group=JOBS, shown="H:<host name>",
    )
    round_robin: bool = option(
        False,
        "Let a worker's functions take turns. Without it, they are served in the order in which the worker registered them.",
        short="R", group=JOBS,
    )
    global_priority: bool = option(
        False,
        "Hand out jobs of high priority first over all functions of a worker, as gearmand 2 does. "
        "Without it, priority counts within a function.",
        group=JOBS,
    )
    worker_wakeup: int = option(
        0,
        "How many sleeping workers to wake for a new job; 0 wakes all who can do it. 1 is best with many workers.",
        short="w", metavar="N", parse=whole_number(0), group=JOBS,
    )
    wakeup_delay: float = option(
        1.0,
        "Seconds after which more workers are woken while jobs still wait; a negative number is never.",
        metavar="SECONDS", parse=seconds, group=JOBS, shown="1",
    )
    exceptions: bool = option(
        False,
        "Send WORK_EXCEPTION to every client, not only to those that asked for it.",
        group=JOBS,
    )

    worker: tuple[WantedWorkers, ...] = option(
        (),
        "Start workers, and keep them running: 'COUNT FUNCTION[,FUNCTION] -- COMMAND' runs the command for each job, with the "
        "job on stdin and the result on stdout, as 'gearsvc work' does. For a program that is a Gearman worker itself, write "
        "'COUNT FUNCTION[,FUNCTION] connect -- COMMAND' (it connects to GEARMAN_SERVERS, an environment variable) or "
        "'... socket -- COMMAND' (its stdin is a connection). May be given more than once; see docs/started-workers.md.",
        metavar="WORKERS", parse=wanted_workers, repeatable=True, group=JOBS,
    )

    queue_type: str = option(
        "builtin",
        "The store for background jobs.",
        short="q", metavar="NAME", parse=lower_case_name, group=STORING,
    )
    store_wait: float = option(
        30.0,
        "How long to try again, at the start, while the store can't be reached; then the server ends.",
        metavar="SECONDS", parse=not_negative_seconds, group=STORING, shown="30",
    )

    max_packet: int = option(
        1024**3,
        "The largest packet that is accepted, in bytes or with K, M or G behind the number.",
        metavar="SIZE", parse=size, group=LIMITS, shown="1G",
    )
    max_output: int = option(
        64 * 1024**2,
        "How much may wait for a peer who does not read, before its connection is closed.",
        metavar="SIZE", parse=size, group=LIMITS, shown="64M",
    )
    file_descriptors: int | None = option(
        None,
        "How many file descriptors the process may have; connections are a few less.",
        short="f", metavar="N", parse=whole_number(1, 2**31 - 1), group=LIMITS, shown="as many as the system allows",
    )

    verbose: str = option(
        "ERROR",
        f"What is logged: {', '.join(LEVELS)}.",
        short="v", metavar="LEVEL", parse=level, group=LOGGING,
    )
    admin_shutdown: bool = option(
        False,
        "Obey the admin commands 'shutdown' and 'shutdown graceful', from whoever can connect.",
        group=LOGGING,
    )
    drain_seconds: float = option(
        30.0,
        "How long a graceful end (SIGUSR1) waits for running jobs.",
        metavar="SECONDS", parse=not_negative_seconds, group=LOGGING, shown="30",
    )
    daemon: bool = option(
        False,
        "Detach from the terminal, once the server is ready.",
        short="d", group=LOGGING, twistd="twistd detaches unless it is told not to (twistd -n gearman)",
    )
    log_file: str | None = option(
        None,
        "The file to log to, 'stderr', or 'none'.",
        short="l", metavar="FILE", parse=some_text, group=LOGGING, twistd="twistd --logfile=FILE gearman",
        shown="stderr; with --daemon, /var/log/gearmand.log",
    )
    pid_file: str | None = option(
        None,
        "The file to write the process id to.",
        short="P", metavar="FILE", parse=some_text, group=LOGGING, twistd="twistd --pidfile=FILE gearman",
    )
    user: str | None = option(
        None,
        "The user to become, once the ports are open.",
        short="u", metavar="NAME", parse=user_name, group=LOGGING, twistd="twistd --uid=NAME gearman",
    )
    syslog: bool = option(
        False,
        "Log to the system's log, too.",
        group=LOGGING, twistd="twistd --syslog gearman",
    )

    threads: int = option(
        4,
        "Threads for input and output.",
        short="t", metavar="N", parse=whole_number(0), group=NO_EFFECT, effect=False,
    )
    hashtable_buckets: int = option(
        991,
        "Buckets of the job hash tables.",
        metavar="N", parse=whole_number(1), group=NO_EFFECT, effect=False,
    )
    coredump: bool = option(False, "Dump core after a crash.", group=NO_EFFECT, effect=False)

    ssl: bool = option(False, "Speak TLS.", parse=no_tls_yet, group=TLS)
    ssl_ca_file: str | None = option(None, "The file of trusted authorities.", metavar="FILE", parse=no_tls_yet, group=TLS)
    ssl_certificate: str | None = option(None, "The server's certificate.", metavar="FILE", parse=no_tls_yet, group=TLS)
    ssl_key: str | None = option(None, "The certificate's key.", metavar="FILE", parse=no_tls_yet, group=TLS)

    plugin_options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """
        Check what a program gave, and bring it into the form that is promised.
        """
        for one in OPTIONS:
            object.__setattr__(self, one.attribute, one.checked(getattr(self, one.attribute)))

    def value_of(self, option: Option) -> Any:
        """
        The value of a plugin's option, or its default.
        """
        return option.checked(self.plugin_options.get(option.name, option.default))


OPTIONS: tuple[Option, ...] = tuple(
    replace(each.metadata["option"], name=each.name.replace("_", "-")) for each in fields(Settings) if each.metadata
)
"""
The options of the server itself, in the order in which C{--help} shows them.
"""


class Given(NamedTuple):
    """
    What one place says about one option.

    @ivar option: the option.
    @ivar texts: its values, as written; never empty.
    @ivar where: the place, for an error; C{""} for the command line.
    """

    option: Option
    texts: list[str]
    where: str = ""


def load_settings(
    command_line: Iterable[tuple[Option, str]],
    options: Iterable[Option] = OPTIONS,
    config_file: str | None = None,
    environment: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> Settings:
    """
    Make settings of everything that was given.

    @param command_line: options with their values, in their order; the value
        of a flag is C{"yes"}.
    @param options: every option there is, plugins' included.
    @param config_file: the configuration file's path.
    @param environment: the environment variables.
    @param warn: called with a line for what was ignored.
    @raise SettingsError: if anything is wrong.
    """
    known = {one.name: one for one in options}
    given: dict[str, Given] = {}
    if config_file is not None:
        for each in read_config_file(config_file, known):
            given[each.option.name] = each
    from_command_line: dict[str, Given] = {}
    for one, text in command_line:
        from_command_line.setdefault(one.name, Given(one, [])).texts.append(text)
    number = (environment or {}).get("GEARMAND_PORT")
    if number is not None and "port" not in from_command_line:
        try:
            given["port"] = Given(known["port"], [str(whole_number(0, 65535)(number))], "GEARMAND_PORT")
        except ValueError:
            # Container platforms put tcp://10.0.0.1:4730 there, for a service
            # named "gearmand"; it is not meant for us.
            warn(f"GEARMAND_PORT is ignored: {number!r} is no port number")
    given.update(from_command_line)

    values: dict[str, Any] = {}
    ours = {one.name for one in OPTIONS}
    plugin_values: dict[str, object] = {one.name: one.default for one in known.values() if one.name not in ours}
    for each in given.values():
        try:
            value = each.option.value(each.texts)
        except SettingsError as error:
            raise SettingsError(f"{each.where}: {error}" if each.where else f"--{error}") from None
        if each.option.name in plugin_values:
            plugin_values[each.option.name] = value
        else:
            values[each.option.attribute] = value
    unused = ", ".join(f"--{each.option.name}" for each in given.values() if not each.option.effect)
    if unused:
        warn(f"without effect, for they tune what only gearmand has: {unused}")
    return Settings(**values, plugin_options=plugin_values)


def read_config_file(path: str, known: Mapping[str, Option]) -> list[Given]:
    """
    Read a configuration file.

    @param known: every option, by its long name.
    @raise SettingsError: if the file cannot be read, or holds what is no
        option; the line says where.
    """
    lines_of_keys: list[int] = []
    line_number = 0

    def lines(file: Iterable[str]) -> Iterator[str]:
        nonlocal line_number
        for line_number, line in enumerate(file, 1):
            yield line

    class Reader(configparser.RawConfigParser):
        def optionxform(self, key: str) -> str:
            # The parser calls this as it meets a key, and tells its line to
            # nobody else.
            lines_of_keys.append(line_number)
            return key.lower()

    # No section is special: the one whose keys would show up in all others
    # has a name that cannot be written.
    reader = Reader(default_section="\n")
    try:
        with open(path, encoding="utf-8") as file:
            reader.read_file(lines(file), path)
    except OSError as error:
        raise SettingsError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"cannot read the configuration file {path}: it is not UTF-8") from None
    except configparser.MissingSectionHeaderError as error:
        raise SettingsError(
            f"{path}, line {error.lineno}: a section, such as [gearman], must come before {error.line.strip()!r}"
        ) from None
    except configparser.DuplicateSectionError as error:
        raise SettingsError(f"{path}, section [{error.section}], line {error.lineno}: the section is there twice") from None
    except configparser.DuplicateOptionError as error:
        raise SettingsError(
            f"{path}, section [{error.section}], line {error.lineno}: {error.option} is there twice "
            "(more than one value: one per line, indented)"
        ) from None
    except configparser.ParsingError as error:
        number, line = error.errors[0]
        # The line comes as its repr(), with its end.
        line = line.replace("\\n", "")
        raise SettingsError(f"{path}, line {number}: this is no 'key = value': {line}") from None

    found: dict[str, Given] = {}
    entries = [(section, key, value) for section in reader.sections() for key, value in reader.items(section)]
    for (section, key, value), line_number in zip(entries, lines_of_keys, strict=True):
        where = f"{path}, section [{section}], line {line_number}"
        if key not in known:
            alike = difflib.get_close_matches(key, known, 1)
            raise SettingsError(f"{where}: there is no option {key!r}" + (f"; is it {alike[0]}?" if alike else ""))
        if key in found:
            raise SettingsError(f"{where}: {key} is there twice, in two sections")
        texts = [value]
        if known[key].repeatable:
            texts = [text for text in value.splitlines() if text.strip()]
        if not texts:
            raise SettingsError(f"{where}: {key} has no value; write '{key} = ...'")
        found[key] = Given(known[key], texts, where)
    return list(found.values())
