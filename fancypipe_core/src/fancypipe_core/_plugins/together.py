"""One event for many tasks to which the same happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fancypipe_core._plugins.told import TaskNode
from fancypipe_core.backend import Usage
from fancypipe_core.hooks import TaskEvent

__all__ = ["SHORT", "Details", "ShortEnds", "added_together", "in_a_row"]

SHORT = 0.001
"""Seconds; shorter tasks are told of together where there are many."""

_DETAILS = 100  # short tasks that are told of in full,
_REFILL = 1.0  # in so many seconds


def added_together(
    nodes: Sequence[TaskNode], place: Callable[[TaskNode], str] | None, now: float, clock: float
) -> Iterator[TaskEvent]:
    """Yield that tasks were added: one event for those that the same task made at the same place.

    Args:
        nodes: The tasks, in order.
        place: Tells where one was made; None if nobody wants to know.
        now: As in `TaskEvent`.
        clock: As in `TaskEvent`.
    """
    first: TaskNode | None = None
    tasks: list[int] = []
    task: object = None
    code: object = None
    maker: object = None
    offset = -1
    for node in nodes:
        made = node.instance
        if (
            first is not None
            and made is not None
            and made._definition is task
            and (place is None or (made._offset == offset and made._code is code))
            and (place is None or node.parent is maker)
        ):
            tasks.append(node.id)
            continue
        if first is not None:
            yield _added(first, tasks, place, now, clock)
        first, tasks, task, maker = node, [node.id], None, node.parent
        if made is not None:
            task, code, offset = made._definition, made._code, made._offset
    if first is not None:
        yield _added(first, tasks, place, now, clock)


def _added(
    node: TaskNode,
    tasks: list[int],
    place: Callable[[TaskNode], str] | None,
    now: float,
    clock: float,
) -> TaskEvent:
    parent, where = 0, ""
    if place is not None:
        maker = node.parent
        parent, where = 0 if maker is None else maker.id, place(node)
    one = len(tasks) == 1
    return TaskEvent(
        "added", node.name, node.id if one else 0, at=now, clock=clock, parent=parent, where=where,
        tasks=() if one else in_a_row(tasks),
    )  # fmt: skip


def in_a_row(tasks: list[int]) -> Sequence[int]:
    """Return numbers as a range, if they follow each other."""
    row = range(tasks[0], tasks[0] + len(tasks))
    return row if tasks[-1] == row[-1] and tasks == list(row) else tasks


class Details:
    """Says how many short tasks are told of in full now: so many in a span of time.

    Attributes:
        left: How many more.
    """

    def __init__(self) -> None:
        self.left = _DETAILS
        self._since = 0.0

    def refill(self, now: float) -> None:
        """Time has passed."""
        if now - self._since > _REFILL:
            self._since = now
            self.left = _DETAILS


class ShortEnds:
    """Short tasks that are done, which one worker ran one after the other.

    Args:
        usage: What each has used: the worker.

    Attributes:
        usage: The same.
        tasks: Their numbers.
        took: The microseconds that each took.
    """

    def __init__(self, usage: Usage | None) -> None:
        self.usage = usage
        self.tasks: list[int] = []
        self.took: list[int] = []

    def told(self, now: float, clock: float) -> TaskEvent:
        """Return what is told of them."""
        return TaskEvent(
            "done", at=now, clock=clock, attempt=1, tasks=in_a_row(self.tasks), took=self.took,
            worker="" if self.usage is None else self.usage.where,
        )  # fmt: skip
