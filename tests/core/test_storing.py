"""
Background jobs and their store: what is acknowledged when, and in what order.
"""

from __future__ import annotations

from typing import Any

from gearsvc import __version__
from tests.core.case import NOON, StoreCase

REFUSED = "ERROR QUEUE_ERROR|the disk is full"


class AcknowledgementTests(StoreCase):
    """
    JOB_CREATED is a promise.
    """

    def test_waits_for_the_store(self) -> None:
        """
        Until the store has committed it, a background job is not acknowledged, cannot be grabbed, and wakes nobody.
        """
        for message in (
            "SUBMIT_JOB_BG f||x",
            "SUBMIT_JOB_HIGH_BG f||x",
            "SUBMIT_JOB_LOW_BG f||x",
            "SUBMIT_JOB_EPOCH f||0|x",
            "SUBMIT_REDUCE_JOB_BACKGROUND f||r|x",
        ):
            self.serve()
            client, awake, asleep = self.connect(), self.worker("f"), self.sleeper("f")
            self.assertEqual(client.says(message), [])
            self.assertEqual(awake.says("GRAB_JOB"), ["NO_JOB"])
            self.assertEqual(asleep.hears(), [])
            self.store.answers()
            self.assertEqual(client.hears(), ["JOB_CREATED H:1"])
            self.assertEqual(asleep.hears(), ["NOOP"])
            self.assertEqual(awake.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_foreground_is_not_stored(self) -> None:
        """
        A foreground job is acknowledged at once, and the store never hears of it.
        """
        client, worker = self.connect(), self.worker("f")
        self.assertEqual(client.says("SUBMIT_JOB f|u|x"), ["JOB_CREATED H:1"])
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|")
        self.assertEqual(self.store.calls, [])

    def test_delayed(self) -> None:
        """
        A delayed job is stored when it is submitted, and waits for its time after that.
        """
        client, worker = self.connect(), self.sleeper("f")
        client.says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 10}|x")
        self.clock.advance(5)
        self.store.answers()
        self.assertEqual(client.hears(), ["JOB_CREATED H:1"])
        self.clock.advance(5)
        self.assertEqual(worker.says("GRAB_JOB"), ["NOOP", "JOB_ASSIGN H:1|f|x"])

    def test_counted(self) -> None:
        """
        A job that is being stored counts in C{status} and in the limits.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.assertEqual(self.status(), ["f 1 0 0"])
        client = self.connect()
        self.assertEqual(client.says("maxqueue f 1\n", "SUBMIT_JOB f||x"), ["OK\r\n", "ERROR QUEUE_ERROR|Job queue is full"])

    def test_order_of_jobs(self) -> None:
        """
        Jobs of one commit are queued in the order of their submission.
        """
        first, second = self.connect(), self.connect()
        for number in range(1, 7):
            (first if number % 2 else second).says(f"SUBMIT_JOB_BG f||{number}")
        self.store.answers()
        worker = self.worker("f")
        self.assertEqual(worker.says(*["GRAB_JOB"] * 6), [f"JOB_ASSIGN H:{number}|f|{number}" for number in range(1, 7)])

    def test_client_goes(self) -> None:
        """
        A client that goes before it is answered leaves its job behind, which is stored and queued.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        client.hangs_up()
        self.store.answers()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])


class OrderTests(StoreCase):
    """
    Replies keep the order of their requests.
    """

    REQUESTS = (
        "ECHO_REQ before",
        "SUBMIT_JOB_BG f||x",
        "ECHO_REQ a",
        "SUBMIT_JOB g||x",
        "create function h\n",
        "version \n",
        "GET_STATUS H:9",
        "SUBMIT_JOB_BG f||y",
        "status\n",
        "GRAB_JOB",
        "SUBMIT_JOB_SCHED f",
        "OPTION_REQ no",
        f"SUBMIT_JOB {'f' * 9000}||x",
        "show unique jobs\n",
        "ECHO_REQ after",
    )

    def replies(self, *answers: int | str) -> list[str]:
        """
        The replies to all the requests, in the order in which they came.

        @param answers: for how many jobs the store answers each time, or why it refuses all.
        """
        self.serve()
        client = self.connect()
        heard = client.says(*self.REQUESTS)
        self.assertEqual(heard, ["ECHO_RES before"])
        for answer in answers:
            if isinstance(answer, str):
                self.store.answers(answer)
            else:
                self.store.answers(number=answer)
            heard += client.hears()
        self.clock.advance()
        return heard + client.hears()

    def expected(self, *submissions: str) -> list[str]:
        """
        The replies in their order, with those of the stored submissions.
        """
        return [
            "ECHO_RES before",
            submissions[0],
            "ECHO_RES a",
            "JOB_CREATED H:2",
            "OK\r\n",
            f"OK {__version__}\n",
            "STATUS_RES H:9|0|0|0|0",
            submissions[1],
            *submissions[2:],
            ".\n",
            "NO_JOB",
            "ERROR INVALID_COMMAND|Command not expected",
            "ERROR UNKNOWN_OPTION|Server does not recognize given option",
            "ERROR ARGUMENT_TOO_LARGE|Function name too large: it may have 8191 bytes",
        ]

    def test_one_commit(self) -> None:
        """
        Everything behind a submission waits for its store, and leaves in order.
        """
        status = ["f\t2\t0\t0\n", "g\t1\t0\t0\n", "h\t0\t0\t0\n"]
        self.assertEqual(
            self.replies(2),
            [*self.expected("JOB_CREATED H:1", "JOB_CREATED H:3", *status), "\n", "\n", "\n", ".\n", "ECHO_RES after"],
        )

    def test_two_commits(self) -> None:
        """
        What waits behind the second submission only, leaves with the second commit.
        """
        self.assertEqual(self.replies(1, 1), self.replies(2))

    def test_the_other_way_round(self) -> None:
        """
        If the second is stored before the first, its answer waits for the first all the same.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG f||y", "ECHO_REQ z")
        first, second = self.store.pending
        self.server.stored([second], None)
        self.assertEqual(client.hears(), [])
        self.server.stored([first], None)
        self.assertEqual(client.hears(), ["JOB_CREATED H:1", "JOB_CREATED H:2", "ECHO_RES z"])

    def test_refused(self) -> None:
        """
        Errors keep their places too; what a list says is as of the time when it leaves.
        """
        self.assertEqual(
            self.replies("the disk is full"),
            [*self.expected(REFUSED, REFUSED, "f\t0\t0\t0\n", "g\t1\t0\t0\n", "h\t0\t0\t0\n"), "\n", ".\n", "ECHO_RES after"],
        )

    def test_one_write(self) -> None:
        """
        What a commit sets free for a connection leaves in one write.
        """
        client = self.connect()
        client.says(*["SUBMIT_JOB_BG f||x", "ECHO_REQ a"] * 10)
        self.assertEqual(client.writes, 0)
        self.store.answers()
        self.assertEqual(client.writes, 1)
        self.assertEqual(len(client.hears()), 20)

    def test_others_do_not_wait(self) -> None:
        """
        Only the connection that submitted waits.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        self.assertEqual(self.connect().says("ECHO_REQ a"), ["ECHO_RES a"])

    def test_results_do_not_overtake(self) -> None:
        """
        The result of an earlier job waits behind a submission on the same connection, and comes after its JOB_CREATED.
        """
        client, worker = self.connect(), self.worker("g")
        client.says("SUBMIT_JOB g||x", "SUBMIT_JOB_BG f||x")
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), [])
        self.store.answers()
        self.assertEqual(client.hears(), ["JOB_CREATED H:2", "WORK_COMPLETE H:1|y"])

    def test_closed_behind(self) -> None:
        """
        A bad packet behind a submission: the connection is closed once both are answered.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB bad")
        self.assertFalse(client.closed)
        self.assertEqual(client.says("ECHO_REQ a"), [])
        self.store.answers()
        self.assertEqual(
            client.hears(),
            [
                "JOB_CREATED H:1",
                "ERROR INVALID_PACKET|SUBMIT_JOB has function NUL unique id NUL data: this packet ends before that",
            ],
        )
        self.assertTrue(client.closed)


class JoinTests(StoreCase):
    """
    Coalescing with a job that is being stored, or has to be.
    """

    def test_joining_what_is_being_stored(self) -> None:
        """
        Who joins a job that is being stored is answered when it is, in the foreground and in the background.
        """
        first, foreground, background, worker = self.connect(), self.connect(), self.connect(), self.worker("f")
        first.says("SUBMIT_JOB_BG f|u|x")
        self.assertEqual(foreground.says("SUBMIT_JOB f|u|x", "ECHO_REQ a"), [])
        self.assertEqual(background.says("SUBMIT_JOB_BG f|u|x"), [])
        self.store.answers()
        self.assertEqual(first.hears(), ["JOB_CREATED H:1"])
        self.assertEqual(foreground.hears(), ["JOB_CREATED H:1", "ECHO_RES a"])
        self.assertEqual(background.hears(), ["JOB_CREATED H:1"])
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|y")
        self.assertEqual((first.hears(), foreground.hears(), background.hears()), ([], ["WORK_COMPLETE H:1|y"], []))
        self.assertEqual(self.store.calls, ["add H:1", "remove H:1"])
        self.assert_nothing_left()

    def test_refused(self) -> None:
        """
        If it cannot be stored everyone gets the error, and nobody a WORK_FAIL; the job is gone, and its unique id free.
        """
        first, foreground, background = self.connect(), self.connect(), self.connect()
        first.says("SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB_BG f|u|x")
        foreground.says("SUBMIT_JOB f|u|x")
        background.says("SUBMIT_JOB_BG f|u|x")
        self.store.answers("the disk is full")
        self.assertEqual(first.hears(), [REFUSED, REFUSED])
        self.assertEqual((foreground.hears(), background.hears()), ([REFUSED], [REFUSED]))
        self.assert_nothing_left()
        self.assertEqual(self.store.calls, ["add H:1"])
        self.assertEqual(foreground.says("SUBMIT_JOB f|u|x"), ["JOB_CREATED H:2"])

    def test_only_some_refused(self) -> None:
        """
        A refusal concerns its own batch alone.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u1|x", "SUBMIT_JOB_BG f|u2|y")
        self.store.answers("the disk is full", number=1)
        self.store.answers()
        self.assertEqual(client.hears(), [REFUSED, "JOB_CREATED H:2"])
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|f|y", "NO_JOB"])

    def test_foreground_client_goes(self) -> None:
        """
        A foreground client that joined a job which is being stored, and goes, leaves it alone.
        """
        first, foreground = self.connect(), self.connect()
        first.says("SUBMIT_JOB_BG f|u|x")
        foreground.says("SUBMIT_JOB f|u|x")
        foreground.hangs_up()
        self.store.answers()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])

    def test_background_joins_foreground(self) -> None:
        """
        A foreground job that a background client joins is stored then; it may be grabbed meanwhile, but the joiner is not
        answered before it is stored.
        """
        client, joiner, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        self.assertEqual(joiner.says("SUBMIT_JOB_BG f|u|x"), [])
        self.assertEqual(self.store.calls, ["add H:1"])
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])
        self.store.answers()
        self.assertEqual(joiner.hears(), ["JOB_CREATED H:1"])
        worker.says("WORK_COMPLETE H:1|y")
        self.assertEqual(self.store.calls, ["add H:1", "remove H:1"])

    def test_stored_once(self) -> None:
        """
        It is stored once, however many join it in the background, before and after the store has answered.
        """
        client, joiner = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x")
        joiner.says("SUBMIT_JOB_BG f|u|x", "SUBMIT_JOB_BG f|u|x")
        self.store.answers()
        self.assertEqual(joiner.says("SUBMIT_JOB_BG f|u|x"), ["JOB_CREATED H:1"] * 3)
        self.assertEqual(self.store.calls, ["add H:1"])

    def test_foreground_joins_meanwhile(self) -> None:
        """
        A foreground client that joins while the job is stored belatedly is answered at once.
        """
        client, joiner, third = self.connect(), self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x")
        joiner.says("SUBMIT_JOB_BG f|u|x")
        self.assertEqual(third.says("SUBMIT_JOB f|u|x"), ["JOB_CREATED H:1"])

    def test_over_before_it_is_stored(self) -> None:
        """
        If the job ends before the store has answered, the joiner gets its JOB_CREATED all the same, and nothing stays in
        the store.
        """
        client, joiner, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        joiner.says("SUBMIT_JOB_BG f|u|x")
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])
        self.store.answers()
        self.assertEqual(joiner.hears(), ["JOB_CREATED H:1"])
        self.assertEqual((self.store.calls, self.store.rows), (["add H:1", "remove H:1"], set()))
        self.assertEqual(worker.says("GRAB_JOB"), ["NO_JOB"])
        self.assert_nothing_left()

    def test_belated_storing_refused(self) -> None:
        """
        If it cannot be stored belatedly, the joiner gets the error, and the job goes on in the foreground as it was.
        """
        client, joiner, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        joiner.says("SUBMIT_JOB_BG f|u|x")
        self.store.answers("the disk is full")
        self.assertEqual(joiner.hears(), [REFUSED])
        self.assertEqual(self.store.calls, ["add H:1"])
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])
        self.assert_nothing_left()

    def test_belated_storing_refused_and_client_gone(self) -> None:
        """
        If meanwhile the foreground client has gone, the job goes with the error; one that runs, when its worker is lost.
        """
        for running in (False, True):
            self.serve()
            client, joiner, worker = self.connect(), self.connect(), self.worker("f")
            client.says("SUBMIT_JOB f|u|x")
            if running:
                worker.says("GRAB_JOB")
            joiner.says("SUBMIT_JOB_BG f|u|x")
            client.hangs_up()
            self.assertEqual(len(self.server.jobs), 1)
            self.store.answers("the disk is full")
            worker.hangs_up()
            self.assert_nothing_left()

    def test_tried_again(self) -> None:
        """
        After a refusal, the next background client has the job stored anew.
        """
        client, joiner = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x")
        joiner.says("SUBMIT_JOB_BG f|u|x")
        self.store.answers("the disk is full")
        joiner.says("SUBMIT_JOB_BG f|u|x")
        self.store.answers()
        self.assertEqual(joiner.hears(), ["JOB_CREATED H:1"])
        client.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])


class RemovalTests(StoreCase):
    """
    What the store hears of a job's life.
    """

    def stored_job(self, **settings: Any) -> None:
        """
        A stored job H:1, which a worker has.
        """
        self.serve(**settings)
        self.connect().says("SUBMIT_JOB_BG f|u|x")
        self.store.answers()
        self.worker_ = self.worker("f")
        self.worker_.says("GRAB_JOB")

    def test_ends(self) -> None:
        """
        However a stored job ends, it is removed from the store once, and not before.
        """
        for end in ("WORK_COMPLETE H:1|y", "WORK_FAIL H:1", "WORK_EXCEPTION H:1|y", "cancel job H:1\n"):
            self.stored_job()
            self.assertEqual(self.store.calls, ["add H:1"])
            self.worker_.says(end)
            self.assertEqual(self.store.calls, ["add H:1", "remove H:1"])
            self.assert_nothing_left()

    def test_lost(self) -> None:
        """
        A lost worker changes the attempts that the store has.
        """
        self.stored_job()
        self.worker_.hangs_up()
        self.assertEqual(self.store.calls, ["add H:1", "update H:1"])
        self.assertEqual(next(iter(self.store.rows)).attempts, 1)

    def test_lost_for_good(self) -> None:
        """
        The last attempt removes the job, and does not update it before.
        """
        self.stored_job(job_retries=1)
        self.worker_.hangs_up()
        self.assertEqual(self.store.calls, ["add H:1", "remove H:1"])

    def test_timeout(self) -> None:
        """
        So does a timeout.
        """
        self.serve()
        self.connect().says("SUBMIT_JOB_BG f|u|x")
        self.store.answers()
        self.connect().says("CAN_DO_TIMEOUT f|1000", "GRAB_JOB")
        self.clock.advance(1)
        self.assertEqual(self.store.calls, ["add H:1", "update H:1"])

    def test_lost_while_it_is_stored(self) -> None:
        """
        A job that is stored belatedly may be lost meanwhile: the store hears of it.
        """
        self.serve()
        client, joiner, worker = self.connect(), self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        joiner.says("SUBMIT_JOB_BG f|u|x")
        worker.hangs_up()
        self.assertEqual(self.store.calls, ["add H:1", "update H:1"])

    def test_foreground_lost(self) -> None:
        """
        The store does not hear of a foreground job that is lost.
        """
        self.serve()
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f|u|x")
        worker.says("GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(self.store.calls, [])
