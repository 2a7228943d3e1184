r"""
Dialogues on the wire, written to be read, and played against a real server.

A file of dialogues is a text: a title, prose, and under each heading one
dialogue, in lines that are indented::

    What is queued twice
    ====================

    Once
    ----
    The second submission of a unique id joins the job that the first one made.

        client  > SUBMIT_JOB reverse|u1|hello
        client  < JOB_CREATED {job}
        client2 > SUBMIT_JOB reverse|u1|other
        client2 < JOB_CREATED {job}

Everything that is not indented is prose.  What may stand in a dialogue:

    - C{server: --job-retries 2}: the options that the server is started with,
      C{ours server: --wakeup-delay 1}: those that gearmand has not;
      C{gearmand skip: why} says why a dialogue is not played against gearmand.
    - C{NAME > MESSAGE}: this connection sends.  A connection is opened when it
      is first named.  Lines that follow one another leave in one write.
    - C{NAME < MESSAGE}: the next thing that this connection receives.  C{<*}
      says the same of text lines whose order is open.
    - C{NAME silent}: nothing has come.  C{NAME closed}: nothing comes, and the
      server closes the connection.  C{NAME hangs up}: the peer closes it, and
      the server has noticed.
    - C{ours: ...} and C{gearmand: ...} before any of these: only there.  A
      C{why:} line comes first and says why the two differ.

A MESSAGE is the name of a packet and its arguments, with C{|} for the NUL
between them (so C{WORK_COMPLETE {job}|} has empty data, and C{WORK_FAIL {job}}
has no NUL at all), or bytes in double quotes.  Both know C{\n}, C{\r}, C{\t},
C{\0} and C{\xNN}; C{\} before any other character is that character.  In braces:

    - C{{job}}: a name.  It takes the bytes that come when it is first
      received, and stands for them from then on.  Two names never stand for the
      same bytes.
    - C{{a*64}}: C{a}, 64 times.
    - C{{now+1}}: the time in Unix seconds, a second from now.
    - C{{...}}: any bytes but NUL and line end, at least one.

The player keeps the order of a dialogue true: before another connection speaks
or is listened to, an ECHO_REQ on the one that has spoken makes sure that the
server has seen all of it.  At the end the same is done with every connection,
and nothing may have come that the dialogue does not say.
"""

from __future__ import annotations

import re
import shlex
import socket
import struct
import time
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

PATIENCE = 10.0
"""How many seconds the player waits for something to come before the dialogue has failed."""

PACKETS = dict(
    enumerate(
        "TYPE_0 CAN_DO CANT_DO RESET_ABILITIES PRE_SLEEP TYPE_5 NOOP SUBMIT_JOB JOB_CREATED GRAB_JOB NO_JOB JOB_ASSIGN"
        " WORK_STATUS WORK_COMPLETE WORK_FAIL GET_STATUS ECHO_REQ ECHO_RES SUBMIT_JOB_BG ERROR STATUS_RES SUBMIT_JOB_HIGH"
        " SET_CLIENT_ID CAN_DO_TIMEOUT ALL_YOURS WORK_EXCEPTION OPTION_REQ OPTION_RES WORK_DATA WORK_WARNING GRAB_JOB_UNIQ"
        " JOB_ASSIGN_UNIQ SUBMIT_JOB_HIGH_BG SUBMIT_JOB_LOW SUBMIT_JOB_LOW_BG SUBMIT_JOB_SCHED SUBMIT_JOB_EPOCH"
        " SUBMIT_REDUCE_JOB SUBMIT_REDUCE_JOB_BACKGROUND GRAB_JOB_ALL JOB_ASSIGN_ALL GET_STATUS_UNIQUE"
        " STATUS_RES_UNIQUE TYPE_43".split()
    )
)
NUMBERS = {name: number for number, name in PACKETS.items()}


def encode_packet(magic: bytes, name: str, payload: bytes) -> bytes:
    """
    A packet's bytes.
    """
    return magic + struct.pack(">II", NUMBERS[name], len(payload)) + payload


def split_message(data: bytes) -> int:
    """
    How long the packet or text line is that C{data} begins with; 0 if it is not complete.
    """
    if data[:1] != b"\0":
        return data.find(b"\n") + 1
    if len(data) < 12:
        return 0
    length = 12 + struct.unpack(">I", data[8:12])[0]
    return length if len(data) >= length else 0


class BadDialogue(Exception):
    """
    A file of dialogues holds a line that means nothing.
    """


class DialogueFailed(AssertionError):
    """
    The server did not say what the dialogue says.
    """


@dataclass
class Step:
    """
    One line of a dialogue.

    @ivar only: C{"ours"} or C{"gearmand"} if it is for that server alone, else C{""}.
    @ivar action: C{">"}, C{"<"}, C{"<*"}, C{"silent"}, C{"closed"} or C{"hangs up"}.
    """

    line: int
    only: str
    connection: str
    action: str
    message: str


@dataclass
class Dialogue:
    """
    One dialogue of a file.

    @ivar options: the command line options of the server.
    @ivar our_options: options that only ours is given.
    @ivar skip: why it is not played against gearmand; empty if it is.
    """

    file: str
    title: str
    options: tuple[str, ...] = ()
    our_options: tuple[str, ...] = ()
    skip: str = ""
    steps: list[Step] = field(default_factory=list)


_STEP = re.compile(r"(?:(ours|gearmand):\s+)?([a-z]\w*)\s+(?:(>|<\*|<)\s+(.+)|(silent|closed|hangs up))")


def read_dialogues(path: Path) -> list[Dialogue]:
    """
    All dialogues of one file.

    @raise BadDialogue: if a line of one cannot be understood.
    """
    dialogues: list[Dialogue] = []
    explained = False
    lines = path.read_text().splitlines()
    for number, text in enumerate(lines, 1):
        if number < len(lines) and re.fullmatch("-{3,}", lines[number]):
            dialogues.append(Dialogue(path.name, text))
        if not text.startswith("    "):
            explained = False
            continue
        text = text.strip()
        dialogue = dialogues[-1]
        if text.startswith("server: "):
            dialogue.options = tuple(shlex.split(text[8:]))
        elif text.startswith("ours server: "):
            dialogue.our_options = tuple(shlex.split(text[13:]))
        elif text.startswith("gearmand skip: "):
            dialogue.skip = text[15:]
            explained = True
        elif text.startswith("why: "):
            explained = True
        elif match := _STEP.fullmatch(text):
            only, connection, arrow, message, state = match.groups()
            if only and not explained:
                raise BadDialogue(f"{path.name}:{number}: the servers differ and no 'why:' says why")
            explained = bool(only)
            dialogue.steps.append(Step(number, only or "", connection, arrow or state, message or ""))
        elif not (explained and lines[number - 1].startswith("     ")):  # a longer why: goes on, indented further
            raise BadDialogue(f"{path.name}:{number}: {text!r} is no line of a dialogue")
    for dialogue in dialogues:
        if not dialogue.steps:
            raise BadDialogue(f"{path.name}: nothing is said in {dialogue.title!r}")
    return dialogues


_TOKEN = re.compile(r"\\x([0-9a-fA-F]{2})|\\(.)|\{([^{}*]+)\*(\d+)\}|\{(now)([+-]\d+)?\}|\{(\.\.\.|[a-z]\w*)\}|(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def _tokens(text: str, between: str) -> list[bytes | str]:
    """
    The body of a message: bytes as they are, and the names in braces as strings.

    @param between: what C{|} stands for.
    """
    tokens: list[bytes | str] = []
    for match in _TOKEN.finditer(text):
        hexadecimal, escaped, repeated, count, now, offset, name, plain = match.groups()
        if hexadecimal:
            tokens.append(bytes([int(hexadecimal, 16)]))
        elif escaped:
            tokens.append(_ESCAPES.get(escaped, escaped).encode())
        elif repeated:
            tokens.append(repeated.encode() * int(count))
        elif now:
            tokens.append(b"%d" % (time.time() + int(offset or 0)))
        elif name:
            tokens.append(name)
        else:
            tokens.append((between if plain == "|" else plain).encode())
    return tokens


class Names:
    """
    What the names in braces stand for in one play.
    """

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def encode(self, message: str) -> bytes:
        """
        The bytes of a message to be sent.
        """
        if message.startswith('"'):
            return self._fill(_tokens(message[1:-1], "|"))
        name, _, arguments = message.partition(" ")
        return encode_packet(b"\0REQ", name, self._fill(_tokens(arguments, "\0")))

    def matches(self, message: str, data: bytes) -> bool:
        """
        Whether what came is what the message says; if so, new names take their bytes.
        """
        if message.startswith('"'):
            head, tokens = b"", _tokens(message[1:-1], "|")
        else:
            name, _, arguments = message.partition(" ")
            head, tokens = b"\0RES" + struct.pack(">I", NUMBERS[name]), _tokens(arguments, "\0")
            if data[:8] != head:
                return False
            data = data[12:]
        pattern = b""
        fresh: list[str] = []
        for token in tokens:
            if isinstance(token, bytes):
                pattern += re.escape(token)
            elif token == "...":
                pattern += rb"[^\0\r\n]+"
            elif token in self._values:
                pattern += re.escape(self._values[token])
            elif token in fresh:
                pattern += b"(?P=%s)" % token.encode()
            else:
                fresh.append(token)
                pattern += rb"(?P<%s>[^\0\r\n\t ]+)" % token.encode()
        if not fresh and "..." not in tokens:  # for a large workload a pattern is slow
            return self._fill(tokens) == data
        match = re.fullmatch(pattern, data)
        if match is None:
            return False
        found = {name: match[name] for name in fresh}
        if len({*self._values.values(), *found.values()}) < len(self._values) + len(found):
            return False
        self._values.update(found)
        return True

    def explain(self, message: str) -> str:
        """
        What is known of the names in a message, for a failure.
        """
        known = [f"{name} is {self._values[name]!r}" for name in re.findall(r"\{(\w+)\}", message) if name in self._values]
        return f" ({', '.join(known)})" if known else ""

    def _fill(self, tokens: list[bytes | str]) -> bytes:
        return b"".join(token if isinstance(token, bytes) else self._values[token] for token in tokens)


def describe(data: bytes | None) -> str:
    """
    What came, in the words of a dialogue.
    """
    if data is None:
        return "the end of the connection"
    if data[:4] != b"\0RES":
        return repr(data)
    number = struct.unpack(">I", data[4:8])[0]
    return PACKETS.get(number, f"TYPE_{number}") + " " + repr(data[12:])[2:-1].replace("\\x00", "|")


class Connection:
    """
    One peer's end of a connection to the server.

    @ivar inbox: what has come and not been looked for yet.
    @ivar ended: the server has closed the connection.
    @ivar unseen: something was sent, and the server may not have seen it yet.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._unfinished = b""
        self._echoes = 0
        self.inbox: list[bytes] = []
        self.ended = False
        self.unseen = False

    def send(self, data: bytes) -> None:
        """
        Send bytes.  A connection that the server has closed takes them in silence: reading will tell.
        """
        try:
            self._socket.sendall(data)
        except OSError:
            pass
        self.unseen = True
        self._unfinished += data
        while length := split_message(self._unfinished):
            self._unfinished = self._unfinished[length:]

    def receive(self) -> bytes | None:
        """
        The next packet or text line; C{None} at the end of the connection.

        @raise TimeoutError: if nothing comes.
        """
        return self.inbox.pop(0) if self.inbox else self._read()

    def settle(self) -> None:
        """
        Make sure that the server has seen everything that was sent, and that everything it had to
        say to that has come.  In the midst of a packet or line this cannot be done, and is not.
        """
        self.unseen = False
        if self.ended or self._unfinished:
            return
        self._echoes += 1
        token = b"settled %d" % self._echoes
        self.send(encode_packet(b"\0REQ", "ECHO_REQ", token))
        self.unseen = False
        answer = encode_packet(b"\0RES", "ECHO_RES", token)
        while (message := self._read()) not in (answer, None):
            assert message is not None
            self.inbox.append(message)

    def close(self) -> None:
        """
        Hang up.
        """
        self._socket.close()
        self.ended = True

    def leave(self) -> None:
        """
        Say that nothing more will come, wait until the server has closed the connection, and hang up.
        """
        self._socket.shutdown(socket.SHUT_WR)
        while self.receive() is not None:
            pass
        self.close()

    def _read(self) -> bytes | None:
        deadline = time.monotonic() + PATIENCE
        while not (length := split_message(self._received)):
            if self.ended:
                return None
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                data = b""
            self._received += data
            self.ended = not data
        message, self._received = self._received[:length], self._received[length:]
        return message


def ask(connection: Connection, command: bytes) -> list[bytes]:
    """
    Send an admin command whose answer is a list, and get its lines without the last.

    @raise ConnectionError: if the connection ends before.
    """
    connection.send(command)
    lines: list[bytes] = []
    while (line := connection.receive()) != b".\n":
        if line is None:
            raise ConnectionError("the server closed the connection")
        lines.append(line)
    return lines


def await_connections(port: int, count: int) -> None:
    """
    Wait until the server has no more than so many connections.

    @raise TimeoutError: if it goes on having more.
    """
    watcher = Connection(port)
    try:
        deadline = time.monotonic() + PATIENCE
        while len(ask(watcher, b"workers\n")) - 1 > count:
            if time.monotonic() > deadline:
                raise TimeoutError("the server does not notice that a connection has ended")
            time.sleep(0.005)
        watcher.leave()
    finally:
        watcher.close()


def play(dialogue: Dialogue, server: str, port: int) -> None:
    """
    Play a dialogue against a server.

    @param server: C{"ours"} or C{"gearmand"}.
    @param port: where it listens, on 127.0.0.1.
    @raise DialogueFailed: if the server says anything else than the dialogue.
    """
    steps = [step for step in dialogue.steps if step.only in ("", server)]
    connections: dict[str, Connection] = {}
    names = Names()
    step = steps[0]
    try:
        while steps:
            step = steps.pop(0)
            for name, other in connections.items():
                if other.unseen and name != step.connection:
                    other.settle()
            if step.connection not in connections:
                connections[step.connection] = Connection(port)
            connection = connections[step.connection]
            if step.action == ">":
                data = names.encode(step.message)
                while steps and steps[0].action == ">" and steps[0].connection == step.connection:
                    step = steps.pop(0)
                    data += names.encode(step.message)
                connection.send(data)
            elif step.action == "<":
                _expect(names, step, connection.receive())
            elif step.action == "<*":
                open_order = [step]
                while steps and steps[0].action == "<*" and steps[0].connection == step.connection:
                    open_order.append(steps.pop(0))
                _expect_any_order(names, open_order, connection)
            elif step.action == "silent":
                connection.settle()
                if connection.inbox or connection.ended:
                    raise DialogueFailed(f"{describe(connection.receive())} came")
            elif step.action == "closed":
                if (message := connection.receive()) is not None:
                    raise DialogueFailed(f"{describe(message)} came")
                del connections[step.connection]
            else:
                connection.settle()
                connection.close()
                if connection.inbox:
                    raise DialogueFailed(f"{describe(connection.receive())} had come, and nothing says so")
                del connections[step.connection]
                await_connections(port, len(connections))
        for name, connection in connections.items():
            connection.settle()
            if connection.inbox or connection.ended:
                raise DialogueFailed(f"at the end {describe(connection.receive())} had come to {name}, and nothing says so")
    except (DialogueFailed, TimeoutError) as error:
        what = error if isinstance(error, DialogueFailed) else f"nothing came ({error})"
        said = f"{step.connection} {step.action} {step.message}{names.explain(step.message)}"
        raise DialogueFailed(f"{dialogue.file}:{step.line}: {said}: {what}") from None
    finally:
        for connection in connections.values():
            connection.close()


def _expect(names: Names, step: Step, data: bytes | None) -> None:
    if data is None or not names.matches(step.message, data):
        raise DialogueFailed(f"{describe(data)} came")


def _expect_any_order(names: Names, steps: list[Step], connection: Connection) -> None:
    """
    As many text lines as there are steps, each of which one step says.
    """
    lines = [connection.receive() or b"" for _ in steps]
    for order in permutations(lines):
        attempt = Names()
        attempt._values = dict(names._values)
        if all(attempt.matches(step.message, line) for step, line in zip(steps, order)):
            names._values = attempt._values
            return
    raise DialogueFailed(f"{lines} came")
