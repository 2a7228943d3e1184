"""
Logging: gearmand's levels over L{twisted.logger}.

Modules of gearsvc log through a L{Logger} of their own::

    log = Logger(__name__)
    log.notice("{functions} functions are back from the store", functions=12)

What is below C{--verbose} is dropped before an event is made of it.  Under
C{twistd} the events go where twistd puts them; C{gearsvc serve} writes them to
a file in gearmand's form, which L{begin_logging} sets up.

No event ever holds a workload.
"""

from __future__ import annotations

import os
import syslog as system_log
from datetime import datetime
from typing import TextIO

from twisted import logger as twisted_logger
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.options import LEVELS

FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG = range(len(LEVELS))

_TWISTED_LEVELS = {
    FATAL: LogLevel.critical,
    ALERT: LogLevel.critical,
    CRITICAL: LogLevel.critical,
    ERROR: LogLevel.error,
    WARNING: LogLevel.warn,
    NOTICE: LogLevel.info,
    INFO: LogLevel.info,
    DEBUG: LogLevel.debug,
}

_LEVELS_OF_TWISTED = {
    LogLevel.critical: CRITICAL,
    LogLevel.error: ERROR,
    LogLevel.warn: WARNING,
    LogLevel.info: INFO,
    LogLevel.debug: DEBUG,
}

# LOG_EMERG would write to every terminal of the machine.
_SYSLOG_PRIORITIES = (
    system_log.LOG_CRIT,
    system_log.LOG_ALERT,
    system_log.LOG_CRIT,
    system_log.LOG_ERR,
    system_log.LOG_WARNING,
    system_log.LOG_NOTICE,
    system_log.LOG_INFO,
    system_log.LOG_DEBUG,
)

_verbosity = ERROR
_on_stderr = False


def set_verbosity(name: str) -> None:
    """
    Log what is at this level or above it, in the whole process.

    @param name: one of L{LEVELS}.
    """
    global _verbosity
    _verbosity = LEVELS.index(name)


def is_logged(level: int) -> bool:
    """
    Whether events of a level are logged: to be asked before anything that is
    costly and only serves to log it.
    """
    return level <= _verbosity


class Logger:
    """
    What one module logs.
    """

    def __init__(self, namespace: str) -> None:
        """
        @param namespace: where the events come from: the module's C{__name__}.
        """
        self._logger = twisted_logger.Logger(namespace=namespace)

    def debug(self, format: str, **fields: object) -> None:
        """Packets, by name."""
        if _verbosity >= DEBUG:
            self._emit(DEBUG, format, fields)

    def info(self, format: str, **fields: object) -> None:
        """What happens to a connection."""
        if _verbosity >= INFO:
            self._emit(INFO, format, fields)

    def notice(self, format: str, **fields: object) -> None:
        """What happens to the server: it has started, it ends."""
        if _verbosity >= NOTICE:
            self._emit(NOTICE, format, fields)

    def warn(self, format: str, **fields: object) -> None:
        """What may be wrong."""
        if _verbosity >= WARNING:
            self._emit(WARNING, format, fields)

    def error(self, format: str, **fields: object) -> None:
        """What went wrong; the server keeps serving."""
        if _verbosity >= ERROR:
            self._emit(ERROR, format, fields)

    def critical(self, format: str, **fields: object) -> None:
        """The server can no longer do what it is for."""
        if _verbosity >= CRITICAL:
            self._emit(CRITICAL, format, fields)

    def fatal(self, format: str, **fields: object) -> None:
        """
        Why the server ends, or does not start.
        """
        # A critical event that comes before logging has begun is printed by
        # Twisted, in its own form; this one is printed by who logs it.
        self._logger.emit(LogLevel.error, format, gearman_level=FATAL, **fields)

    def announce(self, format: str, **fields: object) -> None:
        """
        A warning about how the server was started.  Whoever did it must see
        it, whatever C{--verbose} says.
        """
        self._emit(WARNING, format, fields)

    def failure(self, format: str, failure: Failure | None = None, **fields: object) -> None:
        """
        A mistake in the program, with its traceback; logged at every level.
        """
        self._logger.failure(format, failure, LogLevel.critical, **fields)

    def _emit(self, level: int, format: str, fields: dict[str, object]) -> None:
        self._logger.emit(_TWISTED_LEVELS[level], format, gearman_level=level, **fields)


def level_of(event: LogEvent) -> int:
    """
    The level of an event, ours or anybody's.
    """
    level = event.get("gearman_level")
    return level if level is not None else _LEVELS_OF_TWISTED.get(event.get("log_level"), INFO)


def is_wanted(event: LogEvent) -> bool:
    """
    Whether an event is to be written.  Ours have been through L{Logger};
    others, such as Twisted's, are measured by the same C{--verbose}.
    """
    return "gearman_level" in event or level_of(event) <= _verbosity


def event_as_line(event: LogEvent) -> str:
    """
    An event as gearmand writes it: level, time, where it comes from, text.  A
    text of many lines, such as a traceback, is indented after the first.
    """
    time = datetime.fromtimestamp(event.get("log_time", 0)).strftime("%Y-%m-%d %H:%M:%S.%f")
    text = twisted_logger.eventAsText(event, includeTimestamp=False, includeSystem=False)
    text = text.rstrip("\n").replace("\n", "\n\t")
    return f"{LEVELS[level_of(event)]:>7} {time} [{event.get('log_namespace', '-')}] {text}\n"


@implementer(ILogObserver)
class FileObserver:
    """
    Writes events to a stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        if is_wanted(event):
            self._stream.write(event_as_line(event))
            self._stream.flush()


@implementer(ILogObserver)
class LogFile:
    """
    Writes events to a file that can be moved away (SIGHUP, logrotate).

    @ivar path: where the file is.
    """

    def __init__(self, path: str) -> None:
        """
        @raise OSError: if it cannot be opened.
        """
        self.path = os.path.abspath(path)
        self._file = self._open()

    def _open(self) -> TextIO:
        return open(self.path, "a", encoding="utf-8", errors="backslashreplace")

    def __call__(self, event: LogEvent) -> None:
        FileObserver(self._file)(event)

    def reopen(self) -> None:
        """
        Open the file anew, by its name.  Where that cannot be done, the open
        file stays in use.
        """
        try:
            file = self._open()
        except OSError as error:
            Logger(__name__).error("cannot open the log file {path} again: {reason}", path=self.path, reason=error.strerror)
            return
        self._file.close()
        self._file = file


@implementer(ILogObserver)
class SystemLogObserver:
    """
    Writes events to the system's log.
    """

    def __init__(self) -> None:
        system_log.openlog("gearsvc", system_log.LOG_PID, system_log.LOG_DAEMON)

    def __call__(self, event: LogEvent) -> None:
        if is_wanted(event):
            text = twisted_logger.eventAsText(event, includeTimestamp=False, includeSystem=False)
            for line in text.splitlines():
                system_log.syslog(_SYSLOG_PRIORITIES[level_of(event)], line)


def is_on_stderr() -> bool:
    """
    Whether what is logged is seen on stderr.
    """
    return _on_stderr


def begin_logging(observers: list[ILogObserver], on_stderr: bool = False) -> None:
    """
    Send all events, those from before too, to these observers.

    @param on_stderr: whether one of them writes to stderr.
    """
    global _on_stderr
    _on_stderr = on_stderr
    twisted_logger.globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
