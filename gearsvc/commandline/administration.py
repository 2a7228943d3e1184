"""
What the text protocol says about a server, as values.

It is there with every Gearman server; gearsvc has more of it than gearmand.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import unquote_plus

from gearsvc.commandline.frame import Address, CommandError
from gearsvc.core.explain import text
from gearsvc.top.reading import TextConnection, Unreachable

MAX_LINE = 8192
"""
How many bytes a line of a command may have: servers take no more.
"""


class FunctionStatus(NamedTuple):
    """
    A function.

    @ivar jobs: how many jobs there are, those that run included.
    @ivar high: how many wait with high priority; and so on.
    """

    function: bytes
    jobs: int
    running: int
    workers: int
    high: int
    normal: int
    low: int


class Peer(NamedTuple):
    """
    A connection.

    @ivar number: the server's number for it.
    @ivar client_id: the name that it has given itself, or C{b"-"}.
    @ivar functions: what it can do; a client can do nothing.
    """

    number: int
    address: bytes
    client_id: bytes
    functions: tuple[bytes, ...]


class JobLine(NamedTuple):
    """
    A job.

    @ivar retries: how many workers were lost over it.
    @ivar ignored: whether it is not to run.
    @ivar background: whether nobody waits for it.  (gearmand has this column of
        a job that waits alone.)
    """

    handle: bytes
    retries: int
    ignored: bool
    background: bool


Line = TypeVar("Line")


class Administration:
    """
    A server, asked in the text protocol.

    Every method raises L{CommandError<gearsvc.commandline.frame.CommandError>}
    if the server is not there, or refuses what it is asked.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._connection = TextConnection(*address, timeout)

    @property
    def name(self) -> str:
        """
        The server, as a person would name it.
        """
        return self._connection.name

    def ask(self, words: Sequence[bytes], is_list: bool = False) -> list[bytes]:
        """
        Give a command.

        @param words: its words: none is empty, or has a space in it.
        @return: the lines of the answer; not the dot at a list's end.
        """
        for word in words:
            if not word or any(byte in b" \t\r\n\v\f\0" for byte in word):
                raise CommandError(f"{text(word)!r} has a space in it, or nothing: the text protocol has no way to say it")
        line = b" ".join(words)
        if len(line) >= MAX_LINE:
            raise CommandError(f"a command of {len(line)} bytes is too long; servers take {MAX_LINE}")
        try:
            answer = self._connection.ask(line, is_list)
        except Unreachable as error:
            raise CommandError(f"{error}; is it running there? --server names another") from None
        if answer and answer[0].startswith(b"ERR"):
            raise Refused(self.name, answer[0])
        return answer

    def do(self, *words: bytes) -> None:
        """
        Have something done.
        """
        self.ask(words)

    def value(self, *words: bytes) -> bytes:
        """
        Ask for one thing.
        """
        [answer, *_] = self.ask(words) or [b""]
        return answer.removeprefix(b"OK").strip()

    def functions(self) -> list[FunctionStatus]:
        """
        All functions, by name.
        """
        waiting = {
            columns[0]: tuple(map(_number, columns[1:4])) for columns in self._columns([b"prioritystatus"], 5)
        }
        found = [
            FunctionStatus(name, _number(jobs), _number(running), _number(workers), *waiting.get(name, (0, 0, 0)))
            for name, jobs, running, workers in self._columns([b"status"], 4)
        ]
        return sorted(found)

    def peers(self) -> list[Peer]:
        """
        All connections, the oldest first.
        """
        found = []
        for line in self.ask([b"workers"], is_list=True):
            # Functions have no spaces (or could not be told from each other); ids may have colons.
            who, _, functions = (line + b" ").partition(b" : ")
            number, address, client_id = (who.removesuffix(b" :").split(b" ", 2) + [b"", b""])[:3]
            found.append(Peer(_number(number), address, client_id, tuple(functions.split())))
        return sorted(found)

    def jobs(self) -> list[JobLine]:
        """
        All jobs.
        """
        return [
            JobLine(handle, _number(retries), ignored != b"0", background != b"0")
            for handle, retries, ignored, background in self._columns([b"show", b"jobs"], 4)
        ]

    def unique_ids(self) -> list[bytes]:
        """
        The unique ids of all jobs.
        """
        return self.ask([b"show", b"unique", b"jobs"], is_list=True)

    def _columns(self, words: Sequence[bytes], count: int) -> list[list[bytes]]:
        """
        Lines of columns, the first of which may hold tabs.
        """
        lines = [line.rsplit(b"\t", count - 1) for line in self.ask(words, is_list=True)]
        for columns in lines:
            if len(columns) != count:
                raise CommandError(f"{self.name}: what answers there is no Gearman server: {text(columns[0])[:80]}")
        return lines


class Refused(CommandError):
    """
    The server does not do what it was asked.

    @ivar code: its code for why, if it has one.
    """

    def __init__(self, name: str, line: bytes) -> None:
        said = line.removeprefix(b"ERR").strip()
        code, _, rest = said.partition(b" ")
        # (Of some refusals there are words alone.)
        self.code, said = (code, rest) if code.isupper() else (b"", said)
        super().__init__(f"{name} refuses it: {unquote_plus(text(said)) or text(self.code).replace('_', ' ').lower() or 'it does not say why'}")


def _number(digits: bytes) -> int:
    # (A gearmand with a known mistake says that -1 jobs run.)
    try:
        return max(0, int(digits))
    except ValueError:
        return 0


def named(key: str, name: bytes) -> dict[str, str]:
    """
    A name for JSON: as text, and if that does not tell its bytes, in base64
    under another key, as the console's API has it.
    """
    shown = text(name)
    if shown.encode("utf-8", "surrogatepass") == name:
        return {key: shown}
    return {key: shown, f"{key}_base64": b64encode(name).decode()}


def given(word: str) -> bytes:
    """
    A name from the command line, with the bytes that it was given in.
    """
    return word.encode(errors="surrogateescape")
