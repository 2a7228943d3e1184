"""
Workers of a server that detaches and becomes another user.
"""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path

from tests.commands import SERVE, TWISTD, CommandCase
from tests.checkout import run
from tests.running import HOST, wait_until


class DaemonTests(CommandCase):
    """
    C{gearsvc serve -d} and C{twistd}.  These tests run as root on our machines, and as anybody elsewhere: then the user stays
    the same.
    """

    def check(self, *command: str, log: str) -> None:
        """
        Start a daemon, look at its workers, and end it.
        """
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        os.chmod(self.directory, 0o777)
        look = "id -un > who; echo a line; echo $$ > pid; exec sleep 60"
        workers = ["--worker", f"1 look connect -- sh -c '{look}'", "--worker", "1 me -- id -un"]
        result = self.run_command(*(word.replace("USER", user) for word in command), self.at, "-v", "NOTICE", *workers)
        self.assertEqual(result.returncode, 0, result.stderr)
        daemon = int((self.directory / "x.pid").read_text())
        self.addCleanup(self.end_daemon, daemon)
        path = self.directory / "pid"
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), "the worker runs")
        worker = int(path.read_text())
        self.assertEqual((self.directory / "who").read_text(), f"{user}\n")
        self.assertEqual(run("gearman", "-h", HOST, "-p", str(self.port), "-f", "me", "a job"), f"{user}\n")
        number = pwd.getpwnam(user).pw_uid
        self.assertIn("Uid:" + 4 * f"\t{number}" + "\n", Path(f"/proc/{worker}/status").read_text())
        os.kill(daemon, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{daemon}").exists(), "the daemon is gone")
        self.assertFalse(Path(f"/proc/{worker}").exists())
        text = (self.directory / log).read_text()
        self.assertIn(f"look/1[{worker}]: a line", text)
        self.assertNotIn("Traceback", text)

    def test_serve(self) -> None:
        """
        Workers of C{gearsvc serve -d} are started and ended by the daemon, as its user, and their output is in its log.
        """
        self.check(*SERVE, "-d", "-u", "USER", "-P", "x.pid", "-l", "x.log", log="x.log")

    def test_twistd(self) -> None:
        """
        So are those of C{twistd --uid}.
        """
        self.check(*TWISTD, "--uid=USER", "--pidfile=x.pid", "--logfile=x.log", "gearman", log="x.log")

    def test_effective_user(self) -> None:
        """
        Nor do they keep what C{twistd --euid} keeps: root's rights, to be taken back.
        """
        self.check(*TWISTD, "--euid", "--uid=USER", "--pidfile=x.pid", "--logfile=x.log", "gearman", log="x.log")
