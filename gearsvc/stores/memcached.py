"""
The queue in memcached, C{-q libmemcached}.

What is where says L{gearsvc.stores.memcachedindex}.  A batch is written in one go: what is over, the entries of the index,
the items, and the number of the batch, which makes it valid; memcached does what one connection asks for in that order.
(With more than one server, the steps wait for one another.)  A batch that fails is undone, at once or when memcached can be
reached again, before anything else is done.

memcached keeps nothing when it ends, and evicts what it has no room for; what it has forgotten, the job server still has in
its memory, and runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IPromptQueueStore, StoreError
from gearsvc.logs import Logger
from gearsvc.stores import memcachedlease
from gearsvc.stores.memcachedclient import Address, Servers
from gearsvc.stores.memcachedconnection import Commands, Connection
from gearsvc.stores.memcachedindex import ALWAYS, Keys, Place, Segment, read_segment
from gearsvc.stores.memcachedlease import Lease
from gearsvc.stores.memcachedreplay import Replay
from gearsvc.stores.memcachedsegments import Part, Segments, Write, place_of
from gearsvc.stores.progress import Progress
from gearsvc.stores.reconnecting import Backoff

log = Logger(__name__)

RELEASE_SECONDS = 2.0
"""
How long to wait for memcached when the server ends: the lease runs out by itself.
"""

_ALL_STORED = b"STORED\r\n" * 3
"""
What is answered to a batch of one job, nearly always.
"""

TRIES = 3
"""
How often a batch is begun, when memcached has just evicted the part of the index that it changes.
"""


class _Again(Exception):
    """
    The batch is to be begun anew: memcached no longer has a segment that was
    to be changed, or has items that were to be added.

    @ivar there: what is to be stored under their keys.
    """

    def __init__(self, there: dict[bytes, Write] | None = None) -> None:
        super().__init__()
        self.there = there or {}


class Answers(NamedTuple):
    """
    The answers to the steps of a batch.

    @ivar deletions: of each server, what it says of items to be deleted.
    @ivar entries: what the first one says of changes to segments.
    @ivar items: of each server, what it says of items to be stored.
    @ivar end: what the first one says of the batch's number.
    """

    deletions: list[list[bytes]]
    entries: list[bytes]
    items: list[list[bytes]]
    end: list[bytes]


class Doubt(NamedTuple):
    """
    What may be there, and must not be.

    @ivar segment: where the entry may be.
    @ivar key: its key.
    @ivar item: whether the item may be there, too, as nobody else's.
    """

    segment: Segment
    key: bytes
    item: bool = True


@implementer(IPromptQueueStore)
class MemcachedStore:
    """
    Jobs in memcached.
    """

    def __init__(self, addresses: Sequence[Address], prefix: bytes = b"gear_", reactor: Any = None) -> None:
        """
        @param addresses: the servers; in the same order for everyone who uses
            the queue.
        @param prefix: what the keys of jobs begin with.
        @param reactor: by default the global one.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._reactor: Any = reactor
        self._servers = Servers(addresses, reactor)
        self._keys = Keys(prefix)
        self._lease = Lease(self._keys.lease, self._servers, reactor)
        self._backoff = Backoff(reactor.seconds)
        # What changes anything at the servers does so one after the other.
        self._lock = DeferredLock()
        self._renewal: IDelayedCall | None = None
        self.description = f"{self._servers}, keys {self._prefix}..."

        self._segments = Segments(self._keys)
        # Of a batch that failed: what may be there, and must not be.
        self._doubtful: list[Doubt] = []

        # Whether the log says that memcached forgets.
        self._told = False

        # Of each server, the largest item it takes, and which process it is.
        self._limits: list[int] = []
        self._processes: list[tuple[bytes, int]] = []

    @property
    def _prefix(self) -> str:
        return self._keys.prefix.decode("utf-8", "backslashreplace")

    async def _alone(self, work: Coroutine[Any, Any, None]) -> None:
        """
        Do something when nothing else is being done.
        """
        acquired = self._lock.acquire()
        if not acquired.called:
            await acquired
        try:
            await work
        finally:
            self._lock.release()

    # Opening and closing.

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.
        """
        return ensureDeferred(self._alone(self._open()))

    async def _open(self) -> None:
        try:
            await self._servers.connect()
            await self._greet()
            await self._lease.take()
        except StoreError as error:
            self._servers.drop()
            error.uncertain = False
            raise
        self._schedule()

    async def _greet(self) -> None:
        """
        Ask the servers who they are, and for their settings.
        """
        everyone = range(len(self._servers.addresses))
        answers = await self._servers.ask(
            *[(index, lambda connection: connection.stats(b"settings")) for index in everyone],
            *[(index, lambda connection: connection.stats()) for index in everyone],
        )
        settings, general = answers[: len(everyone)], answers[len(everyone) :]
        self._limits = [int(each.get(b"item_size_max", 0)) or 1 << 20 for each in settings]
        processes = [(each.get(b"pid", b""), int(each.get(b"time", 0)) - int(each.get(b"uptime", 0))) for each in general]
        for index, (before, now) in enumerate(zip(self._processes, processes)):
            # (The two numbers need not be of the same second.)
            if before[0] != now[0] or abs(before[1] - now[1]) > 2:
                self._has_forgotten(index)
        self._processes = processes

        megabytes = sum(int(each.get(b"maxbytes", 0)) for each in settings) >> 20
        if all(each.get(b"evictions") == b"off" for each in settings):
            full = f"new ones are refused when its {megabytes} MB are full"
        else:
            full = f"jobs are lost without a word when its {megabytes} MB are full (memcached -M would refuse new ones instead)"
        self.description = (
            f"{self._servers}, keys {self._prefix}...: what was acknowledged survives a crash of this server, and is lost when"
            f" memcached ends or its machine crashes; {full}"
        )

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        return ensureDeferred(self._alone(self._close()))

    async def _close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        if self._servers.connected:
            released = ensureDeferred(self._lease.release()).addTimeout(RELEASE_SECONDS, self._reactor)
            try:
                await released
            except (StoreError, TimeoutError) as error:
                log.info("The lease of the queue runs out by itself: {why}", why=str(error))
        await self._servers.close()

    # Being the owner.

    def _schedule(self) -> None:
        self._renewal = self._reactor.callLater(memcachedlease.RENEW_SECONDS, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        ensureDeferred(self._alone(self._keep_lease())).addErrback(lambda failure: log.failure("The lease can't be kept.", failure))

    async def _keep_lease(self) -> None:
        try:
            if self._servers.connected:
                await self._lease.renew()
            else:
                await self._ready()
        except StoreError as error:
            # It is tried again, and whoever commits hears of it.
            log.debug("The lease of the queue was not renewed: {why}", why=error)
        self._schedule()

    async def _ready(self) -> None:
        """
        Be connected, and the owner, with nothing left of a batch that failed.

        @raise StoreError: if that can't be; nothing of the next batch is
            stored then.
        """
        if self._servers.connected and not self._doubtful:
            if not self._lease.stale:
                return
        else:
            self._backoff.check()
        try:
            if not self._servers.connected:
                await self._servers.connect()
                await self._greet()
            await self._lease.renew()
            if self._doubtful:
                await self._undo()
        except StoreError as error:
            error.uncertain = False
            self._servers.drop()
            self._backoff.failed(error)
            raise
        self._backoff.succeeded()

    def _has_forgotten(self, index: int) -> None:
        """
        A server was restarted.
        """
        log.error(
            "memcached at {address} was restarted and has lost what it held. Jobs that were stored there still wait here, and"
            " would not survive a crash of this server.",
            address=str(self._servers.addresses[index]),
        )
        if index == 0:
            self._segments.begin(())
            self._doubtful = []

    # Committing.

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        keys = self._keys
        writes = [Write(keys, record) for record in added]
        removals = [(record, place_of(record)[1] or keys.of(record)) for record in removed]
        return ensureDeferred(self._alone(self._commit(writes, removals)))

    def commit_one(self, record: JobRecord, done: Callable[[Failure | None], object]) -> bool:
        """
        See L{IPromptQueueStore.commit_one}.
        """
        connection = self._servers.only
        if connection is None or not connection.quiet or self._lock.locked or self._doubtful or self._lease.stale:
            return False
        if record.key is not None or len(record.workload) > self._limits[0]:
            return False
        segments = self._segments
        write = Write(self._keys, record)
        [part] = segments.plan([write], self._limits[0])
        commands = (*segments.add(part), b"add", write.tail, write.workload, b"\r\n", *segments.set_index(segments.jobs + 1))
        self._lock.acquire()
        self._doubtful = [Doubt(part.segment, write.key)]
        connection.exchange_for(b"".join(commands), _ALL_STORED, partial(self._answered, connection, write, part, done))
        return True

    def _answered(
        self,
        connection: Connection,
        write: Write,
        part: Part,
        done: Callable[[Failure | None], object],
        answers: list[bytes] | Failure | None,
    ) -> None:
        if answers is None:
            self._doubtful = []
            self._segments.count_in([part])
            self._lock.release()
            self._tidy()
            done(None)
        else:
            ensureDeferred(self._finish_one(connection, write, part, answers)).addCallbacks(done, done)

    async def _finish_one(self, connection: Connection, write: Write, part: Part, answers: list[bytes] | Failure) -> None:
        """
        Take the answers to a batch of one job that are not the usual ones.

        @raise StoreError: if it is not stored, or that is uncertain.
        """
        try:
            if isinstance(answers, Failure):
                raise self._servers.explain(0, connection, answers)
            of_index, of_item, of_end = answers
            try:
                await self._check(Answers([[]], [of_index], [[of_item]], [of_end]), [write], [part], {}, {})
            except _Again:
                await self._commit([write], [])
        finally:
            self._lock.release()

    async def _commit(self, writes: list[Write], removals: list[tuple[JobRecord, bytes]]) -> None:
        await self._ready()
        self._check_sizes(writes)
        for _ in range(TRIES):
            try:
                await self._write(writes, removals)
            except _Again:
                continue
            self._tidy()
            return
        self._give_up()

    async def _find(self, there: dict[bytes, Write]) -> None:
        """
        Look in the index for jobs whose items are there, though their records do not know it: a batch is committed again,
        after a restart.
        """
        for segment in list(self._segments.by_number.values()):
            found = await self._servers.values([self._keys.segment(segment.number)])
            for _, text in found.values():
                # (What the batch itself has written there is not stored.)
                live = read_segment(text + segment.waiting, self._segments.batch - 1).live
                for key in there.keys() & live.keys():
                    write = there[key]
                    write.record.key = segment if write.derived else Place(segment, key)
        # The items stay, and so do their entries.
        self._doubtful = [
            Doubt(doubt.segment, doubt.key, doubt.key not in there)
            for doubt in self._doubtful
            if doubt.key not in there or self._segments.of(there[doubt.key].record) is not doubt.segment
        ]

    def _give_up(self) -> NoReturn:
        """
        @raise StoreError: always.
        """
        raise StoreError(f"{self._servers} evicts what was just stored: it has too little memory; give it more (-m).")

    def _check_sizes(self, writes: list[Write]) -> None:
        for write in writes:
            if len(write.workload) > min(self._limits):
                self._refuse_size(write)

    def _refuse_size(self, write: Write) -> NoReturn:
        index = self._servers.index_of(write.key)
        raise StoreError(
            f"memcached at {self._servers.addresses[index]} does not take a job of {len(write.workload)} bytes: it is too large"
            f" for its limit of {self._limits[index]} bytes (memcached -I)."
        )

    async def _write(self, writes: list[Write], removals: list[tuple[JobRecord, bytes]]) -> None:
        """
        Write one batch.

        @raise StoreError: if nothing of it is stored, or that is uncertain.
        @raise _Again: if it has to be begun anew.
        """
        segments = self._segments
        changes: dict[Segment, list[bytes]] = {}
        over: dict[Segment, int] = {}
        for record, key in removals:
            segment = segments.of(record)
            if segment is not None:
                changes.setdefault(segment, []).append(b"-%b\n" % key)
                over[segment] = over.get(segment, 0) + 1
        fresh: list[Write] = []
        updated: dict[Segment, int] = {}
        for write in writes:
            segment = segments.of(write.record)
            if segment is None:
                fresh.append(write)
            else:
                changes.setdefault(segment, []).append(b"=%d\n" % ALWAYS + write.line)
                updated[segment] = updated.get(segment, 0) + 1

        index, end = Commands(), Commands()
        deletions = [Commands() for _ in self._servers.addresses]
        items = [Commands() for _ in self._servers.addresses]
        for _, key in removals:
            deletions[self._servers.index_of(key)].add(b"delete %b\r\n" % key)
        for segment, lines in changes.items():
            lines.insert(0, segment.waiting)
            index.add(*segments.append(segment, b"".join(lines)))
        parts = segments.plan(fresh, self._limits[0])
        for part in parts:
            index.add(*segments.add(part))
        newcomers = set(fresh)
        for write in writes:
            # (An item that is there may be that of a job which is stored, though this record does not tell.)
            command = b"add" if write in newcomers and not write.forced else b"set"
            items[self._servers.index_of(write.key)].add(command, write.tail, write.workload, b"\r\n")
        growing = {segments.current, *(part.segment for part in parts)}
        emptied = [segment for segment, count in over.items() if segment.live == count and segment not in growing]
        if fresh or emptied:
            end.add(*segments.set_index(segments.jobs + len(fresh) - sum(over.values()), emptied))
        for segment in emptied:
            end.add(segments.delete(segment))

        # Should this end in an exception, all of it is in doubt.
        self._doubtful = [Doubt(part.segment, write.key) for part in parts for write in part.share]
        await self._check(await self._perform(deletions, index, items, end), writes, parts, changes, updated)
        for segment, lines in changes.items():
            segments.changed(segment, updated.get(segment, 0), over.get(segment, 0), sum(map(len, lines)))
        for record, _ in removals:
            record.key = None
        segments.count_in(parts)
        for segment in emptied:
            segments.drop(segment)

    async def _perform(
        self, deletions: list[Commands], index: Commands, items: list[Commands], end: Commands
    ) -> Answers:
        """
        Have the servers do the steps of a batch.
        """
        if len(items) > 1:
            rest = [Commands() for _ in items[1:]]
            of_deletions = await self._servers.exchange(deletions)
            [of_index, *_] = await self._servers.exchange([index, *rest])
            of_items = await self._servers.exchange(items)
            [of_end, *_] = await self._servers.exchange([end, *rest])
            return Answers(of_deletions, of_index, of_items, of_end)
        whole = Commands()
        slices = [whole.extend(commands.parts, commands.count) for commands in (deletions[0], index, items[0], end)]
        [answers] = await self._servers.exchange([whole])
        first, second, third, fourth = (answers[each] for each in slices)
        return Answers([first], second, [third], fourth)

    async def _check(
        self,
        answers: Answers,
        writes: list[Write],
        parts: list[Part],
        changes: dict[Segment, list[bytes]],
        updated: dict[Segment, int],
    ) -> None:
        """
        See what became of a batch.  If it is not stored, nothing of it is left.

        @raise StoreError: if it is not stored, or that is uncertain.
        @raise _Again: if it has to be begun anew.
        """
        try:
            self._check_deletions(answers.deletions)
            self._check_index(answers.entries, changes, updated, parts)
            self._check_items(answers.items, writes)
            if parts and answers.end[0] != b"STORED":
                self._refuse(0, answers.end[0])
        except (StoreError, _Again) as error:
            try:
                if isinstance(error, _Again) and error.there:
                    await self._find(error.there)
                await self._ready()
            except StoreError as why:
                why.uncertain = True
                raise why from error
            raise
        self._doubtful = []

    def _check_deletions(self, answers: list[list[bytes]]) -> None:
        for index, lines in enumerate(answers):
            for answer in set(lines) - {b"DELETED", b"NOT_FOUND"}:
                self._refuse(index, answer)

    def _check_index(
        self,
        answers: list[bytes],
        changes: dict[Segment, list[bytes]],
        updated: dict[Segment, int],
        parts: list[Part],
    ) -> None:
        """
        See what became of the changes to segments.
        """
        evicted: _Again | None = None
        for (segment, lines), answer in zip(changes.items(), answers):
            if answer == b"STORED":
                segment.waiting = b""
            elif answer == b"NOT_STORED":
                self._lose(segment)
                if segment in updated:
                    evicted = _Again()
            elif segment in updated:
                self._refuse(0, answer)
            else:
                # The items are gone; that their jobs are over can be written later.
                segment.waiting = b"".join(lines)
        for part, answer in zip(parts, answers[len(changes) :]):
            if answer == b"NOT_STORED":
                self._lose(part.segment)
                evicted = _Again()
            elif answer != b"STORED":
                self._refuse(0, answer)
        if evicted is not None:
            raise evicted

    def _check_items(self, answers: list[list[bytes]], writes: list[Write]) -> None:
        """
        See what became of the items.
        """
        if all(set(lines) <= {b"STORED"} for lines in answers):
            return
        waiting = [iter(lines) for lines in answers]
        there: dict[bytes, Write] = {}
        for write in writes:
            index = self._servers.index_of(write.key)
            answer = next(waiting[index])
            if answer == b"NOT_STORED":
                write.forced = True
                there[write.key] = write
            elif answer.startswith(b"SERVER_ERROR object too large"):
                self._refuse_size(write)
            elif answer != b"STORED":
                self._refuse(index, answer)
        if there:
            raise _Again(there)

    def _refuse(self, index: int, answer: bytes) -> NoReturn:
        """
        @raise StoreError: always: why a server did not do something.
        """
        address = self._servers.addresses[index]
        if b"out of memory" in answer:
            raise StoreError(
                f"memcached at {address} is full, and refuses new jobs (out of memory): run workers, or give it more (-m)."
            )
        raise StoreError(f"memcached at {address} refuses a job: {answer.decode('utf-8', 'backslashreplace')}.")

    def _lose(self, segment: Segment) -> None:
        """
        memcached has forgotten a segment.
        """
        if not self._told:
            self._told = True
            log.error(
                "memcached at {address} has lost a part of what it held: it has too little memory (-m), or was flushed. Jobs"
                " that were stored there still wait here, and may not survive a crash of this server.",
                address=str(self._servers.addresses[0]),
            )
        self._segments.drop(segment)

    async def _undo(self) -> None:
        """
        See to it that nothing is left of a batch that failed.
        """
        segments = self._segments
        lines: dict[Segment, list[bytes]] = {}
        commands = [Commands() for _ in self._servers.addresses]
        for segment, key, item in self._doubtful:
            lines.setdefault(segment, []).append(b"-%b\n" % key)
            if item:
                commands[self._servers.index_of(key)].add(b"delete %b\r\n" % key)
        for segment, each in lines.items():
            if segment.live:
                segment.size += sum(map(len, each))
                commands[0].add(*segments.append(segment, b"".join(each)))
            else:
                commands[0].add(segments.delete(segment))
        gone = [segment for segment in lines if not segment.live]
        commands[0].add(*segments.set_index(segments.jobs, gone))
        await self._servers.exchange(commands)
        for segment in gone:
            segments.drop(segment)
        self._doubtful = []

    # Keeping the index small.

    def _tidy(self) -> None:
        """
        Rewrite segments, once this batch is done, if the index holds much that
        is over.
        """
        if self._segments.untidy:
            ensureDeferred(self._alone(self._rewrite())).addErrback(lambda failure: log.failure("The index can't be rewritten.", failure))

    async def _rewrite(self) -> None:
        segments = self._segments
        worst = segments.worst()
        if not self._servers.connected or self._doubtful or not worst:
            return
        try:
            texts = await self._servers.values([self._keys.segment(segment.number) for segment in worst])
            commands = Commands()
            sizes: list[tuple[Segment, int, int]] = []
            for segment in worst:
                _, text = texts.get(self._keys.segment(segment.number), (0, b""))
                live = read_segment(text + segment.waiting, segments.batch).live
                text = b"=%d\n" % ALWAYS + b"".join(line + b"\n" for line in live.values())
                commands.add(*segments.set(segment, text))
                sizes.append((segment, len(live), len(text)))
            [answers, *_] = await self._servers.exchange([commands, *(Commands() for _ in self._servers.addresses[1:])])
        except StoreError as error:
            log.debug("The index was not rewritten: {why}", why=error)
            return
        segments.overgrown = None
        for (segment, lines, size), answer in zip(sizes, answers):
            if answer == b"STORED":
                segments.rewritten(segment, lines, size)

    # Replaying.

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        return ensureDeferred(self._replay(accept))

    async def _replay(self, accept: Accept) -> int:
        replay = Replay(self._servers, self._keys)
        try:
            await replay.begin()
            self._segments.begin(replay.segments)
            self._segments.batch = replay.batch
            progress = Progress(str(self._servers), self._segments.jobs + replay.strange)
            async for records in replay.jobs():
                await _taken(accept(records))
                progress.advance(len(records))
            async for records in replay.strangers():
                await self._alone(self._adopt(records))
                await _taken(accept(records))
                progress.advance(len(records))
            await self._alone(self._clear(replay))
            await replay.report()
        except StoreError as error:
            error.uncertain = False
            raise
        return progress.done

    async def _adopt(self, records: list[JobRecord]) -> None:
        """
        Take jobs that gearmand has stored into the index.  They keep their place in the order then, and it is seen if one is
        evicted.
        """
        await self._ready()
        segments = self._segments
        for _ in range(TRIES):
            index, end = Commands(), Commands()
            parts = segments.plan([Write(self._keys, record) for record in records], self._limits[0])
            for part in parts:
                index.add(*segments.add(part))
            end.add(*segments.set_index(segments.jobs + len(records)))
            none = [Commands() for _ in self._servers.addresses]
            answers = await self._perform(none, index, none, end)
            try:
                self._check_index(answers.entries, {}, {}, parts)
            except _Again:
                continue
            if answers.end != [b"STORED"]:
                self._refuse(0, answers.end[0])
            segments.count_in(parts)
            return
        self._give_up()

    async def _clear(self, replay: Replay) -> None:
        """
        Take out of the index what is not there, and what was stored in part.
        """
        await self._ready()
        for segment, _ in replay.missing:
            segment.live -= 1
            self._segments.jobs -= 1
        self._doubtful = [Doubt(segment, key) for segment, key in replay.missing + replay.half]
        if self._doubtful or not replay.intact:
            await self._undo()


async def _taken(accepted: Deferred[None] | None) -> None:
    if accepted is not None:
        await accepted
