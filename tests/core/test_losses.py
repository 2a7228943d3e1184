"""
Workers and clients that go away, and jobs that take too long.
"""

from __future__ import annotations

from tests.core.case import Connection, CoreCase

TOO_LATE = "ERROR JOB_NOT_FOUND|Job given in work result not found"


class WorkerLossTests(CoreCase):
    """
    A worker's connection ends.
    """

    def test_queued_again(self) -> None:
        """
        Its job is queued again under the same handle; the client hears nothing of it.
        """
        client, worker, other = self.connect(), self.worker("f"), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x")
        worker.says("GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(client.hears(), [])
        self.assertEqual(self.status(), ["f 1 0 1"])
        self.assertEqual(other.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])
        other.says("WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])
        self.assert_nothing_left()

    def test_at_the_head(self) -> None:
        """
        Several jobs of one worker go to the heads of their lines, in the order in which it had grabbed them.
        """
        client, worker = self.connect(), self.worker("f")
        client.says(*(f"SUBMIT_JOB_BG f||{number}" for number in (1, 2, 3)), "SUBMIT_JOB_LOW_BG f||4")
        worker.says("GRAB_JOB", "GRAB_JOB", "GRAB_JOB", "GRAB_JOB")
        client.says("SUBMIT_JOB_BG f||5", "SUBMIT_JOB_LOW_BG f||6", "SUBMIT_JOB_HIGH_BG f||7")
        worker.hangs_up()
        other = self.worker("f")
        grabbed = [other.says("GRAB_JOB")[0].rpartition("|")[2] for _ in range(7)]
        self.assertEqual(grabbed, ["7", "1", "2", "3", "5", "4", "6"])

    def test_what_it_finished_stays_finished(self) -> None:
        """
        Only what it had not finished is queued again.
        """
        client, worker = self.connect(), self.worker("f")
        client.says(*["SUBMIT_JOB_BG f||x"] * 3)
        worker.says("GRAB_JOB", "GRAB_JOB", "GRAB_JOB", "WORK_COMPLETE H:2|", "WORK_FAIL H:1")
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:3|f|x", "NO_JOB"])

    def test_own_job(self) -> None:
        """
        A connection that was the worker and the only client of a job takes the job along.
        """
        both = self.worker("f")
        both.says("SUBMIT_JOB f||x", "GRAB_JOB")
        both.hangs_up()
        self.assert_nothing_left()

    def test_unique_is_still_taken(self) -> None:
        """
        A job that is queued again is still the one that its unique id finds.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x", "SUBMIT_JOB f|-|y")
        worker.says("GRAB_JOB", "GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(client.says("SUBMIT_JOB f|u1|x", "SUBMIT_JOB f|-|y"), ["JOB_CREATED H:1", "JOB_CREATED H:2"])

    def test_abandoned_while_it_ran(self) -> None:
        """
        A foreground job whose clients went while it ran is not tried again.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x")
        worker.says("GRAB_JOB")
        client.hangs_up()
        self.assertEqual(self.status(), ["f 1 1 1"])
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["NO_JOB"])
        self.assert_nothing_left()


class RetryTests(CoreCase):
    """
    --job-retries.
    """

    def lose(self, times: int) -> None:
        """
        Lose so many workers over the job at the head.
        """
        for _ in range(times):
            worker = self.worker("f")
            self.assertIn("JOB_ASSIGN H:1|f|x", worker.says("GRAB_JOB"))
            worker.hangs_up()

    def test_no_limit(self) -> None:
        """
        By default a job is tried for ever; C{show jobs} counts how often.
        """
        for retries in (0, -1):
            self.serve(job_retries=retries)
            client = self.connect()
            client.says("SUBMIT_JOB f||x")
            self.lose(20)
            self.assertEqual(client.says("show jobs\n"), ["H:1\t20\t0\t0\n", ".\n"])

    def test_one(self) -> None:
        """
        With 1 a job is lost with its first worker, and its clients get a WORK_FAIL with the bare handle.
        """
        self.serve(job_retries=1)
        client, other = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x")
        other.says("SUBMIT_JOB f|u|x")
        self.lose(1)
        self.assertEqual(client.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(other.hears(), ["WORK_FAIL H:1"])
        self.assert_nothing_left()

    def test_two(self) -> None:
        """
        With 2 it is tried again once.
        """
        self.serve(job_retries=2)
        client = self.connect()
        client.says("SUBMIT_JOB f|u|x")
        self.lose(1)
        self.assertEqual(client.hears(), [])
        self.lose(1)
        self.assertEqual(client.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["NO_JOB"])
        self.assert_nothing_left()

    def test_background(self) -> None:
        """
        Background jobs have the same number of attempts.
        """
        self.serve(job_retries=2)
        self.connect().says("SUBMIT_JOB_BG f|u|x")
        self.lose(2)
        self.assert_nothing_left()

    def test_timeouts_count(self) -> None:
        """
        A timeout is a lost attempt.
        """
        self.serve(job_retries=2)
        client, worker = self.connect(), self.connect()
        client.says("SUBMIT_JOB f||x")
        worker.says("CAN_DO_TIMEOUT f|1000", "GRAB_JOB")
        self.clock.advance(1)
        self.assertEqual(client.hears(), [])
        self.lose(1)
        self.assertEqual(client.hears(), ["WORK_FAIL H:1"])

    def test_failures_do_not_count(self) -> None:
        """
        WORK_FAIL is a result: the job is not tried again, whatever the limit.
        """
        self.serve(job_retries=5)
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "WORK_FAIL H:1")
        self.assertEqual(worker.says("GRAB_JOB"), ["NO_JOB"])

    def test_the_last_attempt_of_several_jobs(self) -> None:
        """
        Each of a lost worker's jobs is judged by its own attempts.
        """
        self.serve(job_retries=2)
        client = self.connect()
        client.says("SUBMIT_JOB f||x")
        self.lose(1)
        client.says("SUBMIT_JOB f||y")
        worker = self.worker("f")
        worker.says("GRAB_JOB", "GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(client.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|f|y", "NO_JOB"])


class ClientLossTests(CoreCase):
    """
    A client's connection ends.
    """

    def test_queued(self) -> None:
        """
        A queued foreground job that nobody waits for is gone at once: from the lists, the limits and memory.
        """
        client, admin = self.connect(), self.connect()
        admin.says("maxqueue f 1\n")
        client.says("SUBMIT_JOB f|u|x")
        client.hangs_up()
        self.assertEqual(self.status(), ["f 0 0 0"])
        self.assertEqual(admin.says("show jobs\n", "show unique jobs\n"), [".\n", ".\n"])
        self.assert_nothing_left()
        self.assertEqual(admin.says("SUBMIT_JOB f|u|y"), ["JOB_CREATED H:2"])
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|f|y", "NO_JOB"])

    def test_in_the_middle(self) -> None:
        """
        The jobs of others around it stay, in their order.
        """
        stays, goes = self.connect(), self.connect()
        for number in range(6):
            (goes if number % 2 else stays).says(f"SUBMIT_JOB f||{number}")
        goes.hangs_up()
        self.assertEqual(self.connect().says("prioritystatus\n"), ["f\t0\t3\t0\t0\n", ".\n"])
        worker = self.worker("f")
        self.assertEqual(
            worker.says(*["GRAB_JOB"] * 4), ["JOB_ASSIGN H:1|f|0", "JOB_ASSIGN H:3|f|2", "JOB_ASSIGN H:5|f|4", "NO_JOB"]
        )

    def test_running(self) -> None:
        """
        A running job goes on; what its worker says is taken and dropped, without an error.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        client.hangs_up()
        self.assertEqual(worker.says("WORK_DATA H:1|a", "WORK_STATUS H:1|1|2", "WORK_COMPLETE H:1|b"), [])
        self.assert_nothing_left()

    def test_joined_while_nobody_waits(self) -> None:
        """
        A job that goes on without its client takes the next client in.
        """
        client, other, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        client.hangs_up()
        self.assertEqual(other.says("SUBMIT_JOB f|u|x"), ["JOB_CREATED H:1"])
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_background(self) -> None:
        """
        A background job does not care.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u|x")
        client.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_payload_is_let_go(self) -> None:
        """
        The workload of an abandoned job goes at once, though its place in the line is kept until it comes to the head.
        """
        stays, goes = self.connect(), self.connect()
        stays.says("SUBMIT_JOB f||first")
        goes.says("SUBMIT_JOB f||second")
        job = self.server.jobs[b"H:2"]
        goes.hangs_up()
        self.assertIn(job, self.server.functions[b"f"].normal)
        self.assertEqual((job.workload, job.clients), (b"", ()))


class TimeoutTests(CoreCase):
    """
    CAN_DO_TIMEOUT.
    """

    def impatient(self, milliseconds: int, jobs: int = 1) -> Connection:
        """
        A worker that has grabbed some jobs of C{f}, for each of which it has so long.
        """
        self.client = self.connect()
        self.client.says(*(f"SUBMIT_JOB f||{number}" for number in range(1, jobs + 1)))
        worker = self.connect()
        worker.says(f"CAN_DO_TIMEOUT f|{milliseconds}", *["GRAB_JOB"] * jobs)
        return worker

    def test_in_time(self) -> None:
        """
        A worker that is in time is left alone, and no timer is.
        """
        worker = self.impatient(2000)
        self.clock.advance(1.99)
        self.assertEqual(worker.says("WORK_COMPLETE H:1|y"), [])
        self.assertEqual(self.client.hears(), ["WORK_COMPLETE H:1|y"])
        self.assertEqual(self.clock.pending(), 0)
        self.assert_nothing_left()

    def test_too_late(self) -> None:
        """
        When the time is over the job is queued again, and neither worker nor client is told; the late result is none.
        """
        worker = self.impatient(2000)
        self.clock.advance(2)
        self.assertEqual((worker.hears(), self.client.hears()), ([], []))
        self.assertEqual(self.status(), ["f 1 0 1"])
        self.assertEqual(worker.says("WORK_COMPLETE H:1|y"), [TOO_LATE])
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|1"])

    def test_the_same_worker_again(self) -> None:
        """
        The worker that was too slow may grab the job again, with as much time as before.
        """
        worker = self.impatient(2000)
        self.clock.advance(2)
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|1"])
        self.clock.advance(1.9)
        self.assertEqual(worker.says("WORK_COMPLETE H:1|y"), [])
        self.assertEqual(self.client.hears(), ["WORK_COMPLETE H:1|y"])

    def test_wakes(self) -> None:
        """
        A sleeping worker is woken for the job.
        """
        self.impatient(1000)
        sleeper = self.sleeper("f")
        self.clock.advance(1)
        self.assertEqual(sleeper.hears(), ["NOOP"])

    def test_less_than_a_second(self) -> None:
        """
        Less than a second is a second.
        """
        self.impatient(1)
        self.clock.advance(0.99)
        self.assertEqual(self.status(), ["f 1 1 1"])
        self.clock.advance(0.01)
        self.assertEqual(self.status(), ["f 1 0 1"])

    def test_none(self) -> None:
        """
        Zero, less than zero, and what is no number are no limit.
        """
        for milliseconds in ("0", "-5", "soon", ""):
            self.serve()
            client, worker = self.connect(), self.connect()
            client.says("SUBMIT_JOB f||x")
            worker.says(f"CAN_DO_TIMEOUT f|{milliseconds}", "GRAB_JOB")
            self.clock.advance(1e9)
            self.assertEqual(self.status(), ["f 1 1 1"])

    def test_beyond_all_times(self) -> None:
        """
        A number beyond 63 bits is refused, and the ability with it.
        """
        worker = self.connect()
        self.assertEqual(
            worker.says(f"CAN_DO_TIMEOUT f|{1 << 63}"), ["ERROR INVALID_ARGUMENT|The timeout is not a number of milliseconds"]
        )
        self.assertEqual(self.server.functions, {})
        self.assertEqual(worker.says(f"CAN_DO_TIMEOUT f|{(1 << 63) - 1}"), [])

    def test_two_jobs(self) -> None:
        """
        Each job has its own time: finishing one, or grabbing another, does not change that of the first.
        """
        worker = self.impatient(3000)
        self.clock.advance(2)
        self.client.says("SUBMIT_JOB f||2", "SUBMIT_JOB f||3")
        worker.says("GRAB_JOB", "GRAB_JOB", "WORK_COMPLETE H:3|")
        self.clock.advance(1)
        self.assertEqual(self.status(), ["f 2 1 1"])
        self.assertEqual(worker.says("WORK_COMPLETE H:1|"), [TOO_LATE])
        self.clock.advance(2)
        self.assertEqual(self.status(), ["f 2 0 1"])
        self.assertEqual(worker.says("WORK_COMPLETE H:2|"), [TOO_LATE])

    def test_several_at_once(self) -> None:
        """
        Jobs that were grabbed in one turn run out of time in one, and all are queued again.
        """
        worker = self.impatient(1000, jobs=3)
        self.clock.advance(1)
        self.assertEqual(self.status(), ["f 3 0 1"])
        worker.hangs_up()
        self.assertEqual(self.status(), ["f 3 0 0"])

    def test_pre_sleep(self) -> None:
        """
        PRE_SLEEP does not stop the time.
        """
        worker = self.impatient(1000)
        worker.says("PRE_SLEEP")
        self.clock.advance(1)
        self.assertEqual(self.status(), ["f 1 0 1"])
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_a_job_without_limit(self) -> None:
        """
        A function without a timeout, grabbed meanwhile, does not stop the time either.
        """
        worker = self.impatient(1000)
        self.client.says("SUBMIT_JOB g||x")
        worker.says("CAN_DO g", "GRAB_JOB")
        self.clock.advance(1)
        self.assertEqual(self.status(), ["f 1 0 1", "g 1 1 1"])

    def test_changed(self) -> None:
        """
        The last registration counts for what is grabbed from then on; CAN_DO has no limit.
        """
        worker = self.impatient(1000)
        self.client.says("SUBMIT_JOB f||2")
        worker.says("CAN_DO f", "GRAB_JOB")
        self.clock.advance(60)
        self.assertEqual(worker.says("WORK_COMPLETE H:2|"), [])
        self.assertEqual(worker.says("WORK_COMPLETE H:1|"), [TOO_LATE])

    def test_given_up(self) -> None:
        """
        A worker that gives up the ability keeps its job, and the job its time.
        """
        worker = self.impatient(1000)
        worker.says("CANT_DO f")
        self.clock.advance(1)
        self.assertEqual(self.status(), ["f 1 0 0"])

    def test_worker_gone(self) -> None:
        """
        The time of a job ends with its worker's connection: the job is queued again once.
        """
        worker = self.impatient(1000)
        worker.hangs_up()
        self.assertEqual(self.server._timeouts, {})
        self.clock.advance(5)
        self.assertEqual(self.client.says("show jobs\n"), ["H:1\t1\t0\t0\n", ".\n"])

    def test_abandoned(self) -> None:
        """
        A job that nobody waits for is gone when its time is over.
        """
        self.impatient(1000)
        self.client.hangs_up()
        self.clock.advance(1)
        self.assert_nothing_left()
