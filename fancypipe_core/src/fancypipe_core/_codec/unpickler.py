"""Payloads back to objects: the other half of `_codec.pickler`."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from pickle import PickleBuffer
from typing import Any

from fancypipe_core import errors
from fancypipe_core._codec import unencodable
from fancypipe_core._model.ref import Outputs
from fancypipe_core.backend import Live, Payload

__all__ = ["decode", "fill", "item", "loads", "no_output", "said"]


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
            return load(only.head, buffers=())
        return _decode_one(only, (), load, own)
    values: list[Any] = []
    for payload in encoded:
        values.append(_decode_one(payload, values, load, own))
    return values[-1]


def _decode_one(
    payload: Payload | Live, values: Sequence[Any], load: Callable[..., Any], own: bool
) -> Any:
    """Make one value; `values` are those that its holes point into."""
    if isinstance(payload, Live):
        return payload.value
    buffers = payload.buffers
    if buffers:
        buffers = tuple(map(_copied if own else _own, buffers))
    if not payload.holes:
        return load(payload.head, buffers=buffers)
    found = [
        values[index] if name is None else item(values[index], name)
        for index, name in payload.holes
    ]
    return loads(payload.head, buffers, found, load) if payload.head else found[0]


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
    shared = isinstance(buffer, memoryview) and buffer.readonly
    return bytearray(buffer) if shared else buffer


def _copied(buffer: PickleBuffer) -> Any:
    """Return a buffer for one of several readers; what nobody can change need not be copied."""
    view = buffer.raw()
    return view if view.readonly else bytearray(view)


_local = threading.local()


def fill(index: int, keys: tuple[Any, ...]) -> Any:
    """Return what fills a hole; pickles refer to it."""
    value = _local.fillings[index]
    for key in keys:
        value = item(value, key)
    return value


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
