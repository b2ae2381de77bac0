"""Large parts of what was written down go into shared memory, and handles take their places."""

from __future__ import annotations

from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any
from weakref import WeakValueDictionary

from fancypipe_core._base import shared_memory
from fancypipe_core._base.shared_memory import LARGE, Handle
from fancypipe_core._codec.pickler import Packed
from fancypipe_core.backend import Backend, BackendPlugin, Handing, Live, Payload

__all__ = ["Sharer", "sharer_of"]

_LEAST_FRESH = 32 * 1024 * 1024  # bytes; for less the allocator has some that is warm


def sharer_of(plugin: BackendPlugin, backend: Backend) -> Sharer | None:
    """Return what shares the inputs of a backend's jobs; None if its workers take no handles."""
    if plugin.shares_memory:
        return Sharer(remembers=True, here=True)
    if not plugin.handles:
        return None
    if isinstance(backend, Handing):
        return Sharer(remembers=True, is_of_use=lambda: backend.hands_on)
    return Sharer(remembers=True)


class Sharer:
    """Puts large buffers and heads into shared memory.

    Args:
        remembers: Whether what one array holds is written once for all values, until `forget`.
        is_of_use: Tells whether anybody can be given handles now.
        here: Whether all readers are in this process.  Then only that is put there which it
            takes longer to copy for each: buffers that are so large that fresh memory is needed.

    Attributes:
        known: What was written, by the array that holds it, until `forget`.
    """

    def __init__(
        self,
        *,
        remembers: bool,
        is_of_use: Callable[[], bool] = lambda: True,
        here: bool = False,
    ) -> None:
        self._remembers = remembers
        self._is_of_use = is_of_use
        self._here = here
        self._least = _LEAST_FRESH if here else LARGE
        self.known: WeakValueDictionary[int, Handle] = WeakValueDictionary()

    def forget(self) -> None:
        """What objects of this process hold may have changed."""
        self.known.clear()

    def shared(self, packed: Packed) -> Packed:
        """Return what was packed with handles for what is large, as far as there is room."""
        body: Any = packed.body
        if type(body) is not tuple:
            return packed
        only = body[0]
        if len(body) == 1 and (
            type(only) is Live or (not only.buffers and len(only.head) < self._least)
        ):
            return packed  # as most are
        if not self._is_of_use():
            return packed
        made: Any = tuple([one if type(one) is Live else self._payload(one) for one in body])
        return Packed(made, packed.wants, packed.odd)

    def _payload(self, payload: Payload) -> Payload:
        head, buffers = payload.head, payload.buffers
        if type(head) is bytes and len(head) >= LARGE and not self._here:
            put = shared_memory.put([head])
            head = put[0] if put else head
        if buffers:
            buffers = self._buffers(buffers)
        if head is payload.head and buffers is payload.buffers:
            return payload
        return Payload(head, buffers, payload.holes, payload.names)

    def _buffers(self, buffers: tuple[PickleBuffer, ...]) -> tuple[Any, ...]:
        """Return the buffers, the large ones as handles; what is new is of one segment."""
        spent = [not self._remembers and _goes_with(buffer) for buffer in buffers]
        views = [buffer.raw() for buffer in buffers]
        holders = [_holder(view) if self._suits(view) else None for view in views]
        found: dict[int, Handle] = {}
        new: dict[int, memoryview] = {}
        last: set[int] = set()
        for holder, view, is_spent in zip(holders, views, spent, strict=True):
            known = self.known.get(id(holder))
            if known is not None:
                found[id(holder)] = known
            elif holder is not None:
                if is_spent:
                    last.add(len(new))
                new[id(holder)] = view
        if new:
            # They are kept with the memory, so that their numbers are nobody else's meanwhile.
            source = holders if self._remembers else None
            put = shared_memory.put(list(new.values()), source, last)
            if put is not None:
                found.update(zip(new, put, strict=True))
                if self._remembers:
                    self.known.update(found)
        return tuple(
            [found.get(id(holder), buffer) for holder, buffer in zip(holders, buffers, strict=True)]
        )

    def _suits(self, view: memoryview) -> bool:
        # What nobody can write to all readers of this process have as it is.
        return view.nbytes >= self._least and not (self._here and view.readonly)


def _goes_with(buffer: PickleBuffer) -> bool:
    """Whether what a large buffer is of goes with it, so that it is read for the last time."""
    if buffer.raw().nbytes < _LEAST_FRESH:
        return False
    from fancypipe_core._base.spent_memory import is_spent

    return is_spent(buffer)


def _holder(view: memoryview) -> Any:
    """Return what these bytes and no others are of: an array; else only this view of them."""
    obj = view.obj
    whole = type(obj).__module__ == "numpy" and getattr(obj, "nbytes", None) == view.nbytes
    return obj if whole else view
