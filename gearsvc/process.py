"""
What only a whole process may do: signals, limits, its exit status.

L{ProcessService} stands around the server under C{twistd gearman} and
C{gearsvc serve}.  A server that is part of some other application goes without
it: L{gearsvc.service.JobServerService} does none of this.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, MutableMapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.python.failure import Failure

from gearsvc import __version__
from gearsvc.interfaces import StoreError
from gearsvc.logs import Logger, is_on_stderr, set_verbosity
from gearsvc.options import SettingsError

if TYPE_CHECKING:
    from gearsvc.service import JobServerService

log = Logger(__name__)


class StartFailure(Exception):
    """
    The server cannot start, for a reason outside of it.

    @ivar args: one string of one line: what is wrong.
    """


EXPECTED_FAILURES = (CannotListenError, StoreError, SettingsError, OSError)
"""
What keeps a server from starting without being a mistake in the program.
"""


def reason_of(error: BaseException) -> str:
    """
    One line for a person, of one of L{EXPECTED_FAILURES}.
    """
    if isinstance(error, CannotListenError):
        if isinstance(error.port, int):
            where = f"port {error.port}" + (f" at {error.interface}" if error.interface else "")
        else:
            # A socket's path stands in the port's place.
            where = os.fsdecode(error.port or error.interface)
        why = getattr(error.socketError, "strerror", None) or str(error.socketError)
        if getattr(error.socketError, "errno", None) == errno.EADDRINUSE:
            why += "; stop the other server, or choose another port"
        return f"cannot listen on {where}: {why}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


class ProcessService(MultiService):
    """
    Runs the server as what its process is for.

    The process ends with status 0 on SIGTERM and SIGINT; on SIGUSR1 too, when
    what runs has finished or C{--drain-seconds} are over.  It ends with status
    1, and one line that says why, if the server cannot start.

    @ivar server: the server.
    """

    def __init__(
        self,
        server: JobServerService,
        reactor: Any = None,
        leave_with: Callable[[int], None] | None = None,
    ) -> None:
        """
        @param leave_with: called with the exit status if it is not to be 0,
            before the reactor stops; by default, L{exit_with}.
        """
        super().__init__()
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._leave_with = leave_with or exit_with
        self._bound = False
        self._is_ready = False
        self._draining = False
        self.server = server
        server.setServiceParent(self)
        server.job_server.shut_down = self.shut_down
        set_verbosity(server.settings.verbose)

    def privilegedStartService(self) -> None:
        """
        Open the ports, with all the file descriptors that may be had.

        @raise StartFailure: if that cannot be done.
        """
        self._bound = True
        raise_file_descriptors(self.server.settings.file_descriptors)
        try:
            super().privilegedStartService()
        except EXPECTED_FAILURES as error:
            raise StartFailure(reason_of(error)) from None

    def startService(self) -> None:
        """
        Start the server; when its queue is complete, it is ready.

        @raise StartFailure: if it cannot start, and that shows at once.
        """
        if not self._bound:
            # twist, unlike twistd, knows of no privileged start.
            self.privilegedStartService()
        tune_garbage_collector()
        try:
            super().startService()
        except EXPECTED_FAILURES as error:
            raise StartFailure(reason_of(error)) from None
        self.server.when_ready().addCallbacks(self._ready, self._failed)
        self._reactor.callWhenRunning(self._handle_signals)

    def shut_down(self, graceful: bool) -> None:
        """
        What the admin command C{shutdown} does.
        """
        if graceful:
            self.stop_gracefully()
        else:
            self.stop()

    def stop(self) -> None:
        """
        End the process: close the ports and connections, flush the store.
        """
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            # It ends already.
            pass

    def stop_gracefully(self) -> None:
        """
        End the process when the running jobs have finished, but not later than
        C{--drain-seconds} from now.  No job is handed out any more.
        """
        if not self._is_ready:
            self.stop()
        elif not self._draining:
            self._draining = True
            drained = self.server.drain(self.server.settings.drain_seconds)
            drained.addErrback(lambda failure: log.failure("cannot wait for the running jobs", failure))
            drained.addCallback(lambda _: self.stop())

    def _ready(self, _: object) -> None:
        self._is_ready = True
        tune_garbage_collector()
        log.notice("gearsvc {version} is ready, with pid {pid}", version=__version__, pid=os.getpid())

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, EXPECTED_FAILURES):
            reason = reason_of(error)
        else:
            log.failure("the server cannot start", failure)
            reason = f"the server cannot start: {error!r}; the log has more"
        report(reason)
        self._leave_with(1)
        self._reactor.callWhenRunning(self.stop)

    def _handle_signals(self) -> None:
        """
        Take the signals over from the reactor, which would have its runner
        kill the process with them in the end, and from twistd, which rotates
        its log on SIGUSR1: that moves to SIGHUP.
        """

        def handle(number: int, action: Callable[[], object]) -> None:
            def handler(number: int, frame: FrameType | None) -> None:
                self._reactor.callFromThread(act)

            def act() -> None:
                log.notice("{signal} received", signal=signal.Signals(number).name)
                action()

            signal.signal(number, handler)

        rotate_log = signal.getsignal(signal.SIGUSR1)
        if callable(rotate_log) and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, rotate_log)
        handle(signal.SIGTERM, self.stop)
        handle(signal.SIGINT, self.stop)
        handle(signal.SIGUSR1, self.stop_gracefully)


class TwistdParent(Service):
    """
    Lets the process that started C{twistd gearman} wait until the server is
    ready, and not only until its ports are open: so that its exit status says
    whether there is a server.
    """

    def __init__(self, server: JobServerService, twistd_options: MutableMapping[str, Any]) -> None:
        """
        @param twistd_options: twistd's own.  It keeps there a pipe to its
            parent, and goes without one that it does not find.
        """
        self._server = server
        self._twistd_options = twistd_options

    def startService(self) -> None:
        """
        Take the pipe, and write to it as twistd would have: later.
        """
        super().startService()
        pipe = self._twistd_options.pop("statusPipe", None)
        if pipe is None:
            return

        def tell(message: bytes) -> None:
            os.write(pipe, message[:100])
            os.close(pipe)

        self._server.when_ready().addCallbacks(
            lambda _: tell(b"0"),
            lambda failure: tell(b"1 " + reason_of(failure.value).encode("ascii", "backslashreplace")),
        )


def report(reason: str) -> None:
    """
    Tell whoever started the server why it ends: in the log, and on stderr.
    """
    log.fatal("{reason}", reason=reason)
    if sys.__stderr__ is not None and not is_on_stderr():
        print(f"gearsvc: {reason}", file=sys.__stderr__, flush=True)


def exit_with(status: int) -> None:
    """
    Let the process end with a status, whatever runs the reactor.  twistd and
    twist return 0 when the reactor has stopped, and know of nothing else.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)


def report_start_failures() -> None:
    """
    Make one line of a L{StartFailure} that nobody catches, in place of its
    traceback.  twistd lets it pass, after it has cleaned up and told the
    process that waits for the daemon.
    """
    otherwise = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, StartFailure):
            report(str(error))
        else:
            otherwise(kind, error, traceback)

    sys.excepthook = hook


def raise_file_descriptors(wanted: int | None) -> None:
    """
    Set how many file descriptors the process may have.

    @param wanted: how many, or C{None} for as many as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted is not None and hard != resource.RLIM_INFINITY and wanted > hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
        except (ValueError, OSError):
            log.announce("the system allows {hard} file descriptors, and not {wanted}", hard=hard, wanted=wanted)
            wanted = None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if wanted is None else wanted, hard))
    except (ValueError, OSError) as error:
        log.announce("the limit of {soft} file descriptors stays: {error}", soft=soft, error=error)


def tune_garbage_collector() -> None:
    """
    Keep the garbage collector from walking over what lives for long: the
    program itself and, once the stored queue is complete, its jobs.  What a
    job consists of has no cycles and goes without the collector; so that looks
    at young objects only, and seldom: at 50,000 of them it takes some
    milliseconds.
    """
    gc.freeze()
    gc.set_threshold(50_000, 5, 1_000)
