"""
Tests for the plugin of L{gearsvc.stores.mysql}, and its options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gearsvc.config import Settings, SettingsError
from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.plugins import find_queue_store_maker, gearsvc_mysql
from gearsvc.stores.mysql import MySQLStore
from gearsvc.stores.mysqlconnection import Place


def options_of(name: str) -> dict[str, Any]:
    """
    @return: the options of a store, and what they are if they are not given.
    """
    return {option.name: option.default for option in find_queue_store_maker(name).options}


class MySQLMakerTests(SynchronousTestCase):
    """
    What C{-q mysql} makes.
    """

    def make(self, **options: str) -> MySQLStore:
        """
        @param options: with C{_} for C{-}, and without what they begin with.
        """
        given = {f"mysql-{name.replace('_', '-')}": value for name, value in options.items()}
        store = find_queue_store_maker("mysql").make(Settings(queue_type="mysql", plugin_options=given))
        assert isinstance(store, MySQLStore)
        return store

    def test_maker(self) -> None:
        """
        It goes by both names, and needs nothing more when PyMySQL is there.
        """
        maker = find_queue_store_maker("mariadb")
        self.assertTrue(verifyObject(IQueueStoreMaker, maker))
        self.assertIs(maker, find_queue_store_maker("mysql"))
        self.assertEqual(maker.missing(), "")

    def test_missing(self) -> None:
        """
        Without PyMySQL it says what to install.
        """
        self.patch(gearsvc_mysql, "find_spec", lambda name: None)
        for name in ("mysql", "drizzle"):
            self.assertEqual(find_queue_store_maker(name).missing(), "pip install 'gearsvc[mysql]'")

    def test_made(self) -> None:
        """
        The store is made without connecting, and says where it is: not with what password.
        """
        store = self.make(db="jobs", password="secret")
        self.assertTrue(verifyObject(IQueueStore, store))
        self.assertEqual(store.description, "The MySQL queue jobs.gearman_queue at localhost:3306")
        store = self.make(db="jobs", host="db", port="3307", table="mine")
        self.assertEqual(store.description, "The MySQL queue jobs.mine at db:3307")
        self.assertEqual(self.make(db="jobs", socket="/run/db").description, "The MySQL queue jobs.gearman_queue at /run/db")
        self.assertNotIn("secret", repr(Place(password="secret")))

    def test_no_database(self) -> None:
        """
        Without a database it is refused, unless there is a file that may name it.
        """
        with self.assertRaisesRegex(SettingsError, "--queue-type mysql needs --mysql-db, the database's name"):
            self.make()
        with self.assertRaisesRegex(SettingsError, "--mysql-defaults-file: there is no file /no/such/my.cnf"):
            self.make(defaults_file="/no/such/my.cnf")
        file = Path(self.mktemp())
        file.write_text("[gearmand]\n")
        self.assertEqual(self.make(defaults_file=str(file)).description, "The MySQL queue gearman_queue at localhost:3306")

    def test_wrong_port(self) -> None:
        """
        A port that is none is refused.
        """
        for port in ("0", "65536", "mysql"):
            with self.assertRaisesRegex(SettingsError, "mysql-port: must be a whole number from 1 to 65535"):
                self.make(db="jobs", port=port)

    def test_options(self) -> None:
        """
        gearmand's options are there, with its defaults, and two more.
        """
        self.assertEqual(
            options_of("mysql"),
            {
                "mysql-host": None, "mysql-port": None, "mysql-user": "", "mysql-password": "", "mysql-db": None,
                "mysql-table": "gearman_queue", "mysql-socket": None, "mysql-defaults-file": None,
            },
        )  # fmt: skip
        shown = {option.name: option.shown for option in find_queue_store_maker("mysql").options if option.shown}
        self.assertEqual(shown, {"mysql-host": "localhost", "mysql-port": "3306"})


class DrizzleMakerTests(SynchronousTestCase):
    """
    What C{-q libdrizzle} makes.
    """

    def make(self, **options: str) -> MySQLStore:
        """
        @param options: without what they begin with.
        """
        given = {f"libdrizzle-{name}": value for name, value in options.items()}
        store = find_queue_store_maker("libdrizzle").make(Settings(queue_type="libdrizzle", plugin_options=given))
        assert isinstance(store, MySQLStore)
        return store

    def test_maker(self) -> None:
        """
        It goes by both names.
        """
        self.assertIs(find_queue_store_maker("drizzle"), find_queue_store_maker("libdrizzle"))
        self.assertTrue(verifyObject(IQueueStoreMaker, find_queue_store_maker("drizzle")))

    def test_made(self) -> None:
        """
        It makes the same store, from its own options.
        """
        self.assertEqual(self.make().description, "The MySQL queue gearman.queue at 127.0.0.1:3306")
        store = self.make(host="db", port="4427", db="jobs", table="mine", mysql="yes")
        self.assertEqual(store.description, "The MySQL queue jobs.mine at db:4427")
        self.assertEqual(self.make(uds="/run/db").description, "The MySQL queue gearman.queue at /run/db")

    def test_options(self) -> None:
        """
        The manual page's options are there, with their defaults.
        """
        self.assertEqual(
            options_of("drizzle"),
            {
                "libdrizzle-host": "127.0.0.1", "libdrizzle-port": 3306, "libdrizzle-uds": None, "libdrizzle-user": "root",
                "libdrizzle-password": "", "libdrizzle-db": "gearman", "libdrizzle-table": "queue", "libdrizzle-mysql": False,
            },
        )  # fmt: skip
