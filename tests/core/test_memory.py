"""
What a queued job costs.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Callable
from unittest import TestCase

from gearsvc.config import Settings
from gearsvc.core.jobs import JobRecord
from gearsvc.core.jobserver import JobServer
from gearsvc.core.packets import Type
from tests.core.case import Connection, FakeClock

JOBS = 50_000
PAYLOAD = 32
LIMIT = 400
"""Bytes that a queued job may cost beyond its payload."""


class DeafPeer(Connection):
    """
    A peer that forgets what it is told.
    """

    def transmit(self, chunks: list[bytes]) -> None:
        """
        Drop it.
        """


class MemoryTests(TestCase):
    """
    Bytes for each of a great many queued jobs.
    """

    def setUp(self) -> None:
        """
        A server, and somebody who submits.
        """
        self.server = JobServer(Settings(), FakeClock(), b"H:a-host-of-usual-length")
        self.session = DeafPeer(self.server).session
        self.submit([(Type.SUBMIT_JOB_BG, b"reverse\0\0x")])

    def submit(self, packets: list[tuple[int, bytes]]) -> None:
        """
        Submit some jobs in one turn.
        """
        self.server.receive(self.session, packets)
        self.server.flush()

    def cost(self, grow: Callable[[int], object]) -> float:
        """
        How many bytes each of many jobs takes beyond its payload.

        @param grow: queues the job of this number.
        """
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(JOBS):
                grow(number)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        self.assertEqual(len(self.server.jobs), JOBS + 1)
        return (after - before) / JOBS - PAYLOAD

    def test_background(self) -> None:
        """
        A background job without a unique id costs less than 400 bytes beyond its payload, though each came in a turn of its
        own.
        """

        def one(number: int) -> None:
            self.server.clock.wall += 0.001  # type: ignore[attr-defined]
            self.submit([(Type.SUBMIT_JOB_BG, b"reverse\0\0%032d" % number)])

        self.assertLess(self.cost(one), LIMIT)

    def test_unique(self) -> None:
        """
        One with a unique id costs less than 400 bytes beyond its workload and its unique id.
        """
        unique_id = 36

        def one(number: int) -> None:
            self.submit([(Type.SUBMIT_JOB_BG, b"reverse\0%036d\0%032d" % (number, number))])

        self.assertLess(self.cost(one), LIMIT + unique_id)

    def test_replayed(self) -> None:
        """
        A replayed job costs no more than a submitted one.
        """

        def one(number: int) -> None:
            self.server.replay([JobRecord(b"H:old:%d" % number, b"reverse", b"", 1, b"%032d" % number, submitted=number + 0.5)])

        self.assertLess(self.cost(one), LIMIT)

    def test_given_back(self) -> None:
        """
        When all jobs are done, their memory is free again.
        """

        def grow_and_shrink() -> None:
            self.submit([(Type.SUBMIT_JOB_BG, b"reverse\0u%d\0%032d" % (number, number)) for number in range(10_000)])
            self.server.receive(self.session, [(Type.CAN_DO, b"reverse")])
            while self.server.jobs:
                self.server.receive(self.session, [(Type.GRAB_JOB, b"")])
                self.server.receive(self.session, [(Type.WORK_COMPLETE, next(iter(self.session.running)).handle + b"\0")])
                self.server.flush()

        grow_and_shrink()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            grow_and_shrink()
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        # What stays is the room in tables, which dicts keep until they are filled anew.
        self.assertLess(after - before, 10_000 * 100)
