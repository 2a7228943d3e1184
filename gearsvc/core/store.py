"""
A store, as the core sees it: what it is told, and nothing to wait for.
"""

from __future__ import annotations

from typing import Protocol

from gearsvc.core.jobs import JobRecord


class Store(Protocol):
    """
    Where background jobs go, as the job server sees it.
    """

    @property
    def failure(self) -> str | None:
        """
        What is wrong with it; C{None} while it works.
        """

    def add(self, record: JobRecord) -> None:
        """
        Store a job; the answer comes through L{JobServer.stored
        <gearsvc.core.jobserver.JobServer>}.
        """

    def update(self, record: JobRecord) -> None:
        """
        Store a job again, for its attempts have changed.
        """

    def remove(self, record: JobRecord) -> None:
        """
        A job that was added or replayed is over.
        """
