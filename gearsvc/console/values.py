"""
What there is to see of a job server, as plain values.

The API, the pages and the terminal show the same ones.  They hold text and
numbers, and nothing of the job server's: they may be kept, and changing them
changes nothing.  Times are in Unix seconds, lengths of time in seconds.

Names of functions, handles, unique ids and whatever else a peer chose are any
bytes; here they are a L{Name}, which is safe to print, and can be turned back.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from urllib.parse import quote

from gearsvc.core.explain import text

PRIORITIES = ("high", "normal", "low")
"""
What the priorities are called, by their numbers.
"""

LIVE = ("storing", "queued", "delayed", "running")
ENDED = ("completed", "failed", "cancelled")
STATES = LIVE + ENDED
"""
Where a job can be: the first four by the numbers of L{State
<gearsvc.core.jobs.State>}, the others once it is over.
"""

_PLAIN = re.compile(rb"[\x20-\x2e\x30-\x5b\x5d-\x7d\x80-\xff]+")


class Name(str):
    """
    Bytes that a peer chose, as text: what is no UTF-8 and what does not print
    (control characters, and those that change the direction of writing) is
    escaped.  It still may hold markup, and may be long.

    @ivar raw: the bytes.
    """

    raw: bytes

    def __new__(cls, raw: bytes) -> Name:
        self = super().__new__(cls, text(raw))
        self.raw = raw
        return self

    @property
    def base64(self) -> str | None:
        """
        The bytes in base64, if the text alone does not tell them; else C{None}.
        """
        return None if self.encode("utf-8", "surrogatepass") == self.raw else b64encode(self.raw).decode()

    @property
    def path(self) -> str:
        """
        It as one segment of a URL's path: percent-encoded where that can be
        read, and otherwise (it holds a slash or a control character, is a dot
        or two, is empty or very long) a tilde and base64 with C{-} and C{_}.
        """
        if len(self.raw) <= 1024 and _PLAIN.fullmatch(self.raw) and self.raw not in (b".", b".."):
            return quote(self.raw, safe="")
        return "~" + urlsafe_b64encode(self.raw).decode().rstrip("=")


def name_of_segment(segment: bytes) -> bytes:
    """
    The bytes that a segment of a URL's path stands for, percent-decoded; undoes
    L{Name.path}.

    @raise ValueError: if it begins with a tilde and is no base64.
    """
    if not segment.startswith(b"~"):
        return segment
    encoded = segment[1:].rstrip(b"=")
    try:
        if re.fullmatch(rb"[A-Za-z0-9_-]*", encoded):
            return urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    except Base64Error:
        # Its length is none that base64 has.
        pass
    raise ValueError("what follows a tilde in a path has to be base64, with - and _ in place of + and /")


@dataclass(frozen=True, slots=True)
class Payload:
    """
    A workload or a result, as far as it is to be shown.

    @ivar size: how many bytes it has.
    @ivar kind: C{"text"}, C{"json"} (an object or a list), C{"hex"} (what is no text), or
        C{"hidden"}: nothing is to be shown.
    @ivar shown: the payload, or its beginning, in this form.  In a text, what
        does not print is escaped, but for tabs and line ends.
    @ivar base64: the bytes that are shown; C{None} if they are hidden.
    @ivar cut: whether there is more than is shown.
    """

    size: int
    kind: str
    shown: str
    base64: str | None
    cut: bool


def payload(data: bytes, size: int, limit: int, hidden: bool) -> Payload:
    """
    Make what is to be shown of a payload.

    @param data: it, or its beginning.
    @param size: how many bytes it has.
    @param limit: how many of them are shown at most.
    @param hidden: whether none is.
    """
    if hidden:
        return Payload(size, "hidden", "", None, size > 0)
    data = data[:limit]
    cut = len(data) < size
    base64 = b64encode(data).decode()
    decoded = _as_text(data, cut)
    if decoded is None:
        return Payload(size, "hex", data.hex(), base64, cut)
    return Payload(size, "json" if not cut and _is_json(decoded) else "text", _printable(decoded), base64, cut)


def _as_text(data: bytes, cut: bool) -> str | None:
    """
    The text that some bytes are, or C{None}.  A character at the end may have been cut.
    """
    for end in range(len(data), max(len(data) - 4, -1) if cut else len(data) - 1, -1):
        try:
            decoded = data[:end].decode()
        except UnicodeDecodeError:
            continue
        return None if re.search("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]", decoded) else decoded
    return None


def _is_json(decoded: str) -> bool:
    if not decoded.lstrip()[:1] in ("{", "["):
        return False
    try:
        json.loads(decoded)
    except (ValueError, RecursionError):
        return False
    return True


def _printable(decoded: str) -> str:
    return "".join(
        each if each.isprintable() or each in "\t\n\r" else each.encode("unicode_escape").decode() for each in decoded
    )


@dataclass(frozen=True, slots=True)
class Percentiles:
    """
    How long something took: half of the times, nine of ten, 95 and 99 of a
    hundred were no longer.  They are read from a histogram, so they are right
    to about the width of its buckets.

    @ivar count: how many times they are of; if none, the others are C{None}.
    """

    count: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """
    What happened each second, over the last minute (or since the console
    started, if that is less).
    """

    submitted: float
    completed: float
    failed: float
    cancelled: float
    retried: float


@dataclass(frozen=True, slots=True)
class Tally:
    """
    What happened to jobs since the server started; see
    L{Counts <gearsvc.core.counts.Counts>}.

    @ivar balance: how many jobs are unaccounted for: it is 0, or something is
        very wrong.
    """

    submitted: int
    replayed: int
    coalesced: int
    completed: int
    failed: dict[str, int]
    cancelled: dict[str, int]
    retried: dict[str, int]
    rejected: dict[str, int]
    balance: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    Jobs that could be handed out, by their priority.
    """

    high: int
    normal: int
    low: int

    @property
    def total(self) -> int:
        """
        All of them.
        """
        return self.high + self.normal + self.low


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How many jobs a function may have when one of a priority is submitted; 0 is
    no limit.
    """

    high: int
    normal: int
    low: int


@dataclass(frozen=True, slots=True)
class Attention:
    """
    Something that an operator should look at.

    @ivar kind: one word; see L{gearsvc.console.attention}.
    @ivar severity: C{"error"} or C{"warning"}.
    @ivar function: which function it is about; C{None} if it is about the server.
    @ivar sentence: what it is.
    @ivar number: how many jobs it concerns.
    """

    kind: str
    severity: str
    function: Name | None
    sentence: str
    number: int


@dataclass(frozen=True, slots=True)
class Function:
    """
    One function.

    @ivar queued: its jobs that could be handed out.
    @ivar delayed: how many wait for their time.
    @ivar next_at: when the time of the first of them comes; C{None} if none waits.
    @ivar storing: how many are being stored.
    @ivar running: how many a worker has.
    @ivar total: all of these.
    @ivar oldest_age: how long the job that has waited longest has waited; C{None} if none does.
    @ivar workers: how many workers can do it.
    @ivar busy: how many of those have a job, of whatever function.
    @ivar asleep: how many of those sleep (or have been woken, and not asked for a job yet).
    @ivar left_at: when a worker last ceased to do it; C{None} if none has.
    @ivar paused_since: since when its jobs are not handed out; C{None} if they are.
    @ivar draining: whether it takes no new jobs.
    @ivar failure_share: of the jobs that ended in the last ten minutes, how
        many failed, from 0 to 1; C{None} if none ended.
    @ivar wait: how long its jobs waited, since the server started.
    @ivar run: how long workers had them, since the server started.
    @ivar sparkline: how many jobs were completed in each ten seconds of the
        last ten minutes, the oldest first.  It is empty if none was.
    @ivar attention: what to look at.
    """

    name: Name
    queued: Waiting
    delayed: int
    next_at: float | None
    storing: int
    running: int
    total: int
    oldest_age: float | None
    workers: int
    busy: int
    asleep: int
    left_at: float | None
    paused_since: float | None
    draining: bool
    limits: Limits
    rates: Rates
    failure_share: float | None
    tally: Tally
    wait: Percentiles
    run: Percentiles
    sparkline: list[int]
    attention: list[Attention]


@dataclass(frozen=True, slots=True)
class Functions:
    """
    A page of functions, in the order of their names.

    @ivar following: the name after which the next page begins; C{None} if this is the last.
    @ivar total: how many there are on all pages.
    """

    functions: list[Function]
    following: Name | None
    total: int


@dataclass(frozen=True, slots=True)
class Ability:
    """
    A function that a worker can do.

    @ivar seconds: how long a job of it may take; C{None} is any time.
    """

    name: Name
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """
    What a worker said last of how far a job is.

    @ivar share: the same from 0 to 1, if it is two numbers that make sense.
    """

    numerator: Name
    denominator: Name
    share: float | None


@dataclass(frozen=True, slots=True)
class Assignment:
    """
    A job that a worker has.
    """

    handle: Name
    function: Name
    since: float
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class Peer:
    """
    A connection, in few words.

    @ivar number: tells it from all others; it is never used again.
    @ivar client_id: what it calls itself; C{"-"} if it did not say.
    """

    number: int
    client_id: Name
    host: str


@dataclass(frozen=True, slots=True)
class Connection:
    """
    A connection: a worker if it can do a function or has a job, and otherwise
    a client.

    @ivar number: tells it from all others; it is never used again.
    @ivar client_id: what it calls itself; C{"-"} if it did not say.
    @ivar connected: since when it is there.
    @ivar functions: what it can do; at most L{LISTED} of them.
    @ivar function_count: how many it can do.
    @ivar state: C{"busy"} (it has a job), C{"asleep"}, C{"woken"} (and has not
        asked for a job since) or C{"awake"}.
    @ivar since: when it last went to sleep, was woken or given a job; C{None} if it never was.
    @ivar jobs: what it has; at most L{LISTED} of them.
    @ivar job_count: how many it has.
    @ivar done: how many jobs it has completed.
    @ivar awaited: for how many jobs' results it waits.
    @ivar congested: whether it does not take what it is sent.
    """

    number: int
    client_id: Name
    host: str
    connected: float
    functions: list[Ability]
    function_count: int
    state: str
    since: float | None
    jobs: list[Assignment]
    job_count: int
    done: int
    awaited: int
    congested: bool


LISTED = 100
"""
How many functions, jobs or clients are listed at most inside of something else.
"""


@dataclass(frozen=True, slots=True)
class Connections:
    """
    A page of connections, the oldest first.

    @ivar following: the number after which the next page begins; C{None} if this is the last.
    """

    connections: list[Connection]
    following: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """
    A job, that lives or is over.

    @ivar priority: one of L{PRIORITIES}.
    @ivar state: one of L{STATES}.
    @ivar reason: why it failed or was cancelled; see L{IJobObserver
        <gearsvc.interfaces.IJobObserver>}.  C{None} of all others.
    @ivar background: whether it goes on though nobody waits for it.
    @ivar submitted: C{None} where gearmand's table, from which it came, did not tell.
    @ivar run_at: not before this time; C{None} is at once.
    @ivar started: when its worker was given it; C{None} if it does not run, or never did.
    @ivar ended: when it was over; C{None} if it is not.
    @ivar age: how long it has been there, or how long it was until it ended.
    @ivar attempts: how often a worker was lost over it, or took too long.
    @ivar worker: who has it, or had it when it ended.
    @ivar clients: how many wait for it.
    @ivar size: how many bytes its workload has.
    """

    handle: Name
    function: Name
    unique: Name
    priority: str
    state: str
    reason: str | None
    background: bool
    submitted: float | None
    run_at: float | None
    started: float | None
    ended: float | None
    age: float | None
    attempts: int
    worker: Peer | None
    progress: Progress | None
    clients: int
    size: int


@dataclass(frozen=True, slots=True)
class Jobs:
    """
    A page of jobs.

    @ivar following: what to ask for the next page with; C{None} if this is the last.
    """

    jobs: list[Job]
    following: str | None


@dataclass(frozen=True, slots=True)
class WholeJob:
    """
    A job with all that is known of it.

    @ivar reducer: the reducer of a SUBMIT_REDUCE_JOB.
    @ivar waiting_clients: who waits for it; at most L{LISTED}, and each once.
    @ivar workload: C{None} if it is over and its workload was not kept.
    @ivar result: what the worker said at its end: the result, or the
        exception.  C{None} if it is not over.
    """

    job: Job
    reducer: Name | None
    waiting_clients: list[Peer]
    workload: Payload | None
    result: Payload | None


@dataclass(frozen=True, slots=True)
class StoreState:
    """
    How the store is.

    @ivar kind: the name that C{--queue-type} knows it by.
    @ivar up: whether it took what it was given last.
    @ivar pending: how many jobs are on their way into it.
    @ivar failure: what is wrong with it; C{None} if nothing is.
    @ivar broken_for: for how many seconds; C{None} if it is not.
    """

    kind: str
    description: str
    up: bool
    pending: int
    failure: str | None
    broken_for: float | None
    committed: int
    refused: int


@dataclass(frozen=True, slots=True)
class Overview:
    """
    The server at a glance.

    @ivar pid: the server's process, which tells its console from another server's.
    @ivar now: the server's time.
    @ivar started: when it started.
    @ivar draining: whether it hands out no more jobs, and is about to end.
    @ivar functions: how many functions there are.
    @ivar workers: how many connections can do a function or have a job.
    @ivar busy: how many of those have a job.
    @ivar asleep: how many of those sleep.
    @ivar connections: how many there are, workers and clients.
    @ivar wait: how long the jobs that were handed out in the last minute had waited.
    @ivar failure_share: of the jobs that ended in the last ten minutes, how
        many failed, from 0 to 1; C{None} if none ended.
    @ivar attention: what to look at, the worst first; at most L{LISTED}.
    """

    version: str
    pid: int
    now: float
    started: float
    draining: bool
    functions: int
    paused: int
    queued: Waiting
    delayed: int
    storing: int
    running: int
    total: int
    oldest_age: float | None
    workers: int
    busy: int
    asleep: int
    connections: int
    rates: Rates
    failure_share: float | None
    tally: Tally
    wait: Percentiles
    store: StoreState | None
    attention: list[Attention]


@dataclass(frozen=True, slots=True)
class Moment:
    """
    What happened between two looks at the server.

    @ivar at: when the later of them was.
    @ivar seconds: how long after the one before it.
    @ivar wait: how long the jobs that were handed out in between had waited.
    """

    at: float
    seconds: float
    submitted: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    waiting: int
    running: int
    wait: Percentiles


_FIELDS: dict[type, tuple[str, ...]] = {}


def as_json(value: Any) -> Any:
    """
    A value as what C{json.dumps} takes.  Beside a name whose text does not
    tell its bytes stands another key: C{function} and C{function_base64}.
    """
    kind = type(value)
    if kind is Name:
        return str(value)
    if kind is list or kind is tuple:
        return [as_json(each) for each in value]
    if kind is dict:
        return {str(key): as_json(each) for key, each in value.items()}
    names = _FIELDS.get(kind)
    if names is None:
        if not is_dataclass(value):
            return value
        names = _FIELDS[kind] = tuple(each.name for each in fields(value))
    made: dict[str, Any] = {}
    for name in names:
        part = getattr(value, name)
        made[name] = as_json(part)
        if type(part) is Name and (encoded := part.base64) is not None:
            made[name + "_base64"] = encoded
    return made
