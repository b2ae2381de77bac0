"""Peers that are measured if they are installed: dask, distributed, joblib, loky, mpire, ray."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

from benchmarks.contenders import Contender, Entry, Node
from benchmarks.ours import OURS
from benchmarks.standard import STANDARD, Futures, Pool

__all__ = ["ALL", "missing"]

_DASK = """\
from dask.{module} import get


def noop(value):
    return value


if __name__ == "__main__":
    assert get({{"k": (noop, 1)}}, "k", num_workers={workers}) == 1
"""

_JOBLIB = """\
from joblib import Parallel, delayed


def noop(value):
    return value


if __name__ == "__main__":
    assert Parallel({workers}, backend="{backend}")([delayed(noop)(1)]) == [1]
"""


class DaskThreads(Contender):
    """dask.threaded with graphs as plain dicts, which is its fastest way in."""

    module = "threaded"

    def open(self) -> None:
        """Start the threads."""
        self._get = import_module(f"dask.{self.module}").get
        self._pool: Any = self._executor()

    def _executor(self) -> Any:
        return ThreadPoolExecutor(self.workers)

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

    def program(self) -> str:
        """Return the source of a script."""
        return _DASK.format(module=self.module, workers=self.workers)


class DaskProcesses(DaskThreads):
    """dask.multiprocessing, on the kind of processes that it makes by default."""

    module = "multiprocessing"

    def _executor(self) -> Any:
        return ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))


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

    map = many

    def program(self) -> str:
        """Return the source of a script."""
        return _JOBLIB.format(backend=self.backend, workers=self.workers)


class JoblibLoky(JoblibThreads):
    """joblib.Parallel on processes."""

    backend = "loky"


class Loky(Futures):
    """loky's own executor."""

    _imports, _make = "loky", "ProcessPoolExecutor"

    def open(self) -> None:
        """Start the processes."""
        self._pool = import_module("loky").ProcessPoolExecutor(self.workers)


class Mpire(Pool):
    """mpire.WorkerPool.apply_async."""

    _imports, _make = "from mpire import WorkerPool", "WorkerPool"

    def open(self) -> None:
        """Start the processes."""
        self._pool = import_module("mpire").WorkerPool(self.workers)

    def close(self) -> None:
        """Stop them."""
        self._pool.stop_and_join()

    def map(self, function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """Its quickest way."""
        return list(self._pool.map_unordered(function, args))


class _WithRefs(Contender):
    """What gives out references that other calls take."""

    def _submit(self, function: Callable[..., Any], *args: Any) -> Any:
        raise NotImplementedError

    def _gather(self, refs: list[Any]) -> list[Any]:
        raise NotImplementedError

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Submit and wait."""
        return self._gather([self._submit(function, arg)])[0]

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Submit each, then gather."""
        return self._gather([self._submit(function, arg) for arg in args])

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Submit each with the references to what it needs."""
        refs: list[Any] = []
        for node in nodes:
            refs.append(self._submit(node.function, *[refs[n] for n in node.needs], *node.args))
        return self._gather([refs[number] for number in wanted])


class DaskDistributed(_WithRefs):
    """dask.distributed at its best: no limit to what waits at a worker, and `Client.map`.

    A local cluster of processes with one thread in each; its scheduler is in the client's
    process.
    """

    def open(self) -> None:
        """Start the cluster."""
        import_module("dask").config.set({"distributed.scheduler.worker-saturation": "inf"})
        distributed = import_module("dask.distributed")
        self._folder = tempfile.TemporaryDirectory()
        self._cluster = distributed.LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=self._folder.name,
        )
        self._client: Any = distributed.Client(self._cluster)

    def close(self) -> None:
        """Stop it."""
        self._client.close()
        self._cluster.close()
        self._folder.cleanup()

    def _submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(function, *args, pure=False)

    def _gather(self, refs: list[Any]) -> list[Any]:
        return list(self._client.gather(refs))

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """One call for all: twice as quick as one for each."""
        return self._gather(self._client.map(function, list(args), pure=False))


class Ray(_WithRefs):
    """Tasks of ray, on a machine of its own making."""

    def open(self) -> None:
        """Start it."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._ray: Any = import_module("ray")
        self._made: dict[Callable[..., Any], Any] = {}
        self._ray.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )

    def close(self) -> None:
        """Stop it."""
        self._ray.shutdown()

    def _submit(self, function: Callable[..., Any], *args: Any) -> Any:
        made = self._made.get(function)
        if made is None:
            made = self._made[function] = self._ray.remote(function)
        return made.remote(*args)

    def _gather(self, refs: list[Any]) -> list[Any]:
        return list(self._ray.get(refs))


_NO_GRAPH = ("noop", "map", "roundtrip", "results", "mixed", "sleeps", "memory", "start")

ALL: dict[str, Entry] = {
    **OURS,
    **STANDARD,
    "dask-threads": Entry(DaskThreads, "threads", needs="dask"),
    "joblib-threads": Entry(JoblibThreads, "threads", needs="joblib", only=_NO_GRAPH),
    "dask-processes": Entry(DaskProcesses, "processes", needs="dask"),
    "joblib": Entry(JoblibLoky, "processes", needs="joblib", only=_NO_GRAPH),
    "loky": Entry(Loky, "processes", needs="loky"),
    "mpire": Entry(Mpire, "processes", needs="mpire"),
    "distributed": Entry(
        DaskDistributed, "over TCP", needs="distributed", fewer=5, slow_start=True
    ),
    "ray": Entry(Ray, "over TCP", needs="ray", fewer=5, slow_start=True),
}


def missing(name: str) -> str:
    """Return why a contender cannot be measured here; empty if it can."""
    needs = ALL[name].needs
    if ALL[name].ours:
        # It may be there, and what it needs may not.
        try:
            import_module(needs or "fancypipe_core")
        except ImportError as error:
            return f"{needs or 'fancypipe_core'} cannot be imported: {error}"
        return ""
    return "" if not needs or find_spec(needs) else f"{needs} is not installed"
