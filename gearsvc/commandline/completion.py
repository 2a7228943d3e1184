"""
C{gearsvc completion}.
"""

from __future__ import annotations

import argparse
import re

import shtab

from gearsvc.commandline.frame import describe

SHELLS = ("bash", "zsh", "fish")

DESCRIPTION = """
Write what makes a shell complete the commands and options of gearsvc.
"""

EXAMPLES = """
gearsvc completion bash > ~/.local/share/bash-completion/completions/gearsvc
gearsvc completion zsh > ~/.zfunc/_gearsvc
gearsvc completion fish > ~/.config/fish/completions/gearsvc.fish
eval "$(gearsvc completion bash)"
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def offer_files(parser: argparse.ArgumentParser) -> None:
    """
    Have files offered where an option, of this parser or one below it, takes one.
    """
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                offer_files(below)
        elif action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def run(arguments: argparse.Namespace) -> int:
    """
    Write it.
    """
    from gearsvc.commandline.whole import whole_parser

    parser = whole_parser(brief=True)
    offer_files(parser)
    script = shtab.complete(parser, arguments.shell)
    if arguments.shell == "zsh":
        # A colon ends what is said of an option's value, and shtab leaves it as it is.
        script = re.sub(r":([\w=|]+\[):(\w+\]:)", r":\1\:\2", script)
    print(script)
    return 0
