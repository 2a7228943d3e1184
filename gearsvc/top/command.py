"""
The command: its words, its keys, and the loop between.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console as Terminal
from rich.live import Live

from gearsvc.commandline.frame import DEFAULT_HOST, DEFAULT_PORT, address, describe, servers_of
from gearsvc.top.reading import Console, Snapshot, Source, TextConnection, Unreachable
from gearsvc.top.screen import COLUMNS, SORT_KEYS, View, render

CONSOLE_PORT = 4780

EXAMPLES = """\
gearsvc top                                     the server on this machine
gearsvc top jobs.example.com --sort running     another one, gearmand or gearsvc
gearsvc top --console http://127.0.0.1:4780     with what its console knows
gearsvc top --once                              one look, for a script
"""


def span_of_seconds(given: str) -> float:
    """
    A check for the time between two looks.
    """
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0.1 to 3600, not {given!r}")
    return seconds


def column_key(given: str) -> str:
    """
    A check for a column's title, or the key that sorts by it.
    """
    for column in COLUMNS:
        if column.key and given.lower() in (column.title.lower(), column.key):
            return column.key
    titles = ", ".join(column.title.lower() for column in COLUMNS if column.key)
    raise argparse.ArgumentTypeError(f"must be one of {titles}, not {given!r}")


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Fill the parser of the command line.
    """
    describe(parser, "Watch the functions of a Gearman server: any server that speaks the text protocol.", EXAMPLES)
    parser.add_argument(
        "server",
        nargs="?",
        metavar="HOST[:PORT]",
        type=address,
        help=f"the server (default: what GEARMAN_SERVER or GEARMAN_SERVERS names, or {DEFAULT_HOST}:{DEFAULT_PORT})",
    )
    parser.add_argument(
        "--console", metavar="URL", help=f"the server's console (default: http://127.0.0.1:{CONSOLE_PORT}, if it is this server's)"
    )
    parser.add_argument("--token-file", metavar="FILE", help="a file that holds a token for the console, and nothing else")
    parser.add_argument("--interval", metavar="SECONDS", type=span_of_seconds, default=2.0, help="the time between two looks (default: 2)")
    parser.add_argument("--sort", metavar="COLUMN", type=column_key, default="w", help="the column to sort by (default: waiting)")
    parser.add_argument("--once", action="store_true", help="look once, print it, and end")


def run(options: argparse.Namespace) -> int:
    """
    Run the command.

    @return: the exit status: 1 if the server does not answer to C{--once}, or
        there is no terminal to show it in.
    """
    token = ""
    if options.token_file is not None:
        try:
            with open(options.token_file, encoding="ascii") as file:
                token = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            print(f"gearsvc top: --token-file: cannot read {options.token_file}: {error}", file=sys.stderr)
            return 1
    host, port = servers_of(options)[0]
    local = host in ("127.0.0.1", "localhost", "::1")
    url = options.console or (f"http://127.0.0.1:{CONSOLE_PORT}" if local else None)
    if url is not None and not url.startswith(("http://", "https://")):
        print(f"gearsvc top: --console: must be a URL such as http://127.0.0.1:{CONSOLE_PORT}, not {url!r}", file=sys.stderr)
        return 1
    console = Console(url, token) if url is not None else None
    source = Source(TextConnection(host, port), console, options.console is not None)
    view = View(options.sort)
    if options.once:
        return _print_once(source, view)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("gearsvc top: there is no terminal here to show it in; --once prints it", file=sys.stderr)
        return 1
    try:
        _Watch(source, view, options.interval).run()
    except KeyboardInterrupt:
        # The way in which most people end it.
        pass
    return 0


def _print_once(source: Source, view: View) -> int:
    try:
        snapshot = source.snapshot()
    except Unreachable as error:
        print(f"gearsvc top: {error}", file=sys.stderr)
        return 1
    width = None if sys.stdout.isatty() else max([100, *(len(row.name) + 70 for row in snapshot.rows)])
    Terminal(width=width, highlight=False).print(render(snapshot, "", view, None, 0))
    return 0


@contextmanager
def _keys_at_once() -> Iterator[None]:
    """
    Let keys come as they are pressed, and not show.
    """
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class _Watch:
    """
    Shows snapshots until the user has seen enough.  They are taken in a thread,
    so that keys work while a server does not answer.
    """

    def __init__(self, source: Source, view: View, interval: float) -> None:
        self._source = source
        self._view = view
        self._interval = interval
        self._snapshot: Snapshot | None = None
        self._problem = ""
        self._ended = Event()
        self._pipe = os.pipe()

    def run(self) -> None:
        """
        Watch.
        """
        Thread(target=self._look, name="looks at the server", daemon=True).start()
        terminal = Terminal(highlight=False)
        with _keys_at_once(), Live(console=terminal, screen=True, auto_refresh=False) as live:
            while not self._ended.is_set():
                live.update(render(self._snapshot, self._problem, self._view, terminal.size.height, self._interval), refresh=True)
                ready, _, _ = select.select([sys.stdin, self._pipe[0]], [], [], 1.0)
                if self._pipe[0] in ready:
                    os.read(self._pipe[0], 1000)
                if sys.stdin in ready:
                    self._press(os.read(sys.stdin.fileno(), 100))

    def _look(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                self._snapshot, self._problem = self._source.snapshot(), ""
            except Unreachable as error:
                self._problem = str(error)
            os.write(self._pipe[1], b"!")
            self._ended.wait(max(self._interval - (time.monotonic() - began), 0.05))

    def _press(self, keys: bytes) -> None:
        view = self._view
        if not keys:
            # The terminal is gone.
            self._ended.set()
        for sequence, rows in ((b"\x1b[A", -1), (b"\x1b[B", 1), (b"\x1b[5~", -20), (b"\x1b[6~", 20)):
            view.first = max(0, view.first + rows * keys.count(sequence))
            keys = keys.replace(sequence, b"")
        for key in keys.decode("ascii", "replace").lower():
            if key == "q":
                self._ended.set()
            elif key == "i":
                view.idle = not view.idle
            elif key in SORT_KEYS:
                view.sort, view.first = key, 0
