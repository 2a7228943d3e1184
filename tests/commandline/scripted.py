"""
A worker whose every packet is known, and the commands run against it.
"""

from __future__ import annotations

import atexit
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Thread
from typing import IO, ClassVar

from gearsvc.cli import main
from gearsvc.core.packets import REQUEST, Type
from tests.running import HOST, PATIENCE, ROOT, RunningServer, start_server, wait_until

GEARSVC = [sys.executable, "-m", "gearsvc.cli"]


def packet(kind: Type, *arguments: bytes) -> bytes:
    """
    What a worker sends.
    """
    body = b"\0".join(arguments)
    return struct.pack(">4sII", REQUEST, kind, len(body)) + body


Step = tuple[Type, tuple[bytes, ...]]

SCRIPTS: dict[bytes, list[Step]] = {
    # Everything that there is, in one job.
    b"talk": [
        (Type.WORK_DATA, (b"a",)),
        (Type.WORK_WARNING, (b"careful\n",)),
        (Type.WORK_STATUS, (b"1", b"2")),
        (Type.WORK_DATA, (b"b\n",)),
        (Type.WORK_STATUS, (b"2", b"3")),
        (Type.WORK_COMPLETE, (b"c",)),
    ],
    b"pieces": [(Type.WORK_DATA, (b"one,",)), (Type.WORK_DATA, (b"two,",)), (Type.WORK_COMPLETE, (b"three",))],
    b"empty": [(Type.WORK_COMPLETE, (b"",))],
    b"fail": [(Type.WORK_FAIL, ())],
    b"late-fail": [(Type.WORK_DATA, (b"so far\n",)), (Type.WORK_FAIL, ())],
    b"raise": [(Type.WORK_EXCEPTION, (b"no \x1b[31mink",)), (Type.WORK_FAIL, ())],
    b"zero": [(Type.WORK_STATUS, (b"1", b"0")), (Type.WORK_COMPLETE, (b"done",))],
}
"""
What the worker sends for a job of each function.  C{b"echo"} gives back the data, too.
"""


class ScriptedWorker(Thread):
    """
    Does jobs as L{SCRIPTS} say, one after the other, until its server goes away.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._socket.settimeout(None)
        self._stream: IO[bytes] = self._socket.makefile("rb")
        for function in (*SCRIPTS, b"echo"):
            self._say(Type.CAN_DO, function)
        self.start()

    def _say(self, kind: Type, *arguments: bytes) -> None:
        self._socket.sendall(packet(kind, *arguments))

    def run(self) -> None:
        """
        Work.
        """
        try:
            self._say(Type.GRAB_JOB)
            while header := self._stream.read(12):
                _, kind, size = struct.unpack(">4sII", header)
                body = self._stream.read(size)
                if kind == Type.NO_JOB:
                    self._say(Type.PRE_SLEEP)
                elif kind == Type.NOOP:
                    self._say(Type.GRAB_JOB)
                elif kind == Type.JOB_ASSIGN:
                    handle, function, workload = body.split(b"\0", 2)
                    for step, arguments in SCRIPTS.get(function) or [(Type.WORK_COMPLETE, (workload,))]:
                        self._say(step, handle, *arguments)
                    self._say(Type.GRAB_JOB)
        except OSError:
            # The server has been stopped.
            pass
        finally:
            self._stream.close()
            self._socket.close()


_shared: dict[str, RunningServer] = {}


def shared_server(kind: str) -> RunningServer:
    """
    A server with a L{ScriptedWorker}, from its first use to the end of the process.  Whoever uses it keeps to functions of
    their own.
    """
    found = _shared.get(kind)
    if found is None:
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        # (What is registered last is done first.)
        atexit.register(shutil.rmtree, directory)
        found = _shared[kind] = start_server(directory=directory, kind=kind)
        worker = ScriptedWorker(found.port)
        atexit.register(worker.join, PATIENCE)
        atexit.register(found.stop)
        wait_until(lambda: _shared[kind].status("echo")[2] == 1, "the worker is there")
    return found


class ScriptedCase(unittest.TestCase):
    """
    Runs commands against one or two servers, which all tests share.

    @cvar kinds: which servers.
    @ivar servers: the servers by kind.
    @ivar directory: an empty directory, in which the commands run.
    """

    kinds: ClassVar[Sequence[str]] = ("gearsvc",)

    def setUp(self) -> None:
        """
        Make the directory, and start the servers.
        """
        self.servers = {kind: shared_server(kind) for kind in self.kinds}
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, self.directory)

    @property
    def server(self) -> RunningServer:
        """
        The first server.
        """
        return self.servers[self.kinds[0]]

    @property
    def at(self) -> str:
        """
        Where the first server is, for C{--server}.
        """
        return f"{HOST}:{self.server.port}"

    def environment(self, **variables: str) -> dict[str, str]:
        """
        The environment that commands run in, with some variables more.
        """
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
        clean["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [clean.get("PYTHONPATH")])])
        return {**clean, **variables}

    def run_program(self, *words: str, input: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run a program to its end.
        """
        return subprocess.run(
            words, input=input, capture_output=True, timeout=PATIENCE, cwd=self.directory, env=self.environment(**variables)
        )

    def gearsvc(self, *words: str, input: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run C{gearsvc}.
        """
        return self.run_program(*GEARSVC, *words, input=input, **variables)

    def refused(self, *words: str) -> tuple[int, bytes]:
        """
        Run C{gearsvc} in this process, with a command line that it does not get far with: no reactor runs.

        @return: the exit status, and what it wrote to stderr.
        """
        with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
            try:
                status = main(words)
            except SystemExit as end:
                status = int(end.code or 0)
        self.assertEqual(output.getvalue(), "")
        return status, errors.getvalue().encode()

    def start_gearsvc(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        """
        Start C{gearsvc}; it is gone when the test ends.
        """
        process = subprocess.Popen(
            [*GEARSVC, *words],
            cwd=self.directory,
            env=self.environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(_end, process)
        return process

    def assert_one_line(self, data: bytes, *parts: str) -> None:
        """
        Hold that what was written to stderr is one line that has certain parts.
        """
        lines = data.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        for part in parts:
            self.assertIn(part, lines[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
