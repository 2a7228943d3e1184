"""
Tests for L{gearsvc.stores.mysql} with the real gearmand: each of the two goes on with a table that the other wrote.
"""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.running import HOST
from tests.stores.mysqls import PASSWORD, USER, QuickMariaDB, options
from tests.stores.takeover import Takeover


class MySQLTakeoverTests(Takeover, SynchronousTestCase):
    """
    What holds for every store, with MariaDB.
    """

    # In a table of its own making, a name is text: what is not UTF-8 is refused.
    odd_bytes = False

    def setUp(self) -> None:
        """
        Make a database, on a server that is as strict as can be.
        """
        self.mariadb = QuickMariaDB.shared()
        before = self.mariadb.sql("SELECT @@GLOBAL.sql_mode")[0][0]
        self.mariadb.sql("SET GLOBAL sql_mode = 'TRADITIONAL,STRICT_ALL_TABLES'")
        self.addCleanup(self.mariadb.sql, f"SET GLOBAL sql_mode = '{before}'")
        self.database = self.mariadb.new_database()

    def store_options(self, kind: str) -> list[str]:
        """
        Both have the same options.
        """
        return options(self.mariadb.port, self.database)

    def rows(self) -> set[tuple[bytes, bytes]]:
        """
        @return: unique id and function of each row.
        """
        return set(self.mariadb.sql("SELECT unique_key, function_name FROM gearman_queue", database=self.database))

    def test_all_bytes(self) -> None:
        """
        In a table that we made or adopted, gearmand tells names apart that are the same to its own, and stores what is no
        UTF-8; it finds each row of ours and of its own again, and no other, when the job is done.
        """
        names = [b"a", b"A", b"a ", b"\xc3\xa9", b"e", b"\xe9", b"\xff\xfe", b"\xf0\x9f\x98\x80", b"a'\\", b"%"]
        for charset in ("latin1", "utf8mb4"):
            self.database = self.mariadb.new_database()
            self.mariadb.sql(f"ALTER DATABASE {self.database} CHARACTER SET {charset}")
            theirs, client = self.server("gearmand")
            client.submit(Type.SUBMIT_JOB_BG, b"\xc3\xa9", b"\xc3\xa9\xc3\xa8", b"made by gearmand")
            theirs.kill()
            ours, client = self.server("gearsvc")
            for name in names:
                client.submit(Type.SUBMIT_JOB_BG, name, b"ours " + name, b"ours")
            ours.kill()
            theirs, client = self.server("gearmand")
            for name in names:
                client.submit(Type.SUBMIT_JOB_BG, name, b"theirs " + name, b"theirs")
            expected = {(b"%b %b" % (whose, name), name) for name in names for whose in (b"ours", b"theirs")}
            expected.add((b"\xc3\xa9\xc3\xa8", b"\xc3\xa9"))
            self.assertEqual(self.rows(), expected)
            self.assertEqual(len(client.drain(b"A")), 2)
            self.assertEqual(len(client.drain(b"\xff\xfe")), 2)
            expected = {row for row in expected if row[1] not in (b"A", b"\xff\xfe")}
            self.assertEqual(self.rows(), expected)
            theirs.kill()
            ours, client = self.server("gearsvc")
            done = {(unique, function) for function, unique, _ in client.drain(*names)}
            self.assertEqual(done, expected)
            self.assertEqual(ours.stop(), 0)
            self.assertEqual(self.rows(), set())

    def test_far_future(self) -> None:
        """
        A job of ours that is to run after 2038 is not run by gearmand before; it comes back to us with its time.
        """
        when = 2**33
        ours, client = self.server("gearsvc")
        client.submit(Type.SUBMIT_JOB_EPOCH, b"later", b"u", b"%d" % when, b"one")
        ours.kill()
        theirs, worker = self.server("gearmand")
        self.assertEqual(worker.drain(b"later"), [])
        self.assertEqual(theirs.stop(), 0)
        ours, worker = self.server("gearsvc")
        self.assertEqual(worker.drain(b"later"), [])
        self.assertEqual(ours.status("later")[0], 1)
        found = self.mariadb.sql("SELECT when_to_run, run_at FROM gearman_queue", database=self.database)
        self.assertEqual(found, [(2**31 - 1, when)])

    def test_libdrizzle(self) -> None:
        """
        A table of gearmand's libdrizzle module, which is no more, runs with us, by that module's own options; and can go on
        with gearmand's MySQL module.
        """
        self.mariadb.sql(
            "CREATE TABLE queue ( unique_key VARCHAR(64),function_name VARCHAR(255), priority INT, data LONGBLOB,"
            " when_to_run BIGINT, unique key (unique_key, function_name))",
            f"INSERT INTO queue VALUES ('u', 'f', 0, 'one', 0), ('later', 'f', 1, 'two', {int(time.time()) + 3600})",
            database=self.database,
        )
        where = {"host": HOST, "port": str(self.mariadb.port), "user": USER, "password": PASSWORD, "db": self.database}
        given = [word for name, value in where.items() for word in (f"--libdrizzle-{name}", value)]
        self.patch(self, "store_options", lambda kind: ["-q", "libdrizzle", "--libdrizzle-mysql", *given])
        ours, peer = self.server("gearsvc")
        self.assertEqual(peer.drain(b"f"), [(b"f", b"u", b"one")])
        peer.submit(Type.SUBMIT_JOB_BG, b"f", b"v", b"three")
        self.assertEqual(ours.stop(), 0)
        self.patch(self, "store_options", lambda kind: [*options(self.mariadb.port, self.database), "--mysql-table", "queue"])
        _, peer = self.server("gearmand")
        self.assertEqual(peer.drain(b"f"), [(b"f", b"v", b"three")])
