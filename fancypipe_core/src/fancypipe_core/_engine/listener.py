"""The backend, as the loop hears it: started, waited for, watched, stopped."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic

from fancypipe_core import errors
from fancypipe_core._base.signals import Interrupts, Reaction
from fancypipe_core._base.slices import SLICE
from fancypipe_core._engine.reactor import Reactor
from fancypipe_core._engine.report import Report
from fancypipe_core._engine.watchdog import Watchdog
from fancypipe_core._plugins.blame import Owner, blamed
from fancypipe_core.backend import Backend, Driven, Event, Note, Patient

__all__ = ["FREEZE_LIMIT", "Listener"]

FREEZE_LIMIT = 60.0  # seconds; the default of the setting


class Listener:
    """Hears what a backend reports, and passes it on to the reactor.

    Args:
        backend: It has been made, but not started.
        reactor: Takes what it reports.
        report: Tells the user.
        interrupts: What the user has asked for by signals.
        inline: Whether jobs run in the loop's own thread.
        owner: Who is to blame for what the backend raises.

    Attributes:
        thread: The one that runs the loop.
    """

    def __init__(
        self,
        backend: Backend,
        reactor: Reactor,
        report: Report,
        interrupts: Interrupts,
        inline: bool,
        owner: Owner,
    ) -> None:
        self._backend = backend
        self._reactor = reactor
        self._report = report
        self._interrupts = interrupts
        self._inline = inline
        self._owner = owner
        self._inbox: SimpleQueue[Sequence[Event]] = SimpleQueue()
        self._driven = backend if isinstance(backend, Driven) else None
        self._watchdog = Watchdog(backend, FREEZE_LIMIT, reactor.story, owner)
        self._start_limit = inf  # seconds that it may be without any slot while work waits
        self._without = 0.0
        self.thread = 0

    def start(self, limit: float, freeze_limit: float, interrupted: Reaction) -> None:
        """Start the backend and wait for its first `Slots`.

        Args:
            limit: Seconds in which it must report them.
            freeze_limit: Seconds for which a part of it may stand still, from now on.
            interrupted: What is called when a signal comes while it is waited for.

        Raises:
            BackendStartError: It did not come up in time.
            InternalError: A part of it has died, or stands still.
        """
        self._watchdog = Watchdog(self._backend, freeze_limit, self._reactor.story, self._owner)
        # What is driven from here comes up at once; a pool of others may take its time,
        # and what it does then is its own.
        with (
            self._interrupts.told_to(lambda _frame: self._driven is None),
            self._owner.blaming("start()"),
        ):
            self._backend.start(self._sink)
        with self._interrupts.told_to(interrupted):
            if isinstance(self._backend, Patient):
                limit = max(limit, self._backend.start_limit)
            self._start_limit = limit
            until = monotonic() + limit
            while not self._reactor.is_up:
                late = monotonic() > until
                self._interrupts.raise_if_any()
                self.listen(max(min(SLICE, until - monotonic()), 0.0))
                if late and not self._reactor.is_up:
                    raise errors.BackendStartError(
                        f"{self._owner} reported no worker within {limit:g} seconds; if it only "
                        "needs more time, give it more with the setting backend_start_limit"
                    )

    def stop(self, grace: float) -> None:
        """Stop the backend, and pass on what it still has to say.

        What it raises is said and no more: the results are there, and are not lost by that.
        """
        with self._interrupts.only_counted():
            try:
                self._backend.stop(grace)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it may raise
                what = blamed(self._owner, "stop()", error)
                self._report.warn(f"{what}; what it has started may be left")
        while not self._inbox.empty():
            with suppress(Exception):  # that was no sequence of events
                for event in self._inbox.get_nowait():
                    if isinstance(event, Note):
                        self._reactor.told(event)

    def begin(self) -> None:
        """A run begins."""
        self._without = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come that was not taken."""
        return self._inbox.empty()

    def wake(self) -> None:
        """Make the loop look around; from a signal handler or another thread."""
        self._inbox.put(())
        if self._driven is not None:
            self._driven.wake()

    def has_slots(self) -> bool:
        """Tell whether jobs would be sent; if not, the backend has its time to get workers."""
        if self._reactor.slots.count:
            return True
        if self._without >= self._start_limit:
            raise errors.BackendClosed(
                f"work waits, and {self._owner} has had no worker for {self._start_limit:g} "
                "seconds; if it only needs more time, give it more with backend_start_limit"
            )
        return False

    def listen(self, timeout: float) -> None:
        """Wait for the backend; if it says nothing, see that it lives."""
        begin = 0.0 if self._reactor.slots.count else monotonic()
        heard = self.wait(timeout)
        if begin:  # a laptop that was asleep has lost no more than it was to wait
            self._without += min(monotonic() - begin, timeout)
        if not heard:
            self._watchdog.silent(timeout)
        elif self._watchdog.waits:
            self._watchdog.heard()

    def wait(self, timeout: float) -> bool:
        """Take what the backend reports; wait for it if there is nothing yet.

        Returns:
            Whether there was anything.
        """
        inbox = self._inbox
        come: list[Event] = []
        last: Sequence[Event] = ()
        heard = False
        # Where tasks run in this thread, and none is to run, the backend has nothing to wait for.
        if self._driven is not None and not (
            self._inline and not self._reactor.scheduler.in_flight
        ):
            if inbox.empty():
                try:
                    self._driven.drive(timeout)
                except Exception as error:  # noqa: BLE001 - whatever it may raise
                    raise self._owner.blamed("drive()", error)  # noqa: B904 - it has its cause
        else:
            try:
                last = inbox.get(timeout=timeout)
            except Empty:
                return False
            heard = True
        try:
            come += last
            # All that has come is one turn: the scheduler is told once, and submits once.
            while not inbox.empty():
                last = inbox.get_nowait()
                come += last
                heard = True
            if come:
                # First: who is ready by what has come may have to wait for its turn.
                self._reactor.heed_budget()
                self._reactor.take(come)
        except Exception as error:  # noqa: BLE001 - whatever it may raise
            raise self._owner.misled(come, last, error)  # noqa: B904 - it has its cause
        return heard

    def _sink(self, events: Sequence[Event]) -> None:
        if (
            self._inline
            and type(events[0]) is Note  # the first of many is Done
            and all(type(event) is Note for event in events)
            and threading.get_ident() == self.thread
        ):
            self._tell_now(events)
        else:
            self._inbox.put(events)

    def _tell_now(self, events: Sequence[Event]) -> None:
        """Pass on what a task says that runs in the loop's own thread, and so holds it up."""
        for event in events:
            self._reactor.told(event)
        self._report.flush()
        if self._interrupts.count:
            raise KeyboardInterrupt  # it came while we were at this, and was only counted
