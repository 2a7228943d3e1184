"""
Group commit: what stands between the job server and a durable store.

A commit costs a disk (or a network) round trip, whether it holds one job or a
thousand.  So there is one batch in flight at a time, and everything that the
job server hands in meanwhile is the next batch: the slower the store, the
larger the batches, and a store that does 3,000 commits a second takes 100,000
jobs a second.

What is handed in is in one of three places::

    add, update            _commit                   the store says yes
    ---------> _written  ---------->  in flight ------------------> settled(records, None)
    ---------> _removed                   |
    remove                                | the store says no
                                          +-> added:             settled(records, why)
                                          +-> updated, removed:  back to the front

An add is somebody's submission: it is tried once, and its client is told.  An
update or a removal is nobody's: it waits a little for others to go with, and is
tried until it succeeds.  So whoever submits one job after the other waits for
the removal of one in many.  A batch removes before it adds, and an add never
goes before the removal of a job of the same function and unique id that was
handed in earlier; so a job may take the row of another one that has just ended.

Nothing here makes a Deferred, a timer or a closure per job.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from gearsvc.core.counts import Histogram
from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IPromptQueueStore, IQueueStore, StoreError
from gearsvc.logs import Logger

log = Logger(__name__)

Settled = Callable[[list[JobRecord], "str | None"], None]
"""
Hears what became of a batch of adds: the records, and C{None} if they are
stored or what is wrong if none of them is.
"""

MAX_ROWS = 10_000
MAX_BYTES = 16 * 1024 * 1024
"""
What one batch holds at most, so that a commit never takes seconds.  (A single
workload may be larger: it is then a batch of its own.)
"""

LINGER = 0.01
"""
Seconds for which an update or a removal waits for others to go with.  (At most
twice as long, if no submission comes just when they are over.)
"""

MOMENT = 0.001
"""
Seconds that are too few to be worth another timer.
"""

FIRST_RETRY = 0.05
LAST_RETRY = 30.0
"""
Seconds from a failed commit to the next try: twice as many after each failure.
While submissions come in, it is always the first: they are an answer away from
their clients, and each batch of them finds out whether the store is back.
"""

FLUSH_TRIES = 7
"""
How often L{GroupCommit.flush} sees a commit fail before it gives up: some three
seconds, and whatever time the store itself takes to fail.
"""

BATCH_BOUNDS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
"""
The upper bounds, in seconds, of the buckets in which the times of commits are counted.
"""

_workload = attrgetter("workload")


class GroupCommit:
    """
    Hands the job server's changes to a store, a batch at a time.

    Records are told apart by identity, not by handle: hand in the same object
    each time.

    @ivar in_turn: set by whoever hands in what came at once, while that is not
        all, and will then call L{begin_batch}, if there is a batch L{ready}.
        (Where nobody does, a batch begins when the reactor makes its calls, which
        is later and costs a timer.)
    @ivar ready: whether a batch waits for L{begin_batch}.
    @ivar broken_since: when the store stopped committing, by the clock's
        seconds; C{None} while it works.
    @ivar failure: what is wrong with it; C{None} while it works.
    @ivar refused: how many adds were refused since the server started.
    @ivar committed: how many batches were committed since then.
    @ivar batch_seconds: how long each of them took.
    """

    def __init__(
        self,
        store: IQueueStore,
        settled: Settled,
        clock: IReactorTime,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """
        @param settled: called once for each batch that held adds.  It may call
            L{add}, L{update} and L{remove}.
        @param clock: the reactor, or a fake clock.
        """
        self._store = store
        self._commit_one = store.commit_one if IPromptQueueStore.providedBy(store) else None
        self._settled = settled
        self._clock = clock
        self._max_rows = max_rows
        self._max_bytes = max_bytes

        self.in_turn = self.ready = False
        self.broken_since: float | None = None
        self.failure: str | None = None
        self.refused = 0
        self.committed = 0
        self.batch_seconds = Histogram(BATCH_BOUNDS)
        self._began = 0.0

        # What the next batch will hold.  The value in _written is whether
        # somebody waits for the record (it was added, and is not stored yet) or
        # not (it is stored, and has changed).
        self._written: dict[JobRecord, bool] = {}
        self._removed: dict[JobRecord, None] = {}
        # Until when removals may wait while adds go on; and the functions and
        # unique ids (and some more, at times) whose adds may not go on.
        self._due = 0.0
        self._ending: set[tuple[bytes, bytes]] = set()
        # Added and removed before they reached the store.
        self._cancelled: list[JobRecord] = []

        # What the batch in flight holds.
        self._writing: dict[JobRecord, bool] = {}
        self._removing: list[JobRecord] = []

        # Whether an add may rely on what is already under way: a batch is in
        # flight, or one starts at the end of this turn (after a failure: soon).
        self._awake = False
        # The timer of what nobody waits for.
        self._lingering: IDelayedCall | None = None
        self._retry = FIRST_RETRY
        self._failed_at = 0.0
        self._refused_before = 0
        self._flushes: list[Deferred[None]] = []
        self._tries = 0

    # The job server's side.

    def add(self, record: JobRecord) -> None:
        """
        Store a job that is not stored.  C{settled} will say what became of it.
        """
        self._written[record] = True
        if not self._awake:
            self._wake()

    def update(self, record: JobRecord) -> None:
        """
        Store what has changed in a job that is stored, or is being stored.
        """
        self._written.setdefault(record, False)
        if not self._awake:
            self._nudge()

    def remove(self, record: JobRecord) -> None:
        """
        Remove a job that is over, whatever became of its L{add}.
        """
        if self._written.pop(record, False):
            self._cancelled.append(record)
        else:
            if not self._removed:
                self._due = self._clock.seconds() + LINGER
            self._removed[record] = None
            if record.unique:
                self._ending.add((record.function, record.unique))
        if not self._awake:
            self._nudge()

    def flush(self) -> Deferred[None]:
        """
        Get done with all that was handed in; at shutdown, with the peers gone.

        @return: fires when everything is committed, or reported as refused;
            or, after L{FLUSH_TRIES} failures, given up with a line in the log.
            Nothing of this object is under way then.
        """
        if not (self._awake or self._written or self._removed):
            self._linger_no_more()
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._flushes.append(done)
        self._tries = FLUSH_TRIES
        self._retry = FIRST_RETRY
        if not self._awake:
            self._wake()
        return done

    @property
    def pending_writes(self) -> int:
        """
        How many jobs wait to be stored, those in flight included.
        """
        return len(self._written) + len(self._writing)

    @property
    def pending_removals(self) -> int:
        """
        How many jobs that are over are still stored.
        """
        return len(self._removed) + len(self._removing)

    # When the next batch starts.

    def begin_batch(self) -> None:
        """
        Begin a batch now; what is handed in after that is for the next one.
        """
        self.ready = False
        if not self._commit_alone():
            self._commit()

    def _wake(self) -> None:
        """
        Start a batch at the end of this turn, so that what comes in one turn is
        one batch; but no sooner after a failure than is good for everyone.
        """
        self._awake = True
        delay = 0.0
        if self.broken_since is not None:
            # (Bounded twice: the reactor's clock is the wall's, and may be set back.)
            delay = min(FIRST_RETRY, max(0.0, self._failed_at + FIRST_RETRY - self._clock.seconds()))
            self._linger_no_more()
        if self.in_turn and not delay:
            self.ready = True
        else:
            self._clock.callLater(delay, self._commit)

    def _nudge(self) -> None:
        """
        Something is to be done for which nobody waits.
        """
        if self._lingering is None:
            self._lingering = self._clock.callLater(LINGER if self.broken_since is None else self._retry, self._lingered)

    def _lingered(self) -> None:
        """
        Start a batch of what nobody waits for.

        (The timer goes on when another batch takes that along, and serves what
        comes after it.  While job after job ends there would be hundreds of
        them otherwise: one that is cancelled stays with the reactor until its
        time.)
        """
        self._lingering = None
        if self._awake:
            # What is left when that is done will be seen to.
            return
        left = self._due - self._clock.seconds()
        if MOMENT < left <= LINGER and not self._written and self.broken_since is None:
            self._lingering = self._clock.callLater(left, self._lingered)
        else:
            self._commit()

    def _linger_no_more(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    # One batch.

    def _commit(self) -> None:
        self._awake = True
        cancelled, self._cancelled = self._cancelled, []
        self._take()
        if cancelled:
            self._tell(cancelled, None)
        if not (self._writing or self._removing):
            self._next()
            return
        self._began = self._clock.seconds()
        try:
            outcome = self._store.commit(list(self._writing), self._removing)
            outcome.addCallbacks(self._succeeded, self._failed)
        except Exception:
            outcome = fail()
            outcome.addErrback(self._failed)
        outcome.addErrback(_log_bug)

    def _commit_alone(self) -> bool:
        """
        Commit a job that is all there is to commit, if the store has a shorter way
        for it.

        @return: whether that is done, or under way.
        """
        written = self._written
        if self._commit_one is None or len(written) != 1 or self._cancelled or self._flushes:
            return False
        [(record, awaited)] = written.items()
        if not awaited or (self._removed and not self._removals_can_wait()):
            return False
        self._writing, self._written = written, {}
        self._began = self._clock.seconds()
        try:
            begun = self._commit_one(record, self._answered)
        except Exception:
            # A mistake of the store's: whoever submitted the job is told, as with a batch.
            self._answered(Failure())
            return True
        if not begun:
            self._writing, self._written = {}, written
        return begun

    def _answered(self, failure: Failure | None) -> None:
        try:
            if failure is None:
                self._succeeded(None)
            else:
                self._failed(failure)
        except Exception:
            # The store calls this, and is not to blame.
            _log_bug(Failure())

    def _take(self) -> None:
        """
        Move what fits from what waits into the batch.
        """
        room = self._max_rows
        if not self._removals_can_wait():
            if len(self._removed) > room:
                # An add may need the row of a job that one of these removes: none
                # may overtake them.
                self._removing = list(islice(self._removed, room))
                for record in self._removing:
                    del self._removed[record]
                return
            self._removing = list(self._removed)
            self._removed.clear()
            self._ending.clear()
            room = max(1, room - len(self._removing))

        waiting = self._written
        if len(waiting) <= room and sum(map(len, map(_workload, waiting))) <= self._max_bytes:
            self._writing, self._written = waiting, {}
            return
        size = 0
        taken = self._writing
        for record, awaited in waiting.items():
            size += len(record.workload)
            if len(taken) == room or (size > self._max_bytes and taken):
                break
            taken[record] = awaited
        for record in taken:
            del waiting[record]

    def _removals_can_wait(self) -> bool:
        """
        Whether there are adds that need not wait for the removals.
        """
        # (Bounded twice: the clock may be set back.)
        if not (self._removed and 0 < self._due - self._clock.seconds() < 2 * LINGER) or self._flushes:
            return False
        added = [(record.function, record.unique) for record, awaited in self._written.items() if awaited]
        return bool(added) and self._ending.isdisjoint(added)

    def _succeeded(self, _: object) -> None:
        seconds = self._clock.seconds() - self._began
        if self.broken_since is not None:
            broken = self._clock.seconds() - self.broken_since
            refused = self.refused - self._refused_before
            self.broken_since = self.failure = None
            self._retry = FIRST_RETRY
            log.announce(
                "The queue store is back after {seconds:.1f} s; {refused} submissions were refused.",
                seconds=broken,
                refused=refused,
            )
        added = [record for record, awaited in self._writing.items() if awaited]
        self._writing, self._removing = {}, []
        others_wait = any(self._written.values())
        if added:
            # Before anything else: they are waited for.
            self._tell(added, None)
        self.committed += 1
        self.batch_seconds.observe(seconds)
        self._next(others_wait)

    def _failed(self, reason: Failure) -> None:
        why, uncertain = self._explain(reason)
        self._failed_at = self._clock.seconds()
        self._linger_no_more()
        if self.broken_since is None:
            self.broken_since = self._failed_at
            self._refused_before = self.refused
            log.error("The queue store cannot commit, and background jobs are refused until it can: {why}", why=why)
        self.failure = why

        written, self._writing = self._writing, {}
        removing, self._removing = self._removing, []
        added = [record for record, awaited in written.items() if awaited]
        if uncertain:
            removing += added
        for record in added:
            # What came while it was in flight: there is nothing to change or remove.
            if self._written.get(record) is False:
                del self._written[record]
            self._removed.pop(record, None)
        self._removed = {**dict.fromkeys(removing), **self._removed}
        self._due = 0.0
        for record, awaited in written.items():
            if not awaited and record not in self._removed:
                self._written.setdefault(record, False)
        if len(self._removed) > self._max_rows:
            # These would wait behind removals that fail, and their clients with them.
            behind = [record for record, awaited in self._written.items() if awaited]
            for record in behind:
                del self._written[record]
            added += behind
        if self._flushes:
            self._tries -= 1
            if not self._tries:
                added += self._give_up()
        if added:
            self.refused += len(added)
            self._tell(added, why)
        self._next()

    def _explain(self, reason: Failure) -> tuple[str, bool]:
        """
        @return: what went wrong, for clients and for the log, and whether the
            batch may have been stored all the same.
        """
        error = reason.value
        if isinstance(error, StoreError):
            return str(error), error.uncertain
        log.failure("The queue store failed in a way that it does not know itself.", reason)
        return f"the queue store failed: {type(error).__name__}", True

    def _give_up(self) -> list[JobRecord]:
        """
        Drop all that waits.

        @return: the adds among it.
        """
        added = [record for record, awaited in self._written.items() if awaited]
        log.error(
            "{removals} jobs that are over could not be removed from the queue store, and will run again when it is replayed.",
            removals=len(self._removed),
        )
        self._written.clear()
        self._removed.clear()
        return added

    def _tell(self, records: list[JobRecord], failure: str | None) -> None:
        try:
            self._settled(records, failure)
        except Exception:
            log.failure("What was to be done with {count} stored or refused jobs failed.", count=len(records))

    def _next(self, at_once: bool = False) -> None:
        """
        No batch is in flight any more: see to what is to be done now.

        @param at_once: whether there are adds that have waited for this.  They
            are the next batch, and what their clients say who have just been
            told will be the one after it: so the store works on the jobs of some
            clients while those of others come in.
        """
        self._awake = False
        if self._written or self._removed or self._cancelled:
            works = self.broken_since is None
            if at_once and not (self._cancelled or self._flushes):
                self._awake = True
                self.begin_batch()
            elif (works and self._flushes) or self._cancelled or any(self._written.values()):
                self._wake()
            else:
                self._nudge()
                if not works:
                    self._retry = min(2 * self._retry, LAST_RETRY)
            return
        flushes, self._flushes = self._flushes, []
        if flushes:
            self._linger_no_more()
        for flush in flushes:
            flush.callback(None)


class StoreOnShutdown:
    """
    L{GroupCommit}'s face for C{--store-queue-on-shutdown}: jobs live in memory
    and are stored when the server ends as it should.

    A submission is answered without a write, so a server that is killed loses
    what was submitted since it started.  It does not lose what was replayed at
    the start (gearmand 2.0 does): those rows stay until their job ends.
    """

    def __init__(self, store: IQueueStore, settled: Settled, clock: IReactorTime) -> None:
        """
        The same as L{GroupCommit}'s.
        """
        self._settled = settled
        self._clock = clock
        self._rows: GroupCommit = GroupCommit(store, self._saved, clock)
        # Every job that is not in the store; the others were replayed.
        self._unsaved: dict[JobRecord, None] = {}
        self._added: list[JobRecord] = []
        self._call: IDelayedCall | None = None

    @property
    def failure(self) -> str | None:
        """
        What is wrong with the store; C{None} while it works.
        """
        return self._rows.failure

    def add(self, record: JobRecord) -> None:
        """
        Remember a job; C{settled} is called at the end of this turn.
        """
        self._unsaved[record] = None
        self._added.append(record)
        if self._call is None:
            self._call = self._clock.callLater(0, self._settle)

    def update(self, record: JobRecord) -> None:
        """
        Store what has changed in a job, if it was replayed.
        """
        if record not in self._unsaved:
            self._rows.update(record)

    def remove(self, record: JobRecord) -> None:
        """
        Forget a job that is over; remove its row, if it was replayed.
        """
        if record in self._unsaved:
            del self._unsaved[record]
        else:
            self._rows.remove(record)

    def flush(self) -> Deferred[None]:
        """
        Store every job that is left.

        @return: fires when that is done, or given up with a line in the log.
        """
        if self._call is not None:
            self._call.cancel()
            self._settle()
        for record in self._unsaved:
            self._rows.add(record)
        self._unsaved.clear()
        return self._rows.flush()

    def _settle(self) -> None:
        self._call = None
        added, self._added = self._added, []
        self._settled(added, None)

    def _saved(self, records: list[JobRecord], failure: str | None) -> None:
        if failure is not None:
            log.error("{count} jobs could not be stored, and are lost: {failure}", count=len(records), failure=failure)


def _log_bug(reason: Failure) -> None:
    log.failure("The group commit has a bug.", reason)
