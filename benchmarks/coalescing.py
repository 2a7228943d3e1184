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
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import react

from compare import TWISTD, free_port, wait_for
from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.wire import PacketDecoder, encode

FUNCTION = b"front-page"


class Peer(Protocol):
    """One connection to the server."""

    def __init__(self):
        self.decoder = PacketDecoder(magic=RESPONSE)

    def say(self, kind, *arguments):
        self.transport.write(encode(kind, b"\0".join(arguments), REQUEST))

    def dataReceived(self, data):
        for kind, body in self.decoder.feed(data):
            self.hear(kind, body)


class Client(Peer):
    """Waits for one result at a time."""

    def hear(self, kind, body):
        if kind == Type.WORK_COMPLETE:
            self.result.callback(int(body.partition(b"\0")[2]))
        elif kind != Type.JOB_CREATED:
            self.result.errback(RuntimeError(f"the server sent {kind}: {body}"))

    def submit(self, unique):
        self.result = Deferred()
        self.say(Type.SUBMIT_JOB, FUNCTION, unique, b"")
        return self.result


class Worker(Peer):
    """Does one job at a time, and answers how many it has done."""

    runs = 0

    def start(self, seconds):
        self.seconds = seconds
        self.say(Type.CAN_DO, FUNCTION)
        self.say(Type.GRAB_JOB)

    def hear(self, kind, body):
        if kind == Type.NO_JOB:
            self.say(Type.PRE_SLEEP)
            return
        if kind == Type.JOB_ASSIGN:
            time.sleep(self.seconds)
            self.runs += 1
            self.say(Type.WORK_COMPLETE, body.partition(b"\0")[0], b"%d" % self.runs)
        self.say(Type.GRAB_JOB)


def connect(reactor, port, peer):
    return connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", port), peer)


async def work(reactor, arguments):
    """Be the worker, for ever."""
    worker = await connect(reactor, arguments.work, Worker())
    worker.start(arguments.milliseconds / 1000)
    await Deferred()


async def ask(clients, unique):
    """Let every client ask, and return how often the worker ran for them, and when each of them had its result."""
    before = await clients[0].submit(b"")
    begun = time.perf_counter()
    answers = []

    async def one(client):
        runs = await client.submit(unique)
        answers.append((runs, time.perf_counter() - begun))

    await gatherResults([Deferred.fromCoroutine(one(client)) for client in clients])
    return max(runs for runs, _ in answers) - before, [seconds for _, seconds in answers]


async def measure(reactor, port, arguments):
    """Measure both, and print it."""
    clients = [await connect(reactor, port, Client()) for _ in range(arguments.clients)]
    print(f"{arguments.clients} clients, one worker, {arguments.milliseconds} ms a job")
    print(f"{'':<16}{'the worker ran':>16}{'half had it after':>20}{'the last one after':>20}")
    for name, unique in (("one unique id", b"front-page"), ("none", b"")):
        runs, seconds = await ask(clients, unique)
        times = f"{runs} {'time ' if runs == 1 else 'times'}"
        print(f"{name:<16}{times:>16}{statistics.median(seconds):>18.2f} s{max(seconds):>18.2f} s", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clients", type=int, default=1000, help="how many clients ask")
    p.add_argument("--milliseconds", type=int, default=10, help="how long a job takes")
    p.add_argument("--work", type=int, metavar="PORT", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.work:
        react(lambda reactor: Deferred.fromCoroutine(work(reactor, a)))
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
            react(lambda reactor: Deferred.fromCoroutine(measure(reactor, port, a)))
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)


if __name__ == "__main__":
    main()
