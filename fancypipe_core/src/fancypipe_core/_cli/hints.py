"""From annotations to kinds of values."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import functools
import inspect
import json
import numbers
import operator
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from fancypipe_core._cli.kinds import (
    MISSING,
    Anything,
    Called,
    Choice,
    File,
    Flag,
    Kind,
    Nothing,
    Number,
    Text,
    Unwritable,
)
from fancypipe_core._cli.structures import Either, Items, Record, Row, Table

__all__ = ["hints_of", "kind_of"]

_EMPTY = inspect.Parameter.empty
# Names that are often imported for type checkers only, so that they are not
# there when the annotation is looked at.
_USUAL = {**vars(typing), "Path": pathlib.Path}
_ITEMS: dict[Any, tuple[Callable[[Any], Any], str]] = {
    list: (list, "list"),
    set: (set, "set"),
    frozenset: (frozenset, "set"),
    collections.deque: (collections.deque, "list"),
    collections.abc.Sequence: (list, "list"),
    collections.abc.MutableSequence: (list, "list"),
    collections.abc.Collection: (list, "list"),
    collections.abc.Iterable: (list, "list"),
    collections.abc.Set: (set, "set"),
    collections.abc.MutableSet: (set, "set"),
}
_TABLES = (dict, collections.abc.Mapping, collections.abc.MutableMapping, collections.OrderedDict)
_CALLED = {
    ("builtins", "complex"): "",
    ("decimal", "Decimal"): "",
    ("fractions", "Fraction"): "",
    ("uuid", "UUID"): "",
    ("datetime", "datetime"): "fromisoformat",
    ("datetime", "date"): "fromisoformat",
    ("datetime", "time"): "fromisoformat",
}


def hints_of(obj: Any) -> dict[str, Any]:
    """Return the annotations of a function or class, evaluated as far as that is possible.

    What cannot be evaluated, such as a name that only type checkers see, is
    left as the text that it is.
    """
    module = sys.modules.get(getattr(obj, "__module__", ""))
    names = getattr(inspect.unwrap(obj), "__globals__", None) or vars(module or typing)
    names = {**_USUAL, **names}
    try:
        return typing.get_type_hints(obj, names, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations may hold any expression
        hints = {}
    for name, annotation in getattr(obj, "__annotations__", {}).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints.update(typing.get_type_hints(one, names, include_extras=True))
        except Exception:  # noqa: BLE001 - as above
            hints[name] = annotation
    return hints


def kind_of(annotation: Any, default: Any = MISSING) -> Kind:
    """Return what an annotation accepts.

    Args:
        annotation: A type, or anything else that may stand there.
        default: The default of what is annotated; MISSING if it has none.
    """
    if annotation is _EMPTY or isinstance(annotation, (str, typing.ForwardRef)):
        kind = _kind_of_default(default)
    else:
        kind = _kind(annotation, default)
    if default is None and not isinstance(kind, (Anything, Unwritable)):
        members = kind.members if isinstance(kind, Either) else [kind]
        return Either([*members, Nothing()])
    return kind


def _kind_of_default(default: Any) -> Kind:
    """Nothing is annotated: some defaults say what is meant."""
    if isinstance(default, (bool, str, os.PathLike, enum.Enum)):
        return _kind(type(default), default)
    return Anything()


def _kind(annotation: Any, default: Any) -> Kind:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _annotated(args[0], args[1:], default)
    if origin in (typing.Union, types.UnionType):
        members = [_kind(arg, default) for arg in args]
        # Python 3.10 makes `Any | None` of `x: Any = None`.
        anything = [kind for kind in members if isinstance(kind, Anything)]
        return anything[0] if anything else Either(members)
    if origin is typing.Literal:
        return Choice({_literal(value): value for value in args})
    inner = _inner(annotation)
    if inner is not None:
        return kind_of(inner, default)
    if annotation in (None, type(None)):
        return Nothing()
    if annotation in (Any, object):
        return Anything()
    cls = origin or annotation
    if not isinstance(cls, type):
        return Unwritable(_name(annotation))
    return _structure(cls, args, default) or _plain(cls, default) or Unwritable(_name(annotation))


def _annotated(annotation: Any, extra: tuple[Any, ...], default: Any) -> Kind:
    for note in extra:
        if note in ("input", "output") and isinstance(note, str):
            # Whether a path must exist is told by the default: "input" and "output" settle it.
            default = MISSING if note == "input" else pathlib.PurePath()
        elif callable(note) and not isinstance(note, type):
            name = getattr(note, "__name__", "") or repr(note)
            return Called(note, f"{name}()", "TEXT")
    return kind_of(annotation, default)


def _inner(annotation: Any) -> Any:
    """Return what a name for a type, or a wrapper around one, stands for; else None."""
    if isinstance(annotation, typing.TypeVar):
        bounds = annotation.__constraints__ or (annotation.__bound__ or Any,)
        return functools.reduce(operator.or_, bounds)
    if isinstance(annotation, dataclasses.InitVar):
        return annotation.type
    if type(annotation).__name__ == "TypeAliasType":
        return annotation.__value__
    if getattr(typing.get_origin(annotation), "_name", "") in ("Required", "NotRequired", "Final"):
        return typing.get_args(annotation)[0]
    return getattr(annotation, "__supertype__", None)


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    return repr(value) if isinstance(value, bytes) else json.dumps(value)


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", "") or str(annotation)


def _structure(cls: type, args: tuple[Any, ...], default: Any) -> Kind | None:
    # That a list may be left out says nothing of what is in it.
    default = MISSING if default is None else default
    if cls in _ITEMS:
        make, name = _ITEMS[cls]
        return Items(kind_of(args[0] if args else Any, default), make, name)
    if cls is tuple:
        if not args or (len(args) == 2 and args[1] is Ellipsis):
            return Items(kind_of(args[0] if args else Any, default), tuple, "list")
        return Row([kind_of(arg, default) for arg in args if arg != ()])
    if cls in _TABLES:
        key, value = args if len(args) == 2 else (Any, Any)
        return Table(kind_of(key), kind_of(value))
    defaults: dict[str, Any]
    if dataclasses.is_dataclass(cls):
        defaults = {
            field.name: _default_of(field) for field in dataclasses.fields(cls) if field.init
        }
        return _record(cls, defaults)
    if issubclass(cls, tuple) and hasattr(cls, "_field_defaults"):
        known = cls._field_defaults
        return _record(cls, {name: known.get(name, MISSING) for name in cls._fields})  # type: ignore[attr-defined]
    if typing.is_typeddict(cls):
        required = cls.__required_keys__  # type: ignore[attr-defined]
        return _record(cls, {name: MISSING if name in required else None for name in hints_of(cls)})
    return None


def _default_of(field: dataclasses.Field[Any]) -> Any:
    # A factory may do anything, so only those that are known are called to be shown.
    factory: Any = field.default_factory
    if factory is MISSING:
        return field.default
    return factory() if factory in (list, dict, set, tuple) else ...


def _record(cls: type, defaults: dict[str, Any]) -> Record:
    def kinds() -> dict[str, Kind]:
        hints = hints_of(cls)
        return {name: kind_of(hints.get(name, Any), value) for name, value in defaults.items()}

    return Record(cls.__name__, cls, defaults, kinds)


def _plain(cls: type, default: Any) -> Kind | None:
    if cls is bool:
        return Flag()
    if issubclass(cls, enum.Enum):
        return Choice(dict(cls.__members__))
    if issubclass(cls, str):
        return Text(cls)
    if issubclass(cls, os.PathLike):
        must_exist = not isinstance(default, (os.PathLike, str))
        is_pure = issubclass(cls, pathlib.PurePath) and not issubclass(cls, pathlib.Path)
        made: Any = cls if issubclass(cls, pathlib.PurePath) else pathlib.Path
        return File(made, must_exist and not is_pure)
    way = _CALLED.get((cls.__module__, cls.__qualname__))
    if way is not None:
        return Called(getattr(cls, way) if way else cls, cls.__name__)
    # Registered with these are also the scalar types of numpy.
    if issubclass(cls, numbers.Integral):
        return Number(int, cls)
    if issubclass(cls, numbers.Real):
        return Number(float, cls)
    return None
