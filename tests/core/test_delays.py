"""
SUBMIT_JOB_EPOCH: jobs that wait for their time.
"""

from __future__ import annotations

from gearsvc.core.delays import LONGEST_SLEEP
from tests.core.case import NOON, Connection, CoreCase


class EpochTests(CoreCase):
    """
    Delayed jobs.
    """

    def delay(self, *seconds: float, function: str = "f") -> Connection:
        """
        Submit a job for each of these times from now; the workload is the number of seconds.
        """
        client = self.connect()
        for each in seconds:
            client.says(f"SUBMIT_JOB_EPOCH {function}||{int(self.clock.time() + each)}|{each}")
        return client

    def test_not_before_its_time(self) -> None:
        """
        It cannot be grabbed before its time, and can be at that very second; PRE_SLEEP agrees with GRAB_JOB.
        """
        self.delay(10)
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB", "PRE_SLEEP"), ["NO_JOB"])
        self.clock.advance(9.9)
        self.assertEqual(worker.says("GRAB_JOB", "PRE_SLEEP"), ["NO_JOB"])
        self.clock.advance(0.1)
        self.assertEqual(worker.hears(), ["NOOP"])
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|10"])

    def test_wakes_on_time(self) -> None:
        """
        Sleeping workers are woken when its time has come, and not when it is submitted.
        """
        worker = self.sleeper("f")
        self.delay(100)
        self.assertEqual(worker.hears(), [])
        self.clock.advance(99)
        self.assertEqual(worker.hears(), [])
        self.clock.advance(1)
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_past(self) -> None:
        """
        A time that has passed, is now, is 0, below 0 or no number is at once.
        """
        client, worker = self.connect(), self.worker("f")
        for when in (int(NOON) - 1, int(NOON), 0, -5, "abc", ""):
            client.says(f"SUBMIT_JOB_EPOCH f||{when}|x")
            self.assertTrue(worker.says("GRAB_JOB")[0].startswith("JOB_ASSIGN"))
        self.assertEqual(self.clock.pending(), 1)  # The wake-ups'.

    def test_beyond_all_times(self) -> None:
        """
        A time beyond 63 bits is refused; one of 63 bits waits.
        """
        client = self.connect()
        self.assertEqual(
            client.says(f"SUBMIT_JOB_EPOCH f||{1 << 63}|x"),
            ["ERROR INVALID_ARGUMENT|The epoch is not a time: it has to be in seconds since 1970"],
        )
        self.assertEqual(client.says(f"SUBMIT_JOB_EPOCH f||{(1 << 63) - 1}|x"), ["JOB_CREATED H:1"])
        self.clock.advance(10 * LONGEST_SLEEP)
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["NO_JOB"])

    def test_in_the_order_of_their_times(self) -> None:
        """
        Jobs are done in the order of their times, those of one time in the order of submission.
        """
        self.delay(30, 10, 20)
        self.delay(10)
        worker = self.worker("f")
        self.clock.advance(30)
        self.assertEqual(
            worker.says(*["GRAB_JOB"] * 5),
            ["JOB_ASSIGN H:2|f|10", "JOB_ASSIGN H:4|f|10", "JOB_ASSIGN H:3|f|20", "JOB_ASSIGN H:1|f|30", "NO_JOB"],
        )

    def test_an_earlier_one_comes(self) -> None:
        """
        A job that is due before all others gets its own time.
        """
        worker = self.sleeper("f")
        self.delay(50)
        self.delay(5)
        self.clock.advance(5)
        self.assertEqual(worker.says("GRAB_JOB"), ["NOOP", "JOB_ASSIGN H:2|f|5"])

    def test_hides_nothing(self) -> None:
        """
        A delayed job stands in no other job's way: gearmand hides jobs of low priority behind it.
        """
        self.delay(10)
        self.connect().says("SUBMIT_JOB_LOW_BG f||low")
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB", "PRE_SLEEP"), ["JOB_ASSIGN H:2|f|low", "NO_JOB"])

    def test_functions_apart(self) -> None:
        """
        Each function's jobs have their own times.
        """
        f, g = self.sleeper("f"), self.sleeper("g")
        self.delay(10)
        self.delay(20, function="g")
        self.clock.advance(10)
        self.assertEqual((f.hears(), g.hears()), (["NOOP"], []))
        self.clock.advance(10)
        self.assertIn("NOOP", g.hears())

    def test_counted(self) -> None:
        """
        A delayed job counts in C{status}, C{prioritystatus}, C{show jobs} and the limits, and is known to GET_STATUS.
        """
        client = self.delay(10)
        self.assertEqual(self.status(), ["f 1 0 0"])
        self.assertEqual(client.says("prioritystatus\n", "show jobs\n"), ["f\t0\t1\t0\t0\n", ".\n", "H:1\t0\t0\t1\n", ".\n"])
        self.assertEqual(client.says("GET_STATUS H:1"), ["STATUS_RES H:1|1|0|0|0"])
        client.says("maxqueue f 1\n")
        self.assertEqual(client.says("SUBMIT_JOB f||x"), ["OK\r\n", "ERROR QUEUE_ERROR|Job queue is full"][1:])

    def test_coalesces(self) -> None:
        """
        A submission of its unique id joins it and waits for its time.
        """
        self.connect().says(f"SUBMIT_JOB_EPOCH f|u1|{int(NOON) + 10}|x")
        client = self.connect()
        self.assertEqual(client.says("SUBMIT_JOB f|u1|y"), ["JOB_CREATED H:1"])
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB"), ["NO_JOB"])
        self.clock.advance(10)
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|z")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|z"])

    def test_client_goes(self) -> None:
        """
        It is a background job: its client may go.
        """
        self.delay(10).hangs_up()
        self.clock.advance(10)
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|10"])

    def test_worker_lost(self) -> None:
        """
        When its worker is lost, its time has come already.
        """
        self.delay(10)
        self.clock.advance(10)
        worker = self.worker("f")
        worker.says("GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|10"])

    def test_cancelled(self) -> None:
        """
        A delayed job that is cancelled is gone at once, and does not come at its time.
        """
        client = self.delay(10)
        self.assertEqual(client.says("cancel job H:1\n"), ["OK\r\n"])
        self.assert_nothing_left()
        worker = self.sleeper("f")
        self.clock.advance(10)
        self.assertEqual(worker.hears(), [])
        self.assertEqual(self.clock.pending(), 0)

    def test_first_cancelled(self) -> None:
        """
        The others keep their times when the first is cancelled.
        """
        client = self.delay(10, 20)
        client.says("cancel job H:1\n")
        worker = self.sleeper("f")
        self.clock.advance(19)
        self.assertEqual(worker.hears(), [])
        self.clock.advance(1)
        self.assertEqual(worker.says("GRAB_JOB"), ["NOOP", "JOB_ASSIGN H:2|f|20"])

    def test_function_dropped(self) -> None:
        """
        A dropped function's delayed jobs go with it, and its timer too.
        """
        self.assertEqual(self.delay(10, 20).says("drop function f\n"), ["OK\r\n"])
        self.assertEqual(self.clock.pending(), 0)
        self.delay(5)
        self.clock.advance(30)
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:3|f|5", "NO_JOB"])


class ClockTests(CoreCase):
    """
    A clock that is set.
    """

    def setUp(self) -> None:
        """
        A job in an hour, and a worker that waits for it.
        """
        super().setUp()
        self.connect().says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 3600}|x")
        self.worker_ = self.sleeper("f")

    def test_set_forward(self) -> None:
        """
        When the clock is set past its time, a job is late by a minute at most.
        """
        self.clock.wall += 7200
        self.clock.advance(LONGEST_SLEEP)
        self.assertEqual(self.worker_.says("GRAB_JOB"), ["NOOP", "JOB_ASSIGN H:1|f|x"])

    def test_set_back(self) -> None:
        """
        When the clock is set back, a job waits for its time all the same.
        """
        self.clock.wall -= 3600
        self.clock.advance(3600)
        self.assertEqual(self.worker_.hears(), [])
        self.clock.advance(3600)
        self.assertEqual(self.worker_.hears(), ["NOOP"])

    def test_set_back_in_the_midst(self) -> None:
        """
        When the clock is set back just as the job's time has come, it waits again, with one timer and not two.
        """
        times = iter([NOON + 3600, NOON])
        self.clock.advance(3540)
        self.server._delays._clock = self.clock
        honest, self.clock.time = self.clock.time, lambda: next(times, None) or honest()  # type: ignore[method-assign]
        self.clock.wall -= 3600
        self.clock.advance(60)
        self.assertEqual(self.worker_.hears(), [])
        self.assertEqual(self.clock.pending(), 1)
        self.clock.advance(3600)
        self.assertEqual(self.worker_.says("GRAB_JOB"), ["NOOP", "JOB_ASSIGN H:1|f|x"])
        self.clock.advance(3600)
        self.assertEqual(self.clock.pending(), 0)
