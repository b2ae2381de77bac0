"""A dask cluster as the pool of a `FuturesBackend`."""

from __future__ import annotations

import shutil
from collections import deque
from contextlib import suppress
from typing import Any

from dask import sizeof
from distributed import CancelledError, Client, KilledWorker
from distributed.comm import CommClosedError

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Call, Calls, EngineBackend, amounts, function_named
from fancypipe_dask._local import Cluster

__all__ = ["DaskBackend"]

_CLOSE = 5.0  # seconds that a client, and a cluster that we made elsewhere, may take to close
_LARGE = 1_000_000  # bytes of an argument that the scheduler does not keep
# Addresses of workers that were killed for what they ran; what was beside that comes back soon.
_restarted: deque[str] = deque(maxlen=100)


class DaskBackend(EngineBackend):
    """Runs jobs on a dask cluster; `options` are the engine's."""

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options, breaks=(CommClosedError,))
        self._client: Any = None
        self._cluster: Any = None  # ours to close

    def connect(self) -> DaskCalls:
        """Return calls; all are of one client, and of a new one if that has lost its scheduler."""
        if self._client is None or self._client.status != "running":
            with suppress(Exception):  # as below
                self._client.close(timeout=_CLOSE)
            self._client = Client(self._where(), set_as_default=False)
        return DaskCalls(self._client, amounts(self._options.settings.resources))

    def disconnect(self) -> None:
        """Close the client, and the cluster that we made."""
        for one in (self._client, self._cluster):
            with suppress(Exception):  # there is none, or its scheduler is gone
                one.close(timeout=_CLOSE)
        shutil.rmtree(f"{self._options.directory}/dask-scratch-space", ignore_errors=True)

    def _where(self) -> Any:
        """Return what a client takes: an address, or a cluster."""
        address = self._options.settings.address
        make = function_named(address)
        if address is not None and make is None:
            return address
        if self._cluster is None:
            self._cluster = make() if make else Cluster(self._options)
        return self._cluster


class DaskCalls(Calls):
    """Calls by a client, all in its loop."""

    def __init__(self, client: Client, resources: dict[str, float]) -> None:
        super().__init__()
        self.client = client
        self._more = {"pure": False, "retries": 0, "resources": resources}

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        """Call a function in a worker."""
        self.client.loop.add_callback(self._follow, call, function, argument)

    def size(self) -> int:
        """Return how many threads there are."""
        return int(sum(self.client.nthreads().values())) or 1

    def runs(self, call: Call) -> bool:
        """Return whether a worker is in the middle of it."""
        return bool(self.client.call_stack(keys=[call.given.key]))

    def kill(self, call: Call) -> None:
        """Cancel it.  If it has begun, that is to start its worker anew."""
        self.client.loop.add_callback(self._kill, call)

    async def _kill(self, call: Call) -> None:
        with suppress(Exception):  # it is over, or the scheduler is gone
            workers = list(await self.client.call_stack(keys=[call.given.key]))
            _restarted.extend(workers)
            await call.given.cancel()
            await self.client.restart_workers(workers, _CLOSE, raise_for_error=False)

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
