"""
The worker's side of one connection, in plain calls.
"""

from __future__ import annotations

import unittest

from gearsvc.client.conversation import BadAnswer
from gearsvc.client.working import (
    FALSE_ALARMS,
    FIRST_REST,
    LAST_REST,
    Assignment,
    Complaint,
    Rest,
    Standing,
    Working,
    server_timeout,
)
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import PacketDecoder


def said(working: Working) -> list[str]:
    """
    What a worker says now: a line for each packet, with C{|} between its arguments.
    """
    packets = PacketDecoder(magic=REQUEST).feed(working.data_to_send())
    return [" ".join([Type(kind).name, body.replace(b"\0", b"|").decode()]).strip() for kind, body in packets]


class WorkingTestCase(unittest.TestCase):
    """
    A worker that can do C{f} and C{g}, which has been greeted.
    """

    def setUp(self) -> None:
        """
        Greet.
        """
        self.now = 100.0
        self.working = Working({b"f": None, b"g": 2.5}, b"me")
        self.greeting = said(self.working)

    def receive(self, kind: Type, body: bytes = b"") -> object:
        """
        The server sends a packet.
        """
        return self.working.receive(kind, body, self.now)

    def assign(self, handle: bytes, function: bytes = b"f") -> None:
        """
        The worker asks for a job and gets it.
        """
        self.working.grab()
        self.receive(Type.JOB_ASSIGN_UNIQ, b"%b\0%b\0\0data" % (handle, function))
        said(self.working)

    def fall_asleep(self) -> None:
        """
        The worker asks for a job, and there is none.
        """
        self.working.grab()
        self.receive(Type.NO_JOB)
        said(self.working)


class AbilityTests(WorkingTestCase):
    """
    What the worker says that it can do.
    """

    def test_greeting(self) -> None:
        """
        The client id comes first, then the functions in their order, time-outs in milliseconds.
        """
        self.assertEqual(self.greeting, ["SET_CLIENT_ID me", "CAN_DO f", "CAN_DO_TIMEOUT g|2500"])

    def test_no_client_id(self) -> None:
        """
        A worker without a client id sets none.
        """
        self.assertEqual(said(Working({b"f": None})), ["CAN_DO f"])

    def test_shortest_timeout(self) -> None:
        """
        A time-out is never rounded to none, and less than a second is a second for servers.
        """
        self.assertEqual(said(Working({b"f": 0.0001})), ["CAN_DO_TIMEOUT f|1"])
        self.assertEqual((server_timeout(0.2), server_timeout(1.5)), (1.0, 1.5))

    def test_same_function_again(self) -> None:
        """
        A function that is registered again as it was is not announced twice, which gearmand would count twice.
        """
        self.working.register(b"f", None)
        self.working.register(b"g", 2.5)
        self.assertEqual(said(self.working), [])
        self.working.register(b"g", None)
        self.assertEqual(said(self.working), ["CAN_DO g"])

    def test_new_ability_wakes(self) -> None:
        """
        A sleeping worker asks again when it has learned a function: a job of it may have waited for long.
        """
        self.fall_asleep()
        self.working.register(b"h", None)
        self.assertEqual(said(self.working), ["CAN_DO h"])
        self.assertTrue(self.working.can_grab)

    def test_unregister(self) -> None:
        """
        A function of which no job runs is taken back at once; an unknown one says nothing.
        """
        self.working.unregister(b"f")
        self.working.unregister(b"unknown")
        self.assertEqual(said(self.working), ["CANT_DO f"])
        self.assertTrue(self.working.can_grab)

    def test_unregister_while_it_runs(self) -> None:
        """
        A function of which a job runs is taken back when that has ended, for gearmand would give the job to another;
        until then nothing is asked for.
        """
        self.assign(b"H:1")
        self.working.unregister(b"f")
        self.assertEqual(said(self.working), [])
        self.assertFalse(self.working.can_grab)
        self.working.complete(b"H:1", b"done")
        self.assertEqual(said(self.working), ["WORK_COMPLETE H:1|done", "CANT_DO f"])
        self.assertTrue(self.working.can_grab)

    def test_second_thoughts(self) -> None:
        """
        A function that is registered again before CANT_DO was sent stays.
        """
        self.assign(b"H:1")
        self.working.unregister(b"f")
        self.working.register(b"f", None)
        self.working.complete(b"H:1", b"")
        self.assertEqual(said(self.working), ["WORK_COMPLETE H:1|"])

    def test_nothing_to_do(self) -> None:
        """
        A worker without functions asks for nothing.
        """
        self.assertFalse(Working({}).can_grab)


class GrabbingTests(WorkingTestCase):
    """
    Asking for jobs, sleeping and waking.
    """

    def test_no_job(self) -> None:
        """
        Where there is no job the worker sleeps, and asks again at the NOOP.
        """
        self.working.grab()
        self.assertEqual(said(self.working), ["GRAB_JOB_ALL"])
        self.assertFalse(self.working.can_grab)
        self.assertIsNone(self.receive(Type.NO_JOB))
        self.assertEqual(said(self.working), ["PRE_SLEEP"])
        self.assertEqual((self.working.standing, self.working.can_grab), (Standing.ASLEEP, False))
        self.now += 60
        self.assertIsNone(self.receive(Type.NOOP))
        self.assertEqual(said(self.working), [])
        self.assertTrue(self.working.can_grab)

    def test_grab_out_of_turn(self) -> None:
        """
        One answer is awaited at a time.
        """
        self.working.grab()
        self.assertRaises(RuntimeError, self.working.grab)

    def test_assignments(self) -> None:
        """
        A job is understood in all three forms that servers give it in; its workload may hold NULs.
        """
        for kind, body, expected in (
            (Type.JOB_ASSIGN, b"H:1\0f\0a\0b", Assignment(b"H:1", b"f", b"", b"", b"a\0b")),
            (Type.JOB_ASSIGN_UNIQ, b"H:2\0f\0u\0a\0b", Assignment(b"H:2", b"f", b"u", b"", b"a\0b")),
            (Type.JOB_ASSIGN_ALL, b"H:3\0f\0u\0r\0a\0b", Assignment(b"H:3", b"f", b"u", b"r", b"a\0b")),
        ):
            self.working.grab()
            self.assertEqual(self.receive(kind, body), expected)
            self.assertTrue(self.working.can_grab)
        self.assertEqual(self.working.running, {b"H:1": b"f", b"H:2": b"f", b"H:3": b"f"})

    def test_noop_crosses_grab(self) -> None:
        """
        A NOOP that comes before the answer to a grab changes nothing: PRE_SLEEP has the server look again.
        """
        self.working.grab()
        self.assertIsNone(self.receive(Type.NOOP))
        self.receive(Type.NO_JOB)
        self.assertEqual(said(self.working), ["GRAB_JOB_ALL", "PRE_SLEEP"])

    def test_older_servers(self) -> None:
        """
        A server that refuses a form of the grab is asked in an older one, and that is remembered.
        """
        self.working.grab()
        refusal = b"INVALID_COMMAND\0Command not expected"
        self.assertEqual(self.receive(Type.ERROR, refusal), Complaint(b"INVALID_COMMAND", b"Command not expected", True))
        self.receive(Type.ERROR, refusal)
        self.assertEqual(said(self.working), ["GRAB_JOB_ALL", "GRAB_JOB_UNIQ", "GRAB_JOB"])
        self.receive(Type.JOB_ASSIGN, b"H:1\0f\0")
        self.working.grab()
        self.assertEqual(said(self.working), ["GRAB_JOB"])

    def test_woken_for_nothing(self) -> None:
        """
        A server that answers each PRE_SLEEP with a NOOP, and has no job, is asked ever more seldom; a job ends that.
        """
        rests = []
        for _ in range(40):
            self.working.grab()
            event = self.receive(Type.NO_JOB)
            if isinstance(event, Rest):
                rests.append(event.seconds)
                self.assertFalse(self.working.can_grab)
                self.working.rested()
                self.working.grab()
                self.receive(Type.NO_JOB)
            self.receive(Type.NOOP)
        self.assertEqual(rests[:2], [FIRST_REST, 2 * FIRST_REST])
        self.assertEqual(rests[-1], LAST_REST)
        self.assertEqual(len(rests), 40 - FALSE_ALARMS)
        self.assign(b"H:1")
        self.fall_asleep()
        self.assertIs(self.working.standing, Standing.ASLEEP)

    def test_woken_in_vain_now_and_then(self) -> None:
        """
        A worker among many is often too late for the job that it was woken for: that is no reason to rest.
        """
        for _ in range(20):
            self.fall_asleep()
            self.assertIs(self.working.standing, Standing.ASLEEP)
            self.now += 1
            self.receive(Type.NOOP)

    def test_bad_answers(self) -> None:
        """
        What no server says to a worker is told from what it says.
        """
        for kind, body, expected in (
            (Type.NO_JOB, b"", "it sent NO_JOB, and no job had been asked for"),
            (Type.JOB_ASSIGN, b"H:1\0f\0", "it sent JOB_ASSIGN, and no job had been asked for"),
            (Type.JOB_CREATED, b"H:1", "it sent JOB_CREATED to a worker"),
            (Type.TEXT, b"hello", "it sent TEXT to a worker"),
        ):
            with self.assertRaises(BadAnswer) as caught:
                self.receive(kind, body)
            self.assertEqual(str(caught.exception), expected)
        with self.assertRaises(BadAnswer) as caught:
            list(self.working.packets(b"HTTP/1.1 400 Bad Request\r\n" + b"\0NOT a packet"))
        self.assertEqual(str(caught.exception), "it sent what is no packet: Request magic expected")
        self.working.grab()
        with self.assertRaises(BadAnswer) as caught:
            self.receive(Type.JOB_ASSIGN_ALL, b"H:1\0f\0u\0data")
        self.assertEqual(str(caught.exception), "its JOB_ASSIGN_ALL ends too early")


class JobTests(WorkingTestCase):
    """
    What the worker says of its jobs.
    """

    def test_course_of_a_job(self) -> None:
        """
        Data, warnings and progress go before the result; after it nothing is said of the job.
        """
        self.assign(b"H:1")
        self.working.send(Type.WORK_DATA, b"H:1", b"a")
        self.working.send(Type.WORK_WARNING, b"H:1", b"b")
        self.working.send(Type.WORK_STATUS, b"H:1", b"1", b"2")
        self.assertTrue(self.working.complete(b"H:1", b"c"))
        self.assertFalse(self.working.complete(b"H:1", b"again"))
        self.assertFalse(self.working.send(Type.WORK_DATA, b"H:1", b"late"))
        self.assertEqual(
            said(self.working), ["WORK_DATA H:1|a", "WORK_WARNING H:1|b", "WORK_STATUS H:1|1|2", "WORK_COMPLETE H:1|c"]
        )

    def test_failures(self) -> None:
        """
        A failure is WORK_FAIL; an exception is WORK_EXCEPTION and then WORK_FAIL, for the servers where it does not end the job.
        """
        self.assign(b"H:1")
        self.assign(b"H:2")
        self.assertTrue(self.working.fail(b"H:1"))
        self.assertTrue(self.working.fail_with(b"H:2", b"oops"))
        self.assertEqual(said(self.working), ["WORK_FAIL H:1", "WORK_EXCEPTION H:2|oops", "WORK_FAIL H:2"])
        complaint = self.receive(Type.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")
        self.assertEqual(complaint, Complaint(b"JOB_NOT_FOUND", b"Job given in work result not found", True))

    def test_other_errors(self) -> None:
        """
        An ERROR that tells of something wrong is not taken for one that does not.
        """
        self.assertEqual(self.receive(Type.ERROR, b"QUEUE_ERROR\0x"), Complaint(b"QUEUE_ERROR", b"x", False))

    def test_time_is_up(self) -> None:
        """
        Of a job whose time is up nothing is said, its result neither, until the server has had time to notice by itself.
        """
        self.assign(b"H:1", b"g")
        self.assertTrue(self.working.expire(b"H:1"))
        self.assertFalse(self.working.complete(b"H:1", b"late"))
        self.assertEqual(said(self.working), [])
        self.working.settle(b"H:1")
        self.assertEqual(said(self.working), ["WORK_FAIL H:1"])

    def test_given_again(self) -> None:
        """
        A job whose time was up, and which the same worker was given again, is not said to have failed.
        """
        self.assign(b"H:1", b"g")
        self.working.expire(b"H:1")
        self.assign(b"H:1", b"g")
        self.working.settle(b"H:1")
        self.assertEqual(said(self.working), [])

    def test_given_again_at_the_same_time(self) -> None:
        """
        Nor is it while the answer may be on its way that gives it again.
        """
        self.assign(b"H:1", b"g")
        self.working.expire(b"H:1")
        self.working.grab()
        self.working.settle(b"H:1")
        self.assertEqual(said(self.working), ["GRAB_JOB_ALL"])
        self.receive(Type.JOB_ASSIGN_UNIQ, b"H:1\0g\0\0data")
        self.assertEqual(said(self.working), [])
        self.assertTrue(self.working.complete(b"H:1", b""))


class LeavingTests(WorkingTestCase):
    """
    A worker that takes no more.
    """

    def test_idle(self) -> None:
        """
        A worker that has no job is done at once.
        """
        self.fall_asleep()
        self.working.leave()
        self.assertTrue(self.working.finished)
        self.assertEqual(said(self.working), ["CANT_DO f", "CANT_DO g"])

    def test_busy(self) -> None:
        """
        A worker finishes its job, and asks for no other.
        """
        self.assign(b"H:1")
        self.working.leave()
        self.assertEqual((self.working.finished, self.working.can_grab), (False, False))
        self.working.complete(b"H:1", b"done")
        self.assertEqual(said(self.working), ["CANT_DO g", "WORK_COMPLETE H:1|done", "CANT_DO f"])
        self.assertTrue(self.working.finished)

    def test_grab_under_way(self) -> None:
        """
        An answer that is on its way is waited for: the job that it gives is done.
        """
        self.working.grab()
        self.working.leave()
        self.assertFalse(self.working.finished)
        said(self.working)
        self.receive(Type.JOB_ASSIGN_UNIQ, b"H:1\0f\0\0data")
        self.assertFalse(self.working.finished)
        self.working.complete(b"H:1", b"done")
        self.assertEqual(said(self.working), ["WORK_COMPLETE H:1|done"])
        self.assertTrue(self.working.finished)

    def test_grab_in_vain(self) -> None:
        """
        A worker that leaves does not go to sleep.
        """
        self.working.grab()
        self.working.leave()
        said(self.working)
        self.receive(Type.NO_JOB)
        self.assertEqual(said(self.working), [])
        self.assertTrue(self.working.finished)
