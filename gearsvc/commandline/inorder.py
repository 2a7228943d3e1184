"""
Many outputs at once, written one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Output:
    """
    What one job has to say.
    """

    __slots__ = ("_owner", "pieces", "ended")

    def __init__(self, owner: InOrder) -> None:
        self._owner = owner
        self.pieces: list[bytes] = []
        self.ended = False

    def write(self, data: bytes) -> None:
        """
        Write some of it.
        """
        self.pieces.append(data)
        self._owner.advance(self)

    def end(self) -> None:
        """
        That was all.
        """
        self.ended = True
        self._owner.advance(self)


class InOrder:
    """
    Writes outputs in the order in which they were begun, as soon as that
    allows: the first one that has not ended is written as it comes, what
    others write is kept until it is their turn.

    @ivar waiting: how many have been begun, and are not all written.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._outputs: deque[Output] = deque()

    @property
    def waiting(self) -> int:
        return len(self._outputs)

    def begin(self) -> Output:
        """
        Begin another one.
        """
        output = Output(self)
        self._outputs.append(output)
        return output

    def advance(self, output: Output) -> None:
        """
        There is more of an output.  For the output to call.
        """
        while self._outputs and output is self._outputs[0]:
            pieces, output.pieces = output.pieces, []
            for piece in pieces:
                self._write(piece)
            if not output.ended:
                return
            self._outputs.popleft()
            if self._outputs:
                output = self._outputs[0]
