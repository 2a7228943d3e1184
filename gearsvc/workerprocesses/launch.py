"""
Becomes a worker's program: run as a script of its own, before the program.

It makes a session and process group, so that the program can be ended with all
that it starts; asks Linux to end it with the server, however that ends; and
gives up the rights that a server has kept under C{twistd --euid}.  The words
are the server's process id, the program and its arguments.
"""

from __future__ import annotations

import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def launch(server: int, words: list[str]) -> None:
    """
    Become the program.

    @raise SystemExit: if it cannot be run; or the server has ended already.
    """
    os.setsid()
    if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
        os.setresgid(os.getegid(), os.getegid(), os.getegid())
        os.setresuid(os.geteuid(), os.geteuid(), os.geteuid())
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != server:
        raise SystemExit("the server has ended")
    # Python ignores these, and what it ignores stays ignored.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        print(f"cannot run {words[0]!r}: {error.strerror}", file=sys.stderr, flush=True)
        raise SystemExit(127) from None


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
