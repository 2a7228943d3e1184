"""
Waking workers, such that no job waits while a worker that can do it sleeps.

A worker says PRE_SLEEP, waits for a NOOP, and grabs.  One that was sent a NOOP
is sent no other before it grabs, so that many jobs at once do not make many
NOOPs; but a NOOP may be lost on a worker that hangs or misunderstands, and so,
while jobs wait, more workers are woken each C{--wakeup-delay}, also those that
were woken already.
"""

from __future__ import annotations

from typing import Callable

from gearsvc.core.clock import Alarm, Clock
from gearsvc.core.packets import Type
from gearsvc.core.queues import FunctionQueue
from gearsvc.core.sessions import ASLEEP, AWAKE, WOKEN, Session
from gearsvc.core.wire import encode

_NOOP = encode(Type.NOOP)

SECOND_LOOK = 1.0
"""
With a delay of 0, seconds until those are woken again who were woken and have
not come, once nobody sleeps any more: or they, and we, would do nothing else.
"""


class Wakeups:
    """
    Sends NOOPs.

    @ivar stopped: whether nobody is to be woken any more.
    """

    def __init__(
        self,
        functions: dict[bytes, FunctionQueue],
        clock: Clock,
        wakeup: int,
        delay: float,
        flush: Callable[[], object],
        now: Callable[[], float],
    ) -> None:
        """
        @param functions: the queues to look at; the server's own table.
        @param wakeup: how many workers to wake for a job; 0 is all.
        @param delay: after how many seconds to wake more; below 0 is never.
        @param flush: called when NOOPs were sent outside of anybody's turn.
        @param now: tells the time of this turn, in Unix seconds.
        """
        self.stopped = False
        self._functions = functions
        self._clock = clock
        self._wakeup = wakeup
        self._delay = delay
        self._flush = flush
        self._now = now
        self._alarm: Alarm | None = None
        # Whether the next round also looks at those who were woken; of matter with a delay of 0 alone.
        self._second_look = False

    def wake(self, queue: FunctionQueue) -> None:
        """
        A job waits in a queue: wake workers that are asleep.
        """
        if self.stopped or queue.paused:
            return
        sleepers = queue.sleepers
        if sleepers:
            wanted = self._wakeup or len(sleepers)
            while sleepers and wanted:
                session, _ = sleepers.popitem(last=False)
                if session.wakefulness == ASLEEP:
                    self._send_noop(session)
                    wanted -= 1
        if self._alarm is None:
            self._remind()
        elif self._second_look and sleepers:
            self._alarm.cancel()
            self._alarm = None
            self._second_look = False
            self._remind()

    def wake_for_all(self, queue: FunctionQueue) -> None:
        """
        As many jobs as a queue has wait all at once: wake workers for each.
        """
        for _ in range(min(len(queue.high) + len(queue.normal) + len(queue.low), len(queue.sleepers))):
            self.wake(queue)

    def sleep(self, session: Session, job_waits: bool) -> None:
        """
        A worker is going to wait for a NOOP.  It is sent one at once if a job
        waits.

        One that was sent a NOOP and has grabbed nothing since is not sent
        another one before the next round of L{_wake_more}, neither now nor for
        the next job: or two who misunderstand each other would talk at full
        speed, and a hundred workers who never grab would hear of each job.
        """
        if session.wakefulness != AWAKE and self._delay >= 0:
            if job_waits:
                self._remind()
            return
        if job_waits:
            self._send_noop(session)
            self._remind()
            return
        session.wakefulness = ASLEEP
        session.since = self._now()
        for queue in session.abilities:
            queue.sleepers[session] = None

    def stop(self) -> None:
        """
        Wake nobody any more.
        """
        self.stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _send_noop(self, session: Session) -> None:
        session.wakefulness = WOKEN
        session.since = self._now()
        session.send(_NOOP)

    def _remind(self) -> None:
        if self._alarm is None and self._delay >= 0:
            delay = SECOND_LOOK if self._second_look else self._delay
            self._alarm = self._clock.call_later(delay, self._wake_more)

    def _wake_more(self) -> None:
        self._alarm = None
        if self.stopped:
            return
        told: set[Session] = set()
        slept = waits = False
        for queue in self._functions.values():
            if queue.workers and (queue.high or queue.normal or queue.low) and not queue.paused:
                wanted = self._wakeup or len(queue.workers)
                # The sort is stable and puts those that nobody has woken first.
                for session in sorted(queue.workers, key=lambda worker: worker.wakefulness):
                    if not (self._delay or self._second_look) and session.wakefulness != ASLEEP:
                        continue
                    if wanted and session.wakefulness != AWAKE and session not in told and not session.peer.congested:
                        slept = slept or session.wakefulness == ASLEEP
                        self._send_noop(session)
                        told.add(session)
                        wanted -= 1
                        # Behind the others, who may come when this one does not.
                        queue.workers[session] = queue.workers.pop(session)
                waits = True
        self._second_look = not self._delay and not slept
        if waits:
            self._remind()
        self._flush()
