"""
How memcached is talked to: with Twisted's client, and what a queue needs beside it.

L{MemCacheProtocol<twisted.protocols.memcache.MemCacheProtocol>} has a Deferred and an answer for each command.
L{Connection} adds what comes by the thousand: many commands that are answered by one line each, written and waited for
together (L{Connection.exchange}), many values (L{Connection.values}), and the list of all keys (L{Connection.listing}).

L{Servers} is all the memcached servers of one store.  A key is kept by the server that libmemcached chooses for it, or
gearmand and gearsvc would not find what the other has stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred, FirstError, TimeoutError, fail, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection as StreamConnection
from twisted.protocols.memcache import ClientError, Command, MemCacheProtocol, NoSuchCommand, ServerError
from twisted.python.failure import Failure

from gearsvc.interfaces import StoreError

DEFAULT_PORT = 11211

CONNECT_SECONDS = 5.0
"""
How long a server may take to accept a connection.
"""

COMMIT_SECONDS = 30.0
"""
How long a server may be silent while it owes an answer.
"""

BUSY_SECONDS = 20.0
"""
How long to wait for a server's crawler, which does one thing at a time.
"""

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


class Address(NamedTuple):
    """
    Where a memcached server listens.

    @ivar host: a name, an IP address, or the path of a Unix socket.
    @ivar port: its port; 0 with a Unix socket.
    """

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str) -> tuple[Address, ...]:
    """
    Read a list of servers as libmemcached, and so gearmand, reads it:
    C{HOST}, C{HOST:PORT}, C{HOST:PORT:WEIGHT}, C{[IPv6]:PORT} or C{/PATH}, with commas between them.  (A weight has no
    effect, as it has none for gearmand.)

    @raise ValueError: if it is no such list; the text says what it must be.
    """
    return tuple(_parse_address(each.strip()) for each in text.split(","))


def _parse_address(text: str) -> Address:
    if text.startswith("/"):
        return Address(text, 0)
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|(\w[\w.-]*))(?::([0-9]{1,5}))?(?::[0-9]+)?", text)
    if match is None or int(match[3] or 0) > 65535:
        raise ValueError(f"must be servers such as 127.0.0.1:11211, with commas between them, and not hold {text!r}")
    # libmemcached, too, takes port 0 for the usual one.
    return Address(match[1] or match[2], int(match[3] or 0) or DEFAULT_PORT)


def libmemcached_hash(key: bytes) -> int:
    """
    The number by which libmemcached chooses a server, if nothing else is
    asked of it (Bob Jenkins' one-at-a-time hash; to C, a byte has a sign).
    """
    value = 0
    for byte in key:
        value = (value + (byte if byte < 128 else byte - 256)) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF


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

    What it is asked for fails with L{ConnectionLost}, L{ConnectionDone}, or
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

    def exchange(self, commands: Commands) -> Deferred[list[bytes]]:
        """
        Send commands.

        @return: fires with the lines that answer them.
        """
        return self._send(commands.parts, _Answers(commands.count))

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
        idle = not self._current
        self._current.append(bulk)
        if idle:
            self.setTimeout(self.persistentTimeOut)
            self.setRawMode()
            # All that was sent has been answered, so nothing waits to be sent: what the system takes needs not go through
            # the reactor first, which would cost a turn.
            data = b"".join(parts)
            sent = self._wire.writeSomeData(data)
            if isinstance(sent, int):
                data = data[sent:]
            if data:
                self._wire.write(data)
        else:
            self._wire.writeSequence(parts)
        deferred: Deferred[Any] = bulk._deferred
        return deferred

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
        super().connectionLost(reason)
        self.setTimeout(None)
        self.ended.callback(None)

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


class Servers:
    """
    The servers of a store, connected to all at once.

    @ivar addresses: where they are.
    @ivar connections: one to each, in the same order; empty until L{connect}.
    """

    def __init__(self, addresses: Sequence[Address], reactor: Any) -> None:
        self.addresses = tuple(addresses)
        self.connections: list[Connection] = []
        self._reactor = reactor

    def __str__(self) -> str:
        return "memcached at " + ", ".join(map(str, self.addresses))

    @property
    def connected(self) -> bool:
        """
        Whether all can be used.
        """
        return bool(self.connections) and all(connection.alive for connection in self.connections)

    def index_of(self, key: bytes) -> int:
        """
        Which server keeps a key.
        """
        count = len(self.addresses)
        return libmemcached_hash(key) % count if count > 1 else 0

    async def connect(self) -> None:
        """
        Connect to all of them.

        @raise StoreError: if one of them can't be reached.
        """
        self.drop()
        attempts = [self._connect(index) for index in range(len(self.addresses))]
        try:
            self.connections = list(await gatherResults(attempts, consumeErrors=True))
        except FirstError as error:
            for attempt in attempts:
                attempt.addCallbacks(_abort, lambda failure: None)
                attempt.cancel()
            raise _reason(error) from None

    def _connect(self, index: int) -> Deferred[Connection]:
        address = self.addresses[index]
        attempt: Deferred[Connection] = connectProtocol(self._endpoint(address), Connection(COMMIT_SECONDS))
        attempt.addCallbacks(self._connected, self._unreachable, errbackArgs=(address,))
        return attempt

    def _connected(self, connection: Connection) -> Connection:
        if ITCPTransport.providedBy(connection.transport):
            connection.transport.setTcpNoDelay(True)
            connection.transport.setTcpKeepAlive(True)
        return connection

    def _endpoint(self, address: Address) -> IStreamClientEndpoint:
        if address.port:
            return HostnameEndpoint(self._reactor, address.host, address.port, timeout=CONNECT_SECONDS)
        return UNIXClientEndpoint(self._reactor, address.host, timeout=CONNECT_SECONDS)

    def _unreachable(self, failure: Failure, address: Address) -> Failure:
        reason = str(failure.value).rstrip(".") or type(failure.value).__name__
        error = StoreError(f"memcached at {address} cannot be reached: {reason}; start it, or correct --libmemcached-servers.")
        error.unreachable = True
        return Failure(error)

    def drop(self) -> None:
        """
        Break all connections.
        """
        connections, self.connections = self.connections, []
        for connection in connections:
            if connection.alive:
                connection.abort()

    async def ask(self, *questions: tuple[int, Callable[[Connection], Deferred[Any]]]) -> list[Any]:
        """
        Ask servers at the same time, and wait for all answers.

        @param questions: which servers, and what of them.
        @return: the answers, in the order of the questions.
        @raise StoreError: if one of them does not answer; all connections are
            dropped then, and whether anything was done is uncertain.
        """
        if len(questions) == 1:
            [(index, question)] = questions
            connection = self.connections[index]
            try:
                return [await question(connection)]
            except _SILENCE as error:
                self.drop()
                raise _explain(error, self.addresses[index], connection) from None
        answers = [
            question(self.connections[index]).addErrback(self._silent, self.addresses[index], self.connections[index])
            for index, question in questions
        ]
        try:
            return list(await gatherResults(answers, consumeErrors=True))
        except FirstError as error:
            self.drop()
            for answer in answers:
                answer.addErrback(lambda failure: None)
            raise _reason(error) from None

    def _silent(self, failure: Failure, address: Address, connection: Connection) -> Failure:
        failure.trap(*_SILENCE)
        return Failure(_explain(failure.value, address, connection))

    async def list_keys(self, index: int, pattern: re.Pattern[bytes], older: re.Pattern[bytes], take: Take, take_older: Take) -> bool:
        """
        Have a server list its keys, on a connection of its own.

        @param index: which server.
        @param pattern: what matches a line of C{lru_crawler metadump}.
        @param older: what matches a line of C{stats cachedump}, which is asked
            for where there is no crawler.
        @param take: hears of the first kind of lines.
        @param take_older: hears of the second.
        @return: whether it does.
        @raise StoreError: if it does not answer.
        """
        connection = await self._connect(index)
        try:
            for mode in (b"hash", b"all"):
                if await self._crawl(connection, b"lru_crawler metadump " + mode, pattern, take):
                    return True
            items = await connection.stats(b"items")
            for name in sorted({int(name.split(b":")[1]) for name in items}):
                await connection.listing(b"stats cachedump %d 0" % name, older, take_older)
            return True
        except (Refused, ServerError, ClientError, NoSuchCommand):
            return False
        except _SILENCE as error:
            raise _explain(error, self.addresses[index], connection) from None
        finally:
            connection.abort()
            await connection.ended

    async def _crawl(self, connection: Connection, command: bytes, pattern: re.Pattern[bytes], take: Take) -> bool:
        """
        @return: whether the server knows the command.
        """
        deadline = self._reactor.seconds() + BUSY_SECONDS
        while True:
            try:
                await connection.listing(command, pattern, take)
                return True
            except Refused as refusal:
                if not refusal.args[0].startswith(b"BUSY") or self._reactor.seconds() > deadline:
                    return False
            await deferLater(self._reactor, 0.1)

    async def exchange(self, commands: Sequence[Commands]) -> list[list[bytes]]:
        """
        Send commands to each server.

        @param commands: what for, in the order of the servers.
        @return: the answers, likewise.
        @raise StoreError: see L{ask}.
        """
        due = [index for index, each in enumerate(commands) if each.count]
        answers = await self.ask(*[(index, _exchange(commands[index])) for index in due])
        found: list[list[bytes]] = [[] for _ in commands]
        for index, lines in zip(due, answers):
            found[index] = lines
        return found

    async def values(self, keys: Sequence[bytes]) -> dict[bytes, Value]:
        """
        Read values, from whichever servers keep them.

        @raise StoreError: see L{ask}.
        """
        if len(self.addresses) == 1:
            shares = [list(keys)]
        else:
            shares = [[] for _ in self.addresses]
            for key in keys:
                shares[self.index_of(key)].append(key)
        found: dict[bytes, Value] = {}
        for part in await self.ask(*[(index, _get(share)) for index, share in enumerate(shares) if share]):
            found.update(part)
        return found

    def close(self) -> Deferred[list[None]]:
        """
        End all connections.

        @return: fires when they have ended.
        """
        ended = [connection.ended for connection in self.connections if connection.alive]
        self.drop()
        return gatherResults(ended)


def _abort(connection: Connection | None) -> None:
    if connection is not None:
        connection.abort()


def _exchange(commands: Commands) -> Callable[[Connection], Deferred[Any]]:
    return lambda connection: connection.exchange(commands)


def _get(keys: list[bytes]) -> Callable[[Connection], Deferred[Any]]:
    return lambda connection: connection.values(keys)


_SILENCE = (
    Refused,
    ServerError,
    ClientError,
    NoSuchCommand,
    ConnectionLost,
    ConnectionDone,
    ConnectionAborted,
    TimeoutError,
)
"""
What a question to a server fails with.
"""


def _explain(reason: BaseException | None, address: Address, connection: Connection) -> StoreError:
    """
    Why a server does not do what it was asked for.
    """
    if connection.nonsense:
        said = connection.nonsense.decode("utf-8", "backslashreplace").splitlines()[0]
        error = StoreError(f"What answers at {address} is not memcached: it said {said!r}; correct --libmemcached-servers.")
    elif isinstance(reason, (Refused, ServerError, ClientError)):
        answer = reason.args[0].decode("utf-8", "backslashreplace")
        error = StoreError(f"memcached at {address} refuses to serve: {answer}.")
    elif isinstance(reason, NoSuchCommand):
        error = StoreError(f"memcached at {address} does not know a command; it is too old.")
    elif isinstance(reason, (ConnectionLost, ConnectionDone, ConnectionAborted)):
        error = StoreError(f"memcached at {address} has broken the connection.")
        error.unreachable = True
    else:
        error = StoreError(f"memcached at {address} has not answered for {COMMIT_SECONDS:g} seconds.")
        error.unreachable = True
    error.uncertain = True
    return error


def _reason(error: FirstError) -> BaseException:
    """
    Why the first of several things failed.
    """
    reason = error.subFailure.value
    assert reason is not None
    return reason
