"""
Jobs over HTTP: what a request asks for, and what its answer says.
"""

from __future__ import annotations

import re

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from gearsvc import __version__
from gearsvc.config import Settings
from gearsvc.core.jobs import Priority
from gearsvc.plugins import find_protocol_maker
from gearsvc.plugins.gearsvc_http import http
from gearsvc.protocols.httprequest import Refused, Submission, read_head
from tests.protocols.httpcase import Answer, HTTPCase

DATE = r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"


class HeadTests(SynchronousTestCase):
    """
    What the head of a request asks for.
    """

    def read(self, target: str, *headers: tuple[str, str], method: str = "POST") -> Submission:
        """
        Read a head.
        """
        found = Headers()
        for name, value in headers:
            found.addRawHeader(name, value)
        return read_head(method.encode(), target.encode("latin-1"), found)

    def test_function(self) -> None:
        """
        The path without its slash is the function's name, percent-decoded, and may hold anything but a NUL.
        """
        for target, function in {
            "/reverse": b"reverse",
            "/a/b/c": b"a/b/c",
            "/a%2Fb%0Ac": b"a/b\nc",
            "//reverse": b"/reverse",
            "/%2Freverse/": b"/reverse/",
            "/caf%C3%A9": "café".encode(),
            "/%ff%FE": b"\xff\xfe",
            "/100%25": b"100%",
            "/a+b%20c": b"a+b c",
            "/%252F": b"%2F",
            "/..%2f..": b"../..",
            "/a;b=c": b"a;b=c",
            "/%3Fwhat": b"?what",
        }.items():
            self.assertEqual(self.read(target).function, function)

    def test_query(self) -> None:
        """
        The query string is no part of the name.
        """
        for target in ("/reverse?", "/reverse?a=b", "/reverse?a=%zz", "/reverse?a/b?c"):
            self.assertEqual(self.read(target).function, b"reverse")

    def test_absolute(self) -> None:
        """
        A whole URL, as a proxy is asked for it, names the same function.
        """
        for target in ("http://server:8080/reverse", "HTTPS://[::1]/reverse?a=http://b/c", "http://user@server/reverse"):
            self.assertEqual(self.read(target).function, b"reverse")

    def test_plain(self) -> None:
        """
        Without headers a job is in the foreground, of normal priority, and has no unique id.
        """
        self.assertEqual(self.read("/f"), Submission(b"f", b"", Priority.NORMAL, False))

    def test_headers(self) -> None:
        """
        Unique id, priority and background come from headers, in any case of letters but for the unique id.
        """
        read = self.read("/f", ("x-gearman-UNIQUE", "A b"), ("X-GEARMAN-priority", "HIGH"), ("x-gearman-background", "True"))
        self.assertEqual(read, Submission(b"f", b"A b", Priority.HIGH, True))
        read = self.read("/f", ("X-Gearman-Unique", ""), ("X-Gearman-Priority", "low"), ("X-Gearman-Background", "false"))
        self.assertEqual(read, Submission(b"f", b"", Priority.LOW, False))
        self.assertEqual(self.read("/f", ("X-Gearman-Priority", "Normal")).priority, Priority.NORMAL)

    def refusal(self, target: str, *headers: tuple[str, str], method: str = "POST") -> Refused:
        """
        Read a head that asks for nothing.
        """
        refused: Refused = self.assertRaises(Refused, self.read, target, *headers, method=method)
        return refused

    def test_no_function(self) -> None:
        """
        A path that names nothing is not found.
        """
        for target in ("/", "/?reverse", "http://server", "http://server/"):
            self.assertEqual(self.refusal(target).code, 404)

    def test_methods(self) -> None:
        """
        GET, HEAD, POST and PUT submit a job; others are not allowed, whatever the path.
        """
        for method in ("GET", "HEAD", "POST", "PUT"):
            self.assertEqual(self.read("/f", method=method).function, b"f")
        for method in ("DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND"):
            for target in ("/f", "/", "*", "server:80"):
                refused = self.refusal(target, method=method)
                self.assertEqual((refused.code, refused.headers), (405, {"Allow": "GET, HEAD, POST, PUT"}))

    def test_bad_values(self) -> None:
        """
        A value that means nothing is refused with the values that do.
        """
        for header, wanted in {
            ("X-Gearman-Priority", "urgent"): "high, normal or low",
            ("X-Gearman-Priority", "high, low"): "high, normal or low",
            ("X-Gearman-Background", "1"): "true or false",
            ("X-Gearman-Background", "yes"): "true or false",
        }.items():
            refused = self.refusal("/f", header)
            self.assertEqual(refused.code, 400)
            self.assertIn(wanted, refused.reason)

    def test_twice(self) -> None:
        """
        A header of ours that is there twice is refused: no one can tell which of them is meant.
        """
        for name in ("X-Gearman-Unique", "X-Gearman-Priority", "X-Gearman-Background"):
            refused = self.refusal("/f", (name, "low"), (name, "low"))
            self.assertEqual((refused.code, refused.reason), (400, f"{name} is there more than once"))

    def test_bad_paths(self) -> None:
        """
        A path with an escape that is none, or without its slash, is refused.
        """
        for target in ("/100%", "/%zz", "/a%4", "/%%41", "/%u1234", "reverse", "*", "ftp://server/f"):
            self.assertEqual(self.refusal(target).code, 400)

    def test_nul(self) -> None:
        """
        A name with a NUL in it is refused: Gearman's packets end a name there, and a worker would get a wrong workload.
        """
        for target in ("/%00", "/f%00", "/f%00workload?x"):
            refused = self.refusal(target)
            self.assertEqual((refused.code, refused.reason), (400, "the path has a NUL (%00): a function's name cannot hold one"))


class MakerTests(SynchronousTestCase):
    """
    The plugin.
    """

    def test_found(self) -> None:
        """
        -r http finds it.
        """
        self.assertIs(find_protocol_maker("http"), http)

    def test_defaults(self) -> None:
        """
        gearmand's port, and no time-out.
        """
        settings = Settings(protocol=("http",))
        self.assertEqual((settings.value_of(http.port), settings.value_of(http.timeout)), (("8080",), 0.0))


class SubmittingTests(HTTPCase):
    """
    Requests become jobs.
    """

    async def test_talk(self) -> None:
        """
        The example of gearmand's authors, typed into nc by hand, works.
        """
        await self.serve()
        worker, client = await self.worker("reverse"), await self.http()
        client.says_bytes(b"POST /reverse HTTP/1.1\nContent-Length: 12\n\nHello World!\n")
        job, function, unique, workload = await self.grabs(worker)
        self.assertEqual((function, unique, workload), ("reverse", "", "Hello World!"))
        worker.says(f"WORK_COMPLETE {job}|!dlroW olleH")
        answer = await client.hears()
        self.assertEqual((answer.code, answer.body), (200, b"!dlroW olleH"))

    async def test_answer(self) -> None:
        """
        The answer has gearmand's headers, the date, and the result; nothing else.
        """
        await self.serve()
        worker, client = await self.worker("reverse"), await self.http()
        client.says("POST /reverse HTTP/1.1", "Content-Length: 5", "", "hello")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|olleh")
        heard = (await client.hears_bytes(b"olleh")).decode()
        lines = heard.split("\r\n")
        self.assertEqual((lines[0], lines[-2:]), ("HTTP/1.1 200 OK", ["", "olleh"]))
        headers = sorted(lines[1:-2])
        expected = ["Content-Length: 5", DATE, f"Server: Gearman/{re.escape(__version__)}", "X-Gearman-Command: WORK_COMPLETE"]
        expected.append(f"X-Gearman-Job-Handle: {job}")
        self.assertEqual(len(headers), len(expected), headers)
        for line, pattern in zip(headers, expected):
            self.assertRegex(line, f"^{pattern}$")
        self.assert_nothing_waits()

    def assert_nothing_waits(self) -> None:
        """
        There is no job, nor anyone who waits for one.
        """
        server = self.service.job_server
        self.assertEqual((server.jobs, server.running), ({}, 0))
        for session in server.sessions:
            self.assertEqual((session.awaited, session.held, session.out), ({}, None, []))

    async def test_methods(self) -> None:
        """
        GET and HEAD submit an empty workload (and a body all the same, if there is one), POST and PUT their body.
        """
        await self.serve()
        worker = await self.worker("f")
        for method, body in (("GET", ""), ("HEAD", ""), ("POST", "in"), ("PUT", "in"), ("POST", ""), ("GET", "in")):
            client = await self.http()
            client.says(f"{method} /f HTTP/1.1", f"Content-Length: {len(body)}", "", body)
            job, _, _, workload = await self.grabs(worker)
            self.assertEqual(workload, body)
            worker.says(f"WORK_COMPLETE {job}|the result")
            answer = await client.hears()
            self.assertEqual((answer.code, answer.headers["content-length"]), (200, "10"))
            self.assertEqual(answer.headers["x-gearman-command"], "WORK_COMPLETE")
            self.assertEqual(answer.body, b"" if method == "HEAD" else b"the result")

    async def test_head_keeps_the_connection(self) -> None:
        """
        No byte of a result follows the answer to a HEAD: the next answer does.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        for method in ("HEAD", "GET"):
            client.says(f"{method} /f HTTP/1.1")
            job, *_ = await self.grabs(worker)
            worker.says(f"WORK_COMPLETE {job}|result")
            self.assertEqual((await client.hears()).body, b"" if method == "HEAD" else b"result")

    async def test_background(self) -> None:
        """
        A background job is answered with its handle and no body, before a worker has it; and it goes on without the client.
        """
        await self.serve()
        answer = await self.ask("POST /f HTTP/1.1", "X-Gearman-Background: true", "Content-Length: 2", "", "in")
        self.assertEqual((answer.code, answer.body), (200, b""))
        self.assertEqual((answer.headers["x-gearman-command"], answer.headers["content-length"]), ("JOB_CREATED", "0"))
        self.assertNotIn("content-type", answer.headers)
        job, _, _, workload = await self.grabs(await self.worker("f"))
        self.assertEqual((answer.headers["x-gearman-job-handle"], workload), (job, "in"))

    async def test_priorities(self) -> None:
        """
        High goes before normal, and normal before low.
        """
        await self.serve()
        for priority in ("low", "normal", "high"):
            header = f"X-Gearman-Priority: {priority}"
            await self.ask("POST /f HTTP/1.1", header, "X-Gearman-Background: true", "Content-Length: 1", "", priority[0])
        worker = await self.worker("f")
        self.assertEqual([(await self.grabs(worker))[3] for _ in range(3)], ["h", "n", "l"])

    async def test_unique(self) -> None:
        """
        Requests with one unique id are one job, and each gets its result; so do clients that speak Gearman's protocol.
        """
        await self.serve()
        first, second, gearman = await self.http(), await self.http(), await self.connect()
        first.says("POST /f HTTP/1.1", "X-Gearman-Unique: u", "Content-Length: 3", "", "one")
        await self.until(lambda: len(self.service.job_server.jobs) == 1)
        second.says("POST /f HTTP/1.1", "X-Gearman-Unique: u", "Content-Length: 3", "", "two")
        gearman.says("SUBMIT_JOB f|u|three")
        created = await gearman.hears()
        (waiting,) = self.service.job_server.jobs.values()
        await self.until(lambda: len(waiting.clients) == 3)
        worker = await self.worker("f")
        job, _, unique, workload = await self.grabs(worker)
        self.assertEqual((created, unique, workload), (f"JOB_CREATED {job}", "u", "one"))
        worker.says(f"WORK_COMPLETE {job}|result")
        for client in (first, second):
            answer = await client.hears()
            self.assertEqual((answer.headers["x-gearman-job-handle"], answer.body), (job, b"result"))
        self.assertEqual(await gearman.hears(), f"WORK_COMPLETE {job}|result")
        worker.says("PRE_SLEEP")
        await worker.echoes()

    async def test_no_unique(self) -> None:
        """
        Without a unique id each request is a job of its own, also if their bodies are equal.
        """
        await self.serve()
        clients = [await self.http() for _ in range(2)]
        for client in clients:
            client.says("POST /f HTTP/1.1", "Content-Length: 4", "", "same")
        await self.until(lambda: len(self.service.job_server.jobs) == 2)
        worker = await self.worker("f")
        jobs = [await self.grabs(worker) for _ in clients]
        self.assertEqual([job[2:] for job in jobs], [("", "same")] * 2)
        for job, *_ in jobs:
            worker.says(f"WORK_COMPLETE {job}|result of {job}")
        answers = [await client.hears() for client in clients]
        self.assertEqual({answer.body.decode() for answer in answers}, {f"result of {job}" for job, *_ in jobs})

    async def test_dash(self) -> None:
        """
        The unique id "-" asks for what gearmand does unasked: equal bodies are one job.
        """
        await self.serve()
        for _ in range(2):
            client = await self.http()
            client.says("POST /f HTTP/1.1", "X-Gearman-Unique: -", "Content-Length: 4", "", "same")
        await self.until(lambda: [len(job.clients) for job in self.service.job_server.jobs.values()] == [2])

    async def test_names(self) -> None:
        """
        A function may be named by any bytes, and a worker that speaks Gearman's protocol can do it.
        """
        await self.serve()
        worker, client = await self.worker("a/b c\xe9"), await self.http()
        client.says("POST /a%2Fb%20c%E9?query HTTP/1.1", "Content-Length: 1", "", "x")
        self.assertEqual((await self.grabs(worker))[1:], ("a/b c\xe9", "", "x"))

    async def test_binary(self) -> None:
        """
        Workload and result may be any bytes.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        everything = "".join(map(chr, range(256))).replace("|", "")
        client.says("POST /f HTTP/1.1", f"Content-Length: {len(everything)}", "", everything)
        job, _, _, workload = await self.grabs(worker)
        self.assertEqual(workload, everything.replace("\0", "|"))
        worker.says(f"WORK_COMPLETE {job}|{everything}")
        self.assertEqual((await client.hears()).body, everything.encode("latin-1"))

    async def test_chunked(self) -> None:
        """
        A body may come in chunks, however they are cut and wherever the connection cuts them.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        head = b"POST /f HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        for cut in (1, 2, 7, 1000):
            data = head + b"3\r\nabc\r\n0A;extension=1\r\n0123456789\r\n0\r\nTrailer: ignored\r\n\r\n"
            for at in range(0, len(data), cut):
                client.says_bytes(data[at : at + cut])
                await self.turns(1)
            job, _, _, workload = await self.grabs(worker)
            self.assertEqual(workload, "abc0123456789")
            worker.says(f"WORK_COMPLETE {job}|")
            self.assertEqual((await client.hears()).body, b"")

    async def test_refused(self) -> None:
        """
        Who asks for nothing that there is gets a line that says why, and may go on on the same connection.
        """
        await self.serve()
        client = await self.http()
        for lines, code, reason in (
            (("GET / HTTP/1.1",), 404, "the path names a function: /FUNCTION"),
            (("DELETE /f HTTP/1.1",), 405, "a job is submitted by one of GET, HEAD, POST, PUT"),
            (("POST /%zz HTTP/1.1", "Content-Length: 4", "", "body"), 400, "the path has a %"),
            (("POST /f HTTP/1.1", "X-Gearman-Priority: urgent", "Content-Length: 4", "", "body"), 400, "X-Gearman-Priority is"),
        ):
            client.says(*lines)
            answer = await client.hears()
            self.assertEqual(answer.code, code)
            self.assertTrue(answer.reason.startswith(reason), answer.reason)
            self.assertNotIn("connection", answer.headers)
            self.assertNotIn("x-gearman-command", answer.headers)
        self.assertEqual(self.service.job_server.functions, {})

    async def test_refused_head(self) -> None:
        """
        The answer to a refused HEAD has no body, and says how long it would be.
        """
        await self.serve()
        client = await self.http()
        client.says("HEAD / HTTP/1.1")
        answer = await client.hears()
        self.assertEqual((answer.code, int(answer.headers["content-length"]) > 10, client.received), (404, True, b""))
        client.says("GET / HTTP/1.1")
        self.assertEqual((await client.hears()).code, 404)


class ResultTests(HTTPCase):
    """
    What becomes of jobs.
    """

    async def ask_for_f(self, *headers: str, version: str = "1.1", method: str = "POST") -> None:
        """
        Submit a job from a new client, and give it to a new worker.
        """
        self.jobs_worker, self.client = await self.worker("f"), await self.http()
        self.client.says(f"{method} /f HTTP/{version}", *headers)
        self.job, *_ = await self.grabs(self.jobs_worker)

    def works(self, *messages: str) -> None:
        """
        Let the worker speak; C{{job}} is its job.
        """
        self.jobs_worker.says(*(message.format(job=self.job) for message in messages))

    def assert_command(self, answer: Answer, code: int, command: str) -> None:
        """
        An answer is of this job, and says what became of it.
        """
        self.assertEqual(answer.code, code)
        self.assertEqual(answer.headers["x-gearman-command"], command)
        self.assertEqual(answer.headers.get("x-gearman-job-handle"), self.job)

    async def test_fail(self) -> None:
        """
        WORK_FAIL is 500, with its reason.
        """
        await self.serve()
        await self.ask_for_f()
        self.works("WORK_FAIL {job}")
        answer = await self.client.hears()
        self.assert_command(answer, 500, "WORK_FAIL")
        self.assertEqual(answer.reason, "the job failed")

    async def test_exception(self) -> None:
        """
        WORK_EXCEPTION is 500 and the exception its body, byte for byte, whether clients of Gearman's protocol are to get
        exceptions or not.
        """
        for exceptions in (False, True):
            await self.serve(exceptions=exceptions)
            await self.ask_for_f()
            self.works("WORK_EXCEPTION {job}|no\r\n\r\n such\x01|thing")
            answer = await self.client.hears()
            self.assert_command(answer, 500, "WORK_EXCEPTION")
            self.assertEqual((answer.body, "content-type" in answer.headers), (b"no\r\n\r\n such\x01\0thing", False))
            await self.service.stopService()

    async def test_cancelled(self) -> None:
        """
        A job that is cancelled has failed, to who waits for it.
        """
        await self.serve()
        await self.ask_for_f()
        admin = await self.connect()
        admin.says(f"cancel job {self.job}\r\n")
        self.assertEqual(await admin.hears(), "OK\r\n")
        self.assert_command(await self.client.hears(), 500, "WORK_FAIL")

    async def test_status_and_warning(self) -> None:
        """
        WORK_STATUS and WORK_WARNING are not the end, and no part of the result.
        """
        await self.serve()
        await self.ask_for_f()
        self.works("WORK_STATUS {job}|1|2", "WORK_WARNING {job}|careful", "WORK_STATUS {job}|2|2")
        await self.jobs_worker.echoes()
        await self.turns()
        self.assertEqual(self.client.received, b"")
        self.works("WORK_COMPLETE {job}|result")
        answer = await self.client.hears()
        self.assert_command(answer, 200, "WORK_COMPLETE")
        self.assertEqual(answer.body, b"result")

    async def test_data(self) -> None:
        """
        WORK_DATA is sent as it comes, in chunks, and what WORK_COMPLETE brings is the last of them.
        """
        await self.serve()
        await self.ask_for_f()
        self.works("WORK_DATA {job}|one")
        await self.client.hears_bytes(b"\r\n\r\n3\r\none\r\n")
        self.works("WORK_STATUS {job}|1|2", "WORK_DATA {job}|", "WORK_DATA {job}|two")
        await self.client.hears_bytes(b"3\r\ntwo\r\n")
        self.works("WORK_COMPLETE {job}|three")
        self.assertEqual(await self.client.hears_bytes(b"0\r\n\r\n"), b"5\r\nthree\r\n0\r\n\r\n")
        self.client.says("GET / HTTP/1.1")
        self.assertEqual((await self.client.hears()).code, 404)

    async def test_data_answer(self) -> None:
        """
        An answer in chunks has no length, and names the packet that began it.
        """
        await self.serve()
        await self.ask_for_f()
        self.works("WORK_DATA {job}|one", "WORK_DATA {job}|two", "WORK_COMPLETE {job}|")
        answer = await self.client.hears()
        self.assert_command(answer, 200, "WORK_DATA")
        self.assertEqual((answer.chunks, "content-length" in answer.headers), ([b"one", b"two"], False))

    async def test_data_to_1_0(self) -> None:
        """
        To a client of HTTP/1.0 the end of the connection is the end of what is streamed, also if it would have kept it.
        """
        for headers in ((), ("Connection: keep-alive",)):
            await self.serve()
            await self.ask_for_f(*headers, version="1.0")
            self.works("WORK_DATA {job}|one", "WORK_DATA {job}|two", "WORK_COMPLETE {job}|three")
            answer = await self.client.hears()
            self.assert_command(answer, 200, "WORK_DATA")
            self.assertEqual((answer.version, answer.body), ("HTTP/1.0", b"onetwothree"))
            self.assertEqual(answer.headers["connection"], "close")
            self.assertNotIn("transfer-encoding", answer.headers)
            await self.service.stopService()

    async def test_data_of_head(self) -> None:
        """
        The answer to a HEAD counts what is streamed.
        """
        await self.serve()
        await self.ask_for_f(method="HEAD")
        self.works("WORK_DATA {job}|one", "WORK_DATA {job}|two", "WORK_COMPLETE {job}|three")
        answer = await self.client.hears()
        self.assert_command(answer, 200, "WORK_COMPLETE")
        self.assertEqual((answer.headers["content-length"], self.client.received), ("11", b""))

    async def test_failure_after_data(self) -> None:
        """
        When a part of the result is sent and no more comes, the connection breaks off: no client takes it for the whole.
        """
        for last in ("WORK_FAIL {job}", "WORK_EXCEPTION {job}|why"):
            await self.serve()
            await self.ask_for_f()
            self.works("WORK_DATA {job}|one", last)
            heard = await self.client.ends()
            self.assertTrue(heard.endswith(b"\r\n\r\n3\r\none\r\n"), heard)
            await self.service.stopService()

    async def test_failure_after_data_to_1_0(self) -> None:
        """
        A client of HTTP/1.0 knows it from a connection that is reset instead of closed.
        """
        await self.serve()
        await self.ask_for_f(version="1.0")
        self.works("WORK_DATA {job}|one")
        await self.client.hears_bytes(b"one")
        self.works("WORK_FAIL {job}")
        self.assertEqual(await self.client.ends(), b"")
        assert self.client.lost is not None
        self.assertEqual(self.client.lost.type, ConnectionLost)

    async def test_worker_lost(self) -> None:
        """
        A job whose worker goes away is another worker's, and the request waits on.
        """
        await self.serve()
        await self.ask_for_f()
        self.jobs_worker.hangs_up()
        other = await self.worker("f")
        self.assertEqual((await self.grabs(other))[0], self.job)
        other.says(f"WORK_COMPLETE {self.job}|result")
        self.assertEqual((await self.client.hears()).body, b"result")

    async def test_bare_complete(self) -> None:
        """
        A result that Perl's worker sends as the bare handle is empty.
        """
        await self.serve()
        await self.ask_for_f()
        self.works("WORK_COMPLETE {job}")
        answer = await self.client.hears()
        self.assertEqual((answer.code, answer.body), (200, b""))
