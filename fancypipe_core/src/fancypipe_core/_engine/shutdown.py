"""The end of a run: what is under way ends or is stopped, and nothing of the run is left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from fancypipe_core._base.option_names import several
from fancypipe_core._base.signals import Interrupts, again, how
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.report import Report
from fancypipe_core._model.context import stop_tasks, stoppers
from fancypipe_core.backend import JobId

__all__ = ["Loop", "Shutdown"]

_RECALL = 0.25  # seconds in which a backend answers a recall
_KILL = 0.5  # seconds in which what can be killed is killed
_TERM_GRACE = 2.0  # seconds; who sends SIGTERM sends SIGKILL soon
_LOOK = 0.2  # seconds between two looks at the clock
_NAMED = 3  # tasks that are named


class Loop(Protocol):
    """What the shutdown needs of the driver."""

    graph: Graph
    interrupts: Interrupts

    @property
    def scheduler(self) -> Scheduler:
        """The run's scheduler."""

    @property
    def slots(self) -> int:
        """How many jobs run at the same time."""

    def handle(self, event: table.Event) -> None:
        """Tell the scheduler, and keep what it wants done."""

    def recall(self, ids: Sequence[JobId]) -> None:
        """Take back what the backend has not begun of these."""

    def finish_up(self) -> None:
        """Do what it wants done, as far as that begins nothing new."""

    def wait(self, timeout: float) -> bool:
        """Take what the backend reports, within so many seconds; tell whether there was any."""


class Shutdown:
    """Ends a run.

    Args:
        loop: The driver.
        report: Takes the events of the run.
        grace: Seconds that running jobs have after a Ctrl-C or a failure; may be changed.
        directory: The session's folder.
        inline: Whether jobs run in this very thread, so that none is running now.
    """

    def __init__(
        self, loop: Loop, report: Report, grace: float, directory: str, inline: bool
    ) -> None:
        self._loop = loop
        self._report = report
        self.grace = grace
        self._directory = directory
        self._inline = inline
        self._heeded = 0  # the signals that came before
        self.is_hurried = False

    def hurry(self) -> None:
        """Give no grace: the engine has failed, and nobody knows what will still be reported."""
        self.grace = 0.0
        self.is_hurried = True

    def end(self) -> None:
        """Let what runs finish, as far as there is time for it; stop the rest."""
        loop, interrupts = self._loop, self._loop.interrupts
        self._heeded = interrupts.count
        if interrupts.count == 1:
            self.grace = _grace_after(interrupts.signal, self.grace)
        if not (interrupts.count or loop.scheduler.in_flight or loop.scheduler.unsettled):
            if stoppers:
                stop_tasks(self._directory)  # what threads were let go with
            loop.finish_up()
            return
        until = monotonic() + self.grace
        if interrupts.count == 1 and not self._inline:
            self._let_finish(until)
        loop.handle(table.Halt())
        stop_tasks(self._directory)
        if self._inline:
            loop.finish_up()
            loop.wait(0.0)  # what has been reported; nothing runs in this thread any more
            return
        self._drain(monotonic() + _KILL)
        self._wait_for_the_rest(until)
        if loop.scheduler.in_flight:
            self._report.left_behind(loop.scheduler.in_flight)

    def story(self) -> str:
        """Say what an interrupted run had done."""
        counts = self._report.counts
        missing = counts["cancelled"] + counts["skipped"] + counts["failed"]
        text = f"{how(self._loop.interrupts.signal)}: {_tasks(counts['done'])} done"
        return f"{text}, {missing} not" if missing else text

    def _let_finish(self, until: float) -> None:
        """Recall what has not begun, and wait for what runs."""
        loop = self._loop
        loop.handle(table.Room(0, 0))
        loop.recall(loop.scheduler.under_way())
        # As many as can run at the same time may do so; when no more are left, all is told.
        self._drain(min(until, monotonic() + _RECALL), lambda left: left <= loop.slots)
        left = loop.scheduler.in_flight
        if not left or until <= monotonic() or loop.interrupts.count > 1:
            return
        what = several(left, "running task")
        if left > loop.slots:
            what = f"{_tasks(left)} that the backend did not return, started or not"
        self._report.warn(
            f"{how(loop.interrupts.signal)}: waiting up to {until - monotonic():.3g} s for "
            f"{what}{self._names()}; {again(loop.interrupts.signal)} to stop now"
        )
        self._patient(until)

    def _wait_for_the_rest(self, until: float) -> None:
        """Give what could not be stopped its time."""
        left = self._loop.scheduler.in_flight
        seconds = until - monotonic()
        if left and seconds > 0 and self._loop.interrupts.count == self._heeded < 2:
            number = self._loop.interrupts.signal
            more = again(number) if self._heeded else "Ctrl-C"
            self._report.warn(
                f"waiting up to {seconds:.3g} s for {_tasks(left)} that cannot be stopped"
                f"{self._names()}; {more} to leave them"
            )
            self._patient(until)

    def _patient(self, until: float) -> None:
        """Take what ends, until all has, the time is over, or one more signal comes."""
        interrupts = self._loop.interrupts
        self._drain(until, lambda _left: interrupts.count > self._heeded)

    def _drain(self, until: float, enough: Callable[[int], bool] = lambda _left: False) -> None:
        """Take what ends, until all has or it is enough, or the time is over."""
        loop = self._loop
        while True:
            loop.finish_up()
            in_flight = loop.scheduler.in_flight
            left = until - monotonic()
            if not in_flight or left <= 0 or enough(in_flight):
                return
            loop.wait(min(left, _LOOK))

    def _names(self) -> str:
        ids = self._loop.scheduler.under_way()
        nodes = [self._loop.graph.nodes.get(task) for task, _ in ids]
        named = [node.path for node in nodes if node is not None][:_NAMED]
        more = len(ids) - len(named)
        if not named:
            return ""  # nobody wants any of these any more
        return ": " + ", ".join(named) + (f" and {more} more" if more else "")


def _grace_after(number: int, grace: float) -> float:
    if number == signal.SIGTERM:
        return min(grace, _TERM_GRACE)
    # A terminal that is gone shows nobody what is waited for.
    return 0.0 if number == getattr(signal, "SIGHUP", None) else grace


def _tasks(count: int) -> str:
    return several(count, "task")
