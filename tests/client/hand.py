"""
A worker by hand: a test says each of its words.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.wire import PacketDecoder, encode
from tests.running import HOST, PATIENCE


class Hand(Protocol):
    """
    A connection to a server, packet by packet.
    """

    def __init__(self) -> None:
        self._decoder = PacketDecoder(magic=RESPONSE)
        self._packets: DeferredQueue[tuple[int, bytes]] = DeferredQueue()

    def dataReceived(self, data: bytes) -> None:
        """
        Remember packets.
        """
        for packet in self._decoder.feed(data):
            self._packets.put(packet)

    def say(self, kind: Type, *arguments: bytes) -> None:
        """
        Send a packet.
        """
        assert self.transport is not None
        self.transport.write(encode(kind, b"\0".join(arguments), REQUEST))

    def hear(self) -> Deferred[tuple[int, bytes]]:
        """
        Wait for the next packet.
        """
        from twisted.internet import reactor

        return self._packets.get().addTimeout(PATIENCE, reactor)  # type: ignore[arg-type]

    async def grab(self) -> list[bytes]:
        """
        Take a job; wait for one if there is none.

        @return: its handle, function, unique id, reducer and workload.
        """
        self.say(Type.GRAB_JOB_ALL)
        while True:
            kind, body = await self.hear()
            if kind == Type.NO_JOB:
                self.say(Type.PRE_SLEEP)
            elif kind == Type.NOOP:
                self.say(Type.GRAB_JOB_ALL)
            elif kind == Type.JOB_ASSIGN_ALL:
                return body.split(b"\0", 4)
            elif kind == Type.JOB_ASSIGN_UNIQ:
                # It has no reducer.
                handle, function, unique, workload = body.split(b"\0", 3)
                return [handle, function, unique, b"", workload]
            else:
                raise AssertionError(f"{kind} came, and no job: {body!r}")

    def leave(self) -> None:
        """
        End the connection.
        """
        assert self.transport is not None
        self.transport.loseConnection()


async def hand(port: int, *functions: bytes) -> Hand:
    """
    Connect a worker that can do these functions.
    """
    from twisted.internet import reactor

    found: Hand = await connectProtocol(HostnameEndpoint(reactor, HOST, port), Hand())
    for function in functions:
        found.say(Type.CAN_DO, function)
    return found
