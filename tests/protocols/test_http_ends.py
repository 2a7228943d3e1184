"""
HTTP requests that get no result: refused, given up by their clients, too late, or cut short by the server's end.
"""

from __future__ import annotations

from typing import Sequence

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.protocols import http
from gearsvc.stores.memory import MemoryStore
from tests.protocols.case import HungUp, Peer
from tests.protocols.httpcase import Answer, HTTPCase


class BrokenStore(MemoryStore):
    """
    A store whose disk is full.
    """

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Refuse.
        """
        return fail(StoreError("the disk is full"))


class SlowStore(MemoryStore):
    """
    A store that commits when it is told to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[None]] = []

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Wait.
        """
        self.waiting.append(Deferred())
        return self.waiting[-1].addCallback(lambda _: super(SlowStore, self).commit(added, removed))

    def commits(self) -> None:
        """
        Commit what waits.
        """
        self.waiting.pop(0).callback(None)


class NoJobTests(HTTPCase):
    """
    Requests that the job server refuses, and those that it answers late.
    """

    def assert_refused(self, answer: Answer, code: int, reason: str) -> None:
        """
        An answer refuses a job.
        """
        self.assertEqual((answer.code, answer.reason), (code, reason))
        self.assertNotIn("x-gearman-job-handle", answer.headers)
        self.assertEqual(answer.headers.get("retry-after"), "5" if code == 503 else None)

    async def test_queue_full(self) -> None:
        """
        A function that has as many jobs as it may is 503, for a while.
        """
        await self.serve()
        admin = await self.connect()
        admin.says("maxqueue f 1\r\n")
        await admin.hears()
        for lines in (("X-Gearman-Background: true",), ()):
            self.assertEqual((await self.ask("POST /f HTTP/1.1", "X-Gearman-Background: true")).code in (200, 503), True)
            answer = await self.ask("POST /f HTTP/1.1", *lines)
            self.assert_refused(answer, 503, "Job queue is full")
            self.assertEqual(answer.headers["x-gearman-command"], "ERROR")

    async def test_too_long(self) -> None:
        """
        A unique id of more than 64 bytes, or a function of more than 8191, is 400.
        """
        await self.serve()
        answer = await self.ask("POST /f HTTP/1.1", "X-Gearman-Unique: " + 65 * "u")
        self.assert_refused(answer, 400, "Unique value too large")
        answer = await self.ask(f"POST /{8192 * 'f'} HTTP/1.1")
        self.assert_refused(answer, 400, "Function name too large: it may have 8191 bytes")

    async def test_longest(self) -> None:
        """
        A unique id of 64 bytes, and a function of 8191 of which each is escaped, are not too long.
        """
        await self.serve()
        target = "/" + 8191 * "%01"
        answer = await self.ask(f"POST {target} HTTP/1.1", "X-Gearman-Background: true", "X-Gearman-Unique: " + 64 * "u")
        self.assertEqual(answer.code, 200)
        self.assertEqual([job.unique for job in self.service.job_server.jobs.values()], [64 * b"u"])
        self.assertEqual(list(self.service.job_server.functions), [8191 * b"\1"])

    async def test_store_fails(self) -> None:
        """
        A background job that can't be stored is 503, and not queued; one in the foreground needs no store.
        """
        await self.serve(BrokenStore())
        answer = await self.ask("POST /f HTTP/1.1", "X-Gearman-Background: true")
        self.assert_refused(answer, 503, "the disk is full")
        self.assertEqual(self.service.job_server.jobs, {})
        client = await self.http()
        client.says("POST /f HTTP/1.1")
        await self.grabs(await self.worker("f"))

    async def test_stored(self) -> None:
        """
        A background job is answered once it is stored, and not before.
        """
        store = SlowStore()
        await self.serve(store)
        client = await self.http()
        client.says("POST /f HTTP/1.1", "X-Gearman-Background: true")
        await self.until(lambda: bool(store.waiting))
        await self.turns()
        self.assertEqual(client.received, b"")
        store.commits()
        self.assertEqual((await client.hears()).headers["x-gearman-command"], "JOB_CREATED")

    async def test_joining_what_is_stored(self) -> None:
        """
        Who joins a job in the background that is being stored waits with it, and then gets its result.
        """
        store = SlowStore()
        await self.serve(store)
        first, second = await self.http(), await self.http()
        first.says("POST /f HTTP/1.1", "X-Gearman-Background: true", "X-Gearman-Unique: u")
        await self.until(lambda: bool(store.waiting))
        second.says("POST /f HTTP/1.1", "X-Gearman-Unique: u")
        await self.until(lambda: any(job.clients for job in self.service.job_server.jobs.values()))
        store.commits()
        self.assertEqual((await first.hears()).body, b"")
        worker = await self.worker("f")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|result")
        self.assertEqual((await second.hears()).body, b"result")
        # The removal comes a little later.
        await self.until(lambda: bool(store.waiting))
        store.commits()

    async def test_draining(self) -> None:
        """
        A server that is about to stop takes no job, and keeps no connection; who waits for a job that runs gets its result.
        """
        await self.serve()
        worker, client, idle = await self.worker("f"), await self.http(), await self.http()
        client.says("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        drained = self.service.drain(30)
        for waiting in (idle, await self.http()):
            waiting.says("POST /f HTTP/1.1", "X-Gearman-Background: true", "Content-Length: 4", "", "body")
            answer = await waiting.hears()
            self.assert_refused(answer, 503, "the server takes no more jobs: it is about to stop")
            self.assertEqual(answer.headers["connection"], "close")
            self.assertEqual(await waiting.ends(), b"")
        worker.says(f"WORK_COMPLETE {job}|result")
        self.assertEqual((await client.hears()).body, b"result")
        await drained

    async def test_draining_while_it_comes(self) -> None:
        """
        A request whose body was still on its way when the server was told to stop is refused too.
        """
        await self.serve()
        client = await self.http()
        client.says("POST /f HTTP/1.1", "Content-Length: 4", "", "bo")
        await self.until(lambda: any(each.requests for each in self.factory.connections))
        self.service.job_server.drain(lambda: None)
        client.says_bytes(b"dy")
        answer = await client.hears()
        self.assertEqual((answer.code, answer.headers["connection"]), (503, "close"))

    async def test_strange_handle(self) -> None:
        """
        Whatever a handle holds that a store kept, it adds no header to an answer.
        """
        store = MemoryStore()
        await store.commit([JobRecord(b"H:\r\nSet-Cookie: a=b\0\xff", b"f", b"u", 1, b"in")], [])
        await self.serve(store)
        client = await self.http()
        client.says("POST /f HTTP/1.1", "X-Gearman-Unique: u")
        await self.until(lambda: any(job.clients for job in self.service.job_server.jobs.values()))
        (job,) = self.service.job_server.jobs.values()
        self.service.job_server.cancel(job.handle)
        self.service.job_server.flush()
        answer = await client.hears()
        self.assertEqual((answer.code, answer.headers["x-gearman-job-handle"]), (500, "H:??Set-Cookie:?a=b??"))


class GoneTests(HTTPCase):
    """
    Clients that go away, and jobs that take too long.
    """

    async def submitted(self, *headers: str) -> Peer:
        """
        Let a client submit a job, and leave it.

        @return: a worker that can do it.
        """
        self.client = await self.http()
        self.client.says("POST /f HTTP/1.1", *headers)
        await self.until(lambda: len(self.service.job_server.jobs) == 1)
        return await self.worker("f")

    async def test_queued(self) -> None:
        """
        A queued job whose client goes away is gone.
        """
        await self.serve()
        worker = await self.submitted()
        self.client.hangs_up()
        await self.until(lambda: not self.service.job_server.jobs)
        worker.says("GRAB_JOB")
        self.assertEqual(await worker.hears(), "NO_JOB")
        await self.until(lambda: not self.factory.connections)

    async def test_closed(self) -> None:
        """
        A client that closes its side has gone away: also if it would still read.
        """
        await self.serve()
        await self.submitted()
        self.client.transport.loseWriteConnection()
        await self.until(lambda: not self.service.job_server.jobs)
        self.assertEqual(await self.client.ends(), b"")

    async def test_running(self) -> None:
        """
        A running job goes on, and its result is nobody's.
        """
        await self.serve()
        worker = await self.submitted()
        job, *_ = await self.grabs(worker)
        self.client.hangs_up()
        await self.until(lambda: not self.factory.connections)
        worker.says(f"WORK_COMPLETE {job}|result")
        await worker.echoes()
        self.assertEqual(self.service.job_server.jobs, {})

    async def test_background(self) -> None:
        """
        A background job stays, and so does one that others wait for.
        """
        await self.serve()
        await self.submitted("X-Gearman-Unique: u")
        other = await self.http()
        other.says("POST /f HTTP/1.1", "X-Gearman-Unique: u")
        (job,) = self.service.job_server.jobs.values()
        await self.until(lambda: len(job.clients) == 2)
        self.client.hangs_up()
        await self.until(lambda: len(job.clients) == 1)
        other.hangs_up()
        await self.until(lambda: not self.service.job_server.jobs)
        await self.ask("POST /f HTTP/1.1", "X-Gearman-Background: true")
        await self.until(lambda: not self.factory.connections)
        self.assertEqual(len(self.service.job_server.jobs), 1)

    async def test_incomplete(self) -> None:
        """
        A client that goes away before its request was complete has submitted nothing.
        """
        await self.serve()
        for data in (b"POST /f HT", b"POST /f HTTP/1.1\r\nContent-Length: 4\r\n\r\nbod"):
            for goes in ("abortConnection", "loseConnection", "loseWriteConnection"):
                client = await self.http()
                client.says_bytes(data)
                await self.turns()
                getattr(client.transport, goes)()
                await client.ends()
                await self.until(lambda: not self.factory.connections)
        self.assertEqual(self.service.job_server.functions, {})

    async def test_timeout(self) -> None:
        """
        A job that takes longer than --http-timeout is 504 and let go; the connection serves the next request.
        """
        await self.serve(plugin_options={"http-timeout": 0.1})
        worker = await self.submitted()
        answer = await self.client.hears()
        self.assertEqual((answer.code, answer.reason), (504, "the job has no result after 0.1 s (--http-timeout)"))
        self.assertEqual(self.service.job_server.jobs, {})
        self.factory.job_seconds = 60
        self.client.says("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|result")
        self.assertEqual((await self.client.hears()).body, b"result")

    def half_a_minute_passes(self) -> None:
        """
        Let the client's connection see the clock in half a minute.
        """
        (connection,) = self.factory.connections
        connection.look_at_clock(self.reactor.seconds() + 30)

    async def test_timeout_while_running(self) -> None:
        """
        A job that runs when its time is over goes on for nobody.
        """
        await self.serve(plugin_options={"http-timeout": 30})
        worker = await self.submitted()
        job, *_ = await self.grabs(worker)
        self.half_a_minute_passes()
        answer = await self.client.hears()
        self.assertEqual((answer.code, answer.headers["x-gearman-job-handle"]), (504, job))
        worker.says(f"WORK_COMPLETE {job}|result")
        await worker.echoes()
        await self.turns()
        self.assertEqual((self.client.received, self.service.job_server.jobs), (b"", {}))

    async def test_timeout_after_data(self) -> None:
        """
        An answer that has begun when its time is over breaks off.
        """
        await self.serve(plugin_options={"http-timeout": 30})
        worker = await self.submitted()
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_DATA {job}|one")
        await self.until(lambda: self.client.received.endswith(b"one\r\n"))
        self.half_a_minute_passes()
        self.assertTrue((await self.client.ends()).endswith(b"3\r\none\r\n"))

    async def test_no_timeout(self) -> None:
        """
        Without --http-timeout a request waits as long as it takes.
        """
        await self.serve()
        await self.submitted()
        (connection,) = self.factory.connections
        connection.look_at_clock(self.reactor.seconds() + 1_000_000)
        await self.turns()
        self.assertEqual((self.client.received, self.client.lost), (b"", None))


class StoppingTests(HTTPCase):
    """
    The server stops.
    """

    async def test_waiting(self) -> None:
        """
        A request that waits for its job is told, and its job is let go.
        """
        await self.serve()
        client = await self.http()
        client.says("POST /f HTTP/1.1")
        await self.until(lambda: bool(self.service.job_server.jobs))
        stopped = self.service.stopService()
        answer = await client.hears()
        self.assertEqual((answer.code, answer.reason), (503, "the server is stopping"))
        self.assertEqual((answer.headers["connection"], answer.headers["retry-after"]), ("close", "5"))
        self.assertEqual(await client.ends(), b"")
        await stopped
        self.assertEqual(self.service.job_server.jobs, {})

    async def test_idle(self) -> None:
        """
        An idle connection is closed without a word, and nothing listens any more.
        """
        await self.serve()
        client, port = await self.http(), self.http_port
        await self.until(lambda: bool(self.factory.connections))
        await self.service.stopService()
        self.assertEqual(await client.ends(), b"")
        await self.assertFailure(Deferred.fromCoroutine(self.http(f"tcp:127.0.0.1:{port}")), ConnectionRefusedError)

    async def test_incomplete(self) -> None:
        """
        A request that is still on its way is refused.
        """
        await self.serve()
        client = await self.http()
        client.says("POST /f HTTP/1.1", "Content-Length: 4", "", "bo")
        await self.until(lambda: any(each.requests for each in self.factory.connections))
        stopped = self.service.stopService()
        self.assertEqual((await client.hears()).code, 503)
        await client.ends()
        await stopped

    async def test_being_stored(self) -> None:
        """
        A background job that has come in is stored and acknowledged.
        """
        store = SlowStore()
        await self.serve(store)
        client = await self.http()
        client.says("POST /f HTTP/1.1", "X-Gearman-Background: true")
        await self.until(lambda: bool(store.waiting))
        stopped = self.service.stopService()
        await self.turns()
        store.commits()
        answer = await client.hears()
        self.assertEqual((answer.code, answer.headers["connection"]), (200, "close"))
        await client.ends()
        await stopped
        self.assertEqual(len(store.rows), 1)

    async def test_streaming(self) -> None:
        """
        An answer that has begun breaks off.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        client.says("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_DATA {job}|one")
        await client.hears_bytes(b"one\r\n")
        stopped = self.service.stopService()
        self.assertEqual(await client.ends(), b"")
        await stopped

    async def test_not_taken(self) -> None:
        """
        A client that does not take its answer keeps the server for a moment only.
        """
        self.patch(http, "GOODBYE", 0.1)
        await self.serve()
        client = await self.http()
        client.transport.pauseProducing()
        client.says("POST /f HTTP/1.1")
        await self.until(lambda: bool(self.service.job_server.jobs))
        await self.service.stopService()
        client.transport.resumeProducing()
        await client.ends()

    async def test_twice(self) -> None:
        """
        Two answers never come for one request: what is complete when the server stops stays what it was.
        """
        await self.serve()
        worker, client = await self.worker("f"), await self.http()
        client.says("POST /f HTTP/1.1")
        job, *_ = await self.grabs(worker)
        worker.says(f"WORK_COMPLETE {job}|result")
        answer = await client.hears()
        await self.service.stopService()
        self.assertEqual((answer.body, await client.ends()), (b"result", b""))
        await self.assertFailure(Deferred.fromCoroutine(client.hears()), HungUp)
