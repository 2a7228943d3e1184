#!/usr/bin/env python3
"""Measure what a unique id makes of a thousand clients that want the same.

    benchmarks/coalescing.py                    # a quarter of a minute
    benchmarks/coalescing.py --clients 100 --milliseconds 50

The server runs in a process of its own, and so does one worker, whose function
takes so many milliseconds, one job at a time, and answers how often it has run.
Each client has a connection.  When all of them are there, each submits one job
at the same moment: first all with one unique id, then each without one.

For both, this prints how often the worker ran, and after how many seconds half
of the clients had their result, and the last one.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from compare import TWISTD, free_port, wait_for
from gearsvc.client import GearmanClient, GearmanWorker

FUNCTION = "front-page"


async def work(port, milliseconds):
    """Be the worker, for ever."""
    runs = 0

    def answer(job):
        nonlocal runs
        runs += 1
        time.sleep(milliseconds / 1000)
        return str(runs)

    worker = GearmanWorker([f"127.0.0.1:{port}"])
    worker.register(FUNCTION, answer)
    worker.start()
    await Deferred()


async def ask(clients, unique):
    """Let every client ask, and return how often the worker ran for them, and when each of them had its result."""
    answers = []

    async def one(client):
        runs = await client.submit(FUNCTION, "", unique=unique)
        answers.append((int(runs), time.perf_counter() - begun))

    before = int(await clients[0].submit(FUNCTION))
    begun = time.perf_counter()
    await gatherResults([Deferred.fromCoroutine(one(client)) for client in clients])
    return max(runs for runs, _ in answers) - before, [seconds for _, seconds in answers]


async def measure(port, arguments):
    """Measure both, and print it."""
    clients = [GearmanClient([f"127.0.0.1:{port}"]) for _ in range(arguments.clients)]
    await gatherResults([client.echo(b"here") for client in clients])
    print(f"{arguments.clients} clients, one worker, {arguments.milliseconds} ms a job")
    print(f"{'':<20}{'the worker ran':>16}{'half had it after':>20}{'the last one after':>20}")
    for name, unique in (("one unique id", "front-page"), ("none", "")):
        runs, seconds = await ask(clients, unique)
        times = "times" if runs > 1 else "time "
        print(f"{name:<20}{f'{runs} {times}':>16}{statistics.median(seconds):>18.2f} s{max(seconds):>18.2f} s")
    await gatherResults([client.close() for client in clients])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clients", type=int, default=1000, help="how many clients ask")
    p.add_argument("--milliseconds", type=int, default=10, help="how long a job takes")
    p.add_argument("--work", type=int, metavar="PORT", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.work:
        react(lambda reactor: Deferred.fromCoroutine(work(a.work, a.milliseconds)))
    # Each client is a file descriptor.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "log"), "wb") as log:
        command = [str(TWISTD), "--pidfile=", "-n", "gearman", "--listen", "127.0.0.1", "--port", str(port)]
        started = [subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)]
        try:
            wait_for(port, started[0])
            worker = [sys.executable, __file__, "--work", str(port), "--milliseconds", str(a.milliseconds)]
            started.append(subprocess.Popen(worker))
            react(lambda reactor: Deferred.fromCoroutine(measure(port, a)))
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)


if __name__ == "__main__":
    main()
