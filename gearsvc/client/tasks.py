"""
Many jobs that belong together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Union

from twisted.internet.defer import Deferred, succeed

from gearsvc.client.errors import GearmanError
from gearsvc.client.submitted import SubmittedJob
from gearsvc.logs import Logger

if TYPE_CHECKING:
    from gearsvc.client.client import GearmanClient

log = Logger(__name__)

Outcome = Union[bytes, GearmanError]
"""
What became of a job: its result, or what was raised in its place.
"""


class TaskSet:
    """
    Jobs that are submitted together, so many at a time, and gathered::

        tasks = client.task_set(outstanding=50)
        for image in images:
            tasks.add("resize", image)
        results = await tasks

    @ivar outcomes: what became of each job so far, in the order in which they
        were added; C{None} of one that is not done.
    @ivar done: how many are done.
    """

    def __init__(self, client: GearmanClient, outstanding: int, progress: Callable[[int, int], object] | None) -> None:
        """
        Made by L{GearmanClient.task_set<gearsvc.client.client.GearmanClient.task_set>}.

        @raise ValueError: if none may be under way.
        """
        if outstanding < 1:
            raise ValueError(f"at least one job has to be under way at a time, not {outstanding}")
        self.outcomes: list[Outcome | None] = []
        self.done = 0
        self._client = client
        self._room = outstanding
        self._progress = progress
        self._waiting: deque[tuple[int, SubmittedJob, float | None]] = deque()
        self._waiters: list[Deferred[list[Outcome]]] = []
        self._submitting = False

    def __len__(self) -> int:
        """
        How many jobs there are.
        """
        return len(self.outcomes)

    def add(self, *arguments: Any, timeout: float | None = None, **options: Any) -> None:
        """
        Add a job; it is submitted when there is room.  The arguments are those
        of L{GearmanClient.submit<gearsvc.client.client.GearmanClient.submit>}; the
        time-out begins when it is submitted.

        @raise ValueError: if there can be no such job: none is added then.
        """
        self._waiting.append((len(self.outcomes), self._client.prepare(*arguments, **options), timeout))
        self.outcomes.append(None)
        self._submit()

    def wait(self) -> Deferred[list[Outcome]]:
        """
        Wait until all jobs that were added are done.

        @return: fires with L{outcomes}.  It does not fail: what failed is among
            them.
        """
        if self.done == len(self.outcomes):
            return succeed(self._all())
        waiter: Deferred[list[Outcome]] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def __await__(self) -> Generator[Any, Any, list[Outcome]]:
        """
        The same as L{wait}.
        """
        return self.wait().__await__()

    def _all(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _submit(self) -> None:
        if self._submitting:
            # One has failed at once: the loop below goes on.
            return
        self._submitting = True
        try:
            while self._waiting and self._room:
                index, job, timeout = self._waiting.popleft()
                self._room -= 1
                self._client.begin(job, timeout)
                job.finished.addCallbacks(self._ended, self._failed, callbackArgs=(index,), errbackArgs=(index,))
        finally:
            self._submitting = False

    def _failed(self, reason: Any, index: int) -> None:
        if not isinstance(reason.value, GearmanError):
            reason.raiseException()
        self._ended(reason.value, index)

    def _ended(self, outcome: Outcome, index: int) -> None:
        self.outcomes[index] = outcome
        self.done += 1
        self._room += 1
        if self._progress is not None:
            try:
                self._progress(self.done, len(self.outcomes))
            except Exception:
                # The other jobs are to be done all the same.
                log.failure("Unexpected error while telling how many jobs of a task set are done")
        self._submit()
        if self.done == len(self.outcomes):
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(self._all())
