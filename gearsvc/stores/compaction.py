"""
How the queue file gets rid of what is no longer needed.

What is needed is written to a new file beside it, which then takes its name.
That is done in a thread of its own, a little at a time, for it would otherwise
take Python's lock from the reactor; batches are committed to the old file
meanwhile, and are copied behind the rest::

    scan the file, for the places of the jobs that are stored
    write these jobs to the new file
    copy the batches that came meanwhile, until hardly any are left
    with commits stopped: copy the last ones, sync, rename, sync the directory

The old file is whole, and is the queue, until the rename; the new one is, from
then on.  So a crash at any moment loses nothing: at worst it leaves a file that
the next start removes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

from gearsvc.stores.journal import HEADER, Frames, Journal
from gearsvc.stores.journalentries import Pace, at_once, find_live, read_entries

FRAME_BYTES = 256 * 1024
"""
About how large the frames of the new file are.
"""

SYNC_BYTES = 8 * 1024 * 1024
"""
How much of the new file is synced at once, so that commits need not wait behind
a gigabyte of it.
"""

LAST_BYTES = 256 * 1024
LAST_ROUNDS = 10
"""
How much is left to be copied when commits are stopped.  Where so large batches
come that more than this is always left, it is what has come in the meantime
after so many times.
"""

WORK_SECONDS = 0.001
PAUSE_SECONDS = 0.004
"""
How long the thread works at a time, and how long it pauses then.
"""


class Abandoned(Exception):
    """
    The compaction is no longer wanted.
    """


class Rewriting:
    """
    The new file.

    @ivar journal: what is written to it.
    @ivar jobs: how many bytes L{take_live} has written.
    """

    def __init__(self, path: str, like: os.stat_result | None) -> None:
        """
        @param path: where it is made.
        @param like: see L{Journal.create}.
        """
        self._path = path
        self.journal = Journal.create(path, like)
        self.jobs = 0
        self._unsynced = 0
        self._in_place = False

    def take_live(self, descriptor: int, frames: Frames, pace: Pace = at_once) -> int:
        """
        Write the jobs that are stored.

        @param descriptor: where they are, and
        @param frames: what is to be looked at there; see L{Journal.frames}.
        @return: how many they are.
        @raise Damage: if the source is damaged.
        """
        frame: list[bytes] = []
        size = 0
        places = find_live(frames, pace)
        for entry in read_entries(descriptor, places):
            frame.append(entry)
            size += len(entry)
            if size >= FRAME_BYTES:
                self._write(frame, size)
                self.jobs += size
                frame, size = [], 0
            pace()
        if frame:
            self._write(frame, size)
            self.jobs += size
        return len(places)

    def follow(self, source: Journal, start: int, end: int, pace: Pace = at_once) -> None:
        """
        Copy frames.

        @raise Damage: if the source is damaged.
        """
        for _, payload in source.frames(start, end):
            self._write([payload], len(payload))
            pace()

    def _write(self, frame: list[bytes], size: int) -> None:
        self.journal.end = self.journal.write(frame)
        self._unsynced += size
        if self._unsynced >= SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """
        Wait until all of it is on the disk.
        """
        self._unsynced = 0
        self.journal.sync()

    def replace(self, path: str) -> None:
        """
        Take another file's name.  (Until the directory is synced, a crash of
        the machine may bring the other one back.)
        """
        os.rename(self._path, path)
        self._in_place = True

    def discard(self) -> None:
        """
        Remove it, unless it has taken the other one's place.
        """
        if not self._in_place:
            self.journal.close()
            os.unlink(self._path)


class Compaction:
    """
    One compaction, in a thread that L{start} starts.
    """

    def __init__(
        self,
        source: Journal,
        make: Callable[[], Rewriting],
        finish: Callable[[Rewriting, int], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """
        @param source: the queue file.  It is to stay open until the thread has
            ended.
        @param make: makes the new file.
        @param finish: is called when that has all batches of the source up to
            an offset, and does the rest.
        @param failed: is called with the reason if it can't be done.  All three
            are called in the thread.
        """
        self._source = source
        self._end = source.end
        self._make = make
        self._finish = finish
        self._failed = failed
        self._abandoned = Event()
        self._worked_since = 0.0
        self._thread = Thread(target=self._run, name="queue file compaction", daemon=True)

    def start(self) -> None:
        """
        Begin.
        """
        self._thread.start()

    @property
    def running(self) -> bool:
        """
        Whether it is under way.
        """
        return self._thread.is_alive()

    def abandon(self) -> None:
        """
        Give it up, unless it is over.  Nothing of it is left when this returns.
        """
        self._abandoned.set()
        self._thread.join()

    def check(self) -> None:
        """
        May it go on?

        @raise Abandoned: if it was given up.
        """
        if self._abandoned.is_set():
            raise Abandoned

    def pace(self) -> None:
        """
        Pause now and then.

        @raise Abandoned: if it was given up.
        """
        if monotonic() - self._worked_since >= WORK_SECONDS:
            if self._abandoned.wait(PAUSE_SECONDS):
                raise Abandoned
            self._worked_since = monotonic()

    def _run(self) -> None:
        try:
            rewriting = self._make()
            try:
                self._rewrite(rewriting)
            except BaseException:
                rewriting.discard()
                raise
        except Abandoned:
            # Whoever gave it up knows why.
            return
        except Exception as error:
            self._failed(error)

    def _rewrite(self, rewriting: Rewriting) -> None:
        end = self._end
        rewriting.take_live(self._source.descriptor, self._source.frames(HEADER.size, end), self.pace)
        # Pauses might let commits be faster for ever.
        for pace in (self.pace, *[self.check] * LAST_ROUNDS):
            copied, end = end, self._source.end
            rewriting.follow(self._source, copied, end, pace)
            if end - copied <= LAST_BYTES:
                break
        rewriting.sync()
        self.check()
        self._finish(rewriting, end)
