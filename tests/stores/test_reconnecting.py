"""
Tests for L{gearsvc.stores.reconnecting}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.interfaces import StoreError
from gearsvc.stores.reconnecting import FIRST_PAUSE, LAST_PAUSE, Backoff


class BackoffTests(SynchronousTestCase):
    """
    When to try again.
    """

    def setUp(self) -> None:
        """
        A back-off on a fake clock.
        """
        self.clock = Clock()
        self.backoff = Backoff(self.clock.seconds)

    def fail_once(self) -> None:
        """
        A try fails.
        """
        self.backoff.check()
        error = StoreError("gone fishing")
        error.unreachable = True
        self.backoff.failed(error)

    def test_at_once(self) -> None:
        """
        The first try may be made at once, and so may the first after one that succeeded.
        """
        self.fail_once()
        self.clock.advance(FIRST_PAUSE)
        self.backoff.check()
        self.backoff.succeeded()
        self.backoff.check()
        self.fail_once()
        self.clock.advance(FIRST_PAUSE)
        self.backoff.check()

    def test_reason(self) -> None:
        """
        Who comes too early is told why the last try failed.
        """
        self.fail_once()
        with self.assertRaises(StoreError) as caught:
            self.backoff.check()
        self.assertEqual((str(caught.exception), caught.exception.unreachable), ("gone fishing", True))
        self.assertFalse(caught.exception.uncertain)

    def test_rarer(self) -> None:
        """
        The more tries fail, the longer the pause between them, up to a limit.
        """
        pauses = []
        for _ in range(8):
            self.fail_once()
            pause = 0.0
            while True:
                try:
                    self.backoff.check()
                except StoreError:
                    self.clock.advance(FIRST_PAUSE)
                    pause += FIRST_PAUSE
                else:
                    break
            pauses.append(pause)
        self.assertEqual(pauses, sorted(pauses))
        self.assertAlmostEqual(pauses[0], FIRST_PAUSE)
        self.assertLess(abs(pauses[-1] - LAST_PAUSE), 2 * FIRST_PAUSE)
