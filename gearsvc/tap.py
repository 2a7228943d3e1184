"""
The command line of C{twistd gearman}, and the service that it runs.
"""

from __future__ import annotations

import getopt
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from gearsvc import __version__
from gearsvc.config import NO_EFFECT, OPTIONS, TLS, Settings, load_settings
from gearsvc.logs import Logger
from gearsvc.options import Option, SettingsError, yes_or_no
from gearsvc.plugins import plugin_options, protocol_makers, queue_store_makers

if TYPE_CHECKING:
    from twisted.application.service import IService

    from gearsvc.process import ProcessService

log = Logger(__name__)

CONFIG = Option(
    "config", "Read options from this file; see twistd.conf. Also: --config-file.", metavar="FILE", aliases=("config-file",)
)
CHECK_ARGS = Option("check-args", "Check all options, and the file, and exit.", yes_or_no, False)
HELP_STORES = Option("help-stores", "Show every store that is installed, with its options, and exit.", yes_or_no, False)
HELP = Option("help", "Show this text and exit.", yes_or_no, False, short="h")
VERSION = Option("version", "Show the version and exit.", yes_or_no, False, short="V")
GENERAL_OPTIONS = (CONFIG, CHECK_ARGS, HELP, HELP_STORES, VERSION)


def left_to_twistd(option: Option) -> Option:
    """
    An option of the process as C{twistd gearman} knows it: refused, with what
    twistd has in its place.
    """

    def parse(text: str) -> Any:
        value = option.parse(text)
        if value is not False:
            raise ValueError(f"belongs to twistd: {option.twistd}")
        return value

    return replace(option, parse=parse)


class Options(usage.Options):
    """
    The command line.

    What it says is in L{settings} once L{parseOptions} has returned.  Values
    come from a file and the environment too, and an option may be given more
    than once; so this reads the words itself, and of L{usage.Options} it has
    the face that twistd knows.

    @cvar process_options: whether the options of the process (C{--daemon},
        C{--log-file}, ...) are ours.
    @cvar where_listed: what is said to somebody who gives a wrong option.
    @ivar settings: all that was given, checked.
    """

    synopsis = "[options]"
    longdesc = "A Gearman job server that takes gearmand's place."
    process_options = False
    where_listed = "--help lists all options"
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        server_options = OPTIONS if self.process_options else [left_to_twistd(each) if each.twistd else each for each in OPTIONS]
        self._options: list[Option] = list(server_options)
        self._problem: SettingsError | None = None
        try:
            self._options += plugin_options([*GENERAL_OPTIONS, *OPTIONS])
        except SettingsError as error:
            # twistd makes an instance before it is ready to be told.
            self._problem = error

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line and what it refers to.

        @raise usage.UsageError: if anything is wrong.
        @raise SystemExit: if there is nothing more to do; and for whatever is
            wrong, below twistd and twist, which would print pages of help
            where one line says it.
        """
        try:
            self._parse(sys.argv[1:] if options is None else list(options))
        except (SettingsError, usage.UsageError) as error:
            if self.parent is not None:
                raise SystemExit(f"{os.path.basename(sys.argv[0])} gearman: {error}") from None
            raise usage.UsageError(str(error)) from None

    def _parse(self, arguments: list[str]) -> None:
        if self._problem is not None:
            raise self._problem
        known: dict[str, Option] = {}
        for option in [*GENERAL_OPTIONS, *self._options]:
            names = [f"--{name}" for name in (option.name, *option.aliases)]
            known.update(dict.fromkeys(names + [f"-{option.short}"] if option.short else names, option))
        try:
            words, rest = getopt.getopt(
                arguments,
                "".join(name[1] + ("" if option.flag else ":") for name, option in known.items() if len(name) == 2),
                [name[2:] + ("" if option.flag else "=") for name, option in known.items() if len(name) > 2],
            )
        except getopt.GetoptError as error:
            raise usage.UsageError(f"{error}; {self.where_listed}") from None
        if rest:
            raise usage.UsageError(self.stray(rest[0]))
        given = [(known[word], "yes" if known[word].flag else value) for word, value in words]

        told = dict(given)
        if HELP in told:
            print(self)
            raise SystemExit(0)
        if HELP_STORES in told:
            print("\n\n".join(stores_help(help_width())))
            raise SystemExit(0)
        if VERSION in told:
            print(f"gearsvc {__version__}")
            raise SystemExit(0)
        self.settings = load_settings(
            [(option, value) for option, value in given if option not in GENERAL_OPTIONS],
            self._options,
            told.get(CONFIG),
            os.environ,
            lambda line: log.announce("{line}", line=line),
        )
        if CHECK_ARGS in told:
            make_process(self.settings)
            raise SystemExit(0)

    def stray(self, word: str) -> str:
        """
        What is said of a word that belongs to no option.
        """
        return f"{word!r} is no option; {self.where_listed}"

    def getUsage(self, width: int | None = None) -> str:
        """
        Every option, under headings.
        """
        width = width or help_width()
        blocks = [self.longdesc]
        groups: dict[str, list[Option]] = {}
        for option in self._options:
            if option in OPTIONS:
                groups.setdefault(option.group, []).append(option)
        unused = {heading: groups.pop(heading) for heading in (NO_EFFECT, TLS)}
        blocks += [options_help(heading, options, width) for heading, options in groups.items()]
        blocks += stores_help(width)
        for protocol in protocol_makers():
            blocks.append(options_help(plugin_heading("protocol", protocol.names, protocol.summary), protocol.options, width))
        blocks += [options_help(heading, options, width) for heading, options in unused.items()]
        blocks.append(options_help("General", GENERAL_OPTIONS, width))
        if not self.process_options:
            blocks.append(
                textwrap.fill(
                    "Options of the process are twistd's own, and stand before 'gearman': -n to stay in the foreground, "
                    "--logfile, --pidfile, --uid, --syslog; see twistd --help.",
                    width,
                )
            )
        return "\n\n".join(blocks) + "\n"


def help_width() -> int:
    """
    How many columns a help text may have.
    """
    return int(os.environ.get("COLUMNS", "80"))


def stores_help(width: int) -> list[str]:
    """
    Every store, with its options and with what it still needs.
    """
    blocks = []
    for store in queue_store_makers():
        heading = plugin_heading("queue-type", store.names, store.summary)
        if missing := store.missing():
            heading += f"; not usable yet: {missing}"
        blocks.append(options_help(heading, store.options, width))
    return blocks


def plugin_heading(option: str, names: Sequence[str], summary: str) -> str:
    """
    What C{--help} says of a store or protocol before its options.
    """
    aliases = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
    return f"--{option} {names[0]}{aliases}, {summary}"


def options_help(heading: str, options: Sequence[Option], width: int) -> str:
    """
    A heading and the options under it, for C{--help}.
    """
    lines = textwrap.wrap(heading, width)
    column = 30
    for option in options:
        name = (f"-{option.short}, " if option.short else "    ") + f"--{option.name}"
        name = f"  {name}={option.metavar}" if option.metavar else f"  {name}"
        default = option.shown if option.shown is not None else option.default
        text = option.help
        if not option.flag and default not in (None, (), ""):
            text += f" (default: {default})"
        told = textwrap.wrap(text, max(width - column, 30))
        if len(name) < column:
            lines.append(f"{name:<{column}}{told.pop(0)}")
        else:
            lines.append(name)
        lines += [" " * column + line for line in told]
    return "\n".join(lines)


def make_process(settings: Settings, leave_with: Callable[[int], None] | None = None) -> ProcessService:
    """
    Make the server, and what runs it as a process of its own.

    @param leave_with: see L{ProcessService <gearsvc.process.ProcessService>}.
    @raise SettingsError: if the settings do not fit together.
    """
    from gearsvc.process import ProcessService
    from gearsvc.service import JobServerService

    return ProcessService(JobServerService(settings), leave_with=leave_with)


def makeService(options: Options) -> IService:
    """
    Make what C{twistd gearman} runs.

    @raise SystemExit: if the settings do not fit together.
    """
    from gearsvc.process import TwistdParent, report_start_failures

    try:
        process = make_process(options.settings)
    except SettingsError as error:
        raise SystemExit(f"{os.path.basename(sys.argv[0])} gearman: {error}") from None
    report_start_failures()
    if options.parent is not None:
        TwistdParent(process.server, options.parent).setServiceParent(process)
    return process
