"""
What the tests of the queue file share: a file, and a reader of its own that
knows nothing but the description in L{gearsvc.stores.journal}.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores.file import QueueFile
from gearsvc.stores.journalentries import encode
from gearsvc.testing import fields_of


def frames_of(data: bytes) -> list[tuple[int, int]]:
    """
    @return: where each frame of a file begins and ends.
    """
    magic, version, flags, marker = struct.unpack_from("<16sII8s", data)
    assert (magic, version, flags) == (b"gearsvc queue\r\n\0", 1, 0)
    assert data[32:60] == bytes(28)
    assert struct.unpack_from("<I", data, 60) == (crc32(data[:60]),)
    found = []
    at = 64
    while at < len(data):
        head = data[at : at + 32]
        mark, offset, length, payload_crc, head_crc = struct.unpack("<8sQQII", head)
        assert (mark, offset, head_crc) == (marker, at, crc32(head[:28]))
        end = at + 32 + length
        assert crc32(data[at + 32 : end]) == payload_crc
        found.append((at, end))
        at = end
    assert at == len(data)
    return found


def entries_of(data: bytes) -> list[tuple[bytes, tuple[Any, ...] | None]]:
    """
    @return: for each entry of a file the handle and the job, as L{fields_of}
        has it, or C{None} if it is removed.
    """
    found: list[tuple[bytes, tuple[Any, ...] | None]] = []
    for start, end in frames_of(data):
        at = start + 32
        while at < end:
            kind, size, handle_length = struct.unpack_from("<BQI", data, at)
            entry = data[at : at + size]
            if kind == 2:
                assert size == 13 + handle_length
                found.append((entry[13:], None))
            else:
                assert kind == 1
                priority, function, unique, reducer, run_at, attempts, submitted = struct.unpack_from("<BIIIqqd", entry, 13)
                rest = entry[50:]
                parts = []
                for length in (handle_length, function, unique, 0 if reducer == 2**32 - 1 else reducer):
                    assert length <= len(rest)
                    parts.append(rest[:length])
                    rest = rest[length:]
                reduced = None if reducer == 2**32 - 1 else parts[3]
                job = (parts[0], parts[1], parts[2], priority, rest, run_at, reduced, attempts, round(submitted * 1000))
                found.append((parts[0], job))
            at += size
        assert at == end
    return found


def jobs_of(data: bytes) -> list[tuple[Any, ...]]:
    """
    @return: the jobs that a file holds, as L{fields_of} has them.
    """
    jobs: dict[bytes, tuple[Any, ...]] = {}
    for handle, job in entries_of(data):
        if job is None:
            jobs.pop(handle, None)
        else:
            jobs[handle] = job
    return list(jobs.values())


def with_crc(data: bytes) -> bytes:
    """
    Bytes, and the CRC of them in place of the last four.
    """
    return data[:-4] + struct.pack("<I", crc32(data[:-4]))


class QueueFileCase(SynchronousTestCase):
    """
    A test with a L{QueueFile} of its own.

    @ivar path: the file.
    @ivar warnings: what the log was told that may be wrong.
    @ivar news: what else the log was told.
    """

    def setUp(self) -> None:
        """
        Choose a file.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "queue.log"
        self.warnings: list[str] = []
        self.news: list[str] = []

    def tell(self, warning: bool, text: str) -> None:
        """
        Take what the log is told, in any thread.
        """
        (self.warnings if warning else self.news).append(text)

    def open(self) -> QueueFile:
        """
        @return: the open file, read; it is closed after the test.
        """
        file, _ = self.open_and_read()
        return file

    def open_and_read(self) -> tuple[QueueFile, list[tuple[Any, ...]]]:
        """
        @return: the open file, and what is in it.
        """
        file = QueueFile(str(self.path), self.tell)
        file.open()
        self.addCleanup(file.close)
        count = file.count()
        jobs = [fields_of(job) for piece in file.pieces() for job in piece]
        self.assertEqual(count, len(jobs))
        return file, jobs

    def stored(self) -> list[tuple[Any, ...]]:
        """
        @return: what a server that starts now would replay.
        """
        file, jobs = self.open_and_read()
        file.close()
        return jobs

    def write(self, file: QueueFile, *added: JobRecord, removed: Sequence[JobRecord] = ()) -> None:
        """
        Commit a batch.
        """
        file.write(*encode(added, removed))

    def drop(self, file: QueueFile) -> None:
        """
        End with an open file as a process that is killed does: whoever opens it
        finds what was written.
        """
        journal, owner = file._file, file._owner
        assert journal is not None and owner is not None
        file._file = file._owner = None
        journal.close()
        owner.release()

    def assert_refuses(self, *words: str) -> None:
        """
        Hold that the file can't be opened, that nothing is changed by it, and
        that the one line that says why names the file and has these words.
        """
        before = self.path.read_bytes() if self.path.is_file() else None
        error = self.assertRaises(StoreError, self.open)
        self.assert_says(error, *words)
        if before is not None:
            self.assertEqual(self.path.read_bytes(), before)

    def assert_says(self, error: StoreError, *words: str) -> None:
        """
        Hold that an error is one line that names the file and has these words.
        """
        for word in [str(self.path), *words]:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
