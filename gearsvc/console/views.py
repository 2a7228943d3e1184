"""
What there is to see of a running job server.

L{Views} looks at the job server when it is asked, and answers with the plain
values of L{gearsvc.console.values}.  What may take long (all functions, all
connections, a search among a million jobs) is done in slices, and answered by
a Deferred; what can't is answered at once.  Nothing here changes anything.
"""

from __future__ import annotations

import os
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from gearsvc import __version__
from gearsvc.console import attention, looks
from gearsvc.console.ends import explain_ended
from gearsvc.console.history import History, Payloads
from gearsvc.console.ranking import Ranked, ranked
from gearsvc.console.register import Register
from gearsvc.console.schedule import Scheduled, scheduled
from gearsvc.console.search import BadQuery as BadQuery, JobQuery as JobQuery, search
from gearsvc.console.series import MOMENTS, Series
from gearsvc.console.slices import Slices, TooBusy as TooBusy, Work
from gearsvc.console.values import (
    LISTED,
    Connection,
    Connections,
    Function,
    Functions,
    Job,
    Jobs,
    Moment,
    Name,
    Overview,
    Payload,
    StoreState,
    Waiting,
    WholeJob,
    payload,
)
from gearsvc.core.counts import Counts
from gearsvc.core.explain import Explanation, explain
from gearsvc.core.sessions import AWAKE
from gearsvc.stores.batching import GroupCommit

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

PAYLOAD_BYTES = 4096
"""
How much of a workload or a result is shown, unless told otherwise.
"""

HISTORY = 10_000
"""
How many jobs that are over are remembered, unless told otherwise.
"""


class Views:
    """
    What there is to see.

    @ivar series: what happened in the last ten minutes.
    @ivar register: the jobs that are there, in their order.
    @ivar slices: runs what takes long.
    @ivar history: the jobs that ended last.
    @ivar mask_payloads: whether no workload and no result is shown.
    """

    def __init__(
        self,
        service: JobServerService,
        reactor: Any,
        history: int = HISTORY,
        payload_bytes: int = PAYLOAD_BYTES,
        mask_payloads: bool = False,
    ) -> None:
        """
        @param reactor: calls later.
        @param history: how many jobs that are over are remembered.
        @param payload_bytes: how much of a workload or a result is shown.
        """
        self._service = service
        self._server = service.job_server
        self._reactor = reactor
        self._payload_bytes = payload_bytes
        self._started = self._server.clock.time()
        self._call: Any = None
        self.slices = Slices(reactor)
        self.register = Register(self._server, reactor)
        self.mask_payloads = mask_payloads
        self.series = Series(self._server, reactor)
        self.history = History(history, 0 if mask_payloads else payload_bytes, self._server.clock.time)

    def start(self) -> None:
        """
        Begin to look.  To be called before anybody is served.
        """
        self._started = self._server.clock.time()
        self.history.listen(self._server.observers)
        self._server.explain_ended = self._explain_ended
        self.series.start()
        self.register.start()
        self._tick()

    def stop(self) -> None:
        """
        Cease to look; what is asked for and not answered yet fails.
        """
        self.slices.stop()
        self.register.stop()
        self.series.stop()
        self.history.cease()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self.history.next_second()
        self._call = self._reactor.callLater(1.0, self._tick)

    # The server

    def now(self) -> float:
        """
        The server's time.
        """
        return self._server.clock.time()

    def overview(self) -> Deferred[Overview]:
        """
        The server at a glance.
        """
        return self.slices.run(self._overview())

    def moments(self, count: int = MOMENTS, step: int = 0) -> list[Moment]:
        """
        What happened from second to second, the oldest first.

        @param count: how many, at most; the newest of them.
        @param step: if not 0, from one multiple of so many seconds to the next.
        """
        return self.series.moments(count, step)

    # Functions

    def functions(self, limit: int = 1000, after: bytes | None = None, contains: str = "") -> Deferred[Functions]:
        """
        Functions, in the order of their names.

        @param limit: how many.
        @param after: the name that the page before ended with.
        @param contains: only those whose names, as text, hold this, in any case of letters.
        """
        return self.slices.run(self._functions(limit, after, contains.lower()))

    def ranked(self, by: str, down: bool, first: int, limit: int, contains: str = "") -> Deferred[Ranked]:
        """
        Functions, in another order.

        @param by: one of L{RANKS <gearsvc.console.ranking.RANKS>}.
        @param down: whether what has most of it comes first.
        @param first: how many come before.
        @param limit: how many.
        @param contains: as of L{functions}.
        """
        return self.slices.run(ranked(self._server, self.series, by, down, first, limit, contains.lower()))

    def function(self, name: bytes) -> Function | None:
        """
        One function, if there is one of this name.
        """
        queue = self._server.functions.get(name)
        return looks.function_view(queue, self.series, self._server.clock.time()) if queue is not None else None

    # Jobs

    def upcoming(self, function: bytes, limit: int) -> list[Job]:
        """
        The jobs of a function that are to be handed out next, in that order.

        @param limit: how many, at most.
        """
        queue = self._server.functions.get(function)
        return looks.upcoming(queue, limit, self._server.clock.time()) if queue is not None else []

    def jobs(self, query: JobQuery) -> Deferred[Jobs]:
        """
        Look for jobs.  Fails with L{BadQuery} if C{after} is none that an
        answer gave.
        """
        return self.slices.run(search(self._server, self.register, self.history, query))

    def scheduled(self, function: bytes | None = None, first: int = 0, limit: int = 100) -> Deferred[Scheduled]:
        """
        The delayed jobs whose time comes next.

        @param function: only those of this function.
        @param first: how many to pass over.
        @param limit: how many.
        """
        return self.slices.run(scheduled(self._server, function, first, limit))

    def job(self, handle: bytes) -> WholeJob | None:
        """
        One job that lives, or that is remembered.
        """
        job = self._server.jobs.get(handle)
        if job is None:
            found = self.history.find(handle)
            if found is None:
                return None
            ended, payloads = found
            if payloads is None and self.mask_payloads:
                payloads = Payloads(b"", b"")
            return WholeJob(
                looks.ended_view(ended),
                Name(ended.reducer) if ended.reducer is not None else None,
                [],
                self._payload(payloads.workload, ended.size) if payloads is not None else None,
                self._payload(payloads.result, ended.result_size) if payloads is not None else None,
            )
        clients = islice(dict.fromkeys(job.clients), LISTED)
        return WholeJob(
            looks.job_view(job, self._server.clock.time()),
            Name(job.reducer) if job.reducer is not None else None,
            [looks.peer_view(client) for client in clients],
            self._payload(job.workload, len(job.workload)),
            None,
        )

    def explain(self, handle: bytes) -> Explanation | None:
        """
        Why a job is where it is, or what became of it; C{None} if it is not
        remembered.
        """
        job = self._server.jobs.get(handle)
        return explain(self._server, job) if job is not None else self._explain_ended(handle)

    def _explain_ended(self, handle: bytes) -> Explanation | None:
        found = self.history.find(handle)
        return explain_ended(found[0], self.now()) if found is not None else None

    # Connections

    def workers(self, limit: int = 1000, after: int = 0, function: bytes | None = None) -> Deferred[Connections]:
        """
        Connections that can do a function or have a job, the oldest first.

        @param limit: how many.
        @param after: the number that the page before ended with.
        @param function: only those that can do this function.
        """
        return self.slices.run(self._connections(limit, after, True, function))

    def clients(self, limit: int = 1000, after: int = 0) -> Deferred[Connections]:
        """
        All other connections, the oldest first.
        """
        return self.slices.run(self._connections(limit, after, False, None))

    def connection(self, number: int) -> Connection | None:
        """
        One connection, if it is still there.
        """
        for session in self._server.sessions:
            if session.number == number:
                return looks.connection_view(session)
        return None

    def store(self) -> StoreState | None:
        """
        How the store is; C{None} if the queue is in memory alone.
        """
        keeper, store = self._service.keeper, self._service.store
        if keeper is None or store is None:
            return None
        pending = committed = refused = 0
        broken_since = None
        if isinstance(keeper, GroupCommit):
            pending, committed, refused = keeper.pending_writes, keeper.committed, keeper.refused
            broken_since = keeper.broken_since
        return StoreState(
            kind=self._service.settings.queue_type,
            description=store.description,
            up=keeper.failure is None,
            pending=pending,
            failure=keeper.failure,
            broken_for=self._reactor.seconds() - broken_since if broken_since is not None else None,
            committed=committed,
            refused=refused,
        )

    # The work behind these

    def _payload(self, data: bytes, size: int) -> Payload:
        return payload(data, size, self._payload_bytes, self.mask_payloads)

    def _overview(self) -> Work[Overview]:
        server, series = self._server, self.series
        now = server.clock.time()
        counts = Counts()
        counts.add(server.dropped)
        store = self.store()
        found = attention.of_server(server.draining, server.running, store)
        high = normal = low = delayed = storing = paused = 0
        balance = server.dropped.accepted - server.dropped.ended
        oldest: float | None = None
        for number, queue in enumerate(list(server.functions.values())):
            queued = looks.waiting(queue)
            high += queued.high
            normal += queued.normal
            low += queued.low
            delayed += looks.delayed(queue)
            storing += queue.storing
            if queue.paused:
                paused += 1
            age = looks.oldest_age(queue, now)
            if age is not None and (oldest is None or age > oldest):
                oldest = age
            counts.add(queue.counts)
            balance += queue.balance
            found += attention.of_function(queue, queued.total, age, series.failure_share_of(queue))
            if number % 64 == 63:
                yield
        workers = busy = asleep = 0
        for number, session in enumerate(list(server.sessions)):
            if session.abilities or session.running:
                workers += 1
                if session.running:
                    busy += 1
                elif session.wakefulness != AWAKE:
                    asleep += 1
            if number % 1024 == 1023:
                yield
        return Overview(
            version=__version__,
            pid=os.getpid(),
            now=now,
            started=self._started,
            draining=server.draining,
            functions=len(server.functions),
            paused=paused,
            queued=Waiting(high, normal, low),
            delayed=delayed,
            storing=storing,
            running=server.running,
            total=len(server.jobs),
            oldest_age=oldest,
            workers=workers,
            busy=busy,
            asleep=asleep,
            connections=len(server.sessions),
            rates=series.rates(),
            failure_share=series.failure_share(),
            tally=looks.tally(counts, balance),
            wait=series.wait(),
            store=store,
            attention=attention.worst_first(found)[:LISTED],
        )

    def _functions(self, limit: int, after: bytes | None, contains: str) -> Work[Functions]:
        server = self._server
        now = server.clock.time()
        names: list[bytes] = []
        candidates: list[bytes] = []
        total = 0
        for number, name in enumerate(list(server.functions)):
            if not contains or contains in Name(name).lower():
                total += 1
                if after is None or name > after:
                    candidates.append(name)
            if number % 256 == 255:
                names = nsmallest(limit + 1, names + candidates)
                candidates.clear()
                yield
        names = nsmallest(limit + 1, names + candidates)
        found: list[Function] = []
        for number, name in enumerate(names[:limit]):
            queue = server.functions.get(name)
            if queue is not None:
                found.append(looks.function_view(queue, self.series, now))
            if number % 16 == 15:
                yield
        return Functions(found, Name(names[limit - 1]) if len(names) > limit else None, total)

    def _connections(self, limit: int, after: int, workers: bool, function: bytes | None) -> Work[Connections]:
        server = self._server
        queue = server.functions.get(function) if function is not None else None
        sessions = list(queue.workers if queue is not None else () if function is not None else server.sessions)
        if queue is not None:
            # They stand in the order in which they are woken.
            sessions.sort(key=lambda session: session.number)
        found: list[Connection] = []
        for number, session in enumerate(sessions):
            if session.number > after and session in server.sessions and looks.is_worker(session) is workers:
                if len(found) == limit:
                    return Connections(found, found[-1].number)
                found.append(looks.connection_view(session))
            if number % 64 == 63:
                yield
        return Connections(found, None)
