"""
Tests for L{gearsvc.stores.redisconnection} and L{gearsvc.stores.redissettings}: how Redis is reached, what is said when it
can't be, and what it can lose.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gearsvc import shortcut
from gearsvc.interfaces import StoreError
from gearsvc.stores.redissettings import RedisSettings
from gearsvc.testing import record, sleep
from tests.running import HOST, free_port
from tests.servers import Redis
from tests.stores.redises import Other, RedisCase, ask

PASSWORD = "s3cret word"


class WaysTests(RedisCase):
    """
    The ways to a Redis.
    """

    def make_redis(self) -> Redis:
        """
        One with a password, a Unix socket and four databases.
        """
        redis = Redis("--databases", "4")
        self.addCleanup(redis.end)
        self.socket = str(redis.directory / "redis.sock")
        redis.options += ("--unixsocket", self.socket)
        redis.start()
        return redis

    async def test_unix_socket(self) -> None:
        """
        A Unix socket is used as a port is.
        """
        store, _ = await self.opened(host=self.socket)
        self.assertIn(f"Redis at {self.socket}, database 0", store.description)
        jobs = [record(1), record(2, workload=bytes(3_000_000))]
        await store.commit(jobs, [])
        await store.close()
        await self.assert_stored(*jobs)

    async def test_answers_are_due(self) -> None:
        """
        While it has not answered, an answer is due, for which the reactor looks before it sleeps.
        """
        told: list[Sized] = []
        add = shortcut.add

        def watched(*arguments: Any, due: Sized) -> None:
            told.append(due)
            add(*arguments, due=due)

        self.patch(shortcut, "add", watched)
        store, _ = await self.opened()
        [answers] = told
        self.assertEqual(len(answers), 0)
        stored = store.commit([record(1)], [])
        self.assertEqual(len(answers), 1)
        await stored
        self.assertEqual(len(answers), 0)

    async def test_database(self) -> None:
        """
        The jobs are in the database that was asked for, and no others are seen.
        """
        store, _ = await self.opened(database=3)
        self.assertIn(", database 3, ", store.description)
        await store.commit([record(1)], [])
        self.assertEqual(self.keys(), [])
        self.assertEqual(len(ask(self.redis.port, ("KEYS", self.prefix + b"-*"), database=3)), 1)
        await self.assert_stored()

    async def test_no_such_database(self) -> None:
        """
        A number that it does not have is told, with what to do.
        """
        error = await self.assert_fails(self.make(database=4).open(), "has no database 4; see --redis-database")
        self.assertFalse(error.unreachable)

    async def test_users(self) -> None:
        """
        A user who may do what a queue needs has one, and one who may not is told what is missing, before there are jobs.
        """
        self.ask("ACL", "SETUSER", "svc", "on", f">{PASSWORD}", f"~{self.prefix.decode()}-*", "~gearsvc:*", "+@all", "-@dangerous")
        store, _ = await self.opened(user="svc", password=PASSWORD)
        self.assertIn("whether it survives one of Redis is not known", store.description)
        await store.commit([record(1)], [])
        await store.close()
        for rules, words in ((["-hmset"], "can't run"), (["resetkeys", "~gearsvc:*"], "key"), (["-eval"], "eval")):
            self.ask("ACL", "SETUSER", "less", "reset", "on", f">{PASSWORD}", "~*", "+@all", *rules)
            store = self.make(user="less", password=PASSWORD)
            error = await self.assert_fails(store.open(), "does not let this user do what a queue needs", words)
            self.assertFalse(error.unreachable)

    async def test_default_user_password(self) -> None:
        """
        A Redis with a password lets in who knows it; without it, or with another one, what is wrong is told, and no password.
        """
        self.ask("CONFIG", "SET", "requirepass", PASSWORD)
        store, _ = await self.opened(password=PASSWORD)
        await store.close()
        for password, words in (("wrong", "refuses the user or the password"), (None, "wants a password; give it by --redis-password")):
            error = await self.assert_fails(self.make(password=password).open(), words)
            self.assertFalse(error.unreachable)
            self.assertNotIn("wrong", str(error))

    async def test_needless_password(self) -> None:
        """
        A Redis without a password says so to who gives one.
        """
        await self.assert_fails(self.make(password=PASSWORD).open(), "leave --redis-password away")
        await self.assert_fails(self.make(user="nobody", password=PASSWORD).open(), "refuses the user or the password")


class LoadingRedis(Redis):
    """
    One that is started when it says anything.
    """

    def answers(self) -> bool:
        """
        C{LOADING} is an answer.
        """
        try:
            return bool(self.ask(b"PING"))
        except OSError:
            return False


class OpeningTests(RedisCase):
    """
    What is said when a store can't be opened.
    """

    async def assert_opens_not(self, words: str, unreachable: bool, port: int) -> None:
        """
        Hold that it can't, why, and whether it may help to wait.
        """
        error = await self.assert_fails(self.make(port=port).open(), f"Redis at {HOST}:{port} ", words)
        self.assertEqual(error.unreachable, unreachable, error)

    async def test_nobody(self) -> None:
        """
        Where nobody listens, it may help to wait; so it may where a Unix socket is missing, or a name is not known.
        """
        await self.assert_opens_not("can't be reached: Connection refused.", True, free_port())
        for host in ("/no/such/socket", "no-such-host.invalid"):
            error = await self.assert_fails(self.make(host=host).open(), "can't be reached: ")
            self.assertTrue(error.unreachable)

    async def test_no_redis(self) -> None:
        """
        Something else that answers is no Redis, and it does not help to wait.
        """
        for says in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ERROR\r\n", b"SSH-2.0-OpenSSH\r\n", b"*1\r\n" * 50):
            other = Other(says)
            self.addCleanup(other.close)
            await self.assert_opens_not("can't be reached: what answers there is no Redis.", False, other.port)

    async def test_in_trouble(self) -> None:
        """
        What a Redis says that is loading, has no room for clients, is protected, or has lost its master is told in words.
        """
        for says, words, unreachable in [
            (b"-LOADING Redis is loading the dataset in memory\r\n", "is still loading its data", True),
            (b"-ERR max number of clients reached\r\n", "has as many clients as it takes", True),
            (b"-DENIED Redis is running in protected mode because...\r\n", "is in protected mode", False),
            (b"-MASTERDOWN Link with MASTER is down\r\n", "is a replica that has lost its master", True),
            (b"-ERR something\nelse.\r\n", "refuses what it was asked for: something.", False),
        ]:
            for at_once in (False, True):
                other = Other(says, at_once)
                self.addCleanup(other.close)
                await self.assert_opens_not(words, unreachable, other.port)

    async def test_hangs_up(self) -> None:
        """
        One that ends the connection without a word may be better later.
        """
        other = Other(b"")
        self.addCleanup(other.close)
        await self.assert_opens_not("can't be reached: the connection is lost.", True, other.port)

    async def test_loading(self) -> None:
        """
        A Redis that reads its data is told from one that is not there, and can be opened when it has.
        """
        redis = LoadingRedis("--appendonly", "no", "--enable-debug-command", "yes")
        self.addCleanup(redis.end)
        redis.start()
        ask(redis.port, ("DEBUG", "POPULATE", "10000"), ("SAVE",))
        redis.kill()
        # Microseconds for each.
        redis.options += ("--key-load-delay", "50", "--loading-process-events-interval-bytes", "1024")
        redis.start()
        store = self.make(port=redis.port)
        error = await self.assert_fails(store.open(), "is still loading its data")
        self.assertTrue(error.unreachable)
        while True:
            try:
                await store.open()
                break
            except StoreError as error:
                self.assertIn("is still loading its data", str(error))
                await sleep(0.05)

    async def test_again(self) -> None:
        """
        A store that could not be opened can be once what was wrong is mended.
        """
        self.wire.cut()
        store = self.make()
        await self.assert_fails(store.open(), "can't be reached")
        self.wire.mend()
        await store.open()
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))

    async def test_cluster(self) -> None:
        """
        A Redis Cluster is refused: it can't store a batch as a whole.
        """
        redis = self.start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        await self.assert_opens_not("is a Redis Cluster", False, redis.port)

    async def test_replica(self) -> None:
        """
        A replica is refused.
        """
        redis = self.start_redis("--replicaof", HOST, str(self.redis.port))
        await self.assert_opens_not("is a replica, which can't be written; name its master", False, redis.port)


class DescriptionTests(RedisCase):
    """
    What a store says of itself.
    """

    def make_redis(self) -> Redis:
        """
        One whose settings are changed.
        """
        return self.start_redis()

    async def described(self, **settings: str) -> str:
        """
        @param settings: with C{_} for C{-}.
        @return: how a store is described with these settings of Redis'.
        """
        for name, value in settings.items():
            self.ask("CONFIG", "SET", name.replace("_", "-"), value)
        store, _ = await self.opened()
        await store.close()
        self.assertNotIn("\n", store.description)
        return store.description

    async def test_settings(self) -> None:
        """
        What a crash can lose is said by Redis' own settings.
        """
        said = await self.described()
        prefix = self.prefix.decode()
        self.assertEqual(
            said,
            f"Redis at {HOST}:{self.wire.port}, database 0, keys {prefix}-...: what was acknowledged survives a crash of this"
            " server; with appendfsync everysec a crash of Redis or of its machine can lose the last two seconds;"
            " its memory has no limit (maxmemory)",
        )
        said = await self.described(appendfsync="always", maxmemory="100mb", maxmemory_policy="allkeys-lru")
        self.assertIn("with appendfsync always it survives one of Redis and of its machine", said)
        self.assertIn("jobs are lost without a word when its 100 MB are full (maxmemory-policy allkeys-lru;", said)
        said = await self.described(appendfsync="no", maxmemory_policy="volatile-ttl")
        self.assertIn("with appendfsync no a crash of its machine can lose what the system has not written", said)
        self.assertIn("new jobs are refused when its 100 MB are full", said)
        said = await self.described(appendonly="no", save="3600 1")
        self.assertIn("with appendonly no a crash of Redis loses all that came since its last snapshot", said)
        said = await self.described(save="")
        self.assertIn("with appendonly no and no snapshots (save) all is lost when Redis ends", said)


class UntoldSettingsTests(SynchronousTestCase):
    """
    What is said of settings that Redis does not tell.
    """

    def test_durability(self) -> None:
        """
        It is said what is not known.
        """
        for settings, words in [
            (RedisSettings(), "not known, as this user may not ask for its settings (CONFIG GET); its maxmemory is not known"),
            (RedisSettings(appendonly=True), "with appendonly yes a crash of Redis can lose seconds, depending on its appendfsync"),
            (RedisSettings(appendonly=False), "with appendonly no a crash of Redis loses all, or what came since its last snapshot"),
        ]:
            self.assertIn(words, settings.durability)
