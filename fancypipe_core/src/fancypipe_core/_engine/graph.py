"""The graph: numbers for instances, values for numbers.

Grows with the run.  A node is made when something refers to its instance, its
inputs are looked at when the scheduler asks, its value is kept until the
scheduler releases it.  What a value looks like is the business of `Values`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fancypipe_core import errors
from fancypipe_core._base.backoff import Backoff
from fancypipe_core._base.signals import interruptible
from fancypipe_core._codec import failure, unpickler
from fancypipe_core._codec.in_process import Shape
from fancypipe_core._codec.pickler import Packed
from fancypipe_core._codec.values import Values
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.input_summary import brief_of
from fancypipe_core._model.ref import Instance, Item, Ref
from fancypipe_core.backend import Call, Err, Job, Live, More, Payload

__all__ = ["Broken", "Graph", "Node", "parent_of"]


class Node:
    """One task of a session.

    Attributes:
        id: Its number.
        parent: The node whose main made it; None for what the caller of `run` made.
        name: The task's name.
        ordinal: Which one of that name it is below its parent, from 1.
        instance: What it was made of; None for what a worker made.
        call: What to call.
        packed: Its inputs, once grown.
        returned: What it returned, while it waits for the references in that.
        needs: The nodes that fill the holes of `packed` or `returned`, hole by hole.
        value: Its value, while it has one.
        kinds: How many tasks of each name are below it.
        hidden: Whether it only gathers what was asked for, and is nobody's task.
    """

    __slots__ = (
        "call", "delay", "hidden", "id", "instance", "is_module", "kinds", "name", "needs",
        "ordinal", "packed", "parent", "retries", "returned", "site", "timeout", "value",
    )  # fmt: skip

    def __init__(self, id: int, parent: Node | None, name: str, ordinal: int) -> None:
        self.id = id
        self.parent = parent
        self.name = name
        self.ordinal = ordinal
        self.instance: Instance[Any] | None = None
        self.call: Call | None = None
        self.packed: Packed | None = None
        self.returned: Packed | None = None
        self.needs: Sequence[int] = ()
        self.value: Any = None
        self.kinds: dict[str, int] | None = None
        self.hidden = False
        self.is_module = False
        self.retries = 0
        self.timeout: float | None = None
        self.delay: Backoff | None = None
        self.site = ""

    @property
    def path(self) -> str:
        """Its path from the outermost module, such as `study/volume[2]/denoise`."""
        steps = []
        node: Node | None = self
        while node is not None:
            steps.append(node.name if node.ordinal == 1 else f"{node.name}[{node.ordinal}]")
            node = node.parent
        if len(steps) > 12:  # a recursion
            steps = [*steps[:6], f"...{len(steps) - 12}...", *steps[-6:]]
        return "/".join(reversed(steps))

    @property
    def where(self) -> str:
        """Where the instance was made: `file:line`."""
        return self.instance._site() if self.instance is not None else self.site


_MOST_NAMED = 5  # tasks in a message


def parent_of(node: Node) -> int:
    """Return the number of the node that made this one; 0 for none."""
    return node.parent.id if node.parent is not None else 0


def _said(error: BaseException) -> str:
    return f"{failure.name_of(error)}: {failure.text_of(error)}"


class Broken:
    """A value that could not be put together; whoever asks for it gets the error."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Graph:
    """The nodes of a session.

    Args:
        values: How values are carried.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.nodes: dict[int, Node] = {}
        self._of_instance: dict[int, Node] = {}
        self._kinds: dict[str, int] = {}
        self._next = 1

    def clear(self) -> None:
        """Forget all nodes; numbers go on, so that late messages find nobody."""
        self.nodes.clear()
        self._of_instance.clear()
        self._kinds.clear()

    def number(self, instance: Instance[Any], parent: Node | None) -> int:
        """Return the number of an instance's node; the node is made if there is none."""
        node = self._of_instance.get(id(instance))
        if node is None:
            definition = instance._definition
            node = self._make(definition.name, parent)
            node.instance = instance
            options = definition.options
            node.is_module = definition.is_module
            node.retries = options.retries
            node.timeout = options.timeout
            node.delay = options.retry_delay
            self._of_instance[id(instance)] = node
        return node.id

    def _make(self, name: str, parent: Node | None) -> Node:
        if parent is None:
            kinds = self._kinds
        elif parent.kinds is not None:
            kinds = parent.kinds
        else:
            kinds = parent.kinds = {}
        ordinal = kinds[name] = kinds.get(name, 0) + 1
        number = self._next
        self._next = number + 1
        node = self.nodes[number] = Node(number, parent, name, ordinal)
        return node

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
        if instance is None:  # a worker made it: all is there
            return tuple(dict.fromkeys(node.needs))
        if node.hidden:
            # What was asked for stays here: there is nothing to encode.
            shape = Shape(instance._args[0])
            packed = Packed(
                Live(shape),
                [ref if isinstance(ref, Instance) else ref._origin() for ref in shape.refs],
            )
        else:
            node.call = self.values.call(instance._definition)
            packed = self.values.pack_inputs(instance)
        node.packed = packed
        if not packed.wants:
            return ()
        return self._refer(node, packed, node.parent)

    def _refer(self, node: Node, packed: Packed, parent: Node | None) -> Sequence[int]:
        node.needs = [self.number(instance, parent) for instance in packed.wants]
        return tuple(dict.fromkeys(node.needs))

    def inputs(self, node: Node) -> Any:
        """Return a grown node's inputs with all values filled in.

        Raises:
            GraphError: A named output is asked for that a value does not have.
            Exception: An item is asked for that a live value does not have.
        """
        packed = node.packed
        assert packed is not None
        if not node.needs:
            body = packed.body
            return body if type(body) is tuple else body.value  # type: ignore[union-attr]
        return self._fill(node, packed)

    def read_inputs(self, node: Node) -> Any:
        """Return a grown node's inputs as objects of this process.

        Raises:
            DecodeError: They cannot be read.
            GraphError: As for `inputs`.
        """
        inputs = self.inputs(node)
        try:
            return self.values.open(inputs)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise errors.DecodeError(
                f"its inputs cannot be read in the client: {_said(error)}{self.makers(node)}"
            ) from error

    def makers(self, node: Node) -> str:
        """Return a phrase that names the tasks whose results are in a node's inputs."""
        paths = dict.fromkeys(self.nodes[n].path for n in node.needs if n in self.nodes)
        if not paths:
            return ""
        named = ", ".join(list(paths)[:_MOST_NAMED]) + (", ..." if len(paths) > _MOST_NAMED else "")
        return f"; in them are the results of: {named}"

    def with_makers(self, node: Node, why: Err) -> Err:
        """Return the failure of a node whose inputs a worker could not read, with their names."""
        what, line_end, advice = why.message.partition("\n")
        named = self.values.unreadable(node.instance) if node.instance is not None else ""
        message = what + named + self.makers(node) + line_end + advice
        return msgspec.structs.replace(why, message=message)

    def _fill(self, node: Node, packed: Packed) -> Any:
        given = self._given(node)
        try:
            return self.values.fill(packed, given)
        except errors.GraphError as error:
            asked = ", ".join(
                dict.fromkeys(self.nodes[n].path for n in node.needs[:5] if n in self.nodes)
            )
            raise errors.GraphError(f"{error} (asked of: {asked})") from error

    def _given(self, node: Node) -> list[Any]:
        given = []
        for need in node.needs:
            found = self.nodes.get(need)
            # A task that a worker made and that no output refers to may be gone.
            value = None if found is None else found.value
            if type(value) is Broken:
                raise value.error
            given.append(value)
        return given

    @interruptible
    def opened(self, node: Node) -> Any:
        """Return a node's value as an object of this process.

        Raises:
            TaskError: It cannot be read.
            BaseException: It could not be put together, or asks for what is not there.
        """
        if type(node.value) is Broken:
            raise node.value.error
        return self._open([(node.id, node.value)])[node.id]

    def gather(self, node: Node) -> Any:
        """Return what was asked for, with objects where references were.

        Raises:
            BaseException: Whatever the user's objects raise when they are made.
        """
        packed = node.packed
        assert packed is not None
        given = zip(node.needs, self._given(node), strict=True)
        return self._filled(node, self._open(given))

    def _open(self, values: Iterable[tuple[int, Any]]) -> dict[int, Any]:
        """Make the values of nodes, each once, by their numbers."""
        opened: dict[int, Any] = {}
        open_value = self.values.open
        number = 0
        try:
            for number, value in values:
                if number not in opened:
                    opened[number] = open_value(value)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._unreadable(self.nodes[number], error) from error
        return opened

    def _unreadable(self, node: Node, error: BaseException) -> errors.TaskError:
        """The error for a result that this process cannot read, though the worker could."""
        cause = errors.DecodeError(f"its result cannot be read in the client: {_said(error)}")
        cause.__cause__ = error
        inputs = brief_of(node.instance)
        who = f"task {node.path}" + (f" ({inputs})" if inputs else "")
        text = f"{who} failed: DecodeError: {cause} (made at {node.where})"
        error = errors.TaskError(text, task=node.path, where=node.where, inputs=inputs)
        return errors.with_cause(error, cause)

    def gather_partly(self, node: Node, failed: Mapping[int, Exception]) -> Any:
        """Return what was asked for, with exceptions where values are missing.

        Args:
            node: As for `gather`.
            failed: The nodes that have no value, with what to put in its place.
        """
        packed = node.packed
        assert packed is not None
        there = [need for need in dict.fromkeys(node.needs) if need not in failed]
        values: dict[int, Any] = dict(failed)
        for need in there:
            try:
                values |= self._open([(need, self.nodes[need].value)])
            except Exception as error:  # noqa: BLE001 - the user's objects may raise anything
                values[need] = error
        return self._filled(node, values, partly=True)

    @staticmethod
    def _filled(node: Node, values: Mapping[int, Any], partly: bool = False) -> Any:
        """Return what was asked for, with these values of nodes.

        Args:
            node: The node that stands for what was asked for.
            values: By number; with `partly` an exception stands for what failed.
            partly: Let an item that is not there be its exception.
        """
        packed = node.packed
        assert packed is not None
        assert isinstance(packed.body, Live)
        place = {
            id(instance): need for instance, need in zip(packed.wants, node.needs, strict=True)
        }

        def look_up(ref: Ref[Any]) -> Any:
            item = type(ref) is Item
            value = values[place[id(ref._origin() if item else ref)]]
            if partly and isinstance(value, Exception):
                return value  # nothing has items that is not there
            try:
                for key in ref._keys() if item else ():
                    value = unpickler.item(value, key)
            except errors.GraphError as error:
                if not partly:
                    raise
                return error
            return value

        shape: Shape = packed.body.value
        return shape.filled(look_up)

    def job(self, node: Node, attempt: int, live: type | None, alone: bool = False) -> Job:
        """Return the job for an attempt at a node; `alone` as in `Job`."""
        packed = node.packed
        assert node.call is not None
        assert packed is not None
        body: Any = packed.body  # as it is for most jobs, which need nothing
        if node.needs:
            filled = self._fill(node, packed)
            body = filled if live is None else live(filled)
        return Job((node.id, attempt), node.call, body, node.timeout, alone)

    def unfold(self, node: Node, returned: Packed) -> Sequence[int]:
        """A node returned references that are instances of this process."""
        node.returned = returned
        return self._refer(node, returned, node)

    def unfold_remote(self, node: Node, more: More) -> Sequence[int]:
        """A node returned references to tasks that a worker made."""
        made = [self._make(more.calls[task.call].label, node) for task in more.tasks]
        for new, task in zip(made, more.tasks, strict=False):
            holes = task.inputs.holes
            new.call = more.calls[task.call]
            new.is_module = task.is_module
            new.retries = task.retries
            new.timeout = task.timeout
            new.delay = task.retry_delay
            new.site = task.where
            new.needs = [made[index].id for index, _ in holes]
            inputs = task.inputs
            if holes:
                numbered = tuple((at, name) for at, (_, name) in enumerate(holes))
                inputs = Payload(inputs.head, inputs.buffers, numbered, inputs.names)
            new.packed = Packed((inputs,))
        assert isinstance(more.outputs, tuple)
        node.returned = Packed(more.outputs)
        node.needs = [new.id for new in made]
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
        node.value = self._fill(node, returned)

    def definition(self, node: Node) -> Definition | None:
        """Return the definition of a node made in this process."""
        return node.instance._definition if node.instance is not None else None

    def release(self, numbers: Iterable[int]) -> None:
        """Forget nodes and their values."""
        for number in numbers:
            node = self.nodes.pop(number, None)
            if node is not None:
                node.value = node.packed = node.returned = None
                if node.instance is not None:
                    self._of_instance.pop(id(node.instance), None)
