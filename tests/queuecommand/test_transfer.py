"""
Tests for L{gearsvc.queuecommand.transfer}: jobs go from store to store, once and in order, whatever happens.
"""

from __future__ import annotations

import random
import signal
from typing import Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, StoreError
from gearsvc.queuecommand.display import NoDisplay
from gearsvc.queuecommand.running import Interrupted, Interruption
from gearsvc.queuecommand.transfer import MAX_BYTES, MAX_ROWS, Tally, copy
from gearsvc.stores.memory import MemoryStore
from gearsvc.stores.progress import Progress
from gearsvc.testing import fields_of, record, sleep


class Source(MemoryStore):
    """
    Gives its jobs in pieces, and looks after whoever takes them.

    @ivar piece: how many at a time.
    @ivar given: how many it has given.
    @ivar taken: how many were taken in.
    """

    piece = 700
    given = taken = 0

    def hold(self, jobs: Sequence[JobRecord]) -> None:
        """
        Store jobs.
        """
        self.commit(jobs, [])

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        A piece, then another.
        """

        async def give() -> int:
            jobs = list(self.rows.values())
            progress = Progress("here", len(jobs))
            for start in range(0, len(jobs), self.piece):
                assert self.given == self.taken, "the last piece was not waited for"
                piece = [as_stored(job) for job in jobs[start : start + self.piece]]
                self.given += len(piece)
                await sleep(0)
                await (accept(piece) or succeed(None))
                self.taken += len(piece)
                progress.advance(len(piece))
            return self.taken

        return ensureDeferred(give())


def as_stored(job: JobRecord) -> JobRecord:
    """
    A job as a store gives it that remembers where it was.
    """
    return JobRecord(
        job.handle,
        job.function,
        job.unique,
        job.priority,
        job.workload,
        job.run_at,
        job.reducer,
        job.attempts,
        job.submitted,
        key=b"row",
    )


class Target(MemoryStore):
    """
    Takes its time to commit, and fails when it is told to.

    @ivar good_for: how many batches are committed before one fails.
    @ivar batches: of each batch, how many jobs it had.
    @ivar sizes: of each batch, the bytes of all workloads.
    @ivar keys: all keys of jobs.
    """

    good_for = 1_000_000

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.sizes: list[int] = []
        self.keys: set[object] = set()

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Commit, or fail.
        """
        assert not removed
        if len(self.batches) == self.good_for:
            return fail(StoreError("The disk is full."))
        self.batches.append(len(added))
        self.sizes.append(sum(len(job.workload) for job in added))
        self.keys.update(job.key for job in added)
        return deferLater(reactor, 0.001, super().commit, added, removed)


class CopyTests(TestCase):
    """
    L{copy}, between stores in memory.
    """

    def setUp(self) -> None:
        """
        Make two stores.
        """
        self.source, self.target = Source(), Target()
        self.tally = Tally("copied")
        self.interruption = Interruption()

    async def copy(self) -> str:
        """
        Copy as often as the test likes.

        @return: the last line.
        """
        self.source.given = self.source.taken = 0
        self.tally = Tally("copied")
        await copy(self.source, self.target, self.tally, NoDisplay(), self.interruption)
        return str(self.tally)

    def assert_copied(self, *before: JobRecord) -> None:
        """
        Hold that the target has each job of the source once, in order, behind others.
        """
        expected = [fields_of(job) for job in [*before, *self.source.rows.values()]]
        self.assertEqual([fields_of(job) for job in self.target.rows.values()], expected)

    async def test_all(self) -> None:
        """
        Every job is there, in its order, with every field; the source has what it had.
        """
        numbers = list(range(5000))
        random.Random(1).shuffle(numbers)
        self.source.hold(
            [
                record(number, priority=number % 3, run_at=number % 7, attempts=number % 5)
                for number in numbers
            ]
        )
        self.assertEqual(await self.copy(), "5,000 jobs copied.")
        self.assert_copied()
        self.assertEqual(list(self.source.rows), [b"H:test:%d" % number for number in numbers])

    async def test_nothing(self) -> None:
        """
        An empty store is copied without a commit.
        """
        self.assertEqual(await self.copy(), "0 jobs copied.")
        self.assertEqual(self.target.batches, [])

    async def test_one(self) -> None:
        """
        One job is one job.
        """
        self.source.hold([record(1)])
        self.assertEqual(await self.copy(), "1 job copied.")

    async def test_batches(self) -> None:
        """
        Small pieces of the source are put together to batches of a fixed number of jobs.
        """
        self.source.hold([record(number) for number in range(2 * MAX_ROWS + 500)])
        await self.copy()
        self.assertEqual(self.target.batches, [MAX_ROWS, MAX_ROWS, 500])

    async def test_large_pieces(self) -> None:
        """
        Large pieces of the source are cut.
        """
        self.source.piece = 10_000
        self.source.hold([record(number) for number in range(2 * MAX_ROWS + 500)])
        await self.copy()
        self.assertEqual(self.target.batches, [MAX_ROWS, MAX_ROWS, 500])
        self.assert_copied()

    async def test_large_workloads(self) -> None:
        """
        A batch has no more than so many bytes, or a single job.
        """
        sizes = [MAX_BYTES // 2, MAX_BYTES // 2, MAX_BYTES // 3, MAX_BYTES, MAX_BYTES * 2, 5, 5]
        self.source.hold([record(number, workload=bytes(size)) for number, size in enumerate(sizes)])
        await self.copy()
        self.assertEqual(self.target.sizes, [MAX_BYTES, MAX_BYTES // 3, MAX_BYTES, MAX_BYTES * 2, 10])

    async def test_back_pressure(self) -> None:
        """
        The source is not read faster than the target takes it: what is in memory does not grow.
        """
        self.source.hold([record(number) for number in range(20 * MAX_ROWS)])
        most = 0
        commit = self.target.commit

        def watch(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
            nonlocal most
            most = max(most, self.source.given - len(self.target.rows))
            return commit(added, removed)

        self.patch(self.target, "commit", watch)
        await self.copy()
        self.assertLessEqual(most, MAX_ROWS + self.source.piece)
        self.assertGreater(most, 0)

    async def test_again(self) -> None:
        """
        What is there is not copied again.
        """
        self.source.hold([record(number, unique=b"%d" % number if number % 2 else b"") for number in range(3000)])
        await self.copy()
        self.target.batches.clear()
        self.assertEqual(await self.copy(), "0 jobs copied, 3,000 there already.")
        self.assertEqual(self.target.batches, [])
        self.assert_copied()

    async def test_others_stay_first(self) -> None:
        """
        What the target has stays, and comes first; a job that it has another one for, by function and unique id, is
        left out.
        """
        there = [record(-1), record(-2, unique=b"5", workload=b"older")]
        await self.target.commit(there, [])
        self.source.hold([record(number, unique=b"%d" % number) for number in range(10)])
        self.assertEqual(
            await self.copy(), "9 jobs copied, 1 left out for another job of the same function and unique id."
        )
        del self.source.rows[b"H:test:5"]
        self.assert_copied(*there)

    async def test_key_stays(self) -> None:
        """
        Where the source keeps a job is nothing to the target.
        """
        self.source.hold([record(1)])
        await self.copy()
        self.assertEqual(self.target.keys, {None})

    async def test_target_fails(self) -> None:
        """
        The error of a target is told as it is, what was copied stays, and copying goes on from there.
        """
        self.source.hold([record(number) for number in range(5 * MAX_ROWS)])
        self.target.good_for = 2
        with self.assertRaisesRegex(StoreError, "^The job H:test:4000 of resize can't be stored: The disk is full.$"):
            await self.copy()
        self.assertEqual(self.tally.new, 2 * MAX_ROWS)
        self.target.good_for = 1_000_000
        self.assertEqual(await self.copy(), "6,000 jobs copied, 4,000 there already.")
        self.assert_copied()

    async def test_refused_job(self) -> None:
        """
        A job that the target does not take is named; those before it are stored, and none behind it.
        """
        self.source.hold([record(number, workload=bytes(number == 1234)) for number in range(3 * MAX_ROWS)])
        commit = self.target.commit

        def picky(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
            if any(job.workload for job in added):
                return fail(StoreError("It is too large."))
            return commit(added, removed)

        self.patch(self.target, "commit", picky)
        with self.assertRaisesRegex(StoreError, "^The job H:test:1234 of resize can't be stored: It is too large.$"):
            await self.copy()
        self.assertEqual(list(self.target.rows), [b"H:test:%d" % number for number in range(1234)])
        self.assertEqual(self.tally.new, 1234)

    async def test_refused_in_passing(self) -> None:
        """
        A batch that is refused once, and then is not, is stored in its order.
        """
        self.source.hold([record(number) for number in range(3 * MAX_ROWS)])
        commit = self.target.commit
        troubles = [StoreError("It is locked.")]

        def moody(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
            return fail(troubles.pop()) if troubles and self.target.rows else commit(added, removed)

        self.patch(self.target, "commit", moody)
        self.assertEqual(await self.copy(), "6,000 jobs copied.")
        self.assertEqual(troubles, [])
        self.assert_copied()

    async def test_uncertain(self) -> None:
        """
        A batch of which is not known whether it is stored is not tried again; what is there shows when all is run
        again.
        """
        self.source.hold([record(number) for number in range(MAX_ROWS)])
        commit = self.target.commit
        error = StoreError("The connection broke.")
        error.uncertain = True

        def breaking(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
            return commit(added, removed).addCallback(lambda _: fail(error))

        self.patch(self.target, "commit", breaking)
        with self.assertRaisesRegex(StoreError, "^The connection broke.$"):
            await self.copy()
        self.assertEqual(self.target.batches, [MAX_ROWS])
        self.patch(self.target, "commit", commit)
        self.assertEqual(await self.copy(), "0 jobs copied, 2,000 there already.")

    async def test_source_has_its_own_errors(self) -> None:
        """
        A source that takes every failure for its own does not hide the target's.
        """
        self.source.hold([record(number) for number in range(MAX_ROWS)])
        self.target.good_for = 0
        replay = self.source.replay

        def clumsy(accept: Accept) -> Deferred[int]:
            return replay(accept).addErrback(lambda reason: fail(StoreError("The source is broken.")))

        self.patch(self.source, "replay", clumsy)
        with self.assertRaisesRegex(StoreError, "The disk is full.$"):
            await self.copy()

    async def test_source_fails(self) -> None:
        """
        A source's own error is told; what it gave before in full batches is there.
        """
        self.source.hold([record(number) for number in range(MAX_ROWS + 500)])

        def breaking(accept: Accept) -> Deferred[int]:
            return Source.replay(self.source, accept).addCallback(lambda _: fail(StoreError("The wire is cut.")))

        self.patch(self.source, "replay", breaking)
        with self.assertRaisesRegex(StoreError, "^The wire is cut.$"):
            await self.copy()
        self.assertEqual(self.target.batches, [MAX_ROWS])

    async def test_interrupted(self) -> None:
        """
        An interruption is heeded once the batch is stored that is under way; copying goes on from there.
        """
        self.source.hold([record(number) for number in range(5 * MAX_ROWS)])
        commit = self.target.commit

        def interrupting(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
            if len(self.target.batches) == 1:
                self.interruption.request(signal.SIGINT)
                self.interruption.wake()
            return commit(added, removed)

        self.patch(self.target, "commit", interrupting)
        with self.assertRaises(Interrupted):
            await self.copy()
        self.assertEqual((self.tally.new, len(self.target.rows)), (2 * MAX_ROWS, 2 * MAX_ROWS))
        self.interruption = Interruption()
        self.assertEqual(await self.copy(), "6,000 jobs copied, 4,000 there already.")
        self.assert_copied()

    async def test_progress(self) -> None:
        """
        What is shown: reading the target, then copying, with totals where the stores know them.
        """
        shown: list[object] = []

        class Shown(NoDisplay):
            def begin(self, doing: str, total: int | None = None, unit: str = "jobs") -> None:
                shown.append((doing, total, unit))

            def expect(self, total: int) -> None:
                shown.append(total)

            def advance(self, count: int) -> None:
                shown.append(f"+{count}")

        await self.target.commit([record(-1)], [])
        self.source.hold([record(number) for number in range(1000)])
        await copy(self.source, self.target, self.tally, Shown(), self.interruption)
        # The target, in this test, does not know how much it holds.
        self.assertEqual(
            shown, [("reading what is there", None, "jobs"), "+1", ("copying", None, "jobs"), 1000, "+700", "+300"]
        )


class InterruptionTests(TestCase):
    """
    L{Interruption.before}.
    """

    async def test_waits(self) -> None:
        """
        Without an interruption, what is waited for has its result, or its error.
        """
        interruption = Interruption()
        self.assertEqual(await interruption.before(succeed(5)), 5)
        with self.assertRaises(StoreError):
            await interruption.before(fail(StoreError("no")))

    async def test_leaves(self) -> None:
        """
        An interruption ends the waiting; what comes later, an error too, is nobody's.
        """
        interruption = Interruption()
        for late in (lambda work: work.callback(5), lambda work: work.errback(StoreError("late"))):
            interruption.status = 0
            work: Deferred[int] = Deferred()
            waiting = ensureDeferred(interruption.before(work))
            interruption.request(signal.SIGINT)
            self.assertNoResult(waiting)
            interruption.wake()
            self.failureResultOf(waiting, Interrupted)
            late(work)
            # Nothing more is begun.
            self.failureResultOf(ensureDeferred(interruption.before(succeed(5))), Interrupted)
        self.assertEqual(interruption.status, 130)
