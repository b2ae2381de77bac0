"""Large values in the store of a pool's engine: put there once, whoever is to have them.

The client has the bytes of all that is there as well.  So what the store has lost costs
time, and no value.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from fancypipe_core.backend import Certificate

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "RESULT_GONE",
    "Gone",
    "Kept",
    "Left",
    "Shelf",
    "Store",
    "Stored",
    "kept",
    "leave_large",
    "named_store",
    "needed",
    "read",
    "run_with",
]

_LEAST = 1024 * 1024  # bytes; less goes with the job
RESULT_GONE = Certificate(
    "gone", "its result is gone from the store where its worker left it", "", 0, guilty=False
)
_here = threading.local()  # what the engine has brought for the call that a thread is in


class Store(NamedTuple):
    """An engine's store.

    Attributes:
        put: Puts bytes there and returns a handle, which goes to workers with an argument; what it
            is of leaves the store when nobody has the handle any more.
        get: Returns the bytes of a handle, in a worker, where it is found by its name.
        leave: As `put`, in a worker: what is large of a result stays where it was made.  The
            client's end of the pool brings the bytes before the call ends, see `Call.end_whole`;
            it pays where that is to map them.  None if all of a result comes with the answer.
    """

    put: Callable[[Any], Any]
    get: Callable[[Any], Any]
    leave: Callable[[Any], Any] | None = None


class Stored(NamedTuple):
    """What goes to a worker in place of bytes that are in a store."""

    get: Callable[[Any], Any]
    handle: Any


class Left(NamedTuple):
    """What a worker has left in a store, in its answer: the handle, and in the client its bytes.

    The bytes are None where they are not there yet, and where they are gone.
    """

    handle: Any
    data: Any = None


class Gone(Exception):
    """What a worker had left in a store was gone before the client had it."""


class Kept(bytearray):
    """Large bytes that came from a worker, and of which it is seen when nobody has them."""


def kept(data: Any) -> Any:
    """Return bytes that the client has; those that are large enough can be put into a store."""
    return Kept(data) if len(data) >= _LEAST else data


class Shelf:
    """What the client has in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handles: dict[int, Any] = {}
        self._is_open = True

    def put(self, parts: Sequence[Any]) -> list[Any]:
        """Return parts of a frame, with what is large and came from a worker in the store."""
        return [
            self._put(one) if type(one) is Kept or id(one) in self._handles else one
            for one in parts
        ]

    def close(self) -> None:
        """Put nothing more there: it has lost something, and what is needed goes with each job."""
        self._is_open = False
        self._handles.clear()

    def _put(self, part: Any) -> Any:
        if not self._is_open:
            return part
        if id(part) not in self._handles:
            try:
                handle = self._store.put(part)
            except Exception:  # noqa: BLE001 - whatever the engine may raise; it may be full
                return part
            self._hold(part, handle)
        return Stored(self._store.get, self._handles[id(part)])

    def _hold(self, part: Any, handle: Any) -> None:
        """Have a handle for as long as the client has the bytes."""
        self._handles[id(part)] = handle
        weakref.finalize(part, self._handles.pop, id(part), None).atexit = False

    def keep(self, parts: Sequence[Any]) -> list[Any]:
        """Return parts of a frame that came, with those that are large enough to be put.

        Raises:
            Gone: One is not there.
        """
        return [self._mapped(one) if type(one) is Left else kept(one) for one in parts]

    def _mapped(self, left: Left) -> memoryview:
        if left.data is None:
            raise Gone
        view = memoryview(left.data).toreadonly()  # whoever opens it makes a copy
        if self._is_open:
            self._hold(view, left.handle)
        return view

    def forget(self) -> None:
        """Let go of all that was put: what is needed again is put anew."""
        self._handles.clear()


def leave_large(parts: Sequence[Any], leave: Callable[[Any], Any] | None) -> list[Any]:
    """Return the parts of a worker's answer, with what is large left in a store."""
    return [
        _left(one, leave) if leave and memoryview(one).nbytes >= _LEAST else one for one in parts
    ]


def _left(part: Any, leave: Callable[[Any], Any]) -> Any:
    try:
        return Left(leave(part))
    except Exception:  # noqa: BLE001 - whatever the engine may raise; it may be full
        return part


def read(parts: Sequence[Any]) -> list[Any] | None:
    """Return the parts of a frame, with what was put; None if the store has lost any of it."""
    with suppress(Exception):  # whatever the engine may raise
        # Whoever has one may write to it, and that of the store is everybody's.
        return [bytearray(one.get(one.handle)) if type(one) is Stored else one for one in parts]
    return None


# ---- for engines that bring what a call says that it needs ----


class _Named(str):
    """A handle that is a name for the workers; what calls are given for it comes by a future."""

    __slots__ = ("value",)
    value: Future[Any]

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def named_store(put: Callable[[str, bytearray], Future[Any]]) -> Store:
    """Return a store whose values are brought to a worker with the call that needs them.

    Args:
        put: Begins to put bytes there under a name; its future gives what the engine is given for
            them with a call, see `needed`.
    """

    def begin(data: bytearray) -> _Named:
        name = _Named(f"value-{uuid4().hex}")
        name.value = put(str(name), data)
        return name

    return Store(begin, _brought)


async def needed(argument: Any) -> dict[str, Any]:
    """Return what a call needs of a `named_store`, by its name, without what could not be put.

    The engine gives it to the call as `run_with` takes it, each in place of what `put` gave.

    Args:
        argument: Of the call.
    """
    frame = argument[3] if argument else ""
    parts = [] if isinstance(frame, str) else [*frame[1], *argument[6]]  # of values, and of code
    names = [part.handle for part in parts if type(part) is Stored]
    from asyncio import gather, wrap_future  # who has no loop does not import it

    values = await gather(*(wrap_future(name.value) for name in names), return_exceptions=True)
    pairs = zip(names, values, strict=True)
    return {str(name): one for name, one in pairs if not isinstance(one, BaseException)}


def run_with(function: Callable[[Any], Any], argument: Any, held: dict[str, Any]) -> Any:
    """Call a function in a worker, with what it needs of a `named_store`.

    Args:
        function: What is called.
        argument: What it takes.
        held: What the engine has brought, by its name.

    Returns:
        What the function does.
    """
    _here.held = held
    try:
        return function(argument)
    finally:
        del _here.held


def _brought(name: str) -> Any:
    return _here.held[name]
