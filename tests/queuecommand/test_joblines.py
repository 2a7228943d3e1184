"""
Tests for L{gearsvc.queuecommand.joblines}: jobs as JSON lines, and back.
"""

from __future__ import annotations

import json
from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord, Priority
from gearsvc.queuecommand.joblines import HEADER, LineError, as_line, from_line
from gearsvc.testing import fields_of, record

FUNCTION = b'{"function": "f", '


class LineTests(SynchronousTestCase):
    """
    One job, one line.
    """

    def round_trip(self, job: JobRecord) -> bytes:
        """
        Hold that a job's line is one line, and gives the job.

        @return: the line.
        """
        line = as_line(job)
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(line.endswith(b"\n"))
        again = from_line(line)
        assert again is not None
        self.assertEqual(fields_of(again), fields_of(job))
        self.assertIsNone(again.key)
        return line

    def test_every_field(self) -> None:
        """
        All fields are in the line, by their names, in a form that people and other programs can read.
        """
        job = record(
            4,
            function=b"resize",
            unique=b"u",
            priority=Priority.HIGH,
            run_at=2**40,
            reducer=b"sum",
            attempts=2,
            workload=b"cat.png",
        )
        self.assertEqual(
            self.round_trip(job),
            b'{"handle": "H:test:4", "function": "resize", "unique": "u", "priority": "high", "run_at": 1099511627776, '
            b'"reducer": "sum", "attempts": 2, "submitted": 1700000004.0, "workload": "cat.png"}\n',
        )

    def test_priorities(self) -> None:
        """
        Each priority comes back.
        """
        for priority in Priority:
            self.round_trip(record(1, priority=priority))

    def test_reducer(self) -> None:
        """
        No reducer and an empty one are not the same.
        """
        self.assertIn(b'"reducer": null', self.round_trip(record(1, reducer=None)))
        self.assertIn(b'"reducer": ""', self.round_trip(record(1, reducer=b"")))

    def test_text(self) -> None:
        """
        Text is written as it is: letters of any script, and with more than one line.
        """
        line = self.round_trip(record(1, workload="Grüße, 日本\r\n\t\"quoted\" \\".encode()))
        self.assertIn("Grüße, 日本\\r\\n\\t\\\"quoted\\\" \\\\".encode(), line)

    def test_bytes(self) -> None:
        """
        What is no text is base64, under a name that says so: bytes that are not UTF-8, control characters, and what
        some programs take for the end of a line.
        """
        no_text = [b"\xff", b"a\0b", b"\x1b[2J", b"\x7f", "\x85".encode(), "\u2028".encode(), b"\xed\xa0\x80"]
        for data in [*no_text, bytes(range(256))]:
            line = self.round_trip(record(1, workload=data, unique=data, function=data, reducer=data))
            values = json.loads(line)
            for name in ("workload", "unique", "function", "reducer"):
                self.assertNotIn(name, values)
                self.assertEqual(values[name + "_base64"], b64encode(data).decode())

    def test_random(self) -> None:
        """
        Whatever Hypothesis thinks of comes back.
        """

        @settings(max_examples=300, database=None, deadline=None)
        @given(
            function=st.one_of(st.binary(), st.text().map(str.encode)),
            unique=st.one_of(st.binary(), st.text().map(str.encode)),
            workload=st.one_of(st.binary(), st.text().map(str.encode)),
            reducer=st.one_of(st.none(), st.binary()),
            run_at=st.integers(0, 2**63 - 1),
            attempts=st.integers(0, 2**31 - 1),
            submitted=st.floats(0, 2**40),
        )
        def check(**fields: object) -> None:
            self.round_trip(record(1, **fields))

        check()

    def test_little(self) -> None:
        """
        A function is all that a line needs; what is left out is as it is in a job that was just submitted.
        """
        job = from_line(b'{"function": "f"}')
        assert job is not None
        self.assertEqual(fields_of(job), fields_of(JobRecord(b"", b"f", b"", Priority.NORMAL, b"")))

    def test_no_job(self) -> None:
        """
        The first line, wherever it stands, and empty lines are no jobs and no mistakes.
        """
        for line in (HEADER, b"\n", b"", b" \r\n"):
            self.assertIsNone(from_line(line))

    def assert_refused(self, line: bytes, why: str) -> None:
        """
        Hold that a line is refused, in one line.
        """
        with self.assertRaisesRegex(LineError, why) as caught:
            from_line(line)
        self.assertNotIn("\n", str(caught.exception))

    def test_no_json(self) -> None:
        """
        A line that is no JSON object is refused, with where that shows.
        """
        self.assert_refused(b'{"function": "f"', "not JSON: .* at column 17")
        self.assert_refused(b"\xff", "not UTF-8")
        self.assert_refused(b"17", "not a JSON object")
        self.assert_refused(b"[" * 100_000, "not JSON that can be read")
        self.assert_refused(b'{"attempts": 1' + b"0" * 5000 + b"}", "not JSON that can be read")

    def test_other_file(self) -> None:
        """
        A file of something else, or of a later version, is refused at its first line.
        """
        self.assert_refused(b'{"format": "recipes", "version": 1}', "no file of jobs")
        self.assert_refused(b'{"format": "gearsvc jobs", "version": 2}', "version 2, and this gearsvc knows 1")

    def test_wrong_values(self) -> None:
        """
        Each value that can't be right is refused, by its name.
        """
        for rest, why in (
            (b'"priority": 1}', "'priority' must be one of high, normal, low"),
            (b'"priority": []}', "'priority' must be"),
            (b'"run_at": -1}', "'run_at' must be a whole number from 0"),
            (b'"run_at": 1.5}', "'run_at' must be a whole number"),
            (b'"run_at": 9223372036854775808}', "'run_at' must be a whole number"),
            (b'"attempts": true}', "'attempts' must be a whole number"),
            (b'"attempts": 2147483648}', "'attempts' must be a whole number"),
            (b'"submitted": "now"}', "'submitted' must be a number of seconds"),
            (b'"submitted": NaN}', "'submitted' must be a number of seconds"),
            (b'"submitted": true}', "'submitted' must be a number of seconds"),
            (b'"submitted": -0.5}', "'submitted' must be a number of seconds"),
            (b'"handle": "a b"}', "'handle' must be at most 63 bytes without blanks"),
            (b'"handle": "' + b"h" * 64 + b'"}', "'handle' must be at most 63 bytes"),
            (b'"unique": 5}', "'unique' must be a string"),
            (b'"unique": "\\ud800"}', "'unique' holds half of a surrogate pair"),
            (b'"workload_base64": "?"}', "'workload_base64' must be base64"),
            (b'"workload_base64": 5}', "'workload_base64' must be base64"),
            (b'"workload": "a", "workload_base64": "YQ=="}', "both 'workload' and 'workload_base64'"),
            (b'"prority": "high"}', "no field 'prority'; is it 'priority'\\?"),
            (b'"colour": "red"}', "no field 'colour'$"),
        ):
            self.assert_refused(FUNCTION + rest, why)
        self.assert_refused(b'{"handle": "H:a:1"}', "it has no 'function'")
