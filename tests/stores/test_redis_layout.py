"""
Tests for L{gearsvc.stores.redislayout} and L{gearsvc.stores.redisreplay}: what stands in Redis, and what is read from it.
"""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import redisreplay
from gearsvc.stores.redislayout import Layout, place_of
from gearsvc.testing import fields_of, record, sleep
from tests.stores.redises import RedisCase, ask

UUID = b"0d8f3a6c-6f0e-11ee-8c99-0242ac120002"


def brief(jobs: list[JobRecord]) -> list[tuple[bytes, bytes, int, bytes]]:
    """
    @return: of each job, what gearmand knows of it.
    """
    return [(job.function, job.unique, int(job.priority), job.workload) for job in jobs]


class LayoutTests(RedisCase):
    """
    What we write.
    """

    async def test_job(self) -> None:
        """
        A job is a hash of two fields at gearmand's key: the workload, and the priority with all else behind it.
        """
        store, _ = await self.opened()
        before = time.time_ns() // 1000
        job = record(7, unique=b"u", priority=0, workload=b"\0one", run_at=2**40, reducer=b"sum", attempts=3, submitted=1.5)
        await store.commit([job], [])
        self.assertEqual(self.keys(), [self.key(b"resize-u")])
        found = self.fields(b"resize-u")
        self.assertEqual(set(found), {b"data", b"priority"})
        self.assertEqual(found[b"data"], b"\0one")
        priority, place, *rest = found[b"priority"].split(b" ")
        self.assertEqual(priority, b"0")
        self.assertTrue(before - 60_000_000 < int(place) < before + 60_000_000)
        self.assertEqual(rest, [b"4", b"%d" % 2**40, b"3", b"1500000", b"8,-1,-1,3", b"H:test:7sum"])
        self.assertEqual(self.ask("TTL", self.key(b"resize-u")), -1)

    async def test_beside(self) -> None:
        """
        Beside the jobs stand the lease, while the store is open, and who had the queue last; gearmand takes neither for a
        job.
        """
        marker = b"gearsvc:marker:" + self.prefix
        pattern = b"*" + self.prefix + b"*"
        store, _ = await self.opened()
        self.assertEqual(sorted(self.ask("KEYS", pattern)), [self.lease, marker])
        self.assertTrue(0 < self.ask("PTTL", self.lease) <= 6000)
        self.assertTrue(self.ask("GET", self.lease).startswith(self.ask("GET", marker) + b" "))
        await store.commit([record(1)], [])
        await store.commit([], [record(1)])
        await store.close()
        self.assertEqual(self.ask("KEYS", pattern), [marker])

    async def test_keys(self) -> None:
        """
        A key is a function and a unique id where gearmand finds both again, and else something that it reads as those of a
        job of nobody's; no two jobs have one.
        """
        store, _ = await self.opened()
        for job, key in [
            (record(1), b"resize-gearsvc:H:test:1"),
            (record(2, unique=b"-"), b"resize-gearsvc:H:test:2"),
            (record(3, unique=b"a-b"), b"resize-a-b"),
            (record(4, unique=b"a*b"), b"resize-gearsvc:H:test:4"),
            (record(5, unique=b"a\0b"), b"resize-gearsvc:H:test:5"),
            (record(6, unique=b"\xff\xfe"), b"resize-\xff\xfe"),
            (record(7, unique=b"u" * 63), b"resize-" + b"u" * 63),
            (record(8, unique=b"u" * 64), b"resize-gearsvc:H:test:8"),
            (record(9, unique=b"gearsvc:H:test:1"), b"resize-gearsvc:H:test:9"),
            (record(10, function=b"a-b", unique=b"u"), b"gearsvc:a%2Db-u"),
            (record(11, function=b"a\0b%", unique=b"u"), b"gearsvc:a%00b%25-u"),
            (record(12, function=b"r*\xff", unique=b"u"), b"r*\xff-u"),
            (record(13, function=b"", unique=b"u"), b"gearsvc:-u"),
            (record(14, function=b"gearsvc:a%2Db", unique=b"u"), b"gearsvc:gearsvc:a%252Db-u"),
            (record(15, function=b"f" * 511, unique=b"u"), b"f" * 511 + b"-u"),
        ]:
            await store.commit([job], [])
            self.assertEqual(self.keys(), [self.key(key)])
            [again] = await self.glimpse(store)
            self.assertEqual(fields_of(again), fields_of(job))
            await store.commit([], [job])
            self.assertEqual(self.keys(), [])
        long = [record(number, function=b"f" * 8000 + b"%d" % number, unique=b"u") for number in range(2)]
        await store.commit(long, [])
        self.assertEqual([len(key) - len(self.prefix) for key in self.keys()], [len(b"-gearsvc:") + 32 + len(b"-u")] * 2)
        await store.close()
        await self.assert_stored(*long)

    async def glimpse(self, store: object) -> list[JobRecord]:
        """
        @return: what an open store would replay now.
        """
        jobs: list[JobRecord] = []
        await store.replay(jobs.extend)  # type: ignore[attr-defined]
        return jobs

    async def test_any_combination(self) -> None:
        """
        Names with what keys, patterns and gearmand give a meaning to, in any combination, are as many jobs, and each can be
        changed and removed after a restart.
        """
        parts = [b"", b"-", b"*", b"\0", b"a-b", b"a*", b"a\0", b"?", b"[a]", b"^", b"\\", b"gearsvc:", b"%2D", b"\xff\xc3", UUID]
        jobs = [
            record(number, function=function, unique=unique)
            for number, (function, unique) in enumerate((function, unique) for function in parts for unique in parts)
        ]
        store, _ = await self.opened()
        await store.commit(jobs, [])
        self.assertEqual(len(self.keys()), len(jobs))
        await store.close()
        store, again = await self.opened()
        self.assertEqual([fields_of(job) for job in again], [fields_of(job) for job in jobs])
        for job in again:
            job.attempts = 1
        await store.commit(again[::2], again[1::2])
        await store.close()
        for job in jobs:
            job.attempts = 1
        await self.assert_stored(*jobs[::2])

    async def test_prefixes(self) -> None:
        """
        A prefix may hold what patterns give a meaning to, and the jobs of another one are not seen, though one begins as the
        other does.
        """
        store, _ = await self.opened()
        await store.commit([record(1)], [])
        await store.close()
        first = self.prefix
        for number, prefix in enumerate([first + b"x", first[:-1] + b"?", b"[a-z]" + first, b"g" + first, b"\\*^" + first], 2):
            self.prefix = prefix
            store, jobs = await self.opened()
            self.assertEqual(jobs, [])
            await store.commit([record(number)], [])
            await store.close()
            await self.assert_stored(record(number))
        self.prefix = first
        await self.assert_stored(record(1))

    def test_own_keys(self) -> None:
        """
        What is not a job is never at a key that begins with the prefix, whatever that is.
        """
        for prefix in (b"_gear_", b"g", b"gearsvc:", b"gearsvc:lease:", b"~", b"~gearsvc:", b"~gearsvc:lease:"):
            layout = Layout(prefix)
            for key in (layout.lease, layout.marker):
                self.assertFalse(key.startswith(prefix), key)

    async def test_place(self) -> None:
        """
        A job that is stored again keeps its place and has all else anew; one that was removed in the same batch gets a new
        place.
        """
        store, _ = await self.opened()
        jobs = [record(number, unique=b"u%d" % number) for number in range(4)]
        await store.commit(jobs, [])

        def places() -> list[int]:
            found = [place_of(self.fields(b"resize-u%d" % number)[b"priority"]) for number in range(4)]
            return [place for place, _ in filter(None, found)]

        before = places()
        self.assertEqual(before, sorted(set(before)))
        jobs[1].attempts, jobs[1].run_at, jobs[1].workload = 5, 2**33, b"another"
        await store.commit([jobs[1]], [])
        await store.commit([jobs[1], jobs[0]], [jobs[2]])
        new = record(9, unique=b"u2")
        await store.commit([new], [jobs[2]])
        after = places()
        self.assertEqual([after[0], after[1], after[3]], [before[0], before[1], before[3]])
        self.assertGreater(after[2], max(before))
        await store.close()
        await self.assert_stored(jobs[0], jobs[1], jobs[3], new)

    async def test_clock_set_back(self) -> None:
        """
        What is added after a replay comes after what was replayed, though the clock was set back; and so without a replay, if
        it was not.
        """
        store, _ = await self.opened()
        store._place = 2**60
        await store.commit([record(1)], [])
        await store.close()
        store, _ = await self.opened()
        await store.commit([record(2)], [])
        await store.close()
        await self.assert_stored(record(1), record(2))
        self.ask("DEL", *self.keys())
        for number in (3, 4):
            store = self.make()
            await store.open()
            await store.commit([record(number)], [])
            await store.close()
        await self.assert_stored(record(3), record(4))


class GearmandsTests(RedisCase):
    """
    What gearmand has written.
    """

    async def test_all_shapes(self) -> None:
        """
        All three shapes are read: the workload alone, with a priority, and with function and unique id as well.  None has a
        handle.  The oldest shape comes first, and of one shape shorter keys.
        """
        self.ask("SET", self.key(b"resize-a"), b"\0one\xff")
        self.put(b"resize-bb", data=b"", priority=b"0")
        self.put(b"a-b-ccc", data=b"three", priority=b"2", function=b"a-b", unique=b"ccc")
        self.ask("SET", self.key(b"resize-dddd"), b"")
        self.put(b"resize-eeeee", data=b"five", priority=b"1")
        jobs = await self.replayed()
        self.assertEqual(
            brief(jobs),
            [
                (b"resize", b"a", 1, b"\0one\xff"),
                (b"resize", b"dddd", 1, b""),
                (b"a-b", b"ccc", 2, b"three"),
                (b"resize", b"bb", 0, b""),
                (b"resize", b"eeeee", 1, b"five"),
            ],
        )
        self.assertEqual({job.handle for job in jobs}, {b""})
        self.assertEqual({(job.run_at, job.attempts, job.reducer) for job in jobs}, {(0, 0, None)})

    async def test_first(self) -> None:
        """
        What gearmand has stored comes before what we have: it was there when we came.
        """
        store, _ = await self.opened()
        await store.commit([record(1, unique=b"a")], [])
        self.put(b"resize-longer-key", data=b"theirs", priority=b"1")
        await store.close()
        self.assertEqual([job.unique for job in await self.replayed()], [b"longer-key", b"a"])

    async def test_changed_and_removed(self) -> None:
        """
        Each can be changed, which writes it as ours in its place, at its key, and then removed.
        """
        self.ask("SET", self.key(b"resize-a"), b"one")
        self.put(b"resize-bb", data=b"two", priority=b"0")
        self.put(b"a-b-ccc", data=b"three", priority=b"2", function=b"a-b", unique=b"ccc")
        self.put(b"resize-", data=b"four", priority=b"1")
        self.put(b"resize-x*", data=b"five", priority=b"1")
        before = self.keys()
        store, jobs = await self.opened()
        for number, job in enumerate(jobs):
            job.handle, job.attempts = b"H:test:%d" % number, number
        await store.commit(jobs, [])
        self.assertEqual(self.keys(), before)
        self.assertEqual({self.ask("TYPE", key) for key in before}, {b"hash"})
        await store.close()
        store, again = await self.opened()
        key = {job.handle: fields_of(job) for job in jobs}
        self.assertEqual({job.handle: fields_of(job) for job in again}, key)
        await store.commit([record(9)], [])
        for job in again:
            job.attempts = 7
        await store.commit(again, [])
        self.assertEqual(len(self.keys()), len(before) + 1)
        await store.commit([], again)
        await store.close()
        await self.assert_stored(record(9))

    async def test_rewritten(self) -> None:
        """
        A job of ours that gearmand has run and stored anew is gearmand's: it has lost what gearmand does not keep.
        """
        store, _ = await self.opened()
        await store.commit([record(1), record(2, unique=b"u", attempts=4)], [])
        self.ask("HMSET", self.key(b"resize-gearsvc:H:test:1"), "data", "new", "priority", "2")
        self.ask("HMSET", self.key(b"resize-u"), "data", "new, too", "priority", "0")
        await store.close()
        jobs = await self.replayed()
        self.assertEqual(brief(jobs), [(b"resize", b"u", 0, b"new, too"), (b"resize", b"", 2, b"new")])
        self.assertEqual({job.handle for job in jobs}, {b""})

    async def test_uuids(self) -> None:
        """
        The unique id that libgearman makes up is found whole, whatever the function is.  Of other keys with more than one
        dash the function ends at the first, as gearmand has it, and the log says so.
        """
        self.put(b"a-b-" + UUID, data=b"one", priority=b"1")
        self.put(b"resize-" + UUID, data=b"two", priority=b"1")
        self.put(b"c-d-e", data=b"three", priority=b"1")
        self.assertEqual(
            sorted(brief(await self.replayed())),
            [(b"a-b", UUID, 1, b"one"), (b"c", b"d-e", 1, b"three"), (b"resize", UUID, 1, b"two")],
        )
        [(level, text)] = self.log.lines
        self.assertEqual(level, "notice")
        self.assertIn(f"of 1, such as {self.prefix.decode()}-c-d-e.", text)

    async def test_odd_priorities(self) -> None:
        """
        A priority that is no number, or missing, is the normal one.
        """
        for number, priority in enumerate([b"0", b" 2", b"x", b"", b"1\0"]):
            self.put(b"resize-%d" % number, data=b"", priority=priority)
        self.ask("HSET", self.key(b"resize-none"), "data", "")
        self.assertEqual([int(job.priority) for job in await self.replayed()], [0, 2, 1, 1, 1, 1])

    async def test_end_of_string(self) -> None:
        """
        The NUL with which some versions of gearmand end a unique id is not part of it; removing the job finds its key.
        """
        self.put(b"resize-u\0", data=b"one", priority=b"1")
        store, jobs = await self.opened()
        self.assertEqual(brief(jobs), [(b"resize", b"u", 1, b"one")])
        jobs[0].handle = b"H:test:1"
        await store.commit([], jobs)
        self.assertEqual(self.keys(), [])

    async def test_strangers(self) -> None:
        """
        Whatever else begins with the prefix is left alone, and the log says so once; what does not is not looked at.
        """
        self.ask("RPUSH", self.key(b"resize-list"), "one", "two")
        self.ask("SADD", self.key(b"resize-set"), "one")
        self.ask("SET", self.key(b"nodash"), "one")
        self.ask("HSET", self.key(b"resize-other"), "name", "value")
        self.ask("SET", self.prefix + b"other", "one")
        store, jobs = await self.opened()
        self.assertEqual(jobs, [])
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))
        self.assertEqual(len(self.keys()), 6)
        self.assertEqual([level for level, _ in self.log.lines], ["notice", "notice"])
        for _, text in self.log.lines:
            self.assertIn("are left alone: 4, such as", text)


class PiecesTests(RedisCase):
    """
    A replay in pieces.
    """

    def setUp(self) -> None:
        """
        Have them small.
        """
        super().setUp()
        for name, value in (("LIST_KEYS", 5), ("REPLAY_ROWS", 7), ("REPLAY_BYTES", 100), ("NEIGHBOURS", 3)):
            self.patch(redisreplay, name, value)

    async def test_pieces(self) -> None:
        """
        Whatever the pieces are, and though the table of keys grows meanwhile, all jobs come once, in their order, and no
        piece is larger than it may be; of one job each that is larger by itself.
        """
        ours = [record(number, workload=bytes(number % 50 * 4)) for number in range(200)]
        store, _ = await self.opened()
        await store.commit(ours, [])
        await store.close()
        for number in range(30):
            self.put(b"resize-%03d" % number, data=b"theirs", priority=b"1")
            self.ask("SET", self.key(b"resize-%04d" % number), b"theirs")
        store = self.make()
        await store.open()
        pieces: list[list[JobRecord]] = []

        def accept(records: object) -> None:
            assert isinstance(records, list)
            pieces.append(records)
            # Others use Redis, too.
            ask(self.redis.port, *(("SET", b"other%b%d" % (self.prefix, len(pieces) * 50 + n), "", "EX", 20) for n in range(50)))

        self.assertEqual(await store.replay(accept), 260)
        jobs = [job for piece in pieces for job in piece]
        self.assertEqual([job.unique for job in jobs[:60]], [b"%04d" % n for n in range(30)] + [b"%03d" % n for n in range(30)])
        self.assertEqual([fields_of(job) for job in jobs[60:]], [fields_of(job) for job in ours])
        for piece in pieces:
            self.assertTrue(len(piece) == 1 or sum(len(job.workload) for job in piece) <= 100)
            self.assertLessEqual(len(piece), 7)

    async def test_gone_meanwhile(self) -> None:
        """
        A job that somebody removes while the replay goes on is not replayed; nor does one that accept refuses hold anything
        up.
        """
        jobs = [record(number, unique=b"%d" % number) for number in range(50)]
        store, _ = await self.opened()
        await store.commit(jobs, [])
        found: list[JobRecord] = []

        def accept(records: list[JobRecord]) -> None:
            found.extend(records)
            self.ask("DEL", self.key(b"resize-48"))

        self.assertEqual(await store.replay(accept), 49)
        self.assertEqual([job.unique for job in found], [b"%d" % number for number in range(50) if number != 48])

        def refuse(records: list[JobRecord]) -> None:
            raise LookupError

        await self.assertFailure(store.replay(refuse), LookupError)
        await store.commit([], jobs)
        self.assertEqual(self.keys(), [])

    async def test_broken(self) -> None:
        """
        A replay whose connection breaks fails with a StoreError, which is for certain, and can be made again.
        """
        jobs = [record(number) for number in range(100)]
        store, _ = await self.opened()
        await store.commit(jobs, [])

        async def cut() -> None:
            self.wire.cut()

        error = await self.assert_fails(
            store.replay(lambda records: Deferred.fromCoroutine(cut())), "can't be reached"  # type: ignore[arg-type]
        )
        self.assertTrue(error.unreachable)
        self.wire.mend()
        while True:
            again: list[JobRecord] = []
            try:
                await store.replay(again.extend)
                break
            except StoreError:
                self.assertEqual(again, [])
                await sleep(0.05)
        self.assertEqual([fields_of(job) for job in again], [fields_of(job) for job in jobs])


class FormTests(SynchronousTestCase):
    """
    Keys and fields, without Redis.
    """

    names = st.one_of(st.binary(max_size=70), st.sampled_from([b"", b"-", b"*", b"\0", b"a-b", b"gearsvc:", UUID, b"f" * 600]))

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.tuples(names, names, st.booleans()), max_size=6),
        st.integers(0, 2**62),
        st.integers(0, 2**31),
        st.integers(0, 2**50),
    )
    def test_there_and_back(
        self, drawn: list[tuple[bytes, bytes, bool]], run_at: int, attempts: int, submitted: int
    ) -> None:
        """
        Whatever a job is, reading gives back what was written, at a key that is no other job's; and the record leads to that
        key.
        """
        layout = Layout(b"_gear_")
        keys: dict[bytes, tuple[bytes, bytes]] = {}
        for number, (function, unique, reduces) in enumerate(drawn):
            job = record(
                number, function=function, unique=unique, run_at=run_at, attempts=attempts, submitted=submitted / 1e6,
                reducer=unique if reduces else None,
            )  # fmt: skip
            key, priority = layout.write(job, number + 1)
            self.assertEqual(layout.key_of(job), key)
            self.assertEqual(place_of(priority), (number + 1, len(job.workload)))
            again = layout.read(key, job.workload, priority)
            self.assertEqual(fields_of(again), fields_of(job))
            self.assertEqual(layout.key_of(again), key)
            self.assertTrue(layout.is_key(key))
            identity = (function, unique)
            if key in keys:
                self.assertEqual(keys[key], identity)
            keys[key] = identity

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=60), st.binary(max_size=80), st.binary(max_size=10))
    def test_anything_is_read(self, key: bytes, priority: bytes, data: bytes) -> None:
        """
        Whatever stands at a key, and in its priority, is some job, that can be found again when it has a handle.
        """
        layout = Layout(b"_gear_")
        key = b"_gear_-f-" + key
        job = layout.read(key, data, priority)
        self.assertEqual(job.workload, data)
        if not job.handle:
            job.handle = b"H:new:1"
        self.assertEqual(layout.key_of(job), key)

    def test_cut_short(self) -> None:
        """
        A field of ours that was cut short, or has more behind it, is taken for gearmand's, with its priority.
        """
        layout = Layout(b"_gear_")
        key, priority = layout.write(record(1, function=b"a-b", unique=b"*", priority=2, reducer=b"sum"), 5)
        for changed in (priority[:-1], priority + b"x", priority[:20]):
            job = layout.read(key, b"", changed)
            self.assertEqual((job.handle, int(job.priority), job.reducer), (b"", 2, None))
