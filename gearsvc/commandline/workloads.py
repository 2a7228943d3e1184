"""
Where the workloads of many jobs come from: standard input, piece by piece.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

PIECE = 1 << 16
"""
How many bytes are read at a time.
"""


class Pieces:
    """
    Reads a file, a pipe or a terminal, and has the reactor go on meanwhile.

    No more is read than is asked for.  (A reactor can't wait for files.  The
    thread is one that the end of the process does not wait for: it may be in
    the midst of reading from a terminal.)
    """

    def __init__(self, descriptor: int, reactor: Any) -> None:
        self.descriptor = descriptor
        self._reactor = reactor
        self._wanted: SimpleQueue[Deferred[bytes]] = SimpleQueue()
        self._thread: Thread | None = None

    def read(self) -> Deferred[bytes]:
        """
        Read the next piece: C{b""} at the end.  Fails with L{OSError} if it
        cannot be read.
        """
        if self._thread is None:
            self._thread = Thread(target=self._read, daemon=True)
            self._thread.start()
        wanted: Deferred[bytes] = Deferred()
        self._wanted.put(wanted)
        return wanted

    def _read(self) -> None:
        while True:
            wanted = self._wanted.get()
            outcome: bytes | Failure
            try:
                outcome = os.read(self.descriptor, PIECE)
            except OSError:
                outcome = Failure()
            self._reactor.callFromThread(_deliver, wanted, outcome)

    async def whole(self) -> bytes:
        """
        All that is there, to the end.

        @raise OSError: if it cannot be read.
        """
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def split(self, separator: bytes, keep: bool = False) -> AsyncIterator[bytes]:
        """
        What is between separators.  The last one needs none behind it.

        @param keep: whether the separator stays at the end of each.
        @raise OSError: if it cannot be read.
        """
        end = separator if keep else b""
        # The beginning of one, joined only once there is its end.
        begun: list[bytes] = []
        while piece := await self.read():
            first, *others = piece.split(separator)
            begun.append(first)
            for other in others:
                yield b"".join(begun) + end
                begun = [other]
        if rest := b"".join(begun):
            yield rest

    def count(self, separator: bytes) -> int | None:
        """
        How many that will be, if that can be known before: of a file.
        """
        found = os.fstat(self.descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        at = os.lseek(self.descriptor, 0, os.SEEK_CUR)
        total, last = 0, separator
        while piece := os.pread(self.descriptor, PIECE, at):
            total += piece.count(separator)
            at += len(piece)
            last = piece
        return total if last.endswith(separator) else total + 1


def _deliver(wanted: Deferred[bytes], outcome: bytes | Failure) -> None:
    # It has been called if nobody waits for it any more.
    if wanted.called:
        return
    if isinstance(outcome, Failure):
        wanted.errback(outcome)
    else:
        wanted.callback(outcome)
