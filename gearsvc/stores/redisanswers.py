"""
What Redis answers, found in the bytes that come.
"""

from __future__ import annotations

from txredisapi import ResponseError

_STATUS, _ERROR, _INTEGER, _BULK, _ARRAY = b"+-:$*"

LONGEST_LINE = 64 * 1024
"""
Bytes of the longest line that Redis may say; its errors quote what they are about.
"""

LONGEST_NUMBER = 20
"""
Digits of the longest number that it may say, with its sign.
"""

DEEPEST = 7
"""
How many lists may be in each other.
"""


class NoRedis(Exception):
    """
    What has come is no answer of Redis'.
    """


class _Incomplete(Exception):
    """
    @ivar args: up to which byte there must be more at least.
    """


class Answers:
    """
    Finds answers, however they are cut into pieces.

    An answer is bytes, a number, C{None}, a list of answers, or an error, which is the exception C{txredisapi.ResponseError}.

    (txredisapi has a parser too.  It copies all that has come for each line, and waits for the reactor's next turn after each
    text: a million jobs would take it minutes.)

    @ivar whole: whether no part of an answer waits for its rest.
    """

    def __init__(self) -> None:
        self.whole = True
        self._pieces: list[bytes] = []
        self._size = 0
        self._needed = 0

    def feed(self, data: bytes) -> list[object]:
        """
        Take what has come.

        @return: the answers that are complete now.
        @raise NoRedis: if it can't be a part of one.
        """
        if not self.whole:
            self._pieces.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        found: list[object] = []
        at, size = 0, len(data)
        try:
            while at < size:
                answer, at = _read(data, at, DEEPEST)
                found.append(answer)
        except _Incomplete as incomplete:
            self.whole = False
            self._pieces = [data[at:]]
            self._size = size - at
            self._needed = incomplete.args[0] - at
        except ValueError:
            raise NoRedis(data[at : at + 20]) from None
        else:
            self.whole = True
        return found


def _read(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """
    @param depth: how many lists may be in each other here.
    @return: the answer that begins there, and where it ends.
    """
    kind = data[at]
    end = data.find(b"\r\n", at)
    if (end if end >= 0 else len(data)) - at > (LONGEST_LINE if kind in b"+-" else LONGEST_NUMBER) + 2:
        raise ValueError
    if end < 0:
        if kind not in b"+-:$*":
            raise ValueError
        raise _Incomplete(len(data) + 1)
    if kind == _BULK:
        length = int(data[at + 1 : end])
        at = end + 2
        if length < 0:
            return None, at
        end = at + length
        if end + 2 > len(data):
            raise _Incomplete(end + 2)
        return data[at:end], end + 2
    if kind == _ARRAY:
        length = int(data[at + 1 : end])
        at = end + 2
        if length < 0:
            return None, at
        if not depth:
            raise ValueError
        items: list[object] = []
        size = len(data)
        for _ in range(length):
            if at == size:
                raise _Incomplete(at + 1)
            if data[at] == _BULK:
                # A replay consists of these: for a million jobs a call for each would be seconds.
                end = data.find(b"\r\n", at, at + LONGEST_NUMBER + 3)
                if end > 0:
                    begin = end + 2
                    end = begin + int(data[at + 1 : end])
                    if begin <= end <= size - 2:
                        items.append(data[begin:end])
                        at = end + 2
                        continue
            item, at = _read(data, at, depth - 1)
            items.append(item)
        return items, at
    if kind == _INTEGER:
        return int(data[at + 1 : end]), end + 2
    if kind == _STATUS:
        return data[at + 1 : end], end + 2
    if kind == _ERROR:
        return ResponseError(data[at + 1 : end].decode("utf-8", "replace").removeprefix("ERR ")), end + 2
    raise ValueError
