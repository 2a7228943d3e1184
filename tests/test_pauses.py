"""
A function that is paused stays so, whatever happens to the server: with every durable store.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from tests.consoleweb.remote import RemoteConsole
from tests.durable import OnFile, OnMemcached, OnMySQL, OnPostgreSQL, OnRedis, OnSQLite, OnTokyoCabinet
from tests.running import ROOT, start_server, wait_until
from tests.stores.takeover import Peer, let_removals_go

if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    # Not a test case itself.
    Base = object


class Paused(Base):
    """
    C{kill -9} while a function is paused.
    """

    def store_options(self, directory: Path) -> list[str]:
        """
        See L{tests.durable}.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """
        A durable server, with a console.
        """
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.console = RemoteConsole()
        self.store = self.store_options(self.directory)
        self.server = start_server(*self.store, *self.console.options, directory=self.directory, kind="gearsvc")
        self.addCleanup(lambda: self.server.running and self.server.kill())

    def peer(self) -> Peer:
        """
        A new connection.
        """
        peer = Peer(self.server)
        self.addCleanup(peer.close)
        return peer

    def queue(self, *words: str) -> str:
        """
        Run C{gearsvc queue}.

        @return: what it printed.
        """
        command = [str(Path(sys.executable).with_name("gearsvc")), "queue", *words]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def restart(self) -> None:
        """
        Kill the server, and start it again.
        """
        self.server.kill()
        self.server.start()

    def test_pause_survives(self) -> None:
        """
        After C{kill -9} the function is paused since the same time, its jobs are all there, new ones are taken, and none is
        handed out or wakes a worker, though other functions' are; once it is resumed they are handed out in their order,
        and it is not paused after the next C{kill -9}.
        """
        client = self.peer()
        handles = [client.submit(Type.SUBMIT_JOB_BG, b"work", b"", b"%d" % number) for number in range(3)]
        paused = self.console.post("/functions/work/pause")
        handles.append(client.submit(Type.SUBMIT_JOB_HIGH_BG, b"work", b"u", b"first"))
        self.restart()

        self.assertEqual(self.server.admin("show paused"), b"work\t%d\n.\n" % paused["paused_since"])
        self.assertAlmostEqual(self.console.get("/functions/work")["paused_since"], paused["paused_since"], 2)
        client, worker = self.peer(), self.peer()
        handles.append(client.submit(Type.SUBMIT_JOB_BG, b"work", b"", b"new"))
        client.submit(Type.SUBMIT_JOB_BG, b"other", b"", b"x")
        self.assertEqual(self.server.status("work"), (5, 0, 0))
        self.assertEqual([workload for _, _, workload in worker.drain(b"work", b"other")], [b"x"])
        worker.send(Type.PRE_SLEEP)
        client.submit(Type.SUBMIT_JOB_BG, b"work", b"", b"newest")
        worker.send(Type.ECHO_REQ, b"and?")
        self.assertEqual(worker.receive(), (Type.ECHO_RES, b"and?"))
        self.assertEqual(self.server.status("work"), (6, 0, 1))
        metrics = self.console.metrics()
        self.assertEqual((metrics["gearman_paused", "work"], metrics["gearman_jobs_unaccounted", "work"]), (1, 0))

        self.assertIsNone(self.console.post("/functions/work/resume")["paused_since"])
        self.assertEqual(worker.receive(), (Type.NOOP, b""))
        worker.send(Type.GRAB_JOB)
        kind, body = worker.receive()
        self.assertEqual((kind, body), (Type.JOB_ASSIGN, handles[3] + b"\0work\0first"))
        worker.send(Type.WORK_COMPLETE, handles[3], b"")
        self.assertEqual([workload for _, _, workload in worker.drain()], [b"0", b"1", b"2", b"new", b"newest"])
        let_removals_go()
        # Once this is acknowledged, the pause is gone from the store.
        client.submit(Type.SUBMIT_JOB_BG, b"work", b"", b"last")
        self.restart()
        self.assertEqual(self.server.admin("show paused"), b".\n")
        self.assertEqual([workload for _, _, workload in self.peer().drain(b"work")], [b"last"])


class SQLitePauseTests(OnSQLite, Paused, SynchronousTestCase):
    """
    With SQLite, and what is done to its file.
    """

    def test_copied(self) -> None:
        """
        C{gearsvc queue show} tells a pause from the jobs, and a copy of the queue is paused as the queue is: once, though
        it is copied twice.
        """
        client = self.peer()
        client.submit(Type.SUBMIT_JOB_BG, b"work", b"", b"x")
        self.console.post("/functions/work/pause")
        self.assertEqual(self.server.stop(), 0)
        old, new = (f"libsqlite3 --libsqlite3-db {self.directory / name}" for name in ("queue.db", "new.db"))
        shown = json.loads(self.queue("show", "--json", old))
        self.assertEqual((shown["jobs"], shown.get("paused")), (1, ["work"]))
        self.assertEqual([each["function"] for each in shown["functions"]], ["work"])
        for _ in range(2):
            self.queue("copy", old, new)
        self.assertEqual(json.loads(self.queue("show", "--json", new))["paused"], ["work"])
        (self.directory / "new.db").rename(self.directory / "queue.db")
        self.server.start()
        self.assertRegex(self.server.admin("show paused"), rb"\Awork\t\d+\n\.\n\Z")
        self.assertEqual(self.server.status("work"), (1, 0, 0))


class FilePauseTests(OnFile, Paused, SynchronousTestCase):
    """
    With a file of our own.
    """


class TokyoCabinetPauseTests(OnTokyoCabinet, Paused, SynchronousTestCase):
    """
    With Tokyo Cabinet.
    """


class PostgreSQLPauseTests(OnPostgreSQL, Paused, SynchronousTestCase):
    """
    With PostgreSQL.
    """


class MySQLPauseTests(OnMySQL, Paused, SynchronousTestCase):
    """
    With MariaDB.
    """


class RedisPauseTests(OnRedis, Paused, SynchronousTestCase):
    """
    With Redis.
    """


class MemcachedPauseTests(OnMemcached, Paused, SynchronousTestCase):
    """
    With a memcached that goes on.
    """
