"""
The durable queue in a Tokyo Cabinet database, C{-q libtokyocabinet}.

What stands there says L{gearsvc.stores.tokyocabinetrecords}.  A batch is one transaction of Tokyo Cabinet's, which keeps
what it overwrites in a second file, C{FILE.wal}, and puts it back when it opens a database after a crash.  Left to itself it
does not see to what is on the disk, or does so after each record, so that is done here, three times a batch: what is
overwritten is on the disk before what overwrites it, that before the end of the transaction, and its end before the answer.

L{Database} does the work and blocks; L{TokyoCabinetStore} runs it in one thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import itemgetter

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.logs import Logger
from gearsvc.stores import tokyocabinetlibrary as library
from gearsvc.stores.ownership import LockFile, check_in_place
from gearsvc.stores.threads import ThreadedStore
from gearsvc.stores.tokyocabinetlibrary import AbstractDatabase, TokyoCabinetError
from gearsvc.stores.tokyocabinetrecords import Names, Row, names_of, place_in, read

log = Logger(__name__)

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How many jobs are handed over at a time.
"""

HELD_BYTES = 128 * 1024
"""
What is read of a record when all are looked at; the workloads of longer ones are read when their turn comes.  It is more
than anything but a workload may take.
"""

PARAMETERS = "#bnum=262139#opts=l"
"""
How a new file is made: for some hundred thousand jobs, and able to grow beyond 2 GB.
"""

SPARE_BYTES = 4 * 1024 * 1024
"""
How much of a file may be unused, beside as much as is used, before it is rewritten at the start.
"""

_REASONS = {
    library.TCETHREAD: "this process has it open already",
    library.TCENOFILE: "its directory does not exist; create it, or name another file",
    library.TCENOPERM: "it can't be read and written; check who owns the file and its directory",
    library.TCEMETA: "the file is no Tokyo Cabinet database of this kind, or its begin is damaged; name another one",
    library.TCERHEAD: "the database is damaged; restore it from a copy, or begin with another file",
    library.TCEREAD: "it can't be read: it was cut short, or the disk fails",
    library.TCEMISC: "it fails inside Tokyo Cabinet; if it does so again, it is damaged: restore it from a copy",
    library.TCEOPEN: "it can't be opened; check that its directory exists and that this user may write there",
    library.TCELOCK: "another program has it open (gearmand?); stop that one",
}


class _File:
    """
    An open database, and what Tokyo Cabinet leaves to us.

    @ivar path: its path.
    @ivar database: the database.
    @ivar opened: what tells the file from others.
    """

    def __init__(self, path: str, parameters: str, tree: bool, create: bool) -> None:
        """
        @param create: whether to create it if it is not there.
        @raise OSError: if it can't be opened.
        @raise TokyoCabinetError: likewise.
        """
        self.path = path
        self._tree = tree
        # Closing a descriptor of the database gives Tokyo Cabinet's lock of it away, so this is done last.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
        self._log: int | None = None
        before = self.size
        try:
            # Its begin is mapped into memory.  Where that has holes, to write there on a full disk would end the process
            # (SIGBUS).
            _reserve(self._descriptor, 0, before or _begin_of_new(parameters))
            self.database = AbstractDatabase(path, parameters, tree)
        except (OSError, TokyoCabinetError):
            os.ftruncate(self._descriptor, before)
            os.close(self._descriptor)
            raise
        status = os.fstat(self._descriptor)
        self.opened = status
        self._reserved = status.st_size

    @property
    def size(self) -> int:
        """
        How many bytes it has.
        """
        return os.fstat(self._descriptor).st_size

    def begin(self) -> None:
        """
        Begin a transaction.
        """
        self.database.begin()
        if self._log is None:
            self._log = os.open(self.path + ".wal", os.O_RDWR | os.O_CLOEXEC)

    def reserve(self, count: int, bytes_put: int) -> None:
        """
        See to it that there is room for a transaction, so that nothing of it fails half-way (Tokyo Cabinet does not always
        notice).

        @param count: how many records it puts and removes.
        @param bytes_put: how large those are that it puts.
        @raise OSError: if there is not.
        """
        size = self.size
        # In a tree whole pages are written, in the worst case one for each record, and not more than there are.
        pages = min(count * 20_000, size) if self._tree else 0
        growth = pages + bytes_put + 128 * count + 65536
        if size + growth > self._reserved:
            _reserve(self._descriptor, self._reserved, size + growth - self._reserved)
            self._reserved = size + growth
        assert self._log is not None
        _reserve(self._log, 0, pages + bytes_put + 512 * count + 65536)

    def end(self) -> None:
        """
        Bring the transaction to the disk, but for its end.
        """
        assert self._log is not None
        self.database.flush()
        os.fdatasync(self._log)
        os.fdatasync(self._descriptor)

    def commit(self) -> None:
        """
        End the transaction, on the disk.
        """
        assert self._log is not None
        self.database.commit()
        os.fdatasync(self._log)

    def close(self) -> None:
        """
        Close it.
        """
        self.database.close()
        with suppress(OSError):
            # What was reserved behind its end.
            os.ftruncate(self._descriptor, self.size)
        if self._log is not None:
            os.close(self._log)
        os.close(self._descriptor)


class Database:
    """
    The database file.  Every method blocks, and is called in one thread.

    @ivar path: the file's absolute path.
    """

    def __init__(self, name: str, optimize: bool = True) -> None:
        """
        @param name: the file, and parameters of C{tcadbopen} behind it.
        @param optimize: whether to rewrite, at the start, a file of which much
            is unused.
        """
        path, _, parameters = name.partition("#")
        self.path = os.path.abspath(path)
        self._parameters = PARAMETERS + ("#" + parameters if parameters else "")
        self._tree = path.endswith((".tcb", ".bdb"))
        self._optimize = optimize
        self._file: _File | None = None
        self._lock = LockFile(self.path + ".lock", f"The queue database {self.path}")
        self._place = 0
        # What count() found, by place, and the keys of those whose workloads are not read yet.
        self._found: list[tuple[int, JobRecord]] = []
        self._large: dict[JobRecord, bytes] = {}

    # Opening and closing.

    def open(self, create: bool = True) -> None:
        """
        Open the file.

        @param create: whether to create it if there is none.
        @raise StoreError: if it can't be used.
        """
        try:
            if create:
                self._lock.take()
            self._file = _File(self.path, self._parameters, self._tree, create)
        except (TokyoCabinetError, OSError, StoreError) as error:
            if create:
                self._lock.release()
            raise self._explain(error) from None

    def close(self) -> None:
        """
        Close the file.
        """
        self._let_go()
        self._lock.release()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> _File:
        assert self._file is not None
        return self._file

    # Reading.

    def count(self) -> int:
        """
        Look at all records, and bring the file into order if that is due.

        @return: how many jobs there are.
        @raise StoreError: if it can't be read.
        """
        found = self._found
        names: dict[bytes, bytes] = {}
        foreign = used = 0

        def visit(key: bytes, address: int, size: int) -> bool:
            nonlocal foreign, used
            used += len(key) + size + 32
            value = ctypes.string_at(address, min(size, HELD_BYTES))
            job = read(key, value, names)
            if job is None:
                foreign += 1
            else:
                record, place = job
                if size > HELD_BYTES:
                    record.workload = b""
                    self._large[record] = key
                found.append((place, record))
            return True

        try:
            expected = len(self._opened().database)
            self._opened().database.visit(visit)
            if self._optimize and self._opened().size > 2 * used + SPARE_BYTES:
                self._rewrite(len(found))
        except (TokyoCabinetError, OSError) as error:
            raise self._explain(error) from None
        gone = expected - len(found) - foreign
        if gone > 0:
            log.error("{path} is damaged: {count} of its records can't be found.", path=self.path, count=gone)
        if foreign:
            log.error(
                "{count} records of {path} are no jobs, and are left as they are.", count=foreign, path=self.path
            )
        # In the order of submission; those that gearmand stored come first, for it does not tell.
        found.sort(key=itemgetter(0))
        if found:
            self._place = max(0, found[-1][0])
        return len(found)

    def pieces(self) -> Iterator[list[JobRecord]]:
        """
        Give what L{count} has found.

        @return: some records at a time.
        @raise StoreError: if a large one can't be read.
        """
        found = self._found
        found.reverse()
        while found:
            piece: list[JobRecord] = []
            size = 0
            while found and len(piece) < REPLAY_ROWS and size < REPLAY_BYTES:
                _, record = found.pop()
                if record in self._large:
                    self._read_workload(self._large.pop(record), record)
                piece.append(record)
                size += len(record.workload)
            yield piece

    def _read_workload(self, key: bytes, record: JobRecord) -> None:
        value = self._opened().database.get(key)
        job = read(key, value, {}) if value is not None else None
        if job is None:
            raise StoreError(f"The queue database {self.path} fails: a record can't be read again.")
        record.workload = job[0].workload

    def _rewrite(self, count: int) -> None:
        """
        Put all records into a new file, and that into the old one's place.

        (What Tokyo Cabinet has for this removes the old file before the new one has its name, and does not see to it that
        the new one is on the disk.)
        """
        old = self._opened()
        path = f"{self.path}.new{os.path.splitext(self.path)[1]}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)
            new = _File(path, f"{self._parameters}#bnum={max(262139, 2 * count)}", self._tree, create=True)
        except (TokyoCabinetError, OSError) as error:
            log.warn("{why} It is used as it is.", why=self._explain(error))
            return
        records: list[bytes] = []
        size = 0

        def write() -> None:
            nonlocal size
            new.reserve(len(records), size)
            new.database.put(records)
            records.clear()
            size = 0

        def visit(key: bytes, address: int, length: int) -> bool:
            nonlocal size
            records.extend((key, ctypes.string_at(address, length)))
            size += len(key) + length
            if len(records) > 2 * REPLAY_ROWS or size > REPLAY_BYTES:
                write()
            return True

        try:
            new.begin()
            old.database.visit(visit)
            write()
            new.end()
            new.commit()
            new.close()
            os.rename(path, self.path)
        except (TokyoCabinetError, OSError) as error:
            log.warn("{why} It is used as it is.", why=self._explain(error))
            return
        _sync_directory(os.path.dirname(self.path))
        self._let_go()
        self._file = _File(self.path, self._parameters, self._tree, create=False)

    # Writing.

    def write(self, rows: list[Row], removed: list[bytes]) -> None:
        """
        Commit one batch.

        @param rows: what is stored.
        @param removed: the keys of what is removed before.
        @raise StoreError: if nothing of it is stored.
        """
        if self._file is None:
            self.open(create=False)
        file = self._opened()
        check_in_place(self.path, file.opened, f"The queue database {self.path}")
        try:
            file.begin()
            file.reserve(len(removed), 0)
            if removed:
                file.database.remove(removed)
            if rows:
                records = self._records(rows)
                file.reserve(len(rows) + len(removed), sum(map(len, records)))
                file.database.put(records)
            file.end()
        except (TokyoCabinetError, OSError) as error:
            explained = self._explain(error)
            with suppress(TokyoCabinetError):
                file.database.abort()
            # What is wrong may be wrong with what Tokyo Cabinet has in memory.
            self._let_go()
            raise explained from None
        try:
            file.commit()
        except (TokyoCabinetError, OSError) as error:
            explained = self._explain(error)
            explained.uncertain = True
            self._let_go()
            raise explained from None

    def _records(self, rows: list[Row]) -> list[bytes]:
        """
        Make records.  A job that is stored keeps its place.

        @return: keys and values in turns.
        """
        database = self._opened().database
        stored = database.find([row.names.key for row in rows])
        records: list[bytes] = []
        for row in rows:
            old = stored.get(row.names.key) if stored else None
            if old is not None and not old.startswith(row.names.head):
                # It is another job's: gearmand makes one key of a-b with c and of a with b-c.
                row.rename()
                old = database.get(row.names.key)
            if old is None:
                self._place += 1
                place = self._place
            else:
                place = max(0, place_in(old, row.names))
            records += (row.names.key, row.value(place))
        return records

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, TokyoCabinetError):
            reason = _REASONS.get(error.code, str(error))
            if error.code in (library.TCEWRITE, library.TCETRUNC) and self._is_full():
                reason = "the disk is full"
        else:
            assert isinstance(error, OSError)
            reason = _SYSTEM_REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
        return StoreError(f"The queue database {self.path} fails: {reason}.")

    def _is_full(self) -> bool:
        try:
            status = os.statvfs(os.path.dirname(self.path))
        except OSError:
            return False
        return status.f_bavail * status.f_frsize < 65536


_SYSTEM_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOENT: "its directory does not exist; create it, or name another file",
    errno.ENOTDIR: "its directory does not exist; create it, or name another file",
    errno.EACCES: "it can't be read and written; check who owns the file and its directory",
    errno.EPERM: "it can't be read and written; check who owns the file and its directory",
    errno.EROFS: "it can't be written; check how its file system is mounted",
    errno.EISDIR: "it is a directory; name a file",
}


def _begin_of_new(parameters: str) -> int:
    """
    How many bytes a new file will have, at most.
    """
    given: dict[str, int] = {"bnum": 0, "fpow": 10}
    for each in parameters.split("#"):
        name, _, value = each.partition("=")
        if value.isdigit():
            given[name] = int(value)
    # The number of buckets, of 8 bytes at most, becomes a prime; the pool of free blocks stands behind them.
    return 4096 + 10 * given["bnum"] + (64 << min(given["fpow"], 20))


def _reserve(descriptor: int, start: int, length: int) -> None:
    """
    Have room on the disk for a part of a file, without making it longer; where the file system has no means for that,
    nothing is done.

    @raise OSError: if there is no room.
    """
    allocate = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
    if allocate is None or length <= 0:
        return
    KEEP_SIZE = 1
    if allocate(descriptor, KEEP_SIZE, ctypes.c_longlong(start), ctypes.c_longlong(length)):
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINTR):
            raise OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)


def _sync_directory(path: str) -> None:
    """
    See to it that what a directory says is on the disk.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@implementer(IQueueStore)
class TokyoCabinetStore(ThreadedStore):
    """
    Jobs in a Tokyo Cabinet database.
    """

    def __init__(self, name: str, optimize: bool = True, reactor: IReactorFromThreads | None = None) -> None:
        """
        @param name: the file, which is created if its directory exists; it ends
            in C{.tch} or C{.tcb}.  Parameters of C{tcadbopen} may follow.
        @param optimize: whether to rewrite, at the start, a file of which much
            is unused.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._database = Database(name, optimize)
        super().__init__(self._database, "Tokyo Cabinet queue", reactor)
        self.description = (
            f"Tokyo Cabinet database {self._database.path}:"
            " what was acknowledged survives a crash of the server and of the machine"
        )

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        keys = [(record.key if isinstance(record.key, Names) else names_of(record)).key for record in removed]
        return self.thread.run(self._database.write, [Row(record) for record in added], keys)
