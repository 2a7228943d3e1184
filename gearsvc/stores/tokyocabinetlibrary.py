"""
Tokyo Cabinet's C library, as far as the store needs it.

A call lets go of Python's interpreter lock only if it may wait for a disk.  A call that is over in a microsecond would
otherwise wait, when it comes back, until the reactor's thread lets go of it: up to 5 milliseconds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_longlong, c_ulonglong, c_void_p
from functools import lru_cache
from typing import Any, NamedTuple

NAMES = ("libtokyocabinet.so.9", "libtokyocabinet.so", "libtokyocabinet.dylib")
"""
What the library is called.
"""

ADBOHDB, ADBOBDB = 3, 4
"""
Kinds of databases.
"""

(TCESUCCESS, TCETHREAD, TCEINVALID, TCENOFILE, TCENOPERM, TCEMETA, TCERHEAD, TCEOPEN, TCECLOSE, TCETRUNC, TCESYNC, TCESTAT) = range(12)
(TCESEEK, TCEREAD, TCEWRITE, TCEMMAP, TCELOCK) = range(12, 17)
TCEMISC = 9999
"""
Error codes.
"""

_WRITER, _CREATE, _NO_WAIT = 1 << 1, 1 << 2, 1 << 5

Visit = Callable[[bytes, int, int], bool]
"""
Sees a record: its key, and address and size of its value.  Returns whether to go on.
"""


class Functions(NamedTuple):
    """
    The library, twice: with and without the interpreter's lock.
    """

    waiting: Any
    quick: Any


class NoLibrary(Exception):
    """
    The library is not installed.
    """


@lru_cache(maxsize=1)
def load() -> Functions:
    """
    Load the library.

    @raise NoLibrary: if it is not there.
    """
    for name in (*NAMES, ctypes.util.find_library("tokyocabinet")):
        if name is not None:
            try:
                found = Functions(ctypes.CDLL(name), ctypes.PyDLL(name))
            except OSError:
                continue
            _declare(found)
            return found
    raise NoLibrary


_VISITOR = ctypes.CFUNCTYPE(c_bool, c_void_p, c_int, c_void_p, c_int, c_void_p)

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "tcadbnew": (c_void_p, []),
    "tcadbdel": (None, [c_void_p]),
    "tcadbopen": (c_bool, [c_void_p, c_char_p]),
    "tcadbclose": (c_bool, [c_void_p]),
    "tcadbput": (c_bool, [c_void_p, c_char_p, c_int, c_char_p, c_int]),
    "tcadbget": (c_void_p, [c_void_p, c_char_p, c_int, POINTER(c_int)]),
    "tcadbtranbegin": (c_bool, [c_void_p]),
    "tcadbtrancommit": (c_bool, [c_void_p]),
    "tcadbtranabort": (c_bool, [c_void_p]),
    "tcadbmisc": (c_void_p, [c_void_p, c_char_p, c_void_p]),
    "tcadbsync": (c_bool, [c_void_p]),
    "tcadbrnum": (c_ulonglong, [c_void_p]),
    "tcadbsize": (c_ulonglong, [c_void_p]),
    "tcadbomode": (c_int, [c_void_p]),
    "tcadbreveal": (c_void_p, [c_void_p]),
    "tcadbforeach": (c_bool, [c_void_p, _VISITOR, c_void_p]),
    "tclistnew2": (c_void_p, [c_int]),
    "tclistdel": (None, [c_void_p]),
    "tclistpush": (None, [c_void_p, c_char_p, c_int]),
    "tclistnum": (c_int, [c_void_p]),
    "tclistval": (c_void_p, [c_void_p, c_int, POINTER(c_int)]),
    "tcfree": (None, [c_void_p]),
    "tcerrmsg": (c_char_p, [c_int]),
    "tchdbnew": (c_void_p, []),
    "tchdbdel": (None, [c_void_p]),
    "tchdbopen": (c_bool, [c_void_p, c_char_p, c_int]),
    "tchdbsetxmsiz": (c_bool, [c_void_p, c_longlong]),
    "tchdbecode": (c_int, [c_void_p]),
    "tcbdbnew": (c_void_p, []),
    "tcbdbdel": (None, [c_void_p]),
    "tcbdbopen": (c_bool, [c_void_p, c_char_p, c_int]),
    "tcbdbsetxmsiz": (c_bool, [c_void_p, c_longlong]),
    "tcbdbecode": (c_int, [c_void_p]),
    "tcbdbmemsync": (c_bool, [c_void_p, c_bool]),
}


def _declare(functions: Functions) -> None:
    for library in functions:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments


class TokyoCabinetError(Exception):
    """
    The library has failed.

    @ivar code: its error code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(load().quick.tcerrmsg(code).decode())
        self.code = code


class AbstractDatabase:
    """
    An open database.
    """

    def __init__(self, path: str, parameters: str, tree: bool) -> None:
        """
        Open it; it is created if it is not there.

        @param path: the file.
        @param parameters: C{NAME=VALUE} of C{tcadbopen}, each behind a C{#}.
        @param tree: whether it is a B+ tree, or a hash table.
        @raise TokyoCabinetError: if that can't be done.
        """
        self._waiting, self._quick = load()
        self._tree = tree
        self._database = self._quick.tcadbnew()
        # Nothing of the data is mapped into memory: where a disk is full, writing there would end the process (SIGBUS).
        name = f"{path}{parameters}#mode=wcf#xmsiz=0".encode("utf-8", "surrogateescape")
        if not self._waiting.tcadbopen(self._database, name):
            self._quick.tcadbdel(self._database)
            raise TokyoCabinetError(self._why_not(path))

    def _why_not(self, path: str) -> int:
        """
        Ask for the reason: an abstract database that could not be opened does not tell.
        """
        kind = "bdb" if self._tree else "hdb"
        database = getattr(self._quick, f"tc{kind}new")()
        getattr(self._quick, f"tc{kind}setxmsiz")(database, 0)
        opened = getattr(self._waiting, f"tc{kind}open")(
            database, path.encode("utf-8", "surrogateescape"), _WRITER | _CREATE | _NO_WAIT
        )
        code: int = getattr(self._quick, f"tc{kind}ecode")(database)
        getattr(self._waiting, f"tc{kind}del")(database)
        return TCEINVALID if opened else code

    def close(self) -> None:
        """
        Close it; what a transaction has done that is not committed is undone.
        """
        self._waiting.tcadbclose(self._database)
        self._quick.tcadbdel(self._database)

    def _fail(self) -> None:
        database = self._quick.tcadbreveal(self._database)
        raise TokyoCabinetError(self._quick.tcbdbecode(database) if self._tree else self._quick.tchdbecode(database))

    def __len__(self) -> int:
        """
        How many records there are.
        """
        count: int = self._quick.tcadbrnum(self._database)
        return count

    # Changing it.

    def begin(self) -> None:
        """
        Begin a transaction.

        @raise TokyoCabinetError: if that can't be done; this goes for all the rest.
        """
        if not self._waiting.tcadbtranbegin(self._database):
            self._fail()

    def remove(self, keys: Sequence[bytes]) -> None:
        """
        Remove records, if they are there.
        """
        self._call(b"outlist", keys)

    def put(self, records: Sequence[bytes]) -> None:
        """
        Store records, in the place of those with the same keys.

        @param records: keys and values in turns.
        """
        if self._tree:
            # There, it would store a second record beside the first.
            self.remove(records[::2])
        self._call(b"putlist", records)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """
        Read records.

        @return: the values of those that are there, by key.
        """
        found = self._call(b"getlist", keys)
        return dict(zip(found[::2], found[1::2]))

    def _call(self, function: bytes, arguments: Sequence[bytes]) -> list[bytes]:
        """
        Do something with many records in one call.
        """
        quick = self._quick
        push = quick.tclistpush
        items = quick.tclistnew2(len(arguments))
        for argument in arguments:
            push(items, argument, len(argument))
        answer = self._waiting.tcadbmisc(self._database, function, items)
        quick.tclistdel(items)
        if not answer:
            self._fail()
        found: list[bytes] = []
        size = c_int()
        for index in range(quick.tclistnum(answer)):
            address = quick.tclistval(answer, index, byref(size))
            found.append(ctypes.string_at(address, size.value))
        quick.tclistdel(answer)
        return found

    def flush(self) -> None:
        """
        Give all that has changed to the system.
        """
        if self._tree and not self._waiting.tcbdbmemsync(self._quick.tcadbreveal(self._database), False):
            self._fail()

    def commit(self) -> None:
        """
        End the transaction: what it did can't be undone any more.
        """
        if not self._waiting.tcadbtrancommit(self._database):
            self._fail()

    def abort(self) -> None:
        """
        End the transaction, and undo what it did.
        """
        if not self._waiting.tcadbtranabort(self._database):
            self._fail()

    def sync(self) -> None:
        """
        Give all that has changed to the disk.
        """
        if not self._waiting.tcadbsync(self._database):
            self._fail()

    # Reading it.

    def get(self, key: bytes) -> bytes | None:
        """
        Read one record.

        @return: its value, or C{None} if it is not there.
        """
        size = c_int()
        address = self._waiting.tcadbget(self._database, key, len(key), byref(size))
        if not address:
            return None
        value = ctypes.string_at(address, size.value)
        self._quick.tcfree(address)
        return value

    def visit(self, visit: Visit) -> None:
        """
        See every record, in no order.
        """
        failure: list[BaseException] = []

        def visitor(key: int, key_size: int, value: int, value_size: int, _: object) -> bool:
            try:
                return visit(ctypes.string_at(key, key_size), value, value_size)
            except BaseException as error:
                # There is C between here and there.
                failure.append(error)
                return False

        visited = self._quick.tcadbforeach(self._database, _VISITOR(visitor), None)
        if failure:
            raise failure[0]
        if not visited:
            self._fail()
