"""The loop: events in, actions out.  One thread owns everything in here.

The path of one task: the scheduler asks to grow it (its inputs are looked at),
then to submit it; the graph makes a `Job` of it; the backend runs the job and
reports `Done`; its value goes to the graph, its number to the scheduler, which
settles it and what waited for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, cast

from fancypipe_core import _failure, errors
from fancypipe_core import _table as table
from fancypipe_core._collector import calm_collector
from fancypipe_core._compose import Composer
from fancypipe_core._faults import fault
from fancypipe_core._files import Keeper
from fancypipe_core._graph import Broken, Graph, Node
from fancypipe_core._ref import Instance, Ref
from fancypipe_core._report import Report
from fancypipe_core._scheduler import Scheduler
from fancypipe_core._task import Definition, Options
from fancypipe_core._values import Values
from fancypipe_core._watch import LOOK, Watch
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

__all__ = ["Driver"]

FREEZE_LIMIT = 60.0  # seconds; the default of the setting


class Driver:
    """Runs graphs on a backend that has been made, but not started.

    Args:
        backend: Where jobs run.
        values: How values are carried.
        scheduler: Makes a scheduler for a run.
        report: Who is told of events.
        files: Keeps temporary files as long as their values.
        check: Verify the scheduler's invariants after every event (slow).
    """

    def __init__(
        self,
        backend: Backend,
        values: Values,
        scheduler: Callable[[], Scheduler],
        report: Report,
        files: Keeper,
        check: bool = False,
    ) -> None:
        self.backend = backend
        self.graph = Graph(values)
        self.interrupts = 0
        self._values = values
        self._make_scheduler = scheduler
        self._scheduler = scheduler()
        self._report = report
        self._files = files
        self._check = check
        self._inbox: SimpleQueue[Sequence[Event]] = SimpleQueue()
        self._actions: deque[table.Action] = deque()
        self._slots = table.Slots(0, 0)
        self._level = 0
        self._in_user_code = 0
        self._live = Live if isinstance(values.call(_GATHER).body, Live) else None
        self._closing = False
        self._undecided: errors.PluginError | None = None
        self._watch = Watch(backend, FREEZE_LIMIT, self._story)
        self._composer = Composer(self.graph, values, report, files, self.resolve)
        self._drive: Callable[[float | None], None] | None = getattr(backend, "drive", None)
        # Serial: the user's tasks run in this thread, and Ctrl-C must reach them.
        self._inline = self._drive is not None and self._live is not None
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
        self._watch = Watch(self.backend, freeze_limit, self._story)
        self.backend.start(self._sink)
        until = monotonic() + limit
        while not self._slots.count:
            late = monotonic() > until
            self._listen(max(min(LOOK, until - monotonic()), 0.0))
            if late and not self._slots.count:
                raise errors.BackendStartError(
                    f"the backend reported no worker within {limit:g} seconds; if it only needs "
                    "more time, give it more with the setting backend_start_limit"
                )

    def stop(self, grace: float) -> None:
        """Stop the backend, and pass on what it still has to say."""
        self.backend.stop(grace)
        while not self._inbox.empty():
            for event in self._inbox.get_nowait():
                if isinstance(event, Note):
                    self._told(event)

    @property
    def slots(self) -> int:
        """How many jobs run at the same time."""
        return self._slots.count

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
            Interrupted: The user pressed Ctrl-C.
        """
        self.interrupts = 0
        self._undecided = None
        self._scheduler = self._make_scheduler()
        self._actions.clear()
        self._handle(self._slots)
        root = self._gatherer(target, None)
        with calm_collector():
            return self._run(root, grace)

    def _run(self, root: int, grace: float) -> Any:
        try:
            if self._scheduler.keep_going:
                return self._run_all(root)
            return self._demand(root, 0, None)
        except errors.InternalError:
            grace = 0.0  # nobody knows what will still be reported
            raise
        except errors.FancyPipeError:
            raise
        except Exception as error:
            grace = 0.0
            raise errors.InternalError(
                f"the engine's loop failed, {type(error).__name__}: {error}\n{self._story()}"
            ) from error
        finally:
            self._clear_away(grace)

    def _run_all(self, root: int) -> Any:
        """Go on after failures; what was asked for is kept until it is handed out."""
        scheduler = self._scheduler
        try:
            wanted = self.graph.grow(root)
        except Exception:  # noqa: BLE001 - it is told below, when the scheduler asks the same
            wanted = ()
        self._handle(table.Demand([*wanted, root]))
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
        if self._drive is not None:
            self.backend.wake()  # type: ignore[attr-defined]

    @property
    def in_user_code(self) -> bool:
        """Whether a module's or an inline task's code is running in the driver's thread."""
        return self._in_user_code > 0

    def resolve(self, ref: Ref[Any], parent: Node) -> Any:
        """Run what a reference needs, for a module that waits for it inside its main."""
        number = self._gatherer(ref, parent)
        inside, self._in_user_code = self._in_user_code, 0
        self._level += 1
        self._handle(table.Level(self._level))
        try:
            return self._demand(number, self._level, parent)
        finally:
            self._level -= 1
            self._in_user_code = inside
            self._handle(table.Level(self._level))

    # ---- the loop ----

    def _gatherer(self, target: Any, parent: Node | None) -> int:
        number = self.graph.number(Instance(_GATHER, (target,), {}, _CODE, 0), parent)
        self.graph.nodes[number].hidden = True
        return number

    def _demand(self, number: int, level: int, parent: Node | None) -> Any:
        scheduler = self._scheduler
        self._handle(table.Demand([number], level))
        try:
            self._loop(lambda: scheduler.state(number) in table.SETTLED)
            node = self.graph.nodes[number]
            if scheduler.state(number) is not table.State.DONE:
                raise self._report.error(number)
            if parent is None:
                self._files.keep(number)
            else:
                self._files.pass_on(number, parent.id)
            return node.value
        finally:
            # After a Ctrl-C what is under way may end; `_clear_away` sees to it.
            if not self.interrupts:
                self._handle(table.Drop([number]))

    def _loop(self, over: Callable[[], bool]) -> None:
        actions = self._actions
        while True:
            while actions:
                action = actions.popleft()
                self._perform[type(action)](action)
            if self._undecided is not None:
                raise self._undecided
            if over():
                return
            self._stop_if_interrupted()
            if not self._scheduler.in_flight and not self._inbox.qsize():
                raise errors.InternalError(
                    "the engine has nothing under way and nothing to do:\n" + self._story()
                )
            if self._report.observed and self._inbox.empty():
                self._report.flush()  # nobody knows how long the wait will be
            fault("driver.turn")
            self._listen(LOOK)

    def _listen(self, timeout: float) -> None:
        """Wait for the backend; if it says nothing, see that it lives."""
        if self._wait(timeout):
            self._watch.heard()
        else:
            self._watch.silent()

    def _wait(self, timeout: float) -> bool:
        """Take what the backend reports; wait for it if there is nothing yet.

        Returns:
            Whether there was anything.
        """
        inbox = self._inbox
        heard = False
        if self._drive is not None:
            if inbox.empty():
                self._in_user_code += self._inline
                try:
                    self._drive(timeout)
                finally:
                    self._in_user_code -= self._inline
        else:
            try:
                self._take(inbox.get(timeout=timeout))
            except Empty:
                return False
            heard = True
        while True:
            try:
                events = inbox.get_nowait()
            except Empty:
                return heard
            self._take(events)
            heard = True

    def _sink(self, events: Sequence[Event]) -> None:
        self._inbox.put(events)

    def _handle(self, event: table.Event) -> None:
        self._actions.extend(self._scheduler.handle(event))
        if self._check:
            self._scheduler.check()

    def _stop_if_interrupted(self) -> None:
        if self.interrupts:
            raise errors.Interrupted(
                f"interrupted with {self._scheduler.in_flight} tasks under way "
                f"and {self._scheduler.unsettled} not finished"
            )

    def _clear_away(self, grace: float) -> None:
        """End a run: nothing of it stays in flight, in the graph or on disk."""
        scheduler = self._scheduler
        until = monotonic() + grace
        self._closing = True
        if self.interrupts == 1 and not self._inline:
            # Stop submitting; what runs may finish.
            self._handle(table.Slots(0, 0))
            if scheduler.in_flight:
                self._report.warn(
                    f"interrupted: waiting up to {grace:g} s for {scheduler.in_flight} tasks "
                    "that were sent out; Ctrl-C again to stop them now"
                )
            self._drain(until, wanted=True)
        self._handle(table.Halt())
        # What can be killed is killed in this time.
        self._drain(monotonic() + 0.5, wanted=False)
        if scheduler.in_flight and until > monotonic() and self.interrupts < 2:
            self._report.warn(
                f"waiting up to {until - monotonic():.0f} s for {scheduler.in_flight} running "
                "tasks that cannot be stopped"
            )
            self._drain(until, wanted=False)
        self._report.run_over(scheduler.in_flight)
        self.graph.clear()
        self._files.end_run()
        self._actions.clear()
        self._level = 0
        self._closing = False

    def _drain(self, until: float, wanted: bool) -> None:
        scheduler = self._scheduler
        first = self.interrupts
        while True:
            while self._actions:
                action = self._actions.popleft()
                if type(action) in (table.Cancel, table.Settled, table.Release):
                    self._perform[type(action)](action)
            left = until - monotonic()
            if not scheduler.in_flight or left <= 0 or (wanted and self.interrupts > first):
                return
            self._wait(min(left, 0.5))

    def _story(self) -> str:
        scheduler = self._scheduler
        return "\n".join(scheduler.explain(task) for task in list(self.graph.nodes)[:50])

    # ---- events of the backend ----

    def _take(self, events: Sequence[Event]) -> None:
        nodes = self.graph.nodes
        observed = self._report.observed
        done: list[JobId] = []
        for event in events:
            kind = type(event)
            if kind is Done:
                ended = cast("Done", event)
                id, reply = ended.id, ended.reply
                node = nodes.get(id[0])
                if node is None or not self._scheduler.expects(id):
                    self._handle(table.Failed(id))  # stale, but out of flight
                    continue
                if ended.folder:
                    self._sort_files(id[0], ended)
                if isinstance(reply, Ok):
                    outputs = reply.outputs
                    node.value = outputs.value if isinstance(outputs, Live) else outputs
                    node.packed = None  # there will be no further attempt
                    if reply.files:
                        self._files.hold(id[0], reply.files)
                    done.append(id)
                    if observed:
                        self._report.finished(node, id[1], ended.seconds)
                    continue
                if done:
                    self._handle(table.Done(done))
                    done = []
                self._ended_otherwise(node, ended)
                continue
            if done:
                self._handle(table.Done(done))
                done = []
            self._told(event)
        if done:
            self._handle(table.Done(done))

    def _sort_files(self, number: int, ended: Done) -> None:
        """A job has made temporary files: hold what is to be kept, and remove the others."""
        reply = ended.reply
        if not isinstance(reply, Err):
            self._files.hold(number, reply.files)
        if isinstance(reply, More):
            self._files.hold_inputs(number, reply.passed)
        self._files.made(ended.folder)

    def _told(self, event: Event) -> None:
        """The backend reported something else than the end of a job by itself."""
        if isinstance(event, Lost):
            self._lost(event)
        elif isinstance(event, Slots):
            self._slots = table.Slots(event.count, event.ahead)
            if not self._closing:
                self._handle(self._slots)
        elif isinstance(event, Note):
            self._report.note(self.graph.nodes.get(event.id[0]) if event.id else None, event)
        else:
            assert isinstance(event, Started), f"a backend sent {event!r}"

    def _ended_otherwise(self, node: Node, event: Done) -> None:
        """A job returned references, or raised."""
        reply = event.reply
        if type(reply) is Err:
            if reply.final and reply.type_name == errors.DecodeError.__name__:
                reply = self.graph.with_makers(node, reply)
            self._report.failed(node, event.id[1], reply, event.seconds)
            self._failed(node, event.id, reply, reply.final)
            return
        assert type(reply) is More
        self._report.finished(node, event.id[1], event.seconds)
        if reply.files:
            self._files.hold(node.id, reply.files)
        try:
            if type(reply.outputs) is Live:
                needs = self.graph.unfold(node, self._values.pack_result(reply.outputs.value))
            else:
                needs = self.graph.unfold_remote(node, reply)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with the references
            self._fail(node, event.id, error)
        else:
            self._handle(table.Unfolded(event.id, needs))

    def _lost(self, event: Lost) -> None:
        node = self.graph.nodes.get(event.id[0])
        if node is not None and self._scheduler.expects(event.id):
            self._report.lost(node, event.id[1], event.why, self._scheduler.suspect(event.id))
        # A task that was killed for its time limit is not tried as a loss is.
        if event.why.reason == "timeout":
            self._handle(table.Failed(event.id))
        else:
            self._handle(table.Lost(event.id, event.why.guilty))

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
                self._report.failed(node, 0, _failure.describe(error, Live, final=True), None)
                grown.append(table.GrownTask(number, bad=True))
            else:
                if node.packed is not None and node.packed.files:
                    self._files.hold_inputs(number, node.packed.files)
                grown.append(table.GrownTask(number, needs, node.is_module, node.retries))
        self._handle(table.Grown(grown))

    def _submit(self, action: table.Submit) -> None:
        jobs = []
        graph = self.graph
        live = self._live
        suspect = self._scheduler.suspect
        for id in action.ids:
            node = graph.nodes[id[0]]
            try:
                jobs.append(graph.job(node, id[1], live, suspect(id)))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - an output or item that is not there
                self._fail(node, id, error)
        if jobs:
            self._report.submitted(jobs)
            self.backend.submit(jobs)

    def _compute(self, action: table.Compute) -> None:
        id = action.id
        node = self.graph.nodes[id[0]]
        self._in_user_code += not node.hidden
        try:
            event = self._composer.gather(node, id) if node.hidden else self._composer.run(node, id)
        except (errors.Interrupted, errors.InternalError):
            raise
        except KeyboardInterrupt:
            self._stop_if_interrupted()
            raise
        except BaseException as error:  # noqa: BLE001 - it is the user's code
            self._fail(node, id, error)
        else:
            self._handle(event)
        finally:
            self._in_user_code -= not node.hidden

    def _fail(self, node: Node, id: JobId, error: BaseException) -> None:
        why = _failure.describe(error, Live)
        self._report.failed(node, id[1], why, None)
        self._failed(node, id, why, isinstance(error, (errors.CodecError, errors.GraphError)))

    def _failed(self, node: Node, id: JobId, why: Err, final: bool) -> None:
        again = False
        if self._report.decides_retries and not (final or node.hidden):
            try:
                final, again = self._report.retry(node, id[1], why)
            except errors.PluginError as error:
                # Raised by the loop: what else the backend has reported counts first.
                self._undecided, final = error, True
        self._handle(table.Failed(id, final, again))

    def _cancel(self, action: table.Cancel) -> None:
        self.backend.cancel(action.ids)

    def _retried(self, action: table.Retried) -> None:
        self._report.retried(self.graph.nodes[action.id[0]], action.id[1])

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
        self._files.inherit(node.id, node.needs)
        try:
            self.graph.complete(node)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - an output or item that is not there
            node.value = Broken(error)

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
            self._report.failed(self.graph.nodes[task], 0, _failure.describe(error, Live), None)


def _gather(target: Any) -> Any:
    return target


_CODE = _gather.__code__
_GATHER = Definition(_gather, _gather, Options("run"), is_module=True)
