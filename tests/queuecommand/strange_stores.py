"""
Stores that do what a store should not, as plugins of C{gearsvc queue}: the test
copies this module to where plugins are found.
"""

from __future__ import annotations

from typing import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.config import Settings
from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import IQueueStore, IQueueStoreMaker, StoreError
from gearsvc.options import Option
from gearsvc.stores.memory import MemoryStore


class Stuck(MemoryStore):
    """
    Never commits.
    """

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Begin to.
        """
        print("committing", flush=True)
        return Deferred()


class Slow(MemoryStore):
    """
    Never opens.
    """

    def open(self) -> Deferred[None]:
        """
        Begin to.
        """
        print("opening", flush=True)
        return Deferred()


class Wrong(MemoryStore):
    """
    Has a mistake.
    """

    def commit(self, added: Sequence[JobRecord], removed: Sequence[JobRecord]) -> Deferred[None]:
        """
        Fail, once so that it is seen, and once so that it is not.
        """
        fail(KeyError("nobody\ncatches this"))
        raise KeyError("mistaken")


class Away(MemoryStore):
    """
    Can't be reached, and would be waited for by a server.
    """

    def open(self) -> Deferred[None]:
        """
        Say so.
        """
        error = StoreError("Nothing answers at 192.0.2.1:5432; start it.")
        error.unreachable = True
        return fail(error)


class Leaving(MemoryStore):
    """
    Can't be closed.
    """

    def close(self) -> Deferred[None]:
        """
        Say so.
        """
        return fail(StoreError("The door is stuck."))


class Open(MemoryStore):
    """
    Can be closed, and says so.
    """

    def close(self) -> Deferred[None]:
        """
        Say so.
        """
        print("closed", flush=True)
        return succeed(None)


@implementer(IPlugin, IQueueStoreMaker)
class Maker:
    """
    Makes one of these.
    """

    summary = "for tests"
    options: tuple[Option, ...] = ()

    def __init__(self, name: str, store: Callable[[], IQueueStore], missing: str = "") -> None:
        self.names = (name,)
        self._store = store
        self._missing = missing

    def missing(self) -> str:
        """
        What is to be installed.
        """
        return self._missing

    def make(self, settings: Settings) -> IQueueStore:
        """
        Make it.
        """
        return self._store()


stuck = Maker("stuck", Stuck)
slow = Maker("slow", Slow)
wrong = Maker("wrong", Wrong)
away = Maker("away", Away)
leaving = Maker("leaving", Leaving)
open_store = Maker("open", Open)
absent = Maker("absent", MemoryStore, "pip install 'gearsvc[absent]'")
