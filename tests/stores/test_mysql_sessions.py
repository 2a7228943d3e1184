"""
Tests for L{gearsvc.stores.mysql}'s session with the server: how it is reached, what is said when it can't be, what becomes
of it, and to whom the table belongs.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import mysql, mysqlconnection, mysqlownership
from gearsvc.stores.mysql import MySQLStore
from gearsvc.testing import fields_of, record, sleep
from tests.proxy import Proxy
from tests.running import HOST, free_port
from tests.servers import MariaDB
from tests.stores.mysqls import PASSWORD, USER, MySQLCase


class WithAndWithoutThread(MySQLCase):
    """
    What is tried both ways: with a small batch, which needs no thread, and with a larger one.
    """

    def batches(self) -> list[list[int]]:
        """
        @return: the numbers of the jobs of two batches.
        """
        return [[1], list(range(10, 100))]

    async def stored(self) -> list[bytes]:
        """
        @return: the handles of the jobs in the table.
        """
        return [handle for (handle,) in self.sql("SELECT handle FROM gearman_queue ORDER BY position")]


def handles(numbers: list[int]) -> list[bytes]:
    """
    The handles of jobs.
    """
    return [record(number).handle for number in numbers]


class ReachingTests(MySQLCase):
    """
    The ways to a server.
    """

    async def test_socket(self) -> None:
        """
        A server can be reached through its Unix socket.
        """
        self.sql(
            f"CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON *.* TO {USER}@localhost"
        )
        store = self.make_store(host="", port=0, socket=str(self.server.socket))
        await store.open()
        self.assertIn(str(self.server.socket), store.description)
        await store.commit([record(1)], [])
        await store.commit([record(number) for number in range(100, 200)], [])

    async def test_localhost(self) -> None:
        """
        On C{localhost} the server's Unix socket is taken, if there is one and no port is given; else its port.
        """
        self.sql(
            f"CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON *.* TO {USER}@localhost"
        )
        self.patch(mysqlconnection, "SOCKETS", ["/no/such/socket", str(self.server.socket)])
        for host, port, seen in [("localhost", 0, "localhost"), ("", 0, "localhost"), ("localhost", self.server.port, HOST)]:
            store = self.make_store(host=host, port=port)
            await store.open()
            [(address,)] = self.sql(
                f"SELECT HOST FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND COMMAND = 'Sleep'"
            )
            await store.close()
            self.assertEqual(address.partition(":")[0], seen)

    async def test_defaults_file(self) -> None:
        """
        What is not given comes from the group [gearmand] of a C{my.cnf}, and from no other.
        """
        file = Path(self.mktemp())
        file.write_text(
            f"[client]\nuser = nobody\n[gearmand]\nuser = {USER}\npassword = '{PASSWORD}'\nhost = {HOST}\n"
            f"port = {self.server.port}\ndatabase = {self.database}\n"
        )
        nothing = {"host": "", "port": 0, "user": "", "password": "", "database": ""}
        store = self.make_store(defaults_file=str(file), **nothing)
        await store.open()
        self.assertIn(self.database, store.description)
        await store.close()
        await self.assert_refuses("Access denied for user 'somebody'", defaults_file=str(file), **{**nothing, "user": "somebody"})
        file.write_text("user = before any group\n")
        await self.assert_refuses("no section headers", defaults_file=str(file), **nothing)

    async def test_password(self) -> None:
        """
        A password is what it is in UTF-8.
        """
        self.sql(
            f"CREATE OR REPLACE USER greek@'{HOST}' IDENTIFIED BY 'λόγος€'", f"GRANT ALL ON {self.database}.* TO greek@'{HOST}'"
        )
        await self.make_store(user="greek", password="λόγος€").open()

    async def test_encrypted(self) -> None:
        """
        A server with TLS is used with TLS; commits of all sizes go through, and an idle connection stays good.
        """
        self.server = MariaDB()
        self.addCleanup(self.server.end)
        key, certificate = self.server.directory / "key.pem", self.server.directory / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2"]
            + ["-keyout", str(key), "-out", str(certificate)],
            check=True,
            capture_output=True,
        )
        key.chmod(0o644)
        self.server.options = (f"--ssl-key={key}", f"--ssl-cert={certificate}")
        self.server.start()
        self.database = self.server.new_database()
        store = await self.opened()
        self.sql(f"ALTER USER {USER}@'{HOST}' REQUIRE SSL")
        for number in range(3):
            await store.commit([record(number)], [])
            await store.commit([record(number * 100 + extra) for extra in range(20, 50)], [])
        await store.close()
        self.assertEqual(len(await self.replayed()), 93)


class RefusalTests(MySQLCase):
    """
    What is said when a store can't be opened.
    """

    async def test_not_there(self) -> None:
        """
        Where nothing answers, it may help to wait.
        """
        await self.assert_refuses("cannot be reached: Connection refused", port=free_port(), unreachable=True)
        await self.assert_refuses("cannot be reached: No such file", socket="/no/such/socket", unreachable=True)
        await self.assert_refuses("cannot be reached: ", host="no-such-host.invalid", unreachable=True)

    async def test_says_nothing(self) -> None:
        """
        Who accepts connections and says nothing may be starting.
        """
        self.patch(mysqlconnection, "CONNECT_SECONDS", 0.3)
        with socket.create_server((HOST, 0)) as mute:
            await self.assert_refuses("does not answer", port=mute.getsockname()[1], unreachable=True)

    async def test_not_let_in(self) -> None:
        """
        A wrong password, a database that is not there or may not be used, or none, are for a person to put right.
        """
        await self.assert_refuses("Access denied for user 'gearman'", password="wrong")
        await self.assert_refuses("there is no such database", database="nowhere")
        await self.assert_refuses("no database is named", database="")
        self.sql(f"CREATE OR REPLACE USER visitor@'{HOST}' IDENTIFIED BY ''")
        await self.assert_refuses("Access denied for user 'visitor'", user="visitor", password="")
        self.sql(f"GRANT SELECT ON {self.database}.* TO visitor@'{HOST}'")
        await self.assert_refuses("CREATE command denied to user 'visitor'", user="visitor", password="")

    async def test_read_only(self) -> None:
        """
        A server that takes no writes is none to wait for.
        """
        await (await self.opened()).close()
        self.sql(
            f"CREATE OR REPLACE USER plain@'{HOST}' IDENTIFIED BY ''", f"GRANT ALL ON {self.database}.* TO plain@'{HOST}'",
            "SET GLOBAL read_only = 1",
        )
        self.addCleanup(self.sql, "SET GLOBAL read_only = 0")
        await self.assert_refuses("it takes no writes", "read-only", user="plain", password="")

    async def test_too_many_connections(self) -> None:
        """
        A server with as many connections as it may have is full for a while.
        """
        limit = self.sql("SELECT @@GLOBAL.max_connections")[0][0]
        self.sql("SET GLOBAL max_connections = 10")
        self.addCleanup(self.sql, f"SET GLOBAL max_connections = {limit}")
        others = [self.server.connect() for _ in range(9)]
        others.append(self.server.connect())
        try:
            # (An administrator has one more: the account of the others is one.)
            others.append(self.server.connect())
            await self.assert_refuses("max_connections", unreachable=True)
        finally:
            for other in others:
                other.close()

    async def test_locked(self) -> None:
        """
        A table that another session has locked is not waited for without end.
        """
        self.patch(mysqlconnection, "LOCK_WAIT_SECONDS", 1)
        await (await self.opened()).close()
        other = self.server.connect(self.database)
        self.addCleanup(other.close)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLES gearman_queue WRITE")
        await self.assert_refuses("another session has the table, or some of its rows, locked")


class SessionTests(WithAndWithoutThread):
    """
    What becomes of the session.
    """

    def kill(self) -> None:
        """
        End the store's session, as an administrator would.
        """
        [(session,)] = self.sql(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND COMMAND = 'Sleep'")
        self.sql(f"KILL {session}")

    async def test_killed(self) -> None:
        """
        A commit that finds the connection closed makes another one.
        """
        store = await self.opened()
        for batch in self.batches():
            self.kill()
            await sleep(0.05)
            await store.commit([record(number) for number in batch], [])
        self.assertEqual(await self.stored(), handles(sum(self.batches(), [])))

    async def test_closed_unnoticed(self) -> None:
        """
        When the connection turns out to be closed as a batch is sent, nothing of it was done, and it is sent again.
        """
        with Proxy(self.server.port) as wire:
            store = self.make_store(port=wire.port)
            await store.open()
            for name in ("is_alive", "is_at_rest"):
                check = getattr(mysqlconnection.Connection, name)
                self.patch(mysqlconnection.Connection, name, lambda connection, check=check: connection.open or check(connection))
            for batch in self.batches():
                wire.cut_once()
                await sleep(0.05)
                await store.commit([record(number) for number in batch], [])
            await store.close()
        self.assertEqual(await self.stored(), handles(sum(self.batches(), [])))

    async def test_idle(self) -> None:
        """
        A server closes a connection that is silent; ours is not, for as long as it is open.
        """
        self.patch(mysqlconnection, "LOST_SECONDS", 1)
        self.patch(mysql, "CHECK_SECONDS", 0.2)
        store = await self.opened()
        find = f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND COMMAND = 'Sleep'"
        before = self.sql(find)
        await sleep(2.2)
        self.assertEqual(self.sql(find), before)
        await store.commit([record(1)], [])

    async def test_lost_idle(self) -> None:
        """
        A connection that the server closed, because this process was not able to use it, is replaced.
        """
        self.patch(mysqlconnection, "LOST_SECONDS", 1)
        store = await self.opened()
        for batch in self.batches():
            await sleep(1.6)
            await store.commit([record(number) for number in batch], [])
        self.assertEqual(await self.stored(), handles(sum(self.batches(), [])))

    async def test_check_finds_it_gone(self) -> None:
        """
        A connection that is gone is replaced though nothing is committed, so that the table stays ours.
        """
        self.patch(mysql, "CHECK_SECONDS", 0.1)
        await self.opened()
        self.kill()
        await sleep(0.5)
        await self.assert_refuses("in use by another server")

    async def test_silent(self) -> None:
        """
        A server that answers nothing is given up, with an error that leaves open what it did; once it goes on, so does the
        store, and what it gave up is over.
        """
        self.patch(mysqlconnection, "COMMIT_SECONDS", 0.5)
        self.patch(mysqlconnection, "CONNECT_SECONDS", 0.5)
        store = await self.opened()
        for batch in self.batches():
            jobs = [record(number) for number in batch]
            self.server.pause()
            try:
                error = await self.assertFailure(store.commit(jobs, []), StoreError)
            finally:
                self.server.resume()
            self.assert_says(error, "does not answer")
            self.assertTrue(error.uncertain)
            # As the group commit does with what may be stored.
            await store.commit([record(batch[0] + 1000)], jobs)
        self.assertEqual(await self.stored(), handles([batch[0] + 1000 for batch in self.batches()]))

    async def test_busy(self) -> None:
        """
        What the server still is at, when the store has given it up, is ended before anything else is committed.
        """
        self.patch(mysqlconnection, "COMMIT_SECONDS", 0.5)
        store = await self.opened()
        await store.commit([record(1)], [])
        other = self.server.connect(self.database)
        self.addCleanup(other.close)
        sessions = f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND ID <> CONNECTION_ID()"
        with other.cursor() as cursor:
            cursor.execute(sessions)
            [given_up] = cursor.fetchall()
            cursor.execute("BEGIN")
            cursor.execute("SELECT * FROM gearman_queue FOR UPDATE")
            error = await self.assertFailure(store.commit([record(2)], [record(1)]), StoreError)
            self.assertTrue(error.uncertain)
            # The table is locked still, and our old session waits for it, until it is ended.
            committed = store.commit([record(3)], [record(2)])
            while cursor.execute(sessions) and given_up in cursor.fetchall():
                await sleep(0.02)
            cursor.execute("ROLLBACK")
        await committed
        self.assertEqual(await self.stored(), handles([1, 3]))

    async def test_locked(self) -> None:
        """
        A batch that another session keeps from its rows is refused, certainly not stored, and committed when they are free.
        """
        self.patch(mysqlconnection, "LOCK_WAIT_SECONDS", 1)
        store = await self.opened()
        await store.commit([record(0)], [])
        for batch in self.batches():
            jobs = [record(number) for number in batch]
            other = self.server.connect(self.database)
            with other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT * FROM gearman_queue FOR UPDATE")
                error = await self.assertFailure(store.commit(jobs, [record(0)]), StoreError)
                self.assert_says(error, "locked")
                self.assertFalse(error.uncertain)
            other.close()
        await store.commit(jobs, [record(0)])
        self.assertEqual(await self.stored(), handles(batch))

    async def test_deadlock(self) -> None:
        """
        A batch that the server ends, because it and another session wait for each other, is committed a little later.
        """
        for limit in (16, 0):
            self.patch(mysql, "CHANNEL_JOBS", limit)
            self.sql("DROP TABLE IF EXISTS gearman_queue")
            store = await self.opened()
            await store.commit([record(1), record(2)], [])
            await store.commit([record(number) for number in range(100, 1000)], [])
            other = self.server.connect(self.database)
            with other.cursor() as cursor:
                # The server ends the one that has changed less.
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute("BEGIN")
                cursor.execute("UPDATE gearman_queue SET attempts = 5 WHERE handle <> %s", [record(1).handle])
                committed = store.commit([record(3)], [record(1), record(2)])
                await sleep(0.3)
                update = threading.Thread(target=cursor.execute, args=("UPDATE gearman_queue SET attempts = 6",))
                update.start()
                await sleep(0.3)
                update.join()
                cursor.execute("COMMIT")
            await committed
            other.close()
            await store.close()
            kept = await self.stored()
            self.assertEqual((kept[0], kept[-1], len(kept)), (record(100).handle, record(3).handle, 901))
            [(found,)] = self.sql("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Innodb_deadlocks'")
            self.assertGreater(int(found), 0)

    async def test_turns_read_only(self) -> None:
        """
        When the server turns read-only, as one does that is replaced by another, the store connects again for the next commit.
        """
        self.sql(f"CREATE OR REPLACE USER plain@'{HOST}' IDENTIFIED BY ''", f"GRANT ALL ON {self.database}.* TO plain@'{HOST}'")
        store = self.make_store(user="plain", password="")
        await store.open()
        find = f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND USER = 'plain'"
        for batch in self.batches():
            jobs = [record(number) for number in batch]
            before = self.sql(find)
            self.sql("SET GLOBAL read_only = 1")
            try:
                error = await self.assertFailure(store.commit(jobs, []), StoreError)
            finally:
                self.sql("SET GLOBAL read_only = 0")
            self.assert_says(error, "takes no writes")
            await store.commit(jobs, [])
            self.assertNotEqual(self.sql(find), before)
        self.assertEqual(await self.stored(), handles(sum(self.batches(), [])))


class OwnershipTests(WithAndWithoutThread):
    """
    To whom the table belongs.
    """

    async def test_names_another_host(self) -> None:
        """
        A server on another host is named by its process and where it is connected from.
        """
        first = await self.opened()
        self.patch(mysqlownership.socket, "gethostname", lambda: "elsewhere")
        await self.assert_refuses(f"process {mysqlownership.os.getpid()} on {HOST} (session", f"user {USER})")
        await first.close()

    async def test_unseen(self) -> None:
        """
        Who may not see the other's session is told its process.
        """
        self.sql(f"CREATE OR REPLACE USER plain@'{HOST}' IDENTIFIED BY ''", f"GRANT ALL ON {self.database}.* TO plain@'{HOST}'")
        await self.opened()
        self.patch(mysqlownership.socket, "gethostname", lambda: "elsewhere")
        await self.assert_refuses(f"process {mysqlownership.os.getpid()}, session ", user="plain", password="")

    async def test_named_by_a_person(self) -> None:
        """
        A lock that no server of ours holds is named by its session.
        """
        store = await self.opened()
        assert store._ownership is not None
        name = store._ownership._name
        await store.close()
        other = self.server.connect()
        self.addCleanup(other.close)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT GET_LOCK('{name}', 5)")
        await self.assert_refuses("in use by another server, session ", f"user {USER} from {HOST}")

    async def test_taken_over(self) -> None:
        """
        A server that has lost its connection while another one took the table commits no more, and says why; it goes on when
        the other has ended.
        """
        first = await self.opened()
        for batch in self.batches():
            jobs = [record(number) for number in batch]
            [(session,)] = self.sql(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND COMMAND = 'Sleep'")
            self.sql(f"KILL {session}")
            second = await self.opened()
            error = await self.assertFailure(first.commit(jobs, []), StoreError)
            self.assert_says(error, "in use by another server")
            self.assertFalse(error.uncertain)
            await second.commit([record(batch[0] + 1000)], [])
            await second.close()
            await sleep(0.3)
            await first.commit(jobs, [])
        expected = [number for batch in self.batches() for number in [batch[0] + 1000, *batch]]
        self.assertEqual(await self.stored(), handles(expected))

    async def test_server_begins_anew(self) -> None:
        """
        After a restart of the database, a session that has the number of our old one is not taken for it.
        """
        self.patch(mysqlownership, "LOCK_SECONDS", 0.2)
        ours = mysqlownership.Ownership("table", "The table")
        connection, other, third = [mysqlconnection.Connection(self.place()) for _ in range(3)]
        for each in (connection, other, third):
            self.addCleanup(each.close)
        ours.take(connection)
        connection.rows("SELECT RELEASE_ALL_LOCKS()")
        mysqlownership.Ownership("table", "The table").take(other)
        # As if it had been ours: it has the same process, and the same number.
        ours._session = int(other.rows("SELECT CONNECTION_ID()")[0][0])
        ours._since -= 10_000_000
        error = self.assertRaises(StoreError, ours.take, third)
        self.assertIn("in use by another server", str(error))
        self.assertEqual(other.rows("SELECT 1"), [(b"1",)])


class SettingsTests(MySQLCase):
    """
    What the server's settings mean.
    """

    async def test_description(self) -> None:
        """
        The description says what a crash can lose, by the server's settings.
        """
        self.addCleanup(self.sql, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        for flush, words in [
            (1, "survives a crash of the server, of the database and of its machine (innodb_flush_log_at_trx_commit = 1)"),
            (2, "survives a crash of the server and of the database; a crash of the database's machine can lose its last second"),
            (0, "survives a crash of the server; a crash of the database, or of its machine, can lose the last second"),
            (3, "survives a crash of the server, of the database and of its machine (innodb_flush_log_at_trx_commit = 3)"),
        ]:
            self.sql(f"SET GLOBAL innodb_flush_log_at_trx_commit = {flush}")
            store = await self.opened()
            self.assertIn(f"what was acknowledged {words}", store.description)
            self.assertIn(f"MySQL database {self.database} at {HOST}:{self.server.port} (10.", store.description)
            self.assertNotIn(PASSWORD, store.description)
            await store.close()

    async def test_settings_of_others(self) -> None:
        """
        What an administrator has set for other people's sessions neither keeps a batch from being committed nor cuts a replay.
        """
        strange = {
            "init_connect": "'SET autocommit = 0'", "completion_type": "'CHAIN'", "sql_select_limit": "10", "max_statement_time": "0.001",
            "sql_mode": "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "unique_checks": "0", "sql_safe_updates": "1",
        }  # fmt: skip
        # (An administrator's own sessions are spared the first, and those that began before all of the others.)
        before = self.server.connect(self.database)
        self.addCleanup(before.close)

        def run(statement: str) -> list[tuple[Any, ...]]:
            with before.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())

        run(f"CREATE OR REPLACE USER plain@'{HOST}' IDENTIFIED BY ''")
        run(f"GRANT ALL ON {self.database}.* TO plain@'{HOST}'")
        for name, value in strange.items():
            run(f"SET GLOBAL {name} = {value}")
            self.addCleanup(run, f"SET GLOBAL {name} = DEFAULT")
        jobs = [record(number, workload=b"'\\" * 1000) for number in range(50)]
        store = self.make_store(user="plain", password="")
        await store.open()
        await store.commit(jobs[:1], [])
        await store.commit(jobs[1:], [])
        await store.commit([record(50)], jobs[:1])
        await store.commit([], [record(50)])
        [(session,)] = run(f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'plain' AND DB = '{self.database}'")
        run(f"KILL {session}")
        found: list[JobRecord] = []
        await store.replay(found.extend)
        self.assertEqual([fields_of(job) for job in found], [fields_of(job) for job in jobs[1:]])


class LargeServerTests(MySQLCase):
    """
    A server with a binary log, that takes large packets.
    """

    def make_server(self) -> MariaDB:
        """
        One of the test's own.
        """
        server = MariaDB("--max-allowed-packet=256M", "--log-bin=binlog", "--server-id=1", "--binlog-format=ROW")
        self.addCleanup(server.end)
        server.start()
        return server

    async def test_large(self) -> None:
        """
        A workload of 64 MiB comes back, every byte; and the description says what the binary log means.
        """
        store = await self.opened()
        self.assertIn("a crash of the database's machine can lose the last jobs", store.description)
        self.assertIn("(innodb_flush_log_at_trx_commit = 1, sync_binlog = 0)", store.description)
        large = record(1, workload=bytes(range(256)) * (64 * 4096))
        await store.commit([large, record(2)], [])
        await store.close()
        self.sql("SET GLOBAL sync_binlog = 1")
        store = await self.opened()
        self.assertIn("survives a crash of the server, of the database and of its machine", store.description)
        await store.close()
        found = await self.replayed()
        self.assertTrue([fields_of(job) for job in found] == [fields_of(large), fields_of(record(2))], "the workload has changed")

    async def test_too_large(self) -> None:
        """
        A job that does not fit into the server's packets is refused with a line that says so; others go through.
        """
        self.sql("SET GLOBAL max_allowed_packet = 1048576")
        store = await self.opened()
        for workload in (bytes(1048576), b"'" * 600_000):
            error = await self.assertFailure(store.commit([record(1, workload=workload)], []), StoreError)
            self.assert_says(error, f"A job of {len(workload)} bytes is too large", "max_allowed_packet is 1048576 bytes; raise it")
            self.assertFalse(error.uncertain)
        many = [record(number, workload=bytes(300_000)) for number in range(20)]
        await store.commit(many, [])
        await store.close()
        self.assertEqual([job.handle for job in await self.replayed()], [job.handle for job in many])


class OpenAgainTests(MySQLCase):
    """
    A store that could not be opened.
    """

    async def test_open_again(self) -> None:
        """
        It can be opened once what was wrong is put right, at once.
        """
        name, self.database = self.database, self.database + "_later"
        store = self.make_store()
        await self.assertFailure(store.open(), StoreError)
        self.server.sql(f"CREATE DATABASE {self.database}")
        await store.open()
        self.assertEqual(await store.replay(lambda records: None), 0)

    async def test_close_unopened(self) -> None:
        """
        It can be closed.
        """
        store = self.make_store(port=free_port())
        await store.close()
        await self.assertFailure(store.open(), StoreError)
        await store.close()

    async def test_close_in_the_midst_of_a_replay(self) -> None:
        """
        A store can be closed when its replay has failed on the way.
        """
        store = await self.opened()
        await store.commit([record(number) for number in range(5000)], [])

        def refuse(records: object) -> None:
            raise StoreError("not this one")

        await self.assertFailure(store.replay(refuse), StoreError)
        await store.close()
        self.assertEqual(len(await self.replayed()), 5000)

    async def test_lost_in_the_midst_of_a_replay(self) -> None:
        """
        A replay whose connection breaks fails, and can be made again.
        """
        store = await self.opened()
        await store.commit([record(number, workload=bytes(5000)) for number in range(9000)], [])

        [(session,)] = self.sql(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}' AND COMMAND = 'Sleep'")

        def take(records: list[JobRecord]) -> None:
            if records[0].handle == record(0).handle:
                self.sql(f"KILL {session}")

        error = await self.assertFailure(store.replay(take), StoreError)
        self.assert_says(error, "the connection")
        self.assertEqual(await store.replay(lambda records: None), 9000)
