"""
A Twisted application with a job server inside: it submits to itself, works for
itself, and serves the network at once.

    python examples/embedded.py [PORT]

It counts the words of some lines, by jobs in memory, and then waits for others
at the port (4730, if not given):

    gearman -f count_words "as many as these"
"""

import sys

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from gearsvc.config import Settings
from gearsvc.service import JobServerService

LINES = ["one", "one two", "one two three"]


def count_words(job):
    """
    What the worker does.
    """
    return str(len(job.workload.split()))


class Application(MultiService):
    """
    The job server, with a worker and a client in its process.
    """

    def __init__(self, port):
        MultiService.__init__(self)
        self.gearman = JobServerService(Settings(port=(port,)))
        self.gearman.setServiceParent(self)
        self.worker = self.gearman.worker(concurrency=2)
        self.worker.register("count_words", count_words)
        self.client = self.gearman.client()

    def startService(self):
        MultiService.startService(self)
        # It takes jobs as soon as the server is ready.
        self.worker.start()

    async def count(self, lines):
        """
        The number of words in each line.
        """
        jobs = [self.client.submit("count_words", line) for line in lines]
        return [int(result) for result in await gatherResults([job.finished for job in jobs])]


async def main(reactor, number="4730"):
    """
    Run until the process is told to end.
    """
    application = Application(f"tcp:{number}:interface=127.0.0.1")
    application.startService()
    reactor.addSystemEventTrigger("before", "shutdown", application.stopService)
    await application.gearman.when_ready()
    print(await application.count(LINES), flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:2])
