"""The steps of the loop: what an event of the backend means to the scheduler, and the next action.

None of them waits.  The loop in `_engine.driver` takes events and has actions performed, in the
one thread that owns all of this.  How an action is carried out stands in `_engine.actions`, and
for modules in `_engine.mains`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fancypipe_core import errors
from fancypipe_core._codec import failure
from fancypipe_core._codec.values import Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.growth import Growth
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.maps import Maps
from fancypipe_core._engine.modules import Composer
from fancypipe_core._engine.node import Node, parent_of
from fancypipe_core._engine.parts import Elements, Feeder
from fancypipe_core._engine.reader import Reader
from fancypipe_core._engine.report import Report
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._plugins.blame import Owner
from fancypipe_core.backend import (
    Backend,
    Cut,
    Done,
    Err,
    Event,
    JobId,
    Live,
    Lost,
    More,
    Note,
    Ok,
    Scaling,
    Slots,
    Started,
)

if TYPE_CHECKING:
    from fancypipe_core._engine.resume import Resume  # few sessions have one
    from fancypipe_core._engine.temp_budget import Budget

__all__ = ["Reactor"]

# An attribute of an Enum costs ten times as much.
NEW, RUNNING, DONE = table.State.NEW, table.State.RUNNING, table.State.DONE


class Reactor:
    """Carries events to the scheduler, and its actions out.

    Args:
        backend: Where jobs run.
        values: How values are carried.
        report: Takes the events of the run.
        files: Keeps temporary files as long as their values.
        check: Verify the scheduler's invariants after every event (slow).
        resolve: Runs what a module waits for inside its main.
        owner: Who is to blame for what the backend raises.
        resume: Takes results from before, and keeps those that come; None for neither.
        graph: The kind of graph, where nothing resumes.

    Attributes:
        graph: The run's nodes.
        reader: Reads what they hold.
        scheduler: The run's scheduler; `begin` gives it one.
        actions: What it wants done.
        performers: What carries out each kind of these.
        slots: What the backend reported last.
        is_up: Whether it has reported any.
        budget: What values and files may take; None for no limit.
        closing: Whether the run is being ended, so that nothing new begins.
        asked: What others ask for, that waits until it may be demanded.
        watched: The tasks that somebody has asked for, and is to be told of.
        ended: Those of them that have come to their end.
        undecided: Why a plugin could not decide; the loop raises it.
    """

    def __init__(  # noqa: PLR0913 - what a loop is made of
        self,
        backend: Backend,
        values: Values,
        report: Report,
        files: Keeper,
        *,
        check: bool,
        resolve: Callable[[Ref[Any], Node], Any],
        owner: Owner,
        resume: Resume | None = None,
        graph: type[Graph] = Graph,
    ) -> None:
        kind = graph if resume is None else resume.graph
        self.graph = kind(values, observed=report.observed)
        self.reader = Reader(self.graph, values)
        self.scheduler = self._no_run = Scheduler()
        self.actions: deque[table.Action] = deque()
        self.performers: dict[type, Callable[[Any], None]] = {}
        self.slots = table.Room(0, 0)
        self.is_up = False
        self.run = 0  # how many have begun
        self.budget: Budget | None = None
        self.closing = False
        self.asked: deque[Any] = deque()
        self.watched: dict[int, Any] = {}
        self.ended: list[int] = []
        self.undecided: errors.PluginError | None = None
        self._recalled: dict[JobId, Any] = {}  # for whom
        self._delays: list[tuple[float, int]] = []  # when a task's next attempt may be made
        self.composer = Composer(self.graph, self.reader, values, report, files, resolve)
        self.maps = Maps(self.graph, self.reader, values, self.composer, report, files)
        self.resume = resume
        if resume is not None:
            resume.is_streamed = self.maps.is_streamed
            self.composer.resume = self.maps.resume = resume
        self._backend = backend
        self._owner = owner
        self._strays: set[JobId] = set()  # jobs of earlier runs that could not be ended
        self._warned = False  # of ends that nobody waits for
        self._scaling = backend if isinstance(backend, Scaling) else None
        self._backlog = 0  # as it was told
        self._report = report
        self._files = files
        self._check = check
        self._growth = Growth(report.warn)

    @property
    def done(self) -> int:
        """How many tasks of the run are done."""
        return self._report.counts["done"]

    def begin(self, scheduler: Scheduler) -> None:
        """Begin a run with a new scheduler."""
        self.run += 1
        self.undecided = None
        self.scheduler = scheduler
        self.actions.clear()
        self._growth.begin()
        self.graph.begin()
        if self.resume is not None:
            self.resume.begin()
        self.handle(self._room())

    def end_keeping(self) -> None:
        """Keep what has come so far: nothing more will."""
        if self.resume is not None:
            self.resume.end_maps()

    def end(self) -> None:
        """Forget a run."""
        self._strays.update(self.scheduler.under_way())
        self.scheduler = self._no_run  # the other one has the nodes
        self.graph.clear()
        if self.maps.under_way or self.maps.sinks:
            self.maps.clear()
        if self.resume is not None:
            self.resume.clear()
        self.actions.clear()
        self.ended.clear()
        self._recalled.clear()
        self._delays.clear()
        if self._scaling is not None:
            self._say_backlog(self._scaling)
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
            GraphError: The graph grows, and there is hardly any memory left.
        """
        actions, perform, growth = self.actions, self.performers, self._growth
        while actions:
            action = actions.popleft()
            perform[type(action)](action)
        if len(self.graph.nodes) > growth.limit:
            growth.look(self.graph.nodes)
        if self.undecided is not None:
            raise self.undecided
        if self.scheduler.strays:
            self._heed_strays()
        if self._scaling is not None:
            self._say_backlog(self._scaling)

    def _say_backlog(self, scaling: Scaling) -> None:
        """Tell a backend that scales how much waits, if that has changed."""
        count = self.scheduler.backlog + self.maps.backlog + len(self.asked)
        count = 0 if self.closing else count
        if count != self._backlog:
            self._backlog = count
            with self._owner.blaming("backlog()"):
                scaling.backlog(count)

    def until_due(self, most: float) -> float:
        """Return the seconds until a delay is over, or `most` if that is less."""
        return max(min(most, self._delays[0][0] - monotonic()), 0.0) if self._delays else most

    def delay(self, task: int, seconds: float) -> None:
        """Have a task wait for the time of its next attempt."""
        heappush(self._delays, (monotonic() + seconds, task))

    def take_due(self) -> None:
        """Tell the scheduler whose delays are over."""
        due, now = [], monotonic()
        while self._delays and self._delays[0][0] <= now:
            due.append(heappop(self._delays)[1])
        if due:
            self.handle(table.Due(due))

    def wake_maps(self) -> bool:
        """With no job under way, have maps that pause go on; tell whether there are any."""
        events = self.maps.wake() if self.maps.under_way else ()
        for event in events:
            self.handle(event)
        return bool(events)

    def finish_up(self) -> None:
        """Do what the scheduler wants done, as far as that begins nothing new."""
        while self.actions:
            action = self.actions.popleft()
            if type(action) in (table.Cancel, table.Settled, table.Release):
                self.performers[type(action)](action)

    def story(self) -> str:
        """Say why each of the first tasks is where it is."""
        return "\n".join(self.scheduler.explain(task) for task in list(self.graph.nodes)[:50])

    # ---- events of the backend ----

    def heed_budget(self) -> None:
        """Let the scheduler send less, or more again, if values or files have come or gone."""
        if self.budget is not None and self.budget.changes() and not self.closing:
            self.handle(self._room())

    def _room(self) -> table.Room:
        if self.budget is not None and self.budget.is_used_up:
            return table.Room(min(1, self.slots.count), 0)
        return self.slots

    def take(self, events: Sequence[Event]) -> None:  # noqa: C901, PLR0912 - no call for each event
        """Take what the backend reports."""
        nodes = self.graph.nodes
        observed, holders, resume = self._report.observed, self._files.holders, self.resume
        done: list[JobId] = []
        told: list[Done] = []
        back: list[JobId] = []
        node: Node | None = None
        for event in events:
            if type(event) is Done:
                id, reply = event.id, event.reply
                node = nodes.get(id[0])
                if node is None or node.state is not RUNNING or node.attempt != id[1]:
                    self.handle(table.Failed(id))  # stale, but out of flight
                    continue
                if type(node) is not Node and node.part is not None:
                    self.maps.ran(node, reply, event.seconds)
                if resume is not None and not event.cache:
                    resume.runs_each_time(node)
                if type(reply) is Ok:
                    outputs: Any = reply.outputs
                    if type(outputs) is Live:
                        node.value = outputs.value
                    elif (
                        len(outputs) == 1
                        and type(head := (only := outputs[0]).head) is bytes
                        and not (only.buffers or only.holes)
                        and only.names is None
                    ):
                        node.value = head  # a tuple and a record less for each task
                    else:
                        node.value = outputs
                    node.packed = None  # there will be no further attempt
                    if holders or event.folder:
                        self.composer.sort_files(node, event.folder)
                    done.append(id)
                    if observed and node.part is None:
                        told.append(event)
                    continue
            elif type(event) is Started or type(event) is Note:
                self.told(event)
                continue
            elif type(event) is Lost and self._came_back(event):
                back.append(event.id)
                continue
            # What the scheduler is told, it is told in the order in which it came.
            if done:
                self._returned(done, told)
                done, told = [], []
            if type(event) is Done:
                assert node is not None
                self._ended_otherwise(node, event)
            else:
                self.told(event)
        if done:
            self._returned(done, told)
        if back:
            self.handle(table.CameBack(back))

    def _returned(self, done: list[JobId], told: list[Done]) -> None:
        """Jobs returned values, and observers are to know of some."""
        if told:
            self._report.returned(told)
        self.handle(table.Returned(done))

    def _heed_strays(self) -> None:
        """Ends came of jobs that are not with the backend: they count for nothing, and are said."""
        strays, self.scheduler.strays = self.scheduler.strays, []
        wrong = [id for id in strays if id not in self._strays]
        self._strays.difference_update(strays)
        if wrong and not self._warned:
            self._warned = True
            task, attempt = wrong[0]
            self._report.warn(
                f"{self._owner} told the end of attempt {attempt} at task {task}, which it was "
                "not given, or told it before; such ends are left out (rule 3 of the contract)"
            )

    def _came_back(self, event: Lost) -> bool:
        """Whether a follower has not begun: the task waits for its needs, as others do."""
        why = event.why
        return not (why.started or why.guilty) and self.scheduler.follows(event.id)

    def told(self, event: Event) -> None:
        """The backend reported something else than the end of a job by itself."""
        if isinstance(event, Lost):
            self._lost(event)
        elif isinstance(event, Slots):
            self.slots, self.is_up = table.Room(event.count, event.ahead), True
            if not self.closing:
                self.handle(self._room())
        elif isinstance(event, Note):
            self._report.note(self.graph.nodes.get(event.id[0]) if event.id else None, event)
        elif isinstance(event, Started):
            node = self.graph.nodes.get(event.id[0])
            if node is not None and node.attempt == event.id[1]:
                self._report.started(node, event.id[1], event.where)
        else:
            raise TypeError(f"{event!r} is not an event")

    def _ended_otherwise(self, node: Node, event: Done) -> None:
        """A job returned references, or raised, or did a part of its work."""
        reply = event.reply
        files = self._files
        if type(reply) is Cut:
            self._cut(node, event, reply)
            return
        self._report.ended(node, event)
        if type(reply) is Err:
            if event.folder:
                files.made(event.folder)
            if reply.final and reply.type_name == errors.DecodeError.__name__:
                reply = self.reader.with_makers(node, reply)
            self._report.failed(node, event.id[1], reply, event.seconds)
            self._failed(node, event.id, reply, reply.final)
            return
        assert type(reply) is More
        if event.folder or files.holders:
            known = files.known(node.id, parent_of(node), node.filled_by)
            files.hold_until_settled(node.id, known | {event.folder} if event.folder else known)
        try:
            needs = self.graph.unfold_any(node, reply)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with the references
            self.fail(node, event.id, error)
        else:
            self._report.unfolded(node, needs)
            self.handle(table.Unfolded(event.id, needs))

    def _cut(self, node: Node, event: Done, reply: Cut) -> None:
        """A worker has stopped in a span: it is told what its node is now, and the rest goes on."""
        if event.folder and reply.why is not None and isinstance(node.part, Elements):
            self._files.hold(node.part.of.node.id, [event.folder])
            event = replace(event, folder="")
        try:
            events, answer = self.maps.cut(node, event.id, reply)
        except ValueError as error:
            self.fail(node, event.id, errors.ProtocolError(str(error)))
            return
        for one in events:
            self.handle(one)
            if self.resume is not None and not event.cache:
                for number in one.needs if isinstance(one, table.Extended) else ():
                    other = self.graph.nodes[number]
                    if other.part.more is not None:  # made by the job that has ended
                        self.resume.runs_each_time(other)
        self.take([replace(event, reply=answer)])

    def recall(self, ids: Sequence[JobId], root: Any) -> None:
        """Take these jobs back if they have not begun, and give up what was asked for then."""
        self._recalled.update(dict.fromkeys(ids, root))
        self._backend.recall(ids)

    def _was_recalled(self, event: Lost) -> None:
        if event.id not in self._recalled:
            return
        root = self._recalled.pop(event.id)
        if not event.why.started and root.number in self.watched:
            del self.watched[root.number]
            self.handle(table.Drop(root.pins))
            root.give_up()

    def _lost(self, event: Lost) -> None:
        if self._recalled:
            self._was_recalled(event)
        node = self.graph.nodes.get(event.id[0])
        why = event.why
        if why.reason == "left" and why.guilty:
            why = replace(why, guilty=False)
        if node is not None and node.part is not None and self.scheduler.expects(event.id):
            together = isinstance(node.part, Elements) and node.part.span.count > 1
            if together and (why.guilty or why.reason == "timeout"):
                for one in self.maps.died(node, why):
                    self.handle(one)
                # That counts against none of them: nobody knows against which.
                self.handle(table.WorkerLost(event.id, guilty=False, begun=False))
                return
        known = node is not None and self.scheduler.expects(event.id)
        if node is not None and known and (why.guilty or node.part is None):
            self._report.lost(node, event.id[1], why, self.scheduler.suspect(event.id))
        # A task that was killed for its time limit is not tried as a loss is.
        if why.reason == "timeout":
            self.handle(table.Failed(event.id))
        else:
            self.handle(table.WorkerLost(event.id, why.guilty, why.started))

    def fail(self, node: Node, id: JobId, error: BaseException) -> None:
        """Something was raised where a task should have come of it."""
        why = failure.describe(error, Live)
        self._report.failed(node, id[1], why, None)
        self._failed(node, id, why, isinstance(error, (errors.CodecError, errors.GraphError)))

    def _failed(self, node: Node, id: JobId, why: Err, final: bool) -> None:
        again = False
        if self._report.decides_retries and not (final or node.hidden or type(node.part) is Feeder):
            try:
                final, again = self._report.retry(node, id[1], why)
            except errors.PluginError as error:
                # Raised by the loop: what else the backend has reported counts first.
                self.undecided, final = error, True
        self.handle(table.Failed(id, final, again))
