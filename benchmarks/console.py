#!/usr/bin/env python3
"""Measure what the console costs the job server, in one run.

    benchmarks/console.py                       # some minutes
    benchmarks/console.py --rounds 30 --functions 500
    benchmarks/console.py --only foreground

Our server takes turns with itself, round after round, so that a drift of the
machine hits all of them:

    without     no console
    on          the console, and nobody looks
    open        the overview is open in a browser (its event stream, and the page
                anew every two seconds, as its script does), and /metrics and
                /api/v1/overview are fetched once a second
    followed    that, and somebody reads every event of every job

A second is one of the server's processor time: under full load and on a machine
of its own it is one of the clock's as well, and on a busy machine the figures do
not depend on what else runs.

Per workload this prints each one's median jobs per second and CPU microseconds
per job, then the lower quartile of the latter and how much more that is than
without: what disturbs a machine only ever adds to it.  The last column says
whether the console reaches its goal; the exit status is 1 if one is missed.

Needs a C compiler, and Linux.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading

from compare import HERE, TWISTD, free_port, summary, wait_for

WORKLOADS = {
    "foreground": "--mode fg --clients 32 --workers 8",
    "pipelined": "--mode fg --clients 8 --workers 8 --window 64",
    "background": "--mode bg --clients 8 --workers 8 --window 64",
}
MOST = 0.05
# What is fetched, and how often, in seconds; and what is read without end.
FETCHED = {"/metrics": 1, "/api/v1/overview": 1, "/": 2}
STREAMS = {"on": (), "open": ("/events?event=changed",), "followed": ("/events?event=changed", "/events")}
GOALS = {"open": f"less than {MOST:.0%} more CPU per job"}


def cpu_seconds(pid):
    """The processor time of a process so far, of all its threads."""
    found = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += int((task / "schedstat").read_text().split()[0])
    return found / 1e9


class Server:
    """A server that runs, and those who look at its console, as long as it is entered."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.port, self.console = free_port(), free_port()
        self.ended = threading.Event()
        self.counts = {}
        streams = STREAMS.get(name, ())
        wanted = [(self.read, path) for path in streams] + [(self.fetch, path) for path in FETCHED if streams]
        self.threads = [threading.Thread(target=task, args=(path,), daemon=True) for task, path in wanted]

    def __enter__(self):
        command = f"{TWISTD} --pidfile= -n gearman --listen 127.0.0.1 --port {self.port}"
        if self.name in STREAMS:
            command += f" -r console --console-port {self.console}"
        with open(os.path.join(self.folder, f"{self.name}.log"), "wb") as log:
            self.process = subprocess.Popen(shlex.split(command), stdout=log, stderr=log, cwd=self.folder)
        wait_for(self.port, self.process)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(10)
        self.process.terminate()
        self.process.wait(30)

    def load(self, load, arguments):
        """Run one workload; return gearload's figures, with a CPU time to the nanosecond."""
        before = cpu_seconds(self.process.pid)
        command = [load, "--port", str(self.port), "--pid", str(self.process.pid), "--limit", "120", *arguments.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            raise SystemExit(f"gearload, with {self.name}: {done.stderr}") from None
        found["server_cpu_us_per_job"] = (cpu_seconds(self.process.pid) - before) / found["jobs"] * 1e6
        return found

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.console, timeout=30)
        connection.request("GET", path, headers={"Accept": "text/html" if path == "/" else "*/*"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{path} is answered with {answer.status}")
        return answer

    def fetch(self, path):
        last = 0.0
        while not self.ended.wait(0.1):
            now = cpu_seconds(self.process.pid)
            if now - last >= FETCHED[path]:
                last = now
                self.ask(path).read()
                self.counts[path] = self.counts.get(path, 0) + 1

    def read(self, path):
        while not self.ended.is_set():
            # It says nothing where nothing happens; and it ends with the server.
            with contextlib.suppress(TimeoutError, http.client.IncompleteRead, ConnectionError):
                answer = self.ask(path)
                while not self.ended.is_set() and (piece := answer.read1(1 << 16)):
                    self.counts[path] = self.counts.get(path, 0) + piece.count(b"event: ")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", help="comma-separated workloads")
    p.add_argument("--servers", default=",".join(STREAMS), help="comma-separated: what to compare with the server without console")
    p.add_argument("--rounds", type=int, default=12)
    p.add_argument("--jobs", type=int, default=100_000, help="how many each workload has")
    p.add_argument("--functions", type=int, default=50)
    p.add_argument("--json", help="also write every figure to this file")
    a = p.parse_args()
    folder = tempfile.mkdtemp()
    load = os.path.join(folder, "gearload")
    subprocess.run(["cc", "-O2", "-o", load, str(HERE / "gearload.c")], check=True)
    names = a.only.split(",") if a.only else list(WORKLOADS)
    servers = ["without", *a.servers.split(",")]
    figures, looked = {}, {}
    for round_ in range(a.rounds):
        # Each is as often the first as any other.
        turn = round_ % len(servers)
        for name in servers[turn:] + servers[:turn]:
            print(f"round {round_ + 1} of {a.rounds}: {name}", file=sys.stderr)
            with Server(name, folder) as server:
                arguments = f" --functions {a.functions} --jobs "
                server.load(load, WORKLOADS["background"] + arguments + "10000")
                for workload in names:
                    found = server.load(load, WORKLOADS[workload] + arguments + str(a.jobs))
                    figures.setdefault(workload, {}).setdefault(name, []).append(found)
            for path, count in server.counts.items():
                counts = looked.setdefault(name, {})
                counts[path] = counts.get(path, 0) + count
    missed = report(names, servers, figures)
    for name, counts in looked.items():
        print(f"{name}: " + ", ".join(f"{count:,} of {path}" for path, count in sorted(counts.items())))
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(figures, indent=1))
    return 1 if missed else 0


def quartile(rows):
    """The lower quartile of CPU microseconds per job."""
    found = sorted(row["server_cpu_us_per_job"] for row in rows)
    return found[(len(found) - 1) // 4]


def report(names, servers, figures):
    """Print the table; return what misses its goal."""
    missed = []
    print(f"{'workload':<16}{'server':<16}{'jobs/s':>10}{'cpu us/job':>12}{'p50 ms':>9}{'p99 ms':>9}{'rss MB':>9}{'quartile':>10}{'more cpu':>10}  goal")
    for name in names:
        base = figures[name]["without"]
        for server in servers:
            rows = figures[name][server]
            found = summary(rows)
            line = (f"{name:<16}{server:<16}{found['rate']:>10.0f}{found['cpu']:>12.2f}"
                    f"{found['p50']:>9.2f}{found['p99']:>9.2f}{found['rss'] / 1024:>9.0f}")
            line += f"{quartile(rows):>10.2f}"
            if not all(row["ok"] for row in rows + base):
                line += "  INCOMPLETE " + str(rows[-1].get("error", ""))
                missed.append(name)
            elif server != "without":
                more = quartile(rows) / quartile(base) - 1
                line += f"{more:>9.1%} "
                if server in GOALS:
                    line += f" {'reached' if more < MOST else 'MISSED'}: {GOALS[server]}"
                    if more >= MOST:
                        missed.append(name)
            print(line)
    return missed


if __name__ == "__main__":
    sys.exit(main())
