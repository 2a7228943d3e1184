"""
The durable queue in a file of our own, C{-q file}.

The file is a log of batches (L{gearsvc.stores.journal} has its format): a
commit is one write at its end and one C{fdatasync}.  When more of it is over
than is still needed, it is compacted (L{gearsvc.stores.compaction}).

L{QueueFile} does the work and blocks; L{FileStore} runs it in one thread, so
that a slow disk never stops the reactor.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.logs import Logger
from gearsvc.stores.compaction import Compaction, Rewriting
from gearsvc.stores.journal import HEADER, WHAT_TO_DO, Damage, Journal, Nonsense
from gearsvc.stores.journalentries import encode, find_live, read_jobs
from gearsvc.stores.ownership import LockFile, check_in_place
from gearsvc.stores.reconnecting import Backoff
from gearsvc.stores.threads import ThreadedStore

log = Logger(__name__)

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How much of the file is in memory on its way to the job server.
"""

COMPACT_BYTES = 32 * 1024 * 1024
"""
How much of the file has to be over, beside half of it, before it is compacted.
"""

COMPACT_AGAIN_SECONDS = 60.0
"""
How long after a compaction that failed the next one is tried.
"""

_WHO_MAY = "check who owns the file and its directory, and how the file system is mounted"

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it is as large as the file system, or the process's limit (ulimit -f), allows",
    errno.EIO: "the disk does not do what it should (input/output error); look into the system's log",
    errno.ENOENT: "its directory does not exist",
    errno.ENOTDIR: "its directory is none",
    errno.EISDIR: "it is a directory; name a file in it",
    errno.EACCES: f"this user may not open or write it; {_WHO_MAY}",
    errno.EPERM: f"this user may not open or write it; {_WHO_MAY}",
    errno.EROFS: f"it can't be written; {_WHO_MAY}",
}

Tell = Callable[[bool, str], None]
"""
Takes what the log is to hear, and whether it is a warning; in any thread.
"""


class QueueFile:
    """
    The queue file.  Every method blocks, and is called in one thread.

    @ivar path: the file's absolute path.
    """

    def __init__(self, path: str, tell: Tell) -> None:
        self.path = os.path.abspath(path)
        self._tell = tell
        # Where it is once symbolic links are followed: a rename would replace them.
        self._place = self.path
        self._owner: LockFile | None = None
        self._file: Journal | None = None
        self._opened: os.stat_result | None = None
        # The jobs that are stored: their places (between open and replay), and
        # how many bytes they have (from then on).
        self._places: array[int] | None = None
        self._live: int | None = None
        # Whether all up to the journal's end is on the disk, and nothing else.
        self._sound = True
        self._sealed = True
        self._backoff = Backoff(monotonic)
        # Keeps commits out while a compaction puts the new file in place.
        self._mutex = Lock()
        self._compaction: Compaction | None = None
        self._compact_after = 0.0

    # Opening.

    def open(self) -> None:
        """
        Open the file, make one if there is none, and read it through.

        A file that is not ours, or is damaged, is left as it is.

        @raise StoreError: if it can't be used.
        """
        self._place = os.path.realpath(self.path)
        self._owner = LockFile(self._place + ".lock", f"The queue file {self.path}")
        try:
            self._owner.take()
            self._sound = True
            like = self._look()
            if like is None or not like.st_size:
                self._create(like)
            else:
                self._file = Journal.open(self._place)
            self._read()
            self._seal()
        except (OSError, Damage, StoreError) as error:
            explained = self._explain(error)
            self._let_go()
            raise explained from None

    def _look(self) -> os.stat_result | None:
        """
        @return: what is there; C{None} if nothing is.
        """
        try:
            status = os.stat(self._place)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "")
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"The queue file {self.path} is not a regular file; name another one.")
        return status

    def _create(self, like: os.stat_result | None) -> None:
        """
        Make a file in which nothing is, in one step.

        @param like: an empty file that somebody has made for us.
        """
        rewriting = Rewriting(self._beside, like)
        try:
            rewriting.sync()
            self._replace(rewriting)
        except OSError:
            rewriting.discard()
            raise

    @property
    def _beside(self) -> str:
        """
        The path of the file that is to take its place.
        """
        return self._place + ".new"

    def _journal(self) -> Journal:
        assert self._file is not None, "the store is not open"
        return self._file

    def _read(self) -> None:
        """
        Find the jobs that are stored, and cut off what a crash has left of the
        last batch.
        """
        journal = self._journal()
        self._opened = os.fstat(journal.descriptor)
        size = journal.end
        try:
            self._places = find_live(journal.frames())
        except Damage as error:
            if isinstance(error, Nonsense) or not journal.is_torn(error.offset):
                raise
            journal.end = error.offset
            self._places = find_live(journal.frames())
            journal.cut()
            # Before something else is written there.
            journal.sync()
            self._tell(
                True,
                f"The queue file {self.path} ended in the midst of a batch, as a crash leaves it:"
                f" {size - error.offset} bytes were cut off at offset {error.offset}.",
            )
        with suppress(FileNotFoundError):
            os.unlink(self._beside)

    def _seal(self) -> None:
        """
        Write that all is complete: what comes before this can't be taken for a
        batch that was not written to its end.
        """
        self._append([])
        self._sealed = True

    # Committing.

    def write(self, parts: Sequence[bytes], growth: int) -> None:
        """
        Commit one batch.

        @param parts: the pieces of its payload, and
        @param growth: by how much the jobs that are stored become larger with
            it; see L{encode}.
        @raise StoreError: if nothing of it is stored, or that is uncertain.
        """
        if not self._sound and self._compaction is not None:
            self._compaction.abandon()
        try:
            with self._mutex:
                self._check_file()
                if not self._sound:
                    self._restore()
                self._sealed = False
                self._places = None
                self._append(parts)
                if self._live is not None:
                    self._live = max(0, self._live + growth)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and self._compaction is not None and self._compaction.running:
                # It may be the new file that has filled the disk.
                self._compaction.abandon()
                self._compaction_failed(error)
                return self.write(parts, growth)
            raise self._explain(error) from None
        self._compact_if_it_pays()

    def _append(self, parts: Sequence[bytes]) -> None:
        journal = self._journal()
        try:
            end = journal.write(parts)
        except OSError:
            self._take_back()
            raise
        try:
            journal.sync()
        except OSError as error:
            # What was written may be on the disk or not, and the system now
            # takes it for written: another sync would succeed in any case.
            self._sound = False
            self._take_back()
            explained = self._explain(error)
            explained.uncertain = True
            raise explained from None
        journal.end = end

    def _take_back(self) -> None:
        """
        Cut off a batch that failed.
        """
        try:
            self._journal().cut()
        except OSError:
            self._sound = False

    def _check_file(self) -> None:
        """
        @raise StoreError: if the file is no longer there, or is another one, or
            is not as it was left.  What would be written to it now would be
            lost with it.
        """
        status = check_in_place(self._place, self._opened, f"The queue file {self.path}")
        end = self._journal().end
        if status.st_size != end and self._sound:
            raise StoreError(
                f"The queue file {self.path} was changed by somebody else: it has {status.st_size} bytes in place of {end};"
                " restart to begin with what is there."
            )

    def _replace(self, rewriting: Rewriting) -> None:
        """
        Let a new file take the place of the old one.

        @raise OSError: if it does not; or if a crash of the machine could undo
            it, and then the file is not sound.
        """
        rewriting.replace(self._place)
        self._file = rewriting.journal
        self._opened = os.fstat(rewriting.journal.descriptor)
        self._sound = False
        directory = os.open(os.path.dirname(self._place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._sound = True

    def _restore(self) -> None:
        """
        After a failure that leaves it unclear what of the file is on the disk,
        write all that was committed to a new one.

        (The system has it in its memory as it should be, or has to read it from
        the disk, and then the CRCs tell if it is not.)
        """
        self._backoff.check()
        journal = self._journal()
        try:
            rewriting = Rewriting(self._beside, os.fstat(journal.descriptor))
            try:
                rewriting.take_live(journal.descriptor, journal.frames())
                rewriting.sync()
                self._replace(rewriting)
            finally:
                rewriting.discard()
                if self._file is not journal:
                    self._live = rewriting.jobs
                    journal.close()
        except (OSError, Damage) as error:
            explained = self._explain(error)
            self._backoff.failed(explained)
            raise explained from None
        self._backoff.succeeded()

    # Compacting.

    def _compact_if_it_pays(self) -> None:
        if self._live is None or (self._compaction is not None and self._compaction.running):
            return
        over = self._journal().end - HEADER.size - self._live
        if over <= max(self._live, COMPACT_BYTES) or monotonic() < self._compact_after:
            return
        journal, live = self._journal(), self._live

        def finish(rewriting: Rewriting, copied: int) -> None:
            with self._mutex:
                self._check_file()
                rewriting.follow(journal, copied, journal.end)
                rewriting.sync()
                self._replace(rewriting)
                assert self._live is not None
                self._live = max(0, rewriting.jobs + self._live - live)
                before, after = journal.end, rewriting.journal.end
            journal.close()
            self._tell(False, f"The queue file {self.path} was compacted from {before} to {after} bytes.")

        self._compaction = Compaction(
            journal, lambda: Rewriting(self._beside, os.fstat(journal.descriptor)), finish, self._compaction_failed
        )
        self._compaction.start()

    def _compaction_failed(self, error: Exception) -> None:
        self._compact_after = monotonic() + COMPACT_AGAIN_SECONDS
        self._tell(True, f"The queue file {self.path} could not be compacted, and grows until it can be: {self._explain(error)}")

    # Reading.

    def count(self) -> int:
        """
        @return: how many jobs are stored.
        """
        return len(self._all_places())

    def _all_places(self) -> array[int]:
        if self._places is None:
            self._places = find_live(self._journal().frames())
        return self._places

    def pieces(self) -> Iterator[list[JobRecord]]:
        """
        Read the jobs that are stored.

        @return: some at a time.
        @raise StoreError: if that fails.
        """
        places, self._places = self._all_places(), None
        live = 0
        # A compaction may close the file.
        descriptor = os.dup(self._journal().descriptor)
        try:
            for piece, size in read_jobs(descriptor, places, REPLAY_ROWS, REPLAY_BYTES):
                live += size
                yield piece
        except (OSError, Damage) as error:
            raise self._explain(error) from None
        finally:
            os.close(descriptor)
        self._live = live

    # Closing.

    def close(self) -> None:
        """
        Close the file.
        """
        if self._compaction is not None:
            self._compaction.abandon()
        if self._file is not None and not self._sealed and self._sound:
            try:
                self._check_file()
                self._seal()
            except (OSError, StoreError) as error:
                # Nothing is lost by it.
                self._tell(True, f"The last frame of the queue file could not be written: {self._explain(error)}")
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._owner is not None:
            self._owner.release()
        self._file = self._owner = self._compaction = self._places = self._live = None

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, Damage):
            end = self._journal().end
            return StoreError(f"The queue file {self.path} is damaged at offset {error.offset} of {end}; {WHAT_TO_DO}")
        if not isinstance(error, OSError):
            return StoreError(f"The queue file {self.path} fails: {type(error).__name__} {error}.")
        reason = _REASONS.get(error.errno or 0) or error.strerror
        return StoreError(f"The queue file {self.path} fails: {reason}.")


@implementer(IQueueStore)
class FileStore(ThreadedStore):
    """
    Jobs in a file.
    """

    def __init__(self, path: str, reactor: IReactorFromThreads | None = None) -> None:
        """
        @param path: the file; it is made if its directory exists.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._reactor = reactor
        self._file = QueueFile(path, self._tell)
        super().__init__(self._file, "queue file", reactor)
        self.description = f"queue file {self._file.path}: what was acknowledged survives a crash of the server and of the machine"

    def _tell(self, warning: bool, text: str) -> None:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorFromThreads, reactor)
        self._reactor.callFromThread(log.warn if warning else log.info, "{text}", text=text)

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        try:
            parts, growth = encode(added, removed)
        except StoreError:
            return fail()
        return self.thread.run(self._file.write, parts, growth)
