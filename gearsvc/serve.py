"""
C{gearsvc serve}: the server with gearmand's command line, log and pid file.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import ILogObserver
from twisted.python import usage

from gearsvc.config import Settings
from gearsvc.daemon import PidFile, become_user, detach
from gearsvc.logs import FileObserver, LogFile, Logger, SystemLogObserver, begin_logging
from gearsvc.options import SettingsError
from gearsvc.process import StartFailure, report
from gearsvc.tap import Options, make_process

log = Logger(__name__)

DAEMON_LOG_FILE = "/var/log/gearmand.log"
"""
Where a daemon logs to that was not told: where gearmand's users look.
"""


class ServeOptions(Options):
    """
    gearmand's command line, and what gearsvc adds to it.
    """

    synopsis = "Usage: gearsvc serve [options]"
    process_options = True


def main(arguments: Sequence[str]) -> int:
    """
    Run the server until it ends.

    @param arguments: the command line, after C{serve}.
    @return: the exit status: 0 if it was asked to end, 1 for a line on stderr
        that says why not.
    """
    options = ServeOptions()
    try:
        options.parseOptions(arguments)
    except usage.UsageError as error:
        print(f"gearsvc serve: {error}", file=sys.stderr)
        return 1
    settings = options.settings
    ready: Callable[[], None] = lambda: None
    if settings.daemon:
        ready = detach(keep_stderr=settings.log_file == "stderr")
    try:
        return run(settings, ready)
    except (StartFailure, SettingsError) as error:
        report(str(error))
        return 1


def run(settings: Settings, ready: Callable[[], None]) -> int:
    """
    Run the server until it ends.

    @param ready: called once it serves.
    @return: the exit status.
    @raise StartFailure: if it cannot start.
    @raise SettingsError: if a setting turns out to be unusable.
    """
    # Only now: a reactor does not survive detach().
    from twisted.internet import reactor as global_reactor

    # mypy takes the reactor for one of its many interfaces.
    reactor: Any = global_reactor
    # The log belongs to the user who has to open it again on SIGHUP.
    log_file = start_log(settings) if settings.user is None else None
    statuses: list[int] = []
    process = make_process(settings, statuses.append)
    process.privilegedStartService()
    if settings.user is not None:
        become_user(settings.user)
        log_file = start_log(settings)
    # gearmand's users expect it to survive SIGHUP even without a log file.
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(log_file.reopen) if log_file is not None else None)
    pid_file = PidFile(settings.pid_file) if settings.pid_file is not None else None
    if pid_file is not None:
        pid_file.write()
    try:
        process.startService()
        reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
        # What goes wrong here is for the process to tell.
        process.server.when_ready().addCallbacks(lambda _: ready(), lambda _: None)
        reactor.run()
    finally:
        if pid_file is not None:
            pid_file.remove()
    return statuses[0] if statuses else 0


def start_log(settings: Settings) -> LogFile | None:
    """
    Begin to log to where the settings say.

    A log file that cannot be opened does not keep the server from starting:
    it then logs to stderr or, as a daemon, to the system's log.

    @return: the log's file, if it is one.
    """
    name = settings.log_file or (DAEMON_LOG_FILE if settings.daemon else "stderr")
    observers: list[ILogObserver] = []
    file: LogFile | None = None
    problem = ""
    if name == "stderr":
        observers.append(FileObserver(sys.stderr))
    elif name != "none":
        try:
            file = LogFile(name)
            observers.append(file)
        except OSError as error:
            problem = f"cannot open the log file {name}: {error.strerror}"
            if not settings.daemon:
                observers.append(FileObserver(sys.stderr))
    if settings.syslog or (problem and settings.daemon):
        observers.append(SystemLogObserver())
    begin_logging(observers, on_stderr=any(isinstance(each, FileObserver) for each in observers))
    if problem:
        problem += "; the log goes to the system's log" if settings.daemon else "; the log goes to stderr"
        log.announce("{problem}", problem=problem)
        if settings.daemon:
            print(f"gearsvc: {problem}", file=sys.stderr, flush=True)
    return file
