"""
The text protocol.
"""

from __future__ import annotations

import os
from unittest.mock import patch

from gearsvc import __version__
from gearsvc.core import admin
from tests.core.case import NOON, CoreCase

UNKNOWN = "ERR UNKNOWN_COMMAND Unknown+server+command"
INCOMPLETE = "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+"


class CommandTests(CoreCase):
    """
    Each command's bytes.
    """

    def assert_answers(self, answers: dict[str, list[str]]) -> None:
        """
        These lines have these answers, with either line end.
        """
        for line, answer in answers.items():
            for end in ("\n", "\r\n"):
                self.assertEqual(self.connect().says(line + end), answer, line)

    def test_status(self) -> None:
        """
        C{status}: a function's jobs of all states, those that run, and its workers.
        """
        self.assertEqual(self.connect().says("status\n"), [".\n"])
        worker, _ = self.worker("f"), self.worker("f")
        self.connect().says(*["SUBMIT_JOB_BG f||x"] * 3, f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x", "SUBMIT_JOB_BG g||x")
        worker.says("GRAB_JOB")
        self.assertEqual(self.connect().says("status\n"), ["f\t4\t1\t2\n", "g\t1\t0\t0\n", ".\n"])

    def test_prioritystatus(self) -> None:
        """
        C{prioritystatus}: a function's waiting jobs by priority, not those that run, and its workers.
        """
        self.assertEqual(self.connect().says("prioritystatus\n"), [".\n"])
        self.connect().says(
            *["SUBMIT_JOB_HIGH_BG f||x"] * 2,
            *["SUBMIT_JOB_LOW_BG f||x"] * 3,
            "SUBMIT_JOB_BG f||x",
            f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x",
        )
        self.worker("f").says("GRAB_JOB")
        self.assertEqual(self.connect().says("prioritystatus\n"), ["f\t1\t2\t3\t1\n", ".\n"])

    def test_prioritystatus_without_the_dead(self) -> None:
        """
        Cancelled jobs, whose places are still there, are not counted.
        """
        client = self.connect()
        client.says(*["SUBMIT_JOB_BG f||x"] * 4, *[f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x"] * 3)
        client.says("cancel job H:2\n", "cancel job H:4\n", "cancel job H:6\n")
        self.assertEqual(client.says("prioritystatus\n"), ["f\t0\t4\t0\t0\n", ".\n"])

    def test_workers(self) -> None:
        """
        C{workers}: every connection's descriptor, address, id and functions, the newest first; none has no space behind the
        colon.
        """
        worker = self.connect()
        worker.says("SET_CLIENT_ID the worker", "CAN_DO f", "CAN_DO g")
        admin = self.connect()
        self.assertEqual(admin.says("workers\n"), ["7 127.0.0.1 the worker : g f\n", "8 127.0.0.1 - :\n", ".\n"])
        worker.hangs_up()
        self.assertEqual(admin.says("workers\n"), ["8 127.0.0.1 - :\n", ".\n"])

    def test_show_jobs(self) -> None:
        """
        C{show jobs}: handle, lost attempts, 0, and whether it is in the background.
        """
        client, worker = self.connect(), self.worker("f")
        self.assertEqual(client.says("show jobs\n"), [".\n"])
        client.says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB f||x", f"SUBMIT_JOB_EPOCH f||{int(NOON) + 5}|x")
        worker.says("GRAB_JOB")
        worker.hangs_up()
        self.assertEqual(client.says("show jobs\n"), ["H:1\t1\t0\t1\n", "H:2\t0\t0\t0\n", "H:3\t0\t0\t1\n", ".\n"])

    def test_show_unique_jobs(self) -> None:
        """
        C{show unique jobs}: each job's unique id, or an empty line.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f|u1|x", "SUBMIT_JOB f||x", "SUBMIT_JOB f|-|x", "SUBMIT_JOB f|u1|x")
        self.assertEqual(client.says("show unique jobs\n"), ["u1\n", "\n", "-\n", ".\n"])

    def test_show_others(self) -> None:
        """
        C{show} alone is no command, and with any other word has an error of its own.
        """
        self.assert_answers(
            {
                "show": [f"{UNKNOWN}show\r\n"],
                "show unique": ["ERR UNKNOWN_SHOW_ARGUMENTS\r\n"],
                "show x": ["ERR UNKNOWN_SHOW_ARGUMENTS\r\n"],
                "show jobs unique": ["ERR UNKNOWN_SHOW_ARGUMENTS\r\n"],
                "show unique x": ["ERR UNKNOWN_SHOW_ARGUMENTS\r\n"],
            }
        )

    def test_cancel(self) -> None:
        """
        C{cancel} with fewer than three words is no command.
        """
        self.connect().says("SUBMIT_JOB_BG f||x", "SUBMIT_JOB_BG f||x")
        self.assert_answers(
            {
                "cancel": [f"{UNKNOWN}cancel\r\n"],
                "cancel job": [f"{UNKNOWN}cancel\r\n"],
                "cancel x H:1": ["ERR UNKNOWN_ERROR\r\n"],
                "cancel job H:1 x": ["ERR UNKNOWN_ERROR\r\n"],
                "cancel job H:9": ["ERR UNKNOWN_JOB\r\n"],
            }
        )
        self.assertEqual(self.connect().says("cancel job H:1\n", "cancel job H:2\r\n"), ["OK\r\n", "OK\r\n"])

    def test_create(self) -> None:
        """
        C{create function NAME}, with the whole of the name; twice is once.
        """
        self.assert_answers(
            {
                "create function ff": ["OK\r\n"],
                "create": [f"{INCOMPLETE}create\r\n"],
                "create function": [f"{INCOMPLETE}create\r\n"],
                "create x f": [f"{INCOMPLETE}create\r\n"],
                "create function f g": [f"{INCOMPLETE}create\r\n"],
            }
        )
        self.assertEqual(self.status(), ["ff 0 0 0"])

    def test_drop(self) -> None:
        """
        C{drop} with anything but a function is incomplete.
        """
        self.assert_answers(
            {
                "drop": [f"{INCOMPLETE}drop\r\n"],
                "drop function": [f"{INCOMPLETE}drop\r\n"],
                "drop x f": [f"{INCOMPLETE}drop\r\n"],
                "drop function f g": [f"{INCOMPLETE}drop\r\n"],
                "drop function f": ["ERR function not found\r\n"],
            }
        )

    def test_maxqueue(self) -> None:
        """
        C{maxqueue} without a function is incomplete; with one it is always OK.
        """
        self.assert_answers(
            {
                "maxqueue": [f"{INCOMPLETE}maxqueue\r\n"],
                **{f"maxqueue f{more}": ["OK\r\n"] for more in ("", " 1", " x", " 1 2", " 1 2 3")},
            }
        )

    def test_one_word_commands(self) -> None:
        """
        C{getpid}, C{verbose} and C{version} end with a bare line feed.
        """
        self.assert_answers(
            {"getpid": [f"OK {os.getpid()}\n"], "verbose": ["OK ERROR\n"], "version": [f"OK {__version__}\n"]}
        )
        self.serve(verbose="debug")
        self.assert_answers({"verbose": ["OK DEBUG\n"]})

    def test_unknown(self) -> None:
        """
        Anything else is repeated as it was written, with no space before it.
        """
        self.assert_answers(
            {
                line: [f"{UNKNOWN}{word}\r\n"]
                for line, word in (("help", "help"), ("Info 5", "Info"), ("", ""), (" ", ""), (" status", ""))
            }
        )

    def test_case_and_spaces(self) -> None:
        """
        Verbs may be in any case, and runs of spaces count as one; names keep their case.
        """
        self.assertEqual(self.connect().says("CREATE  Function   Ff \n"), ["OK\r\n"])
        self.assert_answers({"STATUS": ["Ff\t0\t0\t0\n", ".\n"], "Show  JOBS": [".\n"], "show Unique jobs ": [".\n"]})

    def test_extra_words(self) -> None:
        """
        A command of one word ignores up to four more.
        """
        for verb in ("status", "prioritystatus", "workers", "version", "getpid", "verbose"):
            client = self.connect()
            self.assertEqual(client.says(f"{verb} a b c d\n"), client.says(f"{verb}\n"))

    def test_too_many_words(self) -> None:
        """
        More than five words are too many, and the connection stays.
        """
        client = self.connect()
        self.assertEqual(client.says("status a b c d e\n"), ["ERR TOO_MANY_WORDS A+line+may+have+5+words\r\n"])
        self.assertEqual(client.says("status\n"), [".\n"])

    def test_any_bytes(self) -> None:
        """
        A line may hold any bytes.
        """
        self.assertEqual(self.connect().sends(b"create function \xff\0\r\n"), ["OK\r\n"])
        self.assertEqual(list(self.server.functions), [b"\xff\0"])


class ShutdownTests(CoreCase):
    """
    C{shutdown}.
    """

    def test_not_allowed(self) -> None:
        """
        It is no command unless --admin-shutdown was given.
        """
        self.server.shut_down = self.fail
        self.assertEqual(self.connect().says("shutdown\n", "shutdown graceful\n"), [f"{UNKNOWN}shutdown\r\n"] * 2)

    def test_allowed(self) -> None:
        """
        With it, both forms are OK and do what they say; others are no command.
        """
        self.serve(admin_shutdown=True)
        shut_down: list[bool] = []
        self.server.shut_down = shut_down.append
        self.assertEqual(self.connect().says("shutdown\n", "Shutdown GRACEFUL\r\n"), ["OK\r\n"] * 2)
        self.assertEqual(shut_down, [False, True])
        self.assertEqual(self.connect().says("shutdown now\n", "shutdown graceful x\n"), [f"{UNKNOWN}shutdown\r\n"] * 2)
        self.assertEqual(shut_down, [False, True])

    def test_nobody_to_call(self) -> None:
        """
        Where nobody could shut the server down, it is no command.
        """
        self.serve(admin_shutdown=True)
        self.assertEqual(self.connect().says("shutdown\n"), [f"{UNKNOWN}shutdown\r\n"])


class LongListTests(CoreCase):
    """
    Lists in pieces.
    """

    def setUp(self) -> None:
        """
        A great many jobs.
        """
        super().setUp()
        smaller = patch.object(admin, "LINES_A_PIECE", 10)
        smaller.start()
        self.addCleanup(smaller.stop)
        self.many = 507
        self.client = self.connect()
        self.client.says(*["SUBMIT_JOB_BG f||x"] * self.many)
        self.admin = self.connect()

    def all_of_it(self) -> list[str]:
        """
        What comes while the administrator reads on.
        """
        heard = []
        for _ in range(self.many):
            more = self.admin.hears()
            if not more:
                break
            heard += more
            self.clock.turn()
        return heard

    def test_turns(self) -> None:
        """
        A long list is sent over several turns, and between them others are served; in the end it is whole.
        """
        first = self.admin.says("show jobs\n")
        self.assertLess(len(first), self.many / 2)
        self.assertEqual(self.connect().says("ECHO_REQ a"), ["ECHO_RES a"])
        self.clock.turn()
        self.assertEqual(
            first + self.all_of_it(), [f"H:{number}\t0\t0\t1\n" for number in range(1, self.many + 1)] + [".\n"]
        )
        self.assertEqual(self.clock.pending(), 0)
        self.assertIsNone(self.admin.session.held)

    def test_what_follows_waits(self) -> None:
        """
        Replies to what comes after it wait for its end.
        """
        heard = self.admin.says("show unique jobs\n", "ECHO_REQ a", "status\n", "SUBMIT_JOB f||x")
        heard += self.admin.says("ECHO_REQ b")
        self.clock.turn()
        heard += self.all_of_it()
        self.assertEqual(
            heard,
            ["\n"] * self.many
            + [".\n", "ECHO_RES a", f"f\t{self.many + 1}\t0\t0\n", ".\n", f"JOB_CREATED H:{self.many + 1}", "ECHO_RES b"],
        )

    def test_jobs_vanish(self) -> None:
        """
        Jobs that end while the list is sent are left out of the rest; no line is torn.
        """
        heard = self.admin.says("show jobs\n")
        gone = [f"H:{number}" for number in range(2, self.many + 1, 2)]
        self.client.says(*(f"cancel job {handle}\n" for handle in gone))
        self.client.says(*["SUBMIT_JOB_BG f||x"] * 5)
        self.clock.turn()
        later = self.all_of_it()
        self.assertEqual(heard, [f"H:{number}\t0\t0\t1\n" for number in range(1, len(heard) + 1)])
        self.assertEqual(
            later, [f"H:{number}\t0\t0\t1\n" for number in range(len(heard) + 1, self.many + 1) if number % 2] + [".\n"]
        )

    def test_all_jobs_vanish(self) -> None:
        """
        So does a list end of which nothing is left.
        """
        self.admin.says("show jobs\n")
        self.client.says("drop function f\n")
        self.clock.turn()
        self.assertEqual(self.all_of_it(), [".\n"])

    def test_congested(self) -> None:
        """
        Nothing more is made for a peer that does not read, until it does.
        """
        first = self.admin.says("show jobs\n")
        self.admin.congested = True
        self.clock.advance(100)
        self.assertEqual(self.admin.hears(), [])
        self.assertEqual(self.clock.pending(), 0)
        self.admin.congested = False
        self.server.drained(self.admin.session)
        self.assertEqual(len(first + self.all_of_it()), self.many + 1)

    def test_congested_from_the_start(self) -> None:
        """
        Nor for one that has not read what came before.
        """
        self.admin.congested = True
        self.assertEqual(self.admin.says("show jobs\n"), [])
        self.admin.congested = False
        self.server.drained(self.admin.session)
        self.assertEqual(len(self.all_of_it()), self.many + 1)

    def test_overflow(self) -> None:
        """
        A peer that does not read a list, and for which more than C{--max-output} comes behind it, loses its connection.
        """
        self.serve(max_output=1000)
        client, worker = self.connect(), self.worker("f")
        handle = client.says("SUBMIT_JOB f||x")[0].split()[1]
        worker.says("GRAB_JOB")
        client.congested = True
        client.says("show jobs\n")
        for sent in range(1, 100):
            worker.says(f"WORK_DATA {handle}|{'x' * 100}")
            if client.overflowed:
                break
        self.assertEqual((client.overflowed > 1000, sent < 15), (True, True))
        self.assertNotIn(client.session, self.server.sessions)
        self.assertEqual(worker.says(f"WORK_COMPLETE {handle}|", "GRAB_JOB"), ["NO_JOB"])

    def test_hangs_up(self) -> None:
        """
        A peer that goes in the midst of it leaves nothing behind.
        """
        self.admin.says("show jobs\n")
        self.admin.hangs_up()
        self.clock.advance(1)
        self.assertEqual(self.admin.hears(), [])
        self.assertEqual((self.clock.pending(), self.server._holding), (0, {}))

    def test_closed_behind(self) -> None:
        """
        A bad packet behind it closes the connection after its end.
        """
        first = self.admin.says("show jobs\n", "SUBMIT_JOB bad")
        self.assertFalse(self.admin.closed)
        self.clock.turn()
        heard = first + self.all_of_it()
        self.assertTrue(heard[-1].startswith("ERROR INVALID_PACKET"))
        self.assertEqual(len(heard), self.many + 2)
        self.assertTrue(self.admin.closed)

    def test_pieces_a_turn(self) -> None:
        """
        A turn makes no more of it than the turn before, whatever else happens to the connection in the meantime.
        """
        heard = len(self.admin.says("show jobs\n"))
        for _ in range(3):
            self.server.drained(self.admin.session)
        self.admin.hears()
        self.clock.turn()
        self.assertEqual(len(self.admin.hears()), heard)
