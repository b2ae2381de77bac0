"""Tasks for maps.  Workers import this."""

from __future__ import annotations

import collections
import contextvars
import decimal
import os
import random
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from fancypipe_core import Outputs, Task, current, module, task


@task
def square(x: Any, plus: int = 0) -> Any:
    return x * x + plus


@task
def waits(gate: str) -> None:
    until = time.monotonic() + 60
    while not os.path.exists(gate) and time.monotonic() < until:
        time.sleep(0.002)


class Powers(Task):
    def main(self, x: int, to: int = 2) -> int:
        return int(x**to)


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def picky(x: int) -> int:
    if x % 100 == 37:
        raise ValueError(f"{x} is not welcome")
    return x


@task(retries=2)
def in_the_end(x: int) -> tuple[int, int]:
    if x == 37 and current().attempt < 3:
        raise OSError("busy")
    return x, current().attempt


@task(retries=1, retry_delay=0.01)
def after_a_delay(x: int) -> int:
    if x == 37 and current().attempt < 2:
        raise OSError("busy")
    return x


@task
def unsendable(x: int) -> Any:
    return threading.Lock() if x == 37 else x


@task
def nested(x: int) -> Any:
    return square(x) if x % 2 else x


@task
def fails_below(x: int) -> Any:
    return picky(x)


@task(retries=1)
def mixed(x: int) -> Any:
    """Some return references, and one fails at first."""
    if x == 762 and current().attempt < 2:
        raise OSError("busy")
    return square(x) if x % 100 == 60 else x


@module
def composed(x: int, plus: int = 0) -> Any:
    return square(x, plus)


@task
def inside(n: int) -> int:
    return sum(square.map(range(n)).result())


@task
def makes(n: int) -> Any:
    return square.map(list(range(n)), plus=1)


@module
def twice(n: int) -> Any:
    """Waits for a map, and returns another one."""
    return square.map(square.map(range(n)).result())


@task
def index_of(x: int) -> int | None:
    return current().index


@task
def index_alone() -> int | None:
    return current().index


@task
def appended(x: int, table: list[int]) -> int:
    """Changes what all elements are given."""
    table.append(x)
    return len(table)


@task
def changed(held: list[int]) -> list[int]:
    held.append(1)
    return held


@task
def messy(x: int) -> int:
    """Leaves all kinds of things to whoever comes next."""
    seen = random.randint(0, 10**9)
    random.seed(1)
    warnings.simplefilter("error")
    VARIABLE.append(x)
    return seen


VARIABLE: list[int] = []
CONTEXT: contextvars.ContextVar[int] = contextvars.ContextVar("context", default=-1)


@task
def in_context(x: int) -> tuple[int, int]:
    """Sets a context variable, in some elements."""
    seen = CONTEXT.get(), decimal.getcontext().prec if x % 2 else 28
    if x % 3:
        CONTEXT.set(x)
        decimal.getcontext().prec = 5
    return seen


@task
def writes(x: int) -> Path:
    path = current().tempdir() / "same-name"
    path.write_text(str(x))
    return path


@task
def reads(paths: list[Path]) -> list[int]:
    return [int(path.read_text()) for path in paths]


@task
def outputs(x: int) -> Any:
    return Outputs(a=x, b=[x])


@task
def counted(x: int) -> Any:
    return collections.Counter({x: 1})


@task
def exits(x: int) -> int:
    if x == 37:
        raise SystemExit(3)
    return x


@task
def pid(x: int) -> int:
    return os.getpid()


@task
def thread(x: int) -> int:
    return threading.get_ident()
