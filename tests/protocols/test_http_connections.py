"""
HTTP connections: which of them are kept, what stands behind a request, and where the server listens.
"""

from __future__ import annotations

import re
import resource
import socket
from itertools import count

from twisted.internet.error import CannotListenError
from zope.interface.verify import verifyObject

from gearsvc import logs
from gearsvc.interfaces import IPeer
from gearsvc.stores.memory import MemoryStore
from tests.protocols.case import LOOPBACK
from tests.protocols.httpcase import HTTPCase
from tests.running import free_port

BACKGROUND = "X-Gearman-Background: true"


class KeepingTests(HTTPCase):
    """
    Whether a connection outlives an answer.
    """

    async def test_1_1(self) -> None:
        """
        A connection of HTTP/1.1 is kept, and serves one request after the other.
        """
        await self.serve()
        client = await self.http()
        for _ in range(3):
            client.says("POST /f HTTP/1.1", BACKGROUND, "Content-Length: 2", "", "in")
            answer = await client.hears()
            self.assertEqual((answer.version, answer.code, answer.headers.get("connection")), ("HTTP/1.1", 200, None))
        self.assertEqual(len(self.service.job_server.jobs), 3)

    async def test_close(self) -> None:
        """
        Unless the client says that it closes it, alone or among other words.
        """
        await self.serve()
        for words in ("close", "Close", "te, close", "keep-alive,close"):
            for path in ("/f", "/"):
                client = await self.http()
                client.says(f"POST {path} HTTP/1.1", BACKGROUND, f"Connection: {words}")
                self.assertEqual((await client.hears()).headers["connection"], "close")
                self.assertEqual(await client.ends(), b"")

    async def test_1_0(self) -> None:
        """
        One of HTTP/1.0 is closed, unless the client asks for it to be kept.
        """
        await self.serve()
        client = await self.http()
        client.says("POST /f HTTP/1.0", BACKGROUND)
        answer = await client.hears()
        self.assertEqual((answer.version, answer.code), ("HTTP/1.0", 200))
        self.assertEqual(await client.ends(), b"")
        client = await self.http()
        for _ in range(3):
            client.says("POST /f HTTP/1.0", BACKGROUND, "Connection: Keep-Alive")
            answer = await client.hears()
            self.assertEqual((answer.version, answer.headers["connection"]), ("HTTP/1.0", "keep-alive"))

    async def test_nothing_after_close(self) -> None:
        """
        What stands behind the last request of a connection is not looked at.
        """
        await self.serve()
        client = await self.http()
        client.says_bytes(2 * f"POST /f HTTP/1.1\r\n{BACKGROUND}\r\nConnection: close\r\n\r\n".encode())
        await client.hears()
        self.assertEqual(await client.ends(), b"")
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_blank_lines(self) -> None:
        """
        An empty line before a request, which some clients send after their body, is no request.
        """
        await self.serve()
        client = await self.http()
        for _ in range(2):
            client.says_bytes(f"\r\nPOST /f HTTP/1.1\r\n{BACKGROUND}\r\nContent-Length: 2\r\n\r\nin".encode())
            self.assertEqual((await client.hears()).code, 200)

    async def test_cut(self) -> None:
        """
        Wherever the network cuts requests, they are what they are.
        """
        await self.serve()
        request = f"POST /f HTTP/1.1\r\n{BACKGROUND}\r\nContent-Length: 2\r\n\r\nin".encode()
        typed = request.replace(b"\r\n", b"\n")
        client = await self.http()
        for data in (request, typed):
            for at in range(1, len(data)):
                client.says_bytes(data[:at])
                await self.turns(1)
                client.says_bytes(data[at:])
                self.assertEqual((await client.hears()).code, 200)
        self.assertEqual({job.workload for job in self.service.job_server.jobs.values()}, {b"in"})


class PipeliningTests(HTTPCase):
    """
    Requests that do not wait for the answers to those before.
    """

    async def test_background(self) -> None:
        """
        Many requests in one write are answered in their order.
        """
        await self.serve()
        client = await self.http()
        client.says_bytes(b"".join(b"PUT /f HTTP/1.1\r\n%b\r\nContent-Length: 1\r\n\r\nx" % BACKGROUND.encode() for _ in range(1000)))
        handles = [(await client.hears()).headers["x-gearman-job-handle"] for _ in range(1000)]
        self.assertEqual([handle.encode() for handle in handles], list(self.service.job_server.jobs))

    async def test_foreground(self) -> None:
        """
        A job is submitted once the request before it is answered, and no answer overtakes another.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        client.says_bytes(b"".join(b"PUT /f HTTP/1.1\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(5)))
        for number in range(5):
            job, _, _, workload = await self.grabs(worker)
            self.assertEqual((workload, len(self.service.job_server.jobs)), (str(number), 1))
            worker.says(f"WORK_COMPLETE {job}|result {number}")
        for number in range(5):
            self.assertEqual((await client.hears()).body, b"result %d" % number)

    async def test_mixed(self) -> None:
        """
        Answers that come at once keep their place between those that wait, and what is no request comes last.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        client.says("POST /f HTTP/1.1")
        client.says("GET / HTTP/1.1")
        client.says("POST /f HTTP/1.1", BACKGROUND)
        client.says("HEAD /f HTTP/1.1")
        client.says("GET nonsense")
        for _ in range(3):
            job, *_ = await self.grabs(worker)
            worker.says(f"WORK_COMPLETE {job}|result")
        answers = [await client.hears() for _ in range(5)]
        self.assertEqual([answer.code for answer in answers], [200, 404, 200, 200, 400])
        self.assertEqual([answer.body for answer in answers[::2]][:2], [b"result", b""])
        await client.ends()

    async def test_one_turn(self) -> None:
        """
        Requests that stand behind those that one packet of a worker answers are submitted, and all that the packet brings
        about reaches everybody.
        """
        await self.serve()
        clients = [await self.http() for _ in range(3)]
        gearman = await self.connect()
        for client in clients:
            client.says("POST /f HTTP/1.1", "X-Gearman-Unique: u")
            client.says("POST /f HTTP/1.1", "X-Gearman-Unique: v")
            client.says("POST /f HTTP/1.1", BACKGROUND)
        gearman.says("SUBMIT_JOB f|u|")
        await gearman.hears()
        (waiting,) = self.service.job_server.jobs.values()
        await self.until(lambda: len(waiting.clients) == 4)
        worker = await self.worker("f")
        for unique in ("u", "v"):
            job, _, found, _ = await self.grabs(worker)
            self.assertEqual(found, unique)
            await self.until(lambda: len(self.service.job_server.jobs[job.encode()].clients) >= 3)
            worker.says(f"WORK_COMPLETE {job}|{unique}")
        self.assertEqual((await gearman.hears()).partition("|")[2], "u")
        for client in clients:
            self.assertEqual([(await client.hears()).body for _ in range(3)], [b"u", b"v", b""])

    async def test_large(self) -> None:
        """
        More than is read ahead of an answer waits in the network, and comes to its turn.
        """
        await self.serve(max_packet="64K")
        worker, client = await self.worker("f"), await self.http()
        bodies = [str(number) * 60_000 for number in range(5)]
        for body in bodies:
            client.says("POST /f HTTP/1.1", f"Content-Length: {len(body)}", "", body)
        for body in bodies:
            job, _, _, workload = await self.grabs(worker)
            self.assertEqual(workload, body)
            worker.says(f"WORK_COMPLETE {job}|{body[0]}")
            self.assertEqual((await client.hears()).body, body[:1].encode())

    async def test_gone(self) -> None:
        """
        A client that goes away leaves none of the requests that it has sent ahead.
        """
        await self.serve()
        client = await self.http()
        for _ in range(3):
            client.says("POST /f HTTP/1.1")
        await self.until(lambda: bool(self.service.job_server.jobs))
        client.hangs_up()
        await self.until(lambda: not self.service.job_server.jobs)
        await self.turns()
        self.assertEqual((self.service.job_server.jobs, self.factory.connections), ({}, set()))


class ExpectTests(HTTPCase):
    """
    Clients that ask before they send a body.
    """

    async def test_go_on(self) -> None:
        """
        Who asks is told to go on, once the head is found to be right.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        client.says_bytes(b"POST /f HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n")
        self.assertEqual(await client.hears_bytes(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.says_bytes(b"body")
        job, _, _, workload = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|result")
        self.assertEqual((workload, (await client.hears()).body), ("body", b"result"))

    async def test_1_0(self) -> None:
        """
        A client of HTTP/1.0 would not understand it.
        """
        await self.serve()
        client = await self.http()
        client.says_bytes(f"POST /f HTTP/1.0\r\n{BACKGROUND}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody".encode())
        self.assertEqual((await client.hears()).code, 200)

    async def test_refused(self) -> None:
        """
        Who asks for what is refused hears so before it sends a body, and the connection ends, for the body may come.
        """
        await self.serve(max_packet="100")
        for line, headers, code in (
            ("POST / HTTP/1.1", (), 404),
            ("PATCH /f HTTP/1.1", (), 405),
            ("POST /f HTTP/1.1", ("X-Gearman-Priority: urgent",), 400),
            ("POST /f HTTP/1.1", ("Content-Length: 101",), 413),
        ):
            length = () if code == 413 else ("Content-Length: 4",)
            client = await self.http()
            client.says(line, *headers, *length, "Expect: 100-continue")
            answer = await client.hears()
            self.assertEqual((answer.code, answer.headers["connection"]), (code, "close"))
            self.assertEqual(await client.ends(), b"")
        self.service.job_server.drain(lambda: None)
        client = await self.http()
        client.says("POST /f HTTP/1.1", "Content-Length: 4", "Expect: 100-continue")
        self.assertEqual((await client.hears()).code, 503)

    async def test_no_body(self) -> None:
        """
        Who asks without having a body gets the answer.
        """
        await self.serve()
        client = await self.http()
        client.says("GET / HTTP/1.1", "Expect: 100-continue")
        self.assertEqual((await client.hears()).code, 404)
        client.says("GET / HTTP/1.1")
        self.assertEqual((await client.hears()).code, 404)


class ListeningTests(HTTPCase):
    """
    Where the server listens for HTTP.
    """

    async def test_many(self) -> None:
        """
        There may be several ports, numbers (at the addresses of --listen) and endpoints.
        """
        path = self.socket_path()
        ports = (str(free_port()), LOOPBACK, f"unix:{path}")
        await self.serve(listen=("127.0.0.1", "127.0.0.2"), plugin_options={"http-port": ports})
        hosts = [getattr(port.getHost(), "host", None) for port in self.web.ports]
        self.assertEqual(hosts, ["127.0.0.1", "127.0.0.2", "127.0.0.1", None])
        for description in (f"tcp:127.0.0.1:{ports[0]}", f"tcp:127.0.0.2:{ports[0]}", "", f"unix:{path}"):
            client = await self.http(description)
            client.says("POST /f HTTP/1.1", BACKGROUND, "Connection: close")
            self.assertEqual((await client.hears()).code, 200)
            await client.ends()

    async def test_after_the_replay(self) -> None:
        """
        It listens once the stored jobs are queued.
        """

        class Watching(MemoryStore):
            def replay(store, accept: object) -> object:  # type: ignore[override]
                """Look who listens."""
                self.assertEqual(self.service.services, [])
                return super().replay(accept)  # type: ignore[arg-type]

        await self.serve(Watching())
        self.assertEqual(len(self.web.ports), 1)

    async def test_taken(self) -> None:
        """
        A port that is taken keeps the server from starting, and leaves none of its own open.
        """
        await self.serve()
        taken = str(self.http_port)
        free = str(free_port())
        second = self.make(plugin_options={"http-port": (free, taken)}, listen=("127.0.0.1",))
        second.startService()
        error = await self.assertFailure(second.when_ready(), CannotListenError)
        self.assertEqual(error.port, int(taken))
        await second.stopService()
        await self.turns()
        third = self.make(plugin_options={"http-port": (free,)}, listen=("127.0.0.1",))
        third.startService()
        await third.when_ready()

    async def test_beside_each_other(self) -> None:
        """
        A function's jobs come over both protocols, and an administrator sees the clients of both.
        """
        await self.serve()
        client, admin = await self.http(), await self.connect()
        client.says("POST /f HTTP/1.1")
        await self.until(lambda: bool(self.service.job_server.jobs))
        admin.says("status\r\n")
        self.assertEqual(await admin.hears_list(), ["f\t1\t0\t0\n"])
        admin.says("workers\r\n")
        lines = await admin.hears_list()
        self.assertEqual(len(lines), 2)
        (connection,) = self.factory.connections
        self.assertIn(f"{connection.descriptor} 127.0.0.1 - :\n", lines)

    async def test_peer(self) -> None:
        """
        A connection is a peer, as the job server wants it, and closes when it is told to.
        """
        await self.serve()
        client = await self.http()
        await self.until(lambda: bool(self.factory.connections))
        (connection,) = self.factory.connections
        verifyObject(IPeer, connection)
        connection.close()
        self.assertEqual(await client.ends(), b"")

    async def test_keepalive(self) -> None:
        """
        --keepalive holds for HTTP, too.
        """
        await self.serve(keepalive=True, keepalive_idle=77)
        await self.http()
        await self.until(lambda: bool(self.factory.connections))
        (connection,) = self.factory.connections
        handle = connection.transport.getHandle()
        self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 77)

    async def test_descriptors(self) -> None:
        """
        HTTP leaves a quarter of the file descriptors to Gearman's own protocol: more connections than that get a 503, and
        the log says so once.
        """
        await self.serve()
        limit = 1000
        self.patch(resource, "getrlimit", lambda which: (limit, limit))
        kept = await self.http()
        kept.says("POST /f HTTP/1.1", BACKGROUND)
        await kept.hears()
        (connection,) = self.factory.connections
        limit = (connection.descriptor + 1) * 4 // 3
        for _ in range(2):
            client = await self.http()
            answer = await client.hears()
            self.assertEqual((answer.code, answer.reason), (503, "the server has too many connections"))
            await client.ends()
        kept.says("POST /f HTTP/1.1", BACKGROUND)
        self.assertEqual((await kept.hears()).code, 200)
        (line,) = self.logged()
        self.assertRegex(line, r"^no file descriptors are left for more HTTP connections than 1: .*--file-descriptors")

    async def test_log(self) -> None:
        """
        At the level DEBUG each answer is a line in the log, in which nothing of a request can look like a line of its own.
        """
        self.patch(logs, "_verbosity", logs.DEBUG)
        await self.serve()
        await self.ask("POST /f%0A?secret HTTP/1.1", BACKGROUND, "Content-Length: 6", "", "secret")
        await self.ask("GET /\xa0" + 500 * "x" + "/%zz HTTP/1.1")
        first, second = (re.sub(r"\[\d+\]", "[N]", line) for line in self.logged() if "answered" in line)
        self.assertEqual(first, "127.0.0.1 [N]: POST '/f%0A' is answered with 200")
        self.assertEqual(second, rf"127.0.0.1 [N]: GET '/\xa0{98 * 'x'}' is answered with 400")

    async def test_date(self) -> None:
        """
        The date is that of each answer.
        """
        await self.serve()
        seconds = count(1_800_000_000)
        self.patch(self.service.job_server.clock, "time", lambda: float(next(seconds)))
        dates = [(await self.ask("GET / HTTP/1.1")).headers["date"] for _ in range(2)]
        self.assertEqual(len(set(dates)), 2)
        for date in dates:
            self.assertTrue(re.fullmatch(r"Fri, 15 Jan 2027 08:00:\d\d GMT", date), date)
