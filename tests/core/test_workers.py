"""
Abilities, and the order in which workers are given jobs.
"""

from __future__ import annotations

from tests.core.case import Connection, CoreCase


class AbilityTests(CoreCase):
    """
    CAN_DO, CANT_DO, RESET_ABILITIES.
    """

    def abilities(self, worker: Connection) -> str:
        """
        What C{workers} lists for a worker.
        """
        start = f"{worker.descriptor} "
        lines = self.connect().says("workers\n")
        return next(line.partition(" :")[2].strip() for line in lines if line.startswith(start))

    def test_no_ability(self) -> None:
        """
        A connection that can do nothing is given nothing.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        self.assertEqual(client.says("GRAB_JOB"), ["NO_JOB"])

    def test_can_do(self) -> None:
        """
        CAN_DO has no reply; from then on the worker is given jobs of the function, and of no other.
        """
        self.connect().says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG g||y")
        worker = self.connect()
        self.assertEqual(worker.says("CAN_DO f"), [])
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:1|f|x", "NO_JOB"])

    def test_can_do_makes_the_function(self) -> None:
        """
        A function is known from its first CAN_DO on, and stays known.
        """
        worker = self.worker("f")
        self.assertEqual(self.status(), ["f 0 0 1"])
        worker.hangs_up()
        self.assertEqual(self.status(), ["f 0 0 0"])

    def test_name_to_the_end(self) -> None:
        """
        The name in CAN_DO runs to the packet's end, NULs included.
        """
        self.worker("f|g")
        self.assertEqual(list(self.server.functions), [b"f\0g"])

    def test_twice(self) -> None:
        """
        A second CAN_DO of a function changes nothing but its timeout: one entry, one worker, the same place in the order.
        """
        worker = self.worker("f", "g")
        worker.says("CAN_DO f", "CAN_DO_TIMEOUT f|5000")
        self.assertEqual(self.status(), ["f 0 0 1", "g 0 0 1"])
        self.assertEqual(self.abilities(worker), "g f")
        self.connect().says("SUBMIT_JOB_BG g||x", "SUBMIT_JOB_BG f||x")
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:2|f|x"])
        worker.says("CANT_DO f")
        self.assertEqual(self.status(), ["f 1 1 0", "g 1 0 1"])

    def test_cant_do(self) -> None:
        """
        After CANT_DO, which has no reply, the worker is given no more of the function's jobs.
        """
        worker = self.worker("f", "g")
        self.connect().says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG g||y")
        self.assertEqual(worker.says("CANT_DO f"), [])
        self.assertEqual(worker.says("GRAB_JOB", "GRAB_JOB"), ["JOB_ASSIGN H:2|g|y", "NO_JOB"])
        self.assertEqual(self.status(), ["f 1 0 0", "g 1 1 1"])

    def test_cant_do_what_it_never_could(self) -> None:
        """
        CANT_DO of a function that the worker cannot do, or that nobody knows, does nothing.
        """
        self.worker("f")
        other = self.connect()
        self.assertEqual(other.says("CANT_DO f", "CANT_DO nothing"), [])
        self.assertEqual(self.status(), ["f 0 0 1"])

    def test_cant_do_keeps_what_runs(self) -> None:
        """
        CANT_DO leaves a running job with its worker, which can finish it.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "CANT_DO f")
        self.assertEqual(self.status(), ["f 1 1 0"])
        self.assertEqual(worker.says("WORK_COMPLETE H:1|y"), [])
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])

    def test_reset_keeps_what_runs(self) -> None:
        """
        RESET_ABILITIES ends every ability and leaves running jobs alone.
        """
        client, worker = self.connect(), self.worker("f", "g")
        client.says("SUBMIT_JOB f||x", "SUBMIT_JOB f||x")
        worker.says("GRAB_JOB")
        self.assertEqual(worker.says("RESET_ABILITIES"), [])
        self.assertEqual(worker.says("GRAB_JOB"), ["NO_JOB"])
        self.assertEqual(self.status(), ["f 2 1 0", "g 0 0 0"])
        worker.says("WORK_COMPLETE H:1|y")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:1|y"])

    def test_gone_worker_is_not_counted(self) -> None:
        """
        A worker that has gone is in no function's count.
        """
        worker, _ = self.worker("f", "g"), self.worker("f")
        worker.hangs_up()
        self.assertEqual(self.status(), ["f 0 0 1", "g 0 0 0"])

    def test_disconnected_twice(self) -> None:
        """
        A connection that has ended may end again: nothing happens.
        """
        worker = self.worker("f")
        worker.hangs_up()
        worker.hangs_up()
        self.assertEqual(self.status(), ["f 0 0 0"])


class GrabTests(CoreCase):
    """
    GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL.
    """

    def test_forms(self) -> None:
        """
        GRAB_JOB gives handle, function and data; GRAB_JOB_UNIQ and GRAB_JOB_ALL the unique id too.
        """
        self.connect().says(*(f"SUBMIT_JOB_BG f|u{number}|x" for number in (1, 2, 3)))
        worker = self.worker("f")
        self.assertEqual(
            worker.says("GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"),
            ["JOB_ASSIGN H:1|f|x", "JOB_ASSIGN_UNIQ H:2|f|u2|x", "JOB_ASSIGN_UNIQ H:3|f|u3|x"],
        )

    def test_forms_of_a_reduce_job(self) -> None:
        """
        Only GRAB_JOB_ALL gives the reducer, in a JOB_ASSIGN_ALL.
        """
        self.connect().says(*(f"SUBMIT_REDUCE_JOB_BACKGROUND f|u{number}|r||x" for number in (1, 2, 3)))
        worker = self.worker("f")
        self.assertEqual(
            worker.says("GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"),
            ["JOB_ASSIGN H:1|f|x", "JOB_ASSIGN_UNIQ H:2|f|u2|x", "JOB_ASSIGN_ALL H:3|f|u3|r|x"],
        )

    def test_empty_reducer(self) -> None:
        """
        An empty reducer is one: the job is assigned with JOB_ASSIGN_ALL.
        """
        self.connect().says("SUBMIT_REDUCE_JOB_BACKGROUND f|u|||x")
        self.assertEqual(self.worker("f").says("GRAB_JOB_ALL"), ["JOB_ASSIGN_ALL H:1|f|u||x"])

    def test_wire_unique(self) -> None:
        """
        An empty unique id and a dash reach the worker as they are.
        """
        self.connect().says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG f|-|x")
        worker = self.worker("f")
        self.assertEqual(
            worker.says("GRAB_JOB_UNIQ", "GRAB_JOB_UNIQ"), ["JOB_ASSIGN_UNIQ H:1|f||x", "JOB_ASSIGN_UNIQ H:2|f|-|x"]
        )

    def test_nothing(self) -> None:
        """
        Each of them is answered NO_JOB when there is none.
        """
        self.assertEqual(self.worker("f").says("GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"), ["NO_JOB"] * 3)

    def test_ignored_bytes(self) -> None:
        """
        Bytes in a packet that has no arguments are ignored.
        """
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB abc", "PRE_SLEEP abc", "RESET_ABILITIES abc", "GRAB_JOB_ALL a|b"), ["NO_JOB"] * 2)

    def test_large_workload(self) -> None:
        """
        A large workload arrives whole behind its arguments, in each form.
        """
        workload = "x" * 20000
        client = self.connect()
        client.says(*(f"SUBMIT_REDUCE_JOB_BACKGROUND f|u{number}|r||{workload}" for number in (1, 2, 3)))
        worker = self.worker("f")
        self.assertEqual(worker.says("GRAB_JOB"), [f"JOB_ASSIGN H:1|f|{workload}"])
        self.assertEqual(worker.says("GRAB_JOB_UNIQ"), [f"JOB_ASSIGN_UNIQ H:2|f|u2|{workload}"])
        self.assertEqual(worker.says("GRAB_JOB_ALL"), [f"JOB_ASSIGN_ALL H:3|f|u3|r|{workload}"])

    def test_many_jobs_at_once(self) -> None:
        """
        A worker may have any number of jobs, and may finish them in any order.
        """
        client, worker = self.connect(), self.worker("f")
        client.says(*["SUBMIT_JOB f||x"] * 3)
        worker.says("GRAB_JOB", "GRAB_JOB", "GRAB_JOB", "WORK_COMPLETE H:2|", "WORK_COMPLETE H:3|", "WORK_COMPLETE H:1|")
        self.assertEqual(client.hears(), ["WORK_COMPLETE H:2|", "WORK_COMPLETE H:3|", "WORK_COMPLETE H:1|"])
        self.assert_nothing_left()

    def test_one_job_for_one_worker(self) -> None:
        """
        A job is given to one worker alone.
        """
        self.connect().says("SUBMIT_JOB_BG f||x")
        first, second = self.worker("f"), self.worker("f")
        self.assertEqual(first.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])
        self.assertEqual(second.says("GRAB_JOB"), ["NO_JOB"])


class OrderTests(CoreCase):
    """
    Which job comes next.
    """

    def fill(self) -> None:
        """
        Jobs of two functions: the workload says of which, of what priority, and in which order.
        """
        self.connect().says(
            "SUBMIT_JOB_LOW_BG f||f low",
            "SUBMIT_JOB_BG f||f normal 1",
            "SUBMIT_JOB_LOW_BG g||g low",
            "SUBMIT_JOB_BG g||g normal",
            "SUBMIT_JOB_BG f||f normal 2",
            "SUBMIT_JOB_HIGH_BG g||g high",
            "SUBMIT_JOB_HIGH_BG f||f high",
        )

    def grabs(self, worker: Connection) -> list[str]:
        """
        The workloads of all jobs, as a worker is given them.
        """
        grabbed = []
        while (message := worker.says("GRAB_JOB")[0]) != "NO_JOB":
            grabbed.append(message.rpartition("|")[2])
        return grabbed

    def test_priorities(self) -> None:
        """
        In a function, high goes before normal before low, and in each the oldest first.
        """
        self.fill()
        self.assertEqual(self.grabs(self.worker("f")), ["f high", "f normal 1", "f normal 2", "f low"])

    def test_functions_in_their_order(self) -> None:
        """
        By default a worker gets all jobs of the function that it registered first, then those of the next.
        """
        self.fill()
        self.assertEqual(
            self.grabs(self.worker("g", "f")), ["g high", "g normal", "g low", "f high", "f normal 1", "f normal 2", "f low"]
        )

    def test_registered_again(self) -> None:
        """
        A function that is given up and registered again goes to the end.
        """
        self.fill()
        worker = self.worker("f", "g")
        worker.says("CANT_DO f", "CAN_DO f")
        self.assertEqual(self.grabs(worker)[0], "g high")

    def test_round_robin(self) -> None:
        """
        With --round-robin the functions of a worker take turns; priorities count within a function.
        """
        self.serve(round_robin=True)
        self.fill()
        self.assertEqual(
            self.grabs(self.worker("f", "g")), ["f high", "g high", "f normal 1", "g normal", "f normal 2", "g low", "f low"]
        )

    def test_round_robin_is_of_each_worker(self) -> None:
        """
        The turns of one worker are not those of another.
        """
        self.serve(round_robin=True)
        self.connect().says(*["SUBMIT_JOB_BG f||f", "SUBMIT_JOB_BG g||g"] * 2)
        first, second = self.worker("f", "g"), self.worker("f", "g")
        self.assertEqual(first.says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|f"])
        self.assertEqual(second.says("GRAB_JOB"), ["JOB_ASSIGN H:3|f|f"])

    def test_global_priority(self) -> None:
        """
        With --global-priority high goes first over all functions, in their order, then normal, then low.
        """
        self.serve(global_priority=True)
        self.fill()
        self.assertEqual(
            self.grabs(self.worker("f", "g")), ["f high", "g high", "f normal 1", "f normal 2", "g normal", "f low", "g low"]
        )

    def test_both(self) -> None:
        """
        With both, priority goes first and the functions take turns within it.
        """
        self.serve(global_priority=True, round_robin=True)
        self.fill()
        self.assertEqual(
            self.grabs(self.worker("f", "g")), ["f high", "g high", "f normal 1", "g normal", "f normal 2", "g low", "f low"]
        )

    def test_an_empty_function_loses_no_turn(self) -> None:
        """
        With --round-robin a function without jobs keeps its place.
        """
        self.serve(round_robin=True)
        worker = self.worker("f", "g", "h")
        client = self.connect()
        client.says("SUBMIT_JOB_BG h||h")
        self.assertEqual(worker.says("GRAB_JOB"), ["JOB_ASSIGN H:1|h|h"])
        client.says("SUBMIT_JOB_BG h||h", "SUBMIT_JOB_BG g||g", "SUBMIT_JOB_BG f||f")
        self.assertEqual(self.grabs(worker), ["f", "g", "h"])
