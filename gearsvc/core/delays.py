"""
Jobs that wait for their time (SUBMIT_JOB_EPOCH).
"""

from __future__ import annotations

from typing import Callable

from gearsvc.core.clock import Alarm, Clock
from gearsvc.core.jobs import Job
from gearsvc.core.queues import FunctionQueue

LONGEST_SLEEP = 60.0
"""
Seconds after which the clock is looked at again, so that one that is set, or a
machine that was suspended, makes no job late by more than this.
"""


class Delays:
    """
    Calls back for each delayed job when its time has come.  There is one timer
    for each function that has any.
    """

    def __init__(self, clock: Clock, enqueue: Callable[[Job], object], flush: Callable[[], object]) -> None:
        """
        @param enqueue: called with each job that is due, in the order of
            their times.
        @param flush: called after that.
        """
        self._clock = clock
        self._enqueue = enqueue
        self._flush = flush
        self._alarms: dict[FunctionQueue, Alarm] = {}
        self._stopped = False

    def delay(self, job: Job) -> None:
        """
        Keep a job until its time.
        """
        queue = job.queue
        queue.delay(job)
        if queue.delayed[0][2] is job:
            self.forget(queue)
            self._set(queue)

    def forget(self, queue: FunctionQueue) -> None:
        """
        Don't call back for a function any more.
        """
        alarm = self._alarms.pop(queue, None)
        if alarm is not None:
            alarm.cancel()

    def stop(self) -> None:
        """
        Call back for no job any more, nor for those that the store is still
        to commit.
        """
        self._stopped = True
        for queue in list(self._alarms):
            self.forget(queue)

    def _set(self, queue: FunctionQueue) -> None:
        if queue.delayed and not self._stopped:
            seconds = min(max(queue.delayed[0][0] - self._clock.time(), 0.0), LONGEST_SLEEP)
            self._alarms[queue] = self._clock.call_later(seconds, self._ring, queue)

    def _ring(self, queue: FunctionQueue) -> None:
        del self._alarms[queue]
        for job in queue.due(self._clock.time()):
            self._enqueue(job)
        # It is set already if the clock was set back just now: the job waits again.
        if queue not in self._alarms:
            self._set(queue)
        self._flush()
