"""Tasks and modules for tests that run on every backend."""

from __future__ import annotations

import dataclasses
import enum
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fancypipe_core import Module, Outputs, Task, current, module, task


class CustomError(Exception):
    """Its `__init__` takes what `args` does not hold."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


class LockedError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class ShyError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    item: Any


class Pair(NamedTuple):
    left: Any
    right: Any


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class NotBack:
    """Can be written, but not read back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_refuse, ())


class ExitsBack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, (7,))


def _refuse() -> None:
    raise ValueError("does not want to be read")


@task
def square(x: float) -> float:
    return x * x


@task
def add(a: Any, b: Any) -> Any:
    return a + b


@task
def same(x: Any) -> Any:
    return x


@task
def call(function: Any, *args: Any) -> Any:
    return function(*args)


@task
def total(numbers: Any) -> Any:
    return sum(numbers)


@task
def fib(n: int) -> Any:
    return n if n < 2 else add(fib(n - 1), fib(n - 2))


@task
def down(n: int) -> Any:
    """Recursion: each level returns a reference to the next."""
    return 0 if n == 0 else add(down(n - 1), 1)


@task
def nest(n: int) -> Any:
    """A value with references at any depth."""
    return {"n": n, "inner": [nest(n - 1), (square(n),)]} if n else {"n": 0}


@task
def split(x: float) -> Outputs:
    return Outputs(half=x / 2, double=x * 2, parts=[x, Outputs(deep=x)])


@task
def split_later(x: float) -> Outputs:
    """Outputs that are references themselves."""
    return Outputs(square=square(x), plain=x, sum=add(square(x), x))


@task
def waits_inside(x: float) -> Any:
    """Needs a result in the middle of its work."""
    return add(square(x), 1).result() + 1


@task
def fails_inside(x: Any) -> Any:
    try:
        return add(raises(x), 1).result()
    except CustomError as error:
        return error.code


@task
def raises(code: Any) -> None:
    raise CustomError(code, "custom")


@task
def raises_locked() -> None:
    raise LockedError


@task
def raises_shy() -> None:
    raise ShyError


@task
def raises_chain() -> None:
    try:
        os.environ["NO_SUCH_VARIABLE"]  # a KeyError
    except KeyError as error:
        raise RuntimeError("outer") from error


@task
def raises_long() -> None:
    raise ValueError("x" * 10_000_000)


@task
def raises_deep(n: int) -> Any:
    def deeper(n: int) -> Any:
        return deeper(n - 1) if n else 1 // 0

    return deeper(n)


@task
def exits(code: Any = None) -> None:
    sys.exit(code)


@task
def interrupts() -> None:
    raise KeyboardInterrupt


@task(retries=2)
def works_on(attempt: int) -> int:
    if current().attempt < attempt:
        raise OSError(5, "not yet")
    return current().attempt


@task
def who() -> tuple[str, int]:
    return current().name, current().attempt


@task(name="a better name")
def renamed() -> str:
    return current().name


@task
def write(text: str) -> Any:
    current().tempfile("not returned").write_text("gone")
    path = current().tempfile(suffix=".txt")
    path.write_text(text)
    return path


@task
def write_in_folder(text: str) -> Any:
    folder = current().tempdir("results")
    (folder / "a.txt").write_text(text)
    return {"folder": folder}


@task
def read(path: Path) -> str:
    return path.read_text()


@task
def writes_for_others(first: str, second: str) -> Any:
    """Returns what it has written only by way of tasks that read it."""
    one, two = current().tempfile(), current().tempfile()
    one.write_text(first)
    two.write_text(second)
    return add(read(one), same(read(two)))


@task
def exists(path: str) -> bool:
    return os.path.exists(path)


@task
def text_of(path: Any) -> str:
    return str(path)


@task
def array(n: int) -> Any:
    return np.arange(n, dtype=float)


@task
def array_sum(a: Any) -> float:
    return float(a.sum())


@task
def late(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)  # the work of this task is to take time
    return value


@task
def wait_for(path: str, limit: float = 60.0) -> bool:
    """Take as long as it takes until a file is there."""
    until = time.monotonic() + limit
    while not os.path.exists(path):
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.005)
    return True


@task
def mark(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


class Scale(Task, name="scaled"):
    """A task as a class."""

    def main(self, x: float, factor: float = 2) -> float:
        return x * factor


class Keeps(Task):
    """A task with attributes of its own."""

    def __init__(self, x: Any, extra: Any) -> None:
        super().__init__(x)
        self.extra = extra

    def main(self, x: Any) -> Any:
        return x, self.extra


class Sums(Module):
    """A module as a class."""

    def main(self, n: int) -> Any:
        return total([square(i) for i in range(n)])


@module
def sum_of_squares(x1: float = 3, x2: float = 4) -> Any:
    return add(square(x1), square(x2))


@module
def outer(n: int) -> Any:
    return {"all": [middle(i) for i in range(n)], "count": n}


@module
def middle(n: int) -> Any:
    return Outputs(sum=sum_of_squares(n, n), list=[square(n), Sums(n)])


@module
def decides(x: float) -> Any:
    """Its shape depends on what a task found."""
    n = int(square(x).result())
    return [square(i) for i in range(n)]


@module
def waits_twice(x: float) -> Any:
    first = square(x)
    y = first.result()
    # The first is asked for again: it must not run again.
    return add(first, square(y).result())


@module
def catches(code: int) -> Any:
    try:
        return raises(code).result()
    except CustomError as error:
        return square(error.code)


@module
def nested_waits(n: int) -> Any:
    return add(nested_waits(n - 1).result(), 1).result() if n else 0


@module
def asks_for_missing() -> Any:
    return same(split(1.0)["nosuch"])


@task
def makes_module(n: int) -> Any:
    """A task that returns a module's output: the module runs in the client."""
    return add(where(), n), where_task(), sum_of_squares(n, n)


@module
def where() -> int:
    return os.getpid()


@task
def where_task() -> int:
    return os.getpid()
