"""
Connections, and the turns in which their packets are handled.

A turn is what some connections have sent at once, what a timer brings about,
or a store's answer.  What it produces is collected in the sessions concerned,
and L{Switchboard.flush} transmits it at the turn's end: one piece to each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator

from gearsvc.core import wire
from gearsvc.core.clock import Clock
from gearsvc.core.requests import HANDLERS, MalformedPacket
from gearsvc.core.sessions import Session

if TYPE_CHECKING:
    from gearsvc.config import Settings
    from gearsvc.core.jobs import Job
    from gearsvc.interfaces import IPeer


class Switchboard:
    """
    The sessions of a job server, and what goes in and out of them.

    @ivar settings: what the server was told.
    @ivar clock: its time.
    @ivar sessions: every connection, in the order in which they came.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.sessions: dict[Session, None] = {}
        # Those that have something to transmit at the end of this turn.
        self._dirty: list[Session] = []
        # Those that hold back replies, so that a commit need not look at all of them.
        self._holding: dict[Session, None] = {}
        # Those whose long answer goes on in the next turn.
        self._streaming: set[Session] = set()
        # How many connections there have been.
        self._connections = 0
        # The time of this turn, once somebody has asked for it.
        self._now = 0.0

    def now(self) -> float:
        """
        The time of this turn, in Unix seconds: one clock reading, and one
        float in memory, for all jobs of a turn.
        """
        if not self._now:
            self._now = self.clock.time()
        return self._now

    def connect(self, peer: IPeer) -> Session:
        """
        Let a peer in.
        """
        self._connections += 1
        session = Session(
            peer, self.settings.exceptions, self._dirty, self.settings.max_output, self._connections, self.clock.time()
        )
        self.sessions[session] = None
        return session

    def disconnect(self, session: Session) -> None:
        """
        A connection has ended; that it was known before is not required.
        """
        self.sessions.pop(session, None)
        self._holding.pop(session, None)
        session.closed = True
        session.held = None

    def receive(self, session: Session, packets: Iterable[wire.Packet]) -> None:
        """
        Do what the packets of one connection ask for.  What comes of it, for
        whomever, leaves with the next L{flush}.
        """
        handlers: Any = HANDLERS
        for kind, body in packets:
            if session.closed:
                break
            try:
                handlers[kind](self, session, body)
            except MalformedPacket as problem:
                self.fail(session, wire.Failure(b"INVALID_PACKET", str(problem).encode()))

    def fail(self, session: Session, failure: wire.Failure) -> None:
        """
        Tell a peer what is wrong with what it sent, and close its connection.
        """
        if failure.line:
            session.send(b"ERR %b %b\r\n" % (failure.code, failure.text.replace(b" ", b"+")))
        else:
            session.send(wire.error(failure.code, failure.text))
        session.closed = True
        self.flush()
        if session.held is None:
            session.peer.close()

    def flush(self) -> None:
        """
        Transmit what this turn has produced.
        """
        self._now = 0.0
        dirty = self._dirty
        for session in dirty:
            chunks = session.out
            session.out = []
            session.peer.transmit(chunks)
        dirty.clear()

    def hold(self, session: Session, job: Job) -> None:
        """
        Answer a submission once the store has answered for its job.
        """
        session.hold(job)
        self._holding[session] = None

    def stream(self, session: Session, pieces: Iterator[bytes]) -> None:
        """
        Send a long answer piece by piece: some now, the rest in later turns
        and only while the peer reads.
        """
        is_first = session.held is None
        session.stream(pieces)
        if is_first:
            self.drained(session)

    def drained(self, session: Session) -> None:
        """
        A peer may no longer be congested, or a store has answered: go on with
        what was held back for a session.
        """
        if session.held is None or session not in self.sessions:
            return
        if session.release() and session not in self._streaming:
            self._streaming.add(session)
            self.clock.call_later(0, self._go_on, session)
        self.flush()
        if session.held is not None:
            self._holding[session] = None
        else:
            self._holding.pop(session, None)
            if session.closed:
                session.peer.close()

    def _go_on(self, session: Session) -> None:
        self._streaming.discard(session)
        self.drained(session)
