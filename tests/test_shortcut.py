"""
L{gearsvc.shortcut}, on reactors of the test's own and under a whole server.
"""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from threading import Thread
from typing import Any, Callable
from unittest import skipUnless

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gearsvc import shortcut
from gearsvc.core.packets import Type
from tests.durable import OnRedis
from tests.running import RunningServer, free_port, wait_until
from tests.stores.takeover import Peer

PATIENCE = 20.0
"""How many seconds a reactor may run before it counts as one that has not stopped."""

HAS_EPOLL = hasattr(select, "epoll")


@implementer(IReadDescriptor)
class Reader:
    """
    Reads from a connection, as the reactor has it and by the shortcut.

    @ivar read: what the reactor has had it read.
    @ivar directly: what was read by the shortcut.
    @ivar refuses: whether the shortcut leaves the reading to the reactor.
    @ivar broken: whether the shortcut fails.
    @ivar lost: whether the reactor has ended it.
    @ivar then: what is to be done when something was read by the shortcut, each time the next.
    """

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.read: list[bytes] = []
        self.directly: list[bytes] = []
        self.refuses = self.broken = self.lost = False
        self.then: list[Callable[[], object]] = []

    def fileno(self) -> int:
        """
        The connection.
        """
        return self.here.fileno()

    def logPrefix(self) -> str:
        """
        What the reactor calls it.
        """
        return "reader"

    def doRead(self) -> None:
        """
        The reactor says that there is something to read.
        """
        self.read.append(self.here.recv(100))

    def read_directly(self) -> bool:
        """
        The shortcut says so.
        """
        if self.broken:
            raise RuntimeError("broken")
        if not self.refuses:
            self.directly.append(self.here.recv(100))
            if self.then:
                self.then.pop(0)()
        return self.refuses

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor does not read from it any more.
        """
        self.lost = True

    def close(self) -> None:
        """
        Close both ends.
        """
        self.here.close()
        self.there.close()


class WatchedEpoll:
    """
    An epoll that tells how it was asked.

    @ivar timeouts: how long it was to wait, each time.
    @ivar before: what is to be done before it is asked, each time the next.
    @ivar when_asleep: what is to be done before it is asked to wait.
    """

    def __init__(self, epoll: Any) -> None:
        self.epoll = epoll
        self.timeouts: list[float] = []
        self.before: list[Callable[[], object]] = []
        self.when_asleep: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        """
        All but L{poll} is the epoll's.
        """
        return getattr(self.epoll, name)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """
        Note it, and ask.
        """
        self.timeouts.append(timeout)
        if self.before:
            self.before.pop(0)()
        if timeout:
            self.when_asleep()
        found: list[tuple[int, int]] = self.epoll.poll(timeout, most)
        return found


class ReactorCase(SynchronousTestCase):
    """
    Two readers on one reactor, the first of them with a shortcut.
    """

    def setUp(self) -> None:
        """
        A reactor with an epoll.
        """
        if not HAS_EPOLL:
            self.skipTest("there is no epoll here")
        self.use_new_reactor()

    def use_new_reactor(self) -> None:
        """
        Begin anew, with another reactor.
        """
        from twisted.internet.epollreactor import EPollReactor

        self.reactor: Any = EPollReactor()
        self.epoll = self.reactor._poller
        self.addCleanup(self.epoll.close)
        self.direct, self.other = Reader(), Reader()
        for reader in (self.direct, self.other):
            self.addCleanup(reader.close)
            self.reactor.addReader(reader)
        self.addCleanup(self.reactor.removeAll)
        shortcut.add(self.reactor, self.direct.fileno(), self.direct.read_directly)


class ShortcutTests(ReactorCase):
    """
    Readers with a shortcut and without, on one reactor.
    """

    def say(self, *words: bytes) -> None:
        """
        Send something to both, one word after the other, and let the reactor read it.
        """
        for word in words:
            self.direct.there.send(word)
            self.other.there.send(word)
            self.reactor.doIteration(1)

    def test_taken(self) -> None:
        """
        Who has a shortcut is called by it alone, and the reactor reads from all others.
        """
        self.say(b"one", b"two")
        self.assertEqual((self.direct.directly, self.direct.read), ([b"one", b"two"], []))
        self.assertEqual(self.other.read, [b"one", b"two"])

    def test_left_to_the_reactor(self) -> None:
        """
        A reader may leave it to the reactor to look.
        """
        self.direct.refuses = True
        self.say(b"one")
        self.assertEqual((self.direct.directly, self.direct.read), ([], [b"one"]))

    def test_not_only_readable(self) -> None:
        """
        The reactor looks itself when a connection has been broken.
        """
        self.direct.there.close()
        self.reactor.doIteration(1)
        self.assertEqual((self.direct.directly, self.direct.read), ([], [b""]))

    def test_broken(self) -> None:
        """
        A mistake of the reader's is logged, and costs that connection alone, as a mistake under the reactor does.
        """
        self.direct.broken = True
        self.say(b"one")
        self.assertTrue(self.direct.lost)
        self.assertNotIn(self.direct, self.reactor.getReaders())
        self.assertEqual((self.other.lost, self.other.read), (False, [b"one"]))
        [failure] = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(str(failure.value), "broken")

    def test_removed(self) -> None:
        """
        Without its shortcut a reader is one like others; and with the last one the reactor is as it was before.
        """
        shortcut.add(self.reactor, self.other.fileno(), self.other.read_directly)
        shortcut.remove(self.reactor, self.direct.fileno())
        self.say(b"one")
        self.assertEqual((self.direct.read, self.other.directly), ([b"one"], [b"one"]))
        self.assertIsNot(self.reactor._poller, self.epoll)
        shortcut.remove(self.reactor, self.other.fileno())
        self.assertIs(self.reactor._poller, self.epoll)
        shortcut.remove(self.reactor, self.other.fileno())
        self.say(b"two")
        self.assertEqual((self.direct.read, self.other.read), ([b"one", b"two"], [b"two"]))

    def test_readers_come_and_go(self) -> None:
        """
        The reactor adds and removes readers and writers as ever.
        """
        third = Reader()
        self.addCleanup(third.close)
        self.reactor.addReader(third)
        third.there.send(b"hello")
        self.reactor.doIteration(1)
        self.reactor.removeReader(third)
        third.there.send(b"nobody listens")
        self.say(b"one")
        self.assertEqual((third.read, self.direct.directly), ([b"hello"], [b"one"]))

    def test_last(self) -> None:
        """
        One that is to be the last is read from after all others with a shortcut, whichever of them was ready first.
        """
        order: list[str] = []
        self.direct.then = [lambda: order.append("last")] * 2
        self.other.then = [lambda: order.append("other")] * 2
        shortcut.remove(self.reactor, self.direct.fileno())
        shortcut.add(self.reactor, self.direct.fileno(), self.direct.read_directly, last=True)
        shortcut.add(self.reactor, self.other.fileno(), self.other.read_directly)
        self.say(b"one")
        self.assertEqual(order, ["other", "last"])
        shortcut.remove(self.reactor, self.direct.fileno())
        shortcut.add(self.reactor, self.direct.fileno(), self.direct.read_directly)
        self.say(b"two")
        self.assertEqual(order, ["other", "last", "last", "other"])

    def run_reactor(self, then: Callable[[], object]) -> list[str]:
        """
        Run the reactor until it is stopped, and do something when the reader with the shortcut has read its first word:
        before the reactor has had a turn since.

        @return: what happened: also C{"late"} if the reactor had to be reminded to stop.
        """
        happened: list[str] = []
        self.direct.then = [then]

        def give_up() -> None:
            happened.append("late")
            self.reactor.stop()

        late = self.reactor.callLater(PATIENCE, give_up)
        self.reactor.callWhenRunning(self.direct.there.send, b"one")
        self.reactor.run(installSignalHandlers=False)
        if late.active():
            if self.reactor.seconds() >= late.getTime():
                happened.append("late")
            late.cancel()
        return happened

    def test_goes_on(self) -> None:
        """
        What comes soon after is read at once: the reactor gets its turn only when there is something for it.
        """
        turns: list[bytes] = []
        run_until_current = self.reactor.runUntilCurrent

        def turn() -> None:
            turns.append(b"".join(self.direct.directly))
            run_until_current()

        self.patch(self.reactor, "runUntilCurrent", turn)

        def more() -> None:
            self.direct.then = [lambda: self.other.there.send(b"for the reactor")]
            self.direct.there.send(b"two")

        def doRead() -> None:
            self.other.here.recv(100)
            self.reactor.stop()

        self.patch(self.other, "doRead", doRead)
        self.assertEqual(self.run_reactor(more), [])
        self.assertEqual(self.direct.directly, [b"one", b"two"])
        self.assertNotIn(b"one", turns)
        self.assertIn(b"onetwo", turns)

    def test_turns(self) -> None:
        """
        However much there is to read, the reactor has its turn now and then.
        """
        self.patch(shortcut, "MOST_ROUNDS", 3)
        turns: list[int] = []
        run_until_current = self.reactor.runUntilCurrent

        def turn() -> None:
            turns.append(len(self.direct.directly))
            run_until_current()

        def more() -> None:
            if len(self.direct.directly) == 9:
                self.reactor.stop()
            self.direct.then = [more]
            self.direct.there.send(b"more")

        self.patch(self.reactor, "runUntilCurrent", turn)
        self.assertEqual(self.run_reactor(more), [])
        for read in (3, 6):
            self.assertIn(read, turns)
        self.assertNotIn(2, turns)

    def test_timers(self) -> None:
        """
        A timer that a reader has set is kept, and so is one from before, though the reader always has more to read.
        """
        set_before = self.reactor.callLater(0.05, lambda: None)

        def set_a_timer() -> None:
            self.reactor.callLater(0.01, wait_for_the_other)

        def wait_for_the_other() -> None:
            self.direct.there.send(b"more")
            self.direct.then = [more]

        def more() -> None:
            if set_before.active():
                self.direct.there.send(b"more")
                self.direct.then = [more]
            else:
                self.reactor.stop()

        self.assertEqual(self.run_reactor(set_a_timer), [])
        self.assertFalse(set_before.active())

    def test_timers_that_are_due(self) -> None:
        """
        A timer that is due is called before more is read.
        """
        read: list[list[bytes]] = []

        def due() -> None:
            read.append([*self.direct.directly])
            self.reactor.stop()

        def more() -> None:
            self.reactor.callLater(0, due)
            self.direct.there.send(b"two")

        self.assertEqual(self.run_reactor(more), [])
        self.assertEqual(read, [[b"one"]])

    def test_stop(self) -> None:
        """
        A reader may stop the reactor, by whichever way there is, and it stops though nothing more comes.
        """
        for stop in (
            lambda: self.reactor.stop(),
            lambda: self.reactor.crash(),
            lambda: self.reactor.callLater(0, self.reactor.stop),
            lambda: self.reactor.callFromThread(self.reactor.stop),
            lambda: Thread(target=self.reactor.callFromThread, args=(self.reactor.stop,)).start(),
        ):
            self.use_new_reactor()
            self.assertEqual(self.run_reactor(stop), [])

    def test_impatient(self) -> None:
        """
        Who runs the reactor for no time at all waits for nothing, and sees what is ready.
        """
        seen: list[list[bytes]] = []

        def iterate() -> None:
            self.direct.there.send(b"two")
            self.reactor.iterate(0)
            seen.append([*self.direct.directly])
            self.reactor.stop()

        def more() -> None:
            self.direct.then = [lambda: None]
            self.reactor.callLater(0, iterate)

        self.assertEqual(self.run_reactor(more), [])
        self.assertEqual(seen, [[b"one", b"two"]])


class GlanceTests(ReactorCase):
    """
    Looking for an answer that is due, before sleeping until it comes.
    """

    def setUp(self) -> None:
        """
        The first reader waits for an answer.
        """
        super().setUp()
        self.patch(os, "sched_getaffinity", lambda _: {0, 1})
        self.due = ["an answer"]
        self.expect()

    def expect(self) -> None:
        """
        Have the shortcut know of it.
        """
        shortcut.remove(self.reactor, self.direct.fileno())
        shortcut.add(self.reactor, self.direct.fileno(), self.direct.read_directly, due=self.due)
        self.watched = self.reactor._poller.poller = WatchedEpoll(self.epoll)

    def sleeps(self, times: int) -> list[int]:
        """
        Have the reactor wait some times for what does not come.

        @return: before which of them it has looked.
        """
        looked = []
        for time in range(times):
            self.watched.timeouts.clear()
            self.reactor.doIteration(0.001)
            if self.watched.timeouts != [0.001]:
                self.assertEqual(self.watched.timeouts, [0, 0.001])
                looked.append(time)
        return looked

    def test_found(self) -> None:
        """
        While an answer is due, it is looked for again and again, and read with no sleep before it.
        """
        self.patch(shortcut, "GLANCE", PATIENCE)
        self.watched.before = [lambda: None, lambda: None, lambda: self.direct.there.send(b"one")]
        self.reactor.doIteration(1)
        self.assertEqual((self.direct.directly, self.watched.timeouts), ([b"one"], [0, 0, 0]))

    def test_others_are_seen(self) -> None:
        """
        What comes from others meanwhile is read as ever.
        """
        self.patch(shortcut, "GLANCE", PATIENCE)
        self.watched.before = [lambda: None, lambda: self.other.there.send(b"one")]
        self.reactor.doIteration(1)
        self.assertEqual((self.other.read, self.watched.timeouts), ([b"one"], [0, 0]))

    def test_not_found(self) -> None:
        """
        Soon it sleeps all the same.
        """
        self.watched.when_asleep = lambda: self.direct.there.send(b"one")
        self.reactor.doIteration(1)
        self.assertEqual(self.direct.directly, [b"one"])
        self.assertEqual((self.watched.timeouts[0], self.watched.timeouts[-1]), (0, 1))

    def test_nothing_is_due(self) -> None:
        """
        With no answer due it sleeps at once.
        """
        self.due.clear()
        self.direct.there.send(b"one")
        self.reactor.doIteration(1)
        self.assertEqual((self.direct.directly, self.watched.timeouts), ([b"one"], [1]))

    def test_removed(self) -> None:
        """
        Nor is anything looked for on behalf of one without a shortcut.
        """
        shortcut.add(self.reactor, self.other.fileno(), self.other.read_directly)
        shortcut.remove(self.reactor, self.direct.fileno())
        self.assertEqual(self.sleeps(2), [])

    def test_in_vain(self) -> None:
        """
        An answer that takes longer is looked for ever less often, but not too seldom; and as at first when one was found.
        """
        self.patch(shortcut, "GLANCE", 0)
        self.patch(shortcut, "MOST_SKIPPED", 7)
        self.assertEqual(self.sleeps(24), [0, 2, 6, 14, 22])
        self.assertEqual(self.sleeps(6), [])
        self.watched.timeouts.clear()
        self.direct.there.send(b"one")
        self.reactor.doIteration(1)
        self.assertEqual((self.direct.directly, self.watched.timeouts), ([b"one"], [0]))
        self.assertEqual(self.sleeps(5), [0, 2])

    def find(self) -> None:
        """
        Have an answer found, and no other due.
        """
        self.due[:] = ["an answer"]
        self.watched.timeouts.clear()
        self.direct.there.send(b"one")
        self.reactor.doIteration(1)
        self.assertEqual(self.watched.timeouts, [0])
        self.due.clear()

    def test_what_follows(self) -> None:
        """
        When an answer was found, what follows it is looked for as well, and what follows that; but not for ever.
        """
        self.patch(shortcut, "GLANCE", 0)
        self.find()
        self.watched.timeouts.clear()
        for _ in range(2):
            self.other.there.send(b"one")
            self.reactor.doIteration(1)
        self.assertEqual((self.other.read, self.watched.timeouts), ([b"one", b"one"], [0, 0]))
        self.assertEqual(self.sleeps(4), [0])

    def test_nothing_follows(self) -> None:
        """
        Where nothing follows the answers, that is looked for ever less often, and answers as ever.
        """
        self.patch(shortcut, "GLANCE", 0)
        looked = []
        for time in range(8):
            self.find()
            looked += [time] * len(self.sleeps(2))
        self.assertEqual(looked, [0, 2, 6])

    def test_one_processor(self) -> None:
        """
        With a single processor it sleeps, and leaves that to whoever is to answer.
        """
        self.patch(os, "sched_getaffinity", lambda _: {3})
        self.use_new_reactor()
        self.expect()
        self.assertEqual(self.sleeps(2), [])


class OtherReactorTests(SynchronousTestCase):
    """
    Where there is no epoll of a reactor's.
    """

    def test_nothing_changes(self) -> None:
        """
        Another reactor, and a clock, have no shortcut, and are left as they are.
        """
        for reactor in (SelectReactor(), Clock()):
            before = dict(vars(reactor))
            shortcut.add(reactor, 0, lambda: None)
            shortcut.remove(reactor, 0)
            self.assertEqual(vars(reactor), before)


class ServerTests(OnRedis, SynchronousTestCase):
    """
    A durable server on each of Twisted's reactors that a user may choose by C{twistd -r}.
    """

    def check(self, reactor: str) -> None:
        """
        Submit a background job, kill the server, start it again, and have the job done.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        server = RunningServer("gearsvc", self.store_options(directory), directory, free_port())
        server.command[1:1] = ["--reactor", reactor]
        server.start()
        self.addCleanup(lambda: server.running and server.kill())
        handle = Peer(server).submit(Type.SUBMIT_JOB_BG, b"work", b"unique", b"data")
        server.kill()
        server.start()
        worker = Peer(server)
        worker.send(Type.CAN_DO, b"work")
        worker.send(Type.GRAB_JOB_UNIQ)
        self.assertEqual(worker.receive(), (Type.JOB_ASSIGN_UNIQ, handle + b"\0work\0unique\0data"))
        worker.send(Type.WORK_COMPLETE, handle, b"done")
        wait_until(lambda: server.status("work") == (0, 0, 1), "the job is over")
        self.assertEqual(server.stop(), 0, server.log)
        self.assertNotIn("Traceback", server.log)

    def test_select(self) -> None:
        """
        With C{select}, nothing is lost.
        """
        self.check("select")

    def test_poll(self) -> None:
        """
        With C{poll}, nothing is lost.
        """
        self.check("poll")

    @skipUnless(HAS_EPOLL, "there is no epoll here")
    def test_epoll(self) -> None:
        """
        With C{epoll}, nothing is lost.
        """
        self.check("epoll")

    def test_asyncio(self) -> None:
        """
        With C{asyncio}, nothing is lost.
        """
        self.check("asyncio")
