"""Peers that are measured if they are installed: dask, joblib, loky."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks.clusters import CLUSTERS
from benchmarks.contenders import CONTENDERS, Contender, Entry, Futures, Node

__all__ = ["ALL", "installed"]


class DaskThreads(Contender):
    """dask.threaded with graphs as plain dicts, which is its fastest way in."""

    def open(self) -> None:
        """Start the threads."""
        from concurrent.futures import ThreadPoolExecutor

        self._get = import_module("dask.threaded").get
        self._pool: Any = ThreadPoolExecutor(self.workers)

    def close(self) -> None:
        """Stop them."""
        self._pool.shutdown()

    def _run(self, graph: dict[str, Any], keys: list[str]) -> list[Any]:
        return list(self._get(graph, keys, pool=self._pool, num_workers=self.workers))

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """A graph of one task."""
        return self._run({"k": (function, arg)}, ["k"])[0]

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """A graph without edges."""
        graph = {f"k{number}": (function, arg) for number, arg in enumerate(args)}
        return self._run(graph, list(graph))

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Its own kind of work."""
        graph = {
            f"k{number}": (node.function, *(f"k{need}" for need in node.needs), *node.args)
            for number, node in enumerate(nodes)
        }
        return self._run(graph, [f"k{number}" for number in wanted])


class DaskProcesses(DaskThreads):
    """dask.multiprocessing, on the kind of processes that it makes by default."""

    def open(self) -> None:
        """Start the processes."""
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        self._get = import_module("dask.multiprocessing").get
        self._pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))


class JoblibThreads(Contender):
    """joblib.Parallel with its default batching.  It runs no graphs."""

    backend = "threading"

    def open(self) -> None:
        """Start the workers."""
        joblib = import_module("joblib")
        self._delayed = joblib.delayed
        self._parallel = joblib.Parallel(n_jobs=self.workers, backend=self.backend)
        self._parallel.__enter__()

    def close(self) -> None:
        """Stop them."""
        self._parallel.__exit__(None, None, None)

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """A list of one."""
        return self.many(function, [arg])[0]

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Its own kind of work."""
        call = self._delayed(function)
        return list(self._parallel(call(arg) for arg in args))


class JoblibLoky(JoblibThreads):
    """joblib.Parallel on processes."""

    backend = "loky"


class Loky(Futures):
    """loky's own executor."""

    def open(self) -> None:
        """Start the processes."""
        self._pool = import_module("loky").ProcessPoolExecutor(self.workers)


ALL: dict[str, Entry] = {
    **CONTENDERS,
    "dask-threads": Entry(DaskThreads, "threads", needs="dask"),
    "joblib-threads": Entry(JoblibThreads, "threads", needs="joblib"),
    "dask-processes": Entry(DaskProcesses, "processes", needs="dask"),
    "joblib-loky": Entry(JoblibLoky, "processes", needs="joblib"),
    "loky": Entry(Loky, "processes", needs="loky", graph_name="loky + graphlib"),
    **CLUSTERS,
}


def installed(name: str) -> bool:
    """Tell whether what a contender needs is there."""
    return not ALL[name].needs or find_spec(ALL[name].needs) is not None
