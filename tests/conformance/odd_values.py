"""Tasks whose inputs or results cannot be written, or not be read."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fancypipe_core import module, task
from tests.conformance.faulty import good


def _raise(text: str) -> Any:
    raise ValueError(text)


class LockInside:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class ReduceRaises:
    def __reduce__(self) -> tuple[Any, ...]:
        raise ValueError("it does not want to be written")


class ReduceExits:
    def __reduce__(self) -> tuple[Any, ...]:
        sys.exit(3)


class ReadingRaises:
    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise, ("it does not want to be read",))


class ReadingExits:
    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, (3,))


class ReadingRaisesIn:
    """Can be read anywhere but in one process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise_in, (self.pid,))


class ReadingExitsIn:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_exit_in, (self.pid,))


class ReadingLoopsUnless:
    """Is never read to its end, but by one process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_loop_unless, (self.pid,))


class ReadingRaisesSecond:
    """Its second reading in the same process fails."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise_second, ())


def _raise_in(pid: int) -> Any:
    if os.getpid() == pid:
        raise ValueError("not in this process")
    return ReadingRaisesIn(pid)


def _exit_in(pid: int) -> Any:
    if os.getpid() == pid:
        sys.exit(3)
    return ReadingExitsIn(pid)


def _loop_unless(pid: int) -> Any:
    while os.getpid() != pid:
        pass


_readings = [0]


def _raise_second() -> Any:
    _readings[0] += 1
    if _readings[0] > 1:
        raise ValueError("not a second time")
    return ReadingRaisesSecond()


def numbers() -> Iterator[int]:
    yield 1


@task
def call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _closed() -> socket.socket:
    made = socket.socket()
    made.close()
    return made


@task
def returns(what: str) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "lock": lambda: {"deep": [1, LockInside()]},
        "generator": numbers,
        "a socket": lambda: [_closed()],
    }
    return made[what]()


@task
def wraps(function: Callable[..., Any]) -> Any:
    return {"a": [1, function()]}


_old = good(49)


@task
def returns_old() -> Any:
    return [_old]


@task
def takes(x: Any) -> str:
    return type(x).__name__


@task
def appends(items: list[int]) -> list[int]:
    items.append(4)
    return items


@task(timeout=0.5)
def loops_when_read(client: int) -> Any:
    return ReadingLoopsUnless(client)


@module
def composes(x: Any) -> Any:
    return good(x)
