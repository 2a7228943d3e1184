"""
What clients and workers see of a server whose database is in trouble: the
tests that hold for every store in a database of its own.

Mix L{StoreFaults} into a test case that says which database, and how it is
named to the server.  Each test has a database server, a L{Proxy} before it, and
a job server that knows the proxy alone.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from gearsvc.core.packets import Type
from tests.proxy import Proxy
from tests.running import AT_ONCE, PATIENCE, ServerFailed, free_port, start_server, wait_until
from tests.servers import DatabaseServer
from tests.test_crash import Connection

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    # Not a test case itself: test runners would run it where it is imported.
    Base = object

BROKEN = "The queue store cannot commit"
BACK = "The queue store is back"

CLIENTS = 3
WINDOW = 20
"""
How many clients submit jobs, and how many submissions of each are unanswered.
"""

WORKLOAD = bytes(200)


class Submitters:
    """
    Clients that submit background jobs all the time.

    @ivar acknowledged: the handles they were given.
    @ivar refused: the texts of the errors they were given instead.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.acknowledged: set[bytes] = set()
        self.refused: list[bytes] = []
        self._going = True
        self._threads = [threading.Thread(target=self._submit, args=(connect(),)) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _submit(self, connection: Connection) -> None:
        waiting = number = 0
        while self._going or waiting:
            while self._going and waiting < WINDOW:
                number += 1
                waiting += 1
                unique = b"%d-%d" % (id(connection), number) if number % 2 else b""
                connection.write((Type.SUBMIT_JOB_BG, b"f\0" + unique + b"\0" + WORKLOAD))
            kind, body = connection.read()
            waiting -= 1
            if kind == Type.JOB_CREATED:
                self.acknowledged.add(body)
            else:
                self.refused.append(body)
                # Nobody tries again at once.
                time.sleep(0.01)

    def stop(self) -> None:
        """
        Wait for the answers that are due, and end.
        """
        self._going = False
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a submission was never answered"


class ServerCase(Base):
    """
    A job server whose store is in trouble, seen by its clients.

    @ivar directory: the job server's.
    @ivar server: the job server, once it was started.
    """

    directory: Path

    def start(self) -> None:
        """
        Start the job server.
        """
        raise NotImplementedError

    def start_with(self, *options: str) -> None:
        """
        Start the job server with these options.
        """
        self.server = start_server(*options, directory=self.directory, kind="gearsvc")
        self.addCleanup(lambda: self.server.running and self.server.kill())

    def connect(self) -> Connection:
        """
        A connection that ends with the test.
        """
        connection = Connection(self.server)
        self.addCleanup(connection.close)
        return connection

    def submit(self, connection: Connection, workload: bytes, unique: bytes = b"") -> tuple[int, bytes]:
        """
        Submit a background job, and wait for the answer.
        """
        connection.write((Type.SUBMIT_JOB_BG, b"f\0" + unique + b"\0" + workload))
        return connection.read()

    def stored(self) -> set[bytes]:
        """
        Kill the server, start it again, and ask it.

        @return: the handles of all jobs.
        """
        self.server.kill()
        self.server.start()
        return {line.split(b"\t")[0] for line in self.server.admin("show jobs").splitlines()} - {b"."}

    def assert_serves(self) -> None:
        """
        Hold that all works that needs no store.
        """
        client, worker = self.connect(), self.connect()
        client.write((Type.ECHO_REQ, b"there?"))
        self.assertEqual(client.read(), (Type.ECHO_RES, b"there?"))
        worker.write((Type.CAN_DO, b"g"), (Type.PRE_SLEEP, b""))
        client.write((Type.SUBMIT_JOB, b"g\0\0foreground"))
        kind, handle = client.read()
        self.assertEqual((kind, worker.read()), (Type.JOB_CREATED, (Type.NOOP, b"")))
        worker.write((Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.JOB_ASSIGN, handle + b"\0g\0foreground"))
        worker.write((Type.WORK_COMPLETE, handle + b"\0done"))
        self.assertEqual(client.read(), (Type.WORK_COMPLETE, handle + b"\0done"))
        worker.close()

    def assert_two_lines(self) -> None:
        """
        Hold that the log has one line of the trouble's begin and one of its
        end, and no traceback.
        """
        self.assertEqual((self.server.log.count(BROKEN), self.server.log.count(BACK)), (1, 1), self.server.log)
        self.assertNotIn("Traceback", self.server.log)

    def assert_survives(
        self, trouble: Callable[[], object], end: Callable[[], object], *reasons: bytes, keeps: bool = True
    ) -> None:
        """
        Hold that a trouble under load costs refused submissions, and nothing
        else.

        @param trouble: makes it.
        @param end: ends it.
        @param reasons: what each refusal is to hold: one of these at least.
        @param keeps: whether the store has what was acknowledged before the
            trouble when that is over.  (What is acknowledged then, it has to.)
        """
        self.start()
        submitters = Submitters(self.connect)
        try:
            wait_until(lambda: len(submitters.acknowledged) > 50, "jobs are acknowledged")
            trouble()
            wait_until(lambda: len(submitters.refused) > 5, f"jobs are refused\n{self.server.log}")
            self.assert_serves()
            before = set(submitters.acknowledged)
            end()
            wait_until(lambda: len(submitters.acknowledged) > len(before) + 50, f"jobs are acknowledged again\n{self.server.log}")
        finally:
            submitters.stop()
        self.assert_two_lines()
        for refusal in submitters.refused:
            self.assertTrue(refusal.startswith(b"QUEUE_ERROR\0"), refusal)
            self.assertNotIn(b"\n", refusal)
            if reasons:
                self.assertTrue(any(reason in refusal for reason in reasons), refusal)
        self.assertEqual(self.stored(), submitters.acknowledged - (set() if keeps else before))


class StoreFaults(ServerCase):
    """
    A server whose database stops working, and works again.

    @cvar keeps: whether the database still has what was committed when it has
        ended and was started again.
    @ivar database: the database server.
    @ivar wire: what stands before it.
    """

    keeps = True

    def make_database(self) -> DatabaseServer:
        """
        @return: a database server of the test's own, not yet started.
        """
        raise NotImplementedError

    def options(self, port: int) -> list[str]:
        """
        @return: what makes a job server use the database at a port.
        """
        raise NotImplementedError

    def create(self) -> None:
        """
        Make in the database what the job server expects to be there.
        """

    def setUp(self) -> None:
        """
        Start the database.
        """
        self.database = self.make_database()
        self.addCleanup(self.database.end)
        self.database.start()
        self.create()
        self.wire = Proxy(self.database.port)
        self.addCleanup(self.wire.close)
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def start(self) -> None:
        """
        Start the job server.
        """
        self.start_with(*self.options(self.wire.port))

    # The tests.

    def test_stopped_and_started(self) -> None:
        """
        The database is stopped and started under load.
        """
        self.assert_survives(self.database.stop, self.database.start, keeps=self.keeps)

    def test_killed(self) -> None:
        """
        The database is killed (SIGKILL) and started under load.
        """
        self.assert_survives(self.database.kill, self.database.start, keeps=self.keeps)

    def test_cut_in_the_midst_of_a_batch(self) -> None:
        """
        The connection breaks when half of a batch has been sent.
        """
        self.assert_survives(lambda: self.wire.cut_after(3000), self.wire.mend)

    def test_lost_answer(self) -> None:
        """
        The connection breaks after a batch was committed, and before the
        server hears of it.
        """
        self.assert_survives(self.wire.lose_answers, self.wire.mend)

    def test_reconnects_at_once(self) -> None:
        """
        After a connection that broke for a moment while nothing was under way, the next submission is taken.
        """
        self.start()
        client = self.connect()
        kind, first = self.submit(client, b"before")
        self.assertEqual(kind, Type.JOB_CREATED, first)
        self.wire.cut_once()
        time.sleep(0.1)
        kind, second = self.submit(client, b"after")
        self.assertEqual(kind, Type.JOB_CREATED, second)
        self.assertEqual(self.stored(), {first, second})

    def test_slow(self) -> None:
        """
        A database that takes two seconds for each answer delays acknowledgements, and nothing else.
        """
        self.start()
        client, other = self.connect(), self.connect()
        self.assertEqual(self.submit(client, b"quick")[0], Type.JOB_CREATED)
        self.wire.delay = 2.0
        client.write((Type.SUBMIT_JOB_BG, b"f\0\0slow"))
        self.assert_serves()
        other.write((Type.SUBMIT_JOB_BG, b"f\0\0slow, too"), (Type.ECHO_REQ, b"after it"))
        for connection in (client, other):
            self.assertEqual(connection.read()[0], Type.JOB_CREATED)
        self.assertEqual(other.read(), (Type.ECHO_RES, b"after it"))
        self.wire.mend()
        self.assertNotIn(BROKEN, self.server.log)
        self.assertEqual(len(self.stored()), 3)

    def test_worker_outlives_a_removal_that_fails(self) -> None:
        """
        A worker whose finished job can't be removed is not troubled with it;
        the job is removed once the database is back, though nobody submits
        anything.
        """
        self.start()
        client, worker = self.connect(), self.connect()
        _, handle = self.submit(client, b"once")
        worker.write((Type.CAN_DO, b"f"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.JOB_ASSIGN, handle + b"\0f\0once"))
        self.wire.cut()
        worker.write((Type.WORK_COMPLETE, handle + b"\0"), (Type.GRAB_JOB, b""))
        self.assertEqual(worker.read(), (Type.NO_JOB, b""))
        wait_until(lambda: BROKEN in self.server.log, "the removal fails")
        self.wire.mend()
        wait_until(lambda: BACK in self.server.log, "the removal succeeds")
        self.assert_two_lines()
        self.assertEqual(self.stored(), set())

    def test_not_there_at_the_start(self) -> None:
        """
        A server whose database is not up yet says so with each try, and serves once it is.
        """
        self.database.stop()
        over = threading.Event()

        def start_later() -> None:
            time.sleep(2.0)
            self.database.start()
            # The database ends with the thread that has started it.
            over.wait()

        starter = threading.Thread(target=start_later)
        starter.start()
        self.addCleanup(starter.join)
        self.addCleanup(over.set)
        self.start()
        self.assertGreaterEqual(self.server.log.count("Trying again"), 2, self.server.log)
        self.assertNotIn("Traceback", self.server.log)
        self.assertEqual(self.submit(self.connect(), b"at last")[0], Type.JOB_CREATED)

    def test_never_there(self) -> None:
        """
        A server whose database does not come up ends after C{--store-wait}, with status 1 and a line that says why.
        """
        self.database.stop()
        with self.assertRaises(ServerFailed) as caught:
            start_server(*self.options(self.wire.port), "--store-wait", "1.5", directory=self.directory, kind="gearsvc")
        output = str(caught.exception)
        self.assertIn("ended with 1", output)
        self.assertIn("Trying again", output)
        self.assertNotIn("Traceback", output)

    def test_second_server(self) -> None:
        """
        A second server on the same store refuses to start, and names the first; the first serves on.
        """
        self.start()
        self.assertEqual(self.submit(self.connect(), b"first")[0], Type.JOB_CREATED)
        (self.directory / "second").mkdir()
        with self.assertRaises(ServerFailed) as caught:
            start_server(*self.options(self.database.port), directory=self.directory / "second", kind="gearsvc", port=free_port())
        output = str(caught.exception)
        self.assertIn("ended with 1", output)
        self.assertIn("in use by another server", output)
        self.assert_names_the_first(output)
        self.assertNotIn("Traceback", output)
        self.assertEqual(self.submit(self.connect(), b"second")[0], Type.JOB_CREATED)
        self.assertEqual(len(self.stored()), 2)

    def assert_names_the_first(self, output: str) -> None:
        """
        Hold that what the second server said leads to the first.
        """
        self.assertIn(f"process {self.server.pid}", output)

    def test_restart(self) -> None:
        """
        A server that is started again right after it was killed, or ended, is not kept out by what the old one left behind.
        """
        self.start()
        self.assertEqual(self.submit(self.connect(), b"kept")[0], Type.JOB_CREATED)
        for end in (self.server.kill, self.server.stop):
            end()
            began = time.monotonic()
            self.server.start()
            self.assertLess(time.monotonic() - began, AT_ONCE)
            self.assertEqual(self.server.status("f")[0], 1)
        self.assertNotIn("Traceback", self.server.log)

    def test_silent(self) -> None:
        """
        A database that answers nothing for a while, with its connections open, delays acknowledgements, and
        nothing else.
        """
        self.start()
        client = self.connect()
        self.assertEqual(self.submit(client, b"before")[0], Type.JOB_CREATED)
        self.database.pause()
        try:
            client.write((Type.SUBMIT_JOB_BG, b"f\0\0meanwhile"))
            self.assert_serves()
        finally:
            self.database.resume()
        self.assertEqual(client.read()[0], Type.JOB_CREATED)
        self.assertNotIn(BROKEN, self.server.log)
        self.assertEqual(len(self.stored()), 2)


class DroppedTable(StoreFaults):
    """
    For stores with a table, which somebody may drop.
    """

    def drop_table(self) -> None:
        """
        Drop the table under the server.
        """
        raise NotImplementedError

    def test_table_dropped(self) -> None:
        """
        When somebody drops the table, submissions are refused with a reason
        that names it; once the server was started again, it makes a new one.
        """
        self.start()
        client = self.connect()
        self.assertEqual(self.submit(client, b"lost with the table")[0], Type.JOB_CREATED)
        self.drop_table()
        for _ in range(3):
            kind, error = self.submit(client, b"refused")
            self.assertEqual(kind, Type.ERROR)
            self.assertTrue(error.startswith(b"QUEUE_ERROR\0"))
            self.assertIn(b"table", error)
        self.assert_serves()
        self.assertEqual(self.server.log.count(BROKEN), 1, self.server.log)
        self.assertNotIn("Traceback", self.server.log)
        with contextlib.suppress(ServerFailed):
            self.server.stop()
        self.server.start()
        self.assertEqual(self.submit(self.connect(), b"in the new one")[0], Type.JOB_CREATED)
