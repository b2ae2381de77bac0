"""A dask cluster of this machine, for one session: nobody else can use it."""

from __future__ import annotations

from contextlib import suppress
from logging import CRITICAL
from typing import Any

from dask import config
from distributed import Nanny, Scheduler, Security, SpecCluster, Status, Worker
from distributed.system import MEMORY_LIMIT
from tornado.ioloop import PeriodicCallback

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Traces, block_ctrl_c, leave_terminal

__all__ = ["Cluster"]

_CLOSE = 30.0  # seconds that the processes of a loaded machine may take to be gone
_START = 120.0  # seconds that a worker may take to be up, also on a loaded machine
_LOOK = 1.0  # seconds between two looks at whether dask has given up a worker
_GIVEN_UP = (Status.closed, Status.failed)
_SATURATION = "distributed.scheduler.worker-saturation"


class _NoPage:
    """Dask's own page asks nobody who they are, and each of its servers opens one."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


class _Scheduler(Scheduler):  # type: ignore[misc, unused-ignore]
    """Lets nothing wait at a worker: also not few calls, or such as take a value."""

    def is_rootish(self, ts: Any) -> bool:
        return not ts.resource_restrictions


class _ShutScheduler(_NoPage, _Scheduler):
    """Has no page."""


class _Worker(_NoPage, Worker):  # type: ignore[misc, unused-ignore]
    """Has no page, and leaves to the client what the terminal says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        leave_terminal()
        super().__init__(*args, **kwargs)


class Cluster(SpecCluster):  # type: ignore[misc, unused-ignore]
    """A process of one thread for each worker, and the scheduler here."""

    def __init__(self, options: BackendOptions) -> None:
        variables = config.get("distributed.nanny.pre-spawn-environ")
        set_by_dask = [*variables, "PYTHONHASHSEED", "__DASK_PARENT_PID"]  # and left
        self._before = Traces(set_by_dask, children="Dask Worker ", threads="AsyncProcess ")
        security = Security.temporary()  # so that nobody else on this machine sends it code
        both = {"host": "127.0.0.1", "protocol": "tls://", "security": security}
        page = options.settings.dashboard
        shown = {"dashboard": True, "dashboard_address": page} if page else {}
        own: dict[str, Any] = {"worker_class": _Worker, "nthreads": 1, "silence_logs": CRITICAL}
        own |= {"death_timeout": _START, "local_directory": options.directory}
        own["memory_limit"] = MEMORY_LIMIT // options.workers
        worker = {"cls": Nanny, "options": {**both, **own}}
        workers = dict.fromkeys(range(options.workers), worker)
        # Nothing waits at a worker: whoever was there when it died had begun, and comes back to
        # the engine, which knows what else was there.
        scheduler: dict[str, Any] = {"options": {**both, **shown, "allowed_failures": 0}}
        scheduler["cls"] = _Scheduler if page else _ShutScheduler
        with config.set({_SATURATION: 1.0, "temporary-directory": options.directory}):
            super().__init__(workers, scheduler, security=security, silence_logs=CRITICAL)

    async def _start(self) -> None:
        # The threads that start the workers come from this one, that of the loop.
        block_ctrl_c()
        self.periodic_callbacks["replace"] = PeriodicCallback(self._replace, _LOOK * 1000)
        await super()._start()

    def _update_worker_status(self, op: Any, msg: Any) -> None:
        # The next class would close for ever who is not back some seconds after a death.
        super(SpecCluster, self)._update_worker_status(op, msg)

    async def _replace(self) -> None:
        """Have another worker for each that dask has given up.

        It does so with one that has lost its connection, and one that did not come up.
        """
        for name in [name for name, one in self.workers.items() if one.status in _GIVEN_UP]:
            del self.workers[name]
        if self.worker_spec.keys() - self.workers.keys():
            with suppress(Exception):  # the next look tries again
                await self._correct_state()

    def close(self, timeout: float | None = None) -> None:
        """End, and leave nothing: whoever has a grace time has had it."""
        self.worker_spec.clear()  # none is replaced any more
        for nanny in self.workers.values():
            with suppress(Exception):  # the loop is closed
                self.loop.add_callback(nanny.close_gracefully)  # starts no worker again
        self._before.kill_children()
        super().close(timeout=max(timeout or 0.0, _CLOSE))
        self._before.clear(_CLOSE)  # dask forgets a process that it was about to start
