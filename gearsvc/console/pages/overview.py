"""
The server at a glance: is it well, and if not, what is to be done?
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.web.template import Tag

from gearsvc.console.pages import charts
from gearsvc.console.pages.charts import Line, chart
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.functions import busiest
from gearsvc.console.pages.parts import age, badge, card, facts, function_path, moment, name, number, rate, share, tile
from gearsvc.console.pages.serving import Asked, Page, Shown
from gearsvc.console.series import MOMENTS
from gearsvc.console.values import Attention, Overview, Tally

STEP = 5
"""
How many seconds a point of a chart stands for.
"""

BUSIEST = 8
"""
How many functions are listed.
"""

FEW = 3
"""
How many things to look at of one kind are shown; the others have to be asked for.
"""

ADVICE = {
    "store": "Jobs in the background are refused until it is back; the server's log says what it tried.",
    "balance": "This is a mistake of the server's: please report it, with what /metrics says.",
    "no_worker": "Start a worker that can do it, or clear it.",
    "failing": "Look at what the failed jobs say.",
    "full": "Start more workers, or raise the limit.",
    "old": "See whether its workers are stuck, or start more.",
    "draining": "Let it end, or let it take jobs again.",
    "paused": "Resume it when what it waits for is there.",
}
"""
What to do about each kind of L{Attention}.
"""


class OverviewPage(Page):
    """
    C{/}
    """

    section = "/"

    async def show(self, asked: Asked) -> Shown:
        """
        Show it.
        """
        seen = await self.views.overview()
        ranked = await self.views.ranked("waiting", True, 0, BUSIEST)
        return Shown(
            "Overview",
            [
                strip(seen),
                attention(seen.attention),
                self._charts(seen.now),
                busiest(asked, ranked, BUSIEST) if ranked.functions else self._first_steps(),
                accounts("Since the server started", seen.tally, seen.total, seen.started),
            ],
            self.section,
        )

    def _charts(self, now: float) -> Tag:
        moments = self.views.moments(MOMENTS // STEP + 1, STEP)
        at = [each.at for each in moments]

        def per_second(what: str) -> list[float | None]:
            return [max(getattr(each, what) / each.seconds, 0.0) if each.seconds > 0 else None for each in moments]

        def waited(which: str) -> list[float | None]:
            return [getattr(each.wait, which) for each in moments]

        through = [
            Line("Submitted", "submitted", per_second("submitted")),
            Line("Done", "done", per_second("completed"), filled=True),
            Line("Failed", "failed", per_second("failed")),
        ]
        waits = [
            Line("99%", "p99", waited("p99")),
            Line("95%", "p95", waited("p95")),
            Line("half", "p50", waited("p50")),
        ]
        there = [
            Line("Waiting", "waiting", [float(each.waiting) for each in moments], filled=True),
            Line("Running", "running", [float(each.running) for each in moments]),
        ]
        return element(
            "div",
            chart("throughput", "Jobs a second", at, now, through, charts.linear(_most(through)), rate),
            chart(
                "waits",
                "Waiting time",
                at,
                now,
                waits,
                charts.logarithmic(_most(waits)),
                charts.seconds,
                "no longer than, of the jobs handed out",
            ),
            chart("depth", "Jobs there", at, now, there, charts.linear(max(_most(there), 1)), _whole),
            class_="charts",
        )

    def _first_steps(self) -> Tag:
        port = next((str(each) for each in self.console.service.settings.port if str(each).isdigit()), "4730")
        return card(
            "No functions yet",
            element("p", "A function is there as soon as a worker can do it, or somebody submits a job of it. To try:"),
            element("pre", f"gearman -p {port} -w -f reverse -- rev &\necho hello | gearman -p {port} -f reverse"),
            key="functions",
        )


def strip(seen: Overview) -> Tag:
    """
    The server's health, as some numbers.
    """
    queued, store, rates = seen.queued, seen.store, seen.rates
    lines = [f"{number(count)} {which}" for count, which in ((queued.high, "high"), (queued.low, "low")) if count]
    lines += [f"{number(seen.delayed)} later"] if seen.delayed else []
    lines += [f"{number(seen.storing)} being stored"] if seen.storing else []
    failing = seen.failure_share is not None and seen.failure_share > 0.1
    return element(
        "section",
        tile("Waiting", number(queued.total), ", ".join(lines) or "jobs", href="/jobs?state=queued"),
        tile("Running", number(seen.running), "jobs", href="/jobs?state=running"),
        tile("Oldest waits", age(seen.oldest_age), "since it could run", "warn" if (seen.oldest_age or 0) > 300 else ""),
        tile("Done", f"{rate(rates.completed)}/s", f"{rate(rates.submitted)}/s submitted"),
        tile(
            "Failed",
            share(seen.failure_share),
            f"{rate(rates.failed)}/s, of ten minutes",
            "bad" if failing else "",
            href="/jobs?state=failed",
        ),
        tile(
            "Workers busy",
            f"{number(seen.busy)} of {number(seen.workers)}",
            f"{number(seen.asleep)} asleep",
            "bad" if not seen.workers and queued.total else "",
            href="/workers",
        ),
        tile("Store", "memory", "nothing outlives the server")
        if store is None
        else tile("Store", "up", f"{store.kind}, {number(store.pending)} pending", "good")
        if store.up
        else tile("Store", "fails", f"for {age(store.broken_for)}, {number(store.pending)} pending", "bad"),
        tile(
            "Balance",
            number(seen.tally.balance),
            "jobs unaccounted for" if seen.tally.balance else "every job accounted for",
            "bad" if seen.tally.balance else "good",
        ),
        class_="strip",
        id="strip",
        aria_label="Health",
    )


def attention(found: list[Attention], of_function: bool = False) -> Any:
    """
    What an operator should look at, with what to do.

    @param of_function: whether all of it is about the function whose page this is.
    """
    if not found:
        return element("p", badge("well", "good"), " Nothing needs attention.", class_="well", id="attention")
    shown: list[Tag] = []
    others: list[Tag] = []
    of_kind: Counter[str] = Counter()
    for each in found:
        of_kind[each.kind] += 1
        (shown if of_kind[each.kind] <= FEW else others).append(_item(each, of_function))
    more: Any = ""
    if others:
        more = element(
            "details",
            element("summary", f"{number(len(others))} more"),
            element("ul", *others, class_="attention"),
            id="attention-more",
        )
    return card(
        "Needs attention",
        element("ul", *shown, class_="attention"),
        more,
        key="attention",
        more=badge(number(len(found)), "count"),
    )


def _item(of: Attention, of_function: bool) -> Tag:
    about: Any = ""
    path = of.function.path if of.function is not None else ""
    if of.function is not None and not of_function:
        about = [element("a", name(of.function), href=function_path(of.function)), ": "]
    return element(
        "li",
        badge(of.kind.replace("_", " "), "bad" if of.severity == "error" else "warn"),
        element("p", about, of.sentence),
        element("p", ADVICE[of.kind], _way(of), class_="quiet"),
        data_key=f"{of.kind} {path}"[:500],
    )


def _way(of: Attention) -> Any:
    """
    Where to go about it.
    """
    if of.function is None:
        return ""
    path = of.function.path
    label, href = {
        "failing": ("Failed jobs", f"/jobs?function={path}&state=failed"),
        "old": ("Its workers", f"/workers?function={path}"),
        "no_worker": ("Its jobs", f"/jobs?function={path}"),
    }.get(of.kind, ("Its page", function_path(of.function)))
    return [" ", element("a", label, href=href)]


def accounts(heading: str, tally: Tally, there: int, since: float | None = None) -> Tag:
    """
    What became of all jobs.

    @param there: how many are still there.
    """

    def of(reasons: dict[str, int]) -> Any:
        total = number(sum(reasons.values()))
        said = ", ".join(f"{number(count)} {reason.replace('_', ' ')}" for reason, count in sorted(reasons.items()) if count)
        return [total, element("small", said)] if said else total

    return card(
        heading,
        facts(
            [
                ("Submitted", number(tally.submitted)),
                ("Found in the store", number(tally.replayed)),
                ("Completed", number(tally.completed)),
                ("Failed", of(tally.failed)),
                ("Cancelled", of(tally.cancelled)),
                ("Still there", number(there)),
                ("Unaccounted for", badge(number(tally.balance), "bad" if tally.balance else "good")),
                ("Joined a job that was there", number(tally.coalesced)),
                ("Tried again", of(tally.retried)),
                ("Refused", of(tally.rejected)),
            ]
        ),
        key="accounts",
        more=element("span", "since ", moment(since), class_="quiet") if since is not None else "",
    )


def _most(lines: list[Line]) -> float:
    return max((value for line in lines for value in line.values if value is not None), default=0.0)


def _whole(value: float) -> str:
    return number(value) if value == round(value) else number(value, 1)
