"""What a run would do, without running any task: `--dry-run`, and `fancypipe why PIPELINE`.

The engine itself looks results up and has modules compose, on a backend that runs nothing.  When
nothing can go on any more, all is said that can be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fancypipe_core import errors
from fancypipe_core._base.option_names import several
from fancypipe_core._cli import streams as _streams
from fancypipe_core.backend import (
    NOT_BEGUN,
    BackendOptions,
    BackendPlugin,
    Event,
    Job,
    JobId,
    Lost,
    Sink,
    Slots,
)
from fancypipe_core.hooks import CacheEvent, TaskEvent, Wants, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from fancypipe_core._settings.session import Configured
    from fancypipe_core.plugins.reasons import Looked

__all__ = ["dry_run"]

_ROOM = 1_000_000_000


class _RunsNothing:
    """A backend that takes every job, and ends the run when nothing more can come.

    Args:
        idle: Ends the run.
    """

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._sink: Sink | None = None
        self._ended: list[Event] = []
        self._is_new = True  # whether anything has come since the last look

    def start(self, sink: Sink) -> None:
        self._sink = sink
        sink([Slots(_ROOM, 0)])

    def submit(self, jobs: Sequence[Job]) -> None:
        self._is_new = True

    def recall(self, ids: Sequence[JobId]) -> None:
        self._ended += [Lost(id, NOT_BEGUN) for id in ids]

    cancel = recall

    def drive(self, timeout: float | None) -> None:
        if self._ended and self._sink is not None:
            ended, self._ended = self._ended, []
            self._sink(ended)
        elif self._is_new:
            self._is_new = False
        else:
            self._idle()

    def wake(self) -> None:
        """Nothing waits."""

    def stop(self, grace: float) -> None:
        self._sink = None


class _Looks:
    """Keeps what was looked for, and who has composed."""

    def __init__(self) -> None:
        self.found: list[CacheEvent] = []
        self.composed: set[int] = set()

    @hookimpl
    def fancypipe_cache_events(self, events: Sequence[CacheEvent]) -> None:
        self.found += events

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        return Wants(("unfolded", "done"), ())

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        self.composed.update(event.task for event in events)


def dry_run(configured: Configured, target: Any, only: str = "") -> None:
    """Say what a run would do.

    Args:
        configured: What is in force.
        target: What is to be run.
        only: The path of a task, to say no more than what becomes of it; empty for all.

    Raises:
        UsageError: There is no such task.
    """
    looks = _looked(configured, target)
    lines = list(_lines(configured, looks, only))
    if only and not lines:
        some = ", ".join(one.path for one in looks.found[:5])
        raise errors.UsageError(
            f"there is no task {only} as far as can be told before the run; there are: {some}"
        )
    for line in lines:
        _streams.write(line)
    if not only:
        _streams.say(f"fancypipe: {_summary(looks)}")


def _looked(configured: Configured, target: Any) -> _Looks:
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core.session import Session

    looks = _Looks()
    # Nobody else hears of a run that is none.
    observers = configured.observers.only_stores() if configured.observers else Observers(())
    observers.add(looks)
    core = configured.core
    settings = replace(
        core.settings,
        resume=True,
        journal=False,
        page=False,
        progress=False,
        otel=False,
        on_end=None,
        metrics_file=None,
        outdir=None,
    )
    opened: list[Session] = []

    def idle() -> None:
        opened[0].cancel(0.0)

    def make(_options: BackendOptions) -> _RunsNothing:
        return _RunsNothing(idle)

    plugin = BackendPlugin(
        "dry-run", (), "Runs nothing.", make, shares_memory=True,
        understands=frozenset(("cpus", "memory", "gpu")),
    )  # fmt: skip
    configured = configured._replace(
        core=core.with_(settings, core.origins), plugin=plugin, own=None, observers=observers
    )
    with Session.of(configured) as session:
        opened.append(session)
        session._driver.only_look_up()
        with suppress(errors.Cancelled):
            session.run(target)
        session._files.kept.clear()  # nobody has got a result
    return looks


def _summary(looks: _Looks) -> str:
    there = sum((one.kind == "hit") + one.there for one in looks.found)
    tasks = sum(one.kind != "hit" and not one.composes for one in looks.found)
    tasks += sum(count for one in looks.found for _, count in one.ran)
    open_ones = [one for one in looks.found if _is_open(one, looks)]
    at_least = "at least " if open_ones else ""
    are = "is" if there == 1 else "are"
    text = (
        f"{at_least}{several(tasks, 'task')} would run, and {several(there, 'result')} {are} there"
    )
    if open_ones:
        text += (
            f"; what {several(len(open_ones), 'module')} would make "
            "cannot be told before values are there"
        )
    return text


def _is_open(one: CacheEvent, looks: _Looks) -> bool:
    """Whether it is a module that has not composed, and would."""
    return one.composes and one.kind not in ("hit", "elements") and one.task not in looks.composed


def _lines(configured: Configured, looks: _Looks, only: str) -> Iterator[str]:
    from fancypipe_core.plugins.journal import HERE
    from fancypipe_core.plugins.reasons import Looked, Reasons, of_elements

    tempdir = configured.core.settings.tempdir
    reasons = Reasons(HERE if tempdir is None else Path(tempdir))
    found: list[tuple[CacheEvent, Looked]] = []
    for event in looks.found:
        about: Any = event.about
        looked = Looked(
            event.kind, event.task, event.path, event.key, about, event.why, event.there, event.ran
        )  # fmt: skip
        found.append((event, looked))
    others = {looked.key: looked for _, looked in found if looked.key}
    for event, looked in found:
        if only not in ("", event.path):
            continue
        if event.kind == "elements":
            yield f"elements {event.path}: {of_elements(looked, 'to run')}"
            continue
        if event.kind == "hit":
            yield f"cached   {event.path}"
            continue
        said = "; ".join(reasons.of(looked, others))
        if event.composes:
            when = " (when what it needs is there)" if _is_open(event, looks) else ""
            yield f"compose  {event.path}{when}: {said}"
        else:
            yield f"run      {event.path}: {said}"
