"""
A connection to memcached: Twisted's client, and what a queue needs beside it.

L{MemCacheProtocol<twisted.protocols.memcache.MemCacheProtocol>} has a Deferred and an answer for each command.
L{Connection} adds what comes by the thousand: many commands that are answered by one line each, written and waited for
together (L{Connection.exchange}), many values (L{Connection.values}), and the list of all keys (L{Connection.listing}).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection as StreamConnection
from twisted.protocols.memcache import ClientError, Command, MemCacheProtocol, NoSuchCommand, ServerError
from twisted.python.failure import Failure

from gearsvc.stores.directsocket import DirectSocket

KEYS_PER_GET = 100
"""
How many keys one C{get} asks for.
"""

Value = tuple[int, bytes]
"""
What is stored under a key: its flags, and its data.
"""

Take = Callable[[list[tuple[bytes, ...]]], None]
"""
Hears of some of the keys that a server lists.
"""


class Refused(Exception):
    """
    The server cannot do what it was asked for; the argument is its answer.
    """


class Commands:
    """
    Commands that are answered by one line each, to be sent together.

    @ivar parts: what is to be sent.
    @ivar count: how many answers there will be.
    """

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.count = 0

    def add(self, *parts: bytes) -> slice:
        """
        Add one command.

        @return: where its answer will be.
        """
        return self.extend(parts, 1)

    def extend(self, parts: Iterable[bytes], count: int) -> slice:
        """
        Add some commands.

        @return: where their answers will be.
        """
        self.parts.extend(parts)
        self.count += count
        return slice(self.count - count, self.count)


class _Bulk(Command):
    """
    A command that reads its answer by itself.
    """

    outcome: object

    def feed(self, data: bytes) -> bytes | None:
        """
        Take what has arrived.

        @return: C{None} while the answer is not complete; then, what came
            after it.
        """
        raise NotImplementedError


class _Answers(_Bulk):
    """
    So many lines.
    """

    def __init__(self, count: int) -> None:
        super().__init__(b"")
        self._left = count
        self._count = count
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes | None:
        self._pieces.append(data)
        self._left -= data.count(b"\n")
        if self._left > 0:
            return None
        answers = b"".join(self._pieces).split(b"\r\n", self._count)
        rest = answers.pop()
        self.outcome = answers
        return rest


Answered = Callable[["list[bytes] | Failure | None"], object]
"""
Hears of answers: C{None} if they are the usual ones; the lines, if not; or why there are none.
"""


class _Told(_Answers):
    """
    As many lines as are usual, for somebody who needs no Deferred.
    """

    def __init__(self, usual: bytes, answered: Answered) -> None:
        # (A command has a Deferred.)
        self._left = self._count = usual.count(b"\n")
        self._pieces: list[bytes] = []
        self._usual = usual
        self._answered = answered

    def is_usual(self, data: bytes) -> bool:
        """
        Whether what has arrived is the whole answer, and the usual one.
        """
        return data == self._usual and not self._pieces

    def success(self, value: Any) -> None:
        self._answered(None if value is None or b"\r\n".join([*value, b""]) == self._usual else value)

    def fail(self, error: Failure | Exception) -> None:
        self._answered(error if isinstance(error, Failure) else Failure(error))


class _Values(_Bulk):
    """
    The answers to some C{get}s.
    """

    def __init__(self, gets: int) -> None:
        super().__init__(b"")
        self._gets = gets
        self._pieces: list[bytes] = []
        self._size = 0
        # Of how many bytes more can be made.
        self._enough = 1
        self._found: dict[bytes, Value] = {}
        self.outcome = self._found

    def feed(self, data: bytes) -> bytes | None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size < self._enough:
            return None
        data = b"".join(self._pieces)
        at = 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                self._enough = len(data) - at + 1
                break
            if data.startswith(b"VALUE ", at):
                _, key, flags, size, *_ = data[at:end].split(b" ")
                begin = end + 2
                end = begin + int(size)
                if end + 2 > len(data):
                    self._enough = end + 2 - at
                    break
                self._found[key] = (int(flags), data[begin:end])
                at = end + 2
                continue
            if data[at:end] != b"END":
                self.outcome = Refused(data[at:end])
            at = end + 2
            self._gets -= 1
            if not self._gets:
                return data[at:]
        data = data[at:]
        self._pieces = [data]
        self._size = len(data)
        return None


class _Listing(_Bulk):
    """
    The keys that a server lists.
    """

    def __init__(self, pattern: re.Pattern[bytes], take: Take) -> None:
        super().__init__(b"")
        self._pattern = pattern
        self._take = take
        self._begun = False
        self._rest = b""
        self.outcome = None

    def feed(self, data: bytes) -> bytes | None:
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        lines, self._rest = data[:cut], data[cut:]
        if not lines:
            return None
        if not self._begun and not lines.startswith((b"key=", b"ITEM ", b"END\r\n")):
            answer, _, rest = lines.partition(b"\r\n")
            self.outcome = Refused(answer)
            return rest + self._rest
        self._begun = True
        self._take(self._pattern.findall(lines))
        return self._rest if lines.endswith(b"END\r\n") and lines[-6:-5] in (b"", b"\n") else None


_ANSWERS = (
    b"STORED",
    b"NOT_STORED",
    b"EXISTS",
    b"NOT_FOUND",
    b"DELETED",
    b"VALUE ",
    b"STAT ",
    b"END",
    b"ERROR",
    b"CLIENT_ERROR",
    b"SERVER_ERROR",
)
"""
What lines begin with that L{MemCacheProtocol} reads.
"""


class Connection(MemCacheProtocol):
    """
    A connection to one server.

    What it is asked for fails with L{ConnectionLost}, C{ConnectionDone}, or
    C{twisted.internet.defer.TimeoutError} if the connection breaks, or the
    server says nothing for too long; with L{Refused} if it says no.

    @ivar nonsense: what the server said that memcached does not say, or C{b""}.
    @ivar ended: fires when the connection has ended.
    """

    def __init__(self, seconds: float) -> None:
        """
        @param seconds: how long the server may be silent.
        """
        super().__init__(seconds)
        self.nonsense = b""
        self.ended: Deferred[None] = Deferred()
        self._direct: DirectSocket | None = None
        # How long an answer may take, while one is due; until when it has to come; and what rings then, or before.
        self._allowed: float | None = None
        self._deadline = 0.0
        self._alarm: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Be ready to be asked.
        """
        super().connectionMade()
        self._direct = DirectSocket(self._wire, self._take, self._current)

    def _take(self, data: bytes) -> None:
        """
        Take what has come.
        """
        current = self._current
        if len(current) == 1 and isinstance(current[0], _Told) and current[0].is_usual(data):
            told = current.popleft()
            self.setTimeout(None)
            self.setLineMode()
            told.success(None)
        else:
            self.dataReceived(data)

    @property
    def _wire(self) -> StreamConnection:
        return cast(StreamConnection, self.transport)

    def abort(self) -> None:
        """
        Break the connection.
        """
        self._wire.abortConnection()

    @property
    def alive(self) -> bool:
        """
        Whether it can be used.
        """
        return not self._disconnected

    @property
    def quiet(self) -> bool:
        """
        Whether it can be used, and all that was asked is answered.
        """
        return not (self._disconnected or self._current)

    def exchange(self, commands: Commands) -> Deferred[list[bytes]]:
        """
        Send commands.

        @return: fires with the lines that answer them.
        """
        return self._send(commands.parts, _Answers(commands.count))

    def exchange_for(self, commands: bytes, usual: bytes, answered: Answered) -> None:
        """
        Send commands that are answered by one line each, while the connection can be used.

        @param usual: what is nearly always answered.
        @param answered: called with C{None} for that; with the lines that answer them, if they are others; or with what
            L{exchange} would fail with.
        """
        self._begin([commands], _Told(usual, answered))

    def values(self, keys: Sequence[bytes]) -> Deferred[dict[bytes, Value]]:
        """
        Read values.

        @return: fires with those that are there.
        """
        lines: list[bytes] = []
        for start in range(0, len(keys), KEYS_PER_GET):
            lines.append(b"get %b\r\n" % b" ".join(keys[start : start + KEYS_PER_GET]))
        return self._send(lines, _Values(len(lines)))

    def listing(self, command: bytes, pattern: re.Pattern[bytes], take: Take) -> Deferred[None]:
        """
        List keys.

        @param command: what makes the server list them, in lines that end
            with one that is C{END}.
        @param pattern: matches a line that is wanted, by more than one group.
        @param take: called, again and again, with what the pattern found.
        """
        return self._send([command + b"\r\n"], _Listing(pattern, take))

    def _send(self, parts: list[bytes], bulk: _Bulk) -> Deferred[Any]:
        if self._disconnected:
            return fail(ConnectionLost())
        self._begin(parts, bulk)
        deferred: Deferred[Any] = bulk._deferred
        return deferred

    def _begin(self, parts: list[bytes], bulk: _Bulk) -> None:
        idle = not self._current
        self._current.append(bulk)
        if idle:
            self.setTimeout(self.persistentTimeOut)
            self.setRawMode()
            # All that was sent before has been answered: nothing waits to be sent.
            assert self._direct is not None
            self._direct.send(b"".join(parts))
        else:
            self._wire.writeSequence(parts)

    def rawDataReceived(self, data: bytes) -> None:
        """
        A part of an answer, or of a value that L{MemCacheProtocol} reads.
        """
        head = self._current[0]
        if not isinstance(head, _Bulk):
            super().rawDataReceived(data)
            return
        self.resetTimeout()
        try:
            rest = head.feed(data)
        except ValueError:
            self._give_up(data)
            return
        if rest is None:
            return
        self._current.popleft()
        if not self._current:
            self.setTimeout(None)
        if not (self._current and isinstance(self._current[0], _Bulk)):
            self.setLineMode()
        if rest:
            self.dataReceived(rest)
        if isinstance(head.outcome, Exception):
            head.fail(head.outcome)
        else:
            head.success(head.outcome)

    def lineReceived(self, line: bytes) -> None:
        """
        A line for L{MemCacheProtocol}.
        """
        try:
            # (Twisted's takes other lines for numbers, for which nobody asks here.)
            if not line.startswith(_ANSWERS):
                raise ValueError
            super().lineReceived(line)
        except (ValueError, IndexError, RuntimeError, AttributeError, TypeError):
            self._give_up(line)
            return
        if self._current and isinstance(self._current[0], _Bulk):
            self.setRawMode()

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        memcached has no such lines.
        """
        self._give_up(line)

    def _give_up(self, said: bytes) -> None:
        self.nonsense = self.nonsense or said[:60] or b"nothing"
        self.abort()

    def timeoutConnection(self) -> None:
        """
        The server says nothing.
        """
        super().timeoutConnection()
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        What is not answered fails.
        """
        if self._direct is not None:
            self._direct.lost()
            self._direct = None
        super().connectionLost(reason)
        self.setTimeout(None)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.ended.callback(None)

    # MemCacheProtocol sets a timer for each answer, and cancels it, which costs more than most answers.

    def setTimeout(self, period: float | None) -> None:
        """
        Wait for an answer, so many seconds at most; or for none.
        """
        self._allowed = period
        if period is not None:
            self._deadline = time.monotonic() + period
            if self._alarm is None:
                self._alarm = self.callLater(period, self._ring)

    def resetTimeout(self) -> None:
        """
        A part of an answer has come: there is as much time for the next one.
        """
        if self._allowed is not None:
            self._deadline = time.monotonic() + self._allowed

    def _ring(self) -> None:
        self._alarm = None
        if self._allowed is not None:
            left = self._deadline - time.monotonic()
            if left > 0:
                self._alarm = self.callLater(left, self._ring)
            else:
                self.timeoutConnection()

    # MemCacheProtocol also writes these into the log.

    def cmd_ERROR(self) -> None:
        """
        The server does not know the command.
        """
        self._current.popleft().fail(NoSuchCommand())

    def cmd_CLIENT_ERROR(self, text: bytes) -> None:
        """
        The server refuses the command.
        """
        self._current.popleft().fail(ClientError(text))

    def cmd_SERVER_ERROR(self, text: bytes) -> None:
        """
        The server cannot do the command.
        """
        self._current.popleft().fail(ServerError(text))

    def cmd_STAT(self, line: bytes) -> None:
        """
        A line of C{stats}; the value may be empty.
        """
        name, _, value = line.partition(b" ")
        self._current[0].values[name] = value
