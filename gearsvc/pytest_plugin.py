"""
Fixtures for pytest, there as soon as gearsvc is installed.

C{gearman_clock} is a job server whose time is the test's, and needs nothing
else; C{gearman_server} is one on the reactor, and needs pytest-twisted, which
runs the reactor.  Twisted is imported only by tests that ask for one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import pytest

if TYPE_CHECKING:
    from gearsvc.testing import ClockedJobServer, RunningJobServer


@pytest.fixture
def gearman_clock() -> Iterator[ClockedJobServer]:
    """
    A job server in memory, with clients and workers, whose time passes when the test says so.
    """
    from gearsvc.testing import ClockedJobServer

    server = ClockedJobServer()
    yield server
    server.stop()


@pytest.fixture
def gearman_server(request: pytest.FixtureRequest) -> Iterator[RunningJobServer]:
    """
    A job server on the reactor, at a free port of this machine and in memory (needs pytest-twisted).
    """
    if not request.config.pluginmanager.has_plugin("twisted"):
        raise pytest.UsageError("gearman_server needs the reactor to run: install pytest-twisted, or use gearman_clock")
    from pytest_twisted import blockon
    from twisted.internet.defer import Deferred

    from gearsvc.testing import RunningJobServer

    server = RunningJobServer()
    blockon(Deferred.fromCoroutine(server.start()))
    yield server
    blockon(Deferred.fromCoroutine(server.stop()))
