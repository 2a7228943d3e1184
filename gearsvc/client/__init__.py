"""
Clients and workers: the other side of the wire::

    from gearsvc.client import GearmanClient

    result = await GearmanClient("gearman.example").submit("resize", image)
"""

from gearsvc.client.assigned import AssignedJob
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
from gearsvc.client.worker import GearmanWorker
from gearsvc.core.jobs import Priority

__all__ = [
    "AssignedJob",
    "ClientClosed",
    "Data",
    "GearmanClient",
    "GearmanError",
    "GearmanWorker",
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
