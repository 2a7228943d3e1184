"""
Jobs that wait for their time, the next one first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.web.http import BAD_REQUEST
from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.forms import form
from gearsvc.console.pages.parts import ago, cut, empty, function_link, job_link, moment, name, number
from gearsvc.console.pages.searching import BadField, field_of_name, handle_of_field, name_of_field, text_field
from gearsvc.console.pages.serving import Action, Asked, Done, Page, Shown
from gearsvc.console.pages.tables import Column, pages, row, table
from gearsvc.console.values import Job, Name

PER_PAGE = 100
MAX_PAGES = 1000
"""
How many jobs a page has, and how many pages there are at most: for the last of
them, all jobs before are passed over.
"""

JOBS = (
    Column("Time"),
    Column("How soon", "num"),
    Column("Job", "handle"),
    Column("Function", "wide"),
    Column("Unique id", "wide narrow"),
    Column("Priority", "narrow"),
    Column("Submitted", "narrow"),
)

CANCEL = Column("", "actions")


class ScheduledPage(Page):
    """
    C{/scheduled}
    """

    section = "/scheduled"

    @property
    def actions(self) -> dict[str, Action]:
        """
        What can be done to one of them.
        """
        return {"cancel": self._cancel}

    async def show(self, asked: Asked) -> Shown:
        """
        Show them.
        """
        try:
            function = name_of_field(asked, "function")
        except BadField as problem:
            asked.request.setResponseCode(BAD_REQUEST)
            return Shown("Scheduled", _filter(asked, problem), self.section, live=False)
        first = max(asked.number("page", 1, MAX_PAGES) - 1, 0) * PER_PAGE
        found = await self.views.scheduled(function, first, PER_PAGE)
        body: list[Any] = [_filter(asked, None)]
        if found.jobs:
            jobs = (
                "1 job waits for its time." if found.total == 1 else f"{number(found.total)} jobs wait for their time."
            )
            body.append(element("p", jobs, class_="summary", id="summary"))
            body.append(_table(asked, found.jobs, self.views.now()))
        elif first:
            body.append(
                empty(
                    "There are not so many any more.",
                    element("p", element("a", "The first of them", href=asked.link(page=None))),
                )
            )
        else:
            of = f" of {cut(Name(function)) or '(empty)'}" if function is not None else ""
            body.append(empty(f"No job{of} waits for its time."))
        if found.jobs:
            body.append(pages(asked, first, len(found.jobs), min(found.total, MAX_PAGES * PER_PAGE), PER_PAGE))
        return Shown("Scheduled", body, self.section)

    async def _cancel(self, asked: Asked) -> Done:
        handle = handle_of_field(asked.field("job"))
        self.console.actions.cancel(handle)
        return Done(f"The job {cut(Name(handle), 100)} is cancelled.", asked.here)


def _filter(asked: Asked, problem: BadField | None) -> Tag:
    return element(
        "form",
        text_field(asked, "function", "Jobs of", problem),
        element("button", "Show", type="submit"),
        element("a", "All", href="/scheduled", class_="button quiet") if asked.raw("function") else "",
        method="get",
        action="/scheduled",
        class_="filter",
        role="search",
    )


def _table(asked: Asked, jobs: list[Job], now: float) -> Tag:
    columns = (*JOBS, CANCEL) if asked.operator else JOBS

    def rows() -> Iterator[Tag]:
        for job in jobs:
            cells = [
                moment(job.run_at),
                ago(job.run_at, now),
                job_link(job.handle),
                function_link(job.function),
                name(job.unique) if job.unique else "",
                job.priority,
                ago(job.submitted, now),
            ]
            yield row(job.handle.path, columns, *([*cells, _button(asked, job)] if asked.operator else cells))

    return table(asked, "Jobs that wait for their time", columns, rows(), key="scheduled")


def _button(asked: Asked, job: Job) -> Tag:
    return form(
        asked.here,
        "cancel",
        element("input", type="hidden", name="job", value=field_of_name(job.handle.raw)),
        element("button", "Cancel", type="submit", class_="quiet", aria_label=f"Cancel {cut(job.handle, 100)}"),
        class_="inline",
    )
