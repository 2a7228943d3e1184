"""
L{gearsvc.protocols.reading}, on socket pairs and as a server with a store has it.
"""

from __future__ import annotations

import select
import socket
from types import SimpleNamespace
from typing import Any, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.core.sessions import Session
from gearsvc.core.wire import Packet
from gearsvc.protocols.gearman import GearmanProtocol
from gearsvc.protocols.reading import SMALL_READ, ReadingRoom
from gearsvc.stores.memory import MemoryStore
from tests.protocols.case import ServiceCase


class Connection:
    """
    One end of a socket pair: a worker's if it has an ability.
    """

    def __init__(self, case: ReadingRoomTests, name: str, *abilities: str) -> None:
        self.here, self.there = socket.socketpair()
        case.addCleanup(self.here.close)
        case.addCleanup(self.there.close)
        self.here.setblocking(False)
        self.transport: Any = SimpleNamespace(startReading=lambda: case.happened.append(f"{name} goes back"))
        self.session: Any = SimpleNamespace(abilities=dict.fromkeys(abilities))
        self.read_size = SMALL_READ
        self._case = case
        self._name = name

    def received(self, data: bytes) -> None:
        """
        Remember it.
        """
        self._case.happened.append(f"{self._name} {data.decode()}")
        self._case.batches.ready |= self._case.batches.in_turn and data == b"submit"
        if data == b"fails":
            raise RuntimeError("it fails")

    def abort(self) -> None:
        """
        Remember that.
        """
        self._case.happened.append(f"{self._name} ends")


class BatchesByHand:
    """
    What would have jobs stored.
    """

    def __init__(self, happened: list[str]) -> None:
        self.in_turn = self.ready = False
        self.fails = False
        self._happened = happened

    def begin_batch(self) -> None:
        """
        Remember that.
        """
        self.ready = False
        self._happened.append("store")
        if self.fails:
            raise RuntimeError("the store fails")


class Reactor:
    """
    One that does nothing by itself.
    """

    def addReader(self, reader: object) -> None:
        """
        The room wants to be read from.
        """

    removeReader = addReader


class ReadingRoomTests(SynchronousTestCase):
    """
    The order in which a room reads.
    """

    def setUp(self) -> None:
        """
        A room that says what it does.
        """
        if not hasattr(select, "epoll"):
            self.skipTest("there is no epoll here")
        self.happened: list[str] = []
        self.batches = BatchesByHand(self.happened)

    def room(self, stores: bool) -> ReadingRoom:
        """
        @param stores: whether what is submitted is to be stored.
        """
        room = ReadingRoom(Reactor(), lambda: self.happened.append("transmit"), self.batches if stores else None)
        self.addCleanup(room.close)
        return room

    def read(self, room: ReadingRoom, **connections: Connection) -> list[str]:
        """
        Have each connection say its name's word, in this order, and the room read.

        @return: what happened.
        """
        for word, connection in connections.items():
            room.add(connection, connection.here)
            connection.there.send(word.encode())
        room.doRead()
        return self.happened

    def test_clients_first(self) -> None:
        """
        Where jobs are stored, clients are read before workers, each kind in the order in which it was ready, and what they
        submitted is stored between the two.
        """
        happened = self.read(
            self.room(stores=True),
            done=Connection(self, "worker", "resize"),
            submit=Connection(self, "client"),
            grab=Connection(self, "other worker", "resize"),
            query=Connection(self, "other client"),
        )
        self.assertEqual(
            happened,
            ["client submit", "other client query", "store", "worker done", "other worker grab", "transmit"],
        )

    def test_no_store(self) -> None:
        """
        Where no jobs are stored, all are read as they are ready.
        """
        happened = self.read(
            self.room(stores=False),
            done=Connection(self, "worker", "resize"),
            submit=Connection(self, "client"),
        )
        self.assertEqual(happened, ["worker done", "client submit", "transmit"])

    def test_one_kind(self) -> None:
        """
        With clients alone, or workers alone, what they submitted is stored when all are read, and before anything is
        transmitted; if they submitted nothing, nothing is.
        """
        for abilities in ((), ("resize",)):
            self.happened.clear()
            happened = self.read(
                self.room(stores=True),
                submit=Connection(self, "first", *abilities),
                query=Connection(self, "second", *abilities),
            )
            self.assertEqual(happened, ["first submit", "second query", "store", "transmit"])
            self.happened.clear()
            happened = self.read(self.room(stores=True), query=Connection(self, "third", *abilities))
            self.assertEqual(happened, ["third query", "transmit"])
            self.assertFalse(self.batches.in_turn)

    def test_mistakes(self) -> None:
        """
        A mistake over one connection costs that one, and a mistake of the store costs none: all are read, and all is
        transmitted.
        """
        self.batches.fails = True
        happened = self.read(
            self.room(stores=True),
            grab=Connection(self, "worker", "resize"),
            fails=Connection(self, "client"),
            submit=Connection(self, "other client"),
        )
        self.assertEqual(
            happened, ["client fails", "client ends", "other client submit", "store", "worker grab", "transmit"]
        )
        self.assertEqual(
            [str(failure.value) for failure in self.flushLoggedErrors(RuntimeError)], ["it fails", "the store fails"]
        )

    def test_gone(self) -> None:
        """
        One that has ended goes back to the reactor, whatever it is, and the others are read.
        """
        room = self.room(stores=True)
        client, worker = Connection(self, "client"), Connection(self, "worker", "resize")
        for connection in (client, worker):
            room.add(connection, connection.here)
        client.there.close()
        happened = self.read(room, grab=worker)
        self.assertEqual(happened, ["client goes back", "worker grab", "transmit"])
        room.doRead()
        self.assertEqual(happened[3:], ["transmit"])


class StoreFirstTests(ServiceCase):
    """
    The order in which a server with a store does what came at once.
    """

    async def test_order(self) -> None:
        """
        What a client submits is on its way to the store before a worker's packets are handled, and before anything is
        transmitted.
        """
        happened: list[str] = []
        await self.serve(Store(self.reactor, happened))
        receive, transmit = self.service.job_server.receive, GearmanProtocol.transmit

        def received(session: Session, packets: Sequence[Packet]) -> None:
            happened.append("worker" if session.abilities else "client")
            receive(session, packets)

        def transmitted(protocol: GearmanProtocol, chunks: list[bytes]) -> None:
            happened.append(f"to {'worker' if protocol.session.abilities else 'client'}")
            transmit(protocol, chunks)

        worker, client = await self.worker("resize"), await self.connect()
        await client.echoes()
        self.patch(self.service.job_server, "receive", received)
        self.patch(GearmanProtocol, "transmit", transmitted)
        worker.says("ECHO_REQ here")
        client.says("ECHO_REQ there", "SUBMIT_JOB_BG resize|u|w")
        await client.hears_all(2)
        self.assertEqual(happened[:5], ["client", "stored", "worker", "to client", "to worker"])
        happened.clear()
        client.says("ECHO_REQ alone", "SUBMIT_JOB_BG resize|u2|w")
        await client.hears_all(2)
        self.assertEqual(happened[:3], ["client", "stored", "to client"])


class Store(MemoryStore):
    """
    A store that says when it is handed something, and answers a turn later.
    """

    def __init__(self, reactor: Any, happened: list[str]) -> None:
        super().__init__()
        self._reactor = reactor
        self._happened = happened

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        self._happened.append("stored")
        return deferLater(self._reactor, 0, lambda: None)
