"""
A thread for a store whose library blocks.

Everything that touches the library runs there, one call after the other, so
that a slow disk or somebody else's lock never stops the reactor.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import Any, Callable, Iterator, Protocol, Sequence, TypeVar, cast

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from gearsvc.core.jobs import JobRecord
from gearsvc.interfaces import Accept, StoreError
from gearsvc.stores.progress import Progress

Result = TypeVar("Result")

Calls = SimpleQueue["tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]] | None"]
"""
What the thread is to do; C{None} ends it.
"""


class StoreThread:
    """
    One thread, from L{start} to L{end}.
    """

    def __init__(self, name: str, reactor: IReactorFromThreads | None = None) -> None:
        """
        @param name: what debuggers call the thread.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._name = name
        self._reactor = reactor
        self._calls: Calls | None = None

    def start(self, function: Callable[[], None]) -> Deferred[None]:
        """
        Start the thread, and make its first call.

        @return: fires when the call has returned; if that raises
            L{StoreError}, it fails with it, and the thread ends.
        """
        return ensureDeferred(self._start(function))

    async def _start(self, function: Callable[[], None]) -> None:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorFromThreads, reactor)
        self._calls = SimpleQueue()
        Thread(target=self._work, args=(self._calls, self._reactor), name=self._name, daemon=True).start()
        try:
            await self.run(function)
        except StoreError:
            self._end()
            raise

    def run(self, function: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        """
        Call a function in the thread.

        (A thread pool of one does the same, and takes 100 microseconds more to
        do it: half of what the commit of a single job takes.)
        """
        assert self._calls is not None, "the store is not open"
        result: Deferred[Result] = Deferred()
        self._calls.put((function, arguments, result))
        return result

    @staticmethod
    def _work(calls: Calls, reactor: IReactorFromThreads) -> None:
        """
        The thread.
        """
        while (call := calls.get()) is not None:
            function, arguments, result = call
            try:
                value = function(*arguments)
            except BaseException:
                reactor.callFromThread(result.errback, Failure())
            else:
                reactor.callFromThread(result.callback, value)

    def replay(self, pieces: Iterator[Sequence[JobRecord]], accept: Accept, total: int, where: str) -> Deferred[int]:
        """
        Hand over what the thread reads: see L{replay}.
        """
        return ensureDeferred(replay(self.run, pieces, accept, total, where))

    def end(self, function: Callable[[], None]) -> Deferred[None]:
        """
        Make a last call, and let the thread end.

        @return: fires when the call has returned; at once, and without the
            call, if the thread has not started.
        """
        if self._calls is None:
            return succeed(None)
        ended = self.run(function)
        self._end()
        return ended

    def _end(self) -> None:
        calls, self._calls = self._calls, None
        assert calls is not None
        calls.put(None)


async def replay(
    run: Callable[..., Deferred[Any]], pieces: Iterator[Sequence[JobRecord]], accept: Accept, total: int, where: str
) -> int:
    """
    Hand over what a thread reads.

    @param run: calls a function in the thread, as L{StoreThread.run} does.
    @param pieces: some jobs at a time, none of them empty; each is made in
        the thread.
    @param accept: see L{IQueueStore.replay
        <gearsvc.interfaces.IQueueStore.replay>}.
    @param total: how many jobs there are, for the log.
    @param where: the store's name, for the log.
    @return: how many jobs there were.
    """
    progress = Progress(where, total)
    coming = run(next, pieces, None)
    while piece := await coming:
        # The thread reads on while the job server takes these.
        coming = run(next, pieces, None)
        accepted = accept(piece)
        if accepted is not None:
            await accepted
        progress.advance(len(piece))
    return progress.done


class BlockingStore(Protocol):
    """
    What a store's thread works on.

    @ivar path: what the log calls it.
    """

    path: str

    def open(self) -> None:
        """
        Open it.

        @raise StoreError: if that can't be done; it is closed then.
        """

    def count(self) -> int:
        """
        How many jobs a replay will find, about.
        """

    def pieces(self) -> Iterator[Sequence[JobRecord]]:
        """
        Read the jobs, some at a time.
        """

    def close(self) -> None:
        """
        Close it.
        """


class ThreadedStore:
    """
    All of L{IQueueStore <gearsvc.interfaces.IQueueStore>} but C{commit} and
    C{description}, by a thread.

    @ivar thread: calls what blocks.
    """

    def __init__(self, store: BlockingStore, name: str, reactor: IReactorFromThreads | None = None) -> None:
        """
        @param store: is touched in the thread alone.
        @param name: what debuggers call the thread.
        @param reactor: the one whose thread calls; by default the global one.
        """
        self._store = store
        self.thread = StoreThread(name, reactor)

    def open(self) -> Deferred[None]:
        """
        See L{IQueueStore.open}.  It may be called again after it has failed.
        """
        return self.thread.start(self._store.open)

    def replay(self, accept: Accept) -> Deferred[int]:
        """
        See L{IQueueStore.replay}.
        """
        return ensureDeferred(self._replay(accept))

    async def _replay(self, accept: Accept) -> int:
        total = await self.thread.run(self._store.count)
        return await self.thread.replay(self._store.pieces(), accept, total, self._store.path)

    def close(self) -> Deferred[None]:
        """
        See L{IQueueStore.close}.
        """
        return self.thread.end(self._store.close)
