"""
L{gearsvc.service}: a whole job server as a service.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from typing import Callable, Sequence

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from zope.interface import implementer

import gearsvc.service
from gearsvc import logs
from gearsvc.config import Settings
from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IQueueStore, StoreError
from gearsvc.listening import listening_sockets
from gearsvc.service import JobServerService, ReactorClock
from gearsvc.stores.memory import MemoryStore, Rows
from gearsvc.testing import record
from tests.core.case import Recorder
from tests.protocols.case import LOOPBACK, Peer, ServiceCase
from tests.running import free_port


def open_descriptors() -> list[str]:
    """
    The sockets, files and so on that this process has open; without the pipes that the reactor wakes itself by, which
    trial renews for each test.
    """
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        # (That of the listing itself is gone already.)
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(name for name in found if not name.startswith(("pipe:", "/dev/null")))


@implementer(IQueueStore)
class HandStore(MemoryStore):
    """
    A store that opens, replays and commits when the test says so.

    @ivar opening: fires what L{open} returned; C{replaying}, C{committing} and C{closing} likewise.
    @ivar calls: what was called, in order.
    """

    def __init__(self, rows: Rows | None = None) -> None:
        super().__init__(rows)
        self.opening: Deferred[None] = succeed(None)
        self.replaying: Deferred[None] = succeed(None)
        self.committing: Deferred[None] = succeed(None)
        self.closing: Deferred[None] = succeed(None)
        self.calls: list[str] = []

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.
        """
        self.calls.append("open")
        return self.opening

    async def _replay(self, accept: Accept) -> int:
        number = await super().replay(accept)
        await self.replaying
        return number

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        Accept all that is there, and say so later.
        """
        self.calls.append("replay")
        return Deferred.fromCoroutine(self._replay(accept))

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        assert "close" not in self.calls, "a commit after the end"
        self.calls.append("commit")
        committed = super().commit(added, removed)
        return self.committing.addCallback(lambda _: None) if not self.committing.called else committed

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        self.calls.append("close")
        return self.closing


class AbsentStore(HandStore):
    """
    A store that can't be reached at first.
    """

    def __init__(self, times: int) -> None:
        """
        @param times: how often.
        """
        super().__init__()
        self.left = times

    def open(self) -> Deferred[None]:
        """
        Fail, or open.
        """
        self.left -= 1
        if self.left >= 0:
            error = StoreError("The cellar does not answer.")
            error.unreachable = True
            self.opening = fail(error)
        else:
            self.opening = succeed(None)
        return super().open()


class PortTests(ServiceCase):
    """
    Where the server can be reached.
    """

    def addresses(self) -> list[tuple[str, int]]:
        """
        The addresses of all ports.
        """
        return [(host.host, host.port) for host in (port.getHost() for port in self.service.ports)]

    async def test_number(self) -> None:
        """
        A number is a port at every address, IPv4 and IPv6, with a socket for each.
        """
        number = free_port()
        await self.serve(port=(number,))
        self.assertEqual(sorted(self.addresses()), [("0.0.0.0", number), ("::", number)])
        for description in (f"tcp:127.0.0.1:{number}", f"tcp:host=\\:\\:1:port={number}"):
            await (await self.connect(description=description)).echoes()

    async def test_port_zero(self) -> None:
        """
        Port 0 is a free one, the same at every address.
        """
        await self.serve(port=(0,))
        (first, number), (second, other) = sorted(self.addresses())
        self.assertEqual((first, second), ("0.0.0.0", "::"))
        self.assertEqual(number, other)
        self.assertGreater(number, 0)
        await (await self.connect()).echoes()

    async def test_listen(self) -> None:
        """
        --listen opens the port at these addresses alone; a name is every address that it has.
        """
        await self.serve(port=(0,), listen=("127.0.0.1", "::1"))
        self.assertEqual([host for host, _ in self.addresses()], ["127.0.0.1", "::1"])
        await self.service.stopService()
        await self.serve(port=(0,), listen=("localhost",))
        self.assertTrue(self.addresses())
        self.assertLessEqual({host for host, _ in self.addresses()}, {"127.0.0.1", "::1"})
        await (await self.connect()).echoes()

    async def test_backlog(self) -> None:
        """
        --backlog is what the system is told, for each port; but one that says something else is believed.
        """
        await self.serve(port=(0, LOOPBACK, f"{LOOPBACK}:backlog=55"), listen=("127.0.0.1",), backlog=77)
        # Of a socket that listens, tcpi_sacked of struct tcp_info.
        info = [port.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104) for port in self.service.ports]
        self.assertEqual([int.from_bytes(each[28:32], "little") for each in info], [77, 77, 55])

    async def test_several(self) -> None:
        """
        Numbers and endpoint descriptions can be mixed, and all of them lead to one server.
        """
        path = self.socket_path()
        await self.serve(port=(0, LOOPBACK, f"unix:{path}"), listen=("127.0.0.1",))
        self.assertEqual(len(self.service.ports), 3)
        peers = [await self.connect(0), await self.connect(1), await self.connect(description=f"unix:{path}")]
        for number, peer in enumerate(peers):
            peer.says(f"SUBMIT_JOB f|u{number}|w")
            await peer.hears()
        self.assertEqual(len(self.service.job_server.jobs), 3)
        await self.service.stopService()
        self.assertFalse(path.exists())

    async def refused(self, *ports: object, **settings: object) -> CannotListenError:
        """
        Hold that the service does not start with these ports, nor leaves anything open.
        """
        service = self.make(port=ports, **settings)
        before = open_descriptors()
        error = self.assertRaises(CannotListenError, service.privilegedStartService)
        await self.turns()
        self.assertEqual(open_descriptors(), before)
        self.assertEqual(service.ports, [])
        await service.stopService()
        return error

    async def test_busy(self) -> None:
        """
        A port that is taken, given in whichever way and place, is told by CannotListenError; nothing stays open, and the
        service can be stopped.
        """
        with socket.create_server(("127.0.0.1", 0)) as other:
            number = other.getsockname()[1]
            self.assertEqual((await self.refused(number, listen=("127.0.0.1",))).port, number)
            await self.refused(number)
            await self.refused(LOOPBACK, number, listen=("::1", "127.0.0.1"))
            await self.refused(0, f"tcp:{number}:interface=127.0.0.1", listen=("127.0.0.1",))
            await self.refused(LOOPBACK, f"tcp:{number}:interface=127.0.0.1")

    async def test_wrong_addresses(self) -> None:
        """
        A name that is nobody's, or an address that is not this machine's, is told in the same way.
        """
        await self.refused(0, listen=("127.0.0.1", "no-such-name.invalid"))
        await self.refused(0, listen=("192.0.2.1",))
        await self.refused("unix:/no/such/directory/socket")

    async def test_no_such_family(self) -> None:
        """
        An address of a family that the system does not have is not silently left out.
        """
        real = socket.socket

        def make(family: int, *rest: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            return real(family, *rest)

        self.patch(socket, "socket", make)
        self.assertRaises(CannotListenError, listening_sockets, 0, ("127.0.0.1", "::1"), 5)
        (listener,) = listening_sockets(0, (), 5)
        listener.close()

    async def test_two_servers(self) -> None:
        """
        Two servers live in one process, each with its own jobs, and end one without the other.
        """
        application = MultiService()
        first, second = self.make(), self.make()
        first.setServiceParent(application)
        second.setServiceParent(application)
        application.startService()
        self.addCleanup(application.stopService)
        peers = []
        for service in (first, second):
            await service.when_ready()
            self.service = service
            peers.append(await self.connect())
        peers[0].says("SUBMIT_JOB f|u|w")
        await peers[0].hears()
        self.assertEqual((len(first.job_server.jobs), len(second.job_server.jobs)), (1, 0))
        await first.disownServiceParent()
        await peers[0].ends()
        await peers[1].echoes()


class StartTests(ServiceCase):
    """
    How a server gets ready.
    """

    def rows(self, number: int) -> Rows:
        """
        Stored jobs.
        """
        return Rows({job.handle: job for job in map(record, range(number))})

    async def test_replay(self) -> None:
        """
        Who connects while the stored queue is replayed is answered when it is complete, and not before.
        """
        store = HandStore(self.rows(3))
        store.replaying = Deferred()
        service = self.service = self.make(store)
        service.startService()
        ready = service.when_ready()
        early, gone = await self.connect(), await self.connect()
        early.says("status\n", "CAN_DO resize", "GRAB_JOB")
        gone.says("version\n")
        await self.until(lambda: len(self.connections) == 2)
        gone.hangs_up()
        await self.turns(10)
        self.assertEqual((early.received, ready.called), (0, False))
        store.replaying.callback(None)
        self.assertTrue(ready.called)
        self.assertEqual(await early.hears_list(), ["resize\t3\t0\t0\n"])
        self.assertEqual(await early.hears(), "JOB_ASSIGN H:test:0|resize|workload 0")
        await (await self.connect()).echoes()
        self.assertEqual(store.calls, ["open", "replay"])
        await self.until(lambda: len(self.connections) == 2)

    async def test_ready_late(self) -> None:
        """
        Who asks whether the server is ready when it is gets the answer at once.
        """
        await self.serve()
        self.assertTrue(self.service.when_ready().called)

    async def test_store_cannot_be_opened(self) -> None:
        """
        A store that cannot be opened is told by StoreError, to each who asks, before and after; the service can be stopped.
        """
        store = HandStore()
        store.opening = Deferred()
        service = self.make(store)
        service.startService()
        asked = [service.when_ready(), service.when_ready()]
        store.opening.errback(StoreError("the cellar is flooded"))
        for ready in [*asked, service.when_ready()]:
            failure = await self.assertFailure(ready, StoreError)
            self.assertEqual(str(failure), "the cellar is flooded")
        await service.stopService()
        self.assertEqual(store.calls, ["open"])

    async def test_store_is_waited_for(self) -> None:
        """
        A store that can't be reached yet is tried again, with a line in the log each time whatever --verbose says, and
        then the server is ready.
        """
        self.patch(gearsvc.service, "FIRST_STORE_WAIT", 0.01)
        store = AbsentStore(3)
        service = self.service = self.make(store, verbose="FATAL")
        service.startService()
        await service.when_ready()
        self.assertEqual(store.calls, ["open"] * 4 + ["replay"])
        lines = [line for line in self.logged() if "The cellar does not answer. Trying again for " in line]
        self.assertEqual(len(lines), 3, self.logged())

    async def test_store_is_not_waited_for_any_longer(self) -> None:
        """
        When --store-wait is over, the server does not start, and says why; 0 does not wait at all.
        """
        self.patch(gearsvc.service, "FIRST_STORE_WAIT", 0.01)
        store = AbsentStore(1000)
        service = self.make(store, store_wait=0.1)
        service.startService()
        failure = await self.assertFailure(service.when_ready(), StoreError)
        self.assertEqual(str(failure), "The cellar does not answer.")
        self.assertGreater(len(store.calls), 2)
        await service.stopService()
        store.calls.clear()
        service = self.make(store, store_wait=0.0)
        service.startService()
        await self.assertFailure(service.when_ready(), StoreError)
        self.assertEqual(store.calls, ["open"])
        await service.stopService()

    async def test_stopped_while_waiting(self) -> None:
        """
        A server that waits for its store can be stopped at once.
        """
        store = AbsentStore(1000)
        self.patch(gearsvc.service, "FIRST_STORE_WAIT", 1000.0)
        self.patch(gearsvc.service, "LAST_STORE_WAIT", 1000.0)
        service = self.make(store, store_wait=1000.0)
        service.startService()
        ready = self.assertFailure(service.when_ready(), StoreError)
        await self.until(lambda: store.calls == ["open"])
        await service.stopService()
        await ready
        self.assertEqual(store.calls, ["open", "open"])

    async def test_real_store_cannot_be_opened(self) -> None:
        """
        The same with a real store: a file that is no database.
        """
        service = self.durable()
        self.database.write_bytes(b"no database" * 1000)
        service.startService()
        await self.assertFailure(service.when_ready(), StoreError)
        await service.stopService()

    async def test_replay_fails(self) -> None:
        """
        A store that fails in the midst of the replay is told in the same way, and closed in the end.
        """
        store = HandStore(self.rows(3))
        store.replaying = Deferred()
        service = self.make(store)
        service.startService()
        ready = service.when_ready()
        store.replaying.errback(StoreError("the cellar is flooded"))
        await self.assertFailure(ready, StoreError)
        await service.stopService()
        self.assertEqual(store.calls, ["open", "replay", "close"])

    async def test_failed_start_hangs_nobody(self) -> None:
        """
        When the store cannot be used, who has connected is hung up on, and nobody else can connect.
        """
        store = HandStore()
        store.opening = Deferred()
        service = self.service = self.make(store)
        service.startService()
        early = await self.connect()
        early.says("version\n")
        await self.until(lambda: len(self.connections) == 1)
        store.opening.errback(StoreError("the cellar is flooded"))
        await self.assertFailure(service.when_ready(), StoreError)
        self.assertEqual(await early.ends(), [])
        self.assertEqual(service.ports, [])

    async def test_nobody_asks(self) -> None:
        """
        A server in an application that asks for nothing leaves a line in the log when it cannot serve.
        """
        store = HandStore()
        store.opening = Deferred()
        service = self.make(store)
        service.startService()
        store.opening.errback(StoreError("the cellar is flooded"))
        self.assertEqual(self.logged(), ["the server does not serve: the cellar is flooded"])
        await service.stopService()

    async def test_protocols(self) -> None:
        """
        Further protocols start when the queue is complete, and stop with the server.
        """
        store = HandStore(self.rows(3))
        store.replaying = Deferred()
        service = self.make(store)
        protocol = Service()
        service._protocols.append(protocol)
        service.startService()
        self.assertFalse(protocol.running)
        store.replaying.callback(None)
        self.assertTrue(protocol.running)
        await service.stopService()
        self.assertFalse(protocol.running)

    async def test_protocol_cannot_start(self) -> None:
        """
        A further protocol that cannot listen is told by when_ready.
        """

        class Busy(Service):
            def startService(self) -> None:
                raise CannotListenError("", 80, OSError(98, "Address already in use"))

        service = self.make()
        service._protocols.append(Busy())
        service.startService()
        await self.assertFailure(service.when_ready(), CannotListenError)
        await service.stopService()

    async def test_privileged(self) -> None:
        """
        The privileged start opens the ports, and the start after it opens no others.
        """
        service = self.service = self.make()
        service.privilegedStartService()
        (port,) = service.ports
        peer = await self.connect()
        peer.says("ECHO_REQ x")
        await self.turns(10)
        self.assertEqual(peer.received, 0)
        service.startService()
        self.assertEqual(service.ports, [port])
        self.assertEqual(await peer.hears(), "ECHO_RES x")

    async def test_never_started(self) -> None:
        """
        A service that was not started, or only as far as its ports, can be stopped.
        """
        await self.make().stopService()
        service = self.make()
        service.privilegedStartService()
        await service.stopService()

    async def test_handles(self) -> None:
        """
        Handles begin as --job-handle-prefix says, by default with H: and the host's name; and a server that starts later
        starts with a higher number.
        """
        service = JobServerService(Settings())
        first = service.job_server._number
        self.assertEqual(service.job_server._prefix, f"H:{os.uname().nodename}:".encode())
        self.assertGreater(JobServerService(Settings()).job_server._number, first)
        await self.serve(job_handle_prefix="here")
        peer = await self.connect()
        peer.says("SUBMIT_JOB f||w")
        self.assertRegex(await peer.hears(), r"^JOB_CREATED here:\d+$")


class StopTests(ServiceCase):
    """
    How a server ends.  That nothing of it is left in the reactor is held by every test here: trial looks.
    """

    def stored(self) -> list[tuple[bytes, bytes, int]]:
        """
        Handle, workload and attempts of each job in the database.
        """
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute("SELECT CAST(handle AS BLOB), data, attempts FROM gearman_queue ORDER BY rowid").fetchall()
        connection.close()
        return rows

    async def acknowledged(self, peer: Peer) -> list[bytes]:
        """
        The handles that a peer has been told of when its connection has ended.
        """
        created = await peer.ends()
        self.assertLessEqual({message.split()[0] for message in created}, {"JOB_CREATED"})
        return [message.split()[1].encode() for message in created]

    async def test_acknowledgements(self) -> None:
        """
        A client that submits a thousand durable jobs while the server is stopped gets an acknowledgement for those that are
        in the database afterwards, and for no others.
        """
        for turns in (0, 1, 2, 3, 5, 8):
            await self.start(self.durable())
            before = len(self.stored())
            peer = await self.connect()
            await peer.echoes()
            peer.says(*(f"SUBMIT_JOB_BG f||{number}" for number in range(1000)))
            await self.turns(turns)
            await self.service.stopService()
            handles = await self.acknowledged(peer)
            self.assertEqual(handles, [handle for handle, _, _ in self.stored()[before:]], f"after {turns} turns")
        self.assertGreaterEqual(len(self.stored()), 1000)

    async def test_slow_commit(self) -> None:
        """
        A commit under way when the server is stopped is waited for, its client is told, and only then is the store closed.
        """
        store = HandStore()
        store.committing = Deferred()
        await self.serve(store)
        peer = await self.connect()
        peer.says("SUBMIT_JOB_BG f||w", "ECHO_REQ after")
        await self.until(lambda: "commit" in store.calls)
        stopped = self.service.stopService()
        await self.turns(10)
        self.assertFalse(stopped.called)
        self.assertEqual((peer.received, peer.lost), (0, None))
        store.committing.callback(None)
        await stopped
        (created, echo) = await peer.ends()
        self.assertRegex(created, "^JOB_CREATED ")
        self.assertEqual(echo, "ECHO_RES after")
        self.assertEqual(store.calls, ["open", "replay", "commit", "close"])

    async def test_store_is_waited_for(self) -> None:
        """
        The service has stopped when its store is closed.
        """
        store = HandStore()
        store.closing = Deferred()
        await self.serve(store)
        stopped = self.service.stopService()
        await self.turns(10)
        self.assertFalse(stopped.called)
        store.closing.callback(None)
        await stopped

    async def test_during_replay(self) -> None:
        """
        A server that is stopped in the midst of the replay waits for it, serves nobody, and closes the store.
        """
        store = HandStore(Rows({job.handle: job for job in map(record, range(3))}))
        store.replaying = Deferred()
        service = self.service = self.make(store)
        service.startService()
        peer = await self.connect()
        peer.says("status\n")
        await self.until(lambda: bool(self.connections))
        stopped = service.stopService()
        await self.turns(10)
        self.assertFalse(stopped.called)
        store.replaying.callback(None)
        await stopped
        self.assertEqual(await peer.ends(), [])
        self.assertEqual((store.calls, len(store.rows)), (["open", "replay", "close"], 3))

    async def test_attempts(self) -> None:
        """
        That workers lose their connection because the server ends is no attempt at their jobs, foreground or background.
        """
        await self.start(self.durable())
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB_BG f|one|1", "SUBMIT_JOB_BG f|two|2", "SUBMIT_JOB f|one|1", "SUBMIT_JOB f|three|3")
        await client.hears_all(4)
        worker.says(*["GRAB_JOB"] * 3)
        await worker.hears_all(3)
        self.assertEqual(self.service.job_server.running, 3)
        await self.service.stopService()
        self.assertEqual([(workload, attempts) for _, workload, attempts in self.stored()], [(b"1", 0), (b"2", 0)])

    async def test_timers(self) -> None:
        """
        Jobs that wait for their time, jobs that have a time limit and workers that are to be woken leave nothing behind.
        """
        await self.start(self.durable())
        client, worker = await self.connect(), await self.connect()
        worker.says("CAN_DO_TIMEOUT f|100000", "CAN_DO g")
        client.says("SUBMIT_JOB_BG f||w", "SUBMIT_JOB_EPOCH f||9999999999|later", "show jobs\n")
        await client.hears_all(2)
        await client.hears_list()
        worker.says("GRAB_JOB", "PRE_SLEEP")
        await worker.hears()
        client.says("SUBMIT_JOB g||w", "SUBMIT_JOB g||v")
        await client.hears_all(2)
        await self.service.stopService()
        self.assertEqual([attempts for _, _, attempts in self.stored()], [0, 0])

    async def test_time_limit_during_the_end(self) -> None:
        """
        A job whose time runs out while the server ends is not handed to a store that is being closed.
        """
        store = HandStore()
        await self.serve(store)
        client, worker = await self.connect(), await self.connect()
        worker.says("CAN_DO_TIMEOUT f|1000", "GRAB_JOB")
        await worker.hears()
        client.says("SUBMIT_JOB_BG f||w")
        await client.hears()
        worker.says("GRAB_JOB")
        await worker.hears()
        (job,) = self.service.job_server.jobs.values()
        store.closing = Deferred()
        stopped = self.service.stopService()
        await self.until(lambda: "close" in store.calls)
        self.assertEqual(self.service.job_server._timeouts, {})
        store.closing.callback(None)
        await stopped
        self.assertEqual(job.attempts, 0)

    async def test_long_answers(self) -> None:
        """
        What waits for a peer that reads when the server is stopped is sent before its connection ends.
        """
        await self.serve()
        peer, ours = await self.connect_tight()
        peer.transport.pauseProducing()
        ours.dataReceived(b"\0REQ\0\0\0\x10\0\x10\0\0" + b"e" * 0x100000)
        self.assertTrue(ours._pulling)
        stopped = self.service.stopService()
        peer.transport.resumeProducing()
        await stopped
        self.assertEqual(await peer.ends(), ["ECHO_RES " + "e" * 0x100000])

    async def test_who_does_not_read(self) -> None:
        """
        A peer that does not read does not keep the server from ending.
        """
        await self.serve()
        self.patch(gearsvc.service, "GOODBYE", 0.05)
        peer, ours = await self.connect_tight()
        peer.transport.pauseProducing()
        ours.dataReceived(b"\0REQ\0\0\0\x10\0\x10\0\0" + b"e" * 0x100000)
        await self.service.stopService()
        self.assertEqual(self.connections, set())

    async def test_in_every_state(self) -> None:
        """
        Peers in whatever state have their connections closed: idle, in the midst of a packet, after a bad one.
        """
        await self.serve()
        idle, half, bad, asleep = [await self.connect() for _ in range(4)]
        half.transport.write(b"\0REQ")
        bad.transport.write(b"\0BAD" * 3)
        asleep.says("CAN_DO f", "PRE_SLEEP", "ECHO_REQ x")
        self.assertEqual(await asleep.hears(), "ECHO_RES x")
        self.assertRegex(await bad.hears(), "^ERROR")
        await self.service.stopService()
        for peer in (idle, half, bad, asleep):
            self.assertEqual(await peer.ends(), [])
        self.assertEqual(self.service.ports, [])
        self.assertEqual(self.logged(), [])

    async def test_descriptors(self) -> None:
        """
        A server that has stopped has nothing open.
        """
        before = open_descriptors()
        await self.start(self.durable())
        peer = await self.connect()
        peer.says("SUBMIT_JOB_BG f||w")
        await peer.hears()
        await self.service.stopService()
        await peer.ends()
        await self.turns()
        self.assertEqual(open_descriptors(), before)

    async def test_store_on_shutdown(self) -> None:
        """
        With --store-queue-on-shutdown jobs are stored as the server stops.
        """
        await self.start(self.durable(plugin_options={"store-queue-on-shutdown": True}))
        peer = await self.connect()
        peer.says("SUBMIT_JOB_BG f||1", "SUBMIT_JOB f||2", "SUBMIT_JOB_BG f||3")
        await peer.hears_all(3)
        self.assertEqual(self.stored(), [])
        await self.service.stopService()
        self.assertEqual([workload for _, workload, _ in self.stored()], [b"1", b"3"])


class DrainTests(ServiceCase):
    """
    The graceful way to end.
    """

    async def test_drain(self) -> None:
        """
        The ports are closed, nothing new is handed out, what runs is finished and delivered; what was queued stays stored.
        """
        await self.start(self.durable())
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB f||running", "SUBMIT_JOB_BG f||ran", "SUBMIT_JOB_BG f||queued")
        handles = [message.split()[1] for message in await client.hears_all(3)]
        worker.says("GRAB_JOB", "GRAB_JOB")
        await worker.hears_all(2)
        number = self.service.ports[0].getHost().port
        drained = self.service.drain(100)
        await self.turns()
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", number), 5)
        worker.says("GRAB_JOB")
        self.assertEqual(await worker.hears(), "NO_JOB")
        client.says("SUBMIT_JOB_BG f||late")
        await client.hears()
        worker.says(f"WORK_COMPLETE {handles[0]}|result")
        self.assertEqual(await client.hears(), f"WORK_COMPLETE {handles[0]}|result")
        self.assertFalse(drained.called)
        worker.says(f"WORK_COMPLETE {handles[1]}|")
        # Stopped as soon as that can be.
        await drained.addCallback(lambda _: self.service.stopService())
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute("SELECT data FROM gearman_queue ORDER BY rowid").fetchall()
        connection.close()
        self.assertEqual(rows, [(b"queued",), (b"late",)])

    async def test_result_before_the_end(self) -> None:
        """
        A server that is stopped in the very callback of drain has delivered the last result.
        """
        await self.serve()
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB f||w")
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB")
        await worker.hears()
        stopped = self.service.drain(100).addCallback(lambda _: self.service.stopService())
        await self.turns()
        worker.says(f"WORK_COMPLETE {handle}|" + "r" * 100_000)
        await stopped
        self.assertEqual(await client.ends(), [f"WORK_COMPLETE {handle}|" + "r" * 100_000])

    async def test_nothing_runs(self) -> None:
        """
        Where nothing runs, there is nothing to wait for.
        """
        await self.serve()
        await self.service.drain(100)
        self.assertEqual(self.service.ports, [])

    async def running(self) -> Peer:
        """
        A worker with a job.
        """
        await self.serve()
        worker = await self.worker("f")
        worker.says("SUBMIT_JOB_BG f||w", "GRAB_JOB")
        await worker.hears_all(2)
        return worker

    async def test_deadline(self) -> None:
        """
        When the time is over nobody is waited for any more, and the log says for how many.
        """
        logs.set_verbosity("WARNING")
        worker = await self.running()
        await self.service.drain(0.01)
        self.assertEqual(self.logged(), ["1 jobs still run after 0.01 s: not waiting for them"])
        await worker.echoes()

    async def test_worker_lost(self) -> None:
        """
        A job whose worker goes does not run any more, and is not handed out again.
        """
        worker = await self.running()
        other = await self.worker("f")
        drained = self.service.drain(100)
        worker.hangs_up()
        await drained
        other.says("GRAB_JOB")
        self.assertEqual(await other.hears(), "NO_JOB")

    async def test_stopped_before(self) -> None:
        """
        A server that is stopped while it drains leaves nobody waiting, however often it was asked to.
        """
        await self.running()
        drains = [self.service.drain(100), self.service.drain(100)]
        await self.turns()
        await self.service.stopService()
        for drained in drains:
            await drained


class ObserverTests(ServiceCase):
    """
    What hears of jobs.
    """

    async def test_events(self) -> None:
        """
        An observer of a running server hears of workers and jobs as it happens.
        """
        await self.serve()
        observer = Recorder()
        self.service.job_server.observers = (observer,)
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB f||w")
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_STATUS {handle}|1|2", f"WORK_COMPLETE {handle}|")
        await client.hears_all(2)
        worker.hangs_up()
        await self.until(lambda: len(self.connections) == 1)
        self.assertEqual(
            observer.takes(),
            [
                "worker_joined f",
                f"job_submitted {handle}",
                f"job_started {handle}",
                f"job_progressed {handle} 1 2",
                f"job_completed {handle}",
                "worker_left f",
            ],
        )


class ClockTests(ServiceCase):
    """
    The reactor's time, as the core wants it.
    """

    def test_reactor_clock(self) -> None:
        """
        Calls come when they are due, with their arguments, unless they were cancelled.
        """
        reactor = Clock()
        clock = ReactorClock(reactor)
        called: list[str] = []
        clock.call_later(2, called.append, "late")
        clock.call_later(1, called.append, "early")
        clock.call_later(1, called.append, "never").cancel()
        clock.call_later(0, called.append, "now")
        self.assertEqual(called, [])
        for expected in (["now"], ["now", "early"], ["now", "early", "late"]):
            self.assertEqual(called, expected[:-1])
            reactor.advance(0 if expected == ["now"] else 1)
            self.assertEqual(called, expected)
        self.assertGreater(clock.time(), 1_700_000_000)
