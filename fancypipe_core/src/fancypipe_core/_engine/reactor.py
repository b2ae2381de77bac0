"""The steps of the loop: what an event of the backend means, and what an action does.

None of them waits.  The loop in `_engine.driver` takes events and performs actions, in the
one thread that owns all of this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from time import monotonic
from typing import Any, cast

from fancypipe_core import errors
from fancypipe_core._codec import failure
from fancypipe_core._codec.values import LiveValues, Values
from fancypipe_core._engine.graph import Broken, Graph, Node, parent_of
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.modules import Composer
from fancypipe_core._engine.report import Report
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import (
    Backend,
    Done,
    Err,
    Event,
    JobId,
    Live,
    Lost,
    More,
    Note,
    Ok,
    Slots,
    Started,
)

__all__ = ["Reactor"]


class Reactor:
    """Carries events to the scheduler, and its actions out.

    Args:
        backend: Where jobs run.
        values: How values are carried.
        report: Takes the events of the run.
        files: Keeps temporary files as long as their values.
        check: Verify the scheduler's invariants after every event (slow).
        resolve: Runs what a module waits for inside its main.
        stop_if_interrupted: Raises if the user has asked for the end.

    Attributes:
        graph: The run's nodes.
        scheduler: The run's scheduler; `begin` gives it one.
        actions: What it wants done.
        slots: What the backend reported last.
        closing: Whether the run is being ended, so that nothing new begins.
        undecided: Why a plugin could not decide; the loop raises it.
    """

    def __init__(
        self,
        backend: Backend,
        values: Values,
        report: Report,
        files: Keeper,
        *,
        check: bool,
        resolve: Callable[[Ref[Any], Node], Any],
        stop_if_interrupted: Callable[[], None],
    ) -> None:
        self.graph = Graph(values)
        self.scheduler = Scheduler()
        self.actions: deque[table.Action] = deque()
        self.slots = table.Room(0, 0)
        self.closing = False
        self.undecided: errors.PluginError | None = None
        self._delays: list[tuple[float, int]] = []  # when a task's next attempt may be made
        self.composer = Composer(self.graph, values, report, files, resolve)
        self._backend = backend
        self._values = values
        self._report = report
        self._files = files
        self._live = Live if isinstance(values, LiveValues) else None
        self._check = check
        self._stop_if_interrupted = stop_if_interrupted
        self._perform: dict[type, Callable[[Any], None]] = {
            table.Grow: self._grow,
            table.Submit: self._submit,
            table.Compute: self._compute,
            table.Cancel: self._cancel,
            table.Retried: self._retried,
            table.Settled: self._settled,
            table.Release: self._release,
            table.Stuck: self._stuck,
        }

    def begin(self, scheduler: Scheduler) -> None:
        """Begin a run with a new scheduler."""
        self.undecided = None
        self.scheduler = scheduler
        self.actions.clear()
        self.handle(self.slots)

    def end(self) -> None:
        """Forget a run."""
        self.graph.clear()
        self.actions.clear()
        self._delays.clear()
        self.closing = False

    def handle(self, event: table.Event) -> None:
        """Tell the scheduler, and keep what it wants done."""
        self.actions.extend(self.scheduler.handle(event))
        if self._check:
            self.scheduler.check()

    def perform(self) -> None:
        """Do what the scheduler wants done, until it wants nothing more.

        Raises:
            PluginError: A plugin could not decide.
        """
        actions, perform = self.actions, self._perform
        while actions:
            action = actions.popleft()
            perform[type(action)](action)
        if self.undecided is not None:
            raise self.undecided

    def until_due(self, most: float) -> float:
        """Return the seconds until a delay is over, or `most` if that is less."""
        return max(min(most, self._delays[0][0] - monotonic()), 0.0) if self._delays else most

    def take_due(self) -> None:
        """Tell the scheduler whose delays are over."""
        due, now = [], monotonic()
        while self._delays and self._delays[0][0] <= now:
            due.append(heappop(self._delays)[1])
        if due:
            self.handle(table.Due(due))

    def finish_up(self) -> None:
        """Do what the scheduler wants done, as far as that begins nothing new."""
        while self.actions:
            action = self.actions.popleft()
            if type(action) in (table.Cancel, table.Settled, table.Release):
                self._perform[type(action)](action)

    def story(self) -> str:
        """Say why each of the first tasks is where it is."""
        return "\n".join(self.scheduler.explain(task) for task in list(self.graph.nodes)[:50])

    # ---- events of the backend ----

    def take(self, events: Sequence[Event]) -> None:
        """Take what the backend reports."""
        nodes = self.graph.nodes
        observed = self._report.observed
        done: list[JobId] = []
        for event in events:
            kind = type(event)
            if kind is Done:
                ended = cast("Done", event)
                id, reply = ended.id, ended.reply
                node = nodes.get(id[0])
                if node is None or not self.scheduler.expects(id):
                    self.handle(table.Failed(id))  # stale, but out of flight
                    continue
                if isinstance(reply, Ok):
                    outputs = reply.outputs
                    node.value = outputs.value if isinstance(outputs, Live) else outputs
                    node.packed = None  # there will be no further attempt
                    if ended.folder or self._files.holders:
                        self.composer.sort_files(node, ended.folder)
                    done.append(id)
                    if observed:
                        self._report.finished(node, id[1], ended.seconds)
                    continue
            elif kind is Started or kind is Note:
                self.told(event)
                continue
            # What the scheduler is told, it is told in the order in which it came.
            if done:
                self.handle(table.Returned(done))
                done = []
            if kind is Done:
                self._ended_otherwise(cast("Node", node), ended)
            else:
                self.told(event)
        if done:
            self.handle(table.Returned(done))

    def told(self, event: Event) -> None:
        """The backend reported something else than the end of a job by itself."""
        if isinstance(event, Lost):
            self._lost(event)
        elif isinstance(event, Slots):
            self.slots = table.Room(event.count, event.ahead)
            if not self.closing:
                self.handle(self.slots)
        elif isinstance(event, Note):
            self._report.note(self.graph.nodes.get(event.id[0]) if event.id else None, event)
        else:
            assert isinstance(event, Started), f"a backend sent {event!r}"

    def _ended_otherwise(self, node: Node, event: Done) -> None:
        """A job returned references, or raised."""
        reply = event.reply
        files = self._files
        if type(reply) is Err:
            if event.folder:
                files.made(event.folder)
            if reply.final and reply.type_name == errors.DecodeError.__name__:
                reply = self.graph.with_makers(node, reply)
            self._report.failed(node, event.id[1], reply, event.seconds)
            self._failed(node, event.id, reply, reply.final)
            return
        assert type(reply) is More
        self._report.finished(node, event.id[1], event.seconds)
        if event.folder or files.holders:
            known = files.known(node.id, parent_of(node), node.needs)
            files.hold_until_settled(node.id, known | {event.folder} if event.folder else known)
        try:
            if type(reply.outputs) is Live:
                needs = self.graph.unfold(node, reply.outputs.value)
            else:
                needs = self.graph.unfold_remote(node, reply)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with the references
            self._fail(node, event.id, error)
        else:
            self._report.unfolded(node)
            self.handle(table.Unfolded(event.id, needs))

    def _lost(self, event: Lost) -> None:
        node = self.graph.nodes.get(event.id[0])
        if node is not None and self.scheduler.expects(event.id):
            self._report.lost(node, event.id[1], event.why, self.scheduler.suspect(event.id))
        # A task that was killed for its time limit is not tried as a loss is.
        if event.why.reason == "timeout":
            self.handle(table.Failed(event.id))
        else:
            self.handle(table.WorkerLost(event.id, event.why.guilty, event.why.started))

    # ---- actions of the scheduler ----

    def _grow(self, action: table.Grow) -> None:
        grown = []
        observed = self._report.observed
        for number in action.tasks:
            node = self.graph.nodes[number]
            if observed:
                self._report.added(node)
            try:
                needs = self.graph.grow(number)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
                self._stop_if_interrupted()
                self._report.failed(node, 0, failure.describe(error, Live, final=True), None)
                grown.append(table.GrownTask(number, bad=True))
            else:
                grown.append(
                    table.GrownTask(
                        number, needs, node.is_module, node.retries, False, node.delay is not None
                    )
                )
        self.handle(table.Grown(grown))

    def _submit(self, action: table.Submit) -> None:
        jobs = []
        graph = self.graph
        live = self._live
        suspect = self.scheduler.suspect
        for id in action.ids:
            node = graph.nodes[id[0]]
            try:
                jobs.append(graph.job(node, id[1], live, id[1] > 1 and suspect(id)))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - an output or item that is not there
                self._fail(node, id, error)
        if jobs:
            self._report.submitted(jobs)
            self._backend.submit(jobs)

    def _compute(self, action: table.Compute) -> None:
        id = action.id
        node = self.graph.nodes[id[0]]
        self._report.began(id)
        try:
            event = self.composer.gather(node, id) if node.hidden else self.composer.run(node, id)
        except (KeyboardInterrupt, errors.InternalError):
            raise
        except BaseException as error:  # noqa: BLE001 - it is the user's code
            self._stop_if_interrupted()
            self._fail(node, id, error)
        else:
            self.handle(event)

    def _fail(self, node: Node, id: JobId, error: BaseException) -> None:
        why = failure.describe(error, Live)
        self._report.failed(node, id[1], why, None)
        self._failed(node, id, why, isinstance(error, (errors.CodecError, errors.GraphError)))

    def _failed(self, node: Node, id: JobId, why: Err, final: bool) -> None:
        again = False
        if self._report.decides_retries and not (final or node.hidden):
            try:
                final, again = self._report.retry(node, id[1], why)
            except errors.PluginError as error:
                # Raised by the loop: what else the backend has reported counts first.
                self.undecided, final = error, True
        self.handle(table.Failed(id, final, again))

    def _cancel(self, action: table.Cancel) -> None:
        self._backend.cancel(action.ids)

    def _retried(self, action: table.Retried) -> None:
        node = self.graph.nodes[action.id[0]]
        delay = node.delay.after(action.id[1]) if node.delay is not None and action.later else 0.0
        if action.later:
            heappush(self._delays, (monotonic() + delay, node.id))
        self._report.retried(node, delay)

    def _settled(self, action: table.Settled) -> None:
        nodes = self.graph.nodes
        report = self._report
        done = 0
        for task, state, root in action.tasks:
            node = nodes[task]
            if state is table.State.DONE:
                if node.returned is not None:
                    self._complete(node)
                if not report.observed and not node.hidden:
                    done += 1
                    continue
            report.settled(node, state, root)
        report.counts["done"] += done

    def _complete(self, node: Node) -> None:
        """What a node returned references to is there."""
        try:
            self.graph.complete(node)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - an output or item that is not there
            node.value = Broken(error)
        self.composer.sort_files(node)

    def _release(self, action: table.Release) -> None:
        self.graph.release(action.tasks)
        self._files.release(action.tasks)

    def _stuck(self, action: table.Stuck) -> None:
        paths = [self.graph.nodes[task].path for task in action.circle if task in self.graph.nodes]
        error = errors.GraphError(
            "what these tasks need waits for themselves, so they can never run: "
            + " -> ".join(paths)
        )
        for task in action.tasks:
            self._report.failed(self.graph.nodes[task], 0, failure.describe(error, Live), None)
