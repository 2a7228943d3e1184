"""
Workers in processes of their own: who they are, how they end, what becomes of their jobs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.running import HOST, PATIENCE, RunningServer, free_port, wait_until
from tests.workerprocesses.case import StartedCase, exists

SOCKET = """
use Gearman::Worker;
my $worker = Gearman::Worker->new;
$worker->register_function('socket' => sub { my $job = shift; return eval $job->arg; });
$worker->work;
"""

CONNECT = """
use Gearman::Worker;
my $worker = Gearman::Worker->new(job_servers => [$ENV{GEARMAN_SERVERS}]);
$worker->register_function('connect' => sub { my $job = shift; return eval $job->arg; });
$worker->work;
"""

WORKERS = (
    "1 socket socket -- perl socket.pl",
    "1 connect connect -- perl connect.pl",
    "1 command -- perl -e '$/ = undef; print eval <STDIN>'",
)

HOLD = """open(F, ">>%s"); print F "$$\\n"; close F; select(undef, undef, undef, 0.02) until -e "release"; return "done by $$";"""
"""A job that writes its process id to a file, and then waits for another file."""


LOOK = """
use POSIX;
my @links = grep { !/=$/ } map { $_ . "=" . (readlink("/proc/self/fd/$_") || "") } 0 .. 99;
open(F, ">seen"); print F join(" ", $$, getpgrp, (split / /, `cat /proc/$$/stat`)[5], @links), "\n"; close F;
sleep 60;
"""
"""A program that writes down its process id, group and session, and what its file descriptors are."""


class ProcessCase(StartedCase):
    """
    Has workers that do whatever Perl can do.
    """

    def setUp(self) -> None:
        """
        Write them.
        """
        super().setUp()
        (self.directory / "socket.pl").write_text(SOCKET)
        (self.directory / "connect.pl").write_text(CONNECT)
        self.results: dict[str, str] = {}

    def begin(self, server: RunningServer, function: str, text: str) -> threading.Thread:
        """
        Submit a job, whose result is going to be in C{self.results}.
        """

        def wait() -> None:
            self.results[function] = self.gearman(server, "-f", function, text)

        thread = threading.Thread(target=wait)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        return thread


class LifeTests(ProcessCase):
    """
    Their life.
    """

    def test_who(self) -> None:
        """
        C{workers} names each by function, number and process, whatever it calls itself; what it does is seen to be its work.
        """
        server = self.start(*WORKERS)
        socket, connect, command = [self.wait_for_workers(server, function, 1)[0] for function in ("socket", "connect", "command")]
        self.assertEqual(
            self.workers(server),
            {
                f"started:socket/1[{socket}]": ["socket"],
                f"started:connect/1[{connect}]": ["connect"],
                "started:command/1": ["command"],
            },
        )
        self.assertEqual(self.gearman(server, "-f", "socket", "return $$"), str(socket))
        self.assertEqual(self.gearman(server, "-f", "connect", "return $$"), str(connect))

    def test_killed(self) -> None:
        """
        A job whose worker is killed in the midst of it is queued again, and done by the process that is started in its place.
        """
        server = self.start(*WORKERS[:2])
        for function in ("socket", "connect"):
            [pid] = self.wait_for_workers(server, function, 1)
            thread = self.begin(server, function, HOLD % function)
            self.assertEqual(self.wait_for_file(function), f"{pid}\n")
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: self.wait_for_file(function).count("\n") == 2, "the job is done again")
            (self.directory / "release").touch()
            thread.join(PATIENCE)
            other = self.wait_for_file(function).split()[1]
            self.assertEqual(self.results, {function: f"done by {other}"})
            self.assertFalse(exists(pid))
            self.wait_for_log(server, f"{function}/1[{pid}] was ended by SIGKILL")
            self.results.clear()
            (self.directory / "release").unlink()

    def test_whole_group(self) -> None:
        """
        What a process has started ends with it, and so its socket does, too: nobody else holds the job.
        """
        server = self.start(WORKERS[0])
        [pid] = self.wait_for_workers(server, "socket", 1)
        self.gearman(server, "-f", "socket", 'unless (fork) { open(F, ">child"); print F "$$\n"; close F; sleep 60; exit } return 1')
        child = int(self.wait_for_file("child"))
        self.assertTrue(exists(child))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.wait_for_workers(server, "socket", 1) != [pid], "another process")
        wait_until(lambda: not exists(child) or " Z " in Path(f"/proc/{child}/stat").read_text(), "the child is gone")

    def test_closed_socket(self) -> None:
        """
        A process that has lost its socket is of no use: it is ended, and another one started.
        """
        server = self.start(WORKERS[0])
        [pid] = self.wait_for_workers(server, "socket", 1)
        job = 'open(F, ">went"); print F "1\n"; close F; require POSIX; POSIX::close($_) for 0, 3 .. 9; sleep 60'
        client = subprocess.Popen(["gearman", "-h", HOST, "-p", str(server.port), "-f", "socket", job])
        self.wait_for_file("went")
        client.kill()
        client.wait()
        wait_until(lambda: not exists(pid), "the process is gone")
        self.assertNotEqual(self.wait_for_workers(server, "socket", 1), [pid])

    def test_keeps_ending(self) -> None:
        """
        What keeps ending is started later and later, and one line says so; what it writes is in the log with its name.
        """
        server = self.start("1 bad connect -- sh -c 'echo once more >&2; exit 3'")
        self.wait_for_log(server, "once more", 3)
        self.assertEqual(server.log.count("ended with status 3"), 1)
        first = re.findall(r"bad/1\[\d+\] ended with status 3 after \d\.\d s; it is started again, less and less often", server.log)
        self.assertEqual(len(first), 1)
        self.assertEqual(len(set(re.findall(r"(bad/1\[\d+\]): once more", server.log))), server.log.count("once more"))

    def test_program_gone(self) -> None:
        """
        A program that has gone since the server began is tried again, and found once it is there.
        """
        path = self.directory / "come-and-go"
        path.write_text("#!/bin/sh\nexec perl connect.pl\n")
        path.chmod(0o755)
        server = self.start("0 connect connect -- ./come-and-go", options=("-r", "console", "--console-port", str(free_port())))
        path.rename(self.directory / "gone")
        self.put_count(server, "connect", 1)
        self.wait_for_log(server, "cannot run './come-and-go': No such file or directory")
        (self.directory / "gone").rename(path)
        self.wait_for_workers(server, "connect", 1)

    def put_count(self, server: RunningServer, name: str, count: int) -> dict[str, object]:
        """
        Have more or fewer, by the console.

        @return: its answer.
        """
        at = server.command[server.command.index("--console-port") + 1]
        request = Request(
            f"http://{HOST}:{at}/api/v1/started-workers/{name}/count",
            json.dumps({"count": count}).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        with urlopen(request, timeout=PATIENCE) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    def test_count(self) -> None:
        """
        There may be more or fewer while the server runs: one that is too many finishes its job, and leaves no zombie.
        """
        port = str(free_port())
        server = self.start(WORKERS[0], WORKERS[2], options=("-r", "console", "--console-port", port))
        self.assertEqual(self.put_count(server, "socket", 3)["count"], 3)
        pids = self.wait_for_workers(server, "socket", 3)
        thread = self.begin(server, "socket", HOLD % "runs")
        busy = int(self.wait_for_file("runs"))
        self.put_count(server, "socket", 0)
        wait_until(lambda: [exists(pid) for pid in pids] == [pid == busy for pid in pids], "the others are gone")
        [shown] = [each for each in json.load(urlopen(f"http://{HOST}:{port}/api/v1/started-workers")) if each["name"] == "socket"]
        self.assertEqual((shown["kind"], shown["program"], shown["count"]), ("socket", "perl", 0))
        [left] = shown["workers"]
        self.assertEqual((left["pid"], left["leaving"], len(left["connections"])), (busy, True, 1))
        (self.directory / "release").touch()
        thread.join(PATIENCE)
        self.assertEqual(self.results, {"socket": f"done by {busy}"})
        wait_until(lambda: not exists(busy), "the last one is gone")
        self.put_count(server, "command", 2)
        self.wait_for_workers(server, "command", 2)
        self.put_count(server, "command", 1)
        self.wait_for_workers(server, "command", 1)
        with self.assertRaises(HTTPError) as caught:
            self.put_count(server, "nobody", 1)
        self.assertEqual(caught.exception.code, 404)
        caught.exception.close()

    def test_surroundings(self) -> None:
        """
        A process has its three descriptors and no other one, the server's directory, and a session of its own.
        """
        (self.directory / "look.pl").write_text(LOOK)
        server = self.start("1 look connect -- perl look.pl", *WORKERS)
        pid, group, session, *descriptors = self.wait_for_file("seen").split()
        self.assertEqual((group, session), (pid, pid))
        # (Perl has opened its script.)
        found = [each.partition(":")[0] for each in descriptors if "look.pl" not in each]
        self.assertEqual(found, ["0=/dev/null", "1=pipe", "2=pipe"])
        told = self.gearman(server, "-f", "command", 'return "$ENV{GEARMAN_FUNCTION} $ENV{GEARMAN_SERVERS}"')
        self.assertEqual(told, f"command {HOST}:{server.port}")


class EndTests(ProcessCase):
    """
    The server's end.
    """

    def test_jobs_are_finished(self) -> None:
        """
        On SIGTERM each finishes its job, and its client gets the result; then all are gone.
        """
        self.check(signal.SIGTERM)

    def test_graceful_end(self) -> None:
        """
        So they do on SIGUSR1.
        """
        self.check(signal.SIGUSR1)

    def check(self, number: signal.Signals) -> None:
        """
        End a server whose workers have jobs.
        """
        server = self.start(*WORKERS)
        threads = []
        pids = []
        for function in ("socket", "connect", "command"):
            self.wait_for_workers(server, function, 1)
            threads.append(self.begin(server, function, HOLD % function))
            pids.append(int(self.wait_for_file(function)))
        os.kill(server.pid, number)
        self.wait_for_log(server, f"{number.name} received")
        (self.directory / "release").touch()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(
            self.results, {function: f"done by {pid}" for function, pid in zip(("socket", "connect", "command"), pids, strict=True)}
        )
        assert server.process is not None
        self.assertEqual(server.process.wait(PATIENCE), 0)
        self.assertEqual([pid for pid in pids if exists(pid)], [])

    def test_stubborn(self) -> None:
        """
        Who has not finished after --drain-seconds, and does not care for SIGTERM, is killed with all that it has started; the
        job stays in the store.
        """
        options = ("--drain-seconds", "0.2", "-q", "libsqlite3", "--libsqlite3-db", "queue.db")
        server = self.start(*WORKERS, options=options)
        pids = []
        for function in ("socket", "connect", "command"):
            self.wait_for_workers(server, function, 1)
            child = f'unless (fork) {{ open(F, ">{function}-child"); print F "$$\n"; close F; sleep 60; exit }}'
            self.gearman(server, "-b", "-f", function, f"$SIG{{TERM}} = 'IGNORE'; {child} {HOLD % function}")
            pids += [int(self.wait_for_file(function)), int(self.wait_for_file(f"{function}-child"))]
        self.assertEqual(server.stop(), 0)
        wait_until(lambda: not [pid for pid in pids if exists(pid) and " Z " not in Path(f"/proc/{pid}/stat").read_text()], "all are gone")
        server.command = [word for word in server.command if "--worker" not in word and word not in WORKERS]
        server.start()
        for function in ("socket", "connect", "command"):
            self.assertEqual(server.status(function), (1, 0, 0), function)

    def test_server_is_killed(self) -> None:
        """
        Processes do not outlive a server that is killed.
        """
        server = self.start(*WORKERS[:2])
        pids = [self.wait_for_workers(server, function, 1)[0] for function in ("socket", "connect")]
        server.kill()
        wait_until(lambda: not any(exists(pid) for pid in pids), "they are gone")
