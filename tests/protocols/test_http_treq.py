"""
Jobs over HTTP from a Twisted application, by treq.
"""

from __future__ import annotations

from typing import Any

import treq
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from zope.interface import implementer

from gearsvc.core.packets import RESPONSE, Type
from gearsvc.core.wire import PacketDecoder
from gearsvc.interfaces import IPeer
from tests.protocols.httpcase import HTTPCase


@implementer(IPeer)
class Worker:
    """
    A worker in the server's own process, which answers a job with its workload backwards.
    """

    host = "-"
    descriptor = -1
    congested = False

    def __init__(self, server: Any, function: bytes) -> None:
        self._server = server
        self._decoder = PacketDecoder(magic=RESPONSE)
        self._session = server.connect(self)
        self._do((Type.CAN_DO, function), (Type.GRAB_JOB, b""))

    def _do(self, *packets: tuple[int, bytes]) -> None:
        self._server.receive(self._session, packets)
        self._server.flush()

    def transmit(self, chunks: list[bytes]) -> None:
        """
        Hear from the server, and answer in a later turn.
        """
        for kind, body in self._decoder.feed(b"".join(chunks)):
            self._server.clock.call_later(0, self._answer, kind, body)

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == Type.JOB_ASSIGN:
            handle, _, workload = body.split(b"\0", 2)
            self._do((Type.WORK_COMPLETE, handle + b"\0" + workload[::-1]))
        self._do((Type.PRE_SLEEP if kind == Type.NO_JOB else Type.GRAB_JOB, b""))

    def close(self) -> None:
        """
        Nothing holds it open.
        """

    def overflow(self, waiting: int) -> None:
        """
        It takes whatever it is sent.
        """


class TreqTests(HTTPCase):
    """
    treq, with and without a pool of connections that are kept.
    """

    async def clients(self) -> list[HTTPClient]:
        """
        A server with a worker, and a client of either kind.
        """
        await self.serve()
        self.url = f"http://127.0.0.1:{self.http_port}"
        Worker(self.service.job_server, b"reverse")
        found = []
        for persistent in (True, False):
            pool = HTTPConnectionPool(self.reactor, persistent=persistent)
            self.addCleanup(self.close, pool)
            found.append(HTTPClient(Agent(self.reactor, pool=pool)))
        return found

    async def close(self, pool: HTTPConnectionPool) -> None:
        """
        Close the connections of a pool, and let the reactor see it.
        """
        await pool.closeCachedConnections()
        await deferLater(self.reactor, 0, lambda: None)

    async def test_results(self) -> None:
        """
        Many requests at once, some of them large, each get their result.
        """
        for client in await self.clients():
            workloads = [b"%d" % number * 10 ** (number % 6) for number in range(60)]
            answers = await gatherResults(
                [Deferred.fromCoroutine(self.result(client, workload)) for workload in workloads], consumeErrors=True
            )
            self.assertEqual(answers, [workload[::-1] for workload in workloads])
        self.assertEqual(self.service.job_server.jobs, {})

    async def result(self, client: HTTPClient, workload: bytes) -> bytes:
        """
        Have one workload reversed.
        """
        response = await client.post(f"{self.url}/reverse", data=workload)
        self.assertEqual(response.code, 200)
        body: bytes = await treq.content(response)
        return body

    async def test_headers(self) -> None:
        """
        What an application needs is in the answer: status, handle, command, reason.
        """
        for client in await self.clients():
            response = await client.put(f"{self.url}/later", headers=Headers({"X-Gearman-Background": ["true"]}), data=b"x")
            self.assertEqual(response.code, 200)
            self.assertEqual(response.headers.getRawHeaders("X-Gearman-Command"), ["JOB_CREATED"])
            (handle,) = response.headers.getRawHeaders("X-Gearman-Job-Handle")
            self.assertIn(handle.encode(), self.service.job_server.jobs)
            await treq.content(response)
            response = await client.get(self.url)
            self.assertEqual((response.code, await treq.text_content(response)), (404, "the path names a function: /FUNCTION\n"))

    async def test_stream(self) -> None:
        """
        What is streamed is collected as it comes, and when it breaks off the application is told.
        """
        for client in await self.clients():
            for last, fine in (("WORK_COMPLETE {}|", True), ("WORK_FAIL {}", False)):
                worker = await self.worker("stream")
                asked = client.get(f"{self.url}/stream")
                job, *_ = await self.grabs(worker)
                worker.says(f"WORK_DATA {job}|one")
                response = await asked
                heard: list[bytes] = []
                collected = treq.collect(response, heard.append)
                await self.until(lambda: heard == [b"one"])
                worker.says(last.format(job))
                if fine:
                    await collected
                else:
                    await self.assertFailure(collected, ResponseFailed)
                self.assertEqual(heard, [b"one"])
                worker.hangs_up()

    async def test_cancel(self) -> None:
        """
        A request that is cancelled takes its job with it.
        """
        for client in await self.clients():
            asked = client.get(f"{self.url}/never")
            await self.until(lambda: bool(self.service.job_server.jobs))
            asked.cancel()
            await self.assertFailure(asked, ResponseNeverReceived)
            await self.until(lambda: not self.service.job_server.jobs)
