"""A dask cluster as the pool of a `FuturesBackend`."""

from __future__ import annotations

import re
import shutil
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from typing import Any

from dask import sizeof
from distributed import CancelledError, Client, KilledWorker
from distributed.comm import CommClosedError

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import FuturesBackend, amounts
from fancypipe_dask._local import Cluster

__all__ = ["DaskBackend"]

_CLOSE = 5.0  # seconds that a client, and a cluster that we made elsewhere, may take to close
_LARGE = 1_000_000  # bytes of an argument that the scheduler does not keep
_NAMED = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")  # MODULE:NAME, which is no HOST:PORT
# Addresses of workers that were killed for what they ran; what was beside that comes back soon.
_restarted: deque[str] = deque(maxlen=100)


class DaskBackend(FuturesBackend):
    """Runs jobs on a dask cluster; `options` are the engine's."""

    def __init__(self, options: BackendOptions) -> None:
        self._client: Any = None
        given = options.workers_given or options.settings.address is None
        self._slots_given = options.workers if given else 0
        self._cluster: Any = None  # ours to close
        super().__init__(
            self._connect,
            options,
            breaks=(CommClosedError,),
            running=Call.runs,
            kill=Call.stop,
            slots=lambda calls: self._slots_given or calls.threads(),
        )

    def stop(self, grace: float) -> None:
        """End; see `fancypipe_core.backend`."""
        super().stop(grace)
        for one in (self._client, self._cluster):
            with suppress(Exception):  # there is none, or its scheduler is gone
                one.close(timeout=_CLOSE)
        shutil.rmtree(f"{self._options.directory}/dask-scratch-space", ignore_errors=True)

    def _connect(self, _count: int) -> Calls:
        """Return a pool; all have one client, and a new one if that has lost its scheduler."""
        if self._client is None or self._client.status != "running":
            with suppress(Exception):  # as above
                self._client.close(timeout=_CLOSE)
            self._client = Client(self._where(), set_as_default=False)
        return Calls(self._client, amounts(self._options.settings.resources))

    def _where(self) -> Any:
        """Return what a client takes: an address, or a cluster."""
        address = self._options.settings.address
        named = _NAMED.fullmatch(address or "")
        if address is not None and named is None:
            return address
        if self._cluster is None:
            made = getattr(import_module(named[1]), named[2]) if named else None
            self._cluster = made() if made else Cluster(self._options)
        return self._cluster


class Call(Future[Any]):
    """One of ours, which ends as dask's does; it cannot be cancelled without being stopped."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.given: Any = None  # dask's future
        self.stopped = False
        self.set_running_or_notify_cancel()

    def runs(self) -> bool:
        """Return whether a worker is in the middle of it."""
        return bool(self.client.call_stack(keys=[self.given.key]))

    def stop(self) -> None:
        """Stop it.  If it has begun, that is to start its worker anew."""
        self.client.loop.add_callback(self._stop)

    async def _stop(self) -> None:
        self.stopped = True
        with suppress(Exception):  # it is over, or the scheduler is gone
            workers = list(await self.client.call_stack(keys=[self.given.key]))
            _restarted.extend(workers)
            await self.given.cancel()
            await self.client.restart_workers(workers, _CLOSE, raise_for_error=False)


class Calls:
    """What `FuturesBackend` takes for a pool: calls of functions by a client, all in its loop."""

    def __init__(self, client: Client, resources: dict[str, float]) -> None:
        self.client = client
        self._more = {"pure": False, "retries": 0, "resources": resources}
        self._open: set[Call] = set()

    def submit(self, function: Any, argument: Any) -> Call:
        """Call a function in a worker."""
        call = Call(self.client)
        self._open.add(call)
        self.client.loop.add_callback(self._follow, call, function, argument)
        return call

    def threads(self) -> int:
        """Return how many threads there are; at least 1, so that a cluster begins to adapt."""
        return int(sum(self.client.nthreads().values())) or 1

    def close(self) -> None:
        """Stop all calls."""
        for call in list(self._open):
            call.stop()

    async def _follow(self, call: Call, function: Any, argument: Any) -> None:
        while not call.done():
            try:
                large = sizeof.sizeof(argument) > _LARGE  # it is no part of the graph then
                given = await self.client.scatter(argument, hash=False) if large else argument
                call.given = self.client.submit(function, given, **self._more)
                call.set_result(await call.given)
            except KilledWorker as error:
                # A neighbour of what we have stopped is not to blame: once more.
                if error.last_worker.address not in _restarted:
                    call.set_exception(error)
            except CancelledError as error:
                if call.stopped:
                    call.set_exception(error)
                elif self.client.status != "running":
                    call.set_exception(CommClosedError("the scheduler is gone"))
            except BaseException as error:  # noqa: BLE001 - somebody waits for it
                call.set_exception(error)
        self._open.discard(call)
