"""
Job servers for tests that run under trial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from gearsvc.testing.servers import ClockedJobServer, RunningJobServer

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Base
else:
    # Not a test case itself: test runners would run it where it is imported.
    Base = object


class JobServerMixin(Base):
    """
    Mix it into trial's TestCase::

        class ResizeTests(JobServerMixin, TestCase):
            async def test_resize(self):
                server = await self.start_job_server()
                worker = server.worker()
                worker.register("resize", resize)
                worker.start()
                self.assertEqual(await server.client().submit("resize", image), small_image)
    """

    async def start_job_server(self, **settings: Any) -> RunningJobServer:
        """
        Start a job server on the reactor.  It is stopped when the test is over.
        """
        server = RunningJobServer(**settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        await server.start()
        return server

    def clocked_job_server(self, **settings: Any) -> ClockedJobServer:
        """
        A job server whose time is the test's.  It is stopped when the test is
        over.
        """
        server = ClockedJobServer(**settings)
        self.addCleanup(server.stop)
        return server
