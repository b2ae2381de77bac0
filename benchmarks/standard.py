"""Contenders of the standard library."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from graphlib import TopologicalSorter
from multiprocessing.managers import SyncManager
from queue import SimpleQueue
from typing import Any

from benchmarks.contenders import Contender, Entry, Node

__all__ = ["STANDARD", "ByHand", "Futures", "Pool"]

CHUNK = 64  # elements of a map that travel together, where the user has to say

_PROGRAM = """\
{imports}


def noop(value):
    return value


if __name__ == "__main__":
    with {make} as pool:
        assert pool.{call} == 1
"""
_SUBMIT = "submit(noop, 1).result()"


class Inline(Contender):
    """A loop: what the work costs if nobody manages it."""

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Call it."""
        return function(arg)

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Call it for each."""
        return [function(arg) for arg in args]

    map = many

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Call each; they stand in an order that can be run."""
        values: list[Any] = []
        for node in nodes:
            values.append(node.function(*[values[need] for need in node.needs], *node.args))
        return [values[number] for number in wanted]

    def program(self) -> str:
        """Return the source of a script."""
        return "def noop(value):\n    return value\n\n\nassert noop(1) == 1\n"


class ByHand(Contender):
    """A pool that knows no dependencies; the loop for them is the one of graphlib's manual."""

    def _submit(
        self, function: Callable[..., Any], args: Sequence[Any], then: Callable[[Any], None]
    ) -> None:
        raise NotImplementedError

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Submit what is ready, wait for any, tell the sorter."""
        sorter = TopologicalSorter({number: node.needs for number, node in enumerate(nodes)})
        sorter.prepare()
        values: dict[int, Any] = {}
        done: SimpleQueue[tuple[int, Any]] = SimpleQueue()

        def ended(number: int, value: Any) -> None:
            done.put((number, value))

        while sorter.is_active():
            for number in sorter.get_ready():
                node = nodes[number]
                args = [*(values[need] for need in node.needs), *node.args]
                self._submit(node.function, args, partial(ended, number))
            number, value = done.get()
            if isinstance(value, BaseException):
                raise value
            values[number] = value
            sorter.done(number)
        return [values[number] for number in wanted]


class Futures(ByHand):
    """Any executor with the interface of concurrent.futures."""

    _pool: Any
    _imports = ""
    _make = ""

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown()

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Submit and wait."""
        return self._pool.submit(function, arg).result()

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Submit each, then take each result."""
        futures = [self._pool.submit(function, arg) for arg in args]
        return [future.result() for future in futures]

    def map(self, function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """Its own map; chunks are for processes only."""
        return list(self._pool.map(function, args, chunksize=CHUNK))

    def _submit(
        self, function: Callable[..., Any], args: Sequence[Any], then: Callable[[Any], None]
    ) -> None:
        future = self._pool.submit(function, *args)
        future.add_done_callback(lambda future: then(future.exception() or future.result()))

    def program(self) -> str:
        """Return the source of a script."""
        make = f"{self._make}({self.workers})"
        return _PROGRAM.format(
            imports=f"from {self._imports} import {self._make}", make=make, call=_SUBMIT
        )


class Threads(Futures):
    """concurrent.futures.ThreadPoolExecutor."""

    _imports, _make = "concurrent.futures", "ThreadPoolExecutor"

    def open(self) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(self.workers)


class Processes(Futures):
    """concurrent.futures.ProcessPoolExecutor."""

    _imports, _make = "concurrent.futures", "ProcessPoolExecutor"

    def open(self) -> None:
        """Start the processes."""
        self._pool = ProcessPoolExecutor(self.workers)


class Pool(ByHand):
    """multiprocessing.Pool.apply_async."""

    _pool: Any
    _imports, _make = "from multiprocessing import Pool", "Pool"

    def open(self) -> None:
        """Start the processes."""
        self._pool = multiprocessing.Pool(self.workers)

    def close(self) -> None:
        """Stop them."""
        self._pool.close()
        self._pool.join()

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Submit and wait."""
        return self._pool.apply_async(function, (arg,)).get()

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Submit each, then take each result."""
        results = [self._pool.apply_async(function, (arg,)) for arg in args]
        return [result.get() for result in results]

    def map(self, function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """Its quickest way."""
        return list(self._pool.imap_unordered(function, args, CHUNK))

    def _submit(
        self, function: Callable[..., Any], args: Sequence[Any], then: Callable[[Any], None]
    ) -> None:
        self._pool.apply_async(function, tuple(args), callback=then, error_callback=then)

    def program(self) -> str:
        """Return the source of a script."""
        call = "apply_async(noop, (1,)).get()"
        make = f"{self._make}({self.workers})"
        return _PROGRAM.format(imports=self._imports, make=make, call=call)


class ManagerQueue(ByHand):
    """Two queues of multiprocessing.managers over TCP: the classic way to many machines."""

    def open(self) -> None:
        """Start the process that has the queues, and the workers."""
        self._manager = SyncManager(("127.0.0.1", 0))
        self._manager.start()
        self._jobs: Any = self._manager.Queue()
        self._results: Any = self._manager.Queue()
        self._processes = [
            multiprocessing.Process(target=_serve, args=(self._jobs, self._results))
            for _ in range(self.workers)
        ]
        for process in self._processes:
            process.start()

    def close(self) -> None:
        """Stop them."""
        for _ in self._processes:
            self._jobs.put(None)
        for process in self._processes:
            process.join()
        self._manager.shutdown()

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Put one in, take one out."""
        return self.many(function, [arg])[0]

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Put each in, then take as many out."""
        count = 0
        for arg in args:
            self._jobs.put((count, function, arg))
            count += 1
        values = dict(self._results.get() for _ in range(count))
        return [values[number] for number in range(count)]


def _serve(jobs: Any, results: Any) -> None:
    while (job := jobs.get()) is not None:
        number, function, arg = job
        results.put((number, function(arg)))


STANDARD: dict[str, Entry] = {
    "inline": Entry(Inline, "one thread"),
    "ThreadPoolExecutor": Entry(Threads, "threads"),
    "ProcessPoolExecutor": Entry(Processes, "processes"),
    "Pool": Entry(Pool, "processes"),
    "manager queue": Entry(
        ManagerQueue, "over TCP", only=("noop", "roundtrip", "results", "sleeps", "mixed"), fewer=5
    ),
}
