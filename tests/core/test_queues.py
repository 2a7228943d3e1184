"""
The queue of one function.
"""

from __future__ import annotations

from random import Random
from unittest import TestCase

from gearsvc.core.jobs import Job, JobRecord, Priority, State
from gearsvc.core.queues import FunctionQueue


class LineTests(TestCase):
    """
    Lines, and the dead in them.
    """

    def setUp(self) -> None:
        """
        An empty queue.
        """
        self.queue = FunctionQueue(b"f")
        self.made = 0

    def job(self, priority: int = Priority.NORMAL, run_at: int = 0) -> Job:
        """
        A job that waits in the queue.
        """
        self.made += 1
        job = Job(b"H:%d" % self.made, self.queue, b"", priority, b"x", True, 0.0, run_at)
        if run_at:
            self.queue.delay(job)
        else:
            self.queue.lines[priority].append(job)
        return job

    def drained(self) -> list[Job]:
        """
        All that can be taken, in order.
        """
        jobs = []
        while self.queue.high or self.queue.normal or self.queue.low:
            jobs.append(self.queue.take())
        return jobs

    def assert_consistent(self) -> None:
        """
        The head of each line can run, and the dead are counted right.
        """
        for line, dead in zip(self.queue.lines, self.queue._dead):
            self.assertTrue(not line or line[0].state != State.FINISHED)
            self.assertEqual(sum(job.state == State.FINISHED for job in line), dead)
        self.assertEqual(sum(job.state == State.FINISHED for _, _, job in self.queue.delayed), self.queue._dead[3])

    def test_empty(self) -> None:
        """
        Nothing can be taken of an empty queue.
        """
        self.assertRaises(IndexError, self.queue.take)
        self.assertEqual(self.queue.waiting(), (0, 0, 0))
        self.assertEqual(self.queue.due(1e10), [])

    def test_bury_the_head(self) -> None:
        """
        A buried head is gone from its line at once, and so are the dead behind it.
        """
        jobs = [self.job() for _ in range(4)]
        self.queue.bury(jobs[1])
        self.assertEqual(list(self.queue.normal), jobs)
        self.queue.bury(jobs[0])
        self.assertEqual(list(self.queue.normal), jobs[2:])
        self.assert_consistent()

    def test_bury_all(self) -> None:
        """
        A line of which all are buried is empty, in whatever order they were.
        """
        for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]):
            jobs = [self.job() for _ in range(3)]
            for number in order:
                self.queue.bury(jobs[number])
            self.assertFalse(self.queue.normal)
            self.assert_consistent()

    def test_take_passes_the_dead(self) -> None:
        """
        After a job was taken, the head can run, though the dead were behind it.
        """
        jobs = [self.job() for _ in range(4)]
        self.queue.bury(jobs[1])
        self.queue.bury(jobs[2])
        self.assertIs(self.queue.take(), jobs[0])
        self.assert_consistent()
        self.assertIs(self.queue.take(), jobs[3])
        self.assertFalse(self.queue.normal)

    def test_put_before_the_dead(self) -> None:
        """
        A job may be put before a line with dead ones, and be buried there.
        """
        jobs = [self.job() for _ in range(3)]
        first = self.queue.take()
        self.queue.bury(jobs[2])
        self.queue.normal.appendleft(first)
        self.assert_consistent()
        self.queue.bury(first)
        self.assertEqual(self.drained(), [jobs[1]])

    def test_payload(self) -> None:
        """
        A buried job has let go of its workload.
        """
        job = self.job()
        self.queue.bury(job)
        self.assertEqual((job.workload, job.state), (b"", State.FINISHED))

    def test_compaction(self) -> None:
        """
        However many are buried in the middle, a line is at most twice as long as what lives in it, and a few.
        """
        jobs = [self.job() for _ in range(2000)]
        for number, job in enumerate(jobs[1:-1], 1):
            self.queue.bury(job)
            alive = len(jobs) - number
            self.assertLessEqual(len(self.queue.normal), 2 * alive + 65)
            if number % 100 == 0:
                self.assert_consistent()
        self.assertEqual(self.drained(), [jobs[0], jobs[-1]])

    def test_compaction_of_the_delayed(self) -> None:
        """
        That goes for the delayed too.
        """
        jobs = [self.job(run_at=5000 - number) for number in range(1000)]
        for number, job in enumerate(jobs[1:-1], 1):
            self.queue.bury(job)
            self.assertLessEqual(len(self.queue.delayed), 2 * (len(jobs) - number) + 65)
        self.assert_consistent()
        self.assertEqual(self.queue.due(5000), [jobs[-1], jobs[0]])
        self.assertEqual((self.queue.delayed, self.queue._dead[3]), ([], 0))

    def test_due(self) -> None:
        """
        Jobs are due in the order of their times, and those of one time in the order in which they came; not before.
        """
        later, first, second = self.job(run_at=20), self.job(run_at=10), self.job(run_at=10)
        self.assertEqual(self.queue.due(9.99), [])
        self.assertEqual(self.queue.due(10), [first, second])
        self.assertEqual(self.queue.due(30), [later])

    def test_due_passes_the_dead(self) -> None:
        """
        A dead one is not due, and is gone as soon as it comes to the head.
        """
        first, second, third = (self.job(run_at=at) for at in (10, 20, 30))
        self.queue.bury(first)
        self.queue.bury(second)
        self.assertEqual(self.queue.due(0), [])
        self.assertEqual([job for _, _, job in self.queue.delayed], [third])
        self.assert_consistent()

    def test_waiting(self) -> None:
        """
        What waits is counted by priority, the delayed too, the dead and the taken not.
        """
        jobs = [self.job(priority) for priority in (0, 1, 1, 2, 2, 2)] + [self.job(priority, 10) for priority in (0, 1, 2)]
        self.assertEqual(self.queue.waiting(), (2, 3, 4))
        for job in (jobs[2], jobs[4], jobs[6]):
            self.queue.bury(job)
        self.assertEqual(self.queue.waiting(), (1, 2, 3))
        self.queue.take()
        self.assertEqual(self.queue.waiting(), (0, 2, 3))

    def test_at_random(self) -> None:
        """
        Whatever is queued, buried, taken and put back, in any order: each job that was not buried is taken, in its order.
        """
        random = Random(4730)
        for _ in range(20):
            self.setUp()
            expected: list[list[Job]] = [[], [], []]
            for _ in range(600):
                alive = [job for line in expected for job in line]
                what = random.random()
                if what < 0.45 or not alive:
                    priority = random.randrange(3)
                    expected[priority].append(self.job(priority))
                elif what < 0.85:
                    job = random.choice(alive)
                    expected[job.priority].remove(job)
                    self.queue.bury(job)
                else:
                    job = self.queue.take()
                    self.assertIs(job, alive[0])
                    if what < 0.92:
                        self.queue.lines[job.priority].appendleft(job)
                    else:
                        expected[job.priority].remove(job)
            self.assert_consistent()
            self.assertEqual(self.queue.waiting(), tuple(map(len, expected)))
            self.assertEqual(self.drained(), [job for line in expected for job in line])


class JobTests(TestCase):
    """
    L{Job} and L{JobRecord}.
    """

    def test_repr_has_no_workload(self) -> None:
        """
        A job may be logged: its workload is not in its repr.
        """
        record = JobRecord(b"H:\xff1", b"f", b"u", 1, b"the secret")
        job = Job(b"H:1", FunctionQueue(b"f"), b"u", 1, b"the secret", True, 0.0)
        self.assertEqual(repr(record), "<JobRecord H:\\xff1 of b'f'>")
        self.assertEqual(repr(job), "<Job H:1 of b'f'>")

    def test_all_fields(self) -> None:
        """
        A new job has every field of a record and its own, with the values that it was given.
        """
        queue = FunctionQueue(b"f")
        job = Job(b"H:1", queue, b"u", 2, b"x", True, 1.5, 7, b"r", 3, "key")
        record = JobRecord(b"H:1", b"f", b"u", 2, b"x", 7, b"r", 3, 1.5, "key")
        for field in JobRecord.__slots__:
            name = field.lstrip("_")
            self.assertEqual(getattr(job, name), getattr(record, name), name)
        for field in Job.__slots__:
            getattr(job, field)
