"""
What a server in a process of its own does when its peers, or its machine, do not behave.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
import socket
import sqlite3
import struct
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import RESPONSE
from gearsvc.core.wire import PacketDecoder
from tests.core.case import readable, wire_form
from tests.running import PATIENCE, RunningServer, start_server, wait_until

MEGABYTE = 1024 * 1024


class Peer:
    """
    A connection that does what its test says and nothing else.

    @ivar socket: its socket.
    @ivar heard: what has come and was not asked for yet.
    """

    def __init__(self, server: RunningServer) -> None:
        self.socket = server.connect()
        self.heard: list[str] = []
        self._decoder = PacketDecoder(magic=RESPONSE)

    def says(self, *messages: str) -> None:
        """
        Send messages.
        """
        self.socket.sendall(b"".join(map(wire_form, messages)))

    def hears(self) -> str:
        """
        Wait for a message.

        @raise ConnectionError: if the server has closed the connection.
        """
        while not self.heard:
            if not self._read():
                raise ConnectionError("the server has closed the connection")
        return self.heard.pop(0)

    def has_heard(self) -> bool:
        """
        Whether anything has come, or the connection has ended.
        """
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(self.heard or poll.poll(0))

    def hears_to_the_end(self) -> list[str]:
        """
        Read until the server has closed the connection.
        """
        while self._read():
            pass
        return self.heard

    def _read(self) -> bool:
        data = self.socket.recv(MEGABYTE)
        self.heard += map(readable, self._decoder.feed(data))
        return bool(data)

    def echoes(self) -> None:
        """
        Return once the server has handled everything.
        """
        self.says("ECHO_REQ are you there?")
        assert self.hears() == "ECHO_RES are you there?"

    def floods(self, data: bytes) -> int:
        """
        Send, without reading, until the server takes nothing for a second.

        @return: how many bytes were sent; less than all of them if the server has stopped reading.
        """
        sent = 0
        self.socket.setblocking(False)
        while sent < len(data) and select.select([], [self.socket], [], 1)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += self.socket.send(memoryview(data)[sent : sent + MEGABYTE])
        self.socket.settimeout(PATIENCE)
        return sent

    def vanishes(self) -> None:
        """
        Reset the connection.
        """
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class FaultCase(SynchronousTestCase):
    """
    A test with a server of its own.
    """

    def serve(self, *options: str) -> RunningServer:
        """
        Start a server.
        """
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        server = start_server(*options, directory=self.directory, kind="gearsvc")
        self.addCleanup(lambda: server.running and server.kill())
        self.server = server
        return server

    def connect(self) -> Peer:
        """
        A new connection.
        """
        peer = Peer(self.server)
        self.addCleanup(peer.socket.close)
        return peer

    def memory(self) -> int:
        """
        How many bytes of memory the server has.
        """
        pages = Path(f"/proc/{self.server.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def processor_time(self) -> float:
        """
        How many seconds of a processor the server has used.
        """
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def assert_clean_log(self) -> None:
        """
        Hold that no mistake of the program's is in the log.
        """
        for sign in ("Traceback", "Unhandled", "Unexpected"):
            self.assertNotIn(sign, self.server.log)


class SlowReaderTests(FaultCase):
    """
    Peers that do not read.
    """

    def test_flood(self) -> None:
        """
        A peer that sends and never reads is not read from without end, costs little memory, and disturbs nobody.
        """
        self.serve()
        before = self.memory()
        packet = wire_form("ECHO_REQ " + "e" * 100_000)
        flood = packet * 2000
        peers = [self.connect() for _ in range(3)]
        for peer in peers:
            self.assertLess(peer.floods(flood), len(flood) // 2)
            self.server.admin("version")
        self.assertLess(self.memory() - before, 48 * MEGABYTE)
        for peer in peers:
            peer.vanishes()
        wait_until(lambda: self.server.admin("workers").count(b"\n") == 2, "the connections are gone")
        self.assert_clean_log()

    def test_overflow(self) -> None:
        """
        A client that does not read its results is cut off past --max-output, which one line of the log tells; the worker
        goes on, and so do others.
        """
        self.serve("--max-output", "1M")
        client, worker = self.connect(), self.connect()
        number = 300
        client.says(*(f"SUBMIT_JOB f||{count}" for count in range(number)))
        for _ in range(number):
            client.hears()
        worker.says("CAN_DO f")
        for count in range(number):
            worker.says("GRAB_JOB")
            assigned = worker.hears()
            if assigned == "NO_JOB":
                break
            worker.says(f"WORK_COMPLETE {assigned.split()[1].split('|')[0]}|" + "r" * 100_000)
        worker.echoes()
        self.assertEqual(self.server.log.count("it does not read"), 1)
        self.assertIn("--max-output is 1048576", self.server.log)
        self.assertEqual(self.server.status("f"), (0, 0, 1))
        with self.assertRaises(ConnectionError):
            for _ in range(number):
                client.hears()
        self.connect().echoes()
        self.assert_clean_log()

    def test_lists(self) -> None:
        """
        Thousands of lists of 100,000 jobs, for peers that do not read, cost little memory and stop nobody.
        """
        self.serve()
        submitter = self.connect()
        for _ in range(100):
            submitter.says(*["SUBMIT_JOB_BG f||w"] * 1000)
            for _ in range(1000):
                submitter.hears()
        before = self.memory()
        peers = [self.connect() for _ in range(5)]
        for peer in peers:
            peer.says(*["show jobs\n"] * 1000)
            submitter.echoes()
        self.assertLess(self.memory() - before, 48 * MEGABYTE)
        patient = self.connect()
        patient.says("show jobs\n", "show unique jobs\n")
        lines = [patient.hears() for _ in range(100_001)]
        self.assertEqual((len(set(lines)), lines[-1]), (100_001, ".\n"))
        self.assertEqual([patient.hears() for _ in range(100_001)], ["\n"] * 100_000 + [".\n"])
        self.assert_clean_log()


class HostileTests(FaultCase):
    """
    Peers that send what they should not, or go when they should not.
    """

    def test_error_arrives(self) -> None:
        """
        Who sends garbage without end gets the ERROR, and an orderly end, though much of the garbage was never looked at.
        """
        self.serve()
        for size in (0, 1000, MEGABYTE):
            peer = self.connect()
            peer.socket.sendall(b"\0BAD" + b"garbage!" + b"g" * size)
            self.assertEqual(peer.hears_to_the_end(), ["ERROR INVALID_MAGIC|Request magic expected"])

    def test_vanishing(self) -> None:
        """
        Peers that vanish in the middle of whatever they do leave nothing behind: no traceback, no job, no worker.
        """
        self.serve("-q", "libsqlite3", "--libsqlite3-db", "queue.db", "--wakeup-delay", "0.01")
        seed = random.SystemRandom().randrange(1 << 32)
        dice = random.Random(seed)
        messages = [
            "CAN_DO f",
            "CAN_DO_TIMEOUT f|1000",
            "PRE_SLEEP",
            "GRAB_JOB",
            "GRAB_JOB_ALL",
            "SUBMIT_JOB f|u|w",
            "SUBMIT_JOB f||" + "w" * 100_000,
            "SUBMIT_JOB f|-|same",
            "SUBMIT_JOB no data",
            "SET_CLIENT_ID x",
            "ECHO_REQ " + "e" * 50_000,
            "status\n",
            "workers\n",
            "show jobs\n",
            "\n",
        ]
        peers: list[Peer] = []
        for _ in range(600):
            peer = self.connect() if len(peers) < 20 or dice.random() < 0.3 else dice.choice(peers)
            if peer not in peers:
                peers.append(peer)
            data = b"".join(wire_form(dice.choice(messages)) for _ in range(dice.randrange(1, 6)))
            if dice.random() < 0.05:
                data += b"a line without an end"
            with contextlib.suppress(OSError):
                peer.socket.settimeout(0.2)
                peer.socket.sendall(data[: dice.randrange(len(data) + 1)] if dice.random() < 0.3 else data)
            if dice.random() < 0.3:
                peers.remove(peer)
                peer.vanishes()
        for peer in peers:
            peer.vanishes()
        wait_until(lambda: self.server.admin("workers").count(b"\n") == 2, f"all connections are gone (seed {seed})")
        self.assertEqual(self.server.status("f"), (0, 0, 0), f"seed {seed}")
        self.assertEqual(self.server.admin("show jobs"), b".\n", f"seed {seed}")
        self.assert_clean_log()
        self.assertEqual(self.server.stop(), 0)


class DescriptorTests(FaultCase):
    """
    A process that may have few file descriptors.
    """

    def served(self, peers: list[Peer]) -> list[Peer]:
        """
        Those that have been answered.
        """
        return [peer for peer in peers if peer.has_heard()]

    def let_in(self, waiting: list[Peer]) -> list[Peer]:
        """
        Wait until some of those that wait are answered, and take them out.
        """
        wait_until(lambda: bool(self.served(waiting)), "others are let in")
        served = self.served(waiting)
        for peer in served:
            self.assertEqual(peer.hears(), "ECHO_RES x")
            waiting.remove(peer)
        return served

    def test_exhaustion(self) -> None:
        """
        Of more connections than there are descriptors those that fit are served and the others wait, which one line in the log
        tells; the server does not spin; and for each that leaves, another one is let in.
        """
        self.serve("--file-descriptors", "100")
        waiting = [self.connect() for _ in range(150)]
        for peer in waiting:
            peer.says("ECHO_REQ x")
        wait_until(lambda: "no file descriptors are left" in self.server.log, "the log says so")
        inside: list[Peer] = []
        most = int(re.search(r"more connections than (\d+)", self.server.log)[1])  # type: ignore[index]
        while len(inside) < most - 1:
            inside += self.let_in(waiting)
        self.assertLess(len(inside), 90)
        used = self.processor_time()
        time.sleep(1)
        self.assertLess(self.processor_time() - used, 0.5)
        for peer in inside:
            peer.echoes()

        while len(inside) >= most:
            # Some more were let in before accepting could be stopped.
            inside.pop(0).socket.close()
        inside += self.let_in(waiting)
        for _ in range(40):
            inside.pop(0).socket.close()
            inside += self.let_in(waiting)
        self.assertEqual(self.server.log.count("no file descriptors are left"), 1)
        while waiting:
            for peer in inside:
                peer.echoes()
                peer.socket.close()
            inside = self.let_in(waiting)
        self.assert_clean_log()
        self.connect().echoes()


    def test_burst(self) -> None:
        """
        However many connections come at once, none is accepted only to be dropped.
        """
        self.serve("--file-descriptors", "600")
        os.kill(self.server.pid, signal.SIGSTOP)
        waiting = [self.connect() for _ in range(700)]
        for peer in waiting:
            peer.says("ECHO_REQ x")
        os.kill(self.server.pid, signal.SIGCONT)
        while waiting:
            for peer in self.let_in(waiting):
                peer.socket.close()
        self.assertNotIn("EMFILE", self.server.log)


class EndTests(FaultCase):
    """
    A server that is asked to end.
    """

    def test_acknowledgements(self) -> None:
        """
        A client that has sent a thousand durable submissions when the server gets SIGTERM has acknowledgements for exactly
        those that are in the database afterwards.
        """
        server = self.serve("-q", "libsqlite3", "--libsqlite3-db", "queue.db")
        told: list[bytes] = []
        for delay in (0, 0.001, 0.005, 0.02, 0.1):
            peer = self.connect()
            peer.echoes()
            peer.says(*["SUBMIT_JOB_BG f||w"] * 1000)
            time.sleep(delay)
            self.assertEqual(server.stop(), 0)
            created = peer.hears_to_the_end()
            self.assertLessEqual({message.split()[0] for message in created}, {"JOB_CREATED"})
            told += [message.split()[1].encode() for message in created]
            with contextlib.closing(sqlite3.connect(self.directory / "queue.db")) as database:
                rows = database.execute("SELECT CAST(handle AS BLOB) FROM gearman_queue ORDER BY rowid").fetchall()
            self.assertEqual(told, [handle for (handle,) in rows], f"after {delay} s")
            server.start()
        self.assert_clean_log()


class LogTests(FaultCase):
    """
    What is in the log of a server at work.
    """

    def work(self) -> None:
        """
        A job, by connections of its own.
        """
        client, worker = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|secret workload")
        handle = client.hears().split()[1]
        worker.says("CAN_DO f", "GRAB_JOB")
        worker.hears()
        worker.says(f"WORK_DATA {handle}|secret data", f"WORK_COMPLETE {handle}|secret result")
        client.hears()
        client.hears()
        client.socket.close()
        worker.vanishes()
        wait_until(lambda: self.server.admin("workers").count(b"\n") == 2, "the connections are gone")

    def test_silent(self) -> None:
        """
        At the default level neither connections nor jobs leave anything in the log.
        """
        self.serve()
        before = self.server.log
        self.work()
        self.assertEqual(self.server.log, before)

    def test_debug(self) -> None:
        """
        With --verbose DEBUG the log names packets, and holds no workload.
        """
        self.serve("--verbose", "DEBUG")
        self.work()
        for name in ("SUBMIT_JOB", "CAN_DO", "GRAB_JOB", "WORK_DATA", "WORK_COMPLETE", "a text line"):
            self.assertIn(f"sent {name}, ", self.server.log)
        self.assertNotIn("secret", self.server.log)
