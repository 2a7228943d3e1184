"""
Tests for L{gearsvc.stores.memcached}: the contract over a real memcached.
"""

from __future__ import annotations

import socket
import subprocess
import time
from typing import Any

from twisted.trial.unittest import TestCase

from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores import memcachedlease, reconnecting
from gearsvc.stores.memcached import MemcachedStore
from gearsvc.stores.memcachedclient import Address
from gearsvc.testing import BrokenConnectionContract, sleep
from tests.proxy import Proxy
from tests.running import HOST
from tests.servers import Memcached


def ask(port: int, *parts: bytes) -> list[bytes]:
    """
    Talk to memcached as a person would.

    @param parts: what is sent; the last answer must end a list, or be the only line.
    @return: the lines that came back.
    """
    with socket.create_connection((HOST, port), 5) as connection:
        connection.sendall(b"".join(parts) + b"\r\nmn\r\n")
        answer = b""
        while not answer.endswith(b"MN\r\n"):
            answer += connection.recv(65536)
    return answer.split(b"\r\n")[:-2]


class MemcachedContract(BrokenConnectionContract, TestCase):
    """
    The store contract, over L{MemcachedStore}.
    """

    def setUp(self) -> None:
        """
        Empty the server, and put a wire before it.
        """
        self.database = Memcached.shared()
        ask(self.database.port, b"flush_all")
        self.wire = Proxy(self.database.port)
        self.addCleanup(self.wire.close)
        self.stores: list[MemcachedStore] = []
        self.addCleanup(self.close_stores)

    async def close_stores(self) -> None:
        for store in self.stores:
            await store.close()

    def make_store(self) -> IQueueStore:
        """
        A store behind the wire.
        """
        store = MemcachedStore([Address(HOST, self.wire.port)])
        self.stores.append(store)
        return store

    async def break_store(self, store: IQueueStore) -> None:
        """
        Cut the wire.
        """
        self.wire.cut()

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Mend it, and wait until the store tries again.
        """
        self.wire.mend()
        await sleep(reconnecting.LAST_PAUSE)

    def cut_after(self, count: int) -> None:
        self.wire.cut_after(count)

    def lose_answers(self) -> None:
        self.wire.lose_answers()

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Break the connection, and make the lease that of a process that is gone.
        """
        assert isinstance(store, MemcachedStore)
        self.stores.remove(store)
        self.wire.cut()
        await store.close()
        gone = subprocess.Popen(["true"])
        gone.wait()
        key = b"gearsvc:gear_lease"
        value = b" ".join([b"word", b"0", memcachedlease.this_machine().encode(), b"%d" % gone.pid, b"123", b"somebody"])
        self.assertEqual(ask(self.database.port, b"set %b 0 0 %d\r\n%b" % (key, len(value), value)), [b"STORED"])
        self.wire.mend()
