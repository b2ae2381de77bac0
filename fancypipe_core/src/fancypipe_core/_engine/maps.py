"""Maps: one task for any number of elements, which are sent in spans.

The map's node unfolds into a *feeder*, a module that takes elements as there is room, and
makes spans of them: jobs like any others.  The map waits for these too, from then on.  When
enough are under way the feeder pauses until one has ended.  A span whose worker stopped in it
or died is cut: its node goes on as one part of it, and new ones get the others.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Sequence, Sized
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fancypipe_core import errors
from fancypipe_core._codec import failure, unpickler
from fancypipe_core._codec.in_process import refers
from fancypipe_core._codec.travel_time import travel_time
from fancypipe_core._codec.values import Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.modules import Composer, Steps
from fancypipe_core._engine.node import Broken, Node
from fancypipe_core._engine.parts import Elements, Feeder, Mapping, PartNode
from fancypipe_core._engine.reader import Reader
from fancypipe_core._engine.report import Report
from fancypipe_core._engine.span_nodes import SpanNodes, columns_of
from fancypipe_core._engine.spans import Pace, Span, after_a_stop, pieces
from fancypipe_core._model.carriage import came, this_thread
from fancypipe_core._model.definition import Mapped
from fancypipe_core._model.mapping import SpanEntry
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.task import definition_of
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import Call, Certificate, Cut, JobId, Live, More, Ok, Reply

if TYPE_CHECKING:
    from fancypipe_core._engine.kept_elements import KeptElements
    from fancypipe_core._engine.resume import Resume  # few sessions have one

__all__ = ["Maps"]

_TELL = 0.1  # seconds between two times that it is told how far a map is
_LOOKED_AT = 16  # elements, in which references are looked for
_EMPTY: Sequence[Iterable[Any]] = ([], (), range(0), {}, set(), frozenset(), "", b"")
_PLAIN = tuple(map(type, _EMPTY))  # to take their elements is no wait
_PLAIN_ITERATORS = tuple(type(iter(one)) for one in _EMPTY)


class Maps:
    """The maps of a session.

    Args:
        graph: Where their nodes are.
        reader: Reads what they hold.
        values: How values are carried.
        composer: Runs the user's code in the client.
        report: Takes the events of the run.
        files: Keeps temporary files as long as their values.
    """

    def __init__(
        self,
        graph: Graph,
        reader: Reader,
        values: Values,
        composer: Composer,
        report: Report,
        files: Keeper,
    ) -> None:
        self._graph = graph
        self._reader = reader
        self._values = values
        self._composer = composer
        self._report = report
        self._files = files
        self._nodes = SpanNodes(graph, values)
        self.resume: Resume | None = None
        self._paces: WeakKeyDictionary[Call, Pace] = WeakKeyDictionary()
        self.under_way: dict[int, Mapping] = {}
        self.sinks: dict[int, Callable[[tuple[Span, Any]], None]] = {}

    # ---- in the client, as modules ----

    def is_map(self, node: Node) -> bool:
        """Tell whether a module's node is a map."""
        if node.instance is not None:
            return type(node.instance._definition.target) is Mapped
        return type(self._composer.main_of(node)) is SpanEntry

    def is_streamed(self, node: Node) -> bool:
        """Tell whether a node is a map whose results are taken one by one."""
        return node.id in self.sinks

    def begin(self, node: Node, id: JobId, scheduler: Scheduler) -> Steps:
        """Begin a map; return what the scheduler is to be told.

        Raises:
            BaseException: What the user's iterables raise.
        """
        entry = self._composer.main_of(node)
        definition = definition_of(entry.target)
        if entry.options is not None:
            definition = definition.variant(entry.options)
        if node.instance is not None:
            given, fixed = self._given(node, node.instance._args), node.instance._kwargs
        else:
            given, fixed, _ = self._composer.inputs_of(node)
        pace = self._paces.get(node.call)
        if pace is None:
            once = scheduler.max_losses <= 1
            pace = self._paces[node.call] = Pace(definition.options.timeout, once)
        columns = yield (lambda: [iter(one) for one in given]), _are(given, _PLAIN)
        made = Mapping(node, definition, node.call, columns, fixed, pace)
        node.returned = made.pieces
        made.sink = self.sinks.get(node.id)
        made.patient = scheduler.keep_going
        lengths = [len(one) for one in given if isinstance(one, Sized)]
        if len(lengths) == len(given):
            if len(set(lengths)) > 1:
                raise _uneven(node, f"have {' and '.join(map(str, lengths))} elements")
            made.length = lengths[0]
            made.eager = any(map(_has_references, given))
        feeder = made.feeder = self._graph.add(
            lambda number: PartNode(number, node.parent, node.name, node.options, Feeder(made))
        )
        feeder.ordinal, feeder.site = node.ordinal, made.where
        if self.resume is not None:
            made.kept = self.resume.elements(node, definition, fixed)
        if fixed and not definition.is_module:
            made.packed = self._values.pack_fixed(fixed)
            if made.packed.wants:
                self._graph.refer(feeder, made.packed.wants, node.parent)
        self.under_way[node.id] = made
        # Its inputs are taken apart, and then released; elements may name their folders.
        self._composer.hold_files(node, node.needs)
        if this_thread.came is not None:
            self._files.hold_until_settled(node.id, came())
        self._report.map_began(node)
        return [table.Unfolded(id, [feeder.id])]

    def _given(self, node: Node, args: Sequence[Any]) -> list[Any]:
        """Return the iterables, with values where references to them are."""
        given = []
        for place, arg in enumerate(args, 1):
            if isinstance(arg, Ref):
                need = self._graph.nodes[self._graph.number(arg._origin(), node.parent)]
                value = self._reader.opened(need)
                for key in arg._keys():
                    value = unpickler.item(value, key)
                if not hasattr(type(value), "__iter__"):
                    raise errors.GraphError(
                        f"{node.name}: its argument {place} refers to a {type(value).__name__}, "
                        "which cannot be iterated over"
                    )
                given.append(value)
            else:
                given.append(arg)
        return given

    def go_on(self, node: Node, id: JobId, scheduler: Scheduler, room: table.Room) -> Steps:
        """Compute a node of a map's own; return what the scheduler is to be told.

        Raises:
            BaseException: What the user's iterables raise.
        """
        part = node.part
        if isinstance(part, Elements):
            assert part.more is not None
            return [table.Unfolded(id, self._graph.unfold_any(node, part.more))]
        assert isinstance(part, Feeder)
        made = part.of
        made.paused = False
        new: list[int] = []
        most = min(_window(made, room) - made.under_way, scheduler.free)
        least = int((not made.under_way or made.is_last_hope) and not made.is_to_be_taken)
        made.is_last_hope = False
        while not made.over:
            if made.is_to_be_taken:
                break  # of what was kept
            if len(new) >= least and not made.eager and (len(new) >= most or made.is_full):
                break
            left = None if made.length is None else made.length - made.drawn
            size = made.paced.size(room.count, left)
            if made.kept is not None and _are(made.columns, _PLAIN_ITERATORS):
                size = max(size, made.kept.stride)
            new += yield from self._take(made, size)
        events: list[table.Event] = []
        if new:
            # The feeder is the last to be looked at, where it is told why something waits.
            events.append(table.Extended(made.node.id, new))
        if made.over:
            events.append(table.Returned([id]))
        else:
            made.paused = True
            events.append(table.Paused(id))
        return events

    def _take(
        self, made: Mapping, size: int
    ) -> Generator[tuple[Callable[[], Any], bool], Any, list[int]]:
        """Take elements, and return the numbers of the spans that are made of them."""
        columns: list[list[Any]] = yield (
            lambda: [list(islice(column, size)) for column in made.columns],
            _are(made.columns, _PLAIN_ITERATORS),
        )
        counts = {len(column) for column in columns}
        if len(counts) > 1:
            ended = min(counts)
            place = next(n for n, one in enumerate(columns, 1) if len(one) == ended)
            raise _uneven(
                made.node,
                f"differ in length: argument {place} ended after {made.drawn + ended} elements",
            )
        count = counts.pop()
        start, made.drawn = made.drawn, made.drawn + count
        if count < size or made.drawn == made.length:
            made.over = True
            made.columns = ()
        if made.kept is None or not count:
            return self._nodes.make(made, Span(start, count), columns) if count else []
        return self._looked_up(made, made.kept, Span(start, count), columns)

    def _looked_up(
        self, made: Mapping, kept: KeptElements, span: Span, columns: list[list[Any]]
    ) -> list[int]:
        """Take what is there of these elements; return the numbers of the spans of the others."""
        new: list[int] = []
        for part, value in kept.look(span.start, columns):
            if value is not None:
                self._came(made, part, value, (made.node.id, 0))
            else:
                new += self._nodes.make(made, part, columns_of(columns, span, part))
        return new

    # ---- what becomes of spans ----

    def ran(self, node: Node, reply: Reply, seconds: float) -> None:
        """A span's job has ended: so long its elements took."""
        part = node.part
        if not isinstance(part, Elements) or part.columns is None:
            return
        pace = part.of.paced
        if part.of.kept is not None:
            part.of.kept.spent += seconds
        if isinstance(reply, More):
            pace.singly = True  # what such a one waits for is its own affair
        elif isinstance(reply, Ok):
            seconds += _travel_time(reply.outputs)
            if node.packed is not None:
                seconds += _travel_time(node.packed.body)
            pace.learn(part.span.count, seconds)

    def cut(self, node: Node, id: JobId, reply: Cut) -> tuple[list[table.Event], Any]:
        """A worker has stopped in a span.

        Returns:
            What the scheduler is to be told first, and the reply to what the node is now.

        Raises:
            ValueError: It cannot have stopped so.
        """
        part = node.part
        if not isinstance(part, Elements):
            raise ValueError("a task that is no span was cut")  # noqa: TRY004 - as the others
        made, span = part.of, part.span
        done, culprit, rest = after_a_stop(span, reply.at, reply.why is not None)
        columns = part.columns
        assert columns is not None
        new: list[int] = []
        if rest is not None:
            new += self._nodes.make(made, rest, columns_of(columns, span, rest))
        if culprit is None:
            assert done is not None
            part.span = done
            part.columns = columns_of(columns, span, done)
            answer: Any = reply.done
        else:
            if isinstance(reply.done, Ok):
                outputs = reply.done.outputs
                value = outputs.value if isinstance(outputs, Live) else outputs
                assert done is not None
                self._keep(made, done, value, node, made.node.id)
                self._came(made, done, value, id)
            elif isinstance(reply.done, More):
                assert done is not None
                other = self._nodes.add(made, done, columns_of(columns, span, done))
                other.local = True
                assert isinstance(other.part, Elements)
                other.part.more = reply.done
                new.append(other.id)
            self._nodes.become(node, culprit)
            answer = reply.why
        return ([table.Extended(made.node.id, new)] if new else []), answer

    def died(self, node: Node, why: Certificate) -> list[table.Event]:
        """The worker of a span has died, and nobody knows of which element."""
        part = node.part
        assert isinstance(part, Elements)
        made, span, columns = part.of, part.span, part.columns
        assert columns is not None
        self._report.map_lost(made.node, why)
        first, *others = pieces(span)
        new = [
            one
            for piece in others
            for one in self._nodes.make(made, piece, columns_of(columns, span, piece))
        ]
        self._nodes.become(node, first)
        return [table.Extended(made.node.id, new)]

    def settled(self, node: Node, state: table.State, room: table.Room) -> list[table.Event]:
        """A span has come to its end; return what the scheduler is to be told."""
        part = node.part
        assert isinstance(part, Elements)
        made = part.of
        made.under_way -= 1
        made.spans += 1
        if state is table.State.DONE:
            self._keep(made, part.span, node.value, node, node.id)
            self._came(made, part.span, node.value, (node.id, 0))
        elif state is table.State.FAILED:
            made.ended += part.span.count
            if made.sink is None:
                made.failed.append(node)
            elif made.patient:
                made.sink((part.span, Broken(self._report.failures.failure(node))))
        if state is not table.State.FAILED:
            part.columns = None
        if made.paused and made.feeder is not None and made.under_way < _window(made, room):
            made.paused = False
            return [table.Due([made.feeder.id])]
        return []

    def _keep(self, made: Mapping, span: Span, value: Any, node: Node, holder: int) -> None:
        if made.kept is not None and self.resume is not None and type(value) is not Broken:
            self.resume.keep_elements(span, value, node, made.node, holder)

    def _came(self, made: Mapping, span: Span, value: Any, id: JobId) -> None:
        made.ended += span.count
        self._files.inherit(made.node.id, (id[0],))
        if made.sink is not None:
            made.sink((span, value))
        else:
            made.pieces.values.append((span.start, value))
        if self._report.observed and monotonic() - made.told > _TELL:
            made.told = monotonic()
            self._report.map_progress(made.node, made.ended, made.length)

    def handed(self, number: int, count: int) -> list[table.Event]:
        """So many elements of a map were handed out; return what the scheduler is to be told."""
        made = self.under_way.get(number)
        if made is None or made.handed == count:
            return []
        made.handed = count
        if made.paused and not made.is_full and made.feeder is not None:
            made.paused = False
            return [table.Due([made.feeder.id])]
        return []

    def is_to_be_taken(self, number: int) -> bool:
        """Tell whether so much of a map is there that somebody has to take some of it."""
        made = self.under_way.get(number)
        return made is not None and made.is_to_be_taken

    def opened(self, number: int, span: Span, value: Any) -> tuple[int, list[Any]]:
        """Return the results of some elements, and the index of the first.

        Raises:
            DecodeError: They cannot be read in the client.
        """
        if type(value) is Broken:
            return span.start, [value.error] * span.count
        try:
            found = self._values.open(value)
            singly = self.under_way[number].definition.is_module
            return span.start, [found] if singly else found
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise errors.DecodeError(
                f"the results of the elements {span.start} to {span.start + span.count - 1} cannot "
                f"be read in the client: {failure.name_of(error)}: {failure.text_of(error)}"
            ) from error

    def wake(self) -> list[table.Event]:
        """Nothing is under way: whoever pauses is to go on."""
        feeders = []
        for made in self.under_way.values():
            if made.paused and made.feeder is not None and not made.is_to_be_taken:
                made.paused, made.is_last_hope = False, True
                feeders.append(made.feeder.id)
        return [table.Due(feeders)] if feeders else []

    def partial(self, node: Node) -> list[Any] | None:
        """Return the list of a map that failed, with exceptions where elements failed.

        None if it is no map, or not all of its elements were taken.
        """
        made = self.under_way.get(node.id)
        if made is None or not made.over:
            return None
        found: dict[int, Any] = {}
        for start, value in made.pieces.values:
            opened = self._values.open(value)
            found.update(
                [(start, opened)] if made.definition.is_module else enumerate(opened, start)
            )
        for failed in made.failed:
            assert isinstance(failed.part, Elements)
            start, count = failed.part.span
            why = self._report.failures.failure(failed)
            found.update(dict.fromkeys(range(start, start + count), why))
        return [found[index] for index in sorted(found)]

    @property
    def backlog(self) -> int:
        """How many elements are in no span yet; of a generator nobody knows, and that is one."""
        return sum(
            1 if made.length is None else made.length - made.drawn
            for made in self.under_way.values()
            if not made.over
        )

    def forget(self, tasks: Iterable[int]) -> None:
        """These tasks are gone; there may be maps among them."""
        for one in tasks:
            if self.under_way.pop(one, None) is not None:
                self.sinks.pop(one, None)

    def clear(self) -> None:
        """The run is over."""
        self.under_way.clear()
        self.sinks.clear()


def _are(values: Iterable[Any], types: Container[type]) -> bool:
    return all(type(one) in types for one in values)


def _window(made: Mapping, room: table.Room) -> int:
    return made.paced.window(room.count, room.ahead, made.spans)


def _uneven(node: Node, how: str) -> errors.GraphError:
    return errors.GraphError(
        f"{node.name}: its iterables {how}; they are taken together, so they must be of the "
        "same length"
    )


def _has_references(values: Any) -> bool:
    """Whether there are references in some elements, as far as that is seen in no time."""
    if type(values) not in (list, tuple):
        return False
    return any(issubclass(type(one), Ref) for one in values) or refers(list(values[:_LOOKED_AT]))


def _travel_time(value: Any) -> float:
    if type(value) is not tuple:
        return 0.0
    return sum(travel_time((one.head, *one.buffers)) for one in value)
