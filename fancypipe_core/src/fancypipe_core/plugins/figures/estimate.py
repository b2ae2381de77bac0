"""How long a run still takes, and how long it would have taken with more workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Left", "Pace", "remaining", "with_workers"]

_MEMORY = 0.05  # the least weight of the latest task in the mean of its kind


class Pace:
    """How long tasks of a kind take; the latest ones count most.

    Args:
        seconds: What is expected before any has ended, as of an earlier run; None for nothing.

    Attributes:
        mean: How long one takes; None while nothing is known.
        spent: The seconds that those which ended have taken.
    """

    __slots__ = ("_count", "mean", "spent")

    def __init__(self, seconds: float | None = None) -> None:
        self.mean = seconds
        self.spent = 0.0
        self._count = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """So many have ended, and took so long together."""
        self.spent += seconds
        before = self._count
        self._count += count
        weight = max(count / self._count, 1 - (1 - _MEMORY) ** count)
        one = seconds / count
        # What an earlier run said counts for nothing once there is anything of this one.
        self.mean = (
            one if not before or self.mean is None else self.mean + weight * (one - self.mean)
        )


class Left(NamedTuple):
    """Tasks of a kind that have not ended.

    Attributes:
        waiting: How many have not begun.
        busy: How many have.
        seconds: How long one of them takes; None if nobody knows.
    """

    waiting: float
    busy: int
    seconds: float | None


def remaining(kinds: Iterable[Left], spent: float, elapsed: float, workers: int) -> float | None:
    """Return the seconds until all that is left has ended; None if that cannot be told.

    Args:
        kinds: What is left.
        spent: The seconds that tasks which ended have taken, all together.
        elapsed: The seconds since the run began.
        workers: How many tasks run at a time.
    """
    left = list(kinds)
    known = [one.seconds for one in left if one.seconds is not None]
    if not known:
        return None
    usual = sum(known) / len(known)
    work = 0.0
    for one in left:
        seconds = usual if one.seconds is None else one.seconds
        work += seconds * (one.waiting + one.busy / 2)  # the half of what runs is done, on average
    # As much at a time as until now: workers may wait for each other, or for what they need.
    at_once = spent / elapsed if spent > 0 and elapsed > 0 else float(workers)
    return work / min(at_once, float(max(workers, 1)))


def expected(added: int, before: int | None) -> int:
    """Return how many tasks of a kind there will be: as many as there were before, at least."""
    return max(added, before or 0)


def with_workers(
    work: float, chain: float, seconds: float, workers: int, others: Iterable[int]
) -> Mapping[int, float]:
    """Return how long a run would have taken with other numbers of workers.

    No run is quicker than its longest chain, or than its work shared by all workers; what this
    one took beyond that, it is taken to take again.

    Args:
        work: The seconds that tasks ran, all together.
        chain: Those of the longest chain.
        seconds: How long the run took.
        workers: How many it had.
        others: The numbers that are asked for.
    """
    least = max(chain, work / max(workers, 1))
    if least <= 0:
        return {}
    beyond = max(seconds / least, 1.0)
    return {count: beyond * max(chain, work / count) for count in others}
