"""
Connections: the workers, and the clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.web.http import BAD_REQUEST
from twisted.web.template import Tag

from gearsvc.console.pages.elements import element
from gearsvc.console.pages.parts import (
    age,
    ago,
    badge,
    card,
    cut,
    empty,
    facts,
    function_link,
    job_link,
    moment,
    name,
    number,
    progress,
    worker_link,
)
from gearsvc.console.pages.searching import BadField, name_of_field, text_field
from gearsvc.console.pages.serving import Asked, Page, Shown
from gearsvc.console.pages.tables import Column, Order, following, order_of, pages, row, table
from gearsvc.console.problems import Problem
from gearsvc.console.values import Ability, Assignment, Connection

PER_PAGE = 100

SORTED = 2000
"""
How many connections are sorted at most; where there are more, they are shown in
the order in which they came.
"""

WORKERS = (
    Column("Worker", "wide", sort="id"),
    Column("Address", "narrow", sort="host"),
    Column("State", sort="state", title="Busy, asleep, woken (and has not asked for a job since) or awake"),
    Column("Since", sort="since"),
    Column("Job", "wide"),
    Column("Functions", "wide narrow", sort="functions", down=True),
    Column("Done", "num", sort="done", down=True, title="How many jobs it has completed"),
    Column("Connected", sort="connected"),
)

CLIENTS = (
    Column("Client", "wide", sort="id"),
    Column("Address", sort="host"),
    Column("Waits for", "num", sort="awaited", down=True, title="How many jobs' results it waits for"),
    Column("Connected", sort="connected"),
)

STATES = {"busy": "busy", "asleep": "", "woken": "warn", "awake": ""}

_LAST = float("inf")

_KEYS: dict[str, Callable[[Connection], Any]] = {
    "id": lambda each: (each.client_id in ("", "-"), each.client_id, each.number),
    "host": lambda each: each.host,
    "state": lambda each: list(STATES).index(each.state),
    "since": lambda each: each.since if each.since is not None else _LAST,
    "functions": lambda each: each.function_count,
    "done": lambda each: each.done,
    "connected": lambda each: each.number,
    "awaited": lambda each: each.awaited,
}

ABILITIES = (Column("Function", "wide"), Column("A job may take", "num"))

ASSIGNMENTS = (
    Column("Job", "handle"),
    Column("Function", "wide"),
    Column("Given to it"),
    Column("For", "num"),
    Column("Progress"),
)


class WorkersPage(Page):
    """
    C{/workers}: those that can do something; C{?show=clients}: all others.
    """

    section = "/workers"

    async def show(self, asked: Asked) -> Shown:
        """
        Show them.
        """
        clients = asked.text("show") == "clients"
        try:
            function = name_of_field(asked, "function")
        except BadField as problem:
            asked.request.setResponseCode(BAD_REQUEST)
            return Shown("Workers", _head(asked, clients, problem), self.section, live=False)
        after = asked.number("after", 0, 2**62)
        seen = await self.views.overview()
        found = await (self.views.clients(SORTED, after) if clients else self.views.workers(SORTED, after, function))
        body: list[Any] = [_head(asked, clients, None)]
        if clients:
            body.append(_summary(f"{number(seen.connections - seen.workers)} clients"))
        else:
            said = f"{number(seen.workers)} workers: {number(seen.busy)} busy, {number(seen.asleep)} asleep"
            body.append(_summary(said if function is None else f"Of {said}"))
        if not found.connections:
            body.append(empty(_nothing(clients, function is not None)))
        else:
            body.append(_table(asked, found.connections, found.following, after, clients, self.views.now()))
        return Shown("Clients" if clients else "Workers", body, self.section)


def _head(asked: Asked, clients: bool, problem: BadField | None) -> list[Any]:
    links = []
    for label, path, current in (("Workers", "/workers", not clients), ("Clients", "/workers?show=clients", clients)):
        link = element("a", label, href=path)
        if current:
            link.attributes["aria-current"] = "true"
        links.append(link)
    tabs = element("nav", *links, class_="forms", aria_label="Which connections")
    if clients:
        return [tabs]
    search = element(
        "form",
        text_field(asked, "function", "Workers that can do", problem),
        element("button", "Show", type="submit"),
        element("a", "All", href="/workers", class_="button quiet") if asked.raw("function") else "",
        method="get",
        action="/workers",
        class_="filter",
        role="search",
    )
    return [tabs, search]


def _summary(said: str) -> Tag:
    return element("p", said, class_="summary", id="summary")


def _nothing(clients: bool, of_function: bool) -> str:
    if clients:
        return "No client is connected."
    return "No worker can do this function." if of_function else "No worker is connected."


def _table(
    asked: Asked, found: Sequence[Connection], more: int | None, after: int, clients: bool, now: float
) -> list[Any]:
    columns = CLIENTS if clients else WORKERS
    cells = _client if clients else _worker
    order: Order | None = None
    if more is not None or after:
        # There are too many to be sorted.
        shown = list(found[:PER_PAGE])
        last = shown[-1].number if len(found) > PER_PAGE or more is not None else None
        way: Any = following(asked, str(last) if last is not None else None, after > 0)
    else:
        order = order_of(asked, columns, Order("connected", False))
        ordered = sorted(found, key=_KEYS[order.key], reverse=order.down)
        first = min(max(asked.number("page", 1, 10**6) - 1, 0), (len(ordered) - 1) // PER_PAGE) * PER_PAGE
        shown = ordered[first : first + PER_PAGE]
        way = pages(asked, first, len(shown), len(ordered), PER_PAGE)

    def rows() -> Iterator[Tag]:
        for each in shown:
            yield row(str(each.number), columns, *cells(each, now))

    return [table(asked, "Clients" if clients else "Workers", columns, rows(), order, key="connections"), way]


def _worker(each: Connection, now: float) -> list[Any]:
    job: Any = ""
    if each.jobs:
        first = each.jobs[0]
        job = element("span", job_link(first.handle), " ", function_link(first.function), class_="doing handle")
        if first.progress is not None:
            job(progress(first.progress))
        if each.job_count > 1:
            job(f" and {number(each.job_count - 1)} more")
    return [
        _named(each),
        each.host,
        _state(each),
        ago(each.since, now),
        job,
        _functions(each),
        number(each.done),
        ago(each.connected, now),
    ]


def _client(each: Connection, now: float) -> list[Any]:
    return [_named(each), each.host, number(each.awaited), ago(each.connected, now)]


def _named(each: Connection) -> Any:
    if each.client_id in ("-", ""):
        return worker_link(each.number)
    return [worker_link(each.number, each.client_id), " ", element("span", f"#{each.number}", class_="quiet")]


def _state(each: Connection) -> list[Any]:
    said: list[Any] = [badge(each.state, STATES[each.state])]
    if each.congested:
        said += [" ", badge("does not read", "bad")]
    return said


def _functions(each: Connection) -> list[Any]:
    said: list[Any] = []
    for ability in each.functions[:3]:
        said += [", " if said else "", function_link(ability.name, 30)]
    if each.function_count > 3:
        said.append(f" and {number(each.function_count - 3)} more")
    return said


class WorkerPage(Page):
    """
    C{/workers/NUMBER}: one connection, a worker or a client.
    """

    section = "/workers"

    async def show(self, asked: Asked) -> Shown:
        """
        Show it.
        """
        found = self.views.connection(int(asked.name)) if asked.name.isdigit() and len(asked.name) < 19 else None
        if found is None:
            raise Problem(
                404, f"There is no connection {asked.name[:50].decode('ascii', 'backslashreplace')}; it may have ended."
            )
        now = self.views.now()
        kind = "Worker" if found.function_count or found.job_count else "Client"
        named = found.client_id not in ("-", "")
        body: list[Any] = [card("What is known of it", facts(_facts(found, kind, now)), key="facts")]
        if kind == "Worker":
            body.append(card("Jobs", _jobs(asked, found, now), key="jobs", more=_of(len(found.jobs), found.job_count)))
            body.append(
                card(
                    "Functions",
                    _abilities(asked, found.functions),
                    key="functions",
                    more=_of(len(found.functions), found.function_count),
                )
            )
        return Shown(
            f"{kind} #{found.number}" + (f" {cut(found.client_id, 60)}" if named else ""),
            body,
            self.section,
            [
                f"{kind} #{found.number} ",
                name(found.client_id, 200) if named else "",
                " ",
                *(_state(found) if kind == "Worker" else []),
            ],
        )


def _of(shown: int, there: int) -> Any:
    return element("span", f"the first {number(shown)} of {number(there)}", class_="quiet") if there > shown else ""


def _facts(of: Connection, kind: str, now: float) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        ("Client id", name(of.client_id, 500) if of.client_id not in ("-", "") else "none: it did not say"),
        ("Address", of.host),
        ("Connected", [moment(of.connected), element("small", f"for {age(now - of.connected)}")]),
        ("Waits for the results of", f"{number(of.awaited)} jobs"),
    ]
    if kind == "Worker":
        rows += [
            ("State", [of.state, element("small", ["since ", moment(of.since)]) if of.since is not None else ""]),
            ("Jobs done", number(of.done)),
            ("Functions", number(of.function_count)),
        ]
    rows.append(("Reads what it is sent", "too slowly: it is full" if of.congested else "yes"))
    return rows


def _jobs(asked: Asked, of: Connection, now: float) -> Tag:
    def rows() -> Iterator[Tag]:
        for each in of.jobs:
            yield row(each.handle.path, ASSIGNMENTS, *_assignment(each, now))

    return (
        table(asked, "Jobs that it has", ASSIGNMENTS, rows(), key="jobs-table") if of.jobs else empty("It has no job.")
    )


def _assignment(each: Assignment, now: float) -> list[Any]:
    return [
        job_link(each.handle),
        function_link(each.function),
        moment(each.since),
        age(now - each.since),
        progress(each.progress) if each.progress is not None else "",
    ]


def _abilities(asked: Asked, abilities: Sequence[Ability]) -> Tag:
    def rows() -> Iterator[Tag]:
        for each in abilities:
            yield row(
                each.name.path,
                ABILITIES,
                function_link(each.name),
                age(each.seconds) if each.seconds is not None else "any time",
            )

    return (
        table(asked, "Functions that it can do", ABILITIES, rows(), key="functions-table")
        if abilities
        else empty("It can do none any more.")
    )
