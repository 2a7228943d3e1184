"""
Whose a connection is: which process of this machine has its other end.

The system says so of a Unix socket.  Of TCP it has a table of connections with
the numbers of their sockets, and lists each process's sockets by number; where
there are no such lists (Linux has them in /proc), nothing is known.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address


def owner(connection: socket.socket, candidates: Iterable[int]) -> int | None:
    """
    Which of some processes has, itself or by a child, the other end of a connection.

    @param candidates: process ids.
    @return: one of them; C{None} if it is none of them, or not known.
    """
    if connection.family == socket.AF_UNIX:
        peer = _peer_of_unix_socket(connection)
        return next((each for each in candidates if peer in family(each)), None)
    ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
    number = _socket_number(theirs, ours)
    if number is None:
        return None
    wanted = f"socket:[{number}]"
    return next((each for each in candidates if any(_has(member, wanted) for member in family(each))), None)


def family(pid: int) -> list[int]:
    """
    A process and its children, and theirs, as far as they are known.
    """
    found = [pid]
    for each in found:
        try:
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    found.extend(int(word) for word in file.read().split())
        except OSError:
            # It has ended meanwhile, or there is no such file.
            continue
    return found


def _peer_of_unix_socket(connection: socket.socket) -> int | None:
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])


def _socket_number(near: tuple[str, int], far: tuple[str, int]) -> str | None:
    """
    The number of the socket at an address that is connected to another one.
    """
    addresses = [ip_address(host.partition("%")[0]) for host, _ in (near, far)]
    for table in ("tcp", "tcp6"):
        wanted = [_written(address, port, table == "tcp6") for address, (_, port) in zip(addresses, (near, far), strict=True)]
        try:
            with open(f"/proc/net/{table}") as file:
                for line in file:
                    columns = line.split()
                    if columns[1:3] == wanted:
                        return columns[9]
        except OSError:
            return None
    return None


def _written(address: IPv4Address | IPv6Address, port: int, long: bool) -> str:
    """
    An address as the table has it: the machine's words, in hexadecimal.
    """
    packed = address.packed
    if long and len(packed) == 4:
        packed = b"\0" * 10 + b"\xff\xff" + packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"


def _has(pid: int, wanted: str) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(directory):
            try:
                if os.readlink(f"{directory}/{name}") == wanted:
                    return True
            except FileNotFoundError:
                # It was closed meanwhile.
                continue
    except OSError:
        return False
    return False
