"""
What each packet asks of the job server.

L{HANDLERS} is indexed by packet type; a handler takes the server, the session
that sent the packet, and the packet's body, calls the rule in
L{gearsvc.core.jobserver} and sends the reply.  Error codes and texts are
gearmand's to the byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable

from gearsvc.core import wire
from gearsvc.core.jobs import RUNNING, Job, Priority
from gearsvc.core.packets import LAYOUTS, Type

if TYPE_CHECKING:
    from gearsvc.core.jobserver import JobServer
    from gearsvc.core.sessions import Session

Handler = Callable[["JobServer", "Session", bytes], None]

LARGE = 16384
"""From this size on a body is sent apart from its header instead of being copied behind it."""

MAX_HANDLE = 64
"""gearmand's room for a handle, its NUL included."""

MAX_CLIENT_ID = 127

_NO_JOB = wire.encode(Type.NO_JOB)
_WRONG_DIRECTION = wire.error(b"INVALID_MAGIC", b"Request magic expected")
_UNEXPECTED = wire.error(b"INVALID_COMMAND", b"Command not expected")
_UNKNOWN_OPTION = wire.error(b"UNKNOWN_OPTION", b"Server does not recognize given option")
_NO_RESULT_JOB = wire.error(b"JOB_NOT_FOUND", b"Job given in work result not found")
_NO_DATA_JOB = wire.error(b"JOB_NOT_FOUND", b"Job does not exist on server")
_NO_EXCEPTION_JOB = wire.error(b"JOB_NOT_FOUND", b"An exception was received for a job that does not exist")
_HANDLE_TOO_LARGE = wire.error(
    b"ARGUMENT_TOO_LARGE", b"Error occurred due to GEARMAND_JOB_HANDLE_SIZE being too small from snprintf"
)
_INTEGER = re.compile(rb"\s*([+-]?\d{1,40})")


class MalformedPacket(Exception):
    """
    A packet does not hold the arguments that its type has.  Its text says
    which those are.
    """

    def __init__(self, kind: Type) -> None:
        wanted = [*LAYOUTS[kind].arguments, *(["data"] if LAYOUTS[kind].data else [])]
        super().__init__(f"{kind.name} has {' NUL '.join(wanted)}: this packet ends before that")


def integer(text: bytes) -> int:
    """
    What C's C{atoi} makes of a text: the number that it begins with, or 0.
    """
    found = _INTEGER.match(text)
    return int(found[1]) if found else 0


def _count(text: bytes) -> bytes:
    """
    A number of a WORK_STATUS as gearmand keeps it, in 32 bits without a sign.
    """
    return b"%d" % (max(min(integer(text), (1 << 63) - 1), -(1 << 63)) & 0xFFFFFFFF)


# Clients


def _submitter(kind: Type, priority: Priority, background: bool) -> Handler:
    def submit(server: JobServer, session: Session, body: bytes) -> None:
        try:
            function, unique, workload = body.split(b"\0", 2)
        except ValueError:
            raise MalformedPacket(kind) from None
        server.submit(session, function, unique, workload, priority, background)

    return submit


def _submit_epoch(server: JobServer, session: Session, body: bytes) -> None:
    try:
        function, unique, epoch, workload = body.split(b"\0", 3)
    except ValueError:
        raise MalformedPacket(Type.SUBMIT_JOB_EPOCH) from None
    run_at = integer(epoch)
    if run_at >= 1 << 63:
        session.send(wire.error(b"INVALID_ARGUMENT", b"The epoch is not a time: it has to be in seconds since 1970"))
        return
    server.submit(session, function, unique, workload, Priority.NORMAL, True, run_at=max(run_at, 0))


def _reduce_submitter(kind: Type, background: bool) -> Handler:
    def submit(server: JobServer, session: Session, body: bytes) -> None:
        # The protocol document has three arguments, libgearman sends four (the
        # last one empty) and gearmand waits for four.  Four are there if there
        # are four NULs: data with a NUL in it after three arguments can't be
        # told from that.
        parts = body.split(b"\0", 4)
        if len(parts) < 4:
            raise MalformedPacket(kind)
        server.submit(session, parts[0], parts[1], parts[-1], Priority.NORMAL, background, reducer=parts[2])

    return submit


def _progress(job: Job) -> tuple[bytes, bytes]:
    numerator, denominator = job.progress or (b"0", b"0")
    return _count(numerator), _count(denominator)


def _get_status(server: JobServer, session: Session, body: bytes) -> None:
    handle = body.split(b"\0", 1)[0]
    job = server.jobs.get(handle)
    if job is None:
        answer = (handle, b"0", b"0", b"0", b"0")
    else:
        answer = (handle, b"1", b"1" if job.state == RUNNING else b"0", *_progress(job))
    session.send(wire.encode(Type.STATUS_RES, b"\0".join(answer)))


def _get_status_unique(server: JobServer, session: Session, body: bytes) -> None:
    unique = body.split(b"\0", 1)[0]
    for queue in server.functions.values():
        job = queue.by_unique.get(unique)
        if job is not None:
            running = b"1" if job.state == RUNNING else b"0"
            answer = (unique, b"1", running, *_progress(job), b"%d" % len(job.clients))
            break
    else:
        answer = (unique, b"0", b"0", b"0", b"0", b"0")
    session.send(wire.encode(Type.STATUS_RES_UNIQUE, b"\0".join(answer)))


# Anyone


def _option(server: JobServer, session: Session, body: bytes) -> None:
    if body.split(b"\0", 1)[0].lower() == b"exceptions":
        session.exceptions = True
        session.send(wire.encode(Type.OPTION_RES, body))
    else:
        session.send(_UNKNOWN_OPTION)


def _echo(server: JobServer, session: Session, body: bytes) -> None:
    session.send(wire.encode(Type.ECHO_RES, body))


def _unexpected(server: JobServer, session: Session, body: bytes) -> None:
    session.send(_UNEXPECTED)


def _wrong_direction(server: JobServer, session: Session, body: bytes) -> None:
    session.send(_WRONG_DIRECTION)


# Workers


def _can_do(server: JobServer, session: Session, body: bytes) -> None:
    server.add_ability(session, body, 0.0)


def _can_do_timeout(server: JobServer, session: Session, body: bytes) -> None:
    function, separator, timeout = body.partition(b"\0")
    if not separator:
        raise MalformedPacket(Type.CAN_DO_TIMEOUT)
    milliseconds = integer(timeout)
    if milliseconds >= 1 << 63:
        session.send(wire.error(b"INVALID_ARGUMENT", b"The timeout is not a number of milliseconds"))
        return
    # As gearmand has it: less than a second is a second, less than nothing is no limit.
    server.add_ability(session, function, max(milliseconds / 1000, 1.0) if milliseconds > 0 else 0.0)


def _cant_do(server: JobServer, session: Session, body: bytes) -> None:
    server.remove_ability(session, body)


def _reset_abilities(server: JobServer, session: Session, body: bytes) -> None:
    for queue in list(session.abilities):
        server.remove_ability(session, queue.name)


def _set_client_id(server: JobServer, session: Session, body: bytes) -> None:
    if not session.named:
        session.client_id = body[:MAX_CLIENT_ID]


def _pre_sleep(server: JobServer, session: Session, body: bytes) -> None:
    server.sleep(session)


def _grabber(assign: Type, reducer_too: bool = False) -> Handler:
    start = wire.header(assign, 0)[:8]
    start_reduce = wire.header(Type.JOB_ASSIGN_ALL, 0)[:8]
    unique_too = assign != Type.JOB_ASSIGN

    def grab(server: JobServer, session: Session, body: bytes) -> None:
        job = server.grab(session)
        if job is None:
            session.send(_NO_JOB)
            return
        head = start
        if not unique_too:
            arguments = b"%b\0%b\0" % (job.handle, job.function)
        elif job.reducer is None or not reducer_too:
            arguments = b"%b\0%b\0%b\0" % (job.handle, job.function, job.unique)
        else:
            head = start_reduce
            arguments = b"%b\0%b\0%b\0%b\0" % (job.handle, job.function, job.unique, job.reducer)
        workload = job.workload
        size = (len(arguments) + len(workload)).to_bytes(4, "big")
        if len(workload) < LARGE:
            session.send(b"%b%b%b%b" % (head, size, arguments, workload))
        else:
            session.send(b"%b%b%b" % (head, size, arguments))
            session.send(workload)

    return grab


def _forward(job: Job, kind: Type, body: bytes) -> None:
    """
    Send what a worker says of a job to every client that waits for it.
    """
    if not job.clients:
        return
    if len(body) < LARGE:
        packet = wire.encode(kind, body)
        for client in job.clients:
            client.send(packet)
    else:
        start = wire.header(kind, len(body))
        for client in job.clients:
            client.send(start)
            client.send(body)


def _split(body: bytes) -> tuple[bytes, bytes]:
    """
    Take the handle from what a worker says of a job.  Perl's worker sends an
    empty or false result as the bare handle: it is given the NUL it lacks.

    @return: the handle, and the body to forward.
    """
    end = body.find(b"\0")
    return (body[:end], body) if end >= 0 else (body, body + b"\0")


def _result(kind: Type, unknown: bytes, final: bool) -> Handler:
    """
    WORK_COMPLETE, WORK_DATA and WORK_WARNING: a handle, and data to forward.
    """

    def result(server: JobServer, session: Session, body: bytes) -> None:
        handle, body = _split(body)
        job = server.jobs.get(handle)
        if job is None or job.worker is not session:
            if not session.is_settled(handle, final):
                session.send(unknown)
            return
        _forward(job, kind, body)
        if final:
            server.complete(job, session, body)

    return result


def _work_status(server: JobServer, session: Session, body: bytes) -> None:
    try:
        handle, numerator, denominator = body.split(b"\0", 2)
    except ValueError:
        raise MalformedPacket(Type.WORK_STATUS) from None
    job = server.jobs.get(handle)
    if job is None or job.worker is not session:
        if not session.is_settled(handle, False):
            session.send(_NO_RESULT_JOB)
        return
    since, _ = session.running[job]
    session.running[job] = (since, (numerator, denominator))
    _forward(job, Type.WORK_STATUS, body)
    server.progressed(job)


def _work_fail(server: JobServer, session: Session, body: bytes) -> None:
    handle = body.split(b"\0", 1)[0]
    if len(handle) >= MAX_HANDLE:
        session.send(_HANDLE_TOO_LARGE)
        return
    job = server.jobs.get(handle)
    if job is None or job.worker is not session:
        if not session.is_settled(handle, True):
            session.send(_NO_RESULT_JOB)
        return
    _forward(job, Type.WORK_FAIL, body)
    server.fail_job(job, "fail")


def _work_exception(server: JobServer, session: Session, body: bytes) -> None:
    """
    An exception ends the job.  Clients that did not ask for exceptions get a
    WORK_FAIL with the bare handle, and the WORK_FAIL that some worker
    libraries send after it is no error: gearmand's trailing NUL and its
    JOB_NOT_FOUND kill Perl's client and worker.
    """
    handle, body = _split(body)
    job = server.jobs.get(handle)
    if job is None or job.worker is not session:
        if not session.is_settled(handle, False):
            session.send(_NO_EXCEPTION_JOB)
        return
    exception = wire.encode(Type.WORK_EXCEPTION, body)
    failure = wire.encode(Type.WORK_FAIL, handle)
    for client in job.clients:
        client.send(exception if client.exceptions else failure)
    session.settle(handle)
    server.fail_job(job, "exception", body[len(handle) + 1 :])


HANDLERS: list[Handler] = [_unexpected] * (Type.WRONG_DIRECTION + 1)
"""What to do for each packet type, by its number."""

for _kind, _handler in {
    Type.CAN_DO: _can_do,
    Type.CANT_DO: _cant_do,
    Type.RESET_ABILITIES: _reset_abilities,
    Type.PRE_SLEEP: _pre_sleep,
    Type.SUBMIT_JOB: _submitter(Type.SUBMIT_JOB, Priority.NORMAL, False),
    Type.GRAB_JOB: _grabber(Type.JOB_ASSIGN),
    Type.WORK_STATUS: _work_status,
    Type.WORK_COMPLETE: _result(Type.WORK_COMPLETE, _NO_RESULT_JOB, True),
    Type.WORK_FAIL: _work_fail,
    Type.GET_STATUS: _get_status,
    Type.ECHO_REQ: _echo,
    Type.SUBMIT_JOB_BG: _submitter(Type.SUBMIT_JOB_BG, Priority.NORMAL, True),
    Type.SUBMIT_JOB_HIGH: _submitter(Type.SUBMIT_JOB_HIGH, Priority.HIGH, False),
    Type.SET_CLIENT_ID: _set_client_id,
    Type.CAN_DO_TIMEOUT: _can_do_timeout,
    Type.WORK_EXCEPTION: _work_exception,
    Type.OPTION_REQ: _option,
    Type.WORK_DATA: _result(Type.WORK_DATA, _NO_DATA_JOB, False),
    Type.WORK_WARNING: _result(Type.WORK_WARNING, _NO_DATA_JOB, False),
    Type.GRAB_JOB_UNIQ: _grabber(Type.JOB_ASSIGN_UNIQ),
    Type.SUBMIT_JOB_HIGH_BG: _submitter(Type.SUBMIT_JOB_HIGH_BG, Priority.HIGH, True),
    Type.SUBMIT_JOB_LOW: _submitter(Type.SUBMIT_JOB_LOW, Priority.LOW, False),
    Type.SUBMIT_JOB_LOW_BG: _submitter(Type.SUBMIT_JOB_LOW_BG, Priority.LOW, True),
    Type.SUBMIT_JOB_EPOCH: _submit_epoch,
    Type.SUBMIT_REDUCE_JOB: _reduce_submitter(Type.SUBMIT_REDUCE_JOB, False),
    Type.SUBMIT_REDUCE_JOB_BACKGROUND: _reduce_submitter(Type.SUBMIT_REDUCE_JOB_BACKGROUND, True),
    Type.GRAB_JOB_ALL: _grabber(Type.JOB_ASSIGN_UNIQ, reducer_too=True),
    Type.GET_STATUS_UNIQUE: _get_status_unique,
    Type.WRONG_DIRECTION: _wrong_direction,
}.items():
    HANDLERS[_kind] = _handler
