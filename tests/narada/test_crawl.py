"""
The whole of Narada, its parts as processes: a crawl, and what is left of one in
the middle of which a worker and the server are killed.

The site is this process's own, so that a test can hold an answer back until it
has done what it wants.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.server import Site

from examples.narada.smallsite import SmallSite
from tests.running import HOST, ROOT, free_port

ANSWERS = {"nonprofit": 1, "board": 2, "oregon": 5, "vegfest": 3, "volunteer": 7}
"""
What the talk's search worker printed.
"""

PAGES = """
/ /about.html /archive.html /board.html /calendar?month=1 /calendar?month=2 /discounts.html /events.html /history.txt
/join.html /library.html /mvp.html /news.html /potluck.html /recipes.html /recipes/fasolada.html /recipes/hachis.html
/recipes/hazelnut-loaf.html /recipes/miso.html /restaurants.html /seeds.html /subscribe.html /veg101.html /volunteer.html
/whyveg.html
""".split()
"""
What of the small site can be reached, at most three links away, and wants to be indexed.
"""

OTHERS = {
    "/about-round.html": "moved",
    "/gone.html": "failed",
    "/home.html": "moved",
    "/members.html": "left out",
    "/members.html?again": "left out",
    "/missing.html": "failed",
    "/old-news.html": "moved",
    "/partner": "moved",
    "/private/minutes.html": "left out",
    "/round.html": "moved",
}


def environment() -> dict[str, str]:
    """
    Of a process that imports what is here.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
    return {**clean, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


class Command(ProcessProtocol):
    """
    C{python -m examples.narada}, as it runs.

    @ivar ended: fires with its exit status.
    """

    def __init__(self, reactor: Any, *arguments: object) -> None:
        self.output = self.errors = ""
        self.ended: Deferred[int] = Deferred()
        # As in a terminal, Ctrl-C is for all of them, and nobody ignores it.
        command = ["/usr/bin/setsid", "env", "--default-signal=INT", sys.executable, "-m", "examples.narada", *map(str, arguments)]
        self._waiting: list[tuple[str, Deferred[re.Match[str]]]] = []
        self.process: Any = reactor.spawnProcess(self, command[0], command, env=environment(), path=str(ROOT))

    def outReceived(self, data: bytes) -> None:
        """
        Keep it, and look whether somebody waits for it.
        """
        self.output += data.decode()
        self._look()

    def errReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.errors += data.decode()

    def processEnded(self, reason: Any) -> None:
        """
        Say so.
        """
        self.ended.callback(0 if reason.check(ProcessDone) else reason.value.exitCode)
        for pattern, said in self._waiting:
            said.errback(AssertionError(f"it has ended before it said {pattern!r}:\n{self.output}{self.errors}"))

    def _look(self) -> None:
        for each in list(self._waiting):
            pattern, said = each
            if found := re.search(pattern, self.output, re.MULTILINE):
                self._waiting.remove(each)
                said.callback(found)

    def says(self, pattern: str) -> Deferred[re.Match[str]]:
        """
        @return: fires when its output matches.
        """
        said: Deferred[re.Match[str]] = Deferred()
        self._waiting.append((pattern, said))
        self._look()
        return said

    def pid(self, name: str) -> int:
        """
        The process id that a part of it had last.
        """
        return int(re.findall(rf"^{name} +runs as process (\d+)$", self.output, re.MULTILINE)[-1])


class Hold:
    """
    Holds back the answer to one path, once.

    @ivar asked: fires when it was asked for.
    @ivar answer: to be fired when it may be answered.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.asked: Deferred[None] = Deferred()
        self.answer: Deferred[None] = Deferred()

    def __call__(self, path: str) -> Deferred[None] | None:
        """
        Whether to hold it back.
        """
        if path != self.path or self.asked.called:
            return None
        self.asked.callback(None)
        return self.answer


class CrawlCase(TestCase):
    """
    Has a directory, and runs the command.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Make the directory.
        """
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(tempfile.mkdtemp(prefix="narada-test-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def command(self, *arguments: object) -> Command:
        """
        Run it; it is ended with the test.
        """
        command = Command(self.reactor, *arguments)

        async def end() -> None:
            if not command.ended.called:
                command.process.signalProcess("TERM")
                await command.ended

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        return command

    async def site(self, hold: Hold) -> tuple[SmallSite, str]:
        """
        Serve the small site.
        """
        site = SmallSite(hold)
        listening = self.reactor.listenTCP(0, Site(site), interface=HOST)
        self.addCleanup(listening.stopListening)
        return site, f"http://{HOST}:{listening.getHost().port}/"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """
        What the database says.
        """
        connection = sqlite3.connect(self.directory / "narada.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def assert_complete(self, command: Command) -> None:
        """
        Every page is indexed once, the rest is what it should be, and the queries found what they should.
        """
        paths = sorted(
            split.path + ("?" + split.query if split.query else "")
            for split in (urlsplit(url) for (url,) in self.rows("SELECT url FROM url JOIN document_index_docsize USING (id)"))
        )
        self.assertEqual(paths, sorted(PAGES))
        # FTS5 compares the index with the pages' texts, word by word.
        self.rows("INSERT INTO document_index (document_index, rank) VALUES ('integrity-check', 1)")
        states = {re.sub(r"^http://[^/]+", "", url): state for url, state in self.rows("SELECT url, state FROM url")}
        self.assertEqual(states, {**OTHERS, **dict.fromkeys(PAGES, "indexed")})
        found = dict((query, int(count)) for count, query in re.findall(r"^(\d+) documents? matched '(\w+)'$", command.output, re.MULTILINE))
        self.assertEqual(found, ANSWERS)


class CrawlTests(CrawlCase):
    """
    The command.
    """

    def test_without_twisted(self) -> None:
        """
        A Python without Twisted is told where there is one, in a line.
        """
        done = subprocess.run([sys.executable, "-S", "-m", "examples.narada"], cwd=ROOT, env=environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\Anarada: this Python has no Twisted; .*\n\Z")

    async def test_small_site(self) -> None:
        """
        Without any argument it crawls its own site, requesting each URL once, and finds what the talk found.
        """
        command = self.command("--directory", self.directory)
        self.assertEqual(await command.ended, 0, command.output + command.errors)
        self.assertEqual(command.errors, "")
        self.assert_complete(command)
        self.assert_shown(command.output)
        fetched = Counter(re.findall(r"^fetch-\d  (\S+): ", command.output, re.MULTILINE))
        self.assertEqual(set(fetched.values()), {1})
        self.assertEqual(len(fetched), len(PAGES) + len(OTHERS))

    def assert_shown(self, output: str) -> None:
        """
        What docs/narada.md shows is what comes.
        """
        [shown] = re.findall(r"^```console\n\$ examples/narada/run\n((?s:.+?))^```$", (ROOT / "docs/narada.md").read_text(), re.MULTILINE)

        def varying(text: str) -> list[str]:
            text = re.sub(r"(?<!month=)(?<=[: ])\d+(?=/|,| pages?|\n)|\d\.\d (?=seconds)", "<number>", text)
            # Which of the two fetches what, only they know.
            return re.sub(r" /\S+/", " <path>", re.sub("^fetch-[12]", "fetch", text, flags=re.MULTILINE)).splitlines()

        lines = varying(output)
        for line in varying(shown):
            if line != "...":
                self.assertIn(line, lines)

    async def test_ports_that_are_taken(self) -> None:
        """
        A port that somebody else has is one line, and nobody's server is taken for its own.
        """
        with socket.create_server((HOST, 0)) as other:
            port = other.getsockname()[1]
            for option in ("--port", "--serve-port"):
                command = self.command("--directory", self.directory, option, port)
                self.assertEqual(await command.ended, 1)
                self.assertEqual(command.errors, f"narada: port {port} cannot be had (Address already in use); {option} takes another one\n")
                self.assertNotIn("runs as process", command.output)

    async def test_interrupted(self) -> None:
        """
        With a page, it goes on until Ctrl-C, of which all of its processes end, and none is started again.
        """
        port = free_port()
        command = self.command("--directory", self.directory, "--serve-port", port, "hazel*")
        await command.says(rf"^page +http://127.0.0.1:{port}/ \(Ctrl-C ends it\)$")
        page = await readBody(await Agent(self.reactor).request(b"GET", f"http://{HOST}:{port}/?q=nonprofit".encode()))
        self.assertIn(b"1 document matched", page)
        self.assertIn(b"Board of directors", page)
        os.killpg(command.process.pid, signal.SIGINT)
        self.assertEqual(await command.ended, 0, command.output + command.errors)
        self.assertNotIn("started again", command.output)
        self.assertEqual(command.errors, "")
        for name in ("server", "insert", "fetch-1", "fetch-2", "index", "search"):
            with self.assertRaises(ProcessLookupError):
                os.kill(command.pid(name), 0)

    async def test_killed_in_the_middle(self) -> None:
        """
        A worker that waits for a page is killed, and so is the server, which then finds its queue again: the index is that
        of a crawl in which nothing was killed, and no page was requested again but the one that was being waited for.
        """
        hold = Hold("/events.html")
        site, start = await self.site(hold)
        command = self.command("--site", start, "--delay", 0, "--directory", self.directory)
        await hold.asked
        # Whichever of the two it is that waits for it; the other one cannot do without the server.
        for name in ("fetch-1", "fetch-2", "server"):
            os.kill(command.pid(name), signal.SIGKILL)
        await command.says(r"^server +was ended by signal 9; it is started again(?s:.*)^server +runs")
        await command.says(r"^fetch-1 +was ended by signal 9; it is started again(?s:.*)^fetch-1 +runs")
        unfinished = self.rows("SELECT count(*) FROM url WHERE state IN ('waiting', 'running', 'fetched')")
        self.assertGreater(unfinished[0][0], 0)
        hold.answer.callback(None)
        self.assertEqual(await command.ended, 0, command.output + command.errors)
        self.assert_complete(command)
        self.assertNotIn("handed in again", command.output)
        twice = {path for path, count in Counter(site.requests).items() if count > 1}
        self.assertIn("/events.html", twice)
        # The other worker was in the middle of one, too, and a page that is busy is asked for until it is not.
        self.assertLessEqual(len(twice - {"/events.html", "/seeds.html", "/robots.txt"}), 1)
