"""
Tests for L{gearsvc.queuecommand.opening}: how a store is named.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.options import SettingsError
from gearsvc.queuecommand.opening import make_store


class NameTests(SynchronousTestCase):
    """
    One word names a store.
    """

    def setUp(self) -> None:
        """
        Make a directory with two configuration files and a database, which is also in a home directory.
        """
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.database = self.directory / "my queue.db"
        self.database.touch()
        self.configuration = self.directory / "server.conf"
        self.configuration.write_text(
            f"[gearman]\nport = 4731\nthreads = 8\nqueue-type = libsqlite3\nlibsqlite3-db = {self.database}\n"
        )
        (self.directory / "memory.conf").write_text("[gearman]\nport = 4730\n")
        (self.directory / "bad.conf").write_text("[gearman]\nqueue-tipe = builtin\n")
        self.patch(os, "environ", {**os.environ, "HOME": str(self.directory), "GEARMAND_PORT": "tcp://10.0.0.1:4730"})

    def test_names(self) -> None:
        """
        A store is a configuration file, or words as they stand on a server's command line, with or without the -q.
        """
        for words in (
            f"{self.configuration}",
            f"sqlite3 --libsqlite3-db '{self.database}'",
            f"SQLite '--libsqlite3-db={self.database}'",
            f"-q libsqlite3 --libsqlite3-db '{self.database}' -p 4731 -d -P gearman.pid",
            f"--config {self.configuration}",
            "libsqlite3 --libsqlite3-db '~/my queue.db'",
            "libsqlite3 --libsqlite3-db ~/'my queue.db'",
        ):
            self.assertIn(f"SQLite database {self.database}, table gearman_queue", make_store(words, True).description)

    def test_file_with_blanks(self) -> None:
        """
        A configuration file may have blanks in its name.
        """
        path = self.directory / "my server.conf"
        self.configuration.rename(path)
        self.assertIn(str(self.database), make_store(str(path)).description)

    def test_refused(self) -> None:
        """
        What names no store is refused in one line, in the words of the server.
        """
        for words, why in (
            ("nosuch.conf", "there is no file and no store 'nosuch.conf'; .* one of .*libsqlite3"),
            ("nosuch --nosuch-db x", "there is no file and no store 'nosuch';"),
            ("", "there is no file and no store ''"),
            (str(self.directory), "is a directory"),
            (str(self.directory / "bad.conf"), "bad.conf, section .gearman., line 2.* is it queue-type?"),
            (str(self.directory / "memory.conf"), "in memory alone \\(--queue-type builtin\\)"),
            ("builtin", "in memory alone"),
            ("libsqlite3", "needs --libsqlite3-db"),
            ("libsqlite3 --libsqlite-db x", "--libsqlite-db not recognized; 'gearsvc serve --help-stores'"),
            ("libsqlite3 --libsqlite3-db", "--libsqlite3-db requires argument"),
            ("libsqlite3 --libsqlite3-db=' '", "--libsqlite3-db: must not be empty"),
            ("-q nosuch", "there is no store 'nosuch'"),
            ("libsqlite3 --libsqlite3-db 'x", "a quote is not closed"),
            ("libsqlite3 --libsqlite3-db a secret", "a value with blanks in it needs quotes of its own"),
        ):
            with self.assertRaisesRegex(SettingsError, why) as caught:
                make_store(words)
            self.assertNotIn("\n", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))

    def test_must_be_there(self) -> None:
        """
        A file that jobs are read from must be there; one that they are written to need not.
        """
        path = self.directory / "nosuch.db"
        words = f"libsqlite3 --libsqlite3-db {path}"
        make_store(words)
        with self.assertRaisesRegex(SettingsError, f"--libsqlite3-db: there is no {path}"):
            make_store(words, holds_jobs=True)
        self.assertFalse(path.exists())
