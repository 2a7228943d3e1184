"""
The job server against a small model of a queue.

Hypothesis makes up a life of a server: clients and workers that come, talk,
and go, a store that commits or refuses, time that passes.  The model is told
the same.  It predicts every reply on every connection, in order (but for
NOOPs, of which it knows only when they must come and when they must not), and
after each step it is compared with the tables of the server.
"""

from __future__ import annotations

from collections import Counter
from unittest import TestCase

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from gearsvc.config import Settings
from gearsvc.core.jobs import Job, State
from gearsvc.core.jobserver import JobServer
from tests.core.case import Connection, FakeClock, FakeStore
from tests.core.model import FUNCTIONS, NOT_FOUND, Party, Queue

KINDS = {
    (False, 0): "SUBMIT_JOB_HIGH",
    (False, 1): "SUBMIT_JOB",
    (False, 2): "SUBMIT_JOB_LOW",
    (True, 0): "SUBMIT_JOB_HIGH_BG",
    (True, 1): "SUBMIT_JOB_BG",
    (True, 2): "SUBMIT_JOB_LOW_BG",
}
DELAY = 1.0
"""--wakeup-delay."""


some = st.integers(0, 99)
"""Which one, of as many as there are."""

submissions = st.tuples(
    st.sampled_from("ffg"),
    st.sampled_from(["", "-", "u", "u", "u2"]),
    st.sampled_from(["a", "b", ""]),
    st.sampled_from([1, 1, 0, 2]),
    st.booleans(),
)
"""Function, unique id, workload, priority, and whether in the background."""


class JobServerMachine(RuleBasedStateMachine):
    """
    What may happen to a job server.
    """

    @initialize(
        store=st.booleans(), wakeup=st.integers(0, 2), retries=st.sampled_from([0, 0, 1, 2]), seconds=st.sampled_from([0, 0, 2])
    )
    def start(self, store: bool, wakeup: int, retries: int, seconds: int) -> None:
        """
        A server, a client and two workers.
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
        for function in ("", "f", "fg"):
            self.joins(function, seconds)

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

    def joins(self, functions: str, seconds: int) -> None:
        """
        A new connection, which can do some functions.
        """
        self.model.parties.append(Party(Connection(self.server)))
        for function in functions:
            self.can_do(-1, function, seconds)

    @rule(who=some, functions=st.sampled_from(["", "f", "f", "gf"]), seconds=st.sampled_from([0, 0, 2]), worker=st.booleans())
    def comes_and_goes(self, who: int, functions: str, seconds: int, worker: bool) -> None:
        """
        A connection ends, and another one comes.
        """
        party = self.party(who)
        if worker and self.model.running:
            party = self.model.running[who % len(self.model.running)].worker or party
        party.connection.hangs_up()
        self.model.leave(party)
        self.joins(functions, seconds)

    @rule(who=some, submissions=st.lists(submissions, min_size=1, max_size=3))
    def submits(self, who: int, submissions: list[tuple[str, str, str, int, bool]]) -> None:
        """
        A client submits some jobs.
        """
        party = self.party(who)
        for function, unique, workload, priority, background in submissions:
            self.model.submit(party, function, unique, workload, priority, background)
            self.says(party, f"{KINDS[background, priority]} {function}|{unique}|{workload}")

    @rule(who=some, function=st.sampled_from("ffg"), unique=st.sampled_from(["", "u"]), seconds=st.integers(-1, 4))
    def submits_for_later(self, who: int, function: str, unique: str, seconds: int) -> None:
        """
        A client submits a delayed job.
        """
        party = self.party(who)
        run_at = int(self.clock.wall) + seconds
        self.model.submit(party, function, unique, "later", 1, True, run_at)
        self.says(party, f"SUBMIT_JOB_EPOCH {function}|{unique}|{run_at}|later")

    @rule(who=some, exceptions=st.booleans())
    def talks(self, who: int, exceptions: bool) -> None:
        """
        A connection asks for exceptions, or for something that has nothing to do with jobs.
        """
        party = self.party(who)
        party.exceptions = party.exceptions or exceptions
        party.expect("OPTION_RES exceptions" if exceptions else "ECHO_RES a")
        self.says(party, "OPTION_REQ exceptions" if exceptions else "ECHO_REQ a")

    @rule(who=some, function=st.sampled_from(FUNCTIONS), seconds=st.sampled_from([0, 0, 2, 3]))
    def can_do(self, who: int, function: str, seconds: int) -> None:
        """
        A worker learns a function.
        """
        party = self.party(who)
        self.model.known[function] = None
        party.abilities[function] = seconds
        self.says(party, f"CAN_DO_TIMEOUT {function}|{seconds * 1000}" if seconds else f"CAN_DO {function}")

    @rule(who=some, functions=st.sampled_from(["f", "g", "fg"]))
    def cant_do(self, who: int, functions: str) -> None:
        """
        A worker gives a function up, or all of them.
        """
        party = self.party(who)
        for function in functions:
            party.abilities.pop(function, None)
        self.says(party, f"CANT_DO {functions}" if len(functions) == 1 else "RESET_ABILITIES")

    @rule(who=some, times=st.integers(1, 3))
    def grabs(self, who: int, times: int) -> None:
        """
        A worker grabs some jobs: one who will be given any, if there is one.
        """
        able = [party for party in self.model.parties if any(map(self.model.runnable, party.abilities))]
        party = able[who % len(able)] if able else self.party(who)
        for _ in range(times):
            self.model.grab(party)
            self.says(party, "GRAB_JOB_UNIQ")

    @rule(who=some)
    def grabs_in_vain(self, who: int) -> None:
        """
        A connection grabs a job, whether there is one or not.
        """
        self.model.grab(self.party(who))
        self.says(self.party(who), "GRAB_JOB_UNIQ")

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

    @precondition(lambda self: self.model.running)
    @rule(which=some, kind=st.sampled_from([*NOT_FOUND, "WORK_COMPLETE"]))
    def reports(self, which: int, kind: str) -> None:
        """
        A worker says something of a job that it has.
        """
        work = self.model.running[which % len(self.model.running)]
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
    @rule(which=some, running=st.booleans())
    def cancels(self, which: int, running: bool) -> None:
        """
        A job is cancelled, or was over.
        """
        handle = f"H:{1 + which % self.model.number}"
        if running and self.model.running:
            handle = self.model.running[which % len(self.model.running)].handle
        work = self.model.works.get(handle)
        over = work is None or work.state in ("over", "storing")
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
            work.state in ("running", "storing") for work in self.model.of(function)
        ):
            reply = "ERR there are still connected workers or executing clients\r\n"
        else:
            for work in self.model.of(function):
                self.model.cancel(work)
            del self.model.known[function]
            self.model.limits.pop(function, None)
        assert self.admin.says(f"drop function {function}\n") == [reply]

    @rule(function=st.sampled_from(FUNCTIONS), limit=st.sampled_from([0, 1, 3]))
    def limits(self, function: str, limit: int) -> None:
        """
        A queue is limited.
        """
        self.model.limits[function] = limit
        assert self.admin.says(f"maxqueue {function} {limit}\n") == ["OK\r\n"]

    # What the world does

    @precondition(lambda self: self.model.storing)
    @rule(number=st.integers(1, 4), failure=st.sampled_from([None, "no room"]))
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
        When --wakeup-delay has passed, of those who sleep and could do a job that waits somebody has been woken, or woken
        again; with --worker-wakeup 0 everyone.
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
        Every connection has heard what the model says, in order; NOOPs come to those alone who sleep, and what is said of a
        job comes after its JOB_CREATED.
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
        Each job that is not over is in the server's tables once, in the state and at the place that the model says; nothing
        else is.
        """
        server, model = self.server, self.model
        alive = {work.handle.encode(): work for work in model.works.values() if work.state != "over"}
        assert list(server.jobs) == list(alive)
        places: Counter[Job] = Counter()
        for name, queue in server.functions.items():
            assert queue.balance == 0, f"{queue.balance} jobs of {name!r} are unaccounted for"
            assert queue.storing == sum(job.queue is queue and job.state == State.STORING for job in server.jobs.values())
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
        timed = [work.handle for work in self.model.running if work.deadline is not None]
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
            self.model.grab(worker)
            self.says(worker, "GRAB_JOB_UNIQ")
            self.result_of(worker, worker.running[-1].handle, "WORK_COMPLETE")
        for work in self.model.running:
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
                max_examples=250,
                stateful_step_count=50,
                deadline=None,
                print_blob=True,
                database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            ),
        )
