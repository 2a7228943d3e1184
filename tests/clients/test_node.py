"""
Node's C{gearmanode} from npm: Client, Worker and Job.
"""

from __future__ import annotations

import json
from typing import Any

from tests.clients.case import HERE, ClientTestCase, Program
from tests.running import HOST

NODE = ("node", "--no-deprecation", "--no-warnings")


class NodeTestCase(ClientTestCase):
    """
    A test that runs node/client.js and node/worker.js.
    """

    def setUp(self) -> None:
        """
        See to it that gearmanode is there.
        """
        if not (HERE / "node" / "node_modules" / "gearmanode").is_dir():
            self.fail("gearmanode is not installed: run tests/install-test-dependencies.sh")
        super().setUp()

    def command(self, program: str, *arguments: str) -> tuple[str, ...]:
        """
        The command line of one of the two programs.
        """
        return (*NODE, str(HERE / "node" / program), str(self.server.port), *arguments)

    def client(self, scenario: str, *arguments: str) -> Any:
        """
        Run one scenario of the client.

        @return: what it saw.
        """
        done = self.run_program(*self.command("client.js", scenario, *arguments))
        self.assertEqual((done.returncode, done.stderr), (0, b""), done.stdout)
        return json.loads(done.stdout)

    def start_worker(self, mode: str = "serve") -> Program:
        """
        Start a worker and wait until the server knows it.
        """
        worker = self.start_program(*self.command("worker.js", mode))
        self.wait_for_workers({"timeout": "reverse", "leave": "forget"}.get(mode, "hold"))  # which it registers last
        return worker


class ForegroundTests(NodeTestCase):
    """
    C{submitJob} and a job's events.
    """

    def test_results(self) -> None:
        """
        A job is created, then completes with the worker's result, whatever its priority and its bytes.
        """
        self.start_worker()
        results = ["lamron", "hgih", "wol", "eßürG", "256", ""]
        self.assertEqual(self.client("results"), [[["created"], ["complete", result]] for result in results])

    def test_events(self) -> None:
        """
        C{status}, C{workData} and C{warning} come in the order in which the worker sent them, before C{complete}.
        """
        self.start_worker()
        self.assertEqual(self.client("progress"), [
            ["created"],
            ["status", {"percent_done_num": "1", "percent_done_den": "4"}],
            ["workData", "first part"],
            ["warning", "careful"],
            ["status", {"percent_done_num": "3", "percent_done_den": "4"}],
            ["workData", "\x00\xff\n"],
            ["complete", "the end"],
        ])

    def test_jobs_together(self) -> None:
        """
        Jobs that are submitted at once each get their own result.
        """
        self.start_worker()
        results = ["eno", "owt", "eerht", "ruof", "evif"]
        self.assertEqual(self.client("together"), [[["created"], ["complete", result]] for result in results])

    def test_failure(self) -> None:
        """
        C{reportError} makes a job fail, and the worker goes on.
        """
        self.start_worker()
        self.assertEqual(self.client("fail"), [[["created"], ["failed"]], [["created"], ["complete", "cba"]]])

    def test_exception(self) -> None:
        """
        C{reportException} reaches a client that set the option C{exceptions}; the worker goes on.
        """
        self.start_worker()
        expected = [[["created"], ["exception", "it broke"]], [["created"], ["complete", "cba"]]]
        self.assertEqual(self.client("exception", "asked"), expected)

    def test_exception_unasked(self) -> None:
        """
        For any other client an exception is a failure.
        """
        self.start_worker()
        if self.is_gearmand:
            # It puts a NUL behind the handle, which gearmanode takes for another job's.
            done = self.run_program(*self.command("client.js", "exception", "unasked"))
            self.assertIn(b"unknown job", done.stderr)
            return
        self.assertEqual(self.client("exception", "unasked"), [[["created"], ["failed"]], [["created"], ["complete", "cba"]]])

    def test_server(self) -> None:
        """
        C{echo} and C{setOption} are answered, and an unknown option is an error that leaves the connection open.
        """
        self.assertEqual(
            self.client("server"), ["ping", "exceptions", "UNKNOWN_OPTION", "Server does not recognize given option"]
        )

    def test_lost_server(self) -> None:
        """
        A client hears of it when the server goes away.
        """
        client = self.start_program(*self.command("client.js", "lost"))
        self.assertEqual(client.stdout.readline(), b'"waiting"\n')
        self.server.kill()
        self.assertEqual(client.finish()[1], f'"{HOST}:{self.server.port}"\n'.encode())


class BackgroundTests(NodeTestCase):
    """
    Background jobs and C{getStatus}.
    """

    def test_priorities(self) -> None:
        """
        Every job gets a handle under which it is known, and workers get high before normal before low.
        """
        handles, statuses = self.client("background")
        self.assertEqual(len(set(handles)), 3)
        self.assertEqual(statuses, [[True, False, "0", "0"]] * 3)
        worker = self.start_gearman("-w", "-c", "3", "-f", "f")
        self.assertEqual(worker.finish()[1], b"high,normal,low,")

    def test_unique(self) -> None:
        """
        Jobs of one unique id are one job.
        """
        first, again, other = self.client("unique")
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertEqual(self.server.status("f"), (2, 0, 0))

    def test_status(self) -> None:
        """
        C{getStatus} tells how far a job is, and that it is unknown once it is done.
        """
        self.start_worker()
        release = self.directory / "release"
        client = self.start_program(*self.command("client.js", "status", str(release)))
        self.assertEqual(json.loads(client.stdout.readline()), [True, True, "2", "5"])
        release.touch()
        self.assertEqual(json.loads(client.finish()[1]), [False, False, "0", "0"])


class WorkerTests(NodeTestCase):
    """
    How gearmanode's worker registers, and what becomes of its jobs.
    """

    def test_id(self) -> None:
        """
        C{setWorkerId} names the worker in the list of workers.
        """
        self.start_worker()
        self.assertRegex(self.server.admin("workers"), rb"(?m)^\d+ 127\.0\.0\.1 node-worker-7 : .*\breverse\b")

    def test_unique(self) -> None:
        """
        A worker with C{withUnique} grabs with GRAB_JOB_UNIQ and sees unique ids, C{''} where there is none.
        """
        self.start_worker("unique")
        given, none = self.client("inspect")
        self.assertEqual((given[:2], none[:2]), (["inspect", "my-unique"], ["inspect", ""]))

    def test_without_unique(self) -> None:
        """
        Any other worker grabs with GRAB_JOB and does not see them.
        """
        self.start_worker()
        self.assertEqual([seen[:2] for seen in self.client("inspect")], [["inspect", None]] * 2)

    def test_queued_jobs(self) -> None:
        """
        A worker that never sends GRAB_JOB unasked, only PRE_SLEEP after each job, gets through a queue.
        """
        self.gearman("-b", "-n", "-f", "reverse", input=b"job\n" * 10)
        self.start_worker()
        self.wait_for_jobs("reverse", 0)

    def test_leaving(self) -> None:
        """
        A worker that takes a function back, or all of them, while it has a job still ends that job.
        """
        self.start_worker("leave")
        self.assertEqual(self.gearman("-f", "leave", "x").stdout, b"left")
        self.assertEqual((self.server.status("fail"), self.server.status("reverse")), ((0, 0, 0), (0, 0, 1)))
        if self.is_gearmand:
            # There the job is taken from a worker that resets its abilities, and nobody can do it any more.
            return
        self.assertEqual(self.gearman("-f", "forget", "x").stdout, b"forgotten")
        self.assertEqual(self.server.status("reverse"), (0, 0, 0))

    def test_timeout(self) -> None:
        """
        A job whose worker takes longer than it registered for goes to another worker.
        """
        self.start_worker("timeout")
        client = self.start_gearman("-f", "reverse", "abc")
        self.wait_for_jobs("reverse", 1, 1)
        self.start_gearman("-w", "-f", "reverse", "--", "rev")
        self.assertEqual(client.finish()[:2], (0, b"cba"))

    def test_lost_worker(self) -> None:
        """
        A job whose worker is killed goes to the next worker.
        """
        self.assertEqual(self.output_despite_lost_worker(self.start_worker).count(b"released"), 1)
