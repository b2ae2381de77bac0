"""Collections of dask on fancypipe: `x.compute(scheduler=get)`.

    import dask.array as da
    from fancypipe_core.adapters.dask import get

    x = da.random.random((8000, 8000), chunks=1000)
    (x + x.T).sum().compute(scheduler=get)

Each node of dask's graph becomes a task, except for what is no work: constants and other
names.  Chains of nodes are one task, as in dask's own schedulers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any

import dask
from dask.core import flatten
from dask.utils import ensure_dict, key_split

from fancypipe_core import Session, errors, task

try:
    # All of dask's schedulers take these; there is no public name for them.
    from dask._task_spec import (
        Alias,
        DataNode,
        GraphNode,
        convert_legacy_graph,
        cull,
        fuse_linear_task_spec,
    )
except ImportError:
    raise errors.UsageError(
        f"fancypipe_core.adapters.dask needs dask 2025.1 or later, and this is {dask.__version__}: "
        "pip install -U dask"
    ) from None

__all__ = ["get"]


def get(
    dsk: Any,
    keys: Any,
    *,
    session: Session | None = None,
    backend: str | None = None,
    num_workers: int | None = None,
    optimize_graph: bool = True,
    **_: Any,
) -> Any:
    """Compute keys of a dask graph; for dask's `scheduler=`, which passes what `compute` is given.

    `dask.config.set(scheduler=get)` makes it the scheduler of all collections, and
    `functools.partial(get, session=session)` one that keeps its workers.

    Args:
        dsk: A graph, or what has one (`__dask_graph__`): keys with nodes or legacy tuples.
        keys: A key, or lists of keys, as deep as you like.
        session: The session to run in; by default one is opened for this call.
        backend: The backend of that; by default as for `Session`.
        num_workers: Its workers; by default `num_workers` of dask's configuration, else as
            for `Session`.
        optimize_graph: Whether chains of nodes may become one task.
        **_: What other schedulers of dask take (`pool`, `chunksize`, ...) has no meaning here.

    Returns:
        The value of the key; for a list a tuple of what its items stand for.

    Raises:
        TaskError: A node failed.  It is also of the class of the original exception.
        UsageError: A session and what it should be opened with are given both.
        KeyError: A key is not in the graph.
    """
    if session is not None and not (backend is None and num_workers is None):
        raise errors.UsageError("give either a session, or the backend and workers of one")
    graph = _graph(dsk)
    wanted = list(dict.fromkeys(flatten([keys])))
    if lost := [key for key in wanted if key not in graph]:
        raise KeyError(f"the graph has no key {lost[0]!r}")
    graph = cull(graph, wanted)
    if optimize_graph:
        graph = fuse_linear_task_spec(graph, wanted)
    targets = _targets(graph, wanted)
    if session is not None:
        values = session.run(targets)
    else:
        count = num_workers or dask.config.get("num_workers", None)
        with Session(backend, count) as opened:
            values = opened.run(targets)
    return _nested(keys, dict(zip(wanted, values, strict=True)))


def _graph(dsk: Any) -> dict[Hashable, GraphNode]:
    if hasattr(dsk, "__dask_graph__"):
        dsk = dsk.__dask_graph__()
    graph: dict[Hashable, GraphNode] = convert_legacy_graph(ensure_dict(dsk))
    return graph


def _nested(keys: Any, values: Mapping[Hashable, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_nested(key, values) for key in keys)
    return values[keys]


def _targets(graph: Mapping[Hashable, GraphNode], wanted: list[Hashable]) -> list[Any]:
    """Return for each key the reference to its value, or the value itself if it is a constant."""
    made: dict[Hashable, Any] = {}
    stack = list(reversed(wanted))
    while stack:
        key = stack[-1]
        if key in made:
            stack.pop()
            continue
        node = graph.get(key)
        if node is None:
            raise errors.UsageError(f"the graph has no {key!r}, which a node of it needs")
        needs = list(node.dependencies)
        missing = [need for need in needs if need not in made]
        if missing:
            stack += missing
            continue
        stack.pop()
        if isinstance(node, DataNode):
            made[key] = node()
        elif isinstance(node, Alias):
            made[key] = made[node.target]
        else:
            made[key] = _named(key_split(key))(node, needs, [made[need] for need in needs])
    return [made[key] for key in wanted]


@lru_cache(256)
def _named(name: str) -> Callable[..., Any]:
    """Return the task that computes a node, called as dask calls nodes of this kind."""
    return task(name=name)(compute)


def compute(node: Callable[..., Any], needs: list[Hashable], values: list[Any]) -> Any:
    """Compute a node of dask from the values of the keys that it needs."""
    return node(dict(zip(needs, values, strict=True)))
