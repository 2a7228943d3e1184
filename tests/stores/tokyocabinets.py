"""
Tokyo Cabinet past everybody, and what gearmand does with it.

Debian's gearmand is built without its module for Tokyo Cabinet, so what that does is done again here, by what its source
says: the bytes of its records, and how it reads them.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any, NamedTuple

KEEPS = 63
"""
How many bytes of a unique id gearmand has once it has read it.
"""


def _library() -> Any:
    library = ctypes.CDLL("libtokyocabinet.so.9")
    for name in ("tcadbnew", "tcadbget", "tcadbiternext"):
        getattr(library, name).restype = ctypes.c_void_p
    library.tcadbrnum.restype = ctypes.c_uint64
    return library


class Cabinet:
    """
    An open database, as C{tcadb} has it.
    """

    def __init__(self, path: Path) -> None:
        self._library = _library()
        self._database = ctypes.c_void_p(self._library.tcadbnew())
        assert self._library.tcadbopen(self._database, str(path).encode()), "the database can't be opened"

    def __enter__(self) -> Cabinet:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._library.tcadbclose(self._database)
        self._library.tcadbdel(self._database)

    def put(self, key: bytes, value: bytes) -> None:
        """
        Store a record.
        """
        assert self._library.tcadbput(self._database, key, len(key), value, len(value))

    def out(self, key: bytes) -> bool:
        """
        Remove a record.

        @return: whether it was there.
        """
        return bool(self._library.tcadbout(self._database, key, len(key)))

    def _text(self, address: int, size: ctypes.c_int) -> bytes:
        text = ctypes.string_at(address, size.value)
        self._library.tcfree(ctypes.c_void_p(address))
        return text

    def get(self, key: bytes) -> bytes | None:
        """
        Read a record.
        """
        size = ctypes.c_int()
        address = self._library.tcadbget(self._database, key, len(key), ctypes.byref(size))
        return self._text(address, size) if address else None

    def items(self) -> dict[bytes, bytes]:
        """
        All records.
        """
        assert self._library.tcadbiterinit(self._database)
        keys: list[bytes] = []
        size = ctypes.c_int()
        while address := self._library.tcadbiternext(self._database, ctypes.byref(size)):
            keys.append(self._text(address, size))
        assert len(keys) == self._library.tcadbrnum(self._database)
        return {key: self.get(key) or b"" for key in keys}


def gearmands_record(function: bytes, unique: bytes, workload: bytes, priority: int = 1, when: int = 0) -> tuple[bytes, bytes]:
    """
    @return: key and value of a job that gearmand stores.
    """
    return function + b"-" + unique, b"%b\0%b\0%d%d\0%b" % (function, unique, priority, when, workload)


class Job(NamedTuple):
    """
    What gearmand makes of a record.
    """

    function: bytes
    unique: bytes
    workload: bytes
    priority: int
    when: int


def as_gearmand_reads(value: bytes) -> Job:
    """
    Read a record as gearmand's replay does, C function by C function.
    """
    # Tokyo Cabinet puts a NUL behind it, and strlen counts on that.
    text = value + b"\0"
    function = text[: text.index(b"\0")]
    rest = text[len(function) + 1 :]
    unique = rest[: rest.index(b"\0")]
    rest = rest[len(unique) + 1 :]
    assert function, "gearmand ends here: assert(function_len)"
    assert unique, "gearmand ends here: assert(unique_len)"
    priority = {b"2": 2, b"0": 0}.get(rest[:1], 1)
    # strtoul passes over blanks, takes digits, and says where they end; one more byte is skipped.
    number = re.match(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)", rest[1:])
    assert number is not None
    workload = rest[1:][number.end() + 1 : -1]
    return Job(function, unique, workload, priority, int(number[1]))


def key_gearmand_removes(job: Job) -> bytes:
    """
    The key of the record that gearmand removes when a job is done.
    """
    return (job.function + b"-" + job.unique[:KEEPS])[:4095]
