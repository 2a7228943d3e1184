"""
Tests for L{gearsvc.stores.redislease}: whose a queue in Redis is, and what becomes of a store that has lost it.
"""

from __future__ import annotations

import os
import time

from twisted.internet.defer import ensureDeferred

from gearsvc.stores import redislease
from gearsvc.testing import record, sleep
from tests.servers import Redis
from tests.stores.redises import RedisCase, ask, of_the_dead


class TakingTests(RedisCase):
    """
    Who gets a queue.
    """

    def setUp(self) -> None:
        """
        Have leases that run out soon.
        """
        super().setUp()
        self.patch(redislease, "LEASE_SECONDS", 1.2)
        self.patch(redislease, "RENEW_SECONDS", 0.2)
        self.patch(redislease, "LOOK_SECONDS", 0.05)

    async def assert_opens_at_once(self) -> None:
        """
        Hold that a store opens without waiting for the lease to run out.
        """
        # It would wait for longer than a test may take.
        self.patch(redislease, "LOOK_SECONDS", 1000)
        await self.opened()

    async def test_second(self) -> None:
        """
        A second store is refused, and told who the first is; the first goes on.
        """
        first, _ = await self.opened()
        error = await self.assert_fails(self.make().open(), "is in use by another server, process ", f"{os.getpid()} on ")
        self.assertIn(f"The queue {self.prefix.decode()} in database 0 of Redis at ", str(error))
        self.assertFalse(error.unreachable)
        await first.commit([record(1)], [])
        await first.close()
        await self.assert_stored(record(1))

    async def test_others(self) -> None:
        """
        A store with another prefix, and one in another database, are others.
        """
        await self.opened()
        await self.opened(database=1)
        self.prefix += b"x"
        await self.opened()

    async def test_kept(self) -> None:
        """
        A lease does not run out while its store is open, whether it is used or not.
        """
        first, _ = await self.opened()
        await sleep(2)
        self.assertGreater(self.ask("PTTL", self.lease), 600)
        await self.assert_fails(self.make().open(), "in use by another server")
        await first.commit([record(1)], [])

    async def test_killed_here(self) -> None:
        """
        The lease of a process of this machine that is gone holds nobody up; nor does one whose number another process has
        now.
        """
        self.ask("SET", self.lease, of_the_dead(), "PX", 60000)
        await self.assert_opens_at_once()
        self.prefix += b"x"
        words = of_the_dead().split(b" ")
        words[3] = b"%d" % os.getpid()
        self.ask("SET", self.lease, b" ".join(words), "PX", 60000)
        await self.assert_opens_at_once()

    async def test_killed_elsewhere(self) -> None:
        """
        The lease of a process of another machine is waited for, as it may be gone.
        """
        value = of_the_dead(machine="another")
        began = time.monotonic()
        self.ask("SET", self.lease, value, "PX", 700)
        await self.opened()
        self.assertGreater(time.monotonic() - began, 0.69)

    async def test_lives_elsewhere(self) -> None:
        """
        One that is renewed meanwhile is another server's, and that is said before it could have run out.
        """
        value = of_the_dead("process 7 on db2.example", "another")
        # It would be given up after longer than a test may take.
        self.patch(redislease, "LEASE_SECONDS", 1000)
        self.ask("SET", self.lease, value, "PX", 1_000_000)
        opening = ensureDeferred(self.assert_fails(self.make().open(), "in use by another server, process 7 on db2.example;"))
        await sleep(0.3)
        self.ask("PEXPIRE", self.lease, 1_001_000)
        await opening

    async def test_never_ends(self) -> None:
        """
        One without an end, and one that can't be read, are somebody's.
        """
        self.ask("SET", self.lease, of_the_dead("process 7 on db2.example", "another"))
        await self.assert_fails(self.make().open(), "process 7 on db2.example;")
        for value in ("mine", "a b c d e f", b"\xff"):
            self.ask("SET", self.lease, value)
            await self.assert_fails(self.make().open(), "in use by another server, which can't be told;")

    async def test_given_back(self) -> None:
        """
        A store that is closed leaves no lease, and takes away no other's.
        """
        first, _ = await self.opened()
        await first.close()
        self.assertIsNone(self.ask("GET", self.lease))
        store, _ = await self.opened()
        self.ask("SET", self.lease, "another's", "PX", 1000)
        await store.close()
        self.assertEqual(self.ask("GET", self.lease), b"another's")

    async def test_failed_open(self) -> None:
        """
        A store that could not be opened has left nothing that keeps its successor out.
        """
        self.ask("RPUSH", self.key(b"gearsvc:gearsvc:trial-gearsvc:gearsvc:trial"), "x")
        await self.assert_fails(self.make().open(), "is no job")
        self.ask("DEL", *self.keys())
        await self.assert_opens_at_once()


class LosingTests(RedisCase):
    """
    What becomes of a store that may have lost its queue.
    """

    async def test_run_out(self) -> None:
        """
        A lease that has run out is taken again by the next batch, if nobody has had it meanwhile.
        """
        store, _ = await self.opened()
        self.ask("DEL", self.lease)
        await store.commit([record(1)], [])
        self.assertTrue(self.ask("GET", self.lease))
        self.assertEqual(self.log.lines, [])
        await store.close()
        await self.assert_stored(record(1))

    async def test_taken_over(self) -> None:
        """
        A store whose queue another one has taken over commits nothing any more, and says so, for good: jobs may have run.
        """
        first, _ = await self.opened()
        await first.commit([record(1)], [])
        self.ask("DEL", self.lease)
        second, jobs = await self.opened()
        for _ in range(2):
            error = await self.assert_fails(
                first.commit([record(2)], []), "was taken over by another server, process ", "restart the other."
            )
            self.assertFalse(error.unreachable)
        await second.commit([record(3)], jobs)
        await second.close()
        # Though it is free now.
        await self.assert_fails(first.commit([record(2)], []), "was taken over by another server")
        await first.close()
        await self.assert_stored(record(3))

    async def test_taken_over_and_left(self) -> None:
        """
        So it is if the other one has ended before it was seen.
        """
        first, _ = await self.opened()
        self.ask("DEL", self.lease)
        second, _ = await self.opened()
        await second.commit([record(1)], [])
        await second.close()
        await self.assert_fails(first.commit([record(2)], []), "was taken over by another server, while this one could not reach it")
        await first.close()
        await self.assert_stored(record(1))

    async def test_taken_over_while_away(self) -> None:
        """
        So it is if the store was cut off meanwhile: it looks before it commits.
        """
        first, _ = await self.opened()
        self.wire.cut()
        await sleep(0.1)
        self.ask("DEL", self.lease)
        second, _ = await self.opened(port=self.redis.port)
        self.wire.mend()
        await sleep(0.3)
        await self.assert_fails(first.commit([record(2)], []), "was taken over by another server, process ")
        await second.close()
        await self.assert_stored()

    async def test_late_batch(self) -> None:
        """
        What was sent on a connection that has ended, and arrives late, is not stored any more once there is another one.
        """
        store, _ = await self.opened()
        old = store._head
        self.wire.cut_once()
        await sleep(0.1)
        await store.commit([record(1)], [])
        self.assertNotEqual(store._head, old)
        connection = store._connection
        assert connection is not None
        batch = store._batch([record(2)], [])
        answer = await connection.send(b"*%d\r\n%b$1\r\n0\r\n%b" % (batch.count + 6, old, batch.words))
        self.assertEqual(answer, 0)
        await store.close()
        await self.assert_stored(record(1))

    async def test_again_and_again(self) -> None:
        """
        When the lease is taken away each time, a batch is given up after a few tries.
        """
        store, _ = await self.opened()
        keep = store._lease.keep

        async def robbed(connection: object) -> None:
            await keep(connection)  # type: ignore[arg-type]
            self.ask("DEL", self.lease)

        self.patch(store._lease, "keep", robbed)
        self.ask("DEL", self.lease)
        await self.assert_fails(store.commit([record(1)], []), "is taken away again and again")


class LostDataTests(RedisCase):
    """
    A Redis that has lost what it held.
    """

    def make_redis(self) -> Redis:
        """
        One that keeps nothing.
        """
        return self.start_redis("--appendonly", "no")

    async def assert_goes_on(self, lose: object) -> None:
        """
        Hold that a store goes on, and says once in the log what was lost.
        """
        store, _ = await self.opened()
        await store.commit([record(1)], [])
        assert callable(lose)
        lose()
        await sleep(0.3)
        await store.commit([record(2)], [record(1)])
        await store.commit([record(3)], [])
        [(level, text)] = self.log.lines
        self.assertEqual(level, "error")
        self.assertIn("has come back empty: it was flushed, or restarted without what it held.", text)
        await store.close()
        await self.assert_stored(record(2), record(3))

    async def test_restarted(self) -> None:
        """
        It was restarted empty.
        """

        def restart() -> None:
            self.redis.kill()
            self.redis.start()

        await self.assert_goes_on(restart)

    async def test_flushed(self) -> None:
        """
        Somebody has flushed it.
        """
        await self.assert_goes_on(lambda: ask(self.redis.port, ("FLUSHALL",)))
