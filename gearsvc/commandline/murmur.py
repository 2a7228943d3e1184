"""
The hash that libgearman makes a unique id of: MurmurHash3, 32 bits.
"""

from __future__ import annotations

from struct import iter_unpack

_MASK = 0xFFFFFFFF


def hashed_id(workload: bytes) -> bytes:
    """
    What libgearman takes for the unique id C{#}.
    """
    return b"%d" % murmur3(workload, 0xDEADBEEF * len(workload) & _MASK)


def murmur3(data: bytes, seed: int) -> int:
    """
    The hash of some bytes (MurmurHash3_x86_32, of Austin Appleby).
    """
    whole = len(data) & ~3
    state = seed
    for (word,) in iter_unpack("<I", memoryview(data)[:whole]):
        state ^= _scrambled(word)
        state = (state << 13 | state >> 19) & _MASK
        state = (state * 5 + 0xE6546B64) & _MASK
    # What is left of a word, which is 0 if nothing is.
    state ^= _scrambled(int.from_bytes(data[whole:], "little"))
    state ^= len(data) & _MASK
    state ^= state >> 16
    state = state * 0x85EBCA6B & _MASK
    state ^= state >> 13
    state = state * 0xC2B2AE35 & _MASK
    return state ^ state >> 16


def _scrambled(word: int) -> int:
    word = word * 0xCC9E2D51 & _MASK
    word = (word << 15 | word >> 17) & _MASK
    return word * 0x1B873593 & _MASK
