#!/usr/bin/env python3
"""Fill a durable queue, kill the server, and time how it comes back.

    benchmarks/replay.py                        # a million jobs with unique ids, in SQLite
    benchmarks/replay.py --store postgres,redis,file
    benchmarks/replay.py --jobs 100000 --unique 0

Prints, for each store, how fast the jobs were acknowledged, how long the
restart took until the first answer, and what the server's memory is with the
queue and without.

Needs a C compiler and, for a store with a database, what the tests need.
"""
import argparse
import json
import pathlib
import shlex
import signal
import socket
import subprocess
import tempfile
import sys
import time

from compare import HERE, TWISTD, free_port
from stores import STORES


def start(port, folder, options):
    """Start the server on its queue; return it and the seconds until it answered."""
    command = [TWISTD, "--pidfile=", "-n", "gearman", "--listen", "127.0.0.1", "--port", str(port),
               *shlex.split(options), "--verbose", "NOTICE"]
    began = time.monotonic()
    with open(f"{folder}/server.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.settimeout(300)
                connection.sendall(b"version\n")
                if connection.recv(100).startswith(b"OK "):
                    return process, time.monotonic() - began
        except OSError:
            time.sleep(0.02)
    raise SystemExit(pathlib.Path(f"{folder}/server.log").read_text())


def memory(process):
    """The resident memory of a process, in bytes."""
    return int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--unique", choices=["0", "1"], default="1", help="whether the jobs have unique ids")
    parser.add_argument("--payload", type=int, default=32, help="bytes of each workload")
    parser.add_argument("--store", default="sqlite", help=f"all, or some of {','.join(STORES)}")
    options = parser.parse_args()
    stores = list(STORES) if options.store == "all" else options.store.split(",")
    if unknown := set(stores) - set(STORES):
        parser.error(f"--store: there is no {', '.join(unknown)}; there is: {', '.join(STORES)}")
    for store in stores:
        start_database, words, *_ = STORES[store]
        with start_database() as database, tempfile.TemporaryDirectory() as folder:
            measure(store, words(database, folder), folder, options)


def measure(store, words, folder, options):
    """Fill the queue, kill the server, start it again; print what that took."""
    load = f"{folder}/gearload"
    subprocess.run(["cc", "-O2", "-o", load, str(HERE / "gearload.c")], check=True)
    port = free_port()
    server, _ = start(port, folder, words)
    try:
        empty = memory(server)
        print(f"{store}: {options.jobs} jobs are submitted", file=sys.stderr)
        done = subprocess.run(
            [load, "--port", str(port), "--mode", "submit", "--clients", "8", "--window", "256", "--jobs", str(options.jobs),
             "--payload", str(options.payload), "--unique", options.unique, "--limit", "280"],
            capture_output=True, text=True)
        filled = json.loads(done.stdout)
        print(f"{store}: {filled['jobs']} durable jobs acknowledged in {filled['seconds']:.1f} s, {filled['jobs_per_s']} jobs/s")
        server.kill()
        server.wait()
        server, seconds = start(port, folder, words)
        time.sleep(1)
        beyond = (memory(server) - empty) / filled["jobs"] - options.payload
        print(f"{store}: killed, and back with all of them in {seconds:.1f} s; {beyond:.0f} bytes of memory a job beyond its workload")
    finally:
        server.send_signal(signal.SIGTERM)
        print(f"{store}: ended with status {server.wait(60)}")


if __name__ == "__main__":
    main()
