"""
What each command of C{gearsvc queue} does.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore
from gearsvc.options import SettingsError
from gearsvc.process import reason_of
from gearsvc.queuecommand.display import display_on_stderr
from gearsvc.queuecommand.jobfiles import STANDARD, JobFileReader, JobFileWriter, read_jobs, write_jobs
from gearsvc.queuecommand.opening import make_store, opened
from gearsvc.queuecommand.readable import readable
from gearsvc.queuecommand.running import EXPECTED, Interruption, report, run
from gearsvc.queuecommand.survey import Listing, Survey, as_json_line
from gearsvc.queuecommand.tables import say
from gearsvc.queuecommand.transfer import Tally, copy, replay
from gearsvc.queuecommand.words import PROGRAM


class Command:
    """
    One command that is to be run once.
    """

    def __init__(self, options: Namespace) -> None:
        """
        @param options: the command line.
        @raise SettingsError: if it names what there is not.
        @raise OSError: likewise.
        """
        self.options = options
        self.display = display_on_stderr(self.quiet())

    def quiet(self) -> bool:
        """
        Whether no progress is to be shown.
        """
        quiet: bool = self.options.quiet
        return quiet

    async def work(self, interruption: Interruption) -> None:
        """
        Do all of it.
        """
        raise NotImplementedError

    def so_far(self) -> str:
        """
        A sentence on what has been done, when it could not be ended; or nothing.
        """
        return ""


class Copy(Command):
    """
    C{gearsvc queue copy}.
    """

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.source = _store("FROM", options.source, holds_jobs=True)
        self.target = _store("TO", options.target)
        self.tally = Tally("copied")

    async def work(self, interruption: Interruption) -> None:
        """
        See L{Command.work}.
        """
        async with opened(self.source, interruption), opened(self.target, interruption):
            await copy(self.source, self.target, self.tally, self.display, interruption)
        self.display.end()
        if not self.options.quiet:
            print(self.tally)

    def so_far(self) -> str:
        """
        See L{Command.so_far}.
        """
        return _go_on(self.tally)


class Import(Command):
    """
    C{gearsvc queue import}.
    """

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.target = make_store(options.store)
        self.reader = JobFileReader(options.file)
        self.tally = Tally("imported")

    async def work(self, interruption: Interruption) -> None:
        """
        See L{Command.work}.
        """
        async with opened(self.target, interruption):
            await read_jobs(self.reader, self.target, self.tally, self.display, interruption)
        self.display.end()
        if not self.options.quiet:
            print(self.tally)

    def so_far(self) -> str:
        """
        See L{Command.so_far}.
        """
        return _go_on(self.tally)


class Export(Command):
    """
    C{gearsvc queue export}.
    """

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.source = make_store(options.store, holds_jobs=True)
        self.writer = JobFileWriter(options.file, options.force)
        self.tally = Tally("exported")

    def quiet(self) -> bool:
        """
        On a terminal that shows the jobs, nobody could read it.
        """
        return super().quiet() or (self.options.file == STANDARD and sys.stdout.isatty())

    async def work(self, interruption: Interruption) -> None:
        """
        See L{Command.work}.
        """
        async with opened(self.source, interruption):
            await write_jobs(self.source, self.writer, self.tally, self.display, interruption)
        self.display.end()
        if not self.options.quiet:
            print(self.tally, file=sys.stderr if self.options.file == STANDARD else sys.stdout)

    def so_far(self) -> str:
        """
        See L{Command.so_far}.
        """
        if self.options.file != STANDARD:
            return "Nothing was exported."
        return f"Not all jobs were exported: {self.tally}" if self.tally.new else ""


class Show(Command):
    """
    C{gearsvc queue show}.
    """

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.store = make_store(options.store, holds_jobs=True)

    def quiet(self) -> bool:
        """
        It shows progress where that is gone in the end.
        """
        return bool(self.options.jobs and self.options.json and sys.stdout.isatty())

    async def work(self, interruption: Interruption) -> None:
        """
        See L{Command.work}.
        """
        async with opened(self.store, interruption):
            self.display.begin("reading")
            if self.options.jobs is None:
                await self._functions(interruption)
            else:
                await self._jobs(interruption)

    async def _functions(self, interruption: Interruption) -> None:
        survey = Survey(time.time())

        async def take(records: Sequence[JobRecord]) -> None:
            survey.count(records)

        await replay(self.store, take, self.display, interruption)
        self.display.end()
        if self.options.json:
            print(survey.as_json(self.store.description))
            return
        say(self.store.description)
        print()
        if survey.jobs:
            survey.as_table().show()
        else:
            print("No jobs.")
        if survey.paused:
            say(f"\nPaused: {', '.join(map(readable, sorted(survey.paused)))}.")

    async def _jobs(self, interruption: Interruption) -> None:
        listing = Listing(self.options.jobs)

        async def take(records: Sequence[JobRecord]) -> None:
            wanted = listing.count(records)
            if self.options.json:
                for record in wanted:
                    print(as_json_line(record))
            else:
                listing.add(wanted)

        await replay(self.store, take, self.display, interruption)
        self.display.end()
        if self.options.json:
            return
        jobs = listing.jobs
        if jobs:
            listing.table.show()
        else:
            print("No jobs.")
        left = jobs - self.options.jobs
        if left > 0:
            print(f"{left:,} more; --jobs {jobs} lists all.")


COMMANDS: dict[str, type[Command]] = {"copy": Copy, "show": Show, "export": Export, "import": Import}


def run_command(options: Namespace) -> int:
    """
    Run one of them.

    @param options: the command line.
    @return: the exit status.
    """
    name = f"{PROGRAM} {options.command}"
    try:
        command = COMMANDS[options.command](options)
    except EXPECTED as error:
        report(name, reason_of(error))
        return 1
    return run(name, command.work, command.so_far, command.display.end)


def _store(which: str, argument: str, holds_jobs: bool = False) -> IQueueStore:
    """
    One of two stores.

    @param which: what its argument is called.
    """
    try:
        return make_store(argument, holds_jobs)
    except SettingsError as error:
        raise SettingsError(f"{which}: {error}") from None


def _go_on(tally: Tally) -> str:
    if tally.new or tally.there:
        return f"{tally} Run it again to go on."
    return ""
