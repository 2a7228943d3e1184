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

# What begins the blanks: a mark that nobody makes by chance, and the place in the order of jobs.  Then come attempts, time
# of submission, what there is beside the handle, the handle's length and the handle.
_PLACE = struct.Struct(">2sQ")
_FIXED = struct.Struct(">IdBH")
_ALL = struct.Struct(">2sQIdBH")
_LENGTH = struct.Struct(">H")
_MARK = b"gs"
_PLACE_SIZE = 4 * _PLACE.size

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

    @raise ValueError: if these are others, or none.
    """
    size, odd = divmod(len(blanks), 4)
    if odd:
        raise ValueError("these blanks are no bytes")
    return int(blanks.translate(_AS_DIGITS), 4).to_bytes(size, "big")


class Names:
    """
    Where a job is, and what gearmand is told that it is called; the
    L{JobRecord.key<gearsvc.core.jobs.JobRecord>} of a job that is not stored
    as L{names_of} says.

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
    return Names(*_names(record.function, record.unique, record.handle))


def _names(function: bytes, unique: bytes, handle: bytes) -> tuple[bytes, bytes]:
    if (
        unique
        and unique != b"-"
        and len(unique) <= GEARMAND_KEEPS
        and b"\0" not in unique
        and MADE_KEY not in unique
        and b"-" not in function
        and _can_stand(function)
    ):
        return function, unique
    return _made_names(function, handle)


def _made_names(function: bytes, handle: bytes) -> tuple[bytes, bytes]:
    """
    Names with a unique id that is made of the job's handle.
    """
    unique = MADE_KEY + handle
    if len(unique) > GEARMAND_KEEPS or b"\0" in unique or MADE_KEY in handle:
        unique = MADE_KEY + _digest(handle)
    if not _can_stand(function):
        # One that nobody can do.
        function = MADE_KEY + _digest(function)
    return function, unique


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
        self._name(Names(*_made_names(self.record.function, self.record.handle)))
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
    texts = b""
    for flag, text, there in (
        (_FUNCTION, record.function, not names.head.startswith(record.function + b"\0")),
        (_UNIQUE, record.unique, not names.head.endswith(b"\0" + record.unique + b"\0")),
        (_REDUCER, record.reducer, record.reducer is not None),
    ):
        if there and text is not None:
            flags |= flag
            texts += _LENGTH.pack(len(text)) + text
    data = _FIXED.pack(attempts, record.submitted, flags, len(record.handle)) + record.handle + texts
    return b"%b%d\0" % (to_blanks(data), record.run_at)


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


def read(key: bytes, value: bytes, shared: dict[bytes, bytes]) -> tuple[JobRecord, int] | None:
    """
    Read a record.

    @param value: its value, or the begin of it, with all but the workload.
    @param shared: one object for each function and reducer: a million jobs
        share them.
    @return: the job, and its place in the order; -1 where gearmand stored it.
        C{None} if it is no job's.
    """
    function_end = value.find(b"\0")
    unique_end = value.find(b"\0", function_end + 1)
    end = value.find(b"\0", unique_end + 1)
    blanks = value[unique_end + 2 : end]
    number = blanks.lstrip(_ALL_BLANKS)
    if not -1 < function_end < unique_end < end or not number.removeprefix(b"-").isdigit():
        return None
    function, unique = stored = value[:function_end], value[function_end + 1 : unique_end]
    kept = _read_kept(blanks[: len(blanks) - len(number)])
    handle, attempts, submitted, reducer, place = b"", 0, 0.0, None, -1
    if kept is None:
        unique = unique_of(unique)
    else:
        place, attempts, submitted, handle, flags, texts = kept
        if flags:
            if flags & _FUNCTION:
                function = texts.pop(0)
            if flags & _UNIQUE:
                unique = texts.pop(0)
            if flags & _REDUCER:
                reducer = shared.setdefault(texts[0], texts[0])
    record = JobRecord(
        handle,
        shared.setdefault(function, function),
        unique,
        _PRIORITIES.get(value[unique_end + 1], 1),
        value[end + 1 :],
        int(number),
        reducer,
        attempts,
        submitted,
    )
    if kept is None or _names(function, unique, handle) != stored or key != b"%b-%b" % stored:
        names = record.key = Names(*stored)
        names.key = key
    return record, place


_PRIORITIES = {ord("0"): 0, ord("2"): 2}


def _read_kept(blanks: bytes) -> tuple[int, int, float, bytes, int, list[bytes]] | None:
    """
    Read what stands before the number.

    @return: place, attempts, time of submission, handle, what else is there,
        and that; C{None} if it is something else.
    """
    try:
        data = from_blanks(blanks)
        mark, place, attempts, submitted, flags, size = _ALL.unpack_from(data)
    except (ValueError, struct.error):
        return None
    if mark != _MARK:
        return None
    at = _ALL.size + size
    texts: list[bytes] = []
    if flags:
        while at + 2 <= len(data):
            [size_of_text] = _LENGTH.unpack_from(data, at)
            at += 2 + size_of_text
            texts.append(data[at - size_of_text : at])
    if at != len(data) or len(texts) != flags.bit_count():
        return None
    return place, attempts, submitted, data[_ALL.size : _ALL.size + size], flags, texts
