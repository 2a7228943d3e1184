"""
Functions that are paused.
"""

from __future__ import annotations

from gearsvc.core.jobs import JobRecord
from gearsvc.core.pauses import MARK
from tests.core.case import NOON, CoreCase, StoreCase


class PauseTests(CoreCase):
    """
    Without a store.
    """

    def setUp(self) -> None:
        """
        Remember answers.
        """
        super().setUp()
        self.answers: list[str | None] = []

    def pause(self, function: bytes = b"f") -> None:
        """
        Pause a function.
        """
        self.server.pause(function, self.answers.append)
        self.server.flush()

    def test_nothing_is_handed_out(self) -> None:
        """
        The jobs of a paused function stay queued, new ones are taken, workers are not woken, and other functions go on.
        """
        client, worker, sleeper = self.connect(), self.worker("f", "g"), self.sleeper("f")
        client.says("SUBMIT_JOB f||1")
        self.assertEqual(sleeper.hears(), ["NOOP"])
        self.pause()
        self.assertEqual(self.answers, [None])
        self.assertEqual(client.says("SUBMIT_JOB_HIGH f||2", "SUBMIT_JOB g||3"), ["JOB_CREATED H:3", "JOB_CREATED H:4"])
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB", "PRE_SLEEP"), ["JOB_ASSIGN H:4|g|3", "NO_JOB"])
        self.clock.advance(5)
        self.assertEqual((sleeper.hears(), worker.hears()), ([], []))
        self.assertEqual(self.status(), ["f 2 0 2", "g 1 1 1"])

    def test_global_priority(self) -> None:
        """
        The same where priority counts over all functions.
        """
        self.serve(global_priority=True)
        self.connect().says("SUBMIT_JOB_HIGH f||1", "SUBMIT_JOB_LOW g||2")
        self.pause()
        self.assertEqual(self.worker("f", "g").says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|g|2", "NO_JOB"])

    def test_running_jobs_go_on(self) -> None:
        """
        A job that runs when its function is paused is completed; one whose worker is lost waits.
        """
        client, worker, other = self.connect(), self.worker("f"), self.worker("f")
        client.says("SUBMIT_JOB f||1", "SUBMIT_JOB f||2")
        worker.says("GRAB_JOB")
        other.says("GRAB_JOB")
        self.pause()
        worker.says("WORK_COMPLETE H:1|done")
        other.hangs_up()
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|done"])
        self.assertEqual(self.status(), ["f 1 0 1"])
        self.assertEqual(worker.says("GRAB_JOB"), ["NO_JOB"])

    def test_resume(self) -> None:
        """
        Resuming wakes a worker for each job that waits, and hands the jobs out in their order.
        """
        self.serve(worker_wakeup=1)
        sleepers = [self.sleeper("f") for _ in range(3)]
        self.pause()
        self.connect().says("SUBMIT_JOB f||1", "SUBMIT_JOB f||2")
        self.assertTrue(self.server.resume(b"f"))
        self.server.flush()
        self.assertEqual([sleeper.hears() for sleeper in sleepers], [["NOOP"], ["NOOP"], []])
        self.assertEqual(sleepers[0].says("GRAB_JOB"), ["JOB_ASSIGN H:2|f|1"])
        self.assertFalse(self.server.resume(b"f"))
        self.assertFalse(self.server.resume(b"nosuch"))

    def test_due_while_paused(self) -> None:
        """
        A job whose time comes while its function is paused waits for both.
        """
        sleeper = self.sleeper("f")
        self.connect().says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x")
        self.pause()
        self.clock.advance(10)
        self.assertEqual(sleeper.hears(), [])
        self.server.resume(b"f")
        self.server.flush()
        self.assertEqual(sleeper.hears(), ["NOOP"])

    def test_shown(self) -> None:
        """
        C{show paused} lists what is paused, and since when; pausing again changes nothing.
        """
        self.assertEqual(self.connect().says("show paused\n"), [".\n"])
        self.pause()
        self.clock.advance(60)
        self.pause()
        self.assertEqual(self.connect().says("show paused\n"), [f"f\t{int(NOON)}\n", ".\n"])
        self.assertEqual(self.answers, [None, None])


class StoredPauseTests(StoreCase):
    """
    With a store.
    """

    def setUp(self) -> None:
        """
        Remember answers.
        """
        super().setUp()
        self.answers: list[str | None] = []

    def test_kept(self) -> None:
        """
        A pause is told to be done when the store has it; at the next start the function is paused, since the same time,
        though it has no jobs; resuming removes it from the store.
        """
        self.server.pause(b"f\xff", self.answers.append)
        self.assertEqual(self.answers, [])
        self.store.answers()
        self.assertEqual(self.answers, [None])
        [record] = self.store.rows
        self.assertEqual((record.function, record.unique, record.workload), (MARK + b"f\xff", b"", b""))

        self.serve()
        self.store.rows.add(record)
        self.server.replay([record])
        queue = self.server.functions[b"f\xff"]
        self.assertEqual((queue.paused, queue.total, queue.balance), (NOON, 0, 0))
        self.assertEqual(self.server.jobs, {})
        self.assertTrue(self.server.resume(b"f\xff"))
        self.assertEqual(self.store.rows, set())

    def test_refused(self) -> None:
        """
        A pause that can't be stored is told so, and is none: the workers are woken.
        """
        sleeper = self.sleeper("f")
        self.server.pause(b"f", self.answers.append)
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(sleeper.hears(), [])
        self.store.answers("the disk is full")
        self.assertEqual(self.answers, ["the disk is full"])
        self.assertEqual(sleeper.hears(), ["NOOP"])
        self.assertEqual(sleeper.says("GRAB_JOB"), ["JOB_ASSIGN H:2|f|x"])

    def test_resumed_before_it_is_stored(self) -> None:
        """
        Who pauses hears it if somebody resumes the function before the pause is stored.
        """
        self.server.pause(b"f", self.answers.append)
        self.assertTrue(self.server.resume(b"f"))
        self.store.answers()
        self.assertEqual(self.answers, ["the function was resumed meanwhile"])
        self.assertEqual((self.store.rows, self.server.functions[b"f"].paused), (set(), 0.0))

    def test_dropped(self) -> None:
        """
        A function that is dropped is not paused when it comes again, nor after a restart.
        """
        self.server.pause(b"f", self.answers.append)
        self.store.answers()
        self.server.drop_function(b"f")
        self.assertEqual(self.store.rows, set())
        self.server.create_function(b"f")
        self.assertEqual(self.server.functions[b"f"].paused, 0.0)

    def test_twice_in_the_store(self) -> None:
        """
        Of two records of one function's pause, the second is removed.
        """
        records = [JobRecord(handle, MARK + b"f", b"", 1, b"", submitted=5.0) for handle in (b"H:1", b"")]
        self.store.rows.update(records)
        self.server.replay(records)
        self.assertEqual(self.store.rows, {records[0]})
        self.assertEqual(self.server.functions[b"f"].paused, 5.0)

    def test_among_jobs(self) -> None:
        """
        A pause that is stored in one batch with jobs is no job.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||1")
        self.server.pause(b"f", self.answers.append)
        client.says("SUBMIT_JOB_BG f||2")
        self.store.answers()
        self.assertEqual(client.hears(), ["JOB_CREATED H:1", "JOB_CREATED H:3"])
        self.assertEqual(self.status(), ["f 2 0 0"])
