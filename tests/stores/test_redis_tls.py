"""
Tests for L{gearsvc.stores.redistls}: a Redis that is spoken to in TLS, and what is said when it can't be.
"""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gearsvc.stores import redisconnection, redislease
from gearsvc.stores.redistls import check_of
from gearsvc.testing import record
from tests.running import HOST, free_port
from tests.servers import Redis
from tests.stores.redises import Other, RedisCase


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
