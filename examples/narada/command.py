"""
The command line, which sets it all going.

The server and the workers are processes of their own.  This one keeps them
running, hands in the URL where the crawl begins, looks into the database until
all is done, and asks the search worker; it serves the small site and the page.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.server import Site

from examples.narada.documents import FAILED, INDEXED, LEFT_OUT, MARK_BEGIN, MARK_END, MOVED, Documents, Limits
from examples.narada.parsing import plain
from examples.narada.processes import Process, module, stop_all
from examples.narada.searchpage import SearchPage
from examples.narada.smallsite import SmallSite
from examples.narada.urls import BadURL, normal, unique_of
from examples.narada.workers import INSERT, SEARCH
from gearsvc.client import GearmanClient, GearmanError

HOST = "127.0.0.1"

QUERIES = ("nonprofit", "board", "oregon", "vegfest", "volunteer")
"""
What the talk searched for.
"""

SITE_PORT = 8046
"""
The port of the small site, if nobody has it: a database that is kept then knows the site again.
"""

PAGE_PORT = 8047

WORKERS = ("insert", "fetch-1", "fetch-2", "index", "search")

QUIET = 30.0
"""
After so many seconds in which nothing has happened, what is unfinished is handed in again.
"""

PATIENCE = 15.0
"""
How many seconds a search may take, and the server to start.
"""


class Stop(Exception):
    """
    It cannot go on; the message says why, and what to do.
    """


def say(name: str, text: str) -> None:
    """
    Print what somebody has to say.
    """
    print(f"{name:<9}{plain(text)}", flush=True)


def free_port(wanted: int) -> int:
    """
    A port on which nothing listens now.

    @param wanted: which; 0 is any.
    @raise Stop: if something does.
    """
    try:
        with socket.create_server((HOST, wanted)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise _taken(wanted, error, "--port") from None


def _taken(port: int, error: OSError, option: str) -> Stop:
    return Stop(f"port {port} cannot be had ({os.strerror(error.errno or 0)}); {option} takes another one")


class Narada:
    """
    All of it.

    @ivar status: the exit status.
    """

    def __init__(self, reactor: Any, arguments: argparse.Namespace, directory: Path) -> None:
        self.status = 1
        self._reactor = reactor
        self._arguments = arguments
        self._directory = directory
        self._documents = Documents(directory / "narada.db")
        self._client: GearmanClient | None = None
        self._server: Process | None = None
        self._workers: list[Process] = []
        self._stopping = False

    async def run(self) -> None:
        """
        Crawl, and answer; then, if that is wanted, go on serving.
        """
        try:
            start = self._start_site()
            page = self._start_page() if self._arguments.serve or self._arguments.serve_port else ""
            await self._start_processes()
            seconds = await self._crawl(start)
            self._report(seconds)
            print(flush=True)
            for query in self._arguments.query or QUERIES:
                await self._ask(query)
            self.status = 0
            if page:
                print(flush=True)
                say("page", f"{page} (Ctrl-C ends it)")
                return
        except (Stop, GearmanError) as error:
            if self._stopping:
                return
            self.complain(str(error))
        self._reactor.stop()

    def complain(self, text: str) -> None:
        """
        Say why it ends; and end.
        """
        print(f"narada: {text}", file=sys.stderr, flush=True)
        self.status = 1

    def _give_up(self, why: str) -> None:
        self.complain(why)
        if not self._stopping:
            self._reactor.stop()

    async def stop(self) -> None:
        """
        End everything: first the workers, which finish what they have begun, then the server.
        """
        self._stopping = True
        if self._server is not None:
            # If this was Ctrl-C, it ends by itself.
            self._server.let_end()
        await stop_all(self._workers)
        if self._client is not None:
            await self._client.close()
        if self._server is not None:
            await stop_all([self._server])
        self._documents.close()

    # What there is

    def _listen(self, resource: Any, port: int = 0) -> str:
        try:
            listening = self._reactor.listenTCP(port, Site(resource), interface=HOST)
        except CannotListenError as error:
            raise _taken(port, error.socketError, "--serve-port") from None
        return f"http://{HOST}:{listening.getHost().port}/"

    def _start_site(self) -> str:
        if self._arguments.site:
            say("site", self._arguments.site)
            return str(self._arguments.site)
        site = SmallSite()
        try:
            start = self._listen(site, SITE_PORT)
        except Stop:
            start = self._listen(site)
        say("site", f"{start} is the Willamette Greens', and served from here")
        return start

    def _start_page(self) -> str:
        page = self._listen(SearchPage(self._search, self._documents), self._arguments.serve_port or PAGE_PORT)
        say("page", page)
        return page

    async def _start_processes(self) -> None:
        port = free_port(self._arguments.port or 0)
        where = f"{HOST}:{port}"
        log = self._directory / "server.log"
        queue = self._directory / "queue.db"
        command = module(
            "gearsvc.cli", "serve", f"--port=tcp:{port}:interface={HOST}", "-q", "libsqlite3", "--libsqlite3-db", queue
        )
        self._server = Process(self._reactor, "server", command, say, self._give_up, log)
        self._server.start()
        await self._until_listening(port)
        say("server", f"listens at {where}, with its queue in {queue}")
        self._client = GearmanClient([where])
        for name in WORKERS:
            part = name.partition("-")[0]
            command = module("examples.narada.workers", part, "--server", where)
            command += ["--database", str(self._directory / "narada.db"), "--with-parent"]
            worker = Process(self._reactor, name, command, say, self._give_up)
            self._workers.append(worker)
            worker.start()

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds, lambda: None)

    async def _until_listening(self, port: int) -> None:
        endpoint = TCP4ClientEndpoint(self._reactor, HOST, port)
        deadline = time.monotonic() + PATIENCE
        while not self._stopping:
            try:
                connection: Any = await endpoint.connect(Factory.forProtocol(Protocol))
            except ConnectError:
                if time.monotonic() > deadline:
                    raise Stop(f"the server does not answer; its log is {self._directory / 'server.log'}") from None
                await self._sleep(0.05)
            else:
                connection.transport.loseConnection()
                return
        raise Stop("stopped")

    # The crawl

    async def _insert(self, url: str, level: int, **limits: object) -> None:
        assert self._client is not None
        workload = json.dumps({"url": url, "level": level, **limits})
        unique = unique_of(url, level, *limits.values())
        while not self._stopping:
            try:
                await self._client.submit(INSERT, workload, unique=unique, background=True)
            except GearmanError as error:
                say("narada", f"cannot submit, and will try again: {error}")
                await self._sleep(0.3)
            else:
                return

    async def _crawl(self, start: str) -> float:
        """
        @return: how many seconds it took.
        """
        given = self._arguments
        began = changed = time.monotonic()
        self._documents.set_limits(start, Limits(given.depth, given.pages, given.delay))
        await self._insert(start, 0, depth=given.depth, pages=given.pages, delay=given.delay)
        # What an earlier run has left.
        for url, level in self._documents.unfinished():
            await self._insert(url, level)
        counts = self._documents.counts()
        while self._documents.unfinished():
            await self._sleep(0.1)
            if self._stopping:
                raise Stop("stopped")
            before, counts = counts, self._documents.counts()
            if counts != before:
                changed = time.monotonic()
            elif time.monotonic() - changed > QUIET + given.delay:
                changed = time.monotonic()
                say("narada", f"nothing has happened for {QUIET + given.delay:.0f} seconds: what is unfinished is handed in again")
                for url, level in self._documents.unfinished():
                    await self._insert(url, level)
        return time.monotonic() - began

    def _report(self, seconds: float) -> None:
        counts = self._documents.counts()
        print(flush=True)
        say("narada", f"{counts[INDEXED]} documents are indexed, after {seconds:.1f} seconds")
        for state in (MOVED, LEFT_OUT, FAILED):
            for url, note in self._documents.urls(state):
                say(state, f"{url}, {note}")

    async def _search(self, query: str, limit: int, offset: int) -> dict[str, Any]:
        """
        @raise GearmanError: if no search worker answers.
        """
        assert self._client is not None
        workload = json.dumps({"query": query, "limit": limit, "offset": offset})
        found: dict[str, Any] = json.loads(await self._client.submit(SEARCH, workload, retries=2, timeout=PATIENCE))
        return found

    async def _ask(self, query: str) -> None:
        answer = await self._search(query, 3, 0)
        if "error" in answer:
            print(f"'{plain(query)}': {answer['error']}", flush=True)
            return
        total = answer["total"]
        print(f"{total} document{'s' if total != 1 else ''} matched '{plain(query)}'", flush=True)
        for each in answer["found"]:
            title = each["title"].replace(MARK_BEGIN, "").replace(MARK_END, "")
            print(f"    {plain(title) or '(no title)'}  {each['url']}", flush=True)


def _whole(least: int) -> Any:
    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= 1_000_000:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to 1000000")
        return int(text)

    return whole


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, from 0 to 3600")
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, from 1 to 65535")
    return int(text)


def _url(text: str) -> str:
    try:
        return normal(text)
    except BadURL as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """
    What the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="examples/narada/run",
        description="A search engine made of four Gearman workers: runs a job server and the workers, crawls a site, and"
        " answers queries.",
    )
    parser.add_argument("query", nargs="*", help=f"what to search for ({', '.join(QUERIES)})")
    parser.add_argument("--site", metavar="URL", type=_url, help="crawl this site instead of the small one that is served here")
    parser.add_argument("--depth", metavar="N", type=_whole(0), default=3, help="follow links so far from there (%(default)s)")
    parser.add_argument("--pages", metavar="N", type=_whole(1), default=100, help="request so many URLs at most (%(default)s)")
    parser.add_argument(
        "--delay",
        metavar="SECONDS",
        type=_seconds,
        help="pause between two requests (0.5, or what the site's robots.txt asks for if that is more; 0 for the small site)",
    )
    parser.add_argument("--serve", action="store_true", help=f"serve the page with the search, at port {PAGE_PORT}, until Ctrl-C")
    parser.add_argument("--serve-port", metavar="PORT", type=_port, help="do so at this port")
    parser.add_argument("--port", metavar="PORT", type=_port, help="the job server's port (a free one)")
    parser.add_argument("--directory", type=Path, help="keep queue, documents and index there (a directory that is removed in the end)")
    arguments = parser.parse_args(given)
    if arguments.delay is None:
        arguments.delay = 0.5 if arguments.site else 0.0
    return arguments


def main(given: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    @return: the exit status: 0 if the crawl came to its end and the queries were answered.
    """
    arguments = read_arguments(given)
    try:
        if arguments.directory:
            arguments.directory.mkdir(parents=True, exist_ok=True)
            directory = arguments.directory.resolve()
        else:
            directory = Path(tempfile.mkdtemp(prefix="narada-"))
    except OSError as error:
        print(f"narada: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        return _run(arguments, directory)
    finally:
        if not arguments.directory:
            shutil.rmtree(directory)


def _run(arguments: argparse.Namespace, directory: Path) -> int:
    from twisted.internet import reactor

    loop: Any = reactor
    narada = Narada(loop, arguments, directory)
    failed: list[Any] = []

    def fail(failure: Any) -> None:
        failed.append(failure)
        loop.stop()

    loop.callWhenRunning(lambda: Deferred.fromCoroutine(narada.run()).addErrback(fail))
    loop.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(narada.stop()))
    loop.run()
    if failed:
        failed[0].raiseException()
    return narada.status
