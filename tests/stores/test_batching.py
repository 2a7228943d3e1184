"""
Tests for L{gearsvc.stores.batching}, on a store whose commits the test ends.
"""

from __future__ import annotations

from typing import Callable

from twisted.python.failure import Failure

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores.batching import LINGER, GroupCommit, StoreOnShutdown
from gearsvc.testing import record
from tests.stores.batches import BatchingCase, PromptStoreByHand, in_turn


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
        with in_turn(group):
            for job in jobs:
                group.add(job)
            self.assertEqual((self.store.commits, self.clock.getDelayedCalls()), (0, []))
        self.assertEqual(self.store.added, jobs)
        self.store.succeed()
        self.assertEqual(self.settled, [(jobs, None)])

    def test_middle_of_the_turn(self) -> None:
        """
        A batch may begin before the turn is over; what comes after that is the next batch.
        """
        group, jobs = self.group(), [record(1), record(2), record(3)]
        with in_turn(group):
            self.assertFalse(group.ready)
            group.add(jobs[0])
            self.assertTrue(group.ready)
            group.begin_batch()
            self.assertEqual(self.store.added, jobs[:1])
            for job in jobs[1:]:
                group.add(job)
                self.assertFalse(group.ready)
        self.assertEqual(self.store.commits, 1)
        self.store.succeed()
        self.turn()
        self.assertEqual(self.store.added, jobs[1:])

    def test_turns_without_work(self) -> None:
        """
        The end of a turn in which nothing was added begins nothing, and what comes between turns waits for the reactor.
        """
        group, job = self.group(), record(1)
        with in_turn(group):
            pass
        self.assertEqual((self.store.commits, self.clock.getDelayedCalls()), (0, []))
        group.add(job)
        with in_turn(group):
            pass
        self.assertEqual(self.store.commits, 0)
        self.turn()
        self.assertEqual(self.store.added, [job])

    def test_turns_while_a_batch_is_in_flight(self) -> None:
        """
        The end of a turn begins no second batch beside the first.
        """
        group, jobs = self.group(), [record(1), record(2)]
        for job in jobs:
            with in_turn(group):
                group.add(job)
        self.assertEqual((self.store.commits, self.store.added), (1, jobs[:1]))
        self.store.succeed()
        self.turn()
        self.assertEqual(self.store.added, jobs[1:])

    def test_one_batch_at_a_time(self) -> None:
        """
        What comes while a batch is in flight is the next batch, which begins as
        soon as that one ends: it does not wait for what comes of its end.
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
            with in_turn(group):
                group.add(job)
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

    def test_submitted_by_settled(self) -> None:
        """
        What is added while a batch is being settled goes with the next one only if others have waited for that;
        otherwise it waits for the end of its turn, and for what else comes in it.
        """
        jobs = [record(number) for number in range(1, 6)]
        more = iter(jobs[2:4])

        def hear(records: list[JobRecord], failure: str | None) -> None:
            for job in more:
                group.add(job)
                break

        group = GroupCommit(self.store, hear, self.clock)
        group.add(jobs[0])
        self.turn()
        group.add(jobs[1])
        self.store.succeed()
        self.assertEqual(self.store.added, jobs[1:3])
        self.store.succeed()
        self.assertEqual(self.store.commits, 2)
        group.add(jobs[4])
        self.turn()
        self.assertEqual(self.store.added, jobs[3:])

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


class OneJobTests(BatchingCase):
    """
    L{GroupCommit} over a store that has a shorter way for one job.
    """

    def setUp(self) -> None:
        """
        Have such a store.
        """
        super().setUp()
        self.store: PromptStoreByHand = PromptStoreByHand()

    def hand_in(self, group: GroupCommit, *jobs: JobRecord) -> None:
        """
        Add jobs in one turn.
        """
        with in_turn(group):
            for job in jobs:
                group.add(job)

    def test_stored(self) -> None:
        """
        A job that is all there is to store goes the shorter way; what comes meanwhile is the next batch, as ever.
        """
        group, job, later = self.group(), record(1), [record(2), record(3)]
        self.hand_in(group, job)
        self.assertEqual((self.store.alone, self.store.added, self.settled), ([job], [job], []))
        self.hand_in(group, *later)
        self.assertEqual((self.store.commits, group.pending_writes), (1, 3))
        self.store.succeed()
        self.assertEqual((self.settled, group.committed), ([([job], None)], 1))
        self.turn()
        self.assertEqual((self.store.alone, self.store.added), ([job], later))

    def test_next(self) -> None:
        """
        One job that came while another one was being stored goes that way too, as soon as that one is.
        """
        group, jobs = self.group(), [record(1), record(2)]
        for job in jobs:
            self.hand_in(group, job)
        self.store.succeed()
        self.assertEqual((self.store.alone, self.store.added), (jobs, jobs[1:]))
        self.store.succeed()
        self.assertEqual(self.settled, [(jobs[:1], None), (jobs[1:], None)])

    def test_longer_ways(self) -> None:
        """
        More than one job goes as a batch does, and so do an update, a job with removals that it may not overtake, and one
        for which the store has no shorter way now.
        """
        group, jobs = self.group(), [record(1, unique=b"u"), record(2)]
        self.hand_in(group, *jobs)
        self.store.succeed()
        group.remove(jobs[0])
        again = record(3, unique=b"u")
        self.hand_in(group, again)
        self.assertEqual((self.store.added, self.store.removed), ([again], [jobs[0]]))
        self.store.succeed()
        group.update(again)
        self.clock.advance(2 * LINGER)
        self.assertEqual(self.store.added, [again])
        self.store.succeed()
        self.store.refuses = True
        last = record(4)
        self.hand_in(group, last)
        self.assertEqual(self.store.added, [last])
        self.store.succeed()
        self.assertEqual((self.store.alone, self.settled[-1]), ([], ([last], None)))

    def test_removals_wait(self) -> None:
        """
        A job that may overtake removals goes the shorter way, and they go with the next batch.
        """
        group, jobs = self.group(), [record(1), record(2)]
        self.hand_in(group, jobs[0])
        self.store.succeed()
        group.remove(jobs[0])
        self.hand_in(group, jobs[1])
        self.assertEqual((self.store.alone, group.pending_removals), (jobs, 1))
        self.store.succeed()
        self.clock.advance(2 * LINGER)
        self.assertEqual((self.store.added, self.store.removed), ([], [jobs[0]]))

    def test_fails(self) -> None:
        """
        A job that is not stored is refused with the reason, as one in a batch is.
        """
        group, job = self.group(), record(1)
        self.hand_in(group, job)
        self.store.fail()
        self.assertEqual((self.settled, group.failure), ([([job], "the disk is full")], "the disk is full"))

    def test_fails_at_once(self) -> None:
        """
        So is one that is refused before the store has returned.
        """

        def fail(record: JobRecord, done: Callable[[Failure | None], object]) -> bool:
            done(Failure(StoreError("the disk is full")))
            return True

        self.patch(self.store, "commit_one", fail)
        group, job = self.group(), record(1)
        self.hand_in(group, job)
        self.assertEqual((self.settled, group.pending_writes), ([([job], "the disk is full")], 0))

    def test_raises(self) -> None:
        """
        So is one over which the store makes a mistake: the server does not wait for ever, and the next one is tried.
        """

        def mistake(record: JobRecord, done: Callable[[Failure | None], object]) -> bool:
            raise ZeroDivisionError("a secret")

        self.patch(self.store, "commit_one", mistake)
        group, job, later = self.group(), record(1), record(2)
        self.hand_in(group, job)
        self.assertEqual(self.settled, [([job], "the queue store failed: ZeroDivisionError")])
        group.add(later)
        self.clock.advance(2)
        self.assertEqual((self.store.added, self.store.removed), ([later], [job]))


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
