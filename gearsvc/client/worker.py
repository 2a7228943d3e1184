"""
A worker of one or several job servers::

    worker = GearmanWorker(["one.example", "two.example:4731"], concurrency=4)
    worker.register("resize", resize)
    worker.start()

Each server is a L{Bench<gearsvc.client.bench.Bench>}: a connection, what
L{gearsvc.client.working} knows of it, and the jobs that it waits for.  The
worker has so many hands, and gives each that is free to a bench where there may
be a job, in turn; a hand that reaches for a job is not free until the answer is
there.  So it never holds more jobs than it can do, from however many servers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from typing import Any, NamedTuple, Union

from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.python.threadpool import ThreadPool

from gearsvc.client.assigned import AssignedJob, as_bytes
from gearsvc.client.bench import Bench, Task
from gearsvc.client.errors import JobException, JobFailed
from gearsvc.client.servers import Where, servers_of
from gearsvc.client.working import Assignment, Standing, Working, server_timeout
from gearsvc.core.explain import text
from gearsvc.core.packets import Type
from gearsvc.logs import Logger

log = Logger(__name__)

AFTER_SERVER = 0.1
"""
How many seconds after the server's own time-out a job is cancelled here, so
that the server has queued it again before it is asked for the next one.
"""

UNTIL_SETTLED = 1.0
"""
How many seconds later a server that should have noticed is told that the job has failed.
"""

Name = Union[str, bytes]

JobFunction = Callable[[AssignedJob], Any]
"""
What does a job: it returns bytes, text, C{None}, a Deferred of these or a coroutine.
"""


class Ability(NamedTuple):
    """
    A function that the worker can do.
    """

    do: JobFunction
    timeout: float | None
    threaded: bool


class GearmanWorker:
    """
    Does jobs of one or several servers.

    A server that is away is tried again after a pause, which grows from a
    fraction of a second to half a minute, for as long as the worker works.
    """

    def __init__(
        self,
        servers: Where | Sequence[Where] = "localhost",
        *,
        concurrency: int = 1,
        client_id: Name = b"",
        reactor: Any = None,
        max_packet: int = 1 << 30,
    ) -> None:
        """
        @param servers: where they are: see L{Where<gearsvc.client.servers.Where>}.
        @param concurrency: how many jobs it does at a time, over all servers.
        @param client_id: what C{workers} of the servers' text protocol is to
            call it; text is encoded as UTF-8, here and below.
        @param reactor: the usual one, if not given.
        @param max_packet: how large the largest job may be, in bytes.
        @raise ValueError: if one of these can't be.
        """
        if reactor is None:
            from twisted.internet import reactor
        if concurrency < 1:
            raise ValueError(f"a worker does at least one job at a time, not {concurrency}")
        self._reactor = reactor
        self._concurrency = concurrency
        self._client_id = client_id.encode() if isinstance(client_id, str) else client_id
        self._max_packet = max_packet
        self._benches = [Bench(self, server, reactor) for server in servers_of(servers, reactor)]
        self._abilities: dict[bytes, Ability] = {}
        # All that were ever there: a job may have been on its way when its function was taken back.
        self._known: dict[bytes, Ability] = {}
        self._tasks: dict[Task, None] = {}
        self._pool: ThreadPool | None = None
        self._started = False
        self._leaving = False
        self._turning = False
        self._next_bench = 0
        self._gone: list[Deferred[None]] = []
        self._closing: Deferred[Any] | None = None

    @property
    def running(self) -> int:
        """
        How many jobs it does at this moment.
        """
        return len(self._tasks)

    # What it can do

    def register(
        self, function: Name, callable: JobFunction, *, timeout: float | None = None, threaded: bool = False
    ) -> None:
        """
        Do jobs of a function from now on.  At any time; once more for the same
        function replaces what was said before, for the jobs to come.

        The callable gets the L{AssignedJob<gearsvc.client.assigned.AssignedJob>},
        and its result is the job's: bytes, text (sent as UTF-8) or C{None} (for
        nothing), or a Deferred or a coroutine of these.  When it raises, the job
        has failed: L{JobFailed<gearsvc.client.errors.JobFailed>} says no more
        than that, L{JobException<gearsvc.client.errors.JobException>} sends its
        data to the clients that ask for exceptions, and any other exception
        sends its text, and is logged.

        @param function: its name, without NUL.
        @param timeout: after how many seconds a job of it is taken for lost.
            The server then queues it again by itself (C{--job-retries} says how
            often); here it is cancelled, and what comes of it is dropped.  Less
            than a second counts as one, as it does for servers.
        @param threaded: whether the callable blocks, and is to run in one of the
            worker's threads, of which there are as many as C{concurrency}.  It
            returns no Deferred then.
        @raise ValueError: if the name or the time-out can't be.
        """
        name = _name(function)
        if timeout is not None and not 0 < timeout < 1 << 31:
            raise ValueError(f"a time-out is more than 0 seconds, and less than {1 << 31}, not {timeout}")
        self._abilities[name] = self._known[name] = Ability(callable, timeout, threaded)
        for bench in self._benches:
            if bench.working is not None and not self._leaving:
                bench.working.register(name, timeout)
        self.turn()

    def unregister(self, function: Name) -> None:
        """
        Do no more jobs of a function; those that run are finished, and one that
        is on its way is done.  Nothing happens if the function is not registered.

        A server from which a job of it runs is asked for none of another
        function before that has ended: gearmand would give it to somebody else.
        """
        name = _name(function)
        if self._abilities.pop(name, None) is not None:
            for bench in self._benches:
                if bench.working is not None:
                    bench.working.unregister(name)
            self.turn()

    # Coming and going

    def start(self) -> None:
        """
        Connect, and work.

        @raise RuntimeError: if it was started before.
        """
        if self._started or self._leaving:
            raise RuntimeError("a worker is started once")
        self._started = True
        for bench in self._benches:
            bench.connection.connect()

    def drain(self) -> Deferred[None]:
        """
        Take no more jobs, finish those that run, and leave.

        @return: fires when the last one has ended and the connections have.
        """
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        if not self._leaving:
            self._leaving = True
            for bench in self._benches:
                if bench.working is not None:
                    bench.working.leave()
        self.turn()
        return gone

    def close(self) -> Deferred[None]:
        """
        Leave at once.  Jobs that run are lost: they are cancelled, where they do
        not run in a thread, and their servers queue them again.

        @return: fires when the connections have ended; a callable in a thread
            may still be running.
        """
        self._leaving = True
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        for bench in self._benches:
            bench.leave()
        for task in list(self._tasks):
            task.cancel()
        # What does not let itself be cancelled is not waited for.
        self._tasks.clear()
        self.turn()
        return gone

    def _leave(self) -> None:
        """
        Close each connection that is not needed any more, and say when all is over.
        """
        for bench in self._benches:
            if bench.left is None and (bench.working is None or bench.working.finished):
                bench.leave()
        left = [bench.left for bench in self._benches if bench.left is not None]
        if self._tasks or len(left) < len(self._benches):
            return
        if self._closing is None:
            self._closing = gatherResults(left)
            self._closing.addCallback(self._left)
        elif self._closing.called:
            self._left(None)

    def _left(self, _: object) -> None:
        if self._pool is not None:
            # It waits for its threads, which the reactor must not.
            Thread(target=self._pool.stop, daemon=True).start()
            self._pool = None
        gone, self._gone = self._gone, []
        for each in gone:
            each.callback(None)

    # Working

    def greet(self) -> Working:
        """
        What a new connection begins with.
        """
        abilities = {} if self._leaving else {name: ability.timeout for name, ability in self._abilities.items()}
        working = Working(abilities, self._client_id, self._max_packet)
        if self._leaving:
            working.leave()
        return working

    def turn(self) -> None:
        """
        Something has changed: reach for jobs with each hand that is free.
        """
        if self._turning:
            # What is called from below ends up here; the loop goes on.
            return
        self._turning = True
        try:
            while self._reach():
                pass
            for bench in self._benches:
                bench.flush()
        finally:
            self._turning = False
        if self._leaving:
            self._leave()

    def _reach(self) -> bool:
        workings = [bench.working for bench in self._benches]
        reaching = sum(1 for each in workings if each is not None and each.standing is Standing.GRABBING)
        if len(self._tasks) + reaching >= self._concurrency:
            return False
        for turn in range(len(workings)):
            index = (self._next_bench + turn) % len(workings)
            working = workings[index]
            if working is not None and working.can_grab:
                self._next_bench = index + 1
                working.grab()
                return True
        return False

    def take(self, bench: Bench, assignment: Assignment) -> None:
        """
        Do a job.
        """
        task = Task(bench)
        task.job = job = AssignedJob(
            assignment.handle,
            assignment.function,
            assignment.workload,
            assignment.unique,
            assignment.reducer,
            tell=partial(self._tell, task),
            call_from_thread=self._reactor.callFromThread,
        )
        self._tasks[task] = None
        ability = self._known.get(assignment.function)
        if ability is None:
            task.doing = maybeDeferred(_unknown, job)
        else:
            if ability.timeout is not None:
                seconds = server_timeout(ability.timeout) + AFTER_SERVER
                task.timer = self._reactor.callLater(seconds, self._time_is_up, task, ability.timeout)
            task.threaded = ability.threaded
            if ability.threaded:
                task.doing = deferToThreadPool(self._reactor, self._threads(), ability.do, job)
            else:
                task.doing = maybeDeferred(ability.do, job)
        task.doing.addCallback(_result).addBoth(self._ended, task)

    def _threads(self) -> ThreadPool:
        if self._pool is None:
            self._pool = _DaemonThreads(0, self._concurrency, "gearman worker")
            self._pool.start()
        return self._pool

    def _tell(self, task: Task, kind: Type, *arguments: bytes) -> None:
        working = task.bench.working
        if not task.job.lost and working is not None:
            working.send(kind, task.job.handle, *arguments)
            task.bench.flush()

    def _ended(self, result: bytes | Failure, task: Task) -> None:
        task.stop_timer()
        self._tasks.pop(task, None)
        job, working = task.job, task.bench.working
        if isinstance(result, Failure):
            self._failed(result, task)
        elif not job.lost and working is not None:
            working.complete(job.handle, result)
        self.turn()

    def _failed(self, failure: Failure, task: Task) -> None:
        job, working = task.job, task.bench.working
        deliberate = isinstance(failure.value, JobFailed) or (job.lost and failure.check(CancelledError))
        if not deliberate:
            log.failure(
                "The job {handle} of {function} has failed", failure, handle=text(job.handle), function=text(job.function)
            )
        if job.lost or working is None:
            return
        if isinstance(failure.value, JobException):
            working.fail_with(job.handle, failure.value.data)
        elif isinstance(failure.value, JobFailed):
            working.fail(job.handle)
        else:
            said = safe_str(failure.value) or type(failure.value).__name__
            working.fail_with(job.handle, said.encode("utf-8", "backslashreplace"))

    def _time_is_up(self, task: Task, timeout: float) -> None:
        task.timer = None
        job, working = task.job, task.bench.working
        log.error(
            "The job {handle} of {function} was not done in {seconds:g} seconds: it is given up",
            handle=text(job.handle),
            function=text(job.function),
            seconds=timeout,
        )
        if working is not None and working.expire(job.handle):
            task.bench.later(UNTIL_SETTLED, working.settle, job.handle)
        task.cancel()
        self.turn()

    def lost(self, bench: Bench) -> None:
        """
        A connection is gone.
        """
        for task in self._tasks:
            if task.bench is bench:
                task.lose()
        self.turn()


class DaemonThread(Thread):
    """
    A thread that does not keep a program from ending.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.daemon = True


class _DaemonThreads(ThreadPool):
    """
    Threads for the jobs of one worker.
    """

    threadFactory = DaemonThread


def _unknown(job: AssignedJob) -> None:
    raise JobException(b"this worker does not know the function")


def _result(value: object) -> bytes:
    if value is None:
        return b""
    try:
        return as_bytes(value)
    except TypeError:
        raise TypeError(f"a job's result is bytes, str or None, not {type(value).__name__}") from None


def _name(function: Name) -> bytes:
    name = function.encode() if isinstance(function, str) else function
    if not name or b"\0" in name:
        raise ValueError(f"{function!r} is no name of a function: it has at least one byte, and no NUL")
    return name
