"""A backend on parsl: the workers of its HighThroughputExecutor."""

from __future__ import annotations

from typing import Any

from fancypipe_core.backend import BackendPlugin
from fancypipe_core.toolkit import FuturesBackend


class Calls:
    """What `FuturesBackend` takes for a pool: calls of functions in parsl's workers."""

    def __init__(self, workers: int, folder: str) -> None:
        from parsl.config import Config
        from parsl.dataflow.dflow import DataFlowKernel
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        # On a cluster: its provider, and the address of this machine that its nodes reach.
        executor = HighThroughputExecutor(
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
            address="127.0.0.1",
            max_workers_per_node=workers,
            cores_per_worker=0.01,  # so many workers, whatever this machine has
            encrypted=True,
            heartbeat_period=1,  # seconds until a worker's death is seen
            heartbeat_threshold=20,  # and until that of all workers of a machine is
        )
        config = Config([executor], run_dir=f"{folder}/parsl", initialize_logging=False)
        self._kernel = DataFlowKernel(config)

    def submit(self, function: Any, argument: Any) -> Any:
        return self._kernel.submit(function, [argument], "all", False, None, {})

    def close(self) -> None:
        self._kernel.cleanup()


plugin = BackendPlugin(
    name="parsl",
    aliases=(),
    help="the workers of parsl; an example",
    make=lambda options: FuturesBackend(lambda n: Calls(n, options.directory), options),
    certificates="vague",
)
