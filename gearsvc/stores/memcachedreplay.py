"""
What a server that starts finds in memcached.

First come the jobs of the index, in its order; then those of which it knows nothing: gearmand has stored them.  memcached
lists their keys.  (The list of its own crawler is complete; where there is none, an older one is cut after 2 MB.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from zlib import crc32

from twisted.internet.defer import Deferred, ensureDeferred

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.logs import Logger
from gearsvc.stores.memcachedclient import Servers
from gearsvc.stores.memcachedconnection import Value
from gearsvc.stores.memcachedindex import ALWAYS, Entry, Index, Keys, Place, Segment, read_entry, read_segment

log = Logger(__name__)

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How much of the queue is in memory on its way to the job server.
"""

_NOWHERE = Segment(-1)


class Stranger(NamedTuple):
    """
    An item of which the index knows nothing.

    @ivar time: when it was last written or read, where that is needed for the order.
    @ivar change: grows with each change in its server.
    @ivar size: how large it is, about.
    """

    time: int
    change: int
    key: bytes
    size: int


Piece = list[tuple[Segment, Entry]]
"""
Some entries, and where they are.
"""


class Replay:
    """
    One replay.

    @ivar segments: the segments that are there.
    @ivar batch: the highest number of a batch.
    @ivar strange: how many jobs gearmand may have stored.
    @ivar missing: entries whose jobs are gone.
    @ivar half: entries whose batch was stored in part.
    @ivar intact: whether the index is there, where it has to be.
    """

    def __init__(self, servers: Servers, keys: Keys) -> None:
        self._servers = servers
        self._keys = keys
        self.segments: list[Segment] = []
        self.batch = ALWAYS
        self.strange = 0
        self.intact = True
        self.missing: list[tuple[Segment, bytes]] = []
        self.half: list[tuple[Segment, bytes]] = []
        self._stored = ALWAYS
        self._texts: list[bytes] = []
        self._strangers: list[Stranger] = []
        self._lost = 0
        self._numbers: set[int] = set()
        # One object for each name: a million jobs share them.
        self._names: dict[bytes, bytes] = {}

    async def begin(self) -> None:
        """
        Read the index, and list the keys.

        @raise StoreError: if a server does not answer, or the index can't be read.
        """
        found = await self._servers.values([self._keys.index])
        if found:
            try:
                index = Index.read(found[self._keys.index][1])
            except ValueError:
                raise StoreError(
                    f"In {self._servers}, {self._keys.index.decode('utf-8', 'backslashreplace')} is not the index of a queue;"
                    " remove it, or use another --libmemcached-prefix."
                ) from None
            numbers, self._stored = index.segments, index.stored
            self.batch = self._stored
        else:
            # There is none, or it was evicted: segments may be there.
            await self._list(set())
            numbers = sorted(self._numbers)
            self.intact = not numbers
            self._stored = 2**63
        known = await self._read_segments(numbers)
        if found:
            await self._list(known)
        else:
            self._strangers = [stranger for stranger in self._strangers if stranger.key not in known]
        # memcached may list an item twice that it moves meanwhile.
        self._strangers = list({stranger.key: stranger for stranger in self._strangers}.values())
        self._lost = sum(self._keys.hidden(stranger.key) for stranger in self._strangers)
        self._strangers = sorted(each for each in self._strangers if self._keys.names_in(each.key) is not None)
        self.strange = len(self._strangers)

    async def _read_segments(self, numbers: list[int]) -> set[bytes]:
        """
        @return: the keys in them.
        """
        known: set[bytes] = set()
        half: list[tuple[Segment, bytes]] = []
        for start in range(0, len(numbers), 50):
            some = numbers[start : start + 50]
            values = await self._servers.values([self._keys.segment(number) for number in some])
            for number in some:
                _, text = values.get(self._keys.segment(number), (0, b""))
                if not text:
                    continue
                read = read_segment(text, self._stored)
                segment = Segment(number)
                segment.live, segment.lines, segment.size = len(read.live), read.lines, len(text)
                self.segments.append(segment)
                self._texts.append(text)
                self.batch = max(self.batch, read.last)
                known.update(read.live)
                half += [(segment, key) for key in read.half]
        self._texts.reverse()
        self.half = [(segment, key) for segment, key in half if key not in known]
        known.update(key for _, key in half)
        return known

    # The list of keys.

    async def _list(self, known: set[bytes]) -> None:
        """
        Find strangers, and segments.
        """
        dumped, cached = self._keys.listing_patterns()
        # The order of changes is that of jobs; but not from server to server.
        several = len(self._servers.addresses) > 1

        def take_dumped(lines: list[tuple[bytes, ...]]) -> None:
            for quoted, time, change, size in lines:
                key = unquote_to_bytes(quoted) if b"%" in quoted else quoted
                if key not in known:
                    self._take(key, int(time) if several or change == b"0" else 0, int(change), int(size or 0))

        def take_cached(lines: list[tuple[bytes, ...]]) -> None:
            for key, size in lines:
                if key not in known:
                    # The youngest comes first.
                    self._take(key, 0, -len(self._strangers), int(size))

        for index, address in enumerate(self._servers.addresses):
            if not await self._servers.list_keys(index, dumped, cached, take_dumped, take_cached):
                log.error(
                    "memcached at {address} does not list its keys: jobs that gearmand has stored there are not found.",
                    address=str(address),
                )

    def _take(self, key: bytes, time: int, change: int, size: int) -> None:
        number = self._keys.segment_number(key)
        if number is not None:
            self._numbers.add(number)
        elif key.startswith(self._keys.prefix):
            self._strangers.append(Stranger(time, change, key, size))

    # The jobs.

    async def jobs(self) -> AsyncIterator[list[JobRecord]]:
        """
        The jobs of the index.

        @return: some at a time, in their order, with their places.
        """
        pieces = self._pieces()
        piece = next(pieces, None)
        coming = self._values(piece)
        try:
            while piece is not None:
                values = await coming
                following = next(pieces, None)
                # The servers find these while the job server takes the others.
                coming = self._values(following)
                yield self._records(piece, values)
                piece = following
        finally:
            coming.addErrback(lambda failure: None)

    def _pieces(self) -> Iterator[Piece]:
        prefix = self._keys.prefix
        piece: Piece = []
        size = 0
        for segment in self.segments:
            # A text is not needed any more once it has been read.
            text = self._texts.pop()
            for line in read_segment(text, self._stored).live.values():
                entry = read_entry(prefix, line)
                piece.append((segment, entry))
                size += entry.size
                if len(piece) >= REPLAY_ROWS or size >= REPLAY_BYTES:
                    yield piece
                    piece, size = [], 0
        if piece:
            yield piece

    def _values(self, piece: Piece | None) -> Deferred[dict[bytes, Value]]:
        return ensureDeferred(self._servers.values([entry.key for _, entry in piece or ()]))

    def _records(self, piece: Piece, values: dict[bytes, Value]) -> list[JobRecord]:
        records: list[JobRecord] = []
        names = self._names
        for segment, entry in piece:
            value = values.get(entry.key)
            if value is None:
                self.missing.append((segment, entry.key))
                continue
            priority, workload = value
            if len(workload) != entry.size or crc32(workload) != entry.checksum:
                record = self._stranger(segment, entry.key, value)
                if record is not None:
                    records.append(record)
                continue
            reducer = entry.reducer
            record = JobRecord(
                entry.handle,
                names.setdefault(entry.function, entry.function),
                entry.unique,
                priority,
                workload,
                entry.run_at,
                reducer if reducer is None else names.setdefault(reducer, reducer),
                entry.attempts,
                entry.submitted,
                segment if entry.derived else Place(segment, entry.key),
            )
            records.append(record)
        return records

    async def strangers(self) -> AsyncIterator[list[JobRecord]]:
        """
        The jobs of which the index knows nothing.

        @return: some at a time, in the order of submission as far as that can be told, with their keys for places.
        """
        start = 0
        while start < len(self._strangers):
            end, size = start, 0
            while end < len(self._strangers) and end - start < REPLAY_ROWS and size < REPLAY_BYTES:
                size += self._strangers[end].size
                end += 1
            keys = [stranger.key for stranger in self._strangers[start:end]]
            values = await self._servers.values(keys)
            made = [self._stranger(_NOWHERE, key, values[key]) for key in keys if key in values]
            records = [record for record in made if record is not None]
            if records:
                yield records
            start = end

    def _stranger(self, segment: Segment, key: bytes, value: Value) -> JobRecord | None:
        found = self._keys.names_in(key)
        if found is None:
            return None
        function, unique = found
        return JobRecord(b"", self._names.setdefault(function, function), unique, *value, key=Place(segment, key))

    async def report(self) -> None:
        """
        Say in the log what was lost.
        """
        lost = self._lost + len(self.missing)
        if not lost:
            return
        everyone = range(len(self._servers.addresses))
        answers = await self._servers.ask(*[(index, lambda connection: connection.stats()) for index in everyone])
        if any(int(answer.get(b"evictions", 0)) for answer in answers):
            log.error(
                "{count} stored jobs are lost, for {servers} has evicted them. Give it more memory (-m), or let it refuse new"
                " jobs instead (-M).",
                count=lost,
                servers=str(self._servers),
            )
        else:
            log.notice(
                "{count} jobs that were stored are no longer in {servers}: another server has run them, or a memcached was"
                " restarted.",
                count=lost,
                servers=str(self._servers),
            )
