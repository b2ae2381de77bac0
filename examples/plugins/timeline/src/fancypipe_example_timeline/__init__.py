"""An observer of fancypipe: a timeline of the tasks as CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass

from fancypipe_core.hooks import Outcome, RunInfo, TaskEvent, hookimpl, setting

__all__ = ["Timeline"]

_ENDS = {"done", "unfolded", "failed", "retried", "lost", "cancelled"}


@dataclass(frozen=True)
class _Settings:
    file: str | None = setting(None, help="Add a line for each attempt to this CSV file.")


class Timeline:
    """Adds a line for each attempt that has ended to the file of its setting."""

    settings = _Settings  # --timeline-file, FANCYPIPE_TIMELINE_FILE, [timeline] file

    def __init__(self, settings: _Settings) -> None:
        self._file = settings.file
        self._sent: dict[int, float] = {}  # by task: when its last attempt was sent out
        self._rows: list[list[object]] = []

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Take down what has ended.  There may be many: so it is not written yet."""
        if not self._file:
            return
        for event in events:
            if event.kind == "submitted":
                self._sent[event.task] = event.at
            elif event.kind in _ENDS and event.task in self._sent:
                # A task that returned references ran until then, however long it waits for them.
                sent = self._sent.pop(event.task)
                row = [event.task, event.name, event.attempt, event.kind, sent, event.at]
                self._rows.append([*row, event.seconds])

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Write it."""
        if not self._file:
            return
        is_new = not os.path.exists(self._file)
        with open(self._file, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                heading = ["run", "task", "name", "attempt", "end", "sent", "over", "seconds"]
                writer.writerow(heading)
            writer.writerows([run.id, *row] for row in self._rows)
        self._rows.clear()
        self._sent.clear()
