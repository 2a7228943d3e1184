"""The durable queues that benchmarks measure: how to start each one's database, and how to tell each server of it."""
import contextlib
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from tests.servers import MariaDB, Memcached, PostgreSQL, Redis  # noqa: E402

NUMBERS = iter(range(1_000_000))


@contextlib.contextmanager
def no_database():
    yield None


@contextlib.contextmanager
def running(kind, *options):
    """A database server, in a temporary directory on a real disk."""
    database = kind(*options)
    try:
        database.start()
        yield database
    finally:
        database.end()


def sqlite(database, folder):
    return f"-q libsqlite3 --libsqlite3-db {folder}/queue.db"


def file(database, folder):
    return f"-q file --file-path {folder}/queue.log"


def tokyocabinet(database, folder):
    return f"-q libtokyocabinet --libtokyocabinet-file {folder}/queue.tcb"


def postgres(database, folder):
    return f"-q postgres --libpq-conninfo '{database.conninfo(database.new_database())}'"


def mysql(database, folder):
    name = database.new_database()
    return f"-q mysql --mysql-host 127.0.0.1 --mysql-port {database.port} --mysql-user gearman --mysql-password secret --mysql-db {name}"


def redis(database, folder):
    database.cli("FLUSHALL")
    return f"-q redis --redis-server 127.0.0.1 --redis-port {database.port} --redis-prefix _gear{next(NUMBERS)}_"


def memcached(database, folder):
    return f"-q libmemcached --libmemcached-servers 127.0.0.1:{database.port} --libmemcached-prefix gear{next(NUMBERS)}_"


MANY = 50_000
"""As many jobs as in the same load without a store: for stores that do them in about a second."""

FEW = 5_000
"""For stores that sync each commit: they keep gearmand busy for some seconds."""

# name: (its database, the options that both servers take, whether Debian's gearmand has it, how many jobs)
STORES = {
    "sqlite": (no_database, sqlite, True, FEW),
    "file": (no_database, file, False, FEW),
    "postgres": (lambda: running(PostgreSQL), postgres, True, FEW),
    "mysql": (lambda: running(MariaDB), mysql, True, FEW),
    "redis": (lambda: running(Redis), redis, True, MANY),
    "redis-always": (lambda: running(Redis, "--appendfsync", "always"), redis, True, FEW),
    "memcached": (lambda: running(Memcached), memcached, True, MANY),
    "tokyocabinet": (no_database, tokyocabinet, False, FEW),
}
