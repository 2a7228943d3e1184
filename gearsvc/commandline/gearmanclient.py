"""
C{gearsvc gearman} as a client.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import IO, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from gearsvc.client.client import GearmanClient
from gearsvc.client.errors import JobException, JobFailed, ServerUnavailable
from gearsvc.commandline.gearman import ERROR, NAME, Options, places
from gearsvc.commandline.murmur import hashed_id
from gearsvc.commandline.running import report
from gearsvc.commandline.workloads import Pieces
from gearsvc.core.jobs import Priority


class Client:
    """
    Submits the workloads one after the other, each to all functions at once.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._status = 0
        self._task: Deferred[None] | None = None
        self._broken: BrokenPipeError | None = None

    async def run(self, reactor: Any) -> int:
        """
        Submit all jobs, and wait for them.

        @return: the exit status.
        """
        self._reactor = reactor
        self._client = self._connect()
        self._task = Deferred.fromCoroutine(self._submit_all())
        try:
            await self._task
        except CancelledError:
            pass
        finally:
            await self._client.close()
        if self._broken is not None:
            raise self._broken
        return self._status

    def interrupt(self, number: int) -> None:
        """
        The user wants it to end.
        """
        self._status = 128 + number
        if self._task is not None:
            self._task.cancel()

    def _connect(self) -> GearmanClient:
        return GearmanClient(places(self._options, self._reactor), reactor=self._reactor)

    async def _submit_all(self) -> None:
        try:
            async for workload in self._workloads():
                await self._submit(workload)
        except OSError as error:
            report(NAME, f"standard input cannot be read: {error.strerror}")
            self._status = ERROR

    async def _workloads(self) -> AsyncIterator[bytes]:
        options = self._options
        if options.words:
            for word in options.words:
                yield word.encode(errors="surrogateescape")
        elif options.empty:
            yield b""
        elif options.lines:
            async for line in Pieces(0, self._reactor).split(b"\n", keep=not options.strip):
                yield line
        else:
            yield await Pieces(0, self._reactor).whole()

    async def _submit(self, workload: bytes) -> None:
        options = self._options
        run = _Run(self, len(options.functions), options.timeout)
        # (What "-" stands for is known to the server.)
        unique = hashed_id(workload) if options.unique == "#" else options.unique.encode(errors="surrogateescape")
        for name in options.functions:
            function = name.encode(errors="surrogateescape")
            task = _Task(run, function, options)
            try:
                job = self._client.submit(
                    function,
                    workload,
                    unique=unique,
                    priority=Priority[options.priority],
                    background=options.background,
                    on_data=task.data,
                    on_warning=task.warning,
                    on_progress=task.progress,
                )
            except ValueError as error:
                run.failed(f"GEARMAN_INVALID_ARGUMENT: {error}")
                continue
            job.created.addCallbacks(task.created, lambda failure: None)
            job.finished.addCallbacks(task.finished, task.failed)
        if not await run.ended:
            # Nothing has happened for too long: what is left of it is given up.
            await self._client.close()
            self._client = self._connect()

    def set_error(self) -> None:
        """
        Something has failed.
        """
        self._status = ERROR

    def write(self, stream: IO[bytes], data: bytes) -> None:
        """
        Write what has come.
        """
        if self._broken is not None:
            return
        try:
            stream.write(data)
            stream.flush()
        except BrokenPipeError as error:
            self._broken = error
            if self._task is not None:
                # Not now: it may be running.
                self._reactor.callLater(0, self._task.cancel)

    @property
    def reactor(self) -> Any:
        """
        The reactor.
        """
        return self._reactor


class _Run:
    """
    The jobs that one workload makes.

    @ivar ended: fires when all have ended with C{True}, or with C{False} when
        nothing has happened for too long.
    """

    def __init__(self, client: Client, jobs: int, timeout: float | None) -> None:
        self.client = client
        self.ended: Deferred[bool] = Deferred()
        self._left = jobs
        self._timeout = timeout
        self._patience = None if timeout is None else client.reactor.callLater(timeout, self._nothing_came)
        self._reported: set[str] = set()

    def _nothing_came(self) -> None:
        self._patience = None
        report(NAME, f"GEARMAN_TIMEOUT: nothing came for {self._timeout} seconds")
        self.client.set_error()
        if not self.ended.called:
            self.ended.callback(False)

    @property
    def over(self) -> bool:
        """
        Whether nobody wants to hear of it any more.
        """
        return self.ended.called

    def goes_on(self) -> None:
        """
        Something has happened.
        """
        if self._patience is not None:
            self._patience.reset(self._timeout)

    def one_less(self) -> None:
        """
        A job has ended.
        """
        self.goes_on()
        self._left -= 1
        if not self._left:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            self.ended.callback(True)

    def failed(self, reason: str) -> None:
        """
        A job could not be submitted.
        """
        self.client.set_error()
        # The same server may be missed for each of the functions.
        if reason not in self._reported:
            self._reported.add(reason)
            report(NAME, reason)
        self.one_less()


class _Task:
    """
    One job, and what is printed of it.
    """

    def __init__(self, run: _Run, function: bytes, options: Options) -> None:
        self._run = run
        self._client = run.client
        self._prefix = function + b": " if options.prefix else b""
        self._options = options

    def created(self, handle: bytes) -> None:
        self._run.goes_on()
        if self._options.verbose:
            self._client.write(sys.stdout.buffer, b"Task created: " + handle + b"\n")

    def data(self, data: bytes) -> None:
        self._say(sys.stdout.buffer, data)

    def warning(self, data: bytes) -> None:
        self._say(sys.stderr.buffer, data)

    def progress(self, numerator: int, denominator: int) -> None:
        # (gearman(1) divides by 0, and is no more.)
        percent = 100 * numerator // denominator if denominator > 0 else 0
        self._say(sys.stdout.buffer, b"%d%% Complete\n" % percent)

    def finished(self, result: bytes) -> None:
        if self._run.over:
            return
        if not self._options.background:
            self._say(sys.stdout.buffer, result)
        self._run.one_less()

    def failed(self, failure: Failure) -> None:
        if self._run.over:
            return
        error = failure.value
        if isinstance(error, JobException):
            self._say(sys.stderr.buffer, error.data)
        if isinstance(error, JobFailed):
            self._client.set_error()
            self._say(sys.stderr.buffer, b"Job failed\n")
            self._run.one_less()
        elif isinstance(error, ServerUnavailable):
            self._run.failed(f"GEARMAN_COULD_NOT_CONNECT: {error}")
        else:
            self._run.failed(f"GEARMAN_SERVER_ERROR: {error}")

    def _say(self, stream: IO[bytes], data: bytes) -> None:
        if not self._run.over:
            self._run.goes_on()
            self._client.write(stream, self._prefix + data)
