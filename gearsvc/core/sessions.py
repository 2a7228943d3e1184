"""
What the server knows of one connection.

Output is collected while packets are handled and leaves each connection in one
piece at the end of the turn.  Replies keep the order of their requests: once a
reply has to wait (a submission for its store, a long answer for its reader),
all that comes after it on this connection is held back behind it.  A
connection with nothing held pays one test for this.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Iterator

from gearsvc.core.jobs import PENDING, Job
from gearsvc.core.wire import encode
from gearsvc.core.packets import Type

if TYPE_CHECKING:
    from gearsvc.core.queues import FunctionQueue
    from gearsvc.interfaces import IPeer

AWAKE = 0
"""The connection is no worker, or one that has grabbed since it last slept."""

ASLEEP = 1
"""It said PRE_SLEEP and waits for a NOOP."""

WOKEN = 2
"""It was asleep and has been sent a NOOP; it has not grabbed since."""

_CREATED = [encode(Type.JOB_CREATED, b"x" * n)[:12] for n in range(256)]

_SETTLED_LIMIT = 256

_PIECES_A_TURN = 4


def job_created(handle: bytes) -> bytes:
    """
    The JOB_CREATED packet of a handle.
    """
    return _CREATED[len(handle)] + handle


class Session:
    """
    One connection, which may be client, worker and administrator at once.

    @ivar peer: the other end.
    @ivar abilities: the queues of the functions that it can do, with the
        seconds that a job may take (0 is any time), in the order in which it
        grabs from them.
    @ivar wakefulness: L{AWAKE}, L{ASLEEP} or L{WOKEN}.
    @ivar since: when it went to sleep, or was woken, or grabbed, whichever
        came last, in Unix seconds; 0.0 if it never did.
    @ivar running: the jobs that it has grabbed, in that order, with the time
        when it did and what it said last of their progress (L{Job.progress}).
    @ivar awaited: the jobs whose results it waits for.
    @ivar exceptions: whether it asked for WORK_EXCEPTION packets.
    @ivar client_id: what it calls itself.
    @ivar named: whether that is a name that the server has given it, and keeps.
    @ivar number: tells it from all other connections of this server.
    @ivar connected: since when it is there, in Unix seconds.
    @ivar done: how many jobs it has completed.
    @ivar closed: whether nothing more is to be read from it.
    """

    __slots__ = (
        "peer",
        "abilities",
        "wakefulness",
        "since",
        "running",
        "awaited",
        "exceptions",
        "client_id",
        "named",
        "number",
        "connected",
        "done",
        "closed",
        "out",
        "held",
        "_dirty",
        "_held_size",
        "_limit",
        "_settled",
    )

    def __init__(
        self, peer: IPeer, exceptions: bool, dirty: list[Session], max_output: int, number: int = 0, connected: float = 0.0
    ) -> None:
        """
        @param max_output: how many bytes may be held back.
        @param dirty: where the session puts itself when it has something to
            transmit at the end of the turn.
        """
        self.peer = peer
        self.abilities: dict[FunctionQueue, float] = {}
        self.wakefulness = AWAKE
        self.since = 0.0
        self.running: dict[Job, tuple[float, tuple[bytes, bytes] | None]] = {}
        self.awaited: dict[Job, None] = {}
        self.exceptions = exceptions
        self.client_id = b"-"
        self.named = False
        self.number = number
        self.connected = connected
        self.done = 0
        self.closed = False
        self.out: list[bytes] = []
        self.held: deque[bytes | Job | Iterator[bytes]] | None = None
        self._dirty = dirty
        self._held_size = 0
        self._limit = max_output
        self._settled: dict[bytes, None] = {}

    def send(self, packet: bytes) -> None:
        """
        Send bytes after all that was sent before.
        """
        if self.held is not None:
            self._hold_back(packet)
            return
        out = self.out
        if not out:
            self._dirty.append(self)
        out.append(packet)

    def _hold_back(self, packet: bytes) -> None:
        """
        Send bytes later, unless there is too much of that already: then the
        connection ends.
        """
        assert self.held is not None
        if self._held_size > self._limit:
            waiting, self._held_size = self._held_size, 0
            self.held.clear()
            self.peer.overflow(waiting)
            return
        self.held.append(packet)
        self._held_size += len(packet)

    def hold(self, job: Job) -> None:
        """
        Send JOB_CREATED for a job once the store has answered for it.
        """
        if self.held is None:
            self.held = deque()
        self.held.append(job)

    def stream(self, pieces: Iterator[bytes]) -> None:
        """
        Send a long answer piece by piece, as fast as the peer reads it.
        """
        if self.held is None:
            self.held = deque()
        self.held.append(pieces)

    def refuse(self, jobs: set[Job], packet: bytes) -> None:
        """
        Answer those who wait for jobs that could not be stored.
        """
        if self.held is not None:
            answers = deque(packet if isinstance(entry, Job) and entry in jobs else entry for entry in self.held)
            self._held_size = sum(len(entry) for entry in answers if isinstance(entry, bytes))
            self.held = answers

    def release(self) -> bool:
        """
        Send what was held back, up to the first reply that has to wait still.

        @return: whether it is worth calling again next turn: a long answer
            has more to say to a peer that keeps up.
        """
        held = self.held
        self.held = None
        pieces = 0
        while held:
            entry = held[0]
            if isinstance(entry, Job):
                if entry.kept == PENDING:
                    break
                self.send(job_created(entry.handle))
            elif isinstance(entry, bytes):
                self._held_size -= len(entry)
                self.send(entry)
            else:
                if pieces == _PIECES_A_TURN or self.peer.congested:
                    break
                pieces += 1
                piece = next(entry, None)
                if piece is not None:
                    self.send(piece)
                    continue
            held.popleft()
        if held:
            self.held = held
        return pieces == _PIECES_A_TURN

    def settle(self, handle: bytes) -> None:
        """
        Remember that a job which this worker ran is over, though the worker
        may not know: what it still sends of it is no error.  A worker that
        never sends anything more is not remembered for ever.
        """
        settled = self._settled
        settled[handle] = None
        if len(settled) > _SETTLED_LIMIT:
            del settled[next(iter(settled))]

    def is_settled(self, handle: bytes, final: bool) -> bool:
        """
        Whether a job is one that L{settle} was told of.

        @param final: whether this was the worker's last word on it.
        """
        if handle not in self._settled:
            return False
        if final:
            del self._settled[handle]
        return True
