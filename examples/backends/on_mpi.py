"""A backend on mpi4py: workers that MPI starts, on all the machines that it was told of."""

from __future__ import annotations

from typing import Any

from fancypipe_core.backend import BackendPlugin
from fancypipe_core.toolkit import FuturesBackend


def make_pool(workers: int) -> Any:
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor(workers, main=False)  # fancypipe knows how to find the main script


plugin = BackendPlugin(
    name="mpi",
    aliases=(),
    help="the workers of mpi4py; an example",
    # A future whose call a worker has begun accepts no cancel().
    make=lambda options: FuturesBackend(make_pool, options, running=lambda one: one.running()),
    certificates="vague",
)
