"""
Tests for L{gearsvc.stores.memcached}: what stands in memcached, and what becomes of it when memcached forgets or is full.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import memcached, memcachedclient, memcachedlease, memcachedreplay, memcachedsegments, reconnecting
from gearsvc.stores.memcached import MemcachedStore
from gearsvc.stores.memcachedclient import Address
from gearsvc.stores.memcachedindex import Index, read_segment
from gearsvc.testing import fields_of, record, sleep
from tests.running import AT_ONCE, HOST, ROOT
from tests.servers import Memcached
from tests.stores.logs import Log
from tests.stores.memcacheds import ask, keys, put, take

INDEX = b"gearsvc:gear_index"


class StoreCase(TestCase):
    """
    A test with a memcached.

    @cvar settings: its options; with none, it is shared.
    """

    settings: Sequence[str] = ()

    def setUp(self) -> None:
        """
        Start memcached, empty.
        """
        self.stores: list[MemcachedStore] = []
        self.patch(reconnecting, "LAST_PAUSE", 0.2)
        if self.settings:
            self.database = Memcached(*self.settings)
            self.addCleanup(self.database.end)
            self.database.start()
        else:
            self.database = Memcached.shared()
            ask(self.database.port, b"flush_all")
        self.log = Log()
        self.patch(memcached, "log", self.log)
        self.patch(memcachedreplay, "log", self.log)

    async def tearDown(self) -> None:
        """
        Close what the test has left open.
        """
        for store in self.stores:
            await store.close()

    async def start(self, prefix: bytes = b"gear_") -> tuple[MemcachedStore, list[JobRecord]]:
        """
        @return: an open store, and what it replayed.
        """
        store = MemcachedStore([Address(HOST, self.database.port)], prefix)
        self.stores.append(store)
        await store.open()
        jobs: list[JobRecord] = []
        self.assertEqual(await store.replay(jobs.extend), len(jobs))
        return store, jobs

    async def stored(self) -> list[JobRecord]:
        """
        @return: what a server that starts now would replay.
        """
        store, jobs = await self.start()
        await store.close()
        return jobs

    async def assert_refused(self, committed: Deferred[None], *words: str) -> None:
        """
        Hold that a commit fails, for certain, with one line that has these words.
        """
        try:
            await committed
        except StoreError as error:
            self.assertNotIn("\n", str(error))
            for word in words:
                self.assertIn(word, str(error))
            self.assertFalse(error.uncertain)
        else:
            self.fail("the commit did not fail")


class LayoutTests(StoreCase):
    """
    What stands in memcached.
    """

    async def test_items(self) -> None:
        """
        A job is an item as gearmand writes it, with the priority for its flags and without an end; beside it stand the index,
        its segment and, while the store is open, the lease; nothing is left of a job that is over.
        """
        store, _ = await self.start()
        jobs = [record(1, unique=b"u", priority=0, workload=b"\0one"), record(2, priority=2), record(3, function=b"a-b")]
        await store.commit(jobs, [])
        port = self.database.port
        self.assertEqual(take(port, b"gear_resize-u"), (0, b"\0one"))
        self.assertEqual(take(port, b"gear_resize-gearsvc:H:test:2"), (2, b"workload 2"))
        self.assertEqual(take(port, INDEX), (0, b"1 3 1-1"))
        listed = keys(port)
        [hidden] = [key for key in listed if key.startswith(b"gear_gearsvc%3A")]
        self.assertNotIn(b"-", hidden)
        self.assertEqual(
            set(listed) - {hidden},
            {b"gear_resize-u", b"gear_resize-gearsvc%3AH%3Atest%3A2"}
            | {b"gearsvc%3Agear_" + name for name in (b"1", b"index", b"lease")},
        )
        lines = ask(port, b"lru_crawler metadump all")
        self.assertEqual({re.search(rb"exp=(\S+)", line)[1] for line in lines if line.startswith(b"key=gear_")}, {b"-1"})
        await store.commit([], jobs)
        await store.close()
        self.assertEqual(keys(port), [b"gearsvc%3Agear_1", b"gearsvc%3Agear_index"])
        self.assertEqual(take(port, INDEX), (0, b"1 3 1-1"))

    async def test_gearmands(self) -> None:
        """
        Items of gearmand's are jobs without a handle, in the order in which they were stored, with the unique id that
        libgearman made up whole; what is no job's is left alone.
        """
        uuid = b"0d8f3a6c-6f0e-11ee-8c99-0242ac120002"
        for key, value, flags in [
            (b"gear_resize-u", b"\0one", 0),
            (b"gear_resize-", b"two", 2),
            (b"gear_re-size-" + uuid, b"", 1),
            (b"gear_resize--", b"three", 7),
            (b"gear_a\xc3\xa9%-u", b"four", 1),
            (b"gear_nothing", b"?", 1),
            (b"other_a-b", b"?", 1),
        ]:
            put(self.database.port, key, value, flags)
        before = keys(self.database.port)
        jobs = await self.stored()
        self.assertEqual(
            [(job.handle, job.function, job.unique, job.priority, job.workload) for job in jobs],
            [
                (b"", b"resize", b"u", 0, b"\0one"),
                (b"", b"resize", b"", 2, b"two"),
                (b"", b"re-size", uuid, 1, b""),
                (b"", b"resize", b"-", 7, b"three"),
                (b"", b"a\xc3\xa9%", b"u", 1, b"four"),
            ],
        )
        self.assertEqual([key for key in keys(self.database.port) if not key.startswith(b"gearsvc")], before)

    async def test_listed_twice(self) -> None:
        """
        A job of gearmand's is one job, though memcached may list an item twice that it moves meanwhile.
        """
        list_keys = memcachedclient.Servers.list_keys

        async def twice(servers: Any, index: int, *arguments: Any) -> bool:
            return await list_keys(servers, index, *arguments) and await list_keys(servers, index, *arguments)

        self.patch(memcachedclient.Servers, "list_keys", twice)
        for unique in (b"a", b"b"):
            put(self.database.port, b"gear_resize-" + unique, b"of " + unique, 1)
        self.assertEqual([job.unique for job in await self.stored()], [b"a", b"b"])

    async def test_gearmands_are_found_again(self) -> None:
        """
        Each of gearmand's jobs can be changed, keeps its place when others come, and can be removed, whatever its handle is by
        then.
        """
        for unique in (b"", b"u", b"-", b"a-b"):
            put(self.database.port, b"gear_resize-" + unique, b"of " + unique, 1)
        store, jobs = await self.start()
        for number, job in enumerate(jobs):
            job.handle = b"H:new:%d" % number
            job.attempts = number
        await store.commit([record(9), *jobs[1:]], [])
        await store.close()
        again = await self.stored()
        jobs[0].handle = b""
        self.assertEqual([fields_of(job) for job in again], [fields_of(job) for job in [*jobs, record(9)]])
        store, again = await self.start()
        again[0].handle = b"H:new:0"
        await store.commit([], again)
        await store.close()
        self.assertEqual(keys(self.database.port), [b"gearsvc%3Agear_1", b"gearsvc%3Agear_index"])

    async def test_rewritten_by_gearmand(self) -> None:
        """
        A job that gearmand has stored anew under the key of one of ours is gearmand's.
        """
        store, _ = await self.start()
        await store.commit([record(1, unique=b"u", reducer=b"sum", attempts=3), record(2)], [])
        await store.close()
        put(self.database.port, b"gear_resize-u", b"another", 2)
        jobs = await self.stored()
        self.assertEqual(
            [(job.handle, job.unique, job.priority, job.workload, job.reducer, job.attempts) for job in jobs],
            [(b"", b"u", 2, b"another", None, 0), (b"H:test:2", b"", 1, b"workload 2", None, 0)],
        )

    async def test_run_by_gearmand(self) -> None:
        """
        Jobs of ours that gearmand has run meanwhile are gone from the index, with one line in the log that is no error.
        """
        store, _ = await self.start()
        await store.commit([record(number) for number in range(5)], [])
        await store.close()
        for number in (1, 3):
            ask(self.database.port, b"delete gear_resize-gearsvc:H:test:%d" % number)
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:%d" % number for number in (0, 2, 4)])
        [(level, line)] = self.log.lines
        self.assertEqual(level, "notice")
        self.assertIn("2 jobs that were stored are no longer in memcached", line)
        self.assertEqual(len(await self.stored()), 3)
        self.assertEqual(len(self.log.lines), 1)

    async def test_prefixes(self) -> None:
        """
        Queues of two prefixes live side by side.
        """
        first, _ = await self.start()
        second, _ = await self.start(b"gear%_")
        await first.commit([record(1)], [])
        await second.commit([record(2)], [])
        await first.close()
        await second.close()
        for prefix, number in ((b"gear_", 1), (b"gear%_", 2)):
            store, jobs = await self.start(prefix)
            self.assertEqual([fields_of(job) for job in jobs], [fields_of(record(number))])
            await store.close()

    async def test_large_pieces(self) -> None:
        """
        A replay gives few jobs at a time if they are large, ours and gearmand's.
        """
        self.patch(memcachedreplay, "REPLAY_BYTES", 1000)
        store, _ = await self.start()
        await store.commit([record(number, workload=bytes(400)) for number in range(8)], [])
        await store.close()
        for number in range(4):
            put(self.database.port, b"gear_resize-%d" % number, bytes(400), 1)
        store = MemcachedStore([Address(HOST, self.database.port)])
        self.stores.append(store)
        await store.open()
        pieces: list[int] = []
        await store.replay(lambda records: pieces.append(len(records)))
        self.assertEqual(pieces, [3, 3, 2, 3, 1])

    async def test_half_stored(self) -> None:
        """
        Of a batch whose number did not get there, nothing is replayed, and nothing is left; later batches do not bring it back.
        """
        store, _ = await self.start()
        await store.commit([record(1)], [])
        await store.commit([record(2, unique=b"half"), record(3)], [])
        await store.close()
        port = self.database.port
        put(port, INDEX, b"1 1 1-1")
        self.assertEqual([fields_of(job) for job in await self.stored()], [fields_of(record(1))])
        self.assertEqual(self.log.lines, [])
        self.assertNotIn(b"gear_resize-half", keys(port))
        store, _ = await self.start()
        await store.commit([record(4)], [])
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:1", b"H:test:4"])

    async def test_foreign_index(self) -> None:
        """
        Something else under the index' key is refused, with its name.
        """
        put(self.database.port, INDEX, b"something else")
        store = MemcachedStore([Address(HOST, self.database.port)])
        self.stores.append(store)
        await store.open()
        await self.assert_refused(store.replay(lambda records: None), "gearsvc:gear_index is not the index")

    async def test_killed(self) -> None:
        """
        What a process committed before it was killed (SIGKILL) is there, and its lease is not in the way.
        """
        program = (
            "import os, signal\n"
            "from twisted.internet import task\n"
            "from gearsvc.stores.memcached import MemcachedStore\n"
            "from gearsvc.stores.memcachedclient import Address\n"
            "from gearsvc.testing import record\n"
            "async def main(reactor):\n"
            f"    store = MemcachedStore([Address('{HOST}', {self.database.port})])\n"
            "    await store.open()\n"
            "    await store.replay(lambda records: None)\n"
            "    jobs = [record(number) for number in range(100)]\n"
            "    await store.commit(jobs, [])\n"
            "    await store.commit([], jobs[:50])\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "task.react(main)\n"
        )
        ended = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.assertEqual(ended.returncode, -signal.SIGKILL)
        jobs = await self.stored()
        self.assertEqual([fields_of(job) for job in jobs], [fields_of(record(number)) for number in range(50, 100)])


class IndexTests(StoreCase):
    """
    The index stays whole, and small.
    """

    def setUp(self) -> None:
        """
        Have small segments.
        """
        super().setUp()
        self.patch(memcachedsegments, "SEGMENT_BYTES", 2000)
        self.patch(memcachedsegments, "SPARE_LINES", 100)

    def index(self) -> Index:
        """
        What stands in memcached.
        """
        found = take(self.database.port, INDEX)
        assert found is not None
        return Index.read(found[1])

    def segments(self) -> dict[int, bytes]:
        """
        What the segments of the index hold; others do not exist.
        """
        listed = {int(key[15:]) for key in keys(self.database.port) if key[15:].isdigit() and key.startswith(b"gearsvc%3A")}
        self.assertEqual(listed, set(self.index().segments))
        return {number: take(self.database.port, b"gearsvc:gear_%d" % number)[1] for number in listed}

    async def test_queue(self) -> None:
        """
        Segments whose jobs are over go, while those at the end grow.
        """
        store, _ = await self.start()
        jobs: list[JobRecord] = []
        for number in range(0, 1000, 50):
            fresh = [record(number + each) for each in range(50)]
            await store.commit(fresh, jobs)
            jobs = fresh
            self.assertLess(sum(map(len, self.segments().values())), 20_000)
        await store.close()
        self.assertEqual(await self.order(), list(range(950, 1000)))

    async def order(self) -> list[int]:
        """
        The numbers of the jobs in a replay.
        """
        return [int(job.handle[7:]) for job in await self.stored()]

    async def test_few_remain(self) -> None:
        """
        Where some jobs of each segment stay, segments are rewritten, and the order is kept: also of jobs that were changed, and
        that are changed and removed afterwards.
        """
        store, _ = await self.start()
        left: list[JobRecord] = []
        for number in range(0, 3000, 100):
            fresh = [record(number + each) for each in range(100)]
            await store.commit(fresh, [])
            fresh[50].attempts = 1
            await store.commit([fresh[50]], [job for job in fresh if job is not fresh[50]])
            left.append(fresh[50])
        # The last of them may be under way.
        await store.commit([], [])
        texts = self.segments()
        self.assertEqual(self.index().jobs, 30)
        lines = sum(read_segment(text, 2**60).lines for text in texts.values())
        self.assertLess(lines, 100 + 2 * 30 + 100)
        left[0].attempts = 2
        await store.commit([left[0]], [left[7]])
        await store.close()
        jobs = await self.stored()
        self.assertEqual([fields_of(job) for job in jobs], [fields_of(job) for job in left if job is not left[7]])

    async def test_changed_again_and_again(self) -> None:
        """
        A job that loses worker after worker does not make its segment grow for ever.
        """
        store, _ = await self.start()
        job, other = record(1), record(2)
        await store.commit([job, other], [])
        for attempt in range(300):
            job.attempts = attempt
            await store.commit([job], [])
        self.assertLess(max(map(len, self.segments().values())), 12_000)
        await store.close()
        self.assertEqual([fields_of(job) for job in await self.stored()], [fields_of(job), fields_of(other)])

    async def test_index_evicted(self) -> None:
        """
        If the index is gone and the segments are there, all is found.
        """
        store, _ = await self.start()
        await store.commit([record(number) for number in range(100)], [])
        await store.close()
        ask(self.database.port, b"delete ", INDEX)
        self.assertEqual(await self.order(), list(range(100)))
        self.assertGreater(len(self.segments()), 3)

    async def test_segment_evicted(self) -> None:
        """
        If a segment is gone, its jobs are found like gearmand's, but for those that gearmand can't name: how many these are
        stands in the log.
        """
        store, _ = await self.start()
        jobs = [record(number, unique=b"u%d" % number) for number in range(100)]
        await store.commit([*jobs, record(100, function=b"a b")], [])
        await store.close()
        for number in self.index().segments[2:]:
            ask(self.database.port, b"delete gearsvc:gear_%d" % number)
        found = await self.stored()
        self.assertEqual(sorted(job.unique for job in found), sorted(job.unique for job in jobs))
        self.assertTrue(any(job.handle == b"" for job in found))
        self.assertTrue(any(job.handle for job in found))
        [(_, line)] = self.log.lines
        self.assertIn("1 jobs", line)

    async def test_evicted_while_running(self) -> None:
        """
        A server whose segments are evicted under it goes on, and says so once; what it stores then, and what it changes, is
        stored well.
        """
        store, _ = await self.start()
        jobs = [record(number, unique=b"u%d" % number) for number in range(100)]
        await store.commit(jobs, [])
        for number in self.segments():
            ask(self.database.port, b"delete gearsvc:gear_%d" % number)
        jobs[50].attempts = 5
        await store.commit([record(200)], jobs[:10])
        await store.commit([jobs[50], record(201)], jobs[80:])
        self.assertEqual([level for level, _ in self.log.lines], ["error"])
        self.assertIn("has lost a part of what it held", self.log.lines[0][1])
        await store.close()
        found = {job.handle or job.unique: job for job in await self.stored()}
        self.assertEqual(len(found), 72)
        self.assertEqual(fields_of(found[jobs[50].handle]), fields_of(jobs[50]))
        self.assertEqual({b"H:test:200", b"H:test:201"} - set(found), set())


class ForgetfulTests(StoreCase):
    """
    A memcached of the test's own, which is restarted, or emptied.
    """

    settings = ("-m", "64", "-I", "1m")

    async def test_restarted(self) -> None:
        """
        After a restart of memcached the store goes on, and says what is lost; nothing is wrong with jobs that were stored
        before: they can be changed, which stores them again, and removed.
        """
        store, _ = await self.start()
        jobs = [record(number) for number in range(10)]
        await store.commit(jobs, [])
        self.database.kill()
        await sleep(0.1)
        await self.assert_refused(store.commit([record(20)], []), "memcached at", "cannot be reached")
        self.database.start()
        await sleep(0.3)
        jobs[3].attempts = 1
        await store.commit([record(21), jobs[3]], jobs[5:])
        self.assertEqual([level for level, _ in self.log.lines], ["error"])
        self.assertIn("was restarted and has lost what it held", self.log.lines[0][1])
        await store.commit([], [jobs[0]])
        await store.close()
        self.assertEqual([fields_of(job) for job in await self.stored()], [fields_of(record(21)), fields_of(jobs[3])])

    async def test_flushed(self) -> None:
        """
        So it is when somebody empties memcached.
        """
        store, _ = await self.start()
        jobs = [record(number) for number in range(10)]
        await store.commit(jobs, [])
        ask(self.database.port, b"flush_all")
        await store.commit([record(21)], jobs[5:])
        await store.close()
        self.assertEqual([level for level, _ in self.log.lines], ["error"])
        self.assertEqual([fields_of(job) for job in await self.stored()], [fields_of(record(21))])

    async def test_closed_while_it_hangs(self) -> None:
        """
        A server that ends does not wait for a memcached that hangs.
        """
        self.patch(memcached, "RELEASE_SECONDS", 0.3)
        store, _ = await self.start()
        self.database.pause()
        self.addCleanup(self.database.resume)
        began = time.monotonic()
        await store.close()
        self.assertLess(time.monotonic() - began, AT_ONCE)

    async def test_taken_over(self) -> None:
        """
        A server that finds its queue taken over by another says so, and commits nothing any more.
        """
        store, _ = await self.start()
        await store.commit([record(1)], [])
        self.database.kill()
        self.database.start()
        put(self.database.port, b"gearsvc:gear_lease", b"word 7 elsewhere 12 34 process 12 on elsewhere")
        await sleep(0.1)
        for _ in range(2):
            await self.assert_refused(store.commit([record(2)], []), "taken over by another server, process 12 on elsewhere")
            await sleep(0.5)

    async def test_renewed(self) -> None:
        """
        An idle server keeps its queue, also when memcached was restarted meanwhile.
        """
        self.patch(memcachedlease, "LEASE_SECONDS", 2)
        self.patch(memcachedlease, "RENEW_SECONDS", 0.2)
        await self.start()
        self.database.kill()
        self.database.start()
        await sleep(2.5)
        try:
            await self.start()
        except StoreError as error:
            self.assertIn("in use by another server", str(error))
        else:
            self.fail("the queue was not kept")


class SmallTests(StoreCase):
    """
    A memcached that is too small, and evicts.
    """

    settings = ("-m", "4", "-I", "128k", "-o", "slab_chunk_max=65536")

    async def test_evicted(self) -> None:
        """
        What memcached has evicted is lost, and the log of the next start says how much it is, and what to do.
        """
        store, _ = await self.start()
        jobs = [record(number, workload=bytes(2000)) for number in range(3000)]
        for start in range(0, 3000, 100):
            await store.commit(jobs[start : start + 100], [])
        self.assertIn("jobs are lost without a word when its 4 MB are full", store.description)
        await store.close()
        found = await self.stored()
        self.assertTrue(200 < len(found) < 2900, len(found))
        handles = [job.handle for job in found if job.handle]
        self.assertEqual(handles, sorted(handles, key=lambda handle: int(handle[7:])))
        lines = [line for level, line in self.log.lines if level == "error" and "has evicted them" in line]
        self.assertEqual(len(lines), 1, self.log.lines)
        self.assertIn("more memory (-m)", lines[0])

    async def test_too_large(self) -> None:
        """
        A job that is larger than what memcached takes is refused, and the limit is named; the others of its batch can be stored.
        """
        store, _ = await self.start()
        for size in (50_000_000, 131_073, 131_040):
            await self.assert_refused(
                store.commit([record(1), record(2, workload=bytes(size))], []), f"a job of {size} bytes", "131072 bytes", "-I"
            )
        await store.commit([record(1), record(3, workload=bytes(90_000))], [])
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:1", b"H:test:3"])


class FullTests(StoreCase):
    """
    A memcached that refuses what it has no room for.
    """

    settings = ("-m", "4", "-I", "1m", "-M")

    async def test_full(self) -> None:
        """
        New jobs are refused while it is full, for certain, and nothing of their batch is there; jobs that end can be removed,
        and then there is room again.
        """
        store, _ = await self.start()
        self.assertIn("new ones are refused when its 4 MB are full", store.description)
        jobs: list[JobRecord] = []
        for number in range(0, 100_000, 100):
            batch = [record(number + each, workload=bytes(500)) for each in range(100)]
            try:
                await store.commit(batch, [])
            except StoreError as error:
                self.assertFalse(error.uncertain)
                self.assertIn("is full, and refuses new jobs", str(error))
                break
            jobs += batch
        self.assertGreater(len(jobs), 1000)
        await self.assert_refused(store.commit(batch, []), "is full")
        await store.commit([], jobs[:2000])
        await store.commit(batch, [])
        await store.close()
        found = await self.stored()
        self.assertEqual([job.handle for job in found], [job.handle for job in [*jobs[2000:], *batch]])
        self.assertEqual(self.log.lines, [])


class NoCrawlerTests(StoreCase):
    """
    A memcached without a crawler, as older ones are.
    """

    settings = ("-o", "no_lru_crawler,no_lru_maintainer")

    async def test_gearmands(self) -> None:
        """
        gearmand's jobs are found all the same, the oldest first.
        """
        for number in range(10):
            put(self.database.port, b"gear_resize-%d" % number, b"x", 1)
        self.assertEqual([job.unique for job in await self.stored()], [b"%d" % number for number in range(10)])


class NoListTests(StoreCase):
    """
    A memcached that may not be asked for its keys.
    """

    settings = ("-X",)

    async def test_ours(self) -> None:
        """
        Our jobs are found, and the log says that gearmand's are not.
        """
        put(self.database.port, b"gear_resize-u", b"x", 1)
        store, _ = await self.start()
        await store.commit([record(1)], [])
        await store.close()
        self.log.lines.clear()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:1"])
        [(level, line)] = self.log.lines
        self.assertEqual(level, "error")
        self.assertIn("does not list its keys", line)


class TwoServersTests(StoreCase):
    """
    Two memcacheds, of which one is not always there.
    """

    settings = ("-m", "64", "-I", "1m")

    async def start_both(self) -> MemcachedStore:
        """
        @return: an open store with two servers.
        """
        self.second = Memcached(*self.settings)
        self.addCleanup(self.second.end)
        self.second.start()
        store = MemcachedStore([Address(HOST, self.database.port), Address(HOST, self.second.port)])
        self.stores.append(store)
        await store.open()
        await store.replay(lambda records: None)
        return store

    async def test_one_is_gone(self) -> None:
        """
        While one is gone nothing is stored, not even in the other; then all is well again, and the log says which has lost
        what it held.
        """
        store = await self.start_both()
        jobs = [record(number, unique=b"u%d" % number) for number in range(20)]
        await store.commit(jobs[:10], [])
        before = keys(self.database.port)
        self.second.kill()
        await sleep(0.1)
        await self.assert_refused(store.commit(jobs[10:], []), f":{self.second.port} cannot be reached")
        self.assertEqual(keys(self.database.port), before)
        self.second.start()
        await sleep(0.3)
        await store.commit(jobs[10:], [])
        [(level, line)] = self.log.lines
        self.assertEqual(level, "error")
        self.assertIn(f"memcached at {HOST}:{self.second.port} was restarted and has lost what it held", line)
        await store.close()
        store = MemcachedStore([Address(HOST, self.database.port), Address(HOST, self.second.port)])
        self.stores.append(store)
        await store.open()
        found: list[JobRecord] = []
        await store.replay(found.extend)
        handles = [job.handle for job in found]
        self.assertEqual(handles[-10:], [job.handle for job in jobs[10:]])
        self.assertTrue(0 < len(handles) - 10 < 10)
        self.assertIn("jobs that were stored are no longer in memcached", self.log.lines[1][1])

    async def test_one_breaks(self) -> None:
        """
        If one breaks while it has a part of a batch, that is undone in the other.
        """
        self.patch(memcachedclient, "COMMIT_SECONDS", 1.0)
        store = await self.start_both()
        await store.commit([record(1)], [])
        before = keys(self.database.port)
        self.second.pause()
        jobs = [record(number, unique=b"u%d" % number) for number in range(20)]
        try:
            await store.commit(jobs, [])
        except StoreError as error:
            self.assertTrue(error.uncertain)
            self.assertIn("has not answered for 1 seconds", str(error))
        else:
            self.fail("the commit did not fail")
        self.assertNotEqual(keys(self.database.port), before)
        self.second.resume()
        await store.commit([], jobs)
        self.assertEqual(keys(self.database.port), before)
        await store.commit(jobs, [])
