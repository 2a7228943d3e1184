"""
Tests for L{gearsvc.stores.redis} with the real gearmand: each of the two goes on with what the other has stored.
"""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import HOST
from tests.servers import Redis
from tests.stores.redises import ask
from tests.stores.takeover import Takeover


class RedisTakeover(Takeover, SynchronousTestCase):
    """
    One Redis.
    """

    # gearmand refuses SUBMIT_JOB_EPOCH with this store, and so runs what we keep for later at once.
    epochs = False
    replays_epochs = False
    # Its replay takes a workload for a C string, and cuts it at the first NUL.
    odd_workloads = False
    # A NUL would end the function's name in a key, so another name stands there.
    pause_shown = rb"\A\.\ngearsvc:%00gearsvc paused%00resize\t1\t0\t0\nresize\t0\t0\t1\Z"

    def setUp(self) -> None:
        """
        Have keys of the test's own.
        """
        self.redis = Redis.shared()
        self.prefix = f"_t{time.monotonic_ns()}_"

    def store_options(self, kind: str) -> list[str]:
        """
        Both have the same options.
        """
        return ["-q", "redis", "--redis-server", HOST, "--redis-port", str(self.redis.port), "--redis-prefix", self.prefix]

    def keys(self) -> list[bytes]:
        """
        @return: the keys of all jobs.
        """
        found: list[bytes] = ask(self.redis.port, ("KEYS", f"{self.prefix}*"))
        return found

    def test_what_gearmand_can_not_find(self) -> None:
        """
        A gearmand starts with jobs of ours that it can't find in their keys, and leaves them alone; and we have them all when
        we come back.
        """
        ours, client = self.server("gearsvc")
        jobs = [(b"a-b", b"u", b"one"), (b"resize", b"a*b", b"two"), (b"re*size", b"v", b"three"), (b"f" * 600, b"w", b"four")]
        for function, unique, workload in jobs:
            client.submit(Type.SUBMIT_JOB_BG, function, unique, workload)
        ours.kill()
        theirs, worker = self.server("gearmand")
        self.assertEqual(worker.drain(b"a", b"a-b"), [])
        theirs.kill()
        ours, worker = self.server("gearsvc")
        self.assertEqual(sorted(worker.drain(*(function for function, _, _ in jobs))), sorted(jobs))
        self.assertEqual(ours.stop(), 0)
        self.assertEqual(self.keys(), [])

    def test_what_gearmand_loses(self) -> None:
        """
        gearmand keeps one of several jobs without a unique id, under a key that its own replay skips, and one of a function
        with a dash, which it replays as another function's: we run both as they were submitted, as far as the key tells.
        """
        server, client = self.server("gearmand")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"one")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"two")
        client.submit(Type.SUBMIT_JOB_BG, b"a-b", b"0d8f3a6c-6f0e-11ee-8c99-0242ac120002", b"three")
        server.kill()
        self.assertEqual(len(self.keys()), 2)
        ours, worker = self.server("gearsvc")
        self.assertEqual(
            sorted(worker.drain(b"resize", b"a-b")),
            [(b"a-b", b"0d8f3a6c-6f0e-11ee-8c99-0242ac120002", b"three"), (b"resize", b"", b"two")],
        )
        self.assertEqual(ours.stop(), 0)
        self.assertEqual(self.keys(), [])
