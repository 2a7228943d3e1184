"""
Tests for L{gearsvc.stores.redisanswers}.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from txredisapi import ResponseError

from gearsvc.stores import redisanswers
from gearsvc.stores.redisanswers import Answers, NoRedis


def written(answer: Any) -> bytes:
    """
    @return: an answer as Redis writes it: a string is a status.
    """
    if isinstance(answer, str):
        return b"+%b\r\n" % answer.encode()
    if isinstance(answer, ResponseError):
        return b"-%b\r\n" % str(answer).encode()
    if isinstance(answer, int):
        return b":%d\r\n" % answer
    if answer is None:
        return b"$-1\r\n"
    if isinstance(answer, bytes):
        return b"$%d\r\n%b\r\n" % (len(answer), answer)
    return b"*%d\r\n%b" % (len(answer), b"".join(map(written, answer)))


def comparable(answer: Any) -> Any:
    """
    @return: an answer as it is read, with errors that can be compared.
    """
    if isinstance(answer, ResponseError):
        return ("error", str(answer))
    if isinstance(answer, list):
        return [comparable(item) for item in answer]
    return answer.encode() if isinstance(answer, str) else answer


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)

single = st.one_of(
    lines,
    lines.filter(lambda line: not line.startswith("ERR ")).map(ResponseError),
    st.integers(-(2**63), 2**63 - 1),
    st.none(),
    st.binary(max_size=60),
    st.sampled_from([b"\r\n", b"$5\r\n", b":1\r\n", b"*2\r\n"]),
)

answers = st.recursive(single, lambda inner: st.lists(inner, max_size=5), max_leaves=20).filter(
    lambda answer: depth(answer) <= redisanswers.DEEPEST
)


def depth(answer: Any) -> int:
    """
    @return: how many lists are in each other.
    """
    return 1 + max(map(depth, answer), default=0) if isinstance(answer, list) else 0


class AnswersTests(SynchronousTestCase):
    """
    What is found in what has come.
    """

    def read(self, *pieces: bytes) -> list[Any]:
        """
        @return: the answers in these pieces, of which nothing is left.
        """
        parser = Answers()
        found = [answer for piece in pieces for answer in parser.feed(piece)]
        self.assertTrue(parser.whole)
        return found

    def test_each_kind(self) -> None:
        """
        Each kind of answer is read as what it is.
        """
        self.assertEqual(
            self.read(b"+OK\r\n:1\r\n:-7\r\n$3\r\nabc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n"),
            [b"OK", 1, -7, b"abc", b"", None, None, [], [1, [b"x"]]],
        )

    def test_errors(self) -> None:
        """
        An error is an exception, in a list too, and has no C{ERR} before its text; one that is no UTF-8 can be shown.
        """
        one, [two], three = self.read(b"-ERR unknown\r\n*1\r\n-WRONGTYPE of key\r\n-NO\xff\r\n")
        for error, text in ((one, "unknown"), (two, "WRONGTYPE of key"), (three, "NO\ufffd")):
            self.assertIsInstance(error, ResponseError)
            self.assertEqual(str(error), text)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(answers, max_size=6), st.lists(st.integers(0, 400), max_size=12))
    def test_any_cut(self, sent: Sequence[Any], cuts: Sequence[int]) -> None:
        """
        However a stream of answers is cut, the same answers are read.
        """
        stream = b"".join(map(written, sent))
        at = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
        found = self.read(*(stream[begin:end] for begin, end in zip(at, at[1:])))
        self.assertEqual(list(map(comparable, found)), list(map(comparable, sent)))

    @settings(max_examples=30, deadline=None)
    @given(st.lists(answers, max_size=4))
    def test_byte_by_byte(self, sent: Sequence[Any]) -> None:
        """
        Each answer is there with its last byte, and not before.
        """
        parser = Answers()
        for answer in sent:
            *others, last = (bytes([byte]) for byte in written(answer))
            for byte in others:
                self.assertEqual(parser.feed(byte), [])
                self.assertFalse(parser.whole)
            self.assertEqual(list(map(comparable, parser.feed(last))), [comparable(answer)])
            self.assertTrue(parser.whole)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.binary(max_size=40), max_size=5))
    def test_any_bytes(self, pieces: Sequence[bytes]) -> None:
        """
        Whatever comes is answers, the begin of one, or no Redis.
        """
        parser = Answers()
        for piece in pieces:
            try:
                parser.feed(piece)
            except NoRedis:
                return

    def test_no_redis(self) -> None:
        """
        What begins as no answer does is no Redis', at once, though its line has not ended.
        """
        for junk in [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2",
            b"\x15\x03\x01\x00\x02\x02\x0a",
            b"ERROR\r\n",
            b"\r\n",
            b"$\r\n",
            b"$x\r\n",
            b":1.5\r\n",
            b"*1\r\nx\r\n",
            b":1\r\n:2\r\n220 mail ESMTP\r\n",
        ]:
            with self.assertRaises(NoRedis):
                Answers().feed(junk)

    def test_endless_lines(self) -> None:
        """
        A line that does not end, and a number that is none, are no Redis' before they fill the memory.
        """
        for begin, piece, limit in ((b"+", b"x" * 1000, redisanswers.LONGEST_LINE), (b":", b"1", redisanswers.LONGEST_NUMBER)):
            parser = Answers()
            parser.feed(begin)
            fed = 0
            with self.assertRaises(NoRedis):
                while fed <= 2 * limit:
                    parser.feed(piece)
                    fed += len(piece)
            self.assertLessEqual(fed, limit + 1000)

    def test_too_deep(self) -> None:
        """
        Lists in lists without end are no Redis'.
        """
        with self.assertRaises(NoRedis):
            Answers().feed(b"*1\r\n" * 100_000)

    def test_large_piecemeal(self) -> None:
        """
        A large text that comes in small pieces is put together once, not with each of them.
        """
        text = bytes(20_000_000)
        parser = Answers()
        parser.feed(b"*2\r\n$%d\r\n" % len(text))
        tracemalloc.start()
        try:
            for at in range(0, len(text), 5_000):
                self.assertEqual(parser.feed(text[at : at + 5_000]), [])
            parser.feed(b"\r\n")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(most, 2.6 * len(text))
        [[found, one]] = parser.feed(b":1\r\n")
        self.assertTrue(found == text and one == 1, "it was changed")
