"""
Bytes to packets and back, without any I/O.

A stream holds binary packets and text lines in any mixture: a NUL as the
first byte begins a packet, anything else a line that ends with a line feed.
A header's size is the frame: whatever the arguments inside look like, the
next packet begins where the size says.  So a bad packet costs at most its own
connection, and only where the stream itself cannot be trusted any more (an
unknown magic or type, a size over the limit, a line without an end) does the
decoder stop, with a L{failure<PacketDecoder.failure>} that says why.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from gearsvc.core.packets import LAST_TYPE, REQUEST, RESPONSE, Type

MAX_LINE = 8192
"""How long a text line may be, its end included; gearmand's limit."""

DEFAULT_MAX_PACKET = 1 << 30
"""How large a packet's arguments and data may be together, unless told otherwise."""

_HEADER = Struct(">4sII")
_HEADER_SIZE = _HEADER.size

Packet = tuple[int, bytes]
"""A packet's type, and what followed its header; a text line without its end, under L{Type.TEXT}."""


def encode(kind: int, body: bytes = b"", magic: bytes = RESPONSE) -> bytes:
    """
    Make a packet.

    @param kind: its type.
    @param body: its arguments and data, joined by NUL bytes.
    @param magic: L{RESPONSE} for what the server says, L{REQUEST} for what it
        is asked.
    @raise struct.error: if the body is larger than 32 bits can say.
    """
    return _HEADER.pack(magic, kind, len(body)) + body


def header(kind: int, size: int) -> bytes:
    """
    Make the header of a response whose body is sent apart, as large ones are.
    """
    return _HEADER.pack(RESPONSE, kind, size)


def error(code: bytes, text: bytes) -> bytes:
    """
    Make an ERROR packet: a code of gearmand's, and a text for people.
    """
    return encode(Type.ERROR, code + b"\0" + text)


class Failure(NamedTuple):
    """
    Why a stream cannot be decoded any further.

    @ivar code: an ERROR code of gearmand's.
    @ivar text: for people: what is wrong.
    @ivar line: whether the peer was speaking text, and is to be answered so.
    """

    code: bytes
    text: bytes
    line: bool = False


class PacketDecoder:
    """
    Cuts a stream of bytes into packets and text lines.

    @ivar failure: why decoding has stopped for good, or C{None}.
    """

    __slots__ = ("failure", "_magic", "_limit", "_rest", "_have", "_need")

    def __init__(self, max_packet: int = DEFAULT_MAX_PACKET, magic: bytes = REQUEST) -> None:
        """
        @param max_packet: the largest size that a header may give.
        @param magic: the magic to expect: L{REQUEST} on the server's side,
            L{RESPONSE} on that of clients and workers.
        """
        self.failure: Failure | None = None
        self._magic = magic
        self._limit = max_packet
        # An incomplete packet: its pieces, joined only once they are enough,
        # so that a large packet in many pieces is copied once.
        self._rest: list[bytes] = []
        self._have = 0
        self._need = 0

    def feed(self, data: bytes) -> list[Packet]:
        """
        Take some more bytes of the stream.

        @return: what is complete now, in order.  A whole packet with the
            magic of the other direction is there as
            L{Type.WRONG_DIRECTION}.  After a L{failure}, nothing more.
        """
        if self._rest:
            self._rest.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._rest)
            self._rest = []
        packets: list[Packet] = []
        at = 0
        end = len(data)
        need = 0
        limit = self._limit
        expected = self._magic
        if self.failure is not None:
            return packets
        while at < end:
            if data[at]:
                stop = data.find(b"\n", at, at + MAX_LINE)
                if stop < 0:
                    if end - at >= MAX_LINE:
                        self.failure = Failure(b"LINE_TOO_LONG", b"A line may have 8192 bytes", True)
                        return packets
                    need = end - at + 1
                    break
                packets.append((0, data[at:stop]))
                at = stop + 1
                continue
            start = at + _HEADER_SIZE
            if start > end:
                need = _HEADER_SIZE
                break
            magic, kind, size = _HEADER.unpack_from(data, at)
            if magic != expected or size > limit or not 0 < kind <= LAST_TYPE:
                if magic not in (REQUEST, RESPONSE):
                    self.failure = Failure(b"INVALID_MAGIC", b"Request magic expected")
                elif not 0 < kind <= LAST_TYPE:
                    self.failure = Failure(b"INVALID_COMMAND", b"Command not expected")
                elif size > limit:
                    self.failure = Failure(
                        b"ARGUMENT_TOO_LARGE", b"A packet of %d bytes is larger than the limit of %d" % (size, limit)
                    )
                if self.failure is not None:
                    return packets
                kind = Type.WRONG_DIRECTION
            stop = start + size
            if stop > end:
                need = _HEADER_SIZE + size
                break
            packets.append((kind, data[start:stop]))
            at = stop
        if need:
            self._rest.append(data[at:] if at else data)
            self._have = end - at
            self._need = need
        return packets
