"""
Cancelling all that a search finds, while the job server goes on.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from gearsvc.console import slices
from gearsvc.console.actions import Actions, Cancelled
from gearsvc.console.problems import Problem
from gearsvc.console.search import JobQuery
from tests.consoleweb.case import FakeService, ViewsCase


class CancelFoundTests(ViewsCase):
    """
    L{Actions.cancel_found}
    """

    def setUp(self) -> None:
        """
        Stop after every piece of work, so that something can happen in between.
        """
        super().setUp()
        self.serve()
        patched = patch.object(slices, "SLICE", 0.0)
        patched.start()
        self.addCleanup(patched.stop)
        service: Any = FakeService(self.server, self.reactor)
        self.actions = Actions(service, self.views)
        self.client = self.connect()
        self.client.says(*(f"SUBMIT_JOB_BG f|u{number}|x" for number in range(2500)))

    def test_more_than_a_page(self) -> None:
        """
        All are cancelled, though a search finds a thousand at a time, and however much of it the caller wanted to see.
        """
        first = next(iter(self.server.jobs))
        page = self.told(self.views.jobs(JobQuery(limit=10)))
        done = self.told(self.actions.cancel_found(JobQuery(limit=10, after=page.following, oldest_first=True)))
        self.assertEqual((done, len(self.server.jobs)), (Cancelled(2500), 0))
        self.assertEqual(self.views.job(first).job.state, "cancelled")  # type: ignore[union-attr]

    def test_meanwhile(self) -> None:
        """
        A job that begins to run meanwhile, and one that comes, are left alone.
        """
        worker = self.connect()
        worker.says("CAN_DO f")
        done = self.actions.cancel_found(JobQuery(states=frozenset({"queued"})))
        worker.says("GRAB_JOB")
        self.client.says("SUBMIT_JOB_BG f|new|x")
        self.assertEqual(self.told(done), Cancelled(2499))
        self.assertEqual([job.unique for job in self.server.jobs.values()], [b"u0", b"new"])

    def test_over(self) -> None:
        """
        A search for nothing but jobs that are over is refused, and one for others, too, cancels these.
        """
        with self.assertRaisesRegex(Problem, "Jobs that are over can't be cancelled"):
            self.actions.cancel_found(JobQuery(states=frozenset({"failed", "completed"})))
        self.assertEqual(
            self.told(self.actions.cancel_found(JobQuery(states=frozenset({"failed", "running"})))), Cancelled(0)
        )
        self.assertEqual(len(self.server.jobs), 2500)
