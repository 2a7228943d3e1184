"""
L{gearsvc.inprocess}: connections to a job server of the same process.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError, NoProtocol
from twisted.internet.interfaces import IConsumer, IPushProducer, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gearsvc.config import Settings
from gearsvc.inprocess import AT_ONCE, MUCH, InProcessAddress, InProcessEndpoint, InProcessTransport, connect_in_memory
from gearsvc.interfaces import StoreError
from gearsvc.protocols.gearman import CONGESTED
from gearsvc.service import JobServerService
from tests.protocols.case import Peer, ServiceCase
from tests.test_service import HandStore

MEGABYTE = 1024 * 1024


class End(Protocol):
    """
    One end, which writes down what happens to it.

    @ivar heard: the pieces that arrived.
    @ivar reasons: why the connection ended, once for each time it was told so.
    @ivar on_data: called with each piece.
    """

    transport: Any

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.reasons: list[type[BaseException]] = []
        self.on_data: Callable[[bytes], object] = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        """
        Write it down.
        """
        self.heard.append(data)
        self.on_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Write it down.
        """
        assert reason.type is not None
        self.reasons.append(reason.type)

    @property
    def text(self) -> bytes:
        """
        All that arrived.
        """
        return b"".join(self.heard)


class Producer:
    """
    A producer that writes down what it is told.
    """

    def __init__(self, resume: Callable[[], object] = lambda: None) -> None:
        self.told: list[str] = []
        self._resume = resume

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self.told.append("resume")
        self._resume()

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""
        self.told.append("stop")


class TransportTests(SynchronousTestCase):
    """
    The promises of a transport, on a clock.
    """

    def setUp(self) -> None:
        """
        Connect two ends.
        """
        self.clock = Clock()
        self.near, self.far = End(), End()
        connect_in_memory(self.clock, self.near, self.far)

    def turn(self, number: int = 1) -> None:
        """
        Let the reactor go around once: what is asked for meanwhile is for the next time.
        """
        for _ in range(number):
            due, self.clock.calls = self.clock.calls, []
            for call in due:
                if call.active():
                    call.called = 1
                    call.func(*call.args, **call.kw)

    def ended(self) -> tuple[list[type[BaseException]], list[type[BaseException]]]:
        """
        Why the connection ended, as near and far were told.
        """
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return self.near.reasons, self.far.reasons

    def test_interfaces(self) -> None:
        """
        It provides what it says.
        """
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, self.near.transport)

    def test_order(self) -> None:
        """
        What is written arrives in its order, in a later turn, and what was written in one turn in one piece.
        """
        self.near.transport.write(b"one ")
        self.near.transport.writeSequence([b"two ", b"three "])
        self.assertEqual(self.far.heard, [])
        self.turn()
        self.near.transport.write(b"four")
        self.turn()
        self.assertEqual(self.far.heard, [b"one two three ", b"four"])
        self.assertEqual(self.near.heard, [])

    def test_never_at_once(self) -> None:
        """
        An answer to what arrives does not arrive while it is being written, nor does what is written to oneself through the
        other end.
        """
        depth = 0

        def answer(end: End) -> Callable[[bytes], None]:
            def receive(data: bytes) -> None:
                nonlocal depth
                depth += 1
                self.assertEqual(depth, 1)
                if len(self.near.heard) < 5:
                    end.transport.write(data + b".")
                depth -= 1

            return receive

        self.near.on_data, self.far.on_data = answer(self.near), answer(self.far)
        self.near.transport.write(b"x")
        self.clock.advance(0)
        self.assertEqual(self.near.heard, [b"x" + b"." * number for number in (1, 3, 5, 7, 9)])

    def test_only_bytes(self) -> None:
        """
        Text is refused as by any transport, and what may change after the write is delivered as it was.
        """
        self.assertRaises(TypeError, self.near.transport.write, "text")
        self.assertRaises(TypeError, self.near.transport.writeSequence, ["text"])
        data = bytearray(b"before")
        self.near.transport.write(data)
        data[:] = b"after!"
        self.turn()
        self.assertEqual(self.far.heard, [b"before"])
        self.assertIs(type(self.far.heard[0]), bytes)

    def test_large(self) -> None:
        """
        A large write arrives as the very object, without a copy; many small ones arrive some at a time, and others have
        their turn between.
        """
        large = b"x" * MEGABYTE
        self.near.transport.write(large)
        self.turn()
        self.assertIs(self.far.heard.pop(), large)
        for _ in range(64):
            self.near.transport.write(b"y" * 4096)
        self.far.transport.write(b"between")
        self.turn()
        self.assertEqual(([len(piece) for piece in self.far.heard], self.near.heard), ([AT_ONCE], [b"between"]))
        self.turn(3)
        self.assertEqual([len(piece) for piece in self.far.heard], [AT_ONCE] * 4)

    def test_paused_reader(self) -> None:
        """
        Nothing is delivered to an end that has paused, and all of it once it resumes; also to one that pauses in the midst.
        """
        self.far.transport.pauseProducing()
        self.near.transport.write(b"early ")
        self.turn(3)
        self.assertEqual((self.far.heard, self.clock.getDelayedCalls()), ([], []))
        self.far.transport.resumeProducing()
        self.assertEqual(self.far.heard, [])
        self.turn()
        self.assertEqual(self.far.text, b"early ")
        self.far.on_data = lambda data: self.far.transport.pauseProducing()
        for _ in range(8):
            self.near.transport.write(b"z" * AT_ONCE)
        self.turn(5)
        self.assertEqual(len(self.far.text), 6 + AT_ONCE)
        self.far.transport.resumeProducing()
        self.turn(5)
        self.assertEqual(len(self.far.text), 6 + 2 * AT_ONCE)

    def test_push_producer(self) -> None:
        """
        A push producer is paused once while much waits, and resumed when all of it has been delivered.
        """
        producer = Producer()
        transport = self.near.transport
        transport.registerProducer(producer, True)
        self.assertRaises(RuntimeError, transport.registerProducer, producer, True)
        transport.write(b"x" * MUCH)
        self.assertEqual(producer.told, [])
        transport.write(b"x")
        transport.write(b"x")
        self.assertEqual(producer.told, ["pause"])
        self.turn()
        self.assertEqual(producer.told, ["pause"])
        self.turn()
        self.assertEqual(producer.told, ["pause", "resume"])
        transport.unregisterProducer()
        transport.write(b"x" * MEGABYTE)
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_pull_producer(self) -> None:
        """
        A pull producer is asked as it is registered, and then each time that what it wrote has been delivered.
        """
        pieces = [b"one ", b"two ", b"three"]
        transport = self.near.transport
        producer = Producer(lambda: transport.write(pieces.pop(0)) if pieces else transport.unregisterProducer())
        transport.registerProducer(producer, False)
        self.assertEqual(len(pieces), 2)
        self.far.transport.pauseProducing()
        self.turn(3)
        self.assertEqual(len(pieces), 2)
        self.far.transport.resumeProducing()
        self.turn(3)
        self.assertEqual((self.far.heard, producer.told), ([b"one ", b"two ", b"three"], ["resume"] * 4))

    def test_lose_connection(self) -> None:
        """
        loseConnection lets all that is written be delivered, also to an end that has paused, then tells both ends once.
        """
        self.far.transport.pauseProducing()
        for _ in range(4):
            self.near.transport.write(b"x" * AT_ONCE)
        self.near.transport.loseConnection()
        self.near.transport.loseConnection()
        self.assertEqual(self.ended(), ([], []))
        self.assertTrue(self.near.transport.connected and self.near.transport.disconnecting)
        self.far.transport.resumeProducing()
        self.assertEqual(self.ended(), ([ConnectionDone], [ConnectionDone]))
        self.assertEqual(len(self.far.text), 4 * AT_ONCE)
        self.assertFalse(self.near.transport.connected or self.far.transport.connected)

    def test_lose_connection_in_a_call(self) -> None:
        """
        An end may lose the connection while it is told of data, and is told nothing after that; what the other one still
        writes is dropped.
        """
        self.far.on_data = lambda data: self.far.transport.loseConnection()
        for _ in range(4):
            self.near.transport.write(b"x" * AT_ONCE)
        self.turn()
        self.near.transport.write(b"more")
        self.assertEqual(self.ended(), ([ConnectionDone], [ConnectionDone]))
        self.assertEqual(len(self.far.text), AT_ONCE)
        self.near.transport.write(b"after")
        self.near.transport.loseConnection()
        self.near.transport.abortConnection()
        self.near.transport.resumeProducing()
        self.assertEqual(self.ended(), ([ConnectionDone], [ConnectionDone]))

    def test_both_lose_it(self) -> None:
        """
        Two ends that lose the connection with something written, neither of which reads any more, do not wait for each
        other.
        """
        for end in (self.near, self.far):
            end.transport.write(b"goodbye")
            end.transport.loseConnection()
        self.assertEqual(self.ended(), ([ConnectionDone], [ConnectionDone]))

    def test_crowd(self) -> None:
        """
        An end that stops reading while much waits for the other one, as the job server does, is not waited for by an end
        that has lost the connection: what waits for that is dropped.
        """
        producer = Producer()
        self.far.transport.registerProducer(producer, True)
        self.near.transport.pauseProducing()
        self.far.transport.write(b"x" * MEGABYTE)
        self.far.transport.pauseProducing()
        self.near.transport.write(b"last words")
        self.near.transport.loseConnection()
        self.turn(3)
        self.assertEqual(producer.told, ["pause", "resume"])
        self.far.transport.resumeProducing()
        self.assertEqual(self.ended(), ([ConnectionDone], [ConnectionDone]))
        self.assertEqual((self.far.text, self.near.text), (b"last words", b""))
        self.assertEqual(producer.told, ["pause", "resume", "stop"])

    def test_producer_and_end(self) -> None:
        """
        The connection does not end before the producer is unregistered, and what it writes until then is delivered.
        """
        transport = self.near.transport
        producer = Producer()
        transport.registerProducer(producer, True)
        transport.loseConnection()
        self.turn(3)
        transport.write(b"the rest")
        self.turn(3)
        self.assertEqual((self.far.text, self.far.reasons), (b"the rest", []))
        transport.unregisterProducer()
        self.assertEqual(self.ended(), ([ConnectionDone], [ConnectionDone]))
        late = Producer()
        transport.registerProducer(late, True)
        self.assertEqual(late.told, ["stop"])

    def test_abort(self) -> None:
        """
        abortConnection ends it in the next turn, not at once; what waits in either direction is dropped, and each end is
        told once who it was.
        """
        self.near.transport.write(b"x")
        self.far.transport.write(b"y")
        self.near.transport.abortConnection()
        self.near.transport.abortConnection()
        self.assertEqual(self.near.reasons, [])
        self.assertEqual(self.ended(), ([ConnectionAborted], [ConnectionLost]))
        self.assertEqual((self.near.text, self.far.text), (b"", b""))

    def test_abort_after_lose(self) -> None:
        """
        A connection that is to be lost, and can't be, for the other end does not read, can be aborted.
        """
        self.far.transport.pauseProducing()
        self.near.transport.write(b"x")
        self.near.transport.loseConnection()
        self.turn()
        self.near.transport.abortConnection()
        self.assertEqual(self.ended(), ([ConnectionAborted], [ConnectionLost]))

    def test_mistake(self) -> None:
        """
        An exception of a protocol costs its connection, and is logged, with nobody else harmed.
        """

        class Mistake(Exception):
            pass

        def mistaken(data: bytes) -> None:
            raise Mistake

        self.far.on_data = mistaken
        self.near.transport.write(b"x")
        self.assertEqual(self.ended(), ([ConnectionLost], [Mistake]))
        self.assertEqual(len(self.flushLoggedErrors(Mistake)), 1)

    def test_mistake_at_the_end(self) -> None:
        """
        An exception of connectionLost does not keep the other end from being told.
        """

        class Mistaken(End):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                raise ZeroDivisionError

        self.near, self.far = Mistaken(), End()
        connect_in_memory(self.clock, self.near, self.far)
        self.near.transport.loseConnection()
        self.assertEqual(self.ended(), ([], [ConnectionDone]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_addresses(self) -> None:
        """
        Both ends have one address, equal to itself and to no other connection's, and usable as a key.
        """
        address = self.near.transport.getPeer()
        self.assertEqual(
            {address, self.near.transport.getHost(), self.far.transport.getPeer(), InProcessAddress(address.port)}, {address}
        )
        other, _ = connect_in_memory(self.clock, End(), End())
        self.assertNotEqual(other.getHost(), address)
        self.assertNotEqual(address, ("in-process", address.port))
        self.assertEqual(repr(address), f"InProcessAddress({address.port})")


class InProcessCase(ServiceCase):
    """
    A server with a port, and peers that need none.
    """

    async def beside(self) -> Peer:
        """
        A new connection in memory.
        """
        peer: Peer = await connectProtocol(InProcessEndpoint(self.service), Peer())
        self._peers.append(peer)
        return peer


class EndpointTests(InProcessCase):
    """
    How a peer comes to the server.
    """

    def test_interface(self) -> None:
        """
        It is an endpoint, and says which.
        """
        endpoint = InProcessEndpoint(self.make())
        verifyObject(IStreamClientEndpoint, endpoint)
        self.assertEqual(repr(endpoint), "<the job server of this process>")

    async def test_before_the_start(self) -> None:
        """
        Who connects before the service is started is connected when the stored queue is complete, not before.
        """
        store = HandStore()
        store.replaying = Deferred()
        service = self.service = self.make(store)
        connecting = Deferred.fromCoroutine(self.beside())
        await self.turns()
        service.startService()
        await self.turns()
        self.assertFalse(connecting.called)
        store.replaying.callback(None)
        self.assertFalse(connecting.called)
        await (await connecting).echoes()

    async def test_cancelled(self) -> None:
        """
        An attempt that waits for the start can be given up; the service starts all the same.
        """
        service = self.service = self.make()
        connecting = Deferred.fromCoroutine(self.beside())
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        service.startService()
        await service.when_ready()
        await self.turns()
        self.assertEqual(self.connections, set())

    async def refused(self, service: JobServerService) -> str:
        """
        Why an attempt fails.
        """
        error = await self.assertFailure(connectProtocol(InProcessEndpoint(service), Peer()), ConnectionRefusedError)
        return str(error)

    async def test_stopped(self) -> None:
        """
        A server that has stopped, or is never started, refuses with a line that says so, also those who have waited.
        """
        await self.serve()
        await self.service.stopService()
        self.assertIn("the job server of this process has stopped", await self.refused(self.service))
        never = self.make()
        waiting = Deferred.fromCoroutine(self.refused(never))
        await never.stopService()
        self.assertIn("does not serve: it was stopped before it was started", await waiting)
        self.assertIn("the job server of this process has stopped", await self.refused(never))

    async def test_stopped_meanwhile(self) -> None:
        """
        Who has waited for a server that is stopped in the midst of the replay is refused.
        """
        store = HandStore()
        store.replaying = Deferred()
        service = self.make(store)
        service.startService()
        waiting = Deferred.fromCoroutine(self.refused(service))
        stopped = service.stopService()
        store.replaying.callback(None)
        await stopped
        self.assertIn("the job server of this process has stopped", await waiting)

    async def test_store_cannot_be_opened(self) -> None:
        """
        A server whose store can't be used refuses with the store's reason, before and after it is known.
        """
        store = HandStore()
        store.opening = Deferred()
        service = self.make(store)
        service.startService()
        waiting = Deferred.fromCoroutine(self.refused(service))
        store.opening.errback(StoreError("the cellar is flooded"))
        self.assertIn("does not serve: the cellar is flooded", await waiting)
        self.assertIn("does not serve: the cellar is flooded", await self.refused(service))
        await service.stopService()

    async def test_factory(self) -> None:
        """
        A factory is started and stopped with its connection; one that wants none is told NoProtocol.
        """
        await self.serve()
        calls: list[str] = []

        class Counted(Factory):
            noisy = False

            def startFactory(self) -> None:
                calls.append("start")

            def stopFactory(self) -> None:
                calls.append("stop")

            def buildProtocol(self, addr: object) -> Protocol | None:
                return Peer() if calls.count("start") == 1 else None

        peer: Any = await InProcessEndpoint(self.service).connect(Counted())
        self.assertEqual(calls, ["start"])
        peer.transport.loseConnection()
        await peer.ends()
        await self.turns(1)
        self.assertEqual(calls, ["start", "stop"])
        await self.assertFailure(InProcessEndpoint(self.service).connect(Counted()), NoProtocol)
        self.assertEqual(calls, ["start", "stop"] * 2)

    async def test_mistaken_peer(self) -> None:
        """
        A protocol that fails as it is connected is told so, and its connection is ended.
        """
        await self.serve()

        class Mistaken(Peer):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        await self.assertFailure(connectProtocol(InProcessEndpoint(self.service), Mistaken()), ZeroDivisionError)
        await self.until(lambda: not self.connections)


class ServingTests(InProcessCase):
    """
    What the server does for peers in its process.
    """

    async def test_with_the_network(self) -> None:
        """
        Clients and workers in the process and on the network do each other's jobs.
        """
        await self.serve()
        clients = [await self.beside(), await self.connect()]
        workers = [await self.beside(), await self.connect()]
        for worker, function in zip(workers, ("here", "there")):
            worker.says(f"CAN_DO {function}", "PRE_SLEEP")
            worker.says("ECHO_REQ asleep")
            self.assertEqual(await worker.hears(), "ECHO_RES asleep")
        for client in clients:
            for worker, function in zip(workers, ("here", "there")):
                client.says(f"SUBMIT_JOB {function}||work")
                handle = (await client.hears()).split()[1]
                self.assertEqual(await worker.hears(), "NOOP")
                worker.says("GRAB_JOB")
                self.assertEqual(await worker.hears(), f"JOB_ASSIGN {handle}|{function}|work")
                worker.says(f"WORK_STATUS {handle}|1|2", f"WORK_COMPLETE {handle}|done", "PRE_SLEEP")
                self.assertEqual(await client.hears_all(2), [f"WORK_STATUS {handle}|1|2", f"WORK_COMPLETE {handle}|done"])

    async def test_workers(self) -> None:
        """
        `workers` lists them as in-process, without a descriptor, among those of the network.
        """
        await self.serve()
        here, there = await self.beside(), await self.connect()
        here.says("SET_CLIENT_ID near", "CAN_DO f")
        there.says("SET_CLIENT_ID far")
        await there.echoes()
        here.says("workers\n")
        lines = await here.hears_list()
        self.assertEqual(lines[0], "-1 in-process near : f\n")
        self.assertRegex(lines[1], r"^\d+ 127\.0\.0\.1 far :\n$")

    async def test_lost_worker(self) -> None:
        """
        A worker whose connection ends gives its job back, as any other.
        """
        await self.serve()
        client, worker = await self.connect(), await self.beside()
        worker.says("CAN_DO f")
        client.says("SUBMIT_JOB f||w")
        await client.hears()
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.hangs_up()
        await self.until(lambda: len(self.connections) == 1)
        (job,) = self.service.job_server.jobs.values()
        self.assertEqual((job.worker, job.attempts), (None, 1))

    async def test_bad_packet(self) -> None:
        """
        Bytes that are no packet get an ERROR, whole, and the end of that connection alone.
        """
        await self.serve()
        peer, other = await self.beside(), await self.beside()
        peer.transport.write(b"\0BAD" * 3)
        self.assertEqual(await peer.ends(), ["ERROR INVALID_MAGIC|Request magic expected"])
        await other.echoes()
        large = await self.beside()
        large.transport.write(b"\0REQ\0\0\0\x10\x7f\xff\xff\xff")
        (error,) = await large.ends()
        self.assertRegex(error, "^ERROR ARGUMENT_TOO_LARGE")

    async def test_large(self) -> None:
        """
        Megabytes arrive whole in both directions, many at once.
        """
        await self.serve()
        peer = await self.beside()
        text = "e" * 3 * MEGABYTE
        peer.says(*[f"ECHO_REQ {text}"] * 5)
        self.assertEqual({len(echo) for echo in await peer.hears_all(5)}, {len(text) + 9})

    async def test_slow_reader(self) -> None:
        """
        A peer that does not read is itself not read from while much waits for it, and gets all of it when it does.
        """
        await self.serve()
        peer = await self.beside()
        (ours,) = self.connections
        peer.transport.pauseProducing()
        for _ in range(20):
            peer.says("ECHO_REQ " + "e" * CONGESTED)
            await self.turns(3)
        self.assertTrue(ours.congested)
        self.assertLess(ours._waiting, 4 * CONGESTED)
        peer.transport.resumeProducing()
        await peer.hears_all(20)
        self.assertFalse(ours.congested)
        await peer.echoes()

    async def test_overflow(self) -> None:
        """
        --max-output holds: a peer that does not read what others send it loses its connection, with a line in the log.
        """
        await self.serve(max_output=MEGABYTE)
        client, worker = await self.beside(), await self.beside()
        worker.says("CAN_DO f")
        client.says("SUBMIT_JOB f||w")
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB")
        await worker.hears()
        client.transport.pauseProducing()
        for _ in range(30):
            worker.says(f"WORK_DATA {handle}|" + "d" * 100_000)
            await worker.echoes()
        await client.ends()
        (line,) = self.logged()
        self.assertRegex(line, "^closed the connection of in-process: it does not read")

    async def test_stop(self) -> None:
        """
        When the server stops, what waits for a peer is delivered, then its connection ends as any other's.
        """
        await self.serve()
        peer = await self.beside()
        peer.says(*(f"ECHO_REQ {number}" for number in range(100)))
        await self.turns(1)
        await self.service.stopService()
        self.assertEqual(await peer.ends(), [f"ECHO_RES {number}" for number in range(100)])
        assert peer.lost is not None
        self.assertTrue(peer.lost.check(ConnectionDone))
        self.assertEqual(self.connections, set())

    async def test_durable(self) -> None:
        """
        A background job is acknowledged in memory once it is stored, in the order of the requests.
        """
        await self.start(self.durable())
        peer = await self.beside()
        peer.says("SUBMIT_JOB_BG f||w", "ECHO_REQ after")
        created, echo = await peer.hears_all(2)
        self.assertRegex(created, "^JOB_CREATED ")
        self.assertEqual(echo, "ECHO_RES after")
        await self.service.stopService()
        await self.start(self.durable())
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_without_a_port(self) -> None:
        """
        A server without any port serves its process, and has nothing open.
        """
        await self.serve(port=())
        self.assertEqual((self.service.ports, self.service.factory.room), ([], None))
        await (await self.beside()).echoes()


class ClockTests(SynchronousTestCase):
    """
    A server that lives on a clock.
    """

    def test_whole_life(self) -> None:
        """
        Without ports, a server starts, serves and stops on twisted.internet.task.Clock, and leaves no call behind; the time
        of day is what it is told.
        """
        clock = Clock()
        clock.rightNow = 1_700_000_000.0
        service = JobServerService(Settings(port=()), clock, clock.seconds)
        service.startService()
        self.successResultOf(service.when_ready())
        connecting = connectProtocol(InProcessEndpoint(service), Peer())
        clock.advance(0)
        peer = self.successResultOf(connecting)
        peer.says("CAN_DO f", "PRE_SLEEP", f"SUBMIT_JOB_EPOCH f||{1_700_000_000 + 7 * 86400}|w")
        clock.advance(0)
        self.assertRegex(self.successResultOf(Deferred.fromCoroutine(peer.hears())), "^JOB_CREATED ")
        clock.advance(7 * 86400 - 1)
        self.assertEqual(list(peer._heard), [])
        clock.advance(1)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(peer.hears())), "NOOP")
        stopped = service.stopService()
        clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertIsInstance(peer.transport, InProcessTransport)
