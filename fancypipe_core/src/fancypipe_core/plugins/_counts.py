"""Counting a run's events, and saying it in words."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fancypipe_core.hooks import ENDS, Outcome, RunInfo, TaskEvent
from fancypipe_core.plugins.figures.estimate import Left, Pace, remaining
from fancypipe_core.plugins.figures.words import span_text

if TYPE_CHECKING:
    from fancypipe_core.plugins.figures.earlier import Earlier

__all__ = ["Counts", "Kind", "summary"]

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
        pace: How long one takes.
        before: How many there were in an earlier run that was alike; 0 if unknown.
    """

    __slots__ = (
        "_past", "added", "before", "busy", "cancelled", "done", "failed", "name", "pace",
        "skipped",
    )  # fmt: skip

    def __init__(self, name: str, begin: float) -> None:
        self.name = name
        self.added = 0
        self.done = 0
        self.failed = 0
        self.skipped = 0
        self.cancelled = 0
        self.busy = 0
        self.pace = Pace()
        self.before = 0
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
        workers: How many tasks run at a time.

    Attributes:
        remaining: The seconds until all has ended; None if that cannot be told.
    """

    def __init__(self, begin: float, workers: int = 1) -> None:
        self.remaining: float | None = None
        self._workers = workers
        self._earlier: Earlier | None = None
        self._seen: dict[int, float] = {}  # by running task, since when
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
            what, task = event.kind, event.task
            if what == "progress":
                if task in flying:  # else it is late: the task has ended
                    self.progress[task] = event
                continue
            kind = kinds.get(event.name) or self._kind(event.name)
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
                    self._done(kind, event)
                elif what != "unfolded":
                    self._otherwise(kind, event)

    def _done(self, kind: Kind, event: TaskEvent) -> None:
        kind.done += 1
        self._of.pop(event.task, None)
        if event.seconds is not None:
            kind.pace.add(event.seconds)

    def _kind(self, name: str) -> Kind:
        """Return the tasks of a name."""
        kind = self.kinds.get(name)
        if kind is None:
            kind = self.kinds[name] = Kind(name, self._begin)
            self._expect(kind)
        return kind

    def expect(self, earlier: Earlier) -> None:
        """Learn from an earlier run."""
        self._earlier = earlier
        for kind in list(self.kinds.values()):
            self._expect(kind)

    def _expect(self, kind: Kind) -> None:
        if self._earlier is not None and kind.name in self._earlier.kinds:
            count, seconds = self._earlier.kinds[kind.name]
            if kind.pace.mean is None:
                kind.pace = Pace(seconds)
            kind.before = count if self._earlier.alike else 0

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
            by_kind = Counter(kinds)
            for kind, count in by_kind.items():
                kind.busy -= count
                kind.done += count
            spent = sum(event.took) / 1e6
            for kind, count in by_kind.items():  # mostly one
                kind.pace.add(spent * count / len(kinds), count)

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
        left = [
            Left(max(kind.added, kind.before) - kind.over - kind.busy, kind.busy, kind.pace.mean)
            for kind in kinds
            if max(kind.added, kind.before) > kind.over
        ]
        spent = sum(kind.pace.spent for kind in kinds)
        learned = remaining(left, spent, now - self._begin, self._workers)
        self.remaining = total.remaining if learned is None else learned or None

    def running(self, now: float, most: int, least: float = 0.0) -> list[tuple[str, float]]:
        """Return the names of the tasks that run for longest, and for how long.

        As many run as there are workers: those that were sent first.  When each began is known as
        well as this is called often.

        Args:
            now: The time.
            most: So many at most.
            least: Those that run for less seconds are left out.
        """
        # A copy: the run goes on in another thread.
        run = list(self._flying.items())[: self._workers]
        self._seen = {task: self._seen.get(task, now) for task, _ in run}
        told = [
            (kind.name, now - self._seen[task])
            for task, kind in run
            if task not in self.progress and now - self._seen[task] >= least
        ]
        return sorted(told, key=lambda one: -one[1])[:most]

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


def summary(run: RunInfo, outcome: Outcome) -> str:
    """Return the one line that tells how a run ended."""
    took = span_text(outcome.seconds)
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
