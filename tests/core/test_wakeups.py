"""
Waking workers: as few as may be, and none too few.
"""

from __future__ import annotations

from typing import Any

from tests.core.case import CoreCase


class SleepTests(CoreCase):
    """
    PRE_SLEEP, and the NOOP that follows.
    """

    def test_a_job_comes(self) -> None:
        """
        A sleeping worker hears nothing until a job comes that it can do; then it gets one NOOP.
        """
        worker, client = self.sleeper("f"), self.connect()
        self.assertEqual(worker.hears(), [])
        client.says("SUBMIT_JOB g||x")
        self.assertEqual(worker.hears(), [])
        client.says("SUBMIT_JOB f||x")
        self.assertEqual(worker.hears(), ["NOOP"])
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:2|f|x"])

    def test_a_job_is_there(self) -> None:
        """
        If a job waits, PRE_SLEEP is answered with a NOOP at once.
        """
        worker = self.worker("f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(worker.hears(), [])
        self.assertEqual(worker.says("PRE_SLEEP"), ["NOOP"])

    def test_awake(self) -> None:
        """
        A worker that never said PRE_SLEEP, or has grabbed since, gets no NOOP: not at once and not later.
        """
        never, since = self.worker("f"), self.sleeper("f")
        since.says("GRAB_JOB")
        self.connect().says("SUBMIT_JOB f||x")
        self.clock.advance(10)
        self.assertEqual((never.hears(), since.hears()), ([], []))

    def test_once(self) -> None:
        """
        Many jobs make one NOOP until the worker has grabbed.
        """
        worker, client = self.sleeper("f"), self.connect()
        for _ in range(5):
            client.says("SUBMIT_JOB f||x")
        self.assertEqual(worker.hears(), ["NOOP"])
        self.assertEqual(worker.says("GRAB_JOB", "PRE_SLEEP"), ["JOB_ASSIGN H:1|f|x", "NOOP"])

    def test_all_functions(self) -> None:
        """
        A worker of two functions gets one NOOP for jobs of both.
        """
        worker = self.sleeper("f", "g")
        self.connect().says("SUBMIT_JOB f||x", "SUBMIT_JOB g||x")
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_again_without_grabbing(self) -> None:
        """
        PRE_SLEEP after a NOOP, without a GRAB_JOB, is answered after --wakeup-delay and not at once.
        """
        worker = self.sleeper("f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(worker.says("PRE_SLEEP", "PRE_SLEEP"), ["NOOP"])
        self.clock.advance(0.9)
        self.assertEqual(worker.hears(), [])
        self.clock.advance(0.1)
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_again_without_delay(self) -> None:
        """
        Where nobody is woken later, it is answered at once, each time.
        """
        self.serve(wakeup_delay=-1)
        worker = self.sleeper("f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(worker.says("PRE_SLEEP", "PRE_SLEEP"), ["NOOP", "NOOP", "NOOP"])

    def test_asleep_again_without_grabbing(self) -> None:
        """
        A worker that goes back to sleep without a GRAB_JOB, when the job is gone, is woken by the next one.
        """
        for delay in (1, -1):
            self.serve(wakeup_delay=delay)
            worker, other, client = self.sleeper("f"), self.worker("f"), self.connect()
            client.says("SUBMIT_JOB f||x")
            self.assertEqual(worker.hears(), ["NOOP"])
            other.says("GRAB_JOB")
            self.assertEqual(worker.says("PRE_SLEEP"), [])
            client.says("SUBMIT_JOB f||x")
            self.clock.advance(1)
            self.assertIn("NOOP", worker.hears())

    def test_with_a_job_in_hand(self) -> None:
        """
        A worker may sleep while it has a job.
        """
        worker, client = self.worker("f"), self.connect()
        client.says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "PRE_SLEEP")
        client.says("SUBMIT_JOB f||y")
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_requeued(self) -> None:
        """
        A job that its worker has lost wakes others.
        """
        worker, client = self.worker("f"), self.connect()
        client.says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB")
        sleeper = self.sleeper("f")
        worker.hangs_up()
        self.assertEqual(sleeper.hears(), ["NOOP"])

    def test_gone(self) -> None:
        """
        A sleeping worker that has gone is not sent anything, and stands in nobody's way.
        """
        self.serve(worker_wakeup=1)
        gone, worker = self.sleeper("f"), self.sleeper("f")
        gone.hangs_up()
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual((gone.hears(), worker.hears()), ([], ["NOOP"]))


class AbilityTests(CoreCase):
    """
    Abilities that change in a worker's sleep.
    """

    def test_learned(self) -> None:
        """
        A worker is woken for a function that it learns in its sleep.
        """
        worker = self.sleeper()
        worker.says("CAN_DO f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_learned_while_a_job_waits(self) -> None:
        """
        If a job of that function waits, it is woken at once.
        """
        self.connect().says("SUBMIT_JOB f||x")
        worker = self.sleeper()
        self.assertEqual(worker.says("CAN_DO f"), ["NOOP"])

    def test_learned_by_one_who_was_woken(self) -> None:
        """
        A worker that was woken for a job that another one took, and learns a function in place of grabbing, is woken for
        that one too.
        """
        self.connect().says("SUBMIT_JOB g||x")
        worker, other = self.sleeper("f"), self.worker("f")
        self.connect().says("SUBMIT_JOB f||x")
        other.says("GRAB_JOB")
        self.clock.advance(10)
        self.assertEqual(worker.hears(), ["NOOP"])
        worker.says("CAN_DO g")
        self.clock.advance(1)
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_given_up(self) -> None:
        """
        A worker is not woken for a function that it has given up.
        """
        worker, client = self.sleeper("f", "g"), self.connect()
        worker.says("CANT_DO f")
        client.says("SUBMIT_JOB f||x")
        self.clock.advance(5)
        self.assertEqual(worker.hears(), [])
        client.says("SUBMIT_JOB g||x")
        self.assertEqual(worker.hears(), ["NOOP"])

    def test_given_up_and_learned_again(self) -> None:
        """
        But it is for one that it has learned again.
        """
        worker = self.sleeper("f")
        worker.says("RESET_ABILITIES", "CAN_DO f")
        self.connect().says("SUBMIT_JOB f||x")
        self.assertEqual(worker.hears(), ["NOOP"])


class WorkerWakeupTests(CoreCase):
    """
    --worker-wakeup and --wakeup-delay.
    """

    def woken(self) -> list[int]:
        """
        Which of the workers have been sent a NOOP since the last call; nobody is sent two.
        """
        heard = [worker.hears() for worker in self.workers]
        self.assertLessEqual({len(messages) for messages in heard}, {0, 1})
        return [number for number, messages in enumerate(heard) if messages == ["NOOP"]]

    def sleepers(self, number: int, **settings: Any) -> None:
        """
        So many sleeping workers of C{f}.
        """
        self.serve(**settings)
        self.workers = [self.sleeper("f") for _ in range(number)]
        self.client = self.connect()

    def test_all(self) -> None:
        """
        With 0, the default, a job wakes everyone who can do it and sleeps.
        """
        self.sleepers(4)
        self.workers[1].says("GRAB_JOB")
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(self.woken(), [0, 2, 3])

    def test_one(self) -> None:
        """
        With 1, each job wakes one more, the longest asleep first; a job too many wakes nobody.
        """
        self.sleepers(3, worker_wakeup=1)
        for expected in ([0], [1], [2], []):
            self.client.says("SUBMIT_JOB f||x")
            self.assertEqual(self.woken(), expected)

    def test_two(self) -> None:
        """
        With 2, each job wakes two more.
        """
        self.sleepers(5, worker_wakeup=2)
        for expected in ([0, 1], [2, 3], [4], []):
            self.client.says("SUBMIT_JOB f||x")
            self.assertEqual(self.woken(), expected)

    def test_jobs_of_one_turn(self) -> None:
        """
        Three jobs in one turn wake three workers.
        """
        self.sleepers(5, worker_wakeup=1)
        self.client.says(*["SUBMIT_JOB f||x"] * 3)
        self.assertEqual(self.woken(), [0, 1, 2])

    def test_the_longest_asleep(self) -> None:
        """
        One who has worked since, and sleeps again, is behind the others.
        """
        self.sleepers(2, worker_wakeup=1)
        self.client.says("SUBMIT_JOB f||x")
        self.workers[0].says("GRAB_JOB", "WORK_COMPLETE H:1|", "PRE_SLEEP")
        for expected in ([1], [0]):
            self.client.says("SUBMIT_JOB f||x")
            self.assertEqual(self.woken(), expected)

    def test_woken_for_another_function(self) -> None:
        """
        One who was woken for another function does not count.
        """
        self.serve(worker_wakeup=1)
        both, one, client = self.sleeper("f", "g"), self.sleeper("g"), self.connect()
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB g||x")
        self.assertEqual((both.hears(), one.hears()), (["NOOP"], ["NOOP"]))

    def test_does_not_come(self) -> None:
        """
        While a job waits, more are woken each --wakeup-delay: first those who sleep, then those who were woken and did not
        come.
        """
        self.sleepers(3, worker_wakeup=1, wakeup_delay=2)
        self.client.says("SUBMIT_JOB f||x")
        for expected in ([0], [1], [2]):
            self.assertEqual(self.woken(), expected)
            self.clock.advance(1.9)
            self.assertEqual(self.woken(), [])
            self.clock.advance(0.1)
        self.assertEqual(len(self.woken()), 1)
        self.clock.advance(2)
        self.assertEqual(len(self.woken()), 1)

    def test_lost(self) -> None:
        """
        A NOOP that was lost on the only worker is sent again.
        """
        self.sleepers(1)
        self.client.says("SUBMIT_JOB f||x")
        for _ in range(3):
            self.assertEqual(self.woken(), [0])
            self.clock.advance(1)

    def test_no_delay(self) -> None:
        """
        With a negative --wakeup-delay nobody is woken later, and no timer runs.
        """
        self.sleepers(2, worker_wakeup=1, wakeup_delay=-1)
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(self.woken(), [0])
        self.assertEqual(self.clock.pending(), 0)
        self.clock.advance(60)
        self.assertEqual(self.woken(), [])

    def test_a_delay_of_zero(self) -> None:
        """
        With 0 more are woken in the next turn.
        """
        self.sleepers(2, worker_wakeup=1, wakeup_delay=0)
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(self.woken(), [0])
        self.workers[0].hangs_up()
        self.clock.call_later(0, self.workers[1].says, "GRAB_JOB")
        self.clock.advance()
        self.assertEqual(self.status(), ["f 1 1 1"])

    def test_a_delay_of_zero_comes_to_rest(self) -> None:
        """
        With 0 each turn wakes one more who sleeps; when nobody does, who was woken is told again a second later, and neither
        busy workers nor those who do not come keep the server busy meanwhile.
        """
        self.sleepers(3, worker_wakeup=1, wakeup_delay=0)
        self.client.says(*["SUBMIT_JOB f||x"] * 2)
        self.assertEqual(self.woken(), [0, 1])
        self.workers[0].says("GRAB_JOB")
        self.clock.turn()
        self.assertEqual(self.woken(), [2])
        self.clock.advance(0)
        self.assertEqual(self.woken(), [])
        self.clock.advance(0.9)
        self.assertEqual(self.woken(), [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.woken()), 1)
        for worker in self.workers[1:]:
            worker.says("GRAB_JOB")
        for worker in self.workers[1:]:
            worker.says("PRE_SLEEP")
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(len(self.woken()), 1)
        self.clock.advance(0)
        self.assertEqual(len(self.woken()), 1)

    def test_comes(self) -> None:
        """
        When the job has been taken, nobody is woken, and the timer ends.
        """
        self.sleepers(3, worker_wakeup=1)
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(self.workers[0].says("GRAB_JOB"), ["NOOP", "JOB_ASSIGN H:1|f|x"])
        self.clock.advance(5)
        self.assertEqual(self.woken(), [])
        self.assertEqual(self.clock.pending(), 0)

    def test_busy_workers(self) -> None:
        """
        Workers that are at work are not woken, however long jobs wait.
        """
        self.sleepers(1)
        self.client.says(*["SUBMIT_JOB f||x"] * 2)
        self.workers[0].says("GRAB_JOB")
        self.clock.advance(10)
        self.assertEqual(self.woken(), [])

    def test_nobody_can(self) -> None:
        """
        Jobs of a function that no worker can do make no timer.
        """
        self.client = self.connect()
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(self.clock.pending(), 0)

    def test_congested(self) -> None:
        """
        A worker that does not read is not sent more NOOPs.
        """
        self.sleepers(1)
        self.client.says("SUBMIT_JOB f||x")
        self.assertEqual(self.woken(), [0])
        self.workers[0].congested = True
        self.clock.advance(100)
        self.assertEqual(self.woken(), [])
        self.workers[0].congested = False
        self.clock.advance(1)
        self.assertEqual(self.woken(), [0])

    def test_no_job_is_stranded(self) -> None:
        """
        Whoever of many workers hangs, with one NOOP a job all jobs are done as long as one worker comes when called.
        """
        self.sleepers(10, worker_wakeup=1)
        good = self.workers[6]
        self.client.says(*["SUBMIT_JOB f||x"] * 5)
        for _ in range(60):
            if "NOOP" in good.hears():
                while good.says("GRAB_JOB") != ["NO_JOB"]:
                    pass
                good.says("PRE_SLEEP")
            self.clock.advance(1)
        self.assertEqual(self.status(), ["f 5 5 10"])

    def test_no_worker_is_forgotten(self) -> None:
        """
        Those who were woken and did not come are woken in turns: who hangs does not keep it from the others.
        """
        self.sleepers(4, worker_wakeup=1)
        self.client.says("SUBMIT_JOB f||x")
        self.clock.advance(3)
        self.assertEqual(self.woken(), [0, 1, 2, 3])
        self.clock.advance(4)
        self.assertEqual(self.woken(), [0, 1, 2, 3])
