"""
L{examples.narada.fetching}: a robot, and a site that is not easy with it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from examples.narada import fetching
from examples.narada.documents import Documents, Limits
from examples.narada.fetching import LARGEST, NAME, Answer, Robot, TooLarge, Unreachable
from tests.running import HOST, free_port


class Difficult(Resource):
    """
    Answers as it was told to.

    @ivar answers: by path: a status, headers and content; one answer after the other, and the last one for ever.
    @ivar requests: path, user agent and time of each request.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.requests: list[tuple[str, str, float]] = []

    def render_GET(self, request: Request) -> Any:
        """
        Answer.
        """
        path = request.path.decode()
        self.requests.append((path, str(request.getHeader("user-agent")), time.monotonic()))
        if path == "/silent":
            return NOT_DONE_YET
        if path == "/broken":
            request.setHeader("Content-Length", "100")
            request.write(b"half of it")
            request.loseConnection()
            return NOT_DONE_YET
        answers = self.answers.get(path, [(404, {}, b"")])
        status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return content


class RobotTests(TestCase):
    """
    Its requests and its manners.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Serve the site, and make a robot and its database.
        """
        from twisted.internet import reactor

        self.reactor: Any = reactor
        directory = Path(tempfile.mkdtemp(prefix="narada-test-"))
        self.addCleanup(shutil.rmtree, directory)
        self.documents = Documents(directory / "narada.db")
        self.addCleanup(self.documents.close)
        self.site = Difficult()
        listening = self.reactor.listenTCP(0, Site(self.site), interface=HOST)
        self.addCleanup(listening.stopListening)
        self.base = f"http://{HOST}:{listening.getHost().port}"
        self.documents.set_limits(f"{self.base}/", Limits(1, 9, 0))
        self.robot = self.make_robot()
        self.patch(fetching, "PAUSE", 0.01)

    def make_robot(self) -> Robot:
        """
        One more of them, which uses the same database.
        """
        robot = Robot(self.reactor, self.documents)
        self.addCleanup(robot.close)
        return robot

    async def get(self, path: str) -> Answer:
        """
        Request something.
        """
        return await self.robot.get(f"{self.base}{path}")

    async def test_answer(self) -> None:
        """
        Status, type, encoding and content of an answer are what the server sent, a redirect is not followed, and the server
        hears who asks.
        """
        self.site.answers["/a"] = [(302, {"Content-Type": "Text/HTML ; a=b; Charset=\"UTF-8\"", "Location": "/b"}, b"content")]
        answer = await self.get("/a")
        self.assertEqual((answer.status, answer.kind, answer.charset), (302, "text/html", "UTF-8"))
        self.assertEqual((answer.location, answer.content), ("/b", b"content"))
        [(path, agent, _)] = self.site.requests
        self.assertEqual(path, "/a")
        self.assertTrue(agent.startswith(NAME))

    async def test_busy(self) -> None:
        """
        A server that is busy is asked again, and at last its answer is taken for what it is.
        """
        self.site.answers["/a"] = [(503, {}, b""), (200, {}, b"now")]
        self.assertEqual((await self.get("/a")).content, b"now")
        self.site.answers["/b"] = [(503, {}, b"")]
        self.assertEqual((await self.get("/b")).status, 503)
        self.assertEqual([path for path, _, _ in self.site.requests], ["/a"] * 2 + ["/b"] * fetching.ATTEMPTS)

    async def test_too_large(self) -> None:
        """
        Of an answer that is too large, no more is read.
        """
        self.site.answers["/a"] = [(200, {}, b"a" * LARGEST)]
        self.assertEqual(len((await self.get("/a")).content), LARGEST)
        self.site.answers["/b"] = [(200, {}, b"a" * (LARGEST + 1))]
        with self.assertRaises(TooLarge):
            await self.get("/b")

    async def test_unreachable(self) -> None:
        """
        That nobody listens, that a connection breaks, and that nothing comes, is said in a few words.
        """
        with self.assertRaisesRegex(Unreachable, "refused"):
            await self.robot.get(f"http://{HOST}:{free_port()}/")
        with self.assertRaisesRegex(Unreachable, "connection was lost"):
            await self.get("/broken")
        self.patch(fetching, "PATIENCE", 0.1)
        with self.assertRaisesRegex(Unreachable, "no answer within"):
            await self.get("/silent")

    async def test_rules(self) -> None:
        """
        What robots.txt forbids may not be requested; it is itself requested once, for all workers.
        """
        rules = b"User-agent: other\nDisallow: /\n\nUser-agent: narada\nDisallow: /private/\nCrawl-delay: 0\n"
        self.site.answers["/robots.txt"] = [(200, {}, rules)]
        self.assertTrue(await self.robot.may(f"{self.base}/a"))
        self.assertFalse(await self.robot.may(f"{self.base}/private/a"))
        self.assertFalse(await self.make_robot().may(f"{self.base}/private/a"))
        self.assertEqual(len(self.site.requests), 1)

    async def test_no_rules(self) -> None:
        """
        A site without a robots.txt forbids nothing; one that cannot say what it forbids is left alone, until it can.
        """
        self.site.answers["/robots.txt"] = [
            *[(500, {}, b"")] * fetching.ATTEMPTS,
            (200, {}, b"#" * (LARGEST + 1)),
            (404, {}, b"User-agent: *\nDisallow: /"),
        ]
        with self.assertRaisesRegex(Unreachable, "robots.txt cannot be had, 500"):
            await self.robot.may(f"{self.base}/a")
        with self.assertRaisesRegex(Unreachable, "robots.txt cannot be had, it is too large"):
            await self.robot.may(f"{self.base}/a")
        self.assertTrue(await self.robot.may(f"{self.base}/a"))

    async def test_pause(self) -> None:
        """
        Each request takes its turn, as long after the last one as the site's robots.txt asks for, or whoever began the crawl,
        whatever is more, and whichever worker makes it.  (That turns are so far apart is the database's part.)
        """
        self.site.answers["/robots.txt"] = [(200, {}, b"User-agent: *\nCrawl-delay: 1\nDisallow:\n")]
        self.documents.set_limits(f"{self.base}/", Limits(1, 9, 0.2))
        delays: list[float] = []

        def noted(origin: str, delay: float) -> float:
            delays.append(delay)
            return 0.0

        self.patch(self.documents, "reserve", noted)
        robots = [self.robot, self.make_robot()]
        for robot in robots:
            self.assertTrue(await robot.may(f"{self.base}/a"))
        await gatherResults([Deferred.fromCoroutine(robot.get(f"{self.base}/a")) for robot in robots])
        # The first request was for the robots.txt.
        self.assertEqual(delays, [0.2, 1.0, 1.0])
        self.documents.set_limits(f"{self.base}/", Limits(1, 9, 2.0))
        await self.robot.get(f"{self.base}/a")
        self.assertEqual(delays[3:], [2.0])
