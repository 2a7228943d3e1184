"""
Jobs that are taken away: cancel, and drop function.
"""

from __future__ import annotations

from tests.core.case import NOON, CoreCase, FakeStore

LATE = (
    "WORK_STATUS H:1|1|2",
    "WORK_DATA H:1|a",
    "WORK_WARNING H:1|b",
    "WORK_COMPLETE H:1|c",
)


class CancelTests(CoreCase):
    """
    C{cancel job}, in each state of a job.
    """

    def test_queued(self) -> None:
        """
        A queued job is gone at once; its clients get WORK_FAIL with the bare handle, each once for each time that it asked.
        """
        client, other, background = self.connect(), self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x", "SUBMIT_JOB f|u|x")
        other.says("SUBMIT_JOB f|u|x")
        background.says("SUBMIT_JOB_BG f|u|x")
        self.assertEqual(self.connect().says("cancel job H:1\n"), ["OK\r\n"])
        self.assertEqual(client.hears(), ["WORK_FAIL H:1", "WORK_FAIL H:1"])
        self.assertEqual(other.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(background.hears(), [])
        self.assert_nothing_left()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["NO_JOB"])
        self.assertEqual(self.status(), ["f 0 0 1"])

    def test_in_the_middle(self) -> None:
        """
        The jobs around it stay, in their order.
        """
        client = self.connect()
        client.says(*(f"SUBMIT_JOB_BG f||{number}" for number in range(1, 6)))
        client.says("cancel job H:3\n", "cancel job H:1\n", "cancel job H:5\n")
        self.assertEqual(
            self.worker("f").says("GRAB_JOB", "GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|f|2", "JOB_ASSIGN H:4|f|4", "NO_JOB"]
        )

    def test_running(self) -> None:
        """
        A running job is gone at once: its client hears nothing after the WORK_FAIL, and its worker, which is not told, gets
        no error for what it still says.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        client.says("cancel job H:1\n")
        self.assertEqual(worker.hears(), [])
        self.assertEqual(self.status(), ["f 0 0 1"])
        self.assert_nothing_left()
        self.assertEqual(worker.says(*LATE), [])
        self.assertEqual(client.hears(), [])

    def test_late_failure_and_exception(self) -> None:
        """
        A late WORK_FAIL or WORK_EXCEPTION is swallowed as well, and so is the one after the other.
        """
        for late in (["WORK_FAIL H:1"], ["WORK_EXCEPTION H:1|x", "WORK_FAIL H:1"]):
            self.serve()
            client, worker = self.connect(), self.worker("f")
            client.says("SUBMIT_JOB f|u|x")
            worker.says("GRAB_JOB")
            self.assertEqual(client.says("cancel job H:1\n"), ["WORK_FAIL H:1", "OK\r\n"])
            self.assertEqual(worker.says(*late), [])
            self.assertEqual(client.hears(), [])

    def test_the_last_word(self) -> None:
        """
        After its last word on a cancelled job, whatever the worker says of it is an error again.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        client.says("cancel job H:1\n")
        worker.says("WORK_COMPLETE H:1|")
        self.assertEqual(worker.says("WORK_DATA H:1|"), ["ERROR JOB_NOT_FOUND|Job does not exist on server"])

    def test_worker_goes(self) -> None:
        """
        When the worker of a cancelled job goes, the job is not tried again.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB_BG f|u|x")
        worker.says("GRAB_JOB")
        client.says("cancel job H:1\n")
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["NO_JOB"])

    def test_timeout(self) -> None:
        """
        The time of a cancelled job ends with it.
        """
        client, worker = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x")
        worker.says("CAN_DO_TIMEOUT f|1000", "GRAB_JOB")
        client.says("cancel job H:1\n")
        self.assertEqual(self.clock.pending(), 0)

    def test_delayed(self) -> None:
        """
        A delayed job is gone at once; who joined it gets WORK_FAIL.
        """
        client = self.connect()
        client.says(f"SUBMIT_JOB_EPOCH f|u|{int(NOON) + 10}|x", "SUBMIT_JOB f|u|x")
        self.assertEqual(client.says("cancel job H:1\n"), ["WORK_FAIL H:1", "OK\r\n"])
        self.assert_nothing_left()

    def test_being_stored(self) -> None:
        """
        A job that is being stored is not there to be cancelled: nobody was told its handle, and who waits for it may yet
        hear that it could not be stored.
        """
        store = FakeStore()
        self.serve(store)
        client, other = self.connect(), self.connect()
        client.says("SUBMIT_JOB_BG f|u|x")
        other.says("SUBMIT_JOB f|u|x")
        self.assertEqual(self.connect().says("cancel job H:1\n"), ["ERR UNKNOWN_JOB\r\n"])
        store.answers("the disk is full")
        refused = ["ERROR QUEUE_ERROR|the disk is full"]
        self.assertEqual((client.hears(), other.hears()), (refused, refused))
        client.says("SUBMIT_JOB_BG f|u|x")
        other.says("SUBMIT_JOB f|u|x")
        store.answers()
        self.assertEqual(self.connect().says("cancel job H:2\n"), ["OK\r\n"])
        self.assertEqual(client.hears(), ["JOB_CREATED H:2"])
        self.assertEqual(other.hears(), ["JOB_CREATED H:2", "WORK_FAIL H:2"])
        self.assertEqual(store.rows, set())
        self.assert_nothing_left()

    def test_stored(self) -> None:
        """
        A stored job is taken out of the store.
        """
        store = FakeStore()
        self.serve(store)
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u|x")
        store.answers()
        client.says("cancel job H:1\n")
        self.assertEqual(store.rows, set())

    def test_unique_is_free(self) -> None:
        """
        The unique id of a cancelled job is free, and so is a workload.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB_BG f|-|x", "cancel job H:1\n", "cancel job H:2\n")
        self.assertEqual(client.says("SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB_BG f|-|x"), ["JOB_CREATED H:3", "JOB_CREATED H:4"])

    def test_unknown(self) -> None:
        """
        A job that there is not, or no longer, is unknown.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x", "cancel job H:1\n")
        self.assertEqual(client.says("cancel job H:1\n", "cancel job H:9\n"), ["ERR UNKNOWN_JOB\r\n"] * 2)


class DropTests(CoreCase):
    """
    C{drop function}.
    """

    def test_empty(self) -> None:
        """
        A function without jobs and workers is forgotten.
        """
        admin = self.connect()
        admin.says("create function f\n", "create function g\n")
        self.assertEqual(admin.says("drop function f\n"), ["OK\r\n"])
        self.assertEqual(self.status(), ["g 0 0 0"])

    def test_waiting_jobs(self) -> None:
        """
        Its waiting jobs, delayed ones too, go with it, and their clients get WORK_FAIL; those of others stay.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB g||x", f"SUBMIT_JOB_EPOCH f|-|{int(NOON) + 9}|x")
        self.assertEqual(client.says("drop function f\n"), ["WORK_FAIL H:1", "OK\r\n"])
        self.assertEqual(self.status(), ["g 1 0 0"])
        self.assertEqual(list(self.server.jobs), [b"H:3"])
        self.clock.advance(60)
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["NO_JOB"])

    def test_stored_jobs(self) -> None:
        """
        They go from the store too; a function of which a job is being stored is not dropped.
        """
        store = FakeStore()
        self.serve(store)
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        store.answers()
        client.says("SUBMIT_JOB_BG f||x")
        self.assertEqual(
            self.connect().says("drop function f\n"), ["ERR there are still connected workers or executing clients\r\n"]
        )
        store.answers()
        self.assertEqual(self.connect().says("drop function f\n"), ["OK\r\n"])
        self.assertEqual(store.rows, set())
        self.assertEqual(self.status(), [])
        self.assert_nothing_left()

    def test_workers(self) -> None:
        """
        A function that a worker can do is not dropped.
        """
        worker = self.worker("f")
        refusal = ["ERR there are still connected workers or executing clients\r\n"]
        self.assertEqual(worker.says("drop function f\n"), refusal)
        self.assertEqual(worker.says("CANT_DO f", "drop function f\n"), ["OK\r\n"])

    def test_running_job(self) -> None:
        """
        Nor is one of which a job runs, though its worker has given up the ability.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "CANT_DO f")
        self.assertEqual(worker.says("drop function f\n"), ["ERR there are still connected workers or executing clients\r\n"])
        self.assertEqual(self.status(), ["f 2 1 0"])
        worker.says("WORK_COMPLETE H:1|")
        self.assertEqual(worker.says("drop function f\n"), ["OK\r\n"])
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|", "WORK_FAIL H:2"])

    def test_unknown(self) -> None:
        """
        A function that there is not is not found.
        """
        self.assertEqual(self.connect().says("drop function f\n"), ["ERR function not found\r\n"])

    def test_case(self) -> None:
        """
        Upper and lower case are the same, unless there is one of exactly this name.
        """
        admin = self.connect()
        admin.says("create function Reverse\n", "create function REVERSE\n")
        admin.says("drop function REVERSE\n")
        self.assertEqual(self.status(), ["Reverse 0 0 0"])
        self.assertEqual(admin.says("drop function reverse\n"), ["OK\r\n"])
        self.assertEqual(self.status(), [])

    def test_made_anew(self) -> None:
        """
        A function that is made anew is a new one: sleeping workers that learn it are woken for its jobs.
        """
        worker = self.sleeper("f")
        worker.says("CANT_DO f", "drop function f\n", "CAN_DO f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(worker.hears(), ["NOOP"])
