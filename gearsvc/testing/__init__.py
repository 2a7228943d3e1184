"""
What you need to test against the job server, or to test a queue store.

  - L{ClockedJobServer}: a job server in memory, whose time passes when a test
    says so; under pytest it is the fixture C{gearman_clock}.
  - L{RunningJobServer}: one on the reactor, on a free port of this machine and
    in memory; under pytest it is the fixture C{gearman_server}.
  - L{JobServerMixin}: both of them, for trial's TestCase.
  - L{QueueStoreContract} and L{BrokenConnectionContract}: the tests that every
    queue store passes.
"""

from gearsvc.testing.servers import ClockedJobServer, JobServerClock, RunningJobServer
from gearsvc.testing.stores import (
    LARGE_WORKLOAD,
    BrokenConnectionContract,
    QueueStoreContract,
    fields_of,
    record,
    sleep,
)
from gearsvc.testing.trial import JobServerMixin

__all__ = [
    "LARGE_WORKLOAD",
    "BrokenConnectionContract",
    "ClockedJobServer",
    "JobServerClock",
    "JobServerMixin",
    "QueueStoreContract",
    "RunningJobServer",
    "fields_of",
    "record",
    "sleep",
]
