"""
From gearmand to gearsvc and back, on one store: the tests that hold for every
store that Debian's gearmand has, with the real gearmand.

Mix L{Takeover} into a test case that says how the two are told of the store,
and what gearmand itself does not manage with it.
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gearsvc.core.packets import Type
from gearsvc.stores.batching import LINGER
from tests.consoleweb.remote import RemoteConsole
from tests.running import RunningServer, start_server

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    # Not a test case itself: test runners would run it where it is imported.
    Base = object


def let_removals_go() -> None:
    """
    Let the time pass for which removals wait for each other: what is submitted next is not stored before they are made.
    """
    time.sleep(2 * LINGER)


class Refused(Exception):
    """
    The server answered a submission with an error, which is the argument.
    """


class Peer:
    """
    A client and worker that knows just enough of the protocol.
    """

    def __init__(self, server: RunningServer) -> None:
        self.connection = server.connect()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.connection.makefile("rb")

    def send(self, kind: int, *arguments: bytes) -> None:
        """
        Send one packet.
        """
        body = b"\0".join(arguments)
        self.connection.sendall(struct.pack(">4sII", b"\0REQ", kind, len(body)) + body)

    def receive(self) -> tuple[int, bytes]:
        """
        @return: the type and the body of the next packet.
        """
        _, kind, size = struct.unpack(">4sII", self.answers.read(12))
        return kind, self.answers.read(size)

    def submit(self, kind: int, *arguments: bytes) -> bytes:
        """
        Submit a job.

        @return: its handle.
        @raise Refused: if the server refuses it.
        """
        self.send(kind, *arguments)
        answer, body = self.receive()
        if answer != Type.JOB_CREATED:
            raise Refused(body)
        return body

    def drain(self, *functions: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """
        Do all the jobs that there are now.

        @return: function, unique id and workload of each.
        """
        done: list[tuple[bytes, bytes, bytes]] = []
        for function in functions:
            self.send(Type.CAN_DO, function)
        while True:
            self.send(Type.GRAB_JOB_UNIQ)
            kind, body = self.receive()
            if kind == Type.NO_JOB:
                return done
            assert kind == Type.JOB_ASSIGN_UNIQ, (kind, body)
            handle, function, unique, workload = body.split(b"\0", 3)
            done.append((function, unique, workload))
            self.send(Type.WORK_COMPLETE, handle, b"")

    def close(self) -> None:
        """
        Hang up.
        """
        self.answers.close()
        self.connection.close()


class Takeover(Base):
    """
    gearmand stores jobs and is killed, and we go on with them; and the other way round.

    @cvar epochs: whether gearmand stores SUBMIT_JOB_EPOCH with this store.
    @cvar replays_epochs: whether gearmand's replay gives a job back with its time.
    @cvar replays_priorities: whether it gives a job back with its priority.
    @cvar odd_bytes: whether gearmand stores function names and unique ids that are not UTF-8 with this store, and
        replays them.
    @cvar odd_workloads: whether its replay gives a workload with NUL back whole.
    @cvar pause_shown: a pattern of what its C{status} shows, line by line and sorted, with the record of our pause.
    @cvar empty_workloads: whether it replays a job without a workload, and starts at all with one.
    """

    epochs = True
    replays_epochs = True
    replays_priorities = True
    odd_bytes = True
    odd_workloads = True
    empty_workloads = True
    # In C, a name ends at its NUL.
    pause_shown = rb"\A\t1\t0\t0\n\.\nresize\t0\t0\t1\Z"

    def store_options(self, kind: str) -> list[str]:
        """
        @param kind: C{"gearmand"} or C{"gearsvc"}.
        @return: what tells that server of this test's store.
        """
        raise NotImplementedError

    def server(self, kind: str, *options: str) -> tuple[RunningServer, Peer]:
        """
        @param options: further options.
        @return: a server that runs on this test's store, and a connection to it.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, directory)
        server = start_server(*self.store_options(kind), *options, directory=directory, kind=kind)
        self.addCleanup(lambda: server.running and server.kill())
        peer = Peer(server)
        self.addCleanup(peer.close)
        return server, peer

    def test_from_gearmand(self) -> None:
        """
        Jobs of all priorities that gearmand stored before it was killed run with us: with their unique ids, workloads and
        times, by priority, each once; and are gone from the store then.  (Of several jobs without a unique id gearmand
        itself keeps one at most.)
        """
        server, client = self.server("gearmand")
        client.submit(Type.SUBMIT_JOB_LOW_BG, b"resize", b"low", b"one\0\xff\n")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"normal", b"two")
        client.submit(Type.SUBMIT_JOB_HIGH_BG, b"resize", b"high", b"three")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"four")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"empty", b"")
        client.submit(Type.SUBMIT_JOB_BG, b"rotate", b"normal", b"five")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"u" * 63, b"six")
        expected = [
            (b"resize", b"high", b"three"),
            (b"resize", b"normal", b"two"),
            (b"resize", b"", b"four"),
            (b"resize", b"empty", b""),
            (b"rotate", b"normal", b"five"),
            (b"resize", b"u" * 63, b"six"),
            (b"resize", b"low", b"one\0\xff\n"),
        ]
        if self.odd_bytes:
            client.submit(Type.SUBMIT_JOB_BG, b"re\xffsize", b"high\xfe", b"seven")
            expected.append((b"re\xffsize", b"high\xfe", b"seven"))
        if self.epochs:
            client.submit(Type.SUBMIT_JOB_EPOCH, b"resize", b"past", b"1000000000", b"eight")
            client.submit(Type.SUBMIT_JOB_EPOCH, b"resize", b"later", b"%d" % (time.time() + 3600), b"not yet")
            expected.append((b"resize", b"past", b"eight"))
        else:
            with self.assertRaises(Refused):
                client.submit(Type.SUBMIT_JOB_EPOCH, b"resize", b"later", b"%d" % (time.time() + 3600), b"not yet")
        server.kill()

        ours, worker = self.server("gearsvc")
        done = worker.drain(b"resize", b"rotate", b"re\xffsize")
        self.assertEqual(sorted(done), sorted(expected))
        resized = [unique for function, unique, _ in done if function == b"resize"]
        self.assertEqual((resized[0], resized[-1]), (b"high", b"low"))
        self.assertEqual(ours.status("resize")[0], 1 if self.epochs else 0)
        self.assertEqual(ours.stop(), 0)

        ours, worker = self.server("gearsvc")
        self.assertEqual(worker.drain(b"resize", b"rotate", b"re\xffsize"), [])
        self.assertEqual(ours.status("resize")[0], 1 if self.epochs else 0)

    def test_to_gearmand(self) -> None:
        """
        Jobs that we stored before we were killed run with gearmand, and are gone from the store then: with unique ids and
        without, with a reducer, a long unique id, with all priorities.
        """
        ours, client = self.server("gearsvc")
        client.submit(Type.SUBMIT_JOB_LOW_BG, b"resize", b"low", b"one")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"two")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"three")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"-", b"four")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"v" * 64, b"five")
        client.submit(Type.SUBMIT_REDUCE_JOB_BACKGROUND, b"resize", b"reduced", b"sum", b"", b"six")
        client.submit(Type.SUBMIT_JOB_HIGH_BG, b"resize", b"high", b"seven")
        client.submit(Type.SUBMIT_JOB_EPOCH, b"later", b"later", b"%d" % (time.time() + 3600), b"eight")
        workloads = [b"one", b"two", b"three", b"four", b"five", b"six", b"seven"]
        if self.odd_workloads:
            client.submit(Type.SUBMIT_JOB_BG, b"resize", b"odd", b"\0nine\0")
            workloads.append(b"\0nine\0")
        if self.empty_workloads:
            client.submit(Type.SUBMIT_JOB_BG, b"resize", b"empty", b"")
            workloads.append(b"")
        ours.kill()

        theirs, worker = self.server("gearmand")
        done = worker.drain(b"resize")
        self.assertEqual(sorted(workload for _, _, workload in done), sorted(workloads))
        if self.replays_priorities:
            self.assertEqual((done[0][1], done[-1][1]), (b"high", b"low"))
        early = worker.drain(b"later")
        self.assertEqual(early, [] if self.replays_epochs else [(b"later", b"later", b"eight")])
        self.assertEqual(theirs.stop(), 0)

        ours, worker = self.server("gearsvc")
        self.assertEqual(worker.drain(b"resize", b"later"), [])
        self.assertEqual(ours.status("later")[0], 1 if self.replays_epochs else 0)

    def test_there_and_back(self) -> None:
        """
        A store that gearmand wrote, to which we added and from which we removed, goes back to gearmand, and comes back to
        us with what each of us left.
        """
        server, client = self.server("gearmand")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"theirs", b"one")
        client.submit(Type.SUBMIT_JOB_BG, b"rotate", b"theirs", b"two")
        server.kill()
        ours, peer = self.server("gearsvc")
        handle = peer.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"three")
        self.assertEqual(peer.drain(b"rotate"), [(b"rotate", b"theirs", b"two")])
        let_removals_go()
        # Once this is acknowledged, the other job is gone.
        peer.submit(Type.SUBMIT_JOB_BG, b"flip", b"ours", b"four")
        ours.kill()
        server, peer = self.server("gearmand")
        peer.submit(Type.SUBMIT_JOB_BG, b"resize", b"more", b"five")
        self.assertEqual([workload for _, _, workload in peer.drain(b"flip", b"rotate")], [b"four"])
        self.assertEqual(server.stop(), 0)
        ours, peer = self.server("gearsvc")
        self.assertIn(handle + b"\t", ours.admin("show jobs"))
        self.assertEqual(
            sorted(peer.drain(b"resize", b"flip", b"rotate")),
            [(b"resize", b"", b"three"), (b"resize", b"more", b"five"), (b"resize", b"theirs", b"one")],
        )

    def test_pause(self) -> None:
        """
        A function that is paused with us is not with gearmand: to it the pause is a job that nobody does.  With what it has
        made of the store, and with a job more, the function is paused still when it comes back to us.
        """
        console = RemoteConsole()
        ours, client = self.server("gearsvc", *console.options)
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"one", b"one")
        console.post("/functions/resize/pause")
        ours.kill()

        theirs, peer = self.server("gearmand")
        self.assertEqual(peer.drain(b"resize"), [(b"resize", b"one", b"one")])
        self.assertRegex(b"\n".join(sorted(theirs.admin("status").splitlines())), self.pause_shown)
        theirs.admin("show jobs")
        peer.submit(Type.SUBMIT_JOB_BG, b"resize", b"two", b"two")
        self.assertEqual(theirs.stop(), 0)

        ours, peer = self.server("gearsvc", *console.options)
        self.assertRegex(ours.admin("show paused"), rb"\Aresize\t\d+\n\.\n\Z")
        self.assertEqual(ours.status("resize")[0], 1)
        self.assertEqual(peer.drain(b"resize"), [])
        console.post("/functions/resize/resume")
        self.assertEqual(peer.drain(b"resize"), [(b"resize", b"two", b"two")])
        self.assertEqual(ours.stop(), 0)
        ours, _ = self.server("gearsvc")
        self.assertEqual((ours.admin("show paused"), ours.admin("show jobs")), (b".\n", b".\n"))
