"""
What a store kept, and gives back at the start.
"""

from __future__ import annotations

from typing import Any

from gearsvc.core.jobs import JobRecord, Kept
from tests.core.case import NOON, StoreCase


class ReplayTests(StoreCase):
    """
    What the store kept.
    """

    def replay(self, *records: JobRecord) -> None:
        """
        Start with what a store kept.
        """
        self.server.replay(records)
        self.store.rows.update(self.server.jobs.values())

    def record(self, handle: str, workload: str = "x", unique: str = "", priority: int = 1, **more: Any) -> JobRecord:
        """
        One record of C{f}.
        """
        return JobRecord(handle.encode(), b"f", unique.encode(), priority, workload.encode(), **more)

    def test_as_it_was(self) -> None:
        """
        Each job is as it was: handle, function, unique id, priority, workload, reducer, attempts, time of submission, the
        store's key.
        """
        key = object()
        self.replay(self.record("H:7", "a|b", "u", 2, reducer=b"r", attempts=3, submitted=5.5, key=key))
        job = self.server.jobs[b"H:7"]
        self.assertEqual((job.priority, job.attempts, job.submitted, job.key, job.background), (2, 3, 5.5, key, True))
        self.assertEqual(job.kept, Kept.STORED)
        self.assertEqual(self.connect().says("prioritystatus\n"), ["f\t0\t0\t1\t0\n", ".\n"])
        self.assertEqual(self.worker("f").says("GRAB_JOB_ALL"), ["JOB_ASSIGN_ALL H:7|f|u|r|a|b"])

    def test_order(self) -> None:
        """
        Jobs are queued in the order of their records, by priority.
        """
        self.replay(*(self.record(f"H:{9 - number}", str(number), priority=number % 3) for number in range(6)))
        worker = self.worker("f")
        self.assertEqual("".join(worker.says("GRAB_JOB")[0][-1] for _ in range(6)), "031425")

    def test_next_handle(self) -> None:
        """
        New handles are higher than all that were replayed, in whatever order they came.
        """
        self.replay(self.record("H:5"), self.record("H:90"), self.record("H:17"))
        self.assertEqual(self.connect().says("SUBMIT_JOB f||x"), ["JOB_CREATED H:91"])

    def test_other_handles(self) -> None:
        """
        Handles of another prefix, or that end with no number, are kept, and don't count.
        """
        self.replay(self.record("H:other:99"), self.record("H:x"), self.record("X:50"), self.record("H"))
        self.assertEqual(sorted(self.server.jobs), [b"H", b"H:other:99", b"H:x", b"X:50"])
        self.assertEqual(self.connect().says("SUBMIT_JOB f||x"), ["JOB_CREATED H:1"])

    def test_no_handle(self) -> None:
        """
        A record without a handle is given the next one, and knows it.
        """
        records = [self.record("H:5"), self.record(""), self.record("")]
        self.replay(*records)
        self.assertEqual([record.handle for record in records], [b"H:5", b"H:6", b"H:7"])
        self.assertEqual(list(self.server.jobs), [b"H:5", b"H:6", b"H:7"])

    def test_handle_twice(self) -> None:
        """
        Of two records with one handle, the second is given another.
        """
        self.replay(self.record("H:5", "a"), self.record("H:5", "b"))
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:5|f|a", "JOB_ASSIGN H:6|f|b"])

    def test_in_pieces(self) -> None:
        """
        Records may come some at a time.
        """
        for number in range(1, 4):
            self.replay(self.record(f"H:{number}"))
        self.assertEqual(self.status(), ["f 3 0 0"])

    def test_coalescing(self) -> None:
        """
        A submission joins a replayed job; of two with one unique id, the first.
        """
        self.replay(self.record("H:1", "a", "u"), self.record("H:2", "b", "u"), self.record("H:3", "c", "-"))
        client = self.connect()
        self.assertEqual(
            client.says("SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB f|u|x", "SUBMIT_JOB f|-|c"),
            ["JOB_CREATED H:1", "JOB_CREATED H:1", "JOB_CREATED H:3"],
        )
        worker = self.worker("f")
        self.assertEqual(
            worker.says("GRAB_JOB", "GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:1|f|a", "JOB_ASSIGN H:2|f|b", "JOB_ASSIGN H:3|f|c"]
        )
        worker.says("WORK_COMPLETE H:2|")
        self.assertEqual(client.says("SUBMIT_JOB_BG f|u|x"), ["JOB_CREATED H:1"])
        worker.says("WORK_COMPLETE H:1|", "WORK_COMPLETE H:3|")
        self.assertEqual(self.store.rows, set())
        self.assert_nothing_left()

    def test_delayed(self) -> None:
        """
        A job whose time has not come waits for it; one whose time has passed does not.
        """
        self.replay(self.record("H:1", run_at=int(NOON) + 10), self.record("H:2", run_at=int(NOON) - 10))
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|f|x", "NO_JOB"])
        self.clock.advance(10)
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_odd_priority(self) -> None:
        """
        A priority that there is not is normal: gearmand accepts any number in its tables, and crashes.
        """
        self.replay(*(self.record(f"H:{number}", priority=priority) for number, priority in enumerate((3, 7, -1, 1), 1)))
        client = self.connect()
        self.assertEqual(client.says("prioritystatus\n"), ["f\t0\t4\t0\t0\n", ".\n"])
        client.says("cancel job H:2\n")
        worker = self.worker("f")
        self.assertEqual(
            worker.says(*["GRAB_JOB"] * 4), ["JOB_ASSIGN H:1|f|x", "JOB_ASSIGN H:3|f|x", "JOB_ASSIGN H:4|f|x", "NO_JOB"]
        )

    def test_odd_priority_delayed(self) -> None:
        """
        A delayed one can be counted, cancelled and run as well.
        """
        self.replay(*(self.record(f"H:{number}", priority=9, run_at=int(NOON) + 10) for number in (1, 2)))
        client = self.connect()
        self.assertEqual(client.says("prioritystatus\n", "cancel job H:1\n"), ["f\t0\t2\t0\t0\n", ".\n", "OK\r\n"])
        self.clock.advance(10)
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:2|f|x"])

    def test_attempts_go_on(self) -> None:
        """
        Attempts that were lost before count.
        """
        self.serve(job_retries=2)
        self.replay(self.record("H:1", attempts=1))
        worker = self.worker("f")
        worker.says("GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(self.store.rows, set())
        self.assert_nothing_left()

    def test_limits(self) -> None:
        """
        Limits don't concern a replay, but it counts for what comes after.
        """
        self.connect().says("maxqueue f 1\n")
        self.replay(self.record("H:1"), self.record("H:2"))
        self.assertEqual(self.connect().says("SUBMIT_JOB f||x"), ["ERROR QUEUE_ERROR|Job queue is full"])

    def test_not_stored_again(self) -> None:
        """
        What is replayed is not stored again, and is removed when it ends.
        """
        self.replay(self.record("H:1"))
        self.assertEqual(self.store.calls, [])
        self.worker("f").says("GRAB_JOB", "WORK_COMPLETE H:1|")
        self.assertEqual(self.store.calls, ["remove H:1"])

    def test_wakes(self) -> None:
        """
        A worker that sleeps already is woken.
        """
        worker = self.sleeper("f")
        self.replay(self.record("H:1"))
        self.server.flush()
        self.assertEqual(worker.hears(), ["NOOP"])
