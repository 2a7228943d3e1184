"""
C{examples/embedded.py}, and clients and workers in the server's process.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import unittest
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred

from gearsvc.client import GearmanClient, GearmanError, GearmanWorker
from gearsvc.client.errors import JobFailed
from tests.checkout import run
from tests.protocols.case import LOOPBACK, ServiceCase
from tests.running import HOST, ROOT, free_port

EXAMPLE = ROOT / "examples" / "embedded.py"


def load_example() -> Any:
    """
    The example, as a module.
    """
    spec = importlib.util.spec_from_file_location("embedded_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def count_from_everywhere() -> None:
    """
    The application's own jobs, and those of a client of the network, are done by the worker in its process.
    """
    example = load_example()
    application = example.Application(LOOPBACK)
    application.startService()
    counting = ensureDeferred(application.count(["one two", ""]))
    await application.gearman.when_ready()
    port = application.gearman.ports[0].getHost().port
    outside = GearmanClient(f"{HOST}:{port}")
    try:
        assert await outside.submit("count_words", b"as many as these") == b"4"
        assert await counting == [2, 0]
    finally:
        await outside.close()
        await application.stopService()


@pytest_twisted.ensureDeferred
async def test_embedded_under_pytest_twisted() -> None:
    """
    The application submits to itself and serves the network, with pytest-twisted running the reactor.
    """
    await count_from_everywhere()


class EmbeddedTests(ServiceCase):
    """
    The example in trial's reactor.
    """

    async def test_application(self) -> None:
        """
        The application submits to itself and serves the network.
        """
        await count_from_everywhere()


class ProcessTests(unittest.TestCase):
    """
    The example as its first lines say.
    """

    def test_program(self) -> None:
        """
        It prints its own results, serves gearman, and ends by SIGTERM.
        """
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        try:
            self.assertEqual(process.stdout.readline(), b"[1, 2, 3]\n")
            answer = run("gearman", "-h", HOST, "-p", str(port), "-f", "count_words", "as many as these")
            self.assertEqual(answer, "4")
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


class CompanionTests(ServiceCase):
    """
    L{JobServerService.client<gearsvc.service.JobServerService.client>} and C{worker}.
    """

    async def test_everybody(self) -> None:
        """
        Several workers in the process and one on the network share the jobs of clients here and there, in what order ever.
        """
        service = self.make()
        done: dict[str, int] = {}
        workers = [service.worker(), service.worker()]

        def register(worker: GearmanWorker, name: str) -> None:
            def work(job: Any) -> bytes:
                done[name] = done.get(name, 0) + 1
                return bytes(job.workload.upper())

            worker.register("upper", work)
            worker.start()

        for number, worker in enumerate(workers):
            register(worker, f"here {number}")
        here = service.client()
        early = here.submit("upper", b"early")
        await self.start(service)
        address = f"{HOST}:{service.ports[0].getHost().port}"
        outside, there = GearmanWorker([address]), GearmanClient(address)
        register(outside, "there")
        try:
            self.assertEqual(await early, b"EARLY")
            jobs = [client.submit("upper", b"w%d" % number) for number in range(60) for client in (here, there)]
            for number, job in enumerate(jobs):
                self.assertEqual(await job, b"W%d" % (number // 2))
            self.assertEqual(sum(done.values()), 121)
        finally:
            await outside.close()
            await there.close()

    async def test_failure(self) -> None:
        """
        A worker's failure is the client's, in memory as on the network.
        """
        await self.serve(port=())
        worker = self.service.worker()

        def fail(job: Any) -> bytes:
            raise JobFailed

        worker.register("fail", fail)
        worker.start()
        await self.assertFailure(self.service.client().submit("fail").finished, JobFailed)

    async def test_stopped(self) -> None:
        """
        When the server stops, its clients and workers are closed: a job that waits fails, and so does a new one.
        """
        await self.serve(port=())
        client = self.service.client()
        worker = self.service.worker()
        worker.register("sleep", lambda job: Deferred())
        worker.start()
        job = client.submit("sleep")
        await job.created
        failed = self.assertFailure(job.finished, GearmanError)
        await self.service.stopService()
        await failed
        try:
            await client.submit("sleep")
        except GearmanError:
            pass
        else:
            self.fail("a server that has stopped did a job")
