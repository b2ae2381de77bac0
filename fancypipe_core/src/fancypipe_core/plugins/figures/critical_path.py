"""The chain of tasks that a run could not have been quicker than, with any number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fancypipe_core.plugins.figures.facts import Fact

__all__ = ["CriticalPath", "critical_path"]


class CriticalPath(NamedTuple):
    """The chain that takes longest.

    Attributes:
        seconds: How long it takes.
        tasks: Its tasks, the first one first.
    """

    seconds: float
    tasks: Sequence[int]


def critical_path(tasks: Mapping[int, Fact]) -> CriticalPath:
    """Return the chain of tasks, each of which waits for the one before, that takes longest.

    A task runs after what it needs has values, and after the one that made it has run; the
    value of one that returned references is there when those have theirs.
    """
    # Of each task when it has run, and when it has its value, if each begins as soon as it may;
    # and the task before which that is due to.
    ran: dict[int, tuple[float, int]] = {}
    valued: dict[int, tuple[float, int]] = {}
    # No recursion: chains may be as long as they like.  True is for the value.
    stack = [(task, True) for task in tasks]
    entered: set[tuple[int, bool]] = set()
    while stack:
        step = task, of_value = stack[-1]
        known = valued if of_value else ran
        if task in known or task not in tasks:
            stack.pop()
            continue
        fact = tasks[task]
        if of_value:
            before = [(task, False), *((need, True) for need in fact.waits)]
        else:
            before = [(need, True) for need in fact.needs]
            before += [(fact.parent, False)] if fact.parent else []
        open_ones = [
            one for one in before
            if one[0] in tasks and one[0] not in (valued if one[1] else ran) and one not in entered
        ]  # fmt: skip
        if open_ones:
            entered.add(step)
            stack += open_ones
            continue
        stack.pop()
        latest, by = 0.0, 0
        for one, value in before:
            at, last = (valued if value else ran).get(one, (0.0, 0))
            if at > latest:
                latest, by = at, (last if value else one)
        if of_value:
            known[task] = latest, by or task
        else:
            known[task] = latest + (fact.seconds or 0.0), by
    return _chain(ran, valued)


def _chain(
    ran: Mapping[int, tuple[float, int]], valued: Mapping[int, tuple[float, int]]
) -> CriticalPath:
    if not valued:
        return CriticalPath(0.0, ())
    seconds, task = max(valued.values())
    chain: list[int] = []
    while task and task not in chain[-1:]:
        chain.append(task)
        task = ran.get(task, (0.0, 0))[1]
        if len(chain) > len(ran):
            break  # a journal that was tampered with
    return CriticalPath(seconds, chain[::-1])
