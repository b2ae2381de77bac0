"""What in a value cannot travel: the path to it, and what to do.

Only looked for after a value has failed, so it may take its time: it tries the
parts of the value, then the parts of the first part that fails, and so on.  The
path is a Python expression wherever there is one that leads there.
"""

from __future__ import annotations

import copyreg
import io
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any

from fancypipe_core._model.ref import Outputs

__all__ = ["advice", "fields_of", "find", "first_line", "kind_of", "parts", "slots_of"]

_DEEPEST = 1000  # steps
_LEAVES = (int, float, str, bytes, bool, type(None), complex)
_LONGEST_KEY = 80  # characters of a key, in a path
_LONGEST_PATH = 400  # characters
_LONGEST_LINE = 300  # characters of an exception's text

_Parts = list[tuple[str, Any]]


def find(
    value: Any, path: str, try_out: Callable[[Any], object], deepest: int = _DEEPEST
) -> tuple[str, Any]:
    """Return the path to the deepest thing that fails, and the thing.

    Args:
        value: What fails.
        path: What it is called.
        try_out: Raises if its argument fails.
        deepest: How many steps to go at most.
    """
    on_the_way = {id(value)}
    while len(on_the_way) <= deepest:
        step, part = next(_failing(value, on_the_way, try_out), ("", value))
        if not step:
            break
        path, value = path + step, part
        on_the_way.add(id(value))
    return _shortened(path), value


def _shortened(path: str) -> str:
    """Return a path that fits into a message."""
    if len(path) <= _LONGEST_PATH:
        return path
    half = _LONGEST_PATH // 2
    return f"{path[:half]} ... {path[-half:]}"


def _failing(
    value: Any, but: set[int], try_out: Callable[[Any], object]
) -> Iterator[tuple[str, Any]]:
    for step, part in parts(value):
        if type(part) in _LEAVES or id(part) in but:
            continue
        try:
            try_out(part)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - that it fails is what we look for
            yield step, part


def parts(value: Any) -> _Parts:
    """Return what a value holds, each part with the step of a path that leads there."""
    try:
        items = list(_items(value))
        plain = type(value) in (list, tuple, dict, set, frozenset, Outputs)
        return items if plain or issubclass(type(value), type) else items + list(_inside(value))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - it is code of the user's that is asked
        return []


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)  # what `__class__` says may be a lie
    if issubclass(kind, (dict, Outputs)):
        for key, item in value.items():
            yield f"[{_key(key)}]", item
        for key in value:
            yield f".<key {_key(key)}>", key
    elif issubclass(kind, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif issubclass(kind, (set, frozenset)):
        for item in value:
            yield "{...}", item


def _key(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001 - it is the user's __repr__
        text = f"<{type(key).__name__}>"
    return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}...>"


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object writes down of itself besides its items."""
    kind = type(value)
    if issubclass(kind, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            if _is_full(cell):
                yield f".<closure {name}>", cell.cell_contents
        for name in value.__code__.co_names:
            if name in value.__globals__:
                yield f".<global {name}>", value.__globals__[name]
    elif issubclass(kind, MethodType):
        yield ".__self__", value.__self__
    elif issubclass(kind, partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    else:
        yield from _reduced(value)


def _reduced(value: Any) -> Iterator[tuple[str, Any]]:
    """What pickle would write of an object: `__getstate__` may leave attributes out."""
    try:
        reduced = value.__reduce_ex__(5)
    except Exception:  # noqa: BLE001 - as with a lock: it is the culprit, or hides it
        reduced = (copyreg.__newobj__, (), {**getattr(value, "__dict__", {}), **slots_of(value)})  # type: ignore[attr-defined]
    if not isinstance(reduced, tuple):
        return
    maker, arguments, state, *_ = (*reduced, None)
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield from ((f".{name}", item) for name, item in part.items())
    if isinstance(value, BaseException):
        yield ".args", value.args
    elif maker is not copyreg.__newobj__ and type(value).__module__ != "builtins":  # type: ignore[attr-defined]
        for index, item in enumerate(arguments):
            yield f".__reduce_ex__(5)[1][{index}]", item


def slots_of(value: Any) -> dict[str, Any]:
    """Return what stands in an object's slots, by their names."""
    names = [
        name
        for base in type(value).__mro__
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    ]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def fields_of(error: BaseException) -> dict[str, Any]:
    """Return what an exception holds outside of its `__dict__`: slots, and what C keeps.

    `SyntaxError.lineno`, `UnicodeError.reason`, `StopIteration.value` and the like are set by
    `__init__`, which nobody calls when an exception is read back.
    """
    fields: dict[str, Any] = {}
    for base in type(error).__mro__:
        for name, member in vars(base).items():
            ours = isinstance(member, MemberDescriptorType) and not name.startswith("__")
            # Whose attribute it was may be anything, and large; Python's own pickles leave it out.
            if ours and not (base is AttributeError and name == "obj"):
                value = getattr(error, name, None)
                if value is not None:
                    fields[name] = value
    return fields


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


# ---- in words ----


def kind_of(value: Any) -> str:
    """Return the full name of a value's class, as people write it."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, whatever its `__str__` does."""
    try:
        lines = str(error).strip().splitlines()
    except BaseException as odd:  # noqa: BLE001 - it is the user's __str__
        return f"no text: __str__ raised {type(odd).__name__}"
    return lines[0][:_LONGEST_LINE] if lines else "no message"


def too_deep(error: BaseException) -> bool:
    """Tell whether a value could not be written since objects in it hold each other too deeply."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def advice(culprit: Any) -> str:
    """Return what can be done about something that cannot be written."""
    if issubclass(type(culprit), io.IOBase):
        return "open it inside the task that uses it, and give that the path"
    if hasattr(type(culprit), "__next__"):
        return "make a list of it"
    if callable(culprit):
        return "put it into a file that can be imported, at the top level"
    return "make it inside the task that uses it, or use the threads or serial backend"
