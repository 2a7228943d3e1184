#!/usr/bin/env python3
"""
Makes the pictures in docs/console.md: a job server with a busy day behind it,
looked at in Chromium.

    python docs/screenshots.py                       # docs/images/*.png, in ten minutes
    python docs/screenshots.py --minutes 1 --directory /tmp/pictures
    python docs/screenshots.py --serve --port 4780   # only the server, to look at

It needs what the tests need: tests/install-test-dependencies.sh and pip install
-e '.[test]'.  The server is of this process, keeps nothing, and listens on this
machine alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall, deferLater, react

from gearsvc.config import Settings
from gearsvc.core.packets import REQUEST, RESPONSE, Type
from gearsvc.core.wire import PacketDecoder, encode
from gearsvc.service import JobServerService
from tests.consoleweb.browser import DESKTOP, PHONE, Tab, browser
from tests.consoleweb.case import HOSTILE

# Function: jobs a second, seconds for one, workers, share that fails.
BUSY = {
    "send_email": (14.0, 0.12, 3, 0.01),
    "resize_image": (6.0, 0.4, 4, 0.0),
    "charge_card": (2.0, 0.3, 2, 0.13),
    "index_product": (9.0, 0.08, 1, 0.0),
    "push_notification": (4.0, 0.05, 1, 0.002),
    "transcode_video": (0.045, 45.0, 3, 0.05),
    "build_report": (0.08, 8.0, 1, 0.05),
    "sync_inventory": (0.5, 0.7, 1, 0.0),
    "fetch_rates": (0.2, 0.2, 1, 0.0),
    "score_order": (3.0, 0.03, 1, 0.0),
}
QUIET = """
    anonymize_account archive_invoices backup_bucket check_links cleanup_sessions close_month compress_logs
    convert_pdf crawl_feed dedupe_contacts detect_faces expire_carts export_csv export_ledger extract_text
    generate_sitemap geocode_address import_catalog invalidate_cache mail_digest match_payments merge_duplicates
    notify_webhook poll_carrier print_labels purge_cdn rebuild_search recalc_tax refresh_tokens render_invoice
    replay_events rotate_keys scan_upload sign_document slack_alert sms_reminder translate_text update_prices
    verify_domain warm_cache
""".split()
BACKLOG = 100_000
CHANCE = random.Random(7)

MEDIUM = (1280, 760)
SHORT = (1280, 560)
"""
The sizes of the window where less is to be seen, and for what is one long table.
"""


class Player(Protocol):
    """
    A client, or a worker that takes its time.
    """

    transport: Any

    def __init__(self, reactor: Any, client_id: str, functions: dict[str, tuple[float, float]] | None = None) -> None:
        """
        @param functions: what it can do: how long that takes, and how often it fails.
        """
        self._reactor = reactor
        self._client_id = client_id
        self._functions = functions or {}
        self._decoder = PacketDecoder(magic=RESPONSE)

    def connectionMade(self) -> None:
        """
        Say who it is and what it can do, and ask for a job.
        """
        self.says(Type.SET_CLIENT_ID, self._client_id.encode())
        for function in self._functions:
            self.says(Type.CAN_DO, function.encode())
        if self._functions:
            self.says(Type.GRAB_JOB_UNIQ)

    def says(self, kind: int, *arguments: bytes) -> None:
        """
        Send a packet.
        """
        self.transport.write(encode(kind, b"\0".join(arguments), REQUEST))

    def dataReceived(self, data: bytes) -> None:
        """
        Do what a worker does.
        """
        for kind, body in self._decoder.feed(data):
            if kind == Type.NO_JOB:
                self.says(Type.PRE_SLEEP)
            elif kind == Type.NOOP:
                self.says(Type.GRAB_JOB_UNIQ)
            elif kind == Type.JOB_ASSIGN_UNIQ:
                self._work(*body.split(b"\0", 3)[:2])

    def _work(self, handle: bytes, function: bytes) -> None:
        seconds, failing = self._functions[function.decode()]
        seconds *= CHANCE.lognormvariate(0, 0.4)
        if seconds > 3:
            for step in range(1, 100):
                self._reactor.callLater(seconds * step / 100, self.says, Type.WORK_STATUS, handle, b"%d" % step, b"100")
        self._reactor.callLater(seconds, self._finish, handle, function, CHANCE.random() < failing)

    def _finish(self, handle: bytes, function: bytes, failed: bool) -> None:
        if failed:
            self.says(Type.WORK_FAIL, handle)
        else:
            self.says(
                Type.WORK_COMPLETE,
                handle,
                json.dumps({"function": function.decode(), "ok": True, "took_ms": 118}).encode(),
            )
        self.says(Type.GRAB_JOB_UNIQ)


class Stage:
    """
    A job server, and who uses it.
    """

    def __init__(self, reactor: Any, port: int) -> None:
        self.reactor = reactor
        self.service = JobServerService(
            Settings(
                port=("tcp:0:interface=127.0.0.1",),
                protocol=("console",),
                plugin_options={"console-port": (str(port),)},
                job_handle_prefix="H:shop1",
            )
        )
        self._numbers = iter(range(1, 10**9))

    async def start(self) -> None:
        """
        Start the server.
        """
        self.service.startService()
        await self.service.when_ready()
        console: Any = self.service._protocols[0]
        self.port: int = console.ports[0].getHost().port
        self.client = await self.join("shop-web-1")

    async def join(self, client_id: str, functions: dict[str, tuple[float, float]] | None = None) -> Player:
        """
        Let somebody connect.
        """
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.service.ports[0].getHost().port)
        player: Player = await connectProtocol(endpoint, Player(self.reactor, client_id, functions))
        return player

    def submit(self, function: bytes, priority: str = "", workload: bytes | None = None) -> None:
        """
        Submit a job in the background.
        """
        kind = Type[f"SUBMIT_JOB{priority}_BG"]
        number = next(self._numbers)
        if workload is None:
            workload = json.dumps(
                {"order": 400_000 + number, "customer": "c-%05d" % (number % 7919), "retry": False}
            ).encode()
        self.client.says(kind, function, b"order-%d" % number, workload)

    async def wait(self, seconds: float) -> None:
        """
        Let some time pass.
        """
        await deferLater(self.reactor, seconds, lambda: None)

    async def play(self) -> None:
        """
        Let a busy day begin.
        """
        for name, (rate, seconds, workers, failing) in BUSY.items():
            for number in range(workers):
                await self.join(f"{name.split('_')[0]}-{number + 1}", {name: (seconds, failing)})
            call = LoopingCall(self._submit_some, name.encode(), rate)
            call.clock = self.reactor
            call.start(0.5)
        # Nobody scans uploads, and only one worker takes the backlog.
        everything = {
            name: (0.2, 0.0) for name in QUIET if name not in ("import_catalog", "rebuild_search", "scan_upload")
        }
        await self.join("cron-1", everything)
        await self.join("cron-2", everything)
        await self.join("batch-1", {"import_catalog": (0.2, 0.0), "rebuild_search": (0.2, 0.0)})
        await self.join("shop-web-2")
        for name in QUIET:
            self.submit(name.encode())
        now = int(self.service.job_server.clock.time())
        for number in range(240):
            function = CHANCE.choice((b"mail_digest", b"expire_carts", b"sms_reminder", b"close_month"))
            when = now + 3600 + int(CHANCE.expovariate(1 / 20_000))
            self.client.says(
                Type.SUBMIT_JOB_EPOCH, function, b"later-%d" % number, b"%d" % when, b'{"kind": "reminder"}'
            )
        await self.wait(0.5)
        console: Any = self.service._protocols[0]
        await console.actions.pause(b"sync_inventory")

    async def fill(self) -> None:
        """
        Let a backlog come: of a function that nobody does, most of all.
        """
        for number in range(BACKLOG):
            self.submit(b"import_catalog" if number % 4 else b"rebuild_search", "_LOW" if number % 3 else "")
            if number % 2000 == 0:
                await self.wait(0.01)

    async def be_hostile(self) -> None:
        """
        Let somebody come who wants no good.
        """
        for name in HOSTILE:
            if b"\0" not in name:
                self.client.says(Type.SUBMIT_JOB_HIGH_BG, name, name[:64], name)
                evil = await self.join(name.decode("latin-1")[:500], {})
                evil.transport.write(encode(Type.CAN_DO, name, REQUEST))

    def _submit_some(self, function: bytes, rate: float) -> None:
        moving = rate * 0.5 * (1 + 0.6 * CHANCE.random() * (1 if int(time.time() / 40) % 3 else 2.2))
        for _ in range(int(moving) + (CHANCE.random() < moving % 1)):
            self.submit(function, "_HIGH" if CHANCE.random() < 0.1 else "")


async def shoot(
    stage: Stage,
    directory: Path,
    name: str,
    path: str,
    size: tuple[int, int] = DESKTOP,
    dark: bool = False,
    whole: bool = False,
) -> None:
    """
    Take one picture.
    """
    tab = Tab(f"http://127.0.0.1:{stage.port}")
    await browser().ask(lambda chromium: tab.make(chromium, True, dark, size, "Europe/Berlin"))
    await tab.open(path)
    await stage.wait(0.8)
    await tab.shoot(str(directory / f"{name}.png"), whole)
    print(f"{name}: {len((directory / f'{name}.png').read_bytes()):,} bytes", *tab.wrong)
    await tab.close()


async def take(reactor: Any, arguments: argparse.Namespace) -> None:
    """
    Make all of them.
    """
    stage = Stage(reactor, arguments.port)
    await stage.start()
    if arguments.serve:
        print(f"http://127.0.0.1:{stage.port}")
    elif arguments.all:
        for name in ("", "functions", "jobs", "scheduled", "workers"):
            await shoot(stage, arguments.directory, f"empty-{name or 'overview'}", f"/{name}")
    await stage.play()
    if not arguments.bare:
        await stage.fill()
    if arguments.hostile:
        await stage.be_hostile()
    if arguments.serve:
        await Deferred()
    await stage.wait(60 * arguments.minutes)
    server = stage.service.job_server
    videos = [job for job in server.jobs.values() if job.function == b"transcode_video" and job.worker is not None]
    youngest = max(videos, key=lambda job: job.running_since)
    waiting = next(job.handle.decode() for job in server.jobs.values() if job.function == b"import_catalog")
    worker = next(each.number for each in server.sessions if each.client_id == b"transcode-1")
    pages = {
        "job": (f"/jobs/{youngest.handle.decode()}", DESKTOP),
        "waiting": (f"/jobs/{waiting}", MEDIUM),
        "overview": ("/", MEDIUM),
        "functions": ("/functions", SHORT),
        "function": ("/functions/charge_card", DESKTOP),
        "jobs": ("/jobs?function=transcode_video&state=running&state=queued&state=completed&state=failed", SHORT),
        "scheduled": ("/scheduled", SHORT),
        "workers": ("/workers", SHORT),
    }
    for name, (path, size) in pages.items():
        await shoot(stage, arguments.directory, name, path, size)
    await shoot(stage, arguments.directory, "dark", "/", MEDIUM, dark=True)
    await shoot(stage, arguments.directory, "phone", "/", PHONE)
    if arguments.all:
        paths = {name: path for name, (path, _) in pages.items()}
        for name, path in {
            **paths,
            "worker": f"/workers/{worker}",
            "all-jobs": "/jobs",
            "clients": "/workers?show=clients",
        }.items():
            await shoot(stage, arguments.directory, f"dark-{name}", path, dark=True, whole=True)
            await shoot(stage, arguments.directory, f"phone-{name}", path, PHONE, whole=True)


def main(given: Sequence[str] | None = None) -> None:
    """
    Do what the command line says.
    """
    parser = argparse.ArgumentParser(description="Makes the pictures in docs/console.md.")
    parser.add_argument("--directory", type=Path, default=ROOT / "docs" / "images", help="where they go")
    parser.add_argument("--minutes", type=float, default=10.2, help="how long the server is let run before")
    parser.add_argument("--serve", action="store_true", help="make no pictures, but go on serving")
    parser.add_argument("--port", type=int, default=0, help="the console's port; a free one unless given")
    parser.add_argument("--bare", action="store_true", help="without a backlog")
    parser.add_argument("--hostile", action="store_true", help="with functions of hostile names")
    parser.add_argument("--all", action="store_true", help="every page, empty, dark and narrow too")
    arguments = parser.parse_args(given)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    react(lambda reactor: Deferred.fromCoroutine(take(reactor, arguments)))


if __name__ == "__main__":
    main()
