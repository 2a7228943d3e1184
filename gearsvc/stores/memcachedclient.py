"""
How memcached is talked to: all the servers of one store.

A key is kept by the server that libmemcached chooses for it, or gearmand and gearsvc would not find what the other has
stored.  What is said to each server stands in L{gearsvc.stores.memcachedconnection}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, FirstError, TimeoutError, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.task import deferLater
from twisted.protocols.memcache import ClientError, NoSuchCommand, ServerError
from twisted.python.failure import Failure

from gearsvc.interfaces import StoreError
from gearsvc.stores.memcachedconnection import Commands, Connection, Refused, Take, Value

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

    @property
    def only(self) -> Connection | None:
        """
        The connection, if there is one server.
        """
        return self.connections[0] if len(self.connections) == 1 else None

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
            except _SILENCE:
                raise self.explain(index, connection, Failure()) from None
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

    def explain(self, index: int, connection: Connection, silence: Failure) -> StoreError:
        """
        All connections are dropped, for a server does not do what it was asked for.

        @param silence: what a question to it has failed with.
        @return: why.
        """
        silence.trap(*_SILENCE)
        self.drop()
        return _explain(silence.value, self.addresses[index], connection)

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
