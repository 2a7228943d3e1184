"""
Tests for L{gearsvc.stores.postgrestable} and L{gearsvc.stores.postgresrows}:
what stands in the table, and which tables are taken for one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import postgrestable
from gearsvc.stores.postgres import PostgresStore
from gearsvc.stores.postgresrows import text_check
from gearsvc.stores.postgrestable import parse_name
from gearsvc.testing import fields_of, record
from tests.stores.postgreses import GEARMANDS_TABLE, PostgresCase

THEIR_INSERT = "INSERT INTO queue (priority, unique_key, function_name, data, when_to_run) VALUES"


def digest(value: bytes) -> str:
    """
    What stands for something that the table can't hold.
    """
    return blake2b(value, digest_size=16).hexdigest()


class LayoutTests(PostgresCase):
    """
    The rows.
    """

    def rows(self, columns: str) -> list[Any]:
        """
        @return: the table, bytes as Python has them.
        """
        rows = self.sql(f"SELECT {columns} FROM queue ORDER BY position")
        return [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in rows]

    async def test_gearmands_columns(self) -> None:
        """
        gearmand's columns hold what gearmand would write: the unique id or a
        made key, the function's name, the priority, the workload, the time.
        """
        await self.write(
            [
                record(1, unique=b"u", priority=0, workload=b"\0\xff", run_at=1_800_000_000),
                record(2, priority=2, workload=b""),
                record(3, unique=b"-"),
                record(4, unique="\u00e9\u20ac".encode(), function="\u00e9".encode()),
            ]
        )
        self.assertEqual(
            self.rows("unique_key, function_name, priority, data, when_to_run"),
            [
                ("u", "resize", 0, b"\0\xff", 1_800_000_000),
                ("gearsvc:H:test:2", "resize", 2, b"", 0),
                ("gearsvc:H:test:3", "resize", 1, b"workload 3", 0),
                ("\u00e9\u20ac", "\u00e9", 1, b"workload 4", 0),
            ],
        )

    async def test_our_columns(self) -> None:
        """
        Ours hold what gearmand forgets, and what its columns can't hold; they
        are empty where these say all.
        """
        later = 2**33
        await self.write(
            [
                record(1, unique=b"u"),
                record(2, unique=b"-", reducer=b"sum", attempts=3, submitted=1.5),
                record(3, unique=b"\xff", run_at=later),
                record(4, function=b"a\0b"),
                record(5, function=b"f" * 256),
                record(6, function="\u00e9".encode() * 255),
            ]
        )
        self.assertEqual(
            self.rows(
                "unique_key, function_name, when_to_run,"
                " handle, unique_id, function, reducer, attempts, run_at, submitted"
            ),
            [
                ("u", "resize", 0, b"H:test:1", None, None, None, 0, None, 1700000001.0),
                ("gearsvc:H:test:2", "resize", 0, b"H:test:2", b"-", None, b"sum", 3, None, 1.5),
                ("gearsvc:H:test:3", "resize", 2**31 - 1, b"H:test:3", b"\xff", None, None, 0, later, 1700000003.0),
                (
                    "gearsvc:H:test:4",
                    "gearsvc:" + digest(b"a\0b"),
                    0,
                    b"H:test:4",
                    b"",
                    b"a\0b",
                    None,
                    0,
                    None,
                    1700000004.0,
                ),
                (
                    "gearsvc:H:test:5",
                    "gearsvc:" + digest(b"f" * 256),
                    0,
                    b"H:test:5",
                    b"",
                    b"f" * 256,
                    None,
                    0,
                    None,
                    1700000005.0,
                ),
                ("gearsvc:H:test:6", "\u00e9" * 255, 0, b"H:test:6", b"", None, None, 0, None, 1700000006.0),
            ],
        )

    async def test_table(self) -> None:
        """
        The table that we make has gearmand's columns as gearmand has them, and
        nothing that has to be filled in.
        """
        await self.write([])
        columns = "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns"
        order = "WHERE table_name = 'queue' ORDER BY ordinal_position LIMIT 5"
        ours = self.sql(f"{columns} {order}")
        must = self.sql(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'queue' AND is_nullable = 'NO'"
        )
        self.sql("DROP TABLE queue", GEARMANDS_TABLE)
        self.assertEqual(ours, self.sql(f"{columns} {order}"))
        self.assertEqual(must, [("position",)])

    async def test_odd_handles(self) -> None:
        """
        A handle that is no text makes a key all the same; so does a long one.
        """
        handles = [b"H:h\xff:1", b"H:h\xff:2", b"H:" + b"h" * 80 + b":3", b"H:" + b"h" * 80 + b":4"]
        jobs = [record(number, handle=handle) for number, handle in enumerate(handles)]
        await self.write(jobs)
        self.assertEqual(self.rows("unique_key"), [("gearsvc:" + digest(handle),) for handle in handles])
        await self.write([], jobs[::2])
        await self.assert_stored(*jobs[1::2])

    async def test_other_encodings(self) -> None:
        """
        In databases of every kind of encoding arbitrary bytes are kept; and
        those names that gearmand wrote there, as text, are found again.
        """
        for encoding, theirs in (
            ("SQL_ASCII", [b"\xff\xfe", b"\xc3\xa9"]),
            ("LATIN1", [b"\xff\xfe", b"\xc3\xa9"]),
            ("WIN1252", [b"\xff\x81"]),
            ("EUC_JP", ["\u65e5\u672c".encode("euc_jp")]),
        ):
            self.database = self.server.new_database() + "_" + encoding.lower()
            self.server.sql(
                f"CREATE DATABASE {self.database} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
                database="postgres",
            )
            self.sql(GEARMANDS_TABLE)
            for name in theirs:
                self.insert_raw(encoding, name)
            names = [
                *theirs,
                b"\xff\xfe",
                b"\xc3\xa9",
                b"\xa4",
                b"\0",
                b"a\0\xff",
                b"\\'\"{}",
                "\u65e5".encode("euc_jp"),
            ]
            jobs = [
                record(len(names) * a + b, function=function, unique=unique)
                for a, function in enumerate(dict.fromkeys(names))
                for b, unique in enumerate(dict.fromkeys(names))
            ]
            replayed = await self.replay()
            self.assertEqual([(job.function, job.unique) for job in replayed], [(name, name) for name in theirs])
            for number, job in enumerate(replayed):
                job.handle = b"H:theirs:%d" % number
            await self.write([], replayed)
            await self.write(jobs)
            await self.assert_stored(*jobs)
            await self.write([], (await self.replay())[::2])
            await self.assert_stored(*jobs[1::2])

    def insert_raw(self, encoding: str, name: bytes) -> None:
        """
        Add a row as gearmand does: names as they are, in the database's
        encoding.
        """
        connection = psycopg2.connect(self.server.conninfo(self.database))
        self.addCleanup(connection.close)
        with connection, connection.cursor() as cursor:
            cursor.execute(b"SET client_encoding = '%b'" % encoding.encode())
            cursor.execute(b"%b (1, '%b', '%b', 'x', 0)" % (THEIR_INSERT.encode(), name, name))
        connection.close()

    def test_text_check(self) -> None:
        """
        What a text may be depends on the database's encoding, and is counted in
        characters.
        """
        for encoding, text, width, may_be in (
            ("UTF8", b"abc", 3, True),
            ("UTF8", "\u00e9\u00e9\u00e9".encode(), 3, True),
            ("UTF8", b"abcd", 3, False),
            ("UTF8", b"a\0", 3, False),
            ("UTF8", b"\xed\xa0\x80", 3, False),
            ("UTF8", b"\xf4\x90\x80\x80", 3, False),
            ("LATIN1", b"\xff\x80", 3, True),
            ("LATIN1", b"\0", 3, False),
            ("SQL_ASCII", b"\xff\x80", 3, True),
            ("SQL_ASCII", b"\xff\x80", 1, False),
            ("EUC_JP", b"\xff\x80", 3, False),
            ("EUC_JP", b"a", 3, True),
            ("EUC_JP", "\u65e5\u672c".encode("euc_jp"), 2, True),
            ("EUC_JP", "\u65e5\u672c".encode("euc_jp"), 1, False),
            ("EUC_TW", b"a", 3, True),
            ("EUC_TW", b"\xa4\xa4", 3, False),
        ):
            self.assertIs(text_check(encoding)(text, width), may_be, (encoding, text, width))


class AdoptedTableTests(PostgresCase):
    """
    Tables that are there.
    """

    async def test_gearmands(self) -> None:
        """
        Rows that gearmand wrote are jobs, in their order and before ours, and
        can be changed and removed; a row with nothing in it is one, too.
        """
        self.sql(
            GEARMANDS_TABLE,
            f"{THEIR_INSERT} (2, 'c', 'f', 'one', 0), (0, 'a', 'f', 'two', 1800000000)",
            f"{THEIR_INSERT} (1, '', 'f', 'three', 0), (1, '-', 'g', '', 0)",
            "INSERT INTO queue (unique_key, function_name) VALUES ('b', 'f')",
            "INSERT INTO queue (data) VALUES ('first'), ('second')",
        )
        jobs = await self.replay()
        self.assertEqual(
            [(job.handle, job.function, job.unique, job.priority, job.workload, job.run_at) for job in jobs],
            [
                (b"", b"f", b"c", 2, b"one", 0),
                (b"", b"f", b"a", 0, b"two", 1800000000),
                (b"", b"f", b"", 1, b"three", 0),
                (b"", b"g", b"-", 1, b"", 0),
                (b"", b"f", b"b", 1, b"", 0),
                (b"", b"", b"", 1, b"first", 0),
                (b"", b"", b"", 1, b"second", 0),
            ],
        )
        for number, job in enumerate(jobs):
            job.handle, job.attempts = b"H:new:%d" % number, number
        await self.write([*reversed(jobs), record(1)])
        await self.assert_stored(*jobs, record(1))
        await self.write([], jobs[::2])
        await self.assert_stored(*jobs[1::2], record(1))
        self.assertEqual(self.sql("SELECT count(*) FROM queue"), [(4,)])

    async def test_rewritten_by_gearmand(self) -> None:
        """
        A row of ours that gearmand wrote anew (it knows the key alone) is a job
        without a unique id again, and is found again.
        """
        await self.write([record(1), record(2, function=b"\xff")])
        self.sql(
            "CREATE TABLE copy AS SELECT priority, unique_key, function_name, data, when_to_run FROM queue",
            "DELETE FROM queue",
            "INSERT INTO queue (priority, unique_key, function_name, data, when_to_run) SELECT * FROM copy",
        )
        jobs = await self.replay()
        self.assertEqual(
            [(job.handle, job.unique, job.workload) for job in jobs],
            [(b"", b"", b"workload 1"), (b"", b"", b"workload 2")],
        )
        for number, job in enumerate(jobs):
            job.handle = b"H:new:%d" % number
        await self.write([], jobs)
        await self.assert_stored()

    async def test_old_tables(self) -> None:
        """
        Tables of every age, and those that people made because old gearmands
        could not, are brought up to date in place: no time to run, another key,
        no key at all; their jobs stay, in order, and jobs of two functions with
        one unique id fit in.
        """
        columns = "unique_key VARCHAR(64){}, function_name VARCHAR(255){}, priority INTEGER, data BYTEA"
        for created in (
            GEARMANDS_TABLE,
            f"CREATE TABLE queue ({columns.format('', '')}, UNIQUE (unique_key, function_name))",
            f"CREATE TABLE queue ({columns.format(' PRIMARY KEY', '')})",
            f"CREATE TABLE queue ({columns.format('', '')}, PRIMARY KEY (function_name, unique_key))",
            f"CREATE TABLE queue ({columns.format('', '')}, when_to_run BIGINT, id SERIAL PRIMARY KEY)",
            f"CREATE TABLE queue ({columns.format('', '')})",
            "CREATE TABLE queue (unique_key TEXT, function_name TEXT, priority BIGINT, data BYTEA)",
            f"CREATE UNLOGGED TABLE queue ({columns.format('', '')}, UNIQUE (unique_key))",
        ):
            self.sql(
                "DROP TABLE IF EXISTS queue",
                created,
                *[
                    f"INSERT INTO queue (unique_key, function_name, priority, data) VALUES ('{key}', 'f', 1, '{key}')"
                    for key in "cab"
                ],
            )
            theirs = await self.replay()
            self.assertEqual([job.workload for job in theirs], [b"c", b"a", b"b"], created)
            ours = [record(1, unique=b"a", function=b"g"), record(2, run_at=2**32), record(3, function=b"long" * 1000)]
            await self.write(ours)
            replayed = await self.replay()
            self.assertEqual([fields_of(job) for job in replayed[3:]], [fields_of(job) for job in ours], created)
            self.assertEqual([job.workload for job in replayed[:3]], [b"c", b"a", b"b"], created)
            theirs[1].handle = b"H:new:1"
            await self.write([], [theirs[1], *ours])
            self.assertEqual([job.workload for job in await self.replay()], [b"c", b"b"], created)

    async def test_twins(self) -> None:
        """
        In a table without a key, rows with the same unique id and function are
        as many jobs, each of which can be removed by itself.
        """
        self.sql(
            "CREATE TABLE queue (unique_key VARCHAR(64), function_name VARCHAR(255), priority INTEGER, data BYTEA)",
            "INSERT INTO queue VALUES ('u', 'f', 1, 'one'), ('', 'f', 1, 'two'), ('u', 'f', 1, 'three')",
            "INSERT INTO queue VALUES ('', 'f', 1, 'four')",
        )
        jobs = await self.replay()
        self.assertEqual(
            [(job.unique, job.workload) for job in jobs],
            [(b"u", b"one"), (b"", b"two"), (b"u", b"three"), (b"", b"four")],
        )
        for number, job in enumerate(jobs):
            job.handle = b"H:new:%d" % number
        await self.write([], [jobs[0], jobs[3]])
        self.assertEqual([job.workload for job in await self.replay()], [b"two", b"three"])

    async def test_again(self) -> None:
        """
        A table that is up to date is not touched: it can be opened while others
        look at it, and by a user who may not change it.
        """
        self.sql(GEARMANDS_TABLE)
        await self.write([record(1)])
        before = self.sql("SELECT relfilenode, relnatts FROM pg_class WHERE relname = 'queue'")
        reader = psycopg2.connect(self.server.conninfo(self.database))
        self.addCleanup(reader.close)
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM queue")
            await self.write([record(2)])
        self.assertEqual(self.sql("SELECT relfilenode, relnatts FROM pg_class WHERE relname = 'queue'"), before)

    async def test_foreign_tables(self) -> None:
        """
        What is no queue, or could not be one, is refused and left as it is.
        """
        cases = [
            ("CREATE TABLE queue (name TEXT, data BYTEA)", "has no column unique_key, function_name, priority"),
            ("CREATE VIEW queue AS SELECT 1", "is a view"),
            ("CREATE SEQUENCE queue", "is a sequence"),
            (GEARMANDS_TABLE.replace("BYTEA", "TEXT"), "column data is text"),
            (
                GEARMANDS_TABLE.replace("VARCHAR(64)", "VARCHAR(30)"),
                "column unique_key holds 30 characters, and not 64",
            ),
            (GEARMANDS_TABLE.replace("BYTEA", "BYTEA, reducer TEXT"), "column reducer is text"),
            (GEARMANDS_TABLE.replace("BYTEA", "BYTEA, position BIGINT"), "column position does not count up"),
            (
                "CREATE TABLE queue (unique_key VARCHAR(64), function_name VARCHAR(255), priority INTEGER, data BYTEA)"
                " PARTITION BY HASH (unique_key)",
                "is a partitioned table",
            ),
        ]
        for created, word in cases:
            self.sql(created)
            before = self.sql("SELECT relname, relfilenode, relnatts FROM pg_class ORDER BY 1, 2")
            await self.assert_refuses(
                f"The table public.queue of the PostgreSQL database {self.database}", word, "name another table"
            )
            self.assertEqual(self.sql("SELECT relname, relfilenode, relnatts FROM pg_class ORDER BY 1, 2"), before)
            [(kind,)] = self.sql("SELECT relkind FROM pg_class WHERE relname = 'queue'")
            self.sql(f"DROP {dict(v='VIEW', S='SEQUENCE').get(kind, 'TABLE')} queue")

    async def test_no_room_for_our_rows(self) -> None:
        """
        A column or a trigger of somebody's that would not let us store a job is
        found when the store is opened.
        """
        self.sql(GEARMANDS_TABLE.replace("BYTEA", "BYTEA, mine TEXT NOT NULL"))
        await self.assert_refuses('null value in column "mine"')

    async def test_locked(self) -> None:
        """
        A table that has to be changed, and that somebody else has, may be free
        later; once it is, it is changed.
        """
        self.patch(postgrestable, "LOCK_SECONDS", 1)
        self.sql(GEARMANDS_TABLE)
        reader = psycopg2.connect(self.server.conninfo(self.database))
        self.addCleanup(reader.close)
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM queue")
            error = await self.assert_refuses("lock timeout")
            self.assertTrue(error.unreachable)
        reader.rollback()
        await self.write([record(1)])
        await self.assert_stored(record(1))

    async def test_beside_others(self) -> None:
        """
        Other tables of the database, and another queue, are left alone.
        """
        self.sql("CREATE TABLE people (name TEXT)", "INSERT INTO people VALUES ('Ada')")
        await self.write([record(1)])
        self.table = "second_queue"
        await self.write([record(2)])
        await self.assert_stored(record(2))
        self.table = "queue"
        await self.assert_stored(record(1))
        self.assertEqual(self.sql("SELECT * FROM people"), [("Ada",)])

    async def test_two_queues_at_once(self) -> None:
        """
        Two servers may use two tables of one database.
        """
        first = await self.open()
        self.table = "second_queue"
        second = await self.open()
        await first.commit([record(1)], [])
        await second.commit([record(2)], [])
        await second.close()
        await self.assert_stored(record(2))


class NameTests(PostgresCase):
    """
    What the table is called.
    """

    def test_parse(self) -> None:
        """
        A name is read as in gearmand's statements, which do not quote it.
        """
        for text, schema, table in (
            ("queue", None, "queue"),
            ("Queue_2$", None, "queue_2$"),
            ('"Queue"', None, "Queue"),
            ('"a ""b"" c"', None, 'a "b" c'),
            ("Jobs.Queue", "jobs", "queue"),
            ('"Jobs"."Queue"', "Jobs", "Queue"),
            ('jobs."a.b"', "jobs", "a.b"),
            ("\u00c9tat", None, "\u00c9tat"),
            ("my-queue", None, "my-queue"),
            ("2nd", None, "2nd"),
            ("a b", None, "a b"),
            ('a"b', None, 'a"b'),
            ("a.b.c", None, "a.b.c"),
            ("queue; DROP TABLE people", None, "queue; DROP TABLE people"),
            ('""', None, '""'),
        ):
            self.assertEqual(parse_name(text), (schema, table), text)

    async def test_odd_names(self) -> None:
        """
        The table may have any name: of a word that SQL has, with quotes, signs
        that drivers take for their own, capitals; each is a table of its own.
        """
        names = [
            "order",
            'a "table" of; jobs',
            "'%s' 100%",
            '"Queue"',
            "Queue",
            "\u00c9tat",
            "back\\slash",
            "$1",
            "user",
        ]
        for number, self.table in enumerate(names):
            await self.write([record(number, workload=bytes(9000))])
        for number, self.table in enumerate(names):
            await self.assert_stored(record(number, workload=bytes(9000)))
        tables = {
            name for [name] in self.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")
        }
        self.assertEqual(tables, {name.strip('"') if name == '"Queue"' else parse_name(name)[1] for name in names})

    async def test_schemas(self) -> None:
        """
        A table without a schema is the one that the search path finds, and is
        made in its first schema; one of the same name elsewhere is another
        (where gearmand takes it for the table, and then does not find it).
        """
        self.sql("CREATE SCHEMA a", "CREATE SCHEMA b", GEARMANDS_TABLE.replace("queue", "b.queue"))
        self.sql(f"ALTER DATABASE {self.database} SET search_path = a")
        await self.write([record(1)])
        self.assertEqual(self.sql("SELECT count(*) FROM a.queue"), [(1,)])
        self.assertEqual(self.sql("SELECT count(*) FROM b.queue"), [(0,)])
        self.table = "b.queue"
        await self.write([record(2)])
        self.assertEqual(self.sql("SELECT count(*) FROM b.queue"), [(1,)])
        self.sql(f"ALTER DATABASE {self.database} SET search_path = nowhere")
        self.table = "queue"
        await self.assert_refuses("no schema has been selected")

    async def test_one_table_by_two_names(self) -> None:
        """
        Who names the schema and who does not mean one table: it has one owner.
        """
        await self.open()
        self.table = "public.queue"
        await self.assert_refuses("in use by another server")


class PrivilegeTests(PostgresCase):
    """
    A user who may not do everything.
    """

    def setUp(self) -> None:
        """
        Make the user.
        """
        super().setUp()
        self.user = f"user_{self.database}"
        self.sql(f"CREATE ROLE {self.user} LOGIN")
        self.more = f"user={self.user}"

    async def test_may_not_make_it(self) -> None:
        """
        Who may not make the table is told the statement that makes it; when
        somebody else has run it, and allowed the use, the store works, without
        a privilege on what counts.
        """
        error = await self.assert_refuses(
            "may not make or change the table public.queue", "permission denied", more=self.more
        )
        statement = str(error).partition("do it: ")[2]
        self.assertTrue(statement.startswith("CREATE TABLE IF NOT EXISTS"), statement)
        self.sql(statement, f"GRANT SELECT, INSERT, UPDATE, DELETE ON queue TO {self.user}")
        store = await self.open(self.more)
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))

    async def test_may_not_change_it(self) -> None:
        """
        The same with a table of gearmand's that has to be brought up to date.
        """
        self.sql(GEARMANDS_TABLE, f"{THEIR_INSERT} (1, 'u', 'f', 'x', 0)")
        self.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON queue TO {self.user}")
        error = await self.assert_refuses(
            "may not make or change the table public.queue", "must be owner", more=self.more
        )
        statement = str(error).partition("do it: ")[2]
        self.assertTrue(statement.startswith('ALTER TABLE "public"."queue" ADD COLUMN position'), statement)
        self.sql(statement)
        store = await self.open(self.more)
        jobs: list[JobRecord] = []
        await store.replay(jobs.extend)
        jobs[0].handle = b"H:new:1"
        await store.commit([record(1)], jobs)
        await store.close()
        await self.assert_stored(record(1))

    async def test_may_not_use_it(self) -> None:
        """
        Every privilege that will be needed is looked at when the store is
        opened.
        """
        await self.write([])
        for missing in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            self.sql(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON queue TO {self.user}",
                f"REVOKE {missing} ON queue FROM {self.user}",
            )
            await self.assert_refuses(
                "permission denied for table queue", "grant this user SELECT, INSERT, UPDATE and DELETE", more=self.more
            )
        self.sql(f"GRANT DELETE ON queue TO {self.user}")
        await self.open(self.more)

    async def test_hidden_rows(self) -> None:
        """
        A table some of whose rows may be hidden from the user is refused: their
        jobs would never run.
        """
        await self.write([record(1)])
        self.sql(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON queue TO {self.user}",
            "ALTER TABLE queue ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY hidden ON queue USING (function_name <> 'resize')",
        )
        await self.assert_refuses("row level security", more=self.more)

    async def test_owner_of_another_user(self) -> None:
        """
        A server is named to one of another user, too, who may see less of it.
        """
        first = await self.open()
        self.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON queue TO {self.user}")
        second = PostgresStore(f"{self.server.conninfo(self.database)} {self.more}")
        with self.assertRaises(StoreError) as caught:
            await second.open()
        self.assert_says(caught.exception, "in use by another server, process ")
        await first.close()


class StatementTests(SynchronousTestCase):
    """
    What needs no server.
    """

    def test_bytes_are_no_statement(self) -> None:
        """
        Nothing that a client sends stands in a statement as it is.
        """
        from gearsvc.stores.postgresrows import Statements
        from gearsvc.stores.postgrestable import QueueTable

        evil = b"'); DROP TABLE queue; --"
        job = record(1, function=evil, unique=evil, workload=evil, handle=evil, reducer=evil)
        batch = Statements(QueueTable("queue"), "UTF8").batch([job], [job])
        self.assertNotIn(b"DROP", batch)
        self.assertEqual(batch.count(evil.hex().encode()), 7)
