"""A dask cluster as the pool of a `FuturesBackend`."""

from __future__ import annotations

import shutil
from asyncio import run_coroutine_threadsafe
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from dask import config, sizeof
from distributed import CancelledError, Client, KilledWorker
from distributed.comm import CommClosedError

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Again, Call, Calls, EngineBackend, named_store, needed, run_with
from fancypipe_dask._local import Cluster

__all__ = ["DaskBackend"]

_CLOSE = 5.0  # seconds that a client, and a cluster that we made elsewhere, may take to close
_LARGE = 1_000_000  # bytes of an argument that the scheduler does not keep
_NO_WARNING = {"distributed.admin.large-graph-warning-threshold": "1 PB"}
# Addresses of workers that were killed for what they ran; what was beside that comes back soon.
_restarted: deque[str] = deque(maxlen=100)


class DaskBackend(EngineBackend):
    """Runs jobs on a dask cluster; `options` are the engine's."""

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options, breaks=(CommClosedError,), store=named_store(self._put))
        self._client: Any = None

    def connect(self) -> DaskCalls:
        """Return calls; all are of one client, and of a new one if that has lost its scheduler."""
        if self._client is None or self._client.status != "running":
            with suppress(Exception):  # as below
                self._client.close(timeout=_CLOSE)
            self._client = Client(self.cluster(Cluster), set_as_default=False)
        return DaskCalls(self._client, self.resources)

    def disconnect(self) -> None:
        """Close the client, and the cluster that we made."""
        for one in (self._client, self.made):
            with suppress(Exception):  # there is none, or its scheduler is gone
                one.close(timeout=_CLOSE)
        shutil.rmtree(f"{self._options.directory}/dask-scratch-space", ignore_errors=True)

    def _put(self, name: str, data: bytearray) -> Future[Any]:
        # Workers in this process would have the client's own bytes, which then never went.
        own = bytes(data) if "inproc:" in self._client.scheduler.address else data
        given = self._client.scatter({name: own}, hash=False, asynchronous=True)
        return run_coroutine_threadsafe(given, self._client.loop.asyncio_loop)


class DaskCalls(Calls):
    """Calls by a client, all in its loop."""

    def __init__(self, client: Client, resources: dict[str, float]) -> None:
        super().__init__()
        self.client = client
        self._takes = resources
        self._more = {"pure": False, "retries": 0, "resources": resources}

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        """Call a function in a worker."""
        self.client.loop.add_callback(call.follow, partial(self._attempt, call, function, argument))

    def size(self) -> int:
        """Return for how many there are threads, and what they take."""
        if not self._takes:
            return sum(self.client.nthreads().values())
        there = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(map(self._fit, there))

    def _fit(self, worker: dict[str, Any]) -> int:
        has, takes = worker["resources"], self._takes
        return int(min(worker["nthreads"], *(has.get(name, 0) // takes[name] for name in takes)))

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

    async def _attempt(self, call: Call, function: Any, argument: Any, is_first: bool) -> Any:
        """Have it called; its argument is part of the graph if anything was lost before."""
        try:
            held = await needed(argument)
            there = {
                name: one[name] for name, one in held.items() if one[name].status == "finished"
            }
            if is_first and sizeof.sizeof(argument) > _LARGE:
                (argument,) = await self.client.scatter([argument], hash=False, timeout=_CLOSE)
            call.raise_if_stopped()
            with config.set(_NO_WARNING):
                call.given = self.client.submit(run_with, function, argument, there, **self._more)
            return await call.given
        except KilledWorker as error:
            if error.last_worker.address not in _restarted:
                raise
            raise Again from error  # a neighbour of what we have stopped is not to blame
        except (CancelledError, OSError) as error:
            if self.client.status != "running":
                raise CommClosedError("the scheduler is gone") from error
            raise Again from error  # a worker died, and with it what the call needs
