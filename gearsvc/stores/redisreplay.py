"""
Reading a queue from Redis.

Redis does not keep keys in any order.  So they are listed first, each with its place, and put in order; and then the jobs
are fetched, some at a time.  What gearmand stored has no place, and comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from struct import Struct

from twisted.internet.defer import Deferred, succeed

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.logs import Logger
from gearsvc.stores.redisconnection import Connection
from gearsvc.stores.redislayout import Layout

log = Logger(__name__)

LIST_KEYS = 5_000
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

_LIST = b"""
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local found = {page[1], '\\n'}
for _, key in ipairs(page[2]) do
  local priority = redis.pcall('HGET', key, 'priority')
  local place = type(priority) == 'string' and string.match(priority, '^%d+ (%d+) ') or 0
  found[#found + 1] = struct.pack('>I8', place)
  found[#found + 1] = struct.pack('>I4', #key)
  found[#found + 1] = key
end
return table.concat(found)
"""
"""
Lists keys: the cursor, then each key's place and length, and the key.
"""

_FETCH = b"""
local found, size, limit, count = {''}, 0, tonumber(ARGV[1]), 0
for number = 2, #ARGV do
  local key = ARGV[number]
  local fields = redis.pcall('HMGET', key, 'data', 'priority', 'function', 'unique')
  if fields.err then
    fields = {redis.pcall('GET', key)}
  end
  local data, kind = fields[1], fields[3] and fields[4] and 1 or 0
  if type(data) ~= 'string' then
    data, fields, kind = '', {}, 2
  end
  local priority, name, unique = fields[2] or '', kind == 1 and fields[3] or '', kind == 1 and fields[4] or ''
  found[#found + 1] = struct.pack('>BI4I4I4I4', kind, #data, #priority, #name, #unique)
  found[#found + 1] = data
  found[#found + 1] = priority
  found[#found + 1] = name
  found[#found + 1] = unique
  size = size + #data
  count = count + 1
  if size > limit then break end
end
found[1] = struct.pack('>I4', count)
return table.concat(found)
"""
"""
Fetches jobs until they have a size: how many, then of each whether it has the last two fields (or is no job), the lengths
of its fields, and the fields.
"""

_ENTRY = Struct(">QI")
_COUNT = Struct(">I")
_LENGTHS = Struct(">BIIII")
_NAMED, _STRANGE = 1, 2


class Replay:
    """
    All jobs of a queue, once.

    @ivar total: how many there are, at most; known after L{look}.
    @ivar last: the last place, or 0.
    """

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        # Entries as Redis gives them: they sort as their places do.
        self._groups: dict[int, list[bytes]] = defaultdict(list)
        self._strangers: list[bytes] = []
        self._ambiguous: list[bytes] = []
        # One object for each: a million jobs share them.
        self._reducers: dict[bytes, bytes] = {}
        self.total = 0
        self.last = 0

    async def look(self) -> None:
        """
        Find the keys.

        @raise StoreError: if Redis can't be asked.
        """
        cursor = b"0"
        coming = self._connection.ask("EVAL", _LIST, 0, cursor, self._layout.pattern, LIST_KEYS)
        while True:
            answer: bytes = await coming
            at = answer.index(b"\n")
            cursor = answer[:at]
            if cursor != b"0":
                # Redis looks on while these are sorted in.
                coming = self._connection.ask("EVAL", _LIST, 0, cursor, self._layout.pattern, LIST_KEYS)
            self._sort_in(answer, at + 1)
            if cursor == b"0":
                return

    def _sort_in(self, answer: bytes, at: int) -> None:
        layout = self._layout
        groups = self._groups
        unpack, header = _ENTRY.unpack_from, _ENTRY.size
        end = len(answer)
        last = self.last
        count = 0
        while at < end:
            place, length = unpack(answer, at)
            to = at + header + length
            entry = answer[at:to]
            at = to
            if place > last:
                last = place
            elif not place and not layout.is_key(entry[header:]):
                self._strangers.append(entry[header:])
                continue
            groups[place >> NEIGHBOURS].append(entry)
            count += 1
        self.last = last
        self.total += count

    def _pieces(self) -> Iterator[list[bytes]]:
        """
        The keys in the order of their places, some at a time.
        """
        header = _ENTRY.size
        piece: list[bytes] = []
        for group in sorted(self._groups):
            entries = self._groups.pop(group)
            entries.sort()
            before = b""
            for entry in entries:
                # Redis may list a key more than once.
                if entry == before:
                    continue
                before = entry
                piece.append(entry[header:])
                if len(piece) == REPLAY_ROWS:
                    yield piece
                    piece = []
        if piece:
            yield piece

    async def jobs(self) -> AsyncIterator[list[JobRecord]]:
        """
        Fetch the jobs.

        @return: some at a time, in their order.
        @raise StoreError: if Redis can't be asked.
        """
        pieces = self._pieces()
        keys = next(pieces, [])
        coming = self._fetch(keys)
        try:
            while keys:
                answer: bytes = await coming
                (count,) = _COUNT.unpack_from(answer)
                fetched, keys = keys[:count], keys[count:] or next(pieces, [])
                # Redis fetches on while the job server takes these.
                coming = self._fetch(keys)
                records = self._records(fetched, answer)
                if records:
                    yield records
        finally:
            # (Whoever takes them may have had enough.)
            coming.addErrback(lambda failure: failure.trap(StoreError))

    def _fetch(self, keys: list[bytes]) -> Deferred[bytes]:
        if not keys:
            return succeed(b"")
        return self._connection.ask("EVAL", _FETCH, 0, REPLAY_BYTES, *keys)

    def _records(self, keys: list[bytes], answer: bytes) -> list[JobRecord]:
        layout = self._layout
        unpack, header = _LENGTHS.unpack_from, _LENGTHS.size
        reducers = self._reducers
        records: list[JobRecord] = []
        to = _COUNT.size
        for key in keys:
            kind, of_data, of_priority, of_function, of_unique = unpack(answer, to)
            data_at = to + header
            priority_at = data_at + of_data
            to = priority_at + of_priority
            data, priority = answer[data_at:priority_at], answer[priority_at:to]
            if kind == _STRANGE:
                self._strangers.append(key)
                continue
            if kind == _NAMED:
                unique_at = to + of_function
                function, to = answer[to:unique_at], unique_at + of_unique
                record = layout.read(key, data, priority, function, answer[unique_at:to])
            else:
                record = layout.read(key, data, priority)
                if not record.handle and layout.is_ambiguous(key):
                    self._ambiguous.append(key)
            if record.reducer is not None:
                record.reducer = reducers.setdefault(record.reducer, record.reducer)
            records.append(record)
        return records

    def report(self, where: str) -> None:
        """
        Say in the log what was found that is no job, or may be another one.

        @param where: what the store is called.
        """
        if self._strangers:
            log.notice(
                "In {where}, keys that begin as those of jobs do, and are none, are left alone: {count}, such as {key}.",
                where=where,
                count=len(self._strangers),
                key=self._strangers[0].decode("utf-8", "backslashreplace"),
            )
        if self._ambiguous:
            log.notice(
                "In {where}, gearmand has stored {count} jobs under keys that do not tell where the function ends: it is taken"
                " to end at the first dash, as gearmand takes it; one is {key}.",
                where=where,
                count=len(self._ambiguous),
                key=self._ambiguous[0].decode("utf-8", "backslashreplace"),
            )
