"""
Where the pages are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.resource import IResource
from twisted.web.server import Request

from gearsvc.console.files import StaticFiles
from gearsvc.console.pages.function import FunctionPage
from gearsvc.console.pages.functions import FunctionsPage
from gearsvc.console.pages.job import JobPage
from gearsvc.console.pages.jobs import JobsPage
from gearsvc.console.pages.overview import OverviewPage
from gearsvc.console.pages.scheduled import ScheduledPage
from gearsvc.console.pages.serving import Asked, Done, Notices, Page, PageResource, Shown
from gearsvc.console.pages.workers import WorkerPage, WorkersPage
from gearsvc.console.problems import Problem, ProblemResource
from gearsvc.console.values import name_of_segment

if TYPE_CHECKING:
    from gearsvc.console.site import Console

NOTHING = Problem(404, "There is nothing at this path.")

PAGES: dict[str, type[Page]] = {
    "": OverviewPage,
    "functions": FunctionsPage,
    "functions/*": FunctionPage,
    "jobs": JobsPage,
    "jobs/*": JobPage,
    "scheduled": ScheduledPage,
    "workers": WorkersPage,
    "workers/*": WorkerPage,
}
"""
Each by its path.  C{*} at the end stands for any name.
"""


class NoPage(Page):
    """
    What is shown where there is nothing.
    """

    async def show(self, asked: Asked) -> Shown:
        """
        Say so.
        """
        raise NOTHING

    async def act(self, asked: Asked) -> Done:
        """
        Say so.
        """
        raise NOTHING


class Pages:
    """
    All pages.

    @ivar console: what they show.
    @ivar files: what they are shown with.
    @ivar notices: what came of changes.
    """

    def __init__(self, console: Console, files: StaticFiles) -> None:
        self.console = console
        self.files = files
        self.notices = Notices(console.service.reactor.seconds)
        self._pages = {path: made(console) for path, made in PAGES.items()}
        self._nothing = NoPage(console)

    def find(self, path: list[bytes], request: Request) -> IResource:
        """
        What answers at a path.

        @param path: its segments, decoded.
        """
        section = path[0].decode("ascii", "replace")
        name = b""
        if len(path) == 2 and path[1]:
            section += "/*"
            try:
                name = name_of_segment(path[1])
            except ValueError as error:
                return ProblemResource(Problem(400, f"The path is wrong: {error}."))
        page = self._pages.get(section) if len(path) <= 2 else None
        if page is None and b"text/html" not in (request.getHeader(b"accept") or b""):
            # It is no person who asks.
            return ProblemResource(NOTHING)
        return PageResource(self, page or self._nothing, name)
