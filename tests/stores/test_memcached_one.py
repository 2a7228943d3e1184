"""
Tests for L{gearsvc.stores.memcached}: batches of one job, and the shorter way that these go.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import memcachedclient, memcachedlease, memcachedsegments
from gearsvc.stores.memcached import MemcachedStore
from gearsvc.stores.memcachedclient import Address
from gearsvc.testing import fields_of, record, sleep
from tests.running import HOST
from tests.servers import Memcached
from tests.stores.memcacheds import ask, take
from tests.stores.test_memcached_store import INDEX, StoreCase


def commit(store: MemcachedStore, job: JobRecord) -> Deferred[None]:
    """
    Commit one job, by the shorter way.

    @return: what the longer way returns.
    """
    outcome: Deferred[Any] = Deferred()
    assert store.commit_one(job, outcome.callback), "it went the longer way"
    return outcome


class OneTests(StoreCase):
    """
    One job after the other.
    """

    async def test_stored(self) -> None:
        """
        What stands in memcached is the same as by the longer way.
        """
        texts = []
        for one_by_one in (False, True):
            ask(self.database.port, b"flush_all")
            store, _ = await self.start()
            jobs = [record(number, unique=b"u%d" % number, priority=number % 3) for number in range(3)]
            for job in jobs:
                await (commit(store, job) if one_by_one else store.commit([job], []))
            texts.append([take(self.database.port, key) for key in (INDEX, b"gearsvc:gear_1", b"gear_resize-u0", b"gear_resize-u2")])
            await store.commit([], [jobs[1]])
            await store.close()
            self.assertEqual([fields_of(job) for job in await self.stored()], [fields_of(jobs[0]), fields_of(jobs[2])])
        self.assertEqual(texts[0], texts[1])
        self.assertNotIn(None, texts[0])

    async def test_segments(self) -> None:
        """
        When a segment is full another one is begun, and the order stays.
        """
        self.patch(memcachedsegments, "SEGMENT_BYTES", 2000)
        store, _ = await self.start()
        for number in range(100):
            await commit(store, record(number))
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:%d" % number for number in range(100)])
        index = take(self.database.port, INDEX)
        assert index is not None
        self.assertRegex(index[1], rb"^100 100 1-[4-9]$|^100 100 1-\d\d$")

    async def test_evicted(self) -> None:
        """
        If memcached has just evicted the segment that grows, another one is begun, and the log says so.
        """
        store, _ = await self.start()
        await commit(store, record(1))
        ask(self.database.port, b"delete gearsvc:gear_1")
        await commit(store, record(2))
        [(level, line)] = self.log.lines
        self.assertEqual(level, "error")
        self.assertIn("has lost a part of what it held", line)
        await commit(store, record(3))
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()][:2], [b"H:test:2", b"H:test:3"])

    async def test_longer_way(self) -> None:
        """
        What is not one new job for one server that has nothing else to do goes the longer way, and nothing is done then.
        """
        heard: list[object] = []
        store = MemcachedStore([Address(HOST, self.database.port)])
        self.stores.append(store)
        self.assertFalse(store.commit_one(record(1), heard.append))
        await store.open()
        await store.replay(lambda records: None)
        first = commit(store, record(1))
        self.assertFalse(store.commit_one(record(2), heard.append))
        await first
        stored = record(3)
        await commit(store, stored)
        self.assertFalse(store.commit_one(stored, heard.append))
        # As if this process had been stopped for long.
        self.patch(memcachedlease, "LEASE_SECONDS", 0)
        self.assertFalse(store.commit_one(record(5), heard.append))
        self.patch(memcachedlease, "LEASE_SECONDS", 60)
        await commit(store, record(6))
        await store.close()
        self.assertEqual(heard, [])
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:1", b"H:test:3", b"H:test:6"])

    async def test_two_servers(self) -> None:
        """
        With more than one server it is always the longer way.
        """
        other = Memcached()
        self.addCleanup(other.end)
        other.start()
        store = MemcachedStore([Address(HOST, self.database.port), Address(HOST, other.port)])
        self.stores.append(store)
        await store.open()
        await store.replay(lambda records: None)
        self.assertFalse(store.commit_one(record(1), lambda failure: None))

    async def test_others_wait(self) -> None:
        """
        A longer batch waits until a short one is done.
        """
        store, _ = await self.start()
        one = commit(store, record(1))
        many = store.commit([record(2), record(3)], [])
        await one
        await many
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:1", b"H:test:2", b"H:test:3"])


class SilentTests(StoreCase):
    """
    A memcached that does not answer.
    """

    settings = ("-m", "64", "-I", "1m")

    async def test_silence(self) -> None:
        """
        It is given up after a while, and whether the job is stored is uncertain; when memcached goes on, nothing is left of it.
        """
        self.patch(memcachedclient, "COMMIT_SECONDS", 0.4)
        store, _ = await self.start()
        await commit(store, record(1))
        self.database.pause()
        self.addCleanup(self.database.resume)
        try:
            await commit(store, record(2))
        except StoreError as error:
            self.assertIn("has not answered for 0.4 seconds", str(error))
            self.assertTrue(error.uncertain)
            self.assertTrue(error.unreachable)
        else:
            self.fail("it was stored")
        self.database.resume()
        await sleep(0.5)
        await store.commit([record(3)], [])
        await commit(store, record(4))
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:1", b"H:test:3", b"H:test:4"])


class RefusedTests(StoreCase):
    """
    A memcached that refuses what it has no room for.
    """

    settings = ("-m", "4", "-I", "128k", "-o", "slab_chunk_max=65536", "-M")

    async def test_full(self) -> None:
        """
        While it is full jobs are refused, for certain, and nothing of them is there.
        """
        store, _ = await self.start()
        jobs: list[JobRecord] = []
        for number in range(2000):
            job = record(number, workload=bytes(10_000))
            try:
                await commit(store, job)
            except StoreError as error:
                self.assertFalse(error.uncertain)
                self.assertIn("is full, and refuses new jobs", str(error))
                break
            jobs.append(job)
        self.assertTrue(50 < len(jobs) < 1000, len(jobs))
        await self.assert_refused(commit(store, job), "is full")
        await store.commit([], jobs[:50])
        await commit(store, job)
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [job.handle for job in [*jobs[50:], job]])

    async def test_too_large(self) -> None:
        """
        A job that memcached finds too large is refused, and the limit is named; one that is too large without doubt goes the
        longer way.
        """
        store, _ = await self.start()
        self.assertFalse(store.commit_one(record(1, workload=bytes(131_073)), lambda failure: None))
        await self.assert_refused(commit(store, record(1, workload=bytes(131_040))), "a job of 131040 bytes", "131072 bytes", "-I")
        await commit(store, record(2))
        await store.close()
        self.assertEqual([job.handle for job in await self.stored()], [b"H:test:2"])
