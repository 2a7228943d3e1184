"""
Small commits to MySQL without a thread.

A thread that sends a statement and waits for its answer takes longer to be
told, and to tell, than the server takes to run the statement.  For a batch of a
few jobs, which clients wait for one by one, that is the larger part of the
time to an acknowledgement.  So the packet of such a batch is written to the
session's socket by the reactor's thread, and the reactor reads the answer.

The session is PyMySQL's; it is used here while no call of the thread uses it.
"""

from __future__ import annotations

import os
import struct

from pymysql.constants import COMMAND, CR, SERVER_STATUS
from pymysql.err import InternalError, MySQLError, OperationalError, raise_mysql_exception
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor, IReactorFDSet, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from gearsvc.stores import mysqlconnection
from gearsvc.stores.mysqlconnection import Connection

CHANNEL_BYTES = 8_000
"""
The largest packet: it fits into a socket's buffer, and so is written at once.
"""

READ_BYTES = 65_536

_OK, _ERROR = b"\x00", b"\xff"

# How many bytes a length-encoded integer takes that begins with one of these.
_WIDE_INTEGERS = {0xFC: 3, 0xFD: 4, 0xFE: 9}


class Answers:
    """
    What the server says to statements that return no rows, up to the last.
    """

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> bool:
        """
        Some more bytes have come.

        @return: whether that is all.
        @raise MySQLError: if a statement has failed, which is then the last.
        """
        data = self._data + data if self._data else data
        start = 0
        while len(data) >= start + 4:
            end = start + 4 + int.from_bytes(data[start : start + 3], "little")
            if len(data) < end:
                break
            if not self._has_more(data[start + 4 : end]):
                return True
            start = end
        self._data = data[start:]
        return False

    @staticmethod
    def _has_more(packet: bytes) -> bool:
        if packet[:1] == _ERROR:
            raise_mysql_exception(packet)
        if packet[:1] != _OK:
            raise InternalError("it gives an answer that makes no sense")
        # Two numbers come before the flags: rows, and the last AUTO_INCREMENT.
        start = 1
        for _ in range(2):
            start += _WIDE_INTEGERS.get(packet[start], 1)
        (status,) = struct.unpack_from("<H", packet, start)
        return bool(status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS)


class ChannelReactor(IReactorFDSet, IReactorTime):
    """
    What is asked of a reactor here.
    """


@implementer(IReadDescriptor)
class Channel:
    """
    Sends one packet after the other.

    @ivar active: whether an answer is waited for.
    """

    def __init__(self, reactor: ChannelReactor) -> None:
        self._reactor = reactor
        self._connection: Connection | None = None
        self._descriptor = -1
        self._answers = Answers()
        self._done: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    @property
    def active(self) -> bool:
        return self._done is not None

    def send(self, connection: Connection, packet: bytes) -> Deferred[None]:
        """
        Have a packet of statements run.

        @param packet: at most L{CHANNEL_BYTES}.
        @return: fires when all of them have been; fails with
            C{pymysql.err.MySQLError} if one of them has not.  The connection is closed
            then, unless the server itself refused a statement.
        """
        assert self._done is None, "one packet at a time"
        done = self._done = Deferred()
        self._connection = connection
        self._descriptor = connection.descriptor
        self._answers = Answers()
        message = struct.pack("<iB", len(packet) + 1, COMMAND.COM_QUERY) + packet
        try:
            written = os.write(self._descriptor, message)
        except OSError:
            written = 0
        if written < len(message):
            # What has not arrived in full is not run.
            self._break(OperationalError(CR.CR_SERVER_GONE_ERROR, "not all could be sent"))
            return done
        self._reactor.addReader(self)
        self._timer = self._reactor.callLater(mysqlconnection.COMMIT_SECONDS, self._time_out)
        return done

    def fileno(self) -> int:
        """
        The socket.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        Whose bug it was.
        """
        return "MySQL"

    def doRead(self) -> None:
        """
        Something has come.
        """
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._break(OperationalError(CR.CR_SERVER_LOST, "the connection broke"))
            return
        try:
            if not self._answers.feed(data):
                return
        except InternalError as error:
            self._break(error)
        except MySQLError as error:
            self._finish(error)
        else:
            self._finish(None)

    def connectionLost(self, reason: Failure) -> None:
        """
        The connection broke.
        """
        self._break(OperationalError(CR.CR_SERVER_LOST, "the connection broke"))

    def _time_out(self) -> None:
        self._timer = None
        self._break(OperationalError(CR.CR_SERVER_LOST, "timed out"))

    def _break(self, error: MySQLError) -> None:
        connection = self._connection
        assert connection is not None
        self._reactor.removeReader(self)
        connection.abandon()
        self._finish(error)

    def _finish(self, error: MySQLError | None) -> None:
        self._reactor.removeReader(self)
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        done, self._done = self._done, None
        assert done is not None
        if error is None:
            done.callback(None)
        else:
            done.errback(Failure(error))
