"""
A wire between a server under test and its database, which tests can cut.

    with Proxy(database.port) as wire:
        ... connect to wire.port ...
        wire.delay = 2.0                # every answer takes two seconds more
        wire.cut_after(5000)            # the connections break after 5000 more bytes of requests
        wire.lose_answers()             # requests arrive, answers don't, and then the connections break
        wire.cut()                      # at once; and nobody can connect any more
        wire.mend()                     # undo any of these
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType

from tests.running import HOST

RESET = struct.pack("ii", 1, 0)
"""
SO_LINGER's value for a connection that breaks instead of ending.
"""

LOST_AFTER = 0.3
"""
Seconds from the first lost answer until the connections break.
"""


class Proxy:
    """
    Passes bytes on between its own port and a server's.

    @ivar port: where to connect.
    @ivar delay: seconds by which every answer is held up.
    @ivar requested: how many bytes of requests were passed on, over all connections.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._refusing = False
        self._budget: int | None = None
        self._losing = False
        self.delay = 0.0
        self.requested = 0
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """
        Be done.
        """
        self.cut()
        with contextlib.suppress(OSError):
            # Wakes the thread that accepts; closing would not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """
        Break every connection, and refuse new ones.
        """
        with self._lock:
            self._refusing = True
            self._break()

    def cut_once(self) -> None:
        """
        Break every connection; new ones are welcome.
        """
        with self._lock:
            self._break()

    def cut_after(self, count: int) -> None:
        """
        Do as L{cut} does, in the midst of a request: when so many more bytes of requests have been passed on.
        """
        with self._lock:
            self._budget = count

    def lose_answers(self) -> None:
        """
        From the next request on, let no answer through, and soon do as L{cut} does.
        """
        with self._lock:
            self._losing = True

    def mend(self) -> None:
        """
        Let everything through again.
        """
        with self._lock:
            self._refusing = self._losing = False
            self._budget = None
            self.delay = 0.0

    def _break(self) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._refusing:
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    near.close()
                    continue
                try:
                    far = socket.create_connection((HOST, self._server_port), 5)
                except OSError:
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    near.close()
                    continue
                far.settimeout(None)
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pairs.append((near, far))
            threading.Thread(target=self._pass_requests, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pass_answers, args=(near, far), daemon=True).start()

    def _pass_requests(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                with self._lock:
                    budget = self._budget
                    if budget is not None:
                        self._budget = max(0, budget - len(data))
                if budget is not None and budget <= len(data):
                    far.sendall(data[:budget])
                    self.requested += budget
                    # What was sent is to arrive before the connection breaks.
                    time.sleep(0.05)
                    self.cut()
                    return
                far.sendall(data)
                self.requested += len(data)
        self._end(near, far)

    def _pass_answers(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                if self._losing:
                    time.sleep(LOST_AFTER)
                    self.cut()
                    return
                if self.delay:
                    time.sleep(self.delay)
                near.sendall(data)
        self._end(near, far)

    def _end(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            if (near, far) in self._pairs:
                self._pairs.remove((near, far))
                for each in (near, far):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                    each.close()
