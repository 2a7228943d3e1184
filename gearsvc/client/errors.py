"""
What can become of a job, of a question, or of a connection, besides what was
hoped for.
"""

from __future__ import annotations

from gearsvc.core.explain import text


class GearmanError(Exception):
    """
    Anything that clients and workers raise.
    """


class JobFailed(GearmanError):
    """
    The worker says that the job has failed, or the server says so in its place.
    A function of a L{GearmanWorker<gearsvc.client.worker.GearmanWorker>} raises
    it to fail without an exception.

    @ivar handle: the job's handle, or C{b""}.
    """

    def __init__(self, reason: str = "the job has failed", handle: bytes = b"") -> None:
        super().__init__(reason)
        self.handle = handle


class JobException(JobFailed):
    """
    The job has failed, and its worker says how.

    @ivar data: what it says, as it was sent: mostly a text.
    """

    def __init__(self, data: bytes, handle: bytes = b"") -> None:
        super().__init__(f"the job has failed: {text(data) or 'its worker sent an empty exception'}", handle)
        self.data = data


class ServerUnavailable(GearmanError):
    """
    No server can be reached, or the one that was asked went away before it had
    answered; the message says which.  A background job that this happens to may
    have been accepted.
    """


class ClientClosed(ServerUnavailable):
    """
    The client was closed before this was done.
    """


class ServerError(GearmanError):
    """
    The server has refused what it was asked.

    @ivar code: its code, such as C{b"QUEUE_ERROR"}.
    @ivar text: what it says.
    """

    def __init__(self, code: bytes, said: bytes) -> None:
        super().__init__(f"the server refuses it: {text(code)}: {text(said)}" if said else f"the server refuses it: {text(code)}")
        self.code = code
        self.text = said


class QueueFull(ServerError):
    """
    The server has as many jobs of this function as it may.
    """


class SubmitTimeout(GearmanError):
    """
    A job was not done in time.  It may still run: no server stops a job that
    was begun.
    """
