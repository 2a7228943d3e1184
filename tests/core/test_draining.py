"""
The end of a server that lets its running jobs finish.
"""

from __future__ import annotations

from tests.core.case import NOON, CoreCase, FakeStore


class DrainTests(CoreCase):
    """
    L{JobServer.drain}.
    """

    def drain(self) -> None:
        """
        Drain, and remember in C{idle} what is left when nothing runs any more.
        """
        self.idle: list[list[bytes]] = []
        self.server.drain(lambda: self.idle.append(list(self.server.jobs)))

    def test_nothing_runs(self) -> None:
        """
        If nothing runs it is over at once; waiting jobs stay.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.drain()
        self.assertEqual(self.idle, [[b"H:1"]])

    def test_hands_out_nothing(self) -> None:
        """
        Nothing is handed out, and nobody is woken: PRE_SLEEP gets no NOOP, a new job neither; but jobs are still taken in.
        """
        client, worker, sleeper = self.connect(), self.worker("f"), self.sleeper("f")
        client.says("SUBMIT_JOB_BG f||x", f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x")
        self.assertEqual(sleeper.says("GRAB_JOB", "PRE_SLEEP"), ["NOOP", "JOB_ASSIGN H:1|f|x"])
        self.drain()
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL", "PRE_SLEEP"), ["NO_JOB"] * 3)
        self.assertEqual(client.says("SUBMIT_JOB_BG f||y"), ["JOB_CREATED H:3"])
        self.clock.advance(60)
        self.assertEqual((worker.hears(), sleeper.hears()), ([], []))
        self.assertEqual(self.idle, [])

    def test_finishes_what_runs(self) -> None:
        """
        When the last running job has ended, however, it is over, once.
        """
        for end in ("WORK_COMPLETE H:2|", "WORK_FAIL H:2", "WORK_EXCEPTION H:2|x", "cancel job H:2\n"):
            self.serve()
            self.connect().says(*["SUBMIT_JOB_BG f||x"] * 3)
            worker = self.worker("f")
            worker.says("GRAB_JOB", "GRAB_JOB")
            self.drain()
            worker.says("WORK_COMPLETE H:1|")
            self.clock.advance()
            self.assertEqual(self.idle, [])
            worker.says(end)
            self.clock.advance()
            self.assertEqual(self.idle, [[b"H:3"]])
            worker.hangs_up()
            self.clock.advance()
            self.assertEqual(len(self.idle), 1)

    def test_worker_lost(self) -> None:
        """
        A job that its worker has lost is queued again and stays.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        worker = self.worker("f")
        worker.says("GRAB_JOB")
        self.drain()
        worker.hangs_up()
        self.clock.advance()
        self.assertEqual(self.idle, [[b"H:1"]])
        self.assertEqual(self.status(), ["f 1 0 0"])

    def test_timeout(self) -> None:
        """
        So does one that took too long.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.connect().says("CAN_DO_TIMEOUT f|1000", "GRAB_JOB")
        self.drain()
        self.clock.advance(1)
        self.assertEqual(self.idle, [[b"H:1"]])

    def test_everything_is_done_by_then(self) -> None:
        """
        When it is over, the last job has left every table, the store has been told, and its client has its result: who
        stops the server then loses nothing.
        """
        store = FakeStore()
        self.serve(store)
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB_BG f|u|x")
        store.answers()
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        seen = []
        self.server.drain(lambda: seen.append((list(self.server.jobs), store.calls[:], client.hears())))
        worker.says("WORK_COMPLETE H:1|y")
        self.clock.advance()
        self.assertEqual(seen, [([], ["add H:1", "remove H:1"], ["WORK_COMPLETE H:1|y"])])

    def test_attempts_are_stored_by_then(self) -> None:
        """
        The same goes for a job whose worker was lost: the store knows of its attempt.
        """
        store = FakeStore()
        self.serve(store)
        worker = self.worker("f")
        self.connect().says("SUBMIT_JOB_BG f|u|x")
        store.answers()
        worker.says("GRAB_JOB")
        seen = []
        self.server.drain(lambda: seen.append(store.calls[:]))
        worker.hangs_up()
        self.clock.advance()
        self.assertEqual(seen, [["add H:1", "update H:1"]])

    def test_twice(self) -> None:
        """
        Who asks twice is told twice.
        """
        worker = self.worker("f")
        self.connect().says("SUBMIT_JOB_BG f|u|x")
        worker.says("GRAB_JOB")
        told: list[int] = []
        self.server.drain(lambda: told.append(1))
        self.server.drain(lambda: told.append(2))
        worker.says("WORK_COMPLETE H:1|y")
        self.clock.advance()
        self.assertEqual(told, [1, 2])


class StopTests(CoreCase):
    """
    L{JobServer.stop_timers}.
    """

    def test_no_timer_is_left(self) -> None:
        """
        Whatever the server was waiting for, none of its timers rings any more, and nobody hears of it.
        """
        client, asleep, slow = self.connect(), self.sleeper("f"), self.connect()
        slow.says("CAN_DO_TIMEOUT g|1000")
        client.says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB g||x", f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x")
        slow.says("GRAB_JOB")
        self.assertEqual(asleep.hears(), ["NOOP"])
        self.assertEqual(self.clock.pending(), 3)
        self.server.stop_timers()
        self.assertEqual(self.clock.pending(), 0)
        slow.says("WORK_COMPLETE H:2|y")
        self.assertEqual((client.hears(), asleep.hears()), (["WORK_COMPLETE H:2|y"], []))

    def test_nothing_waits(self) -> None:
        """
        A server that waits for nothing may be stopped as well, also twice.
        """
        self.server.stop_timers()
        self.server.stop_timers()
        self.assertEqual(self.clock.pending(), 0)

    def test_stored_afterwards(self) -> None:
        """
        What the store commits after that, as the server flushes it, starts no timer either: not for a delayed job, not for a wake-up.
        """
        store = FakeStore()
        self.serve(store)
        client, asleep = self.connect(), self.sleeper("f")
        client.says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x", "SUBMIT_JOB_BG f||x")
        self.server.stop_timers()
        store.answers()
        self.assertEqual(client.hears(), ["JOB_CREATED H:1", "JOB_CREATED H:2"])
        self.assertEqual((self.clock.pending(), asleep.hears()), (0, []))
