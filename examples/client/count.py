from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from gearsvc.client import AssignedJob, GearmanWorker, JobFailed


async def count(job: AssignedJob) -> str:
    from twisted.internet import reactor

    number = int(job.workload)
    if number < 0:
        raise JobFailed()
    for done in range(1, number + 1):
        await deferLater(reactor, 0.1)
        job.send_data(f"{done} ")
        job.send_progress(done, number)
    return "and that is all"


def main(reactor: object) -> Deferred[None]:
    worker = GearmanWorker("127.0.0.1:4730", concurrency=10)
    worker.register("count", count)
    worker.start()
    return Deferred()


react(main)
