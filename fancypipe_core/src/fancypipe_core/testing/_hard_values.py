"""Values that are hard to carry, and values that cannot be carried.  Workers import this."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import operator
import pickle
import re
import socket
import sys
import tempfile
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from fancypipe_core import Outputs, task

__all__ = ["CARRIED", "REFUSED", "UNREADABLE", "Hard", "looked_at", "made", "made_within"]


class Hard(NamedTuple):
    """A value.

    Attributes:
        make: Makes it.
        look: Returns what can be compared of it.
    """

    make: Callable[[], Any]
    look: Callable[[Any], Any] = repr


class Colour(enum.Enum):
    RED = "red"


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """A dataclass that has no `__dict__`."""

    x: Any
    y: Any = dataclasses.field(default_factory=list)


class Table(dict[str, Any]):
    """A dict with an attribute."""

    unit = ""


class Odd:
    """Raises wherever it can."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare")

    def __hash__(self) -> int:
        raise RuntimeError("do not hash")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __len__(self) -> int:
        raise RuntimeError("has no length")

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("has no items")

    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Elementwise:
    """Compares as arrays do."""

    def __init__(self, *x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> Any:
        return Elementwise(*[one == other for one in self.x])

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of several is ambiguous")


class Coded(Exception):
    """Its `__init__` takes other arguments than it passes on."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


class Slotted:
    """Has neither `__dict__` nor a way to be pickled but the usual one."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


class NotWritten:
    """Raises when it is pickled."""

    def __reduce__(self) -> Any:
        raise ValueError("does not want to be written")


class NotRead:
    """Raises when it is unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


class Leaves:
    """Exits when it is unpickled."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


def _refuse() -> None:
    raise ValueError("does not want to be read")


def _nested() -> list[Any]:
    made: list[Any] = []
    for _ in range(200):
        made = [made]
    return made


def _circle() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


def _circle_of_objects() -> Any:
    table = Table(a=1)
    table["self"] = table
    table.unit = "mm"
    return table


def _closure(n: int) -> Callable[[int], int]:
    def add_n(x: int) -> int:
        return x + n

    return add_n


def _closed(resource: Any) -> Any:
    # It is as hard to carry, and nobody is warned when it goes.
    resource.close()
    return resource


def _generator() -> Iterator[int]:
    yield 1


def _array(make: Callable[[Any], Any]) -> Hard:
    """Return an array that `make` gives when it gets numpy."""

    def made() -> Any:
        import numpy as np

        return make(np)

    return Hard(made, look_at_array)


def look_at_array(array: Any) -> tuple[str, tuple[int, ...], str]:
    """Return what an array is, and the hash of its items."""
    if array.dtype.hasobject:
        return str(array.dtype), array.shape, repr(array.tolist())
    return str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()


def _read_only(numpy: Any) -> Any:
    array = numpy.arange(20_000.0)
    array.flags.writeable = False
    return array


CARRIED: dict[str, Hard] = {
    "enum": Hard(lambda: [Colour.RED, Bits.ONE | Bits.TWO]),
    "named-tuple": Hard(lambda: Pair(1, (Pair(2, 3),))),
    "dataclass": Hard(lambda: Frozen(Frozen(1), {2: "b"})),
    "dict-with-attributes": Hard(lambda: Table(a=1)),
    "nan": Hard(lambda: {"a": [float("nan"), -0.0, float("-inf"), complex("nan+1j")]}),
    "circle": Hard(_circle),
    "circle-of-objects": Hard(_circle_of_objects, lambda x: (x["self"] is x, x.unit)),
    "the-same-twice": Hard(lambda: [[]] * 2, lambda x: x[0] is x[1]),
    "outputs-in-outputs": Hard(lambda: Outputs(a=Outputs(b=1, c=[2]), d={"e": Outputs(f=3)})),
    "raises-everywhere": Hard(lambda: [Odd(5), {"odd": Odd(6)}], lambda x: (x[0].x, x[1]["odd"].x)),
    "compares-like-arrays": Hard(lambda: (Elementwise(1, 2),), lambda x: x[0].x),
    "slots": Hard(lambda: Slotted([1]), lambda x: x.x),
    "exception": Hard(lambda: [ValueError("a", 1), KeyError("b")]),
    "exception-with-own-init": Hard(lambda: Coded(7, "seven"), lambda x: (str(x), x.code)),
    "lambda": Hard(lambda: lambda x: x * 2, lambda f: f(21)),
    "closure": Hard(lambda: _closure(3), lambda f: f(4)),
    "partial": Hard(lambda: functools.partial(_closure, 3), lambda f: f()(4)),
    "bound-method": Hard(lambda: Colour.RED.value.upper, lambda f: f()),
    "function-of-the-standard-library": Hard(lambda: operator.itemgetter(1), lambda f: f([1, 2])),
    "classes": Hard(lambda: [int, Frozen, Colour, collections.OrderedDict]),
    "default-dict": Hard(lambda: collections.defaultdict(list, a=[1])),
    "containers": Hard(
        lambda: [collections.deque([1], 5), collections.Counter("aab"), frozenset({1}), range(3)]
    ),
    "numbers": Hard(lambda: [decimal.Decimal("1.10"), fractions.Fraction(1, 3), 10**300, True]),
    "times": Hard(lambda: dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc)),
    "names": Hard(lambda: [uuid.UUID(int=5), PurePosixPath("a/b"), re.compile("a", re.IGNORECASE)]),
    "bytes-of-all-kinds": Hard(lambda: [b"", b"\0\xff", bytearray(b"ab"), pickle.dumps(1)]),
    "text": Hard(lambda: ["", "\0", "\ud800", "é" * 70_000]),
    "singletons": Hard(lambda: [None, ..., NotImplemented]),
    "200-levels": Hard(_nested),
    "100-000-items": Hard(lambda: list(range(100_000)), lambda x: (len(x), sum(x))),
    "array": _array(lambda np: np.arange(100_000.0)),
    "array-of-64-MB": _array(lambda np: np.arange(8 * 1024 * 1024, dtype=np.float64)),
    "array-without-items": _array(lambda np: np.zeros((0, 3), dtype=np.int16)),
    "array-without-axes": _array(lambda np: np.array(5.0)),
    "array-by-columns": _array(lambda np: np.asfortranarray(np.arange(60_000.0).reshape(200, 300))),
    "array-with-gaps": _array(lambda np: np.arange(60_000.0)[::-3]),
    "array-transposed": _array(lambda np: np.arange(6000).reshape(2, 30, 100).transpose(2, 0, 1)),
    "array-spread-out": _array(lambda np: np.broadcast_to(np.arange(300.0), (100, 300))),
    "array-read-only": _array(_read_only),
    "array-of-texts": _array(lambda np: np.array(["text", "more"])),
    "array-of-objects": _array(lambda np: np.array([1, "a", None, [2]], dtype=object)),
    "array-of-records": _array(lambda np: np.zeros(3000, dtype=[("a", "<i4"), ("b", "<f8", 3)])),
    "array-of-nan": _array(lambda np: np.full(3000, np.nan)),
    "array-of-the-other-byte-order": _array(lambda np: np.arange(3000, dtype=">i4")),
    "number-of-numpy": _array(lambda np: np.float32(0.1)),
}
"""What must arrive as it is.  Those that begin with `array` or `number-of` need numpy."""

REFUSED: dict[str, Callable[[], Any]] = {
    "generator": _generator,
    "lock": threading.Lock,
    "socket": lambda: _closed(socket.socket()),
    "file": lambda: _closed(tempfile.TemporaryFile()),  # noqa: SIM115 - closed at once
    "thread": threading.Thread,
    "weak-reference": lambda: weakref.ref(Colour),
    "memory-view": lambda: memoryview(b"ab"),
    "raises-when-written": NotWritten,
}
"""What cannot be written down."""

UNREADABLE: dict[str, Callable[[], Any]] = {"raises-when-read": NotRead, "exits-when-read": Leaves}
"""What can be written down and not be read again."""

_ALL: dict[str, Callable[[], Any]] = {
    **{name: hard.make for name, hard in CARRIED.items()},
    **REFUSED,
    **UNREADABLE,
}


@task
def made(name: str) -> Any:
    return _ALL[name]()


@task
def made_within(name: str) -> Any:
    return {"a": [1, (_ALL[name](),)]}


@task
def looked_at(name: str, value: Any) -> Any:
    return CARRIED[name].look(value)
