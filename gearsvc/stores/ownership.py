"""
One store belongs to one server: two would each run every job.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress

from gearsvc.interfaces import StoreError


def this_server() -> str:
    """
    What another server is told of us, so that its user finds us.
    """
    return f"process {os.getpid()} on {socket.gethostname()}"


def in_use(store: str, owner: str) -> StoreError:
    """
    The error of a store that is another server's.

    @param store: what the store is called in a sentence's begin.
    @param owner: what L{this_server} is there.
    """
    return StoreError(f"{store} is in use by another server, {owner}; stop one of the two.")


def this_machine() -> str:
    """
    What tells this machine, as it runs now and as this process sees it, from all others: processes have numbers in common
    only within it.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def start_of(process: int) -> str:
    """
    When a process of this machine started, in a form of the system's, so that it is not taken for a later one with its
    number; C{"-"} where the system does not tell, where there is none, and for one that has ended unnoticed by its parent.
    """
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # The program's name, in parentheses, may hold anything.
            words = file.read().rpartition(b")")[2].split()
            return "-" if words[0] in (b"Z", b"X") else words[19].decode()
    except OSError:
        return "-"


def is_running(process: int, start: str) -> bool:
    """
    Whether a process of this machine, with this L{start_of}, is still there.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return start_of(process) == start


def check_in_place(path: str, opened: os.stat_result | None, store: str) -> os.stat_result:
    """
    See to it that a file is still where it was opened: what would be written to it otherwise would be lost with it.

    @param opened: what C{os.stat} said of it then.
    @param store: what the store is called in a sentence's begin.
    @return: what it says now.
    @raise StoreError: if the file is no longer there, or is another one.
    """
    with suppress(OSError):
        status = os.stat(path)
        if opened is not None and os.path.samestat(status, opened):
            return status
    raise StoreError(f"{store} was moved, removed or replaced; put it back, or restart to begin with what is there.")


class LockFile:
    """
    Stands beside a store that is a file, and is locked while a server uses it.
    """

    def __init__(self, path: str, store: str) -> None:
        """
        @param path: the lock's own file.
        @param store: what the store is called in an error.
        """
        self._path = path
        self._store = store
        self._lock: int | None = None

    def take(self) -> None:
        """
        Lock it; it may be ours already.

        @raise StoreError: if another server has it.
        @raise OSError: if the file can't be written.
        """
        while self._lock is None:
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.samestat(os.fstat(lock), os.stat(self._path)):
                    raise FileNotFoundError
                os.ftruncate(lock, 0)
                os.write(lock, this_server().encode())
                self._lock = lock
            except FileNotFoundError:
                # Its owner has just gone, and the file with it.
                os.close(lock)
            except BlockingIOError:
                owner = os.read(lock, 500).decode(errors="replace")
                os.close(lock)
                raise in_use(self._store, owner) from None
            except OSError:
                # It is ours, and there is no room to say so.
                self._lock = lock
                self.release()
                raise

    def release(self) -> None:
        """
        Let go of it, and remove the file.
        """
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(lock)
