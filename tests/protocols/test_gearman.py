"""
L{gearsvc.protocols.gearman}: bytes between the job server and a socket.
"""

from __future__ import annotations

import socket
import tracemalloc
from typing import Any, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, globalLogPublisher
from zope.interface import implementer

from gearsvc import logs
from gearsvc.core.jobs import JobRecord
from gearsvc.core.packets import Type
from gearsvc.core.wire import encode
from gearsvc.interfaces import IPeer
from gearsvc.protocols import gearman
from gearsvc.protocols.gearman import CONGESTED, GearmanProtocol
from gearsvc.protocols.reading import LARGE_READ
from gearsvc.stores.memory import MemoryStore
from tests.core.case import wire_form
from tests.protocols.case import HungUp, Peer, ServiceCase

MEGABYTE = 1024 * 1024


class CountedSocket:
    """
    A connection's socket, and how it is written to.

    @ivar writes: how many bytes each call was given.
    @ivar hurried: how often what was read was acknowledged at once.
    """

    def __init__(self, protocol: GearmanProtocol) -> None:
        assert protocol._socket is not None
        self._socket = protocol._socket
        self.writes: list[int] = []
        self.hurried = 0
        self.through_reactor = 0
        # The one place where the protocol's own way to the socket begins, and
        # the one where the reactor's begins.
        protocol._socket = self  # type: ignore[assignment]
        write = protocol.transport.write

        def counted(data: bytes) -> None:
            self.through_reactor += len(data)
            write(data)

        protocol.transport.write = counted

    def send(self, data: bytes) -> int:
        """
        Count, and send.
        """
        self.writes.append(len(data))
        return self._socket.send(data)

    def __getattr__(self, name: str) -> Any:
        """
        For anything else it is the socket.
        """
        return getattr(self._socket, name)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """
        Count, and set.
        """
        self.hurried += (level, name) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK)
        self._socket.setsockopt(level, name, value)

    def sendmsg(self, chunks: list[bytes]) -> int:
        """
        Count, and send.
        """
        self.writes.append(sum(map(len, chunks)))
        return self._socket.sendmsg(chunks)


class WritingTests(ServiceCase):
    """
    How output leaves.
    """

    async def test_last_word_of_a_worker(self) -> None:
        """
        What a worker says without being answered is acknowledged at once, for its system may hold back its next packet
        until then; what is answered is not, for the answer acknowledges it.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.connect()
        counted = CountedSocket(await self.server_end(worker))
        for number, expected in ((1, 1), (2, 2)):
            client.says(f"SUBMIT_JOB f||{number}")
            handle = (await client.hears()).split()[1]
            worker.says("GRAB_JOB")
            await worker.hears()
            worker.says(f"WORK_COMPLETE {handle}|done")
            await client.hears()
            self.assertEqual(counted.hurried, expected)
        client.says("SUBMIT_JOB f||3")
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_COMPLETE {handle}|done", "GRAB_JOB")
        await client.hears()
        self.assertEqual((await worker.hears(), counted.hurried), ("NO_JOB", 2))

    async def test_one_write_a_turn(self) -> None:
        """
        The answers to requests that came together leave in one write, which goes to the socket and not through the reactor.
        """
        await self.serve()
        peer = await self.connect()
        counted = CountedSocket(await self.server_end(peer))
        before = peer.received
        peer.says(*(f"ECHO_REQ {number}" for number in range(200)), "version\n", "SUBMIT_JOB f|u|w", "GET_STATUS H:1")
        heard = await peer.hears_all(203)
        self.assertEqual(heard[:200], [f"ECHO_RES {number}" for number in range(200)])
        self.assertEqual(counted.writes, [peer.received - before])
        self.assertEqual(counted.through_reactor, 0)

    async def test_one_write_to_each(self) -> None:
        """
        What one turn produces for somebody else leaves in one write to them, too.
        """
        await self.serve()
        client = await self.connect()
        counted = CountedSocket(await self.server_end(client))
        worker = await self.worker("f")
        client.says(*(f"SUBMIT_JOB f||{number}" for number in range(50)))
        handles = [(await client.hears()).split()[1] for _ in range(50)]
        worker.says(*["GRAB_JOB"] * 50)
        self.assertEqual(len(await worker.hears_all(50)), 50)
        counted.writes.clear()
        worker.says(*(f"WORK_STATUS {handle}|1|2" for handle in handles), *(f"WORK_COMPLETE {handle}|done" for handle in handles))
        await client.hears_all(100)
        self.assertEqual((len(counted.writes), counted.through_reactor), (1, 0))

    async def test_large_body(self) -> None:
        """
        A large workload goes to the socket without being copied behind its header, and arrives whole.
        """
        await self.serve()
        worker = await self.connect()
        counted = CountedSocket(await self.server_end(worker))
        client = await self.connect()
        workload = "\xfe\x00\x01" * 20_000
        client.says(f"SUBMIT_JOB f||{workload}")
        created = await client.hears()
        worker.says("CAN_DO f", "GRAB_JOB")
        assigned = await worker.hears()
        self.assertEqual(assigned, f"JOB_ASSIGN {created.split()[1]}|f|" + workload.replace("\0", "|"))
        self.assertEqual((len(counted.writes), counted.through_reactor), (1, 0))

    async def test_any_transport(self) -> None:
        """
        Over a transport that is no socket of the reactor's own (here: behind a PROXY protocol wrapper), everything is
        served too, and workers are shown with the address that the proxy tells.
        """
        await self.serve(port=("haproxy:tcp:0:interface=127.0.0.1",))
        peer = await self.connect()
        peer.says("PROXY TCP4 192.0.2.7 192.0.2.1 40000 4730\r\n")
        peer.says("ECHO_REQ " + "x" * MEGABYTE, "CAN_DO f", "workers\n")
        self.assertEqual(await peer.hears(), "ECHO_RES " + "x" * MEGABYTE)
        self.assertEqual(await peer.hears_list(), ["-1 192.0.2.7 - : f\n"])
        peer.transport.write(b"\0BAD" * 3)
        self.assertEqual(await peer.ends(), ["ERROR INVALID_MAGIC|Request magic expected"])
        await self.until(lambda: not self.connections)


class SlowReaderTests(ServiceCase):
    """
    Peers that read slowly, late or never.
    """

    async def flood(self, peer: Peer, ours: GearmanProtocol, total: int) -> int:
        """
        Have a peer that does not read send ECHO_REQs until the server reads no more of them.

        @param total: how many bytes of them, if only the server took them.
        @return: how many packets were sent in the end; not all of them are with the server yet.
        """
        packet = "ECHO_REQ " + "e" * 10_000
        number = total // 10_012
        peer.transport.pauseProducing()
        peer.says(*(f"{packet}{count}" for count in range(number)))
        await self.until(lambda: ours.congested)
        return number

    async def test_input_pauses(self) -> None:
        """
        Who sends and does not read is not read from any more, long before the limit on output; the server holds little of
        it; and when the peer reads, it gets every answer, in order.
        """
        await self.serve()
        peer, ours = await self.connect_tight()
        fed = 0
        feed = ours.received

        def counted(data: bytes) -> None:
            nonlocal fed
            fed += len(data)
            feed(data)

        ours.received = counted  # type: ignore[method-assign]
        number = await self.flood(peer, ours, 8 * MEGABYTE)
        taken = fed
        other = await self.connect()
        for _ in range(20):
            await other.echoes()
        self.assertEqual(fed, taken)
        self.assertLess(taken, 3 * MEGABYTE)
        self.assertLess(ours._waiting, CONGESTED + LARGE_READ)
        peer.transport.resumeProducing()
        heard = await peer.hears_all(number)
        self.assertEqual(heard, ["ECHO_RES " + "e" * 10_000 + str(count) for count in range(number)])
        self.assertFalse(ours.congested)
        await peer.echoes()

    async def results(self, number: int, size: int, **settings: Any) -> tuple[Peer, GearmanProtocol, Peer]:
        """
        A client that does not read, and a worker that has sent it so many results of such a size.
        """
        await self.serve(**settings)
        client, ours = await self.connect_tight()
        worker = await self.worker("f")
        client.says(*(f"SUBMIT_JOB f||{count}" for count in range(number)))
        handles = [message.split()[1] for message in await client.hears_all(number)]
        client.transport.pauseProducing()
        worker.says(*["GRAB_JOB"] * number)
        self.assertEqual(len(await worker.hears_all(number)), number)
        for handle in handles:
            worker.says(f"WORK_COMPLETE {handle}|" + "r" * size)
            await worker.echoes()
        return client, ours, worker

    async def test_overflow(self) -> None:
        """
        Who does not read loses its connection once more waits for it than --max-output; one line in the log says so, and
        others are served.
        """
        client, ours, worker = await self.results(30, 100_000, max_output="1M")
        await self.until(lambda: ours not in self.connections)
        (line,) = self.logged()
        self.assertRegex(line, r"^closed the connection of 127\.0\.0\.1: it does not read, and \d+ bytes are waiting for it ")
        self.assertIn("(--max-output is 1048576)", line)
        await worker.echoes()
        client.transport.resumeProducing()
        with self.assertRaises(HungUp):
            await client.hears_all(30)
        self.assertEqual(self.service.job_server.jobs, {})
        self.assertEqual(ours._waiting, 0)

    async def test_overflow_is_told_once(self) -> None:
        """
        However much comes for it before the connection is gone, one line is logged.
        """
        await self.serve(max_output="100")
        client, ours = await self.connect_tight()
        client.transport.pauseProducing()
        for _ in range(30):
            ours.transmit([b"x" * 100_000])
        self.assertEqual(len(self.logged()), 1)
        self.assertEqual(ours._waiting, 0)
        await self.until(lambda: ours not in self.connections)

    async def test_large_packet(self) -> None:
        """
        A result larger than --max-output goes to a client for whom nothing else waits.
        """
        client, ours, _ = await self.results(1, 8 * MEGABYTE, max_output="1M")
        self.assertIn(ours, self.connections)
        client.transport.resumeProducing()
        handle, _, result = (await client.hears()).removeprefix("WORK_COMPLETE ").partition("|")
        self.assertEqual(result, "r" * 8 * MEGABYTE)
        await client.echoes()
        self.assertEqual(self.logged(), [])

    async def test_slow_reader(self) -> None:
        """
        A client that reads a little at a time gets large results whole, and in order.
        """
        client, ours, worker = await self.results(3, 2 * MEGABYTE)
        client.transport.bufferSize = 300_000
        while ours._waiting or ours._pulling:
            client.transport.resumeProducing()
            await self.turns(2)
            client.transport.pauseProducing()
            await worker.echoes()
        client.transport.resumeProducing()
        for message in await client.hears_all(3):
            self.assertEqual(message.partition("|")[2], "r" * 2 * MEGABYTE)

    def submit(self, number: int) -> None:
        """
        Put background jobs into the queue.
        """
        server = self.service.job_server
        nobody = server.connect(_Nobody())
        for _ in range(number):
            server.submit(nobody, b"f", b"", b"w", 1, True)
        nobody.out.clear()
        server.disconnect(nobody)

    async def test_long_list(self) -> None:
        """
        "show jobs" over 100,000 jobs waits for a peer that does not read, in pieces that are not made yet, while others are
        served; when the peer reads, it gets the whole list.
        """
        await self.serve()
        server = self.service.job_server
        self.submit(100_000)
        peer, ours = await self.connect_tight()
        peer.transport.pauseProducing()
        peer.says("show jobs\n", "ECHO_REQ after")
        await self.until(lambda: ours.congested)
        other = await self.connect()
        for _ in range(20):
            await other.echoes()
        self.assertLess(ours._waiting, 2 * CONGESTED)
        peer.transport.resumeProducing()
        lines = await peer.hears_list()
        self.assertEqual(lines, [f"{handle.decode()}\t0\t0\t1\n" for handle in server.jobs])
        self.assertEqual(await peer.hears(), "ECHO_RES after")

    async def test_lists_of_a_reader(self) -> None:
        """
        A peer that reads as fast as it can, and asks for a thousand lists at once, does not stop the server until it has them.
        """
        await self.serve()
        self.submit(20_000)
        peer, other = await self.connect(), await self.connect()
        await other.echoes()
        peer.says(*["show jobs\n"] * 1000)
        await self.until(lambda: peer.received > 0)
        await other.echoes()
        self.assertLess(peer.received, 20 * MEGABYTE)

    async def test_many_held(self) -> None:
        """
        Who has more requests under way than are good for the server is not read from until they are answered.
        """
        store = SlowStore()
        await self.serve(store)
        peer = await self.connect()
        ours = await self.server_end(peer)
        peer.says(*["SUBMIT_JOB_BG f||w"] * 100_000)
        await self.until(lambda: ours.crowded)
        other = await self.connect()
        for _ in range(20):
            await other.echoes()
        assert ours.session.held is not None
        self.assertLess(len(ours.session.held), 60_000)
        store.stored.callback(None)
        for message in await peer.hears_all(100_000):
            self.assertEqual(message[:12], "JOB_CREATED ")
        await peer.echoes()
        self.assertFalse(ours.crowded)

    async def test_many_lists(self) -> None:
        """
        A thousand lists asked for at once cost memory for one.
        """
        await self.serve()
        self.submit(20_000)
        peer, ours = await self.connect_tight()
        peer.transport.pauseProducing()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        peer.says(*["show jobs\n"] * 1000)
        await self.until(lambda: ours.congested)
        self.assertLess(tracemalloc.get_traced_memory()[0], 10 * MEGABYTE)


class SlowStore(MemoryStore):
    """
    A store that commits when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stored: Deferred[None] = Deferred()

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        if self.stored.called:
            return succeed(None)
        return self.stored.addCallback(lambda _: None)


@implementer(IPeer)
class _Nobody:
    """
    A peer for jobs that a test submits without a connection.
    """

    host = "-"
    descriptor = -1
    congested = False

    def transmit(self, chunks: list[bytes]) -> None:
        """
        Nobody hears.
        """

    def close(self) -> None:
        """
        Nothing to close.
        """


class EndingTests(ServiceCase):
    """
    How connections end.
    """

    async def test_error_before_close(self) -> None:
        """
        What is wrong with a packet is told before the connection is closed, though the peer goes on sending; and the
        connection is soon gone though the peer leaves it open.
        """
        await self.serve()
        self.patch(gearman, "LINGER", 0.05)
        peer = await self.connect()
        await peer.echoes()
        peer.transport.write(b"\0BAD" + b"garbage" * 100_000)
        for _ in range(50):
            await self.turns(1)
            peer.transport.write(b"more garbage" * 10_000)
        self.assertEqual(await peer.ends(), ["ERROR INVALID_MAGIC|Request magic expected"])
        await self.until(lambda: not self.connections)
        self.assert_nothing_left()

    async def test_peer_closes_first(self) -> None:
        """
        When the peer closes after an ERROR, the connection is gone at once, and no timer is left.
        """
        await self.serve()
        peer = await self.connect()
        peer.says("SUBMIT_JOB no data")
        self.assertRegex(await peer.hears(), "^ERROR INVALID_PACKET")
        await peer.ends()
        await self.until(lambda: not self.connections)

    async def test_everything_before_the_error(self) -> None:
        """
        What waits for a slow reader is sent before the connection is closed for a bad packet, the ERROR last.
        """
        await self.serve()
        self.patch(gearman, "LINGER", 0.2)
        peer, ours = await self.connect_tight()
        peer.transport.pauseProducing()
        requests = ["ECHO_REQ " + "e" * 10_000] * 100 + ["SUBMIT_JOB no data", "ECHO_REQ never answered"]
        # In one read, such that the backlog cannot have paused it in between.
        ours.dataReceived(b"".join(map(wire_form, requests)))
        self.assertTrue(ours.session.closed)
        self.assertTrue(ours._pulling)
        await deferLater(self.reactor, 0.5, lambda: None)
        self.assertIn(ours, self.connections)
        peer.transport.resumeProducing()
        heard = await peer.ends()
        self.assertEqual(heard[:100], ["ECHO_RES " + "e" * 10_000] * 100)
        self.assertEqual([message[:21] for message in heard[100:]], ["ERROR INVALID_PACKET|"])
        await self.until(lambda: not self.connections)

    async def test_descriptors_are_used_again(self) -> None:
        """
        A connection that takes over the descriptor of one that broke while it was being closed is served.
        """
        await self.serve()
        for number in range(50):
            gone = await self.connect()
            gone.transport.write(b"\0BAD" * 3)
            if number % 2:
                await gone.hears()
            gone.hangs_up()
            peer = await self.connect()
            await peer.echoes()
            peer.hangs_up()

    async def test_mistake_of_ours(self) -> None:
        """
        An error in the program costs the connection whose request met it, and is logged; the others are served.
        """
        await self.serve()
        unlucky, other = await self.connect(), await self.connect()
        await other.echoes()
        self.patch(self.service.job_server, "submit", lambda *arguments: 1 / 0)
        unlucky.says("SUBMIT_JOB f||w")
        self.assertEqual(await unlucky.ends(), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await other.echoes()

    async def test_mistake_in_transmitting(self) -> None:
        """
        The same where it is met as answers are sent: nobody is deaf from then on.
        """
        await self.serve()
        unlucky, other = await self.connect(), await self.connect()
        ours = await self.server_end(unlucky)
        await other.echoes()
        transmit = ours.transmit

        def fail_once(chunks: list[bytes]) -> None:
            ours.transmit = transmit  # type: ignore[method-assign]
            raise ZeroDivisionError

        ours.transmit = fail_once  # type: ignore[method-assign]
        unlucky.says("ECHO_REQ x")
        await self.until(lambda: len(self.flushLoggedErrors(ZeroDivisionError)) == 1)
        await other.echoes()
        await (await self.connect()).echoes()

    async def test_line_without_end(self) -> None:
        """
        A line that is too long is answered as a line, and then the connection is closed.
        """
        await self.serve()
        peer = await self.connect()
        peer.transport.write(b"a" * 9000)
        self.assertRegex("".join(await peer.ends()), "^ERR LINE_TOO_LONG")

    async def test_vanished(self) -> None:
        """
        Peers that vanish in the middle of a packet, of an answer, of a list, while they wait or while they work leave nothing
        behind in the tables and nothing in the log.
        """
        await self.serve()
        sleeper, waiting, working, slow, half, gone = [await self.connect() for _ in range(6)]
        working.says("CAN_DO f", "SUBMIT_JOB f|own|w", "GRAB_JOB")
        await working.hears_all(2)
        sleeper.says("CAN_DO_TIMEOUT g|5000", "PRE_SLEEP")
        await sleeper.echoes()
        waiting.says("SUBMIT_JOB f|u|w", "SUBMIT_JOB f|own|w")
        await waiting.hears_all(2)
        slow.transport.pauseProducing()
        slow.says(*["ECHO_REQ " + "e" * 100_000] * 100)
        half.transport.write(encode(Type.SUBMIT_JOB, b"f\0\0" + b"w" * 5000, b"\0REQ")[:-1])
        gone.transport.write(b"\0BAD" * 3)
        await self.until(lambda: any(protocol.congested for protocol in self.connections))
        for peer in (slow, half, gone, waiting, working, sleeper):
            peer.hangs_up()
        await self.until(lambda: not self.connections)
        self.assert_nothing_left()
        self.assertEqual(self.logged(), [])

    async def test_result_for_the_vanished(self) -> None:
        """
        A result for a client whose connection has broken, which the server has not seen yet, goes nowhere and harms nobody.
        """
        await self.serve()
        worker = await self.worker("f")
        client, ours = await self.connect_tight()
        client.says("SUBMIT_JOB f||w")
        created = await client.hears()
        ours.transport.pauseProducing()
        client.hangs_up()
        await self.turns()
        for size in (10, 100_000, 10):
            ours.transmit([b"x" * size])
        await self.until(lambda: ours not in self.connections)
        worker.says("GRAB_JOB")
        self.assertEqual(await worker.hears(), "NO_JOB", created)

    async def test_half_closed(self) -> None:
        """
        A peer that closes its sending side at once after its requests (as "echo status | nc -N" does) gets its answers.
        """
        await self.serve()
        peer = await self.connect()
        peer.says("status\n", "ECHO_REQ x")
        peer.transport.loseWriteConnection()
        self.assertEqual(await peer.ends(), [".\n", "ECHO_RES x"])


class AcceptedTests(ServiceCase):
    """
    What is done to a new connection.
    """

    async def test_options(self) -> None:
        """
        Small packets leave at once, and nothing is probed unless asked for.
        """
        await self.serve()
        await (await self.connect()).echoes()
        (ours,) = self.connections
        handle = ours.transport.getHandle()
        self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.assertFalse(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    async def test_keepalive(self) -> None:
        """
        The keepalive options are set on the connection.
        """
        await self.serve(keepalive=True, keepalive_idle=77, keepalive_interval=33, keepalive_count=4)
        await (await self.connect()).echoes()
        (ours,) = self.connections
        handle = ours.transport.getHandle()
        self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        self.assertEqual([handle.getsockopt(socket.IPPROTO_TCP, option) for option in options], [77, 33, 4])

    async def test_keepalive_defaults(self) -> None:
        """
        What --keepalive leaves open is the system's.
        """
        with socket.socket() as fresh:
            idle = fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        await self.serve(keepalive=True, keepalive_count=4)
        await (await self.connect()).echoes()
        (ours,) = self.connections
        handle = ours.transport.getHandle()
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), idle)
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 4)

    async def test_unix_socket(self) -> None:
        """
        A Unix socket's peer has no address, and nothing of TCP's is asked of it.
        """
        path = self.socket_path()
        await self.serve(port=(f"unix:{path}",), keepalive=True, keepalive_idle=77)
        peer = await self.connect(description=f"unix:{path}")
        peer.says("CAN_DO f", "workers\n")
        workers = await peer.hears_list()
        (ours,) = self.connections
        self.assertEqual(workers, [f"{ours.descriptor} - - : f\n"])

    async def test_ipv6(self) -> None:
        """
        A peer that came over IPv6 is shown with its address.
        """
        await self.serve(port=("tcp6:0:interface=\\:\\:1",))
        peer = await self.connect(description=f"tcp:host=\\:\\:1:port={self.service.ports[0].getHost().port}")
        peer.says("SET_CLIENT_ID me", "workers\n")
        workers = await peer.hears_list()
        (ours,) = self.connections
        self.assertEqual(workers, [f"{ours.descriptor} ::1 me :\n"])


class LoggingTests(ServiceCase):
    """
    What connections, jobs and packets leave in the log.
    """

    async def work(self) -> None:
        """
        A connection each, a job, and packets of several kinds.
        """
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB f|u|top secret workload", "version\n")
        created = await client.hears()
        await client.hears()
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_COMPLETE {created.split()[1]}|top secret result")
        await client.hears()
        client.says("NOOP")
        await client.hears()
        client.hangs_up()
        worker.hangs_up()
        await self.until(lambda: not self.connections)

    async def test_silent(self) -> None:
        """
        A connection, a job or a packet makes no event at the default level, not even one of Twisted's that nobody sees.
        """
        await self.serve()
        everything: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            # The client's side of these connections is Twisted's.
            if not event["log_namespace"].endswith("OneShotFactory"):
                everything.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        await self.work()
        self.assertEqual(everything, [])

    async def test_packets(self) -> None:
        """
        With --verbose DEBUG packets are logged by name and size, and nothing of what is in them.
        """
        logs.set_verbosity("DEBUG")
        await self.serve()
        self.events.clear()
        await self.work()
        text = "\n".join(self.logged())
        self.assertIn("127.0.0.1", text)
        for packet in ("SUBMIT_JOB, 23 bytes", "GRAB_JOB, 0 bytes", "a text line, 7 bytes", "WORK_COMPLETE", "NOOP"):
            self.assertIn(f"sent {packet}", text)
        self.assertNotIn("secret", text)

    async def test_packets_of_a_service_made_before(self) -> None:
        """
        The level counts that is set when the ports open, as a process does: it sets it after the service was made.
        """
        service = self.make()
        logs.set_verbosity("DEBUG")
        await self.start(service)
        self.events.clear()
        await self.work()
        self.assertIn("sent SUBMIT_JOB, 23 bytes", "\n".join(self.logged()))
