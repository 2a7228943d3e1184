"""
A small model of a job queue: lists and loops, and no care for speed.

It says what every connection of a job server is to hear, and what is to be in
the server's tables.  L{tests.core.test_model} compares.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from tests.core.case import NOON, Connection

FUNCTIONS = ("f", "g")

NOT_FOUND = {
    "WORK_STATUS": "Job given in work result not found",
    "WORK_COMPLETE": "Job given in work result not found",
    "WORK_FAIL": "Job given in work result not found",
    "WORK_DATA": "Job does not exist on server",
    "WORK_EXCEPTION": "An exception was received for a job that does not exist",
}
"""What each of a worker's packets is answered when it has no such job."""


@dataclass(eq=False)
class Work:
    """
    A job, as the model knows it.
    """

    handle: str
    function: str
    unique: str
    workload: str
    priority: int
    background: bool
    run_at: float
    state: str = "queued"
    stored: bool = False
    pending: bool = False
    clients: list[Party] = field(default_factory=list)
    worker: Party | None = None
    deadline: float | None = None
    grabbed: int = 0
    attempts: int = 0
    refused: bool = False


@dataclass(eq=False)
class Reply:
    """
    Something that a connection is to hear: C{text} is C{None} while it waits for the store to answer for C{work}.
    """

    text: str | None
    work: Work | None = None


@dataclass(eq=False)
class Party:
    """
    A connection, as the model knows it.
    """

    connection: Connection
    abilities: dict[str, float] = field(default_factory=dict)
    running: list[Work] = field(default_factory=list)
    expected: deque[Reply] = field(default_factory=deque)
    settled: set[str] = field(default_factory=set)
    exceptions: bool = False
    asleep: bool = False
    noops: int = 0
    gone: bool = False
    created: set[str] = field(default_factory=set)
    attached: Counter[str] = field(default_factory=Counter)
    finals: Counter[str] = field(default_factory=Counter)

    def expect(self, text: str) -> None:
        """
        It is to hear this.
        """
        if not self.gone:
            self.expected.append(Reply(text))

    @property
    def waits(self) -> bool:
        """
        Whether what it is to hear waits for the store.
        """
        return bool(self.expected)


class Queue:
    """
    The model: what a job queue is.
    """

    def __init__(self, store: bool, retries: int) -> None:
        self.store = store
        self.retries = retries
        self.now = NOON
        self.works: dict[str, Work] = {}
        self.lines: dict[tuple[str, int], list[Work]] = {(name, priority): [] for name in FUNCTIONS for priority in (0, 1, 2)}
        self.delayed: list[Work] = []
        self.storing: list[Work] = []
        self.known: dict[str, None] = {}
        self.limits: dict[str, int] = {}
        self.parties: list[Party] = []
        self.number = 0
        self.grabs = 0

    def of(self, function: str) -> list[Work]:
        """
        The jobs of a function that are not over.
        """
        return [work for work in self.works.values() if work.function == function and work.state != "over"]

    def runnable(self, function: str) -> bool:
        """
        Whether a job of a function can be grabbed.
        """
        return any(self.lines[function, priority] for priority in (0, 1, 2))

    # Clients

    def submit(
        self, party: Party, function: str, unique: str, workload: str, priority: int, background: bool, run_at: float = 0
    ) -> None:
        """
        A submission: a new job, or one that it joins.
        """
        self.known[function] = None
        for work in self.of(function) if unique else []:
            if work.unique == unique and (unique != "-" or (workload and work.workload == workload)):
                return self.join(party, work, background)
        limit = self.limits.get(function, 0)
        if limit and len(self.of(function)) >= limit:
            return party.expect("ERROR QUEUE_ERROR|Job queue is full")
        self.number += 1
        work = Work(f"H:{self.number}", function, unique, workload, priority, background, run_at)
        self.works[work.handle] = work
        if background and self.store:
            work.state = "storing"
            self.keep(party, work)
            return None
        if not background:
            self.attach(party, work)
        party.expect(f"JOB_CREATED {work.handle}")
        self.enqueue(work)

    def join(self, party: Party, work: Work, background: bool) -> None:
        """
        A submission of a job that is there.
        """
        waits = False
        if not background:
            self.attach(party, work)
            waits = work.state == "storing"
        elif not work.background:
            work.background = True
            if self.store:
                return self.keep(party, work)
        else:
            waits = work.pending
        if waits:
            party.expected.append(Reply(None, work))
        else:
            party.expect(f"JOB_CREATED {work.handle}")

    def attach(self, party: Party, work: Work) -> None:
        """
        Somebody waits for a job.
        """
        work.clients.append(party)
        party.attached[work.handle] += 1

    def keep(self, party: Party, work: Work) -> None:
        """
        A job goes to the store.
        """
        work.pending = True
        self.storing.append(work)
        party.expected.append(Reply(None, work))

    def answer(self, number: int, failure: str | None) -> None:
        """
        The store has answered for its oldest jobs.
        """
        batch, self.storing = self.storing[:number], self.storing[number:]
        for party in self.parties:
            for reply in party.expected:
                if reply.text is None and reply.work in batch:
                    assert reply.work is not None
                    reply.text = f"JOB_CREATED {reply.work.handle}" if failure is None else f"ERROR QUEUE_ERROR|{failure}"
        for work in batch:
            work.pending = False
            if failure is None:
                work.stored = True
                if work.state == "storing":
                    self.enqueue(work)
                continue
            work.background = False
            if work.state == "storing":
                work.refused = True
                self.end(work)
            else:
                if work.state == "over":
                    # Its clients were told when it was cancelled.
                    work.refused = True
                self.abandon(work)

    def enqueue(self, work: Work) -> None:
        """
        A job waits, for a worker or for its time.
        """
        if work.run_at > self.now:
            work.state = "delayed"
            self.delayed.append(work)
        else:
            work.state = "queued"
            self.lines[work.function, work.priority].append(work)

    # Workers

    def grab(self, party: Party) -> None:
        """
        The next job for a worker.
        """
        party.asleep = False
        party.noops = 0
        for function, seconds in party.abilities.items():
            for priority in (0, 1, 2):
                line = self.lines[function, priority]
                if line:
                    work = line.pop(0)
                    self.grabs += 1
                    work.state, work.worker, work.grabbed = "running", party, self.grabs
                    work.deadline = self.now + seconds if seconds else None
                    party.running.append(work)
                    return party.expect(f"JOB_ASSIGN_UNIQ {work.handle}|{work.function}|{work.unique}|{work.workload}")
        party.expect("NO_JOB")

    def result(self, party: Party, kind: str, handle: str, data: str) -> None:
        """
        What a worker says of a job.
        """
        work = self.works.get(handle)
        if work is None or work.worker is not party:
            if handle not in party.settled:
                party.expect(f"ERROR JOB_NOT_FOUND|{NOT_FOUND[kind]}")
            elif kind in ("WORK_COMPLETE", "WORK_FAIL"):
                party.settled.remove(handle)
            return
        for client in work.clients:
            if kind == "WORK_EXCEPTION" and not client.exceptions:
                client.expect(f"WORK_FAIL {handle}")
            else:
                client.expect(f"{kind} {handle}{data}")
        if kind == "WORK_EXCEPTION":
            party.settled.add(handle)
        if kind in ("WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"):
            self.end(work)

    def take_back(self, work: Work) -> None:
        """
        A job loses its worker.
        """
        if work.worker is not None:
            work.worker.running.remove(work)
            work.worker = work.deadline = None

    def retry(self, work: Work) -> None:
        """
        A job whose worker was lost goes to the head, or is over.
        """
        self.take_back(work)
        work.state = "lost"
        work.attempts += 1
        if self.abandon(work):
            return
        if self.retries and work.attempts >= self.retries:
            self.fail(work)
            self.end(work)
            return
        work.state = "queued"
        self.lines[work.function, work.priority].insert(0, work)

    # Ends

    def fail(self, work: Work) -> None:
        """
        Its clients hear that there will be no result.
        """
        for client in work.clients:
            client.expect(f"WORK_FAIL {work.handle}")

    def abandon(self, work: Work) -> bool:
        """
        A foreground job that waits, and that nobody waits for, is over.
        """
        if work.background or work.clients or work.state in ("running", "over"):
            return False
        self.end(work)
        return True

    def end(self, work: Work) -> None:
        """
        A job is over.
        """
        self.take_back(work)
        for line in (self.lines[work.function, work.priority], self.delayed):
            if work in line:
                line.remove(work)
        work.state = "over"
        work.clients = []

    def cancel(self, work: Work) -> None:
        """
        A job is taken away.
        """
        self.fail(work)
        if work.worker is not None:
            work.worker.settled.add(work.handle)
        self.end(work)

    def leave(self, party: Party) -> None:
        """
        A connection has ended.
        """
        party.gone = True
        self.parties.remove(party)
        party.abilities.clear()
        for work in reversed(party.running[:]):
            self.retry(work)
        for work in list(self.works.values()):
            if party in work.clients:
                work.clients = [client for client in work.clients if client is not party]
                self.abandon(work)

    def pass_time(self, seconds: float) -> None:
        """
        Time passes: jobs come of age, and workers are too slow.
        """
        end = self.now + seconds
        while True:
            slow = [(work.deadline, work) for party in self.parties for work in party.running if work.deadline is not None]
            ripe = [(work.run_at, work) for work in self.delayed]
            due = min((at for at, _ in slow + ripe), default=end + 1)
            if due > end:
                break
            self.now = max(self.now, due)
            for at, work in sorted(slow, key=lambda entry: entry[1].grabbed):
                if at == due:
                    self.retry(work)
            for at, work in ripe:
                if at == due:
                    self.delayed.remove(work)
                    self.enqueue(work)
        self.now = end

    @property
    def running(self) -> list[Work]:
        """
        The jobs that run.
        """
        return [work for party in self.parties for work in party.running]
