"""
How a job is kept in Redis: gearmand's layout, and where in it stands what gearmand forgets.

A job's key is C{PREFIX-FUNCTION-UNIQUE}, and its value a hash of two fields::

    data        the workload
    priority    1 1700000000000123 20 0 2 1700000000000000 10,-1,-1,-1 H:myhost:7

gearmand reads the number at the begin of C{priority}, and stops at the blank.  Behind it follow the job's place in the
order, the size of the workload, its time to run (Unix seconds, 0 is at once), its attempts, the time of its submission in
microseconds, and, after their lengths (-1 is none), the handle; the function, the unique id, if the key does not tell them;
and the reducer.

It stands there because there is no other place: a gearmand that is released (1.1.16 to 2.0.0) takes the first four things
that HGETALL answers for C{data} and C{priority} with their values, and with a third field does not start.  So it can take
this over, and it takes our share away with the job when that has ended, or is written anew.

gearmand finds function and unique id in the key alone, and cuts them at C{-}, NUL and C{*}.  Keys are chosen so that it
finds, runs and removes what it can; of what it can't, it sees jobs of functions that nobody has.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.rows import GEARMAND_KEEPS, MADE_KEY, unique_of

_PLAIN_FUNCTION = re.compile(rb"(?!gearsvc:)[^-\0]{1,511}", re.DOTALL).fullmatch
"""
A function's name that gearmand finds in a key again.
"""

_PLAIN_UNIQUE = re.compile(rb"(?!gearsvc:)(?!-\Z)[^*\0]{1,%d}" % GEARMAND_KEEPS, re.DOTALL).fullmatch
"""
A unique id that tells a job from all others, and that gearmand finds in a key again.
"""

_LONGEST_QUOTE = 120
"""
How many bytes of a function's name a key shows, where it can't hold the name as it is.
"""

_KNOWN_FUNCTIONS = 10_000
"""
Of how many functions the begin of a key is remembered.
"""

_PRIORITY = b"%d %d %d %d %d %d %d,%d,%d,%d "

_PLACE = re.compile(rb"[0-9] ([0-9]{1,18}) ([0-9]{1,18}) ").match

_OURS = re.compile(rb"([0-9]) [0-9]+ [0-9]+ (-?[0-9]+) ([0-9]+) (-?[0-9]+) ([0-9]+),(-1|[0-9]+),(-1|[0-9]+),(-1|[0-9]+) ").match

_NUMBER = re.compile(rb"\s*([+-]?[0-9]{1,9})").match

_UUID = re.compile(rb"(.+)-([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})", re.DOTALL).fullmatch


class Layout:
    """
    The keys and values of one queue.
    """

    def __init__(self, prefix: bytes) -> None:
        """
        @param prefix: what gearmand is told by C{--redis-prefix}.
        """
        self.prefix = prefix
        # gearmand takes whatever begins with its prefix for a job.
        own = b"gearsvc:" if not (b"gearsvc:lease:" + prefix).startswith(prefix) else b"~gearsvc:"
        self.lease = own + b"lease:" + prefix
        self.marker = own + b"marker:" + prefix
        self.pattern = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", prefix) + b"-*"
        self._begins: dict[bytes, tuple[bytes, bytes | None]] = {}

    def _begin(self, function: bytes) -> tuple[bytes, bytes | None]:
        """
        @return: what comes before the unique id in the keys of a function, and the function's name if that does not tell it.
        """
        if len(self._begins) > _KNOWN_FUNCTIONS:
            self._begins.clear()
        if _PLAIN_FUNCTION(function):
            found: tuple[bytes, bytes | None] = b"%b-%b-" % (self.prefix, function), None
        else:
            shown = function.replace(b"%", b"%25").replace(b"-", b"%2D").replace(b"\0", b"%00")
            if len(shown) > _LONGEST_QUOTE:
                shown = _digest(function)
            found = b"%b-%b%b-" % (self.prefix, MADE_KEY, shown), function
        self._begins[function] = found
        return found

    def write(self, record: JobRecord, place: int) -> tuple[bytes, bytes]:
        """
        A job as it is now.

        @param place: its place in the order, if it is not stored already.
        @return: its key, and the field C{priority}.
        """
        told: bytes | None = record.unique
        reducer = record.reducer
        key = record.key
        if key is None:
            function = record.function
            begin, named = self._begins.get(function) or self._begin(function)
            if _PLAIN_UNIQUE(record.unique):
                key = begin + record.unique
                told = None
            else:
                key = begin + _made(record.handle)
        else:
            named = record.function
        assert isinstance(key, bytes)
        head = _PRIORITY % (
            record.priority,
            place,
            len(record.workload),
            record.run_at,
            record.attempts,
            round(record.submitted * 1_000_000),
            len(record.handle),
            -1 if named is None else len(named),
            -1 if told is None else len(told),
            -1 if reducer is None else len(reducer),
        )
        return key, b"%b%b%b%b%b" % (head, record.handle, named or b"", told or b"", reducer or b"")

    def key_of(self, record: JobRecord) -> bytes:
        """
        The key of a job.
        """
        key = record.key
        if key is None:
            function = record.function
            begin, _ = self._begins.get(function) or self._begin(function)
            return begin + (record.unique if _PLAIN_UNIQUE(record.unique) else _made(record.handle))
        assert isinstance(key, bytes)
        return key

    def is_key(self, key: bytes) -> bool:
        """
        Whether it may be that of a job: it begins with the prefix, and has a function and a unique id.
        """
        return key.find(b"-", len(self.prefix) + 1) >= 0

    def read(
        self, key: bytes, data: bytes, priority: bytes, function: bytes | None = None, unique: bytes | None = None
    ) -> JobRecord:
        """
        The job under a key.

        @param priority: C{b""} if gearmand up to 1.1.15 wrote it, which kept none.
        @param function: what a gearmand newer than 2.0 writes beside the two fields.
        @param unique: likewise.
        @return: it has no handle if gearmand wrote it, and its C{key} is set if it is needed to find the job again.
        """
        match = _OURS(priority)
        if match is not None:
            number, run_at, attempts, submitted, of_handle, of_function, of_unique, of_reducer = map(int, match.groups())
            at = match.end()
            handle = priority[at : at + of_handle]
            at += of_handle
            named = told = reducer = None
            if of_function >= 0:
                named = priority[at : at + of_function]
                at += of_function
            if of_unique >= 0:
                told = priority[at : at + of_unique]
                at += of_unique
            if of_reducer >= 0:
                reducer = priority[at : at + of_reducer]
                at += of_reducer
            if at == len(priority):
                if named is None or told is None:
                    # (Where the key tells one of them, we have made it.)
                    in_key, _, rest = key[len(self.prefix) + 1 :].partition(b"-")
                    record = JobRecord(
                        handle,
                        in_key if named is None else named,
                        rest if told is None else told,
                        number,
                        data,
                        run_at,
                        reducer,
                        attempts,
                        submitted / 1_000_000,
                    )
                    return record if handle or told is None else self._found(record, key)
                record = JobRecord(handle, named, told, number, data, run_at, reducer, attempts, submitted / 1_000_000)
                return self._found(record, key)
        leading = _NUMBER(priority)
        if function is None or unique is None:
            function, unique = self._split(key)
        return self._found(JobRecord(b"", function, unique_of(unique), int(leading[1]) if leading else 1, data), key)

    def _found(self, record: JobRecord, key: bytes) -> JobRecord:
        """
        Have a record remember its key, if it would not be found by L{key_of} once it has a handle.
        """
        if self.key_of(record) != key or not (record.handle or _PLAIN_UNIQUE(record.unique)):
            record.key = key
        return record

    def is_ambiguous(self, key: bytes) -> bool:
        """
        Whether a key leaves open where the function ends and the unique id begins.
        """
        rest = key[len(self.prefix) + 1 :]
        return rest.count(b"-") > 1 and not _UUID(rest)

    def _split(self, key: bytes) -> tuple[bytes, bytes]:
        """
        @return: function and unique id in a key.
        """
        rest = key[len(self.prefix) + 1 :]
        # libgearman gives background jobs without a unique id a UUID: there the function may have any name.
        match = _UUID(rest)
        if match is not None:
            return match[1], match[2]
        # gearmand takes all after the first one for the unique id.
        function, _, unique = rest.partition(b"-")
        # Some of its versions store a C string with its end.
        return function, unique.rstrip(b"\0")


def place_of(priority: object) -> tuple[int, int] | None:
    """
    The place of a job in the order, and the size of its workload, by the field C{priority}; C{None} if it is not ours.
    """
    match = _PLACE(priority) if isinstance(priority, bytes) else None
    return (int(match[1]), int(match[2])) if match is not None else None


def _made(handle: bytes) -> bytes:
    """
    What stands for a unique id that a key can't hold.
    """
    key = MADE_KEY + handle
    if len(key) > GEARMAND_KEEPS or b"*" in handle or b"\0" in handle:
        key = MADE_KEY + _digest(handle)
    return key


def _digest(name: bytes) -> bytes:
    return blake2b(name, digest_size=16).hexdigest().encode()
