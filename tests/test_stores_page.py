"""
What docs/stores.md says is so: its commands are run, with a database of each kind.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

from tests.checkout import copy_checkout
from tests.console import Console, read_steps
from tests.running import HOST, ROOT
from tests.servers import DatabaseServer, MariaDB, Memcached, PostgreSQL, Redis


class StoresPageTests(unittest.TestCase):
    """
    The commands of the page.
    """

    def start(self, database: DatabaseServer) -> int:
        """
        Start a database that only this test uses, for the page makes accounts there.

        @return: its port.
        """
        self.addCleanup(database.end)
        database.start()
        return database.port

    def test_page(self) -> None:
        """
        Each store starts as it is shown, with an account that has no more rights than is said; its log line is the one that is
        quoted, and what the page looks at in the database is there.
        """
        ports = {5432: PostgreSQL(), 3306: MariaDB(), 6379: Redis(), 11211: Memcached()}
        services = {usual: self.start(database) for usual, database in ports.items()}
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-page-"))
        self.addCleanup(shutil.rmtree, directory)
        console = Console(copy_checkout(directory / "gearsvc"), services)
        self.addCleanup(console.close)
        # The administrator's.
        for program, options in (
            ("psql", f"-h {HOST} -p {services[5432]} -U gearman --no-psqlrc"),
            ("mysql", f"-h {HOST} -P {services[3306]} -u gearman -psecret"),
            ("redis-cli", f"-p {services[6379]}"),
        ):
            console.add_program(program, f'PATH=${{PATH#*:}}\nexec {program} {options} "$@"')
        console.environment["PGDATABASE"] = "postgres"
        console.environment["GEARMAND_PORT"] = str(console.ports[4730])
        steps = list(read_steps((ROOT / "docs" / "stores.md").read_text()))
        self.assertGreater(len(steps), 20)
        for step in steps:
            console.run(step)
