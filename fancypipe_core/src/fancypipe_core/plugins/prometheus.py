"""Counts of a run as metrics of Prometheus, in a file that node_exporter's collector reads.

A run of a batch system ends before anybody has scraped it, and a port would be one that
anybody on the machine could read: so there is a file, which stays.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, time
from typing import Any

from fancypipe_core.errors import ConfigError
from fancypipe_core.hooks import (
    ENDS,
    KINDS,
    EventKind,
    Outcome,
    RunInfo,
    TaskEvent,
    Wants,
    hookimpl,
)

__all__ = ["Metrics"]

_PAUSE = 5.0  # seconds between two looks at the file that could be
_KINDS: tuple[EventKind, ...] = tuple(kind for kind in KINDS if kind not in ("progress", "started"))


class Metrics:
    """The observer.

    Args:
        file: Where the metrics are written, from time to time and at each run's end.

    Raises:
        ConfigError: `prometheus_client` is not installed, or the file cannot be written.
    """

    def __init__(self, file: str) -> None:
        try:
            import prometheus_client as client
        except ImportError as error:
            raise ConfigError(
                "-metrics-file needs prometheus_client: pip install 'fancypipe-core[prometheus]'"
            ) from error
        folder = os.path.dirname(os.path.abspath(file))
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"-metrics-file: the folder {folder} cannot be written")
        self._file = file
        self._write_to: Any = client.write_to_textfile
        self._registry = registry = client.CollectorRegistry()
        self._ended = client.Counter(
            "fancypipe_tasks",
            "Tasks by how they ended; retried and lost count attempts.",
            ["task", "state"],
            registry=registry,
        )
        self._seconds = client.Summary(
            "fancypipe_task_seconds", "How long attempts ran.", ["task"], registry=registry
        )
        self._running = client.Gauge(
            "fancypipe_tasks_running", "Tasks that are with workers.", ["task"], registry=registry
        )
        self._queued = client.Gauge(
            "fancypipe_tasks_queued", "Tasks that wait.", ["task"], registry=registry
        )
        about = ("Whether a run is under way.", "Whether the last run has its result.")
        self._up = client.Gauge("fancypipe_run_active", about[0], registry=registry)
        self._ok = client.Gauge("fancypipe_run_success", about[1], registry=registry)
        self._at = client.Gauge(
            "fancypipe_run_end_timestamp_seconds", "When the last run ended.", registry=registry
        )
        self._names: dict[int, str] = {}
        self._sent: set[int] = set()
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # queued, running
        self._written = 0.0

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        """What changes a count; of many tasks together."""
        return Wants(_KINDS, (), together=True)

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """A run is under way."""
        self._up.set(1)
        self._write()

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Count."""
        for event in events:
            for place, task in enumerate(event.tasks or (event.task,)):
                took = event.took[place] / 1e6 if event.took else event.seconds
                self._count(event.kind, task, event.name, took)
        if monotonic() - self._written > _PAUSE:
            self._write()

    def _count(self, kind: EventKind, task: int, name: str, seconds: float | None) -> None:
        name = self._names.setdefault(task, name)
        counts = self._counts[name]
        if kind == "added":
            counts[0] += 1
        elif kind == "submitted":
            if task not in self._sent:
                self._sent.add(task)
                counts[0] -= 1
                counts[1] += 1
            return
        else:
            ran = task in self._sent
            if ran:
                self._sent.discard(task)
                counts[1] -= 1
                if seconds is not None:
                    self._seconds.labels(name).observe(seconds)
            if kind in ENDS:
                counts[0] -= not ran
                del self._names[task]
            elif ran:
                counts[0] += 1  # it waits: for another attempt, or for what it made
            if kind != "unfolded":
                self._ended.labels(name, kind).inc()

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Say how it ended."""
        self._names.clear()
        self._sent.clear()
        for counts in self._counts.values():
            counts[:] = 0, 0
        self._up.set(0)
        self._ok.set(int(outcome.ok))
        self._at.set(time())
        self._write()

    def _write(self) -> None:
        self._written = monotonic()
        for name, (queued, running) in self._counts.items():
            self._queued.labels(name).set(queued)
            self._running.labels(name).set(running)
        try:
            self._write_to(self._file, self._registry)
        except OSError as error:
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(f"fancypipe: {self._file} cannot be written ({error.strerror})\n")
