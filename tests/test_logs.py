"""
Levels, what is dropped, and the log file of C{gearsvc serve}.
"""

from __future__ import annotations

import io
import os
import syslog
from typing import cast

from twisted import logger as twisted_logger
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gearsvc import logs
from gearsvc.logs import FileObserver, LogFile, Logger, event_as_line, is_logged, set_verbosity
from gearsvc.options import LEVELS


class Unformattable:
    """
    Breaks whoever makes a text of it.
    """

    def __str__(self) -> str:
        raise AssertionError("a dropped event was formatted")

    __repr__ = __str__


class LoggerTests(SynchronousTestCase):
    """
    L{Logger}.
    """

    def setUp(self) -> None:
        """
        Collect events.
        """
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        twisted_logger.globalLogPublisher.addObserver(observer)
        self.addCleanup(twisted_logger.globalLogPublisher.removeObserver, observer)
        self.addCleanup(setattr, logs, "_verbosity", logs._verbosity)
        self.log = Logger("gearsvc.tests")

    def log_all(self) -> list[str]:
        """
        Log at every level.

        @return: the levels of what came through.
        """
        self.events.clear()
        for name in ("debug", "info", "notice", "warn", "error", "critical", "fatal"):
            getattr(self.log, name)("text")
        return [LEVELS[event["gearman_level"]] for event in self.events]

    def test_levels(self) -> None:
        """
        Each level of --verbose lets through itself and what is graver, and no more.
        """
        ours = ["DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "FATAL"]
        for name in LEVELS:
            set_verbosity(name)
            self.assertEqual(self.log_all(), [each for each in ours if LEVELS.index(each) <= LEVELS.index(name)], name)

    def test_nothing_is_formatted(self) -> None:
        """
        A dropped event is neither formatted nor seen by any observer.
        """
        set_verbosity("ERROR")
        self.log.debug("{it}", it=Unformattable())
        self.assertEqual(self.events, [])
        self.assertFalse(is_logged(logs.DEBUG))
        self.assertTrue(is_logged(logs.ERROR))

    def test_twisted_levels(self) -> None:
        """
        Other observers see Twisted's own levels.
        """
        set_verbosity("DEBUG")
        self.log_all()
        self.assertEqual(
            [event["log_level"] for event in self.events],
            [LogLevel.debug, LogLevel.info, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical, LogLevel.error],
        )
        self.assertEqual({event["log_namespace"] for event in self.events}, {"gearsvc.tests"})

    def test_announcements(self) -> None:
        """
        A warning about the start, and why the server ends, are logged at any level.
        """
        set_verbosity("FATAL")
        self.log.announce("hear this")
        self.log.fatal("and this")
        self.assertEqual([event["log_format"] for event in self.events], ["hear this", "and this"])


class LineTests(SynchronousTestCase):
    """
    What C{gearsvc serve} writes.
    """

    def event(self, level: LogLevel, **more: object) -> LogEvent:
        """
        An event of somebody else's.
        """
        return {"log_level": level, "log_format": "some {what}", "what": "text", "log_namespace": "n", "log_time": 0.0, **more}

    def test_form(self) -> None:
        """
        A line has gearmand's form: the level in seven columns, the time, where it comes from, the text.
        """
        time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"
        self.assertRegex(event_as_line(self.event(LogLevel.warn)), rf"\AWARNING {time} \[n\] some text\n\Z")
        self.assertRegex(event_as_line(self.event(LogLevel.info, gearman_level=logs.NOTICE)), r"\A NOTICE ")

    def test_one_event_is_told_from_the_next(self) -> None:
        """
        Lines within an event are indented, so that none can pass for another event.
        """
        event = self.event(LogLevel.error, what="a\n  FATAL 2026 [x] b", log_failure=Failure(ValueError("why")))
        lines = event_as_line(event).splitlines()
        self.assertGreater(len(lines), 2)
        for line in lines[1:]:
            self.assertTrue(line.startswith("\t"), line)

    def test_filter(self) -> None:
        """
        Events of Twisted and of others obey --verbose as ours do.
        """
        self.addCleanup(setattr, logs, "_verbosity", logs._verbosity)
        stream = io.StringIO()
        observer = FileObserver(stream)
        for name, expected in (("ERROR", ["  ERROR"]), ("INFO", ["  ERROR", "   INFO"])):
            set_verbosity(name)
            stream.truncate(0)
            stream.seek(0)
            for level in (LogLevel.error, LogLevel.info, LogLevel.debug):
                observer(self.event(level))
            self.assertEqual([line[:7] for line in stream.getvalue().splitlines()], expected)

    def test_file_is_moved_away(self) -> None:
        """
        After reopen() lines go to a new file of the same name; until then, to the one that was moved.
        """
        path = self.mktemp()
        file = LogFile(path)
        file(self.event(LogLevel.error, what="one"))
        os.rename(path, path + ".1")
        file(self.event(LogLevel.error, what="two"))
        file.reopen()
        file(self.event(LogLevel.error, what="three"))
        file._file.close()
        with open(path + ".1") as old, open(path) as new:
            self.assertEqual([line.split()[-1] for line in old], ["one", "two"])
            self.assertEqual([line.split()[-1] for line in new], ["three"])

    def test_file_cannot_be_reopened(self) -> None:
        """
        If the file cannot be opened again, the old one stays in use.
        """
        directory = self.mktemp()
        os.mkdir(directory)
        file = LogFile(os.path.join(directory, "log"))
        os.rename(directory, directory + ".away")
        file.reopen()
        file(self.event(LogLevel.error, what="still"))
        file._file.close()
        with open(os.path.join(directory + ".away", "log")) as old:
            self.assertIn("some still", old.read())

    def test_system_log(self) -> None:
        """
        The system's log gets each line of an event, with the priority of its level.
        """
        sent: list[tuple[int, str]] = []
        self.patch(syslog, "syslog", lambda priority, text: sent.append((priority, text)))
        observer = logs.SystemLogObserver()
        observer(self.event(LogLevel.error, what="a\nb"))
        observer(self.event(LogLevel.warn, gearman_level=logs.WARNING))
        observer(self.event(LogLevel.debug))
        self.assertEqual(
            sent, [(syslog.LOG_ERR, "some a"), (syslog.LOG_ERR, "b"), (syslog.LOG_WARNING, "some text")]
        )

    def test_odd_text(self) -> None:
        """
        Text that is no Unicode, as a function's name can be, does not break the log file.
        """
        path = self.mktemp()
        file = LogFile(path)
        file(self.event(LogLevel.error, what=b"\xff".decode("utf-8", "surrogateescape")))
        file._file.close()
        with open(path, "rb") as written:
            self.assertIn(rb"some \udcff", written.read())
