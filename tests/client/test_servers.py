"""
Where servers are, and to which of them a job goes.
"""

from __future__ import annotations

import random
import unittest
from collections import Counter

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from gearsvc.client.servers import Ring, servers_of


class ServersTests(unittest.TestCase):
    """
    L{servers_of}.
    """

    def place(self, where: str) -> tuple[str, int]:
        """
        The host and the port that a name means.
        """
        [server] = servers_of(where, MemoryReactorClock())
        self.assertEqual(server.name, where)
        self.assertIsInstance(server.endpoint, HostnameEndpoint)
        return server.endpoint._hostText, server.endpoint._port  # type: ignore[attr-defined]

    def test_hosts(self) -> None:
        """
        A host with or without a port, by its name or its address.
        """
        self.assertEqual(self.place("gearman.example"), ("gearman.example", 4730))
        self.assertEqual(self.place("gearman.example:4731"), ("gearman.example", 4731))
        self.assertEqual(self.place("127.0.0.1:1"), ("127.0.0.1", 1))
        self.assertEqual(self.place("[::1]:4731"), ("::1", 4731))
        self.assertEqual(self.place("[::1]"), ("::1", 4730))
        self.assertEqual(self.place("::1"), ("::1", 4730))

    def test_endpoints(self) -> None:
        """
        A description of an endpoint, and an endpoint itself.
        """
        reactor = MemoryReactorClock()
        [described] = servers_of(["unix:/run/gearman.sock"], reactor)
        self.assertIsInstance(described.endpoint, UNIXClientEndpoint)
        [given] = servers_of(described.endpoint, reactor)
        self.assertIs(given.endpoint, described.endpoint)

    def test_mistakes(self) -> None:
        """
        What is no place is refused with what it should be.
        """
        for where, why in (
            ([], "no server is named"),
            ("host:0", "a port is a number from 1 to 65535"),
            ("host:65536", "a port is a number"),
            (":4730", "names no host"),
            ("[::1", "in brackets"),
            ("nonsense:host:x", "'nonsense:host:x' is no server"),
            ([4730], "4730 is no server"),
        ):
            with self.subTest(where), self.assertRaisesRegex(ValueError, why):
                servers_of(where, MemoryReactorClock())  # type: ignore[arg-type]


class RingTests(unittest.TestCase):
    """
    L{Ring}.
    """

    names = ["one.example", "two.example:4731", "three.example", "four.example"]
    uniques = [b"unique-%d" % number for number in range(2000)]

    def test_every_client_alike(self) -> None:
        """
        A unique id has the same server with every client, whatever the order in which it names them.
        """
        shuffled = random.Random(1).sample(self.names, len(self.names))
        self.assertNotEqual(shuffled, self.names)
        one, another = Ring(self.names), Ring(shuffled)
        for unique in self.uniques:
            self.assertEqual([self.names[index] for index in one.of(unique)], [shuffled[index] for index in another.of(unique)])

    def test_known(self) -> None:
        """
        Nor does it depend on the process, or on the version: these are the servers of some unique ids for ever.
        """
        ring = Ring(self.names)
        self.assertEqual([ring.of(unique)[0] for unique in (b"a", b"b", b"c", b"d", b"e", b"f")], [0, 0, 0, 2, 0, 2])

    def test_even(self) -> None:
        """
        No server has much more than its share.
        """
        shares = Counter(Ring(self.names).of(unique)[0] for unique in self.uniques)
        self.assertEqual(len(shares), 4)
        self.assertLess(max(shares.values()), 1.5 * len(self.uniques) / 4)

    def test_another_server(self) -> None:
        """
        A server more takes over its own share, and nothing else moves; and while one is away, only its unique ids are elsewhere.
        """
        before, after = Ring(self.names), Ring([*self.names, "five.example"])
        moved = 0
        for unique in self.uniques:
            first, now = before.of(unique)[0], after.of(unique)[0]
            if first != now:
                self.assertEqual(now, 4)
                moved += 1
            self.assertEqual([index for index in after.of(unique) if index != 4], before.of(unique))
        self.assertLess(moved, len(self.uniques) / 3)

    def test_all(self) -> None:
        """
        After its own server, a unique id has all others, each once.
        """
        ring = Ring(self.names)
        for unique in self.uniques[:100]:
            self.assertEqual(sorted(ring.of(unique)), [0, 1, 2, 3])

    def test_turns(self) -> None:
        """
        Jobs without a unique id take turns.
        """
        ring = Ring(["a", "b", "c"])
        self.assertEqual([ring.in_turn() for _ in range(4)], [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]])
