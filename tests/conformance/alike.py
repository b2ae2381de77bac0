"""Tasks that change their inputs, and inputs of all shapes.  Workers import this."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fancypipe_core import current, module, task


class Table(dict[str, Any]):
    unit = ""


class Stack(list[Any]):
    pass


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


class Plain:
    def __init__(self, x: Any) -> None:
        self.x = x


class Guarded(Plain):
    """Cannot be copied."""

    def __init__(self, x: Any) -> None:
        import threading

        super().__init__(x)
        self.lock = threading.Lock()


@task
def one() -> int:
    return 1


@task
def seen(value: Any, look: Callable[[Any], Any]) -> Any:
    return look(value)


@task
def same(value: Any) -> Any:
    return value


@module
def composed(value: Any) -> Any:
    return same(value)


@task
def adds(value: Any) -> Any:
    """Changes its input in place, whatever it is."""
    inner = getattr(value, "x", value)
    if isinstance(inner, dict):
        inner["new"] = len(inner)
    elif isinstance(inner, set):
        inner.add(len(inner))
    elif isinstance(inner, np.ndarray):
        inner += 1
    else:
        inner.append(len(inner))
    return inner


@task(retries=1)
def adds_and_fails_once(value: Any) -> Any:
    result = adds.main(value)
    if current().attempt == 1:
        raise OSError("busy")
    return result


@task
def total(values: Any) -> Any:
    return sum(values)


@task(retries=1)
def total_in_two_attempts(values: Any) -> Any:
    result = sum(values)
    if current().attempt == 1:
        raise OSError("busy")
    return result


@task
def makes(what: str) -> Any:
    return MUTABLE[what]()


@task
def returns_generator() -> Any:
    return {"a": [numbers()]}


def numbers() -> Iterator[int]:
    yield from range(4)


MUTABLE: dict[str, Callable[[], Any]] = {
    "list": lambda: [0],
    "dict": lambda: {"a": 0},
    "set": lambda: {0},
    "deque": lambda: collections.deque([0]),
    "bytearray": lambda: bytearray(b"0"),
    "object": lambda: Plain([0]),
    "slots": lambda: Slotted([0]),
    "dataclass": lambda: Frozen([0]),
    "default dict": lambda: collections.defaultdict(list, a=0),
    "small array": lambda: np.zeros(3),
    "large array": lambda: np.zeros(20_000),
}
