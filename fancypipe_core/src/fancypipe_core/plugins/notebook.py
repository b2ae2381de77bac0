"""Shows in the output of a notebook's cell how a run goes on."""

from __future__ import annotations

import sys
from html import escape
from importlib import import_module
from typing import Any

from fancypipe_core.hooks import RunInfo
from fancypipe_core.plugins._counts import Counts, Kind
from fancypipe_core.plugins.figures.words import clock_text

__all__ = ["Cell", "is_in_notebook"]

_TICK = 0.5  # seconds between two pictures
_KINDS = 20  # rows
_LONG = 2.0  # seconds that a task runs before it is named
_NAMED = 5

_BAR = '<div style="width:12em;height:.6em;display:flex;background:rgba(128,128,128,.3)">{}</div>'
_PART = '<div style="width:{:.4g}%;background:{}"></div>'
_DONE, _FAILED, _OTHERWISE = "#3a7", "#c33", "#c90"


def is_in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    made = sys.modules.get("IPython")
    shell = made.get_ipython() if made is not None else None
    return getattr(shell, "kernel", None) is not None


class Cell:
    """A table with a row for each kind of task, which is drawn again and again.

    Args:
        run: The run.
        counts: What is counted of it.
        begin: When it began.
    """

    def __init__(self, run: RunInfo, counts: Counts, begin: float) -> None:
        self._run = run
        self._counts = counts
        self._begin = begin
        self._now = begin
        self._handle: Any = None

    def show(self, now: float) -> float:
        """Draw; return the seconds until the next time."""
        shown: Any = import_module("IPython.display")  # its functions have no types
        self._now = now
        self._counts.sum_up(now)
        self._counts.news.clear()  # failures are counted in the table, and raised in the end
        picture = shown.HTML(self._drawn(now))
        if self._handle is None:
            self._handle = shown.display(picture, display_id=True)
        else:
            self._handle.update(picture)
        return _TICK

    def end(self) -> None:
        """Leave the last picture, if there is any."""
        if self._handle is not None:
            self.show(self._now)

    def _drawn(self, now: float) -> str:
        counts, run = self._counts, self._run
        unit = run.unit if run.workers == 1 else f"{run.unit}s"
        head = [
            f"<b>{escape(run.target or 'run')}</b>",
            clock_text(now - self._begin),
            f"{escape(run.backend)}, {run.workers:,} {escape(unit)}",
            _numbers(counts.total),
        ]
        if counts.remaining is not None:
            head.append(f"about {clock_text(counts.remaining)} left")
        kinds = counts.busiest(_KINDS)
        rows = [
            f"<tr><td>{escape(kind.name)}</td><td>{_bar(kind)}</td><td>{_numbers(kind)}</td></tr>"
            for kind in kinds
        ]
        hidden = len(counts.kinds) - len(kinds)
        below = [f"and {hidden:,} more kinds of tasks"] if hidden > 0 else []
        below += [escape(step) for step, _ in counts.steps(_NAMED)]
        below += [
            f"{escape(name)} runs for {clock_text(age)}"
            for name, age in counts.running(now, _NAMED, _LONG)
        ]
        return (
            f"<div>{' &middot; '.join(head)}</div>"
            f'<table style="color:inherit">{"".join(rows)}</table>'
            f'<div style="opacity:.7">{"<br>".join(below)}</div>'
        )


def _bar(kind: Kind) -> str:
    """Return how many are over, in parts: as they ended."""
    otherwise = kind.over - kind.done - kind.failed
    counts = (kind.done, _DONE), (kind.failed, _FAILED), (otherwise, _OTHERWISE)
    all_of_it = max(kind.added, kind.over, 1)
    parts = [_PART.format(100 * count / all_of_it, color) for count, color in counts if count]
    return _BAR.format("".join(parts))


def _numbers(kind: Kind) -> str:
    said = [f"{kind.over:,} of {kind.added:,}"]
    for count, what in (
        (kind.busy, "under way"),
        (kind.failed, "failed"),
        (kind.skipped, "skipped"),
    ):
        said += [f"{count:,} {what}"] if count else []
    return ", ".join(said)
