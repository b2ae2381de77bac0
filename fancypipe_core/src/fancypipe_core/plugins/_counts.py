"""Counting a run's events, and saying it in words."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from fancypipe_core.hooks import ENDS, Outcome, RunInfo, TaskEvent

__all__ = ["Counts", "Kind", "clock_text", "summary"]

_SPAN = 10.0  # seconds over which the rate is taken
_TOLD = frozenset(("failed", "retried", "lost"))
_NEWS = 10  # failures that are shown while the run goes on


class Kind:
    """The tasks of one name.

    Args:
        name: Their name.
        begin: When the run began.

    Attributes:
        name: Their name.
        added: How many the graph has met.
        done: How many have their value.
        failed: How many failed.
        skipped: How many did not run, since what they need failed.
        cancelled: How many are not wanted any more.
        busy: How many have an attempt under way: they run, or are next.
    """

    __slots__ = ("_past", "added", "busy", "cancelled", "done", "failed", "name", "skipped")

    def __init__(self, name: str, begin: float) -> None:
        self.name = name
        self.added = 0
        self.done = 0
        self.failed = 0
        self.skipped = 0
        self.cancelled = 0
        self.busy = 0
        self._past = deque([(begin, 0)])

    @property
    def over(self) -> int:
        """How many have ended."""
        return self.done + self.failed + self.skipped + self.cancelled

    @property
    def left(self) -> int:
        """How many have not ended."""
        return max(self.added - self.over, 0)

    def sample(self, now: float) -> None:
        """Remember where we are, for the rate."""
        past = self._past
        past.append((now, self.over))
        while len(past) > 2 and now - past[1][0] > _SPAN:
            past.popleft()

    @property
    def rate(self) -> float:
        """How many end in a second, of late."""
        (then, before), (now, after) = self._past[0], self._past[-1]
        return (after - before) / (now - then) if now > then else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds until all that is known of has ended; None if that cannot be told."""
        rate = self.rate
        return self.left / rate if rate > 0 and self.left else None


class Counts:
    """Counts events; no text is made but for failures.

    Args:
        begin: When the run began.
    """

    def __init__(self, begin: float) -> None:
        self.kinds: dict[str, Kind] = {}
        self.total = Kind("", begin)
        self._begin = begin
        self.news: deque[str] = deque()
        self._told = 0
        self._of: dict[int, Kind] = {}  # those that have not ended
        self._flying: dict[int, Kind] = {}
        # Of running tasks that say how far they are, by task.
        self.progress: dict[int, TaskEvent] = {}

    def add(self, events: Sequence[TaskEvent]) -> None:
        """Count some events."""
        kinds, flying = self.kinds, self._flying
        for event in events:
            if event.tasks:
                self._add_many(event)
                continue
            what, name, task = event.kind, event.name, event.task
            if what == "progress":
                if task in flying:  # else it is late: the task has ended
                    self.progress[task] = event
                continue
            kind = kinds.get(name) or self._kind(name)
            if what == "added":
                kind.added += 1
                self._of[task] = kind
            elif what == "submitted":
                if task not in flying:
                    flying[task] = kind
                    kind.busy += 1
            else:
                if task in flying:
                    del flying[task]
                    kind.busy -= 1
                    if self.progress:
                        self.progress.pop(task, None)
                if what == "done":
                    kind.done += 1
                    self._of.pop(task, None)
                elif what != "unfolded":
                    self._otherwise(kind, event)

    def _kind(self, name: str) -> Kind:
        """Return the tasks of a name."""
        return self.kinds.get(name) or self.kinds.setdefault(name, Kind(name, self._begin))

    def _add_many(self, event: TaskEvent) -> None:
        """Count an event that is about many tasks."""
        tasks, flying = event.tasks, self._flying
        if event.kind == "added":
            kind = self._kind(event.name)
            kind.added += len(tasks)
            self._of.update(dict.fromkeys(tasks, kind))
            return
        kinds = [self._of[task] for task in tasks if task in self._of]
        if event.kind == "submitted":
            flying.update(zip(tasks, kinds, strict=False))
            for kind, count in Counter(kinds).items():
                kind.busy += count
        elif event.kind == "done":
            for task in tasks:
                self._of.pop(task, None)
                flying.pop(task, None)
            for kind, count in Counter(kinds).items():
                kind.busy -= count
                kind.done += count

    def _otherwise(self, kind: Kind, event: TaskEvent) -> None:
        """Count what happens to few tasks."""
        if event.kind in ENDS:
            self._of.pop(event.task, None)
        if event.kind == "cancelled":
            kind.cancelled += 1
        elif event.kind == "skipped":
            kind.skipped += 1  # not told of: thousands may need what failed
        elif event.kind in _TOLD:
            kind.failed += event.kind == "failed"
            self._tell(event)

    def _tell(self, event: TaskEvent) -> None:
        self._told += 1
        if self._told <= _NEWS:
            why = f": {event.message}" if event.message else ""
            self.news.append(f"{event.kind}: {_who(event)}{why}")
        elif self._told == _NEWS + 1:
            self.news.append("further failures are counted only")

    def sum_up(self, now: float) -> None:
        """Make the total, and take samples for the rates."""
        # A copy: the run goes on in another thread.
        kinds = list(self.kinds.values())
        total = self.total
        total.added = sum(kind.added for kind in kinds)
        total.done = sum(kind.done for kind in kinds)
        total.failed = sum(kind.failed for kind in kinds)
        total.skipped = sum(kind.skipped for kind in kinds)
        total.cancelled = sum(kind.cancelled for kind in kinds)
        total.busy = sum(kind.busy for kind in kinds)
        for kind in (*kinds, total):
            kind.sample(now)

    def steps(self, most: int) -> list[tuple[str, float | None]]:
        """Say of so many running tasks how far they are, in words and as a share of all."""
        # A copy: the run goes on in another thread.
        return [
            (f"{_who(event)} {_step(event)}", _share(event))
            for event in list(self.progress.values())[:most]
        ]

    def busiest(self, most: int) -> list[Kind]:
        """Return at most so many kinds: those with the most under way, in order of appearance."""
        kinds = list(self.kinds.values())
        if len(kinds) > most:
            chosen = sorted(kinds, key=lambda kind: (-kind.busy, -kind.left))[:most]
            keep = {kind.name for kind in chosen}
            kinds = [kind for kind in kinds if kind.name in keep]
        return kinds


def _who(event: TaskEvent) -> str:
    return (event.path or event.name) + (f" ({event.inputs})" if event.inputs else "")


def _step(event: TaskEvent) -> str:
    done = f"{event.done or 0:,.12g}"
    return done if event.total is None else f"{done} of {event.total:,.12g}"


def _share(event: TaskEvent) -> float | None:
    if not event.total or event.done is None:
        return None
    return min(max(event.done / event.total, 0.0), 1.0)


def clock_text(seconds: float) -> str:
    """Return a time span as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(run: RunInfo, outcome: Outcome) -> str:
    """Return the one line that tells how a run ended."""
    took = f"{outcome.seconds:.3g} s" if outcome.seconds < 100 else clock_text(outcome.seconds)
    workers = f"{run.workers:,} {run.unit}{'' if run.workers == 1 else 's'}"
    counts = [(kind, count) for kind, count in outcome.counts.items() if count]
    if outcome.ok and all(kind == "done" for kind, _ in counts):
        done = outcome.counts.get("done", 0)
        cached = f", {outcome.cached:,} of them cached" if outcome.cached else ""
        text = f"{done:,} task{'' if done == 1 else 's'} done in {took}{cached}"
    else:
        told = ", ".join(f"{count:,} {kind}" for kind, count in counts) or "nothing done"
        told += f" ({outcome.cached:,} cached)" if outcome.cached else ""
        text = f"{'a' if outcome.ok else 'no'} result after {took}: {told}"
    return f"{text} ({run.backend}, {workers})"
