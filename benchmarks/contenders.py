"""What a contender is: it is opened once, then given work as its users would write it.

That is one call for each task, and then the results; nobody chunks by hand, but where
the workload is a map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["Contender", "Entry", "Kind", "Node", "Unable"]

Kind = Literal["one thread", "threads", "processes", "over TCP"]


class Unable(Exception):
    """This contender has no way to do that; the text says what it lacks."""


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
    """Runs work with so many workers.

    Attributes:
        workers: How many tasks run at a time.
        delay: Seconds from the client to its workers, each way, that no contender can save.
    """

    delay = 0.0

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

    def map(self, function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """Run independent tasks by one call for all; return their results in any order."""
        raise Unable("it has no call for many tasks")

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Run tasks that depend on each other; return the values of those that are wanted."""
        raise Unable("it knows no dependencies")

    def program(self) -> str:
        """Return the source of a script that starts, runs one no-op and ends."""
        raise Unable("no script for it")


class Entry(NamedTuple):
    """A contender in the list of all.

    Attributes:
        make: Makes it for so many workers.
        kind: What its workers are.
        ours: Whether it is fancypipe.
        needs: The module that must be installed; empty for the standard library.
        only: The workloads that it is for; empty for all.
        fewer: It is given so many times fewer of the independent no-ops, since it takes long
            for each, and as long for each of few as of many.
        slow_start: Whether it takes seconds to start.
    """

    make: Callable[[int], Contender]
    kind: Kind
    ours: bool = False
    needs: str = ""
    only: Sequence[str] = ()
    fewer: int = 1
    slow_start: bool = False
