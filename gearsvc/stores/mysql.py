"""
The durable queue in MySQL or MariaDB, C{-q mysql}.

The table is gearmand's own (L{gearsvc.stores.mysqltable}); what is sent stands
in L{gearsvc.stores.mysqlrows}.  There is one connection.  A batch is one
transaction, and one round trip.

PyMySQL blocks, and so runs in a thread (L{gearsvc.stores.mysqlpool}).  Small
batches need none (L{gearsvc.stores.mysqlchannel}).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from configparser import Error as DefaultsFileError
from typing import Any, TypeVar, cast

from pymysql.constants import CR, ER
from pymysql.err import MySQLError
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IQueueStore, StoreError
from gearsvc.stores import mysqlconnection
from gearsvc.stores.mysqlchannel import CHANNEL_BYTES, Channel, ChannelReactor
from gearsvc.stores.mysqlconnection import INTERRUPTED, READ_ONLY, Connection, Place, code_of, explain
from gearsvc.stores.mysqlownership import Ownership
from gearsvc.stores.mysqlpool import Lease, Pool
from gearsvc.stores.mysqlrows import Key, Row, Statements, TooLarge
from gearsvc.stores.mysqltable import QueueTable
from gearsvc.stores.reconnecting import Backoff
from gearsvc.stores.rows import MADE_KEY
from gearsvc.stores.threads import replay

CHECK_SECONDS = 20.0
"""
How often an idle connection is used: the server takes one that is silent for
L{LOST_SECONDS <gearsvc.stores.mysqlconnection.LOST_SECONDS>} for lost.
"""

CHANNEL_JOBS = 16
"""
The largest batch that needs no thread: the server takes longer for a larger one
than the thread does.
"""

_AGAIN = {CR.CR_SERVER_GONE_ERROR, ER.LOCK_DEADLOCK}
"""
After these, nothing of the batch has been done, and it may be at once: the
connection was closed before all was sent; another session was in the way.
"""

Result = TypeVar("Result")


@implementer(IQueueStore)
class MySQLStore:
    """
    Jobs in a table of MySQL's, or MariaDB's.
    """

    def __init__(self, place: Place, table: str = "gearman_queue", reactor: ChannelReactor | None = None) -> None:
        """
        @param table: its name in the database; it is made if it is not there.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._place = place
        self._table = table
        self._reactor = reactor
        self._name = f"The MySQL queue {place.database + '.' if place.database else ''}{table} at {place}"
        self.description = self._name
        self._pool: Pool | None = None
        self._channel: Channel | None = None
        # How many calls of the thread are under way.
        self._calls = 0
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

            self._reactor = cast(ChannelReactor, reactor)
        self._backoff = Backoff(time.monotonic)
        pool = self._pool = Pool(self._connect, self._reactor)
        try:
            self.description = await self._run(self._prepare)
        except BaseException:
            self._pool = None
            await pool.end()
            raise
        self._channel = Channel(self._reactor)
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
        return await replay(self._run_plainly, found, accept, total, self._name)

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        statements = self._statements
        assert statements is not None, "the store is not open"
        rows, keys = [statements.row(record) for record in added], [statements.key(record) for record in removed]
        if len(rows) + len(keys) <= CHANNEL_JOBS and not self._calls:
            assert self._pool is not None and self._channel is not None, "the store is not open"
            connection = self._pool.connection
            # (A small workload is written as twice as many digits.)
            size = sum(len(head) + 2 * len(workload) for head, workload in rows)
            if connection is not None and size <= CHANNEL_BYTES and connection.is_at_rest():
                try:
                    packets = self._packets(rows, keys, connection)
                except StoreError as error:
                    return fail(error)
                if len(packets) == 1 and len(packets[0]) <= CHANNEL_BYTES:
                    return self._channel.send(connection, packets[0]).addErrback(self._refused, connection, packets)
        return self._run(self._write, rows, keys)

    def _packets(self, rows: list[Row], keys: list[Key], connection: Connection) -> list[bytes]:
        assert self._statements is not None
        try:
            return self._statements.packets(rows, keys, connection.limit)
        except TooLarge as error:
            raise StoreError(
                f"A job of {error} bytes is too large for {self._name[0].lower()}{self._name[1:]}:"
                f" the server's max_allowed_packet is {connection.packet_limit} bytes; raise it."
            ) from None

    def _refused(self, reason: Failure, connection: Connection, packets: list[bytes]) -> Deferred[None]:
        """
        What was sent without the thread has failed.
        """
        error = reason.value
        assert isinstance(error, MySQLError)
        if code_of(error) in _AGAIN:
            return self._run(self._send, packets, False)
        return ensureDeferred(self._give_up(error, connection))

    async def _give_up(self, error: MySQLError, connection: Connection) -> None:
        explained = self._explain(error, True)
        if _is_usable(connection, error):
            try:
                await self._run(self._roll_back)
            except StoreError:
                # There is a new connection, or none: nothing is left of the old one.
                pass
        raise explained

    def _explain(self, error: MySQLError, last: bool) -> StoreError:
        """
        @param last: whether it was the packet with the C{COMMIT} that failed.
        """
        explained = explain(error, self._name)
        code = code_of(error)
        # (An error without a number is none of the server's.)
        explained.uncertain = code in INTERRUPTED or (last and code in (0, CR.CR_SERVER_LOST))
        return explained

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        pool, self._pool = self._pool, None
        if pool is None:
            return succeed(None)
        checks, self._checks = self._checks, None
        if checks is not None and checks.running:
            checks.stop()
        return ensureDeferred(pool.end())

    def _run(self, function: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        """
        Call a function in the thread.

        @param function: its first argument is the L{Lease}.
        """
        assert self._pool is not None, "the store is not open"
        self._calls += 1
        result: Deferred[Result] = self._pool.runWithConnection(function, *arguments)
        return result.addBoth(self._returned)

    def _run_plainly(self, function: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        return self._run(lambda lease: function(*arguments))

    def _returned(self, result: Result) -> Result:
        self._calls -= 1
        return result

    async def _check(self) -> None:
        """
        Use the connection: so the server keeps it, and the table stays ours.
        """
        assert self._channel is not None
        if self._calls or self._channel.active:
            # It is being used.
            return
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

    def _prepare(self, lease: Lease) -> str:
        """
        Make the table ready.

        @return: the store's description.
        """
        connection = lease.connection
        try:
            connection.wait(mysqlconnection.PREPARE_SECONDS)
            table = QueueTable(self._table, self._name)
            table.prepare(connection)
            self._statements = Statements(table)
            # A column or a trigger of somebody's might not let us write, and it
            # is better to know that now.
            connection.run(self._statements.trial(JobRecord(b"\xff", b"\xff", MADE_KEY, 1, b"\xff", 2**40, b"\xff")))
            connection.wait(mysqlconnection.COMMIT_SECONDS)
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
        # (A my.cnf may have named another place than the options do.)
        place = connection.unix_socket or f"{connection.host}:{connection.port}"
        return (
            f"MySQL database {connection.database} at {place} ({version.decode()}), table {self._table}:"
            f" what was acknowledged survives a crash of {survives}{'; ' + loses if loses else ''} ({found})"
        )

    def _begin_replay(self, lease: Lease) -> tuple[int, Iterator[list[JobRecord]]]:
        """
        @return: how many jobs there are; and the jobs, in pieces.
        """
        assert self._statements is not None
        connection = lease.connection
        try:
            connection.wait(mysqlconnection.PREPARE_SECONDS)
            total = int(connection.rows(self._statements.count)[0][0])
        except MySQLError as error:
            raise explain(error, self._name) from None
        return total, self._read(connection)

    def _read(self, connection: Connection) -> Iterator[list[JobRecord]]:
        assert self._statements is not None
        try:
            yield from self._statements.pieces(connection.stream(self._statements.select))
            connection.wait(mysqlconnection.COMMIT_SECONDS)
        except MySQLError as error:
            raise explain(error, self._name) from None

    def _write(self, lease: Lease, rows: list[Row], keys: list[Key]) -> None:
        """
        Commit a batch.
        """
        self._send(lease, self._packets(rows, keys, lease.connection))

    def _send(self, lease: Lease, packets: list[bytes], again: bool = True) -> None:
        """
        @param again: whether it can be tried a second time.
        """
        connection = lease.connection
        packet = b""
        try:
            for packet in packets:
                connection.run(packet)
            return
        except MySQLError as error:
            explained = self._explain(error, packet is packets[-1])
            again = again and code_of(error) in _AGAIN
            if _is_usable(connection, error):
                self._roll_back(lease)
        except BaseException:
            connection.abandon()
            raise
        if not again:
            raise explained
        lease.renew()
        self._send(lease, packets, again=False)

    def _roll_back(self, lease: Lease) -> None:
        """
        See to it that nothing is left of a batch that has failed: the next one
        would commit it.
        """
        try:
            lease.connection.run("ROLLBACK")
        except MySQLError:
            # With the connection, it ends as well.
            lease.connection.abandon()

    def _ping(self, lease: Lease) -> None:
        if lease.connection.busy:
            return
        try:
            lease.connection.check()
        except MySQLError:
            lease.connection.abandon()


def _is_usable(connection: Connection, error: MySQLError) -> bool:
    """
    Whether a connection is good for more, after an error.  If not, it is closed.
    """
    code = code_of(error)
    if connection.open and (not code or code in INTERRUPTED or code in READ_ONLY):
        connection.abandon()
    return bool(connection.open)
