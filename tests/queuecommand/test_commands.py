"""
Tests for C{gearsvc queue} as its users run it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time

from gearsvc.queuecommand.joblines import HEADER, as_line, from_line
from gearsvc.testing import fields_of, record
from tests.checkout import run
from tests.commands import SERVE
from tests.queuecommand import strange_stores
from tests.queuecommand.cases import QueueCommandCase
from tests.running import AT_ONCE, HOST, PATIENCE, wait_until
from tests.stores.test_sqlite import GEARMANDS_TABLE, run_sql


class WordTests(QueueCommandCase):
    """
    The command line.
    """

    def test_help(self) -> None:
        """
        --help shows how it is used, with examples, and loads neither Twisted nor what draws on terminals.
        """
        for words in ([], ["copy"], ["show"], ["export"], ["import"]):
            result = self.queue(*words, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn(f"usage: gearsvc queue {' '.join(words)}".rstrip(), result.stdout)
            self.assertIn("\nexamples:\n  gearsvc queue ", result.stdout)
            self.assertIn('"libsqlite3 --libsqlite3-db /var/lib/gearman/queue.db"', result.stdout)
            self.assertLessEqual(max(map(len, result.stdout.splitlines())), 120)
        program = (
            "import sys\n"
            "from gearsvc.cli import main\n"
            "try: main(['queue', '--help'])\n"
            "finally: print(*sys.modules)\n"
        )
        modules = self.run_command(sys.executable, "-c", program).stdout.split()
        self.assertIn("argparse", modules)
        self.assertFalse({"rich", "twisted"} & set(modules))

    def test_wrong_words(self) -> None:
        """
        Words that make no command are one line that says where help is.
        """
        for words, part in (
            ([], "required: COMMAND"),
            (["move"], "'move'"),
            (["copy"], "required: FROM, TO"),
            (["copy", "x"], "required: TO"),
            (["show", "x", "y"], "too many words"),
            (["show", "--jobs=0", "x"], "must be a number of jobs, not '0'"),
            (["show", "--jobs=many", "x"], "must be a number of jobs, not 'many'"),
        ):
            self.assert_refuses(self.queue(*words), part, "--help")

    def test_forgotten_quotes(self) -> None:
        """
        Whoever forgets the quotes around a store, or those within, is told so, and the words are not repeated: a
        password may be among them.
        """
        words = ["postgres", "--libpq-conninfo", "host=db password=secret"]
        result = self.queue("show", *words)
        self.assert_refuses(result, "a store and its options are one, in quotes")
        self.assertNotIn("secret", result.stderr)
        result = self.queue("show", "libsqlite3 --libsqlite3-db my file password=secret")
        self.assert_refuses(result, "needs quotes of its own", "'host=db dbname=jobs'")
        self.assertNotIn("secret", result.stderr)
        self.assert_refuses(self.queue("show", "libsqlite3 --libsqlite3-db 'x"), "a quote is not closed")

    def test_wrong_store(self) -> None:
        """
        A store that can't be is refused before anything is opened; of two, the line says which.
        """
        there = self.fill("there.db", [record(1)])
        for store, part in (
            ("libsqlite3 --libsqlite-db x", "option --libsqlite-db not recognized; 'gearsvc serve --help-stores'"),
            ("builtin", "in memory alone"),
        ):
            self.assert_refuses(self.queue("export", store), "gearsvc queue export: ", part)
            self.assert_refuses(self.queue("copy", store, there), "gearsvc queue copy: FROM: ", part)
            self.assert_refuses(self.queue("copy", there, store), "gearsvc queue copy: TO: ", part)

    def test_nothing_is_made_to_be_read(self) -> None:
        """
        A file that is not there has no jobs: it is not made to find none.
        """
        result = self.queue("show", self.store("nosuch.db"))
        self.assert_refuses(result, "gearsvc queue show: --libsqlite3-db: there is no nosuch.db")
        self.assertEqual(list(self.directory.iterdir()), [])


class CopyCommandTests(QueueCommandCase):
    """
    C{gearsvc queue copy}, between databases.
    """

    def assert_copied(self) -> None:
        """
        Hold that C{to.db} has the jobs of C{from.db}, each once, in order.
        """
        expected = [fields_of(job) for job in self.stored("from.db")]
        self.assertEqual([fields_of(job) for job in self.stored("to.db")], expected)

    def test_copy(self) -> None:
        """
        All jobs are copied, in order and with every field; once more, none is.
        """
        jobs = self.some_jobs(5000)
        source, target = self.fill("from.db", jobs), self.store("to.db")
        self.assert_says(self.queue("copy", source, target), "5,000 jobs copied.")
        self.assertEqual([fields_of(job) for job in self.stored("from.db")], [fields_of(job) for job in jobs])
        self.assert_copied()
        self.assert_says(self.queue("copy", source, target), "0 jobs copied, 5,000 there already.")
        self.assert_copied()
        self.assertEqual(sorted(path.name for path in self.directory.iterdir()), ["from.db", "to.db"])

    def test_quiet(self) -> None:
        """
        With --quiet, it copies without a word.
        """
        result = self.queue("copy", "--quiet", self.fill("from.db", self.some_jobs(10)), self.store("to.db"))
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assert_copied()

    def test_same_store(self) -> None:
        """
        A store is not copied to itself, and keeps what it has.
        """
        store = self.fill("from.db", self.some_jobs(10))
        self.assert_refuses(self.queue("copy", store, f"-q {store}"), "FROM and TO are one and the same store")
        self.assertEqual(len(self.stored("from.db")), 10)

    def test_running_server(self) -> None:
        """
        A store that a server uses is refused on both sides, and the line names the server.
        """
        used, other = self.fill("used.db", [record(1)]), self.fill("other.db", [record(2)])
        server = self.start_command(*SERVE, self.at, "-q", *used.split())
        for result in (self.queue("copy", used, other), self.queue("copy", other, used), self.queue("show", used)):
            self.assert_refuses(result, "used.db is in use by another server, process %d on " % server.pid)
        self.assertEqual([job.handle for job in self.stored("other.db")], [b"H:test:2"])

    def test_no_database(self) -> None:
        """
        A file that is no database is left as it is, and the line names it.
        """
        (self.directory / "text").write_text("some text, long enough to be looked at\n" * 50)
        self.assert_refuses(self.queue("show", self.store("text")), "text fails: that file is not an SQLite database")
        self.assert_refuses(self.queue("copy", self.fill("from.db", []), self.store("text")), "not an SQLite database")

    def test_gearmands_jobs(self) -> None:
        """
        Jobs that gearmand stored are given handles, the same in each copy, which a server keeps and does not count on
        from.
        """
        path = self.directory / "from.db"
        rows = ", ".join(f"('u{number}', 'f', 1, 'data {number}', 0)" for number in range(9))
        rows += ", ('', 'f', 0, 'none', 0), ('-', 'f', 2, '', 99)"
        run_sql(path, GEARMANDS_TABLE, f"INSERT INTO gearman_queue VALUES {rows}")
        source = self.store("from.db")
        for target in ("to.db", "again.db"):
            self.assert_says(self.queue("copy", source, self.store(target)), "11 jobs copied.")
            self.assert_says(self.queue("copy", source, self.store(target)), "0 jobs copied, 11 there already.")
        handles = [job.handle for job in self.stored("to.db")]
        self.assertEqual(len(set(handles)), 11)
        self.assertEqual([job.handle for job in self.stored("again.db")], handles)
        uniques = [b"u%d" % number for number in range(9)] + [b"", b"-"]
        self.assertEqual([job.unique for job in self.stored("to.db")], uniques)
        # Back to where they came from, they are there already.
        self.assert_says(self.queue("copy", self.store("to.db"), source), "0 jobs copied, 11 there already.")

        server = self.start_command(*SERVE, self.at, "-q", *self.store("to.db").split())
        run("gearman", "-h", HOST, "-p", str(self.port), "-b", "-f", "f", "new")
        server.terminate()
        server.wait(PATIENCE)
        *before, new = (job.handle for job in self.stored("to.db"))
        self.assertEqual(before, handles)
        self.assertNotIn(b"adopted", new)
        self.assertLess(int(new.rpartition(b":")[2]), 10**18)

    def copied_so_far(self) -> int:
        """
        How many jobs C{to.db} has, looked at from outside.
        """
        try:
            connection = sqlite3.connect(f"file:{self.directory / 'to.db'}?mode=ro", uri=True)
            try:
                return int(connection.execute("SELECT COUNT(*) FROM gearman_queue").fetchone()[0])
            finally:
                connection.close()
        except sqlite3.Error:
            # It is not there yet.
            return 0

    def end_in_the_midst(self, number: signal.Signals) -> tuple[int, str]:
        """
        Start copying, and send a signal once some more has been copied.

        @return: how it ended, and what it said.
        """
        before = self.copied_so_far()
        process = self.start("copy", self.store("from.db"), self.store("to.db"))
        wait_until(lambda: self.copied_so_far() > before, "nothing is copied")
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(output, "")
        return process.returncode, errors

    def test_killed(self) -> None:
        """
        A copy that is killed (SIGKILL), again and again, ends with each job there once, in order.
        """
        self.fill("from.db", self.some_jobs(40_000))
        for _ in range(3):
            self.assertEqual(self.end_in_the_midst(signal.SIGKILL), (-signal.SIGKILL, ""))
        there = self.copied_so_far()
        self.assertTrue(0 < there < 40_000)
        result = self.queue("copy", self.store("from.db"), self.store("to.db"))
        self.assert_says(result, f"{40_000 - there:,} jobs copied, {there:,} there already.")
        self.assert_copied()

    def test_interrupted(self) -> None:
        """
        A copy that is interrupted (Ctrl-C, SIGTERM) says in one line how far it came, leaves the stores closed, and
        goes on when it is run again.
        """
        self.fill("from.db", self.some_jobs(40_000))
        for number in (signal.SIGINT, signal.SIGTERM):
            before = self.copied_so_far()
            status, errors = self.end_in_the_midst(number)
            there = self.copied_so_far()
            self.assertEqual(status, 128 + number)
            self.assert_one_line(errors, f"gearsvc queue copy: interrupted. {there - before:,} jobs copied")
            self.assertTrue(errors.endswith("Run it again to go on.\n"), errors)
            self.assertEqual([path.name for path in self.directory.glob("*.lock")], [])
        self.assertTrue(0 < there < 40_000)
        result = self.queue("copy", self.store("from.db"), self.store("to.db"))
        self.assert_says(result, f"{40_000 - there:,} jobs copied, {there:,} there already.")
        self.assert_copied()

    def test_fails_in_the_midst(self) -> None:
        """
        A target that fails in the midst is told in one line, with how far it came; it goes on when it is run again.
        """
        jobs = self.some_jobs(10_000)
        source, target = self.fill("from.db", jobs), self.fill("to.db", [])
        run_sql(
            self.directory / "to.db",
            f"CREATE TRIGGER refuse BEFORE INSERT ON gearman_queue WHEN NEW.handle = '{jobs[5000].handle.decode()}'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        self.assert_refuses(
            self.queue("copy", source, target),
            "The job H:test:5000 of resize can't be stored: ",
            "to.db fails: no. 5,000 jobs copied. Run it again to go on.",
        )
        run_sql(self.directory / "to.db", "DROP TRIGGER refuse")
        self.assert_says(self.queue("copy", source, target), "5,000 jobs copied, 5,000 there already.")
        self.assert_copied()


class StrangeStoreTests(QueueCommandCase):
    """
    What becomes of a command when a store does what it should not.
    """

    def setUp(self) -> None:
        """
        Install the stores, as plugins.
        """
        super().setUp()
        plugins = self.directory / "site" / "gearsvc" / "plugins"
        plugins.mkdir(parents=True)
        shutil.copy(str(strange_stores.__file__), plugins)
        self.path = str(self.directory / "site")
        self.source = self.fill("from.db", self.some_jobs(10))

    def copy(self, target: str) -> subprocess.CompletedProcess[str]:
        """
        Copy ten jobs there.
        """
        return self.queue("copy", self.source, target, PYTHONPATH=self.path)

    def test_unreachable(self) -> None:
        """
        A store that can't be reached is not waited for.
        """
        began = time.monotonic()
        self.assert_refuses(self.copy("away"), "gearsvc queue copy: Nothing answers at 192.0.2.1:5432; start it.")
        self.assertLess(time.monotonic() - began, AT_ONCE)

    def test_missing_library(self) -> None:
        """
        A store whose library is not installed is refused with what installs it.
        """
        self.assert_refuses(self.copy("absent"), "TO: ", "pip install 'gearsvc[absent]'")

    def test_mistake(self) -> None:
        """
        A mistake in a store is a line that says where it is, and no traceback, also where nobody catches it.
        """
        result = self.copy("wrong")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        begin = "gearsvc queue copy: there is a mistake in the program: "
        first, second = sorted(result.stderr.splitlines())
        self.assertRegex(first, re.escape(begin + "KeyError('mistaken'), in ") + r"/.*\.py, line \d+$")
        self.assertTrue(second.startswith(begin + "KeyError('nobody\\ncatches this')"), second)

    def test_closing_fails(self) -> None:
        """
        A store that can't be closed is told, and its status is 1; another error goes before.
        """
        self.assert_refuses(self.copy("leaving"), "The door is stuck. 10 jobs copied. Run it again to go on.")
        self.assert_refuses(self.queue("copy", "leaving", "away", PYTHONPATH=self.path), "Nothing answers")

    def test_closed_after_a_failure(self) -> None:
        """
        The store that was opened is closed when the other one can't be.
        """
        result = self.queue("copy", "open", "away", PYTHONPATH=self.path)
        self.assertEqual((result.returncode, result.stdout), (1, "closed\n"))

    def test_interrupted_while_opening(self) -> None:
        """
        One Ctrl-C is enough while a store is being opened.
        """
        process = self.start("copy", "open", "slow", PYTHONPATH=self.path)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "opening\n")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, output), (130, "closed\n"))
        self.assertEqual(errors, "gearsvc queue copy: interrupted\n")

    def test_interrupted_twice(self) -> None:
        """
        One Ctrl-C waits for the batch that is under way; the next one does not.
        """
        process = self.start("copy", self.source, "stuck", PYTHONPATH=self.path)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "committing\n")
        process.send_signal(signal.SIGINT)
        with self.assertRaises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 130)


class ShowTests(QueueCommandCase):
    """
    C{gearsvc queue show}, where its output is no terminal.
    """

    def test_functions(self) -> None:
        """
        It shows how many jobs of which function and priority there are, how many wait for their time, the oldest, and
        the bytes; names are readable, whatever they hold.
        """
        store = self.fill(
            "queue.db",
            [
                record(1, function=b"resize", priority=0, submitted=86400.0 * 20_000, workload=bytes(1500)),
                record(2, function=b"resize", priority=2, submitted=86400.0 * 20_000 + 60, workload=b"", run_at=2**33),
                record(3, function=b"a\tb\\ \xff ", submitted=0.0, workload=b"1"),
            ],
        )
        result = self.queue("show", store, TZ="UTC")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        description, empty, *table = result.stdout.splitlines()
        self.assertIn("queue.db, table gearman_queue", description)
        self.assertEqual(empty, "")
        self.assertEqual(
            table,
            [
                r"function         jobs  high  normal  low  delayed  oldest               bytes",
                r"a\tb\\ \xff\x20     1     0       1    0        0                           1",
                r"resize              2     1       0    1        1  2024-10-04 00:00:00  1,500",
                r"total               3     1       1    1        1  2024-10-04 00:00:00  1,501",
            ],
        )

    def test_functions_json(self) -> None:
        """
        --json shows the same as one object.
        """
        jobs = [record(1, workload=b"123"), record(2, function=b"\xff", priority=0, run_at=2**33)]
        store = self.fill("queue.db", jobs)
        shown = json.loads(self.queue("show", "--json", store).stdout)
        self.assertIn("queue.db", shown.pop("store"))
        resize = {"jobs": 1, "high": 0, "normal": 1, "low": 0, "delayed": 0, "oldest": 1700000001.0, "bytes": 3}
        other = {"jobs": 1, "high": 1, "normal": 0, "low": 0, "delayed": 1, "oldest": 1700000002.0, "bytes": 10}
        self.assertEqual(
            shown,
            {
                "jobs": 2, "high": 1, "normal": 1, "low": 0, "delayed": 1, "oldest": 1700000001.0, "bytes": 13, "paused": [],
                "functions": [{"function": "resize", **resize}, {"function_base64": "/w==", **other}],
            },
        )

    def test_jobs(self) -> None:
        """
        --jobs lists the first jobs one by one, fifty or as many as one likes, and says how many more there are.
        """
        store = self.fill(
            "queue.db",
            [
                record(1, unique=b"u", run_at=86400 * 20_000, attempts=2, submitted=86400.0 * 19_000),
                record(2, function=b"rotate", priority=0, workload=bytes(1234), run_at=2**60),
                *(record(number) for number in range(3, 61)),
            ],
        )
        result = self.queue("show", "--jobs", "2", store, TZ="UTC")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(
            result.stdout.splitlines(),
            [
                "handle    function  unique id  priority  run at               attempts  bytes  submitted",
                "H:test:1  resize    u          normal    2024-10-04 00:00:00         2     10  2022-01-08 00:00:00",
                "H:test:2  rotate               high      1152921504606846976         0  1,234  2023-11-14 22:13:22",
                "58 more; --jobs 60 lists all.",
            ],
        )
        for words in (["--jobs", store], [store, "--jobs"], ["--jobs=50", store]):
            lines = self.queue("show", *words).stdout.splitlines()
            self.assertEqual((len(lines), lines[-1]), (52, "10 more; --jobs 60 lists all."))
        self.assertEqual(len(self.queue("show", "--jobs=60", store).stdout.splitlines()), 61)

    def test_jobs_json(self) -> None:
        """
        --jobs --json writes an object a line, without the workload.
        """
        store = self.fill("queue.db", [record(1, unique=b"\0"), record(2), record(3)])
        lines = self.queue("show", "--jobs=2", "--json", store).stdout.splitlines()
        self.assertEqual(len(lines), 2)
        self.assertEqual(
            json.loads(lines[0]),
            {
                "handle": "H:test:1", "function": "resize", "unique_base64": "AA==", "priority": "normal", "run_at": 0,
                "reducer": None, "attempts": 0, "submitted": 1700000001.0, "bytes": 10,
            },
        )

    def test_encoding(self) -> None:
        """
        What standard output can't encode is shown all the same.
        """
        store = self.fill("queue.db", [record(1, function="größe 大".encode())])
        result = self.queue("show", "--jobs", store, PYTHONIOENCODING="ascii:strict")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn(r"gr\xf6\xdfe \u5927", result.stdout)
        result = self.queue("show", "--json", store, PYTHONIOENCODING="ascii:strict")
        self.assertEqual(json.loads(result.stdout)["functions"][0]["function"], "größe 大")

    def test_nothing(self) -> None:
        """
        An empty store has no jobs.
        """
        store = self.fill("queue.db", [])
        self.assertTrue(self.queue("show", store).stdout.endswith("\n\nNo jobs.\n"))
        self.assertEqual(self.queue("show", "--jobs", store).stdout, "No jobs.\n")
        self.assertEqual(json.loads(self.queue("show", "--json", store).stdout)["functions"], [])

    def test_nobody_reads(self) -> None:
        """
        When nobody reads what is shown, it ends without a word.
        """
        store = self.fill("queue.db", self.some_jobs(5000))
        process = self.start("show", "--jobs=5000", "--json", store)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        self.assertEqual(process.stderr.read(), "")
        self.assertEqual(process.wait(PATIENCE), 128 + signal.SIGPIPE)


class FileTests(QueueCommandCase):
    """
    C{gearsvc queue export} and C{import}.
    """

    def names(self) -> list[str]:
        """
        What is in the directory.
        """
        return sorted(path.name for path in self.directory.iterdir())

    def test_there_and_back(self) -> None:
        """
        A store that is exported and imported is what it was; imported once more, nothing is new.
        """
        store = self.fill("from.db", self.some_jobs(5000))
        self.assert_says(self.queue("export", store, "jobs.jsonl"), "5,000 jobs exported.")
        importing = ["import", self.store("to.db"), "jobs.jsonl"]
        self.assert_says(self.queue(*importing), "5,000 jobs imported.")
        self.assertEqual(*([fields_of(job) for job in self.stored(name)] for name in ("from.db", "to.db")))
        self.assert_says(self.queue(*importing), "0 jobs imported, 5,000 there already.")
        self.assertEqual(self.names(), ["from.db", "jobs.jsonl", "to.db"])

    def test_pipe(self) -> None:
        """
        Without a file, or with -, export writes to standard output, and import reads standard input.
        """
        jobs = self.some_jobs(100)
        store = self.fill("from.db", jobs)
        for words in ([], ["-"]):
            result = self.queue("export", store, *words)
            self.assertEqual((result.returncode, result.stderr), (0, "100 jobs exported.\n"))
            self.assertEqual(result.stdout.encode(), HEADER + b"".join(map(as_line, jobs)))
        for name, words in (("one.db", []), ("two.db", ["-"])):
            process = self.start("import", self.store(name), *words)
            self.assertEqual(process.communicate(result.stdout, PATIENCE), ("100 jobs imported.\n", ""))
            self.assertEqual([fields_of(job) for job in self.stored(name)], [fields_of(job) for job in jobs])

    def test_force(self) -> None:
        """
        A file that is there stays as it is, unless --force is given.
        """
        store = self.fill("from.db", self.some_jobs(10))
        path = self.directory / "jobs.jsonl"
        path.write_text("dear to somebody")
        result = self.queue("export", store, "jobs.jsonl")
        self.assert_refuses(result, "jobs.jsonl is there already; --force replaces it")
        self.assertEqual(path.read_text(), "dear to somebody")
        self.assert_says(self.queue("export", "--force", store, "jobs.jsonl"), "10 jobs exported.")
        self.assertEqual(len(path.read_bytes().splitlines()), 11)
        self.assertEqual(self.names(), ["from.db", "jobs.jsonl"])

    def test_symbolic_link(self) -> None:
        """
        Where the file is a link, what it leads to is written.
        """
        store = self.fill("from.db", self.some_jobs(10))
        (self.directory / "link").symlink_to("jobs.jsonl")
        self.assert_says(self.queue("export", store, "link"), "10 jobs exported.")
        self.assertTrue((self.directory / "link").is_symlink())
        self.assertEqual(len((self.directory / "jobs.jsonl").read_bytes().splitlines()), 11)

    def test_special_file(self) -> None:
        """
        A pipe, or a device, is written to and not replaced.
        """
        store = self.fill("from.db", self.some_jobs(10))
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        process = self.start("export", store, "pipe")
        self.assertEqual(len(pipe.read_bytes().splitlines()), 11)
        self.assertEqual(process.communicate(timeout=PATIENCE), ("10 jobs exported.\n", ""))
        self.assertTrue(stat.S_ISFIFO(pipe.stat().st_mode))
        self.assert_says(self.queue("export", store, "/dev/null"), "10 jobs exported.")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))

    def test_no_room(self) -> None:
        """
        A file that can't be written is told, with its name, and nothing is left of it.
        """
        store = self.fill("from.db", self.some_jobs(10))
        result = self.queue("export", store, "/dev/full")
        self.assert_refuses(result, "/dev/full: No space left on device. Nothing was exported.")
        self.assert_refuses(self.queue("export", store, "no/such/file"), "No such file or directory")
        self.assert_refuses(self.queue("import", store, "nosuch.jsonl"), "nosuch.jsonl: No such file or directory")
        self.assert_refuses(self.queue("import", store, "."), ".: Is a directory")

    def test_killed_export(self) -> None:
        """
        An export that is killed, or interrupted, leaves no file of the name; the next one begins anew.
        """
        store = self.fill("from.db", self.some_jobs(40_000))
        part, path = self.directory / "jobs.jsonl.part", self.directory / "jobs.jsonl"
        for number, left in ((signal.SIGKILL, True), (signal.SIGINT, False)):
            part.unlink(missing_ok=True)
            process = self.start("export", store, "jobs.jsonl")
            wait_until(lambda: part.exists() and part.stat().st_size > len(HEADER), "nothing is written")
            process.send_signal(number)
            output, errors = process.communicate(timeout=PATIENCE)
            self.assertEqual(output, "")
            self.assertEqual((path.exists(), part.exists()), (False, left))
        self.assertEqual(process.returncode, 130)
        self.assert_one_line(errors, "gearsvc queue export: interrupted. Nothing was exported.")
        # Longer than what comes.
        part.write_bytes(bytes(50_000_000))
        self.assert_says(self.queue("export", store, "jobs.jsonl"), "40,000 jobs exported.")
        self.assertEqual(self.names(), ["from.db", "jobs.jsonl"])
        lines = path.read_bytes().splitlines(keepends=True)
        jobs = [job for job in map(from_line, lines) if job is not None]
        self.assertEqual([fields_of(job) for job in jobs], [fields_of(job) for job in self.stored("from.db")])

    def test_two_exports(self) -> None:
        """
        Two exports do not write one file at the same time.
        """
        stores = self.fill("one.db", self.some_jobs(10)), self.fill("two.db", self.some_jobs(10))
        with open(self.directory / "jobs.jsonl.part", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.assert_refuses(self.queue("export", stores[0], "jobs.jsonl"), "another export writes jobs.jsonl")
        self.assert_says(self.queue("export", stores[1], "jobs.jsonl"), "10 jobs exported.")

    def test_nobody_reads(self) -> None:
        """
        An export that nobody reads ends without a word.
        """
        process = self.start("export", self.fill("from.db", self.some_jobs(40_000)))
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.stderr.read(), "")
        self.assertEqual(process.wait(PATIENCE), 128 + signal.SIGPIPE)

    def test_bad_line(self) -> None:
        """
        A line that is no job is told by its number; what is before it is imported, and once it is right, the rest is.
        """
        lines = [HEADER, *map(as_line, self.some_jobs(3000))]
        good, lines[2500] = lines[2500], b'{"function": 5}\n'
        path = self.directory / "jobs.jsonl"
        path.write_bytes(b"".join(lines))
        importing = ["import", self.store("to.db"), "jobs.jsonl"]
        self.assert_refuses(
            self.queue(*importing),
            "jobs.jsonl, line 2501: 'function' must be a string; put it right.",
            "2,499 jobs imported. Run it again to go on.",
        )
        lines[2500] = good
        path.write_bytes(b"".join(lines))
        self.assert_says(self.queue(*importing), "501 jobs imported, 2,499 there already.")
        expected = [fields_of(job) for job in self.some_jobs(3000)]
        self.assertEqual([fields_of(job) for job in self.stored("to.db")], expected)

    def test_torn_file(self) -> None:
        """
        A file whose end is missing is told.
        """
        (self.directory / "jobs.jsonl").write_bytes((HEADER + b"".join(map(as_line, self.some_jobs(10))))[:-20])
        result = self.queue("import", self.store("to.db"), "jobs.jsonl")
        self.assert_refuses(result, "line 11: it is not JSON", "9 jobs imported")

    def test_by_hand(self) -> None:
        """
        Lines that were written by hand need no first line and no handles, and are not imported twice.
        """
        lines = '{"function": "f", "workload": "a"}\n\n{"function": "f", "workload": "b"}\n'
        (self.directory / "jobs.jsonl").write_text(lines)
        self.assert_says(self.queue("import", self.store("to.db"), "jobs.jsonl"), "2 jobs imported.")
        self.assert_says(self.queue("import", self.store("to.db"), "jobs.jsonl"), "0 jobs imported, 2 there already.")
        jobs = self.stored("to.db")
        self.assertEqual([job.workload for job in jobs], [b"a", b"b"])
        for job in jobs:
            self.assertTrue(job.handle.startswith(b"H:adopted:"))

    def test_large_workloads(self) -> None:
        """
        Workloads that are larger than a batch come through, with bytes of every kind.
        """
        jobs = [record(number, workload=os.urandom(1 << 20) * 20) for number in range(3)]
        store = self.fill("from.db", jobs)
        self.assert_says(self.queue("export", store, "jobs.jsonl"), "3 jobs exported.")
        self.assert_says(self.queue("import", self.store("to.db"), "jobs.jsonl"), "3 jobs imported.")
        self.assertTrue([fields_of(job) for job in self.stored("to.db")] == [fields_of(job) for job in jobs])

    def test_interrupted_import(self) -> None:
        """
        An import that waits for input can be interrupted; what came before is stored as far as it says.
        """
        process = self.start("import", self.store("to.db"))
        assert process.stdin is not None
        for line in map(as_line, self.some_jobs(5000)):
            process.stdin.write(line.decode())
        process.stdin.flush()

        def imported() -> int:
            path = self.directory / "to.db"
            try:
                return int(run_sql(path, "SELECT COUNT(*) FROM gearman_queue")[0][0]) if path.exists() else 0
            except sqlite3.OperationalError:
                return 0

        wait_until(lambda: imported() == 4000, "nothing is imported")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 130)
        assert process.stderr is not None
        says = "gearsvc queue import: interrupted. 4,000 jobs imported. Run it again to go on.\n"
        self.assertEqual(process.stderr.read(), says)
