"""
Perl's pure implementation (libgearman-client-perl): Gearman::Client and Gearman::Worker.
"""

from __future__ import annotations

import json
from typing import Any

from tests.clients.case import HERE, ClientTestCase, Program
from tests.running import HOST, wait_until


class PerlTestCase(ClientTestCase):
    """
    A test that runs perl/client.pl and perl/worker.pl.
    """

    def client(self, scenario: str, *arguments: str) -> Any:
        """
        Run one scenario of the client.

        @return: what it saw.
        """
        done = self.run_program("perl", str(HERE / "perl" / "client.pl"), str(self.server.port), scenario, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def start_worker(self) -> Program:
        """
        Start a worker and wait until the server knows it.
        """
        worker = self.start_program("perl", str(HERE / "perl" / "worker.pl"), str(self.server.port))
        self.wait_for_workers("forget")  # which it registers last
        return worker

    def handle_of(self, full: str) -> str:
        """
        The server's handle in one of Gearman::Client's, which begins with the server's address.
        """
        server, _, handle = full.partition("//")
        self.assertEqual(server, f"{HOST}:{self.server.port}")
        return handle


class ForegroundTests(PerlTestCase):
    """
    C{do_task} and the callbacks of a task.
    """

    def test_results(self) -> None:
        """
        C{do_task} returns the worker's result, whatever the priority, the bytes and the size.
        """
        self.start_worker()
        self.assertEqual(self.client("results"), ["lamron", "hgih", "wol", "ksat", 1, 1])

    def test_progress(self) -> None:
        """
        Status, data and warnings arrive in the order in which the worker sent them, before the result.
        """
        self.start_worker()
        self.assertEqual(self.client("progress"), [
            ["progress", "status", "1", "4"], ["progress", "data", "first part"], ["progress", "warning", "careful"],
            ["progress", "status", "3", "4"], ["progress", "complete", "the end"],
        ])

    def test_failure(self) -> None:
        """
        A failed job is retried by the client as often as it wants, then C{on_fail} is called; the worker goes on.
        """
        self.start_worker()
        self.assertEqual(self.client("fail"), [
            [["fail", "fail"]],
            [["fail", "retry", 1], ["fail", "retry", 2], ["fail", "fail"]],
            [["reverse", "complete", "cba"]],
        ])

    def test_false_results(self) -> None:
        """
        A worker that returns C{''} or C{0} sends a WORK_COMPLETE without the NUL behind the handle; it is an empty result.
        """
        self.start_worker()
        if self.is_gearmand:
            # It waits for the NUL, takes the next packets for the result, closes the connection and begins again, for ever.
            return
        self.assertEqual(self.client("falsehoods"), [
            [["empty", "complete", ""]], [["zero", "complete", ""]], [["reverse", "complete", "cba"]],
        ])

    def test_timeout(self) -> None:
        """
        A task with a time-out fails when nobody does it.
        """
        self.assertEqual(self.client("timeout"), [["nobody", "fail"]])


class ExceptionTests(PerlTestCase):
    """
    A function that dies: the worker sends WORK_EXCEPTION and then, having no result, WORK_FAIL as well.

    gearmand answers the second with an ERROR, at which Gearman::Worker dies.
    """

    def test_asked(self) -> None:
        """
        A client that asked for exceptions gets the message, and the worker lives on to do the next job.
        """
        worker = self.start_worker()
        events = self.client("exceptions")
        self.assertEqual([event[:2] for event in events], [["die", "exception"]])
        # Gearman::Client hands the exception over as the worker froze it.
        self.assertTrue(events[0][2].endswith("it broke\n"))
        if self.is_gearmand:
            self.assertEqual(worker.finish()[0], 255)
        else:
            self.assertEqual(self.client("do", "reverse", "abc"), "cba")
            self.assertIsNone(worker.poll())

    def test_unasked(self) -> None:
        """
        A client that did not ask gets a failure; client and worker live on.
        """
        worker = self.start_worker()
        if self.is_gearmand:
            return
        self.assertEqual(self.client("unasked"), [["die", "fail"]])
        self.assertEqual(self.client("do", "reverse", "abc"), "cba")
        self.assertIsNone(worker.poll())


class TasksetTests(PerlTestCase):
    """
    C{new_task_set}.
    """

    def test_callbacks(self) -> None:
        """
        Every task of a set hears of itself, in order, and the set ends when all of them have.
        """
        self.start_worker()
        handles, events = self.client("taskset")
        told: dict[str, list[Any]] = {}
        for task, *event in events:
            told.setdefault(task, []).append(event)
        self.assertEqual(told, {
            "reverse": [["complete", "cba"]],
            "progress": [["status", "1", "4"], ["data", "first part"], ["warning", "careful"], ["status", "3", "4"],
                         ["complete", "the end"]],
            "fail": [["retry", 1], ["fail"]],
            "one": [["complete", "niwt"]],
            "two": [["complete", "niwt"]],
        })
        for handle in handles:
            self.assertRegex(self.handle_of(handle), r"\AH:.+:\d+\Z")


class BackgroundTests(PerlTestCase):
    """
    C{dispatch_background} and C{get_status}.
    """

    def test_priorities(self) -> None:
        """
        Every job gets a handle under which it is known, and workers get high before normal before low.
        """
        handles, statuses, unknown = self.client("background")
        self.assertEqual(len(set(handles)), 3)
        self.assertEqual(statuses, [[[1, 0], ["0", "0"], None]] * 3)
        self.assertEqual(unknown, [[0, 0], ["0", "0"], None])
        worker = self.start_gearman("-w", "-c", "3", "-f", "f")
        self.assertEqual(worker.finish()[1], b"high,normal,low,")

    def test_unique(self) -> None:
        """
        Jobs of one unique id are one job; C{-} stands for the workload and coalesces with its like only.
        """
        a_u, b_u, a_v, a_by_workload, a_again, b_by_workload = self.client("coalescing")
        self.assertEqual((a_u, a_by_workload), (b_u, a_again))
        self.assertEqual(len({a_u, a_v, a_by_workload, b_by_workload}), 4)

    def test_status(self) -> None:
        """
        C{get_status} tells that a job runs and how far it is, and that it is unknown once it is done.
        """
        self.start_worker()
        release = self.directory / "release"
        handle = self.gearman("-v", "-b", "-f", "hold", str(release)).stdout.split()[2].decode()
        wait_until(lambda: self.client("status", handle) == [[1, 1], ["2", "5"], 0.4], "the worker reports its progress")
        release.touch()
        wait_until(lambda: self.client("status", handle) == [[0, 0], ["0", "0"], None], "the job is done")

    def test_server_status(self) -> None:
        """
        C{get_job_server_status} reads the text protocol over the connection that jobs use.
        """
        self.start_worker()
        self.gearman("-b", "-f", "other", "x")
        status = self.client("servers")
        self.assertEqual(status["other"], {"queued": "1", "running": "0", "capable": "0"})
        self.assertEqual(status["reverse"], {"queued": "0", "running": "0", "capable": "1"})


class WorkerTests(PerlTestCase):
    """
    How Gearman::Worker registers, and what becomes of its jobs.
    """

    def test_id(self) -> None:
        """
        The worker's C{client_id} names it in the list of workers.
        """
        self.start_worker()
        self.assertRegex(self.server.admin("workers"), rb"(?m)^\d+ 127\.0\.0\.1 perl-worker-7 : .*\breverse\b")

    def test_prefix(self) -> None:
        """
        A client and a worker with the same prefix, which is joined to the name by a tab, find each other; others do not.
        """
        self.start_program("perl", str(HERE / "perl" / "worker.pl"), str(self.server.port), "space")
        self.assertEqual(self.client("prefix", "space"), "cba")
        self.assertEqual(self.server.status("reverse"), (0, 0, 0))
        self.assertIn(b"space\treverse\t0\t0\t1\n", self.server.admin("status"))

    def test_unregister(self) -> None:
        """
        A worker that takes a function back, or all of them, while it has a job still ends that job.
        """
        self.start_worker()
        self.assertEqual(self.client("do", "leave", "x"), "left")
        self.assertEqual((self.server.status("fail"), self.server.status("reverse")), ((0, 0, 0), (0, 0, 1)))
        if self.is_gearmand:
            # There the job is taken from a worker that resets its abilities, and nobody can do it any more.
            return
        self.assertEqual(self.client("do", "forget", "x"), "forgotten")
        self.assertEqual(self.server.status("reverse"), (0, 0, 0))

    def test_timeout(self) -> None:
        """
        A job whose worker takes longer than it registered for goes to another worker.
        """
        self.start_worker()
        client = self.start_gearman("-f", "slow", "abc")
        self.wait_for_jobs("slow", 1, 1)
        self.start_gearman("-w", "-f", "slow", "--", "rev")
        self.assertEqual(client.finish()[:2], (0, b"cba"))

    def test_lost_worker(self) -> None:
        """
        A job whose worker is killed goes to the next worker.
        """
        self.assertEqual(self.output_despite_lost_worker(self.start_worker).count(b"released"), 1)
