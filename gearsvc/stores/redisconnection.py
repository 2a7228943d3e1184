"""
A connection to Redis, and what its errors mean.

It is txredisapi's protocol, without its factory: that one connects again by itself, and what is asked meanwhile waits for
ever.  Here a connection that ends has ended, and what was asked fails.  And it is without its parser, for which there is
L{gearsvc.stores.redisanswers}.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, ISSLTransport, IStreamClientEndpoint
from twisted.python.failure import Failure
from txredisapi import ConnectionError as LostConnection
from txredisapi import BaseRedisProtocol, ResponseError

from gearsvc.interfaces import StoreError
from gearsvc.stores.directsocket import DirectSocket
from gearsvc.stores.redisanswers import Answers, NoRedis

CONNECT_SECONDS = 10.0
"""
How long Redis may take to accept a connection.
"""

COMMIT_SECONDS = 30.0
"""
How long it may take to answer.
"""

CLOSE_SECONDS = 2.0
"""
How long it may take to let us go.
"""

STORED = 1
"""
The answer that counts: what the script of a batch returns when it is stored.
"""

_STORED = b":%d\r\n" % STORED


@dataclass(frozen=True)
class Server:
    """
    Where Redis is, and as whom to speak to it.

    @ivar host: a name, an address, or the path of a Unix socket.
    @ivar user: C{None} for the one that needs no name.
    @ivar tls: how to check the server; C{None} for plain text.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: IOpenSSLClientConnectionCreator | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """
        As a person would name it.
        """
        if self.host.startswith("/"):
            return f"Redis at {self.host}"
        return f"Redis at {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """
        What connects to it.
        """
        if self.host.startswith("/"):
            return UNIXClientEndpoint(reactor, self.host, CONNECT_SECONDS)
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, self.host, self.port, CONNECT_SECONDS)
        return endpoint if self.tls is None else wrapClientTLS(self.tls, endpoint)


class Waiting(Protocol):
    """
    Hears of an answer: a Deferred, or what does the same at a small part of its cost.
    """

    def callback(self, answer: Any) -> object:
        """
        Take the answer.
        """


class Connection(BaseRedisProtocol):  # type: ignore[misc]
    """
    One connection, until it ends.

    @ivar usable: whether it has not ended.
    """

    def __init__(self, server: Server, reactor: Any, lost: Callable[[Connection], None]) -> None:
        """
        @param lost: called when it has ended, after all that was asked has failed.
        """
        super().__init__(charset=None, convertNumbers=False)
        self.usable = True
        self._server = server
        self._reactor = reactor
        self._lost = lost
        self._ended: Deferred[None] = Deferred()
        self._why = ""
        self._direct: DirectSocket | None = None
        # Since when an answer is due, or when some of one last came.
        self._since = 0.0
        self._heard = False
        self._answers = Answers()
        # What is asked in one go: when it is answered, how many answers there are to be, and those that have come.
        self._many: deque[tuple[Deferred[Any], int, list[object]]] = deque()

    # txredisapi's side

    def connectionMade(self) -> None:
        """
        Be ready to be asked.
        """
        super().connectionMade()
        transport: Any = self.transport
        if not self._server.host.startswith("/"):
            transport.setTcpNoDelay(True)
        if isinstance(transport, tcp.Connection) and not ISSLTransport.providedBy(transport):
            self._direct = DirectSocket(transport, self._take, self.replyQueue.waiting)

    def connectionLost(self, why: Failure) -> None:
        """
        Fail what waits for an answer.
        """
        self.usable = False
        if self._direct is not None:
            self._direct.lost()
            self._direct = None
        if not self._why:
            self._why = _why_lost(why.value, self._server.tls is not None)
        super().connectionLost(why)
        self._lost(self)
        self._ended.callback(None)

    def _take(self, data: bytes) -> None:
        """
        Take what has come past the reactor.
        """
        if data == _STORED and self._answers.whole and not self._many:
            # One batch after the other: that is nearly all that ever comes.
            waiting = self.replyQueue.waiting
            if len(waiting) == 1:
                waiting.pop().callback(STORED)
                return
        self.dataReceived(data)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """
        Take what has come.
        """
        queue = self.replyQueue
        self._since = time.monotonic()
        self._heard = True
        try:
            answers = self._answers.feed(data)
        except NoRedis:
            self._abort("what answers there is no Redis")
            return
        at = 0
        while at < len(answers):
            if not queue.waiting:
                self._abort("what answers there says more than it was asked for")
                return
            if self._many and queue.waiting[0] is self._many[0][0]:
                _, count, found = self._many[0]
                to = at + count - len(found)
                found += answers[at:to]
                at = to
                if len(found) == count:
                    self._many.popleft()
                    queue.put(found)
            else:
                queue.put(answers[at])
                at += 1

    # The store's side

    async def open(self) -> None:
        """
        Connect, log in and choose the database.

        @raise StoreError: if that can't be.
        """
        server = self._server
        try:
            await connectProtocol(server.endpoint(self._reactor), self)
        except (ConnectError, ConnectingCancelledError, DNSLookupError, OSError) as error:
            failed = StoreError(f"{server} can't be reached: {_first_line(error)}.")
            failed.unreachable = True
            raise failed from None
        if server.password is not None:
            await self.ask("AUTH", *([server.user] if server.user else []), server.password)
        # (One that wants a password says so now, and one that is no Redis shows itself.)
        await self.ask("SELECT", server.database)

    def ask(self, *words: bytes | str | int) -> Deferred[Any]:
        """
        Ask for something that is not asked often.

        @return: fires with the answer; fails with L{StoreError}.
        """
        return self.send(pack(*words)).addCallback(self._checked)

    def send(self, request: bytes) -> Deferred[Any]:
        """
        Send a request.

        @param request: as Redis takes it.
        @return: fires with the answer.  It may be an exception of txredisapi's, which L{explain} tells the meaning of; it is
            one if the connection ends before.
        """
        answer: Deferred[Any] = Deferred()
        self.send_for(request, answer)
        return answer

    def send_for(self, request: bytes, answer: Waiting) -> None:
        """
        Send a request.

        @param request: as Redis takes it.
        @param answer: called back with the answer, as that of L{send}.
        """
        waiting: list[Any] = self.replyQueue.waiting
        if not self.usable:
            waiting.append(answer)
            self.replyQueue.put(LostConnection())
            return
        if self._direct is not None and not waiting:
            # All that was sent before has been answered: nothing waits to be sent.
            self._direct.send(request)
        else:
            self.transport.write(request)
        if not waiting:
            self._since = time.monotonic()
        waiting.append(answer)

    def ask_many(self, requests: Sequence[bytes]) -> Deferred[list[Any]]:
        """
        Ask for several things in one go.

        @param requests: at least one, each as Redis takes it.
        @return: fires with the answers, which may be exceptions that L{explain} tells the meaning of; fails with
            L{StoreError} if the connection ends before.
        """
        answer: Deferred[list[Any]] = self.send(b"".join(requests))
        if self.usable:
            self._many.append((answer, len(requests), []))
        answer.addCallback(self._checked)
        return answer

    def _checked(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise self.explain(answer)
        return answer

    def explain(self, answer: Exception) -> StoreError:
        """
        What an answer means that is an exception.
        """
        where = self._server
        if isinstance(answer, LostConnection):
            error = StoreError(f"{where} can't be reached: {self._why or 'the connection is lost'}.")
            error.unreachable = not self._why.startswith(_FINAL)
            error.uncertain = True
            return error
        text = _OF_SCRIPT.sub("", str(answer).strip().partition("\n")[0].partition("\r")[0])
        for pattern, unreachable, meaning in _MEANINGS:
            match = pattern.search(text)
            if match is not None:
                named = match.groupdict().get("what") or ""
                error = StoreError(f"{where} {meaning.format(what=named, database=where.database)}.")
                error.unreachable = unreachable
                return error
        return StoreError(f"{where} refuses what it was asked for: {text.rstrip('.')}.")

    def give_up_late(self) -> None:
        """
        End the connection if an answer has been due for too long.
        """
        if self.replyQueue.waiting and time.monotonic() - self._since > COMMIT_SECONDS:
            # (Redis takes the begin of TLS for that of a line, and waits for its end.)
            hint = "; if it speaks plain text, leave --redis-tls away" if self._server.tls and not self._heard else ""
            self._abort(f"it has not answered for {COMMIT_SECONDS:g} seconds{hint}")

    async def end(self) -> None:
        """
        Close it; it may have ended, or never begun.
        """
        if self.transport is None or self._ended.called:
            return
        self._why = self._why or "the connection was closed"
        self.transport.loseConnection()
        abort = self._reactor.callLater(CLOSE_SECONDS, self.transport.abortConnection)
        await self._ended
        if abort.active():
            abort.cancel()

    def _abort(self, why: str) -> None:
        self._why = self._why or why
        self.usable = False
        self.transport.abortConnection()


def pack(*words: bytes | str | int) -> bytes:
    """
    A request as Redis takes it.
    """
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        if not isinstance(word, bytes):
            word = str(word).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


def is_missing_script(answer: object) -> bool:
    """
    Whether an answer says that Redis does not know the script, which it forgets when it ends.
    """
    return isinstance(answer, ResponseError) and str(answer).startswith("NOSCRIPT")


_FINAL = ("TLS: ", "what answers there")
"""
How the reasons begin which waiting does not help against.
"""


def _why_lost(error: BaseException | None, tls: bool) -> str:
    """
    Why a connection has ended, as far as that tells anything.
    """
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        reasons = [reason[-1] for reason in error.args[0]]
        if "wrong version number" in reasons or "packet length too long" in reasons:
            return "TLS: what answers there speaks plain text; leave --redis-tls away, or name its TLS port"
        if any("certificate verify failed" in reason for reason in reasons):
            return "TLS: no authority that is trusted vouches for its certificate; name one by --redis-ca-file"
        return f"TLS: {', '.join(reasons) or 'the connection was broken'}"
    if isinstance(error, (VerificationError, CertificateError)):
        return "TLS: its certificate is for another name; name the server as its certificate does"
    return "the connection is lost"


def _first_line(error: BaseException) -> str:
    """
    What an error of the network says, without what is always the same.
    """
    text = str(error) or type(error).__name__
    return re.sub(r"^An error occurred while connecting: (\d+: )?|^.*?: \d+: ", "", text.partition("\n")[0]).rstrip(".")


_OF_SCRIPT = re.compile(r" script: \w+, on @\w+:\d+\.?$")
"""
How Redis ends an error that has come up in a script.
"""

_MEANINGS = [
    (re.compile(pattern, re.IGNORECASE), unreachable, meaning)
    for pattern, unreachable, meaning in (
        (r"\bLOADING\b", True, "is still loading its data"),
        (r"\bMASTERDOWN\b", True, "is a replica that has lost its master"),
        (r"max number of clients", True, "has as many clients as it takes; see its maxclients"),
        (r"\bBUSY\b", True, "is busy with somebody's script"),
        (r"\bREADONLY\b", False, "is a replica, which can't be written; name its master"),
        (r"\bOOM\b", False, "is full (its maxmemory), and refuses new jobs: run workers, or give it more memory"),
        (
            r"\bMISCONF\b.*writing to the AOF file: (?P<what>[\w ]+)",
            False,
            "can't write to its disk ({what}), and refuses to change anything until it can",
        ),
        (r"\bMISCONF\b", False, "can't save to its disk, and refuses to change anything until it can; its log says why"),
        (r"\bNOREPLICAS\b", False, "has fewer replicas than its min-replicas-to-write, and refuses to change anything"),
        (r"\bNOAUTH\b", False, "wants a password; give it by --redis-password"),
        (r"\bWRONGPASS\b|invalid password", False, "refuses the user or the password; see --redis-user and --redis-password"),
        (r"without any password|no password is set", False, "knows no password; leave --redis-password away"),
        (r"wrong number of arguments for 'auth'", False, "knows no users; leave --redis-user away"),
        (
            r"(?:\bNOPERM\b|\bACL failure in script:?|\bThe user executing the script)(?P<what>.*)",
            False,
            "does not let this user do what a queue needs:{what}",
        ),
        (r"DB index", False, "has no database {database}; see --redis-database"),
        (
            r"\bMOVED\b|\bCROSSSLOT\b|\bCLUSTERDOWN\b|non local key|not allowed in cluster mode",
            False,
            "is a Redis Cluster, which can't store a batch of jobs as a whole; use one that is none",
        ),
        (r"\bDENIED\b", False, "is in protected mode, and talks to nobody from elsewhere; give it a password"),
    )
]

