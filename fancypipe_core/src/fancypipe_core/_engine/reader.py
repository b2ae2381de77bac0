"""Makes objects of this process of what nodes hold, for what runs in the client or asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fancypipe_core import errors
from fancypipe_core._base.signals import interruptible
from fancypipe_core._codec import failure, unpickler
from fancypipe_core._codec.in_process import Shape
from fancypipe_core._codec.values import Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.node import Broken, Node
from fancypipe_core._model.ref import Item, Ref
from fancypipe_core.backend import Err, Live

__all__ = ["Reader", "Unopened"]

_MOST_NAMED = 5  # tasks in a message


class Unopened(Exception):
    """The value of a task cannot be made in the client."""


class Reader:
    """Reads what nodes hold.

    Args:
        graph: Where they are.
        values: How values are carried.
    """

    def __init__(self, graph: Graph, values: Values) -> None:
        self._graph = graph
        self._values = values

    def outcome(self, node: Node) -> Any:
        """Return the value of a node that is done, as an object of this process.

        Raises:
            TaskError: It cannot be read.
            Unopened: It can be told in another way why it cannot be made.
        """
        if node.hidden:
            return node.value
        try:
            return self.opened(node)
        except (errors.TaskError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Unopened from error

    def read_inputs(self, node: Node) -> Any:
        """Return a grown node's inputs as objects of this process.

        Raises:
            DecodeError: They cannot be read.
            GraphError: As for `inputs`.
        """
        inputs = self._graph.inputs(node)
        try:
            return self._values.open(inputs)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise errors.DecodeError(
                f"its inputs cannot be read in the client: {_said(error)}{self.makers(node)}"
            ) from error

    def makers(self, node: Node) -> str:
        """Return a phrase that names the tasks whose results are in a node's inputs."""
        nodes = self._graph.nodes
        paths = dict.fromkeys(nodes[n].path for n in node.filled_by if n in nodes)
        if not paths:
            return ""
        named = ", ".join(list(paths)[:_MOST_NAMED]) + (", ..." if len(paths) > _MOST_NAMED else "")
        return f"; in them are the results of: {named}"

    def with_makers(self, node: Node, why: Err) -> Err:
        """Return the failure of a node whose inputs a worker could not read, with their names."""
        what, line_end, advice = why.message.partition("\n")
        named = self._values.unreadable(node.instance) if node.instance is not None else ""
        message = what + named + self.makers(node) + line_end + advice
        return msgspec.structs.replace(why, message=message)

    @interruptible
    def opened(self, node: Node) -> Any:
        """Return a node's value as an object of this process.

        Raises:
            TaskError: It cannot be read.
            BaseException: It could not be put together, or asks for what is not there.
        """
        if type(node.value) is Broken:
            raise node.value.error
        return self._open((node.id,), (node.value,))[0]

    def gather(self, node: Node) -> Any:
        """Return what was asked for, with objects where references were.

        Raises:
            BaseException: Whatever the user's objects raise when they are made.
        """
        numbers, given = node.filled_by, self._graph.given(node)
        if len(node.needs) == len(numbers):
            return self._filled(node, self._open(numbers, given))
        # Some are asked for twice: there is one object of each.
        values = dict(zip(numbers, given, strict=True))
        opened = dict(zip(values, self._open(list(values), values.values()), strict=True))
        return self._filled(node, map(opened.__getitem__, numbers))

    def gather_partly(self, node: Node, failed: Mapping[int, Any]) -> Any:
        """Return what was asked for, with exceptions where values are missing.

        Args:
            node: As for `gather`.
            failed: The nodes that have no value, with what to put in its place.
        """
        values: dict[int, Any] = dict(failed)
        for need in node.filled_by:
            if need not in values:
                try:
                    values[need] = self._open((need,), (self._graph.nodes[need].value,))[0]
                except Exception as error:  # noqa: BLE001 - the user's objects may raise anything
                    values[need] = error
        return self._filled(node, map(values.__getitem__, node.filled_by), partly=True)

    def _open(self, numbers: Sequence[int], values: Iterable[Any]) -> list[Any]:
        """Make the values of nodes."""
        return next(self._opening(numbers, values))

    def _opening(self, numbers: Sequence[int], values: Iterable[Any]) -> Iterator[list[Any]]:
        # A generator, since its frame, which an error knows, lets go of those that called it.  They
        # will have the error: in that circle what is in shared memory would live on.
        made: list[Any] = []
        try:
            self._values.open_all(values, made)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._unreadable(self._graph.nodes[numbers[len(made)]], error) from error
        yield made

    def _unreadable(self, node: Node, error: BaseException) -> errors.TaskError:
        """The error for a result that this process cannot read, though the worker could."""
        cause = errors.DecodeError(f"its result cannot be read in the client: {_said(error)}")
        cause.__cause__ = error
        inputs = node.brief
        who = f"task {node.path}" + (f" ({inputs})" if inputs else "")
        text = f"{who} failed: DecodeError: {cause} (made at {node.where})"
        error = errors.TaskError(text, task=node.path, where=node.where, inputs=inputs)
        return errors.with_cause(error, cause)

    @staticmethod
    def _filled(node: Node, values: Iterable[Any], partly: bool = False) -> Any:
        """Return what was asked for, with the values of what it refers to.

        Args:
            node: The node that stands for what was asked for.
            values: In the order of the references; with `partly` an exception stands for what
                failed.
            partly: Let an item that is not there be its exception.
        """
        packed = node.packed
        assert packed is not None
        assert isinstance(packed.body, Live)
        shape: Shape = packed.body.value
        if Item not in set(map(type, shape.refs)):
            return shape.filled(values)

        def item(ref: Ref[Any], value: Any) -> Any:
            if type(ref) is not Item or (partly and isinstance(value, Exception)):
                return value  # nothing has items that is not there
            try:
                for key in ref._keys():
                    value = unpickler.item(value, key)
            except errors.GraphError as error:
                if not partly:
                    raise
                return error
            return value

        return shape.filled(map(item, shape.refs, values))


def _said(error: BaseException) -> str:
    return f"{failure.name_of(error)}: {failure.text_of(error)}"
