"""
Tests for the plugin of L{gearsvc.stores.redis}, and its options.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gearsvc.config import Settings
from gearsvc.interfaces import IQueueStore, IQueueStoreMaker
from gearsvc.options import SettingsError
from gearsvc.plugins import find_queue_store_maker, make_queue_store
from tests.running import PATIENCE, ROOT


class MakerTests(SynchronousTestCase):
    """
    What C{-q redis} makes.
    """

    def make(self, **options: object) -> IQueueStore:
        """
        @param options: with C{_} for C{-}, and without what they begin with.
        """
        given = {f"redis-{name.replace('_', '-')}": value for name, value in options.items()}
        store = make_queue_store(Settings(queue_type="redis", plugin_options=given))
        assert store is not None
        return store

    def assert_refused(self, words: str, **options: object) -> None:
        """
        Hold that options are refused with one line.
        """
        with self.assertRaisesRegex(SettingsError, words) as caught:
            self.make(**options)
        self.assertNotIn("\n", str(caught.exception))
        self.assertNotIn("secret", str(caught.exception))

    def test_maker(self) -> None:
        """
        It provides the interface, and everything it needs is there.
        """
        maker = find_queue_store_maker("redis")
        self.assertTrue(verifyObject(IQueueStoreMaker, maker))
        self.assertEqual(maker.missing(), "")

    def test_missing(self) -> None:
        """
        Without txredisapi, or what that needs, the extra is named.
        """
        find = importlib.util.find_spec
        for missing in ("txredisapi", "OpenSSL", "service_identity"):
            self.patch(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
            self.assertEqual(find_queue_store_maker("redis").missing(), "pip install 'gearsvc[redis]'")

    def test_light(self) -> None:
        """
        The plugin loads none of that before the store is made.
        """
        program = "import gearsvc.plugins.gearsvc_redis, sys; print([name for name in sys.modules if 'redis' in name])"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        self.assertEqual(done.stdout, "['gearsvc.plugins.gearsvc_redis']\n")

    def test_made(self) -> None:
        """
        The store is made without connecting, and says where it is; the options have gearmand's defaults.
        """
        store = self.make()
        self.assertTrue(verifyObject(IQueueStore, store))
        self.assertEqual(store.description, "Redis at 127.0.0.1:6379, database 0, keys _gear_-...")
        store = self.make(server="cache", port=7000, user="svc", password="secret", database=3, prefix="jobs")
        self.assertEqual(store.description, "Redis at cache:7000, database 3, keys jobs-...")
        self.assertIn("Redis at [::1]:6379", self.make(server="::1").description)
        self.assertIn("Redis at /run/redis.sock, database 0", self.make(server="/run/redis.sock").description)

    def test_password(self) -> None:
        """
        A password may hold blanks; an empty one is none; a user needs one.
        """
        self.assertEqual(find_queue_store_maker("redis").password.parse(" a b "), " a b ")
        with self.assertRaisesRegex(ValueError, "must not be empty"):
            find_queue_store_maker("redis").password.parse("")
        self.assert_refused("--redis-user needs --redis-password", user="svc")

    def test_tls(self) -> None:
        """
        What belongs to TLS needs C{--redis-tls}, which needs a host.
        """
        self.assertIn("Redis at cache:6379", self.make(server="cache", tls=True).description)
        self.assert_refused("--redis-ca-file needs --redis-tls", ca_file="ca.pem")
        self.assert_refused("--redis-certificate needs --redis-tls", certificate="us.pem")
        self.assert_refused("--redis-tls does not go with a Unix socket", tls=True, server="/run/redis.sock")
        self.assert_refused("'\u2026' is no name that a certificate could be for", tls=True, server="\u2026")

    def test_files(self) -> None:
        """
        A file of certificates that is not there, or holds none, is refused by its name.
        """
        with tempfile.TemporaryDirectory() as directory:
            other = Path(directory, "other")
            other.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            empty = Path(directory, "empty")
            empty.write_text("")
            locked = Path(directory, "locked")
            locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
            for file in (other, empty):
                self.assert_refused(f"--redis-ca-file: {file} does not hold certificates", tls=True, ca_file=str(file))
                self.assert_refused(
                    f"--redis-certificate: {file} does not hold a certificate and its key", tls=True, certificate=str(file)
                )
            self.assert_refused("the key in .*locked needs a passphrase", tls=True, certificate=str(locked))
            self.assert_refused("--redis-ca-file: .* can't be read: No such file", tls=True, ca_file=f"{directory}/none")
            self.assert_refused("--redis-certificate: .* can't be read: Is a directory", tls=True, certificate=directory)
