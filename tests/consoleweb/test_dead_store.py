"""
What the console says while the store is down, before the server serves, and when it is about to end: of a real server with
a real database.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from gearsvc.stores.memory import MemoryStore
from tests.consoleweb.case import ConsoleCase
from tests.consoleweb.remote import RemoteConsole
from tests.running import HOST, PATIENCE, start_server
from tests.servers import Redis
from tests.stores.takeover import Peer, Refused


class DeadStoreTests(SynchronousTestCase):
    """
    A Redis that ends, and comes back.
    """

    def test_ends_and_comes_back(self) -> None:
        """
        While the store is down the server is alive and not ready, says why, and counts what it refuses; once a job can be
        stored it is ready again.  With C{-r} given twice, there is HTTP beside the console.
        """
        store = Redis()
        self.addCleanup(store.end)
        store.start()
        console = RemoteConsole()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            http = probe.getsockname()[1]
        options = ["-q", "redis", "--redis-port", str(store.port), "-r", "http", "--http-port", f"tcp:{http}:interface={HOST}"]
        server = start_server(*options, *console.options, directory=directory, kind="gearsvc")
        self.addCleanup(lambda: server.running and server.kill())
        socket.create_connection((HOST, http), PATIENCE).close()
        self.assertEqual(console.status("/readyz"), (200, "ready\n"))
        client = Peer(server)
        self.addCleanup(client.close)
        client.submit(Type.SUBMIT_JOB_BG, b"f", b"", b"x")

        store.kill()
        with self.assertRaises(Refused):
            client.submit(Type.SUBMIT_JOB_BG, b"f", b"", b"x")
        status, why = console.status("/readyz")
        self.assertEqual(status, 503)
        self.assertRegex(why, r"\Athe queue store fails: .+\n\Z")
        self.assertEqual(console.status("/healthz"), (200, "ok\n"))
        metrics = console.metrics()
        self.assertEqual((metrics["gearman_up",], metrics["gearman_store_up",]), (1, 0))
        self.assertEqual(metrics["gearman_jobs_rejected_total", "f", "store"], 1)
        self.assertEqual((metrics["gearman_jobs", "f"], metrics["gearman_jobs_unaccounted", "f"]), (1, 0))
        overview = console.get("/overview")
        self.assertEqual((overview["store"]["up"], overview["tally"]["balance"]), (False, 0))

        store.start()
        while True:
            try:
                client.submit(Type.SUBMIT_JOB_BG, b"f", b"", b"x")
                break
            except Refused:
                pass
        self.assertEqual(console.status("/readyz"), (200, "ready\n"))
        self.assertEqual(console.metrics()["gearman_store_up",], 1)


class SlowStore(MemoryStore):
    """
    A store whose replay ends when a test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaying: Deferred[None] = Deferred()

    def replay(self, accept: Any) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        return self.replaying.addCallback(lambda _: succeed(0))


class StartTests(ConsoleCase):
    """
    Before the server serves, and when it ceases to.
    """

    async def test_replaying(self) -> None:
        """
        While the stored queue is replayed the server is alive, not ready, and not up; nothing can be seen or done yet.  Then
        all can.
        """
        store = SlowStore()
        service = self.make_with_console(store)
        self.console = service._protocols[0]
        self.use(service)
        await self.until(lambda: bool(self.console.ports))
        self.port = self.console.ports[0].getHost().port
        reason = "the stored queue has not been replayed yet"
        answer = await self.ask("GET", "/readyz")
        self.assertEqual((answer.status, answer.body.decode()), (503, reason + "\n"))
        self.assertEqual((await self.ask("GET", "/healthz")).status, 200)
        metrics = (await self.ask("GET", "/metrics")).body
        self.assertIn(b"\ngearman_up 0.0\n", metrics)
        self.assertIn(b"\ngearman_store_up 0.0\n", metrics)
        for answer in (await self.get("/overview"), await self.post("/functions/f/jobs", {"background": True}), await self.ask("GET", "/")):
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
            self.assertIn(reason, answer.body.decode())
        self.assertEqual(service.job_server.jobs, {})
        store.replaying.callback(None)
        await service.when_ready()
        self.assertEqual((await self.ask("GET", "/readyz")).status, 200)
        self.assertEqual((await self.get("/overview")).status, 200)

    async def test_stopped_while_replaying(self) -> None:
        """
        A server that is stopped before it serves leaves nothing behind.
        """
        store = SlowStore()
        service = self.make_with_console(store)
        self.use(service)
        await self.until(lambda: bool(service._protocols[0].ports))
        stopped = service.stopService()
        store.replaying.callback(None)
        await stopped
        self.assertEqual(service._protocols[0].ports, [])
        self.assertEqual(service.job_server.observers._observers, [])

    async def test_draining(self) -> None:
        """
        A server that is about to end is alive, and not ready, and its numbers are there to the last.
        """
        await self.open()
        worker = await self.worker("f")
        await self.submit(b"f")
        worker.says("GRAB_JOB")
        await worker.hears()
        draining = self.service.drain(60)
        answer = await self.ask("GET", "/readyz")
        self.assertEqual((answer.status, answer.body), (503, b"the server is about to end, and hands out no more jobs\n"))
        self.assertEqual((await self.ask("GET", "/healthz")).status, 200)
        self.assertIn(b'\ngearman_jobs_running{function="f"} 1.0\n', (await self.ask("GET", "/metrics")).body)
        worker.hangs_up()
        await draining
