"""
Who may see the console, and who may change something.
"""

from __future__ import annotations

import os
from typing import Any
from unittest import TestCase as PlainTestCase

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.test.requesthelper import DummyRequest

from gearsvc.config import Settings
from gearsvc.console import safety, site
from gearsvc.console.login import local_path
from gearsvc.console.safety import Guard, Role, is_loopback, read_tokens
from gearsvc.console.site import ConsoleSettings
from gearsvc.options import SettingsError
from gearsvc.service import JobServerService
from tests.commands import TWISTD_GEARMAN, CommandCase
from tests.consoleweb.case import Answer, ConsoleCase

VIEWER = "viewer-token-0123456789"
OPERATOR = "operator-token-0123456789"

CHANGES = (
    ("POST", "/api/v1/functions/f/pause", None),
    ("POST", "/api/v1/functions/f/resume", None),
    ("PUT", "/api/v1/functions/f/limits", {"high": 0, "normal": 0, "low": 0}),
    ("PUT", "/api/v1/functions/f/draining", {"draining": False}),
    ("POST", "/api/v1/functions/f/clear", {"confirm": "f"}),
    ("POST", "/api/v1/functions/f/drop", {"confirm": "f"}),
    ("POST", "/api/v1/functions/f/jobs", {"background": True}),
    ("POST", "/api/v1/jobs/cancel", {"handles": ["H:1"]}),
    ("POST", "/api/v1/jobs/H:1/cancel", None),
    ("POST", "/api/v1/drain", {"confirm": "drain"}),
    ("POST", "/anything/else", None),
    ("DELETE", "/metrics", None),
)


class TokenFileTests(SynchronousTestCase):
    """
    The token file.
    """

    def write(self, text: str | bytes, mode: int = 0o600) -> str:
        """
        Write one.

        @return: its path.
        """
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def refused(self, path: str) -> str:
        """
        What is said of one that is wrong.
        """
        message = str(self.assertRaises(SettingsError, read_tokens, path))
        self.assertTrue(message.startswith(f"--console-token-file {path}"), message)
        self.assertNotIn("\n", message)
        return message.removeprefix(f"--console-token-file {path}")

    def test_read(self) -> None:
        """
        Each line gives somebody a token; comments and empty lines are skipped.
        """
        path = self.write(f"# who may what\n\nviewer {VIEWER}\n  operator\t{OPERATOR}  \n")
        guard = Guard(read_tokens(path), (), lambda: 0.0)
        self.assertEqual(guard.role_of(VIEWER.encode()), Role.VIEWER)
        self.assertEqual(guard.role_of(OPERATOR.encode()), Role.OPERATOR)
        for other in (b"", b"viewer", VIEWER[:-1].encode(), VIEWER.encode() + b" ", b"# who may what"):
            self.assertEqual(guard.role_of(other), Role.NOBODY)

    def test_hashes(self) -> None:
        """
        The tokens themselves are not kept.
        """
        tokens = read_tokens(self.write(f"viewer {VIEWER}\n"))
        self.assertNotIn(VIEWER, repr(tokens))

    def test_mode(self) -> None:
        """
        One that everybody can read or write is refused; the group may read it.
        """
        for mode in (0o604, 0o602, 0o644, 0o666):
            self.assertIn("everybody on this machine can read or write it; run: chmod o=", self.refused(self.write("", mode)))
        self.assertEqual(len(read_tokens(self.write(f"viewer {VIEWER}\n", 0o640))), 1)

    def test_wrong_lines(self) -> None:
        """
        A line that is wrong is named by its number, and no token is told.
        """
        for line, reason in (
            (OPERATOR, "must be 'viewer TOKEN' or 'operator TOKEN'"),
            (f"admin {OPERATOR}", "must be 'viewer TOKEN' or 'operator TOKEN'"),
            (f"operator {OPERATOR} # mine", "must be 'viewer TOKEN' or 'operator TOKEN'"),
            ("operator", "must be 'viewer TOKEN' or 'operator TOKEN'"),
            ("operator secret", "the token must have at least 16 letters"),
            ("operator sécret-sécret-sécret", "the token must have at least 16 letters"),
            (f"operator {VIEWER}", "a viewer and an operator have the same token"),
        ):
            message = self.refused(self.write(f"# first\nviewer {VIEWER}\n{line}\n"))
            self.assertTrue(message.startswith(f", line 3: {reason}"), message)
            self.assertNotIn("secret", message)
            self.assertNotIn(OPERATOR, message)

    def test_no_file(self) -> None:
        """
        What is no file, no text, or holds no token is refused.
        """
        self.assertEqual(self.refused("/nowhere/at/all"), ": No such file or directory")
        self.assertEqual(self.refused("/dev/null"), ": it is no file")
        self.assertEqual(self.refused("/"), ": Is a directory")
        self.assertEqual(self.refused(self.write(b"\xff\xfe")), ": it is no text")
        self.assertIn("it holds no token", self.refused(self.write("# none yet\n")))


class ListeningTests(SynchronousTestCase):
    """
    Where the console may listen.
    """

    def make(self, **options: Any) -> JobServerService:
        """
        Make a server with a console.
        """
        settings = Settings(port=("tcp:0:interface=127.0.0.1",), protocol=("console",), plugin_options=options)
        return JobServerService(settings)

    def test_beyond(self) -> None:
        """
        Without tokens, it does not listen where others could reach it; the line says how to go on.
        """
        for options in (
            {"console-listen": ("0.0.0.0",)},
            {"console-listen": ("::",)},
            {"console-listen": ("127.0.0.1", "192.0.2.1")},
            {"console-listen": ("console.example",)},
            {"console-port": ("tcp:4780",)},
            {"console-port": ("tcp:port=4780",)},
            {"console-port": ("tcp6:4780",)},
            {"console-port": ("tcp:4780:interface=0.0.0.0",)},
            {"console-port": ("tcp6:4780:interface=\\:\\:",)},
            {"console-port": ("4780", "tcp:4781:backlog=10:interface=192.0.2.1")},
        ):
            message = str(self.assertRaises(SettingsError, self.make, **options))
            self.assertIn("let everybody who reaches it change everything; give --console-token-file a file", message)
            self.assertNotIn("\n", message)

    def test_loopback(self) -> None:
        """
        On this machine alone, it does.
        """
        for options in (
            {},
            {"console-port": ("4799",)},
            {"console-listen": ("127.0.0.1", "::1", "localhost", "127.8.8.8")},
            {"console-port": ("tcp:4780:interface=127.0.0.1", "tcp6:4780:interface=\\:\\:1", "unix:/run/console.sock")},
        ):
            self.make(**options)

    def test_addresses(self) -> None:
        """
        What is an address of this machine alone.
        """
        for host in ("127.0.0.1", "127.255.0.1", "::1", "localhost", "::1%lo"):
            self.assertTrue(is_loopback(host), host)
        for host in ("", "0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "localhost.example", "1"):
            self.assertFalse(is_loopback(host), host)

    def test_tokens(self) -> None:
        """
        With tokens, it listens anywhere.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(f"operator {OPERATOR}\n")
        os.chmod(path, 0o600)
        self.make(**{"console-listen": ("0.0.0.0",), "console-token-file": path})


class StartTests(ConsoleCase):
    """
    What shows only when it listens.
    """

    async def test_open_to_others(self) -> None:
        """
        What turns out to be reached from elsewhere when it is open is closed again, and the server does not start.
        """
        console = self.make_with_console()._protocols[0]
        console.settings = ConsoleSettings(ports=("tcp:0:interface=0.0.0.0",))
        problem = self.assertRaises(SettingsError, console.startService)
        self.assertIn("the console would listen at 0.0.0.0", str(problem))
        self.assertFalse(console.running)
        await self.turns()

    async def test_port_taken(self) -> None:
        """
        A port that is taken ends the start with one line that names it.
        """
        port = self.reactor.listenTCP(0, site.Site(site.Resource()), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        service = self.make_with_console(console_port=(str(port.getHost().port),))
        service.startService()
        problem = await self.assertFailure(service.when_ready(), SettingsError)
        self.assertEqual(
            str(problem),
            f"--console-port: cannot listen on 127.0.0.1:{port.getHost().port}: Address already in use; choose another --console-port",
        )
        self.events.clear()

    async def test_unix_socket(self) -> None:
        """
        It can be at a Unix socket, for a proxy on this machine.
        """
        path = self.socket_path()
        await self.open(console_port=("0", f"unix:{path}"))
        self.assertTrue(path.exists())
        self.assertEqual((await self.get("/overview")).status, 200)

    async def test_stops(self) -> None:
        """
        When the server stops, connections to the console are closed, and nothing of it is left.
        """
        await self.open()
        stream = await self.connect(description=f"tcp:127.0.0.1:{self.port}")
        stream.transport.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle = await self.connect(description=f"tcp:127.0.0.1:{self.port}")
        waiting = Deferred.fromCoroutine(self.post("/functions/f/jobs", {}))
        await self.until(lambda: len(self.service.job_server.jobs) == 1)
        await self.service.stopService()
        await self.until(lambda: stream.lost is not None and idle.lost is not None)
        self.assertEqual(self.service.job_server.observers._observers, [])
        await self.assertFailure(waiting, ResponseNeverReceived)


class CommandTests(CommandCase):
    """
    The console's options on the command line.
    """

    def test_refused(self) -> None:
        """
        A console that everybody could use does not start: one line, and status 1.
        """
        done = self.run_command(*TWISTD_GEARMAN, self.at, "-r", "console", "--console-listen", "0.0.0.0")
        self.assertEqual(done.returncode, 1)
        (line,) = done.stderr.splitlines()
        self.assertIn("the console would listen at 0.0.0.0", line)
        self.assertIn("--console-token-file", line)

    def test_bad_token_file(self) -> None:
        """
        So with a token file that is wrong.
        """
        done = self.run_command(*TWISTD_GEARMAN, self.at, "-r", "console", "--console-token-file", "/nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.splitlines(), ["twistd gearman: --console-token-file /nowhere: No such file or directory"])

    def test_checked(self) -> None:
        """
        C{--check-args} sees it as well, and passes what is right.
        """
        command = [*TWISTD_GEARMAN, "--check-args", "-r", "console"]
        self.assertEqual(self.run_command(*command).returncode, 0)
        self.assertEqual(self.run_command(*command, "--console-listen", "::").returncode, 1)

    def test_help(self) -> None:
        """
        C{--help} shows its options.
        """
        told = self.run_command(*TWISTD_GEARMAN, "--help").stdout
        for option in ("port", "listen", "host", "token-file", "payload-bytes", "mask-payloads"):
            self.assertIn(f"--console-{option}", told)
        self.assertIn("--history=N", told)


class HeaderTests(ConsoleCase):
    """
    What every answer says.
    """

    async def test_headers(self) -> None:
        """
        Nothing may frame it, keep it, guess at its type, or run a script that is not the console's: found or not.
        """
        await self.open()
        for path in ("/api/v1/overview", "/api/v1/nothing", "/nothing", "/healthz", "/metrics", "/login", "/api/v1/openapi.json"):
            headers = (await self.ask("GET", path)).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            self.assertEqual((policy["default-src"], policy["frame-ancestors"], policy["base-uri"]), ("'none'",) * 3)
            self.assertEqual((policy["script-src"], policy["style-src"], policy["form-action"]), ("'self'",) * 3)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["cache-control"], "no-store")
            self.assertEqual(headers["x-frame-options"], "DENY")
            self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")
            self.assertNotIn("TwistedWeb", headers["server"])

    async def test_no_cors(self) -> None:
        """
        No page from elsewhere is allowed to read an answer.
        """
        await self.open()
        answer = await self.get("/overview", Origin="http://evil.example")
        self.assertFalse([name for name in answer.headers if name.startswith("access-control")])


class HostTests(ConsoleCase):
    """
    Names that were made to point at this machine.
    """

    async def told(self, host: str) -> bytes:
        """
        The status line of the answer to a name.
        """
        request = f"GET /api/v1/overview HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        return (await self.raw(request.encode())).split(b"\r\n")[0]

    async def test_names(self) -> None:
        """
        Without tokens, it answers to this machine's names and to numbers, and to no other.
        """
        await self.open(console_host=("Console.Example",))
        for host in ("localhost", "LOCALHOST:4780", "127.0.0.1", "127.0.0.1:80", "[::1]:4780", "192.0.2.7", "console.example:443", ""):
            self.assertEqual(await self.told(host), b"HTTP/1.1 200 OK", host)
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:4780", "console.example.evil", "[evil]", "a b"):
            self.assertEqual(await self.told(host), b"HTTP/1.1 421 Misdirected Request", host)

    async def test_sentence(self) -> None:
        """
        The answer says what to do, and shows the name harmlessly.
        """
        await self.open()
        answer = await self.raw(b"GET / HTTP/1.1\r\nHost: \xff<script>\r\nConnection: close\r\n\r\n")
        self.assertIn(b"use localhost, or start the server with --console-host NAME", answer)
        self.assertIn(b"Content-Type: text/plain; charset=utf-8", answer)

    async def test_twice(self) -> None:
        """
        Two names are none.
        """
        await self.open()
        answer = await self.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        self.assertIn(b"421", answer.split(b"\r\n")[0])


class OriginTests(ConsoleCase):
    """
    Pages from elsewhere that want to change something.
    """

    async def changes(self, **headers: str) -> int:
        """
        The status of the answer to a change.
        """
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.ask("POST", "/api/v1/functions/f/resume", None, names)
        if answer.status == 403:
            self.assertIn("has to come from a page of the console's", answer.detail)
        return answer.status

    async def test_origins(self) -> None:
        """
        A change comes from a page of the console's or from no page.
        """
        await self.open()
        self.service.job_server.create_function(b"f")
        here = f"127.0.0.1:{self.port}"
        for headers in (
            {},
            {"Sec_Fetch_Site": "same-origin"},
            {"Sec_Fetch_Site": "none"},
            {"Origin": f"http://{here}"},
            {"Origin": f"https://{here}"},
            {"Referer": f"http://{here}/functions/f"},
        ):
            self.assertEqual(await self.changes(**headers), 200, headers)
        for headers in (
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site", "Origin": f"http://{here}"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{self.port + 1}"},
            {"Origin": f"http://{here}.evil.example"},
            {"Origin": "http://localhost"},
            {"Referer": "http://evil.example/?" + here},
            {"Referer": f"http://evil.example@{here}.evil.example/"},
        ):
            self.assertEqual(await self.changes(**headers), 403, headers)

    async def test_everything(self) -> None:
        """
        That goes for everything that changes something, known or not, logging in and out too.
        """
        await self.open()
        self.service.job_server.create_function(b"f")
        for method, path, body in (*CHANGES, ("POST", "/login", None), ("POST", "/logout", None)):
            answer = await self.ask(method, path, body, {"Origin": "http://evil.example"})
            self.assertEqual(answer.status, 403, path)
        self.assertEqual(list(self.service.job_server.functions), [b"f"])

    async def test_reading(self) -> None:
        """
        A link from elsewhere may lead to the console.
        """
        await self.open()
        self.assertEqual((await self.get("/overview", **{"Sec-Fetch-Site": "cross-site"})).status, 200)


class TokenTests(ConsoleCase):
    """
    A console with tokens.
    """

    async def open_with_tokens(self, **options: Any) -> None:
        """
        Start it.
        """
        path = self.directory() / "tokens"
        path.write_text(f"viewer {VIEWER}\noperator {OPERATOR}\n")
        path.chmod(0o600)
        await self.open(console_token_file=str(path), **options)
        self.service.job_server.create_function(b"f")

    async def as_role(self, token: str, method: str, path: str, body: Any = None) -> Answer:
        """
        Ask with a token.
        """
        return await self.ask(method, path, body, {"Authorization": f"Bearer {token}"})

    async def log_in(self, token: str, next: str = "") -> Answer:
        """
        Fill in the login page.
        """
        body = f"token={token}" + (f"&next={next}" if next else "")
        return await self.ask("POST", "/login", body.encode(), kind="application/x-www-form-urlencoded")

    async def cookie(self, token: str) -> str:
        """
        The cookie of a login.
        """
        return (await self.log_in(token)).headers["set-cookie"].split(";")[0]

    async def test_nobody(self) -> None:
        """
        Without a token, nothing is seen but health and the login page.
        """
        await self.open_with_tokens()
        for path in ("/api/v1/overview", "/api/v1/openapi.json", "/metrics", "/events", "/", "/functions", "/logout", "/healthz/", "//healthz"):
            answer = await self.ask("GET", path)
            self.assertEqual((answer.status, answer.headers["www-authenticate"]), (401, 'Bearer realm="gearsvc"'), path)
        for path in ("/healthz", "/readyz", "/login"):
            self.assertEqual((await self.ask("GET", path)).status, 200, path)
        self.assertIn("Authorization: Bearer TOKEN", (await self.get("/overview")).detail)

    async def test_wrong_tokens(self) -> None:
        """
        A wrong token is none, however it is sent.
        """
        await self.open_with_tokens()
        for value in (
            f"Bearer {VIEWER}x",
            "Bearer ",
            "Bearer",
            f"Basic {VIEWER}",
            VIEWER,
            f"Bearer {VIEWER} {OPERATOR}",
            "Bearer " + "x" * 8000,
        ):
            self.assertEqual((await self.get("/overview", Authorization=value)).status, 401, value[:40])
        self.assertEqual((await self.get(f"/overview?token={OPERATOR}")).status, 401)

    async def test_viewer(self) -> None:
        """
        A viewer sees everything, and changes nothing.
        """
        await self.open_with_tokens()
        for path in ("/api/v1/overview", "/metrics", "/api/v1/jobs", "/api/v1/openapi.json"):
            self.assertEqual((await self.as_role(VIEWER, "GET", path)).status, 200, path)
        for method, path, body in CHANGES:
            answer = await self.as_role(VIEWER, method, path, body)
            self.assertEqual(answer.status, 403, path)
        self.assertIn("use an operator's token", (await self.as_role(VIEWER, "POST", "/api/v1/drain", {"confirm": "drain"})).detail)
        self.assertEqual((list(self.service.job_server.functions), self.service.job_server.jobs), ([b"f"], {}))

    async def test_operator(self) -> None:
        """
        An operator changes things.
        """
        await self.open_with_tokens()
        self.assertEqual((await self.as_role(OPERATOR, "POST", "/api/v1/functions/f/pause")).status, 200)
        self.assertTrue(self.service.job_server.functions[b"f"].paused)

    async def test_login(self) -> None:
        """
        The login page gives a cookie that no script can read, that no other site's page sends, and that is not the token.
        """
        await self.open_with_tokens()
        answer = await self.log_in(VIEWER, "/functions/f")
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/functions/f"))
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
            self.assertIn(part, cookie)
        self.assertNotIn(VIEWER, cookie)
        self.assertNotIn("Domain", cookie)
        other = await self.cookie(VIEWER)
        self.assertNotEqual(cookie.split(";")[0], other)
        for each in (cookie.split(";")[0], other):
            self.assertEqual((await self.get("/overview", Cookie=each)).status, 200)

    async def test_wrong_login(self) -> None:
        """
        A wrong token gets the page again, with a sentence, and no cookie.
        """
        await self.open_with_tokens()
        for token in ("", "wrong", VIEWER[:-1]):
            answer = await self.log_in(token)
            self.assertEqual(answer.status, 403)
            self.assertIn(b"This is none of the console's tokens.", answer.body)
            self.assertNotIn("set-cookie", answer.headers)

    async def test_cookie_roles(self) -> None:
        """
        A cookie lets do what its token does; a change needs to come from a page of the console's, and to say so.
        """
        await self.open_with_tokens()
        viewer, operator = await self.cookie(VIEWER), await self.cookie(OPERATOR)
        path = "/api/v1/functions/f/resume"
        same = {"Sec-Fetch-Site": "same-origin"}
        self.assertEqual((await self.ask("POST", path, None, {"Cookie": viewer, **same})).status, 403)
        self.assertEqual((await self.ask("POST", path, None, {"Cookie": operator, **same})).status, 200)
        self.assertEqual((await self.ask("POST", path, None, {"Cookie": operator})).status, 403)
        self.assertEqual((await self.ask("POST", path, None, {"Cookie": operator, "Sec-Fetch-Site": "cross-site"})).status, 403)

    async def test_forged_cookies(self) -> None:
        """
        A cookie that the console did not give is none.
        """
        await self.open_with_tokens()
        name, _, value = (await self.cookie(OPERATOR)).partition("=")
        for forged in (f"{name}=", f"{name}={value[:-1]}", f"{name}={OPERATOR}", f"x{name}={value}", "a" * 5000):
            self.assertEqual((await self.get("/overview", Cookie=forged)).status, 401, forged)

    async def test_logout(self) -> None:
        """
        Logging out ends the session, wherever else the cookie is; a viewer may.
        """
        await self.open_with_tokens()
        cookie = await self.cookie(VIEWER)
        answer = await self.ask("POST", "/logout", None, {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login"))
        self.assertIn("Max-Age=0", answer.headers["set-cookie"])
        self.assertEqual((await self.get("/overview", Cookie=cookie)).status, 401)

    async def test_browser(self) -> None:
        """
        A browser that asks for a page is led to the login page, and from there to what it wanted.
        """
        await self.open_with_tokens()
        answer = await self.ask("GET", "/functions/a%20b?x=1&y=2", headers={"Accept": "text/html,*/*"})
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login?next=%2Ffunctions%2Fa%2520b%3Fx%3D1%26y%3D2"))
        page = await self.ask("GET", answer.headers["location"])
        self.assertIn(b'value="/functions/a%20b?x=1&amp;y=2"', page.body)
        self.assertEqual(page.headers["content-type"], "text/html; charset=utf-8")

    async def test_no_script_in_login(self) -> None:
        """
        What the address of the login page holds is no markup in it.
        """
        await self.open_with_tokens()
        page = await self.ask("GET", '/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E')
        self.assertNotIn(b"<script", page.body)
        page = await self.ask("GET", "/login?next=%22%3E")
        self.assertIn(b'name="next" value="/"', page.body)

    async def test_without_host_check(self) -> None:
        """
        With tokens, a proxy may call the console what it likes.
        """
        await self.open_with_tokens()
        answer = await self.raw(b"GET /healthz HTTP/1.1\r\nHost: console.example\r\nConnection: close\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"))

    async def test_large_bodies(self) -> None:
        """
        Who may change nothing may not send much.
        """
        await self.open_with_tokens()
        answer = await self.as_role(VIEWER, "POST", "/api/v1/functions/f/jobs", b"x" * (site.MAX_FORM + 1))
        self.assertEqual(answer.status, 403)
        self.assertEqual((await self.log_in("x" * site.MAX_FORM)).status, 413)


class SessionTests(PlainTestCase):
    """
    Logins, with a clock of their own.
    """

    def setUp(self) -> None:
        """
        Somebody can log in.
        """
        self.now = 0.0
        self.guard = Guard({safety._hash(VIEWER.encode()): Role.VIEWER}, (), lambda: self.now)

    def request(self, cookie: bytes = b"") -> Any:
        """
        A request, perhaps with a cookie.
        """
        request: Any = DummyRequest([b""])
        request.isSecure = lambda: False
        request.given = []
        request.addCookie = lambda name, value, **more: request.given.append(value)
        request.getCookie = lambda name: cookie
        return request

    def log_in(self) -> bytes:
        """
        Log in.

        @return: the cookie's value.
        """
        request = self.request()
        self.assertEqual(self.guard.log_in(request, VIEWER.encode()), Role.VIEWER)
        (cookie,) = request.given
        assert isinstance(cookie, bytes)
        return cookie

    def test_ends(self) -> None:
        """
        A login ends by itself.
        """
        cookie = self.log_in()
        self.now = safety.SESSION_SECONDS - 1
        self.assertEqual(self.guard.role(self.request(cookie)), Role.VIEWER)
        self.now = safety.SESSION_SECONDS
        self.assertEqual(self.guard.role(self.request(cookie)), Role.NOBODY)

    def test_bounded(self) -> None:
        """
        There are not more than so many: the oldest ends.
        """
        first, *_, last = [self.log_in() for _ in range(safety.MAX_SESSIONS + 1)]
        self.assertEqual(len(self.guard._sessions), safety.MAX_SESSIONS)
        self.assertEqual(self.guard.role(self.request(first)), Role.NOBODY)
        self.assertEqual(self.guard.role(self.request(last)), Role.VIEWER)

    def test_forgotten(self) -> None:
        """
        Those that have ended are forgotten at the next login.
        """
        for _ in range(10):
            self.log_in()
        self.now = safety.SESSION_SECONDS
        self.log_in()
        self.assertEqual(len(self.guard._sessions), 1)

    def test_kept_as_hashes(self) -> None:
        """
        The cookies themselves are not kept.
        """
        cookie = self.log_in()
        self.assertNotIn(cookie, repr(self.guard._sessions).encode())


class NextTests(PlainTestCase):
    """
    Where a login leads.
    """

    def test_here(self) -> None:
        """
        It leads to a path of this server's.
        """
        for path in (b"/", b"/functions/f?x=1#y", b"/a%20b"):
            self.assertEqual(local_path(path), path)

    def test_elsewhere(self) -> None:
        """
        It leads nowhere else, and can't be made to say more in the answer's head.
        """
        for path in (
            b"",
            b"http://evil.example/",
            b"//evil.example",
            b"/\\evil.example",
            b"javascript:alert(1)",
            b"/a\r\nSet-Cookie: a=b",
            b"/\xff",
            b"/a b",
            b"/" + b"x" * 3000,
        ):
            self.assertEqual(local_path(path), b"/")


class LimitTests(ConsoleCase):
    """
    What one connection, or many, may take of the server.
    """

    async def test_large(self) -> None:
        """
        A body that is too large is refused with its limit, and not kept, whether its length was told or not.
        """
        self.patch(site, "MAX_BODY", 100_000)
        await self.open()
        answer = await self.ask("POST", "/api/v1/functions/f/jobs?background=true", b"x" * 100_001, kind="application/octet-stream")
        self.assertEqual((answer.status, "100,000 bytes" in answer.detail), (413, True))
        body = b"".join(b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000) for _ in range(3)) + b"0\r\n\r\n"
        head = (
            b"POST /api/v1/functions/f/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.assertTrue((await self.raw(head + body)).startswith(b"HTTP/1.1 413 "))
        self.assertEqual(self.service.job_server.functions, {})
        answer = await self.ask("POST", "/api/v1/functions/f/jobs?background=true", b"x" * 100_000, kind="application/octet-stream")
        self.assertEqual(answer.status, 200)

    async def test_endless(self) -> None:
        """
        A body that does not end costs its connection.
        """
        self.patch(site, "MAX_BODY", 10_000)
        await self.open()
        head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(await self.raw(head + b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)), b"")

    async def test_long_line(self) -> None:
        """
        A path that is too long is refused with its limit.
        """
        await self.open()
        answer = await self.raw(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 431 "), answer[:100])
        self.assertIn(b"a line may have 16384 bytes", answer)

    async def test_connections(self) -> None:
        """
        There are not more than so many connections.
        """
        self.patch(site, "MAX_CONNECTIONS", 3)
        await self.open()
        some = [await self.connect(description=f"tcp:127.0.0.1:{self.port}") for _ in range(3)]
        more = await self.connect(description=f"tcp:127.0.0.1:{self.port}")
        await self.until(lambda: more.lost is not None)
        self.assertEqual([each.lost for each in some], [None] * 3)
        some[0].hangs_up()
        await self.until(lambda: len(self.console._connections.protocols) == 2)
        self.assertEqual((await self.get("/overview")).status, 200)

    async def test_paths(self) -> None:
        """
        No path leads to what it does not name.
        """
        await self.open()
        for path in (
            "/../api/v1/overview",
            "/api/v1/../../etc/passwd",
            "/api//v1/overview",
            "/api/v1//overview",
            "/api/v1/overview/",
            "/api/v1/overview/x",
            "/api/v1/%6fverview%00",
            "/api/v2/overview",
            "/api",
            "/API/V1/overview",
            "/metrics/x/..",
        ):
            answer = await self.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            self.assertIn(b" 404 " if path != "/metrics/x/.." else b" ", answer.split(b"\r\n")[0], path)
            self.assertNotIn(b"root:", answer)

