"""
A job server and a web site in one process.

    twistd -ny examples/compose.tac

Then http://127.0.0.1:8080/ shows the queue, and port 4730 is a job server like
any other.
"""

from twisted.application.service import Application
from twisted.application.strports import service
from twisted.web.resource import Resource
from twisted.web.server import Site

from gearsvc.config import Settings
from gearsvc.service import JobServerService


class Queue(Resource):
    """
    One line for each function, read from the job server itself.
    """

    isLeaf = True

    def __init__(self, job_server):
        Resource.__init__(self)
        self.job_server = job_server

    def render_GET(self, request):
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"".join(
            b"%b: %d jobs, %d running, %d workers\n" % (queue.name, queue.total, queue.running, len(queue.workers))
            for queue in self.job_server.functions.values()
        )


application = Application("a web site with a job server")

gearman = JobServerService(Settings(port=("tcp:4730:interface=127.0.0.1",)))
gearman.setServiceParent(application)

service("tcp:8080:interface=127.0.0.1", Site(Queue(gearman.job_server))).setServiceParent(application)
