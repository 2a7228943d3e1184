"""
The examples, run as their first lines say.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import unittest
from http.client import HTTPConnection
from pathlib import Path

from tests.checkout import run
from tests.running import HOST, ROOT, RunningServer, free_port


class ComposeTests(unittest.TestCase):
    """
    C{examples/compose.tac}: a job server and a web site in one process.
    """

    def test_job_server_beside_a_web_site(self) -> None:
        """
        A job that a client submits shows on the site, which the same process serves; SIGTERM ends both.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-example-"))
        self.addCleanup(shutil.rmtree, directory)
        web_port = free_port()
        server = RunningServer("gearsvc", (), directory, free_port())
        example = (ROOT / "examples" / "compose.tac").read_text()
        for port, free in ((4730, server.port), (8080, web_port)):
            self.assertEqual(example.count(f'"tcp:{port}:'), 1)
            example = example.replace(f'"tcp:{port}:', f'"tcp:{free}:')
        (directory / "compose.tac").write_text(example)
        server.command = [str(Path(sys.executable).with_name("twistd")), "--pidfile=", "-ny", "compose.tac"]
        server.start()
        try:
            run("gearman", "-h", HOST, "-p", str(server.port), "-b", "-f", "wc", "a job")
            site = HTTPConnection(HOST, web_port)
            self.addCleanup(site.close)
            site.request("GET", "/")
            self.assertEqual(site.getresponse().read(), b"wc: 1 jobs, 0 running, 0 workers\n")
        finally:
            server.stop()
        self.assertIn("Server Shut Down.", server.log)
        self.assertNotIn("Traceback", server.log)
