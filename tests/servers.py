"""
The databases that stores keep jobs in, started for tests.

    database = PostgreSQL.shared()          # started once in a run, ended with it
    own = PostgreSQL(); own.start()         # one of a test's own, to be stopped, killed and paused
    own.kill(); own.start()                 # the same data, the same port

Each is the real server, on a free port of 127.0.0.1, with its files in a
directory of its own, and runs as a user that it accepts to run as.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, Sequence, TypeVar

from tests.running import HOST, ServerFailed, free_port, wait_until

START_PATIENCE = 60.0
"""
How many seconds a database may take to start or to end: it may have to recover.
"""

Server = TypeVar("Server", bound="DatabaseServer")


def _die_with_the_tests() -> None:
    """
    Have the kernel end this process with its parent: whoever kills a run of the tests leaves no servers behind.
    """
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _has_threads_that_run(process: int) -> bool:
    """
    Whether a process, told to stop, has not stopped yet.
    """
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        for task in Path(f"/proc/{process}/task").iterdir():
            # The thread's name, in parentheses, may hold anything.
            if (task / "stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"T", b"Z", b"X"):
                return True
    return False


class DatabaseServer:
    """
    A database in a process of its own.

    @cvar user: whom it runs as when root runs the tests.
    @ivar port: where it listens, the same after every start.
    @ivar directory: where it keeps its files.
    """

    user: ClassVar[str]
    _shared: ClassVar[dict[type[DatabaseServer], DatabaseServer]] = {}

    def __init__(self, *options: str, directory: Path | None = None) -> None:
        """
        @param options: command line options beyond those it needs.
        @param directory: where to keep the files, emptied before by whoever names it; by default a new temporary one.
        """
        self.options = options
        self.port = free_port()
        self._made = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-")) if directory is None else directory
        self.process: subprocess.Popen[bytes] | None = None
        self._prepared = False
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)

    @classmethod
    def shared(cls: type[Server]) -> Server:
        """
        One that runs from its first use to the end of the process.  Whoever uses it keeps to names of their own, and leaves
        it running.
        """
        found = DatabaseServer._shared.get(cls)
        if found is None:
            found = DatabaseServer._shared[cls] = cls()
            atexit.register(found.end)
            found.start()
        assert isinstance(found, cls)
        return found

    # What differs.

    def prepare(self) -> None:
        """
        Make what the server needs in its directory; before the first start.
        """

    def command(self) -> Sequence[str]:
        """
        The command line.
        """
        raise NotImplementedError

    def answers(self) -> bool:
        """
        Whether it is up.
        """
        try:
            socket.create_connection((HOST, self.port), 1).close()
        except OSError:
            return False
        return True

    # What does not.

    def run(self, *command: str) -> None:
        """
        Run a program to its end, as the server's user.
        """
        done = subprocess.run(
            command, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, **self._identity()
        )
        if done.returncode:
            raise ServerFailed(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        account = pwd.getpwnam(self.user)
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    @property
    def log(self) -> str:
        """
        All that it wrote since it was first started.
        """
        return (self.directory / "server.log").read_text(errors="backslashreplace")

    def start(self) -> None:
        """
        Start it, and return when it can be used.
        """
        if not self._prepared:
            self.prepare()
            self._prepared = True
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_the_tests,
                **self._identity(),
            )
        deadline = time.monotonic() + START_PATIENCE
        while not self.answers():
            if self.process.poll() is not None:
                raise ServerFailed(f"{self.process.args!r} ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.process.args!r} does not answer:\n{self.log[-5000:]}")
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """
        End it as an administrator would, connections and all.
        """
        self._signal(self.stop_signal)
        assert self.process is not None
        self.process.wait(START_PATIENCE)

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def kill(self) -> None:
        """
        End it at once (SIGKILL), as a crash would.
        """
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(START_PATIENCE)

    def pause(self) -> None:
        """
        Let it answer nothing, with its connections open.
        """
        stopped = self._signal_all(signal.SIGSTOP)
        # A thread on another processor goes on for a moment.
        wait_until(lambda: not any(map(_has_threads_that_run, stopped)), "the database has not stopped")

    def resume(self) -> None:
        """
        Undo L{pause}.
        """
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> list[int]:
        """
        Send a signal to the process and to those that it has made, some of which may end at any time.

        @return: all of them.
        """
        assert self.process is not None
        found = [self.process.pid]
        for process in found:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for task in Path(f"/proc/{process}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())
                os.kill(process, number)
        return found

    @property
    def running(self) -> bool:
        """
        Whether the process is there.
        """
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """
        Be done with it: the process, and its files.
        """
        if self.running:
            self.resume()
            self.kill()
        if self._made:
            shutil.rmtree(self.directory, ignore_errors=True)


class PostgreSQL(DatabaseServer):
    """
    PostgreSQL, with a superuser C{gearman} who needs no password, and a database of that name.
    """

    user = "postgres"
    stop_signal = signal.SIGINT

    @staticmethod
    def program(name: str) -> str:
        """
        The path of one of its programs: Debian keeps them apart from other commands.
        """
        found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [shutil.which(name) or name]
        return found[-1]

    def prepare(self) -> None:
        """
        Make the database cluster.
        """
        data = str(self.directory / "data")
        self.run(self.program("initdb"), "-D", data, "-U", "gearman", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def command(self) -> Sequence[str]:
        """
        It listens on TCP alone.
        """
        data = str(self.directory / "data")
        settings = {"listen_addresses": HOST, "unix_socket_directories": "", "shared_buffers": "32MB"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", data, "-p", str(self.port), *words, *self.options]

    def answers(self) -> bool:
        """
        It takes connections for a while before it can be used.
        """
        import psycopg2

        try:
            psycopg2.connect(self.conninfo("postgres")).close()
        except psycopg2.OperationalError:
            return False
        return True

    def conninfo(self, database: str = "gearman", port: int | None = None) -> str:
        """
        What libpq needs to connect.

        @param port: another port, of a proxy.
        """
        return f"host={HOST} port={port or self.port} user=gearman dbname={database}"

    def new_database(self) -> str:
        """
        Make a database that is dropped with the server.

        @return: its name.
        """
        name = f"test_{os.getpid()}_{time.monotonic_ns()}"
        self.sql(f"CREATE DATABASE {name}", database="postgres")
        return name

    def sql(self, *statements: str, database: str) -> list[Any]:
        """
        Run statements, each in a transaction of its own.

        @return: the rows of the last one, if it has any.
        """
        import psycopg2

        connection = psycopg2.connect(self.conninfo(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class MariaDB(DatabaseServer):
    """
    MariaDB, which is MySQL to its clients, with a user C{gearman} whose password is C{secret}.
    """

    user = "mysql"

    def prepare(self) -> None:
        """
        Make the system's tables.
        """
        install = shutil.which("mariadb-install-db") or "mysql_install_db"
        self.run(
            install, "--no-defaults", f"--datadir={self.directory / 'data'}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        # Run as the server starts.
        accounts = self.directory / "accounts.sql"
        accounts.write_text(
            "CREATE USER IF NOT EXISTS gearman@'127.0.0.1' IDENTIFIED BY 'secret';\n"
            "GRANT ALL ON *.* TO gearman@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        accounts.chmod(0o644)

    def command(self) -> Sequence[str]:
        """
        It listens on TCP, and on a socket in its directory.
        """
        return [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.directory / 'data'}",
            f"--port={self.port}", f"--bind-address={HOST}", f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}", f"--init-file={self.directory / 'accounts.sql'}",
            "--innodb-buffer-pool-size=64M", "--skip-log-bin", "--skip-name-resolve", *self.options,
        ]

    @property
    def socket(self) -> Path:
        """
        The Unix socket.
        """
        return self.directory / "mysql.sock"

    def connect(self, database: str | None = None) -> Any:
        """
        A connection of PyMySQL's, which commits by itself.
        """
        import pymysql

        return pymysql.connect(
            host=HOST, port=self.port, user="gearman", password="secret", database=database, autocommit=True, charset="utf8mb4"
        )

    def answers(self) -> bool:
        """
        It takes connections for a while before it can be used.
        """
        import pymysql

        try:
            self.connect().close()
        except pymysql.MySQLError:
            return False
        return True

    def new_database(self) -> str:
        """
        Make a database that is dropped with the server.

        @return: its name.
        """
        name = f"test_{os.getpid()}_{time.monotonic_ns()}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def sql(self, *statements: str, database: str | None = None) -> list[Any]:
        """
        Run statements.

        @return: the rows of the last one.
        """
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()


class Redis(DatabaseServer):
    """
    Redis, with an append-only file.
    """

    user = "redis"

    def command(self) -> Sequence[str]:
        """
        It keeps all that it acknowledged, by default of Debian's configuration to within a second.
        """
        return [
            "redis-server", "--port", str(self.port), "--bind", HOST, "--dir", str(self.directory), "--appendonly", "yes",
            "--save", "", *self.options,
        ]

    def answers(self) -> bool:
        """
        It says LOADING while it reads its file.
        """
        try:
            return self.ask(b"PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def ask(self, line: bytes) -> bytes:
        """
        Send one command as a person would type it.

        @return: what came back first.
        """
        with socket.create_connection((HOST, self.port), 5) as connection:
            connection.sendall(line + b"\r\n")
            return connection.recv(65536)

    def cli(self, *words: str) -> str:
        """
        Run redis-cli.

        @return: what it printed.
        """
        return subprocess.run(
            ["redis-cli", "-h", HOST, "-p", str(self.port), "--no-auth-warning", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        ).stdout.decode(errors="backslashreplace")


class Memcached(DatabaseServer):
    """
    memcached, which keeps nothing when it ends.
    """

    user = "memcache"

    def command(self) -> Sequence[str]:
        """
        It becomes its user by itself, and takes large values.
        """
        return ["memcached", "-p", str(self.port), "-l", HOST, "-U", "0", "-m", "256", "-I", "128m", *self.options]
