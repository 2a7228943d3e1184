"""
The job server against a small model of a queue.

Hypothesis makes up a life of a server: clients and workers that come, talk,
and go, a store that commits or refuses, time that passes.  The model is told
the same.  It predicts every reply on every connection, in order (but for
NOOPs, of which it knows only when they must come and when they must not), and
after each step it is compared with the tables of the server.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from unittest import TestCase

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from gearsvc.config import Settings
from gearsvc.core.jobs import Job, State
from gearsvc.core.jobserver import JobServer
from tests.core.case import NOON, Connection, FakeClock, FakeStore

FUNCTIONS = ("f", "g")
KINDS = {
    (False, 0): "SUBMIT_JOB_HIGH",
    (False, 1): "SUBMIT_JOB",
    (False, 2): "SUBMIT_JOB_LOW",
    (True, 0): "SUBMIT_JOB_HIGH_BG",
    (True, 1): "SUBMIT_JOB_BG",
    (True, 2): "SUBMIT_JOB_LOW_BG",
}
NOT_FOUND = {
    "WORK_STATUS": "Job given in work result not found",
    "WORK_COMPLETE": "Job given in work result not found",
    "WORK_FAIL": "Job given in work result not found",
    "WORK_DATA": "Job does not exist on server",
    "WORK_EXCEPTION": "An exception was received for a job that does not exist",
}
DELAY = 1.0
"""--wakeup-delay."""


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
                    work.state, work.worker = "running", party
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
            for at, work in sorted(slow, key=lambda entry: self.order.index(entry[1])):
                if at == due:
                    self.retry(work)
            for at, work in ripe:
                if at == due:
                    self.delayed.remove(work)
                    self.enqueue(work)
        self.now = end

    @property
    def order(self) -> list[Work]:
        """
        Running jobs in the order in which they were grabbed; within one worker that is all that is needed.
        """
        return [work for party in self.parties for work in party.running]


some = st.integers(0, 99)
"""Which one, of as many as there are."""


class JobServerMachine(RuleBasedStateMachine):
    """
    What may happen to a job server.
    """

    @initialize(
        store=st.booleans(), wakeup=st.integers(0, 2), retries=st.sampled_from([0, 0, 1, 2]), functions=st.lists(st.sampled_from(FUNCTIONS))
    )
    def start(self, store: bool, wakeup: int, retries: int, functions: list[str]) -> None:
        """
        A server, a client and a worker.
        """
        self.clock = FakeClock()
        self.store = FakeStore()
        self.wakeup = wakeup
        self.server = JobServer(
            Settings(worker_wakeup=wakeup, job_retries=retries, wakeup_delay=DELAY),
            self.clock,
            b"H",
            store=self.store if store else None,
        )
        self.store.server = self.server
        self.model = Queue(store, retries)
        self.admin = Connection(self.server)
        self.grabbed = 0
        self.connects()
        self.connects()
        for function in functions:
            self.can_do(1, function, 0)

    # What connections do

    def party(self, number: int) -> Party:
        """
        One of the connections.
        """
        return self.model.parties[number % len(self.model.parties)]

    def says(self, party: Party, message: str) -> None:
        """
        A connection says something; L{listen} compares what comes of it.
        """
        connection = party.connection
        heard = connection.says(message)
        connection._heard[:0] = heard

    @precondition(lambda self: len(self.model.parties) < 6)
    @rule()
    def connects(self) -> None:
        """
        A new connection.
        """
        self.model.parties.append(Party(Connection(self.server)))

    @precondition(lambda self: len(self.model.parties) > 2)
    @rule(who=some)
    def hangs_up(self, who: int) -> None:
        """
        A connection ends.
        """
        party = self.party(who)
        party.connection.hangs_up()
        self.model.leave(party)

    @rule(
        who=some,
        function=st.sampled_from(FUNCTIONS),
        unique=st.sampled_from(["", "-", "u1", "u2"]),
        workload=st.sampled_from(["", "a", "b"]),
        priority=st.integers(0, 2),
        background=st.booleans(),
    )
    def submits(self, who: int, function: str, unique: str, workload: str, priority: int, background: bool) -> None:
        """
        A client submits a job.
        """
        party = self.party(who)
        self.model.submit(party, function, unique, workload, priority, background)
        self.says(party, f"{KINDS[background, priority]} {function}|{unique}|{workload}")

    @rule(who=some, function=st.sampled_from(FUNCTIONS), unique=st.sampled_from(["", "u1"]), seconds=st.integers(-1, 4))
    def submits_for_later(self, who: int, function: str, unique: str, seconds: int) -> None:
        """
        A client submits a delayed job.
        """
        party = self.party(who)
        run_at = int(self.clock.wall) + seconds
        self.model.submit(party, function, unique, "later", 1, True, run_at)
        self.says(party, f"SUBMIT_JOB_EPOCH {function}|{unique}|{run_at}|later")

    @rule(who=some)
    def wants_exceptions(self, who: int) -> None:
        """
        A client asks for exceptions.
        """
        party = self.party(who)
        party.exceptions = True
        party.expect("OPTION_RES exceptions")
        self.says(party, "OPTION_REQ exceptions")

    @rule(who=some)
    def echoes(self, who: int) -> None:
        """
        A connection asks for something that has nothing to do with jobs.
        """
        self.party(who).expect("ECHO_RES a")
        self.says(self.party(who), "ECHO_REQ a")

    @rule(who=some, function=st.sampled_from(FUNCTIONS), seconds=st.sampled_from([0, 0, 2, 3]))
    def can_do(self, who: int, function: str, seconds: int) -> None:
        """
        A worker learns a function.
        """
        party = self.party(who)
        self.model.known[function] = None
        party.abilities[function] = seconds
        self.says(party, f"CAN_DO_TIMEOUT {function}|{seconds * 1000}" if seconds else f"CAN_DO {function}")

    @rule(who=some, function=st.sampled_from(FUNCTIONS))
    def cant_do(self, who: int, function: str) -> None:
        """
        A worker gives a function up.
        """
        party = self.party(who)
        party.abilities.pop(function, None)
        self.says(party, f"CANT_DO {function}")

    @rule(who=some)
    def resets(self, who: int) -> None:
        """
        A worker gives all functions up.
        """
        party = self.party(who)
        party.abilities.clear()
        self.says(party, "RESET_ABILITIES")

    @rule(who=some)
    def grabs(self, who: int) -> None:
        """
        A worker grabs a job.
        """
        party = self.party(who)
        self.model.grab(party)
        self.says(party, "GRAB_JOB_UNIQ")

    @rule(who=some, times=st.integers(1, 4))
    def works(self, who: int, times: int) -> None:
        """
        A worker does some jobs in a row, and sleeps.
        """
        party = self.party(who)
        for _ in range(times):
            self.grabs(who)
            if party.running:
                self.result_of(party, party.running[-1].handle, "WORK_COMPLETE")
        self.sleeps(who)

    @rule(who=some)
    def sleeps(self, who: int) -> None:
        """
        A worker goes to sleep; if it was awake and there is a job, it is woken at once.
        """
        party = self.party(who)
        was_awake = not party.asleep
        party.asleep = True
        before = party.noops
        self.says(party, "PRE_SLEEP")
        self.listen()
        if was_awake and not party.waits and any(map(self.model.runnable, party.abilities)):
            assert party.noops == before + 1, "PRE_SLEEP with a job there, and no NOOP"

    @precondition(lambda self: any(party.running for party in self.model.parties))
    @rule(which=some, kind=st.sampled_from(["WORK_STATUS", "WORK_DATA", "WORK_COMPLETE", "WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"]))
    def reports(self, which: int, kind: str) -> None:
        """
        A worker says something of a job that it has.
        """
        work = self.model.order[which % len(self.model.order)]
        assert work.worker is not None
        self.result_of(work.worker, work.handle, kind)

    @precondition(lambda self: self.model.number)
    @rule(who=some, which=some, kind=st.sampled_from(sorted(NOT_FOUND)))
    def claims(self, who: int, which: int, kind: str) -> None:
        """
        Somebody says something of some job, which may be over, or another's.
        """
        self.result_of(self.party(who), f"H:{1 + which % self.model.number}", kind)

    def result_of(self, party: Party, handle: str, kind: str) -> None:
        """
        A connection says something of a job.
        """
        data = {"WORK_STATUS": "|1|2", "WORK_FAIL": ""}.get(kind, "|x")
        self.model.result(party, kind, handle, data)
        self.says(party, f"{kind} {handle}{data}")

    # What administrators do

    @precondition(lambda self: self.model.number)
    @rule(which=some)
    def cancels(self, which: int) -> None:
        """
        A job is cancelled, or was over.
        """
        handle = f"H:{1 + which % self.model.number}"
        work = self.model.works.get(handle)
        over = work is None or work.state == "over"
        if work is not None and not over:
            self.model.cancel(work)
        assert self.admin.says(f"cancel job {handle}\n") == ["ERR UNKNOWN_JOB\r\n" if over else "OK\r\n"]

    @rule(function=st.sampled_from(FUNCTIONS))
    def drops(self, function: str) -> None:
        """
        A function is dropped, unless somebody can do it.
        """
        reply = "OK\r\n"
        if function not in self.model.known:
            reply = "ERR function not found\r\n"
        elif any(function in party.abilities for party in self.model.parties) or any(
            work.state == "running" for work in self.model.of(function)
        ):
            reply = "ERR there are still connected workers or executing clients\r\n"
        else:
            for work in self.model.of(function):
                self.model.cancel(work)
            del self.model.known[function]
            self.model.limits.pop(function, None)
        assert self.admin.says(f"drop function {function}\n") == [reply]

    @rule(function=st.sampled_from(FUNCTIONS), limit=st.sampled_from([0, 0, 3, 5]))
    def limits(self, function: str, limit: int) -> None:
        """
        A queue is limited.
        """
        self.model.limits[function] = limit
        assert self.admin.says(f"maxqueue {function} {limit}\n") == ["OK\r\n"]

    # What the world does

    @precondition(lambda self: self.model.storing)
    @rule(number=st.integers(1, 4), failure=st.sampled_from([None, None, "no room"]))
    def store_answers(self, number: int, failure: str | None) -> None:
        """
        The store has committed some jobs, or cannot.
        """
        self.model.answer(number, failure)
        self.store.answers(failure, number)

    @rule(seconds=st.sampled_from([0.5, 1, 1.5, 4]))
    def time_passes(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.model.pass_time(seconds)
        self.clock.advance(seconds)

    @rule()
    def nobody_is_forgotten(self) -> None:
        """
        When --wakeup-delay has passed, of those who sleep and could do a job that waits somebody has been woken, or woken again; with
        --worker-wakeup 0 everyone.
        """
        self.listen()
        waiting = [function for function in FUNCTIONS if self.model.runnable(function)]
        before = {party: party.noops for party in self.model.parties}
        self.time_passes(DELAY)
        self.listen()
        for function in waiting:
            sleepers = [party for party in self.model.parties if party.asleep and function in party.abilities]
            # A NOOP keeps its place behind what waits for the store.
            if sleepers and self.model.runnable(function) and not any(party.waits for party in sleepers):
                woken = [party for party in sleepers if party.noops > before[party]]
                assert woken, f"a job of {function} waits, and nobody who sleeps was woken for it"
                assert self.wakeup or woken == sleepers, f"a job of {function} waits, and not everyone was woken for it"

    # What always holds

    @invariant()
    def holds(self) -> None:
        """
        What always holds, after each step.
        """
        self.listen()
        self.one_final_packet()
        self.eager_wakeups()
        self.tables()
        self.counters()
        self.stored_jobs()

    def listen(self) -> None:
        """
        Every connection has heard what the model says, in order; NOOPs come to those alone who sleep, and what is said of a job comes
        after its JOB_CREATED.
        """
        for party in self.model.parties:
            waited = party.waits
            expected = []
            while party.expected and party.expected[0].text is not None:
                expected.append(party.expected.popleft().text)
            heard = party.connection.hears()
            for message in heard:
                words = message.split(" ", 1)
                if message == "NOOP":
                    party.noops += 1
                    assert party.asleep or waited, "a NOOP for one who does not sleep"
                    continue
                handle = words[1].split("|")[0] if len(words) > 1 else ""
                if words[0] == "JOB_CREATED":
                    party.created.add(handle)
                elif words[0].startswith("WORK_"):
                    refused = self.model.works[handle].refused
                    assert handle in party.created or refused, f"{message} before its JOB_CREATED"
                    if words[0] in ("WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION") and not refused:
                        party.finals[handle] += 1
            assert [message for message in heard if message != "NOOP"] == expected

    def one_final_packet(self) -> None:
        """
        Who waits for a job hears of its end once for each time that it asked, and nobody hears of an end that has not come.
        """
        for party in self.model.parties:
            for handle, times in party.attached.items():
                work = self.model.works[handle]
                if work.state != "over":
                    assert party.finals[handle] == 0
                elif not (party.waits or work.refused):
                    assert party.finals[handle] == times, f"{party.finals[handle]} final packets for {times} submissions"

    def eager_wakeups(self) -> None:
        """
        With --worker-wakeup 0, a job waits for nobody who sleeps and was not told.
        """
        if not self.wakeup:
            for party in self.model.parties:
                if party.asleep and not party.noops and not party.waits:
                    assert not any(map(self.model.runnable, party.abilities)), "a job waits, and a worker sleeps"

    def tables(self) -> None:
        """
        Each job that is not over is in the server's tables once, in the state and at the place that the model says; nothing else is.
        """
        server, model = self.server, self.model
        alive = {work.handle.encode(): work for work in model.works.values() if work.state != "over"}
        assert list(server.jobs) == list(alive)
        places: Counter[Job] = Counter()
        for name, queue in server.functions.items():
            for priority, line in enumerate(queue.lines):
                jobs = [job for job in line if job.state != State.FINISHED]
                assert [job.handle.decode() for job in jobs] == [work.handle for work in model.lines[name.decode(), priority]]
                places.update(jobs)
            places.update(job for _, _, job in queue.delayed if job.state != State.FINISHED)
        for session in server.sessions:
            places.update(list(session.running))
            assert all(job.worker is session and job.state == State.RUNNING for job in session.running)
            assert all(session in job.clients for job in session.awaited)
        places.update(job for job in server.jobs.values() if job.state == State.STORING)
        assert places == Counter(server.jobs.values())
        for handle, job in server.jobs.items():
            work = alive[handle]
            assert State(job.state).name.lower() == work.state
            assert [client.peer for client in job.clients] == [party.connection for party in work.clients]
            assert (job.background, job.attempts) == (work.background, work.attempts)
            assert all(job in client.awaited for client in job.clients)

    def counters(self) -> None:
        """
        What C{status} and C{prioritystatus} say is what the model says.
        """
        status, priorities = [], []
        for function in self.model.known:
            works = self.model.of(function)
            workers = sum(function in party.abilities for party in self.model.parties)
            running = sum(work.state == "running" for work in works)
            status.append(f"{function}\t{len(works)}\t{running}\t{workers}\n")
            waiting = Counter(work.priority for work in works if work.state in ("queued", "delayed"))
            priorities.append(f"{function}\t{waiting[0]}\t{waiting[1]}\t{waiting[2]}\t{workers}\n")
        assert self.admin.says("status\n") == [*status, ".\n"]
        assert self.admin.says("prioritystatus\n") == [*priorities, ".\n"]
        assert self.server.running == sum(work.state == "running" for work in self.model.works.values())
        timed = [work.handle for work in self.model.order if work.deadline is not None]
        assert sorted(job.handle.decode() for job in self.server._timeouts) == sorted(timed)

    def stored_jobs(self) -> None:
        """
        The store holds what was committed and is not over.
        """
        stored = sorted(work.handle for work in self.model.works.values() if work.stored and work.state != "over")
        assert sorted(record.handle.decode() for record in self.store.rows) == stored

    def teardown(self) -> None:
        """
        When everything has been stored, run and answered, nothing is left anywhere.
        """
        if not hasattr(self, "model"):
            return
        self.model.answer(len(self.model.storing), None)
        self.store.answers()
        self.time_passes(10)
        for function in FUNCTIONS:
            self.can_do(0, function, 0)
        worker = self.party(0)
        while any(map(self.model.runnable, FUNCTIONS)):
            self.grabs(0)
            self.result_of(worker, worker.running[-1].handle, "WORK_COMPLETE")
        for work in self.model.order:
            assert work.worker is not None
            self.result_of(work.worker, work.handle, "WORK_FAIL")
        self.listen()
        self.one_final_packet()
        assert not any(party.waits for party in self.model.parties)
        server = self.server
        assert (server.jobs, server.running, server._timeouts, server._holding) == ({}, 0, {}, {})
        assert (self.store.rows, self.store.pending) == (set(), [])
        for queue in server.functions.values():
            assert (queue.total, queue.running, queue.by_unique, queue.by_workload) == (0, 0, {}, {})
            assert not any(queue.lines) and queue.waiting() == (0, 0, 0)
        for session in server.sessions:
            assert (session.running, session.awaited, session.held, session.out) == ({}, {}, None, [])
        for party in self.model.parties[:]:
            party.connection.hangs_up()
        self.admin.hangs_up()
        assert server.sessions == {}
        assert all((queue.workers, queue.sleepers) == ({}, {}) for queue in server.functions.values())
        self.clock.advance(60)
        assert self.clock.pending() == 0


class ModelTests(TestCase):
    """
    L{JobServerMachine}, as a test.
    """

    def test_any_life(self) -> None:
        """
        Whatever happens, in whatever order, the server does what the model says.
        """
        run_state_machine_as_test(
            JobServerMachine,
            settings=settings(
                max_examples=80,
                stateful_step_count=50,
                deadline=None,
                print_blob=True,
                database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            ),
        )
