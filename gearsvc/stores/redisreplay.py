"""
Reading a queue from Redis.

Redis does not keep keys in any order.  So they are listed first, each with its place and the size of its job, and put in
order; and then the jobs are fetched, some at a time.  What gearmand stored has no place, and comes first, what older ones
did before the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from struct import Struct
from typing import Any

from twisted.internet.defer import Deferred

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.logs import Logger
from gearsvc.stores.redisconnection import Connection
from gearsvc.stores.redislayout import Layout, place_of

log = Logger(__name__)

LIST_KEYS = 2_000
"""
How many keys Redis is to look at before it does something else.
"""

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How many jobs are in memory on their way to the job server, and of what size.
"""

NEIGHBOURS = 14
"""
Bits of a place.  Jobs whose places have the rest of theirs in common are put in order together.
"""

_PLACE = Struct(">QQ")

_ORDER = b"*3\r\n$4\r\nHGET\r\n$%d\r\n%b\r\n$8\r\npriority\r\n"
_OURS = b"*4\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$4\r\ndata\r\n$8\r\npriority\r\n"
_THEIRS = b"*6\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$4\r\ndata\r\n$8\r\npriority\r\n$8\r\nfunction\r\n$6\r\nunique\r\n"
_SIZE = b"*3\r\n$7\r\nHSTRLEN\r\n$%d\r\n%b\r\n$4\r\ndata\r\n"
_SIZE_OF_TEXT = b"*2\r\n$6\r\nSTRLEN\r\n$%d\r\n%b\r\n"
_TEXT = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n"

Keys = list[bytes]


class Replay:
    """
    All jobs of a queue, once.

    @ivar total: how many there are; known after L{look}.
    @ivar last: the last place, or 0; likewise.
    """

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        # Of our jobs, place, size and key: what sorts as the places do.
        self._ours: dict[int, list[bytes]] = defaultdict(list)
        # The keys of those that gearmand has stored.
        self._theirs: set[bytes] = set()
        # Of those, with their sizes, what gearmand up to 1.1.15 stored, the workload alone; and what newer ones did.
        self._texts: list[tuple[bytes, int]] = []
        self._hashes: list[tuple[bytes, int]] = []
        self._strangers: Keys = []
        self._ambiguous: Keys = []
        # One object for each: a million jobs share them.
        self._reducers: dict[bytes, bytes] = {}
        self.total = 0
        self.last = 0

    # What there is.

    async def look(self) -> None:
        """
        Find the keys.

        @raise StoreError: if Redis can't be asked.
        """
        scanned: Deferred[list[Any]] | None = self._scan(b"0")
        asked: Deferred[list[Any]] | None = None
        keys: Keys = []
        try:
            while scanned is not None:
                cursor, more = await scanned
                # Redis goes on while we sort in what it has answered before.
                scanned = None if cursor == b"0" else self._scan(cursor)
                before, asked = asked, self._ask(_ORDER, more) if more else None
                if before is not None:
                    self._sort_in(keys, await before)
                keys = more
            if asked is not None:
                self._sort_in(keys, await asked)
        finally:
            for left in (scanned, asked):
                if left is not None:
                    left.addErrback(lambda failure: failure.trap(StoreError))
        theirs = sorted(self._theirs, key=lambda key: (len(key), key))
        self._theirs.clear()
        for at in range(0, len(theirs), REPLAY_ROWS):
            await self._measure(theirs[at : at + REPLAY_ROWS])
        self.total = sum(map(len, self._ours.values())) + len(self._texts) + len(self._hashes)

    def _scan(self, cursor: bytes) -> Deferred[list[Any]]:
        return self._connection.ask("SCAN", cursor, "MATCH", self._layout.pattern, "COUNT", LIST_KEYS)

    def _ask(self, form: bytes, keys: Keys) -> Deferred[list[Any]]:
        """
        Ask for the same of each key.
        """
        return self._connection.ask_many([form % (len(key), key) for key in keys])

    def _sort_in(self, keys: Keys, priorities: list[Any]) -> None:
        ours = self._ours
        put_together = _PLACE.pack
        last = self.last
        for key, priority in zip(keys, priorities):
            found = place_of(priority)
            if found is not None:
                place, size = found
                if place > last:
                    last = place
                ours[place >> NEIGHBOURS].append(put_together(place, size) + key)
            else:
                self._theirs.add(key)
        self.last = last

    async def _measure(self, keys: Keys) -> None:
        """
        Find out which of the keys are jobs, and their sizes.
        """
        texts: Keys = []
        for key, size in zip(keys, await self._ask(_SIZE, keys)):
            if not self._layout.is_key(key):
                self._strangers.append(key)
            elif isinstance(size, int):
                self._hashes.append((key, size))
            else:
                texts.append(key)
        if texts:
            for key, size in zip(texts, await self._ask(_SIZE_OF_TEXT, texts)):
                if isinstance(size, int):
                    self._texts.append((key, size))
                else:
                    self._strangers.append(key)

    # The jobs.

    async def jobs(self) -> AsyncIterator[list[JobRecord]]:
        """
        Fetch the jobs.

        @return: some at a time, in their order.
        @raise StoreError: if Redis can't be asked.
        """
        pieces = self._pieces()
        piece = next(pieces, None)
        coming = self._fetch(piece)
        try:
            while piece is not None:
                form, keys = piece
                assert coming is not None
                answers = await coming
                # Redis fetches on while the job server takes these.
                piece = next(pieces, None)
                coming = self._fetch(piece)
                records = self._records(form, keys, answers)
                if records:
                    yield records
        finally:
            # (Whoever takes them may have had enough.)
            if coming is not None:
                coming.addErrback(lambda failure: failure.trap(StoreError))

    def _fetch(self, piece: tuple[bytes, Keys] | None) -> Deferred[list[Any]] | None:
        return None if piece is None else self._ask(*piece)

    def _pieces(self) -> Iterator[tuple[bytes, Keys]]:
        """
        @return: what is fetched at once, in order: how to ask, and the keys.
        """
        for form, theirs in ((_TEXT, self._texts), (_THEIRS, self._hashes)):
            for at in range(0, len(theirs), REPLAY_ROWS):
                some = theirs[at : at + REPLAY_ROWS]
                for keys in _cut([key for key, _ in some], [size for _, size in some]):
                    yield form, keys
            theirs.clear()
        take_apart, header = _PLACE.unpack_from, _PLACE.size
        groups = sorted(self._ours)
        entries: list[bytes] = []
        for group in groups:
            # (Redis may list a key more than once.)
            entries += sorted(set(self._ours.pop(group)))
            while len(entries) >= REPLAY_ROWS or (entries and group == groups[-1]):
                some_entries = entries[:REPLAY_ROWS]
                del entries[:REPLAY_ROWS]
                sizes = [take_apart(entry)[1] for entry in some_entries]
                for keys in _cut([entry[header:] for entry in some_entries], sizes):
                    yield _OURS, keys

    def _records(self, form: bytes, keys: Keys, answers: list[Any]) -> list[JobRecord]:
        read = self._layout.read
        reducers = self._reducers
        records: list[JobRecord] = []
        if form is _OURS:
            for key, answer in zip(keys, answers):
                data, priority = answer
                if data is None or priority is None:
                    self._strangers.append(key)
                    continue
                record = read(key, data, priority)
                if record.reducer is not None:
                    record.reducer = reducers.setdefault(record.reducer, record.reducer)
                records.append(record)
            return records
        for key, answer in zip(keys, answers):
            data, priority, function, unique = [answer, b"", None, None] if form is _TEXT else answer
            if data is None:
                self._strangers.append(key)
                continue
            if (function is None or unique is None) and self._layout.is_ambiguous(key):
                self._ambiguous.append(key)
            records.append(read(key, data, priority or b"", function, unique))
        return records

    def report(self, where: str) -> None:
        """
        Say in the log what was found that is no job, or may be another one.

        @param where: what the store is called.
        """
        for keys, text in (
            (
                self._strangers,
                "{where}: keys that begin as those of jobs do, and are none, are left alone: {count}, such as {key}.",
            ),
            (
                self._ambiguous,
                "{where}: gearmand has stored jobs under keys that do not tell where the function ends: it is taken to end at"
                " the first dash, as gearmand takes it, of {count}, such as {key}.",
            ),
        ):
            if keys:
                log.notice(text, where=where, count=len(keys), key=keys[0].decode("utf-8", "backslashreplace"))


def _cut(keys: Keys, sizes: list[int]) -> Iterator[Keys]:
    """
    Cut a piece that may be too large.

    @param sizes: how many bytes each job has.
    """
    if sum(sizes) <= REPLAY_BYTES:
        yield keys
        return
    begin = 0
    room = REPLAY_BYTES
    for at, size in enumerate(sizes):
        if size > room and at > begin:
            yield keys[begin:at]
            begin, room = at, REPLAY_BYTES
        room -= size
    yield keys[begin:]
