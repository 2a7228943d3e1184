"""
Ports that are opened while a server runs, and sockets that it is handed.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import CannotListenError, ConnectionDone

from gearsvc.service import MOST_ACCEPTED_AT_ONCE
from tests.protocols.case import ServiceCase
from tests.running import HOST, free_port

LOCAL = "tcp:0:interface=127.0.0.1"


class ListenTests(ServiceCase):
    """
    L{JobServerService.listen<gearsvc.service.JobServerService.listen>}.
    """

    async def test_while_running(self) -> None:
        """
        A port that is opened later leads to the same server, and is closed with it.
        """
        await self.serve()
        first = await self.connect()
        (port,) = self.service.listen(LOCAL)
        self.assertEqual(self.service.ports[1:], [port])
        first.says("SUBMIT_JOB f|u|w")
        created = await first.hears()
        second = await self.connect(1)
        second.says("SUBMIT_JOB f|u|w")
        self.assertEqual(await second.hears(), created)
        await self.service.stopService()
        await second.ends()
        self.assertEqual((self.service.ports, port.connected), ([], False))

    async def test_first_port(self) -> None:
        """
        A server that was started without a port can be given one.
        """
        await self.serve(port=())
        self.assertEqual(self.service.ports, [])
        self.service.listen(LOCAL)
        await (await self.connect()).echoes()

    async def test_before_the_start(self) -> None:
        """
        A port that is opened before the server is started serves once it is, beside those of the settings.
        """
        service = self.service = self.make()
        service.listen(LOCAL)
        peer = await self.connect()
        peer.says("ECHO_REQ early")
        await self.turns(10)
        self.assertEqual(peer.received, 0)
        service.startService()
        self.assertEqual(await peer.hears(), "ECHO_RES early")
        self.assertEqual(len(service.ports), 2)
        await (await self.connect(1)).echoes()

    async def test_addresses(self) -> None:
        """
        A number is opened at the addresses that are given, otherwise at those of --listen.
        """
        await self.serve(listen=("127.0.0.1",))
        number = free_port()
        ports = self.service.listen(number, addresses=["127.0.0.1", "::1"])
        self.assertEqual([(port.getHost().host, port.getHost().port) for port in ports], [("127.0.0.1", number), ("::1", number)])
        (port,) = self.service.listen(0)
        self.assertEqual(port.getHost().host, "127.0.0.1")
        peer = await self.connect(description=f"tcp:host=\\:\\:1:port={number}")
        await peer.echoes()

    async def test_close_one(self) -> None:
        """
        One that was added can be closed while the server goes on, and the server stops as it should after that.
        """
        await self.serve()
        (port,) = self.service.listen(LOCAL)
        peer = await self.connect(1)
        await port.stopListening()
        await peer.echoes()
        await (await self.connect()).echoes()
        await self.service.stopService()
        self.assertEqual(self.service.ports, [])

    async def test_wrong(self) -> None:
        """
        What can't be a port, or so many at once, is a ValueError of one line; a taken port, and any after the end, is a
        CannotListenError; nothing is opened then.
        """
        await self.serve()
        before = list(self.service.ports)
        for port, options, expected in (
            (70000, {}, "the port must be a port from 0 to 65535"),
            ("nonsense:1", {}, "the port must be a port from 0 to 65535, or an endpoint"),
            (LOCAL, {"accept_per_loop": 0}, f"accept_per_loop must be from 1 to {MOST_ACCEPTED_AT_ONCE}, not 0"),
            (LOCAL, {"accept_per_loop": 1000}, "not 1000"),
        ):
            with self.assertRaises(ValueError) as raised:
                self.service.listen(port, **options)  # type: ignore[arg-type]
            self.assertIn(expected, str(raised.exception))
            self.assertNotIn("\n", str(raised.exception))
        with socket.create_server((HOST, 0)) as other:
            self.assertRaises(CannotListenError, self.service.listen, other.getsockname()[1], addresses=[HOST])
        self.assertEqual(self.service.ports, before)
        await self.service.stopService()
        with self.assertRaises(CannotListenError) as late:
            self.service.listen(LOCAL)
        self.assertIn("the server has stopped", str(late.exception))

    async def test_accept_per_loop(self) -> None:
        """
        A port accepts as many connections in one go as was said, also in a burst, with which Twisted would have it accept
        more and more; other ports are as they were.
        """
        await self.serve()
        (port,) = self.service.listen(LOCAL, accept_per_loop=2)
        self.assertEqual(port.numberAccepts, 2)
        accepted: list[int] = []
        real = port.doRead

        def counted() -> Any:
            before = len(self.connections)
            result = real()
            accepted.append(len(self.connections) - before)
            return result

        port.doRead = counted
        sockets = [socket.create_connection((HOST, port.getHost().port)) for _ in range(11)]
        for each in sockets:
            self.addCleanup(each.close)
        await self.until(lambda: len(self.connections) == 11)
        self.assertEqual(accepted, [2, 2, 2, 2, 2, 1])
        self.assertGreater(self.service.ports[0].numberAccepts, 2)


class AdoptTests(ServiceCase):
    """
    L{JobServerService.adopt<gearsvc.service.JobServerService.adopt>}.
    """

    async def test_pair(self) -> None:
        """
        One end of a pair of sockets is a connection like any other, and its owner may close the socket then.
        """
        await self.serve()
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        theirs.setblocking(False)
        protocol = self.service.adopt(ours)
        ours.close()
        self.assertIn(protocol, self.connections)
        theirs.send(b"version\n")
        answer = b""

        def answered() -> bool:
            nonlocal answer
            try:
                answer += theirs.recv(100)
            except BlockingIOError:
                pass
            return answer.endswith(b"\n")

        await self.until(answered)
        self.assertRegex(answer, rb"^OK \d")
        theirs.close()
        await self.until(lambda: not self.connections)

    async def test_tcp(self) -> None:
        """
        So is a socket that somebody else has accepted, and the peer's address is known.
        """
        await self.serve()
        with socket.create_server((HOST, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            self.addCleanup(client.close)
            accepted, _ = listener.accept()
        protocol = self.service.adopt(accepted)
        accepted.close()
        self.assertEqual(protocol.host, HOST)
        client.close()
        await self.until(lambda: not self.connections)

    async def test_after_the_end(self) -> None:
        """
        A server that has stopped takes none.
        """
        await self.serve()
        await self.service.stopService()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertRaises(ConnectionDone, self.service.adopt, ours)
