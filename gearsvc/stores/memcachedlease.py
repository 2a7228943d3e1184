"""
Who uses a queue in memcached: a key that its owner keeps alive, and that is gone soon after its owner is.
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from twisted.internet.task import deferLater

from gearsvc.interfaces import StoreError
from gearsvc.stores.memcachedclient import Servers
from gearsvc.stores.ownership import in_use, is_running, start_of, this_machine, this_server

LEASE_SECONDS = 6
"""
How long the key outlives its owner.  (memcached counts in whole seconds.)
"""

RENEW_SECONDS = 1.5
"""
How often its owner renews it.
"""

LOOK_SECONDS = 0.25
"""
How often its successor looks whether it is still there.
"""


class Lease:
    """
    The right to use a queue.

    Its value is in words: a word that no other owner has, the count of
    renewals, the owner's machine, process and start, and what it is called.
    """

    def __init__(self, key: bytes, servers: Servers, reactor: Any) -> None:
        """
        @param servers: the first of them keeps the key.
        """
        self._key = key
        self._servers = servers
        self._reactor = reactor
        self._word = uuid4().hex
        self._count = 0
        self._renewed = 0.0
        self._lost: StoreError | None = None

    @property
    def stale(self) -> bool:
        """
        Whether it may have run out: this process may have been stopped.
        """
        return time.monotonic() - self._renewed > LEASE_SECONDS - 2 * RENEW_SECONDS

    async def take(self) -> None:
        """
        Get it: at once if it is free, or if its owner was a process of this
        machine and is gone; if its owner may be gone, after a while.

        @raise StoreError: if it is another server's.
        """
        seen: bytes | None = None
        deadline = time.monotonic() + LEASE_SECONDS + 1
        while not await self._hold():
            value = self._other
            machine, process, start = _words(value)[2:5]
            here = machine == this_machine()
            if here and not is_running(int(process), start):
                await self._take_over()
            elif here or seen not in (None, value) or time.monotonic() > deadline:
                raise in_use(f"The queue in {self._servers}", self._owner(value))
            else:
                seen = value
                await deferLater(self._reactor, LOOK_SECONDS)
        self._lost = None

    async def renew(self) -> None:
        """
        Keep it, or get it back if nobody else has got it.

        @raise StoreError: if another server has.  It may have run the jobs
            that are queued here, so this is for good.
        """
        if self._lost is None and not await self._hold():
            self._lost = StoreError(
                f"The queue in {self._servers} was taken over by another server, {self._owner(self._other)},"
                " while this one could not reach it; stop one of the two, and restart the other."
            )
        if self._lost is not None:
            raise StoreError(*self._lost.args)

    async def release(self) -> None:
        """
        Give it back, if it is ours.
        """
        _, _, value = await self._get()
        if value is not None and value.startswith(self._word.encode()):
            await self._servers.ask((0, lambda connection: connection.delete(self._key)))

    async def _hold(self) -> bool:
        """
        Add the key, or renew it.

        @return: whether it is ours now; if not, C{_other} is its value.
        """
        while True:
            # (Before: what has been asked for is done some time after this.)
            began = time.monotonic()
            added, (_, change, value) = await self._servers.ask(
                (0, lambda connection: connection.add(self._key, self._value(), expireTime=LEASE_SECONDS)),
                (0, lambda connection: connection.get(self._key, True)),
            )
            if not added:
                if value is None:
                    continue
                if not value.startswith(self._word.encode()):
                    self._other = value
                    return False
                if not await self._change(change):
                    continue
            self._renewed = began
            return True

    async def _take_over(self) -> None:
        """
        Put our value into the place of the other's, if that has not changed.
        """
        _, change, value = await self._get()
        if value == self._other:
            await self._change(change)

    async def _get(self) -> tuple[int, bytes, bytes | None]:
        [found] = await self._servers.ask((0, lambda connection: connection.get(self._key, True)))
        flags, change, value = found
        return flags, change, value

    async def _change(self, change: bytes) -> bool:
        self._count += 1
        [changed] = await self._servers.ask(
            (0, lambda connection: connection.checkAndSet(self._key, self._value(), change, expireTime=LEASE_SECONDS))
        )
        return bool(changed)

    def _value(self) -> bytes:
        process = os.getpid()
        words = [self._word, self._count, this_machine(), process, start_of(process), this_server()]
        return " ".join(map(str, words)).encode()

    @staticmethod
    def _owner(value: bytes) -> str:
        return _words(value)[5]


def _words(value: bytes) -> list[str]:
    words = value.decode("utf-8", "backslashreplace").split(" ", 5)
    # What somebody else has put there is nobody's whom we could find gone.
    return words if len(words) == 6 and words[3].isdigit() else ["", "", "", "0", "", "which can't be told"]
