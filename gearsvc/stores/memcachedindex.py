"""
What stands in memcached, and under which keys.

A job is an item, as gearmand makes it::

    gear_FUNCTION-UNIQUE      the workload; the item's flags are the priority

gearmand finds these again by asking memcached for a list of its keys, which memcached cuts short.  So there is an index
beside them, which also holds what gearmand forgets.  Its keys begin with something else than gearmand's, so that gearmand
does not take them for jobs::

    gearsvc:gear_index        the number of the last batch that is stored, how many jobs there are, and which segments
    gearsvc:gear_12           a segment: some of the entries, in the order in which the jobs were submitted
    gearsvc:gear_lease        which server uses all this (memcachedlease)

A segment is text that is only ever appended to::

    =41                       what follows belongs to batch 41
    +KEY ...                  an entry: a job that is stored under that key
    -KEY                      the job of that key is over
    =0                        what follows is stored, whatever the number of the last batch

A batch is written in the order: its entries, its items, the number of the last batch.  So of a batch that was written in
part, the index knows all the keys, and knows that it is not stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import quote_from_bytes
from zlib import crc32

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.rows import GEARMAND_KEEPS, MADE_KEY, unique_of

KEY_LIMIT = 250
"""
How many bytes a key of memcached's may have.
"""

ALWAYS = 0
"""
The number that a batch has whose entries are stored in any case.
"""

_PLAIN = re.compile(rb"[!-~\x80-\xff]+")
_PLAIN_FUNCTION = re.compile(rb"[!-,.-~\x80-\xff]+")
_UUID = re.compile(rb"(.+)-([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})", re.DOTALL)


class Keys:
    """
    The keys of one queue.

    @ivar prefix: what the keys of its jobs begin with.
    @ivar index: the key of the index.
    @ivar lease: the key of the lease.
    """

    def __init__(self, prefix: bytes) -> None:
        """
        @param prefix: gearmand's C{--libmemcached-prefix}; at least one byte,
            and none that no key may hold.
        """
        self.prefix = prefix
        # Of these two, one begins with another byte than the prefix.
        own = next(own for own in (b"gearsvc:", b"~gearsvc:") if own[:1] != prefix[:1] or not (own + prefix).startswith(prefix))
        self._own = own + prefix
        self.index = self._own + b"index"
        self.lease = self._own + b"lease"

    def segment(self, number: int) -> bytes:
        """
        The key of a segment.
        """
        return b"%b%d" % (self._own, number)

    def segment_number(self, key: bytes) -> int | None:
        """
        The number of the segment that has a key; C{None} if none can have it.
        """
        number = key[len(self._own) :]
        return int(number) if key.startswith(self._own) and number.isdigit() else None

    def of(self, record: JobRecord) -> bytes:
        """
        Where a job is stored, if it does not have a place already.

        That is where gearmand would store it, if gearmand could tell it apart
        from all others there and find it again (see L{rows.row_key
        <gearsvc.stores.rows.row_key>}).  Otherwise the key has another unique
        id, made of the job's handle, with which gearmand can run it as well.
        And where gearmand would take the job for one of another function (it
        looks for the first C{-}), or the function can't stand in a key, the
        key has no C{-}: gearmand passes over it.
        """
        function, unique = record.function, record.unique
        if _PLAIN_FUNCTION.fullmatch(function):
            if (
                not unique
                or unique == b"-"
                or len(unique) > GEARMAND_KEEPS
                or unique.startswith(MADE_KEY)
                or not _PLAIN.fullmatch(unique)
            ):
                unique = MADE_KEY + record.handle
                if len(unique) > GEARMAND_KEEPS or not _PLAIN.fullmatch(unique):
                    unique = MADE_KEY + _digest(record)
            key = b"%b%b-%b" % (self.prefix, function, unique)
            if len(key) <= KEY_LIMIT:
                return key
        return self.prefix + MADE_KEY + _digest(record)

    def names_in(self, key: bytes) -> tuple[bytes, bytes] | None:
        """
        Read a key of which the index knows nothing, as one that gearmand made.

        @return: the function and the unique id; C{None} if it is no job's.
        """
        if not key.startswith(self.prefix):
            return None
        names = key[len(self.prefix) :]
        # What libgearman makes up for a unique id holds a "-", which gearmand
        # takes for the function's end only if the function holds none.
        match = _UUID.fullmatch(names)
        if match is not None:
            return match[1], match[2]
        function, dash, unique = names.partition(b"-")
        return (function, unique_of(unique)) if dash and function else None

    def hidden(self, key: bytes) -> bool:
        """
        Whether it is the key of a job that only the index can name.
        """
        return key.startswith(self.prefix + MADE_KEY) and b"-" not in key[len(self.prefix) :]

    def listing_patterns(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        """
        What matches the lines of our keys, in the two lists that memcached
        makes.

        @return: for C{lru_crawler metadump}, with the key, quoted as in a URL,
            the time of last access, the number of the change, and the size or
            nothing; and for C{stats cachedump}, with key and size.
        """
        quoted = b"|".join(re.escape(quote_from_bytes(each, safe="-._~").encode()) for each in (self.prefix, self._own))
        plain = b"|".join(map(re.escape, (self.prefix, self._own)))
        return (
            re.compile(rb"^key=((?:%b)\S*) exp=\S+ la=(\d+) cas=(\d+)(?:.* size=(\d+))?" % quoted, re.MULTILINE),
            re.compile(rb"^ITEM ((?:%b)\S*) \[(\d+) b;" % plain, re.MULTILINE),
        )


def _digest(record: JobRecord) -> bytes:
    return blake2b(record.handle, digest_size=16).hexdigest().encode()


# Entries.


class Entry(NamedTuple):
    """
    What the index knows of a job.

    @ivar derived: whether L{Keys.of} gives its key.
    @ivar size: the length of its workload.
    @ivar checksum: its workload's.
    """

    key: bytes
    derived: bool
    handle: bytes
    function: bytes
    unique: bytes
    reducer: bytes | None
    submitted: float
    attempts: int
    run_at: int
    size: int
    checksum: int


def _token(value: bytes) -> bytes:
    """
    Some bytes as one word.
    """
    return value if _PLAIN.fullmatch(value) and not value.startswith(b"%") else b"%" + value.hex().encode()


def _untoken(word: bytes) -> bytes:
    return bytes.fromhex(word[1:].decode()) if word.startswith(b"%") else word


def entry_line(prefix: bytes, record: JobRecord, key: bytes, derived: bool) -> bytes:
    """
    Make a job's entry.

    @param prefix: what the keys of jobs begin with.
    @param key: where the job is stored.
    @param derived: whether L{Keys.of} gives this key.
    """
    function, unique, reducer = record.function, record.unique, record.reducer
    start = len(prefix)
    end = start + len(function)
    line = b"+%b %d %b %.3f %d %d %d %d" % (
        key,
        len(function),
        _token(record.handle),
        record.submitted,
        record.attempts,
        record.run_at,
        len(record.workload),
        crc32(record.workload),
    )
    # What the key does not tell.
    if key[start:end] != function or key[end : end + 1] != b"-":
        line += b" f=" + _token(function)
        line += b" u=" + _token(unique)
    elif key[end + 1 :] != unique:
        line += b" u=" + _token(unique)
    if reducer is not None:
        line += b" r=" + _token(reducer)
    return line + b"\n" if derived else line + b" k\n"


def read_entry(prefix: bytes, line: bytes) -> Entry:
    """
    Read what L{entry_line} made.
    """
    words = line.split(b" ")
    key = words[0][1:]
    end = len(prefix) + int(words[1])
    function, unique, reducer, derived = key[len(prefix) : end], key[end + 1 :], None, True
    for word in words[8:]:
        if word == b"k":
            derived = False
        elif word.startswith(b"u="):
            unique = _untoken(word[2:])
        elif word.startswith(b"f="):
            function = _untoken(word[2:])
        elif word.startswith(b"r="):
            reducer = _untoken(word[2:])
    return Entry(
        key,
        derived,
        _untoken(words[2]),
        function,
        unique,
        reducer,
        float(words[3]),
        int(words[4]),
        int(words[5]),
        int(words[6]),
        int(words[7]),
    )


# Segments.


class Segment:
    """
    A segment, as a server remembers it; the jobs whose entries are there have
    it for their L{JobRecord.key<gearsvc.core.jobs.JobRecord>}.

    @ivar number: its number.
    @ivar live: how many of its entries are jobs that are not over.
    @ivar lines: how many entries it has.
    @ivar size: how many bytes it has.
    @ivar waiting: what could not be appended to it, and is when that is
        possible.
    """

    __slots__ = ("number", "live", "lines", "size", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.live = 0
        self.lines = 0
        self.size = 0
        self.waiting = b""


class Place:
    """
    The L{JobRecord.key<gearsvc.core.jobs.JobRecord>} of a job that is not
    stored where L{Keys.of} says: gearmand has stored it.

    @ivar segment: where its entry is.
    @ivar key: where the job is.
    """

    __slots__ = ("segment", "key")

    def __init__(self, segment: Segment, key: bytes) -> None:
        self.segment = segment
        self.key = key


class SegmentText(NamedTuple):
    """
    What a segment says.

    @ivar live: the entries of the jobs that are not over, by key, in their
        order.
    @ivar half: the keys of entries whose batch is not stored.
    @ivar lines: how many entries there are.
    @ivar last: the highest number of a batch.
    """

    live: dict[bytes, bytes]
    half: set[bytes]
    lines: int
    last: int


def read_segment(text: bytes, stored: int) -> SegmentText:
    """
    Read a segment.

    @param stored: the number of the last batch that is stored.
    """
    live: dict[bytes, bytes] = {}
    half: set[bytes] = set()
    lines = last = 0
    valid = True
    for line in text.split(b"\n"):
        kind = line[:1]
        if kind == b"+":
            lines += 1
            key = line[1 : line.index(b" ")]
            if valid:
                live[key] = line
            else:
                half.add(key)
        elif kind == b"-":
            key = line[1:]
            live.pop(key, None)
            half.discard(key)
        elif kind == b"=":
            number = int(line[1:])
            valid = number <= stored
            last = max(last, number)
    return SegmentText(live, half, lines, last)


class Index(NamedTuple):
    """
    What stands under L{Keys.index}.

    @ivar stored: the number of the last batch that is stored.
    @ivar jobs: how many jobs there are.
    @ivar segments: the numbers of the segments, in order.
    """

    stored: int
    jobs: int
    segments: list[int]

    @classmethod
    def read(cls, text: bytes) -> Index:
        """
        @raise ValueError: if it is something else.
        """
        stored, jobs, *ranges = text.split(b" ")
        segments: list[int] = []
        for each in ranges:
            first, _, last = each.partition(b"-")
            segments += range(int(first), int(last or first) + 1)
        return cls(int(stored), int(jobs), segments)


def index_text(stored: int, jobs: int, segments: bytes) -> bytes:
    """
    Make what L{Index.read} reads.

    @param segments: their numbers, as L{ranges_text} makes it.
    """
    return b"%d %d %b" % (stored, jobs, segments) if segments else b"%d %d" % (stored, jobs)


def ranges_text(numbers: Iterable[int]) -> bytes:
    """
    Make a short text of numbers, which are in order.
    """
    words: list[bytes] = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and first >= 0:
            last = number
            continue
        if first >= 0:
            words.append(b"%d-%d" % (first, last))
        first = last = number
    if first >= 0:
        words.append(b"%d-%d" % (first, last))
    return b" ".join(words)
