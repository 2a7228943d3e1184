"""
Every extension point of gearsvc.

  - L{IQueueStore}, L{IPromptQueueStore} and L{IQueueStoreMaker}: where background
    jobs are kept.
  - L{IProtocolMaker}: how peers reach the job server.
  - L{IPeer}: what the job server asks of the other end of a connection.
  - L{IJobObserver}: what hears of everything that happens to jobs.

The makers are plugins: put a module into C{gearsvc/plugins/} anywhere on
C{sys.path} (no C{__init__.py}), and let it hold an object that provides one of
them.  This module imports nothing of gearsvc's, so that a plugin which only
declares itself costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Collection, Sequence

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.application.service import IService
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from gearsvc.config import Option, Settings
    from gearsvc.core.jobs import Job, JobRecord
    from gearsvc.core.sessions import Session
    from gearsvc.service import JobServerService


Accept = Callable[["Sequence[JobRecord]"], "Deferred[None] | None"]
"""
Takes some of the jobs that a store replays; see L{IQueueStore.replay}.
"""


class StoreError(Exception):
    """
    A store could not do what was asked of it.

    @ivar args: one string: what is wrong and, where there is something to be
        done, what to do.  It is shown to clients (as the text of C{QUEUE_ERROR})
        and in the log, so it holds no workload and no password.
    @ivar uncertain: whether the batch may have been stored all the same (the
        connection broke while the database was committing).  What was added in
        it is then removed before anything else.
    @ivar unreachable: whether it may help to try again in a while: nothing
        answers where the store should be, or what answers is still starting.
        A server that starts waits for such a store (C{--store-wait}).
    """

    uncertain: bool = False
    unreachable: bool = False


class IQueueStore(Interface):
    """
    Where background jobs are kept, so that they outlive the server.

    A store sees batches: L{gearsvc.stores.batching.GroupCommit} calls
    L{commit} with one batch at a time and waits for it before the next.  The
    order of calls is C{open}, C{replay}, any number of C{commit}, C{close}.
    """

    description: str = Attribute(
        """One line for the log: where the jobs are kept, and what a crash of the server, of the
        store and of the machine can lose.  It is read once the store is open."""
    )

    def open() -> Deferred[None]:
        """
        Get ready: connect, create the table or bring an older one (gearmand's
        too) up to date without losing what it holds.

        A store belongs to one server at a time: one that another server uses
        is refused, and the error names that server.

        @return: fires when the store is ready for L{replay}; fails with
            L{StoreError} if it cannot be used, and may then be called again.
        """

    def replay(accept: Accept) -> Deferred[int]:
        """
        Give back every job that is stored.

        @param accept: called in the reactor's thread with some records at a
            time, in the order in which the jobs were submitted.  A record
            whose handle the store does not know has the handle C{b""};
            C{accept} then sets one.  Where the store could not find the row of
            such a job again by what the record holds, it sets
            L{JobRecord.key <gearsvc.core.jobs.JobRecord>}.  If it returns a
            Deferred, that is waited for before it is called again; if it fails,
            nothing more is replayed, and the failure is the replay's.
        @return: fires with the number of records when all of them have been
            accepted; fails with L{StoreError}.
        """

    def commit(added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Make one batch durable: first remove, then add; all of it or nothing.

        Adding a job that is stored replaces it (its attempts may have
        changed) and keeps its place in the order; removing one that is not
        stored does nothing.  So the same batch may be committed again.

        @param added: jobs to store.  They are live objects: read what you
            need of them before you return.
        @param removed: jobs that are over.
        @return: fires when the batch survives whatever L{description} says it
            survives; fails with L{StoreError} when none of it is stored.
        """

    def close() -> Deferred[None]:
        """
        Let go of everything.  No commit is under way when this is called.
        """


class IPromptQueueStore(IQueueStore):
    """
    A store that answers so soon that what a Deferred costs is a good part of it:
    it has a shorter way for a batch of one job.
    """

    def commit_one(record: JobRecord, done: Callable[[Failure | None], object]) -> bool:
        """
        Do what C{commit([record], [])} does.

        @param done: called once with C{None} where that would fire, or with its
            failure: it may be before this returns.
        @return: C{False} if it can't be done this way now; then nothing was done,
            and C{done} is not called.
        """


class IQueueStoreMaker(Interface):
    """
    A plugin that makes an L{IQueueStore}: what C{--queue-type} chooses from.
    """

    names: Sequence[str] = Attribute("""What C{-q} calls it, lower case; the first is its name, the others are aliases.""")
    summary: str = Attribute("""One line for C{--help}.""")
    options: Sequence[Option] = Attribute("""The command line options (and configuration keys) that belong to it.""")

    def missing() -> str:
        """
        @return: what has to be installed before the store can be made, as in
            C{"pip install 'gearsvc[redis]'"}; C{""} if nothing has.
        """

    def make(settings: Settings) -> IQueueStore | None:
        """
        Make the store.  Nothing is opened yet.

        @return: the store, or C{None} for a queue in memory alone.
        @raise gearsvc.config.SettingsError: if a setting is missing or wrong.
            (What L{missing} says is looked at before this is called.)
        """


class IProtocolMaker(Interface):
    """
    A plugin that lets peers reach the job server in one more way: what
    C{--protocol} chooses from.
    """

    names: Sequence[str] = Attribute("""What C{-r} calls it, lower case; the first is its name, the others are aliases.""")
    summary: str = Attribute("""One line for C{--help}.""")
    options: Sequence[Option] = Attribute("""The command line options (and configuration keys) that belong to it.""")

    def make(server: JobServerService, settings: Settings) -> IService:
        """
        Make the service that listens.  It is started once the job server's
        queue is complete (before that, if it provides L{IEarlyProtocol}), and
        stopped before it.

        @raise gearsvc.config.SettingsError: if a setting is missing or wrong.
        """


class IEarlyProtocol(Interface):
    """
    What a service of L{IProtocolMaker.make} provides as well if it is to be
    started before the stored queue is read, to tell that it is being read.
    """

    def serve() -> None:
        """
        The queue is complete: peers are served from now on.
        """


class IPeer(Interface):
    """
    The other end of a connection, as the job server sees it.
    """

    host: str = Attribute("""The peer's address, without its port.""")
    descriptor: int = Attribute("""The connection's file descriptor, or -1; C{workers} shows it.""")
    congested: bool = Attribute(
        """Whether the peer reads too slowly for what is waiting for it.  When it no
        longer is, the peer calls L{JobServer.drained <gearsvc.core.jobserver.JobServer>}."""
    )

    def transmit(chunks: list[bytes]) -> None:
        """
        Send bytes, in order, after all that was transmitted before.  The list
        is the peer's from now on.  Never raises: a connection that is gone, or
        that has more waiting than it may, drops them.
        """

    def close() -> None:
        """
        Close the connection once everything transmitted has been sent.
        """

    def overflow(waiting: int) -> None:
        """
        End the connection at once: it does not take what it is sent.

        @param waiting: how many bytes wait for it.
        """


class IJobObserver(Interface):
    """
    Hears of what happens to jobs, as it happens; see
    L{JobServer.observers <gearsvc.core.observing.Observers>}.

    An observer is called in the midst of the job server's work: it must not
    raise, block, or call the job server back.  The job is the live one: read
    it now, do not keep or change it.  It hears of a job's end before that: the
    job still has its worker, and is in every table.
    """

    events: Collection[str] = Attribute(
        """The names of the methods below that are to be called.  What nobody wants costs the job server nothing."""
    )

    def job_submitted(job: Job) -> None:
        """A new job was accepted (a job that coalesced with one is not new)."""

    def job_started(job: Job, worker: Session) -> None:
        """A worker has grabbed the job."""

    def job_progressed(job: Job) -> None:
        """The worker sent WORK_STATUS; C{job.progress} has it."""

    def job_completed(job: Job, result: bytes) -> None:
        """The worker sent WORK_COMPLETE, with this result."""

    def job_failed(job: Job, reason: str, data: bytes) -> None:
        """
        The job ended without a result.

        @param reason: C{"fail"} (the worker's WORK_FAIL), C{"exception"},
            C{"attempts"} (too many workers were lost over it), C{"store"} (it
            could not be stored).
        @param data: the exception's bytes, or why it could not be stored.
        """

    def job_retried(job: Job, reason: str) -> None:
        """
        The job is queued again.

        @param reason: C{"lost"} (its worker's connection ended) or
            C{"timeout"} (CAN_DO_TIMEOUT).
        """

    def job_cancelled(job: Job, reason: str) -> None:
        """
        The job was taken away before it ended.

        @param reason: C{"cancel"} (the admin command), C{"drop"} (its
            function was dropped) or C{"abandoned"} (it was queued, and the
            last client who waited for it has gone).
        """

    def worker_joined(worker: Session, function: bytes) -> None:
        """A connection can do a function that it could not do before."""

    def worker_left(worker: Session, function: bytes) -> None:
        """A connection can no longer do a function, or is gone."""

