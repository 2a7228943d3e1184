"""
L{gearsvc.console.metrics} and L{gearsvc.console.health}.
"""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from gearsvc import __version__
from gearsvc.console import metrics, slices
from gearsvc.console.health import HealthResource, ReadyResource
from gearsvc.console.metrics import LAG_INTERVAL, MetricsResource, ReactorLag
from gearsvc.interfaces import StoreError
from gearsvc.stores.memory import MemoryStore
from tests.consoleweb.web import WebCase

Samples = dict[tuple[str, ...], float]


class MetricsTests(WebCase):
    """
    What a scrape says.
    """

    async def scrape(self) -> Samples:
        """
        @return: the values, by name and labels' values.
        """
        status, kind, body = await self.fetch("metrics")
        self.assertEqual((status, kind.partition(";")[0]), (200, "text/plain"))
        return {
            (sample.name, *(value for label, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }

    async def serve_metrics(self, store: MemoryStore | None = None, **settings: object) -> None:
        """
        Start a server, and serve its numbers.
        """
        await self.serve(store, **settings)
        await self.open(metrics=MetricsResource(self.service, ReactorLag(self.reactor)))

    async def test_names_of_the_exporter(self) -> None:
        """
        The metrics that people's boards show are there, with the same labels, and say what C{status} says.
        """
        await self.serve_metrics()
        client, worker = await self.connect(), await self.worker("f", "g")
        client.says(*["SUBMIT_JOB_BG f||x"] * 3)
        await client.hears_all(3)
        worker.says("GRAB_JOB")
        await worker.hears()
        found = await self.scrape()
        for key, value in {
            ("gearman_up",): 1,
            ("gearman_version_info", __version__): 1,
            ("gearman_jobs", "f"): 3,
            ("gearman_jobs_running", "f"): 1,
            ("gearman_jobs_waiting", "f"): 2,
            ("gearman_workers", "f"): 1,
            ("gearman_jobs", "g"): 0,
            ("gearman_workers", "g"): 1,
        }.items():
            self.assertEqual(found[key], value, key)

    async def test_counters(self) -> None:
        """
        What happened is counted by function and reason, and is there too after the function was dropped.
        """
        await self.serve_metrics()
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB f|u|x", "SUBMIT_JOB f|u|x", "SUBMIT_JOB f||y", "SUBMIT_JOB f||z", "maxqueue f 1\n", "SUBMIT_JOB f||w")
        first, _, second, *_ = [answer.split()[-1] for answer in await client.hears_all(6)]
        worker.says("GRAB_JOB", "GRAB_JOB", f"WORK_COMPLETE {first}|a", f"WORK_FAIL {second}")
        await worker.hears_all(2)
        await client.hears_all(3)
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.hangs_up()
        await self.until(lambda: self.service.job_server.running == 0)
        found = await self.scrape()
        for key, value in {
            ("gearman_jobs_submitted_total", "f"): 3,
            ("gearman_jobs_completed_total", "f"): 1,
            ("gearman_jobs_coalesced_total", "f"): 1,
            ("gearman_jobs_failed_total", "f", "fail"): 1,
            ("gearman_jobs_retried_total", "f", "lost"): 1,
            ("gearman_jobs_rejected_total", "f", "full"): 1,
            ("gearman_jobs_unaccounted", "f"): 0,
            ("gearman_jobs_queued", "f", "normal"): 1,
            ("gearman_jobs_queued", "f", "high"): 0,
            ("gearman_job_run_seconds_count",): 3,
            ("gearman_job_wait_seconds_count",): 3,
            ("gearman_job_wait_seconds_bucket", "+Inf"): 3,
        }.items():
            self.assertEqual(found[key], value, key)
        client.says("drop function f\n")
        await client.hears_all(2)
        found = await self.scrape()
        self.assertEqual(found["gearman_jobs_completed_total", metrics.OTHERS], 1)
        self.assertEqual(found["gearman_jobs_cancelled_total", metrics.OTHERS, "drop"], 1)
        self.assertEqual(found["gearman_job_run_seconds_count",], 3)

    async def test_many_functions(self) -> None:
        """
        Only so many functions have a label, and the others are added up: clients can't make labels without end.
        """
        self.patch(metrics, "LABELLED_FUNCTIONS", 3)
        await self.serve_metrics()
        client = await self.connect()
        client.says(*[f"SUBMIT_JOB_BG f{number}||x" for number in range(10)])
        await client.hears_all(10)
        found = await self.scrape()
        labels = {key[1]: value for key, value in found.items() if key[0] == "gearman_jobs"}
        self.assertEqual(labels, {"f0": 1, "f1": 1, "f2": 1, metrics.OTHERS: 7})
        self.assertEqual(found["gearman_functions",], 10)

    async def test_labels(self) -> None:
        """
        No label is what a client can make up for each job or connection: there are a function's name, a priority and a
        reason of ours, and nowhere a handle, a unique id, a client's id or an address.
        """
        await self.serve_metrics(MemoryStore())
        client, worker = await self.connect(), await self.worker("f")
        client.says("SUBMIT_JOB_BG f|secret-unique|x", "SUBMIT_JOB f|other-unique|y", f"SUBMIT_JOB f|{'u' * 65}|y")
        handles = [answer.split()[1] for answer in (await client.hears_all(3))[:2]]
        worker.says("SET_CLIENT_ID somebody", "GRAB_JOB", "GRAB_JOB", f"WORK_FAIL {handles[0]}", f"WORK_EXCEPTION {handles[1]}|why")
        await worker.hears_all(2)
        await worker.echoes()
        client.says(*["cancel job H:1\n"])
        await client.hears()
        _, _, body = await self.fetch("metrics")
        samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
        allowed = {
            "function": {"f", metrics.OTHERS},
            "priority": {"high", "normal", "low"},
            "reason": {"fail", "exception", "unique", "cancel"},
            "version": {__version__},
        }
        for sample in samples:
            for label, value in sample.labels.items():
                if label == "le":
                    float(value)
                else:
                    self.assertIn(value, allowed[label], sample)
        for word in ("unique-", "-unique", "somebody", "127.0.0.1", *handles):
            self.assertNotIn(word, body)

    async def test_hostile_names(self) -> None:
        """
        A function's name can't break the text that a scrape is.
        """
        await self.serve_metrics()
        worker = await self.connect()
        names = ['a"} 1', "a\\", "{}", "é☃"]
        for name in [*map(str.encode, names), b"\n\xff\0\r#\x1b"]:
            worker.transport.write(b"\0REQ\0\0\0\x01" + len(name).to_bytes(4, "big") + name)
        await worker.echoes()
        found = await self.scrape()
        self.assertEqual({key[1] for key in found if key[0] == "gearman_workers"}, {*names, "\\n\\xff\\x00\\r#\\x1b"})

    async def test_openmetrics(self) -> None:
        """
        Who asks for OpenMetrics gets it.
        """
        await self.serve_metrics()
        _, kind, body = await self.fetch("metrics", accept="application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text; version=1.0.0"), kind)
        self.assertIn("gearman_up", {family.name for family in parse_openmetrics(body)})

    async def test_pieces(self) -> None:
        """
        Written a metric at a time, the numbers are to the byte what the library writes of them at once, in every form.
        """
        await self.serve_metrics(MemoryStore())
        client = await self.connect()
        client.says(*[f"SUBMIT_JOB_BG f{number}||x" for number in range(10)])
        await client.hears_all(10)
        numbers = metrics.Numbers(self.service, ReactorLag(self.reactor))
        for accepted in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            encoder, _ = choose_encoder(accepted)
            work = metrics.write(numbers, encoder)
            pieces = 0
            while True:
                try:
                    next(work)
                except StopIteration as end:
                    self.assertEqual(end.value, encoder(numbers))
                    break
                pieces += 1
            self.assertGreater(pieces, 20)

    async def test_gives_up(self) -> None:
        """
        A scrape whose client goes away is given up, and so is one that is under way when the console ends.
        """
        self.patch(slices, "SLICE", 0.0)
        self.patch(slices, "PAUSE", 0.01)
        await self.serve()
        resource = MetricsResource(self.service, ReactorLag(self.reactor))
        await self.open(metrics=resource)
        for end in (lambda reader: reader.transport.abortConnection(), lambda reader: resource.stop()):
            reader = await self.read("metrics")
            await self.until(lambda: bool(resource._slices._waiting))
            end(reader)
            await self.until(lambda: not resource._slices._waiting)
            self.assertEqual(reader.heard, b"")
        await self.until(lambda: resource._slices._call is None)

    async def test_store(self) -> None:
        """
        A store is up until a commit fails, its batches are counted, and what waits for it is told.
        """

        class Store(MemoryStore):
            broken = False

            def commit(self, added: object, removed: object) -> Deferred[None]:
                return fail(StoreError("out to lunch")) if self.broken else super().commit(added, removed)  # type: ignore[arg-type]

        store = Store()
        await self.serve_metrics(store)
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        await client.hears()
        found = await self.scrape()
        self.assertEqual((found["gearman_store_up",], found["gearman_store_batch_seconds_count",]), (1, 1))
        store.broken = True
        client.says("SUBMIT_JOB_BG f||x")
        await client.hears()
        found = await self.scrape()
        self.assertEqual((found["gearman_store_up",], found["gearman_jobs_rejected_total", "f", "store"]), (0, 1))
        store.broken = False

    async def test_without_a_store(self) -> None:
        """
        A queue in memory has no store to tell of.
        """
        await self.serve_metrics()
        self.assertFalse([key for key in await self.scrape() if key[0].startswith("gearman_store")])

    def test_lag(self) -> None:
        """
        How late the reactor is is asked again and again.
        """
        clock = Clock()
        lag = ReactorLag(clock)
        lag.start()
        clock.advance(LAG_INTERVAL)
        clock.advance(LAG_INTERVAL + 0.2)
        self.assertEqual((lag.times.count, round(lag.times.total, 3)), (2, 0.2))
        lag.stop()
        clock.advance(10)
        self.assertEqual((lag.times.count, clock.getDelayedCalls()), (2, []))


class HealthTests(WebCase):
    """
    Alive, and ready.
    """

    async def test_alive(self) -> None:
        """
        Alive is who answers.
        """
        await self.open(healthz=HealthResource())
        self.assertEqual(await self.fetch("healthz"), (200, "text/plain; charset=utf-8", "ok\n"))

    async def test_ready(self) -> None:
        """
        Ready is who has its queue complete, a store that works, and no end before it; else the reason is told.
        """

        class Store(MemoryStore):
            broken = False

            def commit(self, added: object, removed: object) -> Deferred[None]:
                return fail(StoreError("out to lunch")) if self.broken else super().commit(added, removed)  # type: ignore[arg-type]

        store = Store()
        service = self.make(store)
        await self.open(readyz=ReadyResource(service))

        async def ready() -> tuple[int, str]:
            status, _, body = await self.fetch("readyz")
            return status, body

        self.assertEqual(await ready(), (503, "the stored queue has not been replayed yet\n"))
        await self.start(service)
        self.assertEqual(await ready(), (200, "ready\n"))
        store.broken = True
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        await client.hears()
        self.assertEqual(await ready(), (503, "the queue store fails: out to lunch\n"))
        store.broken = False
        client.says("SUBMIT_JOB_BG f||x")
        await client.hears()
        self.assertEqual(await ready(), (200, "ready\n"))
        await service.drain(0)
        self.assertEqual(await ready(), (503, "the server is about to end, and hands out no more jobs\n"))
