"""
The entries of the queue file: jobs to bytes and back.  (The format is in
L{gearsvc.stores.journal}.)

Nothing here, nor in the store, remembers where a job stands: an index of a
million jobs would take more memory than most of their workloads.  So whoever
wants to know which jobs are stored reads the file once for their places, 8
bytes each, and a second time for the jobs.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores.journal import FRAME, READ_AHEAD, Damage, Frames, Nonsense

ENTRY = Struct("<BQI")
ADDED = Struct("<BQIBIIIqqd")

ADD, REMOVE = 1, 2
NO_REDUCER = 0xFFFFFFFF

FIRST_READ = 4096
"""
How many bytes are read where the next job does not stand behind the last; the
next time, twice as many.
"""

PACE_ENTRIES = 128
"""
How many entries are looked at between two calls of a L{Pace}: some 0.1 ms.
"""

Pace = Callable[[], None]
"""
Called all the time by what takes long; it may wait a while, or raise.
"""


def at_once() -> None:
    """
    The L{Pace} of what is to be done as soon as possible.
    """


def size_of(record: JobRecord) -> int:
    """
    How many bytes the entry has that adds a job.
    """
    size = ADDED.size + len(record.handle) + len(record.function) + len(record.unique) + len(record.workload)
    return size if record.reducer is None else size + len(record.reducer)


def encode(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> tuple[list[bytes], int]:
    """
    Make the entries of a batch.

    @return: the pieces of a payload, and by how many bytes the jobs that are
        stored become larger with it, as far as the batch alone tells: a job
        that has lost attempts is taken for one that was stored before.
    @raise StoreError: if a number of a job's does not fit.
    """
    parts: list[bytes] = []
    growth = 0
    for record in removed:
        handle = record.handle
        parts += (ENTRY.pack(REMOVE, ENTRY.size + len(handle), len(handle)), handle)
        growth -= size_of(record)
    try:
        for record in added:
            handle, function, unique, reducer, attempts = (
                record.handle,
                record.function,
                record.unique,
                record.reducer,
                record.attempts,
            )
            size = size_of(record)
            head = ADDED.pack(
                ADD,
                size,
                len(handle),
                record.priority,
                len(function),
                len(unique),
                NO_REDUCER if reducer is None else len(reducer),
                record.run_at,
                attempts,
                record.submitted,
            )
            parts += (head, handle, function, unique, reducer or b"", record.workload)
            if not attempts:
                growth += size
    except struct.error as error:
        raise StoreError(f"The job {record!r} can't be written to the queue file: {error}.") from None
    return parts, growth


def find_live(frames: Frames, pace: Pace = at_once) -> array[int]:
    """
    Find out which jobs are stored.

    (While this runs it takes some 150 bytes for each job that is stored at one
    time.)

    @param frames: see L{Journal.frames <gearsvc.stores.journal.Journal>}.
    @return: in the order of the queue, the offset of each job's entry.
    @raise Damage: as the frames do; L{Nonsense} if an entry is none that this version knows.
    """
    live: dict[bytes, int] = {}
    unpack = ENTRY.unpack_from
    remaining = PACE_ENTRIES
    for offset, payload in frames:
        offset += FRAME.size
        position, end = 0, len(payload)
        while position < end:
            if end - position < 13:
                raise Nonsense(offset + position)
            kind, size, length = unpack(payload, position)
            name = position + (50 if kind == ADD else 13)
            following = position + size
            if not name + length <= following <= end:
                raise Nonsense(offset + position)
            if kind == ADD:
                # A dictionary keeps the place of a key that is set again.
                live[payload[name : name + length]] = offset + position
            elif kind == REMOVE:
                live.pop(payload[name : name + length], None)
            else:
                raise Nonsense(offset + position)
            position = following
            remaining -= 1
            if not remaining:
                remaining = PACE_ENTRIES
                pace()
        # A frame may hold nothing, or one entry of many megabytes.
        pace()
    return array("Q", live.values())


class EntryReader:
    """
    Reads entries, most of which stand one behind the other.

    @ivar buffer: what was read last.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.buffer = b""
        self._start = 0
        self._ahead = FIRST_READ

    def find(self, offset: int, size: int) -> int:
        """
        See to it that the buffer has some bytes of the file.

        @return: where they begin in the buffer.
        @raise Damage: if the file does not have them.
        """
        position = offset - self._start
        if position < 0 or position + size > len(self.buffer):
            follows = 0 <= position <= len(self.buffer)
            self._ahead = min(2 * self._ahead, READ_AHEAD) if follows else FIRST_READ
            self.buffer = os.pread(self._descriptor, max(size, self._ahead), offset)
            while len(self.buffer) < size:
                # The kernel does not give more than 2 GiB at once.
                more = os.pread(self._descriptor, size - len(self.buffer), offset + len(self.buffer))
                if not more:
                    raise Damage(offset)
                self.buffer += more
            self._start = offset
            return 0
        return position


def read_jobs(descriptor: int, places: Iterable[int], rows: int, limit: int) -> Iterator[tuple[list[JobRecord], int]]:
    """
    Read jobs.

    @param places: the offsets of their entries.
    @param rows: how many one piece has at most.
    @param limit: how many bytes it has at most, or but one job.
    @return: a piece at a time, and the size of its entries.
    @raise Damage: if an entry does not have a job.
    """
    reader = EntryReader(descriptor)
    find, unpack = reader.find, ADDED.unpack_from
    # One object for each function and reducer: a million jobs share them.
    share = dict[bytes, bytes]().setdefault
    piece: list[JobRecord] = []
    total = 0
    for offset in places:
        position = find(offset, ADDED.size)
        kind, size, handle_length, priority, function_length, unique_length, reducer_length, run_at, attempts, submitted = unpack(
            reader.buffer, position
        )
        position = find(offset, size)
        buffer = reader.buffer
        handle_at = position + ADDED.size
        function_at = handle_at + handle_length
        unique_at = function_at + function_length
        reducer_at = workload_at = unique_at + unique_length
        reducer = None
        if reducer_length != NO_REDUCER:
            workload_at += reducer_length
            reducer = buffer[reducer_at:workload_at]
            reducer = share(reducer, reducer)
        end = position + size
        if kind != ADD or workload_at > end:
            raise Nonsense(offset)
        function = buffer[function_at:unique_at]
        function = share(function, function)
        piece.append(
            JobRecord(
                buffer[handle_at:function_at],
                function,
                buffer[unique_at:reducer_at],
                priority,
                buffer[workload_at:end],
                run_at,
                reducer,
                attempts,
                submitted,
            )
        )
        total += size
        if len(piece) == rows or total >= limit:
            yield piece, total
            piece, total = [], 0
    if piece:
        yield piece, total


def read_entries(descriptor: int, places: Iterable[int]) -> Iterator[bytes]:
    """
    Read entries as they are.

    @param places: their offsets.
    """
    reader = EntryReader(descriptor)
    for offset in places:
        position = reader.find(offset, ENTRY.size)
        _, size, _ = ENTRY.unpack_from(reader.buffer, position)
        position = reader.find(offset, size)
        yield reader.buffer[position : position + size]
