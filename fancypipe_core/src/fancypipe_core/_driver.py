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
from types import FrameType
from typing import Any, cast

from fancypipe_core import _failure, errors
from fancypipe_core import _table as table
from fancypipe_core._collector import calm_collector
from fancypipe_core._compose import Composer
from fancypipe_core._ending import Ending
from fancypipe_core._faults import fault
from fancypipe_core._files import Keeper
from fancypipe_core._graph import Broken, Graph, Node
from fancypipe_core._interrupts import Interrupts, how
from fancypipe_core._ref import Instance, Ref
from fancypipe_core._report import Report
from fancypipe_core._runner import Runner
from fancypipe_core._scheduler import Scheduler
from fancypipe_core._task import Definition, Options
from fancypipe_core._values import Values
from fancypipe_core._watch import Watch
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

_TICK = 0.2  # seconds; a signal that comes right before a wait does not end it
FREEZE_LIMIT = 60.0  # seconds; the default of the setting


class Driver:
    """Runs graphs on a backend that has been made, but not started.

    Args:
        backend: Where jobs run.
        values: How values are carried.
        scheduler: Makes a scheduler for a run.
        report: Who is told of events.
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
        self.graph = Graph(values)
        self.interrupts = interrupts or Interrupts()
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
        # What is driven from here comes up at once; a pool of others may take its time,
        # and what it does then is its own.
        with self.interrupts.told_to(lambda _frame: self._drive is None):
            self.backend.start(self._sink)
        with self.interrupts.told_to(self._interrupted):
            until = monotonic() + limit
            while not self._slots.count:
                late = monotonic() > until
                self._stop_if_interrupted()
                self._listen(max(min(_TICK, until - monotonic()), 0.0))
                if late and not self._slots.count:
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
                    self._told(event)

    @property
    def scheduler(self) -> Scheduler:
        """The run's scheduler."""
        return self._scheduler

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
        self._undecided = None
        self._scheduler = self._make_scheduler()
        self._actions.clear()
        self._handle(self._slots)
        root = self._gatherer(target, None)
        ending = Ending(self, self._report, grace, self._files.directory, self._inline)
        with calm_collector(), self.interrupts.told_to(self._interrupted):
            try:
                if self._scheduler.keep_going:
                    return self._run_all(root)
                return self._demand(root, 0, None)
            except KeyboardInterrupt:
                if not self.interrupts.count:
                    raise
            except errors.FancyPipeError:
                raise
            except Exception as error:
                ending.hurry()
                if isinstance(error, errors.InternalError):
                    raise
                raise errors.InternalError(
                    f"the engine's loop failed, {type(error).__name__}: {error}\n{self._story()}"
                ) from error
            finally:
                with self.interrupts.only_counted(self.wake):
                    self._end(ending)
        raise errors.Interrupted(ending.story())

    def _end(self, ending: Ending) -> None:
        self._closing = True
        try:
            ending.end()
        finally:
            self._report.run_over()
            self.graph.clear()
            self._files.end_run()
            self._actions.clear()
            self._level = 0
            self._closing = False

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

    def resolve(self, ref: Ref[Any], parent: Node) -> Any:
        """Run what a reference needs, for a module that waits for it inside its main."""
        number = self._gatherer(ref, parent)
        self._level += 1
        self._handle(table.Level(self._level))
        try:
            return self._demand(number, self._level, parent)
        finally:
            self._level -= 1
            self._handle(table.Level(self._level))
            # Whoever goes on may go on for long.
            self._stop_if_interrupted()

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
                self._stop_if_interrupted()  # what has failed may have failed by that
                raise self._report.error(number)
            if parent is None:
                self._files.keep(number)
            else:
                self._files.pass_on(number, parent.id)
            return node.value
        finally:
            # After a Ctrl-C what is under way may end; `Ending` sees to it.
            if not self.interrupts.count:
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
            self._listen(_TICK)

    def _listen(self, timeout: float) -> None:
        """Wait for the backend; if it says nothing, see that it lives."""
        if self._wait(timeout):
            self._watch.heard()
        else:
            self._watch.silent(timeout)

    def _wait(self, timeout: float) -> bool:
        """Take what the backend reports; wait for it if there is nothing yet.

        Returns:
            Whether there was anything.
        """
        inbox = self._inbox
        heard = False
        if self._drive is not None:
            if inbox.empty():
                self._drive(timeout)
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

    handle, wait = _handle, _wait  # as `Ending` calls them

    def finish_up(self) -> None:
        """Do what the scheduler wants done, as far as that begins nothing new."""
        while self._actions:
            action = self._actions.popleft()
            if type(action) in (table.Cancel, table.Settled, table.Release):
                self._perform[type(action)](action)

    def _stop_if_interrupted(self) -> None:
        if self.interrupts.count:
            raise errors.Interrupted(how(self.interrupts.signal))

    def _interrupted(self, frame: FrameType | None) -> bool:
        """A signal has come: tell whether to raise, or whether the loop will look at the count."""
        self.wake()
        # Not at the second one: an exception may be on its way already, and must arrive.
        return _in_users_code(frame) or self.interrupts.is_stuck()

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
                self._stop_if_interrupted()
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
        try:
            event = self._composer.gather(node, id) if node.hidden else self._composer.run(node, id)
        except (KeyboardInterrupt, errors.InternalError):
            raise
        except BaseException as error:  # noqa: BLE001 - it is the user's code
            self._stop_if_interrupted()
            self._fail(node, id, error)
        else:
            self._handle(event)

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


# Where the user's code runs in the loop's thread, and so may be interrupted: the innermost
# of these frames decides.  Nothing of ours is left half way by an exception in the former.
_THEIRS = {one.__code__ for one in (Runner.run, Composer.run, Composer.gather, Graph.grow)}
_OURS = {one.__code__ for one in (Driver.run, Driver._loop, Driver.resolve)}


def _in_users_code(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code not in _OURS:
        if frame.f_code in _THEIRS:
            return True
        frame = frame.f_back
    return False


def _gather(target: Any) -> Any:
    return target


_CODE = _gather.__code__
_GATHER = Definition(_gather, _gather, Options("run"), is_module=True)
