from twisted.internet.defer import Deferred
from twisted.internet.task import react

from gearsvc.client import AssignedJob, GearmanWorker


def reverse(job: AssignedJob) -> bytes:
    return job.workload[::-1]


def main(reactor: object) -> Deferred[None]:
    worker = GearmanWorker(["127.0.0.1:4730"])
    worker.register("reverse", reverse)
    worker.start()
    # It works until Ctrl-C.
    return Deferred()


react(main)
