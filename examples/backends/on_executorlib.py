"""A backend on executorlib: processes that it starts on this machine."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from fancypipe_core.backend import BackendPlugin
from fancypipe_core.toolkit import FuturesBackend


class Call(Future[Any]):
    """A call, and the process that runs it while one does."""

    pid: int | None = None

    def runs(self) -> bool:
        return self.pid is not None

    def kill(self) -> None:
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)


class Workers:
    """What `FuturesBackend` takes for a pool: threads, each with an executor of one process.

    One executor of several would run what has killed one of them again in the next, unseen.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count)
        self._calls: set[Call] = set()
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._idle.put(None)  # started when it is needed

    def submit(self, function: Any, argument: Any) -> Call:
        call = Call()
        self._threads.submit(self._follow, call, function, argument)
        return call

    def _follow(self, call: Call, function: Any, argument: Any) -> None:
        from executorlib import SingleNodeExecutor

        if not call.set_running_or_notify_cancel():
            return
        self._calls.add(call)
        one = self._idle.get()
        try:
            one = one or SingleNodeExecutor(1, block_allocation=True, hostname_localhost=True)
            call.pid = one.submit(os.getpid).result()
            answer = one.submit(function, argument).result()
            call.pid = None
            call.set_result(answer)
        except BaseException as error:  # noqa: BLE001 - somebody waits for it
            call.pid = None
            one = one and one.shutdown(wait=False)  # the next call gets a new one
            call.set_exception(error)
        self._idle.put(one)
        self._calls.discard(call)

    def close(self) -> None:
        for call in list(self._calls):
            call.kill()
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            if one := self._idle.get():
                one.shutdown()


plugin = BackendPlugin(
    name="executorlib",
    aliases=(),
    help="the processes of executorlib; an example",
    make=lambda options: FuturesBackend(Workers, options, running=Call.runs, kill=Call.kill),
    kills=True,
    certificates="vague",
)
