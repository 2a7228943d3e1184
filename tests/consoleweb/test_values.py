"""
The plain values: names, payloads, percentiles.
"""

from __future__ import annotations

import json
from base64 import b64decode
from unittest import TestCase
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from gearsvc.console.series import percentiles
from gearsvc.console.values import Ability, Name, as_json, name_of_segment, payload
from tests.consoleweb.case import HOSTILE, WITH_NUL


class NameTests(TestCase):
    """
    Bytes that a peer chose, as text.
    """

    def assert_reversible(self, raw: bytes) -> None:
        """
        A name can be turned back from its path, and from its JSON.
        """
        name = Name(raw)
        self.assertEqual(name_of_segment(unquote_to_bytes(name.path)), raw)
        self.assertRegex(name.path, r"\A[A-Za-z0-9_.~%-]+\Z")
        self.assertNotIn(name.path, (".", ".."))
        said = json.loads(json.dumps(as_json(Ability(name, None))))
        encoded = said.get("name_base64")
        self.assertEqual(b64decode(encoded) if encoded is not None else said["name"].encode(), raw)

    def test_hostile(self) -> None:
        """
        Every hostile name is printable text, and can be turned back.
        """
        for raw in (*HOSTILE, *WITH_NUL):
            with self.subTest(raw=raw[:40]):
                self.assertTrue(Name(raw).isprintable())
                self.assert_reversible(raw)

    @given(st.binary(max_size=200))
    def test_any(self, raw: bytes) -> None:
        """
        So is every other.
        """
        self.assertTrue(Name(raw).isprintable())
        self.assert_reversible(raw)

    def test_plain(self) -> None:
        """
        A name that is plain text is that text, in JSON and in a path.
        """
        name = Name(b"resize_image")
        self.assertEqual((str(name), name.path, name.base64), ("resize_image", "resize_image", None))
        self.assertEqual(as_json(Ability(name, 1.5)), {"name": "resize_image", "seconds": 1.5})

    def test_escapes_tell(self) -> None:
        """
        A name that looks like an escaped one is not that one: only the other has base64 beside it.
        """
        self.assertEqual(str(Name(b"\xff")), str(Name(b"\\xff")))
        self.assertEqual((Name(b"\xff").base64, Name(b"\\xff").base64), ("/w==", None))

    def test_short_enough(self) -> None:
        """
        The longest name that a function can have fits the line of a request.
        """
        for raw in (b"x" * 8191, b"\xff" * 8191, b" " * 8191):
            self.assertLess(len(Name(raw).path), 11_000)

    def test_no_base64(self) -> None:
        """
        What begins with a tilde, and goes on with what is no base64, is refused.
        """
        for segment in (b"~a", b"~$$$", b"~YQ\n", b"~Y+"):
            with self.assertRaises(ValueError):
                name_of_segment(segment)


class PayloadTests(TestCase):
    """
    Workloads and results, as they are shown.
    """

    def kind(self, data: bytes, limit: int = 100) -> tuple[str, str, bool]:
        """
        What becomes of a payload: its kind, what is shown, whether it is cut.
        """
        made = payload(data, len(data), limit, False)
        self.assertEqual((made.size, b64decode(made.base64 or "")), (len(data), data[:limit]))
        return made.kind, made.shown, made.cut

    def test_kinds(self) -> None:
        """
        An object or a list is JSON, what can be read is text, and all else is shown in hexadecimal digits.
        """
        for data, kind, shown in (
            (b"", "text", ""),
            (b"hello\n\tworld", "text", "hello\n\tworld"),
            (b'{"a": [1]}', "json", '{"a": [1]}'),
            (b"[1, 2]", "json", "[1, 2]"),
            (b"{not json}", "text", "{not json}"),
            (b"42", "text", "42"),
            (b"\xff\x00", "hex", "ff00"),
            (b"nul\0", "hex", "6e756c00"),
            ("right \u202e left".encode(), "text", "right \\u202e left"),
            (b"\x1b[31m", "text", "\\x1b[31m"),
        ):
            with self.subTest(data=data):
                self.assertEqual(self.kind(data), (kind, shown, False))

    def test_cut(self) -> None:
        """
        What is longer than the limit is cut: a text between its characters, and JSON is none any more.
        """
        self.assertEqual(self.kind(b"x" * 101), ("text", "x" * 100, True))
        self.assertEqual(self.kind("xä".encode() * 40, 8), ("text", "xäxäx", True))
        self.assertEqual(self.kind(b"[" + b"1," * 100 + b"1]", 10), ("text", "[1,1,1,1,1", True))
        self.assertEqual(self.kind(b"abc", 0), ("text", "", True))
        # The beginning of a character is one only where something was cut.
        self.assertEqual(self.kind("ä".encode()[:1]), ("hex", "c3", False))

    def test_hidden(self) -> None:
        """
        Of what is hidden, only the size is told.
        """
        made = payload(b"secret", 6, 100, True)
        self.assertEqual((made.size, made.kind, made.shown, made.base64, made.cut), (6, "hidden", "", None, True))

    def test_nested(self) -> None:
        """
        JSON that is nested without end is text.
        """
        self.assertEqual(payload(b"[" * 100_000 + b"]" * 100_000, 200_000, 200_000, False).kind, "text")


class PercentileTests(TestCase):
    """
    What a histogram says.
    """

    def test_none(self) -> None:
        """
        Where nothing was counted, nothing is said.
        """
        made = percentiles((1.0, 2.0), [0, 0, 0], 0.0)
        self.assertEqual((made.count, made.p50, made.p99, made.mean), (0, None, None, None))

    def test_spread(self) -> None:
        """
        The times of a bucket are taken to be spread evenly over it.
        """
        made = percentiles((1.0, 2.0, 10.0), [0, 100, 0, 0], 150.0)
        self.assertEqual((made.count, made.p50, made.p90, made.p99, made.mean), (100, 1.5, 1.9, 1.99, 1.5))

    def test_above(self) -> None:
        """
        Times above the last bound are told as that.
        """
        made = percentiles((1.0, 2.0), [50, 0, 50], 5000.0)
        self.assertEqual((made.p50, made.p90, made.p99), (1.0, 2.0, 2.0))

    @given(st.lists(st.integers(0, 1000), min_size=4, max_size=4))
    def test_order(self, buckets: list[int]) -> None:
        """
        A higher percentile is never less, and none is above the last bound.
        """
        made = percentiles((1.0, 2.0, 10.0), buckets, 1.0)
        if sum(buckets):
            steps = [0.0, made.p50, made.p90, made.p95, made.p99, 10.0]
            self.assertEqual(steps, sorted(steps))  # type: ignore[type-var]
