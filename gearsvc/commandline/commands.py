"""
The table of all commands.

It imports nothing: C{gearsvc --help} is made of it alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """
    A command.

    @ivar name: its name.
    @ivar summary: what it does, in a few words, as C{gearsvc --help} says it.
    @ivar module: where it is.
    """

    name: str
    summary: str
    module: str


GROUPS: dict[str, tuple[Command, ...]] = {
    "Jobs": (
        Command("submit", "Submit jobs, and write their results.", "gearsvc.commandline.submit"),
        Command("work", "Do jobs with a command.", "gearsvc.commandline.work"),
        Command("gearman", "Take gearman(1)'s command line.", "gearsvc.commandline.gearman"),
    ),
    "Any job server": (
        Command("status", "Show functions, and how many jobs they have.", "gearsvc.commandline.status"),
        Command("workers", "Show workers, and what they can do.", "gearsvc.commandline.workers"),
        Command("jobs", "Show jobs that wait or run.", "gearsvc.commandline.jobs"),
        Command("explain", "Say why a job does not run.", "gearsvc.commandline.explain"),
        Command("cancel", "Remove jobs.", "gearsvc.commandline.cancel"),
        Command("maxqueue", "Limit how many jobs may wait.", "gearsvc.commandline.maxqueue"),
        Command("create", "Make functions known.", "gearsvc.commandline.create"),
        Command("drop", "Have functions forgotten.", "gearsvc.commandline.drop"),
        Command("top", "Watch it in the terminal.", "gearsvc.top.command"),
        Command("ping", "Ask whether servers are there.", "gearsvc.commandline.ping"),
        Command("version", "Show the version of a server.", "gearsvc.commandline.version"),
        Command("gearadmin", "Take gearadmin(1)'s command line.", "gearsvc.commandline.gearadmin"),
    ),
    "The job server": (
        Command("serve", "Run the job server, with gearmand's command line.", "gearsvc.commandline.serve"),
        Command("queue", "Look at stored jobs, and move them from store to store.", "gearsvc.queuecommand.words"),
    ),
    "This program": (
        Command("completion", "Write what makes a shell complete this command line.", "gearsvc.commandline.completion"),
    ),
}
"""
All commands, under the headings that they are listed under.
"""

COMMANDS: dict[str, Command] = {command.name: command for group in GROUPS.values() for command in group}
"""
All commands by name.
"""


def overview() -> str:
    """
    What C{gearsvc --help} lists.
    """
    width = max(map(len, COMMANDS))
    lines: list[str] = []
    for heading, commands in GROUPS.items():
        lines += [f"{heading}:", *(f"  {command.name:{width}}  {command.summary}" for command in commands), ""]
    return "\n".join(lines)
