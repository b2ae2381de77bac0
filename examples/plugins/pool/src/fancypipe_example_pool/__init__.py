"""A backend of fancypipe: the process pool of the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fancypipe_core.backend import Backend, BackendOptions, BackendPlugin, setting

__all__ = ["plugin"]


@dataclass(frozen=True)
class _Settings:
    # Not "fork": the engine has threads, and a fork copies their locks as they are.
    start: Literal["spawn", "forkserver"] = setting("spawn", help="How a worker is started.")


def _make(options: BackendOptions) -> Backend:
    # Here and not above: `fancypipe backends` imports this module, and starts no pool.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from fancypipe_core.toolkit import FuturesBackend

    def make_pool(count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, mp_context=get_context(options.settings.start))

    return FuturesBackend(make_pool, options)


plugin = BackendPlugin(
    name="pool",
    aliases=("X",),
    help="the process pool of the standard library; an example",
    make=_make,
    settings=_Settings,
)
