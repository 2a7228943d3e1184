"""
Tests for L{gearsvc.stores.memcached} with the real gearmand: each of the two goes on with what the other has stored.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import HOST, wait_until
from tests.servers import Memcached
from tests.stores.memcacheds import ask, keys
from tests.stores.takeover import Takeover


class OneServer(Takeover, SynchronousTestCase):
    """
    One memcached.
    """

    # gearmand refuses SUBMIT_JOB_EPOCH with this store, and so runs what we keep for later at once.
    epochs = False
    replays_epochs = False
    # It looks for keys that are text, and finds no others.
    pause_shown = rb"\A\.\nresize\t0\t0\t1\Z"

    count: ClassVar[int] = 1

    def setUp(self) -> None:
        """
        Start memcached.
        """
        self.databases = [Memcached() for _ in range(self.count)]
        for database in self.databases:
            self.addCleanup(database.end)
            database.start()

    def store_options(self, kind: str) -> list[str]:
        """
        Both have the same options.
        """
        if kind == "gearmand":
            self.settle()
        servers = ",".join(f"{HOST}:{database.port}" for database in self.databases)
        return ["-q", "libmemcached", "--libmemcached-servers", servers]

    def settle(self) -> None:
        """
        Wait until gearmand can see all items: the list that it asks for has those alone which have been there for a while.
        """

        def young(port: int) -> int:
            lines = [line.split(b" ") for line in ask(port, b"stats items")]
            return sum(int(line[2]) for line in lines if line[1:2] and line[1].endswith((b"number_hot", b"number_warm")))

        wait_until(lambda: not any(young(database.port) for database in self.databases), "all items have settled")


class TwoServers(OneServer):
    """
    Two: each job is where libmemcached would look for it.
    """

    count = 2

    def test_shares(self) -> None:
        """
        Each of the two has a share of the jobs, and gearmand finds and removes all that we have put there.
        """
        ours, client = self.server("gearsvc")
        for number in range(60):
            client.submit(Type.SUBMIT_JOB_BG, b"resize", b"u%d" % number, b"w%d" % number)
        ours.kill()
        for database in self.databases:
            self.assertGreater(len([key for key in keys(database.port) if key.startswith(b"gear_")]), 10)
        theirs, worker = self.server("gearmand")
        self.assertEqual(sorted(worker.drain(b"resize")), sorted((b"resize", b"u%d" % n, b"w%d" % n) for n in range(60)))
        theirs.kill()
        for database in self.databases:
            self.assertEqual([key for key in keys(database.port) if key.startswith(b"gear_")], [])
