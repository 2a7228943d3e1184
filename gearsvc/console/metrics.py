"""
C{/metrics}: the server's numbers for Prometheus.

C{gearman_up}, C{gearman_version_info}, C{gearman_jobs}, C{gearman_jobs_running},
C{gearman_jobs_waiting} and C{gearman_workers} are those of the exporter that
people run beside gearmand, with its labels, so that boards made for it go on
working.

No label is ever what a client can make up for each job: no handle, no unique
id, no address.  Functions are, and can be many: those beyond
L{LABELLED_FUNCTIONS} are added up as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.http import SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gearsvc import __version__
from gearsvc.console.slices import Slices, TooBusy, Work
from gearsvc.core.counts import Counts, Histogram
from gearsvc.core.explain import text
from gearsvc.core.queues import FunctionQueue
from gearsvc.core.sessions import ASLEEP
from gearsvc.logs import Logger
from gearsvc.stores.batching import GroupCommit

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

log = Logger(__name__)

LABELLED_FUNCTIONS = 1000
"""
How many functions have a label of their own: those that the server has known
the longest.
"""

OTHERS = "(others)"
"""
The label of all other functions together.
"""

LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_INTERVAL = 0.5
"""
How often, in seconds, the reactor is asked how late it is, and the buckets for
the answers.
"""

PRIORITIES = ("high", "normal", "low")


class ReactorLag:
    """
    How late the reactor makes calls: how long everything else had to wait.

    @ivar times: the answers so far, in seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.times = Histogram(LAG_BOUNDS)
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """
        Ask from now on.
        """
        due = self._reactor.seconds() + LAG_INTERVAL
        self._call = self._reactor.callLater(LAG_INTERVAL, self._answer, due)

    def stop(self) -> None:
        """
        Ask no more.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _answer(self, due: float) -> None:
        self.times.observe(self._reactor.seconds() - due)
        self.start()


@dataclass
class FunctionNumbers:
    """
    The numbers of one function, or of several, at one moment.
    """

    jobs: int = 0
    running: int = 0
    workers: int = 0
    busy: int = 0
    asleep: int = 0
    waiting: list[int] = field(default_factory=lambda: [0, 0, 0])
    delayed: int = 0
    storing: int = 0
    oldest: float = 0.0
    paused: int = 0
    balance: int = 0
    counts: Counts = field(default_factory=Counts)

    def add(self, queue: FunctionQueue, now: float) -> None:
        """
        Add a function's numbers.
        """
        self.jobs += queue.total
        self.running += queue.running
        self.workers += len(queue.workers)
        for worker in queue.workers:
            if worker.running:
                self.busy += 1
            elif worker.wakefulness == ASLEEP:
                self.asleep += 1
        for priority, line in enumerate(queue.lines):
            self.waiting[priority] += len(line) - queue.dead(priority)
            # A line's head is always a job that waits, and as a rule the oldest.
            if line:
                self.oldest = max(self.oldest, now - line[0].submitted if line[0].submitted else 0.0)
        self.delayed += len(queue.delayed) - queue.dead(3)
        self.storing += queue.storing
        self.paused += bool(queue.paused)
        self.balance += queue.balance
        self.counts.add(queue.counts)


class Numbers(Collector):
    """
    All numbers of one moment, as the library wants to have them.

    Making this is quick; writing it down is not, and touches nothing of the
    server's: it can be done later.
    """

    def __init__(self, service: JobServerService, lag: ReactorLag) -> None:
        server = service.job_server
        now = server.clock.time()
        self.functions: dict[str, FunctionNumbers] = {}
        for number, queue in enumerate(server.functions.values()):
            label = text(queue.name) if number < LABELLED_FUNCTIONS else OTHERS
            numbers = self.functions.get(label)
            if numbers is None:
                numbers = self.functions[label] = FunctionNumbers()
            numbers.add(queue, now)
        self.total = Counts()
        self.total.add(server.dropped)
        for numbers in self.functions.values():
            self.total.add(numbers.counts)
        # What happened to functions that were dropped stays in the sums.
        if server.dropped.accepted or server.dropped.rejected or server.dropped.coalesced:
            self.functions.setdefault(OTHERS, FunctionNumbers()).counts.add(server.dropped)
        self.connections = len(server.sessions)
        self.known = len(server.functions)
        keeper = service.keeper
        self.has_store = keeper is not None
        self.up = service.ready
        self.store_up = self.up and (keeper is None or keeper.failure is None)
        self.batches: Histogram | None = None
        self.pending_writes = self.pending_removals = 0
        if isinstance(keeper, GroupCommit):
            self.pending_writes, self.pending_removals = keeper.pending_writes, keeper.pending_removals
            self.batches = Histogram(keeper.batch_seconds.bounds)
            self.batches.add(keeper.batch_seconds)
        self.lag = Histogram(LAG_BOUNDS)
        self.lag.add(lag.times)

    def collect(self) -> Iterator[Metric]:
        """
        See C{prometheus_client.registry.Collector}.
        """
        yield GaugeMetricFamily("gearman_up", "Whether the job server serves its peers.", int(self.up))
        yield InfoMetricFamily("gearman_version", "The version of the job server.", {"version": __version__})
        yield self._gauge("gearman_jobs", "Jobs, waiting, delayed or running.", lambda each: each.jobs)
        yield self._gauge("gearman_jobs_running", "Jobs that a worker has.", lambda each: each.running)
        yield self._gauge("gearman_jobs_waiting", "Jobs that no worker has.", lambda each: each.jobs - each.running)
        yield self._gauge("gearman_workers", "Workers that can do the function.", lambda each: each.workers)
        yield self._gauge("gearman_workers_busy", "Of these, workers that have a job.", lambda each: each.busy)
        yield self._gauge("gearman_workers_asleep", "Of these, workers that wait to be woken.", lambda each: each.asleep)
        queued = GaugeMetricFamily("gearman_jobs_queued", "Jobs that can run now, by priority.", labels=["function", "priority"])
        for name, numbers in self.functions.items():
            for priority, count in zip(PRIORITIES, numbers.waiting, strict=True):
                queued.add_metric([name, priority], count)
        yield queued
        yield self._gauge("gearman_jobs_storing", "Jobs that the store has not answered for yet.", lambda each: each.storing)
        yield self._gauge("gearman_jobs_delayed", "Jobs whose time has not come.", lambda each: each.delayed)
        yield self._gauge(
            "gearman_oldest_waiting_seconds", "Age of the oldest job that can run now, 0 if there is none.", lambda each: each.oldest
        )
        yield self._gauge("gearman_paused", "Whether the function is paused.", lambda each: each.paused)
        yield self._gauge(
            "gearman_jobs_unaccounted",
            "Jobs accepted that have neither ended nor are there: 0, or something is very wrong.",
            lambda each: each.balance,
        )
        yield self._counter("gearman_jobs_submitted", "Jobs accepted.", lambda each: each.submitted)
        yield self._counter("gearman_jobs_replayed", "Jobs that the store gave back at the start.", lambda each: each.replayed)
        yield self._counter("gearman_jobs_completed", "Jobs that ended with a result.", lambda each: each.completed)
        yield self._counter("gearman_jobs_coalesced", "Submissions that joined a job.", lambda each: each.coalesced)
        for what, documentation, reasons in (
            ("failed", "Jobs that ended without a result.", lambda each: each.failed),
            ("cancelled", "Jobs that were taken away.", lambda each: each.cancelled),
            ("retried", "How often a job was queued again.", lambda each: each.retried),
            ("rejected", "Submissions that were refused.", lambda each: each.rejected),
        ):
            yield self._reasons(f"gearman_jobs_{what}", documentation, reasons)
        yield GaugeMetricFamily("gearman_connections", "Connections of clients and workers.", self.connections)
        yield GaugeMetricFamily("gearman_functions", "Functions that the server knows.", self.known)
        if self.has_store:
            yield GaugeMetricFamily("gearman_store_up", "Whether the store was replayed, and its last commit succeeded.", int(self.store_up))
            yield GaugeMetricFamily("gearman_store_pending_writes", "Jobs that wait to be stored.", self.pending_writes)
            yield GaugeMetricFamily(
                "gearman_store_pending_removals", "Jobs that are over and still stored.", self.pending_removals
            )
        if self.batches is not None:
            yield _histogram("gearman_store_batch_seconds", "How long the store takes to commit a batch.", self.batches)
        yield _histogram("gearman_job_wait_seconds", "How long jobs wait until a worker has them.", self.total.wait)
        yield _histogram("gearman_job_run_seconds", "How long workers have jobs.", self.total.run)
        yield _histogram("gearman_reactor_lag_seconds", "How late the server's loop is.", self.lag)

    def _gauge(self, name: str, documentation: str, value: Callable[[FunctionNumbers], float]) -> Metric:
        gauge = GaugeMetricFamily(name, documentation, labels=["function"])
        for function, numbers in self.functions.items():
            gauge.add_metric([function], value(numbers))
        return gauge

    def _counter(self, name: str, documentation: str, value: Callable[[Counts], int]) -> Metric:
        counter = CounterMetricFamily(name, documentation, labels=["function"])
        for function, numbers in self.functions.items():
            counter.add_metric([function], value(numbers.counts))
        return counter

    def _reasons(self, name: str, documentation: str, value: Callable[[Counts], dict[str, int]]) -> Metric:
        counter = CounterMetricFamily(name, documentation, labels=["function", "reason"])
        for function, numbers in self.functions.items():
            for reason, count in value(numbers.counts).items():
                counter.add_metric([function, reason], count)
        return counter


def _histogram(name: str, documentation: str, times: Histogram) -> Metric:
    below = 0
    buckets: list[tuple[str, float]] = []
    bounds: Iterable[str] = [*map(str, times.bounds), "+Inf"]
    for bound, number in zip(bounds, times.buckets, strict=True):
        below += number
        buckets.append((bound, below))
    return HistogramMetricFamily(name, documentation, buckets, times.total)


class _Single(Collector):
    """
    One metric, as if it were all.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """
        See C{prometheus_client.registry.Collector}.
        """
        return [self._metric]


def write(numbers: Numbers, encoder: Callable[[Any], bytes]) -> Work[bytes]:
    """
    Write numbers down, a metric at a time.  (A thread would need more of the
    processor: it and the reactor's would contend for the interpreter.)

    @param encoder: of the library's: what writes down all that something collects.
    """
    end = encoder(_Nothing())
    pieces: list[bytes] = []
    for metric in numbers.collect():
        pieces.append(encoder(_Single(metric)).removesuffix(end))
        yield
    return b"".join(pieces) + end


class _Nothing(Collector):
    """
    No metric at all: what is written of it ends every text.
    """

    def collect(self) -> Iterable[Metric]:
        """
        See C{prometheus_client.registry.Collector}.
        """
        return []


class MetricsResource(Resource):
    """
    Answers a scrape, in the form that it asks for.
    """

    isLeaf = True

    def __init__(self, service: JobServerService, lag: ReactorLag) -> None:
        super().__init__()
        self._service = service
        self._lag = lag
        # Its own: who searches for long makes no scrape wait.
        self._slices = Slices(service.reactor)

    def stop(self) -> None:
        """
        Give up the answers that are under way.
        """
        self._slices.stop()

    def render_GET(self, request: Request) -> int:
        """
        Write the numbers of this moment.
        """
        encoder, content_type = choose_encoder(request.getHeader("accept") or "")
        written = self._slices.run(write(Numbers(self._service, self._lag), encoder))
        gone: list[object] = []

        def leave(reason: Failure) -> None:
            gone.append(reason)
            written.cancel()

        def send(body: bytes) -> None:
            request.setHeader("content-type", content_type)
            request.setHeader("content-length", str(len(body)))
            request.write(body)
            request.finish()

        def fail(reason: Failure) -> None:
            if reason.check(TooBusy):
                request.setResponseCode(SERVICE_UNAVAILABLE)
                request.setHeader("retry-after", "1")
                request.finish()
            elif not gone and not reason.check(CancelledError):
                log.failure("The metrics could not be written", reason)
                request.processingFailed(reason)

        request.notifyFinish().addErrback(leave)
        written.addCallbacks(send, fail)
        return NOT_DONE_YET
