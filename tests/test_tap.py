"""
The command line of C{twistd gearman}.
"""

from __future__ import annotations

import re
import subprocess

from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from gearsvc import __version__
from gearsvc.config import OPTIONS, Settings
from gearsvc.plugins import queue_store_makers
from gearsvc.process import ProcessService
from gearsvc.serve import ServeOptions
from gearsvc.tap import Options, make_process
from tests.commands import TWISTD_GEARMAN, CommandCase

OF_MODULES = ("http-",)
"""
What the names of options begin with that belong to gearmand's modules: our plugins declare them.
"""


def parse(*words: str) -> Settings:
    """
    Settings of a command line of C{twistd gearman}.
    """
    options = Options()
    options.parseOptions(words)
    return options.settings


class ParseTests(SynchronousTestCase):
    """
    L{Options} reads words.
    """

    def test_long_and_short(self) -> None:
        """
        Both names of an option are the same, with the value in the same word or in the next.
        """
        for words in (["-j", "3"], ["-j3"], ["--job-retries", "3"], ["--job-retries=3"]):
            self.assertEqual(parse(*words).job_retries, 3)

    def test_negative_values(self) -> None:
        """
        A value may begin with a dash.
        """
        self.assertEqual(parse("--wakeup-delay", "-1", "--keepalive-idle=-1", "-j", "-1").wakeup_delay, -1.0)

    def test_repeated(self) -> None:
        """
        Ports and addresses may be given more than once, and keep their order.
        """
        settings = parse("-p", "1", "--port=tcp:2", "-L", "127.0.0.1", "--listen", "::1")
        self.assertEqual((settings.port, settings.listen), (("1", "tcp:2"), ("127.0.0.1", "::1")))

    def test_plugin_options(self) -> None:
        """
        The options of stores are read too, and have their defaults.
        """
        settings = parse("-q", "sqlite", "--libsqlite3-db", "q.db", "--store-queue-on-shutdown")
        expected = {"libsqlite3-db": "q.db", "libsqlite3-table": "gearman_queue", "store-queue-on-shutdown": True}
        self.assertEqual({name: settings.plugin_options[name] for name in expected}, expected)
        self.assertEqual(settings.plugin_options["redis-port"], 6379)

    def test_wrong_words(self) -> None:
        """
        What is wrong is said with the option's name.
        """
        for words, part in (
            (["--nonsense"], "--nonsense"),
            (["stray"], "'stray'"),
            (["--port"], "--port"),
            (["--round-robin=yes"], "--round-robin"),
            (["--port", "x"], "--port: "),
            (["-v", "vv"], "--verbose: "),
            (["--config", "/no/such"], "/no/such"),
        ):
            with self.assertRaises(UsageError) as caught:
                parse(*words)
            self.assertEqual(len(str(caught.exception).splitlines()), 1)
            self.assertIn(part, str(caught.exception))

    def test_process_options(self) -> None:
        """
        What twistd does itself is refused, with twistd's own option for it.
        """
        for words, part in (
            (["-d"], "twistd -n gearman"),
            (["-l", "x.log"], "twistd --logfile=FILE gearman"),
            (["--pid-file=x.pid"], "twistd --pidfile=FILE gearman"),
            (["-u", "root"], "twistd --uid=NAME gearman"),
            (["--syslog"], "twistd --syslog gearman"),
        ):
            with self.assertRaises(UsageError) as caught:
                parse(*words)
            self.assertIn(part, str(caught.exception))
            options = ServeOptions()
            options.parseOptions(words)

    def test_every_option_of_gearmand(self) -> None:
        """
        gearsvc serve knows each option that the installed gearmand lists, by its long and short name.
        """
        listed = re.findall(
            r"^  (?:-(\w) \[ )?--([\w-]+)", subprocess.run(["gearmand", "--help"], capture_output=True, text=True).stdout, re.M
        )
        self.assertGreater(len(listed), 30)
        usage = ServeOptions().getUsage()
        missing = [
            name
            for short, name in listed
            if not name.startswith(OF_MODULES)
            and not re.search(rf"^  {f'-{short}, ' if short else '.{4}'}--{name}\b", usage, re.M)
            and f"--{name}." not in usage
        ]
        self.assertEqual(missing, [])

    def test_options_that_gearmand_hides(self) -> None:
        """
        The second name of the configuration file and the levels of the manual page's -v are known too.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("[gearman]\nbacklog = 5\n")
        self.assertEqual(parse("--config-file", path).backlog, 5)
        self.assertEqual(parse("-v", "info").verbose, "INFO")


class HelpTests(SynchronousTestCase):
    """
    C{--help}.
    """

    def test_every_option_is_there(self) -> None:
        """
        Every option of the server stands in the help of gearsvc serve; twistd's has all but the process's.
        """
        serve, twistd = ServeOptions().getUsage(), Options().getUsage()
        for option in OPTIONS:
            self.assertRegex(serve, rf"(?m)^  .{{4}}--{option.name}\b")
            assert_there = self.assertNotRegex if option.twistd else self.assertRegex
            assert_there(twistd, rf"(?m)^  .{{4}}--{option.name}\b")

    def test_defaults_are_there(self) -> None:
        """
        A default is shown as a user would write it.
        """
        text = " ".join(Options().getUsage().split())
        for default in ("4730", "1024", "builtin", "ERROR", "1G", "64M", "all addresses", "gearman_queue"):
            self.assertIn(f"(default: {default})", text)

    def test_width(self) -> None:
        """
        No line is longer than the terminal.
        """
        for width in (60, 80, 132):
            self.assertLessEqual(max(len(line) for line in ServeOptions().getUsage(width).splitlines()), width)


class ServiceTests(SynchronousTestCase):
    """
    L{make_process}.
    """

    def test_service(self) -> None:
        """
        What twistd runs is one service, around a server with the settings given; nothing is open yet.
        """
        settings = parse("-p", "0")
        process = make_process(settings)
        self.assertIsInstance(process, ProcessService)
        self.assertTrue(IService.providedBy(process))
        self.assertIs(process.server.settings, settings)
        self.assertEqual(process.server.ports, [])


class CommandTests(CommandCase):
    """
    C{twistd gearman}, as a person runs it.
    """

    def test_errors(self) -> None:
        """
        Whatever is wrong on the command line or in the file costs one line on stderr and status 1.
        """
        (self.directory / "bad.conf").write_text("[gearman]\n\nbacklog = no\n")
        for words, parts in (
            (["--nonsense"], ["--nonsense"]),
            (["--daemon"], ["--daemon", "twistd"]),
            (["--port", "123456"], ["--port", "123456"]),
            (["-q", "nosuch"], ["--queue-type", "nosuch", "builtin"]),
            (["-q", "sqlite"], ["--libsqlite3-db"]),
            (["-q", "sqlite", "--libsqlite3-db", "/no/such/q.db"], ["/no/such"]),
            (["-r", "nosuch"], ["--protocol", "nosuch"]),
            (["--ssl"], ["--ssl", "TLS"]),
            (["--config", "bad.conf"], ["bad.conf", "[gearman]", "line 3", "backlog"]),
        ):
            result = self.run_command(*TWISTD_GEARMAN, *words)
            self.assertEqual((result.returncode, result.stdout), (1, ""), words)
            self.assert_one_line(result.stderr, "twistd gearman: ", *parts)

    def test_check_args(self) -> None:
        """
        --check-args says nothing of options that fit, and opens nothing.
        """
        self.start_command(*TWISTD_GEARMAN, self.at)
        result = self.run_command(*TWISTD_GEARMAN, self.at, "--check-args", "-q", "sqlite", "--libsqlite3-db", "q.db")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(list(self.directory.glob("*.db")), [])

    def test_help_and_version(self) -> None:
        """
        --help and --version go to stdout, with status 0.
        """
        result = self.run_command(*TWISTD_GEARMAN, "--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(result.stdout.startswith("Usage: twistd [options] gearman [options]\n"), result.stdout)
        for word in ("--version", "-V"):
            result = self.run_command(*TWISTD_GEARMAN, word)
            self.assertEqual((result.returncode, result.stdout), (0, f"gearsvc {__version__}\n"))

    def test_help_stores(self) -> None:
        """
        --help-stores shows each store that is installed with its options, and what one of them still needs.
        """
        result = self.run_command(*TWISTD_GEARMAN, "--help-stores")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for store in queue_store_makers():
            self.assertRegex(result.stdout, rf"(?m)^--queue-type {store.names[0]}\b")
            for option in store.options:
                self.assertRegex(result.stdout, rf"(?m)^ +--{option.name}\b")
        self.assertNotIn("--port", result.stdout)
        self.assertNotIn("not usable", result.stdout)

    def test_warnings(self) -> None:
        """
        What is ignored is said once in the log, whatever --verbose says.
        """
        process = self.start_command(
            *TWISTD_GEARMAN, self.at, "--verbose", "FATAL", "--threads", "9", "--coredump", GEARMAND_PORT="tcp://x"
        )
        process.terminate()
        output = process.communicate()[0]
        self.assertEqual(output.count("without effect"), 1)
        self.assertRegex(output, "--threads, --coredump")
        self.assertNotIn("GEARMAND_PORT", output)

    def test_foreign_gearmand_port(self) -> None:
        """
        A container platform's GEARMAND_PORT is passed over with a warning, and the file's port is used.
        """
        (self.directory / "a.conf").write_text(f"[a]\nport = tcp:{self.port}:interface=127.0.0.1\n")
        process = self.start_command(*TWISTD_GEARMAN, "--config", "a.conf", GEARMAND_PORT="tcp://10.0.0.1:4730")
        process.terminate()
        self.assertEqual(process.communicate()[0].count("GEARMAND_PORT is ignored: 'tcp://10.0.0.1:4730'"), 1)

    def test_gearmand_port(self) -> None:
        """
        GEARMAND_PORT is where the server listens if nothing else is said.
        """
        self.start_command(*TWISTD_GEARMAN, "--listen", "127.0.0.1", GEARMAND_PORT=str(self.port))
        self.assertTrue(self.answers())
