"""
What tests of the store in Redis share.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import reconnecting, redislease, redisreplay
from gearsvc.stores.ownership import this_machine
from gearsvc.stores.redis import RedisStore
from gearsvc.stores.redisanswers import Answers
from gearsvc.stores.redisconnection import Server, pack
from gearsvc.testing import fields_of
from tests.proxy import Proxy
from tests.running import HOST
from tests.servers import Redis
from tests.stores.batches import one_by_one
from tests.stores.logs import Log


def ask(port: int, *commands: Sequence[bytes | str | int], database: int = 0, unix: str | None = None) -> Any:
    """
    Send commands past everybody.

    @param commands: the words of each.
    @param unix: a Unix socket to use instead of the port.
    @return: the answer to the last one.
    """
    if unix is None:
        connection = socket.create_connection((HOST, port), 10)
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(unix)
    with connection:
        requests = [pack("SELECT", database), *(pack(*words) for words in commands)]
        connection.sendall(b"".join(requests))
        answers, parser = [], Answers()
        while len(answers) < len(requests):
            data = connection.recv(65536)
            assert data, answers
            answers += parser.feed(data)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers[-1]


def of_the_dead(name: str = "", machine: str = "") -> bytes:
    """
    What the lease holds whose owner is gone.

    @param name: what it was called; by default as a process of this machine.
    @param machine: by default this one, so that its successor sees that it is gone.
    """
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return f"word 7 {machine or this_machine()} {gone.pid} 123 {name or f'process {gone.pid} on here'}".encode()


class RedisCase(TestCase):
    """
    A test with keys of its own.

    @ivar redis: the server: a shared one, or what L{make_redis} makes.
    @ivar prefix: what the keys of jobs begin with.
    @ivar wire: what stores that L{make} makes connect through.
    @ivar log: what the store, its lease and its replay have logged.
    """

    def make_redis(self) -> Redis:
        """
        @return: a Redis that runs.
        """
        return Redis.shared()

    def start_redis(self, *options: str) -> Redis:
        """
        @return: a Redis of the test's own that runs.
        """
        redis = Redis(*options)
        self.addCleanup(redis.end)
        redis.start()
        return redis

    def setUp(self) -> None:
        """
        Find a Redis, and put a wire before it.
        """
        self.patch(reconnecting, "LAST_PAUSE", 0.2)
        self.redis = self.make_redis()
        self.prefix = b"t%d_" % time.monotonic_ns()
        self.wire = Proxy(self.redis.port)
        self.addCleanup(self.wire.close)
        self.log = Log()
        for module in (redislease, redisreplay):
            self.patch(module, "log", self.log)

    # What stands in Redis.

    def ask(self, *words: bytes | str | int) -> Any:
        """
        Ask Redis as a person would.
        """
        return ask(self.redis.port, words)

    def keys(self) -> list[bytes]:
        """
        @return: the keys of this test's jobs, sorted.
        """
        found: list[bytes] = self.ask("KEYS", self.prefix + b"*")
        return sorted(found)

    def key(self, rest: bytes) -> bytes:
        """
        @return: the key of a job.
        """
        return self.prefix + b"-" + rest

    def fields(self, rest: bytes) -> dict[bytes, bytes]:
        """
        @return: the fields of a job.
        """
        words: list[bytes] = self.ask("HGETALL", self.key(rest))
        return dict(zip(words[::2], words[1::2]))

    def put(self, rest: bytes, **fields: bytes) -> None:
        """
        Store a job as gearmand does.
        """
        self.ask("HMSET", self.key(rest), *(word for name, value in fields.items() for word in (name, value)))

    @property
    def lease(self) -> bytes:
        """
        The key of the lease.
        """
        return b"gearsvc:lease:" + self.prefix

    # Stores.

    def make(self, port: int | None = None, **fields: Any) -> RedisStore:
        """
        @param port: by default the wire's.
        @param fields: what else is to be said of the server.
        @return: a new store, not yet open, that is closed when the test ends.
        """
        store = RedisStore(Server(**{"host": HOST, "port": port or self.wire.port, **fields}), self.prefix)
        self.addCleanup(store.close)
        return store

    async def opened(self, **fields: Any) -> tuple[RedisStore, list[JobRecord]]:
        """
        @return: an open store, and what it replayed.
        """
        store = self.make(**fields)
        await store.open()
        jobs: list[JobRecord] = []
        self.assertEqual(await store.replay(jobs.extend), len(jobs))
        return store, jobs

    async def replayed(self) -> list[JobRecord]:
        """
        @return: what a server that starts now would replay.
        """
        store, jobs = await self.opened()
        await store.close()
        return jobs

    async def assert_stored(self, *records: JobRecord) -> None:
        """
        Hold that a store replays these, in this order.
        """
        self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(job) for job in records])

    async def assert_fails(self, asked: Deferred[None], *words: str, uncertain: bool = False) -> StoreError:
        """
        Hold that something fails with one line.

        @param words: what the line holds.
        @param uncertain: whether it may have been stored.
        """
        try:
            await asked
        except StoreError as error:
            self.assertNotIn("\n", str(error))
            for word in words:
                self.assertIn(word, str(error))
            self.assertEqual(error.uncertain, uncertain, error)
            return error
        self.fail("it did not fail")


class OneByOne(RedisCase):
    """
    Mix it into a test case: a batch of one new job goes the shorter way that the store has for it.
    """

    def make(self, port: int | None = None, **fields: Any) -> RedisStore:
        """
        See L{RedisCase.make}.
        """
        store = super().make(port, **fields)
        self.patch(store, "commit", one_by_one(store))
        return store


class Other:
    """
    Answers on a port, and is no Redis, or one in trouble.
    """

    def __init__(self, says: bytes, at_once: bool = False) -> None:
        """
        @param says: what it says to what it is asked, and then ends the connection.
        @param at_once: whether it does not wait for that.
        """
        self._says = says
        self._at_once = at_once
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                if not self._at_once:
                    connection.recv(1000)
                connection.sendall(self._says)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while connection.recv(1000):
                        pass

    def close(self) -> None:
        """
        Be done.
        """
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
