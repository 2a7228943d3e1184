"""
Tests for the plugin of L{gearsvc.stores.memcached}, and its options.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gearsvc.config import Settings, SettingsError
from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.plugins import find_queue_store_maker


class MakerTests(SynchronousTestCase):
    """
    What C{-q libmemcached} makes.
    """

    def make(self, **options: str) -> IQueueStore:
        """
        @param options: with C{_} for C{-}, and without what they begin with.
        """
        given = {f"libmemcached-{name}": value for name, value in options.items()}
        store = find_queue_store_maker("libmemcached").make(Settings(queue_type="libmemcached", plugin_options=given))
        assert store is not None
        return store

    def test_maker(self) -> None:
        """
        It goes by both names, and needs nothing that Twisted does not have.
        """
        maker = find_queue_store_maker("memcached")
        self.assertTrue(verifyObject(IQueueStoreMaker, maker))
        self.assertIs(maker, find_queue_store_maker("libmemcached"))
        self.assertEqual(maker.missing(), "")

    def test_made(self) -> None:
        """
        The store is made without connecting, and says where it is.
        """
        store = self.make(servers="one, two:11212,/run/memcached")
        self.assertTrue(verifyObject(IQueueStore, store))
        self.assertEqual(store.description, "memcached at one:11211, two:11212, /run/memcached, keys gear_...")
        self.assertIn("keys mine:...", self.make(servers="one", prefix="mine:").description)

    def test_no_servers(self) -> None:
        """
        Without servers it is refused.
        """
        with self.assertRaisesRegex(SettingsError, "needs --libmemcached-servers, such as 127.0.0.1:11211"):
            self.make()

    def test_wrong_servers(self) -> None:
        """
        A list that can't be read is refused.
        """
        for servers in ("", "one:two", "--SERVER=one"):
            with self.assertRaisesRegex(SettingsError, "libmemcached-servers: must"):
                self.make(servers=servers)

    def test_wrong_prefix(self) -> None:
        """
        A prefix that no key can have is refused, and none, with which every item would be a job.
        """
        for prefix in ("", " ", "a b", "a\n", "a\x7f", "\xe4" * 33):
            with self.assertRaisesRegex(SettingsError, "libmemcached-prefix: must be 1 to 64 bytes"):
                self.make(servers="one", prefix=prefix)
