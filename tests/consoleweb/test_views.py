"""
What there is to see of a job server.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any
from unittest import mock

from gearsvc.console import attention
from gearsvc.console.search import BadQuery, JobQuery
from gearsvc.console.series import MOMENTS, STEPS
from gearsvc.console.values import Function, Job, Jobs, Overview, as_json
from gearsvc.core.counts import count
from gearsvc.core.jobs import JobRecord
from tests.consoleweb.case import HOSTILE, WITH_NUL, ViewsCase
from tests.core.case import NOON, FakeStore


class Case(ViewsCase):
    """
    Short ways to what is seen.
    """

    def function(self, name: str = "f") -> Function:
        """
        A function.
        """
        found = self.views.function(name.encode())
        assert found is not None
        return found

    def overview(self) -> Overview:
        """
        The server.
        """
        seen: Overview = self.told(self.views.overview())
        return seen

    def page(self, **query: Any) -> Jobs:
        """
        What a search finds.
        """
        found: Jobs = self.told(self.views.jobs(JobQuery(**query)))
        return found

    def handles(self, **query: Any) -> list[str]:
        """
        The same, as handles.
        """
        return [str(job.handle) for job in self.page(**query).jobs]

    def job(self, handle: str) -> Job:
        """
        A job.
        """
        whole = self.views.job(handle.encode())
        assert whole is not None
        return whole.job


class FunctionTests(Case):
    """
    Functions.
    """

    def test_unknown(self) -> None:
        """
        There is nothing to see of a function that is not there.
        """
        self.assertIsNone(self.views.function(b"f"))

    def test_jobs(self) -> None:
        """
        Its jobs are counted by where they are, and those that wait by priority.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB_HIGH_BG f||w", "SUBMIT_JOB_BG f||w", "SUBMIT_JOB_BG f||w", "SUBMIT_JOB_LOW_BG f||w")
        client.says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 60}|w", f"SUBMIT_JOB_EPOCH f||{int(NOON) + 30}|w")
        worker.says("GRAB_JOB")
        seen = self.function()
        self.assertEqual((seen.queued.high, seen.queued.normal, seen.queued.low, seen.queued.total), (0, 2, 1, 3))
        self.assertEqual((seen.delayed, seen.next_at, seen.running, seen.storing, seen.total), (2, NOON + 30, 1, 0, 6))
        self.assertEqual((seen.tally.submitted, seen.tally.balance), (6, 0))

    def test_dead_jobs(self) -> None:
        """
        A job that was cancelled in the midst of a line, or of those that wait for their time, is not counted.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_BG f||w", "SUBMIT_JOB_BG f||w", "SUBMIT_JOB_BG f||w")
        client.says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 60}|w")
        self.server.cancel(b"H:2")
        self.server.cancel(b"H:4")
        self.assertEqual((self.function().queued.normal, self.function().delayed), (2, 0))

    def test_storing(self) -> None:
        """
        A job that the store has not answered for is neither queued nor accepted.
        """
        self.serve(FakeStore())
        self.connect().says("SUBMIT_JOB_BG f||w")
        seen = self.function()
        self.assertEqual((seen.storing, seen.queued.total, seen.total, seen.tally.submitted), (1, 0, 1, 0))
        self.assertEqual(seen.tally.balance, 0)

    def test_oldest(self) -> None:
        """
        The oldest job that could be handed out says how long is waited; one whose time came later waits since then.
        """
        client = self.connect()
        self.assertIsNone(self.views.function(b"f"))
        client.says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 10}|w")
        self.assertIsNone(self.function().oldest_age)
        self.clock.advance(15)
        self.assertEqual(self.function().oldest_age, 5.0)
        client.says("SUBMIT_JOB_HIGH_BG f||w")
        self.clock.advance(5)
        self.assertEqual(self.function().oldest_age, 10.0)

    def test_workers(self) -> None:
        """
        Its workers are counted by what they do: one that has a job of another function is busy, too.
        """
        self.worker("f").says("PRE_SLEEP")
        busy = self.worker("f", "g")
        self.connect().says("SUBMIT_JOB_BG g||w")
        busy.says("GRAB_JOB")
        self.worker("f")
        seen = self.function()
        self.assertEqual((seen.workers, seen.busy, seen.asleep, seen.left_at), (3, 1, 1, None))
        self.clock.advance(7)
        busy.hangs_up()
        self.assertEqual((self.function().workers, self.function().left_at), (2, NOON + 7))

    def test_administration(self) -> None:
        """
        Limits, a pause and a drain are seen.
        """
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.server.limit_queue(b"f", (30, 20, 10))
        self.server.pause(b"f", lambda _: None)
        self.server.drain_function(b"f")
        seen = self.function()
        self.assertEqual((seen.limits.high, seen.limits.normal, seen.limits.low), (30, 20, 10))
        self.assertEqual((seen.paused_since, seen.draining), (NOON, True))

    def test_times(self) -> None:
        """
        How long its jobs wait, and how long they run, is told in percentiles.
        """
        client, worker = self.connect(), self.worker("f")
        for _ in range(10):
            client.says("SUBMIT_JOB_BG f||w")
            self.clock.advance(2)
            (assigned,) = worker.says("GRAB_JOB")
            self.clock.advance(20)
            worker.says(f"WORK_COMPLETE {assigned.split()[1].split('|')[0]}|")
        seen = self.function()
        assert seen.wait.p50 is not None and seen.run.p99 is not None
        self.assertEqual((seen.wait.count, seen.wait.mean, seen.run.mean), (10, 2.0, 20.0))
        self.assertTrue(1.0 < seen.wait.p50 < 5.0 and 10.0 < seen.run.p99 < 30.0, seen)

    def test_pages(self) -> None:
        """
        They are listed by name, a page at a time, and can be searched by what their names hold.
        """
        client = self.connect()
        for name in ("c", "a", "e", "B", "d"):
            client.says(f"SUBMIT_JOB_BG {name}||w")
        first = self.told(self.views.functions(limit=2))
        second = self.told(self.views.functions(limit=2, after=first.following.raw))
        third = self.told(self.views.functions(limit=2, after=second.following.raw))
        names = [[str(each.name) for each in page.functions] for page in (first, second, third)]
        self.assertEqual(names, [["B", "a"], ["c", "d"], ["e"]])
        self.assertEqual((first.total, third.following), (5, None))
        found = self.told(self.views.functions(contains="b"))
        self.assertEqual([str(each.name) for each in found.functions], ["B"])

    def test_many(self) -> None:
        """
        A thousand functions are listed in slices.
        """
        for number in range(1000):
            self.server.create_function(b"f%04d" % number)
        page = self.told(self.views.functions(limit=1000))
        self.assertEqual([each.name for each in page.functions], [f"f{number:04}" for number in range(1000)])


class AttentionTests(Case):
    """
    What an operator should look at.
    """

    def kinds(self) -> list[str]:
        """
        What there is to look at, of the server and of the function.
        """
        self.assertLessEqual({each.kind for each in self.overview().attention}, set(attention.KINDS))
        return [each.kind for each in self.overview().attention]

    def sentences(self) -> list[str]:
        """
        The same, as sentences.
        """
        return [each.sentence for each in self.overview().attention]

    def finish(self, worker: Any, how: str, times: int) -> None:
        """
        Jobs that end in some way.
        """
        for _ in range(times):
            self.connect().says("SUBMIT_JOB_BG f||w")
            (assigned,) = worker.says("GRAB_JOB")
            worker.says(how % assigned.split()[1].split("|")[0])

    def test_nothing(self) -> None:
        """
        A server that is well has nothing to look at.
        """
        self.finish(self.worker("f"), "WORK_COMPLETE %s|", 20)
        self.passes(20)
        self.assertEqual(self.kinds(), [])

    def test_no_worker(self) -> None:
        """
        Jobs wait that nobody can do.
        """
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.assertEqual(self.kinds(), ["no_worker"])
        self.assertEqual(self.sentences(), ["1 job waits, and no worker can do it."])

    def test_old(self) -> None:
        """
        A job has waited for long, though there is a worker.
        """
        self.worker("f")
        self.connect().says("SUBMIT_JOB_BG f||w", "SUBMIT_JOB_BG f||w")
        self.clock.advance(attention.OLD)
        self.assertEqual(self.kinds(), [])
        self.clock.advance(100)
        self.assertEqual(self.sentences(), ["The first of 2 jobs that wait has waited for 7 minutes."])

    def test_failing(self) -> None:
        """
        Too many of the jobs that ended lately failed.
        """
        worker = self.worker("f")
        self.passes(11)
        self.finish(worker, "WORK_FAIL %s", attention.FEW)
        self.finish(worker, "WORK_COMPLETE %s|", attention.FEW)
        self.passes(11)
        self.assertEqual(self.sentences(), ["50% of the jobs that ended in the last ten minutes failed."])
        self.assertEqual(self.function().failure_share, 0.5)
        self.passes(700)
        self.assertEqual(self.kinds(), [])

    def test_few_failures(self) -> None:
        """
        A few failures say nothing.
        """
        self.passes(11)
        self.finish(self.worker("f"), "WORK_FAIL %s", attention.FEW - 1)
        self.passes(11)
        self.assertEqual((self.kinds(), self.function().failure_share), ([], 1.0))

    def test_full(self) -> None:
        """
        A function has as many jobs as it may have.
        """
        self.worker("f")
        self.server.limit_queue(b"f", (0, 2, 1))
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.assertEqual(self.sentences(), ["It has 1 job, and more of low priority are refused."])
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.assertEqual(self.sentences(), ["It has 2 jobs, and more of normal or low priority are refused."])

    def test_paused(self) -> None:
        """
        Jobs wait for a function that is paused; that nobody else could do them is not said then.
        """
        self.server.pause(b"f", lambda _: None)
        self.assertEqual(self.kinds(), [])
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.assertEqual(self.kinds(), ["paused"])

    def test_draining(self) -> None:
        """
        A function, or the server, is to come to an end.
        """
        self.server.drain_function(b"f")
        self.server.drain(lambda: None)
        self.assertEqual(self.kinds(), ["draining", "draining"])
        self.assertTrue(self.overview().draining)

    def test_balance(self) -> None:
        """
        A job that is unaccounted for is the worst there is.
        """
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.server.functions[b"f"].counts.submitted += 2
        self.assertEqual(self.kinds(), ["balance", "no_worker"])
        self.assertEqual(self.overview().attention[0].sentence, "2 jobs are unaccounted for.")
        self.assertEqual(self.overview().tally.balance, 2)

    def test_order(self) -> None:
        """
        The worst is first, and of its kind that with the most jobs; no more are listed than can be read.
        """
        for number in range(150):
            self.connect().says(*[f"SUBMIT_JOB_BG f{number}||w"] * (1 + number % 3))
        found = self.overview().attention
        self.assertEqual((len(found), found[0].number, found[-1].number), (100, 3, 2))


class OverviewTests(Case):
    """
    The server at a glance.
    """

    def test_sums(self) -> None:
        """
        It sums up all functions, and all connections.
        """
        client = self.connect()
        client.says("SUBMIT_JOB_HIGH_BG f||w", "SUBMIT_JOB_BG g||w", "SUBMIT_JOB_LOW_BG g||w", f"SUBMIT_JOB_EPOCH g||{int(NOON) + 9}|w")
        self.worker("f").says("GRAB_JOB")
        self.worker("h").says("PRE_SLEEP")
        self.worker("h")
        self.server.pause(b"g", lambda _: None)
        self.clock.advance(3)
        seen = self.overview()
        self.assertEqual((seen.functions, seen.paused, seen.connections), (3, 1, 4))
        self.assertEqual((seen.queued.high, seen.queued.normal, seen.queued.low), (0, 1, 1))
        self.assertEqual((seen.delayed, seen.storing, seen.running, seen.total), (1, 0, 1, 4))
        self.assertEqual((seen.workers, seen.busy, seen.asleep, seen.oldest_age), (3, 1, 1, 3.0))
        self.assertEqual((seen.tally.submitted, seen.tally.balance), (4, 0))
        self.assertEqual((seen.now, seen.started), (NOON + 3, NOON))
        self.assertIsNone(seen.store)

    def test_dropped(self) -> None:
        """
        What happened to a function that was dropped stays in the sums, and they in balance.
        """
        self.connect().says("SUBMIT_JOB_BG f||w", "SUBMIT_JOB_BG f||w")
        self.server.drop_function(b"f")
        seen = self.overview()
        self.assertEqual((seen.functions, seen.tally.submitted, seen.tally.cancelled, seen.tally.balance), (0, 2, {"drop": 2}, 0))

    def test_plain(self) -> None:
        """
        What is seen is plain: text, numbers, and lists of these; it can be made JSON of.
        """
        self.worker("f").says("PRE_SLEEP")
        self.connect().says("SUBMIT_JOB_BG f||w")

        def look(value: Any) -> None:
            if is_dataclass(value):
                for field in fields(value):
                    look(getattr(value, field.name))
            elif isinstance(value, (list, dict)):
                for each in value.values() if isinstance(value, dict) else value:
                    look(each)
            else:
                self.assertIsInstance(value, (str, int, float, type(None)))

        for seen in (self.overview(), self.function(), self.page(), self.told(self.views.workers())):
            look(seen)
            self.assertIsInstance(as_json(seen), dict)


class SeriesTests(Case):
    """
    What happened from second to second.
    """

    def submits(self, number: int, function: str = "f") -> None:
        """
        Some jobs.
        """
        self.connect().says(*[f"SUBMIT_JOB_BG {function}||w"] * number)

    def completes(self, number: int, function: str = "f") -> None:
        """
        Some jobs are done.
        """
        worker = self.worker(function)
        for _ in range(number):
            (assigned,) = worker.says("GRAB_JOB")
            worker.says(f"WORK_COMPLETE {assigned.split()[1].split('|')[0]}|")
        worker.hangs_up()

    def test_moments(self) -> None:
        """
        Each second tells what happened in it, and what was there at its end.
        """
        self.submits(5)
        self.passes(1)
        self.completes(2)
        self.passes(1)
        first, second = self.views.moments()
        self.assertEqual((first.at, first.seconds, first.submitted, first.completed), (NOON + 1, 1.0, 5, 0))
        self.assertEqual((first.waiting, first.running, first.wait.count), (5, 0, 0))
        self.assertEqual((second.submitted, second.completed, second.waiting, second.wait.count), (0, 2, 3, 2))
        self.assertEqual(self.views.moments(1), [second])

    def test_longer_moments(self) -> None:
        """
        Moments of several seconds begin at the same times whenever one asks, and the last goes on; together they
        tell of the same jobs.
        """
        self.assertEqual(self.views.moments(100, 5), [])
        begins = set()
        for _ in range(23):
            self.submits(2)
            self.passes(1)
            moments = self.views.moments(100, 5)
            begins.update(each.at - each.seconds for each in moments)
        self.assertEqual([each.seconds for each in moments[:-1]], [5.0] * (len(moments) - 1))
        self.assertEqual([each.submitted for each in moments[:-1]], [10] * (len(moments) - 1))
        self.assertEqual(sum(each.submitted for each in moments), 46)
        self.assertEqual(len(begins), len(moments))
        self.assertEqual(len(self.views.moments(2, 5)), 2)

    def test_watched(self) -> None:
        """
        Who wants to know is told after a second in which something happened, and only then.
        """
        told: list[None] = []

        def watcher() -> None:
            told.append(None)

        self.passes(2)
        self.views.series.watch(watcher)
        self.passes(5)
        self.assertEqual(told, [])
        self.submits(100)
        self.passes(3)
        # A client came, and its jobs.
        self.assertEqual(len(told), 1)
        self.completes(1)
        self.passes(3)
        self.assertEqual(len(told), 2)
        self.views.series.unwatch(watcher)
        self.submits(1)
        self.passes(3)
        self.assertEqual(len(told), 2)

    def test_rates(self) -> None:
        """
        A rate is over the last minute, or over as long as there was one.
        """
        self.assertEqual(self.overview().rates.submitted, 0.0)
        self.submits(10)
        self.passes(10)
        self.assertEqual(self.overview().rates.submitted, 1.0)
        self.passes(50)
        self.assertEqual(self.overview().rates.submitted, round(10 / 60, 3))
        self.passes(10)
        self.assertEqual(self.overview().rates.submitted, 0.0)

    def test_rates_of_function(self) -> None:
        """
        A function has rates of its own.
        """
        self.passes(20)
        self.submits(30)
        self.completes(15)
        self.submits(60, "g")
        self.passes(60)
        self.assertEqual((self.function("f").rates.submitted, self.function("f").rates.completed), (0.5, 0.25))
        self.assertEqual(self.function("g").rates.submitted, 1.0)

    def test_sparkline(self) -> None:
        """
        A line shows what a function has done in the last ten minutes, and is empty if that is nothing.
        """
        self.passes(20)
        self.submits(9)
        self.assertEqual(self.function().sparkline, [])
        self.completes(4)
        self.passes(10)
        self.completes(5)
        self.passes(10)
        self.assertEqual(self.function().sparkline, [0] * (STEPS - 2) + [4, 5])
        self.passes(10 * STEPS + 20)
        self.assertEqual(self.function().sparkline, [])

    def test_bounded(self) -> None:
        """
        It keeps ten minutes, and of functions that do nothing next to nothing.
        """
        for number in range(20):
            self.submits(1, f"f{number}")
        self.passes(2 * MOMENTS)
        self.assertEqual(len(self.views.moments()), MOMENTS)
        self.assertEqual(self.views.series._functions, {})

    def test_comes_back(self) -> None:
        """
        A function that has done nothing for long, and then something, shows just that.
        """
        self.submits(3)
        self.passes(1000)
        self.submits(7)
        self.passes(10)
        self.assertEqual(self.function().rates.submitted, 0.7)

    def test_dropped(self) -> None:
        """
        Nothing is kept of a function that was dropped, and the sums do not run backwards.
        """
        self.submits(5)
        self.passes(20)
        self.server.drop_function(b"f")
        self.passes(20)
        self.assertEqual((self.views.series._functions, self.views.series._last), ({}, {}))
        self.assertEqual([each.submitted for each in self.views.moments() if each.submitted], [5])
        self.assertEqual([each.cancelled for each in self.views.moments() if each.cancelled], [5])

    def test_many_functions(self) -> None:
        """
        With many functions it looks less often, so that looking costs no more.
        """
        for number in range(5000):
            self.server.create_function(b"f%d" % number)
        self.passes(60)
        self.assertLess(len(self.views.moments()), 15)
        self.assertEqual(self.views.moments()[-1].seconds, 5.0)

    def test_tracked(self) -> None:
        """
        No more functions than a limit have rates of their own; the others still count.
        """
        with mock.patch("gearsvc.console.series.TRACKED", 3):
            self.passes(10)
            for number in range(5):
                self.submits(10, f"f{number}")
            self.passes(10)
            rates = [self.function(f"f{number}").rates.submitted for number in range(5)]
            self.assertEqual((rates, self.overview().rates.submitted), ([1.0, 1.0, 1.0, 0.0, 0.0], 2.5))

    def test_clock_set_back(self) -> None:
        """
        A clock that is set back leads to no rate that makes no sense, and to no error.
        """
        self.submits(5)
        self.passes(30)
        self.clock.wall -= 1000
        self.submits(5)
        self.passes(30)
        self.assertGreaterEqual(self.overview().rates.submitted, 0.0)
        self.assertGreaterEqual(self.function().rates.submitted, 0.0)


class SearchTests(Case):
    """
    Looking for jobs.
    """

    def test_order(self) -> None:
        """
        The newest come first, or the oldest.
        """
        self.connect().says(*["SUBMIT_JOB_BG f||w"] * 4)
        self.assertEqual(self.handles(), ["H:4", "H:3", "H:2", "H:1"])
        self.assertEqual(self.handles(oldest_first=True), ["H:1", "H:2", "H:3", "H:4"])
        self.assertEqual(self.handles(limit=2), ["H:4", "H:3"])

    def test_new(self) -> None:
        """
        A job is found the moment it is there, and not any more when it has ended.
        """
        client = self.connect()
        for number in range(1, 5):
            client.says("SUBMIT_JOB_BG f||w")
            self.assertEqual(self.handles()[0], f"H:{number}")
        self.server.cancel(b"H:4")
        self.assertEqual(self.handles(), ["H:3", "H:2", "H:1"])

    def test_filters(self) -> None:
        """
        Function, state, unique id and age sort out, one by one and together.
        """
        client, worker = self.connect(), self.worker("g")
        client.says("SUBMIT_JOB_BG f|a|w", "SUBMIT_JOB_BG g|b|w")
        worker.says("GRAB_JOB")
        self.clock.advance(100)
        client.says("SUBMIT_JOB_BG f|b|w", f"SUBMIT_JOB_EPOCH f|c|{int(NOON) + 1000}|w")
        self.assertEqual(self.handles(function=b"f"), ["H:4", "H:3", "H:1"])
        self.assertEqual(self.handles(function=b"nobody"), [])
        self.assertEqual(self.handles(states=frozenset({"queued"})), ["H:3", "H:1"])
        self.assertEqual(self.handles(states=frozenset({"running"})), ["H:2"])
        self.assertEqual(self.handles(states=frozenset({"delayed", "running"})), ["H:4", "H:2"])
        self.assertEqual(self.handles(unique=b"b"), ["H:3", "H:2"])
        self.assertEqual(self.handles(unique=b"b", function=b"f"), ["H:3"])
        self.assertEqual(self.handles(older=50.0), ["H:2", "H:1"])
        self.assertEqual(self.handles(younger=50.0), ["H:4", "H:3"])
        self.assertEqual(self.handles(older=50.0, states=frozenset({"running"}), function=b"g"), ["H:2"])
        self.assertEqual(self.handles(states=frozenset({"running"}), function=b"f"), [])

    def test_unknown_age(self) -> None:
        """
        A job of which it is not known when it was submitted has no age.
        """
        self.server.replay([JobRecord(b"H:1", b"f", b"", 1, b"w")])
        self.assertEqual((self.handles(older=0.0), self.handles(younger=1e9), self.handles()), ([], [], ["H:1"]))
        self.assertEqual((self.job("H:1").age, self.job("H:1").submitted, self.function().oldest_age), (None, None, None))

    def test_pages(self) -> None:
        """
        Whoever turns pages sees every job once, though some come and some go.
        """
        for oldest_first in (False, True):
            self.serve()
            client = self.connect()
            client.says(*["SUBMIT_JOB_BG f||w"] * 2000)
            seen, after = [], None
            for number in range(100):
                page = self.page(limit=150, after=after, oldest_first=oldest_first)
                seen += [int(job.handle[2:]) for job in page.jobs]
                after = page.following
                if after is None:
                    break
                # Those that are seen, and those that are not.
                for handle in (seen[-1], seen[0] + number, 900 + number, 1500 - number):
                    self.server.cancel(b"H:%d" % handle)
                client.says("SUBMIT_JOB_BG f||w")
                self.passes(1)
            self.assertEqual(len(set(seen)), len(seen))
            there = {int(handle[2:]) for handle in self.server.jobs if int(handle[2:]) <= 2000}
            self.assertLessEqual(there, set(seen))
            self.assertEqual(seen, sorted(seen, reverse=not oldest_first))

    def test_last_page(self) -> None:
        """
        A page that is just full is the last if there is nothing behind it.
        """
        self.connect().says(*["SUBMIT_JOB_BG f||w"] * 4)
        first = self.page(limit=2)
        second = self.page(limit=2, after=first.following)
        self.assertEqual(([job.handle for job in second.jobs], second.following), (["H:2", "H:1"], None))

    def test_running_pages(self) -> None:
        """
        So with the jobs that run.
        """
        client = self.connect()
        client.says(*["SUBMIT_JOB_BG f||w"] * 10)
        for _ in range(10):
            self.worker("f").says("GRAB_JOB")
        for oldest_first in (False, True):
            seen, after = [], None
            while True:
                page = self.page(limit=3, after=after, states=frozenset({"running"}), oldest_first=oldest_first)
                seen += [job.handle for job in page.jobs]
                after = page.following
                if after is None:
                    break
            self.assertEqual(len(seen), 10)
            self.assertEqual(len(set(seen)), 10)

    def test_live_and_ended(self) -> None:
        """
        Jobs that live and jobs that are over can be listed together, over several pages.
        """
        client, worker = self.connect(), self.worker("f")
        client.says(*["SUBMIT_JOB_BG f||w"] * 4)
        for _ in range(2):
            (assigned,) = worker.says("GRAB_JOB")
            worker.says(f"WORK_COMPLETE {assigned.split()[1].split('|')[0]}|")
        states = frozenset({"queued", "completed", "running"})
        for oldest_first, expected in ((False, ["H:4", "H:3", "H:2", "H:1"]), (True, ["H:1", "H:2", "H:3", "H:4"])):
            seen, after = [], None
            while True:
                page = self.page(limit=1, after=after, states=states, oldest_first=oldest_first)
                seen += [job.handle for job in page.jobs]
                after = page.following
                if after is None:
                    break
            self.assertEqual(seen, expected)

    def test_upcoming(self) -> None:
        """
        What is handed out next is listed in that order, without those that are over, run or wait for their time.
        """
        self.assertEqual(self.views.upcoming(b"f", 10), [])
        client, worker = self.connect(), self.worker("f")
        client.says(
            "SUBMIT_JOB_LOW_BG f||w", "SUBMIT_JOB_BG f||w", "SUBMIT_JOB_BG f||w", "SUBMIT_JOB_HIGH_BG f||w", "SUBMIT_JOB_BG f||w"
        )
        client.says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 60}|w")
        self.server.cancel(b"H:3")
        worker.says("GRAB_JOB")
        self.assertEqual([job.handle for job in self.views.upcoming(b"f", 10)], ["H:2", "H:5", "H:1"])
        self.assertEqual([job.handle for job in self.views.upcoming(b"f", 2)], ["H:2", "H:5"])

    def test_small_function(self) -> None:
        """
        When all jobs of a function are seen, nobody looks on.
        """
        client = self.connect()
        client.says(*["SUBMIT_JOB_BG other||w"] * 5000, "SUBMIT_JOB_BG f||w")
        pieces: list[int] = []
        down = self.views.register.down

        def counted(position: int | None = None) -> Any:
            for piece in down(position):
                pieces.append(len(piece))
                yield piece

        with mock.patch.object(self.views.register, "down", counted):
            self.assertEqual(self.handles(function=b"f"), ["H:5001"])
        self.assertEqual(len(pieces), 1)

    def test_ends_meanwhile(self) -> None:
        """
        A job that ends between two slices of a search is not found as something that it is not.
        """
        client = self.connect()
        client.says(*["SUBMIT_JOB_BG f||w"] * 3000)
        clock = iter(range(1_000_000))
        with mock.patch.object(self.views.slices, "_seconds", lambda: float(next(clock))):
            asked = self.views.jobs(JobQuery(limit=1000))
            answer: list[Jobs] = []
            asked.addCallback(answer.append)
            while not answer:
                for handle in list(self.server.jobs)[::-1][:7]:
                    self.server.cancel(handle)
                self.reactor.advance(0.01)
        self.assertEqual({job.state for job in answer[0].jobs}, {"queued"})

    def test_bad_queries(self) -> None:
        """
        What makes no sense is refused, with a sentence.
        """
        for query in ({"states": frozenset({"lost"})}, {"limit": 0}, {"limit": 1001}):
            with self.assertRaises(BadQuery):
                JobQuery(**query)  # type: ignore[arg-type]
        self.connect().says(*["SUBMIT_JOB_BG f||w"] * 2)
        following = self.page(limit=1).following
        for after in ("", "x", "W10", "bnVsbA", "WyJsaXZlIiwiMSJd", "W1tbW1tb" * 1000, "ä"):
            with self.assertRaises(BadQuery, msg=after):
                self.page(after=after)
        with self.assertRaises(BadQuery):
            self.page(after=following, states=frozenset({"failed"}))


class JobTests(Case):
    """
    One job.
    """

    def test_unknown(self) -> None:
        """
        There is nothing to see of a job that is not there, nor to explain.
        """
        self.assertIsNone(self.views.job(b"H:1"))
        self.assertIsNone(self.views.explain(b"H:1"))

    def test_waiting(self) -> None:
        """
        A job that waits tells since when, for whom, and with what.
        """
        client, other = self.connect(), self.connect()
        client.says("SET_CLIENT_ID alice", "SUBMIT_JOB_LOW f|u|hello")
        other.says("SUBMIT_JOB f|u|hello", "SUBMIT_JOB f|u|hello")
        self.clock.advance(4)
        whole = self.views.job(b"H:1")
        assert whole is not None and whole.workload is not None
        job = whole.job
        self.assertEqual((job.state, job.priority, job.background, job.unique), ("queued", "low", False, "u"))
        self.assertEqual((job.submitted, job.age, job.started, job.ended, job.worker), (NOON, 4.0, None, None, None))
        self.assertEqual((job.clients, [each.client_id for each in whole.waiting_clients]), (2, ["alice", "-"]))
        self.assertEqual((whole.workload.shown, whole.result, whole.reducer), ("hello", None, None))

    def test_running(self) -> None:
        """
        One that runs tells who has it, since when, and how far it is.
        """
        worker = self.worker("f")
        worker.says("SET_CLIENT_ID bob")
        self.connect().says("SUBMIT_JOB_BG f|u|w")
        self.clock.advance(3)
        worker.says("GRAB_JOB")
        job = self.job("H:1")
        assert job.worker is not None
        self.assertEqual((job.state, job.started, job.worker.client_id, job.progress), ("running", NOON + 3, "bob", None))
        for numerator, denominator, share in (
            ("1", "4", 0.25),
            ("0", "0", None),
            ("5", "4", None),
            ("-1", "4", None),
            ("half", "4", None),
            ("1", "inf", None),
            ("nan", "nan", None),
            ("1e400", "1e400", None),
        ):
            worker.says(f"WORK_STATUS H:1|{numerator}|{denominator}")
            progress = self.job("H:1").progress
            assert progress is not None
            self.assertEqual((progress.numerator, progress.denominator, progress.share), (numerator, denominator, share))

    def test_delayed(self) -> None:
        """
        One that waits for its time tells it.
        """
        self.connect().says(f"SUBMIT_JOB_EPOCH f||{int(NOON) + 60}|w")
        self.assertEqual((self.job("H:1").state, self.job("H:1").run_at), ("delayed", NOON + 60))

    def test_reducer(self) -> None:
        """
        A reducer is told.
        """
        self.connect().says("SUBMIT_REDUCE_JOB_BACKGROUND f|u|sum|w")
        whole = self.views.job(b"H:1")
        assert whole is not None
        self.assertEqual(whole.reducer, "sum")

    def test_explained(self) -> None:
        """
        Why it does not run is what the job server says.
        """
        self.connect().says("SUBMIT_JOB_BG f||w")
        why = self.views.explain(b"H:1")
        assert why is not None
        self.assertEqual(why.cause, "no_worker")

    def test_masked(self) -> None:
        """
        Where payloads are not to be shown, they are not.
        """
        self.serve(mask_payloads=True)
        self.connect().says("SUBMIT_JOB_BG f||secret")
        whole = self.views.job(b"H:1")
        assert whole is not None
        self.assertNotIn("secret", repr(whole))


class ConnectionTests(Case):
    """
    Workers and clients.
    """

    def test_worker(self) -> None:
        """
        A worker tells what it can do, what it does, and since when.
        """
        worker = self.connect()
        worker.says("SET_CLIENT_ID bob", "CAN_DO f", "CAN_DO_TIMEOUT g|90000")
        self.connect().says("SUBMIT_JOB_BG f||w")
        self.clock.advance(5)
        worker.says("GRAB_JOB", "WORK_STATUS H:1|1|2")
        (seen,) = self.told(self.views.workers()).connections
        self.assertEqual((seen.number, seen.client_id, seen.host, seen.connected), (1, "bob", "127.0.0.1", NOON))
        self.assertEqual([(each.name, each.seconds) for each in seen.functions], [("f", None), ("g", 90.0)])
        self.assertEqual((seen.state, seen.since, seen.done, seen.job_count), ("busy", NOON + 5, 0, 1))
        (job,) = seen.jobs
        self.assertEqual((job.handle, job.function, job.since), ("H:1", "f", NOON + 5))
        assert job.progress is not None
        self.assertEqual(job.progress.share, 0.5)
        worker.says("WORK_COMPLETE H:1|", "PRE_SLEEP")
        (seen,) = self.told(self.views.workers()).connections
        self.assertEqual((seen.state, seen.done, seen.jobs), ("asleep", 1, []))
        self.connect().says("SUBMIT_JOB_BG f||w")
        (seen,) = self.told(self.views.workers()).connections
        self.assertEqual(seen.state, "woken")

    def test_clients(self) -> None:
        """
        Everybody else is a client, and tells for how many jobs it waits; one that keeps a job is a worker still.
        """
        client, worker = self.connect(), self.worker("f")
        client.says("SUBMIT_JOB f||w", "SUBMIT_JOB f||w")
        worker.says("GRAB_JOB", "CANT_DO f")
        self.assertEqual([each.number for each in self.told(self.views.workers()).connections], [2])
        (seen,) = self.told(self.views.clients()).connections
        self.assertEqual((seen.number, seen.awaited, seen.state, seen.since, seen.functions), (1, 2, "awake", None, []))

    def test_pages(self) -> None:
        """
        They are listed in the order in which they came, a page at a time, those of one function too.
        """
        for number in range(10):
            self.worker("f" if number % 2 else "g").says("PRE_SLEEP")
        first = self.told(self.views.workers(limit=4))
        second = self.told(self.views.workers(limit=4, after=first.following))
        third = self.told(self.views.workers(limit=4, after=second.following))
        pages = [[each.number for each in page.connections] for page in (first, second, third)]
        self.assertEqual((pages, third.following), ([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]], None))
        found = self.told(self.views.workers(function=b"f"))
        self.assertEqual([each.number for each in found.connections], [2, 4, 6, 8, 10])
        self.assertEqual(self.told(self.views.workers(function=b"nobody")).connections, [])

    def test_one(self) -> None:
        """
        One is found by its number, as long as it is there.
        """
        self.connect()
        worker = self.worker("f")
        found = self.views.connection(2)
        assert found is not None
        self.assertEqual(found.function_count, 1)
        worker.hangs_up()
        self.assertIsNone(self.views.connection(2))

    def test_many_functions(self) -> None:
        """
        Of very many functions, or jobs, some are listed and all are counted.
        """
        worker = self.worker(*(f"f{number}" for number in range(300)))
        self.connect().says(*["SUBMIT_JOB_BG f0||w"] * 150)
        for _ in range(150):
            worker.says("GRAB_JOB")
        (seen,) = self.told(self.views.workers()).connections
        self.assertEqual((len(seen.functions), seen.function_count, len(seen.jobs), seen.job_count), (100, 300, 100, 150))


class HostileTests(Case):
    """
    Names that are meant to do harm.
    """

    def test_functions(self) -> None:
        """
        Every function is seen, whatever its name, and its name prints.
        """
        for name in (*HOSTILE, *WITH_NUL):
            self.worker().server.create_function(name)
        listed = self.told(self.views.functions(limit=1000)).functions
        self.assertEqual({each.name.raw for each in listed}, {*HOSTILE, *WITH_NUL})
        self.assertTrue(all(each.name.isprintable() for each in listed))
        for name in (*HOSTILE, *WITH_NUL):
            seen = self.views.function(name)
            assert seen is not None
            self.assertEqual(seen.name.raw, name)

    def test_pages_of_them(self) -> None:
        """
        They are on one page each when these are turned one by one.
        """
        for name in HOSTILE:
            self.server.create_function(name)
        names, after = [], None
        while True:
            page = self.told(self.views.functions(limit=1, after=after))
            names += [each.name.raw for each in page.functions]
            if page.following is None:
                break
            after = page.following.raw
        self.assertEqual(names, sorted(HOSTILE))

    def test_attention(self) -> None:
        """
        What there is to look at of them says it in a sentence that holds no name.
        """
        for name in HOSTILE:
            count(self.server.create_function(name).counts.failed, "fail")
        for each in self.overview().attention:
            self.assertRegex(each.sentence, r"\A[A-Za-z0-9 ,.%-]+\Z")
