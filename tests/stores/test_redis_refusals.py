"""
Tests for L{gearsvc.stores.redis}: batches that Redis refuses, or does not answer.
"""

from __future__ import annotations

import threading
import time

from twisted.internet.defer import gatherResults

from gearsvc.stores import redisconnection, redislease
from gearsvc.testing import record, sleep
from tests.running import AT_ONCE, wait_until
from tests.servers import Redis
from tests.stores.redises import OneByOne, RedisCase


class RefusalTests(RedisCase):
    """
    What becomes of batches that Redis refuses.
    """

    def make_redis(self) -> Redis:
        """
        One whose settings are changed.
        """
        return self.start_redis("--enable-debug-command", "yes")

    async def assert_refuses_for_now(self, words: str, begin: list[str], end: list[str]) -> None:
        """
        Hold that batches are refused, as a whole and for certain, while something is so, and taken when it is not.
        """
        store, _ = await self.opened()
        kept, removed, refused = record(1), record(2), [record(number) for number in range(3, 6)]
        await store.commit([kept, removed], [])
        self.ask(*begin)
        for _ in range(2):
            error = await self.assert_fails(store.commit(refused, []), words)
            self.assertFalse(error.unreachable)
        self.assertEqual(len(self.keys()), 2)
        self.ask(*end)
        await store.commit(refused[:1], [removed])
        await store.close()
        await self.assert_stored(kept, refused[0])

    async def test_replica(self) -> None:
        """
        A Redis that becomes a replica, as in a fail-over, refuses.
        """
        await self.assert_refuses_for_now("is a replica", ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"])

    async def test_too_few_replicas(self) -> None:
        """
        One that wants replicas, and has none, refuses.
        """
        name = "min-replicas-to-write"
        await self.assert_refuses_for_now("has fewer replicas", ["CONFIG", "SET", name, "1"], ["CONFIG", "SET", name, "0"])

    async def test_can_not_save(self) -> None:
        """
        One that can't save its snapshots refuses.
        """
        store, _ = await self.opened()
        await store.commit([record(1)], [])
        self.ask("CONFIG", "SET", "save", "3600 100000")
        (self.redis.directory / "dump.rdb").mkdir()
        self.save()
        for _ in range(2):
            error = await self.assert_fails(store.commit([record(2)], []), "can't save to its disk, and refuses to change anything")
            self.assertFalse(error.unreachable)
        (self.redis.directory / "dump.rdb").rmdir()
        self.save()
        await store.commit([record(3)], [])
        await store.close()
        await self.assert_stored(record(1), record(3))

    def save(self) -> None:
        """
        Have it save, or try to.
        """
        self.ask("BGSAVE")
        wait_until(lambda: b"rdb_bgsave_in_progress:0" in self.ask("INFO", "persistence"), "it has tried")

    async def test_full(self) -> None:
        """
        One whose memory is full refuses jobs, and lets them be removed; and its server can be started, so that workers make
        room.
        """
        store, _ = await self.opened()
        await store.commit([record(1), record(2)], [])
        self.ask("CONFIG", "SET", "maxmemory", "1mb")
        for _ in range(2):
            error = await self.assert_fails(store.commit([record(3), record(4)], []), "is full (its maxmemory)")
            self.assertFalse(error.unreachable)
        await store.commit([], [record(1)])
        self.wire.cut_once()
        await sleep(0.1)
        await self.assert_fails(store.commit([record(3)], []), "is full (its maxmemory)")
        await store.close()
        store, jobs = await self.opened()
        self.assertEqual([job.handle for job in jobs], [record(2).handle])
        self.assertIn("new jobs are refused when its 1 MB are full", store.description)
        await self.assert_fails(store.commit([record(3)], []), "is full (its maxmemory)")
        self.ask("CONFIG", "SET", "maxmemory", "0")
        await store.commit([record(3)], jobs)
        await store.close()
        await self.assert_stored(record(3))

    async def test_busy(self) -> None:
        """
        While somebody's script keeps Redis busy, batches are refused with that.
        """
        store, _ = await self.opened()
        self.ask("CONFIG", "SET", "busy-reply-threshold", "50")
        script = threading.Thread(target=self.loop)
        script.start()
        while b"BUSY" not in self.redis.ask(b"PING"):
            time.sleep(0.01)
        error = await self.assert_fails(store.commit([record(1)], []), "is busy with somebody's script")
        self.assertTrue(error.unreachable)
        self.ask_of_busy()
        script.join()
        await store.commit([record(2)], [])
        await store.close()
        await self.assert_stored(record(2))

    def loop(self) -> None:
        """
        Run a script without an end.
        """
        self.redis.cli("EVAL", "while true do end", "0")

    def ask_of_busy(self) -> None:
        """
        End it.
        """
        self.assertEqual(self.redis.ask(b"SCRIPT KILL"), b"+OK\r\n")

    async def test_script_forgotten(self) -> None:
        """
        A Redis that has forgotten our script is told it again.
        """
        store, _ = await self.opened()
        self.ask("SCRIPT", "FLUSH")
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))

    async def test_no_job(self) -> None:
        """
        A key that is to be a job's, and holds something else, is left alone, and the batch with it refused.
        """
        store, _ = await self.opened()
        self.ask("RPUSH", self.key(b"resize-u"), "one")
        await self.assert_fails(
            store.commit([record(1), record(2, unique=b"u")], []), "-resize-u that is no job; remove or rename it"
        )
        self.assertEqual(self.keys(), [self.key(b"resize-u")])

    async def test_unasked(self) -> None:
        """
        An answer that nobody has asked for is not taken for that to the next batch.
        """
        store, _ = await self.opened()
        connection = store._connection
        assert connection is not None
        connection.dataReceived(b":1\r\n")
        self.assertFalse(connection.usable)
        await sleep(0.1)
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))


class SilenceTests(RedisCase):
    """
    A Redis that does not answer.
    """

    def make_redis(self) -> Redis:
        """
        One that is paused.
        """
        return self.start_redis()

    def setUp(self) -> None:
        """
        Be impatient.
        """
        super().setUp()
        self.patch(redisconnection, "COMMIT_SECONDS", 0.4)
        self.patch(redislease, "RENEW_SECONDS", 0.1)
        self.addCleanup(self.redis.resume)

    async def test_commit(self) -> None:
        """
        A batch that is not answered is given up in time, and may have been stored; when Redis goes on, so does the store.
        """
        store, _ = await self.opened()
        await store.commit([record(1)], [])
        self.redis.pause()
        error = await self.assert_fails(
            store.commit([record(2)], []), "can't be reached: it has not answered for 0.4 seconds.", uncertain=True
        )
        self.assertTrue(error.unreachable)
        self.redis.resume()
        await sleep(0.5)
        await store.commit([record(3)], [record(2)])
        await store.close()
        await self.assert_stored(record(1), record(3))

    async def test_slow(self) -> None:
        """
        One that takes half as long is waited for.
        """
        store, _ = await self.opened()
        self.wire.delay = 0.2
        for number in range(3):
            await store.commit([record(number)], [])
        self.wire.mend()
        await store.close()
        await self.assert_stored(*map(record, range(3)))

    async def test_open_and_close(self) -> None:
        """
        One that is silent from the begin is given up as well; and a store can be closed meanwhile.
        """
        store = self.make(port=self.redis.port)
        self.redis.pause()
        error = await self.assert_fails(store.open(), "it has not answered for 0.4 seconds")
        self.assertTrue(error.unreachable)
        self.redis.resume()
        await store.open()
        self.redis.pause()
        self.patch(redisconnection, "CLOSE_SECONDS", 0.2)
        began = time.monotonic()
        await store.close()
        self.assertLess(time.monotonic() - began, AT_ONCE)

    async def test_at_once(self) -> None:
        """
        Several batches that are handed in while there is no connection wait for one.
        """
        store, _ = await self.opened()
        self.wire.cut_once()
        await sleep(0.1)
        await gatherResults([store.commit([record(number)], []) for number in range(5)], consumeErrors=True)
        await store.close()
        await self.assert_stored(*map(record, range(5)))


class RefusalOneByOneTests(OneByOne, RefusalTests):
    """
    What becomes of single jobs that Redis refuses.
    """


class SilenceOneByOneTests(OneByOne, SilenceTests):
    """
    A Redis that does not answer for a single job.
    """

    async def test_not_connected(self) -> None:
        """
        Without a connection there is no shorter way, and nothing is done.
        """
        store, _ = await self.opened()
        await store.close()
        self.assertFalse(store.commit_one(record(1), self.fail))
