"""Plain values, which are data and arrays, are read by what cannot run code.

Whoever writes a value down says whether it is plain; what is not has a mark behind the
pickle's end, which unpicklers do not look at.  What has no mark is read as plain,
whoever says so: a name in it that plain values do not need is an error.

That protects the client against accidents, not against liars, who can set the mark:
only a value without code in it is known to be harmless.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any

__all__ = ["NOT_PLAIN", "is_plain", "load", "load_all", "names_nothing"]

NOT_PLAIN = b"!"
"""Behind the pickle of what is not plain.  A pickle's own end is a dot."""

_NUMPY = {
    ("numpy", "ndarray"), ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}  # fmt: skip
# By name: the module is a good part of what starting would cost, and not all use it.
_PATH = "WindowsPath" if os.name == "nt" else "PosixPath"
_NAMES = _NUMPY | {
    ("builtins", "complex"),
    ("fancypipe_core._codec.unpickler", "fill"),
    ("fancypipe_core._codec.unpickler", "joined"),
    ("fancypipe_core._model.ref", "_make_outputs"),
    *((module, _PATH) for module in ("pathlib", "pathlib._local")),
}
_SMALL = 1024  # bytes

# Without one of these codes a pickle cannot name anything: most small values are known by that.
_NAMING = re.compile(rb"[\x93ci\x82-\x84]")


def is_plain(obj: Any) -> bool:
    """Tell whether an object that is not of a basic type makes its pickle no less plain."""
    kind = type(obj)
    if issubclass(kind, (type, FunctionType, BuiltinFunctionType)):
        return (obj.__module__, obj.__qualname__) in _NAMES
    if kind is complex:
        return True
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and kind is getattr(pathlib, _PATH):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and (
        kind is numpy.ndarray
        or issubclass(kind, numpy.dtype)
        or (issubclass(kind, numpy.generic) and kind.__module__ == "numpy")
    )


def names_nothing(head: bytes) -> bool:
    """Tell whether a pickle is small, and of numbers, texts and what collects such."""
    return 0 < len(head) < _SMALL and head[-1:] != NOT_PLAIN and not _NAMING.search(head)


def load(head: bytes | memoryview, buffers: Iterable[Any]) -> Any:
    """Read a pickle: as plain, unless it is marked as not plain.

    Raises:
        UnpicklingError: It is said to be plain and is not.
        BaseException: Whatever the user's objects raise when they are made.
    """
    if head[-1:] == NOT_PLAIN or (len(head) < _SMALL and not _NAMING.search(head)):
        return pickle.loads(head, buffers=buffers)
    file: Any = _View(head) if isinstance(head, memoryview) else io.BytesIO(head)
    return _PlainReader(file, buffers=buffers).load()


def load_all(heads: Iterable[Any], other: Callable[[Any], Any], made: list[Any]) -> None:
    """Read many pickles as `load` does, without a call for each.

    Args:
        heads: The pickles, as bytes; what is no bytes is for `other`.
        other: Reads what is not small, or names anything.
        made: Where to write down the values: as many as could be read.

    Raises:
        BaseException: As for `load`, and what `other` raises.
    """
    loads, names, add = pickle.loads, _NAMING.search, made.append
    for head in heads:
        easy = type(head) is bytes and len(head) < _SMALL and not names(head)
        add(loads(head) if easy else other(head))


class _View:
    """A file over memory, whose large parts are copied once: into the value."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def _next(self, count: int) -> memoryview:
        begin, self._at = self._at, self._at + count
        return self._view[begin : self._at]

    def read(self, count: int) -> bytes:
        return bytes(self._next(count))

    def readinto(self, room: Any) -> int:
        part = self._next(len(room))
        room[: len(part)] = part
        return len(part)

    def readline(self) -> bytes:
        rest = bytes(self._view[self._at :])
        return self.read(rest.find(b"\n") + 1 or len(rest))


class _PlainReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(
                f"it is said to be plain data, and names {module}.{name}: who made it has lied, "
                "or has another version of fancypipe"
            )
        return super().find_class(module, name)
