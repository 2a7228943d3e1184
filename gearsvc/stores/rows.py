"""
How the row of a job is told from all others, in gearmand's layouts.

gearmand's tables have the unique id and the function for a key, which makes one
row of all jobs without a unique id.  Here such jobs get a key that is made of
their handle; gearmand takes it for a unique id, and so runs and removes them
like any other.
"""

from __future__ import annotations

from hashlib import blake2b

from gearsvc.core.jobs import JobRecord

MADE_KEY = b"gearsvc:"
"""
What a row's key begins with when it is not the job's unique id.
"""

GEARMAND_KEEPS = 63
"""
How many bytes of a unique id gearmand stores; it accepts one more, and stores a
NUL in its place.
"""


def row_key(record: JobRecord) -> bytes:
    """
    The C{unique_key} of a job's row.

    It is the job's unique id, if that tells it apart from all others.  It does
    not for the many jobs without one, nor for C{-}, which stands for as many
    jobs as there are workloads: their keys are made of their handles.  So is
    the key of a unique id of 64 bytes (gearmand would not find the row again:
    it keeps 63), and of one that looks like a made key and could be another's.
    """
    key = record.key
    if key is not None:
        assert isinstance(key, bytes)
        return key
    unique = record.unique
    if unique and unique != b"-" and len(unique) <= GEARMAND_KEEPS and not unique.startswith(MADE_KEY):
        return unique
    return made_key(record)


def made_key(record: JobRecord) -> bytes:
    """
    A C{unique_key} that is no other job's, whatever the job's unique id and
    function are.
    """
    key = MADE_KEY + record.handle
    if len(key) > GEARMAND_KEEPS:
        key = MADE_KEY + blake2b(record.handle, digest_size=16).hexdigest().encode()
    return key


def unique_of(key: bytes) -> bytes:
    """
    The unique id of a job in a row of gearmand's, by the row's key.
    """
    if key.startswith(MADE_KEY):
        # We made this key, and gearmand has written the row anew.
        return b""
    if len(key) == GEARMAND_KEEPS + 1 and key.endswith(b"\0"):
        return key[:-1]
    return key
