"""
The dialogues of C{tests/transcripts}, each played against ours and against gearmand.

Every dialogue becomes one test for each server, by the names of its file and
its heading::

    trial tests.test_transcripts.Ours.test_priorities_high_before_normal_before_low
    pytest tests/test_transcripts.py -k "Gearmand and priorities"
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Callable

from tests.dialogue import BadDialogue, Connection, Dialogue, DialogueFailed, ask, await_connections, play, read_dialogues
from tests.running import RunningServer, start_server

TRANSCRIPTS = Path(__file__).with_name("transcripts")


def _end(server: RunningServer) -> None:
    if server.running:
        server.kill()


class Servers:
    """
    The servers of one kind, one for each set of options, started when a dialogue needs them.

    A server that a dialogue has left as it was at its start serves the next one, too, for a
    start of ours costs more than most dialogues.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._clean: dict[tuple[str, ...], RunningServer] = {}
        self._directory = Path(tempfile.mkdtemp(prefix=f"transcripts-{kind}-"))
        atexit.register(shutil.rmtree, self._directory, True)

    def take(self, options: tuple[str, ...]) -> RunningServer:
        """
        A server with nothing in it and nobody connected; whoever takes it gives it back or stops it.
        """
        server = self._clean.pop(options, None)
        if server is None:
            directory = Path(tempfile.mkdtemp(dir=self._directory))
            server = start_server(*options, directory=directory, kind=self._kind)
            atexit.register(_end, server)
        await_connections(server.port, 0)
        return server

    def give_back(self, options: tuple[str, ...], server: RunningServer) -> None:
        """
        Keep the server for the next dialogue if all functions can be dropped; stop it if not.
        """
        try:
            clean = self._sweep(server)
        except ConnectionError:  # the dialogue has shut it down
            clean = False
        if clean:
            self._clean[options] = server
        else:
            _end(server)

    def _sweep(self, server: RunningServer) -> bool:
        await_connections(server.port, 0)
        admin = Connection(server.port)
        try:
            for line in ask(admin, b"status\r\n"):
                admin.send(b"drop function " + line.partition(b"\t")[0] + b"\r\n")
                admin.receive()
            return ask(admin, b"status\r\n") == []
        finally:
            admin.close()


class Ours(unittest.TestCase):
    """
    What the dialogues say of our server.
    """

    servers = Servers("gearsvc")

    def play(self, dialogue: Dialogue) -> None:
        """
        Play a dialogue; its server serves the next one if it ends clean.
        """
        # A second NOOP, after the default delay of a second, would surprise a dialogue on a machine that is busy.
        options = (*dialogue.options, *(dialogue.our_options or ("--wakeup-delay", "60")))
        server = self.servers.take(options)
        try:
            play(dialogue, "ours", server.port)
        except BaseException:
            server.kill()
            raise
        self.servers.give_back(options, server)


@unittest.skipUnless(shutil.which("gearmand"), "Debian's gearman-job-server is not installed")
class Gearmand(unittest.TestCase):
    """
    What the dialogues say of gearmand.
    """

    servers = Servers("gearmand")

    def play(self, dialogue: Dialogue) -> None:
        """
        Play a dialogue against a server of its own: gearmand starts at once, and C{drop function}
        leaves its queue dangling.
        """
        # With one thread it does things in one order; with more, it may for a moment neither
        # show a connection that has ended nor have queued what that connection left behind.
        server = self.servers.take((*dialogue.options, "--threads", "1"))
        try:
            play(dialogue, "gearmand", server.port)
            self.assertTrue(server.running, "gearmand has crashed")
        finally:
            server.kill()


def _read(script: str) -> list[Dialogue]:
    """
    Read a file that holds one dialogue.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file.txt")
        path.write_text(f"Title\n=====\n\nHeading\n-------\n{script}\n")
        return read_dialogues(path)


class Reading(unittest.TestCase):
    """
    What a file of dialogues may not hold.
    """

    def test_difference_needs_a_reason(self) -> None:
        """A line for one server alone is an error unless a C{why:} stands before it."""
        with self.assertRaisesRegex(BadDialogue, "file.txt:6: the servers differ"):
            _read("    ours: client > GRAB_JOB")
        [dialogue] = _read("    why: it is so\n    ours: client > GRAB_JOB")
        self.assertEqual(dialogue.steps[0].only, "ours")

    def test_line_without_meaning(self) -> None:
        """A line that is no step of a dialogue is an error that names file and line."""
        with self.assertRaisesRegex(BadDialogue, "file.txt:6: .* is no line of a dialogue"):
            _read("    client sleeps")

    def test_nothing_said(self) -> None:
        """A heading with no dialogue under it is an error."""
        with self.assertRaisesRegex(BadDialogue, "nothing is said in 'Heading'"):
            _read("Prose.")


class Playing(unittest.TestCase):
    """
    A server that says anything else than its dialogue is found out.
    """

    def assert_fails(self, script: str, why: str) -> None:
        """
        Play a dialogue against our server, which fails with this text.
        """
        [dialogue] = _read(script)
        server = Ours.servers.take(())
        with self.assertRaises(DialogueFailed) as failure:
            play(dialogue, "ours", server.port)
        self.assertRegex(str(failure.exception), why)
        Ours.servers.give_back((), server)

    def test_another_packet(self) -> None:
        """A packet of another type, or with other arguments, fails at its line, which is shown with what came."""
        self.assert_fails("    a > GRAB_JOB\n    a < NOOP", "^file.txt:7: a < NOOP: NO_JOB +came$")
        self.assert_fails("    a > ECHO_REQ one|two\n    a < ECHO_RES one|", r"a < ECHO_RES one\|: ECHO_RES one\|two came$")

    def test_another_line(self) -> None:
        """A text line with another line end fails, in the open order too."""
        self.assert_fails('    a > "verbose\\n"\n    a < "OK ERROR\\r\\n"', r"b'OK ERROR.n' came$")
        self.assert_fails('    a > "verbose\\n"\n    a <* "OK ERROR\\r\\n"', r"\[b'OK ERROR.n'\] came$")

    def test_too_much(self) -> None:
        """What comes and is not in the dialogue fails it: where it says silence, before a hang-up, and at the end."""
        self.assert_fails("    a > GRAB_JOB\n    a silent", "a silent : NO_JOB  came")
        self.assert_fails("    a > GRAB_JOB\n    a hangs up", "NO_JOB  had come, and nothing says so")
        self.assert_fails("    a > GRAB_JOB\n    b > ECHO_REQ\n    b < ECHO_RES", "at the end NO_JOB  had come to a,")

    def test_not_closed(self) -> None:
        """A connection that the server closes fails the dialogue unless it says so."""
        self.assert_fails(
            '    a > "\\0XYZ\\0\\0\\0\\x10\\0\\0\\0\\0"\n    a < ERROR INVALID_MAGIC|{...}', "at the end the end of the connection had come to a"
        )

    def test_names(self) -> None:
        """A name that has been bound stands for the same bytes from then on, and no two names for the same."""
        self.assert_fails("    a > ECHO_REQ 1\n    a < ECHO_RES {x}\n    a > ECHO_REQ 2\n    a < ECHO_RES {x}", "x is b'1'")
        self.assert_fails("    a > ECHO_REQ 1|1\n    a < ECHO_RES {x}|{y}", r"ECHO_RES 1\|1 came")


def _test_of(dialogue: Dialogue) -> Callable[[Ours | Gearmand], None]:
    def test(self: Ours | Gearmand) -> None:
        self.play(dialogue)

    test.__doc__ = dialogue.title
    return test


def _add_tests() -> None:
    """
    Give both classes a test for every dialogue.
    """
    for path in sorted(TRANSCRIPTS.glob("*.txt")):
        for dialogue in read_dialogues(path):
            name = "test_" + re.sub(r"\W+", "_", f"{path.stem} {dialogue.title}".lower()).strip("_")
            for case in (Ours, Gearmand):
                if hasattr(case, name):
                    raise BadDialogue(f"{path.name}: two dialogues are called {dialogue.title!r}")
                if case is Ours or not dialogue.skip:
                    setattr(case, name, _test_of(dialogue))


_add_tests()
