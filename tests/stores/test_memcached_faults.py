"""
Tests for L{gearsvc.stores.memcached} in a server whose memcached is in trouble.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.running import HOST
from tests.servers import DatabaseServer, Memcached
from tests.stores.faults import StoreFaults


class MemcachedFaults(StoreFaults, SynchronousTestCase):
    """
    What holds for every store, but that memcached keeps nothing when it ends.
    """

    keeps = False

    def make_database(self) -> DatabaseServer:
        """
        A memcached with its usual settings.
        """
        return Memcached("-m", "64", "-I", "1m")

    def options(self, port: int) -> list[str]:
        """
        One server.
        """
        return ["-q", "memcached", "--libmemcached-servers", f"{HOST}:{port}"]

    def test_killed(self) -> None:
        """
        The database is killed (SIGKILL) and started under load; the log says what that means.
        """
        super().test_killed()
        self.assertEqual(self.server.log.count("was restarted and has lost what it held"), 1, self.server.log)
