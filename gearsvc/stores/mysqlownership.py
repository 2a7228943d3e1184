"""
One queue table in MySQL belongs to one server: named locks of the session
(C{GET_LOCK}), which need no table and are gone with the connection.

The first lock says that the table is in use.  Who uses it can't be read from a
lock, only which session has it; so the owner takes some more, one for each bit
that is set in a number which is made of its process's id and its host's name.
Another server that finds the table in use asks who has these, and knows the
process; from where it is connected, the server's list of sessions says.
"""

from __future__ import annotations

import os
import socket
import time
from hashlib import blake2b

from pymysql.constants import ER
from pymysql.err import MySQLError

from gearsvc.interfaces import StoreError
from gearsvc.stores.mysqlconnection import Connection, code_of
from gearsvc.stores.ownership import in_use, this_server

LOCK_SECONDS = 3.0
"""
How long to wait for a table in use: the server may not have noticed yet that
the one which used it is gone.
"""

PROCESS_BITS = 22
HOST_BITS = 10
"""
Linux has no process id with more; and that few bits of a host's name tell
whether it is ours.
"""


def own_number() -> int:
    """
    What the locks say of this process.
    """
    return os.getpid() % (1 << PROCESS_BITS) | _host_number() << PROCESS_BITS


def _host_number() -> int:
    digest = blake2b(socket.gethostname().encode(), digest_size=2).digest()
    return int.from_bytes(digest) % (1 << HOST_BITS)


class Ownership:
    """
    Keeps other servers away from a table, from connection to connection.
    """

    def __init__(self, table: str, store: str) -> None:
        """
        @param table: the table's name with its database's.
        @param store: what the store is called in a sentence's begin.
        """
        digest = blake2b(table.encode(), digest_size=16).hexdigest()
        # (MySQL takes 64 characters for a name.)
        self._name = f"gearsvc:{digest}"
        self._bits = [f"{self._name}:{bit}" for bit in range(PROCESS_BITS + HOST_BITS)]
        self._store = store
        # Our last session, and when it began.
        self._session: int | None = None
        self._since = 0.0

    def take(self, connection: Connection) -> None:
        """
        Have the table for this connection's session.

        What a former session of ours was at is over then: if it is still there
        (it may be committing a batch for which we no longer wait), it is ended.

        @raise StoreError: if another server has it.
        @raise MySQLError: if the server can't be asked.
        """
        if not self._get(connection, 0):
            if self._is_former(connection):
                _kill(connection, self._session)
            if not self._get(connection, LOCK_SECONDS):
                if self._is_former(connection):
                    raise StoreError(f"{self._store} is still busy with what this server asked of it before the connection broke.")
                raise in_use(self._store, self._owner(connection))
        number = own_number()
        mine = ", ".join(f"GET_LOCK('{name}', 0)" for bit, name in enumerate(self._bits) if number >> bit & 1)
        # (The number of the session that the server greeted with may be a proxy's.)
        [[*_, session]] = connection.rows(f"SELECT {mine}, IS_USED_LOCK('{self._name}')")
        self._session = int(session)
        self._since = time.monotonic()

    def _get(self, connection: Connection, seconds: float) -> bool:
        [[got]] = connection.rows(f"SELECT GET_LOCK('{self._name}', {seconds:g})")
        return bool(got == b"1")

    def _holder(self, connection: Connection) -> tuple[int | None, int]:
        """
        @return: the session that has the table, and what its locks say.
        """
        names = ", ".join(f"IS_USED_LOCK('{name}')" for name in [self._name, *self._bits])
        holder, *bits = connection.rows(f"SELECT {names}")[0]
        if holder is None:
            return None, 0
        return int(holder), sum(1 << bit for bit, session in enumerate(bits) if session == holder)

    def _is_former(self, connection: Connection) -> bool:
        """
        Whether it is our last session that has the table.
        """
        if self._session is None or self._holder(connection) != (self._session, own_number()):
            return False
        [[_, uptime]] = connection.rows("SHOW GLOBAL STATUS LIKE 'Uptime'")
        # If the server has begun anew since, this session is another one that
        # is called the same.  (It tells whole seconds.)
        return int(uptime) + 1 > time.monotonic() - self._since

    def _owner(self, connection: Connection) -> str:
        holder, number = self._holder(connection)
        process = number % (1 << PROCESS_BITS)
        if process and number >> PROCESS_BITS == _host_number():
            if process == os.getpid():
                return this_server()
            return f"process {process} on {socket.gethostname()}"
        # Sessions of other accounts are not shown to everyone.
        found = connection.rows(f"SELECT HOST, USER FROM information_schema.PROCESSLIST WHERE ID = {holder or 0}")
        session = f"session {holder} of the database"
        if not found:
            return f"process {process}, {session}" if process else session
        host, user = (text.decode(errors="replace") for text in found[0])
        session = f"{session}, user {user}"
        if not process:
            return f"{session} from {host}"
        return f"process {process} on {host.rpartition(':')[0] or host} ({session})"


def _kill(connection: Connection, session: int | None) -> None:
    """
    End a session.  (An account may end its own.)
    """
    try:
        connection.run(f"KILL {session}")
    except MySQLError as error:
        if code_of(error) != ER.NO_SUCH_THREAD:
            raise
