"""A run's figures in words: a few lines at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest

from fancypipe_core.plugins.figures.critical_path import critical_path
from fancypipe_core.plugins.figures.estimate import with_workers
from fancypipe_core.plugins.figures.facts import Fact, Facts
from fancypipe_core.plugins.figures.words import span_text

__all__ = ["summary_lines"]

_SLOWEST = 3
_CHAIN = 5  # tasks of the longest chain that are named
_GAIN = 0.9  # with more workers a run takes so much of its time at most, or they gain nothing
_WORTH = 0.01  # of a run's time; what is less is not told


def summary_lines(facts: Facts, seconds: float, workers: int, unit: str) -> Iterator[str]:
    """Yield what a run took its time for.

    Args:
        facts: What is known of its tasks.
        seconds: How long it took.
        workers: How many tasks ran at a time.
        unit: What `workers` counts.
    """
    tasks = facts.tasks
    slowest = nlargest(_SLOWEST, tasks.values(), key=lambda fact: fact.seconds or 0.0)
    named = [_named(fact) for fact in slowest if (fact.seconds or 0.0) > _WORTH * seconds]
    if named:
        yield f"slowest: {', '.join(named)}"
    path = critical_path(tasks)
    if path.seconds > _WORTH * seconds:
        yield (
            f"longest chain: {span_text(path.seconds)} of {span_text(seconds)}: "
            f"{_chained([tasks[task] for task in path.tasks])}"
        )
        yield from _gain(facts.work, path.seconds, seconds, workers, unit)
    failures = sum(fact.failures for fact in tasks.values())
    lost = sum(fact.lost for fact in tasks.values())
    if failures and lost > _WORTH * seconds:
        attempts = "1 attempt" if failures == 1 else f"{failures:,} attempts"
        yield f"lost to failures: {span_text(lost)} of work in {attempts}"


def _named(fact: Fact) -> str:
    return f"{fact.name} {span_text(fact.seconds or 0.0)}"


def _chained(chain: Sequence[Fact]) -> str:
    """Name the tasks of a chain that take longest, in their order; those of one name together."""
    runs: list[tuple[str, int, float]] = []
    for fact in chain:
        name, count, spent = (
            runs.pop() if runs and runs[-1][0] == fact.name else (fact.name, 0, 0.0)
        )
        runs.append((name, count + 1, spent + (fact.seconds or 0.0)))
    kept = set(nlargest(_CHAIN, range(len(runs)), key=lambda place: runs[place][2]))
    little = _WORTH * sum(spent for _, _, spent in runs)
    said: list[str] = []
    between = 0.0  # seconds of those that are not named
    for place, (name, count, spent) in enumerate(runs):
        if place not in kept or spent <= little:
            between += spent
            continue
        said += ["..."] if between > little else []
        between = 0.0
        said.append(f"{name}{f' ({count})' if count > 1 else ''} {span_text(spent)}")
    said += ["..."] if between > little else []
    return " > ".join(said)


def _gain(work: float, chain: float, seconds: float, workers: int, unit: str) -> Iterator[str]:
    more = 2 * workers
    found = with_workers(work, chain, seconds, workers, (more,))
    if not found:
        return
    if found[more] <= _GAIN * seconds:
        yield f"with {more:,} {unit}s it would have taken about {span_text(found[more])}"
    elif work / max(workers, 1) < chain:
        yield f"more {unit}s would not have made it quicker: that chain would"
