"""
The thread in which the reactor runs for a program that does not run it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Lock, Thread
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from gearsvc.client.worker import DaemonThread


class ReactorThread:
    """
    The reactor, in a thread of its own.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._started_by = 0

    def reactor(self) -> Any:
        """
        The reactor, which runs.

        @raise RuntimeError: if this is its own thread, which must not wait; if
            it has been stopped; or after a fork.
        """
        from twisted.internet import reactor

        running: Any = reactor
        with self._lock:
            if self._started_by and self._started_by != os.getpid():
                raise RuntimeError(
                    "gearsvc.client.blocking was used before this process was forked, and its thread has stayed in the parent:"
                    " use it in the child alone, or start the child anew (multiprocessing calls that spawn)"
                )
            if not running.running:
                self._start(running)
        if isInIOThread():
            raise RuntimeError(
                "gearsvc.client.blocking was called in the reactor's own thread, which would wait for itself:"
                " use gearsvc.client there"
            )
        return running

    def _start(self, reactor: Any) -> None:
        # Those are for what blocks, such as the resolver, and would keep the program from ending.
        reactor.getThreadPool().threadFactory = DaemonThread
        begun = Event()
        mistakes: list[BaseException] = []

        def run() -> None:
            try:
                reactor.callWhenRunning(begun.set)
                reactor.run(installSignalHandlers=False)
            except BaseException as error:
                mistakes.append(error)
                begun.set()

        Thread(target=run, name="gearsvc.client.blocking", daemon=True).start()
        begun.wait()
        if mistakes:
            raise RuntimeError(f"Twisted's reactor can't be run for gearsvc.client.blocking: {mistakes[0]!r}") from mistakes[0]
        self._started_by = os.getpid()

    def begin(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """
        Call a function in the reactor's thread.

        @return: its result, or what its Deferred fires with.
        """
        outcome: Future[Any] = Future()

        def call() -> None:
            maybeDeferred(function, *arguments, **options).addCallbacks(outcome.set_result, failed)

        def failed(reason: Failure) -> None:
            outcome.set_exception(reason.value)

        self.reactor().callFromThread(call)
        return outcome

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """
        The same, and wait for it.
        """
        return self.begin(function, *arguments, **options).result()


THREAD = ReactorThread()
"""
The one that all share.
"""
