"""
Jobs as SQL, and jobs of rows: see L{gearsvc.stores.mysqltable} for the table.

A batch is one packet, and one round trip, if it fits: its statements are sent
together, between C{BEGIN} and C{COMMIT}; a single one is a transaction by itself.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.mysqltable import QueueTable
from gearsvc.stores.rows import made_key, row_key, unique_of

REPLAY_ROWS = 2_000
REPLAY_BYTES = 16 * 1024 * 1024
"""
How much of the table is in memory on its way to the job server.
"""

STATEMENT_ROWS = 1_000
STATEMENT_BYTES = 1024 * 1024
"""
How much one statement holds.
"""

PACKET_BYTES = 8 * 1024 * 1024
"""
How much is sent before an answer is waited for; the server may take less.
"""

LAST_TIME = 2**31 - 1
"""
The latest time that C{when_to_run} holds, and that gearmand can read there.
"""

HEX_BYTES = 1_000
"""
A workload of this size is written as twice as many hexadecimal digits, which is
quicker; a larger one as it is.
"""

_COLUMNS = (
    "unique_key", "function_name", "priority", "when_to_run", "handle", "unique_id", "`function`", "reducer", "attempts",
    "run_at", "submitted", "data",
)

Row = tuple[bytes, bytes]
"""
A job as it was when it was handed in: its values as SQL, but for the last,
which is the workload; and the workload.
"""

Key = tuple[bytes, bytes]
"""
C{unique_key} and C{function_name} of a row, as hexadecimal digits.
"""


class TooLarge(Exception):
    """
    A job does not fit into what the server takes; the argument is the number of bytes.
    """


def _bytes(value: bytes) -> bytes:
    return b"X'%b'" % hexlify(value)


def _workload(value: bytes) -> bytes:
    if len(value) <= HEX_BYTES:
        return b"X'%b')" % hexlify(value)
    return b"_binary'%b')" % value.replace(b"\\", b"\\\\").replace(b"'", b"\\'")


class Statements:
    """
    Writes and reads the rows of one table.
    """

    def __init__(self, table: QueueTable) -> None:
        name = table.name
        changes = ", ".join(f"{column} = VALUES({column})" for column in _COLUMNS[2:])
        self._function_bytes = table.function_bytes
        self._insert = f"INSERT INTO {name} ({', '.join(_COLUMNS)}) VALUES ".encode()
        self._update = f" ON DUPLICATE KEY UPDATE {changes}".encode()
        self._delete = f"DELETE FROM {name} WHERE function_name = X'".encode()
        self.count = f"SELECT COUNT(*) FROM {name}"
        self.select = (
            "SELECT unique_key, COALESCE(`function`, function_name), CASE WHEN priority IN (0, 2) THEN priority ELSE 1 END,"
            " COALESCE(data, ''), COALESCE(run_at, when_to_run, 0), COALESCE(handle, ''), unique_id, reducer,"
            f" COALESCE(attempts, 0), COALESCE(submitted, 0) FROM {name} ORDER BY {table.position}"
        )

    def _key_of(self, record: JobRecord) -> bytes:
        """
        The C{unique_key} of a job's row.

        (A long function name is cut in its column, and may be another's then:
        the key has to tell the job apart without it.)
        """
        if record.key is None and len(record.function) > self._function_bytes:
            return made_key(record)
        return row_key(record)

    def row(self, record: JobRecord) -> Row:
        """
        A job as it is now.
        """
        function = record.function
        held = function[: self._function_bytes]
        key = self._key_of(record)
        unique = record.unique
        reducer = record.reducer
        run_at = record.run_at
        return (
            b"(X'%b',X'%b',%d,%d,X'%b',%b,%b,%b,%d,%b,%r,"
            % (
                hexlify(key),
                hexlify(held),
                record.priority,
                run_at if run_at <= LAST_TIME else LAST_TIME,
                hexlify(record.handle),
                # What the columns that gearmand has hold truly is not stored
                # twice: somebody may change it there.
                b"NULL" if key == unique else _bytes(unique),
                b"NULL" if held == function else _bytes(function),
                b"NULL" if reducer is None else _bytes(reducer),
                record.attempts,
                b"NULL" if run_at <= LAST_TIME else b"%d" % run_at,
                record.submitted,
            ),
            record.workload,
        )

    def key(self, record: JobRecord) -> Key:
        """
        What finds the row of a job.
        """
        return hexlify(self._key_of(record)), hexlify(record.function[: self._function_bytes])

    def packets(self, added: Sequence[Row], removed: Sequence[Key], limit: int) -> list[bytes]:
        """
        What commits a batch.

        @param limit: how many bytes the server takes in one packet.
        @return: what to send, one after the other.
        @raise TooLarge: if a job does not fit into one.
        """
        statements = [*self._deletes(removed), *self._inserts(added, limit)]
        if len(statements) == 1:
            return statements
        return list(_joined([b"BEGIN", *statements, b"COMMIT"], min(limit, PACKET_BYTES)))

    def trial(self, record: JobRecord) -> bytes:
        """
        What writes a job and takes it back.
        """
        head, workload = self.row(record)
        return b"BEGIN;%b%b%b%b;ROLLBACK" % (self._insert, head, _workload(workload), self._update)

    def pieces(self, fetch: Callable[[], tuple[Any, ...] | None]) -> Iterator[list[JobRecord]]:
        """
        Make jobs of rows, in pieces.

        @param fetch: gives the next row of L{Statements.select}, as bytes; C{None}
            at the end.
        """
        # One object for each function name and reducer: a million jobs share them.
        names: dict[bytes, bytes] = {}
        piece: list[JobRecord] = []
        size = 0
        while row := fetch():
            key, function, priority, workload, run_at, handle, unique, reducer, attempts, submitted = row
            if unique is None:
                unique = unique_of(key)
            if reducer is not None:
                reducer = names.setdefault(reducer, reducer)
            function = names.setdefault(function, function)
            record = JobRecord(
                handle, function, unique, int(priority), workload, int(run_at), reducer, int(attempts), float(submitted)
            )
            if not handle or self._key_of(record) != key:
                record.key = key
            piece.append(record)
            size += len(workload)
            if len(piece) == REPLAY_ROWS or size > REPLAY_BYTES:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece

    def _deletes(self, keys: Iterable[Key]) -> Iterator[bytes]:
        by_function: dict[bytes, list[bytes]] = {}
        for key, function in keys:
            by_function.setdefault(function, []).append(key)
        for function, found in by_function.items():
            for start in range(0, len(found), STATEMENT_ROWS):
                some = b"',X'".join(found[start : start + STATEMENT_ROWS])
                yield b"%b%b' AND unique_key IN (X'%b')" % (self._delete, function, some)

    def _inserts(self, rows: Iterable[Row], limit: int) -> Iterator[bytes]:
        room = limit - len(self._insert) - len(self._update)
        values: list[bytes] = []
        size = 0
        for head, workload in rows:
            value = head + _workload(workload)
            if len(value) > room:
                raise TooLarge(len(workload))
            size += len(value) + 1
            if values and (size > min(room, STATEMENT_BYTES) or len(values) == STATEMENT_ROWS):
                yield self._insert + b",".join(values) + self._update
                values, size = [], len(value) + 1
            values.append(value)
        if values:
            yield self._insert + b",".join(values) + self._update


def _joined(statements: Iterable[bytes], limit: int) -> Iterator[bytes]:
    some: list[bytes] = []
    size = 0
    for statement in statements:
        size += len(statement) + 1
        if some and size > limit:
            yield b";".join(some)
            some, size = [], len(statement) + 1
        some.append(statement)
    yield b";".join(some)
