"""
A program that runs to its end, on the reactor: its input, its output, and a
group of its own, so that it ends with all that it has started.

(The reactor's own spawnProcess has no process group, and says that a program
does not exist only after it has been started.)
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet import main
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.process import registerReapProcessHandler, unregisterReapProcessHandler
from twisted.python.failure import Failure
from zope.interface import implementer

PIECE = 1 << 16
"""
How many bytes are read or written at a time.
"""

GRACE = 5.0
"""
How many seconds a program has to end after SIGTERM, before SIGKILL.
"""

LAST_WORDS = 0.5
"""
How many seconds stderr is listened to after the program has ended: what the
program has left behind may keep it open for ever.
"""


class RunningProcess:
    """
    A program that has been started.

    @ivar ended: fires with the exit status once the program has ended and has
        closed its standard output; what it wrote has been handed on before
        that.  A signal's number is negative.  To cancel it ends the program.
    @ivar pid: the process id, which is that of its group and session too.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        input: bytes = b"",
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], object],
        on_error: Callable[[bytes], object],
        reactor: Any,
    ) -> None:
        """
        Start it.

        @param words: the program, which is looked for in PATH, and its arguments.
        @param input: its standard input.  A program need not read it.
        @param environment: all that its environment is to be; by default ours.
        @param on_output: called with pieces of its standard output.
        @param on_error: called with pieces of its standard error.
        @raise OSError: if there is no such program, or it cannot be run.
        """
        self._reactor = reactor
        self.ended: Deferred[int] = Deferred(lambda _: self.end(GRACE))
        self._over = False
        self._later: list[Any] = []
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            ends = []
            for reader_is_ours in (False, True, True):
                reading, writing = os.pipe()
                for end, is_ours in ((reading, reader_is_ours), (writing, not reader_is_ours)):
                    (ours if is_ours else theirs).callback(os.close, end)
                ends.append((reading, writing) if reader_is_ours else (writing, reading))
            stdin, stdout, stderr = (end for _, end in ends)
            self._process = subprocess.Popen(
                words, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            )
            ours.pop_all()
        (to_input, _), (from_output, _), (from_error, _) = ends
        self.pid = self._process.pid
        self._output = _Reading(reactor, from_output, on_output, self._check)
        self._error = _Reading(reactor, from_error, on_error, self._check)
        self._input = _Writing(reactor, to_input, input)
        # It may have ended already.
        registerReapProcessHandler(self.pid, self)

    def reapProcess(self) -> None:
        """
        Some process has ended; called by Twisted.
        """
        if self._process.poll() is not None:
            unregisterReapProcessHandler(self.pid, self)
            self._has_ended()

    def processEnded(self, status: int) -> None:
        """
        It had ended before anybody waited for it; called by Twisted.
        """
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._has_ended()

    def _has_ended(self) -> None:
        # Nobody is there to read it.
        self._input.close()
        self._check()

    def _check(self) -> None:
        status = self._process.returncode
        if status is None or not self._output.closed or self._over:
            return
        if not self._error.closed:
            # Its last words may be in the pipe yet.
            self._later.append(self._reactor.callLater(LAST_WORDS, self._error.close))
            return
        self._over = True
        for call in self._later:
            if call.active():
                call.cancel()
        if not self.ended.called:
            self.ended.callback(status)

    def signal(self, number: int) -> None:
        """
        Send a signal to the program and all that it has started, if there is
        any of it yet.
        """
        if not self._over:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def end(self, grace: float) -> None:
        """
        End it, with all that it has started: by SIGTERM, and if that has not
        helped after some seconds, by SIGKILL.
        """
        self.signal(signal.SIGTERM)
        # What is stopped would not notice.
        self.signal(signal.SIGCONT)
        self._later.append(self._reactor.callLater(grace, self.signal, signal.SIGKILL))


@implementer(IReadDescriptor)
class _Reading:
    """
    Our end of a pipe that the program writes to.

    @ivar closed: whether nothing more comes.
    """

    def __init__(self, reactor: Any, descriptor: int, receive: Callable[[bytes], object], on_close: Callable[[], None]) -> None:
        self.closed = False
        self._reactor = reactor
        self._descriptor = descriptor
        self._receive = receive
        self._on_close = on_close
        os.set_blocking(descriptor, False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return -1 if self.closed else self._descriptor

    def logPrefix(self) -> str:
        return "a program's output"

    def doRead(self) -> Any:
        # (Reactors want an exception, and not the Failure that the interface has.)
        try:
            piece = os.read(self._descriptor, PIECE)
        except BlockingIOError:
            return None
        if not piece:
            return main.CONNECTION_DONE
        self._receive(piece)
        return None

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        if not self.closed:
            self._reactor.removeReader(self)
            self.closed = True
            os.close(self._descriptor)
            self._on_close()


@implementer(IWriteDescriptor)
class _Writing:
    """
    Our end of the pipe that the program reads from.  It is closed when all is
    written, or when the program does not want any more.
    """

    def __init__(self, reactor: Any, descriptor: int, data: bytes) -> None:
        self.closed = False
        self._reactor = reactor
        self._descriptor = descriptor
        self._rest = memoryview(data)
        os.set_blocking(descriptor, False)
        reactor.addWriter(self)

    def fileno(self) -> int:
        return -1 if self.closed else self._descriptor

    def logPrefix(self) -> str:
        return "a program's input"

    def doWrite(self) -> Any:
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest[:PIECE]) :]
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return None
            # The program has closed its end, as it may.
            return main.CONNECTION_LOST
        return None if self._rest else main.CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        if not self.closed:
            self._reactor.removeWriter(self)
            self.closed = True
            self._rest = memoryview(b"")
            os.close(self._descriptor)
