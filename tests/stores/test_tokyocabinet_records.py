"""
Tests for L{gearsvc.stores.tokyocabinetrecords}: jobs as records, without a database.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.tokyocabinetrecords import Names, Row, from_blanks, names_of, place_in, read, to_blanks
from gearsvc.testing import fields_of, record
from tests.stores.tokyocabinets import Job, as_gearmand_reads, gearmands_record, key_gearmand_removes

ANY_JOB = {
    "function": st.binary(max_size=300) | st.sampled_from([b"f", b"a-b", b"gearsvc:f"]),
    "unique": st.binary(max_size=64) | st.sampled_from([b"u", b"-", b"gearsvc:H:test:1", b"u" * 64]),
    "handle": st.binary(min_size=1, max_size=64) | st.sampled_from([b"H:a-gearsvc:b:1"]),
    "reducer": st.none() | st.binary(max_size=300),
    "workload": st.binary(max_size=64) | st.sampled_from([b"\0", b"0\0", b" 1\0x"]),
    "priority": st.integers(0, 2),
    "run_at": st.integers(0, 2**63 - 1),
    "attempts": st.integers(0, 2**32 - 1),
}


class BlankTests(SynchronousTestCase):
    """
    Bytes as blanks.
    """

    @given(st.binary(min_size=1, max_size=100))
    def test_any(self, data: bytes) -> None:
        """
        Any bytes are blanks to C, and can be read again.
        """
        blanks = to_blanks(data)
        self.assertEqual(blanks.strip(), b"")
        self.assertEqual(from_blanks(blanks), data)

    def test_others(self) -> None:
        """
        What are no such blanks is refused.
        """
        for blanks in (b"", b" ", b"   ", b" \v  ", b"    x   "):
            self.assertRaises(ValueError, from_blanks, blanks)


class NameTests(SynchronousTestCase):
    """
    Where jobs are.
    """

    def names(self, **fields: object) -> tuple[bytes, bytes]:
        """
        @return: a job's key, and the names gearmand reads, with C{|} between and behind them.
        """
        names = names_of(record(1, **fields))
        return names.key, names.head.replace(b"\0", b"|")

    def test_gearmands(self) -> None:
        """
        A job that gearmand can store is where gearmand stores it.
        """
        self.assertEqual(self.names(unique=b"u"), (b"resize-u", b"resize|u|"))
        self.assertEqual(self.names(unique=b"a-b"), (b"resize-a-b", b"resize|a-b|"))
        self.assertEqual(self.names(function=b"\xff\n", unique=b" \xfe"), (b"\xff\n- \xfe", b"\xff\n| \xfe|"))

    def test_made(self) -> None:
        """
        A job whose unique id does not tell it apart, or that gearmand would not find again, has one made of its handle.
        """
        for unique in (b"", b"-", b"a\0", b"u" * 64, b"gearsvc:H:test:2", b"x-gearsvc:H:test:2"):
            self.assertEqual(self.names(unique=unique), (b"resize-gearsvc:H:test:1", b"resize|gearsvc:H:test:1|"))
        self.assertEqual(self.names(function=b"a-b", unique=b"u"), (b"a-b-gearsvc:H:test:1", b"a-b|gearsvc:H:test:1|"))
        long = [self.names(handle=b"H:%b:%d" % (b"h" * 55, number))[0] for number in (1, 2)]
        self.assertEqual(len(set(long)), 2)
        for key in (*long, self.names(handle=b"H:\0:1")[0], self.names(handle=b"H:-gearsvc::1")[0]):
            self.assertRegex(key, rb"\Aresize-gearsvc:[0-9a-f]{32}\Z")

    def test_functions(self) -> None:
        """
        A function that gearmand can't read is one that nobody can do.
        """
        for function in (b"", b"a\0b", b"f" * 4032):
            key, names = self.names(function=function, unique=b"u")
            self.assertRegex(names, rb"\Agearsvc:[0-9a-f]{32}\|gearsvc:H:test:1\|\Z")
            self.assertEqual(names.replace(b"|", b"-")[:-1], key)


class RecordTests(SynchronousTestCase):
    """
    Jobs as records.
    """

    def test_bytes(self) -> None:
        """
        A record is gearmand's, with blanks before its number.
        """
        job = record(1, unique=b"u", priority=2, run_at=1234, workload=b"\0w")
        value = Row(job).value(7)
        begin, blanks, end = value[:10], value[10:-7], value[-7:]
        self.assertEqual((begin, end), (b"resize\0u\x002", b"1234\0\0w"))
        self.assertEqual(blanks.strip(b" \t\n\r"), b"")
        self.assertEqual(from_blanks(blanks)[:10], b"gs" + (7).to_bytes(8, "big"))

    @given(milliseconds=st.integers(0, 2**42), place=st.integers(0, 2**63), **ANY_JOB)
    def test_any(self, milliseconds: int, place: int, **fields: object) -> None:
        """
        Whatever a job is, all of it can be read again, and gearmand reads a job with its workload, priority and time, and
        removes the record it has read.
        """
        job = record(1, submitted=milliseconds / 1000, **fields)
        row = Row(job)
        value = row.value(place)
        found = read(row.names.key, value, {})
        assert found is not None
        self.assertEqual((fields_of(found[0]), found[1]), (fields_of(job), place))
        self.assertIsNone(found[0].key)
        self.assertEqual(place_in(value, row.names), place)

        theirs = as_gearmand_reads(value)
        self.assertEqual(theirs[2:], (job.workload, job.priority, job.run_at))
        self.assertEqual(key_gearmand_removes(theirs), row.names.key)
        if not theirs.function.startswith(b"gearsvc:"):
            self.assertEqual(theirs.function, job.function)

    @given(st.lists(st.tuples(*map(ANY_JOB.get, ("function", "unique", "handle"))), max_size=20, unique_by=lambda job: job[2]))
    def test_apart(self, jobs: list[tuple[bytes, bytes, bytes]]) -> None:
        """
        Two jobs have one key only if they have one function and one unique id.
        """
        seen: dict[bytes, tuple[bytes, bytes]] = {}
        for function, unique, handle in jobs:
            key = names_of(record(1, function=function, unique=unique, handle=handle)).key
            if key in seen:
                self.assertEqual(seen[key], (function, unique))
                self.assertNotIn(unique, (b"", b"-"))
            seen[key] = function, unique

    def test_renamed(self) -> None:
        """
        A job whose key is another's takes one of its own, which is remembered; gearmand can run it.
        """
        job = record(1, function=b"a", unique=b"b-c")
        row = Row(job)
        row.rename()
        self.assertEqual(row.names.key, b"a-gearsvc:H:test:1")
        self.assertIs(job.key, row.names)
        found = read(row.names.key, row.value(3), {})
        assert found is not None
        self.assertEqual(fields_of(found[0]), fields_of(job))
        assert isinstance(found[0].key, Names)
        self.assertEqual((found[0].key.key, found[0].key.head), (row.names.key, row.names.head))
        self.assertEqual(as_gearmand_reads(row.value(3)), Job(b"a", b"gearsvc:H:test:1", b"workload 1", 1, 0))

    def read(self, function: bytes, unique: bytes, **rest: object) -> JobRecord:
        """
        Read a record of gearmand's.
        """
        key, value = gearmands_record(function, unique, **rest)
        found = read(key, value, {})
        assert found is not None
        self.assertEqual(found[1], -1)
        return found[0]

    def test_gearmands(self) -> None:
        """
        gearmand's records are jobs without a handle; the place in which they are is remembered.
        """
        for function, unique, priority, when, workload in [
            (b"resize", b"u", 0, 0, b"\0one"),
            (b"a-b", b"c", 1, 2**33, b""),
            (b"resize", b"", 2, 0, b"0"),
            (b"resize", b"-", 1, 0, b" \0"),
        ]:
            job = self.read(function, unique, workload=workload, priority=priority, when=when)
            self.assertEqual(
                (job.handle, job.function, job.unique, job.priority, job.run_at, job.workload),
                (b"", function, unique, priority, when, workload),
            )
            assert isinstance(job.key, Names)
            self.assertEqual(job.key.key, function + b"-" + unique)
            # Written again, with its handle, it is what it was for gearmand.
            job.handle, job.attempts = b"H:new:1", 2
            row = Row(job)
            self.assertEqual((row.names.key, row.names.head), (function + b"-" + unique, b"%b\0%b\0" % (function, unique)))
            again = read(row.names.key, row.value(0), {})
            assert again is not None
            self.assertEqual(fields_of(again[0]), fields_of(job))

    def test_rewritten_by_gearmand(self) -> None:
        """
        A job of ours that gearmand has written again is without a unique id if that was made.
        """
        self.assertEqual(self.read(b"resize", b"gearsvc:H:test:1", workload=b"w").unique, b"")

    def test_odd(self) -> None:
        """
        What is no job's record is told; a priority of another kind is the normal one, and blanks of somebody else's are
        nothing.
        """
        for value in (b"", b"text", b"a\0b", b"a\0b\0", b"a\0b\x001", b"a\0b\x001x\0w", b"a\0b\x001 \0w", b"a\0b\x001--1\0w"):
            self.assertIsNone(read(b"a-b", value, {}), value)
        for middle in (b"70", b"1 0", b"1    0", b"1" + b" \t\n\r" * 30 + b"0", b"x+0"[:1] + b"0"):
            found = read(b"a-b", b"a\0b\0%b\0w" % middle, {})
            assert found is not None
            job, place = found
            self.assertEqual((job.handle, job.priority, job.workload, place), (b"", 1, b"w", -1))
