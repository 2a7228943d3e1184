"""
L{GearmanClient} with real servers: ours, and gearmand.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from gearsvc.client import (
    ClientClosed,
    Data,
    GearmanClient,
    GearmanError,
    JobException,
    JobFailed,
    JobStatus,
    Priority,
    Progress,
    QueueFull,
    ServerUnavailable,
    SubmitTimeout,
    Warning,
)
from gearsvc.core.packets import Type
from tests.client.hand import Hand, hand
from tests.running import HOST, PATIENCE, RunningServer, free_port, start_server

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Base
else:
    Base = object


def place(server: RunningServer) -> str:
    """
    Where a server is, as a client names it.
    """
    return f"{HOST}:{server.port}"


@cache
def shared_server(kind: str) -> RunningServer:
    """
    A server for all tests here, until the process ends.
    """
    directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
    server = start_server(kind=kind, directory=directory)
    # (The last one that is registered is the first one that is called.)
    atexit.register(shutil.rmtree, directory)
    atexit.register(server.stop)
    return server


class ClientCase(Base):
    """
    A test with a server that others use as well: no two tests use the same function.

    @cvar kind: which server.
    """

    kind = "gearsvc"
    server: RunningServer

    def setUp(self) -> None:
        """
        Have a client, and a function of one's own.
        """
        self.server = shared_server(self.kind)
        self.function = self.id().encode()[-60:]
        self.client = self.new_client(place(self.server))

    def new_client(self, *servers: str) -> GearmanClient:
        """
        A client, which is closed in the end.
        """
        client = GearmanClient(servers)
        self.addCleanup(client.close)
        return client

    async def new_hand(self, *functions: bytes, server: RunningServer | None = None) -> Hand:
        """
        A worker by hand, by default for the test's function.
        """
        found = await hand((server or self.server).port, *(functions or [self.function]))
        self.addCleanup(found.leave)
        return found

    async def sleep(self, seconds: float) -> None:
        """
        Let the reactor run.
        """
        from twisted.internet import reactor

        await deferLater(reactor, seconds)  # type: ignore[arg-type]

    async def until(self, condition: Any, what: str) -> None:
        """
        Let the reactor run until something is so.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"in vain: {what}")
            await self.sleep(0.01)


class ClientTests(ClientCase):
    """
    What holds with any server.
    """

    async def test_result(self) -> None:
        """
        A job has a handle, and then a result, however often one asks.
        """
        job = self.client.submit(self.function, b"\0any bytes\xff")
        worker = await self.new_hand()
        handle, function, unique, reducer, workload = await worker.grab()
        self.assertEqual((function, unique, reducer, workload), (self.function, b"", b"", b"\0any bytes\xff"))
        self.assertEqual((await job.created, job.handle, job.done), (handle, handle, False))
        worker.say(Type.WORK_COMPLETE, handle, b"the\0result")
        self.assertEqual([await job, await job, await job.finished], [b"the\0result"] * 3)

    async def test_text(self) -> None:
        """
        Text is UTF-8 everywhere.
        """
        function = self.function[:50] + "-é".encode()
        job = self.client.submit(function.decode(), "wörkload", unique="ü")
        worker = await self.new_hand(function)
        handle, name, unique, _, workload = await worker.grab()
        self.assertEqual((name, unique, workload), (function, "ü".encode(), "wörkload".encode()))
        worker.say(Type.WORK_COMPLETE, handle, b"")
        self.assertEqual(await job, b"")

    async def test_large(self) -> None:
        """
        Megabytes go through, there and back.
        """
        workload = bytes(range(256)) * 20_000
        job = self.client.submit(self.function, workload)
        worker = await self.new_hand()
        handle, _, _, _, found = await worker.grab()
        self.assertEqual(found, workload)
        worker.say(Type.WORK_COMPLETE, handle, found + found)
        self.assertEqual(await job, 2 * workload)

    async def test_told(self) -> None:
        """
        Data, warnings and progress are told as they come, to callbacks and to an iterator.
        """
        told: list[object] = []
        job = self.client.submit(
            self.function,
            on_data=told.append,
            on_warning=lambda data: told.append((data,)),
            on_progress=lambda numerator, denominator: told.append((numerator, denominator)),
        )
        events: list[object] = []

        async def collect() -> None:
            async for event in job.events():
                events.append(event)

        collecting = Deferred.fromCoroutine(collect())
        worker = await self.new_hand()
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_DATA, handle, b"1\0")
        worker.say(Type.WORK_WARNING, handle, b"hot")
        worker.say(Type.WORK_STATUS, handle, b"3", b"7")
        worker.say(Type.WORK_COMPLETE, handle, b"2")
        self.assertEqual(await job, b"2")
        await collecting
        self.assertEqual(told, [b"1\0", (b"hot",), (3, 7)])
        self.assertEqual(events, [Data(b"1\0"), Warning(b"hot"), Progress(3, 7)])

    async def test_mistaken_callback(self) -> None:
        """
        A callback that fails is logged, and costs nothing else.
        """

        def mistaken(data: bytes) -> None:
            raise KeyError("mistaken")

        job = self.client.submit(self.function, on_data=mistaken)
        worker = await self.new_hand()
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_DATA, handle, b"1")
        worker.say(Type.WORK_COMPLETE, handle, b"2")
        self.assertEqual(await job, b"2")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_failures(self) -> None:
        """
        A job that fails is an exception; what its worker says of it is there as it was sent.
        """
        failed, excepted = self.client.submit(self.function, b"1"), self.client.submit(self.function, b"2")
        worker = await self.new_hand()
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_FAIL, handle)
        error = await self.assertFailure(failed.finished, JobFailed)
        self.assertNotIsInstance(error, JobException)
        self.assertEqual(error.handle, handle)
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_EXCEPTION, handle, b"no\0such\nfile")
        with self.assertRaises(JobException) as caught:
            await excepted
        self.assertEqual((caught.exception.data, caught.exception.handle), (b"no\0such\nfile", handle))
        self.assertEqual(str(caught.exception), "the job has failed: no\\x00such\\nfile")
        with self.assertRaises(JobException):
            async for _ in excepted.events():
                self.fail("nothing was told")

    async def test_unheard_failure(self) -> None:
        """
        A failure that nobody looks at is logged; one that somebody has heard of in one way is not, however many there are.
        """
        jobs = [self.client.submit(self.function, b"%d" % number) for number in range(2)]
        heard = jobs[1].created.addErrback(lambda _: None)
        await self.client.close()
        await heard
        self.assertEqual(len(jobs), 2)
        del jobs
        self.assertEqual(len(self.flushLoggedErrors(ClientClosed)), 1)

    async def test_priorities(self) -> None:
        """
        Each priority has its packet, in the foreground and in the background.
        """
        for background in (False, True):
            jobs = [
                self.client.submit(self.function, priority.name, priority=priority, background=background)
                for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
            ]
            for job in jobs:
                await job.created
            worker = await self.new_hand()
            for expected in (b"HIGH", b"NORMAL", b"LOW"):
                handle, _, _, _, workload = await worker.grab()
                self.assertEqual(workload, expected)
                worker.say(Type.WORK_COMPLETE, handle, b"")
            for job in jobs:
                self.assertEqual(await job, b"")
            worker.leave()

    async def test_background(self) -> None:
        """
        A background job is finished, to its client, when it is accepted; the server knows it by its handle and its unique id.
        """
        job = self.client.submit(self.function, unique=self.function[:40], background=True)
        self.assertEqual(await job, b"")
        self.assertEqual(await self.client.status(job.handle), JobStatus(True, False, 0, 0))
        worker = await self.new_hand()
        handle = (await worker.grab())[0]
        self.assertEqual(handle, job.handle)
        worker.say(Type.WORK_STATUS, handle, b"1", b"4")
        worker.say(Type.ECHO_REQ, b"")
        await worker.hear()
        self.assertEqual(await self.client.status(handle.decode()), JobStatus(True, True, 1, 4))
        status = await self.client.status_by_unique(self.function[:40])
        self.assertEqual(status[:4], (True, True, 1, 4))
        self.assertEqual((await self.client.status("H:nobody:1")).known, False)
        self.assertEqual((await self.client.status_by_unique("nobody")).known, False)

    async def test_later(self) -> None:
        """
        A job for a later time is accepted, and waits.
        """
        moment = datetime.now(timezone.utc) + timedelta(hours=1)
        for at in (moment, time.time() + 3600):
            job = self.client.submit(self.function, at=at)
            self.assertEqual(await job, b"")
            self.assertTrue(job.background)
        worker = await self.new_hand()
        worker.say(Type.GRAB_JOB)
        self.assertEqual(await worker.hear(), (Type.NO_JOB, b""))

    async def test_reducer(self) -> None:
        """
        A reducer reaches the worker.
        """
        job = self.client.submit(self.function, b"parts", reducer="sum")
        worker = await self.new_hand()
        handle, _, _, reducer, workload = await worker.grab()
        self.assertEqual((reducer, workload), (b"sum", b"parts"))
        worker.say(Type.WORK_COMPLETE, handle, b"6")
        self.assertEqual(await job, b"6")

    async def test_coalesced(self) -> None:
        """
        Who submits a job twice under one unique id hears everything once for each.
        """
        told: list[list[bytes]] = [[], []]
        jobs = [self.client.submit(self.function, unique="u", on_data=pieces.append) for pieces in told]
        self.assertEqual(await jobs[0].created, await jobs[1].created)
        worker = await self.new_hand()
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_DATA, handle, b"1")
        worker.say(Type.WORK_DATA, handle, b"2")
        worker.say(Type.WORK_COMPLETE, handle, b"3")
        self.assertEqual([await job for job in jobs], [b"3", b"3"])
        self.assertEqual(told, [[b"1", b"2"], [b"1", b"2"]])

    async def test_queue_full(self) -> None:
        """
        That a function has as many jobs as it may is an exception of its own, and the next job is as any other.
        """
        first = self.client.submit(self.function)
        await first.created
        self.server.admin(f"maxqueue {self.function.decode()} 1")
        second = self.client.submit(self.function)
        with self.assertRaisesRegex(QueueFull, "the server refuses it: .*queue is full"):
            await second
        with self.assertRaises(QueueFull):
            await second.created
        self.assertEqual(await self.client.echo(b"still there"), b"still there")
        self.assertFalse(first.done)
        first.finished.addErrback(lambda failure: failure.trap(ClientClosed))

    async def test_timeout(self) -> None:
        """
        A job that takes too long is given up; one that is done in time leaves no timer.
        """
        late, early = self.client.submit(self.function, timeout=0.05), self.client.submit(self.function, timeout=PATIENCE)
        with self.assertRaisesRegex(SubmitTimeout, "not done within 0.05 seconds"):
            await late
        worker = await self.new_hand()
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_COMPLETE, handle, b"late")
        handle = (await worker.grab())[0]
        worker.say(Type.WORK_COMPLETE, handle, b"early")
        self.assertEqual(await early, b"early")

    async def test_given_up(self) -> None:
        """
        Who cancels what he waits for hears nothing more of the job; others that wait for another one do.
        """
        one, other = self.client.submit(self.function, b"1"), self.client.submit(self.function, b"2")
        await one.created
        waiting = one.finished
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        await self.assertFailure(one.finished, CancelledError)
        worker = await self.new_hand()
        for result in (b"one", b"other"):
            handle = (await worker.grab())[0]
            worker.say(Type.WORK_COMPLETE, handle, result)
        self.assertEqual(await other, b"other")

    async def test_closed(self) -> None:
        """
        When a client is closed, what is not done fails, and so does what comes later.
        """
        job = self.client.submit(self.function)
        await job.created
        waiting = self.client.submit(self.function)
        await self.client.close()
        for each in (job, waiting, self.client.submit(self.function)):
            with self.assertRaises(ClientClosed):
                await each
        with self.assertRaises(ClientClosed):
            await self.client.echo()
        await self.until(lambda: not self.server.admin("status").count(self.function + b"\t1"), "the jobs are dropped")

    async def test_mistakes(self) -> None:
        """
        What the protocol has no words for is refused at once.
        """
        for arguments, why in (
            ({"function": ""}, "the function has no name"),
            ({"function": "a\0b"}, "the function .* has a NUL in it"),
            ({"unique": "a\0b"}, "the unique id .* has a NUL in it"),
            ({"unique": 65 * "u"}, "the unique id has 65 bytes; 64 are allowed"),
            ({"at": 1, "priority": Priority.HIGH}, "normal priority"),
            ({"at": 1, "reducer": "r"}, "no reducer"),
            ({"reducer": "r", "priority": Priority.LOW}, "normal priority"),
        ):
            with self.subTest(arguments), self.assertRaisesRegex(ValueError, why):
                self.client.submit(**{"function": "f", **arguments})  # type: ignore[arg-type]

    async def test_task_set(self) -> None:
        """
        Many jobs are gathered in order, with their failures; no more than so many are under way at a time.
        """
        progress: list[tuple[int, int]] = []
        tasks = self.client.task_set(outstanding=3, progress=lambda done, count: progress.append((done, count)))
        self.assertEqual(await tasks, [])
        for number in range(10):
            tasks.add(self.function, b"%d" % number)
        waiting = tasks.wait()
        worker = await self.new_hand()
        for number in range(10):
            handle, _, _, _, workload = await worker.grab()
            self.assertEqual(workload, b"%d" % number)
            there = int(self.server.admin("status").split(self.function + b"\t")[1].split(b"\t")[0])
            self.assertLessEqual(there, 3)
            worker.say(Type.WORK_FAIL if number == 4 else Type.WORK_COMPLETE, handle, *([] if number == 4 else [workload]))
        outcomes = await waiting
        self.assertIsInstance(outcomes[4], JobFailed)
        self.assertEqual(outcomes[:4] + outcomes[5:], [b"%d" % number for number in range(10) if number != 4])
        self.assertEqual(progress, [(done, 10) for done in range(1, 11)])
        self.assertRaises(ValueError, self.client.task_set, outstanding=0)

    async def test_many(self) -> None:
        """
        Thousands that are submitted in one turn arrive in order.
        """
        jobs = [self.client.submit(self.function, b"%d" % number, background=True) for number in range(3000)]
        handles = [await job.created for job in jobs]
        self.assertEqual(len(set(handles)), 3000)
        worker = await self.new_hand()
        self.assertEqual([(await worker.grab())[4] for _ in range(5)], [b"0", b"1", b"2", b"3", b"4"])


class WithGearsvcTests(ClientTests, TestCase):
    """
    With our server.
    """


class WithGearmandTests(ClientTests, TestCase):
    """
    With the C server.
    """

    kind = "gearmand"


class Babbler(Protocol):
    """
    Something that listens and is no job server.
    """

    def connectionMade(self) -> None:
        """
        Greet as no job server would.
        """
        assert self.transport is not None
        self.transport.write(b"220 mail.example ESMTP\r\n")


class UnreliableCase(ClientCase):
    """
    Servers that come and go: each test has its own.
    """

    def setUp(self) -> None:
        """
        Have a function.
        """
        self.function = b"unreliable"

    def new_server(self) -> RunningServer:
        """
        Start a server, which is gone in the end.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-test-"))
        self.addCleanup(shutil.rmtree, directory)
        server = start_server(kind=self.kind, directory=directory)
        self.addCleanup(lambda: server.running and server.kill())
        return server

    async def test_submitted_again(self) -> None:
        """
        A job whose server dies over it is submitted again when the server is back, under a unique id, and its client is told.
        """
        server = self.new_server()
        client = self.new_client(place(server))
        told: list[GearmanError] = []
        job = client.submit(self.function, b"work", retries=20, on_resubmit=told.append)
        other = client.submit(self.function, b"other")
        worker = await self.new_hand(server=server)
        first = await worker.grab()
        self.assertEqual(len(first[2]), 32)
        server.kill()
        with self.assertRaisesRegex(ServerUnavailable, f"the job server {place(server)} is not there: "):
            await other
        server.start()
        worker = await self.new_hand(server=server)
        second = await worker.grab()
        self.assertEqual(second[2:], first[2:])
        worker.say(Type.WORK_COMPLETE, second[0], b"done")
        self.assertEqual(await job, b"done")
        self.assertEqual(job.submissions, len(told) + 1)
        self.assertIsInstance(told[0], ServerUnavailable)

    async def test_only_so_often(self) -> None:
        """
        A job is submitted again as often as was asked for, and no more; a server that is away is not asked at each turn.
        """
        nowhere = f"{HOST}:{free_port()}"
        client = self.new_client(nowhere)
        told: list[GearmanError] = []
        began = time.monotonic()
        with self.assertRaisesRegex(ServerUnavailable, f"the job server {nowhere} is not there: Connection refused$"):
            await client.submit(self.function, retries=2, on_resubmit=told.append)
        self.assertEqual(len(told), 2)
        self.assertGreater(time.monotonic() - began, 0.5)
        with self.assertRaisesRegex(ServerUnavailable, f"no job server is there, and none is tried again just now: {nowhere}"):
            await client.submit(self.function)
        with self.assertRaises(ServerUnavailable):
            await client.echo()

    async def test_elsewhere(self) -> None:
        """
        With two servers, a job whose server dies goes to the other one; a dead server is passed over, and used again later.
        """
        servers = [self.new_server(), self.new_server()]
        places = [place(server) for server in servers]
        client = self.new_client(*places)
        told: list[GearmanError] = []
        job = client.submit(self.function, b"work", unique="u", retries=1, on_resubmit=told.append)
        await job.created
        first = servers[places.index(job.server)]
        second = servers[1 - places.index(job.server)]
        first.kill()
        await self.until(lambda: bool(told), "the loss is told")
        worker = await self.new_hand(server=second)
        handle, _, unique, _, _ = await worker.grab()
        worker.say(Type.WORK_COMPLETE, handle, b"done")
        self.assertEqual((unique, await job, job.server), (b"u", b"done", place(second)))
        # Nothing of these was said to the dead one, so they need no second try.
        for _ in range(3):
            job = client.submit(self.function, background=True)
            await job
            self.assertEqual(job.server, place(second))
        first.start()

        async def used() -> bool:
            job = client.submit(self.function, unique="u", background=True)
            await job
            return job.server == place(first)

        deadline = time.monotonic() + PATIENCE
        while not await used():
            self.assertLess(time.monotonic(), deadline, "the server is not used again")
            await self.sleep(0.05)

    async def test_same_server(self) -> None:
        """
        Two clients, which name the servers in another order, send a unique id to the same one, and so share the job; others
        take turns.
        """
        places = [place(self.new_server()), place(self.new_server())]
        one, other = self.new_client(*places), self.new_client(*reversed(places))
        uniques = [b"%d" % number for number in range(20)]
        chosen = set()
        for unique in uniques:
            jobs = [client.submit(self.function, unique=unique, background=True) for client in (one, other)]
            self.assertEqual(await jobs[0].created, await jobs[1].created)
            self.assertEqual(jobs[0].server, jobs[1].server)
            chosen.add(jobs[0].server)
            self.assertTrue((await other.status_by_unique(unique)).known)
            self.assertTrue((await other.status(jobs[0].handle)).known)
        self.assertEqual(len(chosen), 2)
        turns = [one.submit(self.function, background=True) for _ in range(4)]
        for job in turns:
            await job
        self.assertEqual([job.server for job in turns], places * 2)

    async def test_no_job_server(self) -> None:
        """
        What answers there and is no job server is told so.
        """
        from twisted.internet import reactor

        port = reactor.listenTCP(0, Factory.forProtocol(Babbler), interface=HOST)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        client = self.new_client(f"{HOST}:{port.getHost().port}")
        with self.assertRaisesRegex(ServerUnavailable, "what answers there is no job server, or a broken one"):
            await client.submit(self.function)


class UnreliableGearsvcTests(UnreliableCase, TestCase):
    """
    With our server.
    """


class UnreliableGearmandTests(UnreliableCase, TestCase):
    """
    With the C server.
    """

    kind = "gearmand"
