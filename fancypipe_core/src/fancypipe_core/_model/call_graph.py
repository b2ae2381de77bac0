"""Which of a file's tasks uses which, by the names that stand in their code."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

T = TypeVar("T", bound=Hashable)

__all__ = ["outermost"]


def outermost(
    names: Mapping[str, AbstractSet[str]],
    called: Mapping[T, AbstractSet[str]],
    candidates: Sequence[T],
) -> list[T]:
    """Return the candidates that no other task uses, but one that they use themselves.

    Args:
        names: For each name of a file, the names that stand in what it is.
        called: The names of each task.
        candidates: Some of the tasks.
    """
    reached = {task: _reachable(names, own) for task, own in called.items()}

    def uses(one: T, other: T) -> bool:
        return not reached[one].isdisjoint(called[other])

    return [
        one
        for one in candidates
        if not any(uses(other, one) and not uses(one, other) for other in called if other != one)
    ]


def _reachable(names: Mapping[str, AbstractSet[str]], starts: Iterable[str]) -> set[str]:
    """Return the names that are used by these, or by what they use, and so on."""
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        new = (names.get(waiting.pop()) or set()) - found
        found |= new
        waiting += new
    return found
