"""
L{gearsvc.client.blocking}, in programs of their own: they show that nothing keeps a program from its end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from tests.client.test_client import place, shared_server
from tests.running import PATIENCE, ROOT, wait_until

WORKER = """
    import sys, threading, time
    from gearsvc.client.blocking import *

    def do(job):
        if job.workload == b"raise":
            raise ValueError("no good")
        if job.workload == b"fail":
            raise JobFailed()
        if job.workload == b"tell":
            job.send_data("a")
            job.send_progress(1, 2)
            job.send_warning("b")
        if job.workload == b"slow":
            time.sleep(0.3)
        return job.workload[::-1]

    worker = GearmanWorker(AT, concurrency=4, client_id="blocking")
    worker.register(FUNCTION, do)
    threading.Thread(target=worker.work, daemon=True).start()
    client = GearmanClient([AT])
"""


class BlockingCase(unittest.TestCase):
    """
    Tests that run programs.

    @cvar kind: which server.
    """

    kind = "gearsvc"

    def setUp(self) -> None:
        """
        Have a server, a directory, and a function of one's own.
        """
        self.server = shared_server(self.kind)
        self.function = self.id()[-60:]
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def start(self, *programs: str) -> subprocess.Popen[str]:
        """
        Start a program, of several pieces of Python; it knows C{AT} and C{FUNCTION}.
        """
        path = self.directory / "program.py"
        names = f"AT, FUNCTION = {place(self.server)!r}, {self.function!r}\n"
        path.write_text(names + "".join(textwrap.dedent(program) for program in programs))
        process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, str(path)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._end, process)
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=PATIENCE)

    def end_of(self, process: subprocess.Popen[str], status: int = 0) -> tuple[list[str], str]:
        """
        Wait for a program's end.

        @return: the lines that it printed, and what it wrote to its standard error.
        """
        output, complaints = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, status, complaints)
        return output.splitlines(), complaints

    def outcome(self, *programs: str) -> list[str]:
        """
        Run a program that has nothing to complain of.

        @return: the lines that it printed.
        """
        output, complaints = self.end_of(self.start(*programs))
        self.assertEqual(complaints, "")
        return output


class ClientTests(BlockingCase):
    """
    The client, in a program that has a worker as well.
    """

    def test_jobs(self) -> None:
        """
        A job gives its result, as often as it is asked for, and before that what its worker tells; failures are exceptions.
        """
        output = self.outcome(
            WORKER,
            """
            job = client.submit(FUNCTION, "tell")
            print(job.created() == job.handle != b"")
            print(*job, job.result(), job.result(1), job.done)
            print([*job])
            print(client.submit(FUNCTION, "".join(map(str, range(5))), unique="u").result())
            try:
                client.submit(FUNCTION, "fail").result()
            except JobException:
                print("an exception")
            except JobFailed as error:
                print("failed")
            """,
        )
        told = "Data(data=b'a') Progress(numerator=1, denominator=2) Warning(data=b'b') b'llet' b'llet' True"
        self.assertEqual(output, ["True", told, "[]", "b'43210'", "failed"])

    def test_exception(self) -> None:
        """
        An exception arrives with its text, also at the end of what the worker tells; the worker's program logs it once.
        """
        output, complaints = self.end_of(
            self.start(
                WORKER,
                """
                for wait in (lambda: client.submit(FUNCTION, "raise").result(), lambda: [*client.submit(FUNCTION, "raise")]):
                    try:
                        wait()
                    except JobException as error:
                        print(error.data)
                """,
            )
        )
        self.assertEqual(output, ["b'no good'"] * 2)
        self.assertEqual((complaints.count("Traceback"), complaints.count("ValueError: no good")), (2, 2), complaints)
        self.assertIn(f" of {self.function} has failed", complaints)

    def test_waiting_no_longer(self) -> None:
        """
        Who waits in vain for a while may wait again; the job's own time-out ends it.
        """
        output = self.outcome(
            WORKER,
            """
            job = client.submit(FUNCTION, "slow")
            try:
                job.result(timeout=0.01)
            except TimeoutError as error:
                print(error)
            print(job.result(timeout=10))
            try:
                client.submit(FUNCTION + "-nobody", timeout=0.01).result()
            except SubmitTimeout:
                print("given up")
            """,
        )
        self.assertEqual(output, ["the job was not done within 0.01 seconds", "b'wols'", "given up"])

    def test_many(self) -> None:
        """
        map gives results in order, and takes workloads as there is room; a task set gathers failures too.
        """
        output = self.outcome(
            WORKER,
            """
            taken = []
            def workloads():
                for number in range(20):
                    taken.append(number)
                    yield str(number)
            results = client.map(FUNCTION, workloads(), outstanding=3)
            print(next(results), len(taken))
            print(*results)
            seen = []
            tasks = client.task_set(outstanding=2, progress=lambda done, all: seen.append(done))
            for workload in ("one", "fail", "two"):
                tasks.add(FUNCTION, workload)
            print(len(tasks), [outcome if isinstance(outcome, bytes) else type(outcome).__name__ for outcome in tasks.wait()], seen)
            try:
                client.map(FUNCTION, [], outstanding=0)
            except ValueError as error:
                print(error)
            """,
        )
        self.assertEqual(output[0], "b'0' 3")
        self.assertEqual(output[1], " ".join(str(str(number)[::-1].encode()) for number in range(1, 20)))
        self.assertEqual(output[2], "3 [b'eno', 'JobFailed', b'owt'] [1, 2, 3]")
        self.assertEqual(output[3], "at least one job has to be under way at a time, not 0")

    def test_questions(self) -> None:
        """
        A background job is accepted when submit returns, and can be asked for.
        """
        output = self.outcome(
            """
            from gearsvc.client.blocking import *
            with GearmanClient(AT) as client:
                job = client.submit(FUNCTION, "x", unique=FUNCTION, background=True)
                print(job.handle != b"", job.done, job.result())
                print(client.status(job.handle).known, client.status_by_unique(FUNCTION, timeout=10).known, client.status("no").known)
                print(client.echo("hello"))
            """
        )
        self.assertEqual(output, ["True True b''", "True True False", "b'hello'"])
        self.assertEqual(self.server.status(self.function), (1, 0, 0))


class GearmandClientTests(ClientTests):
    """
    The same with gearmand.
    """

    kind = "gearmand"


class ProgramTests(BlockingCase):
    """
    How it gets along with the program that it is in.
    """

    def test_end(self) -> None:
        """
        A program ends at its end, whatever is still under way: jobs, a worker's thread, a host's name.
        """
        output = self.outcome(
            WORKER,
            """
            client.submit(FUNCTION, "slow")
            client.submit(FUNCTION + "-nobody")
            print(GearmanClient(AT.replace("127.0.0.1", "localhost")).echo("a name"))
            def stay(job):
                job.send_data("here")
                time.sleep(3600)
            worker.register(FUNCTION + "-stay", stay)
            print(next(iter(client.submit(FUNCTION + "-stay"))).data)
            """,
        )
        self.assertEqual(output, ["b'a name'", "b'here'"])

    def test_closed(self) -> None:
        """
        When a client is closed, who waits hears it.
        """
        output = self.outcome(
            """
            from gearsvc.client.blocking import *
            with GearmanClient(AT) as client:
                job = client.submit(FUNCTION)
                job.created()
            for call in (job.result, lambda: client.echo("x"), lambda: client.submit(FUNCTION, background=True)):
                try:
                    call()
                except ClientClosed as error:
                    print(error)
            """
        )
        self.assertEqual(output, ["the client was closed"] * 3)

    def test_mistakes(self) -> None:
        """
        What can't be is refused where it is said, and a server that is not there is named.
        """
        output = self.outcome(
            """
            from gearsvc.client.blocking import *
            client = GearmanClient("127.0.0.1:1")
            for call in (
                lambda: GearmanClient([]),
                lambda: GearmanWorker(concurrency=0),
                lambda: client.submit(""),
                lambda: client.submit("f").result(),
            ):
                try:
                    call()
                except (ValueError, ServerUnavailable) as error:
                    print(type(error).__name__, error)
            """
        )
        self.assertEqual(
            output[:3],
            [
                "ValueError no server is named",
                "ValueError a worker does at least one job at a time, not 0",
                "ValueError the function has no name",
            ],
        )
        self.assertRegex(output[3], "^ServerUnavailable .*127.0.0.1:1")

    def test_in_the_reactor(self) -> None:
        """
        In a program that runs the reactor, its own thread is refused, and others are served.
        """
        output = self.outcome(
            """
            from twisted.internet.defer import Deferred
            from twisted.internet.task import deferLater, react
            from twisted.internet.threads import deferToThread
            from gearsvc.client.blocking import *

            def ask():
                with GearmanClient(AT) as client:
                    return client.echo("from a thread")

            async def main(reactor):
                await deferLater(reactor, 0)
                try:
                    ask()
                except RuntimeError as error:
                    print(error)
                print(await deferToThread(ask))

            react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
            """
        )
        self.assertEqual(
            output,
            [
                "gearsvc.client.blocking was called in the reactor's own thread, which would wait for itself:"
                " use gearsvc.client there",
                "b'from a thread'",
            ],
        )

    def test_fork(self) -> None:
        """
        In a child of a process that has used it, it refuses, instead of waiting for a thread that is not there.
        """
        output = self.outcome(
            """
            import os
            from gearsvc.client.blocking import *
            client = GearmanClient(AT)
            print(client.echo("before"))
            child = os.fork()
            if child == 0:
                try:
                    client.echo("x")
                except RuntimeError as error:
                    print("before this process was forked" in str(error))
                os._exit(0)
            os.waitpid(child, 0)
            print(client.echo("after"))
            """
        )
        self.assertEqual(output, ["b'before'", "True", "b'after'"])


class WorkerTests(BlockingCase):
    """
    The worker.
    """

    program = """
        import signal, time
        from gearsvc.client.blocking import *

        def do(job):
            if job.workload == b"stop":
                worker.stop()
            elif job.workload == b"slow":
                print("begun")
                time.sleep(0.5)
                print("done")
            elif job.workload == b"long":
                print("begun")
                time.sleep(3600)
            return job.workload

        worker = GearmanWorker(AT, client_id="me")
        worker.register(FUNCTION, do)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.work()
        print("over")
    """

    def submit(self, workload: str) -> subprocess.Popen[str]:
        """
        Submit a job with gearman(1).
        """
        client = subprocess.Popen(
            ["gearman", "-p", str(self.server.port), "-h", "127.0.0.1", "-f", self.function, workload],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._end, client)
        return client

    def test_stopped_by_a_job(self) -> None:
        """
        work returns when a job has stopped the worker, whose result arrives.
        """
        worker = self.start(self.program)
        self.assertEqual(self.submit("stop").communicate(timeout=PATIENCE)[0], "stop")
        self.assertEqual(self.end_of(worker), (["over"], ""))

    def test_stopped_by_signals(self) -> None:
        """
        Ctrl-C, and SIGTERM if the program wants it, end the worker after its job.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            worker = self.start(self.program)
            client = self.submit("slow")
            assert worker.stdout is not None
            self.assertEqual(worker.stdout.readline(), "begun\n")
            worker.send_signal(number)
            self.assertEqual(client.communicate(timeout=PATIENCE)[0], "slow")
            self.assertEqual(self.end_of(worker), (["done", "over"], ""))

    def test_second_interrupt(self) -> None:
        """
        A second Ctrl-C does not wait for the job: the server has it again.
        """
        worker = self.start(self.program)
        self.submit("long")
        assert worker.stdout is not None
        self.assertEqual(worker.stdout.readline(), "begun\n")
        worker.send_signal(signal.SIGINT)
        # The worker is about to leave, and takes nothing any more: it can be seen by what it can do.
        wait_until(lambda: self.server.status(self.function)[1] == 1, "the job runs on")
        while worker.poll() is None:
            worker.send_signal(signal.SIGINT)
            try:
                worker.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        _, complaints = self.end_of(worker, -signal.SIGINT)
        self.assertTrue(complaints.endswith("KeyboardInterrupt\n"), complaints)
        wait_until(lambda: self.server.status(self.function)[:2] == (1, 0), "the job waits again")
