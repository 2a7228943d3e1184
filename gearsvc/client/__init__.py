"""
Clients and workers: the other side of the wire.

    from gearsvc.client import GearmanClient

    result = await GearmanClient("gearman.example").submit("resize", image)
"""

from gearsvc.client.client import GearmanClient, JobStatus
from gearsvc.client.errors import (
    ClientClosed,
    GearmanError,
    JobException,
    JobFailed,
    QueueFull,
    ServerError,
    ServerUnavailable,
    SubmitTimeout,
)
from gearsvc.client.submitted import Data, Progress, SubmittedJob, Warning
from gearsvc.client.tasks import TaskSet
from gearsvc.core.jobs import Priority

__all__ = [
    "ClientClosed",
    "Data",
    "GearmanClient",
    "GearmanError",
    "JobException",
    "JobFailed",
    "JobStatus",
    "Priority",
    "Progress",
    "QueueFull",
    "ServerError",
    "ServerUnavailable",
    "SubmitTimeout",
    "SubmittedJob",
    "TaskSet",
    "Warning",
]
