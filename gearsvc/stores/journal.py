"""
The format of the queue file, C{-q file}: a log of batches.

The file is a header and then frames, one behind the other, to its end.  A frame
is one batch; a batch was made durable before the next one was begun.  Numbers
are little endian and, unless it says otherwise, unsigned; a CRC is the CRC-32
of zlib.

The header, 64 bytes, is the same in every version::

     0  16  "gearsvc queue", CR, LF, NUL
    16   4  the version: 1
    20   4  flags: 0; a reader refuses a file with one that it does not know
    24   8  the marker: random bytes, other ones in each file
    32  28  zeros
    60   4  the CRC of the 60 bytes before

A frame::

     0   8  the marker
     8   8  the frame's own offset in the file
    16   8  the length of the payload
    24   4  the CRC of the payload
    28   4  the CRC of the 28 bytes before
    32      the payload: entries, one behind the other

A frame without entries says only that all before it was complete.  One is
written when a server opens the file and when it closes it.

An entry, of either kind::

     0   1  its kind: 1 a job is added, 2 a job is removed
     1   8  the length of the entry, these bytes included
     9   4  the length of the handle

An entry that removes a job ends with the handle, at 13.  One that adds a job
goes on::

    13   1  the priority: 0 high, 1 normal, 2 low
    14   4  the length of the function's name
    18   4  the length of the unique id
    22   4  the length of the reducer, or 2^32 - 1 if there is none
    26   8  when it may run, in Unix seconds, signed; 0 is at once
    34   8  how many attempts were lost, signed
    42   8  when it was submitted, in Unix seconds, a double
    50      handle, function, unique id, reducer, and up to the entry's end the workload

To read the queue, apply the entries in their order to an empty list.  The
handle tells jobs apart.  A job that is added is put at the end; or, if the list
has it, takes the old one's place.  Removing what is not in the list does
nothing.

A crash may leave the last frame incomplete.  A frame that is not as it should
be is this one only if no frame follows, not even a broken one with a good
header; otherwise the file is damaged.  (The marker is what to look for.  Since
it is random, nothing that a client sends can look like a frame.)

There is no room at the file's end that is filled later.  It would save a third
of a commit's time, but a tail that a broken disk has lost would then look like
room.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from gearsvc.interfaces import StoreError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC = b"gearsvc queue\r\n\0"
VERSION = 1

HEADER = Struct("<16sII8s28xI")
FRAME = Struct("<8sQQII")

READ_AHEAD = 1024 * 1024
"""
How many bytes are read at once.
"""

WHAT_TO_DO = "restore it from a copy, or save what can be read of it with: python -m gearsvc.stores.salvage FILE NEWFILE"
"""
What the user of a damaged file is told.
"""

Frames = Iterable[tuple[int, bytes]]
"""
Frames as they are read: the offset of each, and its payload.
"""


class Damage(Exception):
    """
    A frame is not as it should be.

    @ivar offset: where it begins.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Nonsense(Damage):
    """
    A frame is as it was written, and has an entry that makes no sense.

    @ivar offset: where the entry begins.
    """


class _Raw(io.RawIOBase):
    """
    Reads a file from some place on, without moving the place where others do.
    """

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self._offset = offset

    def readable(self) -> bool:
        """
        It is.
        """
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """
        Read as much as the system gives at once.
        """
        count = os.preadv(self._descriptor, [buffer], self._offset)
        self._offset += count
        return count


def is_whole(header: bytes) -> bool:
    """
    Is this a file's header as it was written, of whatever version?
    """
    return len(header) == HEADER.size and crc32(header[:-4]) == int.from_bytes(header[-4:], "little")


def good_header(head: bytes, marker: bytes) -> tuple[int, int, int] | None:
    """
    @return: what a frame's header says: its offset, its payload's length and
        CRC; C{None} if it is no header.
    """
    if len(head) == FRAME.size:
        found, offset, length, payload_crc, head_crc = FRAME.unpack(head)
        if found == marker and crc32(head[:-4]) == head_crc:
            return offset, length, payload_crc
    return None


class Journal:
    """
    One file of this format, open for reading and writing.  Every method
    blocks, and raises C{OSError} for what the system refuses.

    @ivar descriptor: the open file.
    @ivar marker: its marker.
    @ivar end: where the next frame goes: behind the last that counts.
    """

    def __init__(self, descriptor: int, marker: bytes, end: int) -> None:
        self.descriptor = descriptor
        self.marker = marker
        self.end = end

    @classmethod
    def create(cls, path: str, like: os.stat_result | None = None) -> Journal:
        """
        Make a file with no frame in it, in place of one that may be there.

        @param like: whose owner and permissions it is to have.  By default it
            is the process's own, and nobody else may read it: workloads may be
            secret.
        """
        with suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        journal = cls(descriptor, os.urandom(8), HEADER.size)
        try:
            if like is not None:
                # Where the owner can't be the same, nobody else's permissions are either.
                with suppress(PermissionError):
                    own = os.fstat(descriptor)
                    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
                        os.fchown(descriptor, like.st_uid, like.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            header = HEADER.pack(MAGIC, VERSION, 0, journal.marker, 0)[:-4]
            journal._write([header + crc32(header).to_bytes(4, "little")], 0)
        except BaseException:
            journal.close()
            os.unlink(path)
            raise
        return journal

    @classmethod
    def open(cls, path: str) -> Journal:
        """
        Open a file, and change nothing in it.

        @raise StoreError: if it is no file of this format.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            marker = cls._check(path, os.pread(descriptor, HEADER.size, 0))
            return cls(descriptor, marker, os.fstat(descriptor).st_size)
        except BaseException:
            os.close(descriptor)
            raise

    @staticmethod
    def _check(path: str, header: bytes) -> bytes:
        """
        @return: the marker.
        """
        if not header.startswith(MAGIC):
            raise StoreError(
                f"The queue file {path} is not a queue of gearsvc's, or its first bytes are damaged;"
                " name another one, or restore it from a copy."
            )
        if not is_whole(header):
            raise StoreError(f"The queue file {path} is damaged in its header, at offset 0; {WHAT_TO_DO}")
        _, version, flags, marker, _ = HEADER.unpack(header)
        if version > VERSION or flags:
            what = f"version {version}" if version > VERSION else f"flags {flags:#x}"
            raise StoreError(
                f"The queue file {path} was written by a newer gearsvc: it has {what} of the format, and this one knows"
                f" version {VERSION} without flags; start the newer one, or name another file."
            )
        return bytes(marker)

    # Writing.

    def write(self, parts: Iterable[bytes]) -> int:
        """
        Write a frame at the end, which is there for sure after the next L{sync}.

        It counts once the caller has moved L{end}.  If this fails, the file may
        hold a part of it, until L{cut}.

        @param parts: the pieces of its payload.
        @return: where it ends.
        """
        payload = b"".join(parts)
        head = FRAME.pack(self.marker, self.end, len(payload), crc32(payload), 0)[:-4]
        self._write([head + crc32(head).to_bytes(4, "little"), payload], self.end)
        return self.end + FRAME.size + len(payload)

    def _write(self, parts: list[bytes], offset: int) -> None:
        size = sum(map(len, parts))
        written = os.pwritev(self.descriptor, parts, offset)
        while written < size:
            # Either the disk is full, which the next one says, or the kernel does not take so much at once.
            written += os.pwrite(self.descriptor, memoryview(b"".join(parts))[written:], offset + written)

    def cut(self) -> None:
        """
        Cut off what is behind the end.
        """
        os.ftruncate(self.descriptor, self.end)

    def sync(self) -> None:
        """
        Wait until all that was written is on the disk.
        """
        os.fdatasync(self.descriptor)

    def close(self) -> None:
        """
        Close the file.
        """
        os.close(self.descriptor)

    # Reading.

    def frames(self, start: int = HEADER.size, end: int | None = None, moved: bool = False) -> Iterator[tuple[int, bytes]]:
        """
        Read frames.

        @param start: where the first begins.
        @param end: where the last ends, by default L{end}.
        @param moved: whether one is good that was written elsewhere in the file.
        @return: the offset of each, and its payload.
        @raise Damage: if a frame is not complete.
        """
        end = self.end if end is None else end
        read = io.BufferedReader(_Raw(self.descriptor, start), READ_AHEAD).read
        offset = start
        while offset < end:
            known = good_header(read(FRAME.size), self.marker)
            if known is None or not (moved or known[0] == offset) or known[1] > end - offset - FRAME.size:
                raise Damage(offset)
            payload = read(known[1])
            if len(payload) != known[1] or crc32(payload) != known[2]:
                raise Damage(offset)
            yield offset, payload
            offset += FRAME.size + len(payload)

    def is_torn(self, offset: int) -> bool:
        """
        Is the bad frame at an offset the last one, of which a crash kept the
        rest from being written?
        """
        known = good_header(os.pread(self.descriptor, FRAME.size, offset), self.marker)
        if known is not None and (known[0] != offset or offset + FRAME.size + known[1] < self.end):
            # It is not where it was written, or something was written behind it.
            return False
        return self.find(offset + 1) is None

    def find(self, offset: int) -> int | None:
        """
        Look for a frame, good or broken, with a good header.

        @param offset: where to begin.
        @return: where it begins.
        """
        for start in range(offset, self.end, READ_AHEAD):
            data = os.pread(self.descriptor, READ_AHEAD + FRAME.size - 1, start)
            place = data.find(self.marker)
            while place >= 0:
                if good_header(data[place : place + FRAME.size], self.marker) is not None:
                    return start + place
                place = data.find(self.marker, place + 1)
        return None
