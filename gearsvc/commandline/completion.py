"""
C{gearsvc completion}.
"""

from __future__ import annotations

import argparse

import shtab

from gearsvc.commandline.frame import describe

DESCRIPTION = """
Write what makes a shell complete the commands and options of gearsvc.
"""

EXAMPLES = """
gearsvc completion bash > ~/.local/share/bash-completion/completions/gearsvc
gearsvc completion zsh > ~/.zfunc/_gearsvc
eval "$(gearsvc completion bash)"
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser.
    """
    describe(parser, DESCRIPTION, EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=shtab.SUPPORTED_SHELLS, help=" or ".join(shtab.SUPPORTED_SHELLS))


def run(arguments: argparse.Namespace) -> int:
    """
    Write it.
    """
    from gearsvc.commandline.whole import whole_parser

    print(shtab.complete(whole_parser(), arguments.shell))
    return 0
