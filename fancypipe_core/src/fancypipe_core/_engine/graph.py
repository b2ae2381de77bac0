"""The graph: numbers for instances, values for numbers.

Grows with the run.  A node is made when something refers to its instance, its
inputs are looked at when the scheduler asks, its value is kept until the
scheduler releases it.  What a value looks like is the business of `Values`;
objects are made of it by a `Reader`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from fancypipe_core import errors
from fancypipe_core._base.signals import interruptible
from fancypipe_core._codec.in_process import Shape
from fancypipe_core._codec.pickler import PLAIN, Packed
from fancypipe_core._codec.row import Coming
from fancypipe_core._codec.values import Values, is_plain
from fancypipe_core._engine.machine.records import READY
from fancypipe_core._engine.node import Broken, Node, Pieces, RemoteNode
from fancypipe_core._model.definition import Definition, Mapped
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance, Ref, Reference
from fancypipe_core.backend import Call, Encoded, Job, JobId, Live, More, Payload

__all__ = ["Graph"]

N = TypeVar("N", bound=Node)


_marking = threading.Lock()  # held by the graph that marks instances
_mark = Instance.__dict__["_node"].__set__  # nothing can be set on most of them
_bare = object.__new__  # with the call of `__init__` in sight, which Python then makes faster


class Graph:
    """The nodes of a session.

    Args:
        values: How values are carried.
        observed: Keep in `fresh` which tasks with plain inputs were met: they are ready from the
            start, so that nobody is told when they are looked at.

    Attributes:
        fresh: Those that nobody was told of; None if not observed.
        latest: The number of the node that was made last; they are counted up.
    """

    def __init__(self, values: Values, observed: bool = False) -> None:
        self.values = values
        self.fresh: list[Node] | None = [] if observed else None
        self._calls: dict[Definition, Call] = {}
        self.nodes: dict[int, Node] = {}
        self._of_instance: dict[int, Node] = {}
        self._kinds: dict[int, dict[str, int]] = {}  # how many of each name a node has made
        self.latest = 0
        self._marks = False  # else `_of_instance` tells whose node is whose

    def begin(self) -> None:
        """A run begins.  One run of a process at a time marks instances with their nodes."""
        self._marks = _marking.acquire(blocking=False)

    def clear(self) -> None:
        """Forget all nodes; numbers go on, so that late messages find nobody."""
        if self._marks:
            for node in self.nodes.values():
                instance = node.instance
                if instance is not None and instance._node is node:
                    _mark(instance, None)
            self._marks = False
            _marking.release()
        self.nodes.clear()
        if self.fresh is not None:
            self.fresh.clear()
        self._of_instance.clear()
        self._kinds.clear()
        self._calls.clear()

    def number(self, instance: Instance[Any], parent: Node | None) -> int:
        """Return the number of an instance's node; the node is made if there is none."""
        return self._numbers((instance,), parent)[0]

    def _numbers(self, instances: Iterable[Instance[Any]], parent: Node | None) -> list[int]:
        """Return the numbers of the nodes of instances, as `number` does."""
        marks, of_instance = self._marks, self._of_instance
        numbers = []
        node: Node | None
        for instance in instances:
            node = instance._node if marks else of_instance.get(id(instance))
            if node is None or node.held < 0:
                node = self._new(instance, parent)
            numbers.append(node.id)
        return numbers

    def _new(self, instance: Instance[Any], parent: Node | None) -> Node:
        """Make the node of an instance."""
        definition = instance._definition
        maker = 0 if parent is None else parent.id
        name, is_module = definition.name, definition.is_module
        kinds = self._kinds.get(maker) or self._kinds.setdefault(maker, {})
        ordinal = kinds[name] = kinds.get(name, 0) + 1
        number = self.latest = self.latest + 1
        node = _bare(Node)
        node.__init__(number, parent, ordinal, instance, definition.options, is_module)  # type: ignore[misc]
        self.nodes[number] = node
        if self._marks:
            _mark(instance, node)
        else:
            self._of_instance[id(instance)] = node
        if not is_module:
            # Most instances are seen to be plain without a call.
            easy = type(instance) is Reference and not instance._kwargs
            if PLAIN.issuperset(map(type, instance._args)) if easy else is_plain(instance):
                call = self._calls.get(definition) or self._known(definition)
                if call is not None:
                    node.call = call
                    node.state = READY
                    if self.fresh is not None:
                        self.fresh.append(node)
        return node

    @interruptible
    def _known(self, definition: Definition) -> Call | None:
        """Return what stands for a definition; None if it cannot be had, which `grow` will tell."""
        try:
            call = self._calls[definition] = self.values.call(definition)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the user's objects may raise anything
            return None
        return call

    def _made_elsewhere(
        self, name: str, parent: Node, options: Options, is_module: bool
    ) -> RemoteNode:
        """Make a node of what a worker has made."""
        kinds = self._kinds.setdefault(parent.id, {})
        ordinal = kinds[name] = kinds.get(name, 0) + 1
        return self.add(
            lambda number: RemoteNode(number, parent, ordinal, None, options, is_module)
        )

    def _forget(self, node: Node) -> None:
        """A node is not its instance's any more; another may have taken its place already."""
        instance = node.instance
        if instance is None:
            return
        if self._marks:
            if instance._node is node:
                _mark(instance, None)
        elif self._of_instance.get(id(instance)) is node:
            del self._of_instance[id(instance)]

    @interruptible
    def grow(self, number: int) -> Sequence[int]:
        """Look at a node's inputs.

        Returns:
            The nodes that they refer to, each once.

        Raises:
            EncodeError: They cannot be written down.
            GraphError: They refer to something in a way that cannot be.
        """
        node = self.nodes[number]
        instance = node.instance
        if instance is None:  # a worker or a map made it: all is there
            if node.broken is not None:
                raise node.broken
            return tuple(dict.fromkeys(node.filled_by))
        if node.hidden:
            # What was asked for stays here: there is nothing to encode.
            shape = Shape(instance._args[0])
            node.packed = Packed(Live(shape))
            wants = [one if isinstance(one, Instance) else one._origin() for one in shape.refs]
            return self.refer(node, wants, node.parent)
        definition = instance._definition
        call = self._calls.get(definition)
        if call is None:
            call = self._calls[definition] = self.values.call(definition)
        node.call = call
        if type(definition.target) is Mapped:
            # Its elements are looked at when it is their turn.
            iterables = [one for one in instance._args if isinstance(one, Ref)]
            packed = Packed(Live(None), [one._origin() for one in iterables])
        elif definition.is_module and is_plain(instance):
            return ()  # others were seen to be plain when their node was made
        else:
            packed = self.values.pack_inputs(instance)
        node.packed = packed
        return self.refer(node, packed.wants, node.parent) if packed.wants else ()

    def add(self, make: Callable[[int], N]) -> N:
        """Add a node that a map has made, given its number; return it."""
        number = self.latest = self.latest + 1
        node = self.nodes[number] = make(number)
        return node

    def refer(
        self, node: Node, wants: Iterable[Instance[Any]], parent: Node | None
    ) -> Sequence[int]:
        """Have a node need what was found in something; return those nodes, each once."""
        node.filled_by = numbers = self._numbers(wants, parent)
        unique = dict.fromkeys(numbers)
        return numbers if len(unique) == len(numbers) else tuple(unique)

    def inputs(self, node: Node) -> Any:
        """Return a grown node's inputs with all values filled in.

        Raises:
            GraphError: A named output is asked for that a value does not have.
            Exception: An item is asked for that a live value does not have.
        """
        packed = node.packed
        if packed is None or not node.filled_by:
            body = self._body(node)
            return body if type(body) is tuple else body.value  # type: ignore[union-attr]
        return self._fill(node, packed)

    def _body(self, node: Node) -> Encoded | Live:
        """Return what a grown node's inputs came to, holes and all."""
        if node.packed is not None:
            return node.packed.body
        assert node.instance is not None
        return self.values.plain_inputs((node.instance,))[0]

    def _fill(self, node: Node, packed: Packed, after: Sequence[JobId] = ()) -> Any:
        given = self.given(node, after)
        try:
            return self.values.fill(packed, given, len(after))
        except errors.GraphError as error:
            asked = ", ".join(
                dict.fromkeys(self.nodes[n].path for n in node.filled_by[:5] if n in self.nodes)
            )
            raise errors.GraphError(f"{error} (asked of: {asked})") from error

    def given(self, node: Node, after: Sequence[JobId] = ()) -> list[Any]:
        """Return what goes into a node's holes, hole by hole; what it runs `after` is `Coming`."""
        nodes = self.nodes
        if not after:
            known = [nodes.get(need) for need in node.filled_by]
            given = [None if one is None else one.value for one in known]
            if Broken not in set(map(type, given)):
                return given
        coming = {task: Coming(at) for at, (task, _) in enumerate(after)}
        given = []
        for need in node.filled_by:
            if need in coming:
                given.append(coming[need])
                continue
            found = nodes.get(need)
            # A task that a worker made and that no output refers to may be gone.
            value = None if found is None else found.value
            if type(value) is Broken:
                raise value.error
            given.append(value)
        return given

    def plain_jobs(self, ids: Sequence[JobId]) -> list[Job] | None:
        """Return the jobs for first attempts with plain inputs and no needs; None if others are."""
        nodes = [self.nodes[task] for task, attempt in ids if attempt == 1]
        plain = [
            node.instance
            for node in nodes
            if node.packed is None and node.instance is not None and node.options.needs is None
        ]
        if len(plain) != len(ids):
            return None
        bodies = self.values.plain_inputs(plain)
        return [
            Job(id, node.call, body, node.options.timeout)
            for id, node, body in zip(ids, nodes, bodies, strict=True)
        ]

    def job(
        self,
        node: Node,
        attempt: int,
        live: type | None,
        alone: bool = False,
        after: tuple[JobId, ...] = (),
    ) -> Job:
        """Return the job for an attempt at a node; `alone` and `after` as in `Job`."""
        packed = node.packed
        body: Any
        if packed is None:  # as it is for most jobs
            if node.instance is None:
                assert node.broken is not None
                raise node.broken
            body = self.values.plain_inputs((node.instance,))[0]
        elif not node.filled_by:
            body = packed.body
        else:
            filled = self._fill(node, packed, after)
            body = filled if live is None else live(filled)
        options = node.options
        return Job(
            (node.id, attempt), node.call, body, options.timeout, alone, after, options.needs
        )

    def unfold(self, node: Node, returned: Packed) -> Sequence[int]:
        """A node returned references that are instances of this process."""
        node.returned = returned
        return self.refer(node, returned.wants, node)

    def unfold_any(self, node: Node, more: More) -> Sequence[int]:
        """A node returned references, wherever their tasks were made."""
        if isinstance(more.outputs, Live):
            return self.unfold(node, more.outputs.value)
        return self.unfold_remote(node, more)

    def unfold_remote(self, node: Node, more: More) -> Sequence[int]:
        """A node returned references to tasks that a worker made."""
        made = []
        for task in more.tasks:
            call = more.calls[task.call]
            options = Options(
                call.label,
                task.retries,
                task.timeout,
                task.retry_delay,
                task.needs,
                task.priority,
                task.cache,
            )
            new = self._made_elsewhere(call.label, node, options, task.is_module)
            new.call = call
            new.site = task.where
            made.append(new)
        for new, task in zip(made, more.tasks, strict=True):
            holes = task.inputs.holes
            new.filled_by = [made[index].id for index, _ in holes]
            inputs = task.inputs
            if holes:
                numbered = tuple((at, name) for at, (_, name) in enumerate(holes))
                inputs = Payload(inputs.head, inputs.buffers, numbered, inputs.names)
            new.packed = Packed((inputs,))
        assert isinstance(more.outputs, tuple)
        node.returned = Packed(more.outputs)
        node.filled_by = [new.id for new in made]
        return self._wanted(more, made)

    @staticmethod
    def _wanted(more: More, made: Sequence[Node]) -> Sequence[int]:
        """The tasks that the outputs themselves refer to; the others are needs of needs."""
        assert isinstance(more.outputs, tuple)
        wanted = {
            index for payload in more.outputs for index, _ in payload.holes if index < len(made)
        }
        return [made[index].id for index in sorted(wanted)]

    def complete(self, node: Node) -> None:
        """An unfolded node's references have their values: so has the node.

        Raises:
            GraphError: A named output is asked for that a value does not have.
            Exception: An item is asked for that a live value does not have.
        """
        returned, node.returned = node.returned, None
        assert returned is not None
        if isinstance(returned, Pieces):
            values = [value for _, value in sorted(returned.values, key=itemgetter(0))]
            node.value = self.values.join(values, returned.singly)
            return
        node.value = self._fill(node, returned)

    def definition(self, node: Node) -> Definition | None:
        """Return the definition of a node made in this process."""
        return node.instance._definition if node.instance is not None else None

    def release(self, numbers: Iterable[int]) -> None:
        """Forget nodes and their values."""
        nodes, kinds, marks = self.nodes, self._kinds, self._marks
        for number in numbers:
            node = nodes.pop(number, None)
            if node is None:
                continue
            node.value = node.packed = node.returned = None
            if number in kinds:
                del kinds[number]
            instance = node.instance
            if not marks:
                self._forget(node)
            elif instance is not None and instance._node is node:
                _mark(instance, None)
