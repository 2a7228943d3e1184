"""
Tests for the plugin of L{gearsvc.stores.postgres}, and its options.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gearsvc.config import Settings
from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import SettingsError
from gearsvc.plugins import find_queue_store_maker, gearsvc_postgres, make_queue_store
from tests.running import PATIENCE, ROOT


class MakerTests(SynchronousTestCase):
    """
    What C{-q postgres} makes.
    """

    def make(self, **options: str) -> IQueueStore:
        """
        @param options: without what they begin with.
        """
        given = {f"libpq-{name}": value for name, value in options.items()}
        store = make_queue_store(Settings(queue_type="postgres", plugin_options=given))
        assert store is not None
        return store

    def test_maker(self) -> None:
        """
        It goes by all its names.
        """
        maker = find_queue_store_maker("postgres")
        self.assertTrue(verifyObject(IQueueStoreMaker, maker))
        for name in ("libpq", "postgresql"):
            self.assertIs(find_queue_store_maker(name), maker)
        self.assertEqual(maker.missing(), "")

    def test_made(self) -> None:
        """
        The store is made without connecting; the options have gearmand's
        defaults.
        """
        store = self.make(conninfo="host=db dbname=jobs password=secret")
        self.assertTrue(verifyObject(IQueueStore, store))
        self.assertEqual(store.description, "PostgreSQL database jobs at db:5432, table queue")
        store = self.make(conninfo="host=db dbname=jobs", table="Jobs.Mine")
        self.assertEqual(store.description, "PostgreSQL database jobs at db:5432, table jobs.mine")
        defaults = {option.name: option.default for option in find_queue_store_maker("postgres").options}
        self.assertEqual(defaults, {"libpq-conninfo": "", "libpq-table": "queue"})

    def test_missing(self) -> None:
        """
        Without one of its libraries, the line says what to install.
        """
        for library in ("psycopg2", "txpostgres"):
            self.patch(
                gearsvc_postgres, "find_spec", lambda name: None if name == library else importlib.util.find_spec(name)
            )
            with self.assertRaisesRegex(SettingsError, r"pip install 'gearsvc\[postgres\]'"):
                self.make()

    def test_unreadable(self) -> None:
        """
        A connection string that can't be read, and a table without a name, are
        refused with a line that holds no password.
        """
        with self.assertRaises(SettingsError) as caught:
            self.make(conninfo="host=db password=very secret")
        self.assertIn("--libpq-conninfo can't be read: it is not of libpq's form", str(caught.exception))
        self.assertNotIn("secret", str(caught.exception))
        with self.assertRaisesRegex(SettingsError, "there is no option 'hots'"):
            self.make(conninfo="hots=db")
        with self.assertRaisesRegex(SettingsError, "libpq-table: must not be empty"):
            self.make(table=" ")
        with self.assertRaisesRegex(SettingsError, "libpq-table: must be UTF-8"):
            self.make(table="\udcff")

    def test_costs_nothing_unused(self) -> None:
        """
        Who has another store does not import any of it.
        """
        with tempfile.TemporaryDirectory() as directory:
            code = (
                "import sys; from gearsvc.plugins import queue_store_makers; queue_store_makers();"
                " unwanted = ('psycopg2', 'txpostgres', 'gearsvc.stores.postgres');"
                " print([name for name in sys.modules if name.startswith(unwanted)])"
            )
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=directory,
                env={"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))
