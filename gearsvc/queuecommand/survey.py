"""
What C{gearsvc queue show} finds in a store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gearsvc.core.jobs import JobRecord, Priority
from gearsvc.core.pauses import paused_function
from gearsvc.queuecommand.joblines import PRIORITY_NAMES, fields_of, put
from gearsvc.queuecommand.readable import readable
from gearsvc.queuecommand.tables import Column, Table


@dataclass
class FunctionSurvey:
    """
    The stored jobs of one function, or of all.

    @ivar jobs: how many there are.
    @ivar priorities: how many of each priority, high first.
    @ivar delayed: how many wait for their time.
    @ivar oldest: when the first one was submitted, in Unix seconds; C{None} if
        that is not known of any.
    @ivar size: the bytes of their workloads.
    """

    jobs: int = 0
    priorities: list[int] = field(default_factory=lambda: [0] * len(Priority))
    delayed: int = 0
    oldest: float | None = None
    size: int = 0

    def count(self, record: JobRecord, now: float) -> None:
        """
        Count one job.
        """
        self.jobs += 1
        self.priorities[record.priority] += 1
        self.delayed += record.run_at > now
        self.size += len(record.workload)
        # gearmand's tables do not tell it, and it is 0 then.
        if record.submitted and (self.oldest is None or record.submitted < self.oldest):
            self.oldest = record.submitted

    def as_json(self) -> dict[str, Any]:
        """
        All of it as what JSON has.
        """
        values: dict[str, Any] = {"jobs": self.jobs}
        values.update((PRIORITY_NAMES[number], count) for number, count in enumerate(self.priorities))
        return {**values, "delayed": self.delayed, "oldest": self.oldest, "bytes": self.size}

    def as_row(self, name: str) -> list[str]:
        """
        All of it as a row of a table.
        """
        numbers = [self.jobs, *self.priorities, self.delayed]
        return [name, *(f"{number:,}" for number in numbers), time_of(self.oldest or 0), f"{self.size:,}"]


class Survey:
    """
    What a store holds, function by function.

    @ivar jobs: how many jobs.
    @ivar paused: the functions that are paused.
    """

    def __init__(self, now: float) -> None:
        """
        @param now: the time, in Unix seconds.
        """
        self._now = now
        self.paused: set[bytes] = set()
        self._functions: dict[bytes, FunctionSurvey] = {}
        self._all = FunctionSurvey()

    def count(self, records: Sequence[JobRecord]) -> None:
        """
        Count some jobs, and pauses.
        """
        for record in records:
            paused = paused_function(record)
            if paused is not None:
                self.paused.add(paused)
                continue
            function = self._functions.get(record.function)
            if function is None:
                function = self._functions[record.function] = FunctionSurvey()
            function.count(record, self._now)
            self._all.count(record, self._now)

    @property
    def jobs(self) -> int:
        """
        How many jobs there are.
        """
        return self._all.jobs

    def as_json(self, store: str) -> str:
        """
        All of it, for programs.

        @param store: the store's description.
        """
        functions: list[dict[str, Any]] = []
        for name, function in sorted(self._functions.items()):
            values: dict[str, Any] = {}
            put(values, "function", name)
            functions.append({**values, **function.as_json()})
        paused = [readable(name) for name in sorted(self.paused)]
        return json.dumps({"store": store, **self._all.as_json(), "paused": paused, "functions": functions}, indent=2)

    def as_table(self) -> Table:
        """
        All of it, for people.
        """
        counts = [Column(title, number=True) for title in ("jobs", "high", "normal", "low", "delayed")]
        table = Table([Column("function", names=True), *counts, Column("oldest"), Column("bytes", number=True)])
        table.rows += [function.as_row(readable(name)) for name, function in sorted(self._functions.items())]
        if len(table.rows) > 1:
            table.total = self._all.as_row("total")
        return table


class Listing:
    """
    The first jobs of a store, one by one.

    @ivar jobs: how many the store has.
    @ivar table: those that are listed.
    """

    def __init__(self, limit: int) -> None:
        """
        @param limit: how many to list.
        """
        self.jobs = 0
        self.table = Table(
            [
                *(Column(title, names=True) for title in ("handle", "function", "unique id")),
                Column("priority"),
                Column("run at", optional=True),
                Column("attempts", number=True, optional=True),
                Column("bytes", number=True),
                Column("submitted"),
            ]
        )
        self._limit = limit

    def count(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """
        See some jobs.  (Pauses are none.)

        @return: those of them that are to be listed.
        """
        records = [record for record in records if paused_function(record) is None]
        wanted = records[: max(0, self._limit - self.jobs)]
        self.jobs += len(records)
        return list(wanted)

    def add(self, records: Sequence[JobRecord]) -> None:
        """
        Put some jobs into the table.
        """
        for record in records:
            self.table.rows.append(
                [
                    readable(record.handle),
                    readable(record.function),
                    readable(record.unique),
                    PRIORITY_NAMES[record.priority],
                    time_of(record.run_at),
                    str(record.attempts),
                    f"{len(record.workload):,}",
                    time_of(record.submitted),
                ]
            )


def as_json_line(record: JobRecord) -> str:
    """
    A job without its workload, for programs.
    """
    return json.dumps({**fields_of(record), "bytes": len(record.workload)})


def time_of(seconds: float) -> str:
    """
    A time as people here write it; nothing if there is none.
    """
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        # It is after the year 9999.
        return f"{seconds:.0f}"
