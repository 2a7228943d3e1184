"""
Tests for L{gearsvc.stores.batching}, on a store whose commits the test ends.
"""

from __future__ import annotations

from typing import Callable, Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores import batching
from gearsvc.stores.batching import FIRST_RETRY, FLUSH_TRIES, LINGER, GroupCommit, StoreOnShutdown
from gearsvc.testing import record


@implementer(IQueueStore)
class StoreByHand:
    """
    A store that commits when the test says so.

    @ivar rows: what is stored: attempts by handle.
    @ivar added: what the commit that is under way adds, or C{None}.
    @ivar removed: what it removes.
    @ivar commits: how many there were.
    """

    description = "by hand"

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self.added: list[JobRecord] | None = None
        self.removed: list[JobRecord] = []
        self.commits = 0
        self._snapshot: dict[bytes, int] = {}
        self._answer: Deferred[None] = Deferred()

    def open(self) -> Deferred[None]:
        """
        Not used here.
        """
        raise NotImplementedError

    def replay(self, accept: Callable[[Sequence[JobRecord]], None]) -> Deferred[int]:
        """
        Not used here.
        """
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        """
        Not used here.
        """
        raise NotImplementedError

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Begin a commit.
        """
        assert self.added is None, "two commits at once"
        assert added or removed, "an empty batch"
        self.added, self.removed = list(added), list(removed)
        self._snapshot = {job.handle: job.attempts for job in added}
        self.commits += 1
        self._answer = Deferred()
        return self._answer

    def apply(self) -> None:
        """
        Do what the commit under way says.
        """
        for job in self.removed:
            self.rows.pop(job.handle, None)
        self.rows.update(self._snapshot)

    def succeed(self) -> None:
        """
        End the commit well.
        """
        self.apply()
        self.added = None
        self._answer.callback(None)

    def fail(self, error: Exception | None = None) -> None:
        """
        End the commit badly.
        """
        self.added = None
        self._answer.errback(error or StoreError("the disk is full"))


class Log:
    """
    Remembers what was logged.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, form: str, *failures: object, **values: object) -> None:
        """
        Log.
        """
        self.lines.append(form.format(**values))

    info = announce = warn = error = failure = line


class BatchingCase(SynchronousTestCase):
    """
    A test with a store by hand, a fake clock and a log.
    """

    def setUp(self) -> None:
        """
        Put them together.
        """
        self.store = StoreByHand()
        self.clock = Clock()
        self.settled: list[tuple[list[JobRecord], str | None]] = []
        self.log = Log()
        self.patch(batching, "log", self.log)

    def group(self, max_rows: int = batching.MAX_ROWS, max_bytes: int = batching.MAX_BYTES) -> GroupCommit:
        """
        @return: a group commit over the store.
        """
        return GroupCommit(self.store, self.hear, self.clock, max_rows, max_bytes)

    def hear(self, records: list[JobRecord], failure: str | None) -> None:
        """
        Remember what became of a batch.
        """
        self.settled.append((records, failure))

    def turn(self) -> None:
        """
        Let the reactor's turn end.
        """
        self.clock.advance(0)


    def linger(self) -> None:
        """
        Let the time pass for which nobody waits.
        """
        self.clock.advance(LINGER)


class GroupCommitTests(BatchingCase):
    """
    L{GroupCommit} while the store works.
    """

    def test_one_turn_is_one_batch(self) -> None:
        """
        What is added in one turn is one commit, and one call says that all of it
        is stored, after it is.
        """
        group, jobs = self.group(), [record(1), record(2), record(3)]
        for job in jobs:
            group.add(job)
        self.assertEqual(self.store.commits, 0)
        self.turn()
        self.assertEqual((self.store.added, self.settled), (jobs, []))
        self.store.succeed()
        self.assertEqual(self.settled, [(jobs, None)])
        self.assertEqual((self.store.commits, group.committed, group.pending_writes), (1, 1, 0))

    def test_end_of_the_turn(self) -> None:
        """
        Where somebody says when a turn begins and is over, a batch begins at its end, without a timer.
        """
        group, jobs = self.group(), [record(1), record(2)]
        group.begin_turn()
        for job in jobs:
            group.add(job)
        self.assertEqual((self.store.commits, self.clock.getDelayedCalls()), (0, []))
        group.end_turn()
        self.assertEqual(self.store.added, jobs)
        self.store.succeed()
        self.assertEqual(self.settled, [(jobs, None)])

    def test_turns_without_work(self) -> None:
        """
        The end of a turn in which nothing was added begins nothing, and what comes between turns waits for the reactor.
        """
        group, job = self.group(), record(1)
        group.begin_turn()
        group.end_turn()
        self.assertEqual((self.store.commits, self.clock.getDelayedCalls()), (0, []))
        group.add(job)
        group.begin_turn()
        group.end_turn()
        self.assertEqual(self.store.commits, 0)
        self.turn()
        self.assertEqual(self.store.added, [job])

    def test_turns_while_a_batch_is_in_flight(self) -> None:
        """
        The end of a turn begins no second batch beside the first.
        """
        group, jobs = self.group(), [record(1), record(2)]
        for job in jobs:
            group.begin_turn()
            group.add(job)
            group.end_turn()
        self.assertEqual((self.store.commits, self.store.added), (1, jobs[:1]))
        self.store.succeed()
        self.turn()
        self.assertEqual(self.store.added, jobs[1:])

    def test_one_batch_at_a_time(self) -> None:
        """
        What comes while a batch is in flight is the next batch, which begins in
        the turn in which that one ends.
        """
        group = self.group()
        group.add(record(1))
        self.turn()
        later = [record(2), record(3)]
        for job in later:
            group.add(job)
            self.turn()
        self.assertEqual((self.store.commits, group.pending_writes), (1, 3))
        self.store.succeed()
        self.turn()
        self.assertEqual(self.store.added, later)

    def test_idle(self) -> None:
        """
        With nothing to do there is no commit and no timer.
        """
        group = self.group()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        group.add(record(1))
        self.turn()
        self.store.succeed()
        self.turn()
        self.assertEqual((self.store.commits, self.clock.getDelayedCalls()), (1, []))

    def test_cancel_out(self) -> None:
        """
        A job that is added and removed before the store saw it never gets there;
        its client is told that all is well.
        """
        group, job, other = self.group(), record(1), record(2)
        group.add(job)
        group.add(other)
        group.remove(job)
        self.turn()
        self.assertEqual((self.store.added, self.store.removed), ([other], []))
        self.assertEqual(self.settled, [([job], None)])
        self.store.succeed()
        self.assertEqual(self.settled, [([job], None), ([other], None)])

    def test_all_cancelled_out(self) -> None:
        """
        When nothing is left of a batch there is no commit.
        """
        group, job = self.group(), record(1)
        group.add(job)
        group.remove(job)
        self.turn()
        self.assertEqual((self.store.commits, self.settled, self.clock.getDelayedCalls()), (0, [([job], None)], []))

    def test_remove_in_flight(self) -> None:
        """
        A job that is removed while it is being stored is removed by the next
        batch.
        """
        group, job = self.group(), record(1)
        group.add(job)
        self.turn()
        group.remove(job)
        self.store.succeed()
        self.linger()
        self.assertEqual((self.settled, self.store.added, self.store.removed), ([([job], None)], [], [job]))
        self.store.succeed()
        self.assertEqual(self.store.rows, {})

    def test_update(self) -> None:
        """
        A job that has changed is stored again, once, as it is when the batch
        starts; nobody is told.
        """
        group, job = self.group(), record(1)
        for _ in range(3):
            job.attempts += 1
            group.update(job)
        self.linger()
        self.assertEqual(self.store.added, [job])
        self.store.succeed()
        self.assertEqual((self.store.rows, self.settled), ({job.handle: 3}, []))

    def test_update_of_what_waits(self) -> None:
        """
        An update of a job that waits to be stored changes nothing about it: it
        is stored once, and its client told.
        """
        group, job = self.group(), record(1)
        group.add(job)
        group.update(job)
        self.turn()
        self.store.succeed()
        self.assertEqual((self.store.commits, self.settled), (1, [([job], None)]))

    def test_update_and_remove(self) -> None:
        """
        An update of a job that is then removed is forgotten; the removal is not.
        """
        group, job = self.group(), record(1)
        group.update(job)
        group.remove(job)
        self.linger()
        self.assertEqual((self.store.added, self.store.removed), ([], [job]))

    def test_one_client(self) -> None:
        """
        Who submits one job after the other, each when the last one is done, does not wait for the removal of the last one:
        those of a while go together, with the next job.
        """
        group, jobs = self.group(), [record(number, unique=b"%d" % number) for number in range(6)]
        for last, job in zip([None, *jobs], jobs):
            if last is not None:
                group.remove(last)
                self.turn()
                self.assertIsNone(self.store.added)
            if job is jobs[-1]:
                self.clock.rightNow += LINGER
            group.add(job)
            self.turn()
            self.assertEqual((self.store.added, self.store.removed), ([job], jobs[:-1] if job is jobs[-1] else []))
            self.store.succeed()
        self.assertEqual(self.store.commits, len(jobs))

    def test_same_unique_id(self) -> None:
        """
        A job takes the removal along of one of the same function and unique id, whose row it may need; one of another
        function does not.
        """
        group = self.group()
        ended, other, same = record(1, unique=b"a"), record(2, unique=b"a", function=b"f"), record(3, unique=b"a")
        group.remove(ended)
        group.add(other)
        self.turn()
        self.assertEqual((self.store.added, self.store.removed), ([other], []))
        group.add(same)
        self.store.succeed()
        self.turn()
        self.assertEqual((self.store.added, self.store.removed), ([same], [ended]))

    def test_clock_set_back(self) -> None:
        """
        A clock that is set back does not make removals wait until it is where it was.
        """
        group, ended, job = self.group(), record(1), record(2)
        group.remove(ended)
        self.clock.rightNow -= 3600
        group.add(job)
        self.turn()
        self.assertEqual((self.store.added, self.store.removed), ([job], [ended]))

    def test_removals_linger(self) -> None:
        """
        A removal that no add comes for is made after a while, together with those that came meanwhile.
        """
        group, jobs = self.group(), [record(1), record(2)]
        group.remove(jobs[0])
        self.clock.advance(LINGER * 0.9)
        self.assertIsNone(self.store.added)
        group.remove(jobs[1])
        self.clock.advance(LINGER * 0.2)
        self.assertEqual(self.store.removed, jobs)
        self.store.succeed()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """
        While one job after the other is stored and is over, there is one timer, and removals wait as long as ever.
        """
        group, jobs = self.group(), [record(number) for number in range(5)]
        timers = []
        for job in jobs:
            group.begin_turn()
            group.add(job)
            group.end_turn()
            self.store.succeed()
            group.remove(job)
            timers.append(self.clock.getDelayedCalls())
            self.clock.advance(LINGER * 0.15)
        self.assertEqual(timers, [timers[0]] * 5)
        self.assertEqual(len(timers[0]), 1)
        self.assertEqual((self.store.added, self.store.removed), (None, []))
        self.clock.advance(LINGER * 0.3)
        self.assertEqual(self.store.removed, jobs)

    def test_timer_of_earlier_removals(self) -> None:
        """
        A removal lingers for its own time though a timer of removals that are done is still going.
        """
        group, jobs = self.group(), [record(1, unique=b"one"), record(2)]
        group.remove(jobs[0])
        self.clock.advance(LINGER * 0.8)
        # It goes along with an add that needs its row.
        group.add(record(3, function=jobs[0].function, unique=jobs[0].unique))
        self.turn()
        self.assertEqual(self.store.removed, jobs[:1])
        self.store.succeed()
        group.remove(jobs[1])
        self.clock.advance(LINGER * 0.9)
        self.assertIsNone(self.store.added)
        self.clock.advance(LINGER * 0.2)
        self.assertEqual(self.store.removed, jobs[1:])

    def test_bounded_rows(self) -> None:
        """
        A batch holds so many rows at most, in order.
        """
        group, jobs = self.group(max_rows=3), [record(number) for number in range(7)]
        for job in jobs:
            group.add(job)
        sizes = []
        for _ in range(3):
            self.turn()
            assert self.store.added is not None
            sizes.append(len(self.store.added))
            self.store.succeed()
        self.assertEqual(sizes, [3, 3, 1])
        self.assertEqual([job for records, _ in self.settled for job in records], jobs)

    def test_bounded_bytes(self) -> None:
        """
        A batch holds so many bytes of workload at most, or one job.
        """
        group = self.group(max_bytes=100)
        for size in (60, 40, 1, 500, 99, 1):
            group.add(record(size, workload=bytes(size)))
        sizes = []
        for _ in range(4):
            self.turn()
            assert self.store.added is not None
            sizes.append([len(job.workload) for job in self.store.added])
            self.store.succeed()
        self.assertEqual(sizes, [[60, 40], [1], [500], [99, 1]])

    def test_no_add_overtakes_a_removal(self) -> None:
        """
        A batch that has no room for all the removals, and an add of a job that takes the row of one of them, holds no add.
        """
        group, old = self.group(max_rows=2), [record(number, unique=b"%d" % number) for number in range(3)]
        for job in old:
            group.remove(job)
        new = record(5, unique=b"2")
        group.add(new)
        self.turn()
        self.assertEqual((self.store.removed, self.store.added), (old[:2], []))
        self.store.succeed()
        self.turn()
        self.assertEqual((self.store.removed, self.store.added), (old[2:], [new]))

    def test_calls_from_settled(self) -> None:
        """
        What is handed in while a batch is being settled is the next batch.
        """
        jobs = [record(1), record(2)]

        def hear(records: list[JobRecord], failure: str | None) -> None:
            for job in records:
                group.remove(job)

        group = GroupCommit(self.store, hear, self.clock)
        for job in jobs:
            group.add(job)
        self.turn()
        self.store.succeed()
        self.linger()
        self.assertEqual(self.store.removed, jobs)

    def test_settled_fails(self) -> None:
        """
        An error in what hears of a batch is logged, and stops nothing.
        """
        self.hear = lambda records, failure: 1 // 0  # type: ignore[method-assign, assignment]
        group = self.group()
        group.add(record(1))
        self.turn()
        self.store.succeed()
        group.add(record(2))
        self.turn()
        self.store.succeed()
        self.assertEqual((self.store.commits, len(self.log.lines)), (2, 2))


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


class StoreOnShutdownTests(BatchingCase):
    """
    L{StoreOnShutdown}.
    """

    def on_shutdown(self) -> StoreOnShutdown:
        """
        @return: one over this test's store.
        """
        return StoreOnShutdown(self.store, self.hear, self.clock)

    def test_no_write(self) -> None:
        """
        Jobs that come and go are answered at the end of the turn, in one call,
        and the store hears nothing of them.
        """
        keeper, jobs = self.on_shutdown(), [record(1), record(2)]
        for job in jobs:
            keeper.add(job)
        self.assertEqual(self.settled, [])
        self.turn()
        self.assertEqual(self.settled, [(jobs, None)])
        keeper.update(jobs[0])
        for job in jobs:
            keeper.remove(job)
        self.turn()
        self.assertEqual((self.store.commits, self.clock.getDelayedCalls()), (0, []))
        self.successResultOf(keeper.flush())

    def test_replayed(self) -> None:
        """
        A job that was replayed is changed and removed in the store as it goes.
        """
        keeper, job, over = self.on_shutdown(), record(1), record(2)
        keeper.update(job)
        keeper.remove(over)
        self.linger()
        self.assertEqual((self.store.added, self.store.removed), ([job], [over]))

    def test_flush(self) -> None:
        """
        The jobs that are left are stored in their order when the server ends.
        """
        keeper, jobs = self.on_shutdown(), [record(number) for number in range(4)]
        for job in jobs:
            keeper.add(job)
        keeper.remove(jobs[1])
        flushed = keeper.flush()
        self.assertEqual(self.settled, [(jobs, None)])
        self.turn()
        self.assertEqual(self.store.added, [jobs[0], jobs[2], jobs[3]])
        self.store.succeed()
        self.successResultOf(flushed)
        self.assertEqual(len(self.settled), 1)

    def test_flush_fails(self) -> None:
        """
        That jobs could not be stored at the end is a line in the log.
        """
        keeper = self.on_shutdown()
        keeper.add(record(1))
        flushed = keeper.flush()
        self.turn()
        self.store.fail()
        self.successResultOf(flushed)
        self.assertEqual(self.log.lines[-1], "1 jobs could not be stored, and are lost: the disk is full")


class GroupCommitModel(RuleBasedStateMachine):
    """
    L{GroupCommit} against a model: what the job server was told of each job.

    Jobs share rows as they do in a store: the row of a job that was removed may
    be taken by the next one.
    """

    @initialize(max_rows=st.integers(1, 4), max_bytes=st.integers(1, 300))
    def begin(self, max_rows: int, max_bytes: int) -> None:
        """
        Choose small batches.
        """
        self.saved_log, batching.log = batching.log, Log()  # type: ignore[assignment]
        self.store = StoreByHand()
        self.clock = Clock()
        self.group = GroupCommit(self.store, self.settled, self.clock, max_rows, max_bytes)
        self.waiting: dict[JobRecord, None] = {}
        self.acknowledged: dict[JobRecord, None] = {}
        self.refused: dict[JobRecord, None] = {}
        self.over: set[JobRecord] = set()

    def teardown(self) -> None:
        """
        Let the store work: then all that is over is gone, and all else stored.
        """
        for _ in range(1000):
            self.clock.advance(60)
            if self.store.added is not None:
                self.store.succeed()
        assert not self.waiting
        assert self.store.rows == {job.handle: job.attempts for job in self.acknowledged if job not in self.over}
        assert (self.group.pending_writes, self.group.pending_removals) == (0, 0)
        assert not self.clock.getDelayedCalls()
        batching.log = self.saved_log

    def settled(self, records: list[JobRecord], failure: str | None) -> None:
        """
        The job server's side.
        """
        assert records
        for job in records:
            del self.waiting[job]
            if failure is None:
                assert job.handle in self.store.rows or job in self.over
                self.acknowledged[job] = None
            else:
                self.refused[job] = None

    def alive(self) -> list[JobRecord]:
        """
        Jobs whose end has not been heard of.
        """
        return [job for job in (*self.waiting, *self.acknowledged) if job not in self.over]

    @rule(
        what=st.sampled_from(["add", "update", "remove"]),
        row=st.integers(1, 3),
        size=st.integers(0, 200),
        turn=st.sampled_from([None, 0.0, FIRST_RETRY]),
        told=st.booleans(),
    )
    def hand_in(self, what: str, row: int, size: int, turn: float | None, told: bool) -> None:
        """
        A job is submitted, a worker is lost over one, or one is over; and this
        may be all in this turn, and somebody may say so.  (A job's handle and
        unique id are its row.)
        """
        if told:
            self.group.begin_turn()
        job = next((job for job in self.alive() if job.handle == b"H:test:%d" % row), None)
        if job is None:
            job = record(row, unique=b"%d" % row, workload=bytes(size))
            self.waiting[job] = None
            self.group.add(job)
        elif what == "update":
            job.attempts += 1
            self.group.update(job)
        elif what == "remove":
            self.over.add(job)
            self.group.remove(job)
        if told:
            self.group.end_turn()
        if turn is not None:
            self.clock.advance(turn)

    @rule(seconds=st.sampled_from([0.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    @precondition(lambda self: self.store.added is not None)
    @rule(how=st.sampled_from(["commit", "fail", "uncertain, stored", "uncertain, not stored"]))
    def answer(self, how: str) -> None:
        """
        The store commits, or fails, or does not know whether it did.
        """
        if how == "commit":
            self.store.succeed()
            return
        error = StoreError("the disk is full")
        error.uncertain = how != "fail"
        if how == "uncertain, stored":
            self.store.apply()
        self.store.fail(error)

    @invariant()
    def something_is_coming(self) -> None:
        """
        While somebody waits, a commit is under way or a moment off.
        """
        if self.waiting and self.store.added is None:
            [call] = [call for call in self.clock.getDelayedCalls() if call.func != self.group._lingered]
            assert call.getTime() <= self.clock.seconds() + FIRST_RETRY


class GroupCommitModelTests(SynchronousTestCase):
    """
    What Hypothesis finds with L{GroupCommitModel}.
    """

    def test_model(self) -> None:
        """
        Nothing is acknowledged that is not stored, each add is answered once
        and soon, and in the end what is over is gone and all else is there.
        """
        limits = settings(max_examples=200, stateful_step_count=40, deadline=None, database=None)
        run_state_machine_as_test(GroupCommitModel, settings=limits)
