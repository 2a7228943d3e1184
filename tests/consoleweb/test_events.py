"""
L{gearsvc.console.events}.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
from typing import Any

from gearsvc.console import events
from gearsvc.console.events import EventsResource
from gearsvc.console.series import Series
from tests.consoleweb.web import Reader, WebCase
from tests.protocols.case import SMALL_BUFFER


def told(reader: Reader) -> list[tuple[str, dict[str, object]]]:
    """
    The events that a reader has heard so far.
    """
    found = re.findall(rb"event: (\w+)\ndata: (.*)\n\n", reader.heard)
    return [(name.decode(), json.loads(data)) for name, data in found]


class EventTests(WebCase):
    """
    A stream of events.
    """

    gather = 0.01

    async def serve_events(self) -> None:
        """
        Start a server, and serve its events.
        """
        self.patch(events, "GATHER", self.gather)
        await self.serve()
        series = Series(self.service.job_server, self.reactor)
        series.start()
        self.addCleanup(series.stop)
        self.resource = EventsResource(self.service.job_server, self.reactor, series)
        await self.open(events=self.resource)

    async def listen(self, query: str = "") -> Reader:
        """
        Read events, from now on.
        """
        before = len(self.resource.streams)
        reader = await self.read("events" + query)
        await self.until(lambda: len(self.resource.streams) > before)
        return reader

    async def run_a_job(self, function: str = "f") -> None:
        """
        Let a job live.
        """
        client, worker = await self.connect(), await self.worker(function)
        client.says(f"SUBMIT_JOB {function}|u|x")
        handle = (await client.hears()).split()[1]
        worker.says("GRAB_JOB", f"WORK_STATUS {handle}|1|2", f"WORK_COMPLETE {handle}|done")
        await client.hears_all(2)
        worker.hangs_up()

    async def test_changed(self) -> None:
        """
        Who asks for that alone is told that something has changed, not what, and nothing while all stays as it is.
        """
        await self.serve_events()
        reader = await self.listen("?event=changed")
        self.assertEqual(self.service.job_server.observers.job_completed, ())
        await self.run_a_job()
        await self.until(lambda: bool(told(reader)))
        ((name, said),) = told(reader)
        self.assertEqual((name, list(said)), ("changed", ["time"]))
        reader.transport.abortConnection()
        await self.until(lambda: not self.resource.streams)

    async def test_life(self) -> None:
        """
        A job's life is told in order, each event with its time, its function, and what there is to say.
        """
        await self.serve_events()
        reader = await self.listen()
        await self.run_a_job()
        await self.until(lambda: len(told(reader)) == 6)
        self.assertIn(b"HTTP/1.1 200 OK", reader.heard)
        self.assertIn(b"text/event-stream", reader.heard)
        heard = told(reader)
        self.assertEqual(
            [name for name, _ in heard],
            ["worker_joined", "job_submitted", "job_started", "job_progressed", "job_completed", "worker_left"],
        )
        self.assertTrue(all(data.pop("function") == "f" and data.pop("time") for _, data in heard))
        [handle] = {data["handle"] for name, data in heard if name.startswith("job_")}
        self.assertEqual(heard[1][1], {"handle": handle, "unique": "u"})
        self.assertEqual((heard[3][1]["numerator"], heard[3][1]["denominator"], heard[4][1]["size"]), ("1", "2", 4))

    async def test_chosen(self) -> None:
        """
        Who asks for some functions and some events alone hears of nothing else.
        """
        await self.serve_events()
        reader = await self.listen("?function=f&function=h&event=job_submitted&event=job_completed")
        for function in ("g", "f"):
            await self.run_a_job(function)
        await self.until(lambda: len(told(reader)) == 2)
        self.assertEqual([(name, data["function"]) for name, data in told(reader)], [("job_submitted", "f"), ("job_completed", "f")])

    async def test_unknown_event(self) -> None:
        """
        Who asks for an event that does not exist hears which do.
        """
        await self.serve_events()
        status, _, body = await self.fetch("events?event=job_eaten")
        self.assertEqual(status, 400)
        self.assertIn("'job_eaten'", body)
        self.assertIn("job_submitted", body)

    async def test_too_many_readers(self) -> None:
        """
        There is a limit to how many may read; those who leave make room.
        """
        await self.serve_events()
        self.patch(events, "MAX_READERS", 1)
        reader = await self.listen()
        self.assertEqual((await self.fetch("events"))[0], 503)
        reader.transport.loseConnection()
        await self.until(lambda: not self.resource.streams)
        await self.listen()

    async def test_slow_reader(self) -> None:
        """
        A reader that does not read loses events, is told how many once it reads, and costs no more memory than the limit.
        """
        await self.serve_events()
        self.patch(events, "MAX_WAITING", 50)
        reader = await self.listen()
        reader.transport.pauseProducing()
        client = await self.connect()
        [stream] = self.resource.streams
        sent = 0
        while not stream.lost or not stream._paused:
            client.says(*[f"SUBMIT_JOB_BG {'f' * 1000}||x"] * 40)
            await client.hears_all(40)
            sent += 40
            self.assertLessEqual(len(stream._waiting), 50)
            await self.turns()
        reader.transport.resumeProducing()

        def heard_of() -> int:
            return sum(int(str(data["count"])) if name == "lost" else 1 for name, data in told(reader))

        await self.until(lambda: heard_of() == sent)
        self.assertIn("lost", {name for name, _ in told(reader)})

    async def test_never_reads(self) -> None:
        """
        A peer that never reads, of events whose names are as long as can be, costs the server no more than some bytes,
        however many events there are; when it does read, it has heard of each event or is told that it was lost.
        """
        await self.serve_events()
        before = len(self.resource.streams)
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", self._port.getHost().port))
            await self.until(lambda: bool(select.select([], [peer], [], 0)[1]))
            peer.send(b"GET /events?event=job_submitted HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await self.until(lambda: len(self.resource.streams) > before)
            [stream] = self.resource.streams
            transport: Any = stream._request.channel.transport
            client = await self.connect()
            name = "\xff" * 8191
            sent = most = 0
            while stream.lost < 1000:
                client.says(*[f"SUBMIT_JOB_BG {name}||x"] * 50)
                await client.hears_all(50)
                sent += 50
                await self.turns()
                most = max(most, stream._bytes + len(transport.dataBuffer) + transport._tempDataLen)
            self.assertLess(most, 2 * events.MAX_BYTES + 200_000)
            heard = b""

            def counted() -> int:
                nonlocal heard
                with contextlib.suppress(BlockingIOError):
                    heard += peer.recv(1 << 20)
                lost = re.findall(rb'event: lost\ndata: {"count": (\d+)}', heard)
                return heard.count(b"event: job_submitted") + sum(map(int, lost))

            await self.until(lambda: counted() == sent)
            self.assertGreater(heard.count(b"event: lost"), 0)

    async def test_waits_while_paused(self) -> None:
        """
        What waits for a reader that ceases to keep up is neither written nor lost.
        """
        self.gather = 60
        await self.serve_events()
        reader = await self.listen()
        [stream] = self.resource.streams
        worker = await self.worker("f")
        stream.pauseProducing()
        worker.says("CAN_DO g")
        await worker.echoes()
        stream._wait(0)
        await self.turns()
        self.assertEqual((stream.lost, len(stream._waiting), told(reader)), (1, 1, []))
        self.patch(events, "GATHER", 0.01)
        stream.resumeProducing()
        await self.until(lambda: len(told(reader)) == 2)
        self.assertEqual([(name, data.get("count")) for name, data in told(reader)], [("worker_joined", None), ("lost", 1)])
        reader.transport.abortConnection()
        await self.until(lambda: not self.resource.streams)

    async def test_hostile_names(self) -> None:
        """
        A name with line ends and markup makes no event of its own.
        """
        await self.serve_events()
        reader = await self.listen()
        worker = await self.connect()
        name = b"f\n\nevent: job_completed\ndata: {}\n\n<script>\xff"
        worker.transport.write(b"\0REQ\0\0\0\x01" + len(name).to_bytes(4, "big") + name)
        await self.until(lambda: bool(told(reader)))
        [(event, data)] = told(reader)
        self.assertEqual((event, data["function"]), ("worker_joined", r"f\n\nevent: job_completed\ndata: {}\n\n<script>\xff"))

    async def test_silence(self) -> None:
        """
        When nothing happens, a comment is sent now and then.
        """
        self.patch(events, "HEARTBEAT", 0.02)
        await self.serve_events()
        reader = await self.listen()
        await self.until(lambda: reader.heard.count(b":\n\n") >= 2)
        self.assertEqual(told(reader), [])

    async def test_who_leaves_is_forgotten(self) -> None:
        """
        When a reader is gone, nobody listens any more.
        """
        await self.serve_events()
        reader = await self.listen()
        self.assertTrue(self.service.job_server.observers.job_submitted)
        reader.transport.loseConnection()
        await self.until(lambda: not self.service.job_server.observers.job_submitted)
        self.assertEqual(self.resource.streams, set())
