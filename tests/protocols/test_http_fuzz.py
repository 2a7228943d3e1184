"""
HTTP requests that Hypothesis makes up: right ones, however they are written and cut, and wrong ones of all kinds.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gearsvc.config import Settings
from gearsvc.core.jobs import Priority
from gearsvc.core.jobserver import JobServer
from gearsvc.core.packets import REQUEST, Type
from gearsvc.core.wire import encode
from gearsvc.protocols.http import HTTPFactory
from gearsvc.service import ReactorClock
from tests.core.case import Connection
from tests.protocols.httpcase import Answer, Incomplete, parse_answer
from tests.running import HOST, PATIENCE, free_port, start_server, wait_until


@implementer(IHalfCloseableDescriptor)
class FakeTransport(StringTransport):
    """
    A transport that sends all at once.
    """

    connection: Any

    def loseWriteConnection(self) -> None:
        """
        Close this side.
        """
        self.connection.writeConnectionLost()

    def writeConnectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{IHalfCloseableDescriptor}."""

    def readConnectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{IHalfCloseableDescriptor}."""

    def abortConnection(self) -> None:
        """
        Close both.
        """
        self.disconnecting = True


class Bench:
    """
    A job server without sockets, one HTTP connection to it, and a worker.

    The function C{f} answers a job with its workload backwards, C{fail} fails, C{stream} answers in two parts, and
    nobody can do any other.
    """

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = Settings(wakeup_delay=-1.0, **settings)
        self.server = JobServer(self.settings, ReactorClock(self.clock), b"H")
        self.worker = Connection(self.server)
        self.worker.says("CAN_DO f", "CAN_DO fail", "CAN_DO stream")
        self.factory = HTTPFactory(self.server, self.settings, self.clock)
        self.connection: Any = self.factory.buildProtocol(None)
        self.transport = FakeTransport()
        self.transport.connection = self.connection
        self.connection.makeConnection(self.transport)

    def hears(self, data: bytes, cuts: list[int]) -> None:
        """
        Receive bytes in pieces, with turns of the reactor and of the worker between them.
        """
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        for start, end in zip(places, places[1:]):
            if not self.transport.disconnecting and self.transport.producerState == "producing":
                self.connection.dataReceived(data[start:end])
            self.work()
        self.work()

    def work(self) -> None:
        """
        Let the worker do all that there is to do.
        """
        self.clock.advance(0)
        while True:
            (said,) = self.worker.says("GRAB_JOB")
            if said == "NO_JOB":
                return
            handle, function, workload = said.removeprefix("JOB_ASSIGN ").split("|", 2)
            if function == "f":
                self.tell(Type.WORK_COMPLETE, handle, workload[::-1])
            elif function == "stream":
                self.tell(Type.WORK_DATA, handle, "part")
                self.tell(Type.WORK_COMPLETE, handle, workload)
            else:
                self.worker.says(f"WORK_FAIL {handle}")
            self.clock.advance(0)

    def tell(self, kind: Type, handle: str, data: str) -> None:
        """
        Let the worker say something of a job, with data that may end with a line feed and yet is no line.
        """
        self.worker.sends(encode(kind, f"{handle}|{data}".encode("latin-1").replace(b"|", b"\0"), REQUEST))

    def ends(self) -> None:
        """
        Let the client go, and look that nothing of it is left.
        """
        self.connection.connectionLost(connectionDone)
        assert list(self.server.sessions) == [self.worker.session], self.server.sessions
        assert self.factory.connections == set()
        assert all(job.background for job in self.server.jobs.values()), self.server.jobs
        assert self.clock.getDelayedCalls() == [], self.clock.getDelayedCalls()


@dataclass
class Asked:
    """
    A request, and how it is written.
    """

    function: bytes
    body: bytes
    chunks: list[int] | None
    background: bool
    priority: str
    shout: bool
    typed: bool
    version: str
    blank: bool

    def written(self) -> bytes:
        """
        Its bytes.
        """
        headers = []
        if self.background:
            headers.append("X-Gearman-Background: true")
        if self.priority:
            headers.append(f"X-Gearman-Priority:{self.priority}")
        if self.version == "1.0":
            headers.append("Connection: keep-alive")
        body = self.body
        if self.chunks is None or self.version == "1.0" or self.typed:
            headers.append(f"Content-Length: {len(body)}")
        else:
            headers.append("Transfer-Encoding: chunked")
            places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in self.chunks)})
            pieces = [body[start:end] for start, end in zip(places, places[1:])]
            body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        lines = [f"POST /{quote_from_bytes(self.function, safe='')}?q HTTP/{self.version}"]
        lines += [header.upper() if self.shout else header for header in headers]
        end = "\n" if self.typed else "\r\n"
        head = (end if self.blank else "") + end.join(lines) + 2 * end
        return head.encode() + body


requests = st.builds(
    Asked,
    st.sampled_from([b"f", b"f", b"fail", b"stream", b"later\n/%"]),
    st.binary(max_size=40).map(lambda data: data.replace(b"|", b"")),
    st.none() | st.lists(st.integers(0, 100), max_size=4),
    st.booleans(),
    st.sampled_from(["", "high", "low"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["1.1", "1.1", "1.0"]),
    st.booleans(),
)
cuts = st.lists(st.integers(0, 10_000), max_size=10)

# How long an example takes says more of the machine than of us.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TOKENS = (
    b"GET POST HEAD PUT / /f /fail /stream /later % %00 %2F ? HTTP/1.1 HTTP/1.0 HTTP/2.0 \r\n \r\n \r\n\r\n \n \r \0 \t : ; , = "
    b"Content-Length: Transfer-Encoding: chunked identity Connection: close keep-alive Expect: 100-continue X-Gearman-Unique: "
    b"X-Gearman-Background: true X-Gearman-Priority: high Upgrade: h2c Trailer: 0 1 5 -1 +5 0x5 99999999999999999999 hello a"
).split(b" ") + [b" "]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """
    Right requests with some places changed.
    """
    data = b"".join(request.written() for request in draw(st.lists(requests, min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 5)))
        put = draw(st.sampled_from(TOKENS) | st.binary(max_size=3) | st.just(data[start : start + 30]))
        data = data[:start] + put + data[end:]
    return data


def answers_in(data: bytes, ended: bool) -> list[Answer]:
    """
    All answers, of which the last may be broken off at the end of a connection.
    """
    answers = []
    while data:
        try:
            answer, end = parse_answer(data, "GET", ended)
        except Incomplete:
            # A HEAD, or what is broken off: what has no end is at least a head.
            head, _, rest = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1."), data
            if not rest:
                break
            answer, end = parse_answer(data, "HEAD", ended)
        answers.append(answer)
        data = data[end:]
    return answers


class RightTests(SynchronousTestCase):
    """
    Right requests.
    """

    @given(st.lists(requests, min_size=1, max_size=5), cuts)
    @patient
    def test_answers(self, asked: list[Asked], cuts: list[int]) -> None:
        """
        Each request has just the answer that it should, however it is written, whatever stands around it, wherever the
        network cuts it; and a background job is queued as it was asked for.
        """
        bench = Bench()
        kept = [each for each in asked]
        waits = next((number for number, each in enumerate(asked) if each.function.startswith(b"later") and not each.background), None)
        streams = next(
            (
                number
                for number, each in enumerate(asked)
                if each.function == b"stream" and each.version == "1.0" and not each.background
            ),
            None,
        )
        for number, more in ((waits, 0), (streams, 1)):
            if number is not None:
                kept = kept[: number + more]
        bench.hears(b"".join(each.written() for each in asked), cuts)
        answers = answers_in(bench.transport.value(), True)
        self.assertEqual(len(answers), len(kept))
        for each, answer in zip(kept, answers):
            if each.background:
                expected = (200, "JOB_CREATED", b"")
            elif each.function == b"f":
                expected = (200, "WORK_COMPLETE", each.body[::-1])
            elif each.function == b"stream":
                expected = (200, "WORK_DATA", b"part" + each.body)
            else:
                expected = (500, "WORK_FAIL", b"the job failed\n")
            self.assertEqual((answer.code, answer.headers["x-gearman-command"], answer.body), expected)
        queued = [job for job in bench.server.jobs.values() if job.background]
        expected_jobs = [each for each in kept if each.background and each.function.startswith(b"later")]
        self.assertEqual([job.workload for job in queued], [each.body for each in expected_jobs])
        priorities = {"": Priority.NORMAL, "high": Priority.HIGH, "low": Priority.LOW}
        self.assertEqual([job.priority for job in queued], [priorities[each.priority] for each in expected_jobs])
        bench.ends()


class WrongTests(SynchronousTestCase):
    """
    Bytes that are not quite requests.
    """

    def assert_holds(self, data: bytes, cuts: list[int]) -> None:
        """
        Whatever came, what goes out is answers of ours, the last of a connection that ends says so, and nothing is left.
        """
        bench = Bench(max_packet="1000")
        bench.hears(data, cuts)
        answers = answers_in(bench.transport.value(), bench.connection.phase.name in ("ENDING", "LINGERING"))
        for answer in answers:
            self.assertIn(answer.code, (100, 200, 400, 404, 405, 408, 413, 414, 431, 500, 503, 505))
            if answer.code != 100:
                self.assertTrue(answer.headers["server"].startswith("Gearman/"))
        self.assertLessEqual(len(bench.server.jobs), data.count(b"HTTP/1."))
        bench.clock.advance(1000)
        bench.ends()

    @given(mutations(), cuts)
    @settings(patient, max_examples=400)
    def test_mutated(self, data: bytes, cuts: list[int]) -> None:
        """
        Requests with some bytes changed.
        """
        self.assert_holds(data, cuts)

    @given(st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join), cuts)
    @example(b"POST /f HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [])
    @settings(patient, max_examples=400)
    def test_tokens(self, data: bytes, cuts: list[int]) -> None:
        """
        The words of the protocol in any order.
        """
        self.assert_holds(data, cuts)

    @given(st.binary(max_size=200), cuts)
    @patient
    def test_bytes(self, data: bytes, cuts: list[int]) -> None:
        """
        Any bytes.
        """
        self.assert_holds(data, cuts)


class SocketTests(SynchronousTestCase):
    """
    The same against a server of its own, through sockets.
    """

    def test_mutated(self) -> None:
        """
        It answers or hangs up, goes on serving, and has nothing to say of it in its log.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, directory)
        port = free_port()
        server = start_server(
            "-r", "http", "--http-port", f"tcp:{port}:interface={HOST}", "--max-packet", "1000", directory=directory, kind="gearsvc"
        )
        self.addCleanup(server.kill)

        @given(mutations(), cuts)
        @settings(patient, max_examples=150)
        def talk(data: bytes, cuts: list[int]) -> None:
            heard = b""
            with socket.create_connection((HOST, port), PATIENCE) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
                try:
                    for start, end in zip(places, places[1:]):
                        connection.sendall(data[start:end])
                    connection.shutdown(socket.SHUT_WR)
                    while piece := connection.recv(65536):
                        heard += piece
                except (ConnectionResetError, BrokenPipeError):
                    # An answer in HTTP/1.0 was broken off, or it has left while we were talking.
                    pass
                except OSError as error:
                    # We could not close our side, for theirs was gone.
                    self.assertEqual(error.errno, 107)
            answers_in(heard, True)

        talk()
        alone = re.compile(rb"\d+ 127\.0\.0\.1 - :\n\.\n")
        # (The last of them may not have heard yet that we have hung up.)
        wait_until(lambda: alone.fullmatch(server.admin("workers")) is not None, "no connection is left but the one that asks")
        self.assertEqual(server.stop(), 0)
        self.assertEqual([line for line in server.log.splitlines() if re.search("Traceback|Error|Unhandled", line)], [])
