"""
Bytes to packets and back.
"""

from __future__ import annotations

from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from gearsvc.core.packets import LAST_TYPE, REQUEST, RESPONSE, Type
from gearsvc.core.sessions import job_created
from gearsvc.core.wire import MAX_LINE, Failure, Packet, PacketDecoder, encode, error, header

LIMIT = 3000
"""The packet limit of the decoders that Hypothesis feeds."""

moderately = settings(max_examples=150, deadline=None, print_blob=True, database=None)


class EncodeTests(TestCase):
    """
    What goes onto the wire.
    """

    def test_packet(self) -> None:
        """
        A packet is its magic, its type, its size and its body, numbers with their big end first.
        """
        self.assertEqual(encode(Type.JOB_CREATED, b"H:1"), b"\0RES\0\0\0\x08\0\0\0\x03H:1")

    def test_request(self) -> None:
        """
        A request has the other magic.
        """
        self.assertEqual(encode(Type.GRAB_JOB, magic=REQUEST), b"\0REQ\0\0\0\x09\0\0\0\0")

    def test_header_apart(self) -> None:
        """
        A header that is made apart is the one of the whole packet.
        """
        self.assertEqual(header(Type.WORK_DATA, 5) + b"H:1\0x", encode(Type.WORK_DATA, b"H:1\0x"))

    def test_error(self) -> None:
        """
        An ERROR is its code, a NUL, and its text without a NUL.
        """
        self.assertEqual(error(b"QUEUE_ERROR", b"full"), b"\0RES\0\0\0\x13\0\0\0\x10QUEUE_ERROR\0full")

    def test_job_created(self) -> None:
        """
        A JOB_CREATED made of the prepared headers is the one that encode makes, for every length of a handle.
        """
        for size in range(256):
            self.assertEqual(job_created(b"h" * size), encode(Type.JOB_CREATED, b"h" * size))


class DecoderTests(TestCase):
    """
    L{PacketDecoder}, case by case.
    """

    def assert_failure(self, data: bytes, code: bytes, packets: list[Packet] | None = None, limit: int = LIMIT) -> Failure:
        """
        These bytes end the stream with this failure, after these packets.
        """
        decoder = PacketDecoder(limit)
        self.assertEqual(decoder.feed(data), packets or [])
        assert decoder.failure is not None
        self.assertEqual(decoder.failure.code, code)
        self.assertEqual(decoder.feed(encode(Type.GRAB_JOB, magic=REQUEST)), [])
        return decoder.failure

    def test_mixture(self) -> None:
        """
        Text lines and packets may follow each other in any order.
        """
        data = b"status\n" + encode(1, b"f", REQUEST) + encode(9, b"", REQUEST) + b"\r\n\n" + encode(16, b"\n\0", REQUEST)
        self.assertEqual(PacketDecoder().feed(data), [(0, b"status"), (1, b"f"), (9, b""), (0, b"\r"), (0, b""), (16, b"\n\0")])

    def test_size_is_the_frame(self) -> None:
        """
        The next packet begins where the size says, whatever is inside.
        """
        inner = encode(9, b"", REQUEST)
        self.assertEqual(PacketDecoder().feed(encode(7, inner, REQUEST) + inner), [(7, inner), (9, b"")])

    def test_wrong_direction(self) -> None:
        """
        A whole response among requests is one packet, under a type of its own, and the stream goes on.
        """
        data = encode(11, b"x\0y\0", RESPONSE) + encode(9, b"", REQUEST)
        self.assertEqual(PacketDecoder().feed(data), [(Type.WRONG_DIRECTION, b"x\0y\0"), (9, b"")])

    def test_other_side(self) -> None:
        """
        On the clients' side responses are expected, and requests are of the wrong direction.
        """
        decoder = PacketDecoder(magic=RESPONSE)
        self.assertEqual(decoder.feed(encode(8, b"H:1") + encode(9, b"", REQUEST)), [(8, b"H:1"), (Type.WRONG_DIRECTION, b"")])

    def test_unknown_magic(self) -> None:
        """
        A header with any other magic ends the stream, after what came before it.
        """
        self.assert_failure(encode(9, b"", REQUEST) + b"\0REX" + bytes(8), b"INVALID_MAGIC", [(9, b"")])

    def test_types_beyond_the_table(self) -> None:
        """
        A type of 0, 43, or with its highest bit ends the stream, in a response too.
        """
        for kind in (0, LAST_TYPE + 1, 0x80000000, 0xFFFFFFFF):
            for magic in (REQUEST, RESPONSE):
                self.assert_failure(encode(kind, b"", magic), b"INVALID_COMMAND")

    def test_limit(self) -> None:
        """
        A packet may have exactly as many bytes as the limit says; one more is refused by its header alone.
        """
        self.assertEqual(PacketDecoder(5).feed(encode(16, b"12345", REQUEST)), [(16, b"12345")])
        self.assert_failure(encode(16, b"123456", REQUEST)[:12], b"ARGUMENT_TOO_LARGE", limit=5)
        self.assert_failure(encode(16, b"123456", RESPONSE)[:12], b"ARGUMENT_TOO_LARGE", limit=5)

    def test_largest_size(self) -> None:
        """
        A size of four gigabytes is refused by its header.
        """
        self.assert_failure(b"\0REQ\0\0\0\x10\xff\xff\xff\xff", b"ARGUMENT_TOO_LARGE", limit=1 << 30)

    def test_longest_line(self) -> None:
        """
        A line of 8192 bytes, its end included, is one; with one byte more it ends the stream, whole or not.
        """
        self.assertEqual(PacketDecoder().feed(b"x" * (MAX_LINE - 1) + b"\n"), [(0, b"x" * (MAX_LINE - 1))])
        self.assertTrue(self.assert_failure(b"x" * MAX_LINE + b"\n", b"LINE_TOO_LONG").line)
        self.assertTrue(self.assert_failure(b"x" * MAX_LINE, b"LINE_TOO_LONG").line)

    def test_unfinished_line(self) -> None:
        """
        A line that is not too long yet may still get its end.
        """
        decoder = PacketDecoder()
        self.assertEqual(decoder.feed(b"x" * (MAX_LINE - 1)), [])
        self.assertIsNone(decoder.failure)
        self.assertEqual(decoder.feed(b"\n"), [(0, b"x" * (MAX_LINE - 1))])

    def test_large_packet_is_copied_once(self) -> None:
        """
        The pieces of a packet are joined only once they are enough.
        """
        decoder = PacketDecoder()
        decoder.feed(encode(16, b"x" * 1000, REQUEST)[:500])
        pieces = [decoder._rest[0]]
        for _ in range(5):
            piece = b"x" * 100
            decoder.feed(piece)
            pieces.append(piece)
        self.assertEqual([id(piece) for piece in decoder._rest], [id(piece) for piece in pieces])
        self.assertEqual(decoder.feed(b"x" * 12), [(16, b"x" * 1000)])
        self.assertEqual(decoder._rest, [])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """
    The pieces of a stream that is cut at these places.
    """
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:])]


def decode(pieces: list[bytes], magic: bytes = REQUEST) -> tuple[list[Packet], Failure | None]:
    """
    What a new decoder makes of the pieces of a stream.
    """
    decoder = PacketDecoder(LIMIT, magic)
    packets = [packet for piece in pieces for packet in decoder.feed(piece)]
    return packets, decoder.failure


lines = st.binary(max_size=60).map(lambda text: text.replace(b"\n", b"")).filter(lambda text: text[:1] != b"\0")
messages = st.one_of(
    st.tuples(st.just(0), lines),
    st.tuples(st.integers(1, LAST_TYPE), st.binary(max_size=80)),
)
"""A packet or a text line, as L{PacketDecoder} gives it."""

headers = st.builds(
    lambda magic, kind, size: magic + kind.to_bytes(4, "big") + size.to_bytes(4, "big"),
    st.sampled_from([REQUEST, RESPONSE, b"\0REX"]),
    st.one_of(st.integers(0, 44), st.integers(0, 2**32 - 1)),
    st.one_of(st.integers(0, 20), st.sampled_from([LIMIT, LIMIT + 1, 2**32 - 1])),
)
streams = st.lists(
    st.one_of(
        st.binary(max_size=40),
        headers,
        st.just(b"x" * (MAX_LINE - 20)),
        messages.map(lambda packet: on_the_wire(*packet)),
    ),
    max_size=8,
).map(b"".join)
"""Bytes that look like a stream here and there, and are anything elsewhere."""


def on_the_wire(kind: int, body: bytes, magic: bytes = REQUEST) -> bytes:
    """
    The bytes of a packet or of a text line.
    """
    return encode(kind, body, magic) if kind else body + b"\n"


class AnyBytesTests(TestCase):
    """
    L{PacketDecoder}, with whatever Hypothesis comes up with.
    """

    @moderately
    @given(streams, st.lists(st.integers(0, 20000), max_size=12))
    def test_cuts_do_not_matter(self, data: bytes, places: list[int]) -> None:
        """
        Any bytes decode without an exception, and to the same packets and the same failure however they are cut.
        """
        self.assertEqual(decode(cut(data, places)), decode([data]))

    @moderately
    @given(st.binary(max_size=200))
    def test_byte_by_byte(self, data: bytes) -> None:
        """
        The smallest pieces give what the whole gives.
        """
        self.assertEqual(decode([data[at : at + 1] for at in range(len(data))]), decode([data]))

    @moderately
    @given(st.lists(messages, max_size=10), st.lists(st.integers(0, 2000), max_size=8), st.sampled_from([REQUEST, RESPONSE]))
    def test_what_is_written_is_read(self, packets: list[Packet], places: list[int], magic: bytes) -> None:
        """
        What one side writes, packets and lines mixed, the other reads, in either direction and in any pieces.
        """
        data = b"".join(on_the_wire(kind, body, magic) for kind, body in packets)
        self.assertEqual(decode(cut(data, places), magic), (packets, None))

    @moderately
    @given(streams)
    def test_nothing_after_a_failure(self, data: bytes) -> None:
        """
        Once decoding has failed it stays so, and keeps nothing.
        """
        decoder = PacketDecoder(LIMIT)
        decoder.feed(data)
        failure = decoder.failure
        if failure is not None:
            self.assertEqual(decoder.feed(b"status\n"), [])
            self.assertIs(decoder.failure, failure)
            self.assertEqual(decoder._rest, [])
