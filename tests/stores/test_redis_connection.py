"""
Tests for L{gearsvc.stores.redisconnection} and L{gearsvc.stores.redissettings}: how Redis is reached, what is said when it
can't be or refuses something, and what it can lose.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Sized
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from gearsvc import shortcut
from gearsvc.interfaces import StoreError
from gearsvc.stores import redisconnection, redislease
from gearsvc.stores.redissettings import RedisSettings
from gearsvc.stores.redistls import check_of
from gearsvc.testing import record, sleep
from tests.running import AT_ONCE, HOST, free_port, wait_until
from tests.servers import Redis
from tests.stores.redises import OneByOne, RedisCase, ask

PASSWORD = "s3cret word"


class WaysTests(RedisCase):
    """
    The ways to a Redis.
    """

    def make_redis(self) -> Redis:
        """
        One with a password, a Unix socket and four databases.
        """
        redis = Redis("--databases", "4")
        self.addCleanup(redis.end)
        self.socket = str(redis.directory / "redis.sock")
        redis.options += ("--unixsocket", self.socket)
        redis.start()
        return redis

    async def test_unix_socket(self) -> None:
        """
        A Unix socket is used as a port is.
        """
        store, _ = await self.opened(host=self.socket)
        self.assertIn(f"Redis at {self.socket}, database 0", store.description)
        jobs = [record(1), record(2, workload=bytes(3_000_000))]
        await store.commit(jobs, [])
        await store.close()
        await self.assert_stored(*jobs)

    async def test_answers_are_due(self) -> None:
        """
        While it has not answered, an answer is due, for which the reactor looks before it sleeps.
        """
        told: list[Sized] = []
        add = shortcut.add

        def watched(*arguments: Any, due: Sized) -> None:
            told.append(due)
            add(*arguments, due=due)

        self.patch(shortcut, "add", watched)
        store, _ = await self.opened()
        [answers] = told
        self.assertEqual(len(answers), 0)
        stored = store.commit([record(1)], [])
        self.assertEqual(len(answers), 1)
        await stored
        self.assertEqual(len(answers), 0)

    async def test_database(self) -> None:
        """
        The jobs are in the database that was asked for, and no others are seen.
        """
        store, _ = await self.opened(database=3)
        self.assertIn(", database 3, ", store.description)
        await store.commit([record(1)], [])
        self.assertEqual(self.keys(), [])
        self.assertEqual(len(ask(self.redis.port, ("KEYS", self.prefix + b"-*"), database=3)), 1)
        await self.assert_stored()

    async def test_no_such_database(self) -> None:
        """
        A number that it does not have is told, with what to do.
        """
        error = await self.assert_fails(self.make(database=4).open(), "has no database 4; see --redis-database")
        self.assertFalse(error.unreachable)

    async def test_users(self) -> None:
        """
        A user who may do what a queue needs has one, and one who may not is told what is missing, before there are jobs.
        """
        self.ask("ACL", "SETUSER", "svc", "on", f">{PASSWORD}", f"~{self.prefix.decode()}-*", "~gearsvc:*", "+@all", "-@dangerous")
        store, _ = await self.opened(user="svc", password=PASSWORD)
        self.assertIn("whether it survives one of Redis is not known", store.description)
        await store.commit([record(1)], [])
        await store.close()
        for rules, words in ((["-hmset"], "can't run"), (["resetkeys", "~gearsvc:*"], "key"), (["-eval"], "eval")):
            self.ask("ACL", "SETUSER", "less", "reset", "on", f">{PASSWORD}", "~*", "+@all", *rules)
            store = self.make(user="less", password=PASSWORD)
            error = await self.assert_fails(store.open(), "does not let this user do what a queue needs", words)
            self.assertFalse(error.unreachable)

    async def test_default_user_password(self) -> None:
        """
        A Redis with a password lets in who knows it; without it, or with another one, what is wrong is told, and no password.
        """
        self.ask("CONFIG", "SET", "requirepass", PASSWORD)
        store, _ = await self.opened(password=PASSWORD)
        await store.close()
        for password, words in (("wrong", "refuses the user or the password"), (None, "wants a password; give it by --redis-password")):
            error = await self.assert_fails(self.make(password=password).open(), words)
            self.assertFalse(error.unreachable)
            self.assertNotIn("wrong", str(error))

    async def test_needless_password(self) -> None:
        """
        A Redis without a password says so to who gives one.
        """
        await self.assert_fails(self.make(password=PASSWORD).open(), "leave --redis-password away")
        await self.assert_fails(self.make(user="nobody", password=PASSWORD).open(), "refuses the user or the password")


class Certificates:
    """
    An authority, and what it vouches for.
    """

    def __init__(self, directory: Path) -> None:
        """
        @param directory: where to put the files.
        """
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.authority = self.sign("authority", self.key, None)
        self.authority_file = self.write("authority.pem", self.authority)

    def sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, address: str | None, by: ec.EllipticCurvePrivateKey | None = None
    ) -> x509.Certificate:
        """
        Make a certificate.

        @param address: what it is for; C{None} for an authority.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
        )
        if address is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(by or self.key, hashes.SHA256())

    def write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        """
        @return: the path of a file with a certificate, and a key.
        """
        data = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            data += key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(0o644)
        return str(path)

    def issue(self, name: str, address: str) -> str:
        """
        @return: the file of a new certificate and its key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return self.write(f"{name}.pem", self.sign(name, key, address), key)


class TLSTests(RedisCase):
    """
    TLS with certificates.
    """

    def make_redis(self) -> Redis:
        """
        One that speaks TLS alone on a second port, and wants to be shown a certificate there.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-"))
        self.addCleanup(shutil.rmtree, directory)
        # Redis, as another user, has to get in.
        directory.chmod(0o755)
        self.certificates = Certificates(directory)
        self.ours = self.certificates.issue("ours", HOST)
        theirs = self.certificates.issue("theirs", HOST)
        self.tls_port = free_port()
        return self.start_redis(
            "--tls-port", str(self.tls_port), "--tls-cert-file", theirs, "--tls-key-file", theirs,
            "--tls-ca-cert-file", self.certificates.authority_file,
        )  # fmt: skip

    async def test_tls(self) -> None:
        """
        A server whose certificate is vouched for, and for its address, is used; ours is shown to it.
        """
        store, _ = await self.opened(port=self.tls_port, tls=check_of(HOST, self.certificates.authority_file, self.ours))
        jobs = [record(1), record(2, workload=bytes(range(256)) * 10_000)]
        await store.commit(jobs, [])
        self.assertIn(f"{HOST}:{self.tls_port}", store.description)
        await store.close()
        await self.assert_stored(*jobs)

    async def assert_refused(self, words: str, port: int, host: str, authority: str | None, ours: str | None) -> None:
        """
        Hold that it is no use to wait for such a server.
        """
        store = self.make(port=port, tls=check_of(host, authority, ours))
        error = await self.assert_fails(store.open(), words, uncertain=False)
        self.assertFalse(error.unreachable, error)

    async def test_refused(self) -> None:
        """
        A server that nobody vouches for, one with another's certificate, and one that wants ours are refused, each with its
        reason.
        """
        authority = self.certificates.authority_file
        await self.assert_refused("no authority that is trusted vouches", self.tls_port, HOST, None, self.ours)
        await self.assert_refused("its certificate is for another name", self.tls_port, "127.0.0.2", authority, self.ours)
        await self.assert_refused("TLS: ", self.tls_port, HOST, authority, None)

    async def test_tls_to_plain_text(self) -> None:
        """
        A server that speaks plain text is told by its answer; Redis gives none, and is given up with what it may be.
        """
        check = check_of(HOST, self.certificates.authority_file, self.ours)
        other = Other(b"-ERR unknown command\r\n")
        self.addCleanup(other.close)
        error = await self.assert_fails(self.make(port=other.port, tls=check).open(), "speaks plain text; leave --redis-tls away")
        self.assertFalse(error.unreachable)
        self.patch(redisconnection, "COMMIT_SECONDS", 0.4)
        self.patch(redislease, "RENEW_SECONDS", 0.1)
        await self.assert_fails(
            self.make(tls=check).open(), "it has not answered for 0.4 seconds; if it speaks plain text, leave --redis-tls away"
        )

    async def test_plain_text_to_tls(self) -> None:
        """
        A server that speaks TLS, and is spoken to in plain text, ends the connection; that is told.
        """
        await self.assert_fails(self.make(port=self.tls_port).open(), "can't be reached")


class Other:
    """
    Answers on a port, and is no Redis, or one in trouble.
    """

    def __init__(self, says: bytes, at_once: bool = False) -> None:
        """
        @param says: what it says to what it is asked, and then ends the connection.
        @param at_once: whether it does not wait for that.
        """
        self._says = says
        self._at_once = at_once
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                if not self._at_once:
                    connection.recv(1000)
                connection.sendall(self._says)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while connection.recv(1000):
                        pass

    def close(self) -> None:
        """
        Be done.
        """
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class LoadingRedis(Redis):
    """
    One that is started when it says anything.
    """

    def answers(self) -> bool:
        """
        C{LOADING} is an answer.
        """
        try:
            return bool(self.ask(b"PING"))
        except OSError:
            return False


class OpeningTests(RedisCase):
    """
    What is said when a store can't be opened.
    """

    async def assert_opens_not(self, words: str, unreachable: bool, port: int) -> None:
        """
        Hold that it can't, why, and whether it may help to wait.
        """
        error = await self.assert_fails(self.make(port=port).open(), f"Redis at {HOST}:{port} ", words)
        self.assertEqual(error.unreachable, unreachable, error)

    async def test_nobody(self) -> None:
        """
        Where nobody listens, it may help to wait; so it may where a Unix socket is missing, or a name is not known.
        """
        await self.assert_opens_not("can't be reached: Connection refused.", True, free_port())
        for host in ("/no/such/socket", "no-such-host.invalid"):
            error = await self.assert_fails(self.make(host=host).open(), "can't be reached: ")
            self.assertTrue(error.unreachable)

    async def test_no_redis(self) -> None:
        """
        Something else that answers is no Redis, and it does not help to wait.
        """
        for says in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ERROR\r\n", b"SSH-2.0-OpenSSH\r\n", b"*1\r\n" * 50):
            other = Other(says)
            self.addCleanup(other.close)
            await self.assert_opens_not("can't be reached: what answers there is no Redis.", False, other.port)

    async def test_in_trouble(self) -> None:
        """
        What a Redis says that is loading, has no room for clients, is protected, or has lost its master is told in words.
        """
        for says, words, unreachable in [
            (b"-LOADING Redis is loading the dataset in memory\r\n", "is still loading its data", True),
            (b"-ERR max number of clients reached\r\n", "has as many clients as it takes", True),
            (b"-DENIED Redis is running in protected mode because...\r\n", "is in protected mode", False),
            (b"-MASTERDOWN Link with MASTER is down\r\n", "is a replica that has lost its master", True),
            (b"-ERR something\nelse.\r\n", "refuses what it was asked for: something.", False),
        ]:
            for at_once in (False, True):
                other = Other(says, at_once)
                self.addCleanup(other.close)
                await self.assert_opens_not(words, unreachable, other.port)

    async def test_hangs_up(self) -> None:
        """
        One that ends the connection without a word may be better later.
        """
        other = Other(b"")
        self.addCleanup(other.close)
        await self.assert_opens_not("can't be reached: the connection is lost.", True, other.port)

    async def test_loading(self) -> None:
        """
        A Redis that reads its data is told from one that is not there, and can be opened when it has.
        """
        redis = LoadingRedis("--appendonly", "no", "--enable-debug-command", "yes")
        self.addCleanup(redis.end)
        redis.start()
        ask(redis.port, ("DEBUG", "POPULATE", "10000"), ("SAVE",))
        redis.kill()
        # Microseconds for each.
        redis.options += ("--key-load-delay", "50", "--loading-process-events-interval-bytes", "1024")
        redis.start()
        store = self.make(port=redis.port)
        error = await self.assert_fails(store.open(), "is still loading its data")
        self.assertTrue(error.unreachable)
        while True:
            try:
                await store.open()
                break
            except StoreError as error:
                self.assertIn("is still loading its data", str(error))
                await sleep(0.05)

    async def test_again(self) -> None:
        """
        A store that could not be opened can be once what was wrong is mended.
        """
        self.wire.cut()
        store = self.make()
        await self.assert_fails(store.open(), "can't be reached")
        self.wire.mend()
        await store.open()
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))

    async def test_cluster(self) -> None:
        """
        A Redis Cluster is refused: it can't store a batch as a whole.
        """
        redis = self.start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        await self.assert_opens_not("is a Redis Cluster", False, redis.port)

    async def test_replica(self) -> None:
        """
        A replica is refused.
        """
        redis = self.start_redis("--replicaof", HOST, str(self.redis.port))
        await self.assert_opens_not("is a replica, which can't be written; name its master", False, redis.port)


class RefusalTests(RedisCase):
    """
    What becomes of batches that Redis refuses.
    """

    def make_redis(self) -> Redis:
        """
        One whose settings are changed.
        """
        return self.start_redis("--enable-debug-command", "yes")

    async def assert_refuses_for_now(self, words: str, begin: list[str], end: list[str]) -> None:
        """
        Hold that batches are refused, as a whole and for certain, while something is so, and taken when it is not.
        """
        store, _ = await self.opened()
        kept, removed, refused = record(1), record(2), [record(number) for number in range(3, 6)]
        await store.commit([kept, removed], [])
        self.ask(*begin)
        for _ in range(2):
            error = await self.assert_fails(store.commit(refused, []), words)
            self.assertFalse(error.unreachable)
        self.assertEqual(len(self.keys()), 2)
        self.ask(*end)
        await store.commit(refused[:1], [removed])
        await store.close()
        await self.assert_stored(kept, refused[0])

    async def test_replica(self) -> None:
        """
        A Redis that becomes a replica, as in a fail-over, refuses.
        """
        await self.assert_refuses_for_now("is a replica", ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"])

    async def test_too_few_replicas(self) -> None:
        """
        One that wants replicas, and has none, refuses.
        """
        name = "min-replicas-to-write"
        await self.assert_refuses_for_now("has fewer replicas", ["CONFIG", "SET", name, "1"], ["CONFIG", "SET", name, "0"])

    async def test_can_not_save(self) -> None:
        """
        One that can't save its snapshots refuses.
        """
        store, _ = await self.opened()
        await store.commit([record(1)], [])
        self.ask("CONFIG", "SET", "save", "3600 100000")
        (self.redis.directory / "dump.rdb").mkdir()
        self.save()
        for _ in range(2):
            error = await self.assert_fails(store.commit([record(2)], []), "can't save to its disk, and refuses to change anything")
            self.assertFalse(error.unreachable)
        (self.redis.directory / "dump.rdb").rmdir()
        self.save()
        await store.commit([record(3)], [])
        await store.close()
        await self.assert_stored(record(1), record(3))

    def save(self) -> None:
        """
        Have it save, or try to.
        """
        self.ask("BGSAVE")
        wait_until(lambda: b"rdb_bgsave_in_progress:0" in self.ask("INFO", "persistence"), "it has tried")

    async def test_full(self) -> None:
        """
        One whose memory is full refuses jobs, and lets them be removed; and its server can be started, so that workers make
        room.
        """
        store, _ = await self.opened()
        await store.commit([record(1), record(2)], [])
        self.ask("CONFIG", "SET", "maxmemory", "1mb")
        for _ in range(2):
            error = await self.assert_fails(store.commit([record(3), record(4)], []), "is full (its maxmemory)")
            self.assertFalse(error.unreachable)
        await store.commit([], [record(1)])
        self.wire.cut_once()
        await sleep(0.1)
        await self.assert_fails(store.commit([record(3)], []), "is full (its maxmemory)")
        await store.close()
        store, jobs = await self.opened()
        self.assertEqual([job.handle for job in jobs], [record(2).handle])
        self.assertIn("new jobs are refused when its 1 MB are full", store.description)
        await self.assert_fails(store.commit([record(3)], []), "is full (its maxmemory)")
        self.ask("CONFIG", "SET", "maxmemory", "0")
        await store.commit([record(3)], jobs)
        await store.close()
        await self.assert_stored(record(3))

    async def test_busy(self) -> None:
        """
        While somebody's script keeps Redis busy, batches are refused with that.
        """
        store, _ = await self.opened()
        self.ask("CONFIG", "SET", "busy-reply-threshold", "50")
        script = threading.Thread(target=self.loop)
        script.start()
        while b"BUSY" not in self.redis.ask(b"PING"):
            time.sleep(0.01)
        error = await self.assert_fails(store.commit([record(1)], []), "is busy with somebody's script")
        self.assertTrue(error.unreachable)
        self.ask_of_busy()
        script.join()
        await store.commit([record(2)], [])
        await store.close()
        await self.assert_stored(record(2))

    def loop(self) -> None:
        """
        Run a script without an end.
        """
        self.redis.cli("EVAL", "while true do end", "0")

    def ask_of_busy(self) -> None:
        """
        End it.
        """
        self.assertEqual(self.redis.ask(b"SCRIPT KILL"), b"+OK\r\n")

    async def test_script_forgotten(self) -> None:
        """
        A Redis that has forgotten our script is told it again.
        """
        store, _ = await self.opened()
        self.ask("SCRIPT", "FLUSH")
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))

    async def test_no_job(self) -> None:
        """
        A key that is to be a job's, and holds something else, is left alone, and the batch with it refused.
        """
        store, _ = await self.opened()
        self.ask("RPUSH", self.key(b"resize-u"), "one")
        await self.assert_fails(
            store.commit([record(1), record(2, unique=b"u")], []), "-resize-u that is no job; remove or rename it"
        )
        self.assertEqual(self.keys(), [self.key(b"resize-u")])

    async def test_unasked(self) -> None:
        """
        An answer that nobody has asked for is not taken for that to the next batch.
        """
        store, _ = await self.opened()
        connection = store._connection
        assert connection is not None
        connection.dataReceived(b":1\r\n")
        self.assertFalse(connection.usable)
        await sleep(0.1)
        await store.commit([record(1)], [])
        await store.close()
        await self.assert_stored(record(1))


class SilenceTests(RedisCase):
    """
    A Redis that does not answer.
    """

    def make_redis(self) -> Redis:
        """
        One that is paused.
        """
        return self.start_redis()

    def setUp(self) -> None:
        """
        Be impatient.
        """
        super().setUp()
        self.patch(redisconnection, "COMMIT_SECONDS", 0.4)
        self.patch(redislease, "RENEW_SECONDS", 0.1)
        self.addCleanup(self.redis.resume)

    async def test_commit(self) -> None:
        """
        A batch that is not answered is given up in time, and may have been stored; when Redis goes on, so does the store.
        """
        store, _ = await self.opened()
        await store.commit([record(1)], [])
        self.redis.pause()
        error = await self.assert_fails(
            store.commit([record(2)], []), "can't be reached: it has not answered for 0.4 seconds.", uncertain=True
        )
        self.assertTrue(error.unreachable)
        self.redis.resume()
        await sleep(0.5)
        await store.commit([record(3)], [record(2)])
        await store.close()
        await self.assert_stored(record(1), record(3))

    async def test_slow(self) -> None:
        """
        One that takes half as long is waited for.
        """
        store, _ = await self.opened()
        self.wire.delay = 0.2
        for number in range(3):
            await store.commit([record(number)], [])
        self.wire.mend()
        await store.close()
        await self.assert_stored(*map(record, range(3)))

    async def test_open_and_close(self) -> None:
        """
        One that is silent from the begin is given up as well; and a store can be closed meanwhile.
        """
        store = self.make(port=self.redis.port)
        self.redis.pause()
        error = await self.assert_fails(store.open(), "it has not answered for 0.4 seconds")
        self.assertTrue(error.unreachable)
        self.redis.resume()
        await store.open()
        self.redis.pause()
        self.patch(redisconnection, "CLOSE_SECONDS", 0.2)
        began = time.monotonic()
        await store.close()
        self.assertLess(time.monotonic() - began, AT_ONCE)

    async def test_at_once(self) -> None:
        """
        Several batches that are handed in while there is no connection wait for one.
        """
        store, _ = await self.opened()
        self.wire.cut_once()
        await sleep(0.1)
        await gatherResults([store.commit([record(number)], []) for number in range(5)], consumeErrors=True)
        await store.close()
        await self.assert_stored(*map(record, range(5)))


class DescriptionTests(RedisCase):
    """
    What a store says of itself.
    """

    def make_redis(self) -> Redis:
        """
        One whose settings are changed.
        """
        return self.start_redis()

    async def described(self, **settings: str) -> str:
        """
        @param settings: with C{_} for C{-}.
        @return: how a store is described with these settings of Redis'.
        """
        for name, value in settings.items():
            self.ask("CONFIG", "SET", name.replace("_", "-"), value)
        store, _ = await self.opened()
        await store.close()
        self.assertNotIn("\n", store.description)
        return store.description

    async def test_settings(self) -> None:
        """
        What a crash can lose is said by Redis' own settings.
        """
        said = await self.described()
        prefix = self.prefix.decode()
        self.assertEqual(
            said,
            f"Redis at {HOST}:{self.wire.port}, database 0, keys {prefix}-...: what was acknowledged survives a crash of this"
            " server; with appendfsync everysec a crash of Redis or of its machine can lose the last two seconds;"
            " its memory has no limit (maxmemory)",
        )
        said = await self.described(appendfsync="always", maxmemory="100mb", maxmemory_policy="allkeys-lru")
        self.assertIn("with appendfsync always it survives one of Redis and of its machine", said)
        self.assertIn("jobs are lost without a word when its 100 MB are full (maxmemory-policy allkeys-lru;", said)
        said = await self.described(appendfsync="no", maxmemory_policy="volatile-ttl")
        self.assertIn("with appendfsync no a crash of its machine can lose what the system has not written", said)
        self.assertIn("new jobs are refused when its 100 MB are full", said)
        said = await self.described(appendonly="no", save="3600 1")
        self.assertIn("with appendonly no a crash of Redis loses all that came since its last snapshot", said)
        said = await self.described(save="")
        self.assertIn("with appendonly no and no snapshots (save) all is lost when Redis ends", said)


class UntoldSettingsTests(SynchronousTestCase):
    """
    What is said of settings that Redis does not tell.
    """

    def test_durability(self) -> None:
        """
        It is said what is not known.
        """
        for settings, words in [
            (RedisSettings(), "not known, as this user may not ask for its settings (CONFIG GET); its maxmemory is not known"),
            (RedisSettings(appendonly=True), "with appendonly yes a crash of Redis can lose seconds, depending on its appendfsync"),
            (RedisSettings(appendonly=False), "with appendonly no a crash of Redis loses all, or what came since its last snapshot"),
        ]:
            self.assertIn(words, settings.durability)


class RefusalOneByOneTests(OneByOne, RefusalTests):
    """
    What becomes of single jobs that Redis refuses.
    """


class SilenceOneByOneTests(OneByOne, SilenceTests):
    """
    A Redis that does not answer for a single job.
    """

    async def test_not_connected(self) -> None:
        """
        Without a connection there is no shorter way, and nothing is done.
        """
        store, _ = await self.opened()
        await store.close()
        self.assertFalse(store.commit_one(record(1), self.fail))
