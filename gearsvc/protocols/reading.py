"""
Reading from many connections at the cost of one.

To the reactor each readable connection is an event of its own, with a call
through its log context, and what comes of it has to be sent before the next
is read.  A L{ReadingRoom} keeps the connections of a server in an epoll of its
own, which is a single reader to the reactor: it reads all that are ready, and
then lets the server transmit what came of them all, so that a client for which
two workers have finished gets both results in one piece.  That is a third of
the cost of a small job.

Where jobs are stored, clients are read before workers, and what they submitted is
on its way to the store while the workers' packets are handled: for the store is
what a client waits for most.

It does nothing but read.  A connection that ends, or that has an error, goes
back to the reactor, which sees the same and ends it as any other.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Iterable, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc import shortcut
from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.core.sessions import Session

log = Logger(__name__)

AT_ONCE = 64
"""How many connections are read before what they brought about is transmitted."""

SMALL_READ = 64 * 1024
LARGE_READ = 1024 * 1024
"""
How many bytes are read at once: from most connections, and from one that once
had more, for then large packets come from it.
"""


class Batches(Protocol):
    """
    What has jobs stored: a L{GroupCommit<gearsvc.stores.batching.GroupCommit>},
    which says what these are.
    """

    in_turn: bool
    ready: bool

    def begin_batch(self) -> None:
        """
        Have what came in so far stored.
        """


class Reader(Protocol):
    """
    A connection that is read here: a L{GearmanProtocol
    <gearsvc.protocols.gearman.GearmanProtocol>}.
    """

    transport: Any
    session: Session
    read_size: int

    def received(self, data: bytes) -> None:
        """
        Take what was read, without transmitting what comes of it.
        """

    def abort(self) -> None:
        """
        End the connection at once.
        """


@implementer(IReadDescriptor)
class ReadingRoom:
    """
    Reads from connections, in place of the reactor.
    """

    def __init__(
        self,
        reactor: Any,
        flush: Callable[[], object],
        batches: Batches | None = None,
    ) -> None:
        """
        @param flush: transmits what the server has to say; called after each
            round.
        @param batches: what has jobs stored, if they are.
        """
        self._reactor = reactor
        self._flush = flush
        self._batches = batches
        self._epoll = select.epoll()
        self._readers: dict[int, tuple[Reader, Callable[[int], bytes]]] = {}

    def add(self, reader: Reader, connection: socket.socket) -> None:
        """
        Read from a connection from now on, which the reactor must not.
        """
        descriptor = connection.fileno()
        if descriptor in self._readers:
            return
        if not self._readers:
            self._reactor.addReader(self)
            # Last: the answers of a store are for those who have waited longest.
            shortcut.add(self._reactor, self._epoll.fileno(), self.doRead, last=True)
        self._readers[descriptor] = (reader, connection.recv)
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """
        Read from a connection no more.  It may just have been closed; it need
        not be known.
        """
        if self._readers.pop(descriptor, None) is None:
            return
        with suppress(OSError):
            self._epoll.unregister(descriptor)
        if not self._readers:
            self._leave()

    def close(self) -> None:
        """
        Let go of the epoll.  No connection is read from any more.
        """
        if self._readers:
            self._readers.clear()
            self._leave()
        self._epoll.close()

    def _leave(self) -> None:
        shortcut.remove(self._reactor, self._epoll.fileno())
        self._reactor.removeReader(self)

    # What the reactor asks of a reader

    def doRead(self) -> None:
        """
        Read from the connections that are ready.
        """
        ready = self._epoll.poll(0, AT_ONCE)
        batches = self._batches
        if batches is None:
            self._read(ready)
        else:
            batches.in_turn = True
            if len(ready) > 1:
                ready = self._read_clients(ready, batches)
            self._read(ready)
            batches.in_turn = False
            # Before anything is transmitted: to send something to a peer that sleeps may take as long as all else of a turn.
            if batches.ready:
                self._store(batches)
        try:
            self._flush()
        except Exception:
            # Let it out, and the reactor would drop us, and all connections be deaf.
            log.failure("Unexpected error while transmitting")

    def _store(self, batches: Batches) -> None:
        try:
            batches.begin_batch()
        except Exception:
            # Those who wait to be read, and for what was produced, are not to suffer.
            log.failure("Unexpected error while storing what was submitted")

    def _read_clients(self, ready: list[tuple[int, int]], batches: Batches) -> list[tuple[int, int]]:
        """
        Read from the clients among the connections that are ready, if there are
        workers too, and have stored what they submit.

        @return: those that are left.
        """
        readers = self._readers
        workers = [found for found in ready if found[0] in readers and readers[found[0]][0].session.abilities]
        if not 0 < len(workers) < len(ready):
            return ready
        are_workers = set(workers)
        self._read(found for found in ready if found not in are_workers)
        if batches.ready:
            self._store(batches)
        return workers

    def _read(self, ready: Iterable[tuple[int, int]]) -> None:
        for descriptor, _ in ready:
            entry = self._readers.get(descriptor)
            if entry is None:
                # It went while others of this round were read.
                continue
            reader, receive = entry
            try:
                data = receive(reader.read_size)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.remove(descriptor)
                reader.transport.startReading()
                continue
            if len(data) == SMALL_READ:
                reader.read_size = LARGE_READ
            try:
                reader.received(data)
            except Exception:
                # As the reactor has it: a mistake of ours costs one connection.
                log.failure("Unexpected error while handling what a connection sent")
                reader.abort()

    def fileno(self) -> int:
        """
        The epoll's descriptor: readable while any connection is.
        """
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """
        What the reactor calls it.
        """
        return "gearman"

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is done with all its readers.
        """
