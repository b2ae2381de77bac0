"""The loop of a shell around the pool machine that lives in the engine's thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic

from fancypipe_core.backend import Event, Job, JobId, Needs, Sink
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool import states as to

__all__ = ["DrivenShell"]


class DrivenShell:
    """Asks the pool machine, carries out what it wants, and tells it what happens.

    A backend is derived from this, and says how it listens and what each action is with
    its workers; `start`, `stop` and `wake` are its own.

    Args:
        rules: What the workers can do, and how long anything may take.
    """

    def __init__(self, rules: Rules) -> None:
        self._pool = Pool(rules, monotonic())
        self._sink: Sink | None = None
        self._told = False  # whether the engine has been told anything in this turn

    # ---- the contract ----

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs; see `fancypipe_core.backend`."""
        self._do(self._pool.ask(to.Submit(jobs), monotonic()))

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Drop these, and stop those that run."""
        self._do(self._pool.ask(to.Cancel(ids), monotonic()))

    def recall(self, ids: Sequence[JobId]) -> None:
        """Drop these as far as they have not begun."""
        self._do(self._pool.ask(to.Recall(ids), monotonic()))

    def lacks(self, needs: Needs) -> str:
        """Say why no worker can ever meet these needs; see `fancypipe_core.backend`."""
        return self._pool.lacks(needs)

    def drive(self, timeout: float | None) -> None:
        """Listen until there is something to tell, for so many seconds; None for no limit."""
        until = None if timeout is None else monotonic() + timeout
        self._told = False
        while True:
            due = self.due
            if until is not None and (due is None or until < due):
                due = until
            seconds = None if due is None else max(0.0, due - monotonic())
            woken, events = self._listen(seconds)
            self._do(self._pool.handle(events, monotonic()))
            if woken or self._told or (until is not None and monotonic() >= until):
                return

    @property
    def due(self) -> float | None:
        """When to come back if nothing happens, on the monotonic clock; None for never."""
        times = [at for at in (self._pool.due, *self._alarms()) if at is not None]
        return min(times, default=None)

    # ---- for the backend ----

    def _listen(self, seconds: float | None) -> tuple[bool, list[to.Event]]:
        """Wait so long for anything, and take all that is there.

        Returns:
            Whether somebody has woken us, and what the machine hears.
        """
        raise NotImplementedError

    def _alarms(self) -> Iterable[float | None]:
        """Say when to come back besides, on the monotonic clock; None for never."""
        return ()

    def _carry_out(self, action: to.Order, answers: list[to.Event]) -> None:
        """Do what the machine wants; `answers` takes what it hears of that at once."""
        raise NotImplementedError

    def _do(self, actions: Sequence[to.Action]) -> None:
        """Carry out what the machine wants, until it wants nothing more."""
        while actions:
            answers: list[to.Event] = []
            for action in actions:
                if isinstance(action, to.Tell):
                    self._tell(action.events)
                else:
                    self._carry_out(action, answers)
            actions = self._pool.handle(answers, monotonic()) if answers else ()

    def _tell(self, events: Sequence[Event]) -> None:
        """Tell the engine, if it still listens."""
        if events and self._sink is not None:
            self._told = True
            self._sink(events)
