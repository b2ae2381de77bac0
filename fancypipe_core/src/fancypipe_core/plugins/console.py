"""Shows on standard error how a run goes on.

On a terminal there is one live line for each kind of task, in a notebook a table; elsewhere a
plain line now and then.  At the end there is one line in either case.

Events are only counted where they arrive.  All else is done by a thread that
wakes up a few times in a second, so that the display ticks while one long task
runs, and lives no longer than the run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from fancypipe_core._base.resources import free_memory, total_memory
from fancypipe_core.hooks import Outcome, RunInfo, TaskEvent, Wants, hookimpl
from fancypipe_core.plugins._counts import Counts, Kind, summary
from fancypipe_core.plugins.figures.summary import LEAST, summary_of_journal
from fancypipe_core.plugins.figures.words import clock_text
from fancypipe_core.plugins.journal import NAME
from fancypipe_core.plugins.notebook import Cell, is_in_notebook

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.live import Live
    from rich.text import Text

__all__ = ["Console"]

_LEARN = 0.4  # seconds that a run takes before it is looked up how long the last one took,
_DELAY = 0.1  # and so many more before anything is shown
_LONG = 2.0  # seconds that a task runs before it is named,
_LONG_OF_LINE = 10.0  # and in a plain line
_END = 2.0  # seconds that the thread has to end
_TICK = 0.125  # seconds between two pictures on a terminal
_FIRST_LINE = 5.0  # seconds until the first plain line; then always twice as long,
_SLOWEST = 60.0  # up to this
_BAR = 20  # columns
_STEPS = 5  # running tasks whose progress is shown; of a plain line fewer
_STEPS_OF_LINE = 2


class Console:
    """The observer.

    Args:
        stream: Where to write; standard error by default.
        clock: Tells the seconds; for tests.
        page: Tells which page a run that has ended has left; None if none.
        folder: Tells the folder of a run, in which its journal is; None if there is none.  Its name
            ends with the run's id.
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = monotonic,
        page: Callable[[], Path | None] = lambda: None,
        folder: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self._page = page
        self._folder = folder
        self._run: RunInfo | None = None
        self._stream = stream
        self._clock = clock
        self._depth = 0
        self._counts = Counts(clock())
        self._display: _Lines | _Picture | Cell | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        """All that happens."""
        return Wants(together=True)

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Begin to count."""
        self._depth += 1
        stream = self._stream or sys.stderr
        # A run inside a run belongs to it; and a program may have no standard error.
        if self._depth > 1 or stream is None:
            return
        begin = self._clock()
        self._run = run
        self._counts = Counts(begin, run.workers)
        live = stream.isatty() and os.environ.get("TERM") != "dumb"
        if self._stream is None and is_in_notebook():
            self._display = Cell(run, self._counts, begin)
        else:
            self._display = (_Picture if live else _Lines)(stream, run, self._counts, begin)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fancypipe-console", daemon=True)
        self._thread.start()

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Count."""
        self._counts.add(events)

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Say how the run ended."""
        self._depth -= 1
        if self._depth or self._display is None or self._thread is None:
            return
        self._stop.set()
        self._thread.join(_END)  # a terminal that nobody reads must not hold up the run
        self._display.end()
        for line in self._summary(run, outcome):
            _write(self._stream or sys.stderr, f"fancypipe: {line}")
        page = self._page()
        see = "" if page is None else f"; see {_from_here(page)}"
        _write(self._stream or sys.stderr, f"fancypipe: {summary(run, outcome)}{see}")
        self._display = self._thread = None

    def _folder_of(self, run: RunInfo) -> Path | None:
        folder = self._folder()
        return folder if folder is not None and folder.name.endswith(f"-{run.id}") else None

    def _summary(self, run: RunInfo, outcome: Outcome) -> Sequence[str]:
        """Say what a run took its time for, if it took any to speak of."""
        folder = self._folder_of(run)
        if outcome.seconds < LEAST or folder is None:
            return ()
        return summary_of_journal(folder / NAME)

    def _learn(self) -> None:
        """Look how long it took the last time."""
        run = self._run
        folder = self._folder_of(run) if run is not None else None
        if run is None or folder is None:
            return
        from fancypipe_core.plugins.figures.earlier import earlier

        known = earlier(run, folder)
        if known is not None:
            self._counts.expect(known)

    def _watch(self) -> None:
        display, stop = self._display, self._stop
        assert display is not None
        wait = _DELAY
        try:
            if not stop.wait(_LEARN):
                self._learn()
            while not stop.wait(wait) and threading.main_thread().is_alive():
                wait = display.show(self._clock())
        except Exception as error:  # noqa: BLE001 - a display must not break what it shows
            display.end()
            text = f"{type(error).__name__}: {error}"
            _write(self._stream or sys.stderr, f"fancypipe: the display has failed: {text}")


class _Lines:
    """A plain line now and then."""

    def __init__(self, stream: IO[str], run: RunInfo, counts: Counts, begin: float) -> None:
        self._stream = stream
        self._counts = counts
        self._begin = begin
        self._next = _FIRST_LINE
        self._pause = _FIRST_LINE

    def show(self, now: float) -> float:
        """Write a line if it is time; return the seconds until there is more to do."""
        counts = self._counts
        while counts.news:
            _write(self._stream, f"fancypipe: {counts.news.popleft()}")
        elapsed = now - self._begin
        counts.running(now, 0)  # from now on it is known that these run
        if elapsed >= self._next:
            counts.sum_up(now)
            _write(self._stream, f"fancypipe: {clock_text(elapsed)}, {self._text(now)}")
            self._pause = min(2 * self._pause, _SLOWEST)
            self._next = elapsed + self._pause
        return min(self._next - elapsed, 1.0)

    def _text(self, now: float) -> str:
        total = self._counts.total
        parts = [f"{total.over:,} of {total.added:,} tasks", f"{total.busy:,} under way"]
        parts += [f"{total.failed:,} failed"] if total.failed else []
        parts += [f"{total.skipped:,} skipped"] if total.skipped else []
        parts += [f"{total.rate:.3g}/s"] if total.rate else []
        if (left := self._counts.remaining) is not None:
            parts.append(f"about {clock_text(left)} left")
        busy = [
            f"{kind.name} {kind.over:,}/{kind.added:,}"
            for kind in self._counts.busiest(3)
            if kind.left
        ]
        text = ", ".join(parts) + (f" ({', '.join(busy)})" if busy else "")
        steps = [step for step, _ in self._counts.steps(_STEPS_OF_LINE)]
        long = self._counts.running(now, _STEPS_OF_LINE - len(steps), _LONG_OF_LINE)
        return "; ".join([text, *steps, *(f"{name} for {clock_text(age)}" for name, age in long)])

    def end(self) -> None:
        """Nothing to take away."""


class _Picture:
    """A live line for each kind of task."""

    def __init__(self, stream: IO[str], run: RunInfo, counts: Counts, begin: float) -> None:
        self._stream = stream
        self._run = run
        self._counts = counts
        self._begin = begin
        self._live: Live | None = None
        self._over = False
        self._lock = threading.Lock()
        self._hook: Callable[..., Any] | None = None
        self._look = 0.0  # when the memory is looked at again
        self._used = ""

    def show(self, now: float) -> float:
        """Draw; return the seconds until the next time."""
        with self._lock:
            if self._over:
                return 60.0
            if self._live is None:
                self._live = self._start()
            live, news = self._live, self._counts.news
            while news:
                live.console.print(f"fancypipe: {news.popleft()}", markup=False, highlight=False)
            self._counts.sum_up(now)
            live.update(self._draw(live.console, now), refresh=True)
        return _TICK

    def end(self) -> None:
        """Take the picture away."""
        with self._lock:
            self._over = True
            if self._live is not None:
                with contextlib.suppress(OSError):  # the terminal may be gone
                    self._live.stop()
                self._live = None
            if self._hook is not None:
                sys.breakpointhook = self._hook
                self._hook = None

    def _start(self) -> Live:
        from rich.console import Console as RichConsole
        from rich.live import Live

        live = Live(console=RichConsole(file=self._stream), auto_refresh=False, transient=True)
        live.start()
        self._hook = sys.breakpointhook
        sys.breakpointhook = self._breakpoint
        return live

    def _breakpoint(self, *args: Any, **kwargs: Any) -> Any:
        """A debugger wants the terminal: leave it to it."""
        hook = self._hook or sys.__breakpointhook__
        self.end()
        if hook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT"):
            import pdb  # noqa: T100 - the default hook, called from here, would stop here

            pdb.Pdb().set_trace(sys._getframe(1))
            return None
        return hook(*args, **kwargs)

    def _memory(self, now: float) -> str:
        """Say how much of the machine's memory is in use; looked up once in a second."""
        if now >= self._look:
            self._look = now + 1.0
            free, whole = free_memory(), total_memory()
            self._used = ""
            if free is not None and whole is not None:
                self._used = f"{max(whole - free, 0) / 1e9:.1f} of {whole / 1e9:.1f} GB memory"
        return self._used

    def _draw(self, console: RichConsole, now: float) -> Text:
        from rich.text import Text

        counts, run = self._counts, self._run
        room = max(console.height - 3, 1)
        kinds = counts.busiest(room)
        width = min(max((len(kind.name) for kind in kinds), default=0), console.width // 3)
        workers = f"{run.workers:,} {run.unit}{'' if run.workers == 1 else 's'}"
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{clock_text(now - self._begin)}  ", "bold")
        text.append(f"{run.backend}, {workers}  ")
        _append_numbers(text, counts.total, counts.remaining)
        if memory := self._memory(now):
            text.append(f"  {memory}", "bright_black")
        for kind in kinds:
            text.append("\n")
            name = kind.name if len(kind.name) <= width else f"{kind.name[: width - 1]}…"
            text.append(f"  {name:<{width}}  ")
            full = _BAR * kind.over // max(kind.added, 1)
            text.append("━" * full, "red" if kind.failed else "green")
            text.append("━" * (_BAR - full) + "  ", "bright_black")
            _append_numbers(text, kind, kind.remaining)
        hidden = len(counts.kinds) - len(kinds)
        if hidden > 0:
            text.append(f"\n  and {hidden:,} more kinds of tasks", "bright_black")
        free = min(room - len(kinds), _STEPS)
        long = counts.running(now, max(free - len(counts.progress), 0), _LONG)
        for name, age in long:
            text.append(f"\n    {name} runs for {clock_text(age)}", "bright_black")
        for step, share in counts.steps(free - len(long)):
            text.append("\n    ")
            if share is not None:
                full = round(_BAR * share)
                text.append("━" * full, "cyan")
                text.append("━" * (_BAR - full) + "  ", "bright_black")
            text.append(step)
        return text


def _from_here(path: Path) -> Path:
    """Return a path in the form that is shorter to read and to type."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):
        return path


def _append_numbers(text: Text, kind: Kind, left: float | None) -> None:
    text.append(f"{kind.over:,}/{kind.added:,}")
    if kind.busy:
        text.append(f"  {kind.busy:,} under way", "cyan")
    if kind.failed:
        text.append(f"  {kind.failed:,} failed", "red")
    if kind.skipped:
        text.append(f"  {kind.skipped:,} skipped", "yellow")
    rate = kind.rate
    if rate and kind.left:
        text.append(f"  {rate:,.0f}/s" if rate >= 100 else f"  {rate:.2g}/s")
    if left is not None:
        text.append(f"  {clock_text(left)} left")


def _write(stream: IO[str] | None, text: str) -> None:
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or it is closed
            stream.write(f"{text}\n")
            stream.flush()
