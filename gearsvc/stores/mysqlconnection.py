"""
A connection to MySQL or MariaDB, and what its errors mean.

PyMySQL blocks: everything here is called in one thread of the store's own.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from configparser import Error as DefaultsFileError
from dataclasses import dataclass, field
from typing import Any

from pymysql.connections import Connection as PyMySQLConnection
from pymysql.constants import CLIENT, CR, ER
from pymysql.cursors import SSCursor
from pymysql.err import MySQLError

from gearsvc.interfaces import StoreError

COMMIT_SECONDS = 30.0
"""
How long the server may be silent while it owes an answer.
"""

CONNECT_SECONDS = 10.0
"""
How long it may take to accept a connection.
"""

PREPARE_SECONDS = 3600.0
"""
How long a statement may take before the store is open: a large table that
gearmand wrote is copied by the server as it is brought up to date.
"""

PING_SECONDS = 10.0
"""
How long the server may take to say that it is there.
"""

LOCK_WAIT_SECONDS = 10
"""
How long the server waits for what another session has locked.
"""

LOST_SECONDS = 60
"""
After how many seconds without a word the server gives a connection up.  What
it locked is free then, if the machine at this end is gone.
"""

SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")
"""
Where a server on this host has its Unix socket: Debian's, Red Hat's and MySQL's own place.
"""

DEFAULT_PORT = 3306


# Errors whose numbers PyMySQL has no names for.
_ER_WSREP_NOT_READY = 1047
_ER_READ_ONLY_TRANSACTION = 1792
_ER_READ_ONLY_MODE = 1836
_ER_READ_ONLY_INNODB = 1874
_ER_CONNECTION_KILLED = 1927
_ER_SERVER_ISNT_AVAILABLE = 3168
_ER_INACTIVE = 4031

UNREACHABLE = {
    CR.CR_CONNECTION_ERROR,
    CR.CR_CONN_HOST_ERROR,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    ER.CON_COUNT_ERROR,
    ER.TOO_MANY_USER_CONNECTIONS,
    ER.SERVER_SHUTDOWN,
    _ER_SERVER_ISNT_AVAILABLE,
    _ER_WSREP_NOT_READY,
}
"""
What may pass while a server starts and waits for its store.
"""

READ_ONLY = {ER.OPTION_PREVENTS_STATEMENT, _ER_READ_ONLY_TRANSACTION, _ER_READ_ONLY_MODE, _ER_READ_ONLY_INNODB}
"""
The server takes no writes; behind the same name there may be another one now.
"""

INTERRUPTED = {
    ER.ERROR_DURING_COMMIT,
    ER.SERVER_SHUTDOWN,
    ER.QUERY_INTERRUPTED,
    _ER_CONNECTION_KILLED,
    _ER_INACTIVE,
}
"""
What may stop a statement at any moment: also when it has just been committed.
"""

# What these say has parts of the statement in it, and so of workloads.
_QUOTING = {ER.PARSE_ERROR, ER.SYNTAX_ERROR, ER.DUP_ENTRY, 1292, 1366, 1411, 1525, 1586}

_FULL = "its disk is full, or the table is as large as it may be"

_REASONS = {
    ER.CON_COUNT_ERROR: "it has as many connections as its max_connections allows",
    ER.TOO_MANY_USER_CONNECTIONS: "the account has as many connections as it may have",
    ER.SERVER_SHUTDOWN: "it is shutting down",
    ER.BAD_DB_ERROR: "there is no such database; create it, or name another",
    ER.NO_DB_ERROR: "no database is named",
    ER.NO_SUCH_TABLE: "the table is gone; restart to begin with a new one",
    ER.BAD_FIELD_ERROR: "the table was altered; restart to have it brought up to date",
    ER.RECORD_FILE_FULL: _FULL,
    ER.DISK_FULL: _FULL,
    ER.LOCK_WAIT_TIMEOUT: "another session has the table, or some of its rows, locked",
    ER.LOCK_DEADLOCK: "other sessions lock the same rows all the time",
    ER.NET_PACKET_TOO_LARGE: "what it was sent is larger than its max_allowed_packet",
    ER.QUERY_INTERRUPTED: "the statement was killed",
    _ER_CONNECTION_KILLED: "the connection was killed",
    _ER_INACTIVE: "the server closed the connection",
}


@dataclass(frozen=True)
class Place:
    """
    A database, and how to get there.

    @ivar host: the server's; C{""} is not given, and means C{localhost}.
    @ivar port: the server's; 0 is not given, and means 3306.
    @ivar user: C{""} is the name of this process's user.
    @ivar socket: the Unix socket to use instead of host and port.
    @ivar defaults_file: a C{my.cnf}; its group C{[gearmand]}, where gearmand's
        client library looks too, says what is not given here.
    """

    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    socket: str = ""
    defaults_file: str = ""

    def __str__(self) -> str:
        """
        The server, for a message.
        """
        return self.socket or f"{self.host or 'localhost'}:{self.port or DEFAULT_PORT}"


class Connection(PyMySQLConnection):  # type: ignore[misc]
    """
    One session with the server.

    Results are bytes: neither numbers nor texts are made of them.

    @ivar packet_limit: the server's C{max_allowed_packet}.
    @ivar limit: how many bytes of statements it takes at once.
    @ivar database: the database's name, as the server has it.
    @ivar folds: whether the server takes table names for the same that differ
        in the case of their letters.
    """

    unix_socket: str | None

    def __init__(self, place: Place) -> None:
        """
        Connect.

        @raise MySQLError: if that fails.
        @raise DefaultsFileError: if the C{my.cnf} can't be read.
        @raise RuntimeError: if a package is missing that the account needs.
        """
        super().__init__(
            host=place.host or None,
            port=place.port,
            user=place.user or None,
            # PyMySQL makes Latin-1 of a text.
            password=place.password.encode(),
            database=place.database or None,
            unix_socket=place.socket or None,
            read_default_file=place.defaults_file or None,
            read_default_group="gearmand" if place.defaults_file else None,
            charset="utf8mb4",
            autocommit=True,
            use_unicode=False,
            conv={},
            client_flag=CLIENT.MULTI_STATEMENTS,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=CONNECT_SECONDS,
            write_timeout=COMMIT_SECONDS,
            program_name="gearsvc",
            defer_connect=True,
        )
        if self.host == "localhost" and self.port == DEFAULT_PORT and not self.unix_socket:
            # To MySQL's own library that is a server's Unix socket.
            self.unix_socket = next(filter(os.path.exists, SOCKETS), None)
        self.connect()
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self.wait(COMMIT_SECONDS)
        try:
            self.run(_session())
            row = self.rows("SELECT @@max_allowed_packet, DATABASE(), @@lower_case_table_names")[0]
        except BaseException:
            self.close()
            raise
        self.packet_limit = int(row[0])
        # (A packet holds a byte beside the statements.)
        self.limit = self.packet_limit - 16
        self.database = (row[1] or b"").decode()
        self.folds = row[2] != b"0"

    @property
    def busy(self) -> bool:
        """
        Whether not all rows of L{stream} have been fetched.
        """
        return self._result is not None and bool(self._result.unbuffered_active)

    def wait(self, seconds: float) -> None:
        """
        From now on, give up on an answer after so many seconds.
        """
        self._read_timeout = seconds

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """
        Ask for some rows, whose values are bytes or C{None}.
        """
        with self.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def run(self, packet: str | bytes) -> None:
        """
        Run the statements of a packet.

        @raise MySQLError: if one of them fails; those after it are not run.
        """
        with self.cursor() as cursor:
            cursor.execute(packet)
            while cursor.nextset():
                pass

    def stream(self, statement: str) -> Callable[[], tuple[Any, ...] | None]:
        """
        Ask for more rows than memory holds.

        @return: gives one after the other, and C{None} at the end.  Nothing
            else may be asked before that.
        """
        cursor = SSCursor(self)
        cursor.execute(statement)
        fetch: Callable[[], tuple[Any, ...] | None] = cursor.fetchone
        return fetch

    def close(self) -> None:
        """
        Let the server go, whatever it still has to say.
        """
        if self.busy:
            # Or the cursor would wait for the rest.
            self._result.unbuffered_active = False
        super().close()

    @property
    def descriptor(self) -> int:
        """
        The socket's number.
        """
        return int(self._sock.fileno())

    def is_at_rest(self) -> bool:
        """
        Whether a packet can be written to the socket by somebody else: it is
        open and not encrypted, no answer is due, and none has come unasked.
        """
        return type(self._sock) is socket.socket and not self.busy and not self._poll.poll(0)

    def abandon(self) -> None:
        """
        Close the socket at once.  (What a session of the server's is at goes on.)
        """
        self._force_close()

    def is_alive(self) -> bool:
        """
        Whether the server is at the other end.

        A server that has closed the connection has said so: this does not ask
        it, and costs next to nothing, if nothing has come.
        """
        if not self.open:
            return False
        if self.busy or not self._poll.poll(0):
            return True
        # Of TLS, there may be something to read that means nothing.
        try:
            self.check()
        except MySQLError:
            return False
        return True

    def check(self) -> None:
        """
        Ask the server whether it is there.

        @raise MySQLError: if it is not.
        """
        self.wait(PING_SECONDS)
        self.ping(reconnect=False)
        self.wait(COMMIT_SECONDS)


def _session() -> str:
    """
    What our statements rely on, whatever the server's own settings are.
    """
    return (
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
        # PyMySQL does not see what the server's init_connect does.
        " autocommit = 1, completion_type = 0, unique_checks = 1, sql_safe_updates = 0,"
        f" wait_timeout = {LOST_SECONDS}, net_write_timeout = {PREPARE_SECONDS:.0f},"
        f" lock_wait_timeout = {LOCK_WAIT_SECONDS}, innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS},"
        # A limit of the server's is for other people's statements: a replay takes
        # its time.  (These comments are read by MariaDB alone, and by MySQL alone.)
        " sql_select_limit = 18446744073709551615, sql_big_selects = 1"
        " /*M!100101 , max_statement_time = 0 */ /*!50708 , max_execution_time = 0 */"
    )


def code_of(error: Exception) -> int:
    """
    The number that MySQL, or its client library, has for an error; 0 if it has none.
    """
    if isinstance(error, MySQLError) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return 0


def explain(error: Exception, store: str) -> StoreError:
    """
    What an error means to a user.

    @param store: what the store is called in a sentence's begin.
    """
    if isinstance(error, StoreError):
        return error
    code = code_of(error)
    if code == CR.CR_CONN_HOST_ERROR:
        cause = getattr(error, "original_exception", error)
        explained = StoreError(f"{store} cannot be reached: {getattr(cause, 'strerror', None) or cause}.")
    else:
        explained = StoreError(f"{store} fails: {_reason(error, code)}.")
    explained.unreachable = code in UNREACHABLE
    return explained


def _reason(error: Exception, code: int) -> str:
    reason = _REASONS.get(code)
    if reason is not None:
        return reason
    if isinstance(error, DefaultsFileError):
        return " ".join(str(error).split())
    text = " ".join(str(error.args[-1] if error.args else type(error).__name__).split()).rstrip(".")
    if code == CR.CR_SERVER_LOST and "timed out" in text:
        return "it does not answer; it may be very busy, or waiting for room on its disk"
    if code in (CR.CR_SERVER_LOST, CR.CR_SERVER_GONE_ERROR):
        return "the connection broke"
    if code in READ_ONLY:
        return f"it takes no writes ({text})"
    if "Errcode: 28" in text or "error 28" in text:
        return _FULL
    if code in _QUOTING:
        return f"it refuses a statement with error {code}"
    return f"{text} (error {code})" if code else text
