"""
A job, as the function that does it sees it.
"""

from __future__ import annotations

from threading import get_ident
from typing import Callable, Protocol

from gearsvc.core.explain import text
from gearsvc.core.packets import Type


class Teller(Protocol):
    """
    Takes what a job has to say to its server.
    """

    def __call__(self, kind: Type, *arguments: bytes) -> object:
        """
        Say it, in the reactor's thread.
        """


class AssignedJob:
    """
    A job that a server has given to a L{GearmanWorker<gearsvc.client.worker.GearmanWorker>}.

    What it sends reaches the clients in the order in which it was sent, and
    before the result.  A client that submitted it in the background hears
    nothing of it.

    @ivar handle: the server's name for it.
    @ivar function: the function that is wanted.
    @ivar workload: what to do it with.
    @ivar unique: the unique id that it was submitted under, or C{b""}.
    @ivar reducer: the reducer that it was submitted with, or C{b""}.
    """

    def __init__(
        self,
        handle: bytes,
        function: bytes,
        workload: bytes,
        unique: bytes = b"",
        reducer: bytes = b"",
        *,
        tell: Teller,
        call_from_thread: Callable[..., object],
    ) -> None:
        """
        Made by the worker, in the reactor's thread.

        @param tell: takes what is to be sent.
        @param call_from_thread: calls a function in the reactor's thread.
        """
        self.handle = handle
        self.function = function
        self.workload = workload
        self.unique = unique
        self.reducer = reducer
        self._lost = False
        self._tell = tell
        self._call_from_thread = call_from_thread
        self._thread = get_ident()

    def __repr__(self) -> str:
        state = " (lost)" if self._lost else ""
        return f"<AssignedJob {text(self.handle)} of {text(self.function)}{state}>"

    @property
    def lost(self) -> bool:
        """
        Whether nobody waits for the result of this attempt any more: the
        connection is gone, the time that the function has is up, or the worker
        was closed.  What the job sends from then on, and its result, is
        dropped; the server has queued it again.

        A long function that runs in a thread should look now and then, and
        return when it is so.
        """
        return self._lost

    def lose(self) -> None:
        """
        Nobody waits any more.  For the worker to call.
        """
        self._lost = True

    def send_data(self, data: bytes | str) -> None:
        """
        Send a piece of the result ahead.  From any thread.
        """
        self._send(Type.WORK_DATA, as_bytes(data))

    def send_warning(self, data: bytes | str) -> None:
        """
        Send a warning.  From any thread.
        """
        self._send(Type.WORK_WARNING, as_bytes(data))

    def send_progress(self, numerator: int, denominator: int) -> None:
        """
        Say how much of the job is done.  The server keeps it for those who ask.
        From any thread.

        @raise ValueError: if one of them is negative, or does not fit in 32
            bits: servers do not keep that.
        """
        for number in (numerator, denominator):
            if not 0 <= number < 1 << 32:
                raise ValueError(f"progress is two whole numbers from 0 to {(1 << 32) - 1}, not {number!r}")
        self._send(Type.WORK_STATUS, b"%d" % numerator, b"%d" % denominator)

    def _send(self, kind: Type, *arguments: bytes) -> None:
        if get_ident() == self._thread:
            self._tell(kind, *arguments)
        else:
            self._call_from_thread(self._tell, kind, *arguments)


def as_bytes(value: object) -> bytes:
    """
    Data as it goes on the wire; text is UTF-8.

    @raise TypeError: if it is neither bytes nor text.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"data is bytes or str, not {type(value).__name__}")
