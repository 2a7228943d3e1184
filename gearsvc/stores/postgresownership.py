"""
One queue table in PostgreSQL belongs to one server: advisory locks of the
session that commits, which are gone with it.

So what is committed is committed by the owner: no other server can have the
table while our session is there, and a new session of ours takes it again
before it is used, or finds that it is another's.

There are two locks, one for the table's name and one for its number: a table
that was renamed is the same one, and one that was dropped and made again is in
its place.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from typing import Any

from twisted.internet.task import deferLater

from gearsvc.stores.ownership import in_use, this_server
from gearsvc.stores.postgresconnection import Session

LOCK_SECONDS = 2.0
"""
How long to wait for a table in use: PostgreSQL may not have noticed yet that
the server which used it is gone.
"""

PAUSE_SECONDS = 0.05
"""
How long to wait until the next look.
"""

NAME_BYTES = 63
"""
How much of a session's name PostgreSQL keeps.
"""

_PREFIX = "gearsvc: "


def session_name() -> str:
    """
    What a session of ours is called, for administrators and for other servers.
    """
    # (PostgreSQL would write in its own way what is not ASCII.)
    name = (_PREFIX + this_server()).encode("ascii", "replace").decode()
    return name if len(name) <= NAME_BYTES else name[: NAME_BYTES - 3] + "..."


class Ownership:
    """
    Keeps other servers away from a table, from session to session.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # The process on PostgreSQL's side that serves our last session, and when it began.
        self._former: tuple[int, str] | None = None

    async def take(self, session: Session, what: str, store: str) -> None:
        """
        Have something for a session.

        What a former session of ours was at is over then: if it is still there
        (it may be committing a batch for which we no longer wait), it is ended.

        @param what: the table, in one of the ways to name it.
        @param store: what the store is called in a sentence's begin.
        @raise StoreError: if another server has it, or that can't be seen.
        """
        key = int.from_bytes(blake2b(b"gearsvc\0" + what.encode(), digest_size=8).digest(), signed=True)
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            [[taken]] = await session.query("SELECT pg_try_advisory_lock(%s)", [key])
            if taken:
                return
            found = await session.query(
                "SELECT l.pid, a.backend_start::text, a.application_name FROM pg_locks l"
                " LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted"
                " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = %s",
                [key],
            )
            for process, since, name in found:
                if (process, since) == self._former:
                    await session.query("SELECT pg_terminate_backend(%s)", [process])
                elif time.monotonic() > deadline:
                    owner = (name or "").removeprefix(_PREFIX) or f"which PostgreSQL serves with its process {process}"
                    raise in_use(store, owner)
            await deferLater(self._reactor, PAUSE_SECONDS)

    async def remember(self, session: Session) -> None:
        """
        Know a session again, when it is the former one.
        """
        found = await session.query(
            "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        self._former = found[0] if found else None
