"""
Tests for L{gearsvc.stores.mysqlchannel}: what comes from the server's end of a socket.
"""

from __future__ import annotations

import socket
from typing import cast

from pymysql.constants import CR, ER
from pymysql.err import MySQLError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.stores import mysqlconnection
from gearsvc.stores.mysqlchannel import Answers, Channel, ChannelReactor
from gearsvc.stores.mysqlconnection import Connection, code_of
from gearsvc.testing import sleep


def packet(number: int, payload: bytes) -> bytes:
    """
    What is sent as one packet.
    """
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def ok(number: int, more: bool = False, rows: bytes = b"\x01", last: bytes = b"\x05") -> bytes:
    """
    The answer to a statement that was run.

    @param more: whether there is another one.
    """
    return packet(number, b"\0" + rows + last + (b"\x0a\0" if more else b"\x02\0") + b"\0\0")


REFUSED = packet(2, b"\xff\xb5\x04#HY000Lock wait timeout exceeded; try restarting transaction")


class AnswersTests(SynchronousTestCase):
    """
    L{Answers}.
    """

    def test_one(self) -> None:
        """
        One statement has one answer.
        """
        self.assertTrue(Answers().feed(ok(1)))

    def test_several(self) -> None:
        """
        Several have as many, wherever the bytes are cut apart.
        """
        data = ok(1, more=True) + ok(2, more=True) + ok(3)
        for cut in range(1, len(data)):
            answers = Answers()
            self.assertFalse(answers.feed(data[:cut]))
            self.assertTrue(answers.feed(data[cut:]))
        answers = Answers()
        self.assertEqual([answers.feed(data[index : index + 1]) for index in range(len(data))], [False] * (len(data) - 1) + [True])

    def test_large_numbers(self) -> None:
        """
        Numbers of rows, and of the last one, may take up to nine bytes.
        """
        for rows in (b"\xfa", b"\xfc\x00\x01", b"\xfd\x00\x00\x01", b"\xfe" + bytes(8)):
            answers = Answers()
            self.assertFalse(answers.feed(ok(1, True, rows, rows)))
            self.assertTrue(answers.feed(ok(2, False, rows, rows)))

    def test_refused(self) -> None:
        """
        The first statement that failed is the last answer.
        """
        answers = Answers()
        error = self.assertRaises(MySQLError, answers.feed, ok(1, more=True) + REFUSED)
        self.assertEqual(code_of(error), ER.LOCK_WAIT_TIMEOUT)

    def test_nonsense(self) -> None:
        """
        An answer that is none has no number of the server's.
        """
        for payload in (b"", b"\x05", b"\xfe\0\0"):
            error = self.assertRaises(MySQLError, Answers().feed, packet(1, payload))
            self.assertEqual(code_of(error), 0)


class OneSocket:
    """
    What a channel needs of a connection.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.open = True

    @property
    def descriptor(self) -> int:
        return self._end.fileno()

    def abandon(self) -> None:
        self.open = False


class ChannelTests(TestCase):
    """
    L{Channel}.
    """

    def setUp(self) -> None:
        """
        Make a socket with two ends.
        """
        from twisted.internet import reactor

        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.near = near
        self.addCleanup(near.close)
        self.addCleanup(self.far.close)
        self.connection = OneSocket(near)
        self.channel = Channel(cast(ChannelReactor, reactor))

    async def outcome(self, *answers: bytes) -> MySQLError | None:
        """
        Send a packet, and answer it.

        @return: how it failed, or C{None}.
        """
        done = self.channel.send(cast(Connection, self.connection), b"BEGIN;COMMIT")
        self.assertEqual(self.far.recv(100), b"\x0d\0\0\0\x03BEGIN;COMMIT")
        self.assertTrue(self.channel.active)
        for answer in answers:
            self.far.sendall(answer)
            await sleep(0.01)
        try:
            await done
        except MySQLError as error:
            return error
        finally:
            self.assertFalse(self.channel.active)
        return None

    async def test_run(self) -> None:
        """
        One packet after the other is answered, at once or in pieces.
        """
        self.assertIsNone(await self.outcome(ok(1, more=True) + ok(2)))
        self.assertIsNone(await self.outcome(ok(1, more=True), ok(2)[:3], ok(2)[3:]))
        self.assertTrue(self.connection.open)

    async def test_refused(self) -> None:
        """
        When the server refuses a statement, the connection stays.
        """
        error = await self.outcome(ok(1, more=True) + REFUSED)
        assert error is not None
        self.assertEqual(code_of(error), ER.LOCK_WAIT_TIMEOUT)
        self.assertTrue(self.connection.open)
        self.assertIsNone(await self.outcome(ok(1)))

    async def test_nonsense(self) -> None:
        """
        After an answer that makes no sense, the connection is of no use.
        """
        error = await self.outcome(packet(1, b"\x05"))
        assert error is not None
        self.assertEqual((code_of(error), self.connection.open), (0, False))

    async def test_broken(self) -> None:
        """
        When the connection breaks before the last answer, nobody knows what was done.
        """
        done = self.channel.send(cast(Connection, self.connection), b"COMMIT")
        self.far.sendall(ok(1, more=True))
        await sleep(0.01)
        self.far.close()
        error = await self.assertFailure(done, MySQLError)
        self.assertEqual((code_of(error), self.connection.open), (CR.CR_SERVER_LOST, False))

    async def test_silent(self) -> None:
        """
        A server that does not answer is given up.
        """
        self.patch(mysqlconnection, "COMMIT_SECONDS", 0.05)
        error = await self.outcome()
        assert error is not None
        self.assertEqual((code_of(error), self.connection.open), (CR.CR_SERVER_LOST, False))
        self.assertIn("timed out", str(error))

    async def test_not_sent(self) -> None:
        """
        What can't be sent, or not in full, has not been done.
        """
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5_000)
        done = self.channel.send(cast(Connection, self.connection), bytes(500_000))
        error = await self.assertFailure(done, MySQLError)
        self.assertEqual((code_of(error), self.connection.open), (CR.CR_SERVER_GONE_ERROR, False))
        self.far.close()
        error = await self.assertFailure(self.channel.send(cast(Connection, self.connection), b"COMMIT"), MySQLError)
        self.assertEqual(code_of(error), CR.CR_SERVER_GONE_ERROR)
