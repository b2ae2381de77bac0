"""A dask cluster as the pool of a `FuturesBackend`."""

from __future__ import annotations

from asyncio import run_coroutine_threadsafe
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from dask import config, sizeof
from distributed import CancelledError, Client, KilledWorker
from distributed.comm import CommClosedError

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Again, AsyncCalls, Call, EngineBackend, named_store
from fancypipe_dask._local import Cluster

__all__ = ["DaskBackend"]

_CLOSE = 5.0  # seconds that a client, and a cluster that we made elsewhere, may take to close
_AGAIN = 10.0  # seconds that a lost scheduler may take to answer
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
            # The first has as long as dask is set up to wait; later ones are tried again.
            limit = {"timeout": _AGAIN} if self._client else {}
            self._client = Client(self.cluster(Cluster), set_as_default=False, **limit)
        return DaskCalls(self._client, self.resources)

    def disconnect(self) -> None:
        """Close the client, and the cluster that we made."""
        for one in (self._client, self.made):
            with suppress(Exception):  # there is none, or its scheduler is gone
                one.close(timeout=_CLOSE)

    def _put(self, name: str, data: bytearray) -> Future[Any]:
        # Workers in this process would have the client's own bytes, which then never went.
        own = bytes(data) if "inproc:" in self._client.scheduler.address else data
        given = self._client.scatter({name: own}, hash=False, asynchronous=True)
        return run_coroutine_threadsafe(given, self._client.loop.asyncio_loop)


class DaskCalls(AsyncCalls):
    """Calls by a client."""

    def __init__(self, client: Client, resources: dict[str, float]) -> None:
        super().__init__(client.loop.asyncio_loop, {"threads": 1.0, **resources})
        self.client = client
        self._more = {"pure": False, "retries": 0, "resources": resources}

    def size(self) -> int:
        """Return for how many there are threads, and what they take."""
        if not self._more["resources"]:
            return sum(self.client.nthreads().values())
        there = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(self.room({**one["resources"], "threads": one["nthreads"]}) for one in there)

    def runs(self, call: Call) -> bool:
        """Return whether a worker is in the middle of it."""
        return bool(self.client.call_stack(keys=[call.given.key]))

    async def end(self, call: Call) -> None:
        """Cancel it.  If it has begun, that is to start its worker anew."""
        workers = list(await self.client.call_stack(keys=[call.given.key]))
        _restarted.extend(workers)
        await call.given.cancel()
        await self.client.restart_workers(workers, _CLOSE, raise_for_error=False)

    async def attempt(self, call: Call, run: Any, argument: Any, held: dict[str, Any]) -> Any:
        """Have it called; its argument is part of the graph if anything was lost before."""
        try:
            there = {key: one[key] for key, one in held.items() if one[key].status == "finished"}
            if call.attempts == 1 and sizeof.sizeof(argument) > _LARGE:
                (argument,) = await self.client.scatter([argument], hash=False, timeout=_CLOSE)
            call.raise_if_stopped()
            with config.set(_NO_WARNING):
                call.given = self.client.submit(run, argument, there, **self._more)
            return await call.given
        except KilledWorker as error:
            if error.last_worker.address not in _restarted:
                raise
            raise Again from error  # a neighbour of what we have stopped is not to blame
        except (CancelledError, OSError) as error:
            if self.client.status != "running":
                raise CommClosedError("the scheduler is gone") from error
            raise Again from error  # a worker died, and with it what the call needs
