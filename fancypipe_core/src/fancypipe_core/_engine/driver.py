"""The loop: events in, actions out.  One thread owns everything in here.

The path of one task: the scheduler asks to grow it (its inputs are looked at),
then to submit it; the graph makes a `Job` of it; the backend runs the job and
reports `Done`; its value goes to the graph, its number to the scheduler, which
settles it and what waited for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from fancypipe_core import errors
from fancypipe_core._base.faults import fault
from fancypipe_core._base.signals import Interrupts, in_users_code
from fancypipe_core._base.slices import SLICE
from fancypipe_core._codec.values import LiveValues, Values
from fancypipe_core._engine.actions import Actions
from fancypipe_core._engine.gc_threshold import calm_collector
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.hands import Ask, Taken
from fancypipe_core._engine.intake import Intake
from fancypipe_core._engine.listener import FREEZE_LIMIT, Listener
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.mains import Mains
from fancypipe_core._engine.maps import Maps
from fancypipe_core._engine.means import Means
from fancypipe_core._engine.needs import NeedsCheck
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.reactor import Reactor
from fancypipe_core._engine.report import Report
from fancypipe_core._engine.roots import Root, Roots
from fancypipe_core._engine.shutdown import Shutdown
from fancypipe_core._engine.streams import Stream
from fancypipe_core._model.carriage import this_thread
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._plugins.blame import Owner
from fancypipe_core.backend import Backend, Driven, Following

if TYPE_CHECKING:
    from fancypipe_core._engine.job_copies import JobCopies
    from fancypipe_core._engine.resume import Resume
    from fancypipe_core._engine.temp_budget import Budget
    from fancypipe_core._engine.waits import Waits

__all__ = ["Driver"]


class Driver:
    """Runs graphs on a backend that has been made, but not started.

    Args:
        backend: Where jobs run.
        values: How values are carried.
        scheduler: Makes a scheduler for a run; it takes `make`.
        report: Takes the events of the run.
        files: Keeps temporary files as long as their values.
        interrupts: What the user has asked for by signals; by default nothing ever.
        check: Verify the scheduler's invariants after every event (slow).
        owner: Who is to blame for what the backend raises.
        resume: Takes results from before, and keeps those that come; None for neither.
        graph: The kind of graph, where nothing resumes.
    """

    def __init__(  # noqa: PLR0913 - what a loop is made of
        self,
        backend: Backend,
        values: Values,
        scheduler: Callable[..., Scheduler],
        report: Report,
        files: Keeper,
        interrupts: Interrupts | None = None,
        check: bool = False,
        *,
        owner: Owner | None = None,
        resume: Resume | None = None,
        graph: type[Graph] = Graph,
    ) -> None:
        self.backend = backend
        self._owner = owner or Owner("backend", type(backend).__name__)
        self.interrupts = interrupts or Interrupts()
        self._make_scheduler = scheduler
        self._report = report
        self.files = files
        self.orders: deque[Callable[[], object]] = deque()  # what is to be done in this thread
        self.left: list[Root] = []  # who was not over when the run was
        self.streams: list[Stream] = []
        self._reactor = reactor = Reactor(
            backend,
            values,
            report,
            files,
            check=check,
            resolve=self.resolve,
            owner=self._owner,
            resume=resume,
            graph=graph,
        )
        self.graph = reactor.graph
        self.asked: deque[Root] = reactor.asked  # by others, in their order
        self._intake = Intake(reactor)
        self._means = means = Means(reactor, report, files, self.interrupts.raise_if_any)
        self.mains = Mains(means)
        self._actions = Actions(means, backend, values, self._owner, resume)
        self._waits: Waits | None = None
        self.roots = Roots(means)
        self.handle, self.finish_up = reactor.handle, reactor.finish_up
        self.recall = partial(self._actions.wish, backend.recall)
        # Serial: the user's tasks run in this thread, and Ctrl-C must reach them.
        self._inline = isinstance(backend, Driven) and isinstance(values, LiveValues)
        self._listener = listener = Listener(
            backend, reactor, report, self.interrupts, self._inline, self._owner
        )
        self.wake, self.wait, self.stop = listener.wake, listener.wait, listener.stop
        self._follow = isinstance(backend, Following) and backend.follows

    # ---- for the session ----

    def start(self, limit: float, freeze_limit: float = FREEZE_LIMIT) -> None:
        """Start the backend and wait for its first `Slots`; see `Listener`."""
        self._listener.start(limit, freeze_limit, self._interrupted)

    @property
    def scheduler(self) -> Scheduler:
        """The run's scheduler."""
        return self._reactor.scheduler

    def check_needs(self, check: NeedsCheck) -> None:
        """From now on see whether what tasks need can be met."""
        self._actions.needs = check

    def keep_to(self, budget: Budget) -> None:
        """Send less while this is used up, or any other that was given before."""
        before = self._reactor.budget
        if before is not None:
            from fancypipe_core._engine.temp_budget import Budgets  # most have one

            budget = Budgets(before, budget)
        self._reactor.budget = budget

    def copy_jobs(self, copies: JobCopies) -> None:
        """Have observers told of jobs, from now on."""
        self._actions.copies = copies
        # What is sent before its inputs are there cannot be told.
        self._follow = self._follow and not copies.every

    def only_look_up(self) -> None:
        """From now on keep no results."""
        if self._reactor.resume is not None:
            self._reactor.resume.keeps = False

    @property
    def maps(self) -> Maps:
        """The session's maps."""
        return self._reactor.maps

    @property
    def slots(self) -> int:
        """How many jobs run at the same time."""
        return self._reactor.slots.count

    def run(self, target: Any, grace: float) -> Any:
        """Run what a target needs, and nothing else meanwhile.

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
        root = Root(target)
        self.begin(grace)
        self.lead(root)
        return root.outcome()

    # ---- a run: from the first that is asked for until nothing is left ----

    def begin(self, grace: float) -> None:
        """Begin a run; `lead` or `serve` must follow."""
        self._listener.begin()
        self._reactor.begin(
            self._make_scheduler(make=self.graph.nodes.__getitem__, follow=self._follow)
        )
        self._shutdown = Shutdown(self, self._report, grace, self.files.directory, self._inline)

    def limit_grace(self, grace: float) -> None:
        """When the run is ended, let running jobs have so many seconds."""
        self._shutdown.grace = grace

    def lead(self, root: Root) -> bool:
        """Drive until this is over, or others have asked for more.

        Args:
            root: What the caller wants; it may have been led before.

        Returns:
            Whether the run is over.  If not, `serve` must follow, in any thread; or another one
            drives already, with whatever stands for this root.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C, and the run is over.
            Cancelled: The program has asked for the end, and the run is over.
            InternalError: The engine or the backend failed, and the run is over.
            PluginError: A plugin could not decide, and the run is over.
        """
        self.mains.gives_way = True
        return self._guarded(partial(self._lead, root))

    def _lead(self, root: Root) -> bool:
        scheduler, roots = self._reactor.scheduler, self.roots
        if root.number:
            del roots.watched[root.number]
        else:
            self._demand_roots([root])
        # What is demanded keeps its node.
        node = self.graph.nodes[root.number]
        asked, watched = self.asked, roots.watched
        if isinstance(root, Stream):
            stream = root
            self._loop(
                lambda: (
                    stream.has_come
                    or stream.is_told
                    or node.state in table.SETTLED
                    or bool(asked or watched)
                )
            )
            if stream.is_told:
                return not self._has_others
            if stream.has_come and not self._has_others:
                roots.watch([root])
                return False  # the caller takes it, and comes again
        else:
            self._loop(lambda: node.state in table.SETTLED or bool(asked or watched))
        if node.state not in table.SETTLED:
            roots.watch([root])
            return False
        while not roots.settle(root):
            self._loop(lambda: root.is_over(scheduler))
        root.tell(root)  # whoever drives from now on does not know of it
        # What the run holds at its end is the affair of its `Shutdown`.
        others = bool(asked or watched)
        if others or scheduler.unsettled:
            self.handle(table.Drop(root.pins))
        return not others

    @property
    def _has_others(self) -> bool:
        return bool(self.asked or self.roots.watched)

    def serve(self, led: Root | None = None) -> None:
        """Drive until nothing is left.

        Args:
            led: What stands for what another thread has led, which is in the user's code.

        Raises:
            BaseException: As for `lead`; whoever `left` is not over, and never will be.
        """
        self.mains.gives_way = False
        self._guarded(partial(self._serve, led))

    def _serve(self, led: Root | None) -> bool:
        self.mains.apart = True
        try:
            if led is not None:
                self.mains.take_over()
                self.roots.watch([led])
            self._loop(self._is_idle)
        finally:
            self.mains.apart = False
        return True

    def _is_idle(self) -> bool:
        scheduler = self.scheduler
        return not (self._has_others or scheduler.in_flight or scheduler.computing)

    def _guarded(self, what: Callable[[], bool]) -> bool:
        """Do a part of a run, which tells whether it was the last; end the run if so."""
        shutdown, over = self._shutdown, True
        self._listener.thread = threading.get_ident()
        this_thread.directory = self.files.directory
        with calm_collector(), self.interrupts.told_to(self._interrupted):
            try:
                over = what()
                return over
            except Taken:
                over = False
                return over
            except (KeyboardInterrupt, errors.Cancelled):
                if not self.interrupts.count:
                    raise
            except errors.FancyPipeError as error:
                if isinstance(error, errors.PluginError) and error.plugin == self._owner.name:
                    shutdown.hurry()
                raise
            except Exception as error:
                shutdown.hurry()
                if isinstance(error, errors.InternalError):
                    raise
                said = f"the engine's loop failed, {type(error).__name__}: {error}"
                raise errors.InternalError(f"{said}\n{self._reactor.story()}") from error
            finally:
                if over:
                    with self.interrupts.only_counted(self.wake):
                        self._end(shutdown)
        raise self.interrupts.error(shutdown.story())

    def _end(self, shutdown: Shutdown) -> None:
        self._reactor.closing = True
        try:
            shutdown.end()
            if self._reactor.ended:
                self.roots.deliver()
        except errors.PluginError:
            if not shutdown.is_hurried:
                raise  # else the same was raised before
        finally:
            if self.roots.watched:
                self.left += self.roots.leave()
            self.streams.clear()
            if self.mains.under_way or self.mains.asks:
                self.mains.end()
            if self._report.failures.any:
                self._report.failures.clear()
            self._reactor.end_keeping()
            self.files.end_run()
            self._reactor.end()

    def close_run(self) -> None:
        """End a run that was led, and is not over, at once."""
        self._guarded(lambda: True)

    def _take_what_is_asked(self) -> bool:
        """Demand what others ask for, and do what they order; tell whether there was anything."""
        batch = self._intake.take()
        if batch:
            if self._reactor.resume is not None:
                self._reactor.resume.forget_contents()  # other threads have run the user's code
            self._demand_roots(batch)
            self.roots.watch(batch)
            self._intake.watch(batch)
            self._reactor.perform()
        any_order = bool(self.orders)
        while self.orders:
            self.orders.popleft()()
        return any_order or bool(batch)

    def _demand_roots(self, roots: Sequence[Root]) -> None:
        self.roots.demand(roots)
        for one in roots:
            if isinstance(one, Stream):
                self.streams.append(one)

    def _streamed(self) -> Iterator[int]:
        return (one.number for one in self.streams)

    def _pass_on(self) -> None:
        """Hand out what has come of maps whose results are taken one by one."""
        self.streams = [one for one in self.streams if not one.is_told]
        for stream in self.streams:
            try:
                stream.pass_on()
            except errors.DecodeError as error:
                stream.error = error
                self.roots.drop(stream)
                stream.over()
            for event in self._reactor.maps.handed(stream.number, stream.handed):
                self.handle(event)

    def resolve(self, ref: Ref[Any], parent: Node) -> Any:
        """Return what a reference comes to, for a module that waits for it inside its main."""
        if not self.mains.hands.come_back():
            return self.mains.answer_to(Ask(parent, ref))
        if self._waits is None:
            from fancypipe_core._engine.waits import Waits  # few runs have any

            self._waits = Waits(self._means, self.mains, self.interrupts, self._loop)
        return self._waits.resolve(ref, parent)

    # ---- the loop ----

    def _loop(self, over: Callable[[], bool]) -> None:
        scheduler, maps, listener = self._reactor.scheduler, self._reactor.maps, self._listener
        mains = self.mains
        while True:
            self._reactor.perform()
            if self._reactor.ended:
                self.roots.deliver()
                continue
            if self.streams:
                self._pass_on()
            if (mains.posts or mains.asks) and mains.heed():
                continue
            if over():
                return
            self.interrupts.raise_if_any()
            if (self.asked or self.orders) and self._take_what_is_asked():
                continue
            idle = not (scheduler.in_flight or mains.is_busy)
            if idle and listener.is_empty and listener.has_slots():
                if self._reactor.wake_maps():
                    continue
                if not (scheduler.delayed or any(map(maps.is_to_be_taken, self._streamed()))):
                    raise errors.InternalError(
                        "the engine has nothing under way and nothing to do:\n"
                        + self._reactor.story()
                    )
            fault("driver.turn")
            limit = self._reactor.until_due(SLICE)
            if self._report.observed and listener.is_empty:
                # Nobody knows how long the wait will be.
                limit = min(limit, self._report.rest(self._inline))
            if mains.holding is not None:
                limit = mains.until_aside(mains.holding, limit)
            listener.listen(limit)
            self._reactor.take_due()

    def _interrupted(self, frame: FrameType | None) -> bool:
        """A signal has come: tell whether to raise, or whether the loop will look at the count."""
        self.wake()
        # Not at the second one: an exception may be on its way already, and must arrive.
        return in_users_code(frame, _OURS) or self.interrupts.is_stuck()


_OURS = {
    one.__code__ for one in (Driver._guarded, Driver._loop, Driver.resolve, Listener._tell_now)
}
