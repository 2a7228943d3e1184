"""
Tests for L{gearsvc.stores.memcachedclient} and L{gearsvc.stores.memcachedlease}: addresses, what servers say that is not
what they should, and who owns a queue.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.interfaces import StoreError
from gearsvc.stores import memcachedclient, memcachedlease, ownership
from gearsvc.stores.memcachedclient import Address, Servers, libmemcached_hash, parse_addresses
from gearsvc.stores.memcachedconnection import Commands
from gearsvc.stores.memcachedlease import Lease
from gearsvc.testing import sleep
from tests.running import HOST, free_port
from tests.servers import Memcached
from tests.stores.memcacheds import ask, put, take
from tests.stores.test_memcached import value_of_the_dead

LONGER_THAN_A_TEST = 1000
"""
Seconds that nobody waits.
"""


class AddressTests(SynchronousTestCase):
    """
    The list of servers.
    """

    def test_forms(self) -> None:
        """
        What libmemcached takes is taken: names, addresses, ports or none, weights, sockets.
        """
        for text, addresses in [
            ("127.0.0.1:11211", [("127.0.0.1", 11211)]),
            ("memcached", [("memcached", 11211)]),
            ("one, two:11212", [("one", 11211), ("two", 11212)]),
            ("one:0", [("one", 11211)]),
            ("one:11212:5", [("one", 11212)]),
            ("[::1]:11212,[fe80::1]", [("::1", 11212), ("fe80::1", 11211)]),
            ("/run/memcached.sock", [("/run/memcached.sock", 0)]),
        ]:
            self.assertEqual(parse_addresses(text), tuple(Address(*each) for each in addresses), text)

    def test_wrong(self) -> None:
        """
        What would be a server of a strange name to libmemcached is refused, and the text says what is wrong.
        """
        for text in ("", "one,", "one two", "one:port", "one:65536", "::1", "[::1", "--SERVER=one", "one;two", "[one]"):
            with self.assertRaisesRegex(ValueError, "must be servers such as 127.0.0.1:11211"):
                parse_addresses(text)

    def test_shown(self) -> None:
        """
        An address is shown as it is written.
        """
        self.assertEqual([str(each) for each in parse_addresses("[::1]:1,a,/b")], ["[::1]:1", "a:11211", "/b"])

    def test_hash(self) -> None:
        """
        The server of a key is that of libmemcached, bytes beyond ASCII included.  (These numbers are libmemcached's own.)
        """
        self.assertEqual(
            [libmemcached_hash(key) for key in (b"", b"a", b"gear_resize-u1", b"gear_\xff\xfe-")], HASHES
        )


HASHES = [0, 0xCA2E9442, 0xF01E3BBA, 0xB9ABEEC4]


class ServersCase(TestCase):
    """
    A test that connects to servers.
    """

    def connect(self, *ports: int) -> Servers:
        """
        @return: servers; their connections end with the test.
        """
        servers = Servers([Address(HOST, port) for port in ports], reactor)
        self.addCleanup(servers.close)
        return servers

    async def assert_fails(self, work: Any, *words: str) -> StoreError:
        """
        Hold that something fails with one line that has these words.
        """
        try:
            await work
        except StoreError as error:
            self.assertNotIn("\n", str(error))
            for word in words:
                self.assertIn(word, str(error))
            return error
        self.fail("it did not fail")


class ServersTests(ServersCase):
    """
    What servers do and say.
    """

    def answer(self, *texts: bytes) -> int:
        """
        Be a server that says one thing.

        @param texts: the pieces in which it says that.
        @return: its port.
        """
        listener = socket.create_server((HOST, 0))
        self.addCleanup(listener.close)

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for text in texts:
                connection.sendall(text)
                time.sleep(0.02)
            # Until the other end is gone.
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(1000):
                    pass
            connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 5)
        port: int = listener.getsockname()[1]
        return port

    async def test_refused(self) -> None:
        """
        Where nothing listens, the error says where, and that it may help to wait; the servers that could be reached are not
        kept.
        """
        port = free_port()
        servers = self.connect(Memcached.shared().port, port)
        error = await self.assert_fails(servers.connect(), f"memcached at {HOST}:{port} cannot be reached", "refused")
        self.assertTrue(error.unreachable)
        self.assertFalse(servers.connected)

    async def test_not_memcached(self) -> None:
        """
        What is no memcached is said so, with what it said, and without a traceback in the log.
        """
        for text in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", b"END of it\r\n", b"x" * 20_000, b"5\r\n"):
            port = self.answer(text)
            servers = self.connect(port)
            await servers.connect()
            error = await self.assert_fails(servers.ask((0, lambda connection: connection.stats())), f"{HOST}:{port}")
            self.assertFalse(error.unreachable)
            self.assertEqual(self.flushLoggedErrors(), [])

    async def test_password(self) -> None:
        """
        A server that wants a password says so.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".users") as users:
            users.write("user:secret\n")
            users.flush()
            os.chmod(users.name, 0o644)
            server = Memcached("-Y", users.name)
            self.addCleanup(server.end)
            server.start()
            servers = self.connect(server.port)
            await servers.connect()
            error = await self.assert_fails(servers.ask((0, lambda connection: connection.stats())), "unauthenticated")
            self.assertFalse(error.unreachable)

    async def test_socket(self) -> None:
        """
        A Unix socket will do.
        """
        path = Path(tempfile.mkdtemp(prefix="gearsvc-")) / "socket"
        path.parent.chmod(0o777)
        process = subprocess.Popen(["memcached", "-s", str(path), "-a", "777", "-u", "memcache"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        while not path.exists():
            await sleep(0.01)
        servers = Servers(parse_addresses(str(path)), reactor)
        self.addCleanup(servers.close)
        await servers.connect()
        commands = Commands()
        commands.add(b"set key 7 0 1\r\nx\r\n")
        self.assertEqual(await servers.exchange([commands]), [[b"STORED"]])
        self.assertEqual(await servers.values([b"key", b"none"]), {b"key": (7, b"x")})

    async def test_silence(self) -> None:
        """
        A server that says nothing is given up after a while, and so is its connection; what it did is uncertain.
        """
        self.patch(memcachedclient, "COMMIT_SECONDS", 0.3)
        server = Memcached()
        self.addCleanup(server.end)
        server.start()
        servers = self.connect(server.port)
        await servers.connect()
        server.pause()
        error = await self.assert_fails(servers.values([b"key"]), "has not answered for 0.3 seconds")
        self.assertTrue(error.uncertain)
        self.assertFalse(servers.connected)

    async def test_pieces(self) -> None:
        """
        Answers may arrive in any pieces: values that look like ends of answers, empty and large ones, answers behind one
        another.
        """
        server = Memcached.shared()
        values = {b"%d" % number: text for number, text in enumerate([b"", b"END\r\n", b"VALUE 1 1 1\r\n", b"x" * 300_000, b"\r"])}
        for key, value in values.items():
            put(server.port, b"pieces" + key, value, flags=int(key))
        servers = self.connect(server.port)
        await servers.connect()
        keys = [b"pieces" + key for key in values]
        expected = {b"pieces" + key: (int(key), value) for key, value in values.items()}
        connection = servers.connections[0]
        receive = connection.dataReceived
        for size in (1, 7, 100_000):

            def receive_in_pieces(data: bytes) -> None:
                for start in range(0, len(data), size):
                    receive(data[start : start + size])

            connection.dataReceived = receive_in_pieces
            if size == 1:
                large = expected.pop(b"pieces3")
            self.assertEqual(await servers.values([key for key in keys if key in expected]), expected)
            if size == 1:
                expected[b"pieces3"] = large
            commands = Commands()
            where = commands.extend([b"delete none\r\n", b"touch none 0\r\n"], 2)
            both = [connection.exchange(commands), connection.get(b"pieces1"), connection.values([b"pieces0"])]
            answers: list[Any] = [await each for each in both]
            self.assertEqual(answers[0][where], [b"NOT_FOUND", b"NOT_FOUND"])
            self.assertEqual(answers[1:], [(1, b"END\r\n"), {b"pieces0": (0, b"")}])


    async def test_usual_answers(self) -> None:
        """
        Who expects an answer hears whether it is that one, in whichever pieces it comes, and which it is otherwise; and
        hears of an end.
        """
        usual = b"STORED\r\nSTORED\r\n"
        for pieces, heard in [
            ((usual,), None),
            ((b"STORED\r\nSTO", b"RED\r\n"), None),
            ((b"STORED\r\nNOT_STORED\r\n",), [b"STORED", b"NOT_STORED"]),
            ((b"STORED\r\nNOT_", b"STORED\r\n"), [b"STORED", b"NOT_STORED"]),
        ]:
            servers = self.connect(self.answer(*pieces))
            await servers.connect()
            connection = servers.only
            assert connection is not None
            self.assertTrue(connection.quiet)
            commands = b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\n"
            outcome: Deferred[Any] = Deferred()
            connection.exchange_for(commands, usual, outcome.callback)
            self.assertFalse(connection.quiet)
            self.assertEqual(await outcome, heard)
            self.assertTrue(connection.quiet)
            # Now nothing is answered any more.
            outcome = Deferred()
            connection.exchange_for(commands, usual, outcome.callback)
            connection.abort()
            with self.assertRaises(ConnectionAborted):
                await outcome


class LeaseTests(ServersCase):
    """
    The right to use a queue.
    """

    key = b"test_lease"

    def setUp(self) -> None:
        """
        Remove it, and let it be renewed sooner.
        """
        self.port = Memcached.shared().port
        ask(self.port, b"delete ", self.key)
        self.patch(memcachedlease, "LEASE_SECONDS", 2)

    async def lease(self) -> Lease:
        """
        @return: a server's lease, not yet taken.
        """
        servers = self.connect(self.port)
        await servers.connect()
        return Lease(self.key, servers, reactor)

    async def test_taken(self) -> None:
        """
        Another server of this machine is refused at once, and told which the first is; once that has given the lease back, it
        can be taken.
        """
        first, second = await self.lease(), await self.lease()
        await first.take()
        self.patch(memcachedlease, "LOOK_SECONDS", LONGER_THAN_A_TEST)
        error = await self.assert_fails(second.take(), "in use by another server", f"process {os.getpid()} on")
        self.assertFalse(error.unreachable)
        await second.release()
        await first.renew()
        await first.release()
        await second.take()

    async def test_runs_out(self) -> None:
        """
        What is not renewed runs out.
        """
        first, second = await self.lease(), await self.lease()
        await first.take()
        await sleep(3.1)
        await second.take()
        await self.assert_fails(first.renew(), "was taken over by another server", f"process {os.getpid()} on")
        await second.release()
        # It is not known what the other has done meanwhile.
        await self.assert_fails(first.renew(), "was taken over")

    async def test_lost(self) -> None:
        """
        A lease that memcached has lost is taken again.
        """
        first, second = await self.lease(), await self.lease()
        await first.take()
        ask(self.port, b"delete ", self.key)
        await first.renew()
        await self.assert_fails(second.take(), "in use by another server")

    async def test_dead(self) -> None:
        """
        The lease of a process of this machine that is gone is taken at once; also if another process has its number now.
        """
        self.patch(memcachedlease, "LOOK_SECONDS", LONGER_THAN_A_TEST)
        mine = f"word 7 {ownership.this_machine()} {os.getpid()} 123 somebody"
        for value in (value_of_the_dead(), mine.encode()):
            put(self.port, self.key, value)
            lease = await self.lease()
            await lease.take()
            self.assertIn(b" process %d on " % os.getpid(), take(self.port, self.key)[1])

    async def test_elsewhere(self) -> None:
        """
        The lease of another machine's process is waited for, as long as it may take to run out; it is refused as soon as that
        process is seen to live.
        """
        lease = await self.lease()
        value = b"word %d elsewhere 1 123 process 1 on elsewhere"
        began = time.monotonic()
        put(self.port, self.key, value % 1)
        await self.assert_fails(lease.take(), "process 1 on elsewhere")
        self.assertGreater(time.monotonic() - began, 2)
        self.patch(memcachedlease, "LEASE_SECONDS", LONGER_THAN_A_TEST)
        taking = Deferred.fromCoroutine(lease.take())
        await sleep(0.1)
        put(self.port, self.key, value % 2)
        await self.assert_fails(taking, "process 1 on elsewhere")
        taking = Deferred.fromCoroutine(lease.take())
        await sleep(0.1)
        ask(self.port, b"delete ", self.key)
        await taking

    async def test_strange(self) -> None:
        """
        Something that is no lease is somebody's.
        """
        put(self.port, self.key, b"nonsense")
        await self.assert_fails((await self.lease()).take(), "in use by another server, which can't be told")

    async def test_stale(self) -> None:
        """
        A lease that was not renewed for a while has to be, before anything is done.
        """
        self.patch(memcachedlease, "LEASE_SECONDS", 4)
        lease = await self.lease()
        self.assertTrue(lease.stale)
        await lease.take()
        self.assertFalse(lease.stale)
        self.patch(memcachedlease, "RENEW_SECONDS", 2)
        self.assertTrue(lease.stale)


class ProcessTests(SynchronousTestCase):
    """
    Whether a process is there.
    """

    def test_running(self) -> None:
        """
        A process is known by its number and its start.
        """
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        start = ownership.start_of(child.pid)
        self.assertTrue(ownership.is_running(child.pid, start))
        self.assertFalse(ownership.is_running(child.pid, "123"))
        child.communicate(b"\n")
        self.assertFalse(ownership.is_running(child.pid, start))
        self.assertEqual(ownership.start_of(child.pid), "-")
