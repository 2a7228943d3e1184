"""
Tests for L{gearsvc.stores.mysqltable} and L{gearsvc.stores.mysqlrows}: what stands in the table, and tables that somebody
else made.
"""

from __future__ import annotations

from typing import Any

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import mysql, mysqlrows
from gearsvc.testing import fields_of, record
from tests.stores.mysqls import GEARMANDS_TABLE, MySQLCase

DRIZZLES_TABLE = GEARMANDS_TABLE.replace("when_to_run INT", "when_to_run BIGINT")
"""What gearmand's libdrizzle module created."""

OLD_TABLE = GEARMANDS_TABLE.replace("when_to_run INT,", "")
"""What gearmand created before it knew SUBMIT_JOB_EPOCH."""

FIRST_TABLE = (
    "CREATE TABLE gearman_queue(unique_key VARCHAR(64) PRIMARY KEY,function_name VARCHAR(255),priority INT,data LONGBLOB)"
)
"""What the first gearmand with libdrizzle created."""

INSERT = "INSERT INTO gearman_queue (unique_key, function_name, priority, data) VALUES"


class LayoutTests(MySQLCase):
    """
    What stands in the database.
    """

    def columns(self) -> list[tuple[Any, ...]]:
        """
        @return: the name, type, key and default of each column.
        """
        return [(row[0], row[1], row[3], row[4], row[5]) for row in self.sql("SHOW COLUMNS FROM gearman_queue")]

    async def test_new_table(self) -> None:
        """
        A new table has gearmand's columns, whose key is bytes, and the others, which may all be left out.
        """
        await (await self.opened()).close()
        self.assertEqual(
            self.columns(),
            [
                ("unique_key", "varbinary(64)", "MUL", None, ""),
                ("function_name", "varbinary(255)", "", None, ""),
                ("priority", "int(11)", "", None, ""),
                ("data", "longblob", "", None, ""),
                ("when_to_run", "int(11)", "", None, ""),
                ("handle", "varbinary(255)", "", None, ""),
                ("unique_id", "varbinary(255)", "", None, ""),
                ("function", "blob", "", None, ""),
                ("reducer", "blob", "", None, ""),
                ("attempts", "int(11)", "", None, ""),
                ("run_at", "bigint(20)", "", None, ""),
                ("submitted", "double", "", None, ""),
                ("position", "bigint(20)", "PRI", None, "auto_increment"),
            ],
        )
        keys = [(row[2], row[4]) for row in self.sql("SHOW INDEX FROM gearman_queue") if not row[1]]
        self.assertEqual(keys, [("PRIMARY", "position"), ("unique_key", "unique_key"), ("unique_key", "function_name")])

    async def test_row(self) -> None:
        """
        gearmand's columns hold what gearmand would write there; the others what it forgets, and what does not fit.
        """
        await self.write(
            [
                record(1, unique=b"u", priority=0, workload=b"\0'\\", run_at=5),
                record(2, reducer=b"sum", attempts=2, run_at=2**40),
                record(3, unique=b"v" * 64, function=b"f" * 300),
            ],
            [],
        )
        rows = self.sql("SELECT * FROM gearman_queue ORDER BY position")
        key, long = b"gearsvc:H:test:2", b"f" * 300
        self.assertEqual(
            [row[:-1] for row in rows],
            [
                (b"u", b"resize", 0, b"\0'\\", 5, b"H:test:1", None, None, None, 0, None, 1700000001.0),
                (key, b"resize", 1, b"workload 2", 2**31 - 1, b"H:test:2", b"", None, b"sum", 2, 2**40, 1700000002.0),
                (
                    b"gearsvc:H:test:3", b"f" * 255, 1, b"workload 3", 0, b"H:test:3", b"v" * 64, long, None, 0, None, 1700000003.0
                ),
            ],
        )

    async def test_changed_by_hand(self) -> None:
        """
        What somebody changes in the columns that gearmand has is what counts.
        """
        await self.write([record(1, unique=b"u", run_at=2**31 - 1), record(2, unique=b"v")], [])
        self.sql("UPDATE gearman_queue SET when_to_run = 0, priority = 0, function_name = 'rotate'")
        self.assertEqual(
            [(job.function, job.unique, job.priority, job.run_at) for job in await self.replayed()],
            [(b"rotate", b"u", 0, 0), (b"rotate", b"v", 0, 0)],
        )

    async def test_odd_table_names(self) -> None:
        """
        The table may have any name; one that looks like a pattern for another's name, or differs from it in the case of its
        letters, is another table.
        """
        self.sql("CREATE TABLE gearmanXqueue (name INT)", "CREATE TABLE GEARMAN_QUEUE (name INT)")
        for number, name in enumerate(["gearman_queue", "a `table` of; 'jobs\\'", "Größe"]):
            self.table = name
            await self.write([record(number)], [])
            self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(record(number))])

    async def test_beside_others(self) -> None:
        """
        Two queues in one database are two, each with a server of its own.
        """
        first = await self.opened()
        await first.commit([record(1)], [])
        self.table = "second_queue"
        self.assertEqual(await self.replayed(), [])


class AdoptionTests(MySQLCase):
    """
    Tables that gearmand, or a person, made.
    """

    async def test_gearmands_rows(self) -> None:
        """
        Rows that gearmand wrote are jobs without a handle, with NULL for an empty workload or no time; what is no priority is
        normal; a unique id of which gearmand cut the last byte is the rest.
        """
        cut = "v" * 63
        self.sql(
            GEARMANDS_TABLE,
            "INSERT INTO gearman_queue VALUES ('u', 'f', 0, x'00ff', 0), ('', 'f', 2, NULL, NULL), ('-', 'f', 7, 'text', 5),"
            f" ('p', 'f', NULL, x'', -1), (CONCAT('{cut}', CHAR(0)), 'f', 1, x'01', 0)",
        )
        self.assertEqual(
            [(job.handle, job.unique, job.priority, job.workload, job.run_at) for job in await self.replayed()],
            [
                (b"", b"u", 0, b"\0\xff", 0),
                (b"", b"", 2, b"", 0),
                (b"", b"-", 1, b"text", 5),
                (b"", b"p", 1, b"", -1),
                (b"", cut.encode(), 1, b"\1", 0),
            ],
        )

    async def test_gearmands_rows_are_found_again(self) -> None:
        """
        Each row that gearmand wrote can be changed in its place and removed by the job that was replayed from it, once that has
        a handle.
        """
        self.sql(GEARMANDS_TABLE, INSERT + ", ".join(f"('{unique}', 'f', 1, 'x')" for unique in ("", "u", "-", "w" * 64)))
        jobs = await self.replayed()
        for number, job in enumerate(jobs):
            job.handle, job.attempts = b"H:new:%d" % number, number
        await self.write(jobs, [])
        self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(job) for job in jobs])
        await self.write([], jobs)
        self.assertEqual(self.sql("SELECT * FROM gearman_queue"), [])

    async def test_old_tables(self) -> None:
        """
        Tables of every age are brought up to date, in place: their jobs are there in order, and jobs of two functions with one
        unique id fit in.
        """
        for created in (GEARMANDS_TABLE, DRIZZLES_TABLE, OLD_TABLE, FIRST_TABLE):
            self.sql("DROP TABLE IF EXISTS gearman_queue", created, INSERT + "('a', 'f', 1, 'a'), ('b', 'f', 1, 'b')")
            await self.write([record(1, unique=b"a", function=b"g"), record(2, run_at=2**40)], [])
            jobs = await self.replayed()
            self.assertEqual([job.workload for job in jobs], [b"a", b"b", b"workload 1", b"workload 2"])
            self.assertEqual(jobs[3].run_at, 2**40)

    async def test_order(self) -> None:
        """
        The jobs of gearmand's table come back in the order in which it wrote them.
        """
        self.sql(GEARMANDS_TABLE, INSERT + "('z', 'f', 1, ''), ('a', 'g', 1, ''), ('m', 'f', 1, '')", INSERT + "('b', 'a', 1, '')")
        self.assertEqual([job.unique for job in await self.replayed()], [b"z", b"a", b"m", b"b"])

    async def test_tables_with_more(self) -> None:
        """
        A table to which somebody gave a primary key, a counter or a column of their own keeps them.
        """
        for change in (
            "ADD COLUMN id BIGINT AUTO_INCREMENT PRIMARY KEY FIRST",
            "ADD PRIMARY KEY (function_name, unique_key)",
            "DROP INDEX unique_key",
            "ADD COLUMN mine VARCHAR(10) DEFAULT 'mine', ADD INDEX (mine)",
            "MODIFY COLUMN data TEXT",
        ):
            self.sql("DROP TABLE IF EXISTS gearman_queue", GEARMANDS_TABLE, f"ALTER TABLE gearman_queue {change}")
            self.sql(INSERT + "('a', 'f', 1, 'a')")
            before = {row[0] for row in self.sql("SHOW COLUMNS FROM gearman_queue")}
            await self.write([record(1), record(2, workload=bytes(range(256)) * 1000)], [])
            await self.write([record(1, attempts=1)], [])
            jobs = await self.replayed()
            self.assertEqual([job.workload[:10] for job in jobs], [b"a", b"workload 1", bytes(range(10))])
            self.assertLessEqual(before, {row[0] for row in self.sql("SHOW COLUMNS FROM gearman_queue")})

    async def test_names_in_every_character_set(self) -> None:
        """
        Function names and unique ids that gearmand sent as UTF-8 are the same bytes, whatever the table's character set has
        made of them; as are those that an older client library called Latin-1.
        """
        all_names = ["plain", "größe", "GRÖSSE", "é"]
        for charset, client, names in [
            ("latin1", "utf8mb4", all_names), ("latin1", "latin1", all_names), ("latin1", "utf8mb3", all_names),
            ("utf8mb3", "utf8mb4", all_names), ("utf8mb4", "utf8mb4", all_names), ("cp1250", "utf8mb4", all_names),
            ("utf16", "utf8mb4", all_names), ("utf16", "utf8mb4", ["plain"]), ("binary", "utf8mb4", all_names),
        ]:  # fmt: skip
            self.sql("DROP TABLE IF EXISTS gearman_queue", f"{GEARMANDS_TABLE} CHARACTER SET {charset}")
            connection = self.server.connect(self.database)
            with connection.cursor() as cursor:
                cursor.execute(f"SET NAMES {client}")
                for name in names:
                    cursor.execute(f"{INSERT} ('{name}', '{name}', 1, '')".encode())
            connection.close()
            jobs = await self.replayed()
            expected = [(name.encode(), name.encode()) for name in names]
            self.assertEqual([(job.function, job.unique) for job in jobs], expected, (charset, client))
            for number, job in enumerate(jobs):
                job.handle = b"H:new:%d" % number
            await self.write([], jobs)
            self.assertEqual(self.sql("SELECT * FROM gearman_queue"), [], (charset, client))

    async def test_long_names(self) -> None:
        """
        A name that took more than 255 bytes in gearmand's table is kept.
        """
        name = "é" * 200
        self.sql(f"{GEARMANDS_TABLE} CHARACTER SET utf8mb4", f"{INSERT} ('{'é' * 60}', '{name}', 1, '')")
        [job] = await self.replayed()
        self.assertEqual((job.function, job.unique), (name.encode(), ("é" * 60).encode()))
        job.handle = b"H:new:1"
        await self.write([job, record(2, function=name.encode())], [])
        self.assertEqual([job.function for job in await self.replayed()], [name.encode()] * 2)
        await self.write([], [job])
        self.assertEqual(len(await self.replayed()), 1)

    async def test_rewritten_by_gearmand(self) -> None:
        """
        A row of ours that was written anew with what gearmand knows of it is a job without a unique id again, and is found
        again.
        """
        await self.write([record(1)], [])
        self.sql(
            "REPLACE INTO gearman_queue (unique_key, function_name, priority, data, when_to_run)"
            " SELECT unique_key, function_name, priority, data, when_to_run FROM gearman_queue",
        )
        [job] = await self.replayed()
        self.assertEqual((job.handle, job.unique, job.workload), (b"", b"", b"workload 1"))
        job.handle = b"H:new:1"
        await self.write([], [job])
        self.assertEqual(await self.replayed(), [])

    async def test_rows_by_hand(self) -> None:
        """
        Rows that somebody inserted without a key are jobs, and can be removed one by one.
        """
        self.sql(
            GEARMANDS_TABLE,
            "INSERT INTO gearman_queue (function_name, data) VALUES ('f', 'first'), ('f', 'second'), (NULL, 'third')",
        )
        jobs = await self.replayed()
        self.assertEqual(
            [(job.function, job.unique, job.workload) for job in jobs],
            [(b"f", b"", b"first"), (b"f", b"", b"second"), (b"", b"", b"third")],
        )
        for number, job in enumerate(jobs):
            job.handle = b"H:new:%d" % number
        await self.write([], jobs[::2])
        self.assertEqual([job.workload for job in await self.replayed()], [b"second"])

    async def test_foreign_tables(self) -> None:
        """
        What is no queue, or could not take a job, or would take one for another, or could lose them, is refused and left as it
        is.
        """
        for created, *words in [
            ("CREATE TABLE gearman_queue (name TEXT, data BLOB)", "no column function_name, priority, unique_key"),
            ("CREATE VIEW gearman_queue AS SELECT 1", "it is a view"),
            ("CREATE SEQUENCE gearman_queue", "it is a sequence"),
            (GEARMANDS_TABLE + " ENGINE=MyISAM", "MyISAM", "no transactions", "ENGINE=InnoDB"),
            (GEARMANDS_TABLE + " ENGINE=Aria", "Aria", "no transactions", "ENGINE=InnoDB"),
            (GEARMANDS_TABLE.replace("priority INT", "priority VARCHAR(9)"), "its column priority is VARCHAR"),
            (GEARMANDS_TABLE.replace("priority", "position INT, priority"), "position does not count up"),
            (GEARMANDS_TABLE.replace("priority", "handle INT, priority"), "its column handle is INT"),
            (GEARMANDS_TABLE[:-1] + ", unique key mine (priority, when_to_run))", "unique index mine"),
        ]:
            self.sql(created)
            before = self.sql("SHOW CREATE TABLE gearman_queue")
            await self.assert_refuses(*words)
            self.assertEqual(self.sql("SHOW CREATE TABLE gearman_queue"), before)
            kind = "VIEW" if "VIEW" in created else "TABLE"
            self.sql(f"DROP {kind} gearman_queue")

    async def test_not_to_be_written(self) -> None:
        """
        A table into which a job can't be written is refused, with what the server says of it.
        """
        self.sql(GEARMANDS_TABLE.replace("priority", "mine INT NOT NULL, priority"))
        await self.assert_refuses("mine", "default value")

    async def test_two_alike(self) -> None:
        """
        A table without a key, in which two rows are one job to us, is refused.
        """
        created = GEARMANDS_TABLE.replace(",unique key (unique_key, function_name)", "")
        self.sql(created, INSERT + "('u', 'f', 1, 'a'), ('u', 'f', 1, 'b')")
        await self.assert_refuses("two of its rows", "remove one")
        self.assertEqual(len(self.sql("SELECT * FROM gearman_queue")), 2)


class BatchTests(MySQLCase):
    """
    How a batch is sent.
    """

    async def assert_undone(self, jobs: list[JobRecord]) -> None:
        """
        Hold that a batch whose last job can't be stored leaves nothing behind, and that the next one is committed.
        """
        kept = record(1)
        store = await self.opened()
        await store.commit([kept], [])
        self.sql(
            "CREATE TRIGGER no BEFORE INSERT ON gearman_queue FOR EACH ROW"
            " IF NEW.function_name = 'no' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not here'; END IF",
        )
        error = await self.assertFailure(store.commit([*jobs, record(3, function=b"no")], [kept]), StoreError)
        self.assert_says(error, "not here")
        self.assertFalse(error.uncertain)
        await store.commit([record(4)], [])
        await store.close()
        self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(job) for job in (kept, record(4))])

    async def test_half_written(self) -> None:
        """
        When the last row of a batch can't be written, none of it is stored and nothing is removed: of a small one, a large
        one, and one that is several packets.
        """
        await self.assert_undone([record(2)])
        self.database = self.server.new_database()
        many = [record(number) for number in range(10, 3000)]
        await self.assert_undone(many)
        self.database = self.server.new_database()
        self.patch(mysqlrows, "PACKET_BYTES", 10_000)
        self.patch(mysqlrows, "STATEMENT_ROWS", 20)
        await self.assert_undone(many)

    async def test_several_packets(self) -> None:
        """
        A batch that does not fit into a packet is several, and comes back whole and in order.
        """
        self.patch(mysqlrows, "PACKET_BYTES", 20_000)
        self.patch(mysqlrows, "STATEMENT_BYTES", 3_000)
        jobs = [record(number, workload=b"'\\" * (number % 2000)) for number in range(3000)]
        await self.write(jobs, [])
        await self.write([], jobs[::2])
        self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(job) for job in jobs[1::2]])

    async def test_many_functions(self) -> None:
        """
        A batch may add and remove jobs of many functions.
        """
        jobs = [record(number, function=b"function %d" % (number % 700)) for number in range(2000)]
        await self.write(jobs, [])
        await self.write([], jobs[500:])
        self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(job) for job in jobs[:500]])

    async def test_large_pieces(self) -> None:
        """
        A piece of a replay holds few jobs if they are large.
        """
        self.patch(mysqlrows, "REPLAY_BYTES", 1000)
        store = await self.opened()
        await store.commit([record(number, workload=bytes(400)) for number in range(8)], [])
        pieces: list[int] = []
        await store.replay(lambda records: pieces.append(len(records)))
        self.assertEqual(pieces, [3, 3, 2])

    async def test_with_and_without_thread(self) -> None:
        """
        Small batches of every shape are the same in the thread and without it.
        """
        for limit in (0, 16):
            self.patch(mysql, "CHANNEL_JOBS", limit)
            self.database = self.server.new_database()
            store = await self.opened()
            # (From the 251st row on, the server's answers are longer.)
            jobs = [record(number, workload=b"x" * number) for number in range(300)]
            for job in jobs:
                await store.commit([job], [])
            await store.commit([], jobs[:5])
            await store.commit([record(300)], jobs[5:9])
            await store.close()
            kept = [*jobs[9:], record(300)]
            self.assertEqual([fields_of(job) for job in await self.replayed()], [fields_of(job) for job in kept])
