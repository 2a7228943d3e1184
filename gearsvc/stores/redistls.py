"""
TLS to Redis.
"""

from __future__ import annotations

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, platformTrust, trustRootFromCertificates

from gearsvc.options import SettingsError

_END = b"-----END CERTIFICATE-----"

_WRONG = (SSL.Error, crypto.Error, ValueError)
"""
What OpenSSL says of a file that it can't use.
"""


def check_of(host: str, authorities: str | None, certificate: str | None) -> IOpenSSLClientConnectionCreator:
    """
    What checks a server, and shows it who we are.

    @param host: the name or address that the server's certificate is to be for.
    @param authorities: the file of those who may vouch for it; C{None} for those of the system.
    @param certificate: the file of our certificate and its key; C{None} for none.
    @raise SettingsError: if a file can't be used.
    """
    trusted = platformTrust()
    if authorities is not None:
        pieces = _read("redis-ca-file", authorities).split(_END)[:-1]
        try:
            trusted = trustRootFromCertificates([Certificate.loadPEM(piece + _END) for piece in pieces])
        except _WRONG:
            pieces = []
        if not pieces:
            raise SettingsError(f"--redis-ca-file: {authorities} does not hold certificates in PEM")
    ours: PrivateCertificate | None = None
    if certificate is not None:
        both = _read("redis-certificate", certificate)
        if b"ENCRYPTED" in both:
            # OpenSSL would ask for it at the terminal, and wait.
            raise SettingsError(f"--redis-certificate: the key in {certificate} needs a passphrase; take that away")
        try:
            ours = PrivateCertificate.loadPEM(both)
        except _WRONG:
            raise SettingsError(f"--redis-certificate: {certificate} does not hold a certificate and its key in PEM") from None
    try:
        check: IOpenSSLClientConnectionCreator = optionsForClientTLS(host, trustRoot=trusted, clientCertificate=ours)
    except UnicodeError:
        raise SettingsError(f"--redis-server: {host!r} is no name that a certificate could be for") from None
    return check


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SettingsError(f"--{option}: {path} can't be read: {error.strerror}") from None
