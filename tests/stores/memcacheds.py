"""
What tests say to memcached, past everybody.
"""

from __future__ import annotations

import re
import socket

from tests.running import HOST

LAST_LINES = (b"END\r\n", b"OK\r\n", b"STORED\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n", b"ERROR\r\n")


def ask(port: int, *parts: bytes) -> list[bytes]:
    """
    Send a command.

    @param parts: the command, and what else belongs to it, without the end of the last line.
    @return: the lines that answer it.
    """
    with socket.create_connection((HOST, port), 5) as connection:
        connection.sendall(b"".join(parts) + b"\r\n")
        answer = b""
        while not answer.endswith(LAST_LINES):
            answer += connection.recv(65536)
    return re.split(rb"\r?\n", answer)[:-1]


def put(port: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """
    Store an item.
    """
    answer = ask(port, b"set %b %d 0 %d\r\n" % (key, flags, len(value)), value)
    assert answer == [b"STORED"], answer


def take(port: int, key: bytes) -> tuple[int, bytes] | None:
    """
    Read an item that holds no line that ends a list.

    @return: its flags and its value.
    """
    head, *lines = ask(port, b"get ", key)
    if not lines:
        return None
    return int(head.split()[2]), b"\r\n".join(lines[:-1])


def keys(port: int) -> list[bytes]:
    """
    @return: the keys of all items, as memcached quotes them, sorted.
    """
    # An item that memcached moves from one list to another meanwhile may come twice.
    lines = ask(port, b"lru_crawler metadump all")
    return sorted({line.split()[0][len(b"key=") :] for line in lines[:-1]})
