"""
One server of a worker's, and the jobs that came from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from gearsvc.client.assigned import AssignedJob
from gearsvc.client.connection import Connection, Peer
from gearsvc.client.conversation import BadAnswer
from gearsvc.client.servers import Server
from gearsvc.client.working import Assignment, Complaint, Rest, Working
from gearsvc.core.explain import text
from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.client.worker import GearmanWorker

log = Logger(__name__)


class Task:
    """
    A job in a hand.
    """

    job: AssignedJob

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.threaded = False
        self.doing: Deferred[Any] | None = None
        self.timer: IDelayedCall | None = None

    def lose(self) -> None:
        """
        Nobody waits for it any more.
        """
        self.job.lose()
        self.stop_timer()

    def stop_timer(self) -> None:
        """
        It is over, in time.
        """
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()

    def cancel(self) -> None:
        """
        Nobody waits for it any more, and it is to end, if that can be done: a
        thread can't be stopped.
        """
        self.lose()
        if self.doing is not None and not self.threaded:
            self.doing.cancel()


class Bench(Peer):
    """
    One server, and the jobs that came from it.

    @ivar working: what is known of the connection; C{None} while there is none.
    @ivar left: fires when the connection has ended for good; C{None} before it
        is closed.
    """

    def __init__(self, worker: GearmanWorker, server: Server, reactor: Any) -> None:
        self.name = server.name
        self.connection = Connection(server, reactor, self, stays=True)
        self.working: Working | None = None
        self.left: Deferred[None] | None = None
        self._worker = worker
        self._reactor = reactor
        self._calls: set[IDelayedCall] = set()
        self._said: str | None = None

    def flush(self) -> None:
        """
        Send what is to be sent.
        """
        if self.working is not None:
            data = self.working.data_to_send()
            if data:
                self.connection.write(data)

    def later(self, seconds: float, function: Callable[..., object], *arguments: object) -> None:
        """
        Call a function later, if this same connection is there then.
        """

        def call() -> None:
            self._calls.discard(delayed)
            function(*arguments)
            self._worker.turn()

        delayed = self._reactor.callLater(seconds, call)
        self._calls.add(delayed)

    def leave(self) -> None:
        """
        Close the connection for good.
        """
        self.flush()
        self._end()
        if self.left is None:
            self.left = self.connection.close()

    def _end(self) -> None:
        self.working = None
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()

    # The connection's side

    def connected(self, connection: Connection) -> None:
        """
        Say what the worker can do.
        """
        self._said = None
        log.info("Connected to the job server {server}", server=self.name)
        self.working = self._worker.greet()
        self._worker.turn()

    def received(self, connection: Connection, data: bytes) -> None:
        """
        Hear what the server says.
        """
        if self.working is None:
            return
        try:
            for kind, body in self.working.packets(data):
                event = self.working.receive(kind, body, self._reactor.seconds())
                if isinstance(event, Assignment):
                    self._worker.take(self, event)
                elif isinstance(event, Rest):
                    self.later(event.seconds, self.working.rested)
                elif isinstance(event, Complaint):
                    self._complain(event)
                if self.working is None:
                    # The worker was closed by what it was to do.
                    return
        except BadAnswer as error:
            connection.abort(f"what answers there is no job server, or a broken one: {error}")
        self._worker.turn()

    def _complain(self, complaint: Complaint) -> None:
        say = log.debug if complaint.expected else log.error
        say(
            "The job server {server} says {code}: {text}",
            server=self.name,
            code=text(complaint.code),
            text=text(complaint.text.rstrip(b"\0")),
        )

    def lost(self, connection: Connection, why: str) -> None:
        """
        The server queues again what was being done.
        """
        was_there = self.working is not None
        self._end()
        if self.left is not None:
            return
        if was_there or why != self._said:
            # A server that stays away is not logged at every try.
            self._said = why
            log.error("The job server {server} is not there: {why}; it is tried again", server=self.name, why=why)
        self._worker.lost(self)
