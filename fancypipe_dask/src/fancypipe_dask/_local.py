"""A dask cluster of this machine, for one session: nobody else can use it."""

from __future__ import annotations

from logging import CRITICAL
from typing import Any

from dask import config
from distributed import LocalCluster, Scheduler, SpecCluster, Worker

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Traces, block_ctrl_c, leave_terminal

__all__ = ["Cluster"]

_CLOSE = 30.0  # seconds that the processes of a loaded machine may take to be gone
_START = 120.0  # seconds that a worker may take to be up, also on a loaded machine
_NO_LIMIT = 1e9  # seconds
_SATURATION = "distributed.scheduler.worker-saturation"


class _PageIfAsked:
    """Dask's own page asks nobody who they are, and each of its servers opens one."""

    def start_http_server(self, routes: Any, address: str | None, *rest: Any, **more: Any) -> None:
        """Open it where somebody has said where."""
        if address:
            super().start_http_server(routes, address, *rest, **more)  # type: ignore[misc]


class _Scheduler(_PageIfAsked, Scheduler):  # type: ignore[misc, unused-ignore]
    """Lets nothing wait at a worker: also not few calls, or such as take a value."""

    def is_rootish(self, ts: Any) -> bool:
        return not ts.resource_restrictions


class _Worker(_PageIfAsked, Worker):  # type: ignore[misc, unused-ignore]
    """Leaves to the client what the terminal says, and is followed by another when it closes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        leave_terminal()
        super().__init__(*args, **kwargs)

    async def close(self, *args: Any, **kwargs: Any) -> Any:
        # One that has lost its connection closes itself, and would close its nanny as well.
        return await super().close(*args, **{**kwargs, "nanny": False})


class Cluster(LocalCluster):  # type: ignore[misc, unused-ignore]
    """A process of one thread for each worker, and the scheduler here."""

    def __init__(self, options: BackendOptions) -> None:
        variables = config.get("distributed.nanny.pre-spawn-environ")
        set_by_dask = [*variables, "PYTHONHASHSEED", "__DASK_PARENT_PID"]  # and left
        self._before = Traces(set_by_dask, children="Dask Worker ", threads="AsyncProcess ")
        with config.set({_SATURATION: 1.0, "temporary-directory": options.directory}):
            super().__init__(
                n_workers=options.workers,
                threads_per_worker=1,
                security=True,  # a certificate that nobody else on this machine has
                dashboard_address=options.settings.dashboard,
                # Nothing waits at a worker: whoever was there when it died had begun, and comes
                # back to the engine, which knows what else was there.
                scheduler_kwargs={"allowed_failures": 0},
                death_timeout=_START,
                silence_logs=CRITICAL,
            )
        for nanny in self.workers.values():
            nanny.death_timeout = _NO_LIMIT  # it would give up a worker that is slow to come back

    async def _start(self) -> None:
        # The threads that start the workers come from this one, that of the loop.
        block_ctrl_c()
        self.scheduler_spec["cls"] = _Scheduler
        for one in self.worker_spec.values():
            one["options"]["worker_class"] = _Worker
        await super()._start()

    def _update_worker_status(self, op: Any, msg: Any) -> None:
        # The next class would close for ever who is not back some seconds after a death.
        super(SpecCluster, self)._update_worker_status(op, msg)

    def close(self, timeout: float | None = None) -> None:
        """End, and leave nothing: whoever has a grace time has had it."""
        for nanny in self.workers.values():
            self.loop.add_callback(nanny.close_gracefully)  # starts no worker again
        self._before.kill_children()
        super().close(timeout=max(timeout or 0.0, _CLOSE))
        self._before.clear(_CLOSE)  # dask forgets a process that it was about to start
