"""
Jobs as statements, and jobs of rows: see L{gearsvc.stores.postgrestable} for
the table.

A batch is two calls of statements that each session prepares: one removes rows,
one adds them.  Sent together they are one transaction and one round trip.  Each
column of a batch is one array, which PostgreSQL reads four times as fast as it
reads rows of values; and all that comes from clients is written as hexadecimal
digits, so that nothing in it can be mistaken for a part of the statement.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores.postgresconnection import Row
from gearsvc.stores.postgrestable import KEY, QueueTable
from gearsvc.stores.rows import MADE_KEY, made_key, row_key, unique_of

LAST_TIME = 2**31 - 1
"""
The latest time that C{when_to_run} holds.
"""

LARGEST_BATCH = 400 * 1024 * 1024
"""
How many bytes of workloads fit into a statement, which may have a gigabyte.
"""

SMALL_WORKLOAD = 8_000
"""
Up to how many bytes a workload is read with its row; a larger one is read when
its turn has come.
"""

_VALUES = (
    *("priority", "data", "when_to_run"),
    *("handle", "unique_id", "function", "reducer", "attempts", "run_at", "submitted"),
)
"""
What else than its key is written of a job: gearmand's columns, and ours.
"""

_SINGLE_BYTES = ("SQL_ASCII", "LATIN", "ISO_8859_", "WIN", "KOI8")
"""
Encodings in which all bytes but NUL are text, by how their names begin.
"""

_CODECS = {"UTF8": "utf-8", "EUC_JP": "euc_jp", "EUC_JIS_2004": "euc_jis_2004", "EUC_CN": "gb2312", "EUC_KR": "euc_kr"}
"""
What Python calls the others.  PostgreSQL takes all that Python can read of them;
the few characters that it takes besides are kept as bytes are that are no text.
"""

_run_at = attrgetter("run_at")
_priority = attrgetter("priority")
_workload = attrgetter("workload")
_handle = attrgetter("handle")
_reducer = attrgetter("reducer")
_attempts = attrgetter("attempts")
_submitted = attrgetter("submitted")
_function = attrgetter("function")


def text_check(encoding: str) -> Callable[[bytes, int], bool]:
    """
    What says whether bytes can be a text in a database, of so many characters
    at most.

    @param encoding: the database's, by PostgreSQL's name.
    """
    codec = _CODECS.get(encoding, "ascii")

    def is_characters(text: bytes, width: int) -> bool:
        try:
            return len(text.decode(codec)) <= width and 0 not in text
        except UnicodeDecodeError:
            return False

    def is_single_bytes(text: bytes, width: int) -> bool:
        return len(text) <= width and 0 not in text

    return is_single_bytes if encoding.startswith(_SINGLE_BYTES) else is_characters


class Statements:
    """
    Writes the statements for one table, and reads its rows.
    """

    def __init__(self, table: QueueTable, encoding: str) -> None:
        """
        @param table: where the jobs are.
        @param encoding: the database's.
        """
        name = table.name
        self._is_text = text_check(encoding)
        self._function_width = table.function_width
        # By a function's name: what stands in function_name, and in function.
        self._functions: dict[bytes, tuple[bytes, bytes | None]] = {}
        changes = ", ".join(f"{column} = excluded.{column}" for column in _VALUES)
        key = f"convert_from(k, '{encoding}'), convert_from(f, '{encoding}')"
        # (The name of the encoding has a collation, and so has what is made with it: an index has another one.)
        found = ", ".join(
            f"convert_from({value}, '{encoding}') COLLATE {collation}"
            for value, collation in zip("kf", table.collations)
        )
        self.prepare = (
            f"PREPARE gearsvc_add (bytea[], bytea[], int[], bytea[], bigint[], bytea[], bytea[], bytea[], bytea[],"
            f" int[], float8[]) AS INSERT INTO {name} ({', '.join(KEY + _VALUES)}) SELECT {key}, p, d,"
            f" least(r, {LAST_TIME})::int, h, u, t, c, a, CASE WHEN r > {LAST_TIME} THEN r END, s"
            " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS job (k, f, p, d, r, h, u, t, c, a, s)"
            f" ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {changes}; "
            f"PREPARE gearsvc_remove (bytea[], bytea[]) AS DELETE FROM {name} USING unnest($1, $2) AS job (k, f)"
            f" WHERE ({', '.join(KEY)}) = ({found})"
        )
        self.count = f"SELECT count(*) FROM {name}"
        self.select = (
            f"DECLARE jobs NO SCROLL CURSOR FOR SELECT convert_to(unique_key, '{encoding}'),"
            f" convert_to(function_name, '{encoding}'), function,"
            " CASE WHEN priority IN (0, 2) THEN priority ELSE 1 END,"
            " coalesce(run_at, when_to_run, 0), coalesce(handle, ''), unique_id, reducer, coalesce(attempts, 0),"
            " coalesce(submitted, 0), coalesce(octet_length(data), 0),"
            f" CASE WHEN octet_length(data) <= {SMALL_WORKLOAD} THEN data END, ctid::text FROM {name} ORDER BY position"
        )
        self._select_large = f"SELECT ctid::text, data FROM {name} WHERE ctid = ANY "

    # Writing.

    def batch(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> bytes:
        """
        What commits a batch.

        @raise StoreError: if it is too large.
        """
        parts: list[bytes] = []
        if removed:
            functions = [self._columns_of(function)[0] for function in map(_function, removed)]
            parts += (b"EXECUTE gearsvc_remove (", *_bytes(self._keys(removed)), b", ", *_bytes(functions), b"); ")
        if added:
            parts += (b"EXECUTE gearsvc_add (", *self._add(added), b")")
        return b"".join(parts)

    def trial(self) -> bytes:
        """
        What writes a job and takes it back.
        """
        job = JobRecord(b"", b"", MADE_KEY, 1, b"")
        return b"BEGIN; %b; %b; ROLLBACK" % (self.batch([job], []), self.batch([], [job]))

    def _add(self, records: Sequence[JobRecord]) -> Iterator[bytes]:
        keys = self._keys(records)
        columns = [self._columns_of(function) for function in map(_function, records)]
        names = [name for name, _ in columns]
        if len(set(zip(keys, names))) < len(keys):
            # No row can be written twice by one statement: the last one counts.
            last = {key: record for key, record in zip(zip(keys, names), records)}
            yield from self._add(list(last.values()))
            return
        workloads = list(map(_workload, records))
        size = sum(map(len, workloads))
        if size > LARGEST_BATCH:
            raise StoreError(
                f"A workload of {size} bytes is too large for PostgreSQL, which takes {LARGEST_BATCH} at most."
            )
        uniques = [None if key == record.unique else record.unique for key, record in zip(keys, records)]
        yield from _bytes(keys)
        yield b", "
        yield from _bytes(names)
        yield _numbers(map(_priority, records))
        yield from _bytes(workloads)
        yield _numbers(map(_run_at, records))
        yield from _bytes(map(_handle, records))
        for values in (uniques, [true for _, true in columns], list(map(_reducer, records))):
            yield b", "
            yield _bytes_or_null(values)
        yield _numbers(map(_attempts, records))
        yield b"'{%b}'" % ",".join(map(repr, map(_submitted, records))).encode()

    def _keys(self, records: Sequence[JobRecord]) -> list[bytes]:
        keys = list(map(row_key, records))
        together = b"".join(keys)
        if together.isascii() and 0 not in together:
            return keys
        return [self.key_of(record) for record in records]

    def key_of(self, record: JobRecord) -> bytes:
        """
        The C{unique_key} of a job's row: what L{row_key} says, if that is a
        text in this database.
        """
        key = row_key(record)
        # (What was found in the table is.)
        if record.key is None and not self._is_text(key, len(key)):
            key = made_key(record)
            if not self._is_text(key, len(key)):
                key = MADE_KEY + _digest(record.handle)
        return key

    def _columns_of(self, function: bytes) -> tuple[bytes, bytes | None]:
        """
        What stands for a function in C{function_name}, and in C{function} if
        that is not its name.
        """
        found = self._functions.get(function)
        if found is None:
            if self._is_text(function, self._function_width):
                found = function, None
            else:
                found = MADE_KEY + _digest(function), function
            self._functions[function] = found
        return found

    # Reading.

    def large(self, rows: Iterable[Row]) -> str:
        """
        What gives the large workloads of some rows, by the places of these.

        @return: a query; C{""} if there is no such workload.
        """
        places = [place for *_, size, data, place in rows if size and data is None]
        # (A place is two numbers.)
        return self._select_large + "('{\"" + '","'.join(places) + "\"}'::tid[])" if places else ""

    def records(self, rows: Iterable[Row], workloads: dict[str, Any], names: dict[bytes, bytes]) -> list[JobRecord]:
        """
        Make jobs of rows.

        @param workloads: what L{large} asks for, by place.
        @param names: one object for each function and reducer: a million jobs
            share them.
        """
        records: list[JobRecord] = []
        for row in rows:
            key, name, function, priority, run_at, handle, unique, reducer, attempts, submitted, size, data, place = row
            key = bytes(key)
            name = bytes(name)
            if function is None:
                # That it is a text is known now, whatever the encoding.
                function = names.setdefault(name, name)
                self._functions.setdefault(function, (function, None))
            else:
                function = bytes(function)
                function = names.setdefault(function, function)
            if reducer is not None:
                reducer = bytes(reducer)
                reducer = names.setdefault(reducer, reducer)
            if data is None:
                data = workloads[place] if size else b""
            record = JobRecord(
                bytes(handle),
                function,
                unique_of(key) if unique is None else bytes(unique),
                priority,
                bytes(data),
                run_at,
                reducer,
                attempts,
                submitted,
            )
            if not handle or row_key(record) != key and self.key_of(record) != key:
                record.key = key
            records.append(record)
        return records


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=16).hexdigest().encode()


def _bytes(values: Iterable[bytes]) -> tuple[bytes, bytes, bytes]:
    """
    An array, in parts: what is large is not copied more often than it has to be.
    """
    # (In an array's text a backslash stands for itself when there are two.)
    return b"'{\\\\x", b",\\\\x".join(map(hexlify, values)), b"}'"


def _bytes_or_null(values: Sequence[bytes | None]) -> bytes:
    if not any(map(_is_not_none, values)):
        # An array that is not there is one of as many NULLs as are needed.
        return b"NULL"
    return b"'{%b}'" % b",".join([b"NULL" if value is None else b"\\\\x" + hexlify(value) for value in values])


def _is_not_none(value: object) -> bool:
    return value is not None


def _numbers(values: Iterable[int]) -> bytes:
    """
    An array between two others.
    """
    return b", '{%b}', " % ",".join(map(int.__repr__, values)).encode()
