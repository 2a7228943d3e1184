"""
Options, their checks, and how settings are made of what is given.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.config import OPTIONS, TLS, Settings, load_settings, read_config_file
from gearsvc.options import Option, SettingsError, some_text
from gearsvc.plugins import plugin_options
from tests.running import ROOT

BY_NAME = {option.name: option for option in OPTIONS}


class OptionTests(SynchronousTestCase):
    """
    L{OPTIONS}, and the checks of values.
    """

    def refused(self, name: str, *texts: str) -> None:
        """
        Hold that an option refuses texts, in one line that says which.
        """
        for text in texts:
            with self.assertRaises(SettingsError) as caught:
                BY_NAME[name].value([text])
            line = str(caught.exception)
            self.assertNotIn("\n", line)
            self.assertTrue(line.startswith(f"{name}: "), line)

    def test_defaults(self) -> None:
        """
        Without any option the server behaves as gearmand does, but for its longer backlog.
        """
        settings = Settings()
        self.assertEqual(settings.port, ("4730",))
        self.assertEqual(settings.listen, ())
        self.assertEqual(settings.backlog, 1024)
        self.assertEqual(settings.job_retries, 0)
        self.assertEqual(settings.worker_wakeup, 0)
        self.assertEqual(settings.queue_type, "builtin")
        self.assertEqual(settings.verbose, "ERROR")
        self.assertEqual((settings.keepalive_idle, settings.keepalive_interval, settings.keepalive_count), (-1, -1, -1))
        self.assertEqual([option.name for option in OPTIONS if option.flag and getattr(settings, option.attribute)], [])

    def test_one_field_for_each_option(self) -> None:
        """
        Every field of the settings but plugin_options is an option, with the same name.
        """
        names = {field.name for field in fields(Settings)} - {"plugin_options"}
        self.assertEqual({option.attribute for option in OPTIONS}, names)

    def test_names_are_used_once(self) -> None:
        """
        No two options share a long or short name.
        """
        names = [option.name for option in OPTIONS] + [option.short for option in OPTIONS if option.short]
        self.assertEqual(len(names), len(set(names)))

    @given(strategies.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """
        A value that makes no sense is refused in one line, whatever it holds; it never breaks the check.
        """
        for option in OPTIONS:
            try:
                option.value([text])
            except SettingsError as error:
                self.assertEqual(len(str(error).splitlines()), 1)

    def test_port(self) -> None:
        """
        A port is a number up to 65535, or an endpoint that Twisted knows.
        """
        value = BY_NAME["port"].value
        self.assertEqual(value(["4730"]), ("4730",))
        self.assertEqual(value([" 04730 ", "0", "65535"]), ("4730", "0", "65535"))
        endpoints = ["tcp:4730", "tcp:port=4730:interface=127.0.0.1", "unix:/run/g.sock:mode=660", "systemd:domain=INET:index=0"]
        self.assertEqual(value(endpoints), tuple(endpoints))
        self.refused("port", "", "65536", "99999999999999999999", "-1", "4730x", "²")
        self.refused("port", "tcp:", "tcp:x", "tcp:70000", "tcp6:70000", "xyz:1", "tcp:4730:nonsense=1", "unix")

    def test_job_retries(self) -> None:
        """
        Both 0 and gearmand 2's -1 mean that there is no limit.
        """
        value = BY_NAME["job-retries"].value
        self.assertEqual([value([text]) for text in ("0", "-1", "3", "300")], [0, 0, 3, 300])
        self.refused("job-retries", "-2", "x", "1.5", "", "0x10", "1_000", "٣")

    def test_sizes(self) -> None:
        """
        Sizes take K, M and G in either case, and are never zero.
        """
        value = BY_NAME["max-packet"].value
        self.assertEqual([value([text]) for text in ("1", "2K", "3m", "1G", "4 KiB", "1MB")],
                         [1, 2048, 3 * 2**20, 2**30, 4096, 2**20])
        self.refused("max-packet", "0", "-1", "1T", "K", "", "1.5M")

    def test_seconds(self) -> None:
        """
        A negative wake-up delay is a way to say never; a negative time to drain is nonsense.
        """
        self.assertEqual(BY_NAME["wakeup-delay"].value(["-1"]), -1.0)
        self.assertEqual(BY_NAME["wakeup-delay"].value(["0.25"]), 0.25)
        self.assertEqual(BY_NAME["drain-seconds"].value(["0"]), 0.0)
        self.refused("drain-seconds", "-1", "nan", "inf", "1e3", "", "soon")

    def test_verbose(self) -> None:
        """
        The levels are gearmand's eight, in any case of letters.
        """
        value = BY_NAME["verbose"].value
        for name in ("FATAL", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"):
            self.assertEqual(value([name.lower()]), name)
        self.refused("verbose", "", "v", "LOUD", "ERROR,INFO")

    def test_job_handle_prefix(self) -> None:
        """
        A prefix leaves its handle room for a number of twenty digits in 63 bytes, and has no blank in it.
        """
        value = BY_NAME["job-handle-prefix"].value
        self.assertEqual(value(["H:" + "x" * 40]), "H:" + "x" * 40)
        self.assertEqual(len(f"{value(['x' * 42])}:{2**64 - 1}"), 63)
        self.refused("job-handle-prefix", "x" * 43, "é" * 22, "", "a b", "a\tb", "a\0b", "\n")

    def test_flags(self) -> None:
        """
        A flag in a file understands what people write there.
        """
        value = BY_NAME["round-robin"].value
        self.assertEqual([value([text]) for text in ("yes", "True", "1", "ON")], [True] * 4)
        self.assertEqual([value([text]) for text in ("no", "false", "0", "Off")], [False] * 4)
        self.refused("round-robin", "", "maybe", "2")

    def test_user(self) -> None:
        """
        A user has to exist.
        """
        self.assertEqual(BY_NAME["user"].value(["root"]), "root")
        self.refused("user", "no-such-user", "", "a\0b")

    def test_tls_is_refused(self) -> None:
        """
        Whoever asks for TLS gets no server that talks plain text instead.
        """
        self.refused("ssl", "yes", "no")
        self.refused("ssl-ca-file", "ca.pem")
        self.refused("ssl-certificate", "server.pem")
        self.refused("ssl-key", "server.key")


class SettingsTests(SynchronousTestCase):
    """
    L{Settings} as a program makes them.
    """

    def test_same_checks(self) -> None:
        """
        What a program gives goes through the checks of the command line.
        """
        wrong: dict[str, Any] = {
            "port": ("tcp:x",),
            "backlog": 0,
            "verbose": "LOUD",
            "max_packet": -1,
            "queue_type": "",
            "worker_wakeup": None,
            "ssl": True,
            "job_handle_prefix": "two words",
        }
        for name, value in wrong.items():
            with self.assertRaises(SettingsError):
                Settings(**{name: value})

    def test_one_form(self) -> None:
        """
        However a program writes a value, the server sees it in one form.
        """
        self.assertEqual(Settings(port=(4730, "tcp:4731")).port, ("4730", "tcp:4731"))  # type: ignore[arg-type]
        self.assertEqual(Settings(port=4730).port, ("4730",))  # type: ignore[arg-type]
        self.assertEqual(Settings(listen="localhost").listen, ("localhost",))  # type: ignore[arg-type]
        self.assertEqual(Settings(listen=["::1"]).listen, ("::1",))  # type: ignore[arg-type]
        self.assertEqual(Settings(queue_type="SQLite", verbose="debug").queue_type, "sqlite")
        self.assertEqual(Settings(max_output="1K").max_output, 1024)  # type: ignore[arg-type]
        self.assertEqual(Settings(job_retries=-1).job_retries, 0)
        self.assertIs(Settings(round_robin=True).round_robin, True)
        self.assertEqual(Settings(wakeup_delay=0.5).wakeup_delay, 0.5)

    def test_frozen(self) -> None:
        """
        Settings never change.
        """
        with self.assertRaises(AttributeError):
            Settings().backlog = 1  # type: ignore[misc]

    def test_value_of(self) -> None:
        """
        A plugin's option that is not given has its default, and one that is given is checked.
        """
        table = Option("table", "", some_text, "queue", metavar="NAME")
        self.assertEqual(Settings().value_of(table), "queue")
        self.assertEqual(Settings(plugin_options={"table": "jobs"}).value_of(table), "jobs")
        with self.assertRaises(SettingsError):
            Settings(plugin_options={"table": " "}).value_of(table)


class LoadTests(SynchronousTestCase):
    """
    L{load_settings}: who wins, and where errors are.
    """

    def setUp(self) -> None:
        """
        A place for a configuration file.
        """
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.path = str(directory / "test.conf")

    def load(self, file: str | None = None, *command_line: tuple[str, str], **environment: str) -> Settings:
        """
        Load settings; what was ignored is in C{self.warnings}.
        """
        self.warnings: list[str] = []
        if file is not None:
            Path(self.path).write_text(file)
        return load_settings(
            [(BY_NAME[name], value) for name, value in command_line],
            [*OPTIONS, *plugin_options(OPTIONS)],
            self.path if file is not None else None,
            environment,
            self.warnings.append,
        )

    def refused(self, file: str, *parts: str) -> None:
        """
        Hold that a file is refused, in one line with the file's path and certain parts.
        """
        with self.assertRaises(SettingsError) as caught:
            self.load(file)
        line = str(caught.exception)
        self.assertEqual(len(line.splitlines()), 1)
        for part in (self.path, *parts):
            self.assertIn(part, line)

    def test_who_wins(self) -> None:
        """
        The command line wins over GEARMAND_PORT, that over the file, and the file over the default.
        """
        file = "[gearman]\nport = 1\nbacklog = 2\n"
        self.assertEqual(self.load().port, ("4730",))
        self.assertEqual(self.load(file).port, ("1",))
        self.assertEqual(self.load(file, GEARMAND_PORT="3").port, ("3",))
        settings = self.load(file, ("port", "4"), ("port", "5"), GEARMAND_PORT="3")
        self.assertEqual((settings.port, settings.backlog), (("4", "5"), 2))

    def test_last_wins(self) -> None:
        """
        Of an option that is given twice on the command line the last value counts.
        """
        self.assertEqual(self.load(None, ("backlog", "1"), ("backlog", "2")).backlog, 2)

    def test_foreign_gearmand_port(self) -> None:
        """
        A GEARMAND_PORT such as container platforms set is ignored, with a warning; and not even looked at beside --port.
        """
        for value in ("tcp://10.0.0.1:4730", "", "70000", "x"):
            self.assertEqual(self.load(GEARMAND_PORT=value).port, ("4730",))
            self.assertEqual(len(self.warnings), 1)
            self.assertIn(repr(value), self.warnings[0])
        self.load(None, ("port", "1"), GEARMAND_PORT="tcp://10.0.0.1:4730")
        self.assertEqual(self.warnings, [])

    def test_without_effect(self) -> None:
        """
        Options that only tune the inside of gearmand are accepted, and one line says that they do nothing.
        """
        self.load("[x]\nthreads = 8", ("coredump", "yes"), ("hashtable-buckets", "7"), ("backlog", "9"))
        self.assertEqual(len(self.warnings), 1)
        for name in ("threads", "coredump", "hashtable-buckets"):
            self.assertIn(f"--{name}", self.warnings[0])
        self.assertNotIn("backlog", self.warnings[0])

    def test_file(self) -> None:
        """
        A file may have comments, many sections, keys in any case, and one indented line for each of many values.
        """
        settings = self.load(
            "# one\n; two\n[a]\nport =\n    4730\n    # not this one: 4731\n\n    unix:/run/g.sock\nQueue-Type: sqlite\n"
            "[b]\nround-robin = yes\nlibsqlite3-db = /tmp/50%.db\n[DEFAULT]\nbacklog = 7\n"
        )
        self.assertEqual(settings.port, ("4730", "unix:/run/g.sock"))
        self.assertEqual(settings.queue_type, "sqlite")
        self.assertIs(settings.round_robin, True)
        self.assertEqual(settings.backlog, 7)
        self.assertEqual(settings.plugin_options["libsqlite3-db"], "/tmp/50%.db")
        self.assertEqual(settings.plugin_options["libsqlite3-table"], "gearman_queue")

    def test_errors_in_a_file(self) -> None:
        """
        Whatever is wrong in a file, the line says the file, the section and the line.
        """
        self.refused("[a]\n\nprot = 1\n", "section [a]", "line 3", "'prot'", "port")
        self.refused("[a]\nport = 1\n[b]\n# x\nbacklog = many\n", "section [b]", "line 5", "backlog", "'many'")
        self.refused("[a]\nport = 1\n[b]\nport = 2\n", "section [b]", "line 4", "twice")
        self.refused("[a]\nport = 1\nport = 2\n", "section [a]", "line 3", "twice")
        self.refused("[a]\n[a]\n", "section [a]", "line 2", "twice")
        self.refused("[a]\nport\n", "line 2", "port", "key = value")
        self.refused("[a]\nport =\nbacklog = 2\n", "section [a]", "line 2", "no value")
        self.refused("[a]\nbacklog = 1\n  2\n", "section [a]", "line 2", "backlog")
        self.refused("[a]\n= 1\n", "line 2")
        self.refused("[a]\nssl = yes\n", "section [a]", "line 2", "TLS")

    def test_gearmand_format(self) -> None:
        """
        A file in gearmand's own format, words of the command line, is refused with what a file must look like.
        """
        self.refused("--verbose INFO\n--job-retries=3\n", "line 1", "[gearman]", "--verbose INFO")

    def test_unreadable_files(self) -> None:
        """
        A file that is not there, no file or no text is refused in one line.
        """
        for path, part in (("/no/such/file", "No such file"), ("/", "directory"), (__file__ + "/x", "directory")):
            with self.assertRaises(SettingsError) as caught:
                load_settings([], OPTIONS, path)
            self.assertIn(path, str(caught.exception))
            self.assertIn(part, str(caught.exception))
        Path(self.path).write_bytes(b"[a]\nuser = \xff\xfe\n")
        with self.assertRaisesRegex(SettingsError, "UTF-8"):
            load_settings([], OPTIONS, self.path)

    @given(strategies.lists(strategies.sampled_from([
        "[a]", "[b]", "[", "[]", "port", "port=", "port = 1", " 2", "\t", "x = y", "=", ":", "#",
        "backlog: 5", "\x00", "[DEFAULT]", "\r", "é=1",
    ])))
    def test_any_file(self, lines: list[str]) -> None:
        """
        Whatever a file holds, reading it gives options or one line that says what is wrong.
        """
        Path(self.path).write_text("\n".join(lines))
        try:
            found = read_config_file(self.path, BY_NAME)
        except SettingsError as error:
            self.assertEqual(len(str(error).splitlines()), 1)
        else:
            self.assertLessEqual({one.option.name for one in found}, {"port", "backlog"})


class SampleTests(SynchronousTestCase):
    """
    C{twistd.conf}.
    """

    path = ROOT / "twistd.conf"
    options = {option.name: option for option in [*OPTIONS, *plugin_options(OPTIONS)]}

    def test_what_it_sets(self) -> None:
        """
        The sample makes a durable server that wakes one worker for a job.
        """
        settings = load_settings([], self.options.values(), str(self.path))
        self.assertEqual(settings.queue_type, "libsqlite3")
        self.assertEqual(settings.plugin_options["libsqlite3-db"], "gearman.db")
        self.assertEqual(settings.worker_wakeup, 1)
        self.assertEqual(settings.verbose, "NOTICE")
        self.assertEqual(settings.port, ("4730",))

    def test_documents_every_key(self) -> None:
        """
        Every option but those of TLS stands in the sample, set or as a comment, and nothing else does.
        """
        text = self.path.read_text()
        keys = {line.lstrip("#").partition("=")[0].strip() for line in text.splitlines() if "=" in line and line[:2] != "# "}
        self.assertEqual(keys, {name for name, option in self.options.items() if option.group != TLS})

    def test_shows_defaults(self) -> None:
        """
        A comment that shows a key shows its default, unless it stands below a line that sets it or the key has none.
        """
        seen = set()
        for line in self.path.read_text().splitlines():
            key, separator, value = line.partition("=")
            option = self.options.get(key.lstrip("#").strip())
            if option is None or not separator or option.name in seen:
                continue
            seen.add(option.name)
            if line.startswith("#") and option.default not in (None, (), ""):
                self.assertEqual(option.value([value.strip()]), option.default, line)
        self.assertGreater(len(seen), 30)
