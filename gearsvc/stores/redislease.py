"""
Who uses a queue in Redis: a key that its owner keeps alive, and that is gone soon after its owner is.

Each batch says whose it is, and Redis stores it only if that is what the key says.  The value is another one after each
connection: so what was sent on the one before, and arrives late, is not stored any more.

A second key says who had the queue last, and stays.  If it is missing, Redis has lost what it held; if it names another
server, that one has had the queue meanwhile.
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from twisted.internet.task import deferLater

from gearsvc.interfaces import StoreError
from gearsvc.logs import Logger
from gearsvc.stores.ownership import in_use, is_running, start_of, this_machine, this_server
from gearsvc.stores.redisconnection import Connection
from gearsvc.stores.redislayout import Layout

log = Logger(__name__)

LEASE_SECONDS = 6.0
"""
How long the key outlives its owner.
"""

RENEW_SECONDS = 1.5
"""
How often its owner renews it.
"""

LOOK_SECONDS = 0.25
"""
How often somebody who waits for it looks.
"""

_TAKE = b"""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[4] and string.sub(held, 1, #ARGV[2]) ~= ARGV[2] then
  return held .. ' ' .. redis.call('PTTL', KEYS[1])
end
local last = redis.call('GET', KEYS[2])
if last and last ~= ARGV[2] and ARGV[5] == 'again' then
  return 'other'
end
if held == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
end
if last ~= ARGV[2] then
  redis.call('SET', KEYS[2], ARGV[2])
end
return last and 'ours' or 'empty'
"""
"""
Takes or renews it.  Returns C{ours}; C{empty} if nobody has had it before; C{other}, and does not take it, if ours is a
renewal and another server has had it since; or, if another server has it now, its value and how many milliseconds it has left.

(A Redis that is full refuses what needs memory, but not in a script that has written already.  Hence the DEL: whoever has to
make room by running jobs needs the lease.)
"""

_RELEASE = b"""
if string.sub(redis.call('GET', KEYS[1]) or '', 1, #ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
"""


class Lease:
    """
    The right to use a queue.

    Its value is in words: a word that no other owner has, the number of the connection, the owner's machine, process and
    start, and what it is called.

    @ivar value: what the key holds while it is ours.
    """

    def __init__(self, layout: Layout, name: str, reactor: Any) -> None:
        """
        @param name: what the store is called in a sentence's begin.
        """
        self._keys = (layout.lease, layout.marker)
        self._name = name
        self._reactor = reactor
        self._word = uuid4().hex
        self._number = 0
        self._had = False
        self._lost: StoreError | None = None
        self._next = b""
        self.value = b""

    async def take(self, connection: Connection) -> None:
        """
        Get it: at once if it is free, or if its owner was a process of this machine and is gone; if its owner may be gone,
        after a while.

        @raise StoreError: if it is another server's, or Redis can't be asked.
        """
        self._had = False
        self._lost = None
        self.renumber()
        seen: tuple[bytes, int] | None = None
        deadline = time.monotonic() + LEASE_SECONDS + 1
        gone = b""
        while True:
            found = await self._hold(connection, gone)
            if found is None:
                return
            value, left = found
            machine, process, start = _words(value)[2:5]
            here = machine == this_machine()
            if here and not is_running(int(process), start):
                gone = value
                continue
            renewed = seen is not None and (value != seen[0] or left > seen[1])
            if here or renewed or left < 0 or time.monotonic() > deadline:
                raise in_use(self._name, _words(value)[5])
            seen = found
            await deferLater(self._reactor, LOOK_SECONDS)

    async def keep(self, connection: Connection) -> None:
        """
        Renew it, or get it back if nobody else has had it.

        @raise StoreError: if another server has.  That may have run the jobs that are queued here, so this is for good.
        """
        if self._lost is None:
            found = await self._hold(connection, b"")
            if found is not None:
                owner = _words(found[0])[5]
                self._lost = StoreError(
                    f"{self._name} was taken over by another server{f', {owner}' if owner else ''}, while this one could not"
                    " reach it; stop one of the two, and restart the other."
                )
        if self._lost is not None:
            raise StoreError(*self._lost.args)

    def renumber(self) -> None:
        """
        Have another value from the next time on.
        """
        self._number += 1
        process = os.getpid()
        words = [self._word, self._number, this_machine(), process, start_of(process), this_server()]
        self._next = " ".join(map(str, words)).encode("utf-8", "surrogateescape")

    async def release(self, connection: Connection) -> None:
        """
        Give it back, if it is ours.
        """
        await connection.ask("EVAL", _RELEASE, 1, self._keys[0], self._word)

    async def _hold(self, connection: Connection, other: bytes) -> tuple[bytes, int] | None:
        """
        Have the key ours.

        @param other: the value of somebody who is gone.
        @return: C{None} if it is ours, or whose it is, and how many milliseconds that has left.
        """
        value = self._next
        again = "again" if self._had else "first"
        milliseconds = int(LEASE_SECONDS * 1000)
        answer: bytes = await connection.ask("EVAL", _TAKE, 2, *self._keys, value, self._word, milliseconds, other, again)
        if answer == b"empty" and self._had:
            log.error(
                "{name} has come back empty: it was flushed, or restarted without what it held. Jobs that were stored there"
                " still wait here, and would not survive a crash of this server.",
                name=self._name,
            )
        if answer in (b"ours", b"empty"):
            self.value = value
            self._had = True
            return None
        if answer == b"other":
            return b"", 0
        held, _, left = answer.rpartition(b" ")
        return held, int(left)


def _words(value: bytes) -> list[str]:
    if not value:
        return ["", "", "", "0", "", ""]
    words = value.decode("utf-8", "backslashreplace").split(" ", 5)
    # What somebody else has put there is nobody's whom we could find gone.
    return words if len(words) == 6 and words[3].isdigit() else ["", "", "", "0", "", "which can't be told"]
