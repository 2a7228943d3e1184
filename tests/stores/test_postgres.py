"""
Tests for L{gearsvc.stores.postgres}, with a real PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg2

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.stores import postgres, postgresconnection, postgresownership, postgresrows, reconnecting
from gearsvc.stores.ownership import this_server
from gearsvc.stores.postgres import PostgresStore
from gearsvc.testing import fields_of, record, sleep
from tests.stores.postgreses import GEARMANDS_TABLE, PostgresCase
from tests.stores.wire import WireContract


class PostgresContractTests(WireContract, PostgresCase):
    """
    What every store promises.
    """

    def setUp(self) -> None:
        """
        Let the store try again soon.
        """
        super().setUp()
        self.patch(reconnecting, "LAST_PAUSE", 0.2)

    def make_store(self) -> IQueueStore:
        """
        All of one test use one database.
        """
        return self.make()

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Nothing but the connection tells the database of a process that was killed.
        """
        self.wire.cut_once()


class CommitTests(PostgresCase):
    """
    What becomes of batches beyond what every store promises.
    """

    async def assert_fails(self, store: PostgresStore, *records: JobRecord) -> StoreError:
        """
        Hold that a batch can't be committed.
        """
        try:
            await store.commit(records, [])
        except StoreError as error:
            self.assertNotIn("\n", str(error))
            return error
        self.fail("the commit did not fail")

    async def test_same_job_twice(self) -> None:
        """
        Of two records of one job in one batch the last one counts.
        """
        await self.write([record(1, unique=b"u", attempts=1), record(2), record(1, unique=b"u", attempts=2)])
        await self.assert_stored(record(1, unique=b"u", attempts=2), record(2))

    async def test_index_is_used(self) -> None:
        """
        Rows are removed by the index, in a table that was empty when the
        session began, and without statistics.
        """
        store = await self.open()
        for start in range(0, 500, 50):
            await store.commit([record(number, unique=b"%d" % number) for number in range(start, start + 50)], [])
        assert store._session is not None and store._statements is not None
        removal = store._statements.batch([], [record(7, unique=b"7")])
        plan = "\n".join(line for [line] in await store._session.query(b"EXPLAIN " + removal))
        self.assertIn("Index Scan using queue_unique_key_function_name_key", plan)
        self.assertNotIn("Seq Scan", plan)

    async def test_too_large(self) -> None:
        """
        A batch that PostgreSQL could not take is refused before it is sent,
        and the session goes on.
        """
        self.patch(postgresrows, "LARGEST_BATCH", 1_000_000)
        store = await self.open()
        error = await self.assert_fails(store, record(1, workload=bytes(1_000_001)))
        self.assertEqual(
            str(error), "A workload of 1000001 bytes is too large for PostgreSQL, which takes 1000000 at most."
        )
        self.assertFalse(error.uncertain)
        await store.commit([record(2)], [])
        await store.close()
        await self.assert_stored(record(2))

    async def test_locked_table(self) -> None:
        """
        PostgreSQL itself gives up a batch that takes too long, so that it is
        known not to be stored; the session goes on.
        """
        self.patch(postgresconnection, "COMMIT_SECONDS", 1.0)
        store = await self.open()
        blocker = self.lock_table()
        error = await self.assert_fails(store, record(1))
        self.assert_says(error, "canceling statement due to statement timeout")
        self.assertFalse(error.uncertain)
        blocker.close()
        await store.commit([record(2)], [])
        await store.close()
        await self.assert_stored(record(2))

    async def test_no_answer(self) -> None:
        """
        A batch for which there is no answer is given up, and may be stored; the
        next one is committed by a new session.
        """
        store = await self.open()
        self.patch(postgresconnection, "COMMIT_SECONDS", 0.5)
        self.wire.delay = 2.0
        error = await self.assert_fails(store, record(1))
        self.assert_says(error, "no answer within 0.5 seconds")
        self.assertTrue(error.uncertain)
        self.wire.mend()
        await store.commit([record(2)], [record(1)])
        await store.close()
        await self.assert_stored(record(2))

    async def test_former_session(self) -> None:
        """
        A session of ours that is still at a batch for which we no longer wait
        does not keep us out: it is ended, and its batch is not stored later.
        """
        store = await self.open()
        assert store._session is not None
        # Neither of these is to end it.
        await store._session.query("SET statement_timeout = 0; SET client_connection_check_interval = 0")
        self.patch(postgresconnection, "COMMIT_SECONDS", 0.5)
        blocker = self.lock_table()
        error = await self.assert_fails(store, record(1))
        self.assertTrue(error.uncertain)
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'EXECUTE gear%'"
        self.assertEqual(self.sql(busy), [(1,)])
        self.patch(postgresconnection, "COMMIT_SECONDS", 5.0)
        committed = store.commit([record(2)], [])
        await sleep(0.3)
        blocker.close()
        await committed
        await store.close()
        await self.assert_stored(record(2))

    async def test_killed_in_the_midst(self) -> None:
        """
        A server that was killed while PostgreSQL was at its batch keeps the
        next one out for a second or two at most.
        """
        self.patch(postgresownership, "LOCK_SECONDS", 5.0)
        store = await self.open()
        blocker = self.lock_table()
        committed = store.commit([record(1)], [])
        await sleep(0.2)
        self.wire.cut_once()
        await self.assertFailure(committed, StoreError)
        second = self.make()
        opened = second.open()
        await sleep(1.5)
        blocker.close()
        await opened
        await second.commit([record(2)], [])

    async def test_taken_by_another_server(self) -> None:
        """
        A store that has lost its table to another server while it could not
        reach the database commits nothing, and says who has it; when that one
        has gone, it goes on.
        """
        self.patch(reconnecting, "LAST_PAUSE", 0.1)
        first, second = await self.open(), PostgresStore(self.server.conninfo(self.database))
        self.wire.cut()
        await sleep(0.1)
        await second.open()
        self.addCleanup(second.close)
        self.wire.mend()
        for _ in range(2):
            error = await self.assert_fails(first, record(1))
            self.assert_says(error, "public.queue", "is in use by another server", this_server())
            self.assertFalse(error.uncertain)
            await sleep(0.1)
        await second.commit([record(2)], [])
        await second.close()
        await first.commit([record(3)], [])
        await first.close()
        await self.assert_stored(record(2), record(3))

    async def test_dropped_and_put_back(self) -> None:
        """
        While the table has another name commits fail and say so, in the same
        session and in a new one; when it is back, they succeed, without a
        restart.
        """
        self.patch(reconnecting, "LAST_PAUSE", 0.1)
        store = await self.open()
        await store.commit([record(1)], [])
        self.sql("ALTER TABLE queue RENAME TO away")
        self.assert_says(await self.assert_fails(store, record(2)), "somebody has dropped or renamed the table")
        self.wire.cut_once()
        await sleep(0.1)
        error = await self.assert_fails(store, record(2))
        self.assert_says(error, "table public.queue", "is gone", "start this server again")
        self.assertEqual(self.sql("SELECT count(*) FROM away"), [(1,)])
        self.sql("ALTER TABLE away RENAME TO queue")
        await sleep(0.1)
        await store.commit([record(3)], [])
        await store.close()
        await self.assert_stored(record(1), record(3))

    async def test_renamed_under_a_server(self) -> None:
        """
        A table that was renamed while a server uses it is still that server's;
        and so is one that was put in its place.
        """
        await self.open()
        self.sql("ALTER TABLE queue RENAME TO renamed", GEARMANDS_TABLE)
        await self.assert_refuses("in use by another server")
        self.table = "renamed"
        await self.assert_refuses("in use by another server")

    async def test_shared_session(self) -> None:
        """
        When something between us and PostgreSQL has let go of what we prepared,
        the batch fails and says what is wrong; the next one has a new session.
        """
        store = await self.open()
        assert store._session is not None
        await store._session.query("DEALLOCATE ALL")
        error = await self.assert_fails(store, record(1))
        self.assert_says(error, "pool_mode = session")
        self.assertFalse(error.uncertain)
        await store.commit([record(2)], [])
        await store.close()
        await self.assert_stored(record(2))

    async def test_half_written(self) -> None:
        """
        When the last row of a batch can't be written, none of it is stored and
        nothing is removed; the reason is PostgreSQL's, without the row.
        """
        await self.write([record(1)])
        self.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.function_name = 'no' THEN RAISE 'not here'; END IF; RETURN NEW; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON queue FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        store = await self.open()
        try:
            await store.commit([record(2), record(3, function=b"no", workload=b"secret")], [record(1)])
        except StoreError as error:
            self.assertEqual(str(error), f"The {self.place()} refuses: not here.")
            self.assertFalse(error.uncertain)
        else:
            self.fail("the commit did not fail")
        await store.close()
        await self.assert_stored(record(1))

    def place(self) -> str:
        """
        What the database is called.
        """
        return f"PostgreSQL database {self.database} at 127.0.0.1:{self.wire.port}"

    async def test_settings_of_the_database(self) -> None:
        """
        What an administrator has set for other programs changes nothing.
        """
        for setting in (
            "array_nulls = off",
            "bytea_output = escape",
            "client_encoding = latin1",
            "datestyle = 'german'",
            "default_transaction_isolation = serializable",
            "extra_float_digits = -10",
            "idle_in_transaction_session_timeout = 100",
            "idle_session_timeout = 100",
            "lock_timeout = 1",
            "quote_all_identifiers = on",
            "standard_conforming_strings = off",
            "statement_timeout = 20",
            "timezone = 'Asia/Kathmandu'",
        ):
            self.sql(f"ALTER DATABASE {self.database} SET {setting}")
        odd = [record(1, unique=b"\\'", submitted=1700000000.0625), record(2, function=b"\xff\0", workload=b"\\x00'\0")]
        store = await self.open()
        await sleep(0.3)
        await store.replay(lambda records: None)
        await store.commit(odd, [])
        await sleep(0.3)
        await store.commit([record(3)], [])
        await store.close()
        await self.assert_stored(*odd, record(3))

    def lock_table(self) -> Any:
        """
        @return: a connection of psycopg2's that has the table until its transaction ends.
        """
        blocker = psycopg2.connect(self.server.conninfo(self.database))
        self.addCleanup(blocker.close)
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE queue")
        return blocker


class ReplayTests(PostgresCase):
    """
    Reading the table.
    """

    async def test_large_workloads(self) -> None:
        """
        Large workloads are read a few at a time, between small ones and in
        their order.
        """
        self.patch(postgres, "REPLAY_BYTES", 100_000)
        sizes = [10, 90_000, 20, 0, 30_000, 30_000, 30_000, 30_000, 200_000, 8_000, 8_001, 5]
        jobs = [record(number, workload=bytes([number]) * size) for number, size in enumerate(sizes)]
        await self.write(jobs)
        store = await self.open()
        pieces: list[list[int]] = []
        replayed: list[JobRecord] = []

        def accept(records: Sequence[JobRecord]) -> None:
            pieces.append([len(job.workload) for job in records])
            replayed.extend(records)

        self.assertEqual(await store.replay(accept), len(jobs))
        self.assertEqual([fields_of(job) for job in replayed], [fields_of(job) for job in jobs])
        self.assertEqual(
            pieces, [[10, 90_000, 20, 0], [30_000, 30_000, 30_000], [30_000], [200_000], [8_000, 8_001, 5]]
        )

    async def test_names_are_shared(self) -> None:
        """
        Jobs of one function have one object for its name; so have reducers.
        """
        for function in (b"resize", b"\xff\0"):
            await self.write([record(number, function=function, reducer=b"sum%c" % function[0]) for number in range(3)])
        jobs = await self.replay()
        self.assertEqual(len({id(job.function) for job in jobs}), 2)
        self.assertEqual(len({id(job.reducer) for job in jobs}), 2)

    async def test_connection_breaks(self) -> None:
        """
        A replay whose connection breaks fails, and says so; the store can be
        opened again.
        """
        await self.write([record(number) for number in range(5000)])
        store = await self.open()
        with self.assertRaises(StoreError) as caught:
            await store.replay(lambda records: self.wire.cut_once())
        self.assert_says(caught.exception, "is lost")
        await store.open()
        self.assertEqual(await store.replay(lambda records: None), 5000)

    async def test_refused_jobs(self) -> None:
        """
        What goes wrong with the job server as it takes the jobs ends the
        replay, and the store can be closed.
        """
        await self.write([record(number) for number in range(5000)])
        store = await self.open()
        with self.assertRaises(ZeroDivisionError):
            await store.replay(lambda records: 1 // 0 and None)
        await store.close()
        self.assertEqual(len(await self.replay()), 5000)


class DescriptionTests(PostgresCase):
    """
    What a store says of itself.
    """

    async def description(self) -> str:
        """
        @return: what an open store says.
        """
        store = await self.open()
        await store.close()
        self.assertTrue(
            store.description.startswith(f"PostgreSQL database {self.database} at 127.0.0.1:{self.wire.port}, table ")
        )
        return store.description

    async def test_durable(self) -> None:
        """
        By default nothing that was acknowledged is lost.
        """
        said = await self.description()
        self.assertTrue(
            said.endswith(
                "table public.queue: what was acknowledged survives a crash of the server, of PostgreSQL"
                " and of its machine"
            ),
            said,
        )

    async def test_asynchronous(self) -> None:
        """
        With synchronous_commit off, the last moments can be lost.
        """
        self.sql(f"ALTER DATABASE {self.database} SET synchronous_commit = off")
        self.assertIn(
            "a crash of PostgreSQL or of its machine can lose what was acknowledged last"
            " (synchronous_commit is off, wal_writer_delay 200ms)",
            await self.description(),
        )

    async def test_unlogged(self) -> None:
        """
        An unlogged table is empty after a crash.
        """
        self.sql(GEARMANDS_TABLE.replace("TABLE", "UNLOGGED TABLE", 1))
        self.assertIn(
            "a crash of PostgreSQL or of its machine loses every job (the table is UNLOGGED)", await self.description()
        )

    def test_before(self) -> None:
        """
        Before it is open, a store says what it was told, and no password.
        """
        for conninfo, said in (
            (
                "host=db port=6432 user=me password=secret dbname=jobs",
                "PostgreSQL database jobs at db:6432, table queue",
            ),
            ("postgresql://me:secret@db/jobs", "PostgreSQL database jobs at db:5432, table queue"),
            ("host=/run/postgresql user=me", "PostgreSQL database me at /run/postgresql (port 5432), table queue"),
            ("", "PostgreSQL database, table queue"),
        ):
            self.assertEqual(PostgresStore(conninfo).description, said)
