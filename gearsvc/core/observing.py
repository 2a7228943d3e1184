"""
Who hears of what happens to jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from gearsvc.interfaces import IJobObserver

EVENTS = (
    "job_submitted",
    "job_started",
    "job_progressed",
    "job_completed",
    "job_failed",
    "job_retried",
    "job_cancelled",
    "worker_joined",
    "worker_left",
)
"""
The methods of L{IJobObserver <gearsvc.interfaces.IJobObserver>}.
"""

Listener = Callable[..., object]


class Observers:
    """
    For each event, what to call.  An event that nobody wants is an empty tuple:
    the job server looks at that, and does no more.

    @ivar job_submitted: what to call when a job was submitted; and likewise
        for each of L{EVENTS}.
    """

    __slots__ = (*EVENTS, "_observers")

    job_submitted: tuple[Listener, ...]
    job_started: tuple[Listener, ...]
    job_progressed: tuple[Listener, ...]
    job_completed: tuple[Listener, ...]
    job_failed: tuple[Listener, ...]
    job_retried: tuple[Listener, ...]
    job_cancelled: tuple[Listener, ...]
    worker_joined: tuple[Listener, ...]
    worker_left: tuple[Listener, ...]

    def __init__(self) -> None:
        self._observers: list[IJobObserver] = []
        self._collect()

    def add(self, observer: IJobObserver) -> None:
        """
        Let somebody hear, from the next event on, of the events that it names.

        @raise ValueError: if it names one that does not exist.
        """
        if unknown := set(observer.events) - set(EVENTS):
            raise ValueError(f"there is no event {', '.join(sorted(unknown))}; there is: {', '.join(EVENTS)}")
        self._observers.append(observer)
        self._collect()

    def remove(self, observer: IJobObserver) -> None:
        """
        Undo L{add}.

        @raise ValueError: if it was not added.
        """
        self._observers.remove(observer)
        self._collect()

    def _collect(self) -> None:
        for event in EVENTS:
            wanted: tuple[Any, ...] = tuple(getattr(each, event) for each in self._observers if event in each.events)
            setattr(self, event, wanted)
