"""
The order of the jobs.
"""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.task import Clock

from gearsvc.console.register import CHUNK, Register


class FakeServer:
    """
    A table of jobs, by handle.
    """

    def __init__(self) -> None:
        self.jobs: dict[bytes, object] = {}
        self.count = 0

    def submit(self, number: int) -> None:
        """
        Some new jobs.
        """
        for _ in range(number):
            self.jobs[b"H:%d" % self.count] = None
            self.count += 1

    def end(self, handle: bytes) -> None:
        """
        A job is over.
        """
        del self.jobs[handle]


def make() -> tuple[FakeServer, Any]:
    """
    A server, and its register.
    """
    server: Any = FakeServer()
    return server, Register(server, Clock())


def listed(pieces: Any) -> list[bytes]:
    """
    The handles of some pieces.
    """
    return [handle for piece in pieces for _, handle in piece]


class RegisterTests(TestCase):
    """
    A register of its own.
    """

    def test_order(self) -> None:
        """
        The jobs are there in the order in which they came, and the other way round.
        """
        server, register = make()
        server.submit(2 * CHUNK + 3)
        register.update()
        self.assertEqual(listed(register.up()), list(server.jobs))
        self.assertEqual(listed(register.down()), list(server.jobs)[::-1])

    def test_keeps_positions(self) -> None:
        """
        A position is a job's for good: neither jobs that end nor new ones change it.
        """
        server, register = make()
        server.submit(3 * CHUNK)
        register.update()
        before = {handle: position for piece in register.up() for position, handle in piece}
        for number in range(0, 3 * CHUNK, 3):
            server.end(b"H:%d" % number)
        for _ in range(20):
            server.submit(10)
            register.update()
        after = {handle: position for piece in register.up() for position, handle in piece}
        self.assertEqual({handle: after[handle] for handle in server.jobs if handle in before},
                         {handle: before[handle] for handle in server.jobs if handle in before})
        self.assertEqual(len(set(after.values())), len(after))

    def test_changes_meanwhile(self) -> None:
        """
        Whoever goes through it sees every job that is there all the time, though others come and go.
        """
        for up in (True, False):
            server, register = make()
            server.submit(10 * CHUNK)
            register.update()
            stay = [handle for number, handle in enumerate(server.jobs) if number % 7 == 0]
            seen = []
            for piece in register.up() if up else register.down():
                seen += [handle for _, handle in piece]
                for handle in [each for each in list(server.jobs)[:200] if each not in stay]:
                    server.end(handle)
                server.submit(100)
                register.update()
            self.assertEqual([each for each in seen if each in set(stay)], stay if up else stay[::-1])
            self.assertEqual(len(set(seen)), len(seen))

    def test_does_not_grow(self) -> None:
        """
        However many jobs have come and gone, it holds not many more than there are.
        """
        server, register = make()
        server.submit(1)
        for _ in range(2000):
            server.submit(100)
            register.update()
            for handle in list(server.jobs)[1:]:
                server.end(handle)
        self.assertLess(len(listed(register.up())), 2 * CHUNK + 200)
        self.assertIn(b"H:0", listed(register.up()))

    def test_short_lived(self) -> None:
        """
        A job that came and ended between two looks never gets there.
        """
        server, register = make()
        server.submit(5)
        register.update()
        server.submit(5)
        server.end(b"H:7")
        register.update()
        self.assertNotIn(b"H:7", listed(register.up()))
        self.assertEqual(listed(register.up()), list(server.jobs))

    def test_timer(self) -> None:
        """
        Once started it looks each second, and when it is stopped it does not any more.
        """
        server: Any = FakeServer()
        clock = Clock()
        register = Register(server, clock)
        register.start()
        server.submit(3)
        clock.advance(1)
        self.assertEqual(len(listed(register.up())), 3)
        register.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class RegisterMachine(RuleBasedStateMachine):
    """
    Jobs come and end in any order, and somebody turns pages meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.server, self.register = make()
        self.upwards = True
        self.seen: list[bytes] = []
        self.expected: set[bytes] = set()
        self.position: int | None = None

    @rule(number=st.integers(1, 700))
    def submit(self, number: int) -> None:
        """
        Some come.
        """
        self.server.submit(number)

    @rule(data=st.data(), share=st.sampled_from((2, 3, 10, 1)))
    def end(self, data: st.DataObject, share: int) -> None:
        """
        Some end: each second or third of them, or all, or some at an end.
        """
        handles = list(self.server.jobs)
        if handles and share == 10:
            start = data.draw(st.integers(0, len(handles)))
            handles = handles[start : start + 600]
        for handle in handles[::share] if share != 10 else handles:
            self.server.end(handle)
            self.expected.discard(handle)

    @rule()
    def look(self) -> None:
        """
        A second passes.
        """
        self.register.update()

    @rule(upwards=st.booleans())
    def first_page(self, upwards: bool) -> None:
        """
        Somebody begins to list all jobs.
        """
        self.register.update()
        self.upwards, self.seen, self.expected, self.position = upwards, [], set(self.server.jobs), None

    @rule(length=st.integers(1, 400))
    def next_page(self, length: int) -> None:
        """
        He turns the page.
        """
        self.register.update()
        if self.upwards:
            pieces = self.register.up(-1 if self.position is None else self.position)
        else:
            pieces = self.register.down(self.position)
        page = [entry for piece in pieces for entry in piece if entry[1] in self.server.jobs][:length]
        if page:
            self.seen += [handle for _, handle in page]
            self.position = page[-1][0]
        if len(page) < length:
            missed = self.expected - set(self.seen)
            assert not missed, missed

    @invariant()
    def nothing_twice(self) -> None:
        """
        No job is on two pages.
        """
        assert len(set(self.seen)) == len(self.seen)


RegisterMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
MachineTests = RegisterMachine.TestCase
