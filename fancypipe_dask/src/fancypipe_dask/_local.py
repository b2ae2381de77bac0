"""A dask cluster of this machine, for one session: nobody else can use it."""

from __future__ import annotations

from contextlib import suppress
from logging import CRITICAL
from typing import Any

from dask import config
from distributed import Nanny, Scheduler, Security, SpecCluster, Worker
from distributed.system import MEMORY_LIMIT

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Traces

__all__ = ["Cluster"]

_CLOSE = 30.0  # seconds that the processes of a loaded machine may take to be gone
_SATURATION = "distributed.scheduler.worker-saturation"


class _NoPage:
    """Dask's own page asks nobody who they are, and each of its servers opens one."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


class _Scheduler(_NoPage, Scheduler):  # type: ignore[misc, unused-ignore]
    """Has no page."""


class _Worker(_NoPage, Worker):  # type: ignore[misc, unused-ignore]
    """Has no page."""


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
        own = {"worker_class": _Worker, "nthreads": 1, "silence_logs": CRITICAL}
        own["memory_limit"] = MEMORY_LIMIT // options.workers
        worker = {"cls": Nanny, "options": {**both, **own}}
        workers = dict.fromkeys(range(options.workers), worker)
        # Nothing waits at a worker: whoever was there when it died had begun, and comes back to
        # the engine, which knows what else was there.
        scheduler: dict[str, Any] = {"options": {**both, **shown, "allowed_failures": 0}}
        scheduler["cls"] = Scheduler if page else _Scheduler
        with config.set({_SATURATION: 1.0, "temporary-directory": options.directory}):
            super().__init__(workers, scheduler, security=security, silence_logs=CRITICAL)

    def close(self, timeout: float | None = None) -> None:
        """End, and leave nothing: whoever has a grace time has had it."""
        for nanny in self.workers.values():
            with suppress(Exception):  # the loop is closed
                self.loop.add_callback(nanny.close_gracefully)  # starts no worker again
        self._before.kill_children()
        super().close(timeout=max(timeout or 0.0, _CLOSE))
        self._before.clear(_CLOSE)  # dask forgets a process that it was about to start
