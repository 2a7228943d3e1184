"""
L{gearsvc.stores.batching} on a store that fails, and at the end of the server.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from gearsvc.interfaces import StoreError
from gearsvc.stores.batching import FIRST_RETRY, FLUSH_TRIES
from gearsvc.testing import record
from tests.stores.batches import BatchingCase


class FailureTests(BatchingCase):
    """
    L{GroupCommit} when the store fails.
    """

    def test_refused(self) -> None:
        """
        A batch that could not be committed is refused, once, with the store's
        own words; it is not tried again.
        """
        group, jobs = self.group(), [record(1), record(2)]
        for job in jobs:
            group.add(job)
        self.turn()
        self.store.fail()
        self.clock.advance(100)
        self.assertEqual(self.settled, [(jobs, "the disk is full")])
        self.assertEqual((self.store.commits, group.refused, group.failure), (1, 2, "the disk is full"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_batch_is_tried(self) -> None:
        """
        What was added while a batch failed is tried by itself a moment later,
        and so notices that the store is back.
        """
        group, first, second = self.group(), record(1), record(2)
        group.add(first)
        self.turn()
        group.add(second)
        self.store.fail()
        self.turn()
        self.assertIsNone(self.store.added)
        self.clock.advance(FIRST_RETRY)
        self.assertEqual(self.store.added, [second])
        self.store.succeed()
        self.assertEqual(self.settled, [([first], "the disk is full"), ([second], None)])
        self.assertIsNone(group.broken_since)

    def test_add_after_a_pause(self) -> None:
        """
        An add long after a failure is tried at the end of its turn.
        """
        group = self.group()
        group.add(record(1))
        self.turn()
        self.store.fail()
        self.clock.advance(10)
        group.add(record(2))
        self.turn()
        self.assertEqual(self.store.commits, 2)

    def test_removals_are_retried(self) -> None:
        """
        Removals that failed go first into the next batch, before those that came
        since, and are tried less and less often.
        """
        group, jobs = self.group(), [record(1), record(2)]
        group.remove(jobs[0])
        self.linger()
        group.remove(jobs[1])
        self.assertEqual(self.store.removed, jobs[:1])
        pauses = []
        for _ in range(12):
            self.store.fail()
            [call] = self.clock.getDelayedCalls()
            pauses.append(call.getTime() - self.clock.seconds())
            self.clock.pump([pauses[-1], 0.001])
            self.assertEqual(self.store.removed, jobs)
        for pause, expected in zip(pauses, [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]):
            self.assertAlmostEqual(pause, expected, places=5)
        self.store.succeed()
        self.assertEqual((group.pending_removals, self.clock.getDelayedCalls()), (0, []))

    def test_updates_are_retried(self) -> None:
        """
        An update that failed is tried again, unless the job is over by then.
        """
        group, job, over = self.group(), record(1), record(2)
        group.update(job)
        group.update(over)
        self.linger()
        group.remove(over)
        self.store.fail()
        self.clock.advance(FIRST_RETRY)
        self.assertEqual((self.store.added, self.store.removed), ([job], [over]))

    def test_an_add_takes_waiting_removals_along(self) -> None:
        """
        An add does not wait for the pause between two tries of a removal.
        """
        group, old, new = self.group(), record(1), record(2)
        group.remove(old)
        for _ in range(8):
            while self.store.added is None:
                self.clock.advance(0.5)
            self.store.fail()
        self.clock.advance(1)
        group.add(new)
        self.turn()
        self.assertEqual((self.store.added, self.store.removed), ([new], [old]))

    def test_nobody_waits_behind_removals(self) -> None:
        """
        When removals that fail fill a whole batch, the adds behind them are
        refused with it.
        """
        group, new = self.group(max_rows=2), record(9)
        for number in range(5):
            group.remove(record(number))
        group.add(new)
        self.turn()
        self.store.fail()
        self.assertEqual(self.settled, [([new], "the disk is full")])

    def test_refused_then_removed(self) -> None:
        """
        Changes and removals of a job whose add then fails are forgotten, and the
        job may be added again.
        """
        group, running, over = self.group(), record(1), record(2)
        group.add(running)
        group.add(over)
        self.turn()
        group.update(running)
        group.remove(over)
        self.store.fail()
        self.clock.advance(10)
        self.assertEqual(self.store.commits, 1)
        group.add(running)
        self.turn()
        self.store.succeed()
        self.assertEqual(self.settled[1:], [([running], None)])

    def test_uncertain(self) -> None:
        """
        When a batch that failed may have been stored all the same, what was
        added in it is removed before anything else.
        """
        group, job, other = self.group(), record(1), record(2)
        group.add(job)
        self.turn()
        group.add(other)
        self.store.apply()
        error = StoreError("the connection was lost")
        error.uncertain = True
        self.store.fail(error)
        self.clock.advance(FIRST_RETRY)
        self.assertEqual((self.store.added, self.store.removed), ([other], [job]))
        self.store.succeed()
        self.assertEqual(self.store.rows, {other.handle: 0})

    def test_bug(self) -> None:
        """
        An error that is no StoreError is logged, refuses the batch in a word, and
        counts as uncertain.
        """
        group, job = self.group(), record(1)
        group.add(job)
        self.turn()
        self.store.fail(ZeroDivisionError("a secret"))
        self.assertEqual(self.settled, [([job], "the queue store failed: ZeroDivisionError")])
        self.clock.advance(FIRST_RETRY)
        self.assertEqual(self.store.removed, [job])

    def test_raises(self) -> None:
        """
        A store that raises its error instead of failing with it is treated the same, and so is one that returns nothing to
        wait for: neither has the server wait for ever.
        """
        for commit, failure in (
            (self.full, "the disk is full"),
            (self.nothing, "the queue store failed: AttributeError"),
        ):
            self.settled.clear()
            self.patch(self.store, "commit", commit)
            group, job = self.group(), record(1)
            group.add(job)
            self.turn()
            self.assertEqual((self.settled, group.failure), ([([job], failure)], failure))

    def full(self, *_: object) -> Deferred[None]:
        """
        A commit that raises.
        """
        raise StoreError("the disk is full")

    def nothing(self, *_: object) -> None:
        """
        A commit that returns no Deferred.
        """

    def test_log(self) -> None:
        """
        One line says that the store is broken, one that it is back, with how
        long it took and how many submissions were refused.
        """
        group = self.group()
        for number in range(5):
            group.add(record(number))
            self.clock.advance(2)
            self.store.fail()
        group.add(record(9))
        self.clock.advance(2)
        self.store.succeed()
        self.assertEqual(
            self.log.lines,
            [
                "The queue store cannot commit, and background jobs are refused until it can: the disk is full",
                "The queue store is back after 10.0 s; 5 submissions were refused.",
            ],
        )


class FlushTests(BatchingCase):
    """
    L{GroupCommit.flush}.
    """

    def test_nothing(self) -> None:
        """
        With nothing to do it is done at once.
        """
        self.successResultOf(self.group().flush())

    def test_all(self) -> None:
        """
        It waits for what is in flight and for what comes after.
        """
        group = self.group()
        group.add(record(1))
        self.turn()
        group.add(record(2))
        flushed = group.flush()
        self.store.succeed()
        self.turn()
        self.assertNoResult(flushed)
        self.store.succeed()
        self.successResultOf(flushed)

    def test_all_cancelled_out(self) -> None:
        """
        It waits for an answer that needs no commit.
        """
        group, job = self.group(), record(1)
        group.add(job)
        group.remove(job)
        flushed = group.flush()
        self.turn()
        self.assertEqual(self.settled, [([job], None)])
        self.successResultOf(flushed)

    def test_hurries(self) -> None:
        """
        It does not wait for a long pause between two tries to end.
        """
        group = self.group()
        group.remove(record(1))
        for _ in range(10):
            while self.store.added is None:
                self.clock.advance(0.5)
            self.store.fail()
        self.clock.advance(1)
        flushed = group.flush()
        self.turn()
        self.store.succeed()
        self.successResultOf(flushed)

    def test_gives_up(self) -> None:
        """
        When the store goes on failing it ends all the same, after a few tries
        and with a line in the log that says what it means; nothing is under way
        then.
        """
        group = self.group()
        group.remove(record(1))
        group.remove(record(2))
        group.add(record(3))
        flushed = group.flush()
        tries = 0
        while not flushed.called:
            if self.store.added is not None:
                tries += 1
                self.store.fail()
            self.clock.advance(0.01)
        self.assertEqual(tries, FLUSH_TRIES)
        self.assertEqual(len(self.settled), 1)
        self.assertIn("2 jobs that are over", self.log.lines[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
