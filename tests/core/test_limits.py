"""
maxqueue: how many jobs a function may have.
"""

from __future__ import annotations

from tests.core.case import Connection, CoreCase

FULL = "ERROR QUEUE_ERROR|Job queue is full"

KINDS = ("SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW")


class LimitTests(CoreCase):
    """
    What is refused, and what is not.
    """

    def limited(self, arguments: str) -> Connection:
        """
        A connection that has created C{f} and limited it.
        """
        client = self.connect()
        self.assertEqual(client.says("create function f\n", f"maxqueue f{arguments}\n"), ["OK\r\n", "OK\r\n"])
        return client

    def room(self, client: Connection) -> list[int]:
        """
        How many jobs there may be when one of high, normal, low priority is submitted; 9 is any number.
        """
        rooms = []
        for kind in KINDS:
            replies = client.says(*[f"{kind} f||x"] * 9)
            accepted = [reply for reply in replies if reply.startswith("JOB_CREATED")]
            self.assertEqual(replies[len(accepted) :], [FULL] * (9 - len(accepted)))
            rooms.append(len(accepted))
            client.says(*(f"cancel job {reply.split()[1]}\n" for reply in accepted))
        return rooms

    def test_forms(self) -> None:
        """
        One number is for all priorities, three are for high, normal and low; what is missing of three, is 0, below 0 or no
        number is no limit.
        """
        for arguments, rooms in (
            ("", [9, 9, 9]),
            (" 2", [2, 2, 2]),
            (" 0", [9, 9, 9]),
            (" -3", [9, 9, 9]),
            (" many", [9, 9, 9]),
            (" 3x", [3, 3, 3]),
            (" 3 2", [3, 2, 9]),
            (" 3 2 1", [3, 2, 1]),
            (" 0 2 0", [9, 2, 9]),
            (" 1 -1 x", [1, 9, 9]),
        ):
            self.serve()
            self.assertEqual(self.room(self.limited(arguments)), rooms, arguments)

    def test_background(self) -> None:
        """
        Background, delayed and reduce jobs are limited alike.
        """
        client = self.limited(" 1")
        client.says("SUBMIT_JOB_BG f||x")
        for message in ("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_EPOCH f||9999999999|x", "SUBMIT_REDUCE_JOB f||r|x"):
            self.assertEqual(client.says(message), [FULL])

    def test_all_jobs_count(self) -> None:
        """
        Each limit is compared with all jobs of the function, of any priority, waiting, delayed and running.
        """
        client = self.limited(" 0 3 0")
        client.says("SUBMIT_JOB_HIGH f||x", "SUBMIT_JOB_EPOCH f||9999999999|x", "SUBMIT_JOB_LOW_BG f||x")
        self.worker("f").says("GRAB_JOB")
        self.assertEqual(client.says("SUBMIT_JOB f||x"), [FULL])
        self.assertEqual(client.says("SUBMIT_JOB_LOW f||x"), ["JOB_CREATED H:4"])

    def test_room_again(self) -> None:
        """
        There is room when a job is over.
        """
        client, worker = self.limited(" 1"), self.worker("f")
        client.says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "WORK_COMPLETE H:1|")
        self.assertEqual(client.says("SUBMIT_JOB f||x"), ["WORK_COMPLETE H:1|", "JOB_CREATED H:2"])

    def test_joining(self) -> None:
        """
        A submission that joins a job is never too many.
        """
        client = self.limited(" 1")
        self.assertEqual(client.says("SUBMIT_JOB f|u|x", "SUBMIT_JOB f|u|x"), ["JOB_CREATED H:1", "JOB_CREATED H:1"])

    def test_refused_leaves_nothing(self) -> None:
        """
        A refused submission leaves nothing, not even its unique id.
        """
        client = self.limited(" 1")
        client.says("SUBMIT_JOB f|u1|x", "SUBMIT_JOB f|u2|x", "SUBMIT_JOB f|-|x", "cancel job H:1\n")
        self.assert_nothing_left()
        self.assertEqual(client.says("SUBMIT_JOB f|u2|x"), ["JOB_CREATED H:2"])

    def test_other_functions(self) -> None:
        """
        Other functions are not concerned.
        """
        client = self.limited(" 1")
        client.says("SUBMIT_JOB f||x")
        self.assertEqual(client.says("SUBMIT_JOB g||x", "SUBMIT_JOB g||x"), ["JOB_CREATED H:2", "JOB_CREATED H:3"])

    def test_set_below(self) -> None:
        """
        A limit below what there is takes nothing away.
        """
        client = self.limited("")
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB f||x", "maxqueue f 1\n")
        self.assertEqual(self.status(), ["f 2 0 0"])
        self.assertEqual(client.says("SUBMIT_JOB f||x"), [FULL])

    def test_remembered(self) -> None:
        """
        The limit of a function that is not known yet waits for it, however it becomes known; the last one counts.
        """
        for first in ("SUBMIT_JOB_BG f||x", "CAN_DO f", "create function f\n"):
            self.serve()
            client = self.connect()
            self.assertEqual(client.says("maxqueue f 5\n", "maxqueue f 2\n"), ["OK\r\n", "OK\r\n"])
            self.assertEqual(self.status(), [])
            client.says(first, "SUBMIT_JOB f||x", "SUBMIT_JOB f||x")
            self.assertEqual(client.says("SUBMIT_JOB f||x"), [FULL])
            self.assertEqual(self.server.limits, {})

    def test_dropped(self) -> None:
        """
        A function that is dropped and made anew has no limit.
        """
        client = self.limited(" 1")
        client.says("drop function f\n")
        self.assertEqual(client.says("SUBMIT_JOB f||x", "SUBMIT_JOB f||x"), ["JOB_CREATED H:1", "JOB_CREATED H:2"])
