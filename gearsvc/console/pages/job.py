"""
One job: where it is and why, what happened to it, and what it holds.
"""

from __future__ import annotations

from typing import Any

from twisted.web.template import Tag

from gearsvc.console.actions import no_job
from gearsvc.console.ends import REASONS, SAID
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.forms import form
from gearsvc.console.pages.parts import (
    age,
    ago,
    card,
    cut,
    facts,
    function_link,
    job_state,
    moment,
    name,
    number,
    progress,
    size,
    worker_link,
)
from gearsvc.console.pages.payloads import payload_card
from gearsvc.console.pages.serving import Action, Asked, Done, Page, Shown
from gearsvc.console.values import LISTED, Job, Peer, WholeJob
from gearsvc.core.explain import Explanation, Fact

_TIMES = ("submitted", "run_at", "started", "paused_since", "left_at", "asleep_since", "woken_at", "busy_since")

_ELSEWHERE = ("handle", "function", "attempts", "submitted", "started")
"""
Facts that stand elsewhere on the page.
"""


class JobPage(Page):
    """
    C{/jobs/HANDLE}
    """

    section = "/jobs"

    @property
    def actions(self) -> dict[str, Action]:
        """
        What can be done to a job.
        """
        return {"cancel": self._cancel}

    async def show(self, asked: Asked) -> Shown:
        """
        Show it.
        """
        found = self.views.job(asked.name)
        if found is None:
            raise no_job(asked.name)
        now = self.views.now()
        job = found.job
        lives = job.ended is None
        explanation = self.views.explain(asked.name) if lives else None
        body = [
            _why(explanation) if explanation is not None else _end(job),
            element("div", _timeline(job, now), _facts(found), class_="two"),
            payload_card(asked, "Workload", "workload", found.workload, "It is not kept: the job is over."),
        ]
        if not lives:
            label = "Exception" if job.reason == "exception" else "Why" if job.reason == "store" else "Result"
            body.append(payload_card(asked, label, "result", found.result, "It is not kept."))
        if lives and asked.operator:
            body.append(_cancelling(asked, job))
        return Shown(
            f"Job {cut(job.handle, 100)}",
            body,
            self.section,
            [
                "Job ",
                element("span", cut(job.handle, 200) or "(empty)", class_="name"),
                " ",
                job_state(job.state, job.reason),
            ],
            # What is over does not change.
            live=lives,
            every=5,
        )

    async def _cancel(self, asked: Asked) -> Done:
        self.console.actions.cancel(asked.name)
        return Done("The job is cancelled.", asked.here)


def _why(explanation: Explanation) -> Tag:
    rows = [
        (key.replace("_", " "), _fact(key, value)) for key, value in explanation.facts.items() if key not in _ELSEWHERE
    ]
    return card(
        "How is it doing?" if explanation.cause == "running" else "Why isn't it running?",
        element("p", explanation.sentence, class_="sentence"),
        element(
            "details",
            element("summary", "The facts"),
            facts([("cause", element("code", explanation.cause)), *rows]),
            id="why-facts",
        ),
        key="why",
    )


def _fact(key: str, value: Fact) -> Any:
    if key in _TIMES and isinstance(value, (int, float)):
        return moment(value) if value else "not known"
    if isinstance(value, list):
        return element("ul", *(element("li", cut(each, 200)) for each in value), class_="plain")
    return number(value) if isinstance(value, (int, float)) else cut(value, 500)


def _end(job: Job) -> Tag:
    said = SAID[job.state].capitalize()
    if job.reason is not None:
        said += f": {REASONS.get(job.reason, job.reason)}"
    if job.age is not None:
        said += f". It was there for {age(job.age)}"
    if job.started is not None and job.ended is not None:
        said += f", and its worker had it for {age(job.ended - job.started)}"
    return card("What became of it", element("p", f"{said}.", class_="sentence"), key="why")


def _timeline(job: Job, now: float) -> Tag:
    steps: list[tuple[str, Any, Any, str]] = []
    if job.submitted is not None:
        steps.append(("Submitted", moment(job.submitted), "", "past"))
    if job.attempts:
        times = "once" if job.attempts == 1 else f"{number(job.attempts)} times"
        steps.append((f"Queued again {times}", "", "a worker was lost over it, or took too long", "past"))
    if job.run_at is not None and job.state == "delayed":
        steps.append(("Waits for its time", moment(job.run_at), ago(job.run_at, now), "now"))
    elif job.run_at is not None:
        steps.append(("Its time came", moment(job.run_at), "", "past"))
    since = max((each for each in (job.submitted, job.run_at) if each is not None), default=None)
    if job.state == "storing":
        steps.append(("Being stored", "", "", "now"))
    elif job.state == "queued":
        steps.append(("Waits for a worker", "", f"for {age(now - since)}" if since is not None else "", "now"))
    if job.started is not None:
        waited = f"after {age(max(job.started - since, 0.0))}" if since is not None and not job.attempts else ""
        steps.append(("Given to a worker", moment(job.started), waited, "past"))
    if job.state == "running" and job.started is not None:
        steps.append(
            (
                "Runs",
                "",
                [f"for {age(now - job.started)} ", progress(job.progress) if job.progress is not None else ""],
                "now",
            )
        )
    if job.ended is not None:
        took = f"after {age(job.ended - job.started)}" if job.started is not None else ""
        steps.append(
            (
                job.state.capitalize(),
                moment(job.ended),
                took,
                {"completed": "good", "failed": "bad"}.get(job.state, "warn"),
            )
        )
    made = [
        element(
            "li", element("b", label), " ", at, " ", element("span", more, class_="quiet"), class_=kind, data_key=label
        )
        for label, at, more, kind in steps
    ]
    return card("What happened", element("ol", *made, class_="timeline"), key="timeline")


def _facts(found: WholeJob) -> Tag:
    job = found.job
    clients: Any = "nobody"
    if found.waiting_clients:
        clients = element("ul", *(element("li", _peer(each)) for each in found.waiting_clients), class_="plain")
        if job.clients > LISTED:
            clients = [clients, element("small", f"and {number(job.clients - LISTED)} more")]
    elif job.clients:
        clients = number(job.clients)
    rows: list[tuple[str, Any]] = [
        ("Function", function_link(job.function, 200)),
        ("Unique id", name(job.unique, 200) if job.unique else "none"),
        ("Priority", job.priority),
        (
            "Kind",
            "background: it goes on though nobody waits for it"
            if job.background
            else "foreground: it is there for those who wait for it",
        ),
        ("Attempts that failed", number(job.attempts)),
        ("Worker", _peer(job.worker) if job.worker is not None else "none"),
        ("Clients that wait for it" if job.ended is None else "Clients that waited for it", clients),
        ("Workload", size(job.size)),
    ]
    if found.reducer is not None:
        rows.append(("Reducer", name(found.reducer)))
    return card("What is known of it", facts(rows), key="facts")


def _peer(peer: Peer) -> list[Any]:
    return [
        worker_link(peer.number, peer.client_id),
        " ",
        element("span", f"#{peer.number} at {peer.host}", class_="quiet"),
    ]


def _cancelling(asked: Asked, job: Job) -> Tag:
    if job.state == "storing":
        return element("p", "It is being stored; it can be cancelled once it is.", class_="quiet", id="cancelling")
    sentence = "Its clients are told that it failed."
    if job.state == "running":
        sentence += " Its worker is not interrupted, but what it still sends of the job is dropped."
    return element(
        "details",
        element("summary", "Cancel this job"),
        form(
            asked.here,
            "cancel",
            element("p", sentence),
            element("button", "Cancel this job", type="submit", class_="danger"),
        ),
        class_="confirm",
        id="cancelling",
    )
