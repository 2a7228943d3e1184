"""
The queue in Redis, C{-q redis}.

What stands where says L{gearsvc.stores.redislayout}.  A batch is one script, which Redis runs as a whole or not at all: it
looks whether the queue is still this server's, removes, and adds.  That is one round trip, and while it is under way
nothing else is asked for.

Each job that is added gets the next place, a number that only grows; one that is stored already keeps its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IPromptQueueStore, StoreError
from gearsvc.logs import Logger
from gearsvc.stores import redisconnection, redislease
from gearsvc.stores.progress import Progress
from gearsvc.stores.reconnecting import Backoff
from gearsvc.stores.redisconnection import STORED, Connection, Server, is_missing_script
from gearsvc.stores.redislayout import Layout
from gearsvc.stores.redislease import Lease
from gearsvc.stores.redisreplay import Replay
from gearsvc.stores.redissettings import read_settings

log = Logger(__name__)

TRIES = 3
"""
How often a batch is sent, when Redis has just forgotten the script, or whose the queue is.
"""

_COMMIT = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local first = 3 + ARGV[2]
local stored
for i = first, #ARGV, 3 do
  local old = redis.pcall('HGET', ARGV[i], 'priority')
  if old then
    if type(old) == 'table' then
      if redis.call('TYPE', ARGV[i]).ok ~= 'string' then return ARGV[i] end
      old = ''
    end
    stored = stored or {}
    stored[i] = old
  end
end
for i = 3, first - 1, 5000 do
  redis.call('DEL', unpack(ARGV, i, math.min(i + 4999, first - 1)))
end
for i = first, #ARGV, 3 do
  local key, priority = ARGV[i], ARGV[i + 2]
  local old = stored and stored[i]
  if old and redis.call('EXISTS', key) == 1 then
    priority = string.gsub(priority, '^(%d) %d+', '%1 ' .. (string.match(old, '^%d (%d+) ') or '0'), 1)
    if old == '' then redis.call('DEL', key) end
  end
  redis.call('HMSET', key, 'data', ARGV[i + 1], 'priority', priority)
end
return 1
"""
"""
Commits a batch.  After the lease's value and the number of keys to delete come those, and then key, data and priority of
each job to store.  All that may be wrong is found before anything is written.  Returns 1; 0 if the lease is not ours; or
the key of something that is no job.

(It is HMSET and not HSET for old versions of Redis.)
"""

_COMMIT_HASH = sha1(_COMMIT).hexdigest().encode()


class Batch:
    """
    A batch, as it was when it was handed in.

    @ivar count: how many words it has.
    @ivar removals: how many keys it begins with.
    @ivar words: the words, as Redis takes them.
    """

    __slots__ = ("count", "removals", "words")

    def __init__(self, count: int, removals: int, words: bytes) -> None:
        self.count = count
        self.removals = removals
        self.words = words


class _OneJob:
    """
    Waits for the answer to a batch of one job, as a Deferred would.
    """

    __slots__ = ("_store", "_connection", "_words", "_done")

    def __init__(
        self, store: RedisStore, connection: Connection, words: bytes, done: Callable[[Failure | None], object]
    ) -> None:
        self._store = store
        self._connection = connection
        self._words = words
        self._done = done

    def callback(self, answer: object) -> None:
        """
        Take the answer.
        """
        if answer is STORED:
            self._done(None)
        else:
            self._store._finish_one(self._connection, answer, self._words, self._done)


@implementer(IPromptQueueStore)
class RedisStore:
    """
    Jobs in Redis.
    """

    def __init__(self, server: Server, prefix: bytes = b"_gear_", reactor: Any = None) -> None:
        """
        @param prefix: what the keys of jobs begin with.
        @param reactor: by default the global one.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._reactor: Any = reactor
        self._server = server
        self._layout = Layout(prefix)
        shown = prefix.decode("utf-8", "backslashreplace")
        self._name = f"The queue {shown} in database {server.database} of {server}"
        self.description = self._where = f"{server}, database {server.database}, keys {shown}-..."
        self._lease = Lease(self._layout, self._name, reactor)
        self._backoff = Backoff(time.monotonic)
        # One at a time connects, or asks about the lease.
        self._lock = DeferredLock()
        self._timer: IDelayedCall | None = None
        self._serving = self._keeping = False
        self._place = 0
        # The last connection that was begun, and the one to commit on.
        self._latest: Connection | None = None
        self._connection: Connection | None = None
        self._head = b""

    # Opening and closing.

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.
        """
        return self._lock.run(self._open)

    async def _open(self) -> None:
        self._watch()
        taken = False
        try:
            connection = await self._connect()
            settings = await read_settings(connection)
            await self._lease.take(connection)
            taken = True
            await self._use(connection)
            await self._try_out(connection)
        except StoreError as error:
            error.uncertain = False
            if taken:
                await self._release(connection)
            await self._leave()
            raise
        # The time, so that what is added without a replay comes after what was added before.
        self._place = time.time_ns() // 1000
        self._serving = True
        self.description = f"{self._where}: {settings.durability}"

    async def _try_out(self, connection: Connection) -> None:
        """
        Store a job and remove it: this user may not be allowed to, and it is better to know that now.

        (A Redis that is full lets a batch in that removes first.  It is no reason not to start: room is made by running jobs.)
        """
        record = JobRecord(b"gearsvc:trial", b"gearsvc:trial", b"", 1, b"")
        for batch in (self._batch([record], [record]), self._batch([], [record])):
            await self._finish(connection, await self._send(connection, batch), batch)

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        return self._lock.run(self._close)

    async def _close(self) -> None:
        if self._connection is not None:
            await self._release(self._connection)
        await self._leave()

    async def _release(self, connection: Connection) -> None:
        """
        Give the lease back, if Redis can be asked.
        """
        released = ensureDeferred(self._lease.release(connection))
        released.addTimeout(redisconnection.CLOSE_SECONDS, self._reactor)
        try:
            await released
        except (StoreError, TimeoutError) as error:
            log.info("The lease of the queue runs out by itself: {why}", why=error)

    async def _leave(self) -> None:
        self._serving = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        latest, self._latest = self._latest, None
        self._connection = None
        if latest is not None:
            await latest.end()

    # Being connected, and the owner.

    async def _connect(self) -> Connection:
        """
        Connect, with no other one that does so at the same time.
        """
        connection = self._latest = Connection(self._server, self._reactor, self._lost)
        await connection.open()
        return connection

    async def _use(self, connection: Connection) -> None:
        """
        Commit on a connection from now on.  The lease is taken.
        """
        await connection.ask("SCRIPT", "LOAD", _COMMIT)
        key, value = self._layout.lease, self._lease.value
        self._head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n1\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            _COMMIT_HASH, len(key), key, len(value), value
        )
        self._connection = connection

    def _lost(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None

    async def _ready(self) -> Connection:
        """
        Be connected, and the owner.

        @raise StoreError: if that can't be; nothing of the next batch is stored then.
        """
        if self._connection is not None:
            return self._connection
        self._backoff.check()
        try:
            self._lease.renumber()
            connection = await self._connect()
            await self._lease.keep(connection)
            await self._use(connection)
        except StoreError as error:
            error.uncertain = False
            if self._latest is not None:
                await self._latest.end()
            self._backoff.failed(error)
            raise
        self._backoff.succeeded()
        return connection

    def _watch(self) -> None:
        """
        See to the connection and the lease, now and then.
        """
        self._timer = self._reactor.callLater(redislease.RENEW_SECONDS, self._watch)
        if self._latest is not None:
            self._latest.give_up_late()
        if self._serving and not self._keeping:
            self._keeping = True
            self._lock.run(self._keep).addErrback(lambda failure: log.failure("The lease can't be kept.", failure))

    async def _keep(self) -> None:
        try:
            if not self._serving:
                return
            if self._connection is not None:
                await self._lease.keep(self._connection)
            else:
                await self._ready()
        except StoreError as error:
            # It is tried again, and whoever commits hears of it.
            log.debug("The lease of the queue was not renewed: {why}", why=error)
        finally:
            self._keeping = False

    # Committing.

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        batch = self._batch(added, removed)
        connection = self._connection
        if connection is None:
            return ensureDeferred(self._commit(batch))
        return self._send(connection, batch).addCallback(self._settle, connection, batch)

    def commit_one(self, record: JobRecord, done: Callable[[Failure | None], object]) -> bool:
        """
        See L{IPromptQueueStore.commit_one}.
        """
        connection = self._connection
        if connection is None:
            return False
        words = self._words(record)
        connection.send_for(b"*9\r\n%b$1\r\n0\r\n%b" % (self._head, words), _OneJob(self, connection, words, done))
        return True

    def _settle(self, answer: object, connection: Connection, batch: Batch) -> Deferred[None] | None:
        """
        Take the answer to a batch, which is nearly always the same.
        """
        return None if answer is STORED else ensureDeferred(self._finish(connection, answer, batch))

    async def _commit(self, batch: Batch) -> None:
        connection = await self._lock.run(self._ready)
        await self._finish(connection, await self._send(connection, batch), batch)

    def _finish_one(
        self, connection: Connection, answer: object, words: bytes, done: Callable[[Failure | None], object]
    ) -> None:
        """
        Take an answer to a batch of one job that is not the usual one.
        """
        ensureDeferred(self._finish(connection, answer, Batch(3, 0, words))).addCallbacks(done, done)

    async def _finish(self, connection: Connection, answer: object, batch: Batch) -> None:
        """
        Take the answer to a batch, and send it again if that is what the answer asks for.

        @raise StoreError: if it is not stored.
        """
        for _ in range(TRIES):
            if answer == STORED:
                return
            if is_missing_script(answer):
                await self._before(connection.ask("SCRIPT", "LOAD", _COMMIT))
            elif answer == 0:
                # It has run out, or was flushed away.
                await self._before(self._lock.run(self._lease.keep, connection))
            elif isinstance(answer, bytes):
                key = answer.decode("utf-8", "backslashreplace")
                raise StoreError(f"{self._server} has something under the key {key} that is no job; remove or rename it.")
            else:
                assert isinstance(answer, Exception)
                raise connection.explain(answer)
            answer = await self._send(connection, batch)
        raise StoreError(f"{self._name} is taken away again and again; see who else uses this Redis.")

    async def _before(self, asked: Deferred[Any]) -> None:
        """
        Wait for what is asked before a batch is sent again.
        """
        try:
            await asked
        except StoreError as error:
            error.uncertain = False
            raise

    def _batch(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Batch:
        """
        Jobs as they are now.
        """
        layout = self._layout
        words: list[bytes] = []
        for record in removed:
            key = layout.key_of(record)
            words.append(b"$%d\r\n%b\r\n" % (len(key), key))
        words += map(self._words, added)
        return Batch(len(removed) + 3 * len(added), len(removed), b"".join(words))

    def _words(self, record: JobRecord) -> bytes:
        """
        A job to store, at the end of the order, as the script takes it.
        """
        self._place += 1
        key, priority = self._layout.write(record, self._place)
        data = record.workload
        return b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(key), key, len(data), data, len(priority), priority
        )

    def _send(self, connection: Connection, batch: Batch) -> Deferred[Any]:
        """
        Have Redis run the script of a batch.
        """
        removals = b"%d" % batch.removals
        return connection.send(
            b"*%d\r\n%b$%d\r\n%b\r\n%b" % (batch.count + 6, self._head, len(removals), removals, batch.words)
        )

    # Replaying.

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        return ensureDeferred(self._replay(accept))

    async def _replay(self, accept: Accept) -> int:
        try:
            replay = Replay(await self._lock.run(self._ready), self._layout)
            await replay.look()
            progress = Progress(str(self._server), replay.total)
            async for records in replay.jobs():
                accepted = accept(records)
                if accepted is not None:
                    await accepted
                progress.advance(len(records))
        except StoreError as error:
            error.uncertain = False
            raise
        self._place = max(self._place, replay.last)
        replay.report(self._name)
        return progress.done
