"""
Packets that are refused, and those that concern nobody but their sender.
"""

from __future__ import annotations

from gearsvc.core.packets import LAYOUTS, REQUEST, RESPONSE, Sender, Type
from gearsvc.core.requests import integer
from gearsvc.core.wire import encode
from tests.core.case import CoreCase

UNEXPECTED = "ERROR INVALID_COMMAND|Command not expected"


class RefusedTests(CoreCase):
    """
    Packets that are no requests, and bytes that are no packets.
    """

    def test_responses_as_requests(self) -> None:
        """
        What only a server sends, type 5 and ALL_YOURS are not expected; the connection stays.
        """
        client = self.connect()
        kinds = [kind for kind, layout in LAYOUTS.items() if layout.sender == Sender.SERVER]
        self.assertEqual(len(kinds), 11)
        for kind in (*kinds, 5, Type.ALL_YOURS):
            for body in (b"", b"a\0b\0c"):
                self.assertEqual(client.sends(encode(kind, body, REQUEST)), [UNEXPECTED])
        self.assertEqual(client.says("ECHO_REQ a"), ["ECHO_RES a"])

    def test_wrong_direction(self) -> None:
        """
        A whole packet with a response's magic is refused, and the connection stays.
        """
        client = self.connect()
        self.assertEqual(
            client.sends(encode(Type.ECHO_REQ, b"a", RESPONSE) + encode(Type.ECHO_REQ, b"b", REQUEST)),
            ["ERROR INVALID_MAGIC|Request magic expected", "ECHO_RES b"],
        )
        self.assertFalse(client.closed)

    def test_end_of_the_stream(self) -> None:
        """
        Where the stream cannot be trusted any more, the peer is told why, and its connection is closed; what came before is
        answered.
        """
        for data, reply in (
            (b"\0XYZ" + bytes(8), "ERROR INVALID_MAGIC|Request magic expected"),
            (encode(0, b"", REQUEST), UNEXPECTED),
            (encode(43, b"", REQUEST), UNEXPECTED),
            (encode(0x80000000, b"", REQUEST), UNEXPECTED),
            (encode(43, b"", RESPONSE), UNEXPECTED),
            (b"x" * 8192, "ERR LINE_TOO_LONG A+line+may+have+8192+bytes\r\n"),
        ):
            client = self.connect()
            self.assertEqual(client.sends(encode(Type.ECHO_REQ, b"a", REQUEST) + data), ["ECHO_RES a", reply])
            self.assertTrue(client.closed)

    def test_beyond_the_limit(self) -> None:
        """
        A packet larger than --max-packet is refused by its header.
        """
        self.serve(max_packet=100)
        client = self.connect()
        self.assertEqual(client.says(f"ECHO_REQ {'x' * 100}"), [f"ECHO_RES {'x' * 100}"])
        self.assertEqual(
            client.sends(encode(Type.ECHO_REQ, b"x" * 101, REQUEST)[:12]),
            ["ERROR ARGUMENT_TOO_LARGE|A packet of 101 bytes is larger than the limit of 100"],
        )
        self.assertTrue(client.closed)

    def test_nothing_after_the_end(self) -> None:
        """
        What a connection sends after a packet that closes it is not looked at.
        """
        client = self.connect()
        client.says("SUBMIT_JOB bad", "SUBMIT_JOB_BG f||x")
        client.says("SUBMIT_JOB_BG f||x")
        self.assertEqual(self.server.jobs, {})

    def test_missing_arguments(self) -> None:
        """
        A packet with too few arguments is told what it should have had, and costs its connection, not the packets of others.
        """
        submission = "function NUL unique id NUL data"
        for kind, wanted, most in (
            ("SUBMIT_JOB", submission, "f|u"),
            ("SUBMIT_JOB_BG", submission, "f|u"),
            ("SUBMIT_JOB_HIGH", submission, "f|u"),
            ("SUBMIT_JOB_HIGH_BG", submission, "f|u"),
            ("SUBMIT_JOB_LOW", submission, "f|u"),
            ("SUBMIT_JOB_LOW_BG", submission, "f|u"),
            ("SUBMIT_JOB_EPOCH", "function NUL unique id NUL epoch NUL data", "f|u|5"),
            ("SUBMIT_REDUCE_JOB", "function NUL unique id NUL reducer NUL data", "f|u|r"),
            ("SUBMIT_REDUCE_JOB_BACKGROUND", "function NUL unique id NUL reducer NUL data", "f|u|r"),
            ("CAN_DO_TIMEOUT", "function NUL timeout", "f"),
            ("WORK_STATUS", "handle NUL numerator NUL denominator", "H:1|1"),
        ):
            for arguments in ("", most):
                client = self.connect()
                self.assertEqual(
                    client.says(f"{kind} {arguments}"),
                    [f"ERROR INVALID_PACKET|{kind} has {wanted}: this packet ends before that"],
                )
                self.assertTrue(client.closed)
        self.assertEqual(self.server.jobs, {})
        self.assertEqual(self.connect().says("ECHO_REQ a"), ["ECHO_RES a"])

    def test_worker_with_a_job(self) -> None:
        """
        A worker that is closed for a bad packet keeps its jobs until its connection has ended: then they are queued again.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f||x")
        worker.says("GRAB_JOB", "WORK_STATUS H:1|1")
        self.assertTrue(worker.closed)
        self.assertEqual(client.hears(), [])
        worker.hangs_up()
        self.assertEqual(self.worker("f").says("GRAB_JOB"), ["JOB_ASSIGN H:1|f|x"])


class EchoTests(CoreCase):
    """
    ECHO_REQ.
    """

    def test_echo(self) -> None:
        """
        The same bytes come back, whatever they are, none too.
        """
        client = self.connect()
        for data in ("a", "|", "a|b|", "|REQ", "\nb", "\xff", "x" * 100000):
            self.assertEqual(client.says(f"ECHO_REQ {data}"), [f"ECHO_RES {data}"])
        self.assertEqual(client.says("ECHO_REQ"), ["ECHO_RES"])


class ClientIdTests(CoreCase):
    """
    SET_CLIENT_ID.
    """

    def test_id(self) -> None:
        """
        It has no reply; 127 bytes of it are kept, spaces too, and the last one counts.
        """
        client = self.connect()
        for given, kept in (("me", "me"), ("a  b", "a  b"), ("i" * 200, "i" * 127)):
            self.assertEqual(client.says(f"SET_CLIENT_ID {given}"), [])
            self.assertEqual(client.says("workers\n")[0], f"7 127.0.0.1 {kept} :\n")


class IntegerTests(CoreCase):
    """
    L{integer}.
    """

    def test_as_atoi(self) -> None:
        """
        A number is what a text begins with, as to C; any text has one.
        """
        for text, number in (
            (b"", 0),
            (b"12", 12),
            (b"  -7up", -7),
            (b"+3", 3),
            (b"- 3", 0),
            (b"x1", 0),
            (b"0x10", 0),
            (b"1e3", 1),
            ("\u0663".encode(), 0),
            (b"9" * 5000, int("9" * 40)),
        ):
            self.assertEqual(integer(text), number)
