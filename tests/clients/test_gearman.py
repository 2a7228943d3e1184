"""
gearman(1), the command line client and worker, with every flag that it has.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.clients.case import ClientTestCase
from tests.running import wait_until


class WorkloadTests(ClientTestCase):
    """
    Where the workloads of C{gearman -f} come from.
    """

    def test_standard_input(self) -> None:
        """
        Without an argument the workload is the standard input, to its end.
        """
        self.worker("wc", "wc", "-l")
        done = self.gearman("-f", "wc", input=b"one\ntwo\nthree\n")
        self.assertEqual((done.returncode, done.stdout.strip(), done.stderr), (0, b"3", b""))

    def test_arguments(self) -> None:
        """
        Every argument is a job of its own, and the results come in the order of the arguments.
        """
        self.worker("echo", "cat")
        done = self.gearman("-f", "echo", "one,", "two,", "three")
        self.assertEqual((done.returncode, done.stdout), (0, b"one,two,three"))

    def test_nothing(self) -> None:
        """
        C{-s} submits one job with an empty workload and leaves the standard input alone.
        """
        self.worker("size", "wc", "-c")
        done = self.gearman("-s", "-f", "size", input=b"not for the job")
        self.assertEqual((done.returncode, done.stdout.strip()), (0, b"0"))

    def test_lines(self) -> None:
        """
        C{-n} submits every line, with its newline, as a job of its own.
        """
        self.worker("size", "wc", "-c")
        done = self.gearman("-n", "-f", "size", input=b"a\nbb\nccc\n")
        self.assertEqual((done.returncode, done.stdout.split()), (0, [b"2", b"3", b"4"]))

    def test_stripped_lines(self) -> None:
        """
        C{-N} submits every line without its newline.
        """
        self.worker("size", "wc", "-c")
        done = self.gearman("-N", "-f", "size", input=b"a\nbb\nccc\n")
        self.assertEqual((done.returncode, done.stdout.split()), (0, [b"1", b"2", b"3"]))

    def test_file(self) -> None:
        """
        A workload of a megabyte from a file arrives whole, and so does a large result.
        """
        path = self.directory / "workload"
        path.write_bytes(os.urandom(1_000_000))
        self.worker("sum", "sha256sum")
        self.worker("zeros", "head", "-c", "300000", "/dev/zero")
        expected = self.run_program("sha256sum", input=path.read_bytes())
        done = self.gearman("-f", "sum", input=path.read_bytes())
        self.assertEqual((done.returncode, done.stdout), (0, expected.stdout))
        done = self.gearman("-f", "zeros", "-s")
        self.assertEqual((done.returncode, done.stdout), (0, bytes(300_000)))

    def test_any_bytes(self) -> None:
        """
        Every byte from 0 to 255 passes unchanged, there and back.
        """
        self.worker("echo", "cat")
        done = self.gearman("-f", "echo", input=bytes(range(256)))
        self.assertEqual((done.returncode, done.stdout), (0, bytes(range(256))))


class OutputTests(ClientTestCase):
    """
    What C{gearman -f} prints, and its exit code.
    """

    def test_several_functions(self) -> None:
        """
        With C{-f} given twice both functions get the workload, and C{-P} says whose output a line is.
        """
        self.worker("up", "tr", "a-z", "A-Z")
        self.worker("size", "wc", "-c")
        done = self.gearman("-P", "-f", "up", "-f", "size", "word\n")
        self.assertEqual((done.returncode, sorted(done.stdout.splitlines())), (0, [b"size: 5", b"up: WORD"]))

    def test_failing_command(self) -> None:
        """
        A worker's command that fails makes the job fail: what it printed arrives, then C{Job failed} and exit code 1.
        """
        self.worker("fail", "sh", "-c", "echo so far; exit 3")
        done = self.gearman("-f", "fail", "-s")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, b"so far\n", b"Job failed\n"))
        done = self.gearman("-P", "-f", "fail", "-s")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, b"fail: so far\n", b"fail: Job failed\n"))

    def test_verbose(self) -> None:
        """
        C{-v} prints the job's handle, by which it can be asked about.
        """
        done = self.gearman("-v", "-b", "-f", "nobody", "x")
        self.assertRegex(done.stdout, rb"\ATask created: H:[^:]+:\d+\n\Z")
        handle = done.stdout.split()[2]
        self.assertTrue(self.server.admin("show jobs").startswith(handle + b"\t"))

    def test_partial_results(self) -> None:
        """
        A worker with C{-n} sends each line of its command at once as WORK_DATA; the client prints what comes, in order.
        """
        os.mkfifo(self.directory / "hold")
        self.start_gearman("-w", "-n", "-f", "lines", "--", "sh", "-c", "cat; read nothing < hold")
        self.wait_for_workers("lines")
        client = self.start_gearman("-f", "lines", "line\n")
        self.assertEqual(client.stdout.readline(), b"line\n")
        self.assertEqual(self.server.status("lines")[1], 1, "the job runs on")
        (self.directory / "hold").write_bytes(b"go on\n")
        self.assertEqual(client.finish()[:2], (0, b""))

    def test_stripped_partial_results(self) -> None:
        """
        A worker with C{-N} sends the lines of its command without their newlines.
        """
        self.start_gearman("-w", "-N", "-f", "lines", "--", "cat")
        done = self.gearman("-f", "lines", "line\n")
        self.assertEqual((done.returncode, done.stdout), (0, b"line"))

    def test_usage(self) -> None:
        """
        C{-H} prints the flags that these tests are about, and no other; an unknown flag is an error.
        """
        usage = self.gearman("-H")
        lines = (usage.stdout + usage.stderr).splitlines()
        flags = {line.split()[0].decode() for line in lines if line.startswith(b"\t-")}
        self.assertEqual(flags, {f"-{letter}" for letter in "fhHvptiSbILnNPsucw"})
        self.assertEqual(usage.returncode, 0)
        self.assertEqual(self.gearman("-Z").returncode, 1)


class BackgroundTests(ClientTestCase):
    """
    C{gearman -b}.
    """

    def test_later(self) -> None:
        """
        A background job waits for a worker that comes after its client has gone.
        """
        done = self.gearman("-b", "-f", "later", "workload")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        self.assertEqual(self.server.status("later"), (1, 0, 0))
        worker = self.start_gearman("-w", "-c", "1", "-f", "later")
        self.assertEqual(worker.finish()[:2], (0, b"workload"))
        self.wait_for_jobs("later", 0)

    def test_priorities(self) -> None:
        """
        C{-I} is high and C{-L} low priority; the worker gets them in that order, whatever came first.
        """
        for flags, name in (("-bL", "low,"), ("-b", "normal,"), ("-bI", "high,")):
            self.gearman(flags, "-f", "f", f"{name}1,", f"{name}2,")
        worker = self.start_gearman("-w", "-c", "6", "-f", "f")
        self.assertEqual(worker.finish()[1], b"high,1,high,2,normal,1,normal,2,low,1,low,2,")

    def test_foreground_priorities(self) -> None:
        """
        C{-I} and C{-L} order foreground jobs as well.
        """
        for total, (flags, name) in enumerate((("-L", "low,"), ("-v", "normal,"), ("-I", "high,")), 1):
            self.start_gearman(flags, "-f", "f", name)
            self.wait_for_jobs("f", total)
        worker = self.start_gearman("-w", "-c", "3", "-f", "f")
        self.assertEqual(worker.finish()[1], b"high,normal,low,")


class UniqueTests(ClientTestCase):
    """
    C{gearman -u}.
    """

    def test_clients_share_a_job(self) -> None:
        """
        Two clients who name the same unique id get the result of one run.
        """
        clients = []
        for count in (1, 2):
            clients.append(self.start_gearman("-u", "same", "-f", "once", "x"))
            wait_until(lambda: self.server.waiting_clients("same") == count, f"{count} clients wait")
        self.assertEqual(self.server.status("once"), (1, 0, 0))
        self.worker("once", "sh", "-c", "echo run >> runs; echo result")
        self.assertEqual([client.finish()[:2] for client in clients], [(0, b"result\n")] * 2)
        self.assertEqual((self.directory / "runs").read_text(), "run\n")

    def test_background_jobs_coalesce(self) -> None:
        """
        A background job whose unique id is queued already is not queued again.
        """
        for unique in ("a", "b", "a"):
            self.gearman("-b", "-u", unique, "-f", "f", "x")
        self.assertEqual(self.server.status("f"), (2, 0, 0))

    def test_unique_by_workload(self) -> None:
        """
        The unique id C{-} stands for the workload: equal workloads are one job.
        """
        for workload in ("same", "other", "same"):
            self.gearman("-b", "-u", "-", "-f", "f", workload)
        self.assertEqual(self.server.status("f"), (2, 0, 0))

    def test_unique_by_hash(self) -> None:
        """
        The unique id C{#} is libgearman's hash of the workload: equal workloads are one job.
        """
        for workload in ("same", "other", "same"):
            self.gearman("-b", "-u", "#", "-f", "f", workload)
        self.assertEqual(self.server.status("f"), (2, 0, 0))


class TimeoutTests(ClientTestCase):
    """
    C{gearman -t}.
    """

    def test_client(self) -> None:
        """
        A client with C{-t} gives up when nobody does its job, and the job, which nobody waits for any more, is gone.
        """
        done = self.gearman("-t", "100", "-f", "nobody", "x")
        self.assertIn(b"GEARMAN_TIMEOUT", done.stderr)
        if self.is_gearmand:
            # It counts the job until a worker would grab it, and holds its memory as long.
            self.assertEqual(self.server.status("nobody"), (1, 0, 0))
        else:
            self.wait_for_jobs("nobody", 0)

    def test_worker(self) -> None:
        """
        A worker with C{-t} stops waiting for a job; the server then no longer counts it.
        """
        worker = self.start_gearman("-w", "-t", "100", "-c", "1", "-f", "idle")
        self.assertIn(b"GEARMAN_TIMEOUT", worker.finish()[2])
        self.wait_for_workers("idle", 0)


class WorkerTests(ClientTestCase):
    """
    C{gearman -w}.
    """

    def test_count(self) -> None:
        """
        A worker with C{-c} ends after that many jobs and leaves the rest to others.
        """
        self.gearman("-b", "-n", "-f", "f", input=b"one\ntwo\nthree\n")
        worker = self.start_gearman("-w", "-c", "2", "-f", "f")
        self.assertEqual(worker.finish()[:2], (0, b"one\ntwo\n"))
        self.wait_for_jobs("f", 1)
        self.wait_for_workers("f", 0)

    def test_several_functions(self) -> None:
        """
        A worker with several C{-f} does the jobs of all of them.
        """
        self.gearman("-b", "-f", "f", "-f", "g", "-f", "other", "x")
        worker = self.start_gearman("-w", "-c", "2", "-f", "f", "-f", "g")
        self.assertEqual(worker.finish()[1], b"xx")
        wait_until(lambda: self.server.status("f")[0] == self.server.status("g")[0] == 0, "both jobs are done")
        self.assertEqual(self.server.status("other"), (1, 0, 0))

    def test_pid_file(self) -> None:
        """
        C{-i} keeps the process id in a file for as long as the worker runs.
        """
        path = self.directory / "worker.pid"
        worker = self.start_gearman("-w", "-c", "1", "-i", str(path), "-f", "f")
        self.wait_for_workers("f")
        self.assertEqual(path.read_text().strip(), str(worker.pid))
        self.gearman("-b", "-f", "f", "x")
        self.assertEqual(worker.finish()[:2], (0, b"x"))
        self.assertFalse(path.exists())

    def test_daemon(self) -> None:
        """
        C{-d} returns at once, and the worker goes on in the background.
        """
        path = self.directory / "worker.pid"
        started = self.gearman("-d", "-w", "-c", "1", "-i", str(path), "-f", "up", "--", "tr", "a-z", "A-Z")
        self.addCleanup(self.end_daemon, path)
        self.assertEqual((started.returncode, started.stdout, started.stderr), (0, b"", b""))
        self.wait_for_workers("up")
        self.assertEqual(self.gearman("-f", "up", "word").stdout, b"WORD")
        wait_until(lambda: not path.exists(), "the daemon ends after its job")

    def end_daemon(self, pid_file: Path) -> None:
        """
        End the process that a pid file names, if there is one.
        """
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGKILL)

    def test_lost_worker(self) -> None:
        """
        The job of a worker that is killed goes to the next worker, and its client notices nothing.
        """
        os.mkfifo(self.directory / "never")
        lost = self.worker("f", "sh", "-c", "read nothing < never")
        client = self.start_gearman("-f", "f", "x")
        self.wait_for_jobs("f", 1, 1)
        lost.end()
        self.wait_for_jobs("f", 1, 0)
        self.worker("f", "echo", "done")
        self.assertEqual(client.finish()[:2], (0, b"done\n"))

    def test_server_restart(self) -> None:
        """
        A worker finds a server that was killed and started again, and serves its clients as before.
        """
        self.worker("up", "tr", "a-z", "A-Z")
        self.assertEqual(self.gearman("-f", "up", "before").stdout, b"BEFORE")
        self.server.kill()
        self.server.start()
        self.assertEqual(self.gearman("-f", "up", "after").stdout, b"AFTER")


class ServerTests(ClientTestCase):
    """
    How gearman(1) is told where the server is.
    """

    def test_host_name(self) -> None:
        """
        C{-h} takes a name.
        """
        self.worker("echo", "cat")
        done = self.run_program("gearman", "-h", "localhost", "-p", str(self.server.port), "-f", "echo", "word")
        self.assertEqual((done.returncode, done.stdout), (0, b"word"))

    def test_environment(self) -> None:
        """
        GEARMAN_SERVER names the server where no flag does.
        """
        self.worker("echo", "cat")
        done = self.run_program("gearman", "-f", "echo", "word", GEARMAN_SERVER=f"127.0.0.1:{self.server.port}")
        self.assertEqual((done.returncode, done.stdout), (0, b"word"))

    def test_tls_flag(self) -> None:
        """
        Debian's libgearman is built without TLS, so that C{-S} changes nothing.
        """
        self.worker("echo", "cat")
        done = self.gearman("-S", "-f", "echo", "word")
        self.assertEqual((done.returncode, done.stdout), (0, b"word"))


class DurableTests(ClientTestCase):
    """
    The example that the project begins with: a durable queue and Debian's tools.
    """

    options = ("-q", "libsqlite3", "--libsqlite3-db", "queue.db")

    def test_killed_server(self) -> None:
        """
        Background jobs outlive C{kill -9} of the server and are done after it is started again.
        """
        for number in range(5):
            self.assertEqual(self.gearman("-b", "-u", f"job-{number}", "-f", "f", f"{number},").returncode, 0)
        self.server.kill()
        self.server.start()
        self.assertEqual(self.server.status("f"), (5, 0, 0))
        worker = self.start_gearman("-w", "-c", "5", "-f", "f")
        self.assertEqual(sorted(worker.finish()[1].split(b",")), [b"", b"0", b"1", b"2", b"3", b"4"])
        self.wait_for_jobs("f", 0)
