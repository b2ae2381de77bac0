"""From annotations to kinds of values."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import functools
import inspect
import numbers
import operator
import os
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from fancypipe_core._settings.types import (
    ANYTHING,
    FLAG,
    MISSING,
    NOTHING,
    Kind,
    choice,
    dumps,
    either,
    items,
    record,
    row,
    scalar,
    table,
    unwritable,
)

__all__ = ["hints_of", "kind_of"]

# What is made for a class that only says how it is used.
_MADE: dict[Any, Any] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.OrderedDict: dict,
}
# By name, since most pipelines import none of them.
_WRITTEN = {
    *("builtins.complex", "decimal.Decimal", "fractions.Fraction", "uuid.UUID"),
    *("datetime.datetime", "datetime.date", "datetime.time"),
}


def hints_of(obj: Any) -> dict[str, Any]:
    """Return the annotations of a function or class, evaluated as far as that is possible.

    What cannot be evaluated, such as a name that only type checkers see, is
    left as the text that it is.
    """
    module = sys.modules.get(getattr(obj, "__module__", ""))
    names = getattr(inspect.unwrap(obj), "__globals__", None) or vars(module or typing)
    # Names that are often imported for type checkers only, so that they are not
    # there when the annotation is looked at.
    names = {**vars(typing), **names}
    try:
        return typing.get_type_hints(obj, names, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations may hold any expression
        hints = {}
    from pathlib import Path  # a good part of what starting would cost

    names = {"Path": Path, **names}
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
    if annotation is inspect.Parameter.empty or isinstance(annotation, (str, typing.ForwardRef)):
        # Nothing is annotated: some defaults say what is meant.
        told = isinstance(default, (bool, str, os.PathLike, enum.Enum))
        kind = _kind(type(default), default) if told else ANYTHING
    else:
        kind = _kind(annotation, default)
    if default is None and kind.takes not in ("any", "never"):
        return either([*(kind.members or [kind]), NOTHING])
    return kind


def _kind(annotation: Any, default: Any) -> Kind:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _annotated(args[0], args[1:], default)
    if origin in (typing.Union, types.UnionType):
        members = [_kind(arg, default) for arg in args]
        # Python 3.10 makes `Any | None` of `x: Any = None`.
        return ANYTHING if ANYTHING in members else either(members)
    if origin is typing.Literal:
        return choice({_literal(value): value for value in args})
    inner = _inner(annotation)
    if inner is not None:
        return kind_of(inner, default)
    if annotation in (None, type(None)):
        return NOTHING
    if annotation in (Any, object):
        return ANYTHING
    cls = origin or annotation
    name = getattr(annotation, "__name__", "") or str(annotation)
    if not isinstance(cls, type):
        return unwritable(name)
    return _structure(cls, args, default) or _scalar(cls, default) or unwritable(name)


def _annotated(annotation: Any, extra: tuple[Any, ...], default: Any) -> Kind:
    for note in extra:
        if note in ("input", "output") and isinstance(note, str):
            # Whether a path must exist is told by the default: "input" and "output" settle it.
            default = MISSING if note == "input" else ""
            if annotation is str:
                return _path(str, must_exist=note == "input")
        elif callable(note) and not isinstance(note, type):
            return _called(note, f"{getattr(note, '__name__', '') or repr(note)}()", "TEXT")
    return kind_of(annotation, default)


def _called(call: Callable[[str], Any], name: str, shown: str) -> Kind:
    return scalar(shown, f"a text that {name} takes", 4, call, why=True)


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
    if isinstance(value, (str, enum.Enum)):
        return value if isinstance(value, str) else value.name
    return repr(value) if isinstance(value, bytes) else dumps(value)


def _structure(cls: type, args: tuple[Any, ...], default: Any) -> Kind | None:
    # That a list may be left out says nothing of what is in it.
    default = MISSING if default is None else default
    cls = _MADE.get(cls, cls)
    if cls is tuple and args and args[-1] is not Ellipsis:
        return row([kind_of(arg, default) for arg in args if arg != ()])
    if cls in (list, set, frozenset, tuple, collections.deque):
        return items(kind_of(args[0] if args else Any, default), cls)
    if cls is dict:
        key, value = args if len(args) == 2 else (Any, Any)
        return table(kind_of(key), kind_of(value))
    defaults: dict[str, Any]
    if dataclasses.is_dataclass(cls):
        defaults = {one.name: _default_of(one) for one in dataclasses.fields(cls) if one.init}
    elif issubclass(cls, tuple) and hasattr(cls, "_field_defaults"):
        defaults = {**dict.fromkeys(cls._fields, MISSING), **cls._field_defaults}  # type: ignore[attr-defined]
    elif typing.is_typeddict(cls):
        required = cls.__required_keys__  # type: ignore[attr-defined]
        defaults = {name: MISSING if name in required else None for name in hints_of(cls)}
    else:
        return None

    def kinds() -> dict[str, Kind]:
        hints = hints_of(cls)
        return {name: kind_of(hints.get(name, Any), value) for name, value in defaults.items()}

    return record(cls, defaults, kinds)


def _default_of(field: dataclasses.Field[Any]) -> Any:
    # A factory may do anything, so only those that are known are called to be shown.
    factory: Any = field.default_factory
    if factory is MISSING:
        return field.default
    return factory() if factory in (list, dict, set, tuple) else ...


def _scalar(cls: type, default: Any) -> Kind | None:
    if cls is bool:
        return FLAG
    if issubclass(cls, enum.Enum):
        return choice(dict(cls.__members__))
    if issubclass(cls, str):
        return scalar("TEXT", "a text", 7, cls, takes="text")
    if issubclass(cls, os.PathLike):
        import pathlib

        must_exist = not isinstance(default, (os.PathLike, str))
        is_pure = issubclass(cls, pathlib.PurePath) and not issubclass(cls, pathlib.Path)
        made = cls if issubclass(cls, pathlib.PurePath) else pathlib.Path
        if cls.__module__ == "fancypipe_core._model.files":  # by name: few pipelines have any
            return _kept_path(cls)
        return _path(made, must_exist=must_exist and not is_pure)
    if f"{cls.__module__}.{cls.__qualname__}" in _WRITTEN:
        return _called(getattr(cls, "fromisoformat", cls), cls.__name__, cls.__name__.upper())
    # Registered with these are also the scalar types of numpy.
    if issubclass(cls, numbers.Integral):
        return _number(int, cls)
    if issubclass(cls, numbers.Real):
        return _number(float, cls)
    return None


def _path(cls: Callable[[str], Any], *, must_exist: bool) -> Kind:
    def make(text: str) -> Any:
        if not text or "\0" in text or (must_exist and not os.path.exists(text)):
            raise ValueError
        return cls(text)

    expected = "a file or folder that exists" if must_exist else "a path"
    return scalar("PATH", expected, 6, make, takes="path")


def _kept_path(cls: Any) -> Kind:
    is_there = {"file": os.path.isfile, "folder": os.path.isdir}[cls.WHAT]

    def make(text: str) -> Any:
        if not text or "\0" in text or not is_there(text):
            raise ValueError
        return cls(os.path.abspath(text))

    return scalar("PATH", f"a {cls.WHAT} that exists", 6, make, takes="path")


def _number(base: type[int | float], cls: Callable[[Any], Any]) -> Kind:
    def data(data: Any) -> Any:
        is_number = isinstance(data, (int, float)) and not isinstance(data, bool)
        if not is_number or (base is int and data != data // 1):
            raise ValueError
        return cls(base(data))

    if base is int:
        return scalar("INTEGER", "a whole number", 1, lambda text: cls(int(text)), data)
    return scalar("FLOAT", "a number", 2, lambda text: cls(float(text)), data)
