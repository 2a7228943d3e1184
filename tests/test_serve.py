"""
C{gearsvc serve}: gearmand's command line, daemon, pid file, log.
"""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path

from tests.commands import SERVE, CommandCase
from tests.running import HOST, wait_until


class ServeTests(CommandCase):
    """
    The server in the foreground.
    """

    def test_errors(self) -> None:
        """
        What gearmand refuses is refused with its status, 1, and in one line on stderr.
        """
        (self.directory / "bad.conf").write_text("[a]\nbacklog = 0\n")
        for words, part in (
            (["--nonsense"], "--nonsense"),
            (["-vvv"], "--verbose"),
            (["-v", "LOUD"], "--verbose"),
            (["-p", "99999999"], "99999999"),
            (["-p", "abc"], "abc"),
            (["stray"], "stray"),
            (["-u", "no-such-user"], "no-such-user"),
            (["-q", "nosuch"], "nosuch"),
            (["-q", "libsqlite3"], "--libsqlite3-db"),
            (["-r", "nosuch"], "nosuch"),
            (["--ssl"], "TLS"),
            (["--config-file", "bad.conf"], "bad.conf, section [a], line 2: backlog"),
            (["--config-file", "nosuch.conf"], "nosuch.conf"),
        ):
            result = self.run_command(*SERVE, self.at, *words)
            self.assertEqual((result.returncode, result.stdout), (1, ""), words)
            self.assert_one_line(result.stderr, part)

    def test_check_args(self) -> None:
        """
        --check-args ends with status 0 if all is well, and makes neither pid file nor log.
        """
        result = self.run_command(*SERVE, "--check-args", "-d", "-P", "x.pid", "-l", "x.log", "-v", "INFO")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(list(self.directory.iterdir()), [])
        self.assertEqual(self.run_command(*SERVE, "--check-args", "-q", "sqlite").returncode, 1)

    def test_help_and_version(self) -> None:
        """
        --help and --version go to stdout, with status 0.
        """
        result = self.run_command(*SERVE, "--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(result.stdout.startswith("Usage: gearsvc serve [options]\n"), result.stdout)
        self.assertTrue(self.run_command(*SERVE, "-V").stdout.startswith("gearsvc "))

    def test_pid_file(self) -> None:
        """
        The pid file holds the process's id while it runs, in place of a stale one, and is gone after SIGTERM.
        """
        path = self.directory / "x.pid"
        path.write_text("1\n")
        process = self.start_command(*SERVE, self.at, "-P", "x.pid")
        self.assertEqual(path.read_text(), f"{process.pid}\n")
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        process.terminate()
        self.end_of(process)
        self.assertFalse(path.exists())

    def test_pid_file_of_another(self) -> None:
        """
        A pid file that another server has taken over meanwhile is not removed.
        """
        process = self.start_command(*SERVE, self.at, "-P", "x.pid")
        (self.directory / "x.pid").write_text("1\n")
        process.terminate()
        self.end_of(process)
        self.assertEqual((self.directory / "x.pid").read_text(), "1\n")

    def test_pid_file_cannot_be_written(self) -> None:
        """
        Without a place for its pid file the server does not start.
        """
        result = self.run_command(*SERVE, self.at, "-P", "nosuch/x.pid")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assert_one_line(result.stderr, "--pid-file", "nosuch/x.pid", "No such file or directory")

    def test_busy_port(self) -> None:
        """
        A busy port ends the second server at once, with one line, and leaves the first one's pid file alone.
        """
        first = self.start_command(*SERVE, self.at, "-P", "x.pid")
        for words in ([], ["-d", "-l", "none"], ["-l", "x.log"], ["-d", "-l", "x.log"]):
            result = self.run_command(*SERVE, self.at, "-P", "x.pid", *words)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assert_one_line(result.stderr, f"cannot listen on port {self.port}", "choose another port")
        self.assertEqual((self.directory / "x.pid").read_text(), f"{first.pid}\n")
        log = (self.directory / "x.log").read_text()
        self.assertEqual([line[:8] for line in log.splitlines()], ["  FATAL "] * 2)

    def test_store_cannot_be_opened(self) -> None:
        """
        A store that cannot be opened is one line and status 1, of a daemon too; no pid file stays.
        """
        (self.directory / "q.db").mkdir()
        for words in ([], ["-d", "-l", "x.log"]):
            result = self.run_command(*SERVE, self.at, "-P", "x.pid", "-q", "sqlite", "--libsqlite3-db", "q.db", *words)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assert_one_line(result.stderr, "q.db")
            self.assertFalse((self.directory / "x.pid").exists())

    def test_log_to_stderr(self) -> None:
        """
        In the foreground the log goes to stderr, in gearmand's form, at the level of --verbose.
        """
        process = self.start_command(*SERVE, self.at, "--verbose", "NOTICE")
        process.terminate()
        lines = self.end_of(process).splitlines()
        self.assertRegex("\n".join(lines), rf"(?m)^ NOTICE \d{{4}}-.* gearsvc \S+ is ready, with pid {process.pid}$")
        self.assertEqual({line[:8] for line in lines}, {" NOTICE "})

    def test_quiet(self) -> None:
        """
        At gearmand's default level a life without trouble is not worth a line.
        """
        process = self.start_command(*SERVE, self.at)
        process.terminate()
        self.assertEqual(self.end_of(process), "")

    def test_log_to_a_file(self) -> None:
        """
        The log file is appended to, and made anew by SIGHUP once it was moved away.
        """
        log, moved = self.directory / "x.log", self.directory / "x.log.1"
        log.write_text("before\n")
        process = self.start_command(*SERVE, self.at, "-l", "x.log", "-v", "NOTICE")
        log.rename(moved)
        process.send_signal(signal.SIGHUP)
        wait_until(log.exists, "the log file is not opened again")
        process.terminate()
        self.assertEqual(self.end_of(process), "")
        self.assertTrue(moved.read_text().startswith("before\n NOTICE "))
        self.assertIn("SIGTERM", log.read_text())

    def test_no_log(self) -> None:
        """
        "none" is no log at all and "stderr" is stderr; SIGHUP neither ends the server nor makes files of these names.
        """
        for name in ("none", "stderr"):
            process = self.start_command(*SERVE, self.at, "-l", name, "-v", "NOTICE")
            process.send_signal(signal.SIGHUP)
            self.assertTrue(self.answers())
            process.terminate()
            self.assertEqual("SIGTERM" in self.end_of(process), name == "stderr")
            self.assertEqual(list(self.directory.iterdir()), [])

    def test_log_cannot_be_opened(self) -> None:
        """
        Without its log file the server says so and logs to stderr.
        """
        process = self.start_command(*SERVE, self.at, "-l", "nosuch/x.log")
        process.terminate()
        self.assert_one_line(self.end_of(process), "WARNING", "nosuch/x.log", "stderr")

    def test_sigusr1(self) -> None:
        """
        SIGUSR1 ends a server in which nothing runs at once, with status 0.
        """
        process = self.start_command(*SERVE, self.at)
        process.send_signal(signal.SIGUSR1)
        self.end_of(process)

    def test_config_file(self) -> None:
        """
        A file may hold all of it, and the command line wins.
        """
        (self.directory / "x.conf").write_text(
            "[gearman]\nport = tcp:1:interface=nosuch\npid-file = x.pid\nlog-file = x.log\nverbose = DEBUG\n"
        )
        process = self.start_command(*SERVE, "--config", "x.conf", self.at, "--verbose", "NOTICE")
        self.assertEqual((self.directory / "x.pid").read_text(), f"{process.pid}\n")
        self.assertEqual(self.admin("verbose"), "OK NOTICE\n")
        self.assertIn("is ready", (self.directory / "x.log").read_text())

    def test_listen(self) -> None:
        """
        --listen takes names and addresses of both families.
        """
        self.start_command(*SERVE, "-p", str(self.port), "-L", "127.0.0.1", "-L", "::1", "-L", "127.0.0.3")
        for address in ("127.0.0.1", "::1", "127.0.0.3"):
            result = self.run_command("gearadmin", "-h", address, "-p", str(self.port), "--getpid")
            self.assertEqual(result.returncode, 0, address + result.stderr)
        self.assertNotEqual(self.run_command("gearadmin", "-h", "127.0.0.2", "-p", str(self.port), "--getpid").returncode, 0)

    def test_listen_nowhere(self) -> None:
        """
        An address that is not this machine's, or a name of none, is one line and status 1.
        """
        for address in ("192.0.2.1", "no.such.host.invalid"):
            result = self.run_command(*SERVE, "-p", str(self.port), "-L", address)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assert_one_line(result.stderr, "cannot listen", str(self.port), address)


class UserTests(CommandCase):
    """
    C{--user}.  These tests run as root on our machines, and as anybody elsewhere.
    """

    def test_user(self) -> None:
        """
        Root's server runs as the user, groups and all, and its files are the user's; anybody else cannot change user.
        """
        nobody = pwd.getpwnam("nobody")
        os.chmod(self.directory, 0o777)
        command = [*SERVE, self.at, "-u", "nobody", "-P", "x.pid", "-l", "x.log", "-q", "sqlite", "--libsqlite3-db", "q.db"]
        if os.geteuid() != 0:
            result = self.run_command(*command)
            self.assertEqual(result.returncode, 1)
            self.assert_one_line(result.stderr, "--user", "only root")
            return
        process = self.start_command(*command)
        status = Path(f"/proc/{process.pid}/status").read_text()
        self.assertRegex(status, rf"(?m)^Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}\t")
        self.assertRegex(status, rf"(?m)^Gid:\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}\t")
        self.assertRegex(status, rf"(?m)^Groups:\t{nobody.pw_gid} $")
        for name in ("x.pid", "x.log", "q.db"):
            self.assertEqual((self.directory / name).stat().st_uid, nobody.pw_uid, name)

    def test_same_user(self) -> None:
        """
        To be asked for the user that one is already is nothing to refuse.
        """
        self.start_command(*SERVE, self.at, "-u", pwd.getpwuid(os.geteuid()).pw_name)


class DaemonTests(CommandCase):
    """
    C{gearsvc serve -d}.
    """

    def daemon(self, *words: str) -> int:
        """
        Start a daemon.

        @return: its process id.
        """
        result = self.run_command(*SERVE, self.at, "-d", "-P", "x.pid", *words)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        pid = int((self.directory / "x.pid").read_text())
        self.addCleanup(self.end_daemon, pid)
        return pid

    def test_daemon(self) -> None:
        """
        The command returns when the server is ready; the server has a session of its own, no terminal, and the same directory.
        """
        pid = self.daemon("-l", "x.log", "--verbose", "INFO", "-q", "libsqlite3", "--libsqlite3-db", "q.db")
        self.assertEqual(self.admin("getpid"), f"OK {pid}\n")
        self.assertEqual(os.getsid(pid), pid)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), str(self.directory.resolve()))
        self.assertEqual([os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)], ["/dev/null"] * 3)
        self.assertIn("is ready", (self.directory / "x.log").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (self.directory / "x.pid").exists(), "the daemon is still there")

    def test_ready_means_replayed(self) -> None:
        """
        When the command returns, the stored queue is complete.
        """
        words = ["-l", "x.log", "-q", "sqlite", "--libsqlite3-db", "q.db"]
        pid = self.daemon(*words)
        result = self.run_command("gearman", "-h", HOST, "-p", str(self.port), "-b", "-f", "f", "x")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.end_daemon(pid)
        self.daemon(*words)
        self.assertEqual(self.admin("status"), "f\t1\t0\t0\n")

    def test_killed_while_it_starts(self) -> None:
        """
        If the server is killed before it is ready, the command ends with status 1 and says so.
        """
        plugins = self.directory / "gearsvc" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "deadly.py").write_text(
            "import os\n"
            "from twisted.plugin import IPlugin\n"
            "from zope.interface import implementer\n"
            "from gearsvc.interfaces import IQueueStoreMaker\n"
            "@implementer(IPlugin, IQueueStoreMaker)\n"
            "class Deadly:\n"
            "    names, summary, options = ('deadly',), '', ()\n"
            "    def missing(self):\n"
            "        return ''\n"
            "    def make(self, settings):\n"
            "        os.kill(os.getpid(), 9)\n"
            "deadly = Deadly()\n"
        )
        result = self.run_command(*SERVE, self.at, "-d", "-l", "x.log", "-q", "deadly", PYTHONPATH=str(self.directory))
        self.assertEqual(result.returncode, 1)
        self.assert_one_line(result.stderr, "SIGKILL")

    def test_log_cannot_be_opened(self) -> None:
        """
        A daemon without its log file says so on the terminal, and serves.
        """
        result = self.run_command(*SERVE, self.at, "-d", "-P", "x.pid", "-l", "nosuch/x.log")
        pid = int((self.directory / "x.pid").read_text())
        self.addCleanup(self.end_daemon, pid)
        self.assertEqual(result.returncode, 0)
        self.assert_one_line(result.stderr, "nosuch/x.log", "system's log")
        self.assertTrue(self.answers())
