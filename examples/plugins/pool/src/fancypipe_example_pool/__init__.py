"""A backend of fancypipe: the process pool of the standard library."""

from __future__ import annotations

from fancypipe_core.backend import Backend, BackendOptions, BackendPlugin

__all__ = ["plugin"]


def _make(options: BackendOptions) -> Backend:
    # Here and not above: `fancypipe backends` imports this module, and starts no pool.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from fancypipe_core.backend import FuturesBackend

    def make_pool(count: int) -> ProcessPoolExecutor:
        # Not "fork": the engine has threads, and a fork copies their locks as they are.
        return ProcessPoolExecutor(count, mp_context=get_context("spawn"))

    return FuturesBackend(make_pool, options)


plugin = BackendPlugin(
    name="pool",
    aliases=("X",),
    help="the process pool of the standard library; an example",
    make=_make,
)
