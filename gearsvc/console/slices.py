"""
Long work in short pieces.

A look at a million jobs takes longer than a job server may stand still.  Such
work is written as a generator that yields wherever it can be interrupted; what
it returns is its result.  L{Slices} runs it for a few milliseconds at a time,
and lets the reactor do everything else in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
Work = Generator[None, None, T]

SLICE = 0.003
"""
Seconds for which work goes on without a pause.
"""

PAUSE = 0.002
"""
Seconds in which none is done after a slice: what it costs the job server at most
is the larger part of its time, and only while somebody waits for an answer.
"""

MAX_WAITING = 64
"""
How many pieces of work may wait for their turn.
"""


class TooBusy(Exception):
    """
    Too much work waits already; try again later.
    """


class Slices:
    """
    Runs work in slices, one after the other: what is short is done at once,
    what is not makes the others wait.
    """

    def __init__(self, reactor: Any, seconds: Callable[[], float] = perf_counter) -> None:
        """
        @param reactor: calls later.
        @param seconds: measures slices.
        """
        self._reactor = reactor
        self._seconds = seconds
        self._waiting: deque[tuple[Work[Any], Deferred[Any]]] = deque()
        self._call: Any = None

    def run(self, work: Work[T]) -> Deferred[T]:
        """
        Do some work: at once, as far as that goes.

        @return: fires with what it returns, or fails as it does.  Cancelling
            it ends the work.  Fails with L{TooBusy} if too much waits already.
        """
        done: Deferred[T] = Deferred(lambda _: work.close())
        if len(self._waiting) >= MAX_WAITING:
            work.close()
            done.errback(Failure(TooBusy("The server is busy with other questions; try again later.")))
            return done
        self._waiting.append((work, done))
        if self._call is None:
            self._go_on()
        return done

    def stop(self) -> None:
        """
        End everything that is under way, or waits: it fails with L{CancelledError<twisted.internet.defer.CancelledError>}.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            done.cancel()

    def _go_on(self) -> None:
        self._call = None
        end = self._seconds() + SLICE
        while self._waiting:
            work, done = self._waiting[0]
            outcome: Any
            try:
                while True:
                    if done.called:
                        # Cancelled meanwhile.
                        outcome = None
                        break
                    next(work)
                    if self._seconds() >= end:
                        self._call = self._reactor.callLater(PAUSE, self._go_on)
                        return
            except StopIteration as finished:
                outcome = finished.value
            except Exception:
                # Whoever asked for the work is told.
                outcome = Failure()
            self._waiting.popleft()
            if not done.called:
                done.callback(outcome)
