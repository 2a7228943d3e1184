"""
A session with PostgreSQL, and what its errors mean.

txpostgres gives psycopg2's asynchronous connections to the reactor.  What it
leaves to its user is here: a query that gets no answer, a connection that is
lost while nothing is asked of it, names that have to be looked up (libpq does
it in the reactor's thread, and everything would stand still), and settings of
the user, the database or the server that would surprise us.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE, parse_dsn
from twisted.internet.defer import Deferred, TimeoutError, fail
from twisted.internet.error import ConnectionClosed, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from txpostgres import txpostgres

from gearsvc.interfaces import StoreError

COMMIT_SECONDS = 30.0
"""
How long a query may go without an answer.
"""

PATIENT_SECONDS = 3600.0
"""
The same where a whole table may be rewritten or sorted.
"""

OLDEST_SERVER = 100000
"""
The first version with all that the statements need, as libpq counts.
"""

SENT_AT_ONCE = 4096
"""
How many bytes any socket takes that has nothing else to send.
"""

LOCK_NOT_AVAILABLE = "55P03"
"""
An SQLSTATE.
"""

Row = tuple[Any, ...]

_LASTING = re.compile(
    r"does not exist|authentication|password|pg_hba|certificate|support SSL|invalid|unrecognized|permission denied"
    r"|must match|not permitted|not currently accepting",
    re.IGNORECASE,
)
"""
What libpq or the server says, as it refuses a connection, that waiting does not
change.  (It may say so in another language: we wait then, and the user sees it.)
"""

_HINTS = {
    "25006": "name the server that can be written, or let this user write",
    "26000": "what is between here and the server shares sessions; let it keep them (PgBouncer: pool_mode = session)",
    "42501": "grant this user SELECT, INSERT, UPDATE and DELETE on the table",
    "42703": "somebody has changed the table; start this server again, and it is brought up to date",
    "42P01": "somebody has dropped or renamed the table; put it back, or start this server again to have a new one",
    "42P10": "somebody has changed the table; start this server again, and it is brought up to date",
    "53100": "make room on its disk",
}
"""
What to do about an error, by its SQLSTATE.
"""


class DatabaseError(StoreError):
    """
    The server refused a query, or did not answer it.

    @ivar code: the SQLSTATE; C{""} if there was no answer.
    @ivar reason: what the server itself said.
    """

    code: str = ""
    reason: str = ""


class _Link(txpostgres.Connection):  # type: ignore[misc]
    """
    txpostgres's connection, with two differences.

    It does not fail in the reactor's hands when it is lost while nothing is
    asked of it.  And it waits for an answer itself, and says at once that it is
    there; a cursor of txpostgres's has the connection change hands twice, and
    lets the reactor go round once more, which together takes as long as a small
    batch takes PostgreSQL.
    """

    def __init__(self, reactor: object, lost: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._lost = lost
        self._waiting: Deferred[None] | None = None

    def run(self, cursor: Any, statements: str | bytes, values: Sequence[object] | None) -> Deferred[None]:
        """
        Execute something.

        @param cursor: one of psycopg2's.
        @return: fires when the cursor has the answer; fails with what psycopg2
            raises, or with L{ConnectionClosed}.
        """
        try:
            cursor.execute(statements, values)
        except psycopg2.Error:
            return fail()
        waiting = self._waiting = Deferred()
        if len(statements) > SENT_AT_ONCE:
            self._proceed()
        return waiting

    def _proceed(self) -> None:
        """
        Take what has come, send what has not gone.
        """
        # libpq closes the socket itself if it is broken; the reactor must not have it then.
        self.reactor.removeReader(self)
        try:
            state = self._connection.poll()
        except psycopg2.Error:
            self._end(Failure())
            return
        if self._connection.fileno() < 0:
            self._end(Failure(ConnectionLost()))
        elif state == POLL_WRITE:
            self.reactor.addWriter(self)
        else:
            self.reactor.addReader(self)
            if state == POLL_OK and self._waiting is not None:
                waiting, self._waiting = self._waiting, None
                waiting.callback(None)

    def _end(self, reason: Failure) -> None:
        """
        The query has failed, or the connection.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            self._lost()
            return
        if self.is_open():
            self.reactor.addReader(self)
        waiting.errback(reason)

    def is_open(self) -> bool:
        """
        Whether there is a connection.
        """
        return not self._connection.closed and self._connection.fileno() >= 0

    def doRead(self) -> None:
        """
        Something has come.
        """
        if self._pollingD is not None:
            # It is still being made.
            self.reactor.removeReader(self)
            self.continuePolling()
        else:
            self._proceed()

    def doWrite(self) -> None:
        """
        More can be sent.
        """
        if self._pollingD is not None:
            super().doWrite()
        else:
            self.reactor.removeWriter(self)
            self._proceed()

    def connectionLost(self, reason: Failure) -> None:
        """
        The connection was closed, or broke.
        """
        if self._pollingD is not None:
            super().connectionLost(reason)
        elif self.is_open():
            # PostgreSQL may have said why.
            self._proceed()
        if self._waiting is not None and not self.is_open():
            self._end(reason)


class Session:
    """
    One session with the server, from L{connect} to L{close} or to the end of
    its connection.

    @ivar place: the database and its server, as a person would name them.
    @ivar encoding: the database's encoding, by PostgreSQL's name.
    """

    def __init__(self, conninfo: str, name: str, reactor: Any) -> None:
        """
        @param conninfo: libpq's connection string.
        @param name: what other sessions see us as.
        """
        self._conninfo = conninfo
        self._name = name
        self._reactor = reactor
        self._time = cast(IReactorTime, reactor)
        self._link: Any = None
        self._ready = False
        self.encoding = ""
        self.place = place_of(conninfo)

    @property
    def alive(self) -> bool:
        """
        Whether it can be used.
        """
        return self._ready and bool(self._link.is_open())

    async def connect(self) -> None:
        """
        Connect, and set what has to be set.

        @raise StoreError: if that fails.
        """
        looking = deferToThread(_addresses, self._conninfo)
        looking.addTimeout(COMMIT_SECONDS, self._time)
        try:
            addresses = await looking
            link = self._link = _Link(self._reactor, self.close)
            connecting = link.connect(self._conninfo, application_name=self._name, client_encoding="UTF8", **addresses)
            await self._limited(connecting, COMMIT_SECONDS)
        except (psycopg2.Error, OSError, TimeoutError, ConnectionClosed) as error:
            self.close()
            raise self._unreachable(error) from None
        self._ready = True
        self.place = _written(link.info.dbname, link.info.host, str(link.info.port))
        self.encoding = link.get_parameter_status("server_encoding")
        if link.server_version < OLDEST_SERVER:
            version = link.get_parameter_status("server_version")
            self.close()
            raise StoreError(f"The {self.place} has PostgreSQL {version}, which is too old: it has to be 10 or later.")
        await self._set_up()

    def _unreachable(self, error: Exception) -> StoreError:
        text = (
            f"no answer within {COMMIT_SECONDS:g} seconds" if isinstance(error, TimeoutError) else _one_line(str(error))
        )
        reason = StoreError(f"The {self.place} can't be used: {text}.")
        # (What stands in quotes is a name.)
        lasting = isinstance(error, psycopg2.Error) and _LASTING.search(re.sub(r'"[^"]*"', "", text))
        reason.unreachable = not lasting
        return reason

    async def _set_up(self) -> None:
        """
        Set what the server has of L{_SETTINGS}, for the rest of the session.
        """
        values = ", ".join(["(%s, %s)"] * len(_SETTINGS))
        await self.query(
            # The server gives up before we do, so that it is known what became of a batch.
            f"SET statement_timeout = {int(COMMIT_SECONDS * 900)};"
            # (Some systems can't look at a connection in the midst of a query, and refuse to try.)
            f" SELECT set_config(s.name, w.value, false) FROM pg_settings s JOIN (VALUES {values}) AS w (name, value)"
            " ON s.name = w.name WHERE s.name <> 'client_connection_check_interval' OR version() LIKE '%%linux%%'",
            [text for item in _SETTINGS.items() for text in item],
        )

    async def query(
        self, statements: str | bytes, values: Sequence[object] | None = None, seconds: float = 0.0
    ) -> list[Row]:
        """
        Ask for something.  Several statements are one transaction.

        @param values: for C{%s} in the statements.
        @param seconds: how long to wait for the answer; by default
            L{COMMIT_SECONDS}.
        @return: the rows of the last statement.
        @raise DatabaseError: if it failed.  It is C{uncertain} if the session
            has ended, and what was asked may have been done.
        """
        if not self.alive:
            raise self._lost("it was closed", uncertain=False)
        cursor = self._link.pollable().cursor()
        seconds = seconds or COMMIT_SECONDS
        try:
            await self._limited(self._link.run(cursor, statements, values), seconds)
            return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            if self._link.is_open():
                raise self._refused(error) from None
            why = _one_line(str(error))
        except TimeoutError:
            why = f"no answer within {seconds:g} seconds"
        except ConnectionClosed as closed:
            why = _one_line(str(closed))
        self.close()
        raise self._lost(why)

    async def _limited(self, waiting: Deferred[Any], seconds: float) -> Any:
        """
        Wait for something, and close the connection if it takes too long.

        @raise TimeoutError: if it did.
        """
        timer = self._time.callLater(seconds, self.close)
        try:
            return await waiting
        except ConnectionClosed:
            if timer.active():
                raise
            raise TimeoutError() from None
        finally:
            if timer.active():
                timer.cancel()

    def _refused(self, error: psycopg2.Error) -> DatabaseError:
        code = error.pgcode or ""
        # (The whole text holds the statement, and so the workloads.)
        text = _one_line(error.diag.message_primary or type(error).__name__)
        hint = _HINTS.get(code)
        refused = DatabaseError(f"The {self.place} refuses: {text}" + (f"; {hint}." if hint else "."))
        refused.code = code
        refused.reason = text
        # Another session has locked what was to be changed.
        refused.unreachable = code == LOCK_NOT_AVAILABLE
        return refused

    def _lost(self, why: str, uncertain: bool = True) -> DatabaseError:
        lost = DatabaseError(f"The connection to the {self.place} is lost: {why}.")
        lost.uncertain = uncertain
        lost.unreachable = True
        return lost

    def close(self) -> None:
        """
        End the session, whatever it is at.
        """
        self._ready = False
        # (A string that can't be read makes no connection at all.)
        if self._link is not None and self._link.pollable() is not None:
            self._link.close()


_SETTINGS = {
    # What a role or a database may have set otherwise, for other programs.
    "array_nulls": "on",
    "bytea_output": "hex",
    "client_min_messages": "error",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "3",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "standard_conforming_strings": "on",
    "transaction_timeout": "0",
    # Plans are made once, perhaps when the table was empty, and are to be good for a full one.
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    # When this process or its machine is gone the server is to notice soon, for it keeps the table locked until then.
    "client_connection_check_interval": "1000",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_user_timeout": "20000",
}


def place_of(conninfo: str) -> str:
    """
    What a connection string names, as a person would.

    @raise ValueError: if it can't be read; why, without any value in it.
    """
    try:
        found = parse_dsn(conninfo)
    except psycopg2.ProgrammingError as error:
        # The text may quote anything, a part of a password too.
        unknown = re.search(r'invalid (?:connection option|URI query parameter): ?"?(\w+)|option "(\w+)"', str(error))
        word = unknown and (unknown[1] or unknown[2])
        raise ValueError(f"there is no option {word!r}" if word else "it is not of libpq's form") from None
    host = found.get("host") or found.get("hostaddr") or os.environ.get("PGHOST") or ""
    user = found.get("user") or os.environ.get("PGUSER") or ""
    name = found.get("dbname") or os.environ.get("PGDATABASE") or user
    return _written(name, host, found.get("port") or os.environ.get("PGPORT") or "5432")


def _written(name: str, host: str, port: str) -> str:
    where = f" at {host}:{port}" if host and host[0] not in "/@" else f" at {host} (port {port})" if host else ""
    return f"PostgreSQL database{' ' if name else ''}{name}{where}"


def _addresses(conninfo: str) -> dict[str, str]:
    """
    Look names of hosts up; this blocks.

    @return: what says to libpq which addresses they have; nothing if it needs
        none, or knows where to look that we do not (a service).
    @raise OSError: if no name has an address.
    """
    found = parse_dsn(conninfo)
    names = found.get("host") or os.environ.get("PGHOST") or ""
    if (
        not names
        or "service" in found
        or "hostaddr" in found
        or "PGHOSTADDR" in os.environ
        or "PGSERVICE" in os.environ
    ):
        return {}
    hosts = names.split(",")
    if all(_needs_no_lookup(host) for host in hosts):
        return {}
    ports = (found.get("port") or os.environ.get("PGPORT") or "").split(",")
    if len(ports) not in (1, len(hosts)):
        # libpq says what is wrong with that.
        return {}
    ports *= len(hosts) // len(ports)
    looked_up: list[tuple[str, str, str]] = []
    failure: OSError | None = None
    for host, port in zip(hosts, ports):
        if _needs_no_lookup(host):
            looked_up.append((host, host if host and host[0] not in "/@" else "", port))
            continue
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            failure = OSError(f"the host {host} is not known: {error.strerror}")
            continue
        for address in dict.fromkeys(str(answer[4][0]) for answer in answers):
            looked_up.append((host, address, port))
    if failure is not None and not looked_up:
        raise failure
    names, addresses, numbers = (",".join(column) for column in zip(*looked_up))
    return {"host": names, "hostaddr": addresses, "port": numbers}


def _needs_no_lookup(host: str) -> bool:
    """
    Whether it is an address, or the directory of a Unix socket.
    """
    if not host or host[0] in "/@":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _one_line(text: str) -> str:
    """
    What PostgreSQL or libpq says, without the lines that explain it at length,
    and without a full stop.
    """
    lines = [" ".join(line.split()) for line in text.splitlines() if not line.startswith("\t")]
    return "; ".join(filter(None, lines)).rstrip(".")
