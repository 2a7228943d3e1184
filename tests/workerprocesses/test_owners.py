"""
Whose a connection is.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.workerprocesses.owners import family, owner
from tests.running import PATIENCE

CONNECT = """
import os, socket, sys
family, address = int(sys.argv[1]), eval(sys.argv[2])
if len(sys.argv) > 3 and os.fork():
    os.wait()
    raise SystemExit
connection = socket.socket(family)
connection.connect(address)
connection.recv(1)
"""


class OwnerTests(SynchronousTestCase):
    """
    L{owner}.
    """

    def connected(self, family: socket.AddressFamily, address: tuple[str, int] | str, *more: str) -> tuple[socket.socket, int]:
        """
        Let a process connect to a socket of ours.

        @param more: something, for a child of the process to do it.
        @return: our end of the connection, and the process id.
        """
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        listener.bind(address)
        listener.listen()
        command = [sys.executable, "-c", CONNECT, str(int(family)), repr(listener.getsockname()), *more]
        process = subprocess.Popen(command)
        self.addCleanup(process.wait, PATIENCE)
        connection = listener.accept()[0]
        self.addCleanup(connection.close)
        return connection, process.pid

    def check(self, connection: socket.socket, pid: int) -> None:
        """
        Hold that a connection is found to be that of a process, and of no other one.
        """
        stranger = subprocess.Popen(["sleep", "60"])
        self.addCleanup(stranger.wait, PATIENCE)
        self.addCleanup(stranger.kill)
        self.assertEqual(owner(connection, [stranger.pid, pid]), pid)
        self.assertIsNone(owner(connection, [stranger.pid]))
        self.assertIsNone(owner(connection, []))

    def test_ipv4(self) -> None:
        """
        A connection over IPv4 is that of the process that has made it.
        """
        self.check(*self.connected(socket.AF_INET, ("127.0.0.1", 0)))

    def test_ipv6(self) -> None:
        """
        So is one over IPv6.
        """
        self.check(*self.connected(socket.AF_INET6, ("::1", 0)))

    def test_unix(self) -> None:
        """
        So is one over a Unix socket.
        """
        path = Path(self.mktemp())
        short = os.path.relpath(path)
        self.check(*self.connected(socket.AF_UNIX, short))

    def test_child(self) -> None:
        """
        What a child has, its parent has, too: a shell in front of a worker does not matter.
        """
        connection, pid = self.connected(socket.AF_INET, ("127.0.0.1", 0), "fork")
        self.assertEqual(len(family(pid)), 2)
        self.check(connection, pid)

    def test_ended(self) -> None:
        """
        A process that has ended has nothing.
        """
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait(PATIENCE)
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        self.assertIsNone(owner(near, [process.pid]))
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        client = socket.create_connection(listener.getsockname())
        self.addCleanup(client.close)
        connection = listener.accept()[0]
        self.addCleanup(connection.close)
        self.assertIsNone(owner(connection, [process.pid]))
