"""
C{gearsvc completion}, in real shells.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tests.running import PATIENCE, ROOT

TYPED = (
    ("gearsvc sta", "status"),
    ("gearsvc status --so", "--sort"),
    ("gearsvc serve --libsqlite3-d", "--libsqlite3-db"),
    ("gearsvc ping --server localhost --js", "--json"),
    ("gearsvc queue exp", "export"),
    ("gearsvc submit --priority hi", "high"),
    ("gearsvc serve --config twistd", "twistd.conf"),
)
"""
What is typed before the tabulator, and what is to become of its last word.
"""


class CompletionTests(unittest.TestCase):
    """
    Commands, options, their values and files.
    """

    maxDiff = None

    def setUp(self) -> None:
        """
        Have a directory with one file, and the way to this checkout.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-completion-"))
        self.addCleanup(shutil.rmtree, self.directory)
        (self.directory / "twistd.conf").touch()
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(self.directory), "TERM": "dumb", "LC_ALL": "C.UTF-8"}

    def completion(self, shell: str, path: str) -> Path:
        """
        Have C{gearsvc completion} write what a shell reads.
        """
        done = self.run_program(sys.executable, "-m", "gearsvc.cli", "completion", shell)
        written = self.directory / ".completion" / path
        written.parent.mkdir()
        written.write_text(done)
        return written

    def run_program(self, *words: str) -> str:
        """
        Run a program, which is to succeed and to complain of nothing.

        @return: what it writes.
        """
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.directory, env=self.environment, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return done.stdout

    def test_bash(self) -> None:
        """
        bash completes them.
        """
        path = self.completion("bash", "gearsvc")
        script = (
            f'source "{path}"\n'
            'COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n'
            "$(complete -p gearsvc | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        found = [(typed, self.run_program("bash", "-c", script, "bash", typed).strip()) for typed, _ in TYPED]
        self.assertEqual(found, list(TYPED))

    def test_fish(self) -> None:
        """
        fish does, and says what each is.
        """
        path = self.completion("fish", "gearsvc.fish")
        found = []
        for typed, _ in TYPED:
            offered = self.run_program("fish", "--no-config", "-c", f'source "{path}"; complete -C "{typed}"')
            found.append((typed, offered.partition("\t")[0].strip()))
        self.assertEqual(found, list(TYPED))
        said = self.run_program("fish", "--no-config", "-c", f'source "{path}"; complete -C "gearsvc sta"')
        self.assertEqual(said, "status\tShow functions, and how many jobs they have.\n")

    def test_zsh(self) -> None:
        """
        zsh does, when somebody types it.
        """
        path = self.completion("zsh", "_gearsvc")
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.directory)
            os.execvpe("zsh", ["zsh", "-f", "-i"], {**self.environment, "COLUMNS": "200", "PS1": "> "})
        try:
            self.type_and_see(terminal, "", "> ")
            self.type_and_see(terminal, f'fpath=("{path.parent}" $fpath); autoload -U compinit; compinit -u -D; echo "re"ady\n', "ready")
            for typed, completed in TYPED:
                line = typed.rpartition(" ")[0] + " " + completed
                # Where a word might come as well as an option, zsh says so at first.
                self.type_and_see(terminal, f"{typed}\t\t", line)
                # Control and U removes the line.
                self.type_and_see(terminal, "\x15echo remo''ved\n", "removed")
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(terminal)

    def type_and_see(self, terminal: int, typed: str, expected: str) -> None:
        """
        Type something, and wait until the screen has what is to come of it.
        """
        os.write(terminal, typed.encode())
        seen = ""
        deadline = time.monotonic() + PATIENCE
        while expected not in seen:
            if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{typed!r} should become {expected!r}, but this came: {seen!r}")
            seen += os.read(terminal, 65536).decode(errors="replace")
