"""Values that stay in this process, carried as between processes: each task gets its own.

They are written down and made again by the same means, so that containers keep their
kinds and circles, references are found wherever they are, and nobody sees what another
task or attempt has changed.  Only code, exceptions and what cannot be written down are
handed on as they are; large read-only buffers are not copied.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    ModuleType,
    TracebackType,
)
from typing import Any

from fancypipe_core import errors
from fancypipe_core._codec import by_value, unencodable, unpickler
from fancypipe_core._codec import pickler as _pickler
from fancypipe_core._codec.pickler import PLAIN, Encoder, Packed
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.task import TaskFunction
from fancypipe_core.backend import Live, Payload

__all__ = ["Carried", "LiveEncoder", "Shape", "refers"]

_SHARED = (
    type,
    FunctionType,
    BuiltinFunctionType,
    ModuleType,
    TaskFunction,
    BaseException,
    TracebackType,
    *by_value.NAMED,
)
_MOST_PARTS = 10_000  # that are looked at
_READ_ONCE = (AsyncGeneratorType, CoroutineType)


class Carried:
    """A value that is not plain, on its way from task to task of this process.

    Attributes:
        payloads: The value itself last.  Those that are `Live` are handed on as they are.
    """

    __slots__ = ("payloads",)

    def __init__(self, payloads: Sequence[Payload | Live]) -> None:
        self.payloads = payloads

    def open(self) -> Any:
        """Make the value; each call makes another."""
        return unpickler.decode(self.payloads, own=True)


class _Pickler(_pickler.Pickler):
    """Hands on code and exceptions as they are."""

    def __init__(self, file: io.BytesIO, cache: by_value.Cache) -> None:
        super().__init__(file, cache)
        self.shared: list[Any] = []

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if issubclass(kind, Ref):
            return self._hole(obj)
        if issubclass(kind, _SHARED):
            if obj is unpickler.fill:
                return NotImplemented
            return self._share(obj)
        if kind.__module__ not in _pickler.NUMPY:
            self.odd = True
        elif kind.__name__ == "ufunc":
            return self._share(obj)
        return NotImplemented

    def _share(self, obj: Any) -> Any:
        self.shared.append(obj)
        self.holes.append((-len(self.shared), None))
        return (unpickler.fill, (len(self.holes) - 1, ()))

    def packed(self, file: io.BytesIO) -> Packed:
        """Return what was written."""
        wanted = len(self.reached)
        holes = tuple((at if at >= 0 else wanted - at - 1, name) for at, name in self.holes)
        root = Payload(file.getvalue(), tuple(self.buffers), holes)
        return Packed((*map(Live, self.shared), root), self.reached, self.odd)  # type: ignore[arg-type]


class _Piecewise(_Pickler):
    """Hands on as they are also objects that cannot be written down whole, or not be read.

    Args:
        file: Where to write.
        cache: As for `Encoder`.
        keep: Hand on all objects without references in them.
        lenient: Hand on also what can be read only once.
    """

    def __init__(
        self, file: io.BytesIO, cache: by_value.Cache, keep: bool = False, lenient: bool = False
    ) -> None:
        super().__init__(file, cache)
        self._keep = keep
        self._lenient = lenient

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if issubclass(kind, (Ref, *_SHARED)):
            return super().reducer_override(obj)
        self.odd = True
        trial = _Trial(self.cache)
        try:
            trial.dump(obj)
        except KeyboardInterrupt:
            raise
        except BaseException:
            if trial.reached or refers(obj):
                return NotImplemented  # what is in it has its own trial
            if trial.is_read_once and not self._lenient:
                raise
            return self._share(obj)
        if trial.reached:
            return NotImplemented
        return self._share(obj) if self._keep or not trial.can_be_read() else NotImplemented


class _Trial(_Pickler):
    """Finds out whether an object can be written down whole, and what it fails at."""

    def __init__(self, cache: by_value.Cache) -> None:
        self._file = io.BytesIO()
        self._last: Any = None
        super().__init__(self._file, cache)

    def reducer_override(self, obj: Any) -> Any:
        self._last = obj
        return super().reducer_override(obj)

    @property
    def is_read_once(self) -> bool:
        """Whether it has failed at something that would be used up by its first reader."""
        kind = type(self._last)
        return hasattr(kind, "__next__") or issubclass(kind, _READ_ONCE)

    def can_be_read(self) -> bool:
        """Whether what was written can be read again."""
        try:
            _check(self.packed(self._file))
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the user's objects may raise anything
            return False
        return True


def _check(packed: Packed) -> None:
    """Raise what reading raises; what waits for values is not read."""
    if packed.odd and not packed.wants:
        assert not isinstance(packed.body, Live)
        unpickler.decode(packed.body)


class LiveEncoder(Encoder):
    """Writes values down for use in this process."""

    def _write(self, value: Any) -> Packed:
        file = io.BytesIO()
        pickler = _Pickler(file, self._cache)
        try:
            pickler.dump(value)
            packed = pickler.packed(file)
            _check(packed)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001 - the user's objects may raise anything
            file = io.BytesIO()
            pickler = _Piecewise(file, self._cache)
            pickler.dump(value)
            packed = pickler.packed(file)
        return packed


def refers(obj: Any) -> bool:
    """Whether there is a reference in an object, as far as can be seen."""
    waiting = [obj]
    seen: set[int] = set()
    kept: list[Any] = []  # so that no other object gets the number of one that was seen
    while waiting and len(kept) < _MOST_PARTS:
        one = waiting.pop()
        if issubclass(type(one), Ref):
            return True
        if id(one) in seen or type(one) in PLAIN or issubclass(type(one), _SHARED):
            continue
        seen.add(id(one))
        kept.append(one)
        waiting += [part for _, part in unencodable.parts(one)]
    return False


class Shape:
    """What was asked for: a value in which references are to be replaced, and nothing else.

    Args:
        value: Objects without references in them stay the same objects.
        lenient: Pass over what cannot be written down.

    Attributes:
        refs: The references, in the order in which they were found.

    Raises:
        EncodeError: It cannot be taken apart.
    """

    def __init__(self, value: Any, lenient: bool = False) -> None:
        self._value = value
        self._rows: Callable[[Iterable[Any]], Any] | None = None
        if type(value) in (list, tuple) and _are_references(value):
            # The usual case, which needs no pickle.
            self._rows = type(value)
            self.refs: list[Ref[Any]] = list(value)
            return
        try:
            self._head, self._found = _apart(value, lenient)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise _pickler.explain(value, "target", _apart, error) from error
        self.refs = [one for one in self._found if issubclass(type(one), Ref)]

    def filled(self, values: Iterable[Any]) -> Any:
        """Return the value with these in the places of references, in the order of `refs`."""
        if not self.refs:
            return self._value
        if self._rows is not None:
            return self._rows(values)
        rest = iter(values)
        found = [next(rest) if issubclass(type(one), Ref) else one for one in self._found]
        return unpickler.loads(self._head, (), found)


def _are_references(values: Sequence[Any]) -> bool:
    return all(issubclass(kind, Ref) for kind in set(map(type, values)))


def _apart(value: Any, lenient: bool = False) -> tuple[bytes, list[Any]]:
    file = io.BytesIO()
    pickler = _ShapePickler(file, {}, keep=True, lenient=lenient)
    pickler.dump(value)
    return file.getvalue(), pickler.shared


class _ShapePickler(_Piecewise):
    def reducer_override(self, obj: Any) -> Any:
        if issubclass(type(obj), Ref):
            return self._share(obj)
        return super().reducer_override(obj)
