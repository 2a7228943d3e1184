from twisted.internet.defer import Deferred
from twisted.internet.task import react

from gearsvc.client import Data, GearmanClient, JobException, JobFailed, Progress


async def show(client: GearmanClient) -> None:
    # A result.
    print(await client.submit("count", "2"))

    # What comes before it.
    job = client.submit("count", "3")
    async for event in job.events():
        if isinstance(event, Data):
            print("data", event.data)
        elif isinstance(event, Progress):
            print(f"{event.numerator} of {event.denominator}")
    print(await job)

    # Jobs that fail.
    for workload in ("-1", "many"):
        try:
            await client.submit("count", workload)
        except JobException as error:
            print("exception:", error.data)
        except JobFailed:
            print("failed, and its worker says no more")

    # In the background.
    job = client.submit("count", "1", background=True)
    await job
    print((await client.status(job.handle)).known)

    # Many at once.
    tasks = client.task_set(outstanding=5)
    for number in range(1, 6):
        tasks.add("count", str(number), unique=f"count to {number}")
    print([len(result) for result in await tasks])


async def main(reactor: object) -> None:
    client = GearmanClient(["127.0.0.1:4730"])
    try:
        await show(client)
    finally:
        await client.close()


react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
