"""
PHP's extension (php-gearman, on libgearman): GearmanClient and GearmanWorker.
"""

from __future__ import annotations

import json
from typing import Any

from tests.clients.case import HERE, ClientTestCase, Program
from tests.running import wait_until


class PhpTestCase(ClientTestCase):
    """
    A test that runs php/client.php and php/worker.php.
    """

    def client(self, scenario: str, *arguments: str) -> Any:
        """
        Run one scenario of the client.

        @return: what it saw.
        """
        done = self.run_program("php", str(HERE / "php" / "client.php"), str(self.server.port), scenario, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, b""), done.stdout)
        return json.loads(done.stdout)

    def start_worker(self, mode: str = "serve") -> Program:
        """
        Start a worker and wait until the server knows it.
        """
        worker = self.start_program("php", str(HERE / "php" / "worker.php"), str(self.server.port), mode)
        self.wait_for_workers("reverse")
        return worker


class ForegroundTests(PhpTestCase):
    """
    C{doNormal}, C{doHigh}, C{doLow} and what a worker can answer.
    """

    def test_results(self) -> None:
        """
        Each of the three calls returns the worker's result.
        """
        self.start_worker()
        self.assertEqual(self.client("priorities"), ["lamron", "hgih", "wol"])

    def test_bytes(self) -> None:
        """
        All 256 bytes, a megabyte, and an empty result pass unchanged.
        """
        self.start_worker()
        self.assertEqual(self.client("bytes"), [True, True, True])

    def test_job(self) -> None:
        """
        A worker sees its job's function, unique id, handle and size; the extension makes up a unique id where none is given.
        """
        self.start_worker()
        given, made_up = self.client("inspect")
        self.assertEqual((given[:2], given[3]), (["inspect", "my-unique"], 4))
        self.assertRegex(given[2], r"\AH:.+:\d+\Z")
        self.assertEqual(len(made_up[1]), 36)
        self.assertNotEqual(made_up[2], given[2])

    def test_partial_results(self) -> None:
        """
        C{doNormal} puts the pieces of a result together.
        """
        self.start_worker()
        self.assertEqual(self.client("progress"), [["SUCCESS", "first partsecond partthe end"]])

    def test_ends(self) -> None:
        """
        C{sendComplete}, C{sendFail} and a failing return code end a job, and the worker goes on after each.
        """
        self.start_worker()
        expected = {
            "explicit": [["SUCCESS", "completed by hand"]],
            "fail": [["WORK_FAIL"]],
            "wrong": [["WORK_FAIL"]],
            "reverse": [["SUCCESS", "cba"]],
        }
        self.assertEqual(self.client("ends"), expected)

    def test_exceptions(self) -> None:
        """
        C{sendException} reaches a client that asked for exceptions as one, any other as a failure; the worker goes on.
        """
        self.start_worker()
        # gearmand puts a NUL behind the handle in the WORK_FAIL it makes; libgearman takes that for another job's and waits on.
        failure = "TIMEOUT" if self.is_gearmand else "WORK_FAIL"
        expected = [[["WORK_EXCEPTION"]], [[failure]], [["WORK_EXCEPTION"]], [["SUCCESS", "cba"]]]
        self.assertEqual(self.client("exceptions"), expected)

    def test_timeout(self) -> None:
        """
        A client with a time-out gives up when nobody does its job.
        """
        self.assertEqual(self.client("timeout"), "TIMEOUT")

    def test_ping(self) -> None:
        """
        C{ping} of a client and of a worker gets its bytes back, small or large.
        """
        self.assertEqual(self.client("ping"), [True, True, True])


class BackgroundTests(PhpTestCase):
    """
    C{doBackground} and its kin, and the status of such jobs.
    """

    def test_priorities(self) -> None:
        """
        Each call returns a handle under which the job is known, and workers get high before normal before low.
        """
        handles, statuses, unknown = self.client("background")
        self.assertEqual(len(set(handles)), 3)
        self.assertEqual(statuses, [[True, False, 0, 0]] * 3)
        self.assertEqual(unknown, [False, False, 0, 0])
        worker = self.start_gearman("-w", "-c", "3", "-f", "f")
        self.assertEqual(worker.finish()[1], b"high,normal,low,")

    def test_task_priorities(self) -> None:
        """
        The same holds for C{addTaskBackground} and its kin.
        """
        events = self.client("backgroundtasks")
        self.assertEqual(sorted(event[:4] for event in events), [
            ["created", "high", "f", "u3"], ["created", "low", "f", "u2"], ["created", "normal", "f", "u1"],
        ])
        worker = self.start_gearman("-w", "-c", "3", "-f", "f")
        self.assertEqual(worker.finish()[1], b"high,normal,low,")

    def test_status(self) -> None:
        """
        While a job runs, C{jobStatus}, C{jobStatusByUniqueKey} and C{addTaskStatus} tell how far it is.
        """
        self.start_worker()
        release = self.directory / "release"
        submitted = self.gearman("-v", "-b", "-u", "my-unique", "-f", "hold", str(release))
        handle = submitted.stdout.split()[2].decode()
        wait_until(lambda: b"\x002\x005" in self.ask_status(handle), "the worker reports its progress")
        by_handle, by_unique, unknown, events = self.client("status", handle, "my-unique")
        self.assertEqual(by_handle, [True, True, 2, 5])
        self.assertEqual(by_unique, [True, True, 2, 5])
        self.assertEqual(unknown, [False, False, 0, 0])
        self.assertEqual(events, [["status", "asked", handle, [True, True, 2, 5]]])
        release.touch()
        self.wait_for_jobs("hold", 0)
        by_handle, by_unique, unknown, events = self.client("status", handle, "my-unique")
        self.assertEqual((by_handle, by_unique[:2]), ([False, False, 0, 0], [False, False]))

    def ask_status(self, handle: str) -> bytes:
        """
        The server's answer to GET_STATUS.
        """
        with self.server.connect() as connection:
            connection.sendall(b"\0REQ\0\0\0\x0f\0\0\0" + bytes([len(handle)]) + handle.encode())
            return connection.recv(1000)


class TaskTests(PhpTestCase):
    """
    C{addTask}, C{runTasks} and the callbacks.
    """

    def test_callbacks(self) -> None:
        """
        Every callback is called for the task it belongs to, with what the worker sent, in the order in which it was sent.
        """
        self.start_worker()
        ran, events = self.client("tasks")
        self.assertTrue(ran)
        told: dict[str, list[Any]] = {}
        functions = {"normal": "reverse", "high": "progress", "low": "fail", "exception": "exception"}
        for event, context, function, *rest in events:
            self.assertEqual(function, functions[context])
            told.setdefault(context, []).append([event, *rest])
        created = {context: seen.pop(0) for context, seen in told.items()}
        self.assertEqual({context: event[1] for context, event in created.items()},
                         {"normal": "u1", "high": "u2", "low": "u3", "exception": "u4"})
        self.assertEqual(len({event[2] for event in created.values()}), 4, "four handles")
        self.assertEqual(told["normal"], [["complete", "cba"]])
        self.assertEqual(told["low"], [["fail"]])
        self.assertEqual(told["exception"], [["exception", "it broke"]])
        progress = [event[:1] + event[1][2:] if event[0] == "status" else event for event in told["high"]]
        self.assertEqual(progress, [
            ["status", 1, 4], ["data", "first part"], ["warning", "careful"], ["status", 3, 4], ["data", "second part"],
            ["complete", "the end"],
        ])

    def test_twins(self) -> None:
        """
        Two tasks of one client with the same unique id are one job, and both complete.
        """
        self.start_worker()
        events = self.client("twins")
        handles = {event[1]: event[4] for event in events if event[0] == "created"}
        self.assertEqual(handles["one"], handles["two"])
        self.assertNotEqual(handles["one"], handles["three"])
        completed = sorted(event[1:] for event in events if event[0] == "complete")
        self.assertEqual(completed, [["one", "reverse", "cba"], ["three", "reverse", "cba"], ["two", "reverse", "cba"]])


class WorkerTests(PhpTestCase):
    """
    How GearmanWorker registers, waits and leaves.
    """

    def test_id(self) -> None:
        """
        C{setId} names the worker in the list of workers.
        """
        self.start_worker("id")
        self.assertRegex(self.server.admin("workers"), rb"(?m)^\d+ 127\.0\.0\.1 php-worker-7 : reverse$")

    def test_timeout(self) -> None:
        """
        C{work} with a time-out returns when there is no job, and serves the next one.
        """
        worker = self.start_worker("timeout")
        self.assertEqual(json.loads(worker.stdout.readline()), [False, True])
        self.assertEqual(self.gearman("-f", "reverse", "abc").stdout, b"cba")
        self.assertEqual(worker.finish()[1], b"true\n")

    def test_non_blocking(self) -> None:
        """
        A non-blocking worker that is told there is no job waits on its own and serves the next one.
        """
        worker = self.start_worker("nonblocking")
        self.assertEqual(self.gearman("-f", "reverse", "abc").stdout, b"cba")
        code, output, errors = worker.finish()
        self.assertEqual((code, errors, json.loads(output)[1]), (0, b"", True))

    def test_grab(self) -> None:
        """
        C{register} and C{grabJob} give a job to a worker that has no function of its own for it.
        """
        worker = self.start_worker("grab")
        self.assertEqual(self.gearman("-f", "reverse", "abc").stdout, b"cba")
        self.assertEqual(worker.finish()[:2], (0, b'"done"\n'))

    def test_unregister(self) -> None:
        """
        C{unregister} takes a function back, C{unregisterAll} all of them, and the worker stays connected.
        """
        worker = self.start_worker("unregister")
        self.wait_for_workers("empty", 0)
        self.wait_for_workers("fail", 1)
        self.assertEqual(self.gearman("-f", "reverse", "abc").stdout, b"cba")
        self.wait_for_workers("reverse", 0)
        self.wait_for_workers("fail", 0)
        self.assertEqual(worker.stdout.readline(), b"true\n")
        self.assertIsNone(worker.poll())

    def test_function_timeout(self) -> None:
        """
        A job whose worker takes longer than it registered for goes to another worker.
        """
        self.start_worker("slow")
        client = self.start_gearman("-f", "reverse", "abc")
        self.wait_for_jobs("reverse", 1, 1)
        self.start_program("php", str(HERE / "php" / "worker.php"), str(self.server.port), "serve")
        self.assertEqual(client.finish()[:2], (0, b"cba"))

    def test_lost_worker(self) -> None:
        """
        A job whose worker is killed goes to the next worker.
        """
        output = self.output_despite_lost_worker(self.start_worker)
        self.assertEqual(output.count(b"released"), 1)
        # The first worker may have been killed before it said how far it was.
        self.assertIn(output.count(b"40% Complete\n"), (1, 2))
