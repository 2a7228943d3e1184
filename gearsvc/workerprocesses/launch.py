"""
Starts the process of a worker, by Twisted's process support, with what that
leaves out:

  - It has a session and a process group of its own, so that it can be ended
    with all that it has started.
  - Linux ends it (SIGTERM) with the server, however that ends.
  - It has no rights that the server has given up and could take back (C{twistd
    --euid}).
  - That its program cannot be run is one line.

It runs nothing of Python's in between: the user that the server has become need
not be able to read that.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.process import Process

_SET_PARENT_DEATH_SIGNAL = 1
_SIGTERM = 15

CANNOT_RUN = 127
"""The status with which a process ends whose program cannot be run, as in a shell."""

# Loaded now: a forked child should do as little as it can.
_library = ctypes.CDLL(None) if sys.platform == "linux" else None


class _WorkerProcess(Process):
    """
    The methods of L{Process} that run in the child, and its id when it has ended.

    @ivar was: the id that it had.
    """

    was: int | None = None

    def processEnded(self, status: int) -> None:
        """
        The process has ended: it may have, before it is known to have begun.
        """
        self.was = self.pid
        super().processEnded(status)

    def _trySpawnInsteadOfFork(self, *arguments: Any) -> bool:
        # It can do none of this.
        return False

    def _execChild(self, path: Any, uid: Any, gid: Any, executable: Any, args: Any, environment: Any) -> None:
        os.setsid()
        if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
            os.setresgid(os.getegid(), os.getegid(), os.getegid())
            os.setresuid(os.geteuid(), os.geteuid(), os.geteuid())
        if _library is not None:
            # (Last: to change the user undoes it.)
            _library.prctl(_SET_PARENT_DEATH_SIGNAL, _SIGTERM, 0, 0, 0)
        try:
            os.execvpe(executable, args, environment)
        except OSError as error:
            os.write(2, f"cannot run {os.fsdecode(executable)!r}: {error.strerror}\n".encode(errors="backslashreplace"))
            os._exit(CANNOT_RUN)


def spawn(
    reactor: Any, protocol: IProcessProtocol, command: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int | str]
) -> int:
    """
    Start a process.

    @param protocol: hears of its output and of its end.
    @param environment: all of its environment.
    @param descriptors: as C{childFDs} of C{spawnProcess}.
    @return: its id.  (One that ends at once may have ended by then, and the protocol have heard so.)
    @raise OSError: if there can't be one more process.
    """
    words = [os.fsencode(word) for word in command]
    encoded = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    process = _WorkerProcess(reactor, words[0], words, encoded, None, protocol, childFDs=dict(descriptors))
    pid: int | None = process.pid if process.was is None else process.was
    assert pid is not None
    return pid
