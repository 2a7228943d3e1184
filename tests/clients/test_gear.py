"""
Python's C{gear} from PyPI: Client, Worker, TextJob, and its requests in the text protocol.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable

import gear  # type: ignore[import-untyped]

from tests.clients.case import ClientTestCase
from tests.running import HOST, PATIENCE, wait_until

# gear logs what a test provokes (an ERROR packet, a lost server) as errors.
logging.getLogger("gear").addHandler(logging.NullHandler())


class ListeningClient(gear.Client):  # type: ignore[misc]
    """
    A client that remembers what gear itself only logs.

    @ivar echoes: the data of every ECHO_RES.
    @ivar lost: the jobs that were under way when the server went away.
    """

    def __init__(self) -> None:
        """
        Start gear's threads.
        """
        self.echoes: list[bytes] = []
        self.lost: list[gear.Job] = []
        super().__init__("gear-client")

    def handleEchoRes(self, packet: gear.Packet) -> None:
        """
        An ECHO_RES has come.
        """
        self.echoes.append(packet.data)

    def handleDisconnect(self, job: gear.Job) -> gear.Job:
        """
        The server has gone while it had this job.
        """
        self.lost.append(job)
        return super().handleDisconnect(job)


class GearTestCase(ClientTestCase):
    """
    A test with a gear client, and with gear workers in threads.

    @ivar client: a client that is connected.
    @ivar seen: the jobs that workers have got.
    """

    def setUp(self) -> None:
        """
        Connect a client.
        """
        super().setUp()
        self.seen: list[gear.WorkerJob] = []
        self.client = ListeningClient()
        self.connect(self.client)

    def connect(self, peer: gear.BaseClient) -> None:
        """
        Connect a client or a worker, and disconnect it when the test ends.
        """
        self.addCleanup(self.shut_down, peer)
        peer.addServer(HOST, self.server.port)
        peer.waitForServer(PATIENCE)

    def shut_down(self, peer: gear.BaseClient) -> None:
        """
        Disconnect, and end the peer's threads.
        """
        thread = threading.Thread(target=self.leave, args=(peer,), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive(), "gear shuts down")

    def leave(self, peer: gear.BaseClient) -> None:
        """
        What C{shut_down} does, which takes gear five seconds if the answer to a worker's GRAB_JOB_UNIQ is still to come.
        """
        if isinstance(peer, gear.Worker):
            peer.stopWaitingForJobs()
        peer.shutdown()

    def start_worker(self, *functions: str, kind: Callable[[str], gear.Worker] = gear.Worker) -> gear.Worker:
        """
        Start a worker for these of the functions below.
        """
        worker = kind("gear-worker")
        self.connect(worker)
        for function in functions:
            worker.registerFunction(function)
        threading.Thread(target=self.serve, args=(worker,), daemon=True).start()
        return worker

    def serve(self, worker: gear.Worker) -> None:
        """
        Do jobs until the worker is shut down.
        """
        while True:
            try:
                job = worker.getJob()
            except gear.InterruptedError:
                return
            self.seen.append(job)
            getattr(self, f"do_{job.name}")(job)

    def do_reverse(self, job: gear.WorkerJob) -> None:
        """
        The workload, back to front.
        """
        job.sendWorkComplete(job.arguments[::-1])

    def do_progress(self, job: gear.WorkerJob) -> None:
        """
        One of everything.
        """
        job.sendWorkStatus(1, 4)
        job.sendWorkData(b"first part")
        job.sendWorkWarning(b"careful")
        job.sendWorkStatus(3, 4)
        job.sendWorkComplete()

    def do_fail(self, job: gear.WorkerJob) -> None:
        """
        A failure.
        """
        job.sendWorkFail()

    def do_exception(self, job: gear.WorkerJob) -> None:
        """
        A failure with a reason.
        """
        job.sendWorkException(b"it broke")

    def do_hold(self, job: gear.WorkerJob) -> None:
        """
        A job that does not end; the test has it in C{self.seen}.
        """
        job.sendWorkStatus(2, 5)

    def run_job(self, job: gear.Job, **options: Any) -> gear.Job:
        """
        Submit a job and wait until it is over.
        """
        self.client.submitJob(job, **options)
        wait_until(lambda: job.complete, f"{job} is over")
        return job

    def ask(self, request: gear.AdminRequest) -> bytes:
        """
        Send a request of the text protocol over the client's connection.
        """
        self.client.getConnection().sendAdminRequest(request, PATIENCE)
        response: bytes = request.response
        return response


class JobTests(GearTestCase):
    """
    C{submitJob} and what becomes of the job.
    """

    def test_result(self) -> None:
        """
        A job's data is the worker's result, whatever its precedence.
        """
        self.start_worker("reverse")
        for precedence in (gear.PRECEDENCE_NORMAL, gear.PRECEDENCE_LOW, gear.PRECEDENCE_HIGH):
            job = self.run_job(gear.Job("reverse", bytes(range(256))), precedence=precedence)
            self.assertEqual((job.data, job.failure), ([bytes(range(255, -1, -1))], False))
            self.assertEqual(self.seen[-1].handle, job.handle)

    def test_text(self) -> None:
        """
        C{TextJob} and C{TextWorker} pass text that is not ASCII.
        """
        self.start_worker("reverse", kind=gear.TextWorker)
        job = self.run_job(gear.TextJob("reverse", "Grüße", unique="schön"))
        self.assertEqual(job.data, ["eßürG"])
        self.assertEqual(self.seen[0].unique, "schön")

    def test_progress(self) -> None:
        """
        Data, warnings and status reach the client's job.
        """
        self.start_worker("progress")
        job = self.run_job(gear.Job("progress", b"x"))
        self.assertEqual((job.data, job.warning), ([b"first part", b"careful"], True))
        self.assertEqual((job.numerator, job.denominator, job.fraction_complete), (b"3", b"4", 0.75))

    def test_failure(self) -> None:
        """
        A failed job is complete, and a failure; the worker goes on.
        """
        self.start_worker("fail", "reverse")
        job = self.run_job(gear.Job("fail", b"x"))
        self.assertEqual((job.failure, job.exception, job.data), (True, None, []))
        self.assertFalse(self.run_job(gear.Job("reverse", b"abc")).failure)

    def test_exception(self) -> None:
        """
        With the option C{exceptions} the job has the worker's reason; without, it only fails.
        """
        self.start_worker("exception")
        job = self.run_job(gear.Job("exception", b"x"))
        self.assertEqual((job.failure, job.exception), (True, None))
        self.assertTrue(self.client.setOption("exceptions", PATIENCE))
        job = self.run_job(gear.Job("exception", b"x"))
        self.assertEqual((job.failure, job.exception), (True, b"it broke"))

    def test_unknown_option(self) -> None:
        """
        An option that the server does not know is refused, and the connection goes on.
        """
        self.start_worker("reverse")
        self.assertFalse(self.client.setOption("teleportation", PATIENCE))
        self.assertEqual(self.run_job(gear.Job("reverse", b"abc")).data, [b"cba"])

    def test_unique(self) -> None:
        """
        Jobs of one unique id share a handle, and the worker sees the unique id; a job without one has none.
        """
        jobs = [gear.Job("reverse", b"abc", unique=unique) for unique in (b"same", b"same", None)]
        for job in jobs:
            self.client.submitJob(job, background=True)
        self.assertEqual(jobs[0].handle, jobs[1].handle)
        self.assertNotEqual(jobs[0].handle, jobs[2].handle)
        self.start_worker("reverse")
        wait_until(lambda: len(self.seen) == 2, "two jobs are done")
        self.assertEqual([job.unique for job in self.seen], [b"same", None])

    def test_echo(self) -> None:
        """
        An ECHO_REQ comes back with the same bytes.
        """
        for data in (b"", b"any\0thing"):
            self.client.getConnection().sendEchoReq(data)
        wait_until(lambda: len(self.client.echoes) == 2, "both come back")
        self.assertEqual(self.client.echoes, [b"", b"any\0thing"])


class BackgroundTests(GearTestCase):
    """
    Background jobs, and GET_STATUS.
    """

    def test_precedence(self) -> None:
        """
        Workers get high before normal before low.
        """
        for precedence, workload in (
            (gear.PRECEDENCE_LOW, b"low"), (gear.PRECEDENCE_NORMAL, b"normal"), (gear.PRECEDENCE_HIGH, b"high"),
        ):
            self.client.submitJob(gear.Job("reverse", workload), background=True, precedence=precedence)
        self.start_worker("reverse")
        wait_until(lambda: len(self.seen) == 3, "three jobs are done")
        self.assertEqual([job.arguments for job in self.seen], [b"high", b"normal", b"low"])

    def test_status(self) -> None:
        """
        GET_STATUS tells that a job waits, then how far it is, then that it is unknown.
        """
        job = gear.Job("hold", b"x")
        self.client.submitJob(job, background=True)
        self.assertEqual(self.status_of(job), (True, False, b"0", b"0"))
        self.start_worker("hold")
        wait_until(lambda: self.status_of(job) == (True, True, b"2", b"5"), "the worker reports its progress")
        self.seen[0].sendWorkComplete()
        wait_until(lambda: self.status_of(job) == (False, False, b"0", b"0"), "the job is over")

    def status_of(self, job: gear.Job) -> tuple[bool, bool, bytes, bytes]:
        """
        Ask the server for a job's status.
        """
        job.known = None
        self.client.sendPacket(gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle), job.connection)
        wait_until(lambda: job.known is not None, "the status comes")
        # gear sets these after "known", in its own thread: an echo behind them says that they are there.
        self.client.echoes.clear()
        job.connection.sendEchoReq(b"after")
        wait_until(lambda: self.client.echoes == [b"after"], "the echo comes")
        return job.known, job.running, job.numerator, job.denominator


class AdminTests(GearTestCase):
    """
    The requests of the text protocol, on the connection that jobs use.
    """

    def test_lists(self) -> None:
        """
        C{status}, C{show jobs} and C{show unique jobs} list the jobs there are.
        """
        job = gear.Job("f", b"x", unique=b"my-unique")
        self.client.submitJob(job, background=True)
        self.assertEqual(self.ask(gear.StatusAdminRequest()), b"f\t1\t0\t0\n.\n")
        self.assertEqual(self.ask(gear.ShowJobsAdminRequest()), job.handle + b"\t0\t0\t1\n.\n")
        self.assertEqual(self.ask(gear.ShowUniqueJobsAdminRequest()), b"my-unique\n.\n")

    def test_workers(self) -> None:
        """
        C{workers} lists a worker by its client id, with its functions.
        """
        self.start_worker("reverse", "hold")
        self.wait_for_workers("hold")
        lines = [line.split() for line in self.ask(gear.WorkersAdminRequest()).splitlines() if b"gear-worker" in line]
        self.assertEqual([line[1:4] for line in lines], [[b"127.0.0.1", b"gear-worker", b":"]])
        self.assertEqual(sorted(lines[0][4:]), [b"hold", b"reverse"])

    def test_version(self) -> None:
        """
        C{version} answers one line.
        """
        self.assertRegex(self.ask(gear.VersionAdminRequest()), rb"\AOK \S+\n\Z")

    def test_cancel(self) -> None:
        """
        C{cancel job} ends a queued job, and its client hears that it failed.
        """
        job = gear.Job("f", b"x")
        self.client.submitJob(job)
        self.assertEqual(self.ask(gear.CancelJobAdminRequest(job.handle)), b"OK\r\n")
        wait_until(lambda: job.complete, "the client hears of it")
        self.assertTrue(job.failure)
        self.assertEqual(self.ask(gear.CancelJobAdminRequest(b"H:nowhere:1")), b"ERR UNKNOWN_JOB\r\n")


class WorkerTests(GearTestCase):
    """
    How gear's worker registers, and what becomes of it when the server goes away.
    """

    def test_functions(self) -> None:
        """
        C{unRegisterFunction} takes one function back, C{setFunctions} replaces them all.
        """
        worker = self.start_worker("reverse", "hold", "fail")
        self.wait_for_workers("fail")
        worker.unRegisterFunction("hold")
        self.wait_for_workers("hold", 0)
        worker.setFunctions([gear.FunctionRecord(b"progress"), gear.FunctionRecord(b"exception", b"5000")])
        self.wait_for_workers("exception")
        self.assertEqual([self.server.status(name)[2] for name in ("reverse", "fail", "progress")], [0, 0, 1])

    def test_job_over_while_leaving(self) -> None:
        """
        A worker that takes its function back still ends the job that it has.
        """
        worker = self.start_worker("hold")
        job = gear.Job("hold", b"x")
        self.client.submitJob(job)
        wait_until(lambda: len(self.seen) == 1, "the worker has the job")
        worker.unRegisterFunction("hold")
        self.wait_for_workers("hold", 0)
        self.seen[0].sendWorkComplete(b"done")
        if self.is_gearmand:
            # It takes the job from the worker with the function, and nobody else can do it.
            self.wait_for_jobs("hold", 1, 0)
            return
        wait_until(lambda: job.complete, "the job is over")
        self.assertEqual(job.data, [b"done"])

    def test_timeout(self) -> None:
        """
        A job whose worker takes longer than it registered for goes to another worker.
        """
        slow = gear.Worker("slow")
        self.connect(slow)
        slow.registerFunction("reverse", b"1000")
        threading.Thread(target=self.take_and_keep, args=(slow,), daemon=True).start()
        job = gear.Job("reverse", b"abc")
        self.client.submitJob(job)
        self.wait_for_jobs("reverse", 1, 1)
        self.start_worker("reverse")
        wait_until(lambda: job.complete, "the other worker does it")
        self.assertEqual(job.data, [b"cba"])

    def take_and_keep(self, worker: gear.Worker) -> None:
        """
        Get one job and do nothing about it.
        """
        try:
            worker.getJob()
        except gear.InterruptedError:
            pass

    def test_server_restart(self) -> None:
        """
        Client and worker connect again to a server that was killed; the client hears of the job that was lost with it.
        """
        self.start_worker("reverse")
        waiting = gear.Job("nobody", b"x")
        self.client.submitJob(waiting)
        self.server.kill()
        wait_until(lambda: self.client.lost == [waiting], "the client notices")
        self.server.start()
        self.client.waitForServer(PATIENCE)
        self.wait_for_workers("reverse")
        self.assertEqual(self.run_job(gear.Job("reverse", b"abc")).data, [b"cba"])
