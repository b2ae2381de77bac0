"""Digests of values: the same value has the same digest in any process.

A value is pickled into a hash, in a canonical way: what the codec can send has a digest.  Which
of its parts are one object does not count, so nothing is remembered while it is written; only
what refers to itself, or would grow too large so, is written with what is shared.  Sets are
sorted by their members' digests.  An array is its type, shape and bytes.  Code is a name, and
whoever asks is told of it, as of references to tasks.
"""

from __future__ import annotations

import functools
import os
import pickle
from hashlib import blake2b
from pickle import PickleBuffer
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol
from weakref import ref

from fancypipe_core._cache import libraries
from fancypipe_core._model.files import FileOrDir
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.task import TaskFunction

__all__ = ["CACHED", "PLAIN", "Met", "Unsound", "Values"]

PLAIN = frozenset({int, float, str, bytes, bool, type(None), complex})
CACHED = type(functools.lru_cache(int))
_PROTOCOL = 5
_MOST = 64 * 1024 * 1024  # bytes; of what is larger without sharing, sharing counts
_LARGE = 64 * 1024  # bytes of an array whose digest is remembered
_CODE = (type, FunctionType, BuiltinFunctionType, ModuleType, Ref, TaskFunction, CACHED)
_HOLDERS = (ModuleType, type, type(None))  # what functions of C are of
_SETS = (set, frozenset)
# How a pickle begins to write a set.  The bytes may mean something else: it is then only slower.
_SET, _FROZEN = pickle.EMPTY_SET, pickle.FROZENSET


class Unsound(Exception):
    """Something has no digest that would be the same for the same, and only for that.

    Args:
        why: In a sentence's words.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Met(Protocol):
    """What is asked for the names of what is met on the way."""

    def code(self, obj: Any) -> str:
        """Return the name of a function, class or module."""

    def task(self, ref: Ref[Any]) -> str:
        """Return the name of a reference to a task's output."""

    def file(self, path: str) -> str:
        """Return the digest of what a file or folder holds."""


class _TooMuch(Exception):
    """Written without sharing, the value is too large."""


class Values:
    """Digests of values; those of large arrays are remembered until `forget`."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[ref[Any], str]] = {}

    def forget(self) -> None:
        """Between two runs arrays may have been changed."""
        self._arrays.clear()

    def digest(self, value: Any, met: Met) -> str:
        """Return the digest of a value: 32 hexadecimal digits.

        Raises:
            Unsound: It has none.
        """
        if type(value) in PLAIN:
            return blake2b(pickle.dumps(value, _PROTOCOL), digest_size=16).hexdigest()
        return self._bytes(value, met).hex()

    @staticmethod
    def plain(value: Any) -> bytes:
        """Return what stands for a value of `PLAIN`; it tells itself where it ends."""
        return pickle.dumps(value, _PROTOCOL)

    def _bytes(self, value: Any, met: Met) -> bytes:
        try:
            try:
                return self._written(value, met, shared=False)
            except (ValueError, _TooMuch) as error:
                # What the pickler says of what refers to itself.
                if type(error) is ValueError and "fast mode" not in str(error):
                    raise
                return self._written(value, met, shared=True)
        except (Unsound, KeyboardInterrupt):
            raise
        except RecursionError:
            raise Unsound("it is nested too deeply") from None
        except BaseException as error:  # whatever a `__reduce__` of the user's raises
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise Unsound(f"it is a {_kind(value)}, which has no digest ({said})") from error

    def _written(self, value: Any, met: Met, *, shared: bool) -> bytes:
        sink = _Sink(shared)
        _write(_Writer, sink, value, met, self)
        if sink.sets:
            sink = _Sink(shared)
            _write(_SetWriter, sink, value, met, self)
        return sink.digest.digest()

    def array(self, array: Any) -> str:
        """Return the digest of an array's bytes, in the order in which it lies in memory."""
        large = array.nbytes >= _LARGE
        if large:
            known = self._arrays.get(id(array))
            if known is not None and known[0]() is array:
                return known[1]
        flags = array.flags
        lies = array if flags.c_contiguous else array.T if flags.f_contiguous else array.copy("C")
        digest = blake2b(_bytes_of(lies), digest_size=16).hexdigest()
        if large:
            self._arrays[id(array)] = ref(array), digest
        return digest


class _Sink:
    """The file that a pickler writes to."""

    def __init__(self, unlimited: bool) -> None:
        self.digest = blake2b(digest_size=16)
        self.sets = False
        self._left = None if unlimited else _MOST

    def write(self, data: Any) -> int:
        if not self.sets:
            self.sets = _SET in data or _FROZEN in data if type(data) is bytes else True
        self.digest.update(data)
        size = len(data)
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise _TooMuch
        return size


def _write(kind: Any, sink: _Sink, value: Any, met: Met, values: Values) -> None:
    buffers: list[PickleBuffer] = []
    writer = kind(sink, _PROTOCOL, buffer_callback=buffers.append)
    writer.fast = sink._left is not None
    writer.met, writer.values = met, values
    writer.dump(value)
    for buffer in buffers:
        raw = buffer.raw()
        sink.digest.update(b"%d" % raw.nbytes)
        sink.digest.update(raw)


class _Writer(pickle.Pickler):
    met: Met
    values: Values

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)  # what `__class__` says may be a lie
        if issubclass(kind, _CODE):
            if issubclass(kind, Ref):
                return (_ref, (self.met.task(obj),))
            if kind is FunctionType and obj in _OWN:
                return NotImplemented
            if kind is BuiltinFunctionType and not isinstance(obj.__self__, _HOLDERS):
                return NotImplemented  # a method of an object
            return (libraries.code, (self.met.code(obj),))
        if issubclass(kind, FileOrDir):
            path = os.fspath(obj)
            # The task sees the path, too, and may take from it what it is of.
            return (_file, (obj.WHAT, _below(path), self.met.file(path)))
        if kind is MethodType:
            return (_method, (obj.__func__, obj.__self__))
        if issubclass(kind, _SETS):
            return (_set, (kind, self.members(obj), getattr(obj, "__dict__", None)))
        return libraries.reduction(obj, kind, self.met.code, self.values.array)

    def members(self, obj: Any) -> tuple[bytes, ...]:
        return tuple(sorted([self.values._bytes(one, self.met) for one in obj]))


class _SetWriter(_Writer):
    """Is asked for each object, to see the sets; so it is slow."""

    def persistent_id(self, obj: Any) -> Any:
        return (type(obj).__name__, self.members(obj)) if type(obj) in _SETS else None


def _below(path: str) -> str:
    """Return a path, from the current folder on if it is below that: a project may be moved."""
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:
        return path
    return os.path.abspath(path).removeprefix(here)


def _bytes_of(array: Any) -> Any:
    if not array.nbytes:
        return b""
    if array.dtype.kind in "mMV":
        # numpy gives out no bytes of times.
        array = array.view("i8" if array.dtype.kind in "mM" else f"V{array.dtype.itemsize}")
    return PickleBuffer(array).raw()


# They are only written down.
def _ref(name: str) -> None: ...
def _file(*parts: Any) -> None: ...
def _set(*parts: Any) -> None: ...
def _method(*parts: Any) -> None: ...


_OWN = libraries.OWN | {_ref, _file, _set, _method}


def _kind(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
