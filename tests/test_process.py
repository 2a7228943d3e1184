"""
What the process around the server does: signals, limits, exit status.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.config import Settings
from gearsvc.interfaces import StoreError
from gearsvc.process import ProcessService, StartFailure, TwistdParent, raise_file_descriptors, reason_of, tune_garbage_collector
from tests.commands import TWISTD, TWISTD_GEARMAN, CommandCase
from tests.running import HOST, PATIENCE, wait_until

CAN_DO, GRAB_JOB, NO_JOB, JOB_ASSIGN, WORK_COMPLETE, ECHO_REQ, SUBMIT_JOB_BG = 1, 9, 10, 11, 13, 16, 18


class Peer:
    """
    A connection that speaks Gearman's binary protocol, by hand.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), PATIENCE)
        self.file = self.socket.makefile("rb")

    def send(self, kind: int, body: bytes = b"") -> None:
        """
        Send one packet.
        """
        self.socket.sendall(struct.pack(">4sII", b"\0REQ", kind, len(body)) + body)

    def receive(self) -> tuple[int, bytes]:
        """
        Receive one packet.
        """
        _, kind, size = struct.unpack(">4sII", self.file.read(12))
        return kind, self.file.read(size)

    def close(self) -> None:
        """
        Close the connection.
        """
        self.file.close()
        self.socket.close()


class StubServer(Service):
    """
    A server whose start and end a test decides.
    """

    def __init__(self, failure: Exception | None = None) -> None:
        self.settings = Settings()
        self.job_server: Any = type("JobServer", (), {})()
        self.failure = failure
        self.ready: Deferred[None] = Deferred()
        self.drained: list[float] = []
        self.drain_over: Deferred[None] = Deferred()

    def privilegedStartService(self) -> None:
        """
        Fail, if the test says so.
        """
        if self.failure is not None:
            raise self.failure

    def when_ready(self) -> Deferred[None]:
        """
        A Deferred that is one of many.
        """
        mine: Deferred[None] = Deferred()

        def settle(outcome: Any) -> Any:
            mine.callback(outcome)
            return outcome

        self.ready.addBoth(settle)
        self.ready.addErrback(lambda _: None)
        return mine

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Remember for how long.
        """
        self.drained.append(seconds)
        return self.drain_over


class ProcessServiceTests(SynchronousTestCase):
    """
    L{ProcessService}, on a reactor in memory.
    """

    def setUp(self) -> None:
        """
        A process with a stub of a server.  Its signals are not touched: the reactor never runs.
        """
        self.reactor = MemoryReactorClock()
        self.statuses: list[int] = []
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)

    def process(self, server: StubServer) -> ProcessService:
        """
        Make the process.
        """
        process = ProcessService(server, self.reactor, self.statuses.append)  # type: ignore[arg-type]
        self.patch(process, "_handle_signals", lambda: None)
        return process

    def test_start_fails(self) -> None:
        """
        What keeps the ports from being opened is one line; a mistake in the program stays one.
        """
        taken = "Address already in use"
        advice = "stop the other server, or choose another port"
        for failure, line in (
            (
                CannotListenError("127.0.0.1", 4730, OSError(errno.EADDRINUSE, taken)),
                f"cannot listen on port 4730 at 127.0.0.1: {taken}; {advice}",
            ),
            (StoreError("the disk is full"), "the disk is full"),
            (FileNotFoundError(2, "No such file or directory", "/x"), "/x: No such file or directory"),
        ):
            with self.assertRaises(StartFailure) as caught:
                self.process(StubServer(failure)).privilegedStartService()
            self.assertEqual(str(caught.exception), line)
        with self.assertRaises(ZeroDivisionError):
            self.process(StubServer(ZeroDivisionError())).privilegedStartService()

    def test_reason_of_a_socket(self) -> None:
        """
        A socket that cannot be opened is named by its path.
        """
        error = CannotListenError(None, "/run/g.sock", OSError(13, "Permission denied"))
        self.assertEqual(reason_of(error), "cannot listen on /run/g.sock: Permission denied")

    def test_unprivileged_start(self) -> None:
        """
        Where nobody makes the privileged start (twist), the start makes up for it.
        """
        with self.assertRaises(StartFailure):
            self.process(StubServer(OSError(98, "Address already in use"))).startService()

    def test_store_fails(self) -> None:
        """
        A store that cannot be used ends the process with status 1.
        """
        server = StubServer()
        self.process(server).startService()
        server.ready.errback(StoreError("the table is broken"))
        self.reactor.run()
        self.assertEqual(self.stderr.getvalue(), "gearsvc: the table is broken\n")
        self.assertEqual(self.statuses, [1])
        self.assertTrue(self.reactor.hasStopped)

    def test_mistake(self) -> None:
        """
        A mistake in the program, on the way to being ready, is logged with its traceback and ends the process too.
        """
        server = StubServer()
        self.process(server).startService()
        server.ready.errback(ZeroDivisionError())
        self.reactor.run()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.stderr.getvalue().splitlines()), 1)
        self.assertEqual(self.statuses, [1])
        self.assertTrue(self.reactor.hasStopped)

    def test_graceful_end(self) -> None:
        """
        A graceful end waits for the drain, however often it is asked for, and then stops with status 0.
        """
        server = StubServer()
        process = self.process(server)
        process.startService()
        server.ready.callback(None)
        server.job_server.shut_down(True)
        process.stop_gracefully()
        self.assertEqual(server.drained, [30.0])
        self.assertFalse(self.reactor.hasStopped)
        server.drain_over.callback(None)
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(self.statuses, [])

    def test_end_during_a_graceful_end(self) -> None:
        """
        A plain end does not wait for the drain.
        """
        server = StubServer()
        process = self.process(server)
        process.startService()
        server.ready.callback(None)
        process.stop_gracefully()
        server.job_server.shut_down(False)
        self.assertTrue(self.reactor.hasStopped)

    def test_graceful_end_before_ready(self) -> None:
        """
        A server that is not ready has nothing to wait for.
        """
        server = StubServer()
        process = self.process(server)
        process.startService()
        process.stop_gracefully()
        self.assertEqual(server.drained, [])
        self.assertTrue(self.reactor.hasStopped)

    def test_garbage_collector(self) -> None:
        """
        What lives when the server is ready is the garbage collector's business no more.
        """
        gc.unfreeze()
        tune_garbage_collector()
        self.assertGreater(gc.get_freeze_count(), 1000)
        self.assertGreater(gc.get_threshold()[0], 700)

    def test_file_descriptors(self) -> None:
        """
        Without --file-descriptors the process has all that it may have; with it, so many.
        """
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        raise_file_descriptors(200)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (200, hard))
        raise_file_descriptors(None)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (hard, hard))


class TwistdParentTests(SynchronousTestCase):
    """
    L{TwistdParent}.
    """

    def tell(self, outcome: Exception | None) -> bytes:
        """
        What twistd's parent reads once the server is ready, or fails.
        """
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(reading, False)
        options = {"statusPipe": writing}
        server = StubServer()
        TwistdParent(server, options).startService()  # type: ignore[arg-type]
        self.assertEqual(options, {})
        with self.assertRaises(BlockingIOError):
            os.read(reading, 100)
        if outcome is None:
            server.ready.callback(None)
        else:
            server.ready.errback(outcome)
        return os.read(reading, 1000)

    def test_ready(self) -> None:
        """
        It hears of success when the server is ready, and not before.
        """
        self.assertEqual(self.tell(None), b"0")

    def test_failure(self) -> None:
        """
        It hears why the server fails, in as much as it reads.
        """
        self.assertEqual(self.tell(StoreError("no disk, é")), b"1 no disk, \\xe9")
        self.assertEqual(len(self.tell(StoreError("x" * 500))), 100)

    def test_foreground(self) -> None:
        """
        Without a parent that waits there is nothing to tell.
        """
        TwistdParent(StubServer(), {}).startService()  # type: ignore[arg-type]


class SignalTests(CommandCase):
    """
    C{twistd -n gearman} and signals.
    """

    def connect(self) -> Peer:
        """
        A connection to the server.
        """
        peer = Peer(self.port)
        self.addCleanup(peer.close)
        return peer

    def running_job(self) -> tuple[Peer, bytes]:
        """
        Submit two background jobs, and let a worker take the first.

        @return: the worker, and its job's handle.
        """
        client = self.connect()
        for number in (b"1", b"2"):
            client.send(SUBMIT_JOB_BG, b"f\0\0" + number)
            client.receive()
        worker = self.connect()
        worker.send(CAN_DO, b"f")
        worker.send(GRAB_JOB)
        kind, body = worker.receive()
        self.assertEqual(kind, JOB_ASSIGN)
        return worker, body.split(b"\0")[0]

    def test_sigterm_and_sigint(self) -> None:
        """
        Either ends the server with status 0, whatever it is doing.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start_command(*TWISTD_GEARMAN, self.at)
            self.running_job()
            process.send_signal(number)
            self.assertNotIn("Traceback", self.end_of(process))

    def test_stored_jobs_survive(self) -> None:
        """
        After SIGTERM the stored jobs, the running one too, are there for the next server.
        """
        command = [*TWISTD_GEARMAN, self.at, "-q", "sqlite", "--libsqlite3-db", "q.db"]
        process = self.start_command(*command)
        self.running_job()
        process.terminate()
        self.end_of(process)
        self.start_command(*command)
        worker = self.connect()
        worker.send(CAN_DO, b"f")
        for _ in range(2):
            worker.send(GRAB_JOB)
        self.assertEqual([worker.receive()[1][-1:] for _ in range(2)], [b"1", b"2"])

    def test_sigusr1(self) -> None:
        """
        SIGUSR1 closes the ports and hands out nothing more; the server ends with status 0 when the running job has.
        """
        process = self.start_command(*TWISTD_GEARMAN, self.at)
        worker, handle = self.running_job()
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: not self.answers(), "the port is still open")
        worker.send(GRAB_JOB)
        self.assertEqual(worker.receive()[0], NO_JOB)
        self.assertIsNone(process.poll())
        worker.send(WORK_COMPLETE, handle + b"\0done")
        self.end_of(process)

    def test_sigusr1_waits_no_longer_than_it_may(self) -> None:
        """
        A job that does not end keeps the server for --drain-seconds and no longer.
        """
        process = self.start_command(*TWISTD_GEARMAN, self.at, "--drain-seconds", "0.1")
        self.running_job()
        process.send_signal(signal.SIGUSR1)
        self.end_of(process)

    def test_sigterm_after_sigusr1(self) -> None:
        """
        SIGTERM ends a graceful end at once.
        """
        process = self.start_command(*TWISTD_GEARMAN, self.at, "--drain-seconds", "1000")
        self.running_job()
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: not self.answers(), "the port is still open")
        process.terminate()
        self.end_of(process)

    def test_admin_shutdown(self) -> None:
        """
        With --admin-shutdown, the admin commands end the server as the signals do.
        """
        for line in ("shutdown", "shutdown graceful"):
            process = self.start_command(*TWISTD_GEARMAN, self.at, "--admin-shutdown")
            self.assertEqual(self.admin(line), "OK\n")
            self.end_of(process)

    def test_twist(self) -> None:
        """
        twist (python -m twisted) runs and ends the server just as well.
        """
        process = self.start_command(sys.executable, "-m", "twisted", "gearman", self.at)
        self.running_job()
        process.terminate()
        self.end_of(process)

    def test_limit_of_file_descriptors(self) -> None:
        """
        --file-descriptors is the process's limit.
        """
        process = self.start_command(*TWISTD_GEARMAN, self.at, "--file-descriptors", "321")
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        self.assertRegex(limits, r"(?m)^Max open files +321 ")


class StartFailureTests(CommandCase):
    """
    A server that cannot start, in the foreground and as twistd's daemon.
    """

    def twistd_daemon(self, *words: str) -> subprocess.CompletedProcess[str]:
        """
        Run C{twistd gearman}, which detaches.
        """
        return self.run_command(*TWISTD, "--logfile=t.log", "--pidfile=t.pid", "gearman", *words)

    def assert_no_traceback(self, reason: str = "") -> str:
        """
        Wait for the daemon to end, and hold that its log shows no traceback.

        @param reason: what the log will say.
        @return: the log.
        """
        path = self.directory / "t.log"
        # The daemon tells its parent first, and cleans up then; the last it does is to write the log.
        wait_until(lambda: not (self.directory / "t.pid").exists(), "the daemon ends")
        wait_until(lambda: reason in path.read_text(), f"the log says: {reason}")
        log = path.read_text()
        self.assertNotIn("Traceback", log)
        return log

    def test_busy_port(self) -> None:
        """
        A busy port is one line on stderr, one in the log, and status 1.
        """
        self.start_command(*TWISTD_GEARMAN, self.at)
        for command in (TWISTD_GEARMAN, [sys.executable, "-m", "twisted", "gearman"]):
            result = self.run_command(*command, self.at)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(len(re.findall("cannot listen", result.stderr)), 1, result.stderr)
            self.assertIn(f"gearsvc: cannot listen on port {self.port}", result.stderr)
            self.assertNotIn("Traceback", result.stdout + result.stderr)

    def test_busy_port_of_a_daemon(self) -> None:
        """
        The process that started the daemon hears of the busy port, and ends with status 1.
        """
        self.start_command(*TWISTD_GEARMAN, self.at)
        result = self.twistd_daemon(self.at)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"cannot listen on port {self.port}", result.stderr)
        self.assertEqual(self.assert_no_traceback("cannot listen").count("cannot listen"), 1)

    def test_missing_directory(self) -> None:
        """
        A store that cannot be opened is one line on stderr and status 1.
        """
        result = self.run_command(*TWISTD_GEARMAN, self.at, "-q", "sqlite", "--libsqlite3-db", "nosuch/q.db")
        self.assertEqual(result.returncode, 1)
        self.assert_one_line(result.stderr, "gearsvc: ", "nosuch/q.db")
        self.assertNotIn("Traceback", result.stdout)

    def test_missing_directory_of_a_daemon(self) -> None:
        """
        The process that started the daemon waits until the store is open, and hears why it is not.
        """
        result = self.twistd_daemon(self.at, "-q", "sqlite", "--libsqlite3-db", "nosuch/q.db")
        self.assertEqual(result.returncode, 1)
        self.assertIn("nosuch/q.db", result.stderr)
        self.assertEqual(self.assert_no_traceback("nosuch/q.db").count("nosuch/q.db"), 1)

    def test_daemon(self) -> None:
        """
        twistd gearman returns with status 0 when the server is ready; SIGHUP rotates its log, SIGTERM ends it.
        """
        result = self.twistd_daemon(self.at, "-q", "sqlite", "--libsqlite3-db", "q.db")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        pid = int((self.directory / "t.pid").read_text())
        self.addCleanup(self.end_daemon, pid)
        self.assertEqual(self.admin("getpid"), f"OK {pid}\n")
        os.kill(pid, signal.SIGHUP)
        wait_until((self.directory / "t.log.1").exists, "the log is not rotated")
        os.kill(pid, signal.SIGTERM)
        self.assert_no_traceback()
