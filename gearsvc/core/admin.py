"""
The text protocol: a line to a command, replies to bytes.

Formats and line ends are gearmand's to the byte, which are not all alike:
some answers end with a line feed, some with a carriage return before it, and
lists with a line that holds a full stop.  Long lists are produced piece by
piece.

Source: observed of gearmand 1.1.20; C{shutdown} is that of earlier versions
and of Gearman::Server.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Callable, Iterable, Iterator, TypeVar

from gearsvc import __version__
from gearsvc.core.explain import explain
from gearsvc.core.jobs import FINISHED
from gearsvc.core.requests import integer

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer
    from gearsvc.core.sessions import Session

MAX_WORDS = 5
"""How many words a line may have."""

LINES_A_PIECE = 500
"""How many lines of a list are made at once."""

Item = TypeVar("Item")
Words = list[bytes]
Command = Callable[["JobServer", "Session", Words], bytes | None]

_OK = b"OK\r\n"


def answer(server: JobServer, session: Session, line: bytes) -> None:
    """
    Carry out one line and send its answer.
    """
    words = [word for word in line.removesuffix(b"\r").split(b" ") if word]
    # A line that begins with a space has an empty verb, as in gearmand.
    verb = b"" if line[:1] in (b" ", b"\r") or not words else words[0]
    if len(words) > MAX_WORDS:
        session.send(b"ERR TOO_MANY_WORDS A+line+may+have+%d+words\r\n" % MAX_WORDS)
        return
    command = COMMANDS.get(verb.lower())
    reply = command(server, session, words) if command is not None else None
    if reply is None:
        reply = b"ERR UNKNOWN_COMMAND Unknown+server+command%b\r\n" % verb
    if reply:
        session.send(reply)


def _in_pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """
    Join lines into pieces worth sending, and end the list.
    """
    lines = iter(lines)
    while piece := b"".join(islice(lines, LINES_A_PIECE)):
        yield piece
    yield b".\n"


def _snapshot(table: Iterable[Item]) -> Iterator[Item]:
    """
    What is in a table when the first of it is asked for.  (A list of a table
    is 8 bytes an entry and made in an instant, the lines of an answer are not;
    but a thousand commands whose answers wait are not to make a list each.)
    """
    yield from list(table)


def _list(server: JobServer, session: Session, lines: Iterable[bytes]) -> bytes:
    server.stream(session, _in_pieces(lines))
    return b""


def _incomplete(verb: bytes) -> bytes:
    return b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%b\r\n" % verb


def _status(server: JobServer, session: Session, words: Words) -> bytes:
    queues = _snapshot(server.functions.values())
    return _list(
        server,
        session,
        (b"%b\t%d\t%d\t%d\n" % (queue.name, queue.total, queue.running, len(queue.workers)) for queue in queues),
    )


def _priority_status(server: JobServer, session: Session, words: Words) -> bytes:
    queues = _snapshot(server.functions.values())
    return _list(
        server,
        session,
        (b"%b\t%d\t%d\t%d\t%d\n" % (queue.name, *queue.waiting(), len(queue.workers)) for queue in queues),
    )


def _worker_line(session: Session) -> bytes:
    abilities = b"".join(b" " + queue.name for queue in reversed(list(session.abilities)))
    return b"%d %b %b :%b\n" % (session.peer.descriptor, session.peer.host.encode(), session.client_id, abilities)


def _workers(server: JobServer, session: Session, words: Words) -> bytes:
    return _list(server, session, map(_worker_line, _snapshot(server.sessions)))


def _show(server: JobServer, session: Session, words: Words) -> bytes | None:
    what = [word.lower() for word in words[1:]]
    if not what:
        return None
    if what == [b"paused"]:
        paused = (queue for queue in _snapshot(server.functions.values()) if queue.paused)
        return _list(server, session, (b"%b\t%d\n" % (queue.name, queue.paused) for queue in paused))
    jobs = (job for job in _snapshot(server.jobs.values()) if job.state != FINISHED)
    if what == [b"jobs"]:
        return _list(server, session, (b"%b\t%d\t0\t%d\n" % (job.handle, job.attempts, job.background) for job in jobs))
    if what == [b"unique", b"jobs"]:
        return _list(server, session, (b"%b\n" % job.unique for job in jobs))
    return b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"


def _cancel(server: JobServer, session: Session, words: Words) -> bytes | None:
    if len(words) < 3:
        return None
    if words[1].lower() != b"job" or len(words) > 3:
        return b"ERR UNKNOWN_ERROR\r\n"
    return _OK if server.cancel(words[2]) else b"ERR UNKNOWN_JOB\r\n"


def _explain(server: JobServer, session: Session, words: Words) -> bytes | None:
    """
    C{explain HANDLE}: a sentence, then its facts, a line each.
    """
    if len(words) != 2:
        return _incomplete(b"explain")
    job = server.jobs.get(words[1])
    found = explain(server, job) if job is not None else server.explain_ended(words[1])
    if found is None:
        return b"ERR UNKNOWN_JOB\r\n"
    cause, sentence, facts = found
    lines = [sentence, f"cause\t{cause}"]
    for name, value in facts.items():
        lines.append(f"{name}\t{', '.join(value) if isinstance(value, list) else value}")
    return ("\n".join(lines) + "\n.\n").encode()


def _create(server: JobServer, session: Session, words: Words) -> bytes:
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(b"create")
    server.create_function(words[2])
    return _OK


def _drop(server: JobServer, session: Session, words: Words) -> bytes:
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(b"drop")
    problem = server.drop_function(words[2])
    return _OK if problem is None else b"ERR %b\r\n" % problem.encode()


def _max_queue(server: JobServer, session: Session, words: Words) -> bytes:
    """
    C{maxqueue NAME}, C{NAME ANY}, or C{NAME HIGH NORMAL LOW}; what is missing
    of the three, is no number or below zero, is no limit.
    """
    if len(words) < 2:
        return _incomplete(b"maxqueue")
    limits = [max(integer(word), 0) for word in words[2:]]
    if len(limits) < 2:
        limits = (limits or [0]) * 3
    high, normal, low = (limits + [0])[:3]
    server.limit_queue(words[1], (high, normal, low))
    return _OK


def _get_pid(server: JobServer, session: Session, words: Words) -> bytes:
    return b"OK %d\n" % os.getpid()


def _verbose(server: JobServer, session: Session, words: Words) -> bytes:
    return b"OK %b\n" % server.settings.verbose.encode()


def _version(server: JobServer, session: Session, words: Words) -> bytes:
    return b"OK %b\n" % __version__.encode()


def _shutdown(server: JobServer, session: Session, words: Words) -> bytes | None:
    graceful = [word.lower() for word in words[1:]] == [b"graceful"]
    if not server.settings.admin_shutdown or server.shut_down is None or (len(words) > 1 and not graceful):
        return None
    server.shut_down(graceful)
    return _OK


COMMANDS: dict[bytes, Command] = {
    b"status": _status,
    b"prioritystatus": _priority_status,
    b"workers": _workers,
    b"show": _show,
    b"cancel": _cancel,
    b"explain": _explain,
    b"create": _create,
    b"drop": _drop,
    b"maxqueue": _max_queue,
    b"getpid": _get_pid,
    b"verbose": _verbose,
    b"version": _version,
    b"shutdown": _shutdown,
}
"""Every command, by its first word in lower case."""
