"""
Servers that are reached by TLS: C{-S} of C{gearsvc gearman}.
"""

from __future__ import annotations

import os
import re
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from gearsvc.commandline.frame import Address, CommandError

AUTHORITIES = ("GEARMAN_CA_CERTIFICATE", "GEARMAND_CA_CERTIFICATE")
"""
What names the file of the authorities' certificates, the first that is set.
"""

CERTIFICATE, KEY = "GEARMAN_CLIENT_PEM", "GEARMAN_CLIENT_KEY"
"""
What names the files of our certificate, and of its key.
"""

_ONE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def encrypted(servers: list[Address], reactor: Any) -> list[IStreamClientEndpoint]:
    """
    Servers with TLS.  Their certificates must come from an authority that the
    environment names, or else from one that this machine trusts; as with
    libgearman, they may have any name.

    @raise CommandError: if a certificate cannot be used.
    """
    try:
        from OpenSSL.crypto import Error
        from twisted.internet import ssl
    except ImportError:
        raise CommandError("-S needs pyOpenSSL; install it by: pip install 'twisted[tls]'") from None
    options: dict[str, Any] = {"trustRoot": ssl.platformTrust()}
    variable = ""
    try:
        for variable in AUTHORITIES:
            if path := os.environ.get(variable):
                found = [ssl.Certificate.loadPEM(pem) for pem in _ONE.findall(_read(path))]
                if not found:
                    raise ValueError
                options["trustRoot"] = ssl.trustRootFromCertificates(found)
                break
        certificate, key = os.environ.get(CERTIFICATE), os.environ.get(KEY)
        if certificate and key:
            variable = f"{CERTIFICATE} and {KEY}"
            ours = ssl.PrivateCertificate.loadPEM(_read(certificate) + b"\n" + _read(key))
            options |= {"certificate": ours.original, "privateKey": ours.privateKey.original}
        context = ssl.CertificateOptions(**options)
    except OSError as error:
        raise CommandError(f"{variable}: {error.filename} cannot be read: {error.strerror}") from None
    except (Error, ValueError):
        raise CommandError(f"{variable}: there is nothing of use; name files in PEM form") from None
    return [Encrypted(host, port, context, reactor) for host, port in servers]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@implementer(IStreamClientEndpoint)
class Encrypted:
    """
    One of them, by the name that errors are to have.
    """

    def __init__(self, host: str, port: int, context: Any, reactor: Any) -> None:
        self._name = f"{host}:{port}"
        self._endpoint = wrapClientTLS(context, HostnameEndpoint(reactor, host, port))

    def __repr__(self) -> str:
        return self._name

    def connect(self, protocolFactory: Any) -> Any:
        return self._endpoint.connect(protocolFactory)
