"""
Durable stores, each for a server in a process of its own: mix one of them into a test case.

    class SQLiteTests(Survives, OnSQLite, SynchronousTestCase):
        pass

The databases are shared by the whole run (L{tests.servers}); each call gives a server a place of its own in them.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.running import HOST
from tests.servers import MariaDB, Memcached, PostgreSQL, Redis


class OnSQLite:
    """
    The queue is in SQLite.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        @param directory: the server's, where a file may be made.
        @return: what makes a server keep its jobs in a new queue.
        """
        return ["-q", "libsqlite3", "--libsqlite3-db", str(directory / "queue.db")]


class OnFile:
    """
    The queue is in a file of our own.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        A file in the server's directory.
        """
        return ["-q", "file", "--file-path", str(directory / "queue.log")]


class OnTokyoCabinet:
    """
    The queue is in Tokyo Cabinet.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        A file in the server's directory.
        """
        return ["-q", "libtokyocabinet", "--libtokyocabinet-file", str(directory / "queue.tch")]


class OnPostgreSQL:
    """
    The queue is in PostgreSQL.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        A new database.
        """
        database = PostgreSQL.shared()
        return ["-q", "postgres", "--libpq-conninfo", database.conninfo(database.new_database())]


class OnMySQL:
    """
    The queue is in MariaDB.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        A new database.
        """
        database = MariaDB.shared()
        account = ["--mysql-user", "gearman", "--mysql-password", "secret"]
        where = ["--mysql-host", HOST, "--mysql-port", str(database.port), "--mysql-db", database.new_database()]
        return ["-q", "mysql", *where, *account]


class OnRedis:
    """
    The queue is in Redis.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        A prefix of this test's own.
        """
        return ["-q", "redis", "--redis-port", str(Redis.shared().port), "--redis-prefix", f"test{time.monotonic_ns()}_"]


class OnMemcached:
    """
    The queue is in a memcached that goes on.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        A prefix of this test's own.
        """
        servers = f"{HOST}:{Memcached.shared().port}"
        return ["-q", "libmemcached", "--libmemcached-servers", servers, "--libmemcached-prefix", f"t{time.monotonic_ns()}_"]
