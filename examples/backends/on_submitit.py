"""A backend on submitit: each call is a job of Slurm, or a process where there is no Slurm."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fancypipe_core.backend import BackendOptions, BackendPlugin, setting
from fancypipe_core.toolkit import FuturesBackend


class Call(Future[Any]):
    """A call, and its job as soon as there is one."""

    job: Any = None

    def runs(self) -> bool:
        return self.job is not None and self.job.state == "RUNNING"

    def kill(self) -> None:
        if self.job is not None:
            self.job.cancel()


class Jobs:
    """What `FuturesBackend` takes for a pool: threads, each of which waits for a job."""

    def __init__(self, count: int, options: BackendOptions) -> None:
        import submitit

        self._threads = ThreadPoolExecutor(count)
        self._calls: set[Call] = set()
        folder = f"{options.directory}/submitit"  # all machines must see it
        self._submitit = submitit.AutoExecutor(folder, cluster=options.settings.cluster)
        self._submitit.update_parameters(timeout_min=24 * 60)  # and the partition, memory, ...

    def submit(self, function: Any, argument: Any) -> Call:
        call = Call()
        self._threads.submit(self._follow, call, function, argument)
        return call

    def _follow(self, call: Call, function: Any, argument: Any) -> None:
        if not call.set_running_or_notify_cancel():
            return
        self._calls.add(call)
        try:
            call.job = self._submitit.submit(function, argument)
            while not call.job.done():
                time.sleep(0.1)
            call.set_result(call.job.result())
        except BaseException as error:  # noqa: BLE001 - somebody waits for it
            call.set_exception(error)
        self._calls.discard(call)

    def close(self) -> None:
        for call in list(self._calls):
            call.kill()
        self._threads.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Settings:
    cluster: str | None = setting(None, help="Whose jobs: slurm, or local for processes.")


plugin = BackendPlugin(
    name="submitit",
    aliases=(),
    help="jobs of submitit; an example",
    make=lambda options: FuturesBackend(
        lambda count: Jobs(count, options),
        options,
        running=Call.runs,
        kill=Call.kill,
        together=2.0,  # so long takes the start of a job
    ),
    kills=True,
    settings=Settings,
    certificates="vague",
)
