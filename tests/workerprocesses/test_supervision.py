"""
When a process is started again, and when one is given up: on a clock of the test's.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.config import Settings
from gearsvc.service import JobServerService
from gearsvc.workerprocesses import processes
from gearsvc.workerprocesses.processes import FIRST_DELAY, LAST_DELAY, STEADY

NO_PROCESS = 2**22 + 1
"""Higher than any process id can be."""


class SpawningClock(Clock):
    """
    A clock, and what pretends to start processes.

    @ivar protocols: what was to hear of each of them.
    @ivar hasty: whether they end before their ids are known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocols: list[Any] = []
        self.hasty = False

    def spawn(self, reactor: object, protocol: object, *arguments: object) -> int:
        """
        Pretend to start one.
        """
        self.protocols.append(protocol)
        if self.hasty:
            self.protocols[-1].processExited(Failure(ProcessDone(0)))
        return NO_PROCESS

    def end(self, status: int = 0) -> None:
        """
        Let the last one have ended.
        """
        reason = Failure(ProcessTerminated(status) if status else ProcessDone(0))
        self.protocols[-1].processExited(reason)
        self.protocols[-1].processEnded(reason)


class RestartTests(SynchronousTestCase):
    """
    Starting again.
    """

    def setUp(self) -> None:
        """
        Start a server without ports, with one worker.
        """
        self.reactor = SpawningClock()
        self.patch(processes, "spawn", self.reactor.spawn)
        self.service = JobServerService(Settings(port=(), worker=("1 f connect -- true",)), self.reactor)  # type: ignore[arg-type]
        self.service.startService()
        self.addCleanup(lambda: self.reactor.pump([1.0] * 100))
        self.addCleanup(self.service.stopService)

    def seconds_until_start(self) -> float:
        """
        Let time pass until one more process is started.
        """
        before, count = self.reactor.seconds(), len(self.reactor.protocols)
        while len(self.reactor.protocols) == count:
            self.assertLess(self.reactor.seconds() - before, 100)
            self.reactor.advance(0.25)
        return self.reactor.seconds() - before

    def test_keeps_ending(self) -> None:
        """
        The pauses double, up to a limit.
        """
        self.assertEqual(len(self.reactor.protocols), 1)
        pauses = []
        for _ in range(9):
            self.reactor.end(3)
            pauses.append(self.seconds_until_start())
        self.assertEqual(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0])
        self.assertEqual((pauses[0], pauses[-1]), (FIRST_DELAY, LAST_DELAY))

    def test_ran_for_long(self) -> None:
        """
        One that has run for a while is started again at once, and the pauses begin anew.
        """
        for _ in range(4):
            self.reactor.end(3)
            self.seconds_until_start()
        self.reactor.advance(STEADY)
        self.reactor.end()
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.protocols), 6)
        self.reactor.end(3)
        self.assertEqual(self.seconds_until_start(), FIRST_DELAY)

    def test_fewer_while_it_pauses(self) -> None:
        """
        One that has ended and is one too many is not started again; its number is free.
        """
        self.reactor.end(3)
        self.successResultOf(self.service.set_count("f", 0))
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.protocols), 1)
        self.successResultOf(self.service.set_count("f", 1))
        self.assertEqual(list(self.service.started.crews["f"].workers), [1])
        self.assertEqual(len(self.reactor.protocols), 2)

    def test_more_by_a_program(self) -> None:
        """
        A program may start some while the server runs; once it has stopped, none are started.
        """
        self.assertEqual(self.service.start_worker("2 a,b connect -- true"), "a,b")
        self.assertEqual(len(self.reactor.protocols), 3)
        for protocol in list(self.reactor.protocols):
            reason = Failure(ProcessDone(0))
            protocol.processExited(reason)
            protocol.processEnded(reason)
        self.successResultOf(self.service.started.stop())
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.protocols), 3)

    def test_over_before_its_id_is_known(self) -> None:
        """
        What was started by one that ends at once ends with it, and it is started again as any other.
        """
        killed: list[int] = []
        self.patch(os, "killpg", lambda group, signal: killed.append(group))
        self.reactor.hasty = True
        self.assertEqual(self.service.start_worker("1 g connect -- true"), "g")
        self.assertEqual(killed, [NO_PROCESS])
        self.reactor.protocols[-1].processEnded(Failure(ProcessDone(0)))
        self.assertEqual(self.seconds_until_start(), FIRST_DELAY)

    def test_cannot_be_ended(self) -> None:
        """
        One that nothing ends does not keep the server from ending.
        """
        self.service.started.patience = 5.0
        ended = self.service.started.stop()
        self.reactor.pump([0.5] * 29)
        self.assertNoResult(ended)
        self.reactor.pump([0.5] * 2)
        self.successResultOf(ended)


class ReadyTests(SynchronousTestCase):
    """
    Before the server is ready.
    """

    def test_not_before_the_queue_is_complete(self) -> None:
        """
        No process is started while the stored queue is being read.
        """
        reactor = SpawningClock()
        self.patch(processes, "spawn", reactor.spawn)
        service = JobServerService(Settings(port=(), worker=("1 f connect -- true",)), reactor)  # type: ignore[arg-type]
        replayed: Deferred[int] = Deferred()
        opened: Deferred[None] = Deferred()
        closed: Deferred[None] = Deferred()
        closed.callback(None)

        class Store:
            description = "a store of the test"

            def open(self) -> Deferred[None]:
                return opened

            def replay(self, accept: object) -> Deferred[int]:
                return replayed

            def close(self) -> Deferred[None]:
                return closed

        store: Any = Store()
        service.store = store
        service.startService()
        reactor.advance(1)
        opened.callback(None)
        reactor.advance(1)
        self.assertEqual(len(reactor.protocols), 0)
        replayed.callback(0)
        self.assertEqual(len(reactor.protocols), 1)
        reactor.end()
        service.stopService()
        reactor.pump([1.0] * 10)
        self.assertEqual(len(reactor.protocols), 1)
