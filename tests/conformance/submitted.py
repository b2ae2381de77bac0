"""Tasks that are submitted.  Workers import this."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fancypipe_core import Ref, module, task

LONG = 60.0  # seconds that anything may take


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(*values: int) -> int:
    return sum(values)


@task
def fails(x: int) -> int:
    raise ValueError(f"{x} is not welcome")


@task
def note(x: int, folder: str) -> int:
    """Say that it has begun."""
    with open(os.path.join(folder, "order"), "a", encoding="utf-8") as file:
        file.write(f"{x}\n")
    return x


@task
def waits(gate: str, value: int = 0) -> int:
    """Say that it has begun, and wait until a gate is opened."""
    Path(f"{gate}.begun").touch()
    until = time.monotonic() + LONG
    while not os.path.exists(gate):
        assert time.monotonic() < until, gate
        time.sleep(0.002)
    return value


def waits_plainly(gate: str) -> int:
    return waits.main(gate)


def dies() -> None:
    os._exit(3)


@module
def waits_inside(gate: str) -> Ref[int]:
    """Has something wait inside its main."""
    value = waits(gate, 3).result()
    return double(value)


@module
def deep(depth: int) -> Any:
    return double(1) if depth == 0 else deep(depth - 1)


@task
def large(size: int) -> bytes:
    return bytes(size)


HERE: dict[str, Any] = {}
"""What modules find in the client, and tasks where they share its memory."""


@module
def submits() -> Any:
    return HERE["session"].submit(double(1))


@module
def runs() -> Any:
    return HERE["session"].run(double(1))


@task
def submits_in_a_task() -> Any:
    return HERE["session"].submit(double(1))


@module
def waits_for_a_future() -> Any:
    until = time.monotonic() + LONG
    while "future" not in HERE:
        assert time.monotonic() < until
        time.sleep(0.002)
    return HERE["future"].result()


@task
def echo(value: Any) -> Any:
    return value
