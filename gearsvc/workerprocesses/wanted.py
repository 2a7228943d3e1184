"""
What C{--worker} says: C{COUNT FUNCTION[,FUNCTION] [KIND] -- COMMAND}.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass

from gearsvc.options import SettingsError, whole_number

COMMAND = "command"
"""The command is run for each job."""

SOCKET = "socket"
"""The program is a worker, and its standard input is a connection to the server."""

CONNECT = "connect"
"""The program is a worker, and connects to GEARMAN_SERVERS."""

KINDS = (COMMAND, SOCKET, CONNECT)

MOST = 1000
"""How many workers of one kind there may be."""

FORM = "'COUNT FUNCTION[,FUNCTION] -- COMMAND'"

_number = whole_number(0, MOST)


@dataclass(frozen=True)
class WantedWorkers:
    """
    Some workers that do the same.

    @ivar count: how many, to begin with.
    @ivar functions: what they do.
    @ivar kind: one of L{KINDS}.
    @ivar command: the program and its arguments; no shell reads them.
    """

    count: int
    functions: tuple[str, ...]
    kind: str
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """
        What they are called: their functions.
        """
        return ",".join(self.functions)

    def __str__(self) -> str:
        kind = "" if self.kind == COMMAND else f" {self.kind}"
        return f"{self.count} {self.name}{kind} -- {shlex.join(self.command)}"

    def check_program(self) -> None:
        """
        Find out whether there is such a program.

        @raise SettingsError: if not.
        """
        if shutil.which(self.command[0]) is None:
            raise SettingsError(
                f"--worker: there is no program {self.command[0]!r} that can be run; give its path, or make it executable: '{self}'"
            )


def wanted_workers(text: str) -> WantedWorkers:
    """
    A check for C{--worker}.

    @raise ValueError: if it is not of its form; the text says why.
    """
    text = text.strip()
    head, dashes, tail = _split(text)
    if not dashes:
        raise ValueError(f"must be {FORM}, and there is no ' -- ' before a command in {text!r}")
    words = head.split()
    if len(words) not in (2, 3):
        raise ValueError(f"must be {FORM}, and before the -- stand a count, functions and perhaps a kind, not {head!r}")
    try:
        count = _number(words[0])
    except ValueError as error:
        raise ValueError(f"must be {FORM}, and the count {error}") from None
    functions = tuple(words[1].split(","))
    if not all(functions) or not words[1].isprintable():
        raise ValueError(f"must have names of functions with commas between them, not {words[1]!r}")
    if len(set(functions)) < len(functions):
        raise ValueError(f"must name each function once, not {words[1]!r}")
    kind = words[2] if len(words) == 3 else COMMAND
    if kind not in KINDS:
        raise ValueError(f"must have one of {', '.join(KINDS)} before the --, or nothing, not {kind!r}")
    try:
        command = tuple(shlex.split(tail))
    except ValueError as error:
        raise ValueError(f"has a command with a mistake ({str(error).lower()}): {tail!r}") from None
    if not command or not command[0] or "\0" in tail:
        raise ValueError(f"must have a command after the --, not {tail!r}")
    return WantedWorkers(count, functions, kind, command)


def _split(text: str) -> tuple[str, str, str]:
    found = re.search(r"(?:^|\s)--(?:\s|$)", text)
    if found is None:
        return text, "", ""
    return text[: found.start()], "--", text[found.end() :].strip()
