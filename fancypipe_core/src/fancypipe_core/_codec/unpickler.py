"""Payloads back to objects: the other half of `_codec.pickler`."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from pickle import PickleBuffer
from typing import Any

from fancypipe_core import errors
from fancypipe_core._codec import unencodable
from fancypipe_core._model.ref import Outputs
from fancypipe_core.backend import Handle, Live, Payload

__all__ = [
    "ROWS",
    "Hole",
    "decode",
    "fill",
    "item",
    "joined",
    "loads",
    "no_output",
    "part",
    "said",
]


def decode(
    encoded: Sequence[Payload | Live], load: Callable[..., Any] = pickle.loads, own: bool = False
) -> Any:
    """Make the value again; the payloads before the last fill its holes.

    Args:
        encoded: Its payloads.
        load: What reads a pickle; `_plain.load` where what is plain is read as plain.
        own: Copy buffers that can be written to: they are used elsewhere too.

    Raises:
        BaseException: Whatever the user's objects raise when they are made.
    """
    if len(encoded) == 1:
        only = encoded[0]
        if type(only) is Payload and not (only.holes or only.buffers):  # most values are so
            head = only.head
            return load(head if type(head) is bytes else _mapped(head), buffers=())
        return _decode_one(only, (), load, own)
    values: list[Any] = []
    for payload in encoded:
        easy = type(payload) is Payload and not (payload.holes or payload.buffers)
        if easy and type(payload.head) is bytes:  # type: ignore[union-attr]
            values.append(load(payload.head, buffers=()))  # type: ignore[union-attr]
            continue
        values.append(_decode_one(payload, values, load, own))
    return values[-1]


def part(
    encoded: Sequence[Payload | Live], at: int, load: Callable[..., Any] = pickle.loads
) -> Any:
    """Make one of the values that an encoded value is made of; each call makes another.

    Args:
        encoded: Payloads.
        at: The place of the wanted one.
        load: As for `decode`.

    Raises:
        BaseException: Whatever the user's objects raise when they are made.
    """
    needed = {at}
    for place in range(at, -1, -1):
        one = encoded[place]
        if place in needed and type(one) is Payload:
            needed.update(index for index, _ in one.holes)
    values: Any = {}  # by place, as in the list that it stands for
    for place in sorted(needed):
        values[place] = _decode_one(encoded[place], values, load, True)
    return values[at]


def joined(lists: Sequence[list[Any]]) -> list[Any]:
    """Return the elements of lists as one; the values of maps refer to it."""
    return list(chain.from_iterable(lists))


def _decode_one(
    payload: Payload | Live, values: Sequence[Any], load: Callable[..., Any], own: bool
) -> Any:
    """Make one value; `values` are those that its holes point into."""
    if isinstance(payload, Live):
        return payload.value
    buffers = payload.buffers
    if buffers:
        buffers = tuple(map(_copied if own else _own, buffers))
    head = payload.head if type(payload.head) is bytes else _mapped(payload.head)
    if not payload.holes:
        return load(head, buffers=buffers)
    found = [
        values[index] if name is None else item(values[index], name)
        for index, name in payload.holes
    ]
    if not head:
        return found[0]
    if type(head) is bytes and ROWS.get(head) == len(found):
        return tuple(found), {}, None
    return loads(head, buffers, found, load)


def _mapped(head: Any) -> Any:
    return memoryview(head.map())


def loads(
    head: bytes,
    buffers: Sequence[Any],
    fillings: Sequence[Any],
    load: Callable[..., Any] = pickle.loads,
) -> Any:
    """Unpickle what has holes."""
    outer = getattr(_local, "fillings", None)
    _local.fillings = fillings
    try:
        return load(head, buffers=buffers)
    finally:
        _local.fillings = outer


def _own(buffer: Any) -> Any:
    """Return a buffer that the value may be made in: a copy of what others read as well."""
    if type(buffer) is Handle:
        return buffer.map()
    shared = isinstance(buffer, memoryview) and buffer.readonly
    return bytearray(buffer) if shared else buffer


def _copied(buffer: Any) -> Any:
    """Return a buffer for one of several readers; what nobody can change need not be copied."""
    if type(buffer) is Handle:
        return buffer.map()
    if type(buffer) is not PickleBuffer:
        return bytearray(buffer)  # it came over a channel
    view = buffer.raw()
    return view if view.readonly else bytearray(view)


_local = threading.local()


def fill(index: int, keys: tuple[Any, ...]) -> Any:
    """Return what fills a hole; pickles refer to it."""
    value = _local.fillings[index]
    for key in keys:
        value = item(value, key)
    return value


class Hole:
    """Pickles as what fills a hole."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return (fill, (self.index, ()))


def row(count: int) -> bytes:
    """Return the pickle of inputs that are so many values by position, each from a hole."""
    return pickle.dumps((tuple(map(Hole, range(count))), {}, None), 5)


ROWS = {row(count): count for count in range(1, 13)}
"""Those of which everybody knows what they come to without reading them."""


def item(value: Any, key: Any) -> Any:
    """Return an item that a reference asks for.

    Raises:
        GraphError: The value has no such item.
    """
    try:
        return value[key]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(value, Outputs):
            raise errors.GraphError(no_output(key, list(value))) from error
        kind = type(value).__name__
        raise errors.GraphError(
            f"the item {key!r} is asked of an output that has none such: it is a {kind} "
            f"({said(error)})"
        ) from error


def no_output(name: object, names: Sequence[str]) -> str:
    """Say that an output is asked for that a task does not have."""
    return (
        f"the output {name!r} is asked of a task that has none such; "
        f"it has: {', '.join(names) or 'none'}"
    )


def said(error: BaseException) -> str:
    """Return an exception's class and the first line of its text."""
    return f"{type(error).__name__}: {unencodable.first_line(error)}"
