"""
Files of jobs, written and read a piece at a time.

The classes block, and are called in a thread.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore
from gearsvc.queuecommand.display import Display
from gearsvc.queuecommand.joblines import HEADER, LineError, as_line, from_line
from gearsvc.queuecommand.running import CommandError, Interruption
from gearsvc.queuecommand.transfer import MAX_BYTES, MAX_ROWS, Tally, Target, replay
from gearsvc.stores.threads import StoreThread

STANDARD = "-"
"""
The name that stands for standard input, or output.
"""

UNFINISHED = ".part"
"""
What is added to a file's name until it is complete.
"""


class JobFileWriter:
    """
    Writes a file that is there as a whole or not at all: it has another name
    until it is complete, and on the disk.

    What is no regular file, such as a pipe, is written to as it is.
    """

    def __init__(self, path: str, replace: bool) -> None:
        """
        @param path: the file, or C{-}.
        @param replace: whether a file that is there already may be replaced.
        """
        self._name = "standard output" if path == STANDARD else path
        self._path = os.path.realpath(path)
        self._replace = replace
        self._temporary = ""
        self._descriptor = sys.stdout.fileno() if path == STANDARD else -1

    def open(self) -> None:
        """
        Begin.

        @raise CommandError: if there is such a file, and it may not be replaced.
        @raise OSError: if it can't be written.
        """
        if self._descriptor == -1:
            self._descriptor = self._opened()
        self._write(HEADER)

    def _opened(self) -> int:
        try:
            regular = stat.S_ISREG(os.stat(self._path).st_mode)
        except FileNotFoundError:
            regular = True
        else:
            if regular and not self._replace:
                raise CommandError(f"{self._name} is there already; --force replaces it.")
        if not regular:
            return os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        temporary = self._path + UNFINISHED
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise CommandError(f"another export writes {self._name} at this moment.") from None
        # What an export has left that was killed.
        os.ftruncate(descriptor, 0)
        self._temporary = temporary
        return descriptor

    def write(self, records: Sequence[JobRecord]) -> None:
        """
        Add some jobs.

        @raise OSError: if they can't be written.
        """
        self._write(b"".join(map(as_line, records)))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from None

    def finish(self) -> None:
        """
        Give the file its name, once all of it is on the disk.

        @raise OSError: if that fails.
        """
        if not self._temporary:
            return
        os.fsync(self._descriptor)
        os.replace(self._temporary, self._path)
        self._temporary = ""
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def give_up(self) -> None:
        """
        Remove what has been written, if it has not got its name yet.
        """
        if self._temporary:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)


class Piece(NamedTuple):
    """
    Some of a file's jobs.

    @ivar records: the jobs; none is the end of the file.
    @ivar size: how many bytes they take in the file.
    """

    records: list[JobRecord]
    size: int


class JobFileReader:
    """
    Reads a file.
    """

    def __init__(self, path: str) -> None:
        """
        @param path: the file, or C{-}.
        @raise OSError: if it can't be read.
        """
        # Not sys.stdin: what waits for input there would keep Python from
        # ending.
        self._file = open(sys.stdin.fileno(), "rb", closefd=False) if path == STANDARD else open(path, "rb")
        self._name = "standard input" if path == STANDARD else path
        self._number = 0
        self._problem: LineError | None = None

    @property
    def total(self) -> int | None:
        """
        How many bytes the file has, if that can be known.
        """
        status = os.fstat(self._file.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self) -> Piece:
        """
        The next jobs.

        @raise CommandError: if the next line is no job.
        """
        records: list[JobRecord] = []
        size = 0
        while self._problem is None and len(records) < MAX_ROWS and (size < MAX_BYTES or not records):
            line = self._file.readline()
            if not line:
                break
            self._number += 1
            size += len(line)
            try:
                record = from_line(line)
            except LineError as error:
                self._problem = error
                break
            if record is not None:
                records.append(record)
        if not records and self._problem is not None:
            # What stands before it has been taken.
            raise CommandError(f"{self._name}, line {self._number}: {self._problem}; put it right.")
        return Piece(records, size)

    def close(self) -> None:
        """
        Close it.
        """
        self._file.close()


async def write_jobs(
    source: IQueueStore, writer: JobFileWriter, tally: Tally, display: Display, interruption: Interruption
) -> None:
    """
    Write all jobs of an open store to a file.

    @param tally: counts what is done, as it is done.
    @raise CommandError: if the file may not be written.
    @raise StoreError: if the store can't be read.
    @raise OSError: if the file can't be written.
    @raise Interrupted: if the user wants us to stop.
    """
    thread = await _file_thread()

    async def take(records: Sequence[JobRecord]) -> None:
        # Whatever reads a pipe may not read for long.
        await interruption.before(thread.run(writer.write, records))
        tally.new += len(records)

    try:
        await interruption.before(thread.run(writer.open))
        display.begin("exporting")
        await replay(source, take, display, interruption)
        await thread.run(writer.finish)
    finally:
        writer.give_up()
        thread.end(lambda: None)


async def read_jobs(
    reader: JobFileReader, target: IQueueStore, tally: Tally, display: Display, interruption: Interruption
) -> None:
    """
    Store all jobs of a file.

    @param tally: counts what is done, as it is done.
    @raise CommandError: if the file holds what is no job.  The jobs before it are stored.
    @raise StoreError: if the store fails.  What was stored before stays.
    @raise Interrupted: if the user wants us to stop; likewise.
    """
    thread = await _file_thread()
    there = Target(target, tally, interruption)
    try:
        await there.learn(display)
        display.begin("importing", reader.total, "bytes")
        try:
            while (piece := await interruption.before(thread.run(reader.read))).records:
                await there.add(piece.records)
                display.advance(piece.size)
        except CommandError:
            await there.flush()
            raise
        await there.flush()
    finally:
        there.close()
        thread.end(lambda: None)


async def _file_thread() -> StoreThread:
    thread = StoreThread("job file")
    await thread.start(lambda: None)
    return thread
