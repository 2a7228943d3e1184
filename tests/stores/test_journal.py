"""
Tests for L{gearsvc.stores.journal} and L{gearsvc.stores.journalentries}: the
format, and every way in which a file may be cut or damaged.
"""

from __future__ import annotations

import os
import random
import struct
from typing import Any
from zlib import crc32

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import journal, journalentries
from gearsvc.stores.journal import Journal
from gearsvc.stores.journalentries import ADD, ADDED, ENTRY, REMOVE, encode
from gearsvc.testing import fields_of, record
from tests.stores.queuefiles import QueueFileCase, frames_of, jobs_of, with_crc


class FormatTests(QueueFileCase):
    """
    What stands in the file.
    """

    def test_every_byte(self) -> None:
        """
        The file is what the description says, byte for byte.
        """
        self.patch(os, "urandom", lambda count: b"MARKER 8"[:count])
        file = self.open()
        job = JobRecord(b"H:1", b"resize", b"id", 2, b"work", 5_000_000_000, b"sum", 3, 1700000000.5)
        self.write(file, job, record(2, reducer=None), removed=[record(7)])
        file.close()

        def frame(offset: int, payload: bytes) -> bytes:
            head = struct.pack("<8sQQII", b"MARKER 8", offset, len(payload), crc32(payload), 0)
            return with_crc(head) + payload

        header = with_crc(b"gearsvc queue\r\n\0" + struct.pack("<II", 1, 0) + b"MARKER 8" + bytes(28) + bytes(4))
        batch = struct.pack("<BQI", 2, 21, 8) + b"H:test:7"
        batch += struct.pack("<BQIBIIIqqd", 1, 68, 3, 2, 6, 2, 3, 5_000_000_000, 3, 1700000000.5) + b"H:1resizeidsumwork"
        batch += struct.pack("<BQIBIIIqqd", 1, 74, 8, 1, 6, 0, 0xFFFFFFFF, 0, 0, 1700000002.0) + b"H:test:2resizeworkload 2"
        expected = header + frame(64, b"") + frame(96, batch) + frame(128 + len(batch), b"")
        self.assertEqual(self.path.read_bytes(), expected)

    def test_independent_reader(self) -> None:
        """
        A reader that follows the description finds the jobs that the store
        replays, and both find what a list of jobs would hold after
        any sequence of batches.
        """
        seed = random.SystemRandom().randrange(1 << 32)
        dice = random.Random(seed)
        for _ in range(20):
            self.path = self.directory / f"{dice.random()}.log"
            model: dict[bytes, tuple[Any, ...]] = {}
            file = self.open()
            for number in range(dice.randrange(30)):
                known = [
                    record(
                        each,
                        function=dice.randbytes(dice.randrange(9)),
                        unique=dice.randbytes(dice.randrange(9)),
                        workload=dice.randbytes(dice.choice([0, 20, 5000])),
                        reducer=dice.choice([None, b"", b"sum"]),
                        attempts=dice.choice([0, number]),
                    )
                    for each in dice.sample(range(30), dice.randrange(8))
                ]
                removed, added = known[::2], known[1::2]
                self.write(file, *added, removed=removed)
                for job in removed:
                    model.pop(job.handle, None)
                for job in added:
                    model[job.handle] = fields_of(job)
            file.close()
            self.assertEqual(jobs_of(self.path.read_bytes()), list(model.values()), f"seed {seed}")
            self.assertEqual(self.stored(), list(model.values()), f"seed {seed}")

    def test_what_does_not_fit(self) -> None:
        """
        A number that the format has no room for is an error that names the job
        and not its workload, and nothing is written.
        """
        error = self.assertRaises(StoreError, encode, [record(1), record(2, run_at=1 << 63, workload=b"secret")], [])
        self.assertIn("H:test:2", str(error))
        self.assertNotIn("secret", str(error))

    def test_growth(self) -> None:
        """
        A batch tells by how much it lets the stored jobs grow: jobs without
        lost attempts are new, those with some were there.
        """
        parts, growth = encode([record(1)], [])
        self.assertEqual(growth, len(b"".join(parts)))
        self.assertEqual(encode([record(1, attempts=2)], [])[1], 0)
        self.assertEqual(encode([], [record(1, attempts=2)])[1], -growth)

    def test_entries_that_make_no_sense(self) -> None:
        """
        A complete frame with entries that this version does not know, or whose
        lengths can't be, is refused with the offset, though it is the last one:
        it is not what a crash leaves.
        """
        good = b"".join(encode([record(1)], [])[0])
        for bad in (
            ENTRY.pack(3, 13, 0),
            ENTRY.pack(0, 13, 0),
            ENTRY.pack(REMOVE, 13, 1),
            ENTRY.pack(REMOVE, 0, 0),
            ENTRY.pack(REMOVE, 12, 0)[:12],
            ENTRY.pack(REMOVE, 1 << 63, 0),
            ENTRY.pack(ADD, 40, 0) + bytes(27),
            ADDED.pack(ADD, 50, 1, 0, 0, 0, 0, 0, 0, 0.0),
        ):
            file = self.open()
            file.write([good, bad], 0)
            self.drop(file)
            place = frames_of_bad(self.path.read_bytes())[-1] + 32 + len(good)
            self.assert_refuses(f"damaged at offset {place} ")
            self.path.unlink()

    def test_parts_that_overlap(self) -> None:
        """
        An entry whose parts are longer than itself is refused when it is read.
        """
        file = self.open()
        file.write([ADDED.pack(ADD, 51, 1, 0, 5, 0, 0, 0, 0, 0.0), b"H"], 0)
        file.close()
        self.assertRaises(StoreError, self.open)

    def test_order_of_places(self) -> None:
        """
        Jobs that were changed in any order are read in their places, wherever
        in the file they stand by then, the large ones too.
        """
        self.patch(journalentries, "READ_AHEAD", 8192)
        jobs = [record(number, workload=bytes(dice % 3000 + 1)) for number, dice in enumerate(range(0, 300_000, 1001))]
        jobs[7].workload = bytes(100_000)
        file = self.open()
        self.write(file, *jobs)
        order = random.Random(5).sample(jobs, len(jobs) // 2)
        for job in order:
            job.attempts = 1
            self.write(file, job)
        file.close()
        self.assertEqual(self.stored(), [fields_of(job) for job in jobs])


def frames_of_bad(data: bytes) -> list[int]:
    """
    @return: where frames begin, whatever stands in them.
    """
    found, at = [], 64
    while at < len(data):
        found.append(at)
        at += 32 + struct.unpack_from("<Q", data, at + 16)[0]
    return found


class HeaderTests(QueueFileCase):
    """
    Files that are not ours, or of another version.
    """

    def test_not_ours(self) -> None:
        """
        A file that begins otherwise is refused, and left as it is, with nothing
        beside it.
        """
        for content in (b"x", b"Dear diary, " * 1000, bytes(100), b"gearsvc queue\n\0" + bytes(100), b"SQLite format 3\0" + bytes(100)):
            self.path.write_bytes(content)
            self.assert_refuses("is not a queue of gearsvc's")
            self.assertEqual(os.listdir(self.directory), ["queue.log"])

    def header(self, version: int, flags: int) -> bytes:
        """
        A header with its right CRC.
        """
        return with_crc(journal.HEADER.pack(journal.MAGIC, version, flags, b"12345678", 0))

    def test_newer(self) -> None:
        """
        A newer version, and a flag that is not known, are refused in one line
        that says so.
        """
        for version, flags, word in ((2, 0, "version 2"), (1, 4, "flags 0x4"), (2**32 - 1, 1, "version 4294967295")):
            self.path.write_bytes(self.header(version, flags) + b"whatever comes then")
            self.assert_refuses("newer gearsvc", word)

    def test_header_alone(self) -> None:
        """
        A header with nothing behind it is an empty queue.
        """
        self.path.write_bytes(self.header(1, 0))
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.warnings, [])

    def test_cut_in_the_header(self) -> None:
        """
        A file that ends in its header can't be ours: we make none that is not
        complete.
        """
        header = self.header(1, 0)
        for length in range(1, len(header)):
            self.path.write_bytes(header[:length])
            self.assert_refuses("damaged")


class DamageCase(QueueFileCase):
    """
    A small file with three batches, which C{damage} is done to.
    """

    def setUp(self) -> None:
        """
        Write the file, twice: as a killed server and as a closed one leaves it.
        """
        super().setUp()
        self.jobs = [record(number, unique=b"u%d" % number, workload=b"work" * number) for number in range(6)]
        file = self.open()
        self.write(file, *self.jobs[:2])
        self.write(file, *self.jobs[2:4], removed=[self.jobs[0]])
        self.write(file, *self.jobs[4:], removed=[self.jobs[2]])
        self.killed = self.path.read_bytes()
        file.close()
        self.closed = self.path.read_bytes()
        # What is there after each of the frames: an empty one, three batches, and the last empty one.
        states = [[], [0, 1], [1, 2, 3], [1, 3, 4, 5], [1, 3, 4, 5]]
        self.states = [[fields_of(self.jobs[number]) for number in state] for state in states]

    def assert_cut(self, data: bytes, frame: int) -> None:
        """
        Hold that of a file all is there that comes before a frame, that the rest
        is cut off with one line of the log, and that one can go on with it.
        """
        self.path.write_bytes(data)
        self.warnings.clear()
        start = frames_of(self.closed)[frame][0]
        file, found = self.open_and_read()
        self.assertEqual(found, self.states[frame - 1] if frame else [])
        self.assertEqual(len(self.warnings), 1)
        self.assertIn(f" {len(data) - start} bytes were cut off at offset {start}.", self.warnings[0])
        self.assertIn(str(self.path), self.warnings[0])
        self.write(file, record(9))
        file.close()
        self.warnings.clear()
        self.assertEqual(self.stored(), [*found, fields_of(record(9))])
        self.assertEqual(self.warnings, [])


class TornTests(DamageCase):
    """
    What a crash leaves of the last batch.
    """

    def test_every_length(self) -> None:
        """
        Wherever the last batch is cut, all before it is there and nothing of it.
        """
        start, end = frames_of(self.closed)[3]
        self.assertEqual(end, len(self.killed))
        for length in range(start + 1, end):
            self.assert_cut(self.killed[:length], 3)

    def test_whole(self) -> None:
        """
        A file that ends behind a batch is whole, and nothing is cut.
        """
        for number, (_, end) in enumerate(frames_of(self.closed)):
            self.path.write_bytes(self.closed[:end])
            self.assertEqual(self.stored(), self.states[number])
        self.assertEqual(self.warnings, [])

    def test_zeros(self) -> None:
        """
        Where the size of a file was written before its content (so that the
        batch ends in zeros, or is nothing else), it is cut likewise.
        """
        start, end = frames_of(self.closed)[3]
        for length in range(start, end - 1):
            self.assert_cut(self.killed[:length] + bytes(end - length), 3)
        for more in (1, 31, 32, 33, 64, 5000, 3_000_000):
            self.assert_cut(self.killed[:start] + bytes(more), 3)

    def test_holes(self) -> None:
        """
        A last batch of several pages, of which any one was not written, is cut.
        """
        file = self.open()
        end = len(self.path.read_bytes())
        self.write(file, record(7, workload=random.Random(1).randbytes(50_000)))
        self.drop(file)
        data = self.path.read_bytes()
        self.assertEqual(self.stored(), [*self.states[3], fields_of(record(7, workload=random.Random(1).randbytes(50_000)))])
        for page in range(end // 4096, len(data) // 4096 + 1):
            torn = bytearray(data)
            start = max(end, page * 4096)
            torn[start : (page + 1) * 4096] = bytes(len(torn[start : (page + 1) * 4096]))
            self.warnings.clear()
            self.path.write_bytes(torn)
            self.assertEqual(self.stored(), self.states[3])
            self.assertEqual(len(self.warnings), 1)

    def test_other_bytes(self) -> None:
        """
        Behind the last batch, what another file has left on the disk is cut off,
        though it may hold frames: those of this file have a marker of their own.
        """
        other = self.killed
        self.path = self.directory / "new.log"
        file = self.open()
        self.write(file, *self.jobs[:2])
        self.drop(file)
        whole = self.path.read_bytes()
        self.path.write_bytes(whole + other[64:])
        self.assertEqual(self.stored(), self.states[1])
        self.assertIn(f" {len(other) - 64} bytes were cut off at offset {len(whole)}.", self.warnings[0])

    def test_frames_in_a_workload(self) -> None:
        """
        A torn batch whose workload is another queue file is no damage.
        """
        ours, self.path = self.path, self.directory / "other.log"
        self.open().close()
        other, self.path = self.path.read_bytes(), ours
        file = self.open()
        before = len(self.path.read_bytes())
        self.write(file, record(7, workload=other))
        self.drop(file)
        self.path.write_bytes(self.path.read_bytes()[:-1])
        file, found = self.open_and_read()
        self.assertEqual(found, self.states[3])
        self.assertIn(f"at offset {before}.", self.warnings[0])


class CorruptionTests(DamageCase):
    """
    Bytes that are not what was written.
    """

    def every_corruption(self, data: bytes, offset: int) -> list[bytes]:
        """
        @return: files in which one byte is another one.
        """
        flips = {0x01, 0x80, 0xFF, data[offset]} - {0}
        return [data[:offset] + bytes([data[offset] ^ flip]) + data[offset + 1 :] for flip in flips]

    def test_every_byte_of_a_closed_file(self) -> None:
        """
        In a file that was closed, any wrong byte is refused with its frame's
        offset; but in the last frame, which holds no job, it does no harm.
        """
        frames = frames_of(self.closed)
        for offset in range(len(self.closed)):
            frame = next((number for number, (start, end) in enumerate(frames) if start <= offset < end), None)
            for data in self.every_corruption(self.closed, offset):
                if frame == len(frames) - 1:
                    self.assert_cut(data, frame)
                    continue
                self.path.write_bytes(data)
                if frame is None:
                    self.assert_refuses("damaged")
                else:
                    self.assert_refuses(f"damaged at offset {frames[frame][0]} of {len(data)}")

    def test_every_byte_of_a_killed_servers_file(self) -> None:
        """
        In the file of a server that was killed, a wrong byte in the last batch
        can't be told from what a crash leaves: the batch is cut off, with a
        line in the log.  Anywhere else it is refused.
        """
        frames = frames_of(self.killed)
        start, end = frames[-1]
        for offset in range(start, end):
            for data in self.every_corruption(self.killed, offset):
                self.assert_cut(data, len(frames) - 1)
        for offset in range(64, start):
            for data in self.every_corruption(self.killed, offset):
                self.path.write_bytes(data)
                self.assert_refuses("damaged at offset")

    def test_once_opened_the_last_batch_is_safe(self) -> None:
        """
        A server that starts finds the last batch complete, and marks it: damage
        that comes later is told from a torn batch, though it is killed at once.
        """
        self.path.write_bytes(self.killed)
        file = self.open()
        self.drop(file)
        data = bytearray(self.path.read_bytes())
        data[len(self.killed) - 1] ^= 1
        self.path.write_bytes(data)
        self.assert_refuses(f"damaged at offset {frames_of(self.killed)[-1][0]} ")

    def test_bytes_gone(self) -> None:
        """
        Where bytes are missing, or too many, everything behind them is in the
        wrong place: that is damage, though no good frame is where one should be.
        """
        start, end = frames_of(self.closed)[2]
        for data in (
            self.closed[:start] + self.closed[start + 1 :],
            self.closed[:start] + self.closed[end:],
            self.closed[:start] + b"x" + self.closed[start:],
            self.closed[: start + 40] + self.closed[start + 50 :],
        ):
            self.path.write_bytes(data)
            self.assert_refuses(f"damaged at offset {start} ")

    def test_something_behind_a_broken_frame(self) -> None:
        """
        Whatever stands behind a broken frame's end was written later, so the
        frame was complete once: that is damage.
        """
        start, end = frames_of(self.killed)[-1]
        data = bytearray(self.killed + b"\0")
        data[end - 1] ^= 1
        self.path.write_bytes(data)
        self.assert_refuses(f"damaged at offset {start} ")

    def test_broken_frames_behind(self) -> None:
        """
        A broken frame before a torn one is damage: when the last was begun, it
        was complete.
        """
        start, end = frames_of(self.killed)[2]
        data = bytearray(self.killed[:-5])
        data[start + 40] ^= 1
        self.path.write_bytes(data)
        self.assert_refuses(f"damaged at offset {start} ")

    def test_far_behind(self) -> None:
        """
        A frame is found behind a gap of many megabytes, wherever it stands.
        """
        self.patch(journal, "READ_AHEAD", 100)
        start, _ = frames_of(self.closed)[1]
        for gap in range(300, 460):
            broken = Journal(-1, self.closed[24:32], 0)
            self.path.write_bytes(self.closed[:start] + bytes(gap) + self.closed[-32:])
            with open(self.path, "rb") as file:
                broken.descriptor, broken.end = file.fileno(), os.path.getsize(self.path)
                self.assertEqual(broken.find(start), start + gap)
        self.assert_refuses(f"damaged at offset {start} ")
