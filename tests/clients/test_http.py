"""
Jobs over HTTP, by curl and under wrk's load; what gearmand does right, ours does just so.
"""

from __future__ import annotations

import re
import signal
import socket
import struct
import threading

from tests.clients.case import ClientTestCase
from tests.running import DEFAULT_KIND, HOST, PATIENCE, free_port, twistd_command, wait_until


class HTTPClientCase(ClientTestCase):
    """
    A test of an HTTP client against a server of its own.

    @ivar http_port: where the server listens for HTTP.
    """

    def setUp(self) -> None:
        """
        Start a server that listens for HTTP.
        """
        self.http_port = free_port()
        where = str(self.http_port) if DEFAULT_KIND == "gearmand" else f"tcp:{self.http_port}:interface={HOST}"
        self.options = [*self.options, "-r", "http", "--http-port", where]
        super().setUp()

    def url(self, path: str) -> str:
        """
        Where a path is.
        """
        return f"http://{HOST}:{self.http_port}{path}"

    def curl(self, path: str, *options: str, input: bytes = b"") -> bytes:
        """
        Run curl.

        @return: what it printed.
        """
        done = self.run_program("curl", "-sS", "--max-time", str(PATIENCE), *options, self.url(path), input=input)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout

    def answer(self, path: str, *options: str, input: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """
        Ask by curl.

        @return: the status, the headers by their names as they came, and the body.
        """
        head, _, body = self.curl(path, "-i", *options, input=input).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


class FastWorker(threading.Thread):
    """
    A worker in a thread, which answers a job with its workload in capital letters.
    """

    def __init__(self, port: int, function: str) -> None:
        super().__init__(daemon=True)
        self._connection = socket.create_connection((HOST, port), PATIENCE)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.settimeout(None)
        self._say(1, function.encode())
        self.start()

    def _say(self, kind: int, body: bytes = b"") -> None:
        self._connection.sendall(b"\0REQ" + struct.pack(">II", kind, len(body)) + body)

    def run(self) -> None:
        """
        Work until the server ends.
        """
        with self._connection, self._connection.makefile("rb") as heard:
            self._say(9)
            while header := heard.read(12):
                kind, size = struct.unpack(">II", header[4:])
                body = heard.read(size)
                if kind == 11:
                    handle, _, workload = body.split(b"\0", 2)
                    self._say(13, handle + b"\0" + workload.upper())
                # After a job or a NOOP there may be more; after NO_JOB there is a NOOP to wait for.
                self._say(4 if kind == 10 else 9)


class CurlTests(HTTPClientCase):
    """
    curl, as people use it by hand and in scripts.
    """

    def test_post(self) -> None:
        """
        The answer to a POST is the result, with gearmand's headers.
        """
        self.worker("reverse", "rev")
        status, headers, body = self.answer("/reverse", "--data", "Hello World!")
        self.assertEqual((status, body.strip()), (200, b"!dlroW olleH"))
        self.assertRegex(headers["X-Gearman-Job-Handle"], r"^H:.*:\d+$")
        self.assertRegex(headers["Server"], r"^Gearman/\d")
        self.assertEqual((headers["X-Gearman-Command"], headers["Content-Length"]), ("WORK_COMPLETE", str(len(body))))
        ours = set() if self.is_gearmand else {"Date"}
        self.assertEqual(set(headers), {"X-Gearman-Job-Handle", "X-Gearman-Command", "Content-Length", "Server"} | ours)

    def test_get(self) -> None:
        """
        A GET submits an empty workload.
        """
        self.worker("size", "wc", "-c")
        self.assertEqual(self.curl("/size").strip(), b"0")

    def test_head(self) -> None:
        """
        A HEAD runs the job as well, and gets its headers.
        """
        self.worker("echo", "echo", "result")
        head = self.curl("/echo", "--head")
        self.assertIn(b"200 OK", head.splitlines()[0])
        self.assertIn(b"Content-Length: 7\r\n", head)

    def test_put_binary(self) -> None:
        """
        Any bytes go in by PUT, and come out.
        """
        self.worker("copy", "cat")
        everything = bytes(range(256))
        self.assertEqual(self.curl("/copy", "-X", "PUT", "--data-binary", "@-", input=everything), everything)

    def test_background(self) -> None:
        """
        A background job is answered with its handle alone.
        """
        status, headers, body = self.answer("/later", "-H", "X-Gearman-Background: true", "-d", "work")
        self.assertEqual((status, body), (200, b""))
        self.assertEqual((headers["X-Gearman-Command"], headers["Content-Length"]), ("JOB_CREATED", "0"))
        self.assertIn(headers["X-Gearman-Job-Handle"], self.server.admin("show jobs").decode())
        self.assertEqual(self.server.status("later"), (1, 0, 0))

    def test_priorities_and_unique(self) -> None:
        """
        Priority and unique id are taken from their headers.
        """
        for priority in ("low", "high"):
            headers = ("-H", f"X-Gearman-Priority: {priority}", "-H", f"X-Gearman-Unique: unique-{priority}")
            for _ in range(2):
                self.curl("/later", *headers, "-H", "X-Gearman-Background: true", "-d", priority)
        self.assertIn(b"later\t1\t0\t1\t0\n", self.server.admin("prioritystatus"))
        self.assertEqual(sorted(self.server.admin("show unique jobs").split()), [b".", b"unique-high", b"unique-low"])

    def test_gone(self) -> None:
        """
        A client that gives up takes its job with it; in gearmand it goes on being counted.
        """
        client = self.start_program("curl", "-sS", self.url("/later"))
        self.wait_for_jobs("later", 1)
        client.send_signal(signal.SIGTERM)
        client.finish()
        if not self.is_gearmand:
            self.wait_for_jobs("later", 0)

    def test_stop(self) -> None:
        """
        A client that waits when the server is told to end hears so; gearmand closes its connection.
        """
        client = self.start_program("curl", "-sS", "-w", " %{http_code}", self.url("/later"))
        self.wait_for_jobs("later", 1)
        self.assertEqual(self.server.stop(), 0)
        code, output, complaint = client.finish()
        if self.is_gearmand:
            self.assertEqual((code, output), (52, b" 000"), complaint)
        else:
            self.assertEqual((code, output), (0, b"the server is stopping\n 503"), complaint)

    def test_fail(self) -> None:
        """
        A failed job is 500, which to gearmand is a success with nothing in it.
        """
        self.worker("fail", "false")
        status, headers, _ = self.answer("/fail", "-d", "x")
        self.assertEqual(status, 200 if self.is_gearmand else 500)
        self.assertEqual(headers["X-Gearman-Command"], "WORK_FAIL")

    def test_exit_status(self) -> None:
        """
        So "curl --fail" tells a script what became of it.
        """
        if self.is_gearmand:
            return
        self.worker("fail", "false")
        self.assertEqual(self.run_program("curl", "-sS", "--fail", self.url("/fail")).returncode, 22)

    def test_encoded(self) -> None:
        """
        A path is decoded, and the query no part of it; gearmand has a function of that very spelling.
        """
        name = "with%20blank?and=query" if self.is_gearmand else "with blank"
        self.curl("/with%20blank?and=query", "-H", "X-Gearman-Background: true")
        self.assertTrue(self.server.admin("status").startswith(name.encode() + b"\t1\t"))

    def test_large(self) -> None:
        """
        What curl asks for permission to send (Expect: 100-continue) arrives, and comes back; gearmand knows nothing of it.
        """
        if self.is_gearmand:
            return
        FastWorker(self.server.port, "shout")
        data = bytes(range(ord("["))) * 100_000
        sent, back = self.directory / "sent", self.directory / "back"
        sent.write_bytes(data)
        for how in (["-T", str(sent)], ["-X", "POST", "--data-binary", f"@{sent}"], ["-T", "-"]):
            shown = self.curl("/shout", *how, "-o", str(back), "-w", "%{http_code} %{size_download}", input=data)
            self.assertEqual((shown, back.read_bytes() == data), (f"200 {len(data)}".encode(), True))

    def test_kept(self) -> None:
        """
        Several URLs need one connection; gearmand closes each.
        """
        self.worker("size", "wc", "-c")
        done = self.run_program("curl", "-sS", "-w", "%{num_connects}\n", "-o", "/dev/null", *3 * [self.url("/size")])
        self.assertEqual(done.stdout.split()[0], b"1")
        if not self.is_gearmand:
            connects = self.curl("/size", "-w", "%{num_connects}", "-o", "/dev/null", self.url("/size"), "-o", "/dev/null")
            self.assertEqual(connects, b"10")

    def test_1_0(self) -> None:
        """
        curl speaks HTTP/1.0 if it is told to.
        """
        self.worker("size", "wc", "-c")
        self.assertEqual(self.curl("/size", "--http1.0", "-d", "12345").strip(), b"5")


class WrkTests(HTTPClientCase):
    """
    Many requests at once, by wrk.
    """

    def load(self, function: str, script: str = "") -> int:
        """
        Run wrk for a second.

        @param script: in Lua.
        @return: how many answers it had, none of them wrong.
        """
        path = self.directory / "script.lua"
        path.write_text(script)
        done = self.run_program("wrk", "-t1", "-c16", "-d1", "-s", str(path), self.url(f"/{function}"))
        output = done.stdout.decode()
        self.assertEqual((done.returncode, done.stderr), (0, b""), output)
        self.assertNotIn("Non-2xx", output)
        self.assertNotIn("Socket errors", output)
        found = re.search(r"(\d+) requests in", output)
        assert found is not None, output
        return int(found[1])

    def test_load(self) -> None:
        """
        Many connections with one request after the other, each on the same connection.
        """
        FastWorker(self.server.port, "work")
        self.assertGreater(self.load("work", 'wrk.method = "POST"; wrk.body = "hello"'), 200)
        wait_until(lambda: self.server.status("work")[:2] == (0, 0), "no job is left")

    def test_pipelined(self) -> None:
        """
        And with many requests ahead of their answers; gearmand drops all but the first.
        """
        if self.is_gearmand:
            return
        FastWorker(self.server.port, "work")
        script = """
            wrk.method = "POST"
            init = function() many = string.rep(wrk.format(nil, nil, nil, "hello"), 16) end
            request = function() return many end
            response = function(status, headers, body) if body ~= "HELLO" then wrk.thread:stop() end end
        """
        self.assertGreater(self.load("work", script), 200)
        wait_until(lambda: self.server.status("work")[:2] == (0, 0), "no job is left")

    def test_background(self) -> None:
        """
        Every background job that is acknowledged is queued.
        """
        answered = self.load("later", 'wrk.headers["X-Gearman-Background"] = "true"')
        self.assertGreater(answered, 200)
        total = self.server.status("later")[0]
        self.assertLessEqual(answered, total)
        self.assertLessEqual(total, answered + 16)


class NetcatTests(HTTPClientCase):
    """
    A request typed by hand.
    """

    def test_talk(self) -> None:
        """
        The example of gearmand's authors works, line feeds and all.
        """
        self.worker("reverse", "rev")
        with socket.create_connection((HOST, self.http_port), PATIENCE) as connection:
            connection.sendall(b"POST /reverse HTTP/1.1\nContent-Length: 12\n\nHello World!\n")
            heard = b""
            while not heard.endswith(b"!dlroW olleH"):
                piece = connection.recv(65536)
                self.assertTrue(piece, heard)
                heard += piece.rstrip(b"\n")
        self.assertRegex(heard, rb"^HTTP/1\.[01] 200 OK\r\nX-Gearman-Job-Handle: ")


class StartingTests(HTTPClientCase):
    """
    The options.
    """

    def test_taken(self) -> None:
        """
        A port that is taken ends the start with one line, in ours.
        """
        if self.is_gearmand:
            return
        done = self.run_program(*twistd_command(free_port(), self.directory), *self.options)
        self.assertEqual(done.returncode, 1)
        why = f"cannot listen on port {self.http_port} at {HOST}: Address already in use; stop the other server, or choose another port"
        self.assertEqual(done.stderr.decode(), f"gearsvc: {why}\n")
