"""A ray cluster as the pool of a `FuturesBackend`."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pickle import PickleBuffer
from typing import Any

import ray
from ray.exceptions import RaySystemError, WorkerCrashedError

from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit import Call, Calls, EngineBackend, Store
from fancypipe_ray._secret import forget_token, with_token

__all__ = ["RayBackend"]

_LONG = 25  # letters of a path, to which ray adds up to 80 where the system takes 107


class RayBackend(EngineBackend):
    """Runs jobs on a ray cluster; `options` are the engine's."""

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options, breaks=(RaySystemError,), store=Store(_put, ray.get, _put))
        self._ours = False  # whether this process was not connected before
        self._folder_of_ray = ""

    def connect(self) -> RayCalls:
        """Return calls, all by one connection."""
        wanted, address = self.resources, self._options.settings.address
        if not ray.is_initialized():
            self._ours = True
            more: dict[str, Any] = {"address": address}
            if address is None:
                more = self._local(wanted)
            with with_token(self._folder_of_ray) if self._folder_of_ray else nullcontext():
                ray.init(configure_logging=False, log_to_driver=False, **more)
        return RayCalls({"CPU": 1.0, **wanted}, self.slots_given)

    def disconnect(self) -> None:
        """End ray here, if it was begun here."""
        if self._ours:
            ray.shutdown()
        if self._folder_of_ray:
            forget_token()
            shutil.rmtree(self._folder_of_ray, ignore_errors=True)

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


class RayCalls(Calls):
    """Calls, which ray begins in their order."""

    def __init__(self, amounts: dict[str, float], slots: int) -> None:
        super().__init__(amounts)
        rest = dict(amounts)
        more = {"num_cpus": rest.pop("CPU"), "num_gpus": rest.pop("GPU", 0.0), "resources": rest}
        self._run = ray.remote(max_retries=0, **more)(_call)
        self._slots = slots

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        """Call a function in a worker."""
        call.given = self._run.remote(function, argument)
        call.given.future().add_done_callback(partial(self._ended, call, function, argument))

    def _ended(self, call: Call, function: Any, argument: Any, answer: Future[Any]) -> None:
        """End it, or begin it again if it may have died beside what we have stopped."""
        crashed = not answer.cancelled() and isinstance(answer.exception(0), WorkerCrashedError)
        if not crashed or call.stopped or not self.spares():
            call.end_whole(lambda ref: ref.future(), answer)
            return
        try:
            self.begin(call, function, argument)
        except Exception as error:  # noqa: BLE001 - whatever ray may raise
            call.set_exception(error)

    def size(self) -> int:
        """Return for how many the cluster has what they take."""
        return self.room(ray.cluster_resources())

    def runs(self, call: Call) -> bool:
        """Return whether it may have begun."""
        return call in list(self.open)[: self._slots or self.size()]

    def kill(self, call: Call) -> None:
        """Cancel it, and end the process that is in the middle of it."""
        ray.cancel(call.given, force=True)


def _put(data: Any) -> Any:
    return ray.put(PickleBuffer(data))  # which ray copies once, into its store


def _call(function: Any, argument: Any) -> Any:
    return function(argument)
