"""
Runs what a page of documentation shows, and compares what comes with what it shows.

In a page of Markdown, every block of this form is run::

    ```console
    $ gearadmin --status
    wc	0	0	1
    .
    ```

Blocks of the plain kind are run in their order, each command to its end.  A
word more, as in "console worker", is a terminal of its own, in which a command
stays: the block has shown what is to be seen when the page goes on, and a
later block of the same terminal that is no more than C{^C} ends it.  So does
the end of the page.

A line C{...} stands for any lines.  What differs from run to run (see
L{VARYING}) need not be the same, but the same handle is the same everywhere on
a page.  The ports 4730, 4731, 4780 and 8080 are free ports in truth, and so are those of databases.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.running import HOST, PATIENCE, free_port, wait_until

VARYING = (
    (r"(?<![\w.])/[\w./+-]+", "<path>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([+.]\d+)?", "<time>"),
    (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<time>"),
    (r"(?<![\d:.])\d\d:\d\d:\d\d(?![\d:.])", "<time>"),
    (r"(?<![\d.])1\d{9}\.\d+", "<time>"),
    (r"\bPython \d\S*", "Python <version>"),
    (r"(?<![\d.])\d+\.\d+\.\d+(\w*)(?![\d.])", "<version>"),
    (r"(?m)^\d+ (\S+) - :", r"<descriptor> \1 - :"),
    (r"\b(pid|process) \d+", r"\1 <pid>"),
    (r"\bprocess <pid> on [^\s;]+", "process <pid> on <host>"),
    (r"\bafter \d+\.\d (s|seconds)\b", "after <seconds> s"),
    (r"-MariaDB[-+\w]*", "-MariaDB"),
    (r"\b\d{16}\b", "<microseconds>"),
    # A handle's length.
    (r"\b\d+(,-1,-1,-1 H:)", r"<length>\1"),
    (r"(?<![\d.])(127\.0\.0\.1|::1)(?![\d.])", "<address>"),
)
"""
Patterns of what differs from run to run, each with what stands for it.
"""

HANDLE = re.compile(r"H:[^\s:]+:\d+")

BLOCK = re.compile(r"^```console *(.*)\n((?s:.*?))^```$", re.MULTILINE)

STEP_PATIENCE = 300.0
"""
How many seconds a step may take: one installs packages, and the machine may be busy.
"""


@dataclass
class Step:
    """
    One command of a page.

    @ivar terminal: the terminal that it stays in; C{""} for the plain one.
    @ivar command: the command, or C{^C}.
    @ivar output: what is shown after it.
    """

    terminal: str
    command: str
    output: str


def read_steps(page: str) -> Iterator[Step]:
    """
    What is to be run of a page, in its order.
    """
    for terminal, text in BLOCK.findall(page):
        if text == "^C\n":
            yield Step(terminal, "^C", "")
            continue
        _, *parts = re.split(r"(?m)^\$ (.*)\n", text)
        for command, output in zip(parts[::2], parts[1::2], strict=True):
            yield Step(terminal, command, output)


class Console:
    """
    A user who types what a page says.

    @ivar ports: the ports that the page names, and the free ones that are used in their place.
    @ivar environment: that of the commands.
    """

    def __init__(self, checkout: Path, services: Mapping[int, int] | None = None) -> None:
        """
        @param checkout: a copy of the checkout, where the commands are run and which they may change.
        @param services: other ports that the page names, and those that are used in their place.
        """
        self.ports = {port: free_port() for port in (4730, 4731, 4780, 8080)} | dict(services or {})
        self._checkout = checkout
        self._terminals: dict[str, subprocess.Popen[bytes]] = {}
        self._shown: dict[str, str] = {}
        self._got: dict[str, str] = {}
        (checkout / ".console").mkdir()
        # These go to port 4730 by themselves.
        for program in ("gearman", "gearadmin"):
            port = f'case " $* " in *" -p "*) ;; *) set -- -p {self.ports[4730]} "$@" ;; esac'
            self.add_program(program, f'{port}\nPATH=${{PATH#*:}}\nexec {program} "$@"')
        self.add_program("gearsvc", f'PYTHONPATH={checkout} exec {sys.executable} -m gearsvc.cli "$@"')
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("GEARMAN", "PYTHON"))}
        self.environment["PATH"] = f"{checkout / '.console'}:{os.environ['PATH']}"
        # The Python that runs the tests runs what the page starts.
        self.environment["PYTHON"] = sys.executable
        configuration = checkout / "twistd.conf"
        text = configuration.read_text()
        assert "\nport = 4730\n" in text
        configuration.write_text(text.replace("\nport = 4730\n", f"\nport = tcp:{self.ports[4730]}:interface={HOST}\n"))

    def add_program(self, name: str, script: str) -> None:
        """
        Have a program of this name come first.

        @param script: what it is, in the shell's language; its first element of PATH is where it is itself.
        """
        path = self._checkout / ".console" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, step: Step) -> None:
        """
        Do a step, and wait until what has come is what is shown.

        @raise AssertionError: if that does not come to pass.
        """
        if step.command == "^C":
            self._end(step.terminal, signal.SIGINT)
            return
        command = step.command
        for port, free in self.ports.items():
            command = re.sub(rf"\b{port}\b", str(free), command)
        if step.terminal:
            self._start(step.terminal, command)
        deadline = time.monotonic() + STEP_PATIENCE
        while True:
            output = self._output(step.terminal) if step.terminal else self._run(command)
            if self._matches(step.output, output) and self._listens(step.terminal, command):
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"$ {step.command}\nThe page shows:\n{step.output}\nBut this came:\n{output}")
            time.sleep(0.1)

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=STEP_PATIENCE,
        )
        # What a terminal makes of the line ends of HTTP.
        return done.stdout.decode().replace("\r\n", "\n")

    def _start(self, terminal: str, command: str) -> None:
        self._end(terminal, signal.SIGKILL)
        with open(self._checkout / ".console" / terminal, "wb") as output:
            self._terminals[terminal] = subprocess.Popen(
                # Who runs the tests in the background may have SIGINT ignored, and ^C is just that.
                ["env", "--default-signal=INT", "bash", "-c", f"exec {command}"],
                cwd=self._checkout,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _listens(self, terminal: str, command: str) -> bool:
        """
        Whether a server has come as far as a user lets it before going on: where its command names a port, it listens there.
        """
        port = re.search(r"-p (\d+)", command) if terminal == "server" else None
        if port is None or self._terminals[terminal].poll() is not None:
            return True
        with socket.socket() as probe:
            return probe.connect_ex((HOST, int(port[1]))) == 0

    def _output(self, terminal: str) -> str:
        return (self._checkout / ".console" / terminal).read_text()

    def _end(self, terminal: str, number: signal.Signals) -> None:
        process = self._terminals.pop(terminal, None)
        if process is not None:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass
            process.wait(PATIENCE)

    def close(self) -> None:
        """
        End all that still runs, daemons too.
        """
        for terminal in list(self._terminals):
            self._end(terminal, signal.SIGKILL)
        for pid_file in self._checkout.glob("*.pid"):
            # A daemon that was told to end may be doing so now, and takes the file with it.
            with suppress(FileNotFoundError, ProcessLookupError):
                process = Path("/proc", pid_file.read_text().strip())
                # The file may be left of a process that was killed, and the number may be another's now.
                if (process / "cwd").resolve(strict=True) == self._checkout.resolve():
                    os.kill(int(process.name), signal.SIGKILL)
                    # Whoever removes the directory next is to be alone in it.
                    wait_until(lambda: not (process / "cwd").exists(), f"process {process.name} ends")

    def _matches(self, shown: str, got: str) -> bool:
        for port, free in self.ports.items():
            got = re.sub(rf"\b{free}\b", str(port), got)
        expected, shown_handles = constant(shown, self._shown)
        pattern = "".join(r"(?s:.*\n)?" if line == "...\n" else re.escape(line) for line in expected.splitlines(True))
        came, got_handles = constant(got, self._got)
        if re.fullmatch(pattern, came) is None:
            return False
        self._shown, self._got = shown_handles, got_handles
        return True


def constant(text: str, handles: dict[str, str]) -> tuple[str, dict[str, str]]:
    """
    A text without what differs from run to run.

    @param handles: the handles that have been met, with what stands for them.
    @return: the text, and the handles with those that are new in it.
    """
    for pattern, placeholder in VARYING:
        text = re.sub(pattern, placeholder, text)
    known = dict(handles)
    return HANDLE.sub(lambda match: known.setdefault(match[0], f"<handle {len(known) + 1}>"), text), known
