"""
The thread in which PyMySQL works: one of L{twisted.enterprise.adbapi}'s, with one connection.

C{adbapi} commits by itself after each call, which would be a second round trip;
our statements have done that already.  And it reconnects when a statement has
failed, where a store has to know whether that may be sent again; so here the
connection is looked at before it is used, and L{MySQLStore
<gearsvc.stores.mysql.MySQLStore>} decides on the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, cast

from twisted.enterprise import adbapi
from twisted.internet.threads import deferToThreadPool

from gearsvc.stores.mysqlconnection import Connection


class Lease(adbapi.Connection):
    """
    What a call in the thread works with.

    @ivar connection: the session.
    """

    @property
    def connection(self) -> Connection:
        return cast(Connection, self._connection)

    def commit(self) -> None:
        """
        The call has done so.
        """

    rollback = commit

    def renew(self) -> None:
        """
        Connect again, if the connection is closed.
        """
        self._connection = self._pool.connect()


class Pool(adbapi.ConnectionPool):
    """
    One thread with one connection.
    """

    connectionFactory = Lease

    def __init__(self, make: Callable[[], Connection], reactor: Any) -> None:
        """
        @param make: connects; called in the thread.
        """
        super().__init__("pymysql", cp_min=1, cp_max=1, cp_reactor=reactor)
        self.threadpool.name = "MySQL queue"
        # A server that says nothing must not keep this process from ending.
        self.threadpool.threadFactory = cast("type[Thread]", partial(Thread, daemon=True))
        self._make = make

    def start(self) -> None:
        """
        Start the thread.  (The pool's own method would have the reactor wait
        for it, as the process ends.)
        """
        self.threadpool.start()
        self.running = True

    @property
    def connection(self) -> Connection | None:
        """
        The connection, if there is one.  No call of the thread may be under way.
        """
        return next(iter(self.connections.values()), None)

    def connect(self) -> Connection:
        """
        The connection, or a new one if the server has closed it.
        """
        thread = self.threadID()
        connection: Connection | None = self.connections.get(thread)
        if connection is not None:
            if connection.is_alive():
                return connection
            self.disconnect(connection)
        connection = self.connections[thread] = self._make()
        return connection

    async def end(self) -> None:
        """
        Close the connection, after what is under way in the thread, and let
        the thread end.
        """
        await deferToThreadPool(self._reactor, self.threadpool, self._disconnect_all)
        self.close()

    def _disconnect_all(self) -> None:
        for connection in list(self.connections.values()):
            self.disconnect(connection)
