"""
The plugins: those that come with gearsvc, and how other people's are found.
"""

from __future__ import annotations

import sys
import textwrap

from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gearsvc.config import OPTIONS, Settings
from gearsvc.interfaces import IProtocolMaker, IQueueStore, IQueueStoreMaker
from gearsvc.options import Option, SettingsError
from gearsvc.plugins import (
    find_protocol_maker,
    find_queue_store_maker,
    gearsvc_stores,
    plugin_options,
    protocol_makers,
    queue_store_makers,
)
from tests.commands import TWISTD, TWISTD_GEARMAN, CommandCase
from tests.running import ROOT


class MakerTests(SynchronousTestCase):
    """
    The makers that come with gearsvc.
    """

    def test_interfaces(self) -> None:
        """
        Every maker provides what it is found by, completely.
        """
        stores, protocols = queue_store_makers(), protocol_makers()
        self.assertGreaterEqual(len(stores), 2)
        for store in stores:
            verifyObject(IQueueStoreMaker, store)
            verifyObject(IPlugin, store)
        for protocol in protocols:
            verifyObject(IProtocolMaker, protocol)
            verifyObject(IPlugin, protocol)

    def test_names(self) -> None:
        """
        A store answers to each of its names, and no name is two stores'.
        """
        names = [name for maker in queue_store_makers() for name in maker.names]
        self.assertEqual(len(names), len(set(names)))
        self.assertIs(find_queue_store_maker("builtin"), find_queue_store_maker("memory"))
        self.assertIs(find_queue_store_maker("libsqlite3"), find_queue_store_maker("sqlite"))
        self.assertIs(find_queue_store_maker("libsqlite3"), find_queue_store_maker("sqlite3"))

    def test_unknown_store(self) -> None:
        """
        Who asks for a store that is not there hears what is there.
        """
        with self.assertRaisesRegex(SettingsError, "'nosuch'.*builtin.*libsqlite3"):
            find_queue_store_maker("nosuch")

    def test_unknown_protocol(self) -> None:
        """
        Who asks for a protocol that is not there hears so.
        """
        with self.assertRaisesRegex(SettingsError, "--protocol: there is no protocol 'nosuch'"):
            find_protocol_maker("nosuch")

    def test_memory(self) -> None:
        """
        The queue in memory needs no store.
        """
        self.assertIsNone(find_queue_store_maker("builtin").make(Settings()))

    def test_sqlite(self) -> None:
        """
        The SQLite store is made without opening anything.
        """
        path = self.mktemp()
        settings = Settings(queue_type="sqlite", plugin_options={"libsqlite3-db": path})
        verifyObject(IQueueStore, find_queue_store_maker("sqlite").make(settings))

    def test_sqlite_needs_a_database(self) -> None:
        """
        Without a database's file, or in a directory that is not there, the store is refused.
        """
        with self.assertRaisesRegex(SettingsError, "libsqlite3-db"):
            gearsvc_stores.sqlite.make(Settings(queue_type="sqlite"))
        with self.assertRaisesRegex(SettingsError, "no directory /no/such"):
            gearsvc_stores.sqlite.make(Settings(plugin_options={"libsqlite3-db": "/no/such/queue.db"}))

    def test_options_have_one_owner(self) -> None:
        """
        A plugin cannot take an option that is the server's or another plugin's.
        """
        self.assertEqual(len(plugin_options(OPTIONS)), len({option.name for option in plugin_options(OPTIONS)}))
        with self.assertRaisesRegex(SettingsError, "libsqlite3 declares --libsqlite3-db"):
            plugin_options([Option("libsqlite3-db", "")])


class DropInTests(CommandCase):
    """
    Plugins of other people.
    """

    def setUp(self) -> None:
        """
        A directory on C{sys.path} that has a store and a protocol in C{gearsvc/plugins}.
        """
        super().setUp()
        self.plugins = self.directory / "site" / "gearsvc" / "plugins"
        self.plugins.mkdir(parents=True)
        (self.plugins / "example.py").write_text(
            textwrap.dedent(
                """
                from twisted.application.service import Service
                from twisted.plugin import IPlugin
                from zope.interface import implementer
                from gearsvc.interfaces import IProtocolMaker, IQueueStoreMaker
                from gearsvc.options import Option, whole_number

                SPEED = Option("paper-speed", "Pages a second.", whole_number(1), 3, metavar="N")

                @implementer(IPlugin, IQueueStoreMaker)
                class Paper:
                    names = ("paper",)
                    summary = "on paper"
                    options = (SPEED,)
                    def missing(self):
                        return ""
                    def make(self, settings):
                        print("paper at", settings.value_of(SPEED), flush=True)

                @implementer(IPlugin, IProtocolMaker)
                class Pigeons:
                    names = ("pigeons", "birds")
                    summary = "by pigeon"
                    options = ()
                    def make(self, server, settings):
                        print("pigeons for", type(server).__name__, flush=True)
                        return Service()

                paper, pigeons = Paper(), Pigeons()
                """
            )
        )
        self.path = str(self.directory / "site")

    def test_used(self) -> None:
        """
        A store and a protocol that are dropped in can be chosen, with their options, and stand in --help.
        """
        words = ["--check-args", "-q", "paper", "--paper-speed", "7", "-r", "birds"]
        result = self.run_command(*TWISTD_GEARMAN, *words, PYTHONPATH=self.path)
        self.assertEqual((result.returncode, result.stdout), (0, "paper at 7\npigeons for JobServerService\n"), result.stderr)
        result = self.run_command(*TWISTD_GEARMAN, "--help", PYTHONPATH=self.path)
        for part in ("--queue-type paper, on paper", "--protocol pigeons (or birds), by pigeon", "--paper-speed=N"):
            self.assertIn(part, result.stdout)

    def test_checked(self) -> None:
        """
        The options of a plugin are checked as others are.
        """
        result = self.run_command(*TWISTD_GEARMAN, "--paper-speed", "0", PYTHONPATH=self.path)
        self.assertEqual(result.returncode, 1)
        self.assert_one_line(result.stderr, "--paper-speed", "'0'")

    def test_stolen_option(self) -> None:
        """
        A plugin that declares an option of the server is named, and nothing runs.
        """
        module = self.plugins / "example.py"
        module.write_text(module.read_text().replace("paper-speed", "threads"))
        result = self.run_command(*TWISTD_GEARMAN, PYTHONPATH=self.path)
        self.assertEqual(result.returncode, 1)
        self.assert_one_line(result.stderr, "paper", "--threads")


class PackagingTests(CommandCase):
    """
    How twistd finds the server.
    """

    def test_no_packages(self) -> None:
        """
        twisted/ and twisted/plugins/ are no packages: they would hide Twisted's own.
        """
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_listed(self) -> None:
        """
        twistd and twist list the server.
        """
        for command in (TWISTD, [sys.executable, "-m", "twisted"]):
            self.assertRegex(self.run_command(*command, "--help").stdout, r"(?m)^    gearman +A Gearman job server")
