"""Memory of arrays that nobody will read any more: it is given back while it is written elsewhere.

Whoever returns a large array has it once, and it is about to be once more in a segment.  If
nobody but its buffer refers to the array, it is gone as soon as it is written; so the
pages that were written can go before.  Then there never are two of it.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

__all__ = ["SpentMemory", "is_spent"]


_PIECE = 8 * 1024 * 1024  # bytes that are there twice
_HUGE = 2 * 1024 * 1024  # bytes; a huge page of which a part is given back is of no use
_DONTNEED = 4  # madvise(2)
_PAGE = 64 * 1024  # bytes: a multiple of every page size


def is_spent(buffer: Any) -> bool:
    """Tell whether a `PickleBuffer` is of an array that goes with it, its memory with the array.

    That is: nobody else refers to the array, nobody to what it may be a view of, and the
    memory is of the allocator that numpy has by itself.
    """
    array: Any = buffer.raw().obj
    kind: Any = type(array)
    if kind.__module__ != "numpy" or kind.__name__ != "ndarray":
        return False
    del array
    if _references(buffer) != _references(type(buffer)(bytearray(1))):
        return False
    array = buffer.raw().obj
    owner = array
    if array.base is not None:
        if type(array.base) is not kind or _base_references(array) != _base_references(kind(2)[1:]):
            return False
        owner = array.base
    watched = weakref.getweakrefcount(array) or weakref.getweakrefcount(owner)
    return owner.flags.owndata and not watched and _is_of_malloc(owner)


# How many references there are where there is no other depends on the interpreter, which
# counts some of its own and spares others; so it is asked in the same way.


def _references(buffer: Any) -> int:
    return sys.getrefcount(buffer.raw().obj)


def _base_references(array: Any) -> int:
    return sys.getrefcount(array.base)


def _is_of_malloc(array: Any) -> bool:
    for name in ("numpy._core.multiarray", "numpy.core.multiarray"):
        named = getattr(sys.modules.get(name), "get_handler_name", None)
        if named is not None:
            return bool(named(array) == "default_allocator")
    return False  # an old numpy, or a new one; it is only memory that is at stake


class SpentMemory:
    """A buffer that is read for the last time, piece by piece.

    Args:
        view: Bytes of a buffer that `is_spent`.
    """

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._begin = ctypes.addressof(ctypes.c_char.from_buffer(view))
        self._free_from = -(-self._begin // _PAGE) * _PAGE

    def pieces(self) -> Iterator[memoryview]:
        """Yield all of it; each piece is gone when the next is asked for."""
        view, end = self._view, self._begin + self._view.nbytes
        at = self._begin
        while at < end:
            upto = min(end, (at + _PIECE) // _HUGE * _HUGE)
            yield view[at - self._begin : upto - self._begin]
            self._give_back(upto // _PAGE * _PAGE)
            at = upto

    def _give_back(self, upto: int) -> None:
        if upto > self._free_from:
            _madvise()(self._free_from, upto - self._free_from, _DONTNEED)
            self._free_from = upto


@lru_cache(maxsize=1)
def _madvise() -> Any:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
