"""Tasks whose runs can be counted, and what kills the processes that they run in."""

from __future__ import annotations

import ctypes
import os
import signal
import time

from benchmarks.storm import Storm, children
from fancypipe_core import current, task

__all__ = ["Storm", "children", "hold_for", "leave_mark", "meet"]


@task
def leave_mark(folder: str, number: int, seconds: float) -> int:
    """Leave one more letter in a file, so that it is seen how often each ran."""
    file = os.open(f"{folder}/{number}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, b"x")
    os.close(file)
    time.sleep(seconds)
    return number


@task
def hold_for(seconds: int) -> int:
    """Sleep with the interpreter's lock held; return the attempt."""
    ctypes.PyDLL(None).sleep(seconds)
    return current().attempt


@task
def meet(seconds: int) -> int:
    """Take long enough for the others to start; return the process."""
    time.sleep(seconds / 50)
    return os.getpid()


_begun = 0  # tasks in this process


@task
def count_here(seconds: float = 0.0) -> tuple[int, float]:
    """Return how many have begun in this process before, and when this one did."""
    time.sleep(seconds)
    global _begun  # noqa: PLW0603 - it belongs to the process
    _begun += 1
    return _begun - 1, time.monotonic()


@task
def die_then_count(path: str, times: int) -> tuple[int, float]:
    """Die so many times; then as `count_here`."""
    _mark_and_die(path, times)
    found: tuple[int, float] = count_here.main()
    return found


@task
def die_then_touch(path: str, times: int, done: str) -> None:
    _mark_and_die(path, times)
    open(done, "w").close()


@task
def wait_for(path: str, limit: float) -> bool:
    until = time.monotonic() + limit
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.01)
    return os.path.exists(path)


def _mark_and_die(path: str, times: int) -> None:
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        os.kill(os.getpid(), signal.SIGKILL)


@task(timeout=0.5)
def in_half_a_second() -> int:
    return current().attempt


@task
def divide(a: int, b: int) -> float:
    time.sleep(0.1)
    return a / b
