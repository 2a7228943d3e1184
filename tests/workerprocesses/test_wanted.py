"""
What C{--worker} takes, and what is refused.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.config import Settings
from gearsvc.options import SettingsError
from gearsvc.service import JobServerService
from gearsvc.workerprocesses.wanted import COMMAND, CONNECT, SOCKET, WantedWorkers, wanted_workers
from tests.commands import SERVE, TWISTD_GEARMAN, CommandCase


class FormTests(SynchronousTestCase):
    """
    L{wanted_workers}.
    """

    def test_command(self) -> None:
        """
        Without a kind, the program is a command for each job.
        """
        self.assertEqual(wanted_workers("2 upper -- tr a-z A-Z"), WantedWorkers(2, ("upper",), COMMAND, ("tr", "a-z", "A-Z")))

    def test_kinds(self) -> None:
        """
        A word before the -- says what kind of program it is.
        """
        for kind in (COMMAND, SOCKET, CONNECT):
            self.assertEqual(wanted_workers(f"1 one,two {kind} -- true"), WantedWorkers(1, ("one", "two"), kind, ("true",)))

    def test_words(self) -> None:
        """
        The command is split as a shell would do it, and may hold a -- of its own; blanks do not count.
        """
        found = wanted_workers("  0\tf   --  sh -c 'a  b' -- \"it's\"\n")
        self.assertEqual(found, WantedWorkers(0, ("f",), COMMAND, ("sh", "-c", "a  b", "--", "it's")))

    def test_written(self) -> None:
        """
        What is written of it is read again as the same.
        """
        for text in ("2 upper -- tr a-z A-Z", "1 one,two socket -- sh -c 'a  b' ''", "3 \u00e4 connect -- ./x"):
            found = wanted_workers(text)
            self.assertEqual(wanted_workers(str(found)), found)
            self.assertEqual(Settings(worker=(text,)).worker, (found,))  # type: ignore[arg-type]
            self.assertEqual(Settings(worker=(found,)).worker, (found,))

    def test_refused(self) -> None:
        """
        A mistake is told in one line that names it.
        """
        for text, part in (
            ("", "no ' -- '"),
            ("2 upper tr a-z A-Z", "no ' -- '"),
            ("2 upper --tr a-z", "no ' -- '"),
            ("-- tr", "a count"),
            ("upper -- tr", "a count"),
            ("1 upper socket fast -- tr", "a count"),
            ("two upper -- tr", "'two'"),
            ("-1 upper -- tr", "'-1'"),
            ("1001 upper -- tr", "1000"),
            ("1 a,,b -- tr", "'a,,b'"),
            ("1 a\x01 -- tr", "'a\\x01'"),
            ("1 a,b,a -- tr", "once"),
            ("1 a sockets -- tr", "socket, connect"),
            ("1 a --", "a command"),
            ("1 a -- ''", "a command"),
            ("1 a -- sh 'x", "quotation"),
        ):
            with self.assertRaises(ValueError) as caught:
                wanted_workers(text)
            self.assertIn(part, str(caught.exception), text)
            self.assertEqual(len(str(caught.exception).splitlines()), 1)


class StartTests(CommandCase):
    """
    What keeps a server from starting.
    """

    def test_refused(self) -> None:
        """
        The command line and the file are refused in one line, with status 1, before a port is open.
        """
        (self.directory / "plain.txt").write_text("no program\n")
        (self.directory / "bad.conf").write_text("[a]\nworker =\n    1 a -- true\n    1 b true\n")
        for words, part in (
            (["--worker", "1 a -- no-such-program"], "no program 'no-such-program'"),
            (["--worker", "1 a connect -- ./plain.txt"], "no program './plain.txt'"),
            (["--worker", "1 a -- true", "--worker", "2 a socket -- cat"], "workers for a already"),
            (["--worker", "x a -- true"], "'x'"),
            (["--config", "bad.conf"], "bad.conf, section [a], line 2: worker: must be"),
        ):
            for command in (SERVE, TWISTD_GEARMAN):
                result = self.run_command(*command, self.at, *words)
                self.assertEqual((result.returncode, result.stdout), (1, ""), words)
                self.assert_one_line(result.stderr, part)

    def test_service(self) -> None:
        """
        A program that makes a service hears of it at once, too.
        """
        with self.assertRaises(SettingsError):
            JobServerService(Settings(worker=("1 a -- no-such-program",)))  # type: ignore[arg-type]
        service = JobServerService(Settings(worker=("1 a -- true",)))  # type: ignore[arg-type]
        for text in ("1 a -- true", "1 b -- no-such-program", "nonsense"):
            with self.assertRaises(SettingsError):
                service.start_worker(text)
        with self.assertRaises(KeyError):
            service.set_count("b", 1)
        with self.assertRaises(ValueError):
            service.set_count("a", -1)
