"""Sessions on pools of the standard library, through `FuturesBackend`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from fancypipe_core import Session
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import (
    BackendPlugin,
)
from fancypipe_core.toolkit import FuturesBackend

MakePool = Callable[[int], Any]


def processes(method: str) -> MakePool:
    context = multiprocessing.get_context(method)
    return lambda count: ProcessPoolExecutor(count, mp_context=context)


POOLS: dict[str, MakePool] = {
    "threads": ThreadPoolExecutor,
    "spawn": processes("spawn"),
    "forkserver": processes("forkserver"),
}


def plugin_for(make_pool: MakePool, shares_memory: bool) -> BackendPlugin:
    return BackendPlugin(
        "pool", ("X",), "for tests", lambda o: FuturesBackend(make_pool, o), shares_memory
    )


def opened(
    make_pool: MakePool, workers: int, shares_memory: bool = False, **settings: Any
) -> Session:
    with pytest.MonkeyPatch.context() as patch:
        plugin = plugin_for(make_pool, shares_memory)
        patch.setattr(discovery, "find", lambda _name: plugin)
        return Session("pool", workers, debug=True, **{"grace": 5.0, **settings})
