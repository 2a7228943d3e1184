"""
Jobs: to be looked for, cancelled, and submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.web.http import BAD_REQUEST
from twisted.web.template import Tag

from gearsvc.console.operations import MAX_TIME
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.forms import back_from, confirmed, form, typed
from gearsvc.console.pages.parts import (
    age,
    ago,
    badge,
    cut,
    empty,
    function_link,
    job_link,
    job_state,
    name,
    number,
    progress,
    size,
    worker_link,
)
from gearsvc.console.pages.searching import (
    SUGGESTED,
    BadField,
    Search,
    field_of_name,
    handle_of_field,
    search_form,
    search_of,
    seconds_of,
)
from gearsvc.console.pages.serving import Action, Asked, Done, Page, Shown
from gearsvc.console.pages.tables import Column, Order, following, row, table
from gearsvc.console.problems import Problem
from gearsvc.console.search import JobQuery
from gearsvc.console.values import ENDED, LIVE, PRIORITIES, Job, Name, name_of_segment

JOBS = (
    Column("Job", "handle"),
    Column("State"),
    Column("Function", "wide"),
    Column("Unique id", "wide narrow"),
    Column("Submitted", sort="submitted", down=True),
    Column("Ran for", "num", title="How long its worker has had it, or had it"),
    Column("Progress or worker"),
    Column("Attempts", "num narrow", title="How often a worker was lost over it, or took too long"),
    Column("Size", "num narrow", title="Of its workload"),
)

CHOICE = Column("Choose", "choice")

CHOSEN = "chosen"
"""
The form to which the boxes in the table belong.
"""


class JobsPage(Page):
    """
    C{/jobs}
    """

    section = "/jobs"

    @property
    def actions(self) -> dict[str, Action]:
        """
        What can be done to jobs.
        """
        return {"cancel": self._cancel, "cancel-all": self._cancel_all, "submit": self._submit}

    async def show(self, asked: Asked) -> Shown:
        """
        Show what was looked for.
        """
        search = search_of(asked)
        functions = (await self.views.functions(SUGGESTED)).functions
        form_of_search = search_form(asked, search, [each.name for each in functions])
        if search.problem is not None:
            asked.request.setResponseCode(BAD_REQUEST)
            return Shown(
                "Jobs",
                [form_of_search, element("p", str(search.problem), class_="notice bad")],
                self.section,
                live=False,
            )
        found = await self.views.jobs(search.query)
        summary = await self._summary(search.query, len(found.jobs), found.following is not None)
        body: list[Any] = [form_of_search, element("div", summary, _chosen(asked, found.jobs), class_="above")]
        if found.jobs:
            body.append(self._table(asked, found.jobs, search.query))
            body.append(following(asked, found.following, search.query.after is not None))
        else:
            body.append(_nothing(search.query))
        if asked.operator:
            body.append(
                element(
                    "section",
                    *_many(asked, search, bool(found.jobs)),
                    _submission(asked, search.query),
                    class_="doings",
                    id="doings",
                )
            )
        return Shown("Jobs", body, self.section)

    async def _summary(self, query: JobQuery, shown: int, more: bool) -> Tag:
        """
        How many there are, as far as one knows without counting.
        """
        total = await self._total(query)
        if total is not None and (more or query.after is not None):
            said = f"{number(shown)} of {number(total)} jobs"
        else:
            said = f"{number(shown)} jobs, and more" if more else "1 job" if shown == 1 else f"{number(shown)} jobs"
        return element("p", said, class_="summary", id="summary")

    async def _total(self, query: JobQuery) -> int | None:
        if (
            query.unique is not None
            or query.older is not None
            or query.younger is not None
            or query.states & set(ENDED)
        ):
            return None
        of: Any
        if query.function is not None:
            of = self.views.function(query.function)
            if of is None:
                return 0
        else:
            of = await self.views.overview()
        counts: dict[str, int] = {
            "storing": of.storing,
            "queued": of.queued.total,
            "delayed": of.delayed,
            "running": of.running,
        }
        return sum(counts[state] for state in query.states or LIVE)

    def _table(self, asked: Asked, jobs: Sequence[Job], query: JobQuery) -> Tag:
        now = self.views.now()
        columns = (CHOICE, *JOBS) if asked.operator else JOBS

        def rows() -> Iterator[Tag]:
            for job in jobs:
                cells = job_cells(job, now)
                yield row(job.handle.path, columns, *([_box(job), *cells] if asked.operator else cells))

        return table(asked, "Jobs", columns, rows(), Order("submitted", not query.oldest_first), key="jobs")

    # What is done

    async def _cancel(self, asked: Asked) -> Done:
        handles = [handle_of_field(each) for each in asked.fields("job")]
        if not handles:
            raise Problem(400, "Nothing was done: choose the jobs to cancel first, in the first column.")
        done = self.console.actions.cancel_many(handles)
        sentence = f"{_jobs(len(done.cancelled))} cancelled."
        if done.missing:
            sentence += f" {_jobs(len(done.missing))} over before, or being stored."
        return Done(sentence, back_from(asked, self.section))

    async def _cancel_all(self, asked: Asked) -> Done:
        search = search_of(asked)
        if search.problem is not None:
            raise Problem(400, f"Nothing was done. {search.problem}")
        phrase = _phrase(search.query)
        if asked.field("confirm").decode("utf-8", "replace").strip() != phrase:
            raise Problem(409, f"Nothing was done: to confirm, type {phrase!r}.")
        done = await self.console.actions.cancel_found(search.query)
        return Done(f"{_jobs(done.cancelled)} cancelled.", asked.here)

    async def _submit(self, asked: Asked) -> Done:
        try:
            function = name_of_segment(asked.field("function"))
        except ValueError as error:
            raise Problem(400, f"The function's name is wrong: {error}.") from None
        if not asked.field("function"):
            raise Problem(400, "Nothing was submitted: a job needs a function.")
        priority = asked.field("priority").decode("ascii", "replace") or "normal"
        if priority not in PRIORITIES:
            raise Problem(400, f"There is no priority {priority[:50]!r}; there is: {', '.join(PRIORITIES)}.")
        # A form's lines end with CR and LF, wherever it comes from.
        workload = asked.field("workload").replace(b"\r\n", b"\n")
        done = await self.console.actions.submit(
            function, workload, asked.field("unique"), priority, background=True, run_at=self._run_at(asked)
        )
        return Done("The job is submitted.", f"/jobs/{done.handle.path}")

    def _run_at(self, asked: Asked) -> int:
        try:
            seconds = seconds_of("delay", asked.field("delay"))
        except BadField as problem:
            raise Problem(400, f"Nothing was submitted. {problem}") from None
        return min(int(self.views.now() + seconds + 0.5), MAX_TIME) if seconds else 0


def job_cells(job: Job, now: float) -> list[Any]:
    """
    A job, in the columns of L{JOBS}.
    """
    since = job.started
    until = job.ended if job.ended is not None else now
    if job.state == "running" and job.progress is not None:
        doing: Any = progress(job.progress)
    elif job.worker is not None:
        doing = worker_link(job.worker.number, job.worker.client_id)
    else:
        doing = ""
    return [
        job_link(job.handle),
        [job_state(job.state, job.reason), _flags(job)],
        function_link(job.function),
        name(job.unique) if job.unique else "",
        ago(job.submitted, now),
        age(until - since) if since is not None else "",
        doing,
        number(job.attempts) if job.attempts else "",
        size(job.size),
    ]


def _flags(job: Job) -> list[Any]:
    flags: list[Any] = []
    if job.priority != "normal":
        flags += [" ", badge(job.priority)]
    return flags


def _box(job: Job) -> Any:
    if job.state not in LIVE:
        return ""
    return element(
        "input",
        type="checkbox",
        name="job",
        value=field_of_name(job.handle.raw),
        form=CHOSEN,
        aria_label=f"Choose {cut(job.handle, 100)}",
    )


def _chosen(asked: Asked, jobs: Sequence[Job]) -> Any:
    if not asked.operator or not any(job.state in LIVE for job in jobs):
        return ""
    made = form(
        "/jobs",
        "cancel",
        # What the script can do is not shown where there is none.
        element(
            "span", element("label", element("input", type="checkbox", data_all="job"), " All of this page"), hidden=""
        ),
        element("span", data_count="", class_="quiet"),
        element("button", "Cancel the chosen jobs", type="submit", class_="danger"),
        back=asked.here,
        class_="inline chosen",
    )
    made.attributes["id"] = CHOSEN
    return made


def _phrase(query: JobQuery) -> str:
    return typed(Name(query.function), "cancel") if query.function is not None else "cancel all"


def _many(asked: Asked, search: Search, found: bool) -> list[Any]:
    query = search.query
    if not found or query.states and not query.states & set(LIVE):
        return []
    return [
        confirmed(
            asked.link(after=None),
            "cancel-all",
            "Cancel all that this search finds",
            f"This cancels {_described(query)}, on this page and on all others. "
            "Those who wait for them are told that they failed.",
            _phrase(query),
        )
    ]


def _described(query: JobQuery) -> str:
    states = sorted(query.states & set(LIVE), key=LIVE.index)
    said = f"all {' and '.join(states)} jobs" if states else "all jobs that are not over"
    if query.function is not None:
        said += f" of {cut(Name(query.function)) or '(empty)'}"
    if query.unique is not None:
        said += f" with the unique id {cut(Name(query.unique)) or '(empty)'}"
    if query.older is not None:
        said += f" that are older than {age(query.older)}"
    if query.younger is not None:
        said += f" that are not older than {age(query.younger)}"
    return said


def _nothing(query: JobQuery) -> Tag:
    if query == JobQuery(limit=query.limit, oldest_first=query.oldest_first):
        return empty(
            "No job waits or runs.",
            element(
                "p",
                "Those that are over are under ",
                element(
                    "a", "completed, failed or cancelled", href="/jobs?state=completed&state=failed&state=cancelled"
                ),
                ".",
            ),
        )
    return empty("No job is like that.")


def _submission(asked: Asked, query: JobQuery) -> Tag:
    """
    A form for a job in the background.
    """
    function = element(
        "input",
        type="text",
        id="new-function",
        name="function",
        required="",
        list="functions",
        autocomplete="off",
        autocapitalize="off",
        spellcheck="false",
        value=field_of_name(query.function),
    )
    return element(
        "details",
        element("summary", "Submit a job"),
        form(
            "/jobs",
            "submit",
            element(
                "div",
                _field("new-function", "Function", function),
                _field(
                    "new-unique",
                    "Unique id",
                    element(
                        "input", type="text", id="new-unique", name="unique", autocomplete="off", spellcheck="false"
                    ),
                ),
                _field(
                    "new-priority",
                    "Priority",
                    element("select", *_priorities(), id="new-priority", name="priority"),
                ),
                _field(
                    "new-delay",
                    "Not before, from now",
                    element(
                        "input",
                        type="text",
                        id="new-delay",
                        name="delay",
                        size="8",
                        placeholder="5 min",
                        autocomplete="off",
                    ),
                ),
                class_="fields",
            ),
            element("label", "Workload", for_="new-workload"),
            element("textarea", id="new-workload", name="workload", rows="6", spellcheck="false", class_="code"),
            element("p", "It runs in the background, and is acknowledged once it is stored.", class_="hint"),
            element("button", "Submit", type="submit", class_="first"),
        ),
        class_="confirm plain",
        id="submit-form",
    )


def _priorities() -> Iterator[Tag]:
    for priority in PRIORITIES:
        option = element("option", priority, value=priority)
        if priority == "normal":
            option.attributes["selected"] = ""
        yield option


def _field(key: str, label: str, field: Tag) -> Tag:
    return element("div", element("label", label, for_=key), field, class_="field")


def _jobs(count: int) -> str:
    return "1 job was" if count == 1 else f"{number(count)} jobs were"
