"""A ray cluster as the pool of a `FuturesBackend`."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from typing import Any

import ray

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import FuturesBackend, amounts
from fancypipe_ray._secret import forget_token, with_token

__all__ = ["RayBackend"]

_LONG = 25  # letters of a path, to which ray adds up to 80 where the system takes 107


class RayBackend(FuturesBackend):
    """Runs jobs on a ray cluster; `options` are the engine's."""

    def __init__(self, options: BackendOptions) -> None:
        self._ours = False  # whether this process was not connected before
        self._folder_of_ray = ""
        given = options.workers_given or options.settings.address is None
        self._slots_given = options.workers if given else 0
        super().__init__(
            self._connect,
            options,
            breaks=(ray.exceptions.RaySystemError,),
            running=lambda future: future.calls.runs(future),
            kill=lambda future: future.calls.stop(future),
            slots=lambda calls: self._slots_given or calls.free(),
        )

    def stop(self, grace: float) -> None:
        """End; see `fancypipe_core.backend`."""
        super().stop(grace)
        if self._ours:
            ray.shutdown()
        if self._folder_of_ray:
            forget_token()
            shutil.rmtree(self._folder_of_ray, ignore_errors=True)

    def _connect(self, _count: int) -> Calls:
        settings = self._options.settings
        wanted = amounts(settings.resources)
        if not ray.is_initialized():
            self._ours = True
            more: dict[str, Any] = {"address": settings.address}
            if settings.address is None:
                more = self._local(wanted)
            with with_token(self._folder_of_ray) if self._folder_of_ray else nullcontext():
                ray.init(configure_logging=False, log_to_driver=False, **more)
        return Calls({"CPU": 1.0, **wanted}, self._slots_given)

    def _local(self, amounts: dict[str, float]) -> dict[str, Any]:
        """Return how a cluster of this machine is started, which nobody else can use."""
        # Not in the session's folder: the paths of its sockets must be short.  Ray lets everybody
        # into its own, so that is in one of ours.
        short = None if len(tempfile.gettempdir()) <= _LONG else "/tmp"
        self._folder_of_ray = tempfile.mkdtemp(prefix="ray-", dir=short)
        each = {name: amount * self._options.workers for name, amount in amounts.items()}
        return {
            "address": "local",
            "num_cpus": int(each.pop("CPU", self._options.workers)) or 1,
            "resources": {name: amount for name, amount in each.items() if name != "GPU"},
            "include_dashboard": False,
            "_temp_dir": f"{self._folder_of_ray}/r",
            "_node_ip_address": "127.0.0.1",
        }


class Calls:
    """What `FuturesBackend` takes for a pool: calls of functions, in the order of calling."""

    def __init__(self, amounts: dict[str, float], slots: int) -> None:
        rest = dict(amounts)
        more = {"num_cpus": rest.pop("CPU"), "num_gpus": rest.pop("GPU", 0.0), "resources": rest}
        self._run = ray.remote(max_retries=0, **more)(_call)
        self._amounts, self._slots = amounts, slots
        self._open: dict[Future[Any], Any] = {}  # with ray's references

    def submit(self, function: Any, argument: Any) -> Future[Any]:
        """Call a function in a worker."""
        reference = self._run.remote(function, argument)
        future: Any = reference.future()
        future.calls = self
        future.set_running_or_notify_cancel()  # it cannot be cancelled without being stopped
        self._open[future] = reference
        future.add_done_callback(lambda over: self._open.pop(over, None))
        return future  # type: ignore[no-any-return]

    def free(self) -> int:
        """Return how many jobs the cluster can run; at least 1, so that it begins to grow."""
        has = ray.cluster_resources()
        return max(1, int(min(has.get(name, 0.0) / n for name, n in self._amounts.items() if n)))

    def runs(self, future: Future[Any]) -> bool:
        """Return whether a call may have begun: ray begins them in their order."""
        return future in list(self._open)[: self._slots or self.free()]

    def stop(self, future: Future[Any]) -> None:
        """Stop a call, and the process that is in the middle of it."""
        with suppress(KeyError):  # it is over
            ray.cancel(self._open[future], force=True)

    def close(self) -> None:
        """Stop all calls."""
        for future in list(self._open):
            self.stop(future)


def _call(function: Any, argument: Any) -> Any:
    return function(argument)
