"""
C{gearsvc serve}, as the other commands are: its options are those of
L{gearsvc.config}, for help, completion and the manual alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gearsvc.commandline.frame import describe
from gearsvc.options import Option

DESCRIPTION = """
Run the job server until it is told to end, by SIGTERM or Ctrl-C. It takes
gearmand's command line, and more. Every option also has a place in the file of
--config, by the same name.
"""

EXAMPLES = """
gearsvc serve
gearsvc serve --config /etc/gearsvc.conf
gearsvc serve -p 4731 -q libsqlite3 --libsqlite3-db /var/lib/gearman/queue.db
gearsvc serve -d -l /var/log/gearmand.log -P /run/gearmand.pid -u gearman
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill a parser with all options: none that reads them, but one that is read.
    """
    from gearsvc.config import OPTIONS
    from gearsvc.plugins import protocol_makers, queue_store_makers
    from gearsvc.tap import GENERAL_OPTIONS, plugin_heading

    describe(parser, DESCRIPTION, EXAMPLES)
    groups: dict[str, list[Option]] = {}
    for option in OPTIONS:
        groups.setdefault(option.group, []).append(option)
    for name, makers in (("queue-type", queue_store_makers()), ("protocol", protocol_makers())):
        for maker in makers:
            groups[plugin_heading(name, maker.names, maker.summary)] = list(maker.options)
    groups["General"] = [option for option in GENERAL_OPTIONS if option.name != "help"]
    for heading, options in groups.items():
        group = parser.add_argument_group(heading)
        for option in options:
            _add(group, option)


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    names = [f"-{option.short}"] if option.short else []
    names += [f"--{name}" for name in (option.name, *option.aliases)]
    default = option.shown if option.shown is not None else option.default
    told = option.help
    if not option.flag and default not in (None, (), ""):
        told += f" (default: {default})"
    # argparse takes "%" for the beginning of a name.
    told = told.replace("%", "%%")
    if option.flag:
        group.add_argument(*names, action="store_true", help=told)
    else:
        group.add_argument(*names, metavar=option.metavar, help=told)


def main(words: Sequence[str]) -> int:
    """
    Run the server.
    """
    from gearsvc.serve import main as serve

    return serve(words)
