"""
Moves jobs into a store, so that it can be done again: in the end each is there
once, in its order, behind what was there before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, StoreError
from gearsvc.queuecommand.display import Display
from gearsvc.queuecommand.identity import KnownJobs, Verdict
from gearsvc.queuecommand.readable import readable
from gearsvc.queuecommand.running import Interruption
from gearsvc.stores.progress import totals_told_to

MAX_ROWS = 2_000
MAX_BYTES = 16 * 1024 * 1024
"""
What is committed at once.  (A single workload may be larger.)
"""

Take = Callable[[Sequence[JobRecord]], Awaitable[None]]


def number_of(count: int) -> str:
    """
    C{"1 job"}, C{"1,200 jobs"}.
    """
    return f"{count:,} job{'' if count == 1 else 's'}"


@dataclass
class Tally:
    """
    What became of the jobs.

    @ivar done: the word for what is done to them, as in C{"copied"}.
    @ivar new: how many have been stored.
    @ivar there: how many were stored before.
    @ivar joined: how many the target has another job for: one of the same
        function and unique id.
    """

    done: str
    new: int = 0
    there: int = 0
    joined: int = 0

    def __str__(self) -> str:
        """
        As a sentence.
        """
        text = f"{number_of(self.new)} {self.done}"
        if self.there:
            text += f", {self.there:,} there already"
        if self.joined:
            text += f", {self.joined:,} left out for another job of the same function and unique id"
        return f"{text}."


async def replay(store: IQueueStore, take: Take, display: Display, interruption: Interruption) -> int:
    """
    Read an open store from its begin to its end.

    @param take: called with some jobs at a time, in their order, and waited for.
    @return: how many there were.
    @raise Interrupted: if the user wants us to stop.
    """
    problem: list[BaseException] = []

    async def accept(records: Sequence[JobRecord]) -> None:
        try:
            interruption.check()
            await take(records)
        except BaseException as error:
            problem.append(error)
            raise
        display.advance(len(records))

    try:
        with totals_told_to(display.expect):
            return await store.replay(lambda records: Deferred.fromCoroutine(accept(records)))
    except Exception:
        # What a store makes of a failure that is not its own is not for the user.
        if problem:
            raise problem[0] from None
        raise


class Target:
    """
    An open store that jobs are moved into.
    """

    def __init__(self, store: IQueueStore, tally: Tally, interruption: Interruption) -> None:
        self._store = store
        self._tally = tally
        self._interruption = interruption
        self._known = KnownJobs()
        self._waiting: list[JobRecord] = []
        self._bytes = 0

    async def learn(self, display: Display) -> None:
        """
        Find out what the store has; before anything is added.
        """
        display.begin("reading what is there")

        async def take(records: Sequence[JobRecord]) -> None:
            self._known.learn(records)

        await replay(self._store, take, display, self._interruption)

    async def add(self, records: Sequence[JobRecord]) -> None:
        """
        Store jobs that are not there; the last of them perhaps only by L{flush}.
        """
        for start in range(0, len(records), MAX_ROWS):
            piece = records[start : start + MAX_ROWS]
            for record, verdict in zip(piece, self._known.admit(piece)):
                if verdict is Verdict.THERE:
                    self._tally.there += 1
                elif verdict is Verdict.JOINED:
                    self._tally.joined += 1
                else:
                    if self._waiting and self._bytes + len(record.workload) > MAX_BYTES:
                        await self.flush()
                    # It is where the other store keeps the job.
                    record.key = None
                    self._waiting.append(record)
                    self._bytes += len(record.workload)
                    if len(self._waiting) == MAX_ROWS:
                        await self.flush()

    async def flush(self) -> None:
        """
        Store what has been added.
        """
        batch, self._waiting, self._bytes = self._waiting, [], 0
        if batch:
            self._interruption.check()
            await self._commit(batch)

    async def _commit(self, batch: list[JobRecord]) -> None:
        """
        Store a batch.  If it is refused, find the first job of it that is.
        """
        try:
            await self._store.commit(batch, [])
        except StoreError as error:
            if error.uncertain:
                raise
            if len(batch) == 1:
                raise StoreError(
                    f"The job {readable(batch[0].handle)} of {readable(batch[0].function)} can't be stored: {error}"
                ) from None
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        else:
            self._tally.new += len(batch)

    def close(self) -> None:
        """
        Forget what was learned.
        """
        self._known.close()


async def copy(
    source: IQueueStore, target: IQueueStore, tally: Tally, display: Display, interruption: Interruption
) -> None:
    """
    Copy all jobs from one open store to another.

    @param tally: counts what is done, as it is done.
    @raise StoreError: if one of them fails, or the target does not take a job,
        which is named then.  What was copied before stays.
    @raise Interrupted: if the user wants us to stop; likewise.
    """
    there = Target(target, tally, interruption)
    try:
        await there.learn(display)
        display.begin("copying")
        await replay(source, there.add, display, interruption)
        await there.flush()
    finally:
        there.close()
