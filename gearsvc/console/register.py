"""
The order of a million jobs, to be gone through in slices.

The job server's table can't be gone through in pieces, for a dictionary may not
change meanwhile; and copying it stops the server for as long as that takes.  A
L{Register} copies it while it grows: once a second, the handles that are new in
it.  A job that is over by then never gets there, and costs nothing.

Each handle has a position, which it keeps.  So whoever goes through the
register and comes back later, for the next page, misses no job that was there
all the time, and meets none twice.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer

INTERVAL = 1.0
"""
Seconds between two looks at the job server's table.
"""

CHUNK = 512
"""
How many positions a chunk has.
"""

_EMPTY: tuple[list[bytes], array[int]] = ([], array("H"))


class Register:
    """
    The handles of the jobs that are there, in the order in which they came.

    A chunk holds those of L{CHUNK} positions: the handles, and beside each how
    far it stands from the chunk's first position.  Handles whose jobs are over
    are swept out, twice as many looks as there are new handles; so there are
    never many more of them than of the others.
    """

    def __init__(self, server: JobServer, reactor: Any) -> None:
        """
        @param reactor: calls later.
        """
        self._server = server
        self._reactor = reactor
        # In ascending order; the key is the first position over CHUNK.
        self._chunks: dict[int, tuple[list[bytes], array[int]]] = {}
        self._next = 0
        self._sweeping: Iterator[int] = iter(())
        self._call: Any = None

    def start(self) -> None:
        """
        Begin to follow the job server's table.  The first look takes its time:
        it is meant to be before anybody is served.
        """
        self._look()

    def stop(self) -> None:
        """
        Cease to follow it.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def update(self) -> None:
        """
        Take in the jobs that have come since the last look.
        """
        new = self._new()
        new.reverse()
        position = self._next
        start = 0
        while start < len(new):
            number, offset = divmod(position, CHUNK)
            some = new[start : start + CHUNK - offset]
            handles, offsets = self._chunks.setdefault(number, ([], array("H")))
            handles += some
            offsets.extend(range(offset, offset + len(some)))
            position += len(some)
            start += len(some)
        self._next = position
        self._sweep(2 * len(new) + CHUNK)

    def down(self, position: int | None = None) -> Iterator[list[tuple[int, bytes]]]:
        """
        The handles before a position (C{None} is the end) with their
        positions, the newest first, some at a time.  The register may change
        meanwhile.
        """
        last = self._next if position is None else position
        for number in reversed([each for each in self._chunks if each <= last // CHUNK]):
            handles, offsets = self._chunks.get(number, _EMPTY)
            end = len(offsets) if number < last // CHUNK else bisect_left(offsets, last % CHUNK)
            base = number * CHUNK
            yield [(base + offsets[index], handles[index]) for index in range(end - 1, -1, -1)]

    def up(self, position: int = -1) -> Iterator[list[tuple[int, bytes]]]:
        """
        The handles after a position with their positions, the oldest first,
        some at a time.  The register may change meanwhile.
        """
        first = position + 1
        for number in [each for each in self._chunks if each >= first // CHUNK]:
            handles, offsets = self._chunks.get(number, _EMPTY)
            start = 0 if number > first // CHUNK else bisect_left(offsets, first % CHUNK)
            base = number * CHUNK
            yield [(base + offsets[index], handles[index]) for index in range(start, len(offsets))]

    def _look(self) -> None:
        self.update()
        self._call = self._reactor.callLater(INTERVAL, self._look)

    def _new(self) -> list[bytes]:
        """
        The handles that are not here yet, the newest first: those behind the
        newest one here that is still there.
        """
        jobs = self._server.jobs
        known = None
        for number in reversed(list(self._chunks)):
            handles, offsets = self._chunks[number]
            while handles and handles[-1] not in jobs:
                handles.pop()
                offsets.pop()
            if handles:
                known = handles[-1]
                break
            del self._chunks[number]
        new: list[bytes] = []
        for handle in reversed(jobs):
            if handle == known:
                break
            new.append(handle)
        return new

    def _sweep(self, count: int) -> None:
        """
        Look at so many handles, and let go of those whose jobs are over.
        """
        jobs = self._server.jobs
        while count > 0:
            number = next(self._sweeping, None)
            if number is None:
                self._sweeping = iter(list(self._chunks))
                return
            chunk = self._chunks.get(number)
            if chunk is None:
                continue
            handles, offsets = chunk
            count -= len(handles)
            alive = [index for index, handle in enumerate(handles) if handle in jobs]
            if len(alive) < len(handles):
                if alive:
                    self._chunks[number] = ([handles[index] for index in alive], array("H", [offsets[index] for index in alive]))
                else:
                    del self._chunks[number]
