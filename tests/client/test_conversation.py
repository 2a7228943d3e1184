"""
The client's side of one connection, in plain calls.
"""

from __future__ import annotations

import unittest

from gearsvc.client.conversation import BadAnswer, Conversation
from gearsvc.client.errors import QueueFull, ServerError
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import PacketDecoder, encode


class Heard:
    """
    Asks, or listens to a job, and remembers what it hears.
    """

    def __init__(self, answer: Type = Type.JOB_CREATED) -> None:
        self.answer = answer
        self.answers: list[object] = []

    def answered(self, body: bytes) -> None:
        """
        Remember an answer.
        """
        self.answers.append(body)

    def refused(self, error: ServerError) -> None:
        """
        Remember an error.
        """
        self.answers.append((type(error), error.code, error.text))

    def heard(self, kind: int, body: bytes) -> bool:
        """
        Remember what happened.
        """
        self.answers.append((Type(kind).name, body))
        return kind in (Type.WORK_COMPLETE, Type.WORK_FAIL, Type.WORK_EXCEPTION)


class ConversationTests(unittest.TestCase):
    """
    L{Conversation}.
    """

    def setUp(self) -> None:
        """
        Begin one.
        """
        self.conversation = Conversation()

    def ask(self, answer: Type = Type.JOB_CREATED) -> Heard:
        """
        Ask for something.
        """
        asking = Heard(answer)
        self.conversation.ask(asking, Type.ECHO_REQ)
        return asking

    def listen(self, handle: bytes) -> Heard:
        """
        Hear of a job.
        """
        listening = Heard()
        self.conversation.listen(handle, listening)
        return listening

    def test_asking(self) -> None:
        """
        What is asked is a packet of the protocol.
        """
        data = self.conversation.ask(Heard(), Type.SUBMIT_JOB, b"f", b"u", b"work\0load")
        self.assertEqual(PacketDecoder(magic=REQUEST).feed(data), [(Type.SUBMIT_JOB, b"f\0u\0work\0load")])

    def test_order(self) -> None:
        """
        Answers belong to questions in the order in which they were asked; an error takes the place of one.
        """
        first, second, third, fourth = self.ask(), self.ask(Type.ECHO_RES), self.ask(), self.ask()
        self.conversation.feed(
            encode(Type.JOB_CREATED, b"H:1")
            + encode(Type.ECHO_RES, b"hello")
            + encode(Type.ERROR, b"QUEUE_ERROR\0no disk")
            + encode(Type.JOB_CREATED, b"H:2")
        )
        self.assertEqual(first.answers, [b"H:1"])
        self.assertEqual(second.answers, [b"hello"])
        self.assertEqual(third.answers, [(ServerError, b"QUEUE_ERROR", b"no disk")])
        self.assertEqual(fourth.answers, [b"H:2"])
        self.assertFalse(self.conversation.asked)

    def test_queue_full(self) -> None:
        """
        That a queue is full is an error of its own, whatever code it has.
        """
        ours, gearmands = self.ask(), self.ask()
        self.conversation.feed(encode(Type.ERROR, b"QUEUE_ERROR\0Job queue is full"))
        self.conversation.feed(encode(Type.ERROR, b"JOB_QUEUE_FULL\0job queue is full\0"))
        self.assertEqual(ours.answers, [(QueueFull, b"QUEUE_ERROR", b"Job queue is full")])
        self.assertEqual(gearmands.answers, [(QueueFull, b"JOB_QUEUE_FULL", b"job queue is full")])

    def test_in_pieces(self) -> None:
        """
        It does not matter in what pieces answers arrive.
        """
        asking = self.ask()
        for byte in encode(Type.JOB_CREATED, b"H:1"):
            self.conversation.feed(bytes([byte]))
        self.assertEqual(asking.answers, [b"H:1"])

    def test_job(self) -> None:
        """
        Who listens to a job hears of it, and of no other, to its end.
        """
        one, two = self.listen(b"H:1"), self.listen(b"H:2")
        self.conversation.feed(encode(Type.WORK_DATA, b"H:1\0a\0b") + encode(Type.WORK_STATUS, b"H:2\x001\x004"))
        self.conversation.feed(encode(Type.WORK_COMPLETE, b"H:1\0") + encode(Type.WORK_FAIL, b"H:2"))
        self.conversation.feed(encode(Type.WORK_COMPLETE, b"H:1\0again"))
        self.assertEqual(one.answers, [("WORK_DATA", b"a\0b"), ("WORK_COMPLETE", b"")])
        self.assertEqual(two.answers, [("WORK_STATUS", b"1\x004"), ("WORK_FAIL", b"")])
        self.assertFalse(self.conversation.jobs)

    def test_twice(self) -> None:
        """
        A job that was submitted twice here is told twice of: each submission hears everything once.
        """
        one, two = self.listen(b"H:1"), self.listen(b"H:1")
        for piece in (b"1", b"1", b"2", b"2"):
            self.conversation.feed(encode(Type.WORK_DATA, b"H:1\0" + piece))
        self.conversation.feed(2 * encode(Type.WORK_COMPLETE, b"H:1\0done"))
        expected = [("WORK_DATA", b"1"), ("WORK_DATA", b"2"), ("WORK_COMPLETE", b"done")]
        self.assertEqual((one.answers, two.answers), (expected, expected))

    def test_nonsense(self) -> None:
        """
        What no server says to a client is refused with what it was.
        """
        for data, why in (
            (encode(Type.JOB_CREATED, b"H:1"), "JOB_CREATED, which it had not been asked for"),
            (encode(Type.ERROR, b"code\0text"), "an error, and had not been asked for anything"),
            (encode(Type.NOOP), "NOOP to a client"),
            (encode(Type.ECHO_RES, magic=REQUEST), "to a client"),
            (b"HTTP/1.1 400 Bad Request\r\n", "to a client"),
            (b"\0XYZ" + bytes(8), "what is no packet"),
        ):
            with self.subTest(data), self.assertRaisesRegex(BadAnswer, why):
                Conversation().feed(data)

    def test_another_answer(self) -> None:
        """
        An answer to another question than was asked is nonsense.
        """
        self.ask(Type.ECHO_RES)
        with self.assertRaisesRegex(BadAnswer, "JOB_CREATED"):
            self.conversation.feed(encode(Type.JOB_CREATED, b"H:1"))
