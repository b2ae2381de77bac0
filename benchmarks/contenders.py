"""Who runs the work: fancypipe's backends, and what the standard library has.

A contender is opened once, then given work in the way that its users would
write it: one call for each task, and then the results.  None is allowed to
chunk by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from graphlib import TopologicalSorter
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

__all__ = ["CONTENDERS", "Contender", "Entry", "Futures", "Node"]

Kind = Literal["one thread", "threads", "processes", "over TCP"]


class Node(NamedTuple):
    """One task of a graph.

    Attributes:
        function: What to call.
        needs: The nodes whose values are its first arguments; they come before it.
        args: Its further arguments.
    """

    function: Callable[..., Any]
    needs: Sequence[int]
    args: tuple[Any, ...] = ()


class Contender:
    """Runs work with so many workers."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def open(self) -> None:
        """Start the workers."""

    def close(self) -> None:
        """Stop them."""

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Run one task and wait for it."""
        raise NotImplementedError

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Run independent tasks, one call for each; return their results in order."""
        raise NotImplementedError

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Run tasks that depend on each other; return the values of those that are wanted."""
        raise NotImplementedError


# ---- ours ----------------------------------------------------------------------


class Ours(Contender):
    """fancypipe, in an open session."""

    backend = "serial"

    def open(self) -> None:
        """Start the workers."""
        from fancypipe_core import Session, task

        self._task = task
        self._tasks: dict[Callable[..., Any], Any] = {}
        self._session = Session(self.backend, self.workers)

    def close(self) -> None:
        """Stop them."""
        self._session.close()

    def _of(self, function: Callable[..., Any]) -> Any:
        made = self._tasks.get(function)
        if made is None:
            made = self._tasks[function] = self._task(function)
        return made

    def run(self, ref: Any) -> Any:
        """Run what is fancypipe's already."""
        return self._session.run(ref)

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Run one task and wait for it."""
        return self._session.run(self._of(function)(arg))

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Run independent tasks."""
        made = self._of(function)
        values: list[Any] = self._session.run([made(arg) for arg in args])
        return values

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Run tasks that depend on each other."""
        refs: list[Any] = []
        for node in nodes:
            made = self._of(node.function)
            refs.append(made(*[refs[need] for need in node.needs], *node.args))
        values: list[Any] = self._session.run([refs[number] for number in wanted])
        return values


class OursThreads(Ours):
    """fancypipe on threads."""

    backend = "threads"


class OursProcs(Ours):
    """fancypipe on processes."""

    backend = "procs"


# ---- the standard library --------------------------------------------------------


class Inline(Contender):
    """A loop: what the work costs if nobody manages it."""

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Call it."""
        return function(arg)

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Call it for each."""
        return [function(arg) for arg in args]

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Call each; they stand in an order that can be run."""
        values: list[Any] = []
        for node in nodes:
            values.append(node.function(*[values[need] for need in node.needs], *node.args))
        return [values[number] for number in wanted]


class _ByHand(Contender):
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


class Futures(_ByHand):
    """Any executor with the interface of concurrent.futures."""

    _pool: Any

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

    def _submit(
        self, function: Callable[..., Any], args: Sequence[Any], then: Callable[[Any], None]
    ) -> None:
        future = self._pool.submit(function, *args)
        future.add_done_callback(lambda future: then(future.exception() or future.result()))


class Threads(Futures):
    """concurrent.futures.ThreadPoolExecutor."""

    def open(self) -> None:
        """Start the threads."""
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(self.workers)


class Processes(Futures):
    """concurrent.futures.ProcessPoolExecutor."""

    def open(self) -> None:
        """Start the processes."""
        from concurrent.futures import ProcessPoolExecutor

        self._pool = ProcessPoolExecutor(self.workers)


class Pool(_ByHand):
    """multiprocessing.Pool.apply_async."""

    def open(self) -> None:
        """Start the processes."""
        import multiprocessing

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

    def _submit(
        self, function: Callable[..., Any], args: Sequence[Any], then: Callable[[Any], None]
    ) -> None:
        self._pool.apply_async(function, tuple(args), callback=then, error_callback=then)


class Entry(NamedTuple):
    """A contender in the list of all.

    Attributes:
        make: Makes it for so many workers.
        kind: What its workers are; ratios are taken among those of one kind.
        ours: Whether it is fancypipe.
        needs: The module that must be installed; empty for the standard library.
        graph_name: What it is called where it runs graphs; empty for its own name.
    """

    make: Callable[[int], Contender]
    kind: Kind
    ours: bool = False
    needs: str = ""
    graph_name: str = ""


CONTENDERS: dict[str, Entry] = {
    "serial": Entry(Ours, "one thread", ours=True),
    "inline": Entry(Inline, "one thread"),
    "threads": Entry(OursThreads, "threads", ours=True),
    "ThreadPoolExecutor": Entry(Threads, "threads", graph_name="ThreadPoolExecutor + graphlib"),
    "procs": Entry(OursProcs, "processes", ours=True),
    "ProcessPoolExecutor": Entry(
        Processes, "processes", graph_name="ProcessPoolExecutor + graphlib"
    ),
    "Pool": Entry(Pool, "processes", graph_name="Pool + graphlib"),
}
