"""`task.map(xs)`: one instance for any number of elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from types import FrameType
from typing import Any

from fancypipe_core import errors
from fancypipe_core._model.definition import Definition, Mapped, map_of
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance, Ref, Reference

__all__ = ["Mapped", "Once", "SpanEntry", "mapped"]


class Once:
    """An iterator, which can be used in one run.

    Args:
        iterator: What was given.
        name: The map's, for the message.
    """

    __slots__ = ("_name", "_taken", "iterator")

    def __init__(self, iterator: Iterator[Any], name: str) -> None:
        self.iterator = iterator
        self._name = name
        self._taken = False

    def __iter__(self) -> Iterator[Any]:
        if self._taken:
            raise errors.GraphError(
                f"{self._name}: its iterator was used up by an earlier run, or by another attempt; "
                "give it a list, or make a new map"
            )
        self._taken = True
        return self.iterator


class SpanEntry:
    """What a worker calls for the elements of a span.

    Args:
        target: What is mapped.
        call: Called for one element: with its arguments, those by name, and None.
        inputs: The names of the inputs that can be given by position.
        function: The same as `call`, as a plain function if it is one.
        options: As in `Mapped`.
    """

    __slots__ = ("call", "function", "inputs", "options", "target")

    def __init__(
        self,
        target: Any,
        call: Callable[..., Any],
        inputs: tuple[str, ...],
        function: Callable[..., Any] | None,
        options: Options | None = None,
    ) -> None:
        self.target = target
        self.options = options
        self.call = call
        self.inputs = inputs
        self.function = function or self._called

    def _called(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(args, kwargs, None)


def mapped(
    definition: Definition,
    columns: tuple[Any, ...],
    fixed: dict[str, Any],
    frame: FrameType,
) -> Instance[Any]:
    """Return the instance of a map.

    Args:
        definition: What is called for each element.
        columns: Iterables, or references to such; one for each positional input.
        fixed: The inputs that all elements have.
        frame: Who asks.

    Raises:
        GraphError: One is no iterable, or they differ in length.
        TypeError: The task cannot be called so.
    """
    name = f"{definition.name}.map"
    definition.check(columns, fixed)
    length = -1
    columns = tuple(
        Once(one, name) if isinstance(one, Iterator) and not isinstance(one, Ref) else one
        for one in columns
    )
    for place, column in enumerate(columns, 1):
        if isinstance(column, Ref):
            continue
        if not isinstance(column, Iterable):
            raise errors.GraphError(
                f"{name}: its argument {place} is a {type(column).__name__}, and cannot be "
                "iterated over; what is the same for all elements is given by name"
            )
        if isinstance(column, Sized):
            if length not in (-1, len(column)):
                raise errors.GraphError(
                    f"{name}: its iterables have {length} and {len(column)} elements; "
                    "they are taken together, so they must be of the same length"
                )
            length = len(column)
    made: Instance[Any] = Instance(map_of(definition), columns, fixed, frame.f_code, frame.f_lasti)
    made.__class__ = Reference
    return made
