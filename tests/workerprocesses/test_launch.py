"""
L{gearsvc.workerprocesses.launch}.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import process, reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from gearsvc.workerprocesses.launch import spawn


class Ending(ProcessProtocol):
    """
    Hears of the end of a process.
    """

    def __init__(self) -> None:
        self.exited: list[Any] = []
        self.ended: Deferred[Any] = Deferred()

    def processExited(self, reason: Failure) -> None:
        """
        It has ended.
        """
        self.exited.append(getattr(reason.value, "exitCode", None))

    def processEnded(self, reason: Failure) -> None:
        """
        It has ended, and what it wrote was read.
        """
        self.ended.callback(getattr(reason.value, "exitCode", None))


class SpawnTests(TestCase):
    """
    L{spawn} starts processes.
    """

    async def test_ends_at_once(self) -> None:
        """
        A process that has ended before it is known to have begun has an id all the same, and its end is heard of.
        """
        register = process.registerReapProcessHandler
        pids: list[int] = []

        def register_when_ended(pid: int, child: object) -> None:
            pids.append(pid)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            register(pid, child)

        self.patch(process, "registerReapProcessHandler", register_when_ended)
        protocol = Ending()
        pid = spawn(reactor, protocol, ["sh", "-c", "exit 3"], dict(os.environ), {0: "w", 1: "r", 2: "r"})
        self.assertEqual(([pid], protocol.exited), (pids, [3]))
        self.assertEqual(await protocol.ended, 3)
