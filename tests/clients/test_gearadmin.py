"""
gearadmin(1), with every flag that it has.
"""

from __future__ import annotations

import subprocess

from tests.clients.case import ClientTestCase
from tests.running import HOST


class GearadminTestCase(ClientTestCase):
    """
    A test that runs gearadmin.
    """

    def gearadmin(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run gearadmin against the server.
        """
        return self.run_program("gearadmin", "-h", HOST, "-p", str(self.server.port), *arguments)

    def lines(self, *arguments: str) -> list[bytes]:
        """
        Run gearadmin, which is to succeed.

        @return: the lines that it prints, sorted but for the last: gearmand lists in no order.
        """
        done = self.gearadmin(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        *rest, last = done.stdout.splitlines()
        return [*sorted(rest), last]

    def submit(self, flags: str, unique: str) -> bytes:
        """
        Submit a background job of the function C{f}.

        @return: its handle.
        """
        return self.gearman("-v", flags, "-u", unique, "-f", "f", "x").stdout.split()[2]

    def start_stuck_worker(self) -> None:
        """
        Start a worker that takes one job of C{f} and never ends it.
        """
        self.start_gearman("-w", "-f", "f", "--", "sleep", "1000")
        total = self.server.status("f")[0]
        self.wait_for_jobs("f", total, 1)


class ListTests(GearadminTestCase):
    """
    The commands that list what the server holds.
    """

    def test_nothing(self) -> None:
        """
        An idle server lists nothing but the end of each list; of the workers' list, gearadmin itself remains.
        """
        for flag in ("--status", "--priority-status", "--show-jobs", "--show-unique-jobs"):
            self.assertEqual(self.lines(flag), [b"."], flag)
        *connections, end = self.lines("--workers")
        self.assertEqual((len(connections), end), (1, b"."))
        self.assertRegex(connections[0], rb"\A\d+ 127\.0\.0\.1 - :\Z")

    def test_status(self) -> None:
        """
        C{--status} prints of every function the jobs in all, the jobs that run, and the workers.
        """
        for unique in "abc":
            self.submit("-b", unique)
        self.start_stuck_worker()
        self.worker("idle", "true")
        self.assertEqual(self.lines("--status"), [b"f\t3\t1\t1", b"idle\t0\t0\t1", b"."])

    def test_priority_status(self) -> None:
        """
        C{--priority-status} prints of every function the queued jobs by priority, and the workers.
        """
        for flags, unique in (("-bI", "a"), ("-bI", "b"), ("-b", "c"), ("-bL", "d"), ("-bL", "e"), ("-bL", "f")):
            self.submit(flags, unique)
        self.assertEqual(self.lines("--priority-status"), [b"f\t2\t1\t3\t0", b"."])
        self.start_stuck_worker()
        self.assertEqual(self.lines("--priority-status"), [b"f\t1\t1\t3\t1", b"."])

    def test_workers(self) -> None:
        """
        C{--workers} prints every connection with its address and its functions.
        """
        self.start_gearman("-w", "-f", "first", "-f", "second")
        self.wait_for_workers("second")
        *connections, end = self.lines("--workers")
        workers = [line for line in connections if not line.endswith(b":")]
        self.assertEqual((len(workers), end), (1, b"."))
        address, _, functions = workers[0].partition(b" : ")
        self.assertRegex(address, rb"\A\d+ 127\.0\.0\.1 -\Z")
        self.assertEqual(sorted(functions.split()), [b"first", b"second"])

    def test_show_jobs(self) -> None:
        """
        C{--show-jobs} prints every job by its handle: retries, whether it is ignored, whether it is queued.
        """
        handles = [self.submit("-b", unique) for unique in "abc"]
        self.assertEqual(self.lines("--show-jobs"), [*sorted(handle + b"\t0\t0\t1" for handle in handles), b"."])

    def test_show_unique_jobs(self) -> None:
        """
        C{--show-unique-jobs} prints the unique id of every job.
        """
        for unique in ("first", "second"):
            self.submit("-b", unique)
        self.assertEqual(self.lines("--show-unique-jobs"), [b"first", b"second", b"."])

    def test_retries(self) -> None:
        """
        C{--show-jobs} counts how often a worker was lost over a job.
        """
        handle = self.submit("-b", "a")
        worker = self.start_gearman("-w", "-f", "f", "--", "sleep", "1000")
        self.wait_for_jobs("f", 1, 1)
        worker.end()
        self.wait_for_jobs("f", 1, 0)
        self.assertEqual(self.lines("--show-jobs"), [handle + b"\t1\t0\t1", b"."])


class ChangeTests(GearadminTestCase):
    """
    The commands that change something.
    """

    def test_cancel_queued_job(self) -> None:
        """
        C{--cancel-job} takes a queued job away; the worker gets the one behind it.
        """
        handles = [self.gearman("-v", "-b", "-f", "f", word).stdout.split()[2].decode() for word in ("cancelled", "kept")]
        self.assertEqual(self.lines("--cancel-job", handles[0]), [b"OK"])
        if self.is_gearmand:
            # It keeps the job, marked as ignored, until a worker would grab it.
            self.assertEqual(self.server.status("f"), (2, 0, 0))
        else:
            self.assertEqual(self.server.status("f"), (1, 0, 0))
        worker = self.start_gearman("-w", "-c", "1", "-f", "f")
        self.assertEqual(worker.finish()[:2], (0, b"kept"))
        self.wait_for_jobs("f", 0)

    def test_cancel_for_client(self) -> None:
        """
        The client that waits for a cancelled job hears that it failed.
        """
        client = self.start_gearman("-u", "a", "-f", "f", "x")
        self.wait_for_jobs("f", 1)
        handle = self.lines("--show-jobs")[0].split()[0]
        self.assertEqual(self.lines("--cancel-job", handle.decode()), [b"OK"])
        self.assertEqual(client.finish(), (1, b"", b"Job failed\n"))

    def test_cancel_unknown_job(self) -> None:
        """
        C{--cancel-job} of a job that is not there is an error.
        """
        done = self.gearadmin("--cancel-job", "H:nowhere:1")
        self.assertIn(b"UNKNOWN_JOB", done.stderr)

    def test_create_function(self) -> None:
        """
        C{--create-function} makes a function known that nobody has named yet; doing it again changes nothing.
        """
        for _ in range(2):
            self.assertEqual(self.lines("--create-function", "new"), [b"OK"])
            self.assertEqual(self.lines("--status"), [b"new\t0\t0\t0", b"."])

    def test_drop_function(self) -> None:
        """
        C{--drop-function} forgets a function without workers, and refuses one with workers or one that is not there.
        """
        self.lines("--create-function", "new")
        self.assertEqual(self.lines("--drop-function", "new"), [b"OK"])
        self.assertEqual(self.lines("--status"), [b"."])
        self.worker("busy", "true")
        self.assertIn(b"there are still connected workers or executing clients", self.gearadmin("--drop-function", "busy").stderr)
        self.assertIn(b"function not found", self.gearadmin("--drop-function", "new").stderr)


class ServerTests(GearadminTestCase):
    """
    The commands about the server itself, and the flags that say which server it is.
    """

    def test_getpid(self) -> None:
        """
        C{--getpid} prints the server's process id.
        """
        self.assertEqual(self.lines("--getpid"), [str(self.server.pid).encode()])

    def test_version(self) -> None:
        """
        C{--server-version} prints the server's version.
        """
        version = self.server.admin("version").removeprefix(b"OK ").strip()
        self.assertRegex(version, rb"\A\d+\.\d+\S*\Z")
        self.assertEqual(self.lines("--server-version"), [version])

    def test_verbose(self) -> None:
        """
        C{--server-verbose} prints the server's log level, as gearmand names it.
        """
        self.assertEqual(self.lines("--server-verbose"), [b"ERROR"])

    def test_several_commands(self) -> None:
        """
        One gearadmin may ask several things.
        """
        self.submit("-b", "a")
        done = self.gearadmin("--getpid", "--status", "--show-unique-jobs")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(sorted(done.stdout.split()), sorted([b"%d" % self.server.pid, b"f", b"1", b"0", b"0", b".", b"a", b"."]))

    def test_long_names(self) -> None:
        """
        C{--host} and C{--port} are C{-h} and C{-p}, a host may be a name, and C{-S} and C{--ssl} do nothing in Debian's build.
        """
        for flags in ((), ("-S",), ("--ssl",)):
            done = self.run_program("gearadmin", "--host", "localhost", "--port", str(self.server.port), *flags, "--status")
            self.assertEqual((done.returncode, done.stdout), (0, b".\n"))

    def test_help(self) -> None:
        """
        C{--help} lists the flags that these tests are about, and no other.
        """
        text = self.run_program("gearadmin", "--help").stdout.decode()
        flags = {word for word in text.split() if word.startswith("--")}
        expected = (
            "help host port server-version server-verbose create-function cancel-job drop-function "
            "show-unique-jobs show-jobs getpid status priority-status workers ssl"
        )
        self.assertEqual(flags, {f"--{name}" for name in expected.split()})
