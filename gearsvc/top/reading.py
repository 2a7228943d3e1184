"""
What C{gearsvc top} shows, and where it comes from.

The text protocol is there with every Gearman server, and has the numbers of
jobs and workers.  The console of a gearsvc also knows how long jobs wait, what
is done each second and what fails; it is asked as well where there is one.
"""

from __future__ import annotations

import json
import socket
import time
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from gearsvc.core.explain import text

TIMEOUT = 5.0
"""
How many seconds the server may take to answer.
"""

LARGEST_ANSWER = 256 * 1024 * 1024

LONGEST_IN_NOTE = 30
"""
How much of a function's name stands before what there is to say of it.
"""


class Unreachable(Exception):
    """
    The server does not answer.

    @ivar args: one string of one line: why.
    """


@dataclass
class Row:
    """
    One function.  What is not known is C{None}.

    @ivar priorities: how many of the waiting jobs are of high, normal, low priority.
    @ivar oldest: for how many seconds the oldest waiting job has waited.
    @ivar done: how many jobs were completed each second of the last minute.
    @ivar failed: how many of the jobs that ended of late failed, from 0 to 1.
    """

    name: str
    waiting: int
    running: int
    workers: int
    priorities: tuple[int, int, int] | None = None
    oldest: float | None = None
    done: float | None = None
    failed: float | None = None
    paused: bool = False


@dataclass
class Snapshot:
    """
    A server at one moment.

    @ivar notes: what there is to say of it in lines of their own.
    """

    server: str
    version: str
    rows: list[Row]
    connections: int
    workers: int
    taken: float
    notes: list[str] = field(default_factory=list)
    has_console: bool = False


class TextConnection:
    """
    Asks a server in the text protocol, and connects again when it has to.
    """

    def __init__(self, host: str, port: int, timeout: float = TIMEOUT) -> None:
        """
        @param timeout: how many seconds the server may take to answer.
        """
        self.host = host
        self.port = port
        self._timeout = timeout
        self._socket: socket.socket | None = None

    @property
    def name(self) -> str:
        """
        The server, as a person would name it.
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def close(self) -> None:
        """
        Hang up.
        """
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def ask(self, command: str | bytes, is_list: bool = False) -> list[bytes]:
        """
        Send a line.

        @param command: the line, without its end.
        @param is_list: whether the answer ends with a line that is a dot (or
            is an error).
        @return: the answer's lines, without the dot.
        @raise Unreachable: if there is no answer.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection((self.host, self.port), self._timeout)
            # gearmand takes the last byte before a line feed for a carriage return.
            self._socket.sendall((command.encode() if isinstance(command, str) else command) + b"\r\n")
            return self._read(self._socket, is_list)
        except OSError as error:
            self.close()
            why = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise Unreachable(f"{self.name}: {why}") from None

    def _read(self, connection: socket.socket, is_list: bool) -> list[bytes]:
        answer = bytearray()
        while True:
            piece = connection.recv(1 << 20)
            if not piece:
                raise ConnectionError("it has closed the connection")
            answer += piece
            if len(answer) > LARGEST_ANSWER:
                raise ConnectionError("what answers is no Gearman server")
            whole = answer.endswith(b"\n")
            if is_list and not answer.startswith(b"ERR"):
                whole = answer == b".\n" or answer.endswith(b"\n.\n")
            if whole:
                lines = bytes(answer).splitlines()
                return lines[:-1] if is_list and lines[-1] == b"." else lines


class Console:
    """
    Asks the console of a gearsvc.
    """

    def __init__(self, url: str, token: str = "") -> None:
        """
        @param url: where it is, as in C{http://127.0.0.1:4780}.
        @param token: what it wants to be shown, if anything.
        """
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A console is never behind the proxy that the environment names for the web.
        self._opener = build_opener(ProxyHandler({}))

    def ask(self, path: str) -> Any:
        """
        @raise Unreachable: if it does not answer, or not to us.
        """
        request = Request(f"{self.url}/api/v1/{path}", headers=self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except HTTPError as error:
            why = "it wants a token: --token-file names a file that holds one" if error.code in (401, 403) else f"status {error.code}"
            raise Unreachable(f"{self.url}: {why}") from None
        except URLError as error:
            raise Unreachable(f"{self.url}: {getattr(error.reason, 'strerror', None) or error.reason}") from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self.url}: {error}") from None

    def functions(self) -> list[dict[str, Any]]:
        """
        Every function, as C{/api/v1/functions} has them.
        """
        found: list[dict[str, Any]] = []
        following = ""
        while True:
            page = self.ask("functions?limit=1000" + following)
            found += page["functions"]
            if page["following"] is None:
                return found
            encoded = page.get("following_base64") or b64encode(page["following"].encode()).decode()
            following = "&after=~" + encoded.translate({ord("+"): "-", ord("/"): "_", ord("="): None})


class Source:
    """
    Takes snapshots of a server.
    """

    def __init__(self, connection: TextConnection, console: Console | None, must_have_console: bool) -> None:
        """
        @param console: where its console may be, or C{None}.
        @param must_have_console: whether the user has named it: then it is told
            when it does not answer.
        """
        self._connection = connection
        self._console = console
        self._must_have_console = must_have_console

    def snapshot(self) -> Snapshot:
        """
        @raise Unreachable: if the server does not answer.
        """
        ask = self._connection.ask
        version = text(b"".join(ask("version"))).removeprefix("OK ")
        rows = {row.name: row for row in map(_row, ask("status", is_list=True)) if row is not None}
        for name, *numbers, _ in _columns(ask("prioritystatus", is_list=True), 5):
            if text(name) in rows:
                high, normal, low = map(int, numbers)
                rows[text(name)].priorities = (high, normal, low)
        for name, _ in _columns(ask("show paused", is_list=True), 2):
            if text(name) in rows:
                rows[text(name)].paused = True
        connections = ask("workers", is_list=True)
        workers = sum(1 for line in connections if b" : " in line)
        found = Snapshot(self._connection.name, version, list(rows.values()), len(connections), workers, time.time())
        if self._console is not None:
            self._add_console(found, rows)
        return found

    def _add_console(self, found: Snapshot, rows: dict[str, Row]) -> None:
        console = self._console
        assert console is not None
        try:
            overview = console.ask("overview")
            # A console that answers may be another server's.
            pid = self._connection.ask("getpid")[0].split()[-1]
            if str(overview.get("pid")).encode() != pid:
                raise Unreachable(f"{console.url} is the console of another server")
            functions = console.functions()
        except Unreachable as error:
            if self._must_have_console:
                found.notes.append(f"No console: {error}")
            return
        found.has_console = True
        for function in functions:
            row = rows.get(function["name"])
            if row is not None:
                row.oldest = function["oldest_age"]
                row.done = function["rates"]["completed"]
                row.failed = function["failure_share"]
        for attention in overview["attention"][:5]:
            about = attention["function"]
            if about is not None and len(about) > LONGEST_IN_NOTE:
                about = about[: LONGEST_IN_NOTE - 1] + "…"
            found.notes.append(attention["sentence"] if about is None else f"{about}: {attention['sentence']}")


def _columns(lines: Sequence[bytes], count: int) -> list[list[bytes]]:
    """
    Lines of columns, the first of which may hold anything.  What has another
    number of columns is no such line: an error, of a server that does not know
    the command.
    """
    split = [line.rsplit(b"\t", count - 1) for line in lines]
    return [columns for columns in split if len(columns) == count and all(column.isdigit() for column in columns[1:])]


def _row(line: bytes) -> Row | None:
    for name, total, running, workers in _columns([line], 4):
        return Row(text(name), max(int(total) - int(running), 0), int(running), int(workers))
    with suppress(ValueError):
        # (A gearmand with a known mistake says that -1 jobs run.)
        name, *numbers = line.rsplit(b"\t", 3)
        if len(numbers) == 3:
            jobs, active, able = (max(int(number), 0) for number in numbers)
            return Row(text(name), max(jobs - active, 0), active, able)
    return None
