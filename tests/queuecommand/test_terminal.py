"""
Tests for C{gearsvc queue} on a terminal: its progress bar and its tables.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess

from gearsvc.testing import record
from tests.queuecommand.cases import QUEUE, QueueCommandCase
from tests.running import PATIENCE

COLUMNS = 100

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
"""
What hides the cursor, and shows it.
"""


class TerminalTests(QueueCommandCase):
    """
    A command whose output, or part of it, is a terminal.
    """

    def on_terminal(
        self, *words: str, interrupt_at: str = "", columns: int = COLUMNS, stdout: bool = True
    ) -> tuple[int, str]:
        """
        Run C{gearsvc queue}.

        @param interrupt_at: send SIGINT when this has been seen.
        @param stdout: whether standard output is the terminal, too.
        @return: the exit status, and all that the terminal was sent.
        """
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                [*QUEUE, *words],
                cwd=self.directory,
                env=self.environment(TERM="xterm", COLUMNS=str(columns), LC_ALL="C.UTF-8", TZ="UTC"),
                stdin=subprocess.DEVNULL,
                stdout=theirs if stdout else subprocess.DEVNULL,
                stderr=theirs,
            )
            os.close(theirs)
            seen = ""
            while True:
                try:
                    seen += os.read(ours, 65536).decode(errors="replace")
                except OSError:
                    # Nobody has the other end any more.
                    break
                if interrupt_at and interrupt_at in seen:
                    process.send_signal(signal.SIGINT)
                    interrupt_at = ""
            return process.wait(PATIENCE), seen
        finally:
            os.close(ours)

    def left(self, seen: str) -> list[str]:
        """
        The lines that stay on the screen: those that nothing has erased.
        """
        lines: list[str] = []
        for line in seen.split("\n"):
            for sequence, kind in re.findall(r"\x1b\[([0-9;?]*)([A-Za-z])", line):
                if kind == "A":
                    del lines[-int(sequence or 1) :]
            text = re.split(r"\x1b\[2K", line)[-1]
            lines.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).strip("\r"))
        return [line for line in lines if line.strip()]

    def test_progress(self) -> None:
        """
        A copy shows a bar with the number of jobs, of how many, the pace and the time left; in the end a line is left.
        """
        status, seen = self.on_terminal("copy", self.fill("from.db", self.some_jobs(40_000)), self.store("to.db"))
        self.assertEqual(status, 0)
        self.assertRegex(seen, r"copying .*?━.* [\d,]+ of 40,000 jobs, [\d,]+/s .*left")
        self.assertEqual(seen.count(HIDE), seen.count(SHOW))
        self.assertEqual(self.left(seen), ["40,000 jobs copied."])

    def test_progress_of_an_import(self) -> None:
        """
        An import shows how much of the file is done.
        """
        store = self.fill("from.db", self.some_jobs(40_000))
        self.queue("export", store, "jobs.jsonl")
        status, seen = self.on_terminal("import", self.store("to.db"), "jobs.jsonl")
        self.assertEqual(status, 0)
        self.assertRegex(seen, r"importing .*?━.* of [\d.]+ MB, [\d.]+ .B/s .*left")
        self.assertEqual(self.left(seen), ["40,000 jobs imported."])

    def test_stdout_elsewhere(self) -> None:
        """
        The bar is on stderr: it is there when the jobs go to a file, and not when they are on the same screen.
        """
        store = self.fill("from.db", self.some_jobs(20_000))
        status, seen = self.on_terminal("export", store, stdout=False)
        self.assertEqual(status, 0)
        self.assertIn("of 20,000 jobs", seen)
        self.assertEqual(self.left(seen), ["20,000 jobs exported."])
        status, seen = self.on_terminal("export", store)
        self.assertEqual(status, 0)
        self.assertNotIn(HIDE, seen)
        self.assertEqual(len(self.left(seen)), 20_002)

    def test_quiet(self) -> None:
        """
        With --quiet, there is neither a bar nor a line.
        """
        source = self.fill("from.db", self.some_jobs(10_000))
        self.assertEqual(self.on_terminal("copy", "--quiet", source, self.store("to.db")), (0, ""))

    def test_interrupted(self) -> None:
        """
        Ctrl-C leaves one line, and the cursor.
        """
        source = self.fill("from.db", self.some_jobs(40_000))
        status, seen = self.on_terminal("copy", source, self.store("to.db"), interrupt_at="of 40,000 jobs")
        self.assertEqual(status, 130)
        [line] = self.left(seen)
        self.assertRegex(line, "^gearsvc queue copy: interrupted. [0-9,]+ jobs copied. Run it again to go on.$")
        self.assertEqual(seen.count(HIDE), seen.count(SHOW))

    def test_tables(self) -> None:
        """
        Tables are drawn, with a line above the total, and names are no markup.
        """
        store = self.fill("queue.db", [record(1, function=b"[red]f[/red]"), record(2, function=b"g", unique=b"[b]")])
        status, seen = self.on_terminal("show", store)
        self.assertEqual(status, 0)
        *description, titles, line, first, second, line_again, total = self.left(seen)
        self.assertIn("queue.db", " ".join(description))
        self.assertEqual((set(line.strip()), set(line_again.strip())), ({"─"}, {"─"}))
        self.assertEqual(titles.split()[:3], ["function", "jobs", "high"])
        self.assertEqual(first.split()[:2], ["[red]f[/red]", "1"])
        self.assertEqual(total.split()[:2], ["total", "2"])
        status, seen = self.on_terminal("show", "--jobs", store)
        titles, line, first, second = self.left(seen)
        # Nothing is in the other columns.
        self.assertEqual(titles.split(), ["handle", "function", "unique", "id", "priority", "bytes", "submitted"])
        self.assertIn("[b]", second)

    def test_narrow(self) -> None:
        """
        Names are folded where a table is too wide; where even that would not do, lines are as long as they are.
        """
        store = self.fill("queue.db", [record(1, function=b"f" * 30, unique=b"u" * 60), record(2, attempts=1)])
        status, seen = self.on_terminal("show", "--jobs", store, columns=90)
        self.assertGreater(len(self.left(seen)), 4)
        self.assertLessEqual(max(map(len, self.left(seen))), 90)
        status, seen = self.on_terminal("show", "--jobs", store, columns=60)
        self.assertEqual(len(self.left(seen)), 3)
        self.assertIn("u" * 60, seen)
