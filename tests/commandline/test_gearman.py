"""
C{gearsvc gearman} beside gearman(1): the same command line on the same server,
be that ours or gearmand.
"""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NamedTuple

from gearsvc.commandline.gearman import FLAGS
from tests.commandline.scripted import GEARSVC, ScriptedCase
from tests.running import HOST, PATIENCE, free_port, start_server, wait_until


class Result(NamedTuple):
    """
    What became of a run.
    """

    status: int
    output: bytes
    errors: bytes


class BothTools(ScriptedCase):
    """
    Runs gearman(1) and ours against gearmand and ours.
    """

    kinds: ClassVar[Sequence[str]] = ("gearsvc", "gearmand")

    def runs(self, *words: str, input: bytes = b"") -> dict[str, list[Result]]:
        """
        Run both tools against both servers.

        @return: for each tool, what became of it with each of the servers.
        """
        tools = {"gearman": ["gearman"], "gearsvc": [*GEARSVC, "gearman"]}

        def run(tool: str, kind: str) -> Result:
            at = ("-h", HOST, "-p", str(self.servers[kind].port))
            done = self.run_program(*tools[tool], *at, *words, input=input)
            return Result(done.returncode, done.stdout, done.stderr)

        with ThreadPoolExecutor(4) as pool:
            futures = {tool: [pool.submit(run, tool, kind) for kind in self.kinds] for tool in tools}
            return {tool: [future.result() for future in each] for tool, each in futures.items()}

    def assert_same(self, status: int, output: bytes, *words: str, input: bytes = b"") -> None:
        """
        Hold that both tools end and write the same with both servers.
        """
        for tool, results in self.runs(*words, input=input).items():
            for kind, result in zip(self.kinds, results):
                self.assertEqual(result[:2], (status, output), f"{tool} with {kind}: {result.errors!r}")

    def assert_different(self, theirs: tuple[int, bytes], ours: tuple[int, bytes], *words: str, input: bytes = b"") -> None:
        """
        Hold that gearman(1) does one thing, and ours another, with both servers.
        """
        results = self.runs(*words, input=input)
        for tool, expected in (("gearman", theirs), ("gearsvc", ours)):
            for kind, result in zip(self.kinds, results[tool]):
                self.assertEqual(result[:2], expected, f"{tool} with {kind}: {result.errors!r}")


class ClientTests(BothTools):
    """
    Client mode.
    """

    def test_data(self) -> None:
        """
        The data is standard input to its end, with any bytes, or each of the arguments, one after the other.
        """
        self.assert_same(0, bytes(range(256)), "-f", "echo", input=bytes(range(256)))
        self.assert_same(0, b"one,two,-x", "-f", "echo", "one,", "two,", "--", "-x")

    def test_no_data(self) -> None:
        """
        C{-s} is a job without data, and leaves standard input alone; with an argument it changes nothing.
        """
        self.assert_same(0, b"", "-s", "-f", "echo", input=b"left alone")
        self.assert_same(0, b"x", "-s", "-f", "echo", "x")

    def test_lines(self) -> None:
        """
        C{-n} makes a job of each line, with its line feed, and C{-N} without it; no line is no job.
        """
        self.assert_same(0, b"echo: a\necho: b\n", "-P", "-n", "-f", "echo", input=b"a\nb\n")
        self.assert_same(0, b"echo: aecho: b", "-PN", "-f", "echo", input=b"a\nb\n")
        self.assert_same(0, b"", "-v", "-n", "-f", "echo", input=b"")

    def test_last_line(self) -> None:
        """
        gearman(1) cuts off the last byte of a last line without a line feed; ours loses nothing.
        """
        self.assert_different((0, b"aab"), (0, b"aabc"), "-N", "-f", "echo", input=b"aa\nbc")

    def test_long_lines(self) -> None:
        """
        gearman(1) makes several jobs of a line of more than 8191 bytes, and cuts a line off at a NUL; ours does neither.
        """
        line = b"x" * 10_000 + b"\n"
        theirs = b"echo: " + line[:8191] + b"echo: " + line[8191:]
        self.assert_different((0, theirs), (0, b"echo: " + line), "-P", "-n", "-f", "echo", input=line)
        self.assert_different((0, b"a"), (0, b"a\0b\n"), "-n", "-f", "echo", input=b"a\0b\n")

    def test_empty_data(self) -> None:
        """
        gearman(1) refuses an argument, or a line, that is empty, and ends well nevertheless; for ours that is a job.
        """
        self.assert_different((0, b""), (0, b"echo: "), "-P", "-f", "echo", "")
        self.assert_different((0, b"echo: a"), (0, b"echo: echo: a"), "-P", "-N", "-f", "echo", input=b"\na\n")

    def test_pieces(self) -> None:
        """
        A result of several pieces is written as it comes, and with C{-P} each of the pieces has the function's name.
        """
        self.assert_same(0, b"one,two,three", "-f", "pieces", "x")
        self.assert_same(0, b"pieces: one,pieces: two,pieces: three", "-P", "-f", "pieces", "x")
        self.assert_same(0, b"empty: ", "-f", "empty", "x", "-P")

    def test_progress_and_warnings(self) -> None:
        """
        Progress is written to standard output, and a warning to standard error.
        """
        expected = b"talk: atalk: 50% Complete\ntalk: b\ntalk: 66% Complete\ntalk: c"
        for results in self.runs("-P", "-f", "talk", "x").values():
            self.assertEqual(results, [(0, expected, b"talk: careful\n")] * 2)

    def test_progress_of_nothing(self) -> None:
        """
        Progress whose denominator is 0 ends gearman(1) by a division by zero; for ours it is 0 percent.
        """
        results = self.runs("-f", "zero", "x")
        self.assertEqual([result.status for result in results["gearman"]], [-8, -8])
        self.assertEqual(results["gearsvc"], [(0, b"0% Complete\ndone", b"")] * 2)

    def test_failures(self) -> None:
        """
        A job that fails makes the status 1, whatever becomes of others, and leaves what it had written.
        """
        for results in self.runs("-f", "late-fail", "x").values():
            self.assertEqual(results, [(1, b"so far\n", b"Job failed\n")] * 2)
        for results in self.runs("-P", "-f", "fail", "-f", "echo", "x").values():
            self.assertEqual(results, [(1, b"echo: x", b"fail: Job failed\n")] * 2)

    def test_background(self) -> None:
        """
        C{-b} ends when the server has the job, and writes nothing.
        """
        for results in self.runs("-b", "-I", "-f", "later", "x").values():
            self.assertEqual(results, [(0, b"", b"")] * 2)
        for server in self.servers.values():
            self.assertEqual(server.status("later"), (2, 0, 0))

    def test_priorities_and_unique_ids(self) -> None:
        """
        The jobs that C{-L}, C{-I} and C{-u} make are there by the priority and the id that they name.
        """
        at = ("gearman", "-h", HOST, "-p", str(self.server.port), "-f", "order")
        for words in (("-L", "low,"), ("-u", "same", "normal,", "not again,"), ("-I", "high,")):
            self.assertEqual(self.gearsvc(*at, "-b", *words).returncode, 0)
        self.assertEqual(self.server.status("order"), (3, 0, 0))
        worker = self.run_program(*at, "-w", "-c", "3")
        self.assertEqual(worker.stdout, b"high,normal,low,")

    def test_hashed_ids(self) -> None:
        """
        C{-u #} makes the same unique id of the data as gearman(1) does, and C{-u -} too.
        """
        at = ("-h", HOST, "-p", str(self.server.port), "-b", "-f", "hashed")
        words = ("a", "abc", "abcd", "some more of it")
        for unique in ("#", "-"):
            for command in (("gearman",), (*GEARSVC, "gearman")):
                self.assertEqual(self.run_program(*command, *at, "-u", unique, *words).returncode, 0)
        self.assertEqual(self.server.status("hashed"), (2 * len(words), 0, 0))

    def test_handles(self) -> None:
        """
        C{-v} writes the handle when the job is there, which can be seen in a terminal: into a pipe, gearman(1) writes it
        in the end, after the result.
        """
        for command in (["gearman"], [*GEARSVC, "gearman"]):
            ours, theirs = pty.openpty()
            self.addCleanup(os.close, ours)
            with subprocess.Popen(
                [*command, "-h", HOST, "-p", str(self.server.port), "-v", "-f", "echo", "x\n"],
                stdout=theirs,
                env=self.environment(),
            ) as process:
                process.wait(PATIENCE)
            os.close(theirs)
            self.assertRegex(os.read(ours, 1000), rb"\ATask created: H:[^:]+:\d+\r\nx\r\n\Z")

    def test_patience(self) -> None:
        """
        With C{-t} nobody waits longer for something to happen; that is an error for ours, and not for gearman(1).
        """
        results = self.runs("-t", "200", "-f", "nobody", "x")
        for tool, status in (("gearman", 0), ("gearsvc", 1)):
            for result in results[tool]:
                self.assertEqual(result[:2], (status, b""))
                self.assert_one_line(result.errors, "GEARMAN_TIMEOUT")

    def test_no_server(self) -> None:
        """
        A server that is not there is an error that is told; gearman(1) has the status 0 for it, as if the job were done.
        """
        for background in ((), ("-b",)):
            for command, status in ((("gearman",), 0), ((*GEARSVC, "gearman"), 1)):
                done = self.run_program(*command, "-h", HOST, "-p", str(free_port()), *background, "-f", "echo", "x")
                self.assertEqual((done.returncode, done.stdout), (status, b""))
                self.assert_one_line(done.stderr, "GEARMAN_COULD_NOT_CONNECT")

    def test_environment(self) -> None:
        """
        GEARMAN_SERVER names servers where no flag does.  gearman(1) asks them even if there is one; ours does not.
        """
        where = f"{HOST}:{self.server.port}"
        there = ("-h", HOST, "-p", str(self.server.port))
        for command in (("gearman",), (*GEARSVC, "gearman")):
            done = self.run_program(*command, "-f", "echo", "x", GEARMAN_SERVER=where)
            self.assertEqual((done.returncode, done.stdout), (0, b"x"))
        nowhere = f"{HOST}:{free_port()}"
        self.assertEqual(self.run_program("gearman", *there, "-f", "echo", "x", GEARMAN_SERVER=nowhere).stdout, b"")
        self.assertEqual(self.gearsvc("gearman", *there, "-f", "echo", "x", GEARMAN_SERVER=nowhere).stdout, b"x")


class EncryptionTests(ScriptedCase):
    """
    C{-S}, which Debian's gearman(1) takes, and leaves it at that.
    """

    def test_tls(self) -> None:
        """
        With C{-S} ours speaks TLS, both as client and worker, and with nobody whose certificate it does not know.
        """
        key, certificate = self.directory / "key.pem", self.directory / "certificate.pem"
        made = self.run_program(
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=anybody", "-keyout", str(key), "-out", str(certificate)),
        )
        self.assertEqual(made.returncode, 0, made.stderr)
        port = free_port()
        listener = f"ssl:{port}:interface={HOST}:privateKey={key}:certKey={certificate}"
        server = start_server("--port", listener, directory=self.directory, kind="gearsvc")
        self.addCleanup(server.stop)
        at = ("gearman", "-S", "-h", HOST, "-p", str(port), "-f", "secret")
        worker = self.start_gearsvc(*at, "-w", "-c", "1", "--", "cat", GEARMAN_CA_CERTIFICATE=str(certificate))
        done = self.gearsvc(*at, "x", GEARMAN_CA_CERTIFICATE=str(certificate))
        self.assertEqual((done.returncode, done.stdout), (0, b"x"), done.stderr)
        self.assertEqual(worker.wait(PATIENCE), 0)
        done = self.gearsvc(*at, "x")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "GEARMAN_COULD_NOT_CONNECT", "certificate")
        for path, what in ((self.directory / "missing", "missing"), (key, "PEM")):
            done = self.gearsvc(*at, "x", GEARMAN_CA_CERTIFICATE=str(path))
            self.assertEqual(done.returncode, 1)
            self.assert_one_line(done.stderr, "GEARMAN_CA_CERTIFICATE", what)


class UsageTests(BothTools):
    """
    What is wrong with a command line.
    """

    kinds = ("gearmand",)

    def test_flags(self) -> None:
        """
        Ours has each of the flags that gearman(1) has, and -d, which gearman(1) has and does not tell of.
        """
        told = self.run_program("gearman", "-H")
        theirs = {line.split()[0][1:].decode() for line in told.stderr.splitlines() if line.startswith(b"\t-")}
        self.assertEqual(theirs | {"d"}, set(FLAGS) - {":"})
        done = self.gearsvc("gearman", "-H")
        self.assertEqual(done.returncode, 0)
        for flag in theirs:
            self.assertRegex(done.stdout, rb"(?m)^  -%s\b" % flag.encode())

    def test_mistakes(self) -> None:
        """
        A command line that both find wrong has status 1; ours tells what is wrong in one line.
        """
        for words, what in (
            (("x",), "no function"),
            (("-f",), "-f"),
            (("-Z", "-f", "echo", "x"), "-Z"),
            (("-i", "/nonexistent/file", "-f", "echo", "x"), "-i"),
        ):
            results = self.runs(*words)
            self.assertEqual([result.status for each in results.values() for result in each], [1, 1])
            self.assert_one_line(results["gearsvc"][0].errors, what)

    def test_numbers(self) -> None:
        """
        gearman(1) takes what is no number for 0; ours tells of it.
        """
        for flag in ("-t", "-p", "-c"):
            status, errors = self.refused("gearman", flag, "x", "-f", "echo", "x")
            self.assertEqual(status, 1)
            self.assert_one_line(errors, flag, "'x'")


class WorkerTests(BothTools):
    """
    Worker mode.
    """

    def workers(self, function: str, jobs: int, *words: str) -> dict[str, Result]:
        """
        Let each of the tools do some jobs, on both servers.

        @param function: whose jobs are the words "one" and so on, in lines.
        @return: by tool and server, what became of the worker.
        """
        lines = b"".join([b"one\n", b"two\n", b"three\n"][:jobs])
        results = {}
        for tool, command in (("gearman", ("gearman",)), ("gearsvc", (*GEARSVC, "gearman"))):
            for kind, server in self.servers.items():
                at = ("-h", HOST, "-p", str(server.port), "-f", function)
                self.run_program("gearman", *at, "-b", "-n", input=lines)
                done = self.run_program(*command, *at, "-w", *words)
                results[f"{tool} {kind}"] = Result(done.returncode, done.stdout, done.stderr)
                wait_until(lambda: server.status(function) == (0, 0, 0), "the jobs are done, and the worker is gone")
        return results

    def test_no_command(self) -> None:
        """
        Without a command the data is written to standard output, and C{-c} says after how many jobs it ends.
        """
        for result in self.workers("show", 3, "-c", "3").values():
            self.assertEqual(result, (0, b"one\ntwo\nthree\n", b""))

    def test_closed_output(self) -> None:
        """
        When nobody reads what is written any more, ours lets the job fail and ends without a word.
        """
        at = ("-h", HOST, "-p", str(self.server.port), "-f", "unread")
        worker = self.start_gearsvc("gearman", *at, "-w")
        assert worker.stdout is not None and worker.stderr is not None
        worker.stdout.close()
        done = self.run_program("gearman", *at, "x")
        self.assertEqual((done.returncode, done.stderr), (1, b"Job failed\n"))
        self.assertEqual((worker.wait(PATIENCE), worker.stderr.read()), (1, b""))
        worker.stdout = None

    def test_nothing_to_do(self) -> None:
        """
        With C{-t} a worker waits so long for a job, and C{-c} counts that as one.
        """
        for result in self.workers("idle", 0, "-c", "1", "-t", "100").values():
            self.assertEqual(result[:2], (0, b""))
            self.assert_one_line(result.errors, "GEARMAN_TIMEOUT")

    def test_stderr(self) -> None:
        """
        What a command writes to standard error is shown.
        """
        for result in self.workers("complain", 1, "-c", "1", "--", "sh", "-c", "cat >&2").values():
            self.assertEqual(result, (0, b"", b"one\n"))

    def worker_results(self, words: tuple[str, ...], input: bytes = b"", runs: int = 1) -> dict[str, Result]:
        """
        What a client gets from each of the tools as a worker, with ours and gearmand.
        """
        results = {}
        for tool, command in (("gearman", ("gearman",)), ("gearsvc", (*GEARSVC, "gearman"))):
            for kind, server in self.servers.items():
                at = ("-h", HOST, "-p", str(server.port), "-f", "work")
                worker = subprocess.Popen(
                    [*command, *at, "-w", "-c", str(runs), *words], env=self.environment(), stderr=subprocess.PIPE
                )
                try:
                    done = self.run_program("gearman", "-P", *at, input=input)
                    worker.wait(PATIENCE)
                finally:
                    worker.kill()
                    worker.communicate()
                wait_until(lambda: server.status("work")[2] == 0, "the worker is gone")
                results[f"{tool} {kind}"] = Result(done.returncode, done.stdout, done.stderr)
        return results

    def test_command(self) -> None:
        """
        A command reads the data from standard input, and its output is the result, in one piece.
        """
        for result in self.worker_results(("--", "tr", "a-z", "A-Z"), b"one\ntwo\n").values():
            self.assertEqual(result, (0, b"work: ONE\nTWO\n", b""))

    def test_failing_command(self) -> None:
        """
        What a command that fails has written reaches the client before the failure does.
        """
        for result in self.worker_results(("--", "sh", "-c", "cat; exit 3"), b"so far\n").values():
            self.assertEqual(result, (1, b"work: so far\n", b"work: Job failed\n"))

    def test_lines(self) -> None:
        """
        With C{-n} each line of output is a piece of its own, and the result is empty.  gearman(1) sends with each line
        those before it once more.
        """
        for name, result in self.worker_results(("-n", "--", "cat"), b"one\ntwo\n").items():
            second = b"one\ntwo\n" if name.startswith("gearman ") else b"two\n"
            self.assertEqual(result, (0, b"work: one\nwork: " + second + b"work: ", b""), name)

    def test_stripped_lines(self) -> None:
        """
        With C{-N} the pieces have no line feed.  gearman(1) cuts off the last byte of a line that has none.
        """
        for name, result in self.worker_results(("-N", "--", "cat"), b"one").items():
            piece = b"on" if name.startswith("gearman ") else b"one"
            self.assertEqual(result, (0, b"work: " + piece + b"work: ", b""), name)

    def test_killed_command(self) -> None:
        """
        A command that is ended by a signal makes ours let the job fail; for gearman(1) it is done.
        """
        for name, result in self.worker_results(("--", "sh", "-c", "kill -9 $$")).items():
            expected = (0, b"work: ") if name.startswith("gearman ") else (1, b"")
            self.assertEqual(result[:2], expected, name)

    def test_no_such_command(self) -> None:
        """
        A command that is not there is told in one line before there is a job; gearman(1) loses a job over it.
        """
        done = self.gearsvc("gearman", "-h", HOST, "-p", str(self.server.port), "-w", "-f", "f", "--", "/nonexistent/program")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "/nonexistent/program")

    def test_pid_file_and_daemon(self) -> None:
        """
        With C{-d} the tool goes on in the background, with C{-i} its process id is in a file as long as it does.
        """
        path = self.directory / "worker.pid"
        at = ("-h", HOST, "-p", str(self.server.port), "-f", "daemon")
        for command in (("gearman",), (*GEARSVC, "gearman")):
            done = self.run_program(*command, *at, "-d", "-w", "-c", "1", "-i", str(path), "--", "cat")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
            wait_until(lambda: self.server.status("daemon")[2] == 1, "the daemon is there")
            os.kill(int(path.read_text()), 0)
            self.assertEqual(self.run_program("gearman", *at, "x").stdout, b"x")
            wait_until(lambda: not path.exists(), "the daemon has ended")
