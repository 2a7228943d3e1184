"""
One function: what there is of it, how it went, who does it, and what can be
done about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.actions import no_function
from gearsvc.console.pages.charts import sparkline
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.forms import back_from, button, confirmed, form, typed
from gearsvc.console.pages.functions import pausing, states
from gearsvc.console.pages.overview import accounts, attention
from gearsvc.console.pages.parts import (
    ago,
    age,
    badge,
    card,
    cut,
    empty,
    facts,
    function_path,
    job_link,
    job_state,
    moment,
    number,
    progress,
    rate,
    share,
    size,
    tile,
    worker_link,
)
from gearsvc.console.pages.serving import Action, Asked, Done, Page, Shown
from gearsvc.console.pages.tables import Column, row, table
from gearsvc.console.problems import Problem
from gearsvc.console.search import JobQuery
from gearsvc.console.values import PRIORITIES, Connection, Function, Job, Name, Percentiles

LISTED = 10
"""
How many jobs and workers are shown; there are pages for all of them.
"""

MAX_LIMIT = 2**31 - 1
"""
How large a limit can be.
"""

SHOWN = 200
"""
How many characters of a function's name are its title.
"""

JOBS = (
    Column("Job", "handle"),
    Column("State"),
    Column("Priority", "narrow"),
    Column("Submitted"),
    Column("Progress"),
    Column("Worker"),
    Column("Size", "num narrow"),
)

WORKERS = (
    Column("Worker", "wide"),
    Column("Address", "narrow"),
    Column("State"),
    Column("Since"),
    Column("Job", "handle"),
    Column("Done", "num"),
)


class FunctionPage(Page):
    """
    C{/functions/NAME}
    """

    section = "/functions"

    @property
    def actions(self) -> dict[str, Action]:
        """
        What can be done to a function.
        """
        return {
            "pause": self._pause,
            "resume": self._resume,
            "limit": self._limit,
            "drain": self._drain,
            "accept": self._accept,
            "clear": self._clear,
            "drop": self._drop,
        }

    async def show(self, asked: Asked) -> Shown:
        """
        Show it.
        """
        function = self.views.function(asked.name)
        if function is None:
            raise no_function(asked.name)
        now = self.views.now()
        running = await self.views.jobs(JobQuery(function=asked.name, states=frozenset({"running"}), oldest_first=True, limit=LISTED))
        waiting = self.views.upcoming(asked.name, LISTED)
        workers = await self.views.workers(LISTED, 0, asked.name)
        name = function.name
        return Shown(
            cut(name, 100) or "(empty)",
            [
                element("p", *_state(function), class_="state", id="state"),
                _strip(function),
                attention(function.attention, True) if function.attention else "",
                element("div", _history(function), _times(function), class_="two"),
                self._jobs(asked, function, [*running.jobs, *waiting], now),
                self._workers(asked, function, workers.connections, now),
                accounts("Since the server started", function.tally, function.total),
                _administration(function) if asked.operator else "",
            ],
            self.section,
            [element("span", cut(name, SHOWN) or "(empty)", class_="name"), *states(function)],
            pausing(function, quiet=False) if asked.operator else "",
        )

    # What is shown

    def _jobs(self, asked: Asked, function: Function, found: list[Job], now: float) -> Tag:
        def rows() -> Iterator[Tag]:
            for each in found:
                yield row(
                    each.handle.path,
                    JOBS,
                    job_link(each.handle),
                    job_state(each.state, each.reason),
                    each.priority,
                    ago(each.submitted, now),
                    progress(each.progress) if each.progress is not None else "",
                    worker_link(each.worker.number, each.worker.client_id) if each.worker is not None else "",
                    size(each.size),
                )

        path = function.name.path
        links = [
            element("a", label, href=f"/jobs?function={path}{more}")
            for label, more in (("All", ""), ("Failed", "&state=failed"), ("Completed", "&state=completed"))
        ]
        body = table(asked, "The jobs that run, and those that are next", JOBS, rows()) if found else empty("No job runs, and none waits for a worker.")
        return card("Jobs", body, key="jobs", more=element("span", *_spaced(links), class_="links"))

    def _workers(self, asked: Asked, function: Function, found: list[Connection], now: float) -> Tag:
        def rows() -> Iterator[Tag]:
            for each in found:
                yield row(
                    str(each.number),
                    WORKERS,
                    worker_link(each.number, each.client_id),
                    each.host,
                    badge(each.state, "busy" if each.state == "busy" else ""),
                    ago(each.since, now),
                    [job_link(each.jobs[0].handle), f" and {number(each.job_count - 1)} more" if each.job_count > 1 else ""]
                    if each.jobs
                    else "",
                    number(each.done),
                )

        more = element("a", f"All {number(function.workers)}", href=f"/workers?function={function.name.path}")
        left = ["The last one left ", ago(function.left_at, now), "."] if function.left_at is not None else ""
        body = table(asked, "Workers that can do it", WORKERS, rows(), key="workers-table") if found else empty(
            "No worker can do it.", element("p", left) if left else ""
        )
        return card("Workers", body, key="workers", more=more if function.workers > len(found) else "")

    # What is done

    async def _pause(self, asked: Asked) -> Done:
        await self.console.actions.pause(asked.name)
        return self._done(asked, f"{_said(asked)} is paused: its jobs stay, and none is handed out.")

    async def _resume(self, asked: Asked) -> Done:
        self.console.actions.resume(asked.name)
        return self._done(asked, f"{_said(asked)} goes on.")

    async def _limit(self, asked: Asked) -> Done:
        limits = [_limit_of(asked, priority) for priority in PRIORITIES]
        self.console.actions.limit(asked.name, *limits)
        said = ", ".join(
            f"{number(limit) if limit else 'no limit'} for {priority}" for priority, limit in zip(PRIORITIES, limits)
        )
        return self._done(asked, f"The limits of {_said(asked)} are set: {said}.")

    async def _drain(self, asked: Asked) -> Done:
        self.console.actions.drain_function(asked.name, True)
        return self._done(asked, f"{_said(asked)} takes no new jobs.")

    async def _accept(self, asked: Asked) -> Done:
        self.console.actions.drain_function(asked.name, False)
        return self._done(asked, f"{_said(asked)} takes new jobs again.")

    async def _clear(self, asked: Asked) -> Done:
        self._confirm(asked, "clear")
        done = await self.console.actions.clear(asked.name, str(Name(asked.name)))
        return self._done(asked, f"{_jobs(done.cancelled)} of {_said(asked)} {_were(done.cancelled)} cancelled.")

    async def _drop(self, asked: Asked) -> Done:
        self._confirm(asked, "drop")
        done = await self.console.actions.drop(asked.name, str(Name(asked.name)))
        return Done(f"{_said(asked)} is gone, and {_jobs(done.cancelled)} with it.", "/functions")

    def _confirm(self, asked: Asked, action: str) -> None:
        phrase = typed(Name(asked.name), action)
        if asked.field("confirm").decode("utf-8", "replace").strip() != phrase:
            raise Problem(409, f"Nothing was done: to confirm, type {phrase!r}.")

    def _done(self, asked: Asked, sentence: str) -> Done:
        return Done(sentence, back_from(asked, function_path(Name(asked.name))))


def _state(function: Function) -> list[Any]:
    said: list[Any] = []
    if function.paused_since is not None:
        said += ["Paused since ", moment(function.paused_since), ": its jobs stay, and none is handed out. "]
    if function.draining:
        said += ["It takes no new jobs. "]
    if len(function.name) > SHOWN:
        said += [f"Its name has {number(len(function.name.raw))} bytes, and only begins like this. "]
    if function.name.base64 is not None:
        said += ["Some bytes of its name can only be shown as escapes. "]
    return said


def _strip(function: Function) -> Tag:
    queued = function.queued
    priorities = f"{number(queued.high)} high, {number(queued.normal)} normal, {number(queued.low)} low"
    jobs = f"/jobs?function={function.name.path}"
    return element(
        "section",
        tile("Waiting", number(queued.total), priorities, href=f"{jobs}&state=queued"),
        tile(
            "Running",
            number(function.running),
            f"{number(function.storing)} being stored" if function.storing else "jobs",
            href=f"{jobs}&state=running",
        ),
        tile(
            "Later",
            number(function.delayed),
            ["next at ", moment(function.next_at)] if function.next_at is not None else "none has a time",
            href=f"/scheduled?function={function.name.path}",
        ),
        tile("Oldest waits", age(function.oldest_age), "since it could run", "warn" if (function.oldest_age or 0) > 300 else ""),
        tile("Done", f"{rate(function.rates.completed)}/s", f"{rate(function.rates.submitted)}/s submitted"),
        tile(
            "Failed",
            share(function.failure_share),
            f"{rate(function.rates.failed)}/s, of ten minutes",
            "bad" if (function.failure_share or 0) > 0.1 else "",
            href=f"{jobs}&state=failed",
        ),
        tile(
            "Workers busy",
            f"{number(function.busy)} of {number(function.workers)}",
            f"{number(function.asleep)} asleep",
            "bad" if not function.workers and queued.total else "",
            href=f"/workers?function={function.name.path}",
        ),
        class_="strip",
        id="strip",
        aria_label="Health",
    )


def _history(function: Function) -> Tag:
    line = function.sparkline
    body: Any = empty("No job was completed in the last ten minutes.")
    if line:
        most = max(line)
        body = [
            sparkline(line, "Jobs done in each ten seconds: " + " ".join(str(value) for value in line)),
            element("p", f"{_jobs(sum(line))} done; at most {number(most)} in ten seconds.", class_="quiet"),
        ]
    return card("The last ten minutes", *(body if isinstance(body, list) else [body]), key="history")


def _times(function: Function) -> Tag:
    def of(label: str, times: Percentiles) -> Tag:
        cells = (times.p50, times.p90, times.p95, times.p99, times.mean)
        return element(
            "tr", element("th", label, scope="row"), *(element("td", age(value), class_="num") for value in cells), data_key=label
        )

    headings = ("half", "90%", "95%", "99%", "mean")
    return card(
        "How long it takes",
        element(
            "div",
            element(
                "table",
                element("caption", "How long jobs waited and ran: half of them no longer than, 90% no longer than, and so on", class_="hidden"),
                element("thead", element("tr", element("td"), *(element("th", each, scope="col", class_="num") for each in headings))),
                element("tbody", of("Waited", function.wait), of("Ran", function.run)),
            ),
            class_="scroll",
        ),
        key="times",
    )


def _administration(function: Function) -> Tag:
    path = function_path(function.name)
    limits = function.limits
    fields = [
        element(
            "div",
            element("label", priority, for_=f"limit-{priority}"),
            element(
                "input",
                type="number",
                id=f"limit-{priority}",
                name=priority,
                value=str(getattr(limits, priority)),
                min="0",
                max=str(MAX_LIMIT),
                step="1",
                required="",
            ),
        )
        for priority in PRIORITIES
    ]
    draining = (
        button(path, "accept", "Take new jobs again", kind="first")
        if function.draining
        else button(path, "drain", "Take no new jobs")
    )
    return card(
        "Administration",
        facts(
            [
                ("Taking jobs", [draining, element("small", "What is there is still done.")]),
                (
                    "Limits",
                    form(
                        path,
                        "limit",
                        *fields,
                        element("button", "Set limits", type="submit"),
                        element("small", "While the function has so many jobs, one of the priority is refused; 0 is no limit."),
                        class_="limits",
                    ),
                ),
                (
                    "Clear",
                    confirmed(
                        path,
                        "clear",
                        "Cancel all that wait",
                        f"{_jobs(function.queued.total + function.delayed)} that wait, or that wait for their time, are "
                        "cancelled. Those that run are not.",
                        typed(function.name, "clear"),
                    ),
                ),
                (
                    "Drop",
                    confirmed(
                        path,
                        "drop",
                        "Forget the function",
                        "The function and what was counted of it are forgotten, and its jobs are cancelled. That can "
                        "only be done while no worker can do it.",
                        typed(function.name, "drop"),
                    ),
                ),
            ]
        ),
        key="administration",
    )


def _limit_of(asked: Asked, priority: str) -> int:
    given = asked.field(priority).strip()
    if not given.isdigit() or len(given) > 10 or int(given) > MAX_LIMIT:
        raise Problem(400, f"The limit for {priority} priority has to be a whole number from 0 to {MAX_LIMIT:,}; 0 is no limit.")
    return int(given)


def _said(asked: Asked) -> str:
    return cut(Name(asked.name), 100) or "(empty)"


def _jobs(count: int) -> str:
    return f"{count:,} job" + ("" if count == 1 else "s")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _spaced(links: list[Tag]) -> list[Any]:
    return [part for link in links for part in (link, " ")][:-1]
