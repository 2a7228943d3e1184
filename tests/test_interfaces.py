"""
L{gearsvc.interfaces}, and everything of ours that provides one of them.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.application.service import IService
from twisted.internet.interfaces import IProtocolFactory, IPullProducer, IReadDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass, verifyObject

from gearsvc import interfaces
from gearsvc.config import Settings
from gearsvc.console.site import Console
from gearsvc.core.jobserver import JobServer
from gearsvc.interfaces import (
    IEarlyProtocol,
    IJobObserver,
    IPeer,
    IPromptQueueStore,
    IProtocolMaker,
    IQueueStore,
    IQueueStoreMaker,
)
from gearsvc.logs import FileObserver, LogFile, SystemLogObserver
from gearsvc.plugins import protocol_makers, queue_store_makers
from gearsvc.protocols.gearman import GearmanFactory, GearmanProtocol
from gearsvc.protocols.reading import ReadingRoom
from gearsvc.service import ReactorClock
from gearsvc.stores.memcached import MemcachedStore
from gearsvc.stores.memory import MemoryStore
from gearsvc.stores.redis import RedisStore
from gearsvc.stores.sqlite import SQLiteStore
from tests.core.case import Connection, Recorder
from tests.running import ROOT


class InterfaceTests(SynchronousTestCase):
    """
    What says that it provides an interface does.
    """

    def setUp(self) -> None:
        """
        A job server, for what belongs to one.
        """
        self.settings = Settings()
        self.server = JobServer(self.settings, ReactorClock(Clock()), b"H")

    def test_all_are_here(self) -> None:
        """
        Every interface of gearsvc is held by a test below: who adds one adds its test.
        """
        ours = {name for name, each in vars(interfaces).items() if isinstance(each, InterfaceClass) and each is not Interface}
        tested = {"IEarlyProtocol", "IJobObserver", "IPeer", "IPromptQueueStore", "IProtocolMaker", "IQueueStore", "IQueueStoreMaker"}
        self.assertEqual(ours, tested)

    def test_peer(self) -> None:
        """
        A connection is a peer to the job server, and a producer to its transport.
        """
        verifyClass(IPeer, GearmanProtocol)
        verifyClass(IPullProducer, GearmanProtocol)
        protocol = GearmanFactory(self.server, self.settings, Clock()).buildProtocol(None)
        protocol.makeConnection(StringTransport())
        verifyObject(IPeer, protocol)
        verifyObject(IPullProducer, protocol)
        verifyObject(IPeer, Connection(self.server))

    def test_factory(self) -> None:
        """
        What makes connections is a factory, and what reads from them a reader.
        """
        verifyObject(IProtocolFactory, GearmanFactory(self.server, self.settings, Clock()))
        verifyClass(IReadDescriptor, ReadingRoom)
        room = ReadingRoom(None, self.server.flush)
        self.addCleanup(room.close)
        verifyObject(IReadDescriptor, room)

    def test_stores(self) -> None:
        """
        The stores are stores, as classes and as their makers make them.
        """
        verifyClass(IQueueStore, MemoryStore)
        verifyObject(IQueueStore, MemoryStore())
        verifyClass(IQueueStore, SQLiteStore)
        needed = {
            "file-path": self.mktemp(),
            "libmemcached-servers": "127.0.0.1",
            "libsqlite3-db": self.mktemp(),
            "libtokyocabinet-file": self.mktemp() + ".tch",
            "mysql-db": "jobs",
        }
        made = [maker.make(Settings(plugin_options=needed)) for maker in queue_store_makers()]
        self.assertGreaterEqual(len(made), 9)
        prompt = [store for store in made if IPromptQueueStore.providedBy(store)]
        self.assertEqual({type(store) for store in prompt}, {MemcachedStore, RedisStore})
        for store in prompt:
            verifyObject(IPromptQueueStore, store)
        for store in made:
            if store is not None:
                verifyObject(IQueueStore, store)
        self.assertIn(SQLiteStore, map(type, made))

    def test_makers(self) -> None:
        """
        The plugins that are found are plugins and makers.
        """
        self.assertGreaterEqual(len(queue_store_makers()), 2)
        for store_maker in queue_store_makers():
            verifyObject(IQueueStoreMaker, store_maker)
            verifyObject(IPlugin, store_maker)
        for protocol_maker in protocol_makers():
            verifyObject(IProtocolMaker, protocol_maker)
            verifyObject(IPlugin, protocol_maker)

    def test_early_protocol(self) -> None:
        """
        The console is a service that is started before the queue is complete.
        """
        verifyClass(IEarlyProtocol, Console)
        verifyClass(IService, Console)

    def test_job_observer(self) -> None:
        """
        An observer needs no more than the interface says: the one that other tests use has just that.
        """
        verifyClass(IJobObserver, Recorder)
        verifyObject(IJobObserver, Recorder())

    def test_log_observers(self) -> None:
        """
        What writes the log is what Twisted wants it to be.
        """
        for observer in (FileObserver, LogFile, SystemLogObserver):
            verifyClass(ILogObserver, observer)

    def test_imports_nothing(self) -> None:
        """
        A plugin that declares itself by our interfaces pays for nothing else of gearsvc's.
        """
        program = "import sys, gearsvc.interfaces; print(*sorted(name for name in sys.modules if name.startswith('gearsvc')))"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(done.stdout.split(), ["gearsvc", "gearsvc.interfaces"], done.stderr)
