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

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IQueueStore, StoreError
from gearsvc.logs import Logger
from gearsvc.stores import memcachedlease
from gearsvc.stores.memcachedclient import Address, Servers
from gearsvc.stores.memcachedconnection import Commands
from gearsvc.stores.memcachedindex import (
    ALWAYS,
    Keys,
    Place,
    Segment,
    entry_line,
    index_text,
    read_segment,
)
from gearsvc.stores.memcachedlease import Lease
from gearsvc.stores.memcachedreplay import Replay
from gearsvc.stores.progress import Progress
from gearsvc.stores.reconnecting import Backoff

log = Logger(__name__)

SEGMENT_BYTES = 64 * 1024
"""
How large a segment of the index may grow: memcached copies it each time something is appended.
"""

SPARE_LINES = 10_000
"""
How many lines of jobs that are over the index may hold, beside as many as there are jobs.
"""

REWRITTEN_SEGMENTS = 32
"""
How many segments are rewritten at once, to get rid of such lines.
"""

RELEASE_SECONDS = 2.0
"""
How long to wait for memcached when the server ends: the lease runs out by itself.
"""

TRIES = 3
"""
How often a batch is begun, when memcached has just evicted the part of the index that it changes.
"""


class Write:
    """
    A job to be stored, as it was when it was handed in.

    @ivar record: the job.
    @ivar segment: where its entry is, if it is stored already.
    @ivar key: its key.
    @ivar derived: whether L{Keys.of} gives its key.
    @ivar line: its entry.
    @ivar tail: what stores the item, behind the command's name.
    @ivar forced: whether an item that is there is to be replaced, though it is
        not known to be this job's.
    """

    __slots__ = ("record", "key", "derived", "line", "tail", "workload", "forced")

    def __init__(self, keys: Keys, record: JobRecord) -> None:
        self.record = record
        _, key = _place_of(record)
        self.derived = key is None
        self.key = keys.of(record) if key is None else key
        self.line = entry_line(keys.prefix, record, self.key, self.derived)
        self.workload = record.workload
        self.tail = b" %b %d 0 %d\r\n" % (self.key, record.priority, len(record.workload))
        self.forced = False


def _place_of(record: JobRecord) -> tuple[Segment | None, bytes | None]:
    """
    Where a job's entry is, as far as is known, and its key, if that is not the one which it would be given.
    """
    place = record.key
    if isinstance(place, Place):
        return place.segment, place.key
    return place if isinstance(place, Segment) else None, None


Part = tuple[Segment, bool, bytes, list[Write]]
"""
A segment, whether it is new, what is to be appended to it, and of which jobs that is.
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


@implementer(IQueueStore)
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

        # The index, as it is there.
        self._segments: dict[int, Segment] = {}
        self._current: Segment | None = None
        self._batch = ALWAYS
        self._jobs = 0
        self._lines = 0
        self._overgrown: Segment | None = None
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
            self._segments.clear()
            self._current = self._overgrown = None
            self._doubtful = []
            self._jobs = self._lines = 0

    # Committing.

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        keys = self._keys
        writes = [Write(keys, record) for record in added]
        removals = [(record, _place_of(record)[1] or keys.of(record)) for record in removed]
        return ensureDeferred(self._alone(self._commit(writes, removals)))

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
        for segment in list(self._segments.values()):
            found = await self._servers.values([self._keys.segment(segment.number)])
            for _, text in found.values():
                # (What the batch itself has written there is not stored.)
                live = read_segment(text + segment.waiting, self._batch - 1).live
                for key in there.keys() & live.keys():
                    write = there[key]
                    write.record.key = segment if write.derived else Place(segment, key)
        # The items stay, and so do their entries.
        self._doubtful = [
            Doubt(doubt.segment, doubt.key, doubt.key not in there)
            for doubt in self._doubtful
            if doubt.key not in there or self._segment_of(there[doubt.key].record) is not doubt.segment
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

    def _segment_of(self, record: JobRecord) -> Segment | None:
        """
        The segment in which a job's entry is.
        """
        segment = _place_of(record)[0]
        return segment if segment is not None and self._segments.get(segment.number) is segment else None

    async def _write(self, writes: list[Write], removals: list[tuple[JobRecord, bytes]]) -> None:
        """
        Write one batch.

        @raise StoreError: if nothing of it is stored, or that is uncertain.
        @raise _Again: if it has to be begun anew.
        """
        changes: dict[Segment, list[bytes]] = {}
        over: dict[Segment, int] = {}
        for record, key in removals:
            segment = self._segment_of(record)
            if segment is not None:
                changes.setdefault(segment, []).append(b"-%b\n" % key)
                over[segment] = over.get(segment, 0) + 1
        fresh: list[Write] = []
        updated: dict[Segment, int] = {}
        for write in writes:
            segment = self._segment_of(write.record)
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
            index.extend(self._append(segment, b"".join(lines)), 1)
        parts = self._plan(fresh)
        for segment, new, text, _ in parts:
            index.extend(self._set(segment, text) if new else self._append(segment, text), 1)
        newcomers = set(fresh)
        for write in writes:
            # (An item that is there may be that of a job which is stored, though this record does not tell.)
            command = b"add" if write in newcomers and not write.forced else b"set"
            items[self._servers.index_of(write.key)].add(command, write.tail, write.workload, b"\r\n")
        growing = {self._current, *(segment for segment, _, _, _ in parts)}
        emptied = [segment for segment, count in over.items() if segment.live == count and segment not in growing]
        if fresh or emptied:
            jobs = self._jobs + len(fresh) - sum(over.values())
            numbers = self._segments.keys() - {segment.number for segment in emptied}
            end.extend(self._set_index(jobs, numbers), 1)
        for segment in emptied:
            end.add(b"delete %b\r\n" % self._keys.segment(segment.number))

        # Should this end in an exception, all of it is in doubt.
        self._doubtful = [Doubt(segment, write.key) for segment, _, _, share in parts for write in share]
        of_deletions, of_index, of_items, of_end = await self._perform(deletions, index, items, end)
        try:
            self._check_deletions(of_deletions)
            self._check_index(of_index, changes, updated, parts)
            self._check_items(of_items, writes)
            if fresh and of_end[0] != b"STORED":
                self._refuse(0, of_end[0])
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

        for segment, lines in changes.items():
            if self._segments.get(segment.number) is segment:
                count = updated.get(segment, 0)
                segment.lines += count
                self._lines += count
                segment.live -= over.get(segment, 0)
                self._jobs -= over.get(segment, 0)
                segment.size += sum(map(len, lines))
                if segment.size > 4 * SEGMENT_BYTES:
                    self._overgrown = segment
        for record, _ in removals:
            record.key = None
        self._count_in(parts)
        for segment in emptied:
            self._drop(segment)

    def _count_in(self, parts: list[Part]) -> None:
        """
        Entries are there.
        """
        for segment, _, _, share in parts:
            segment.live += len(share)
            segment.lines += len(share)
            self._lines += len(share)
            self._jobs += len(share)
            for write in share:
                write.record.key = segment if write.derived else Place(segment, write.key)

    def _plan(self, fresh: list[Write]) -> list[Part]:
        """
        Find room for new entries.
        """
        if not fresh:
            return []
        self._batch += 1
        header = b"=%d\n" % self._batch
        limit = min(SEGMENT_BYTES, self._limits[0] // 2)
        parts: list[Part] = []
        segment = self._current
        new = False
        lines: list[bytes] = [header]
        share: list[Write] = []
        for write in fresh:
            if segment is None or segment.size + len(write.line) > limit:
                if segment is not None and share:
                    parts.append((segment, new, b"".join(lines), share))
                    lines, share = [header], []
                segment = Segment(max(self._segments, default=0) + 1)
                self._segments[segment.number] = segment
                new = True
            lines.append(write.line)
            share.append(write)
            segment.size += len(write.line)
        assert segment is not None
        parts.append((segment, new, b"".join(lines), share))
        for each in parts:
            each[0].size += len(header)
        self._current = segment
        return parts

    def _append(self, segment: Segment, text: bytes) -> Iterable[bytes]:
        return b"append %b 0 0 %d\r\n" % (self._keys.segment(segment.number), len(text)), text, b"\r\n"

    def _set(self, segment: Segment, text: bytes) -> Iterable[bytes]:
        return b"set %b 0 0 %d\r\n" % (self._keys.segment(segment.number), len(text)), text, b"\r\n"

    def _set_index(self, jobs: int, numbers: Iterable[int]) -> Iterable[bytes]:
        text = index_text(self._batch, jobs, sorted(numbers))
        return b"set %b 0 0 %d\r\n" % (self._keys.index, len(text)), text, b"\r\n"

    async def _perform(
        self, deletions: list[Commands], index: Commands, items: list[Commands], end: Commands
    ) -> tuple[list[list[bytes]], list[bytes], list[list[bytes]], list[bytes]]:
        """
        Have the servers do the steps of a batch.

        @return: their answers.
        """
        if len(items) > 1:
            rest = [Commands() for _ in items[1:]]
            of_deletions = await self._servers.exchange(deletions)
            [of_index, *_] = await self._servers.exchange([index, *rest])
            of_items = await self._servers.exchange(items)
            [of_end, *_] = await self._servers.exchange([end, *rest])
            return of_deletions, of_index, of_items, of_end
        whole = Commands()
        slices = [whole.extend(commands.parts, commands.count) for commands in (deletions[0], index, items[0], end)]
        [answers] = await self._servers.exchange([whole])
        first, second, third, fourth = (answers[each] for each in slices)
        return [first], second, [third], fourth

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
        for (segment, _, _, _), answer in zip(parts, answers[len(changes) :]):
            if answer == b"NOT_STORED":
                self._lose(segment)
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
        self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        """
        Remember a segment no longer.
        """
        if self._segments.pop(segment.number, None) is not None:
            self._lines -= segment.lines
            self._jobs -= segment.live
        if self._current is segment:
            self._current = None
        if self._overgrown is segment:
            self._overgrown = None

    async def _undo(self) -> None:
        """
        See to it that nothing is left of a batch that failed.
        """
        lines: dict[Segment, list[bytes]] = {}
        commands = [Commands() for _ in self._servers.addresses]
        for segment, key, item in self._doubtful:
            lines.setdefault(segment, []).append(b"-%b\n" % key)
            if item:
                commands[self._servers.index_of(key)].add(b"delete %b\r\n" % key)
        for segment, each in lines.items():
            if segment.live:
                segment.size += sum(map(len, each))
                commands[0].extend(self._append(segment, b"".join(each)), 1)
            else:
                commands[0].add(b"delete %b\r\n" % self._keys.segment(segment.number))
        left = [segment.number for segment in self._segments.values() if segment.live or segment not in lines]
        commands[0].extend(self._set_index(self._jobs, left), 1)
        await self._servers.exchange(commands)
        for segment in lines:
            if not segment.live:
                self._drop(segment)
        self._doubtful = []

    # Keeping the index small.

    def _tidy(self) -> None:
        """
        Rewrite segments, once this batch is done, if the index holds much that
        is over.
        """
        if self._lines - self._jobs > SPARE_LINES + self._jobs or self._overgrown is not None:
            ensureDeferred(self._alone(self._rewrite())).addErrback(lambda failure: log.failure("The index can't be rewritten.", failure))

    async def _rewrite(self) -> None:
        worst = sorted(self._segments.values(), key=lambda segment: segment.live - segment.lines)[:REWRITTEN_SEGMENTS]
        if self._overgrown is not None and self._overgrown not in worst:
            worst.append(self._overgrown)
        if not self._servers.connected or self._doubtful or not worst:
            return
        try:
            texts = await self._servers.values([self._keys.segment(segment.number) for segment in worst])
            commands = Commands()
            sizes: list[tuple[Segment, int, int]] = []
            for segment in worst:
                _, text = texts.get(self._keys.segment(segment.number), (0, b""))
                live = read_segment(text + segment.waiting, self._batch).live
                text = b"=%d\n" % ALWAYS + b"".join(line + b"\n" for line in live.values())
                commands.extend(self._set(segment, text), 1)
                sizes.append((segment, len(live), len(text)))
            [answers, *_] = await self._servers.exchange([commands, *(Commands() for _ in self._servers.addresses[1:])])
        except StoreError as error:
            log.debug("The index was not rewritten: {why}", why=error)
            return
        self._overgrown = None
        for (segment, lines, size), answer in zip(sizes, answers):
            if answer == b"STORED":
                self._lines += lines - segment.lines
                segment.lines = lines
                segment.size = size
                segment.waiting = b""

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
            self._segments = {segment.number: segment for segment in replay.segments}
            self._current = max(replay.segments, key=lambda segment: segment.number, default=None)
            self._batch = replay.batch
            self._jobs = sum(segment.live for segment in replay.segments)
            self._lines = sum(segment.lines for segment in replay.segments)
            progress = Progress(str(self._servers), self._jobs + replay.strange)
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
        for _ in range(TRIES):
            index, end = Commands(), Commands()
            parts = self._plan([Write(self._keys, record) for record in records])
            for segment, new, text, _ in parts:
                index.extend(self._set(segment, text) if new else self._append(segment, text), 1)
            end.extend(self._set_index(self._jobs + len(records), self._segments), 1)
            none = [Commands() for _ in self._servers.addresses]
            _, of_index, _, of_end = await self._perform(none, index, none, end)
            try:
                self._check_index(of_index, {}, {}, parts)
            except _Again:
                continue
            if of_end != [b"STORED"]:
                self._refuse(0, of_end[0])
            self._count_in(parts)
            return
        self._give_up()

    async def _clear(self, replay: Replay) -> None:
        """
        Take out of the index what is not there, and what was stored in part.
        """
        await self._ready()
        for segment, _ in replay.missing:
            segment.live -= 1
            self._jobs -= 1
        self._doubtful = [Doubt(segment, key) for segment, key in replay.missing + replay.half]
        if self._doubtful or not replay.intact:
            await self._undo()


async def _taken(accepted: Deferred[None] | None) -> None:
    if accepted is not None:
        await accepted
