"""
Submissions that are one job.
"""

from __future__ import annotations

from tests.core.case import CoreCase


class CoalescingTests(CoreCase):
    """
    Which submissions join which job, and what becomes of it.
    """

    def test_queued(self) -> None:
        """
        A second submission of a unique id gets the handle of the first; its workload and priority are dropped, and both get
        the result.
        """
        client, other, worker = self.connect(), self.connect(), self.worker("f")
        self.assertEqual(client.says("SUBMIT_JOB_LOW f|u1|one"), ["JOB_CREATED H:1"])
        self.assertEqual(other.says("SUBMIT_JOB_HIGH f|u1|two"), ["JOB_CREATED H:1"])
        self.assertEqual(self.connect().says("prioritystatus\n"), ["f\t0\t0\t1\t1\n", ".\n"])
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:1|f|one", "NO_JOB"])
        worker.says("WORK_COMPLETE H:1|done")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|done"])
        self.assertEqual(other.hears(), ["WORK_COMPLETE H:1|done"])
        self.assert_nothing_left()

    def test_running(self) -> None:
        """
        A submission joins a job that runs, and hears what its worker says from then on.
        """
        client, other, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x")
        worker.says("GRAB_JOB", "WORK_DATA H:1|a")
        self.assertEqual(other.says("SUBMIT_JOB f|u1|x"), ["JOB_CREATED H:1"])
        worker.says("WORK_DATA H:1|b", "WORK_COMPLETE H:1|c")
        self.assertEqual(client.hears(), ["WORK_DATA H:1|a", "WORK_DATA H:1|b", "WORK_COMPLETE H:1|c"])
        self.assertEqual(other.hears(), ["WORK_DATA H:1|b", "WORK_COMPLETE H:1|c"])

    def test_over(self) -> None:
        """
        A job that has ended takes nobody in, however it ended.
        """
        client, worker = self.connect(), self.worker("f")
        for number, end in enumerate(("WORK_COMPLETE H:1|", "WORK_FAIL H:2", "WORK_EXCEPTION H:3|x"), 1):
            self.assertEqual(client.says("SUBMIT_JOB f|u1|x")[-1], f"JOB_CREATED H:{number}")
            worker.says("GRAB_JOB", end)
        client.says("SUBMIT_JOB f|u1|x", "cancel job H:4\n")
        self.assertEqual(client.says("SUBMIT_JOB f|u1|x"), ["JOB_CREATED H:5"])

    def test_empty(self) -> None:
        """
        Submissions without a unique id are jobs of their own.
        """
        self.assertEqual(
            self.connect().says("SUBMIT_JOB f||x", "SUBMIT_JOB f||x", "SUBMIT_JOB_BG f||x"),
            ["JOB_CREATED H:1", "JOB_CREATED H:2", "JOB_CREATED H:3"],
        )

    def test_dash(self) -> None:
        """
        With the unique id "-", equal workloads are one job.
        """
        self.assertEqual(
            self.connect().says("SUBMIT_JOB f|-|x", "SUBMIT_JOB f|-|x", "SUBMIT_JOB f|-|y", "SUBMIT_JOB_BG f|-|x"),
            ["JOB_CREATED H:1", "JOB_CREATED H:1", "JOB_CREATED H:2", "JOB_CREATED H:1"],
        )

    def test_dash_running(self) -> None:
        """
        That holds for a job that runs, and no longer when it is over.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|-|x")
        worker.says("GRAB_JOB")
        self.assertEqual(self.connect().says("SUBMIT_JOB f|-|x"), ["JOB_CREATED H:1"])
        worker.says("WORK_COMPLETE H:1|")
        self.assertEqual(self.connect().says("SUBMIT_JOB f|-|x"), ["JOB_CREATED H:2"])

    def test_dash_and_nothing(self) -> None:
        """
        Without a workload there is nothing to compare.
        """
        self.assertEqual(self.connect().says("SUBMIT_JOB f|-|", "SUBMIT_JOB f|-|"), ["JOB_CREATED H:1", "JOB_CREATED H:2"])

    def test_dash_is_apart(self) -> None:
        """
        A dash finds only jobs with a dash, and a unique id none of those.
        """
        self.assertEqual(
            self.connect().says("SUBMIT_JOB f|u1|x", "SUBMIT_JOB f|-|x", "SUBMIT_JOB f|x|y", "SUBMIT_JOB f|-|u1"),
            ["JOB_CREATED H:1", "JOB_CREATED H:2", "JOB_CREATED H:3", "JOB_CREATED H:4"],
        )

    def test_dash_abandoned(self) -> None:
        """
        A job with a dash that was abandoned, lost or cancelled takes nobody in: its workload is free again.
        """
        first = self.connect()
        first.says("SUBMIT_JOB f|-|x")
        first.hangs_up()
        client = self.connect()
        self.assertEqual(client.says("SUBMIT_JOB f|-|x"), ["JOB_CREATED H:2"])
        client.says("cancel job H:2\n")
        self.assertEqual(client.says("SUBMIT_JOB f|-|x"), ["JOB_CREATED H:3"])
        worker = self.worker("f")
        worker.says("GRAB_JOB")
        client.hangs_up()
        worker.hangs_up()
        self.assertEqual(self.connect().says("SUBMIT_JOB f|-|x"), ["JOB_CREATED H:4"])

    def test_functions_are_apart(self) -> None:
        """
        The same unique id in another function is another job.
        """
        self.assertEqual(
            self.connect().says("SUBMIT_JOB f|u|x", "SUBMIT_JOB g|u|x", "SUBMIT_JOB f|-|x", "SUBMIT_JOB g|-|x"),
            ["JOB_CREATED H:1", "JOB_CREATED H:2", "JOB_CREATED H:3", "JOB_CREATED H:4"],
        )

    def test_case_counts(self) -> None:
        """
        Unique ids are bytes: upper and lower case differ.
        """
        self.assertEqual(self.connect().says("SUBMIT_JOB f|u|x", "SUBMIT_JOB f|U|x"), ["JOB_CREATED H:1", "JOB_CREATED H:2"])

    def test_64_bytes(self) -> None:
        """
        All 64 bytes of a unique id are compared.
        """
        head = "u" * 63
        self.assertEqual(
            self.connect().says(f"SUBMIT_JOB f|{head}1|x", f"SUBMIT_JOB f|{head}1|x", f"SUBMIT_JOB f|{head}2|x"),
            ["JOB_CREATED H:1", "JOB_CREATED H:1", "JOB_CREATED H:2"],
        )

    def test_twice_on_one_connection(self) -> None:
        """
        One who asks twice is told everything twice.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x", "SUBMIT_JOB f|u1|x")
        worker.says("GRAB_JOB", "WORK_STATUS H:1|1|2", "WORK_COMPLETE H:1|y")
        self.assertEqual(
            client.hears(), ["WORK_STATUS H:1|1|2", "WORK_STATUS H:1|1|2", "WORK_COMPLETE H:1|y", "WORK_COMPLETE H:1|y"]
        )
        self.assert_nothing_left()

    def test_twice_and_gone(self) -> None:
        """
        One who asked twice and goes takes both requests along.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f|u1|x", "SUBMIT_JOB f|u1|x")
        client.hangs_up()
        self.assert_nothing_left()

    def test_one_of_two_goes(self) -> None:
        """
        A job stays as long as anyone waits for it.
        """
        client, other = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u1|x")
        other.says("SUBMIT_JOB f|u1|x")
        client.hangs_up()
        self.assertEqual(self.status(), ["f 1 0 0"])
        other.hangs_up()
        self.assertEqual(self.status(), ["f 0 0 0"])
        self.assert_nothing_left()

    def test_foreground_joins_background(self) -> None:
        """
        A foreground client that joins a background job gets its result.
        """
        client, worker = self.connect(), self.worker("f")
        self.connect().says("SUBMIT_JOB_BG f|u1|x")
        self.assertEqual(client.says("SUBMIT_JOB f|u1|x"), ["JOB_CREATED H:1"])
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])

    def test_foreground_joins_background_and_leaves(self) -> None:
        """
        A background job stays one when a foreground client has joined it and gone: queued, running, and when its worker is
        lost.
        """
        first, second, worker = self.connect(), self.connect(), self.worker("f")
        self.connect().says("SUBMIT_JOB_BG f|u1|x")
        first.says("SUBMIT_JOB f|u1|x")
        first.hangs_up()
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])
        second.says("SUBMIT_JOB f|u1|x")
        second.hangs_up()
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_background_joins_foreground_and_client_leaves(self) -> None:
        """
        A foreground job that a background client joins is in the background from then on, and outlives the client that made it.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x")
        self.assertEqual(self.connect().says("SUBMIT_JOB_BG f|u1|x"), ["JOB_CREATED H:1"])
        client.hangs_up()
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_background_hears_nothing(self) -> None:
        """
        A background client hears nothing of a job after its handle; the foreground client hears all.
        """
        client, other, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x")
        self.assertEqual(other.says("SUBMIT_JOB_BG f|u1|x"), ["JOB_CREATED H:1"])
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])
        self.assertEqual(other.hears(), [])

    def test_wakes_nobody(self) -> None:
        """
        A submission that joins a running job adds no work: no worker is woken.
        """
        client, worker, sleeper = self.connect(), self.worker("f"), self.worker("f")
        client.says("SUBMIT_JOB f|u1|x")
        worker.says("GRAB_JOB")
        sleeper.says("PRE_SLEEP")
        client.says("SUBMIT_JOB f|u1|x")
        self.assertEqual(sleeper.hears(), [])
