"""
The durable queue in PostgreSQL, C{-q postgres}.

The table is gearmand's own (L{gearsvc.stores.postgrestable}); what is sent
stands in L{gearsvc.stores.postgresrows}.  There is one session
(L{gearsvc.stores.postgresconnection}), which holds the table
(L{gearsvc.stores.postgresownership}) and does everything: a batch is one
transaction, and one round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, IQueueStore, StoreError
from gearsvc.stores.postgresconnection import PATIENT_SECONDS, DatabaseError, Row, Session, place_of
from gearsvc.stores.postgresownership import Ownership, session_name
from gearsvc.stores.postgresrows import Statements
from gearsvc.stores.postgrestable import QueueTable
from gearsvc.stores.progress import Progress
from gearsvc.stores.reconnecting import Backoff

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How much of the table is in memory on its way to the job server.
"""

CLOSE_SECONDS = 2.0
"""
How long to wait for the word that the table is free.
"""

NO_SUCH_STATEMENT = "26000"
"""
An SQLSTATE.
"""


@implementer(IQueueStore)
class PostgresStore:
    """
    Jobs in a table of a PostgreSQL database.

    @ivar description: see L{IQueueStore}.
    """

    def __init__(self, conninfo: str = "", table: str = "queue", reactor: Any = None) -> None:
        """
        @param conninfo: libpq's connection string; what it leaves out is as
            for all programs that use libpq.
        @param table: the table; see L{gearsvc.stores.postgrestable.parse_name}.
        @param reactor: by default the global one.
        @raise ValueError: if the connection string can't be read; why, without
            any value in it.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._conninfo = conninfo
        self._table = QueueTable(table)
        self._ownership = Ownership(reactor)
        self._backoff = Backoff(monotonic)
        self._session: Session | None = None
        self._statements: Statements | None = None
        self.description = f"{place_of(conninfo)}, table {self._table.title}"

    # Opening.

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.
        """
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        session = await self._connect(adopt=True)
        kept = await self._what_is_kept(session)
        self.description = f"{session.place}, table {self._table.title}: {kept}"

    async def _connect(self, adopt: bool) -> Session:
        """
        Have a session that can commit.

        @param adopt: whether to make the table, or bring it up to date.
        @raise StoreError: if that fails; nothing of a batch has been sent.
        """
        session = Session(self._conninfo, session_name(), self._reactor)
        try:
            await session.connect()
            await self._prepare(session, adopt)
        except BaseException as error:
            session.close()
            if isinstance(error, StoreError):
                error.uncertain = False
            raise
        self._session = session
        return session

    async def _prepare(self, session: Session, adopt: bool) -> None:
        table = self._table
        [[standby]] = await session.query("SELECT pg_is_in_recovery()")
        if standby:
            raise StoreError(
                f"The {session.place} is a standby server's, which can only be read; name the primary server."
            )
        await table.find(session)
        store = f"The table {table.title} of the {session.place}"
        await self._ownership.take(session, f"{table.schema}\0{table.title}", store)
        if adopt:
            await table.bring_up_to_date(session)
        if not table.identity:
            raise StoreError(
                f"{store} is gone, somebody has dropped or renamed it;"
                " put it back, or start this server again to begin with a new one."
            )
        await self._ownership.take(session, str(table.identity), store)
        await self._ownership.remember(session)
        statements = Statements(table, session.encoding)
        await session.query(statements.prepare)
        if adopt:
            # A column, a trigger or a privilege might not let us store a job, and it is better to know that now.
            await session.query(statements.trial())
            self._statements = statements

    async def _what_is_kept(self, session: Session) -> str:
        """
        What a crash can lose, by the settings that there are.
        """
        [[synchronous, delay, flushing]] = await session.query(
            "SELECT current_setting('synchronous_commit'), current_setting('wal_writer_delay'),"
            " current_setting('fsync')"
        )
        if not self._table.persistent:
            return (
                "what was acknowledged survives a crash of the server;"
                " a crash of PostgreSQL or of its machine loses every job (the table is UNLOGGED)"
            )
        if synchronous == "off":
            kept = (
                "what was acknowledged survives a crash of the server; a crash of PostgreSQL or of its machine can lose"
                f" what was acknowledged last (synchronous_commit is off, wal_writer_delay {delay})"
            )
        else:
            machine = " and of its machine" if flushing == "on" else ""
            kept = f"what was acknowledged survives a crash of the server, of PostgreSQL{machine}"
        return kept + (
            "" if flushing == "on" else "; a crash of its machine can lose the whole database (fsync is off)"
        )

    # Replaying.

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        return Deferred.fromCoroutine(self._replay(accept))

    async def _replay(self, accept: Accept) -> int:
        session, statements = self._session, self._statements
        assert session is not None and statements is not None, "the store is not open"
        await session.query(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = 0;"
            f" SET LOCAL enable_seqscan = on; SET LOCAL work_mem = '64MB'; {statements.select}"
        )
        [[total]] = await session.query(statements.count, seconds=PATIENT_SECONDS)
        progress = Progress(session.place, total)
        reading = _Reading(session, statements)
        coming = Deferred.fromCoroutine(reading.next())
        try:
            while piece := await coming:
                # PostgreSQL reads on while the job server takes these.
                coming = Deferred.fromCoroutine(reading.next())
                accepted = accept(piece)
                if accepted is not None:
                    await accepted
                progress.advance(len(piece))
            await session.query("COMMIT")
        except BaseException:
            # What was read ahead, and why that failed, is of no use to anybody.
            coming.addErrback(lambda _: None)
            session.close()
            raise
        return progress.done

    # Committing.

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        See L{IQueueStore.commit}.
        """
        assert self._statements is not None, "the store is not open"
        try:
            batch = self._statements.batch(added, removed)
        except StoreError as error:
            return fail(error)
        return Deferred.fromCoroutine(self._commit(batch)) if batch else succeed(None)

    async def _commit(self, batch: bytes) -> None:
        session = self._session
        if session is None or not session.alive:
            session = await self._reconnect()
        try:
            await session.query(batch)
        except DatabaseError as error:
            if error.code == NO_SUCH_STATEMENT:
                # This session is not what we prepared, and perhaps not ours alone.
                session.close()
            raise

    async def _reconnect(self) -> Session:
        if self._session is not None:
            self._session.close()
        self._backoff.check()
        try:
            session = await self._connect(adopt=False)
        except StoreError as error:
            self._backoff.failed(error)
            raise
        self._backoff.succeeded()
        return session

    # Closing.

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.alive:
            try:
                # When this is answered, the next server can have the table.
                await session.query("SELECT pg_advisory_unlock_all()", seconds=CLOSE_SECONDS)
            except DatabaseError:
                # It has it when PostgreSQL notices that the session is gone.
                pass
            session.close()


class _Reading:
    """
    Reads the table, some jobs at a time.
    """

    def __init__(self, session: Session, statements: Statements) -> None:
        self._session = session
        self._statements = statements
        self._names: dict[bytes, bytes] = {}
        self._rows: list[Row] = []
        # The first answer comes when the table is sorted.
        self._seconds = PATIENT_SECONDS

    async def next(self) -> list[JobRecord]:
        """
        @return: the next jobs; none at the end.
        @raise StoreError: if they can't be read.
        """
        if not self._rows:
            self._rows = await self._session.query(f"FETCH {REPLAY_ROWS} FROM jobs", seconds=self._seconds)
            self._seconds = 0.0
        count = size = 0
        for *_, row_size, _, _ in self._rows:
            size += row_size
            if count and size > REPLAY_BYTES:
                break
            count += 1
        rows, self._rows = self._rows[:count], self._rows[count:]
        large = self._statements.large(rows)
        workloads: dict[str, Any] = dict(await self._session.query(large)) if large else {}
        return self._statements.records(rows, workloads, self._names)
