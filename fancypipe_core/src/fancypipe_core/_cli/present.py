"""A result as JSON, for people and programs.

`plain` makes of any value what JSON can say, and `dumps` writes it.  The rules:

- Numbers, texts, true, false and null are themselves, numpy's scalars too.
  What is no number is a text, since JSON has no word for it: "NaN",
  "Infinity", "-Infinity".
- Lists, tuples and sets are lists, in full; sets are sorted.
- Dicts, `Outputs`, dataclasses and named tuples are objects.  A key that is no
  text is written as JSON, or else as its repr.
- An array is summarised: `{"array": {"shape": [2, 3], "dtype": "float64", "min":
  ..., "max": ..., "mean": ...}}`, and a small one (16 items) has its "values".
- Bytes are summarised: `{"bytes": {"length": 5, "hex": "..."}}`.
- An enum member is its name; a path, date, UUID or Decimal its text; a complex
  number `{"real": 1.0, "imag": 2.0}`.
- Anything else is its repr.  So is what is nested too deep; what contains
  itself is "(contains itself)".

`save` writes a result to a file, as JSON by these rules or as a pickle.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from fancypipe_core import errors

__all__ = ["check_output", "dumps", "plain", "save"]

_DEPTH = 100
_WIDTH = 88
_REPR = 2000  # characters
_SMALL = 16  # items
_LONG = 1_000_000  # numbers that a range stands for
_WORD = 1 << 64
_TEXTS = {
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID"),
}


def plain(value: Any) -> Any:
    """Return what JSON can say of a value: dicts, lists, texts, numbers, booleans and None."""
    return _plain(value, set(), 0)


def dumps(value: Any, *, ascii_only: bool = False) -> str:
    r"""Return a value as JSON: on one line where it is short, else one line for each item.

    Args:
        value: Any value.
        ascii_only: Whether to write all other characters as `\uXXXX`.
    """
    encoder = json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False)
    return _lines(plain(value), encoder.encode, "")


def check_output(path: str) -> None:
    """Refuse a file that a result cannot be written to, before anything runs.

    Raises:
        UsageError: Neither JSON nor pickle, or no place to write to.
    """
    if not path.endswith((".json", ".pickle", ".pkl")):
        raise errors.UsageError(
            f"--output must be a file that ends in .json, .pickle or .pkl, not {path!r}"
        )
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise errors.UsageError(f"--output {path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise errors.UsageError(f"--output {path}: is a folder")
    if not os.access(folder, os.W_OK):
        raise errors.UsageError(f"--output {path}: the folder {folder} cannot be written to")


def save(value: Any, path: str) -> None:
    """Write a value to a `.json`, `.pickle` or `.pkl` file.  The file is there whole or not at all.

    Raises:
        EncodeError: The value cannot be pickled.
        OSError: The file cannot be written.
    """
    if path.endswith(".json"):
        data = dumps(value, ascii_only=True).encode() + b"\n"
    else:
        import pickle

        try:
            data = pickle.dumps(value, protocol=5)
        except Exception as error:
            raise errors.EncodeError(
                f"the result cannot be pickled: {type(error).__name__}: {error}"
            ) from error
    # A link stays a link: what it points to is replaced.
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


# ---- what JSON can say -------------------------------------------------------


def _plain(value: Any, outer: set[int], depth: int) -> Any:
    cls = type(value)
    if cls is str or (cls is int and -_WORD < value < _WORD):
        return value  # most of all values
    if value is None or isinstance(value, (bool, int, float, str, complex, enum.Enum)):
        return _scalar(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return {"bytes": {"length": len(data), "hex": data[:32].hex()}}
    if cls.__module__ == "numpy":
        return _numpy(value, outer, depth)
    parts = _parts(value)
    if parts is None:
        return _text(value)
    if id(value) in outer:
        return "(contains itself)"
    if depth == _DEPTH:
        return _text(value)
    outer.add(id(value))
    try:
        return parts(lambda part: _plain(part, outer, depth + 1))
    finally:
        outer.discard(id(value))


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return getattr(value, "name", None) or repr(value)  # combined flags may have none
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, complex):
        return {"real": _float(value.real), "imag": _float(value.imag)}
    return str.__str__(value)


_Convert = Callable[[Any], Any]


def _parts(value: Any) -> Callable[[_Convert], Any] | None:
    """Return how to convert a value part by part; None if it has none that we know."""
    cls = type(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return lambda convert: {name: convert(getattr(value, name, None)) for name in names}
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return lambda convert: {name: convert(getattr(value, name)) for name in cls._fields}
    if hasattr(cls, "__struct_fields__"):  # msgspec
        return lambda convert: {n: convert(getattr(value, n)) for n in cls.__struct_fields__}
    if isinstance(value, Mapping):
        return lambda convert: _object(value, convert)
    if isinstance(value, AbstractSet):
        return lambda convert: [convert(item) for item in _sorted(value)]
    if isinstance(value, Sequence) and not (isinstance(value, range) and len(value) > _LONG):
        return lambda convert: [convert(item) for item in value]
    return None


def _object(value: Mapping[Any, Any], convert: _Convert) -> dict[str, Any]:
    keys = [_key(key) for key in value]
    if len(set(keys)) < len(keys):  # such as 1 and "1"
        keys = [_text(key) for key in value]
    return {key: convert(item) for key, item in zip(keys, value.values(), strict=True)}


def _key(key: Any) -> str:
    made = _plain(key, set(), _DEPTH)
    if isinstance(made, str):
        return made
    return json.dumps(made) if isinstance(made, (int, float)) or made is None else _text(key)


def _sorted(value: AbstractSet[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=_text)


def _integer(value: int) -> int | str:
    # Python refuses to write very long ones, since it takes quadratic time.
    limit = getattr(sys, "get_int_max_str_digits", int)()
    return hex(value) if limit and value.bit_length() > limit * 3 else value


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text(value: Any) -> str:
    if (type(value).__module__, type(value).__qualname__) in _TEXTS:
        return str(value)
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - it is the user's __repr__
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= _REPR else f"{text[:_REPR]}... ({len(text)} characters)"


def _numpy(value: Any, outer: set[int], depth: int) -> Any:
    shape = getattr(value, "shape", None)
    if shape is None or not hasattr(value, "dtype"):
        return _text(value)
    if shape == ():
        item = value.item()
        # What has no counterpart in Python (long double, dates) gives itself, or a bare count.
        if value.dtype.kind == "f":
            return _float(float(item))
        return str(value) if value.dtype.kind in "mM" else _plain(item, outer, depth)
    kind = value.dtype.kind
    summary: dict[str, Any] = {"shape": list(shape), "dtype": str(value.dtype)}
    if value.size <= _SMALL and kind in "biufUS":
        summary["values"] = [_plain(item, outer, depth) for item in value.ravel().tolist()]
    if kind == "b":
        summary["true"] = int(value.sum())
    elif kind in "iuf" and value.size:
        finite = value
        if kind == "f":
            # It is there, since the value is one of its arrays.
            known = sys.modules["numpy"].isfinite(value)
            if not known.all():
                finite = value[known]
                summary["not_finite"] = int(value.size - finite.size)
        if finite.size:
            summary["min"] = finite.min().item()
            summary["max"] = finite.max().item()
            summary["mean"] = _float(float(finite.mean(dtype="float64")))
    return {"array": summary}


# ---- how it is written -------------------------------------------------------


def _lines(value: Any, encode: Callable[[Any], str], indent: str) -> str:
    flat = encode(value)
    if len(flat) + len(indent) <= _WIDTH or not isinstance(value, (dict, list)):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{encode(key)}: {_lines(item, encode, inner)}" for key, item in value.items()]
        return f"{{\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}}}"
    # A list of numbers stays on one line, however long: it is one thing.
    if not any(isinstance(item, (dict, list)) for item in value):
        return flat
    items = [_lines(item, encode, inner) for item in value]
    return f"[\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}]"
