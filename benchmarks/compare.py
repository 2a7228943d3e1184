#!/usr/bin/env python3
"""Measure Gearman job servers side by side, on the same work, in one run.

    benchmarks/compare.py                       # ours, and gearmand with -t 1 and with its default threads
    benchmarks/compare.py --only background,drain --rounds 5
    benchmarks/compare.py --only backlog        # a million queued jobs: some minutes, 2 GiB of memory
    benchmarks/compare.py --durable sqlite      # background jobs through a persistent queue; or: postgres,redis; or: all

The servers take turns, round after round, so that a drift of the machine hits
all of them.  Per workload it prints each server's median jobs per second and
CPU microseconds per job, and ours divided by theirs (above 1.00x: ours is
better).  CPU per job is the steadier of the two on a busy machine.  The last
column says whether ours reaches its goal against gearmand with its default
threads, where it has one; the exit status is 1 if a goal is missed.

With --durable, each store has two rows: many clients, and one client alone.
Ours and gearmand use the same database server, which this starts, each with a
database, table or prefix of its own.

Needs a C compiler, and Debian's gearman-job-server for the peer; --durable
needs the store's database server, and the project's test dependencies.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from stores import STORES

HERE = pathlib.Path(__file__).resolve().parent
TWISTD = pathlib.Path(sys.executable).with_name("twistd")

# name: (what it shows, gearload's arguments).  Those that share a server run in this order.
WORKLOADS = {
    "latency": ("1 client, 1 worker, one job at a time", "--mode fg --clients 1 --workers 1 --jobs 4000"),
    "foreground": ("32 clients, 8 workers, one job at a time each", "--mode fg --clients 32 --workers 8 --jobs 30000"),
    "pipelined": ("8 clients with 64 jobs outstanding each", "--mode fg --clients 8 --workers 8 --window 64 --jobs 50000"),
    "background": ("8 clients submit while 8 workers run", "--mode bg --clients 8 --workers 8 --window 64 --jobs 50000"),
    "submit": ("100k background jobs, no worker", "--mode submit --clients 8 --window 256 --jobs 100000"),
    "drain": ("8 workers run the 100k jobs queued before", "--mode drain --workers 8 --jobs 100000"),
    "large": ("64 KiB in, 64 KiB out", "--mode fg --clients 16 --workers 8 --jobs 10000 --payload 65536 --result 65536"),
    "sleepers": ("500 more workers asleep for the same function", "--mode fg --clients 4 --workers 4 --sleepers 500 --jobs 4000"),
    "connections": ("3000 more idle connections", "--mode fg --clients 4 --workers 4 --idle 3000 --jobs 10000"),
    "backlog": ("a million jobs queued, then 20 s of draining", "--mode submit --clients 8 --window 256 --jobs 1000000"),
}
AFTER = {"backlog": "--mode drain --workers 8 --jobs 1000000 --limit 20"}
# What ours has to reach against gearmand with its default threads.
GOALS = {
    **dict.fromkeys(
        ("latency", "foreground", "pipelined", "background", "drain", "large", "sleepers", "connections"),
        ("no more CPU per job", lambda ours, theirs: ours["cpu"] <= theirs["cpu"]),
    ),
    "submit": ("at most twice the CPU per job", lambda ours, theirs: ours["cpu"] <= 2 * theirs["cpu"]),
    "backlog": (
        "10 times the rate, half the memory",
        lambda ours, theirs: ours["rate"] >= 10 * theirs["rate"] and ours["rss"] <= theirs["rss"] / 2,
    ),
}
DURABLE = {
    "": ("background jobs with unique ids, acknowledged once stored", "--mode bg --clients 8 --workers 8 --window 64 --unique 1 --jobs {n}"),
    "-1": ("one client, one job at a time", "--mode bg --clients 1 --workers 1 --window 1 --unique 1 --jobs {fewer}"),
}
# How many times gearmand's rate; and one client alone is not to wait longer for its acknowledgement.
DURABLE_RATES = {"sqlite": 20, "postgres": 10, "mysql": 10, "redis": 3}
for _store, _times in DURABLE_RATES.items():
    GOALS[_store] = (f"{_times} times the rate", lambda ours, theirs, times=_times: ours["rate"] >= times * theirs["rate"])
    GOALS[_store + "-1"] = ("acknowledged no later", lambda ours, theirs: ours["p50"] <= theirs["p50"])


GIVEN_PORTS = set()


def free_port():
    """A port on which nothing listens, and which was not given before."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in GIVEN_PORTS:
            GIVEN_PORTS.add(port)
            return port


def wait_for(port, process, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"the server ended before it listened: {process.args}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"the server did not listen in {seconds} s: {process.args}")


def run(server, steps, load, folder):
    """Start one server, run the steps on it in turn, stop it.  Returns {step: figures}."""
    port = free_port()
    command = server.format(port=port, dir=folder, http=free_port())
    with open(os.path.join(folder, "server.log"), "ab") as log:
        process = subprocess.Popen(shlex.split(command), stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(port, process)
        found = {}
        for name, arguments in steps:
            done = subprocess.run([load, "--port", str(port), "--pid", str(process.pid), "--limit", "60", *arguments.split()],
                                  capture_output=True, text=True, timeout=300)
            try:
                found[name] = json.loads(done.stdout)
            except ValueError:
                found[name] = {"ok": False, "jobs_per_s": 0, "server_cpu_us_per_job": 0, "error": done.stderr.strip()[-200:]}
        return found
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ours", default=f"{TWISTD} --pidfile= -n gearman --listen 127.0.0.1 --port {{port}}", help="how our server starts; {port} and {dir} are filled in")
    p.add_argument("--peer", action="append", help="NAME=COMMAND of another server; may be repeated; replaces the default peers")
    p.add_argument("--only", help="comma-separated workloads (default: all but backlog)")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--durable", metavar="STORES", help=f"measure these stores instead: all, or some of {','.join(STORES)}")
    p.add_argument("--ours-durable", default=f"{TWISTD} --pidfile= -n gearman --listen 127.0.0.1 --port {{port}} {{store}}")
    p.add_argument("--jobs", type=int, help="jobs in the durable workload of many clients; one client does a fifth of them (default: as stores.py has it)")
    p.add_argument("--json", help="also write every figure to this file")
    a = p.parse_args()
    load = os.path.join(tempfile.mkdtemp(), "gearload")
    subprocess.run(["cc", "-O2", "-o", load, str(HERE / "gearload.c")], check=True)

    gearmand = "gearmand -p {port} -L 127.0.0.1 -l {dir}/gearmand.log --pid-file={dir}/gearmand.pid" + (" -u root" if os.geteuid() == 0 else "")
    if not a.peer and not shutil.which("gearmand"):
        print("gearmand is not installed: ours alone", file=sys.stderr)
    if a.durable:
        stores = list(STORES) if a.durable == "all" else a.durable.split(",")
        if unknown := set(stores) - set(STORES):
            p.error(f"--durable: there is no {', '.join(unknown)}; there is: {', '.join(STORES)}")
        names, servers, figures = measure_stores(stores, a, gearmand + " {store}", load)
    else:
        servers = {"ours": a.ours}
        if a.peer:
            servers |= dict(x.split("=", 1) for x in a.peer)
        elif shutil.which("gearmand"):
            servers |= {"gearmand -t 1": gearmand + " -t 1", "gearmand": gearmand}
        names = a.only.split(",") if a.only else [w for w in WORKLOADS if w != "backlog"]
        figures = measure(names, servers, a.rounds, load)

    missed = report(names, servers, figures)
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(figures, indent=1))
    return 1 if missed else 0


def measure(names, servers, rounds, load):
    """Run the plain workloads; return {workload: {server: [figures of each round]}}."""
    figures = {}
    for round_ in range(rounds):
        for server, command in servers.items():
            print(f"round {round_ + 1} of {rounds}: {server}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                plain = [(n, WORKLOADS[n][1]) for n in names if n != "backlog"]
                for n, f in run(command, plain, load, folder).items():
                    figures.setdefault(n, {}).setdefault(server, []).append(f)
            if "backlog" in names and round_ == 0:
                with tempfile.TemporaryDirectory() as folder:
                    f = run(command, [("fill", WORKLOADS["backlog"][1]), ("backlog", AFTER["backlog"])], load, folder)
                    figures.setdefault("backlog", {}).setdefault(server, []).append(
                        {**f["backlog"], "ok": f["fill"]["ok"], "server_rss_kb": f["fill"].get("server_rss_kb", 0)})
    return figures


def measure_stores(stores, a, gearmand, load):
    """Run the durable workloads; return the rows' names, the servers and, as above, the figures."""
    figures = {}
    for store in stores:
        start, options, peer_has_it, jobs = STORES[store]
        jobs = a.jobs or jobs
        servers = {"ours": a.ours_durable}
        if peer_has_it and shutil.which("gearmand"):
            servers["gearmand"] = gearmand
        with start() as database:
            for round_ in range(a.rounds):
                for server, command in servers.items():
                    print(f"{store}, round {round_ + 1} of {a.rounds}: {server}", file=sys.stderr)
                    with tempfile.TemporaryDirectory() as folder:
                        told = command.replace("{store}", options(database, folder))
                        steps = [(store + n, arguments.format(n=jobs, fewer=max(jobs // 5, 1))) for n, (_, arguments) in DURABLE.items()]
                        for n, f in run(told, steps, load, folder).items():
                            figures.setdefault(n, {}).setdefault(server, []).append(f)
    return list(figures), ["ours", "gearmand"], figures


def summary(rows):
    """The medians of one server's rounds of one workload."""
    keys = {"rate": "jobs_per_s", "cpu": "server_cpu_us_per_job", "p50": "p50_ms", "p99": "p99_ms", "rss": "server_rss_kb"}
    return {name: statistics.median(row.get(key, 0) for row in rows) for name, key in keys.items()}


def report(names, servers, figures):
    """Print the table; return the workloads that miss their goal."""
    missed = []
    print(f"{'workload':<16}{'server':<16}{'jobs/s':>10}{'cpu us/job':>12}{'p50 ms':>9}{'p99 ms':>9}{'rss MB':>9}{'ours: jobs/s':>14}{'cpu':>8}{'rss':>8}  goal")
    for name in names:
        ours = summary(figures[name]["ours"])
        for server in servers:
            rows = figures[name].get(server)
            if rows is None:
                continue
            theirs = summary(rows)
            line = (f"{name:<16}{server:<16}{theirs['rate']:>10.0f}{theirs['cpu']:>12.2f}"
                    f"{theirs['p50']:>9.2f}{theirs['p99']:>9.2f}{theirs['rss'] / 1024:>9.0f}")
            if server != "ours" and theirs["rate"] and ours["rate"]:
                line += (f"{ours['rate'] / theirs['rate']:>13.2f}x{theirs['cpu'] / max(ours['cpu'], 0.01):>7.2f}x"
                         f"{theirs['rss'] / max(ours['rss'], 1):>7.2f}x")
            if server == "gearmand" and name in GOALS:
                wording, reached = GOALS[name]
                line += f"  {'reached' if reached(ours, theirs) else 'MISSED'}: {wording}"
                if not reached(ours, theirs):
                    missed.append(name)
            if not all(row["ok"] for row in rows):
                line += "  INCOMPLETE " + str(rows[-1].get("error", ""))
                missed.append(name)
            print(line)
    return missed


if __name__ == "__main__":
    sys.exit(main())
