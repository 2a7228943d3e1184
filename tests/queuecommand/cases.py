"""
What the tests of C{gearsvc queue} as a command share.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Sequence

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.sqlite import Database, as_row
from gearsvc.testing import record
from tests.commands import GEARSVC, CommandCase

QUEUE = [*GEARSVC, "queue"]


class QueueCommandCase(CommandCase):
    """
    Runs C{gearsvc queue} in a directory with stores.
    """

    def store(self, name: str) -> str:
        """
        The word for a store in an SQLite database.

        @param name: the file's.
        """
        return f"libsqlite3 --libsqlite3-db {name}"

    def database(self, name: str) -> Database:
        """
        An open database, closed by who asked for it.
        """
        database = Database(str(self.directory / name), "gearman_queue")
        database.open()
        return database

    def fill(self, name: str, jobs: Sequence[JobRecord]) -> str:
        """
        Put jobs into a database.

        @return: the word for it.
        """
        database = self.database(name)
        database.write([as_row(job) for job in jobs], [])
        database.close()
        return self.store(name)

    def stored(self, name: str) -> list[JobRecord]:
        """
        All jobs of a database.
        """
        database = self.database(name)
        jobs = [job for piece in database.pieces() for job in piece]
        database.close()
        return jobs

    def some_jobs(self, count: int) -> list[JobRecord]:
        """
        Jobs of all kinds.
        """
        return [
            record(
                number,
                function=b"resize" if number % 3 else b"mail \xff",
                unique=(b"", b"-", b"u%d" % number, b"\0%d" % number)[number % 4],
                priority=number % 3,
                run_at=0 if number % 5 else 2**33,
                reducer=None if number % 7 else b"sum",
                attempts=number % 2,
                workload=b"%d" % number * (number % 50),
            )
            for number in range(count)
        ]

    def queue(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """
        Run C{gearsvc queue} to its end.

        @param variables: environment variables.
        """
        return self.run_command(*QUEUE, *words, **variables)

    def assert_says(self, result: subprocess.CompletedProcess[str], says: str) -> None:
        """
        Hold that a command has done it all, and says so in one line.
        """
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, says + "\n", ""))

    def assert_refuses(self, result: subprocess.CompletedProcess[str], *parts: str) -> None:
        """
        Hold that a command ends with status 1 and one line, which begins with its name.
        """
        self.assertEqual((result.returncode, result.stdout), (1, ""), result.stderr)
        self.assertRegex(result.stderr, "^gearsvc queue")
        self.assert_one_line(result.stderr, *parts)

    def start(self, *words: str, output: Path | None = None, **variables: str) -> subprocess.Popen[str]:
        """
        Start C{gearsvc queue}; it is killed at the end of the test, if it still runs.
        """
        process = subprocess.Popen(
            [*QUEUE, *words],
            cwd=self.directory,
            env=self.environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._end_started, process)
        return process

    def _end_started(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()
