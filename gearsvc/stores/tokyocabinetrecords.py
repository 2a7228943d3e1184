"""
How a job stands in a Tokyo Cabinet database, for gearmand and for us.

gearmand's records, which these are, too::

    key      FUNCTION-UNIQUE
    value    FUNCTION NUL UNIQUE NUL PRIORITY WHEN NUL WORKLOAD

PRIORITY is one of the digits 0, 1 and 2; WHEN is a decimal number.  gearmand reads each record of the file as a job, and
what is between the strings it reads to the last byte; but it reads the number with C{strtoul}, which passes over blanks
before it.  There are four bits in two of C's kinds of blanks, and what gearmand forgets stands there in this way.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import NamedTuple

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.rows import GEARMAND_KEEPS, MADE_KEY, unique_of

GEARMAND_KEY = 4095
"""
How long a key of gearmand's may be.
"""

BLANKS = b" \t\n\r"
_ALL_BLANKS = BLANKS + b"\v\f"

_AS_BLANKS = [
    bytes([BLANKS[byte >> 6], BLANKS[byte >> 4 & 3], BLANKS[byte >> 2 & 3], BLANKS[byte & 3]]) for byte in range(256)
]
_AS_DIGITS = bytes.maketrans(BLANKS, b"0123")

# What begins the blanks: a mark that nobody else makes by chance, and the place in the order of jobs.
_MARK = b"gs"
_PLACE = struct.Struct(">2sQ")
_PLACE_SIZE = 4 * _PLACE.size
_FIXED = struct.Struct(">IdB")
_LENGTH = struct.Struct(">H")

# What is there beside the handle.
_FUNCTION, _UNIQUE, _REDUCER = 1, 2, 4


def to_blanks(data: bytes) -> bytes:
    """
    Bytes as blanks.
    """
    return b"".join(map(_AS_BLANKS.__getitem__, data))


def from_blanks(blanks: bytes) -> bytes:
    """
    What L{to_blanks} made blanks of.

    @raise ValueError: if these are others.
    """
    if len(blanks) % 4:
        raise ValueError
    return int(b"0" + blanks.translate(_AS_DIGITS), 4).to_bytes(len(blanks) // 4, "big")


class Names:
    """
    Where a job is, and what gearmand is told that it is called.

    @ivar key: the record's key.
    @ivar head: the begin of its value, which tells it from that of another
        job with the same key.
    """

    __slots__ = ("key", "head")

    def __init__(self, function: bytes, unique: bytes) -> None:
        self.key = function + b"-" + unique
        self.head = function + b"\0" + unique + b"\0"


def names_of(record: JobRecord) -> Names:
    """
    The names with which a job is stored, if it does not have a place already:
    its own, if they tell it apart from all others and gearmand can find it
    again (see L{rows.row_key <gearsvc.stores.rows.row_key>}).  Where the
    function holds a C{-}, the key could be that of a job of another function.
    """
    unique = record.unique
    if (
        not unique
        or unique == b"-"
        or len(unique) > GEARMAND_KEEPS
        or b"\0" in unique
        or MADE_KEY in unique
        or b"-" in record.function
        or not _can_stand(record.function)
    ):
        return made_names(record)
    return Names(record.function, unique)


def made_names(record: JobRecord) -> Names:
    """
    Names with a unique id that is made of the job's handle.
    """
    function, unique = record.function, MADE_KEY + record.handle
    if len(unique) > GEARMAND_KEEPS or b"\0" in unique or MADE_KEY in record.handle:
        unique = MADE_KEY + _digest(record.handle)
    if not _can_stand(function):
        # One that nobody can do.
        function = MADE_KEY + _digest(function)
    return Names(function, unique)


def _can_stand(function: bytes) -> bool:
    return function != b"" and b"\0" not in function and len(function) + 1 + GEARMAND_KEEPS <= GEARMAND_KEY


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).hexdigest().encode()


class Row:
    """
    A job to be stored, as it was when it was handed in.

    @ivar record: the job.
    @ivar names: where it is to be.
    """

    __slots__ = ("record", "names", "_attempts", "_workload", "_begin", "_tail")

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self._attempts = record.attempts
        self._workload = record.workload
        place = record.key
        self._name(place if isinstance(place, Names) else names_of(record))

    def _name(self, names: Names) -> None:
        record = self.record
        self.names = names
        self._begin = b"%b%d" % (names.head, record.priority)
        self._tail = _tail(record, names, self._attempts)

    def rename(self) -> None:
        """
        Another job has the names: take made ones.
        """
        self._name(made_names(self.record))
        # Whatever becomes of this batch, the other job must not be taken for it.
        self.record.key = self.names

    def value(self, place: int) -> bytes:
        """
        The record's value.

        @param place: the job's place in the order.
        """
        return b"".join((self._begin, to_blanks(_PLACE.pack(_MARK, place)), self._tail, self._workload))


def _tail(record: JobRecord, names: Names, attempts: int) -> bytes:
    """
    What is between a job's place and its workload.
    """
    flags = 0
    texts = [record.handle]
    if not names.head.startswith(record.function + b"\0"):
        flags |= _FUNCTION
        texts.append(record.function)
    if not names.head.endswith(b"\0" + record.unique + b"\0"):
        flags |= _UNIQUE
        texts.append(record.unique)
    if record.reducer is not None:
        flags |= _REDUCER
        texts.append(record.reducer)
    data = _FIXED.pack(attempts, record.submitted, flags) + b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return b"%b%d\0" % (to_blanks(data), record.run_at)


class Found(NamedTuple):
    """
    A record, read.

    @ivar record: the job; its workload is there if all of the value was read.
    @ivar place: its place in the order; -1 where gearmand stored it.
    """

    record: JobRecord
    place: int


def place_in(value: bytes, names: Names) -> int:
    """
    The place of a job whose record has these names; -1 where gearmand stored it.
    """
    start = len(names.head) + 1
    try:
        mark, place = _PLACE.unpack(from_blanks(value[start : start + _PLACE_SIZE]))
    except (ValueError, struct.error):
        return -1
    return int(place) if mark == _MARK else -1


def read(key: bytes, value: bytes, shared: dict[bytes, bytes]) -> Found | None:
    """
    Read a record.

    @param value: its value, or the begin of it, with all but the workload.
    @param shared: one object for each function and reducer: a million jobs
        share them.
    @return: C{None} if it is no job's.
    """
    function_end = value.find(b"\0")
    unique_end = value.find(b"\0", function_end + 1)
    end = value.find(b"\0", unique_end + 1)
    number = value[unique_end + 2 : end].lstrip(_ALL_BLANKS)
    if not -1 < function_end < unique_end < end or not number.removeprefix(b"-").isdigit():
        return None
    function = value[:function_end]
    stored_as = value[function_end + 1 : unique_end]
    priority = {0x30: 0, 0x32: 2}.get(value[unique_end + 1], 1)
    names = Names(function, stored_as)
    names.key = key
    workload, run_at = value[end + 1 :], int(number)

    place = place_in(value, names)
    kept = _read_kept(value[unique_end + 2 + _PLACE_SIZE : end - len(number)]) if place >= 0 else None
    if kept is None:
        function = shared.setdefault(function, function)
        record = JobRecord(b"", function, unique_of(stored_as), priority, workload, run_at, key=names)
        return Found(record, -1)
    attempts, submitted, handle, true_function, unique, reducer = kept
    if true_function is not None:
        function = true_function
    record = JobRecord(
        handle,
        shared.setdefault(function, function),
        stored_as if unique is None else unique,
        priority,
        workload,
        run_at,
        None if reducer is None else shared.setdefault(reducer, reducer),
        attempts,
        submitted,
    )
    usual = names_of(record)
    if usual.key != key or usual.head != names.head:
        record.key = names
    return Found(record, place)


def _read_kept(blanks: bytes) -> tuple[int, float, bytes, bytes | None, bytes | None, bytes | None] | None:
    """
    Read what L{_tail} wrote.

    @return: attempts, time of submission, handle; function, unique id and
        reducer, where they are there.  C{None} if it is something else.
    """
    try:
        data = from_blanks(blanks)
        attempts, submitted, flags = _FIXED.unpack_from(data)
        texts: list[bytes] = []
        at = _FIXED.size
        while at < len(data):
            [size] = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            texts.append(data[at : at + size])
            at += size
        texts.reverse()
        handle = texts.pop()
        function = texts.pop() if flags & _FUNCTION else None
        unique = texts.pop() if flags & _UNIQUE else None
        return attempts, submitted, handle, function, unique, texts.pop() if flags & _REDUCER else None
    except (ValueError, IndexError, struct.error):
        return None
