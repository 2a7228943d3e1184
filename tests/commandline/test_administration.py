"""
The commands that look at a server and change it, with ours and with gearmand.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

from gearsvc.core.packets import Type
from tests.clients.case import ClientTestCase
from tests.commandline.scripted import packet
from tests.running import HOST, ROOT, free_port, start_server, wait_until

GEARSVC = (sys.executable, "-m", "gearsvc.cli")


class AdministrationCase(ClientTestCase):
    """
    Runs commands against a server with a few jobs and workers.

    @cvar kind: which server.
    """

    kind = "gearsvc"

    def setUp(self) -> None:
        """
        Start it.
        """
        super().setUp()
        if self.kind != self.server.kind:
            self.server.stop()
            self.server = start_server(kind=self.kind, directory=self.directory)
        self.at = f"{HOST}:{self.server.port}"

    def gearsvc(self, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """
        Run a command.
        """
        return self.run_program(*GEARSVC, *words, PYTHONPATH=str(ROOT), **variables)

    def output(self, command: str, *words: str) -> str:
        """
        What a command writes, which is to succeed.
        """
        done = self.gearsvc(command, *words, "--server", self.at)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode()

    def json(self, command: str, *words: str) -> Any:
        """
        The same, of what it writes with C{--json}.
        """
        return json.loads(self.output(command, *words, "--json"))

    def assert_fails(self, message: str, *words: str, status: int = 1) -> None:
        """
        A command fails with one line.
        """
        done = self.gearsvc(*words)
        self.assertEqual((done.returncode, done.stdout), (status, b""))
        self.assertRegex(done.stderr.decode(), rf"\A{message}\n\Z")

    def submit(self, function: str, unique: str, *flags: str) -> str:
        """
        Submit a background job.

        @return: its handle.
        """
        return self.gearman("-v", "-b", *flags, "-u", unique, "-f", function, "x").stdout.split()[2].decode()


class LookingTests(AdministrationCase):
    """
    The commands that look.
    """

    def test_status(self) -> None:
        """
        C{status} shows functions as a table, sorted and filtered, and as JSON.
        """
        self.assertEqual(self.output("status"), "There are no functions.\n")
        for unique in "abc":
            self.submit("resize", unique)
        self.submit("resize", "d", "-I")
        self.submit("crop", "e", "-L")
        self.worker("resize", "sleep", "1000")
        self.wait_for_jobs("resize", 4, 1)
        self.assertEqual(
            self.output("status"),
            "FUNCTION  WAITING  RUNNING  WORKERS  HIGH  NORMAL  LOW\n"
            "crop            1        0        0     0       0    1\n"
            "resize          3        1        1     0       3    0\n",
        )
        self.assertEqual(self.output("status", "--sort", "waiting").splitlines()[1].split()[0], "resize")
        self.assertEqual(
            self.json("status", "r*", "nothing"),
            [{"function": "resize", "waiting": 3, "running": 1, "workers": 1, "high": 0, "normal": 3, "low": 0}],
        )
        self.assertEqual(self.output("status", "nothing"), "There is no such function.\n")

    def test_jobs_and_workers(self) -> None:
        """
        C{jobs} and C{workers} show them as tables and as JSON.
        """
        self.assertEqual(self.output("jobs"), "There are no jobs.\n")
        self.assertEqual(self.output("workers"), "There are no workers.\n")
        handle = self.submit("resize", "first")
        self.assertEqual(self.json("jobs"), [{"handle": handle, "retries": 0, "ignored": False, "background": True}])
        self.assertEqual(self.output("jobs").split(), ["HANDLE", "RETRIES", "BACKGROUND", handle, "0", "yes"])
        self.assertEqual(self.json("jobs", "--unique"), [{"unique": "first"}])
        self.assertEqual(self.output("jobs", "--unique"), "UNIQUE ID\nfirst\n")
        self.worker("crop", "true")
        [worker] = self.json("workers")
        self.assertEqual((worker["address"], worker["client_id"], worker["functions"]), (HOST, None, [{"function": "crop"}]))
        self.assertRegex(self.output("workers"), rf"\ANUMBER  ADDRESS    CLIENT ID  FUNCTIONS\n{worker['number']} +{HOST}  - +crop\n\Z")
        self.assertGreater(len(self.json("workers", "--all")), 1)
        self.assertEqual(self.json("workers", "--function", "resize"), [])
        self.assertEqual(self.output("workers", "--function", "resize"), "No worker can do resize.\n")

    def test_strange_names(self) -> None:
        """
        What a peer chose is escaped for people, and is there in base64 for programs where it is no UTF-8.
        """
        with self.server.connect() as peer:
            peer.sendall(packet(Type.CAN_DO, b"\x1b[31m\xff"))
            wait_until(lambda: b"\xff" in self.server.admin("status"), "the function is known")
            self.assertIn("\\x1b[31m\\xff ", self.output("status"))
            [function] = self.json("status")
            self.assertEqual((function["function"], function["function_base64"]), ("\\x1b[31m\\xff", "G1szMW3/"))

    def test_ping_and_version(self) -> None:
        """
        C{ping} says how long a server takes, C{version} which it is.
        """
        version = self.server.admin("version").decode().removeprefix("OK ").strip()
        self.assertRegex(self.output("ping"), rf"\A{self.at}: \d+\.\d\d ms, version {re.escape(version)}\n\Z")
        self.assertEqual(self.output("version"), version + "\n")
        found = self.json("version")
        self.assertEqual((found["version"], found["pid"]), (version, self.server.pid))
        [found] = self.json("ping")
        self.assertGreater(found.pop("seconds"), 0)
        self.assertEqual(found, {"server": self.at, "version": version, "error": None})

    def test_nobody_there(self) -> None:
        """
        A server that is not there is one line, and status 1; C{ping} tells of the others as well.
        """
        nowhere = f"{HOST}:{free_port()}"
        for command in (["status"], ["workers"], ["jobs"], ["version"], ["create", "f"]):
            problem = f"gearsvc {command[0]}: {nowhere}: Connection refused; is it running there\\? --server names another"
            self.assert_fails(problem, *command, "--server", nowhere)
        done = self.gearsvc("ping", "--server", nowhere, "--server", self.at)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"gearsvc ping: {nowhere}: Connection refused", done.stderr.decode())
        self.assertIn(f"{self.at}: ", done.stdout.decode())
        done = self.gearsvc("ping", "--json", "--server", nowhere, "--server", self.at)
        self.assertEqual(done.returncode, 1)
        [found, other] = json.loads(done.stdout)
        problem = "Connection refused; is it running there? --server names another"
        self.assertEqual(found, {"server": nowhere, "seconds": None, "version": None, "error": f"{nowhere}: {problem}"})
        self.assertEqual((other["server"], other["error"]), (self.at, None))

    def test_environment(self) -> None:
        """
        Without C{--server}, it is the server that the environment names.
        """
        self.assertEqual(self.gearsvc("status", GEARMAN_SERVERS=self.at).stdout, b"There are no functions.\n")


class ChangingTests(AdministrationCase):
    """
    The commands that change something.
    """

    def test_functions(self) -> None:
        """
        Functions are made known, limited, and forgotten, unless a worker can do them.
        """
        self.assertEqual(self.output("create", "resize", "crop"), "")
        self.assertEqual([each["function"] for each in self.json("status")], ["crop", "resize"])
        self.assertEqual(self.output("maxqueue", "resize", "1"), "")
        self.submit("resize", "a")
        self.gearman("-b", "-u", "refused", "-f", "resize", "x")
        self.assertEqual([each["waiting"] for each in self.json("status", "resize")], [1])
        self.output("maxqueue", "resize", "none")
        self.submit("resize", "b")
        self.output("maxqueue", "resize", "1", "--high", "3", "--low", "none")
        self.submit("resize", "c", "-I")
        self.assertEqual(self.output("drop", "crop"), "")
        self.assertEqual([each["function"] for each in self.json("status")], ["resize"])
        self.worker("crop", "true")
        problem = "there are still connected workers or executing clients"
        self.assert_fails(f"gearsvc drop: crop: {self.at} refuses it: {problem}", "drop", "crop", "--server", self.at)

    def test_cancel(self) -> None:
        """
        Jobs that wait are removed; of those that are not there, each is a line, and the rest is done all the same.
        """
        handles = [self.submit("resize", unique) for unique in "ab"]
        done = self.gearsvc("cancel", handles[0], "H:nobody:1", handles[1], "--server", self.at)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr, b"gearsvc cancel: H:nobody:1: there is no job of this handle\n")
        self.assertEqual([job for job in self.json("jobs") if not job["ignored"]], [])
        self.assertEqual(self.output("jobs"), "There are no jobs.\n")

    def test_changes_for_programs(self) -> None:
        """
        What was changed is there as JSON, and what was not, with the reason; the rest is done all the same.
        """
        self.assertEqual(
            self.json("create", "resize", "crop"),
            [{"function": "resize", "done": True, "error": None}, {"function": "crop", "done": True, "error": None}],
        )
        self.assertEqual(self.json("maxqueue", "crop", "5"), {"function": "crop", "high": 5, "normal": 5, "low": 5})
        self.assertEqual(
            self.json("maxqueue", "crop", "5", "--low", "none", "--high", "9"),
            {"function": "crop", "high": 9, "normal": 5, "low": None},
        )
        self.worker("resize", "true")
        done = self.gearsvc("drop", "--json", "resize", "crop", "--server", self.at)
        problem = f"{self.at} refuses it: there are still connected workers or executing clients"
        self.assertEqual((done.returncode, done.stderr.decode()), (1, f"gearsvc drop: resize: {problem}\n"))
        self.assertEqual(
            json.loads(done.stdout),
            [{"function": "resize", "done": False, "error": problem}, {"function": "crop", "done": True, "error": None}],
        )
        handle = self.submit("mail", "a")
        done = self.gearsvc("cancel", "--json", "H:nobody:1", handle, "--server", self.at)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            json.loads(done.stdout),
            [
                {"handle": "H:nobody:1", "done": False, "error": "there is no job of this handle"},
                {"handle": handle, "done": True, "error": None},
            ],
        )

    def test_unspeakable(self) -> None:
        """
        What the text protocol cannot say is refused before it is said.
        """
        self.assert_fails("gearsvc create: 'a b' has a space in it.*", "create", "a b", "--server", self.at)
        self.assert_fails("gearsvc create: a command of 9016 bytes is too long.*", "create", 9000 * "f", "--server", self.at)

    def test_usage(self) -> None:
        """
        A command line that cannot be understood is a line too, and status 2.
        """
        self.assert_fails("gearsvc maxqueue: argument LIMIT: must be a number of jobs, or none, not 'x'; .*", "maxqueue", "f", "x", status=2)
        self.assert_fails("gearsvc status: .*must be HOST or HOST:PORT, not 'a:b'; .*", "status", "--server", "a:b", status=2)


class ExplainTests(AdministrationCase):
    """
    C{gearsvc explain}.
    """

    def test_explain(self) -> None:
        """
        It says why a job waits, in a sentence with its facts, and which jobs there are not.
        """
        handle = self.submit("resize", "a")
        sentence = "No worker that can do its function has connected since the server started."
        self.assertEqual(self.output("explain", handle).splitlines()[0], sentence)
        self.assertEqual(self.json("explain", handle)["sentence"], sentence)
        self.assert_fails(f"gearsvc explain: {self.at} knows no job of the handle H:x:1", "explain", "H:x:1", "--server", self.at)


class GearmandLookingTests(LookingTests):
    """
    The same with the C server.
    """

    kind = "gearmand"


class GearmandChangingTests(ChangingTests):
    """
    The same with the C server.
    """

    kind = "gearmand"

    def test_explain(self) -> None:
        """
        gearmand cannot say why a job waits, and that is told.
        """
        problem = f"gearsvc explain: {self.at} is no gearsvc, and cannot say why a job waits"
        self.assert_fails(problem, "explain", "H:x:1", "--server", self.at)


class GearadminTests(AdministrationCase):
    """
    C{gearsvc gearadmin} beside gearadmin(1).
    """

    def both(self, *words: str) -> None:
        """
        Run both: they write the same, and end with the same status.  (Numbers of connections differ: each has its own.)

        @param words: what they are told; WHO is another word for each.
        """
        found = []
        for who, *program in (("theirs", "gearadmin"), ("ours", *GEARSVC, "gearadmin")):
            told = [word.replace("WHO", who) for word in words]
            done = self.run_program(*program, "-h", HOST, "-p", str(self.server.port), *told, PYTHONPATH=str(ROOT))
            output = re.sub(rb"(?m)^\d+ 127", b"N 127", done.stdout)
            # gearmand lists connections in no order.
            output = re.sub(rb"(?m)(^N 127.*\n)+", lambda lines: b"".join(sorted(lines[0].splitlines(True))), output)
            found.append((done.returncode, output, done.stderr.replace(b"\r", b"")))
        self.assertEqual(*found, words)

    def test_all(self) -> None:
        """
        Every operation, alone and all together, with a job, a worker, and what the server refuses.
        """
        handles = [self.submit("f", unique) for unique in "ab"]
        self.worker("g", "true")
        for words in (
            *(["--" + name] for name in LISTS),
            ["--create-function", "WHO"],
            ["--drop-function", "WHO"],
            ["--drop-function", "WHO"],
            ["--drop-function=g"],
            ["--cancel-job", "H:nobody:1"],
            ["--status", "--getpid", "--show-jobs", "--workers", "--show-unique-jobs", "--server-version", "--priority-status"],
            ["--status", "--create-function", "i", "--cancel-job", "H:nobody:1", "--server-verbose", "word"],
            ["-S", "--status"],
            ["--stat"],
        ):
            self.both(*words)
        self.run_program(*GEARSVC, "gearadmin", "-h", HOST, "-p", str(self.server.port), "--cancel-job", handles[0], PYTHONPATH=str(ROOT))
        self.assertEqual([job["handle"] for job in self.json("jobs") if not job["ignored"]], handles[1:])

    def test_mistakes(self) -> None:
        """
        Where gearadmin fails, it does, with the same status; it says why in a line.
        """
        nowhere = str(free_port())
        for words in ([], ["--nonsense"], ["--cancel-job"], ["-p", nowhere, "--status"], ["-p", "x", "--status"]):
            theirs = self.run_program("gearadmin", *words)
            ours = self.gearsvc("gearadmin", *words)
            self.assertEqual((ours.returncode, ours.stdout), (theirs.returncode, b""), words)
            self.assertRegex(ours.stderr, rb"\Agearsvc gearadmin: .*\n\Z")


LISTS = (
    "status", "priority-status", "workers", "show-jobs", "show-unique-jobs", "server-version", "server-verbose", "getpid",
)


class GearmandGearadminTests(GearadminTests):
    """
    The same with the C server.
    """

    kind = "gearmand"
