"""
L{gearsvc.stores.batching} against a model of it.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import StoreError
from gearsvc.stores import batching
from gearsvc.stores.batching import FIRST_RETRY, GroupCommit
from gearsvc.testing import record
from tests.stores.batches import Log, PromptStoreByHand, StoreByHand


class GroupCommitModel(RuleBasedStateMachine):
    """
    L{GroupCommit} against a model: what the job server was told of each job.

    Jobs share rows as they do in a store: the row of a job that was removed may
    be taken by the next one.
    """

    @initialize(max_rows=st.integers(1, 4), max_bytes=st.integers(1, 300), prompt=st.booleans())
    def begin(self, max_rows: int, max_bytes: int, prompt: bool) -> None:
        """
        Choose small batches, and whether the store has a shorter way for one job.
        """
        self.saved_log, batching.log = batching.log, Log()  # type: ignore[assignment]
        self.store = PromptStoreByHand() if prompt else StoreByHand()
        self.clock = Clock()
        self.group = GroupCommit(self.store, self.settled, self.clock, max_rows, max_bytes)
        self.waiting: dict[JobRecord, None] = {}
        self.acknowledged: dict[JobRecord, None] = {}
        self.refused: dict[JobRecord, None] = {}
        self.over: set[JobRecord] = set()

    def teardown(self) -> None:
        """
        Let the store work: then all that is over is gone, and all else stored.
        """
        for _ in range(1000):
            self.clock.advance(60)
            if self.store.added is not None:
                self.store.succeed()
        assert not self.waiting
        assert self.store.rows == {job.handle: job.attempts for job in self.acknowledged if job not in self.over}
        assert (self.group.pending_writes, self.group.pending_removals) == (0, 0)
        assert not self.clock.getDelayedCalls()
        batching.log = self.saved_log

    def settled(self, records: list[JobRecord], failure: str | None) -> None:
        """
        The job server's side.
        """
        assert records
        for job in records:
            del self.waiting[job]
            if failure is None:
                assert job.handle in self.store.rows or job in self.over
                self.acknowledged[job] = None
            else:
                self.refused[job] = None

    def alive(self) -> list[JobRecord]:
        """
        Jobs whose end has not been heard of.
        """
        return [job for job in (*self.waiting, *self.acknowledged) if job not in self.over]

    @rule(
        what=st.sampled_from(["add", "update", "remove"]),
        row=st.integers(1, 3),
        size=st.integers(0, 200),
        turn=st.sampled_from([None, 0.0, FIRST_RETRY]),
        told=st.booleans(),
        early=st.booleans(),
    )
    def hand_in(self, what: str, row: int, size: int, turn: float | None, told: bool, early: bool) -> None:
        """
        A job is submitted, a worker is lost over one, or one is over; and this
        may be all in this turn, and somebody may say so, or have the batch begin
        at once.  (A job's handle and unique id are its row.)
        """
        self.group.in_turn = told
        job = next((job for job in self.alive() if job.handle == b"H:test:%d" % row), None)
        if job is None:
            job = record(row, unique=b"%d" % row, workload=bytes(size))
            self.waiting[job] = None
            self.group.add(job)
        elif what == "update":
            job.attempts += 1
            self.group.update(job)
        elif what == "remove":
            self.over.add(job)
            self.group.remove(job)
        if early and self.group.ready:
            self.group.begin_batch()
        self.group.in_turn = False
        if self.group.ready:
            self.group.begin_batch()
        if turn is not None:
            self.clock.advance(turn)

    @rule(seconds=st.sampled_from([0.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    @precondition(lambda self: self.store.added is not None)
    @rule(how=st.sampled_from(["commit", "fail", "uncertain, stored", "uncertain, not stored"]))
    def answer(self, how: str) -> None:
        """
        The store commits, or fails, or does not know whether it did.
        """
        if how == "commit":
            self.store.succeed()
            return
        error = StoreError("the disk is full")
        error.uncertain = how != "fail"
        if how == "uncertain, stored":
            self.store.apply()
        self.store.fail(error)

    @invariant()
    def something_is_coming(self) -> None:
        """
        While somebody waits, a commit is under way or a moment off.
        """
        if self.waiting and self.store.added is None:
            [call] = [call for call in self.clock.getDelayedCalls() if call.func != self.group._lingered]
            assert call.getTime() <= self.clock.seconds() + FIRST_RETRY


class GroupCommitModelTests(SynchronousTestCase):
    """
    What Hypothesis finds with L{GroupCommitModel}.
    """

    def test_model(self) -> None:
        """
        Nothing is acknowledged that is not stored, each add is answered once
        and soon, and in the end what is over is gone and all else is there.
        """
        limits = settings(max_examples=200, stateful_step_count=40, deadline=None, database=None)
        run_state_machine_as_test(GroupCommitModel, settings=limits)
