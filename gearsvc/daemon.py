"""
What makes a daemon of C{gearsvc serve}: detaching, its user, its pid file.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import sys
from collections.abc import Callable

from gearsvc.options import SettingsError


def detach(keep_stderr: bool) -> Callable[[], None]:
    """
    Go on in a new process without a terminal.

    This returns in the new process alone.  The old one waits until the new
    one is ready, and then ends with status 0; if the new one ends before that,
    it ends with the same status.  What the new one has to say until it is
    ready still goes to the old one's stderr.

    To be called before there is a reactor, which would not survive it.

    @param keep_stderr: whether stderr stays what it is even after that.
    @return: what to call when ready.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os._exit(_wait_for(child, reading))
    os.close(reading)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)

    def ready() -> None:
        os.dup2(null, 1)
        if not keep_stderr:
            os.dup2(null, 2)
        os.write(writing, b"\n")
        os.close(writing)

    return ready


def _wait_for(child: int, reading: int) -> int:
    """
    @return: the status to end with.
    """
    if os.read(reading, 1):
        return 0
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        print(f"gearsvc: the server was ended by {signal.Signals(-status).name} as it started", file=sys.stderr, flush=True)
    # Not to be ready is a failure, however it came about.
    return status if status > 0 else 1


def become_user(name: str) -> None:
    """
    Give up root's rights for those of a user, with the user's own groups.

    @raise SettingsError: if that is not allowed.
    """
    user = pwd.getpwnam(name)
    if user.pw_uid == os.geteuid():
        return
    try:
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except PermissionError:
        raise SettingsError(f"--user: only root can become {name}") from None


class PidFile:
    """
    The file that holds the process id.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)

    def write(self) -> None:
        """
        Write it, in place of one that an earlier server has left behind.

        @raise SettingsError: if that cannot be done.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            # A link that somebody puts there meanwhile is not followed.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with open(descriptor, "w") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            raise SettingsError(f"--pid-file: cannot write {self._path}: {error.strerror}") from None

    def remove(self) -> None:
        """
        Remove it, if it is still ours.
        """
        with contextlib.suppress(OSError):
            with open(self._path) as file:
                ours = file.read() == f"{os.getpid()}\n"
            if ours:
                os.unlink(self._path)
