"""
Who may see the console, and who may change something.

Without tokens, everybody who reaches the console may do everything: so it is
for this machine alone, and answers only to a name that is this machine's (a
page from elsewhere whose own name was made to point here would be let in
otherwise).  With tokens, a viewer's lets see and an operator's lets change; a
program sends it with each request, and a person once, to the login page, whose
cookie then stands for it.

What changes something has to come from a page of the console's, or from no page
at all; and no page of the console's can be shown inside of another, or run a
script that is not the console's.
"""

from __future__ import annotations

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from enum import IntEnum
from hashlib import sha256
from hmac import compare_digest
from http import HTTPStatus
from ipaddress import ip_address
from secrets import token_urlsafe
from typing import Any, NamedTuple

from twisted.web.http import Request

from gearsvc.options import SettingsError

MIN_TOKEN = 16
"""
How many characters a token has at least.
"""

SESSION_SECONDS = 12 * 3600
MAX_SESSIONS = 1000
"""
For how long a login is good, and how many there are at most.
"""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""
What every answer says, unless it says otherwise itself.
"""

PUBLIC = (b"/healthz", b"/readyz", b"/login")
PUBLIC_BELOW = b"/static/"
"""
What needs no token.
"""

_SAFE_METHODS = (b"GET", b"HEAD", b"OPTIONS")
_TOKEN = re.compile(r"[!-~]+")


class Role(IntEnum):
    """
    What somebody may do.
    """

    NOBODY = 0
    VIEWER = 1
    OPERATOR = 2


class Refusal(NamedTuple):
    """
    Why a request is not answered.

    @ivar status: the HTTP status.
    @ivar sentence: the reason, and what to do.
    """

    status: int
    sentence: str


def read_tokens(path: str) -> dict[bytes, Role]:
    """
    Read a token file: in each line C{viewer} or C{operator}, and a token.
    Empty lines, and those that begin with C{#}, are skipped.

    @return: who has which token, by its hash.
    @raise SettingsError: if it can't be read, if everybody on this machine can
        read it, or if a line is wrong; no token is ever part of the message.
    """
    option = f"--console-token-file {path}"
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise SettingsError(f"{option}: it is no file")
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise SettingsError(f"{option}: everybody on this machine can read or write it; run: chmod o= {path}")
            lines = file.read().splitlines()
    except OSError as error:
        raise SettingsError(f"{option}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{option}: it is no text") from None
    tokens: dict[bytes, Role] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{option}, line {number}"
        if len(words) != 2 or words[0] not in ("viewer", "operator"):
            raise SettingsError(f"{where}: must be 'viewer TOKEN' or 'operator TOKEN'")
        if len(words[1]) < MIN_TOKEN or not _TOKEN.fullmatch(words[1]):
            raise SettingsError(
                f"{where}: the token must have at least {MIN_TOKEN} letters, digits or signs of ASCII; "
                "make one with: openssl rand -hex 24"
            )
        if tokens.setdefault(_hash(words[1].encode()), Role[words[0].upper()]) != Role[words[0].upper()]:
            raise SettingsError(f"{where}: a viewer and an operator have the same token")
    if not tokens:
        raise SettingsError(f"{option}: it holds no token; write a line 'operator TOKEN' into it")
    return tokens


def is_loopback(host: str) -> bool:
    """
    Whether an address can be reached from this machine alone.
    """
    try:
        return host == "localhost" or ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Guard:
    """
    Decides on requests.
    """

    def __init__(
        self, tokens: Mapping[bytes, Role] | None, hosts: Collection[str], time: Callable[[], float]
    ) -> None:
        """
        @param tokens: what L{read_tokens} gave; C{None} if everybody may do everything.
        @param hosts: names under which the console can be reached, besides this machine's.
        @param time: the time, in seconds.
        """
        self._tokens = tokens
        self._hosts = {host.lower() for host in hosts}
        self._time = time
        # What became of a login: its role, and until when.
        self._sessions: OrderedDict[bytes, tuple[Role, float]] = OrderedDict()

    @property
    def needs_login(self) -> bool:
        """
        Whether there are tokens.
        """
        return self._tokens is not None

    def refusal(self, request: Request) -> Refusal | None:
        """
        Why a request is not to be answered; C{None} if it is.
        """
        if self._tokens is None and not self._is_ours(request):
            name = _header(request, b"host").decode("ascii", "backslashreplace")[:100]
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"The console does not answer to the name {name!r}; use localhost, or start the server with --console-host NAME.",
            )
        changes = request.method not in _SAFE_METHODS
        if changes and not self._is_same_origin(request):
            return Refusal(HTTPStatus.FORBIDDEN, "What changes something has to come from a page of the console's, or from no page at all.")
        if request.path in PUBLIC or request.path.startswith(PUBLIC_BELOW):
            return None
        role = self.role(request)
        if role is Role.NOBODY:
            return Refusal(HTTPStatus.UNAUTHORIZED, "A token is needed: send it as 'Authorization: Bearer TOKEN', or log in.")
        if changes and role < Role.OPERATOR and request.path != b"/logout":
            return Refusal(HTTPStatus.FORBIDDEN, "A viewer may change nothing; use an operator's token.")
        return None

    def role(self, request: Request) -> Role:
        """
        What whoever sent a request may do.
        """
        if self._tokens is None:
            return Role.OPERATOR
        authorization = _header(request, b"authorization")
        if authorization:
            scheme, _, token = authorization.partition(b" ")
            return self.role_of(token.strip()) if scheme.lower() == b"bearer" else Role.NOBODY
        role, until = self._sessions.get(_hash(self._cookie(request)), (Role.NOBODY, 0.0))
        return role if self._time() < until else Role.NOBODY

    def role_of(self, token: bytes) -> Role:
        """
        What a token lets do.
        """
        found = Role.NOBODY
        hashed = _hash(token)
        for known, role in (self._tokens or {}).items():
            # All of them, whichever it is: the time says nothing.
            if compare_digest(known, hashed):
                found = role
        return found

    def log_in(self, request: Request, token: bytes) -> Role:
        """
        Give a cookie for a token, if it is good.

        @return: what it lets do.
        """
        role = self.role_of(token)
        if role is not Role.NOBODY:
            now = self._time()
            for session in [each for each, (_, until) in self._sessions.items() if until <= now]:
                del self._sessions[session]
            if len(self._sessions) >= MAX_SESSIONS:
                self._sessions.popitem(last=False)
            session = token_urlsafe(32).encode()
            self._sessions[_hash(session)] = (role, now + SESSION_SECONDS)
            self._set_cookie(request, session, SESSION_SECONDS)
        return role

    def log_out(self, request: Request) -> None:
        """
        Take a cookie back.
        """
        self._sessions.pop(_hash(self._cookie(request)), None)
        self._set_cookie(request, b"", 0)

    def _cookie(self, request: Request) -> bytes:
        return request.getCookie(_cookie_name(request)) or b""

    def _set_cookie(self, request: Request, value: bytes, seconds: int) -> None:
        request.addCookie(
            _cookie_name(request),
            value,
            path=b"/",
            max_age=str(seconds),
            secure=request.isSecure(),
            httpOnly=True,
            sameSite="strict",
        )

    def _is_ours(self, request: Request) -> bool:
        """
        Whether a request is addressed to this machine.  A number is no name
        that could have been made to point here.
        """
        host = _header(request, b"host").decode("ascii", "replace").lower()
        if not host:
            # No browser leaves it away.
            return True
        name, _, _ = host.rpartition(":") if re.search(r":[0-9]*\Z", host) else (host, "", "")
        if name == "localhost" or name in self._hosts or host in self._hosts:
            return True
        try:
            ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
        except ValueError:
            return False
        return True

    def _is_same_origin(self, request: Request) -> bool:
        """
        Whether a request comes from a page of the console's, or from no page.
        """
        site = _header(request, b"sec-fetch-site")
        if site:
            # A browser says it, and no page can make it lie.
            return site in (b"same-origin", b"none")
        origin = _header(request, b"origin")
        if origin:
            return origin.partition(b"://")[2].lower() == _header(request, b"host").lower()
        # Older browsers leave both away in what a page of the same origin sends,
        # and name that page; nothing else that sends a cookie does not.
        referrer = _header(request, b"referer")
        if referrer:
            return referrer.partition(b"://")[2].partition(b"/")[0].lower() == _header(request, b"host").lower()
        return not self._cookie(request)


def set_headers(request: Request) -> None:
    """
    Say what every answer says.
    """
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("Server", "gearsvc")


def _header(request: Request, name: bytes) -> bytes:
    values: Any = request.requestHeaders.getRawHeaders(name)
    if not values:
        return b""
    # Two of them are for nobody's good.
    return values[0] if len(values) == 1 else b"\0"


def _cookie_name(request: Request) -> bytes:
    """
    Cookies know no ports: two consoles on one machine have two names.
    """
    port = getattr(request.getHost(), "port", 0)
    return b"gearsvc_console_%d" % port


def _hash(secret: bytes) -> bytes:
    return sha256(secret).digest()
