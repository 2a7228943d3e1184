"""
docs/from-perl.md: every method and option of the Perl server's manual has its counterpart, and each of them works.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from gearsvc.config import Settings
from gearsvc.inprocess import InProcessEndpoint
from gearsvc.service import JobServerService
from tests.protocols.case import ServiceCase
from tests.running import ROOT

PAGE = ROOT / "docs" / "from-perl.md"

ROW = re.compile(r"^\| (`[^|]*) \| ([^|]+) \| `([^|]+)` \|$", re.MULTILINE)

MANUAL = """
new port wakeup wakeup_delay create_listening_sock accept_per_loop local_addr new_client note_disconnected_client clients
to_inprocess_server start_worker enqueue_job wake_up_sleepers on_client_sleep jobs_outstanding jobs jobs_by_handle
note_job_finished set_max_queue new_job_handle job_of_unique set_unique_job grab_job
"""
"""What the manual lists."""


class TableTests(ServiceCase):
    """
    The table.
    """

    def test_complete(self) -> None:
        """
        It has what the manual lists, and nothing else.
        """
        names = {name for perl, _, _ in ROW.findall(PAGE.read_text()) for name in re.findall(r"`(\w+)`", perl)}
        self.assertEqual(names, set(MANUAL.split()))
        rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
        self.assertEqual(len(rows), len(ROW.findall(PAGE.read_text())))

    async def test_code(self) -> None:
        """
        The code of each line does what the line says, one after the other, on a server that runs.
        """
        await self.serve()
        worker = await self.worker("f")
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        (session,) = self.service.job_server.sessions
        job_server = self.service.job_server
        names: dict[str, Any] = {
            "InProcessEndpoint": InProcessEndpoint,
            "JobServerService": JobServerService,
            "Settings": Settings,
            "job_server": job_server,
            "service": self.service,
            "session": session,
            "sock": ours,
        }
        checks = {
            "clients": lambda: self.assertEqual(list(job_server.sessions), [session, names["connection"].session]),
            "note_disconnected_client": lambda: self.assertEqual(list(job_server.sessions), [session]),
            "jobs_outstanding": lambda: self.assertEqual(names["number"], 1),
            "jobs": lambda: self.assertEqual([job.handle for job in names["jobs"]], [names["handle"]]),
            "jobs_by_handle": lambda: self.assertIs(names["job"], names["jobs"][0]),
            "job_of_unique": lambda: self.assertIs(names["found"], names["job"]),
            "set_max_queue": lambda: self.assertEqual(job_server.functions[b"f"].limits, (10, 10, 10)),
            "grab_job": lambda: self.assertIs(names["grabbed"], names["job"]),
            "note_job_finished": lambda: self.assertEqual((job_server.jobs, job_server.running), ({}, 0)),
            "new_job_handle": lambda: self.assertGreater(names["handle"], names["grabbed"].handle),
            "start_worker": lambda: self.assertEqual(names["name"], "upper"),
        }
        ran = 0
        for perl, _, code in ROW.findall(PAGE.read_text()):
            exec(code, names)
            ran += 1
            name = re.findall(r"`(\w+)`", perl)[0]
            if name in ("create_listening_sock", "accept_per_loop"):
                for port in names["ports"]:
                    self.assertIn(port, self.service.ports)
                if name == "accept_per_loop":
                    (port,) = names["ports"]
                    self.assertEqual((port.getHost().host, port.numberAccepts), ("127.0.0.1", 10))
            elif name == "enqueue_job":
                names["handle"] = await names["submitted"].created
                worker.says("PRE_SLEEP")
                self.assertEqual(await worker.hears(), "NOOP")
            elif name in checks:
                checks.pop(name)()
        self.assertEqual(checks, {})
        self.assertGreater(ran, 25)
        self.assertEqual(await names["client"].submit("upper", "hello"), b"HELLO")

    async def test_wake_sleepers(self) -> None:
        """
        Those who sleep are sent a NOOP though no job waits; a function that is not known has none.
        """
        await self.serve()
        worker = await self.worker("f")
        worker.says("PRE_SLEEP")
        await worker.echoes()
        self.service.job_server.wake_sleepers(b"f")
        self.assertEqual(await worker.hears(), "NOOP")
        self.service.job_server.wake_sleepers(b"unknown")
        self.assertIsNone(self.service.job_server.job_of_unique(b"unknown", b"u"))
        await worker.echoes()
