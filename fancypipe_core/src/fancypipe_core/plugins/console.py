"""Shows on standard error how a run goes on.

On a terminal there is one live line for each kind of task; elsewhere a plain
line now and then.  At the end there is one line in either case.

Events are only counted where they arrive.  All else is done by a thread that
wakes up a few times in a second, so that the display ticks while one long task
runs, and lives no longer than the run.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from fancypipe_core.hooks import Outcome, RunInfo, TaskEvent, hookimpl

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

__all__ = ["Console", "Counts", "Kind"]

_DELAY = 0.5  # seconds that a run takes before anything is shown
_TICK = 0.125  # seconds between two pictures on a terminal
_LINES = (5.0, 60.0)  # seconds until the first plain line, and at most between two
_NEWS = 10  # failures that are told of while the run goes on
_SPAN = 10.0  # seconds over which the rate is taken
_BAR = 20


class Kind:
    """The tasks of one name.

    Attributes:
        name: Their name.
        added: How many the graph has met.
        done: How many have their value.
        failed: How many failed.
        cancelled: How many are not wanted any more.
        running: How many have an attempt under way.
    """

    __slots__ = ("_past", "added", "cancelled", "done", "failed", "name", "running")

    def __init__(self, name: str) -> None:
        self.name = name
        self.added = 0
        self.done = 0
        self.failed = 0
        self.cancelled = 0
        self.running = 0
        self._past: deque[tuple[float, int]] = deque()

    @property
    def over(self) -> int:
        """How many have ended."""
        return self.done + self.failed + self.cancelled

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
        if len(self._past) < 2:
            return 0.0
        (then, before), (now, after) = self._past[0], self._past[-1]
        return (after - before) / (now - then) if now > then else 0.0


class Counts:
    """Counts events.  What it does for each costs a fraction of a microsecond."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.total = Kind("")
        self.news: deque[str] = deque(maxlen=_NEWS)
        self.told = 0
        self._flying: dict[int, Kind] = {}

    def add(self, events: Sequence[TaskEvent]) -> None:
        """Count some events."""
        kinds, flying = self.kinds, self._flying
        for event in events:
            what = event[0]
            if what == "submitted":
                kind = kinds.get(event[1]) or self._new(event[1])
                if flying.setdefault(event[2], kind) is kind:
                    kind.running += 1
                continue
            kind = kinds.get(event[1]) or self._new(event[1])
            if what == "added":
                kind.added += 1
                continue
            if flying.pop(event[2], None) is not None:
                kind.running -= 1
            if what == "done":
                kind.done += 1
            elif what == "failed":
                kind.failed += 1
                self._tell(event)
            elif what == "cancelled":
                kind.cancelled += 1
            else:
                self._tell(event)

    def _new(self, name: str) -> Kind:
        kind = self.kinds[name] = Kind(name)
        return kind

    def _tell(self, event: TaskEvent) -> None:
        if self.told < _NEWS:
            self.told += 1
            why = f": {event.message}" if event.message else ""
            self.news.append(f"{event.kind}: {event.path or event.name}{why}")

    def sum_up(self, now: float) -> None:
        """Make the total, and take samples for the rates."""
        total = self.total
        kinds = list(self.kinds.values())
        for name in ("added", "done", "failed", "cancelled", "running"):
            setattr(total, name, sum(getattr(kind, name) for kind in kinds))
        for kind in (*kinds, total):
            kind.sample(now)


class Console:
    """The observer.

    Args:
        stream: Where to write; standard error by default.
        clock: Seconds; for tests.
    """

    def __init__(
        self, stream: IO[str] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._given = stream
        self._clock = clock
        self._depth = 0
        self._counts = Counts()
        self._display: _Lines | _Picture | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Begin to count."""
        self._depth += 1
        if self._depth > 1:  # a run inside a run belongs to it
            return
        stream = self._given or sys.stderr
        if stream is None:  # a program without standard error
            return
        self._counts = Counts()
        begin = self._clock()
        live = stream.isatty() and os.environ.get("TERM") != "dumb"
        display = _Picture if live else _Lines
        self._display = display(stream, run, self._counts, begin)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, args=(self._display, self._stop), name="fancypipe-console", daemon=True
        )
        self._thread.start()

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Count."""
        self._counts.add(events)

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Say how the run ended."""
        self._depth -= 1
        display, thread = self._display, self._thread
        if self._depth or display is None or thread is None:
            return
        self._display = self._thread = None
        self._stop.set()
        thread.join()
        display.end()
        display.write(f"fancypipe: {summary(run, outcome)}")

    def _watch(self, display: _Lines | _Picture, stop: threading.Event) -> None:
        main = threading.main_thread()
        wait = _DELAY
        while not stop.wait(wait) and main.is_alive():
            wait = display.show(self._clock())
