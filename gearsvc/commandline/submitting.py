"""
Submits the jobs of C{gearsvc submit}, and writes what becomes of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from gearsvc.client.client import GearmanClient
from gearsvc.client.errors import GearmanError, JobException, JobFailed, ServerUnavailable, SubmitTimeout
from gearsvc.client.submitted import SubmittedJob
from gearsvc.commandline.frame import Address
from gearsvc.commandline.inorder import InOrder, Output
from gearsvc.commandline.running import report, server_name
from gearsvc.commandline.workloads import Pieces
from gearsvc.core.explain import text
from gearsvc.core.jobs import Priority
from gearsvc.queuecommand.display import Display, NoDisplay, display_on_stderr
from gearsvc.queuecommand.joblines import put

NAME = "gearsvc submit"

HELD = 8
"""
How many times as many jobs as may be outstanding may have been begun, and not
been written: results that come early wait for one that is late.
"""

LONGEST_UNIQUE = 63
"""
Bytes: gearmand keeps no more.
"""

JOB_FAILED, NO_SERVER, REFUSED, TOO_LATE = 1, 3, 4, 5
"""
Exit statuses.  The highest of those that there is a reason for is the one.
"""


class Submission:
    """
    One run of the command.
    """

    def __init__(self, arguments: argparse.Namespace, servers: Sequence[Address]) -> None:
        self._arguments = arguments
        self._servers = servers
        self._many = arguments.lines or arguments.null
        self._separator = b"\0" if arguments.null else b"\n"
        self._background = arguments.background or arguments.at is not None
        self._stdout = sys.stdout.buffer
        self._order = InOrder(self._write)
        self._display: Display = NoDisplay()
        self._progress = Progress() if not (self._many or arguments.quiet) else None
        self._status = 0
        self._outstanding = 0
        self._done = 0
        self._stopping = False
        self._broken: BrokenPipeError | None = None
        self._changed: Deferred[None] | None = None
        self._task: Deferred[None] | None = None

    async def run(self, reactor: Any) -> int:
        """
        Submit all jobs, and wait for them.

        @return: the exit status.
        """
        self._reactor = reactor
        self._client = GearmanClient([server_name(*server) for server in self._servers], reactor=reactor)
        self._pieces = Pieces(0, reactor)
        if self._many:
            self._display = display_on_stderr(self._arguments.quiet or sys.stdout.isatty())
        self._task = Deferred.fromCoroutine(self._submit_all())
        try:
            await self._task
        except CancelledError:
            if self._many and self._broken is None:
                report(NAME, f"stopped; {self._done:,} jobs have ended well, {self._outstanding:,} were outstanding")
        finally:
            self._display.end()
            if self._progress is not None:
                self._progress.clear()
            await self._client.close()
        if self._broken is not None:
            raise self._broken
        return self._status

    def interrupt(self, number: int) -> None:
        """
        The user wants it to end.
        """
        self._stop(128 + number)

    def _stop(self, status: int) -> None:
        self._status = max(self._status, status)
        if not self._stopping and self._task is not None:
            self._stopping = True
            # Not now: it may be running.
            self._reactor.callLater(0, self._task.cancel)

    async def _submit_all(self) -> None:
        if self._many and not isinstance(self._display, NoDisplay):
            self._display.begin(text(self._arguments.function.encode()), self._pieces.count(self._separator))
        limit = self._arguments.outstanding
        number = 0
        try:
            async for workload in self._workloads():
                while self._outstanding >= limit or self._order.waiting >= limit * HELD:
                    await self._change()
                number += 1
                self._submit(number, workload)
        except OSError as error:
            report(NAME, f"standard input cannot be read: {error.strerror}")
            self._status = max(self._status, JOB_FAILED)
        while self._outstanding:
            await self._change()

    async def _workloads(self) -> AsyncIterator[bytes]:
        if self._many:
            async for workload in self._pieces.split(self._separator):
                yield workload
        elif self._arguments.data == "-":
            yield await self._pieces.whole()
        else:
            # What is no text in the words of a command line comes as it was given.
            yield self._arguments.data.encode(errors="surrogateescape")

    def _change(self) -> Deferred[None]:
        self._changed = Deferred()
        return self._changed

    def _submit(self, number: int, workload: bytes) -> None:
        arguments = self._arguments
        job = _Job(self, number, self._order.begin())
        self._outstanding += 1
        try:
            submitted = self._client.submit(
                arguments.function.encode(errors="surrogateescape"),
                workload,
                unique=unique_id(arguments.unique, workload),
                priority=Priority[arguments.priority.upper()],
                background=self._background,
                at=arguments.at,
                retries=arguments.retries,
                timeout=arguments.timeout,
                on_data=job.data,
                on_warning=job.warning,
                on_progress=self._progress.show if self._progress is not None else None,
                on_resubmit=job.resubmitted,
            )
        except ValueError as error:
            job.refused(error)
            return
        job.submitted = submitted
        submitted.finished.addCallbacks(job.finished, job.failed)

    def _write(self, data: bytes) -> None:
        if self._broken is not None:
            return
        if self._progress is not None:
            self._progress.clear()
        try:
            self._stdout.write(data)
            self._stdout.flush()
        except BrokenPipeError as error:
            self._broken = error
            self._stop(1)

    def ended(self, status: int) -> None:
        """
        A job has ended.  For the job to call.

        @param status: what it makes of the exit status.
        """
        self._outstanding -= 1
        self._status = max(self._status, status)
        if not status:
            self._done += 1
        self._display.advance(1)
        if status == NO_SERVER:
            # It would be so for each of the others, after some time.
            self._stop(status)
        changed, self._changed = self._changed, None
        if changed is not None and not changed.called:
            changed.callback(None)

    def tell(self, number: int, message: str) -> None:
        """
        Tell of a job on stderr.

        @param number: which one it is.
        """
        if self._stopping:
            return
        if self._progress is not None:
            self._progress.clear()
        what = "record" if self._arguments.null else "line"
        report(NAME, f"{what} {number:,}: {message}" if self._many else message)

    @property
    def json(self) -> bool:
        """
        Whether jobs are to be written as JSON.
        """
        given: bool = self._arguments.json
        return given

    @property
    def background(self) -> bool:
        """
        Whether handles are to be written.
        """
        return self._background

    def result_end(self, last: bytes) -> bytes:
        """
        What is to be written behind a result.

        @param last: its last byte, if it has any.
        """
        if not self._many:
            # So that the shell's prompt begins a line.
            return b"\n" if last not in (b"", b"\n") and sys.stdout.isatty() else b""
        return b"" if last == b"\n" and self._arguments.lines else self._separator

    def fields(self, number: int) -> dict[str, Any]:
        """
        What JSON says of every job.
        """
        given: dict[str, Any] = {"number": number} if self._many else {}
        put(given, "function", self._arguments.function.encode(errors="surrogateescape"))
        return given


class _Job:
    """
    One job.
    """

    def __init__(self, owner: Submission, number: int, output: Output) -> None:
        self._owner = owner
        self._number = number
        self._output = output
        self.submitted: SubmittedJob | None = None
        self._last = b""
        self._collected: list[bytes] = []
        self._warnings: list[str] = []

    @property
    def _handle(self) -> bytes:
        return self.submitted.handle if self.submitted is not None else b""

    def data(self, data: bytes) -> None:
        if self._owner.json:
            self._collected.append(data)
        elif data:
            self._last = data[-1:]
            self._output.write(data)

    def warning(self, data: bytes) -> None:
        if self._owner.json:
            self._warnings.append(text(data))
            return
        for line in data.splitlines() or [b""]:
            self._owner.tell(self._number, f"warning: {text(line)}")

    def resubmitted(self, *_: object) -> None:
        self._owner.tell(self._number, "its server has gone away; it has been submitted again")

    def finished(self, result: bytes) -> None:
        self.data(result)
        if self._owner.json:
            self._write_json("submitted" if self._owner.background else "completed", None)
        elif self._owner.background:
            self._output.write(text(self._handle).encode() + b"\n")
        else:
            self._output.write(self._owner.result_end(self._last))
        self._end(0)

    def failed(self, failure: Failure) -> None:
        status, message = what_happened(failure)
        self._end_badly(status, message)

    def refused(self, error: ValueError) -> None:
        self._end_badly(REFUSED, f"the job cannot be submitted: {error}")

    def _end_badly(self, status: int, message: str) -> None:
        self._owner.tell(self._number, message)
        if self._owner.json:
            self._write_json("failed", message)
        elif self._last:
            self._output.write(self._owner.result_end(self._last))
        self._end(status)

    def _write_json(self, status: str, error: str | None) -> None:
        values = self._owner.fields(self._number)
        put(values, "handle", self._handle)
        values["status"] = status
        if not self._owner.background:
            put(values, "result", b"".join(self._collected))
        if self._warnings:
            values["warnings"] = self._warnings
        if error is not None:
            values["error"] = error
        self._output.write(json.dumps(values).encode() + b"\n")

    def _end(self, status: int) -> None:
        self._output.end()
        self._owner.ended(status)


class Progress:
    """
    Shows how much of one job is done: in a line of its own on a terminal, else
    in a line for each percent.
    """

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._shown: str | None = None
        self._drawn = False

    def show(self, numerator: int, denominator: int) -> None:
        """
        So much of so much is done.
        """
        if denominator <= 0:
            return
        percent = f"{100 * numerator // denominator} %"
        if percent == self._shown:
            return
        self._shown = percent
        message = f"{percent} ({numerator:,} of {denominator:,})"
        if self._on_terminal:
            print(f"\r{message}\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = True
        else:
            report(NAME, message)

    def clear(self) -> None:
        """
        Something else is about to be written.
        """
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False


def unique_id(given: str, workload: bytes) -> bytes:
    """
    The unique id of a job.

    @param given: what C{--unique} says.
    """
    if given == "-":
        if len(workload) <= LONGEST_UNIQUE and b"\0" not in workload:
            return workload
        return hashlib.sha256(workload).hexdigest()[:LONGEST_UNIQUE].encode()
    return given.encode(errors="surrogateescape").replace(b"{}", workload)


def what_happened(failure: Failure) -> tuple[int, str]:
    """
    The exit status that a failure makes, and what to tell the user.
    """
    error = failure.value
    if isinstance(error, JobException):
        return JOB_FAILED, f"the job failed: {text(error.data)}"
    if isinstance(error, JobFailed):
        return JOB_FAILED, "the job failed"
    if isinstance(error, ServerUnavailable):
        return NO_SERVER, f"{error}; --server names another"
    if isinstance(error, SubmitTimeout):
        return TOO_LATE, "the job took longer than --timeout"
    if isinstance(error, GearmanError):
        return REFUSED, f"the server has refused the job: {error}"
    return REFUSED, f"there is a mistake in the program: {error!r}"
