"""
Submissions, and what is told of a job.
"""

from __future__ import annotations

from gearsvc.core.jobs import Priority
from tests.core.case import NOON, CoreCase


class SubmitTests(CoreCase):
    """
    SUBMIT_JOB in all its forms.
    """

    def test_handles(self) -> None:
        """
        Each new job has the next handle, of whatever kind and function it is.
        """
        client = self.connect()
        self.assertEqual(
            client.says(
                "SUBMIT_JOB f||x",
                "SUBMIT_JOB_BG f||x",
                "SUBMIT_JOB_HIGH g||x",
                "SUBMIT_JOB_HIGH_BG f||x",
                "SUBMIT_JOB_LOW f||x",
                "SUBMIT_JOB_LOW_BG f||x",
                "SUBMIT_JOB_EPOCH f||0|x",
                "SUBMIT_REDUCE_JOB f||r||x",
                "SUBMIT_REDUCE_JOB_BACKGROUND f||r||x",
            ),
            [f"JOB_CREATED H:{number}" for number in range(1, 10)],
        )
        self.assertEqual(client.writes, 1)

    def test_kinds(self) -> None:
        """
        Each packet makes a job of its priority, in the foreground or the background, with what it was given.
        """
        self.connect().says(
            "SUBMIT_JOB f|u1|1",
            "SUBMIT_JOB_BG f|u2|2",
            "SUBMIT_JOB_HIGH f|u3|3",
            "SUBMIT_JOB_HIGH_BG f|u4|4",
            "SUBMIT_JOB_LOW f|u5|5",
            "SUBMIT_JOB_LOW_BG f|u6|6",
            "SUBMIT_JOB_EPOCH f|u7|0|7",
            "SUBMIT_REDUCE_JOB f|u8|r||8",
            "SUBMIT_REDUCE_JOB_BACKGROUND f|u9|r||9",
        )
        made = [(job.unique, job.workload, job.priority, job.background, job.reducer) for job in self.server.jobs.values()]
        self.assertEqual(
            made,
            [
                (b"u1", b"1", Priority.NORMAL, False, None),
                (b"u2", b"2", Priority.NORMAL, True, None),
                (b"u3", b"3", Priority.HIGH, False, None),
                (b"u4", b"4", Priority.HIGH, True, None),
                (b"u5", b"5", Priority.LOW, False, None),
                (b"u6", b"6", Priority.LOW, True, None),
                (b"u7", b"7", Priority.NORMAL, True, None),
                (b"u8", b"8", Priority.NORMAL, False, b"r"),
                (b"u9", b"9", Priority.NORMAL, True, b"r"),
            ],
        )

    def test_workload_holds_anything(self) -> None:
        """
        A workload may hold NULs, and be empty.
        """
        self.connect().says("SUBMIT_JOB_BG f|u1|a|b||c|", "SUBMIT_JOB_BG f|u2|")
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|a|b||c|"])
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:2|f|"])

    def test_empty_function(self) -> None:
        """
        A function may have an empty name.
        """
        self.assertEqual(self.connect().says("SUBMIT_JOB_BG |u|x"), ["JOB_CREATED H:1"])
        self.assertEqual(self.worker("").says("GRAB_JOB"), ["JOB_ASSIGN H:1||x"])

    def test_submitted(self) -> None:
        """
        A job knows when it was submitted.
        """
        self.clock.advance(1.5)
        client = self.connect()
        client.says("SUBMIT_JOB f||x")
        self.clock.advance(1)
        client.says("SUBMIT_JOB f||x")
        self.assertEqual([job.submitted for job in self.server.jobs.values()], [NOON + 1.5, NOON + 2.5])

    def test_longest_unique(self) -> None:
        """
        A unique id of 64 bytes is kept whole, one of 65 is refused and leaves no job; the connection stays.
        """
        client = self.connect()
        self.assertEqual(client.says(f"SUBMIT_JOB f|{'u' * 64}|x"), ["JOB_CREATED H:1"])
        for kind in ("SUBMIT_JOB", "SUBMIT_JOB_BG", "SUBMIT_JOB_LOW_BG"):
            self.assertEqual(client.says(f"{kind} f|{'u' * 65}|x"), ["ERROR ARGUMENT_TOO_LARGE|Unique value too large"])
        self.assertEqual(self.worker("f").says("GRAB_JOB_UNIQ"), [f"JOB_ASSIGN_UNIQ H:1|f|{'u' * 64}|x"])
        self.assertEqual(len(self.server.jobs), 1)
        self.assertFalse(client.closed)

    def test_longest_reducer(self) -> None:
        """
        A reducer of 64 bytes is kept whole; one of 65, or a unique id of 65 with a reducer, is refused.
        """
        client = self.connect()
        self.assertEqual(client.says(f"SUBMIT_REDUCE_JOB f||{'r' * 64}||x"), ["JOB_CREATED H:1"])
        self.assertEqual(self.worker("f").says("GRAB_JOB_ALL"), [f"JOB_ASSIGN_ALL H:1|f||{'r' * 64}|x"])
        refusal = ["ERROR ARGUMENT_TOO_LARGE|Unique value too large"]
        self.assertEqual(client.says(f"SUBMIT_REDUCE_JOB f||{'r' * 65}||x"), refusal)
        self.assertEqual(client.says(f"SUBMIT_REDUCE_JOB_BACKGROUND f|{'u' * 65}|r||x"), refusal)
        self.assertEqual(self.status(), ["f 1 1 1"])

    def test_longest_function(self) -> None:
        """
        The name of a function has 8191 bytes at most, in a submission and in CAN_DO.
        """
        client = self.connect()
        self.assertEqual(client.says(f"SUBMIT_JOB {'f' * 8191}||x"), ["JOB_CREATED H:1"])
        refusal = ["ERROR ARGUMENT_TOO_LARGE|Function name too large: it may have 8191 bytes"]
        for message in (f"SUBMIT_JOB {'f' * 8192}||x", f"CAN_DO {'f' * 8192}", f"CAN_DO_TIMEOUT {'f' * 8192}|5"):
            self.assertEqual(client.says(message), refusal)
        self.assertEqual(list(self.server.functions), [b"f" * 8191])

    def test_reduce_of_three_and_four(self) -> None:
        """
        SUBMIT_REDUCE_JOB has three arguments before its data, as documented, or four, as libgearman sends it.
        """
        for arguments in ("u1|sum|abc", "u2|sum|1|abc", "u3|sum||a|c"):
            self.connect().says(f"SUBMIT_REDUCE_JOB_BACKGROUND f|{arguments}")
        worker = self.worker("f")
        for number, workload in ((1, "abc"), (2, "abc"), (3, "a|c")):
            self.assertEqual(worker.says("GRAB_JOB_ALL"), [f"JOB_ASSIGN_ALL H:{number}|f|u{number}|sum|{workload}"])

    def test_sched(self) -> None:
        """
        SUBMIT_JOB_SCHED is refused, as gearmand does.
        """
        client = self.connect()
        self.assertEqual(client.says("SUBMIT_JOB_SCHED f|u|0|0|1|1|1|x"), ["ERROR INVALID_COMMAND|Command not expected"])
        self.assertEqual(self.server.jobs, {})


class StatusTests(CoreCase):
    """
    GET_STATUS and GET_STATUS_UNIQUE.
    """

    def test_unknown(self) -> None:
        """
        Of a job that there is not, all is 0.
        """
        client = self.connect()
        self.assertEqual(client.says("GET_STATUS H:9"), ["STATUS_RES H:9|0|0|0|0"])
        self.assertEqual(client.says("GET_STATUS_UNIQUE u"), ["STATUS_RES_UNIQUE u|0|0|0|0|0"])

    def test_cut_at_nul(self) -> None:
        """
        The name in question ends at its first NUL.
        """
        client = self.connect()
        client.says("SUBMIT_JOB f|u|x")
        self.assertEqual(client.says("GET_STATUS H:1|"), ["STATUS_RES H:1|1|0|0|0"])
        self.assertEqual(client.says("GET_STATUS H:9|more"), ["STATUS_RES H:9|0|0|0|0"])
        self.assertEqual(client.says("GET_STATUS_UNIQUE u|"), ["STATUS_RES_UNIQUE u|1|0|0|0|1"])

    def test_long(self) -> None:
        """
        A handle or unique id that is longer than any is unknown; gearmand does not answer.
        """
        client = self.connect()
        self.assertEqual(client.says(f"GET_STATUS {'h' * 1000}"), [f"STATUS_RES {'h' * 1000}|0|0|0|0"])
        self.assertEqual(client.says(f"GET_STATUS_UNIQUE {'u' * 1000}"), [f"STATUS_RES_UNIQUE {'u' * 1000}|0|0|0|0|0"])

    def test_life(self) -> None:
        """
        A job is known while it waits, running while it runs, and unknown when it is over.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB_BG f|u|x")
        self.assertEqual(client.says("GET_STATUS H:1"), ["STATUS_RES H:1|1|0|0|0"])
        worker.says("GRAB_JOB")
        self.assertEqual(client.says("GET_STATUS H:1"), ["STATUS_RES H:1|1|1|0|0"])
        self.assertEqual(client.says("GET_STATUS_UNIQUE u"), ["STATUS_RES_UNIQUE u|1|1|0|0|0"])
        worker.says("WORK_STATUS H:1|3|4")
        self.assertEqual(client.says("GET_STATUS H:1"), ["STATUS_RES H:1|1|1|3|4"])
        self.assertEqual(client.says("GET_STATUS_UNIQUE u"), ["STATUS_RES_UNIQUE u|1|1|3|4|0"])
        worker.says("WORK_COMPLETE H:1|")
        self.assertEqual(client.says("GET_STATUS H:1"), ["STATUS_RES H:1|0|0|0|0"])
        self.assertEqual(client.says("GET_STATUS_UNIQUE u"), ["STATUS_RES_UNIQUE u|0|0|0|0|0"])

    def test_numbers(self) -> None:
        """
        What a worker says of its progress is kept as gearmand keeps it: as far as it is a number, in 32 bits without a sign.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB_BG f|u|x")
        worker.says("GRAB_JOB")
        for said, kept in (
            ("-1", "4294967295"),
            ("abc", "0"),
            ("99999999999", "1215752191"),
            (" 12abc", "12"),
            ("", "0"),
            ("9" * 100, "4294967295"),
            ("-" + "9" * 100, "0"),
            ("+7", "7"),
        ):
            worker.says(f"WORK_STATUS H:1|{said}|100")
            self.assertEqual(client.says("GET_STATUS H:1"), [f"STATUS_RES H:1|1|1|{kept}|100"])

    def test_clients(self) -> None:
        """
        STATUS_RES_UNIQUE ends with how many clients wait for the job.
        """
        client, other = self.connect(), self.connect()
        client.says("SUBMIT_JOB f|u|x", "SUBMIT_JOB f|u|x")
        other.says("SUBMIT_JOB f|u|x")
        self.assertEqual(other.says("GET_STATUS_UNIQUE u"), ["STATUS_RES_UNIQUE u|1|0|0|0|3"])
        client.hangs_up()
        self.assertEqual(other.says("GET_STATUS_UNIQUE u"), ["STATUS_RES_UNIQUE u|1|0|0|0|1"])

    def test_any_function(self) -> None:
        """
        A unique id is looked for in all functions.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u1|x", "SUBMIT_JOB_BG g|u2|x")
        self.assertEqual(client.says("GET_STATUS_UNIQUE u2"), ["STATUS_RES_UNIQUE u2|1|0|0|0|0"])

    def test_no_unique(self) -> None:
        """
        Neither an empty unique id nor a dash finds any job.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG f|-|x")
        self.assertEqual(client.says("GET_STATUS_UNIQUE "), ["STATUS_RES_UNIQUE |0|0|0|0|0"])
        self.assertEqual(client.says("GET_STATUS_UNIQUE -"), ["STATUS_RES_UNIQUE -|0|0|0|0|0"])

    def test_lost_progress(self) -> None:
        """
        A job that is tried again has made no progress.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB_BG f|u|x")
        worker.says("GRAB_JOB", "WORK_STATUS H:1|3|4")
        worker.hangs_up()
        self.assertEqual(client.says("GET_STATUS H:1"), ["STATUS_RES H:1|1|0|0|0"])
