"""
Long work in short pieces.
"""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gearsvc.console.slices import MAX_WAITING, PAUSE, SLICE, Slices, TooBusy, Work


class SlicesTests(TestCase):
    """
    Work of which each piece takes a millisecond.
    """

    def setUp(self) -> None:
        """
        Begin at zero.
        """
        self.reactor = Clock()
        self.spent = 0.0
        self.slices = Slices(self.reactor, lambda: self.spent)
        self.outcomes: list[Any] = []

    def work(self, pieces: int, result: Any) -> Work[Any]:
        """
        Some work.
        """
        for _ in range(pieces):
            self.spent += 0.001
            yield
        if isinstance(result, Exception):
            raise result
        return result

    def run_work(self, pieces: int, result: Any) -> Any:
        """
        Have it done.
        """
        return self.slices.run(self.work(pieces, result)).addBoth(self.outcomes.append)

    def test_short(self) -> None:
        """
        What is short is done at once.
        """
        self.run_work(2, "done")
        self.assertEqual(self.outcomes, ["done"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_long(self) -> None:
        """
        What is long is done in slices, with a pause after each.
        """
        self.run_work(10, "done")
        turns = 0
        while not self.outcomes:
            before = self.spent
            self.reactor.advance(PAUSE)
            self.assertLessEqual(self.spent - before, SLICE + 0.001)
            turns += 1
        self.assertEqual((self.outcomes, turns), (["done"], 3))

    def test_in_turn(self) -> None:
        """
        One piece of work is done after the other, in the order in which they were asked for.
        """
        self.run_work(5, "first")
        self.run_work(1, "second")
        self.run_work(1, "third")
        self.assertEqual(self.outcomes, [])
        self.reactor.pump([PAUSE] * 5)
        self.assertEqual(self.outcomes, ["first", "second", "third"])

    def test_mistake(self) -> None:
        """
        Work that fails tells whoever asked for it, and no other.
        """
        self.run_work(5, ValueError("no"))
        self.run_work(1, "second")
        self.reactor.pump([PAUSE] * 5)
        failed, second = self.outcomes
        self.assertEqual((failed.type, second), (ValueError, "second"))

    def test_cancelled(self) -> None:
        """
        Work that nobody waits for any more is given up, and the next begins.
        """
        first = self.run_work(5, "first")
        self.run_work(1, "second")
        first.cancel()
        spent = self.spent
        self.reactor.pump([PAUSE] * 5)
        self.assertEqual(self.outcomes[0].type, CancelledError)
        self.assertEqual(self.outcomes[1:], ["second"])
        self.assertAlmostEqual(self.spent - spent, 0.001)

    def test_too_much(self) -> None:
        """
        Where too much waits already, more is refused.
        """
        for _ in range(MAX_WAITING):
            self.run_work(100, "done")
        self.run_work(1, "one too many")
        (refused,) = self.outcomes
        self.assertEqual(refused.type, TooBusy)

    def test_stopped(self) -> None:
        """
        When the console stops, everything that waits fails, and no call is left.
        """
        for _ in range(3):
            self.run_work(100, "done")
        self.slices.stop()
        self.assertEqual([each.type for each in self.outcomes], [CancelledError] * 3)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_reentrant(self) -> None:
        """
        Who is told that work is done may ask for more at once.
        """
        self.slices.run(self.work(1, None)).addCallback(lambda _: self.run_work(1, "more"))
        self.reactor.pump([PAUSE] * 3)
        self.assertIn("more", [each for each in self.outcomes if not isinstance(each, Failure)])
