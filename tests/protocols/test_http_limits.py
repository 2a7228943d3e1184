"""
HTTP clients that send too much, too slowly, or what is no HTTP, and those that do not read.
"""

from __future__ import annotations

import socket

from twisted.internet.task import Clock

from gearsvc.protocols import http, httpconnection
from gearsvc.protocols.httpconnection import MAX_HEAD, MAX_HEADERS
from tests.protocols.case import SMALL_BUFFER
from tests.protocols.httpcase import Answer, HTTPCase, HTTPPeer

BACKGROUND = "X-Gearman-Background: true"


class LimitCase(HTTPCase):
    """
    A test of what is refused.
    """

    async def assert_refused(self, client: HTTPPeer, code: int, reason: str) -> Answer:
        """
        The client is refused, with a line that says why, and the connection ends; no job came of it.
        """
        answer = await client.hears()
        self.assertEqual((answer.code, answer.headers["connection"]), (code, "close"), answer)
        self.assertIn(reason, answer.reason)
        self.assertTrue(answer.headers["server"].startswith("Gearman/"))
        self.assertEqual(await client.ends(), b"")
        self.assertEqual(self.service.job_server.jobs, {})
        return answer


class SizeTests(LimitCase):
    """
    Requests that are too large.
    """

    async def test_body(self) -> None:
        """
        A body as large as --max-packet is taken, a larger one refused before it has come.
        """
        await self.serve(max_packet="1000")
        client = await self.http()
        client.says("POST /f HTTP/1.1", "Content-Length: 1001", "", "the beginning")
        await self.assert_refused(client, 413, "larger than 1000 bytes")
        client = await self.http()
        client.says("POST /f HTTP/1.1", BACKGROUND, "Content-Length: 1000", "", 1000 * "x")
        self.assertEqual((await client.hears()).code, 200)

    async def test_chunks(self) -> None:
        """
        A body in chunks is refused as soon as it is too large, whatever size a chunk claims.
        """
        await self.serve(max_packet="1000")
        head = b"POST /f HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        for data in (1000 * b"1\r\nx\r\n" + b"1\r\ny\r\n", b"3e9\r\n" + 1001 * b"x", b"f" * 1000 + b"\r\n" + 1001 * b"x"):
            client = await self.http()
            client.says_bytes(head + data)
            await self.assert_refused(client, 413, "larger than 1000 bytes")
        client = await self.http()
        client.says_bytes(head.replace(b"\r\n\r\n", f"\r\n{BACKGROUND}\r\n\r\n".encode()) + 1000 * b"1\r\nx\r\n" + b"0\r\n\r\n")
        self.assertEqual((await client.hears()).code, 200)

    async def test_whole_body_sent(self) -> None:
        """
        A client that sends all of a body that is too large before it reads gets the answer all the same.
        """
        await self.serve(max_packet="1000")
        with socket.socket() as client:
            client.setblocking(False)
            await self.reactor_connects(client)
            left = b"POST /f HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n" + 10_000_000 * b"x"
            while left:
                try:
                    left = left[client.send(left[:100_000]) :]
                except BlockingIOError:
                    await self.turns(1)
            heard = b""
            while not heard.endswith(b"\n"):
                try:
                    heard += client.recv(100_000)
                except BlockingIOError:
                    await self.turns(1)
        self.assertTrue(heard.startswith(b"HTTP/1.1 413 Request Entity Too Large\r\n"), heard)

    async def reactor_connects(self, client: socket.socket) -> None:
        """
        Connect a socket, while the server runs in this very thread.
        """
        client.connect_ex(("127.0.0.1", self.http_port))
        await self.until(lambda: bool(self.factory.connections))

    async def test_absurd_length(self) -> None:
        """
        Lengths of any number of digits are refused.
        """
        await self.serve()
        for digits in (17, 20, 100, 5000, 20_000):
            client = await self.http()
            client.says("POST /f HTTP/1.1", "Content-Length: " + digits * "9")
            await self.assert_refused(client, 413, "larger than")

    async def test_request_line(self) -> None:
        """
        A request line that is too long is 414, whether it ends or not.
        """
        await self.serve()
        for end in (b" HTTP/1.1\r\n\r\n", b""):
            client = await self.http()
            client.says_bytes(b"GET /" + MAX_HEAD * b"f" + end)
            await self.assert_refused(client, 414, "longer than 32768 bytes")

    async def test_header(self) -> None:
        """
        A head that is too large is 431: one line of it, whether it ends or not, or all together.
        """
        await self.serve()
        for lines in (
            b"A: " + MAX_HEAD * b"b",
            b"A: " + MAX_HEAD * b"b" + b"\r\n\r\n",
            (MAX_HEAD // 100) * (b"A: " + 100 * b"b" + b"\r\n"),
            b"A: b" + MAX_HEAD // 100 * (b"\r\n " + 100 * b"b") + b"\r\n\r\n",
        ):
            client = await self.http()
            client.says_bytes(b"POST /f HTTP/1.1\r\n" + lines)
            await self.assert_refused(client, 431, "larger than 32768 bytes")

    async def test_headers(self) -> None:
        """
        As many headers as are allowed are taken, one more is 431.
        """
        await self.serve()
        headers = [f"Header-{number}: value" for number in range(MAX_HEADERS)]
        client = await self.http()
        client.says("GET / HTTP/1.1", *headers)
        self.assertEqual((await client.hears()).code, 404)
        client.says("GET / HTTP/1.1", "One-More: value", *headers)
        await self.assert_refused(client, 431, "more than 200 headers")

    async def test_refused_body(self) -> None:
        """
        The body of a request that is refused for another reason is read, so that the connection lives, and thrown away.
        """
        await self.serve()
        client = await self.http()
        client.says("POST / HTTP/1.1", "Content-Length: 1000001", "", 1_000_000 * "x")
        await self.until(lambda: any(each.requests and each.requests[0]._size > 999_999 for each in self.factory.connections))
        (connection,) = self.factory.connections
        self.assertEqual(connection.requests[0]._body, [])
        client.says_bytes(b"x")
        self.assertEqual((await client.hears()).code, 404)
        client.says("GET / HTTP/1.1")
        self.assertEqual((await client.hears()).code, 404)


class TimeTests(LimitCase):
    """
    Requests that are too slow, and connections that say nothing.
    """

    def setUp(self) -> None:
        """
        Look at the clock often.
        """
        super().setUp()
        self.patch(http, "TICK", 0.02)

    async def serve_by_a_clock(self) -> Clock:
        """
        Start the server, for whose HTTP the time is what a clock says.
        """
        await self.serve()
        self.factory.clock = Clock()
        return self.factory.clock

    async def test_head(self) -> None:
        """
        A head that does not come to its end is 408, also if a byte comes now and then.
        """
        self.patch(httpconnection, "READING_SECONDS", 0.3)
        await self.serve()
        began = self.reactor.seconds()
        client = await self.http()
        head = b"POST /f HTTP/1.1\r\nX-Header: " + 100 * b"x"
        for at in range(len(head)):
            if client.received:
                break
            client.says_bytes(head[at : at + 1])
            await self.until(lambda: self.reactor.seconds() > began + at * 0.01)
        await self.assert_refused(client, 408, "took too long to arrive")
        self.assertLess(at, 90)

    async def test_first_byte(self) -> None:
        """
        The time of a head begins with its first byte.
        """
        self.patch(httpconnection, "READING_SECONDS", 0.1)
        await self.serve()
        client = await self.http()
        client.says_bytes(b"P")
        await self.assert_refused(client, 408, "took too long")

    async def test_body(self) -> None:
        """
        A body that stops coming is 408.
        """
        self.patch(httpconnection, "READING_SECONDS", 0.1)
        await self.serve()
        for head in (b"Content-Length: 10", b"Transfer-Encoding: chunked"):
            client = await self.http()
            client.says_bytes(b"POST /f HTTP/1.1\r\n" + head + b"\r\n\r\n5\r\n")
            await self.assert_refused(client, 408, "took too long")

    def received(self) -> int:
        """
        How much of a body has come to the one client's connection.
        """
        return sum(each.requests[0]._size for each in self.factory.connections if each.requests)

    async def test_growing_body(self) -> None:
        """
        One that keeps coming may take as long as it needs.
        """
        clock = await self.serve_by_a_clock()
        client = await self.http()
        client.says_bytes(f"POST /f HTTP/1.1\r\n{BACKGROUND}\r\nContent-Length: {10 * 20_000}\r\n\r\n".encode())
        for number in range(1, 11):
            client.says_bytes(20_000 * b"x")
            if number < 10:
                await self.until(lambda: self.received() == number * 20_000)
                clock.pump([5.0] * 5)
        self.assertEqual((await client.hears()).code, 200)

    async def test_idle(self) -> None:
        """
        A connection on which no request comes is closed without a word: an answer could be taken for that to a request
        that is on its way.
        """
        clock = await self.serve_by_a_clock()
        client = await self.http()
        await self.until(lambda: self.factory.connections)
        clock.advance(httpconnection.IDLE_SECONDS)
        self.assertEqual(await client.ends(), b"")
        client = await self.http()
        client.says("POST /f HTTP/1.1", BACKGROUND)
        await client.hears()
        clock.advance(httpconnection.IDLE_SECONDS)
        self.assertEqual(await client.ends(), b"")

    async def test_waiting(self) -> None:
        """
        None of these times is that of a job, and after it the connection has its own again.
        """
        clock = await self.serve_by_a_clock()
        worker, client = await self.worker("f"), await self.http()
        client.says("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        clock.pump([10.0] * 100)
        worker.says(f"WORK_COMPLETE {job}|result")
        self.assertEqual((await client.hears()).body, b"result")
        clock.advance(httpconnection.IDLE_SECONDS - 1)
        await self.turns(3)
        self.assertIsNone(client.lost)
        clock.advance(1)
        self.assertEqual(await client.ends(), b"")

    async def test_lingering(self) -> None:
        """
        A client that was refused and keeps its side open loses the connection after a moment, also if it keeps sending.
        """
        self.patch(httpconnection, "LINGER", 0.2)
        await self.serve()
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.http_port))
            await self.until(lambda: bool(self.factory.connections))
            client.send(b"nonsense\r\n\r\n")
            began = self.reactor.seconds()
            try:
                while self.factory.connections:
                    client.send(b"x")
                    await self.turns(1)
                    self.assertLess(self.reactor.seconds(), began + 10)
            except OSError:
                await self.until(lambda: not self.factory.connections)
            self.assertGreater(self.reactor.seconds(), began + 0.1)


class ReadingTests(LimitCase):
    """
    Clients that do not read.
    """

    async def deaf_client(self, *lines: str) -> HTTPPeer:
        """
        A client between whom and the server little fits, and that does not read.
        """
        client = await self.http()
        await self.until(lambda: bool(self.factory.connections))
        (connection,) = self.factory.connections
        connection.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.transport.pauseProducing()
        client.says(*lines)
        return client

    async def test_overflow(self) -> None:
        """
        A client for which more than --max-output waits loses its connection, and the log says why; its worker goes on.
        """
        await self.serve(max_output="4M")
        worker, client = await self.worker("f"), await self.deaf_client("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        for _ in range(40):
            worker.says(f"WORK_DATA {job}|{250_000 * 'x'}")
        await worker.echoes()
        await self.until(lambda: not self.factory.connections)
        (line,) = self.logged()
        self.assertRegex(
            line,
            r"^closed the HTTP connection of 127\.0\.0\.1: it does not read, and 4\d{6} bytes are waiting for it "
            r"\(--max-output is 4194304\)$",
        )
        worker.says(f"WORK_COMPLETE {job}|")
        await worker.echoes()
        client.transport.resumeProducing()
        heard = await client.ends()
        self.assertFalse(heard.endswith(b"0\r\n\r\n"))

    async def test_slow(self) -> None:
        """
        A client that reads slowly gets all of what is streamed, and of a result, as fast as it reads; meanwhile the server
        gives little of it to the system at once.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.deaf_client("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        parts = [bytes([number]) * 1_000_000 for number in range(10)]
        for part in parts:
            worker.says(f"WORK_DATA {job}|{part.decode('latin-1')}")
        worker.says(f"WORK_COMPLETE {job}|{3_000_000 * 'y'}")
        await worker.echoes()
        (connection,) = self.factory.connections
        (request,) = connection.requests
        self.assertGreater(request._unsent_size, 12_000_000)
        self.assertTrue(connection.congested)
        client.transport.resumeProducing()
        answer = await client.hears()
        self.assertEqual(answer.body, b"".join(parts) + 3_000_000 * b"y")
        client.says("GET / HTTP/1.1")
        self.assertEqual((await client.hears()).code, 404)

    async def test_stalled(self) -> None:
        """
        A client that reads nothing at all for a while loses its connection, and the log has a word of it.
        """
        from gearsvc import logs

        self.patch(http, "TICK", 0.02)
        self.patch(httpconnection, "STALLED_SECONDS", 0.2)
        self.patch(logs, "_verbosity", logs.WARNING)
        await self.serve()
        worker = await self.worker("f")
        client = await self.deaf_client("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|{5_000_000 * 'x'}")
        await self.until(lambda: not self.factory.connections)
        self.assertIn("it has read nothing for", self.logged()[-1])
        client.transport.resumeProducing()
        self.assertLess(len(await client.ends()), 5_000_000)

    async def test_stalled_at_the_end(self) -> None:
        """
        So does one that does not take the last of an answer behind which the connection is closed.
        """
        self.patch(http, "TICK", 0.02)
        self.patch(httpconnection, "STALLED_SECONDS", 0.2)
        await self.serve()
        client = await self.deaf_client("POST /f HTTP/1.1", "Connection: close")
        (connection,) = self.factory.connections
        connection.transport.write(1_000_000 * b"x")
        connection.loseConnection()
        await self.until(lambda: not self.factory.connections)
        client.transport.resumeProducing()
        self.assertLess(len(await client.ends()), 1_000_000)

    async def test_answers_unread(self) -> None:
        """
        A client that sends requests and reads no answer is not read from for ever.
        """
        await self.serve()
        client = await self.deaf_client("GET / HTTP/1.1")
        requests = 100_000 * b"GET / HTTP/1.1\r\n\r\n"
        client.says_bytes(requests)
        (connection,) = self.factory.connections
        await self.until(lambda: connection.congested)
        await self.turns(50)
        waiting = len(connection.transport.dataBuffer) + connection.transport._tempDataLen
        self.assertLess(waiting, 1_000_000)
        client.transport.resumeProducing()
        for _ in range(1000):
            self.assertEqual((await client.hears()).code, 404)

    async def test_large(self) -> None:
        """
        64 MiB go in, and 64 MiB come out.
        """
        await self.serve()
        worker, client = await self.connect(), await self.http()
        worker.says("CAN_DO f")
        await worker.echoes()
        size = 64 * 1024 * 1024
        everything = bytes(range(1, 256))
        workload = everything * (size // 255 + 1)
        client.says_bytes(b"POST /f HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(workload))
        client.says_bytes(workload)
        job, _, _, taken = await self.grabs(worker)
        self.assertEqual(taken.encode("latin-1").replace(b"\0", b"|"), workload)
        worker.says(f"WORK_COMPLETE {job}|{taken}")
        answer = await client.hears()
        self.assertEqual(answer.code, 200)
        self.assertTrue(answer.body == workload.replace(b"|", b"\0"))


class MalformedTests(LimitCase):
    """
    What is no HTTP, or could be taken for one thing by us and another by a proxy.
    """

    async def assert_all(self, code: int, reason: str, *requests: bytes) -> None:
        """
        All of them are refused, each by the only answer to it.
        """
        await self.serve()
        for request in requests:
            client = await self.http()
            client.says_bytes(request)
            try:
                await self.assert_refused(client, code, reason)
            except Exception as error:
                raise AssertionError(f"{request!r}: {error!r}") from error
        self.assertEqual(self.service.job_server.functions, {})

    async def test_request_line(self) -> None:
        """
        A first line that is no request line.
        """
        await self.assert_all(
            400,
            "begins with METHOD /FUNCTION HTTP/1.1",
            *(
                line + b"\r\nA: b\r\n\r\n"
                for line in (
                    b"GET",
                    b"GET /f",
                    b"GET  /f HTTP/1.1",
                    b"GET /f  HTTP/1.1",
                    b"GET /f HTTP/1.1 ",
                    b"GET /f g HTTP/1.1",
                    b" GET /f HTTP/1.1",
                    b"GET\t/f\tHTTP/1.1",
                    b"GET /f http/1.1",
                    b"GET /f\0 HTTP/1.1",
                    b"G(ET /f HTTP/1.1",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                    b"\0REQ\0\0\0\x10\0\0\0\0",
                    b"status",
                    b"\r",
                )
            ),
        )

    async def test_version(self) -> None:
        """
        A version that is not spoken here is 505.
        """
        await self.assert_all(
            505,
            "HTTP/1.1 is spoken here, and HTTP/1.0",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /f HTTP/0.9\r\n\r\n",
            b"GET /f HTTP/1.2\r\n\r\n",
            b"GET /f HTTP/11\r\n\r\n",
            b"GET /f HTTP/\r\n\r\n",
        )

    async def test_headers(self) -> None:
        """
        Headers that are none.
        """
        await self.assert_all(
            400,
            "a header is no 'Name: value'",
            *(
                b"POST /f HTTP/1.1\r\n" + lines + b"\r\n\r\n"
                for lines in (
                    b"nonsense",
                    b": value",
                    b"Na me: value",
                    b"Name : value",
                    b" Name: value",
                    b"Name: value\0",
                    b"Name: val\rue",
                    b"N\xe4me: value",
                    b"A: b\r\nnonsense\r\nC: d",
                )
            ),
        )

    async def test_lines(self) -> None:
        """
        Lines that end one way and then another: whoever forwards them may see other headers in them.
        """
        await self.assert_all(
            400,
            "ends otherwise than the first",
            b"POST /f HTTP/1.1\r\nA: b\nContent-Length: 3\r\n\r\n",
            b"POST /f HTTP/1.1\r\nA: b\r\n\n",
            b"POST /f HTTP/1.1\nA: b\r\n\n",
            b"POST /f HTTP/1.1\nA: b\n\r\n",
        )

    async def test_length(self) -> None:
        """
        Lengths that are none, or more than one.
        """
        await self.assert_all(
            400,
            "do not agree on the body's length",
            *(
                b"POST /f HTTP/1.1\r\n" + lines + b"\r\n\r\nabc"
                for lines in (
                    b"Content-Length: -3",
                    b"Content-Length: +3",
                    b"Content-Length: 0x3",
                    b"Content-Length: 3.0",
                    b"Content-Length: 3 3",
                    b"Content-Length: 3, 3",
                    b"Content-Length: 3_0",
                    b"Content-Length: \xb2",
                    b"Content-Length:",
                    b"Content-Length: 3\r\nContent-Length: 3",
                    b"Content-Length: 3\r\nContent-Length: 0",
                    b"Content-Length: " + 30 * b"-",
                )
            ),
        )

    async def test_both(self) -> None:
        """
        A length and chunks, in either order, and encodings that are not spoken here.
        """
        await self.assert_all(
            400,
            "",
            *(
                b"POST /f HTTP/1.1\r\n" + lines + b"\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
                for lines in (
                    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
                    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
                    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                    b"Transfer-Encoding: gzip, chunked",
                    b"Transfer-Encoding: chunked, identity",
                    b"Transfer-Encoding: gzip",
                    b"Transfer-Encoding: identity",
                    b"Transfer-Encoding: identity\r\nContent-Length: 5",
                    b"Transfer-Encoding: xchunked",
                    b"Transfer-Encoding: \x0bchunked",
                    b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5",
                    b"transfer-encoding: chunked\r\nTransfer-Encoding: identity",
                )
            ),
            b"POST /f HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )

    async def test_chunks(self) -> None:
        """
        Chunks that are none.
        """
        await self.assert_all(
            400,
            "the body's chunks are malformed",
            *(
                b"POST /f HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
                for chunks in (
                    b"zz\r\n",
                    b"-1\r\n",
                    b"+3\r\nabc\r\n",
                    b"0x3\r\nabc\r\n",
                    b" 3\r\nabc\r\n",
                    b"3 \r\nabc\r\n",
                    b"\r\n",
                    b";extension\r\n",
                    b"3;\0\r\nabc\r\n",
                    b"3;a\nb\r\nabc\r\n",
                    b"3\r\nabcd\r\n",
                    b"3\r\nabc\n0\r\n\r\n",
                    b"3\nabc\r\n\r\n",
                    2000 * b"0",
                    b"3;" + 2000 * b"x",
                    b"0\r\n" + 100_000 * b"A: b\r\n",
                )
            ),
        )

    async def test_behind_a_request(self) -> None:
        """
        What is malformed behind a request that waits is refused when that has its answer.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        client.says("POST /f HTTP/1.1", "Content-Length: 2", "", "in")
        client.says("nonsense")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|result")
        self.assertEqual((await client.hears()).body, b"result")
        await self.assert_refused(client, 400, "begins with METHOD")
