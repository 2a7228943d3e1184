"""
Tests for L{gearsvc.stores.postgresconnection} and
L{gearsvc.stores.postgresownership}: how the database is reached, and what is
said when it is not.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from hashlib import blake2b

import psycopg2
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.interfaces import StoreError
from gearsvc.stores import ownership, postgresconnection
from gearsvc.stores.postgres import PostgresStore
from gearsvc.stores.postgresconnection import place_of
from gearsvc.stores.postgresownership import session_name
from gearsvc.testing import record, sleep
from tests.proxy import Proxy
from tests.running import HOST, free_port
from tests.servers import PostgreSQL
from tests.stores.postgreses import PostgresCase


class StrictPostgreSQL(PostgreSQL):
    """
    One that wants a password of the user C{guarded}, that listens on a Unix
    socket, too, and that does not wait for its disk.
    """

    def prepare(self) -> None:
        """
        Say whom it lets in.
        """
        super().prepare()
        lines = [
            "local all gearman trust",
            f"host all gearman {HOST}/32 trust",
            f"host all guarded {HOST}/32 scram-sha-256",
        ]
        (self.directory / "data" / "pg_hba.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> Sequence[str]:
        """
        The Unix socket is in its directory.
        """
        return [*super().command(), "-c", "fsync=off", "-c", f"unix_socket_directories={self.directory}"]


class StrictServerTests(TestCase):
    """
    A server that does not let everybody in.
    """

    def setUp(self) -> None:
        """
        Make a database.
        """
        self.server = StrictPostgreSQL.shared()
        self.database = self.server.new_database()

    async def open(self, conninfo: str) -> PostgresStore:
        """
        @return: an open store, which is closed when the test ends.
        """
        store = PostgresStore(conninfo)
        self.addCleanup(store.close)
        await store.open()
        return store

    async def assert_refuses(self, conninfo: str, *words: str, unreachable: bool) -> None:
        """
        Hold that a store can't be opened, and says so in one line that holds
        these words and no password.

        @param unreachable: whether it may help to wait.
        """
        try:
            await self.open(conninfo)
        except StoreError as error:
            self.assertNotIn("\n", str(error))
            self.assertNotIn("secret", str(error))
            self.assertNotIn("..", str(error))
            for word in words:
                self.assertIn(word, str(error))
            self.assertEqual((error.unreachable, error.uncertain), (unreachable, False), str(error))
        else:
            self.fail("the store was opened")

    def conninfo(self, **changes: object) -> str:
        """
        @return: the connection string, with some of it changed.
        """
        parts = {"host": HOST, "port": self.server.port, "user": "gearman", "dbname": self.database, **changes}
        return " ".join(f"{name}={value}" for name, value in parts.items())

    async def test_not_let_in(self) -> None:
        """
        Waiting does not help against a wrong password, a missing one, a user or
        a database that is not there, or encryption that the server has not.
        """
        for changes, words in (
            ({"user": "guarded", "password": "secret2"}, ["password authentication failed"]),
            ({"user": "guarded"}, ["no password supplied"]),
            ({"user": "nobody"}, ["no pg_hba.conf entry"]),
            ({"dbname": "nosuch"}, ['database "nosuch" does not exist', f"PostgreSQL database nosuch at {HOST}"]),
            ({"sslmode": "require"}, ["does not support SSL"]),
            ({"sslmode": "nonsense"}, ["invalid sslmode"]),
            ({"port": "nonsense"}, ["invalid integer value"]),
        ):
            await self.assert_refuses(self.conninfo(**changes), *words, unreachable=False)

    async def test_password(self) -> None:
        """
        With the right password a user comes in, and the description has none.
        """
        self.server.sql(
            "CREATE ROLE guarded LOGIN PASSWORD 'secret'",
            "CREATE SCHEMA guarded AUTHORIZATION guarded",
            database=self.database,
        )
        store = await self.open(self.conninfo(user="guarded", password="secret"))
        self.assertNotIn("secret", store.description)
        self.assertIn("table guarded.queue", store.description)

    async def test_not_there(self) -> None:
        """
        Waiting may help where nothing listens, where no such host is known, and
        where a socket is not there.
        """
        await self.assert_refuses(self.conninfo(port=free_port()), "Connection refused", unreachable=True)
        await self.assert_refuses(
            self.conninfo(host="nosuch.invalid"), "the host nosuch.invalid is not known", unreachable=True
        )
        await self.assert_refuses(self.conninfo(host="/nosuch"), "No such file or directory", unreachable=True)

    async def test_silent(self) -> None:
        """
        Something that takes the connection and says nothing is given up.
        """
        self.patch(postgresconnection, "COMMIT_SECONDS", 0.5)
        with socket.create_server((HOST, 0)) as listener:
            await self.assert_refuses(
                self.conninfo(port=listener.getsockname()[1]), "no answer within 0.5 seconds", unreachable=True
            )

    async def test_hangs_up(self) -> None:
        """
        Something that takes the connection and closes it, as a proxy does whose
        database is away, may be better later.
        """
        with Proxy(self.server.port) as proxy:
            proxy.cut()
            await self.assert_refuses(
                self.conninfo(port=proxy.port), f"PostgreSQL database {self.database} at", unreachable=True
            )

    async def test_hosts(self) -> None:
        """
        Hosts may be names, addresses, Unix sockets, or several of these; the
        first one that answers is taken.
        """
        directory = str(self.server.directory)
        unused = free_port()
        for host, port, where in (
            ("localhost", self.server.port, f"at localhost:{self.server.port}"),
            (directory, self.server.port, f"at {directory} (port {self.server.port})"),
            (f"localhost,{HOST}", f"{unused},{self.server.port}", f"at {HOST}:{self.server.port}"),
            ("nosuch.invalid,localhost,/nosuch", self.server.port, f"at localhost:{self.server.port}"),
            (f"/nosuch,{directory}", self.server.port, f"at {directory} (port {self.server.port})"),
        ):
            store = await self.open(self.conninfo(host=host, port=port))
            await store.commit([record(1)], [])
            self.assertIn(where, store.description)
            await store.close()

    async def test_environment(self) -> None:
        """
        What the connection string leaves out is taken from the environment, as
        by all that uses libpq.
        """
        for name, value in {
            "PGHOST": "localhost",
            "PGPORT": self.server.port,
            "PGUSER": "gearman",
            "PGDATABASE": self.database,
        }.items():
            self.patch(os, "environ", {**os.environ, name: str(value)})
            os.putenv(name, str(value))
            self.addCleanup(os.unsetenv, name)
        self.assertEqual(place_of(""), f"PostgreSQL database {self.database} at localhost:{self.server.port}")
        store = await self.open("")
        self.assertIn(
            f"PostgreSQL database {self.database} at localhost:{self.server.port}, table public.queue",
            store.description,
        )

    async def test_keepalives(self) -> None:
        """
        PostgreSQL is told to notice soon that this machine is gone.
        """
        store = await self.open(self.conninfo())
        assert store._session is not None
        for setting, value in (
            ("tcp_keepalives_idle", "5"),
            ("tcp_user_timeout", "20000"),
            ("client_connection_check_interval", "1s"),
        ):
            self.assertEqual(await store._session.query(f"SHOW {setting}"), [(value,)])

    async def test_fsync(self) -> None:
        """
        With fsync off a crash of the machine can lose everything, and the
        description says so.
        """
        store = await self.open(self.conninfo())
        self.assertTrue(
            store.description.endswith(
                "what was acknowledged survives a crash of the server, of PostgreSQL;"
                " a crash of its machine can lose the whole database (fsync is off)"
            ),
            store.description,
        )

    async def test_standby(self) -> None:
        """
        A standby server is refused, and said to be one.
        """
        self.server.stop()
        signal = self.server.directory / "data" / "standby.signal"
        signal.touch()
        self.server.start()
        try:
            await self.assert_refuses(
                self.conninfo(), "is a standby server's", "name the primary server", unreachable=False
            )
        finally:
            self.server.stop()
            signal.unlink()
            self.server.start()


class ReadOnlyTests(PostgresCase):
    """
    A database that its administrator has closed.
    """

    async def test_read_only(self) -> None:
        """
        It is refused, and said to be read-only.
        """
        self.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        await self.assert_refuses("read-only transaction", "name the server that can be written")

    async def test_closed_while_in_use(self) -> None:
        """
        One that is closed under a server fails its next session's commits.
        """
        store = await self.open()
        self.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        await store.commit([record(1)], [])
        self.wire.cut_once()
        with self.assertRaises(StoreError) as caught:
            for number in range(2):
                await sleep(0.1)
                await store.commit([record(2 + number)], [])
        self.assert_says(caught.exception, "read-only transaction")


class NameTests(PostgresCase):
    """
    What other sessions see us as.
    """

    def test_name(self) -> None:
        """
        A session's name is the process and the host, as much as PostgreSQL
        keeps.
        """
        self.patch(ownership.socket, "gethostname", lambda: "short")
        self.assertEqual(session_name(), f"gearsvc: process {os.getpid()} on short")
        self.patch(ownership.socket, "gethostname", lambda: "a" * 64)
        self.assertEqual(len(session_name()), 63)
        self.assertTrue(session_name().startswith(f"gearsvc: process {os.getpid()} on aaaaa"))
        self.assertTrue(session_name().endswith("a..."))
        self.patch(ownership.socket, "gethostname", lambda: "\u00e9" * 30)
        self.assertTrue(session_name().endswith(" on " + 30 * "?"))

    async def test_seen(self) -> None:
        """
        An administrator sees it; and so does the second server.
        """
        self.patch(ownership.socket, "gethostname", lambda: "h" * 64)
        await self.open("application_name=other")
        sessions = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        self.assertEqual(self.sql(f"SELECT application_name FROM {sessions}"), [(session_name(),)])
        await self.assert_refuses(f"in use by another server, {session_name()[9:]}; stop one of the two")

    async def test_lock_of_somebody_else(self) -> None:
        """
        A session that has our lock and is not ours is named as PostgreSQL does.
        """
        await (await self.open()).close()
        key = int.from_bytes(blake2b(b"gearsvc\0public\0public.queue", digest_size=8).digest(), signed=True)
        other = psycopg2.connect(self.server.conninfo(self.database))
        self.addCleanup(other.close)
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s), pg_backend_pid()", [key])
            [(_, process)] = cursor.fetchall()
        await self.assert_refuses(f"in use by another server, which PostgreSQL serves with its process {process}")


class ConnectionStringTests(SynchronousTestCase):
    """
    What can't be read.
    """

    def test_unreadable(self) -> None:
        """
        It is refused, with the name of an option that there is not, and
        without anything that might be a part of a password.
        """
        for conninfo, said in (
            ("host=db password=very secret", "it is not of libpq's form"),
            ("host=db password='secret", "it is not of libpq's form"),
            ("hots=db password=secret", "there is no option 'hots'"),
            ("postgresql://me:secret%zz@db/", "it is not of libpq's form"),
            ("postgresql://me:secret@db/jobs?nosuch=secret", "there is no option 'nosuch'"),
        ):
            with self.assertRaises(ValueError) as caught:
                PostgresStore(conninfo)
            self.assertEqual(str(caught.exception), said)
