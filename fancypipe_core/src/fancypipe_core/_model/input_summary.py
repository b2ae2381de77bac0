"""The inputs of a task in a few words, for messages: `i=17, image=<ndarray 64x64>`.

Nothing of the user's is called for it, so it costs little and cannot fail: of objects that
are not plain data the class is told.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import BuiltinFunctionType, FunctionType
from typing import Any

from fancypipe_core._model.ref import Ref

__all__ = ["brief", "brief_of", "value_in_words"]

_MOST = 80  # characters of all inputs
_TEXT = 30  # of one text
_ITEMS = 3  # of one collection
_BITS = 64  # of a number that is written out
_BRACKETS: dict[type, tuple[str, str]] = {list: ("[", "]"), tuple: ("(", ")")}
_NAME = type.__dict__["__name__"]  # whatever the metaclass has made of it
_ARRAYS = frozenset(("numpy", "pandas", "polars", "torch", "jax", "xarray", "scipy"))


def brief(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the inputs of a task in a few words; empty if it has none.

    Args:
        names: Of the inputs that are given by position.
        args: Those.
        kwargs: The others.
    """
    try:
        text = ""
        for part in _parts(names, args, kwargs):
            if text and len(text) + len(part) > _MOST:
                return f"{text}, ..."
            text += f", {part}" if text else part
        return text
    except Exception:  # noqa: BLE001 - it is only said beside something else
        return ""


def brief_of(instance: Any) -> str:
    """Return the inputs of an instance; empty for None."""
    if instance is None:
        return ""
    return brief(instance._definition.positions(), instance._args, instance._kwargs)


def value_in_words(value: Any) -> str:
    """Return any value in a few words; empty where that fails."""
    try:
        return _text(value)[:_MOST]
    except Exception:  # noqa: BLE001 - as above
        return ""


def _parts(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[str]:
    for place, value in enumerate(args):
        yield f"{names[place]}={_text(value)}" if place < len(names) else _text(value)
    for name, value in kwargs.items():
        yield f"{name}={_text(value)}"


def _text(value: Any, depth: int = 0) -> str:
    kind = type(value)
    if kind in (bool, float, complex, type(None)):
        return repr(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits <= _BITS else f"<int of {bits} bits>"
    if kind in (str, bytes):
        return repr(value) if len(value) <= _TEXT else f"{value[:_TEXT]!r}..."
    if kind in (list, tuple, set, frozenset, dict):
        return _collection(value, depth)
    if isinstance(value, Ref):
        return f"<{value._origin()._definition.name}>"
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.PurePath):
        path = pathlib.PurePath.__str__(value)
        return repr(path) if len(path) <= _TEXT else f"'...{path[-_TEXT:]}'"
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value._name_}"
    if issubclass(kind, type):
        return str(_NAME.__get__(value))
    if kind in (FunctionType, BuiltinFunctionType):
        return str(value.__name__)
    if kind.__module__.partition(".")[0] in _ARRAYS:
        return _array(value)
    return f"<{kind.__name__}>"


def _collection(value: Any, depth: int) -> str:
    before, after = _BRACKETS.get(type(value), ("{", "}"))
    if depth > 1:
        return f"{before}...{after}" if value else before + after
    some = list(islice(value, _ITEMS))
    if isinstance(value, dict):
        shown = [f"{_text(key, depth + 1)}: {_text(value[key], depth + 1)}" for key in some]
    else:
        shown = [_text(item, depth + 1) for item in some]
    more = ", ..." if len(value) > _ITEMS else ""
    return f"{before}{', '.join(shown)}{more}{after}"


def _array(value: Any) -> str:
    shape = getattr(value, "shape", None)
    name = type(value).__name__
    if shape == () and hasattr(value, "item"):
        return _text(value.item())
    if isinstance(shape, tuple) and shape:
        return f"<{name} {'x'.join(map(str, shape))}>"
    return f"<{name}>"
