"""
What workers say of their jobs, and who hears it.
"""

from __future__ import annotations

from tests.core.case import CoreCase

UNKNOWN_RESULT = "ERROR JOB_NOT_FOUND|Job given in work result not found"
UNKNOWN_DATA = "ERROR JOB_NOT_FOUND|Job does not exist on server"
UNKNOWN_EXCEPTION = "ERROR JOB_NOT_FOUND|An exception was received for a job that does not exist"

UNKNOWN = {
    "WORK_STATUS H:9|1|2": UNKNOWN_RESULT,
    "WORK_COMPLETE H:9|x": UNKNOWN_RESULT,
    "WORK_FAIL H:9": UNKNOWN_RESULT,
    "WORK_DATA H:9|x": UNKNOWN_DATA,
    "WORK_WARNING H:9|x": UNKNOWN_DATA,
    "WORK_EXCEPTION H:9|x": UNKNOWN_EXCEPTION,
}


class ResultTests(CoreCase):
    """
    WORK_DATA, WORK_WARNING, WORK_STATUS, WORK_COMPLETE, WORK_FAIL.
    """

    def setUp(self) -> None:
        """
        One foreground job, H:1, which a worker has.
        """
        super().setUp()
        self.client, self.worker_ = self.connect(), self.worker("f")
        self.client.says("SUBMIT_JOB f|u1|x")
        self.worker_.says("GRAB_JOB")

    def test_forwarded_verbatim(self) -> None:
        """
        What a worker says reaches the client byte by byte, and the worker gets no reply.
        """
        for message in (
            "WORK_DATA H:1|a|b|",
            "WORK_DATA H:1|",
            "WORK_WARNING H:1|careful",
            "WORK_STATUS H:1|01|+2 of 3",
            "WORK_STATUS H:1||",
            "WORK_COMPLETE H:1|a|b",
        ):
            self.assertEqual(self.worker_.says(message), [])
            self.assertEqual(self.client.hears(), [message])

    def test_bare_handle(self) -> None:
        """
        A handle without a NUL behind it has empty data, as Perl's worker means it; the client gets it with the NUL.
        """
        other = self.connect()
        other.says("OPTION_REQ exceptions", "SUBMIT_JOB f|u1|x")
        for message in ("WORK_DATA H:1", "WORK_WARNING H:1"):
            self.assertEqual(self.worker_.says(message), [])
            self.assertEqual(self.client.hears(), [f"{message}|"])
        for end in ("WORK_COMPLETE", "WORK_EXCEPTION"):
            other.says("SUBMIT_JOB g||x")
            worker = self.worker("g")
            handle = worker.says("GRAB_JOB")[0].split("|")[0].split()[1]
            self.assertEqual(worker.says(f"{end} {handle}"), [])
            self.assertEqual(other.hears()[-1], f"{end} {handle}|")

    def test_in_order(self) -> None:
        """
        It reaches the client in the order in which the worker said it, in one write for one turn.
        """
        messages = ["WORK_DATA H:1|a", "WORK_STATUS H:1|1|2", "WORK_WARNING H:1|b", "WORK_DATA H:1|c", "WORK_COMPLETE H:1|d"]
        before = self.client.writes
        self.worker_.says(*messages)
        self.assertEqual(self.client.hears(), messages)
        self.assertEqual(self.client.writes, before + 1)

    def test_large(self) -> None:
        """
        Large bodies arrive whole, at every client.
        """
        other = self.connect()
        other.says("SUBMIT_JOB f|u1|x")
        messages = [f"WORK_DATA H:1|{'a' * 16384}", f"WORK_COMPLETE H:1|{'b' * 100000}"]
        self.worker_.says(*messages)
        self.assertEqual(self.client.hears(), messages)
        self.assertEqual(other.hears(), messages)

    def test_complete_ends(self) -> None:
        """
        WORK_COMPLETE ends the job: a second one is for a job that there is not.
        """
        self.worker_.says("WORK_COMPLETE H:1|y")
        self.assertEqual(self.worker_.says("WORK_COMPLETE H:1|z"), [UNKNOWN_RESULT])
        self.assertEqual(self.client.hears(), ["WORK_COMPLETE H:1|y"])
        self.assert_nothing_left()

    def test_fail_ends(self) -> None:
        """
        WORK_FAIL ends the job, and it is not tried again.
        """
        self.assertEqual(self.worker_.says("WORK_FAIL H:1"), [])
        self.assertEqual(self.client.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(self.worker_.says("GRAB_JOB"), ["NO_JOB"])
        self.assert_nothing_left()

    def test_fail_with_a_nul(self) -> None:
        """
        A NUL behind the handle is no part of it, but is forwarded.
        """
        self.assertEqual(self.worker_.says("WORK_FAIL H:1|"), [])
        self.assertEqual(self.client.hears(), ["WORK_FAIL H:1|"])
        self.assert_nothing_left()

    def test_unknown_job(self) -> None:
        """
        Each of them, of a job that there is not, has its own error; the connection stays.
        """
        for message, reply in UNKNOWN.items():
            self.assertEqual(self.worker_.says(message), [reply])
        self.assertFalse(self.worker_.closed)

    def test_another_workers_job(self) -> None:
        """
        A job that another worker has is not there for this one, and neither is it for the client that submitted it.
        """
        for intruder in (self.worker("f"), self.client):
            for message, reply in UNKNOWN.items():
                self.assertEqual(intruder.says(message.replace("H:9", "H:1")), [reply])
        self.assertEqual(self.status(), ["f 1 1 2"])

    def test_queued_job(self) -> None:
        """
        Nor is one that no worker has.
        """
        self.client.says("SUBMIT_JOB f||y")
        for message, reply in UNKNOWN.items():
            self.assertEqual(self.worker_.says(message.replace("H:9", "H:2")), [reply])

    def test_long_handle_of_a_failure(self) -> None:
        """
        A WORK_FAIL of a handle of 64 bytes is too large, of 63 unknown.
        """
        self.assertEqual(
            self.worker_.says(f"WORK_FAIL {'h' * 64}"),
            ["ERROR ARGUMENT_TOO_LARGE|Error occurred due to GEARMAND_JOB_HANDLE_SIZE being too small from snprintf"],
        )
        self.assertEqual(self.worker_.says(f"WORK_FAIL {'h' * 63}"), [UNKNOWN_RESULT])

    def test_background(self) -> None:
        """
        What is said of a job that nobody waits for is taken, and dropped.
        """
        self.client.says("SUBMIT_JOB_BG f||y")
        self.worker_.says("GRAB_JOB")
        self.assertEqual(self.worker_.says("WORK_DATA H:2|a", "WORK_STATUS H:2|1|2", "WORK_COMPLETE H:2|b"), [])
        self.assertEqual(self.client.hears(), [])

    def test_own_job(self) -> None:
        """
        One connection may be client and worker of a job at once.
        """
        client = self.worker("g")
        self.assertEqual(client.says("SUBMIT_JOB g||x", "GRAB_JOB"), ["JOB_CREATED H:2", "JOB_ASSIGN H:2|g|x"])
        self.assertEqual(client.says("WORK_COMPLETE H:2|y"), ["WORK_COMPLETE H:2|y"])


class ExceptionTests(CoreCase):
    """
    WORK_EXCEPTION.
    """

    def run_job(self) -> None:
        """
        One foreground job, H:1, which a worker has.
        """
        self.client, self.worker_ = self.connect(), self.worker("f")
        self.client.says("SUBMIT_JOB f|u1|x")
        self.worker_.says("GRAB_JOB")

    def test_not_asked_for(self) -> None:
        """
        A client that did not ask for exceptions gets a WORK_FAIL with the bare handle: no NUL behind it.
        """
        self.run_job()
        self.assertEqual(self.worker_.says("WORK_EXCEPTION H:1|oops"), [])
        self.assertEqual(self.client.hears(), ["WORK_FAIL H:1"])
        self.assert_nothing_left()

    def test_asked_for(self) -> None:
        """
        A client that asked gets the WORK_EXCEPTION as it is, and no WORK_FAIL after it.
        """
        self.run_job()
        self.assertEqual(self.client.says("OPTION_REQ exceptions"), ["OPTION_RES exceptions"])
        self.worker_.says("WORK_EXCEPTION H:1|o|ops")
        self.assertEqual(self.client.hears(), ["WORK_EXCEPTION H:1|o|ops"])

    def test_each_as_it_asked(self) -> None:
        """
        Of two clients of one job, each gets what it asked for.
        """
        self.run_job()
        other = self.connect()
        other.says("OPTION_REQ exceptions", "SUBMIT_JOB f|u1|x")
        self.worker_.says("WORK_EXCEPTION H:1|oops")
        self.assertEqual(self.client.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(other.hears(), ["WORK_EXCEPTION H:1|oops"])

    def test_for_everyone(self) -> None:
        """
        With --exceptions every client has asked.
        """
        self.serve(exceptions=True)
        self.run_job()
        self.worker_.says("WORK_EXCEPTION H:1|oops")
        self.assertEqual(self.client.hears(), ["WORK_EXCEPTION H:1|oops"])

    def test_ends(self) -> None:
        """
        An exception ends the job, and it is not tried again.
        """
        self.run_job()
        self.worker_.says("WORK_EXCEPTION H:1|oops")
        self.assertEqual(self.worker_.says("GRAB_JOB"), ["NO_JOB"])
        self.assertEqual(self.client.says("GET_STATUS H:1"), ["WORK_FAIL H:1", "STATUS_RES H:1|0|0|0|0"])

    def test_fail_after_it(self) -> None:
        """
        The WORK_FAIL that some libraries send after their WORK_EXCEPTION is swallowed; a second one is an error.
        """
        self.run_job()
        self.assertEqual(self.worker_.says("WORK_EXCEPTION H:1|oops", "WORK_FAIL H:1"), [])
        self.assertEqual(self.client.hears(), ["WORK_FAIL H:1"])
        self.assertEqual(self.worker_.says("WORK_FAIL H:1"), [UNKNOWN_RESULT])

    def test_fail_with_a_nul_after_it(self) -> None:
        """
        So is one with a NUL behind its handle.
        """
        self.run_job()
        self.assertEqual(self.worker_.says("WORK_EXCEPTION H:1|oops", "WORK_FAIL H:1|"), [])

    def test_fail_of_another_after_it(self) -> None:
        """
        That goes for the worker that sent the exception alone.
        """
        self.run_job()
        self.worker_.says("WORK_EXCEPTION H:1|oops")
        self.assertEqual(self.worker("f").says("WORK_FAIL H:1"), [UNKNOWN_RESULT])

    def test_memory_of_exceptions_is_bounded(self) -> None:
        """
        A worker that sends nothing after its exceptions does not fill the server's memory.
        """
        client, worker = self.connect(), self.worker("f")
        for number in range(1, 301):
            client.says("SUBMIT_JOB_BG f||x")
            worker.says("GRAB_JOB", f"WORK_EXCEPTION H:{number}|x")
        self.assertLessEqual(len(worker.session._settled), 256)
        self.assertEqual(worker.says("WORK_FAIL H:300"), [])


class OptionTests(CoreCase):
    """
    OPTION_REQ.
    """

    def test_exceptions(self) -> None:
        """
        The reply echoes the request's bytes; case and a NUL at the end don't matter.
        """
        client = self.connect()
        for option in ("exceptions", "EXCEPTIONS", "exceptions|"):
            self.assertEqual(client.says(f"OPTION_REQ {option}"), [f"OPTION_RES {option}"])

    def test_others(self) -> None:
        """
        There is no other option.
        """
        client = self.connect()
        for option in ("", "exception", "exceptions ", "x" * 100):
            self.assertEqual(client.says(f"OPTION_REQ {option}"), ["ERROR UNKNOWN_OPTION|Server does not recognize given option"])
        self.assertFalse(client.session.exceptions)
