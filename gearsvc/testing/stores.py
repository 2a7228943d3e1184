"""
What you need to test a queue store of your own.

L{QueueStoreContract} holds the tests that every store passes.  Mix it into a
trial test case that says how your store is made, and how it breaks::

    class CellarStoreTests(QueueStoreContract, TestCase):
        def setUp(self):
            self.cellar = start_a_cellar()
            self.addCleanup(self.cellar.stop)

        def make_store(self):
            return CellarStore(self.cellar.port)

        async def break_store(self, store):
            self.cellar.stop()

        async def mend_store(self, store):
            self.cellar.start()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from gearsvc.core.jobs import JobRecord, Priority
from gearsvc.interfaces import IQueueStore, StoreError

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Base
else:
    # Not a test case itself: test runners would run it where it is imported.
    Base = object


LARGE_WORKLOAD = 64 * 1024 * 1024
"""
Bytes of a workload that is larger than what most databases take as they come.
"""


async def sleep(seconds: float) -> None:
    """
    Let the reactor run for a while.
    """
    from twisted.internet import reactor

    await deferLater(reactor, seconds)


def record(number: int, **fields: Any) -> JobRecord:
    """
    A job to store.

    @param number: what its handle, and what is not given, is made of.
    @param fields: what else is of interest, by the names of L{JobRecord}.
    """
    values: dict[str, Any] = {
        "handle": b"H:test:%d" % number,
        "function": b"resize",
        "unique": b"",
        "priority": Priority.NORMAL,
        "workload": b"workload %d" % number,
        "submitted": 1700000000.0 + number,
    }
    return JobRecord(**{**values, **fields})


def fields_of(record: JobRecord) -> tuple[Any, ...]:
    """
    All that a store has to keep of a job, to be compared.  (The time of
    submission in milliseconds: a store need not keep more of it.)
    """
    return (
        record.handle,
        record.function,
        record.unique,
        int(record.priority),
        record.workload,
        record.run_at,
        record.reducer,
        record.attempts,
        round(record.submitted * 1000),
    )


class QueueStoreContract(Base):
    """
    The tests that every L{IQueueStore} passes.

    A test makes several stores one after the other, as a server does each time
    it is started.  All that one test makes with L{make_store} are to find the
    same jobs, and each test begins with none.
    """

    def make_store(self) -> IQueueStore:
        """
        @return: a new store, not yet open.
        """
        raise NotImplementedError

    async def break_store(self, store: IQueueStore) -> None:
        """
        See to it that the next commits of this open store fail.
        """
        raise NotImplementedError

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Undo L{break_store}.  The store is to work again, without being opened
        again.
        """
        raise NotImplementedError

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        End with this open store as if the process had been killed.  By default
        nothing is done: it is simply not closed.
        """

    # What the tests are made of.

    async def start(self) -> tuple[IQueueStore, list[JobRecord]]:
        """
        @return: an open store, and what it replayed.
        """
        store = self.make_store()
        await store.open()
        replayed: list[JobRecord] = []
        count = await store.replay(replayed.extend)
        self.assertEqual(count, len(replayed))
        return store, replayed

    async def stored(self) -> list[tuple[Any, ...]]:
        """
        @return: what a store replays now, with no other one open.
        """
        store, replayed = await self.start()
        await store.close()
        return [fields_of(record) for record in replayed]

    async def assert_kept(self, *batches: Sequence[JobRecord]) -> None:
        """
        Commit batches, and hold that exactly these jobs are there after a
        restart, in their order.
        """
        store, _ = await self.start()
        for batch in batches:
            await store.commit(batch, [])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(record) for batch in batches for record in batch])

    # The tests.

    def test_interface(self) -> None:
        """
        The store provides all of IQueueStore, and describes itself in one line.
        """
        store = self.make_store()
        self.assertTrue(verifyObject(IQueueStore, store))
        self.assertNotIn("\n", store.description)
        self.assertTrue(store.description)

    async def test_empty(self) -> None:
        """
        A store that holds nothing replays nothing.
        """
        self.assertEqual(await self.stored(), [])

    async def test_order(self) -> None:
        """
        Jobs come back in the order in which they were committed, in a batch and
        from batch to batch, whatever their handles, functions and priorities.
        """
        await self.assert_kept(
            [record(9), record(3, function=b"zip"), record(5, priority=Priority.LOW)],
            [record(1, priority=Priority.HIGH), record(4, function=b"a")],
            [record(2)],
        )

    async def test_many(self) -> None:
        """
        A batch of some thousand jobs comes back whole and in order.
        """
        await self.assert_kept([record(number) for number in range(5000)])

    async def test_every_field(self) -> None:
        """
        Priority, time to run (past 2038 too), reducer, attempts and time of
        submission come back as they were.
        """
        await self.assert_kept(
            [
                record(1, priority=Priority.HIGH, run_at=1),
                record(2, priority=Priority.NORMAL, run_at=2**31 + 5),
                record(3, priority=Priority.LOW, run_at=2**40),
                record(4, reducer=b"sum", attempts=3),
                record(5, reducer=b"", submitted=1700000000.125),
            ]
        )

    async def test_unique_ids(self) -> None:
        """
        A unique id comes back as the client gave it: none, C{-}, short ones and
        ones of 63 and 64 bytes that differ in the last alone.
        """
        uniques = [b"", b"-", b"u", b"U", b"u ", b"u" * 63, b"v" * 63 + b"1", b"v" * 63 + b"2", b"H:test:1"]
        await self.assert_kept([record(number, unique=unique) for number, unique in enumerate(uniques)])

    async def test_no_unique_id(self) -> None:
        """
        Jobs without a unique id, or with C{-}, are as many jobs: removing one
        leaves the others.
        """
        jobs = [record(number, unique=unique) for number, unique in enumerate([b"", b"", b"", b"-", b"-", b"-"])]
        store, _ = await self.start()
        await store.commit(jobs, [])
        await store.commit([], [jobs[1], jobs[4]])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(jobs[index]) for index in (0, 2, 3, 5)])

    async def test_functions_apart(self) -> None:
        """
        Jobs of two functions with one unique id are two jobs.
        """
        store, _ = await self.start()
        resize, rotate = record(1, unique=b"u"), record(2, unique=b"u", function=b"rotate")
        await store.commit([resize, rotate], [])
        await store.commit([], [resize])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(rotate)])

    async def test_add_again(self) -> None:
        """
        The same batch may be committed twice: each job is there once, in its
        old place.
        """
        jobs = [record(1), record(2, unique=b"u"), record(3)]
        store, _ = await self.start()
        await store.commit(jobs, [])
        await store.commit([jobs[1], jobs[0]], [])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(job) for job in jobs])

    async def test_attempts(self) -> None:
        """
        A job that is added again with more attempts keeps its place and has
        the new number.
        """
        jobs = [record(1), record(2, unique=b"u"), record(3)]
        store, _ = await self.start()
        await store.commit(jobs, [])
        jobs[0].attempts = 2
        jobs[1].attempts = 1
        await store.commit(jobs[:2], [])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(job) for job in jobs])

    async def test_remove(self) -> None:
        """
        A job that was removed is gone; removing it again, or one that was never
        stored, does nothing.
        """
        jobs = [record(1), record(2, unique=b"u"), record(3)]
        store, _ = await self.start()
        await store.commit(jobs, [])
        await store.commit([], [jobs[1]])
        await store.commit([], [jobs[1], record(7), record(8, unique=b"no such id")])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(jobs[0]), fields_of(jobs[2])])

    async def test_remove_first(self) -> None:
        """
        A batch that removes a job and adds another with its unique id leaves
        the other, at the end.
        """
        old, between, new = record(1, unique=b"u"), record(2), record(3, unique=b"u")
        store, _ = await self.start()
        await store.commit([old, between], [])
        await store.commit([new], [old])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(between), fields_of(new)])

    async def test_snapshot(self) -> None:
        """
        What is stored is the job as it was when it was handed in, not as it is
        when the commit ends.
        """
        job = record(1)
        before = fields_of(job)
        store, _ = await self.start()
        committed = store.commit([job], [])
        job.attempts = 5
        await committed
        await store.close()
        self.assertEqual(await self.stored(), [before])

    async def test_after_replay(self) -> None:
        """
        A job that was replayed can be changed, in its place, and removed.
        """
        jobs = [record(number, unique=unique) for number, unique in enumerate([b"", b"-", b"u", b"v" * 64, b"last"])]
        store, _ = await self.start()
        await store.commit(jobs, [])
        await store.close()
        store, replayed = await self.start()
        for job, again in zip(jobs, replayed):
            job.attempts = again.attempts = 4
        await store.commit(replayed[:4], [])
        await store.commit([], [replayed[4]])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(job) for job in jobs[:4]])
        store, replayed = await self.start()
        await store.commit([], replayed)
        await store.close()
        self.assertEqual(await self.stored(), [])

    async def test_abrupt_end(self) -> None:
        """
        What was committed is there after the server was killed, and so is the
        order; what was removed is not.
        """
        jobs = [record(number) for number in range(10)]
        store, _ = await self.start()
        await store.commit(jobs, [])
        await store.commit([record(10)], jobs[3:6])
        await self.end_abruptly(store)
        left = [*jobs[:3], *jobs[6:], record(10)]
        self.assertEqual(await self.stored(), [fields_of(job) for job in left])

    async def test_workloads(self) -> None:
        """
        Workloads come back byte for byte: empty, with every byte there is, and
        of several megabytes.
        """
        every = bytes(range(256))
        await self.assert_kept(
            [record(1, workload=b""), record(2, workload=every), record(3, workload=every * 20_000), record(4, workload=b"\0")]
        )

    async def test_large_workload(self) -> None:
        """
        A workload of 64 MiB comes back, or is refused with one line that says
        so, and the store goes on with others.
        """
        large, small = record(1, workload=bytes(range(256)) * (LARGE_WORKLOAD // 256)), record(2)
        store, _ = await self.start()
        try:
            await store.commit([large], [])
            kept = [large, small]
        except StoreError as error:
            self.assertNotIn("\n", str(error))
            self.assertRegex(str(error), "large|size|limit|max")
            kept = [small]
        await store.commit([small], [])
        await store.close()
        # (Compared in a way that does not print it.)
        self.assertTrue(await self.stored() == [fields_of(job) for job in kept], "what was stored has changed")

    async def test_long_names(self) -> None:
        """
        Function names of 64, 255 and more bytes, and unique ids of 64, that
        differ in their last byte alone, or in case, or in a blank at the end,
        are different jobs.
        """
        functions = [b"f" * length + last for length in (63, 254, 999) for last in (b"1", b"2", b"a", b"A", b"\xff", b" ", b"")]
        jobs = [
            record(2 * number + half, function=function, unique=b"u" * 63 + b"xX"[half : half + 1])
            for number, function in enumerate(functions)
            for half in (0, 1)
        ]
        await self.assert_kept(jobs)
        store, replayed = await self.start()
        await store.commit([], replayed[1::2])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(job) for job in jobs[::2]])

    async def test_in_use(self) -> None:
        """
        A store that is open refuses to be opened a second time, and says that
        another server uses it; once the first is closed, the second can be
        opened.
        """
        first, _ = await self.start()
        await first.commit([record(1)], [])
        second = self.make_store()
        try:
            await second.open()
        except StoreError as error:
            self.assertIn("in use by another server", str(error))
            self.assertFalse(error.unreachable)
        else:
            self.fail("the store was opened twice")
        await first.commit([record(2)], [])
        await first.close()
        await second.open()
        await second.close()
        self.assertEqual(await self.stored(), [fields_of(record(1)), fields_of(record(2))])

    async def test_replay_waits(self) -> None:
        """
        A replay waits for the Deferred that C{accept} returns before it goes on.
        """
        jobs = [record(number) for number in range(3000)]
        store, _ = await self.start()
        await store.commit(jobs, [])
        await store.close()
        store = self.make_store()
        await store.open()
        replayed: list[JobRecord] = []
        busy = False

        async def take(records: Sequence[JobRecord]) -> None:
            nonlocal busy
            self.assertFalse(busy, "the replay did not wait")
            busy = True
            await sleep(0.01)
            replayed.extend(records)
            busy = False

        self.assertEqual(await store.replay(lambda records: Deferred.fromCoroutine(take(records))), 3000)
        self.assertFalse(busy, "the replay did not wait for the last records")
        await store.close()
        self.assertEqual([job.handle for job in replayed], [job.handle for job in jobs])

    async def test_any_bytes(self) -> None:
        """
        Function names, unique ids and reducers are bytes: quotes, spaces,
        C{-}, NUL, nothing, what is no UTF-8, in any combination.
        """
        parts = [b"", b"-", b"\0", b"a\0b", b"'", b'"', b"\\", b" a b ", b"%s", b"*", b"A", b"a"]
        parts += [b"\xff\xfe", b"\xc3", b"\xc3\xa9", b"e\xcc\x81"]
        jobs: list[JobRecord] = []
        for function in parts:
            for unique in parts:
                jobs.append(record(len(jobs), function=function, unique=unique, reducer=function or None))
        await self.assert_kept(jobs)
        store, replayed = await self.start()
        await store.commit([], replayed[::2])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(job) for job in jobs[1::2]])

    async def test_random_bytes(self) -> None:
        """
        What Hypothesis can think of as function names, unique ids and workloads
        comes back.
        """
        from hypothesis import Phase, given, settings
        from hypothesis import strategies as st

        found: dict[Any, JobRecord] = {}

        @settings(max_examples=200, database=None, phases=[Phase.generate], deadline=None)
        @given(
            function=st.binary(max_size=255),
            unique=st.binary(max_size=64),
            workload=st.binary(max_size=100),
            priority=st.integers(0, 2),
            run_at=st.integers(0, 2**62),
            attempts=st.integers(0, 2**31 - 1),
        )
        def collect(function: bytes, unique: bytes, **fields: Any) -> None:
            job = record(len(found), function=function, unique=unique, **fields)
            # Two jobs of one function and unique id would be one job.
            found[(function, unique) if unique not in (b"", b"-") else job.handle] = job

        collect()
        jobs = list({job.handle: job for job in found.values()}.values())
        await self.assert_kept(jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :])

    async def test_failure(self) -> None:
        """
        A commit that can't be made fails with a StoreError of one line, and
        none of its batch is stored; once the cause is gone, the same store
        commits the same batch.
        """
        kept, removed, added = record(1), record(2), [record(3), record(4)]
        store, _ = await self.start()
        await store.commit([kept, removed], [])
        await self.break_store(store)
        for _ in range(2):
            try:
                await store.commit(added, [removed])
            except StoreError as error:
                self.assertTrue(str(error))
                self.assertNotIn("\n", str(error))
            else:
                self.fail("the commit did not fail")
        await self.mend_store(store)
        await store.commit([record(5)], [])
        await store.commit(added, [removed])
        await store.close()
        self.assertEqual(await self.stored(), [fields_of(job) for job in [kept, record(5), *added]])


class BrokenConnectionContract(QueueStoreContract):
    """
    More tests, for a store that is reached through a network: what becomes of
    a batch when the connection breaks while it is under way.
    """

    def cut_after(self, count: int) -> None:
        """
        See to it that the connection breaks when so many more bytes have been
        sent to the store, and that nobody can connect until L{mend_store}.
        """
        raise NotImplementedError

    def lose_answers(self) -> None:
        """
        See to it that what is sent from now on arrives, but is not answered
        before the connection breaks; and that nobody can connect until
        L{mend_store}.
        """
        raise NotImplementedError

    async def assert_whole(self, trouble: Callable[[], object]) -> None:
        """
        Hold what becomes of a batch in whose midst a trouble comes: it fails;
        none of it is stored then, unless the error says that it may be; and
        committing it again stores it once.
        """
        kept, removed = record(1), record(2, unique=b"u")
        added = [record(number, unique=b"%d" % number if number % 2 else b"") for number in range(3, 300)]
        for again in (True, False):
            store, _ = await self.start()
            await store.commit([kept, removed], added)
            trouble()
            try:
                await store.commit(added, [removed])
            except StoreError as error:
                self.assertNotIn("\n", str(error))
                uncertain = error.uncertain
            else:
                self.fail("the commit did not fail")
            await self.mend_store(store)
            if again:
                await store.commit(added, [removed])
                expected = [[kept, *added]]
            else:
                # As the group commit does with what may be stored.
                await store.commit([], added if uncertain else [])
                # Whether the removal was made is not known either: it is tried again, too.
                expected = [[kept, removed], [kept]] if uncertain else [[kept, removed]]
            await store.close()
            self.assertIn(await self.stored(), [[fields_of(job) for job in jobs] for jobs in expected])

    async def test_cut_in_the_midst(self) -> None:
        """
        The connection breaks when a batch has been sent in part.
        """
        for count in (1, 500, 5000):
            await self.assert_whole(lambda: self.cut_after(count))

    async def test_lost_answer(self) -> None:
        """
        The connection breaks when a batch has arrived, and before its answer.
        """
        await self.assert_whole(self.lose_answers)
