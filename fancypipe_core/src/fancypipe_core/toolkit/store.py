"""Large values in the store of a pool's engine: put there once, whoever is to have them.

The client has the bytes of all that is there as well.  So what the store has lost costs
time, and no value.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ["Kept", "Shelf", "Store", "Stored", "read"]

_LEAST = 1024 * 1024  # bytes; less goes with the job


class Store(NamedTuple):
    """An engine's store.

    Attributes:
        put: Puts bytes there and returns a handle, which goes to workers with an argument; what it
            is of leaves the store when nobody has the handle any more.
        get: Returns the bytes of a handle, in a worker, where it is found by its name.
    """

    put: Callable[[bytearray], Any]
    get: Callable[[Any], Any]


class Stored(NamedTuple):
    """What goes to a worker in place of bytes that are in a store."""

    get: Callable[[Any], Any]
    handle: Any


class Kept(bytearray):
    """Large bytes that came from a worker, and of which it is seen when nobody has them."""


class Shelf:
    """What the client has in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handles: dict[int, Any] = {}
        self._is_open = True

    def put(self, parts: Sequence[Any]) -> list[Any]:
        """Return parts of a frame, with what is large and came from a worker in the store."""
        return [self._put(one) if type(one) is Kept else one for one in parts]

    def close(self) -> None:
        """Put nothing more there: it has lost something, and what is needed goes with each job."""
        self._is_open = False
        self._handles.clear()

    def _put(self, part: Kept) -> Any:
        if not self._is_open:
            return part
        at = id(part)
        if at not in self._handles:
            try:
                self._handles[at] = self._store.put(part)
            except Exception:  # noqa: BLE001 - whatever the engine may raise; it may be full
                return part
            weakref.finalize(part, self._handles.pop, at, None).atexit = False
        return Stored(self._store.get, self._handles[at])

    def keep(self, parts: Sequence[Any]) -> list[Any]:
        """Return parts of a frame that came, with those that are large enough to be put."""
        return [Kept(one) if len(one) >= _LEAST else one for one in parts]

    def forget(self) -> None:
        """Let go of all that was put: what is needed again is put anew."""
        self._handles.clear()


def read(parts: Sequence[Any]) -> list[Any] | None:
    """Return the parts of a frame, with what was put; None if the store has lost any of it."""
    with suppress(Exception):  # whatever the engine may raise
        # Whoever has one may write to it, and that of the store is everybody's.
        return [bytearray(one.get(one.handle)) if type(one) is Stored else one for one in parts]
    return None
