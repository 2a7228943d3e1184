"""
Tests for L{gearsvc.stores.memcachedindex}: keys and the text of the index, without a server.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.stores.memcachedindex import Index, Keys, entry_line, index_text, ranges_text, read_entry, read_segment
from gearsvc.testing import record

UUID = b"0d8f3a6c-6f0e-11ee-8c99-0242ac120002"


class KeyTests(SynchronousTestCase):
    """
    Where jobs are.
    """

    keys = Keys(b"gear_")

    def test_gearmands(self) -> None:
        """
        A job that gearmand can store is where gearmand stores it.
        """
        self.assertEqual(self.keys.of(record(1, unique=b"u")), b"gear_resize-u")
        self.assertEqual(self.keys.of(record(1, unique=b"u-" * 31)), b"gear_resize-" + b"u-" * 31)
        self.assertEqual(self.keys.of(record(1, function=b"re\xffsize", unique=b"\xfe")), b"gear_re\xffsize-\xfe")

    def test_made(self) -> None:
        """
        A job whose unique id does not tell it apart, or that gearmand would not find again, has one made of its handle.
        """
        for unique in (b"", b"-", b"a b", b"a\0", b"u" * 64, b"gearsvc:H:test:2"):
            self.assertEqual(self.keys.of(record(1, unique=unique)), b"gear_resize-gearsvc:H:test:1")
        long = [self.keys.of(record(1, handle=b"H:%b:%d" % (b"h" * 55, number))) for number in (1, 2)]
        self.assertEqual(len(set(long)), 2)
        for key in [*long, self.keys.of(record(1, handle=b"H: :1"))]:
            self.assertRegex(key, rb"\Agear_resize-gearsvc:[0-9a-f]{32}\Z")

    def test_hidden(self) -> None:
        """
        A job of a function that can't stand in a key, or that gearmand would read as another, has a key that gearmand passes
        over.
        """
        for function in (b"", b"a-b", b"a b", b"a\0b", b"f" * 250):
            key = self.keys.of(record(1, function=function, unique=b"u"))
            self.assertRegex(key, rb"\Agear_gearsvc:[0-9a-f]{32}\Z")
            self.assertTrue(self.keys.hidden(key))
            self.assertIsNone(self.keys.names_in(key))
        self.assertFalse(self.keys.hidden(self.keys.of(record(1))))

    @given(st.binary(max_size=300), st.binary(max_size=64), st.binary(min_size=1, max_size=64))
    def test_any(self, function: bytes, unique: bytes, handle: bytes) -> None:
        """
        Whatever a job is called, its key is one that memcached takes.
        """
        key = self.keys.of(record(1, function=function, unique=unique, handle=handle))
        self.assertRegex(key, rb"\Agear_[!-~\x80-\xff]{1,245}\Z")

    def test_names(self) -> None:
        """
        A key of gearmand's is read up to the first C{-}, but for a unique id that libgearman has made up: then the function
        may hold one.
        """
        for key, names in [
            (b"gear_resize-u", (b"resize", b"u")),
            (b"gear_resize-", (b"resize", b"")),
            (b"gear_resize--", (b"resize", b"-")),
            (b"gear_re-size-u", (b"re", b"size-u")),
            (b"gear_resize-" + UUID, (b"resize", UUID)),
            (b"gear_re-size-" + UUID, (b"re-size", UUID)),
            (b"gear_resize-gearsvc:H:host:1", (b"resize", b"")),
            (b"gear_resize", None),
            (b"gear_-u", None),
            (b"resize-u", None),
        ]:
            self.assertEqual(self.keys.names_in(key), names, key)

    def test_own_keys(self) -> None:
        """
        The keys of the index never begin with the prefix of jobs, whatever that is.
        """
        for prefix in (b"gear_", b"g", b"gearsvc:", b"~", b"~gearsvc:", b"G", b"\xff"):
            keys = Keys(prefix)
            for key in (keys.index, keys.lease, keys.segment(7)):
                self.assertFalse(key.startswith(prefix), key)
            self.assertEqual(keys.segment_number(keys.segment(712)), 712)
            for key in (keys.index, keys.lease, keys.of(record(1)), keys.segment(1)[1:]):
                self.assertIsNone(keys.segment_number(key))

    def test_listings(self) -> None:
        """
        Our keys are found in the lists of memcached, and nobody else's; also where the prefix has to be quoted there.
        """
        for prefix in (b"gear_", b"g%r-*\xff:"):
            keys = Keys(prefix)
            dumped, cached = keys.listing_patterns()
            ours = [prefix + b"a-\xc3\xa9%", keys.segment(3)]
            lines = b"".join(
                b"key=%b exp=-1 la=17 cas=%d fetch=no cls=1 size=71\n" % (quote_from_bytes(key, safe="-._~").encode(), number)
                for number, key in enumerate([b"other", *ours, b"key=" + prefix])
            )
            found = re.findall(dumped, lines)
            self.assertEqual([each[1:] for each in found], [(b"17", b"1", b"71"), (b"17", b"2", b"71")])
            self.assertEqual(found[0][0], quote_from_bytes(ours[0], safe="-._~").encode())
            old = re.findall(dumped, b"key=%b exp=0 la=17 cas=2 fetch=no\n" % quote_from_bytes(ours[0], safe="-._~").encode())
            self.assertEqual([each[1:] for each in old], [(b"17", b"2", b"")])
            lines = b"".join(b"ITEM %b [12 b; 0 s]\r\n" % key for key in [b"other", *ours])
            self.assertEqual(re.findall(cached, lines), [(ours[0], b"12"), (ours[1], b"12")])


class EntryTests(SynchronousTestCase):
    """
    What the index says of a job.
    """

    keys = Keys(b"gear_")

    @given(
        function=st.binary(max_size=300) | st.sampled_from([b"f", b"a-b"]),
        unique=st.binary(max_size=64) | st.sampled_from([b"u", b"%", b"-"]),
        handle=st.binary(max_size=64),
        reducer=st.none() | st.binary(max_size=64),
        workload=st.binary(max_size=64),
        run_at=st.integers(0, 2**63),
        attempts=st.integers(0, 2**31),
        milliseconds=st.integers(0, 2**42),
        place=st.none() | st.sampled_from([b"gear_f-", b"gear_a-b-u", b"gear_other"]),
    )
    def test_entry(self, milliseconds: int, place: bytes | None, **fields: object) -> None:
        """
        All of it can be read again, from one line.
        """
        job = record(1, submitted=milliseconds / 1000, **fields)
        key = place if place is not None else self.keys.of(job)
        line = entry_line(b"gear_", job, key, place is None)
        self.assertEqual(line.count(b"\n"), 1)
        entry = read_entry(b"gear_", line[:-1])
        self.assertEqual(
            entry[:-3],
            (key, place is None, job.handle, job.function, job.unique, job.reducer, milliseconds / 1000, job.attempts),
        )
        self.assertEqual((entry.run_at, entry.size), (job.run_at, len(job.workload)))

    def test_plain(self) -> None:
        """
        An entry is short text, if the job has nothing odd.
        """
        job = record(1, unique=b"u", reducer=b"sum")
        line = entry_line(b"gear_", job, self.keys.of(job), True)
        self.assertEqual(line, b"+gear_resize-u 6 H:test:1 1700000001.000 0 0 10 %d r=sum\n" % crc32(b"workload 1"))


class SegmentTests(SynchronousTestCase):
    """
    The text of a segment.
    """

    def test_read(self) -> None:
        """
        Entries of batches up to the last stored one count, in the order in which they came first; what is over does not.
        """
        read = read_segment(b"=3\n+a 1\n+b 2\n+c 3\n-b\n=5\n+d 5\n=0\n+a 4\n=4\n+b 6\n", 4)
        self.assertEqual(read.live, {b"a": b"+a 4", b"c": b"+c 3", b"b": b"+b 6"})
        self.assertEqual(list(read.live), [b"a", b"c", b"b"])
        self.assertEqual((read.half, read.lines, read.last), ({b"d"}, 6, 5))

    def test_undone(self) -> None:
        """
        What was undone is neither stored nor stored in part.
        """
        read = read_segment(b"=5\n+a 1\n-a\n", 4)
        self.assertEqual((read.live, read.half), ({}, set()))


class IndexTests(SynchronousTestCase):
    """
    The text of the index.
    """

    @given(st.integers(0), st.integers(0), st.sets(st.integers(0, 50)))
    def test_any(self, stored: int, jobs: int, segments: set[int]) -> None:
        """
        It can be read again.
        """
        text = index_text(stored, jobs, ranges_text(sorted(segments)))
        self.assertEqual(Index.read(text), (stored, jobs, sorted(segments)))

    def test_short(self) -> None:
        """
        Segments in a row take little room.
        """
        self.assertEqual(index_text(7, 12, ranges_text([1, 2, 3, 5, 9, 10])), b"7 12 1-3 5-5 9-10")

    def test_foreign(self) -> None:
        """
        What is something else is refused.
        """
        for text in (b"", b"12", b"a b", b"1 2 x"):
            self.assertRaises(ValueError, Index.read, text)
