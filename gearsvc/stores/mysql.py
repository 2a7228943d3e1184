"""
The durable queue in MySQL or MariaDB, C{-q mysql}.

The table is gearmand's own (L{gearsvc.stores.mysqltable}); what is sent stands
in L{gearsvc.stores.mysqlrows}.  PyMySQL blocks, and so runs in the one thread
of a pool of Twisted's (L{twisted.enterprise.adbapi}), with one connection: a
batch is one transaction, and one round trip.

C{adbapi} commits by itself after each call, which would be a second round trip;
our statements have done that already.  And it reconnects when a statement has
failed, where a store has to know whether that may be sent again; so the
connection is looked at before it is used, and L{MySQLStore} decides on the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from configparser import Error as DefaultsFileError
from functools import partial
from threading import Thread
from typing import Any, TypeVar, cast

from pymysql.constants import CR, ER
from pymysql.err import MySQLError
from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IQueueStore, StoreError
from gearsvc.stores import mysqlconnection as settings
from gearsvc.stores.mysqlconnection import INTERRUPTED, READ_ONLY, Connection, Place, code_of, explain
from gearsvc.stores.mysqlownership import Ownership
from gearsvc.stores.mysqlrows import Key, Row, Statements, TooLarge, as_key, as_row, pieces
from gearsvc.stores.mysqltable import QueueTable
from gearsvc.stores.reconnecting import Backoff
from gearsvc.stores.rows import MADE_KEY
from gearsvc.stores.threads import replay

CHECK_SECONDS = 20.0
"""
How often an idle connection is used: the server takes one that is silent for
L{LOST_SECONDS <gearsvc.stores.mysqlconnection.LOST_SECONDS>} for lost.
"""

Result = TypeVar("Result")


class _Lease(adbapi.Connection):
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

    def drop(self) -> None:
        """
        Close the connection; the next call makes another one.
        """
        self._pool.disconnect(self._connection)

    def renew(self) -> None:
        """
        Make another one, when this one was dropped.
        """
        self._connection = self._pool.connect()


class _Pool(adbapi.ConnectionPool):
    """
    One thread with one connection.
    """

    connectionFactory = _Lease

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


@implementer(IQueueStore)
class MySQLStore:
    """
    Jobs in a table of MySQL's, or MariaDB's.
    """

    def __init__(self, place: Place, table: str = "gearman_queue", reactor: IReactorTime | None = None) -> None:
        """
        @param table: its name in the database; it is made if it is not there.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._place = place
        self._table = table
        self._reactor = reactor
        self._name = f"The MySQL queue {place.database + '.' if place.database else ''}{table} at {place}"
        self.description = self._name
        self._pool: _Pool | None = None
        self._checks: LoopingCall | None = None
        # What the thread works with, from the first connection on.
        self._ownership: Ownership | None = None
        self._statements: Statements | None = None

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.  It may be called again after it has failed.
        """
        return ensureDeferred(self._open())

    async def _open(self) -> None:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        self._backoff = Backoff(time.monotonic)
        pool = self._pool = _Pool(self._connect, self._reactor)
        try:
            self.description = await self._run(self._prepare)
        except BaseException:
            self._pool = None
            await pool.end()
            raise
        self._checks = LoopingCall(self._check)
        self._checks.clock = self._reactor
        self._checks.start(CHECK_SECONDS, now=False)

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        return ensureDeferred(self._replay(accept))

    async def _replay(self, accept: Accept) -> int:
        total, found = await self._run(self._begin_replay)
        return await replay(lambda function, *arguments: self._run(lambda lease: function(*arguments)), found, accept, total, self._name)

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        return self._run(self._write, [as_row(record) for record in added], [as_key(record) for record in removed])

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        pool, self._pool = self._pool, None
        if pool is None:
            return succeed(None)
        if self._checks is not None:
            self._checks.stop()
        return ensureDeferred(pool.end())

    def _run(self, function: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        """
        Call a function in the thread.

        @param function: its first argument is the L{_Lease}.
        """
        assert self._pool is not None, "the store is not open"
        result: Deferred[Result] = self._pool.runWithConnection(function, *arguments)
        return result

    async def _check(self) -> None:
        """
        Use the connection: so the server keeps it, and the table stays ours.
        """
        try:
            await self._run(self._ping)
        except StoreError:
            # Nobody waits for anything: the next commit tells of it, if it is
            # still so then.
            pass

    # In the thread.

    def _connect(self) -> Connection:
        """
        Connect, and have the table.

        @raise StoreError: if that fails, or has failed a moment ago.
        """
        self._backoff.check()
        try:
            connection = Connection(self._place)
            try:
                if not connection.database:
                    raise StoreError(f"{self._name}: no database is named.")
                if self._ownership is None:
                    table = self._table.lower() if connection.folds else self._table
                    self._ownership = Ownership(f"{connection.database}.{table}", self._name)
                self._ownership.take(connection)
            except BaseException:
                connection.close()
                raise
        except (MySQLError, StoreError, DefaultsFileError, RuntimeError, OSError) as error:
            explained = explain(error, self._name)
            self._backoff.failed(explained)
            raise explained from None
        self._backoff.succeeded()
        return connection

    def _prepare(self, lease: _Lease) -> str:
        """
        Make the table ready.

        @return: the store's description.
        """
        connection = lease.connection
        try:
            connection.wait(settings.PREPARE_SECONDS)
            table = QueueTable(self._table, self._name)
            table.prepare(connection)
            self._statements = Statements(table)
            # A column or a trigger of somebody's might not let us write, and it
            # is better to know that now.
            connection.run(self._statements.trial(JobRecord(b"\xff", b"\xff", MADE_KEY, 1, b"\xff", 2**40, b"\xff")))
            connection.wait(settings.COMMIT_SECONDS)
            return self._describe(connection)
        except MySQLError as error:
            raise explain(error, self._name) from None

    def _describe(self, connection: Connection) -> str:
        [[version, flush, binlog, sync]] = connection.rows(
            "SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog"
        )
        survives = "the server and of the database"
        loses = "a crash of the database's machine can lose its last second"
        if flush == b"0":
            survives, loses = "the server", "a crash of the database, or of its machine, can lose the last second"
        elif flush != b"2" and binlog != b"0" and sync != b"1":
            loses = "a crash of the database's machine can lose the last jobs"
        elif flush != b"2":
            survives, loses = "the server, of the database and of its machine", ""
        found = f"innodb_flush_log_at_trx_commit = {flush.decode()}"
        if binlog != b"0":
            found += f", sync_binlog = {sync.decode()}"
        return (
            f"MySQL database {connection.database} at {self._place} ({version.decode()}), table {self._table}:"
            f" what was acknowledged survives a crash of {survives}{'; ' + loses if loses else ''} ({found})"
        )

    def _begin_replay(self, lease: _Lease) -> tuple[int, Iterator[list[JobRecord]]]:
        """
        @return: how many jobs there are; and the jobs, in pieces.
        """
        assert self._statements is not None
        connection = lease.connection
        try:
            connection.wait(settings.PREPARE_SECONDS)
            total = int(connection.rows(self._statements.count)[0][0])
        except MySQLError as error:
            raise explain(error, self._name) from None
        return total, self._read(connection)

    def _read(self, connection: Connection) -> Iterator[list[JobRecord]]:
        assert self._statements is not None
        try:
            yield from pieces(connection.stream(self._statements.select))
            connection.wait(settings.COMMIT_SECONDS)
        except MySQLError as error:
            raise explain(error, self._name) from None

    def _write(self, lease: _Lease, added: list[Row], removed: list[Key]) -> None:
        """
        Commit a batch.
        """
        assert self._statements is not None
        try:
            packets = self._statements.packets(added, removed, lease.connection.limit)
        except TooLarge as error:
            raise StoreError(
                f"A job of {error} bytes is too large for {self._name[0].lower()}{self._name[1:]}:"
                f" the server's max_allowed_packet is {lease.connection.limit + 16} bytes; raise it."
            ) from None
        if not self._send(lease, packets, again=True):
            self._send(lease, packets, again=False)

    def _send(self, lease: _Lease, packets: list[bytes], again: bool) -> bool:
        """
        @param again: whether it can be tried again.
        @return: C{False} if it is to be tried again.
        @raise StoreError: if it has failed.
        """
        connection = lease.connection
        packet = b""
        try:
            for packet in packets:
                connection.run(packet)
            return True
        except MySQLError as error:
            code = code_of(error)
            explained = explain(error, self._name)
            # (An error without a number is none of the server's.)
            explained.uncertain = code in INTERRUPTED or (packet is packets[-1] and code in (0, CR.CR_SERVER_LOST))
            usable = self._tidy_up(lease, code)
        except BaseException:
            lease.drop()
            raise
        if again and code == CR.CR_SERVER_GONE_ERROR:
            # The connection was closed before all of the packet was sent, and
            # so nothing of it has been done.
            lease.renew()
            return False
        if again and code == ER.LOCK_DEADLOCK and usable:
            return False
        raise explained

    def _tidy_up(self, lease: _Lease, code: int) -> bool:
        """
        See to it that nothing of a batch is left that has failed.

        @return: whether the connection can be used.
        """
        if lease.connection.open and code and code not in INTERRUPTED and code not in READ_ONLY:
            try:
                lease.connection.run("ROLLBACK")
                return True
            except MySQLError:
                # Without the connection, it is rolled back as well.
                pass
        lease.drop()
        return False

    def _ping(self, lease: _Lease) -> None:
        if lease.connection.busy:
            return
        try:
            lease.connection.check()
        except MySQLError:
            lease.drop()
