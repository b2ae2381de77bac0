"""The loop: events in, actions out.  One thread owns everything in here.

The path of one task: the scheduler asks to grow it (its inputs are looked at),
then to submit it; the graph makes a `Job` of it; the backend runs the job and
reports `Done`; its value goes to the graph, its number to the scheduler, which
settles it and what waited for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from types import FrameType
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base.faults import fault
from fancypipe_core._base.signals import Interrupts, how, in_users_code
from fancypipe_core._codec.values import LiveValues, Values
from fancypipe_core._engine.gc_threshold import calm_collector
from fancypipe_core._engine.graph import Node
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.reactor import Reactor
from fancypipe_core._engine.report import Report
from fancypipe_core._engine.shutdown import Shutdown
from fancypipe_core._engine.watchdog import Watchdog
from fancypipe_core._model.definition import Definition, Options
from fancypipe_core._model.ref import Instance, Ref
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import Backend, Driven, Event, Note, Patient

__all__ = ["Driver"]

_TICK = 0.2  # seconds; a signal that comes right before a wait does not end it
FREEZE_LIMIT = 60.0  # seconds; the default of the setting


class Driver:
    """Runs graphs on a backend that has been made, but not started.

    Args:
        backend: Where jobs run.
        values: How values are carried.
        scheduler: Makes a scheduler for a run.
        report: Takes the events of the run.
        files: Keeps temporary files as long as their values.
        interrupts: What the user has asked for by signals; by default nothing ever.
        check: Verify the scheduler's invariants after every event (slow).
    """

    def __init__(
        self,
        backend: Backend,
        values: Values,
        scheduler: Callable[[], Scheduler],
        report: Report,
        files: Keeper,
        interrupts: Interrupts | None = None,
        check: bool = False,
    ) -> None:
        self.backend = backend
        self.interrupts = interrupts or Interrupts()
        self._make_scheduler = scheduler
        self._report = report
        self._files = files
        self._inbox: SimpleQueue[Sequence[Event]] = SimpleQueue()
        self._level = 0
        self._thread = 0  # the one that runs the loop
        self._reactor = reactor = Reactor(
            backend,
            values,
            report,
            files,
            check=check,
            resolve=self.resolve,
            stop_if_interrupted=self._stop_if_interrupted,
        )
        self.graph = reactor.graph
        self.handle, self.finish_up = reactor.handle, reactor.finish_up
        self._watchdog = Watchdog(backend, FREEZE_LIMIT, reactor.story)
        self._driven = backend if isinstance(backend, Driven) else None
        # Serial: the user's tasks run in this thread, and Ctrl-C must reach them.
        self._inline = self._driven is not None and isinstance(values, LiveValues)

    # ---- for the session ----

    def start(self, limit: float, freeze_limit: float = FREEZE_LIMIT) -> None:
        """Start the backend and wait for its first `Slots`.

        Args:
            limit: Seconds in which it must report them.
            freeze_limit: Seconds for which a part of it may stand still, from now on.

        Raises:
            BackendStartError: It did not come up in time.
            InternalError: A part of it has died, or stands still.
        """
        self._watchdog = Watchdog(self.backend, freeze_limit, self._reactor.story)
        # What is driven from here comes up at once; a pool of others may take its time,
        # and what it does then is its own.
        with self.interrupts.told_to(lambda _frame: self._driven is None):
            self.backend.start(self._sink)
        with self.interrupts.told_to(self._interrupted):
            if isinstance(self.backend, Patient):
                limit = max(limit, self.backend.start_limit)
            until = monotonic() + limit
            while not self._reactor.slots.count:
                late = monotonic() > until
                self._stop_if_interrupted()
                self._listen(max(min(_TICK, until - monotonic()), 0.0))
                if late and not self._reactor.slots.count:
                    raise errors.BackendStartError(
                        f"the backend reported no worker within {limit:g} seconds; if it only "
                        "needs more time, give it more with the setting backend_start_limit"
                    )

    def stop(self, grace: float) -> None:
        """Stop the backend, and pass on what it still has to say."""
        with self.interrupts.only_counted():
            self.backend.stop(grace)
        while not self._inbox.empty():
            for event in self._inbox.get_nowait():
                if isinstance(event, Note):
                    self._reactor.told(event)

    @property
    def scheduler(self) -> Scheduler:
        """The run's scheduler."""
        return self._reactor.scheduler

    @property
    def slots(self) -> int:
        """How many jobs run at the same time."""
        return self._reactor.slots.count

    def run(self, target: Any, grace: float) -> Any:
        """Run what a target needs.

        Args:
            target: Any value with references in it.
            grace: Seconds that running jobs have after a Ctrl-C or a failure.

        Returns:
            The target with values where references were.

        Raises:
            TaskError: A task failed, and so the target.
            RunFailed: As that, with `keep_going`.
            KeyboardInterrupt: The user pressed Ctrl-C.
            Cancelled: The program has asked for the end.
        """
        self._thread = threading.get_ident()
        self._reactor.begin(self._make_scheduler())
        shutdown = Shutdown(self, self._report, grace, self._files.directory, self._inline)
        with calm_collector(), self.interrupts.told_to(self._interrupted):
            try:
                if self.scheduler.keep_going:
                    return self._run_all(self._gatherer(target, None))
                return self._value_of(target, 0, None)
            except (KeyboardInterrupt, errors.Cancelled):
                if not self.interrupts.count:
                    raise
            except errors.FancyPipeError:
                raise
            except Exception as error:
                shutdown.hurry()
                if isinstance(error, errors.InternalError):
                    raise
                what = f"the engine's loop failed, {type(error).__name__}: {error}"
                raise errors.InternalError(f"{what}\n{self._reactor.story()}") from error
            finally:
                with self.interrupts.only_counted(self.wake):
                    self._end(shutdown)
        raise self.interrupts.error(shutdown.story())

    def _end(self, shutdown: Shutdown) -> None:
        self._reactor.closing = True
        try:
            shutdown.end()
        finally:
            self._report.run_over()
            self._files.end_run()
            self._reactor.end()
            self._level = 0

    def _run_all(self, root: int) -> Any:
        """Go on after failures; what was asked for is kept until it is handed out."""
        scheduler = self.scheduler
        try:
            wanted = self.graph.grow(root)
        except Exception:  # noqa: BLE001 - it is told below, when the scheduler asks the same
            wanted = ()
        self.handle(table.Demand([*wanted, root]))
        try:
            value = self._demand(root, 0, None)
        except (errors.TaskError, errors.CodecError, errors.UsageError):
            self._loop(lambda: not scheduler.unsettled)
            if not self._report.counts["failed"]:
                raise  # all have their values, which cannot be handed out
            node = self.graph.nodes[root]
            failed: dict[int, Exception] = {}
            for need in wanted:
                if scheduler.state(need) is table.State.DONE:
                    self._files.keep(need)
                else:
                    failed[need] = self._report.failure(self.graph.nodes[need])
            raise self._report.run_failed(self.graph.gather_partly(node, failed)) from None
        self._loop(lambda: not scheduler.unsettled)
        return value

    def wake(self) -> None:
        """Make the loop look around; from a signal handler or another thread."""
        self._inbox.put(())
        if self._driven is not None:
            self._driven.wake()

    def resolve(self, ref: Ref[Any], parent: Node) -> Any:
        """Run what a reference needs, for a module that waits for it inside its main."""
        self._level += 1
        self.handle(table.Level(self._level))
        try:
            return self._value_of(ref, self._level, parent)
        finally:
            self._level -= 1
            self.handle(table.Level(self._level))
            # Whoever goes on may go on for long.
            self._stop_if_interrupted()

    # ---- the loop ----

    def _gatherer(self, target: Any, parent: Node | None) -> int:
        number = self.graph.number(Instance(_GATHER, (target,), {}, _CODE, 0), parent)
        self.graph.nodes[number].hidden = True
        return number

    def _value_of(self, target: Any, level: int, parent: Node | None) -> Any:
        if not isinstance(target, Instance):
            return self._demand(self._gatherer(target, parent), level, parent)
        try:
            # The output of one task needs no gatherer.
            return self._demand(self.graph.number(target, parent), level, parent)
        except _Unopened:
            # Let it be told as of everything that is asked for.
            return self._demand(self._gatherer(target, parent), level, parent)

    def _demand(self, number: int, level: int, parent: Node | None) -> Any:
        scheduler = self.scheduler
        self.handle(table.Demand([number], level))
        try:
            self._loop(lambda: scheduler.state(number) in table.SETTLED)
            node = self.graph.nodes[number]
            if scheduler.state(number) is not table.State.DONE:
                self._stop_if_interrupted()  # what has failed may have failed by that
                raise self._report.error(number)
            if parent is None:
                self._files.keep(number)
            else:
                self._files.pass_on(number, parent.id)
            if node.hidden:
                return node.value
            try:
                return self.graph.opened(node)
            except (errors.TaskError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise _Unopened from error
        finally:
            # After a Ctrl-C what is under way may end; `Shutdown` sees to it.
            if not self.interrupts.count:
                self.handle(table.Drop([number]))

    def _loop(self, over: Callable[[], bool]) -> None:
        while True:
            self._reactor.perform()
            if over():
                return
            self._stop_if_interrupted()
            scheduler = self.scheduler
            if not (scheduler.in_flight or self._inbox.qsize() or scheduler.delayed):
                raise errors.InternalError(
                    "the engine has nothing under way and nothing to do:\n" + self._reactor.story()
                )
            if self._report.observed and self._inbox.empty():
                self._report.flush()  # nobody knows how long the wait will be
            fault("driver.turn")
            self._listen(self._reactor.until_due(_TICK))
            self._reactor.take_due()

    def _listen(self, timeout: float) -> None:
        """Wait for the backend; if it says nothing, see that it lives."""
        if self.wait(timeout):
            self._watchdog.heard()
        else:
            self._watchdog.silent(timeout)

    def wait(self, timeout: float) -> bool:
        """Take what the backend reports; wait for it if there is nothing yet.

        Returns:
            Whether there was anything.
        """
        inbox = self._inbox
        come: list[Event] = []
        heard = False
        # Where tasks run in this thread, and none is to run, the backend has nothing to wait for.
        if self._driven is not None and not (self._inline and not self.scheduler.in_flight):
            if inbox.empty():
                self._driven.drive(timeout)
        else:
            try:
                come += inbox.get(timeout=timeout)
            except Empty:
                return False
            heard = True
        # All that has come is one turn: the scheduler is told once, and submits once.
        while not inbox.empty():
            come += inbox.get_nowait()
            heard = True
        if come:
            self._reactor.take(come)
        return heard

    def _sink(self, events: Sequence[Event]) -> None:
        if (
            self._inline
            and all(type(event) is Note for event in events)  # the first of many is Done
            and threading.get_ident() == self._thread
        ):
            self._tell_now(events)
        else:
            self._inbox.put(events)

    def _tell_now(self, events: Sequence[Event]) -> None:
        """Pass on what a task says that runs in the loop's own thread, and so holds it up."""
        for event in events:
            self._reactor.told(event)
        self._report.flush()
        if self.interrupts.count:
            raise KeyboardInterrupt  # it came while we were at this, and was only counted

    def _stop_if_interrupted(self) -> None:
        if self.interrupts.count:
            raise self.interrupts.error(how(self.interrupts.signal))

    def _interrupted(self, frame: FrameType | None) -> bool:
        """A signal has come: tell whether to raise, or whether the loop will look at the count."""
        self.wake()
        # Not at the second one: an exception may be on its way already, and must arrive.
        return in_users_code(frame, _OURS) or self.interrupts.is_stuck()


_OURS = {one.__code__ for one in (Driver.run, Driver._loop, Driver.resolve, Driver._tell_now)}


class _Unopened(Exception):
    """The value of a task cannot be made in the client."""


def _gather(target: Any) -> Any:
    return target


_CODE = _gather.__code__
_GATHER = Definition(_gather, _gather, Options("run"), is_module=True)
