"""Modules that wait inside their mains, and say when they have begun.  Workers import this."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from fancypipe_core import Ref, module, task
from tests.conformance.submitted import LONG, add, double, note, waits


class Doors:
    """Events by name: what a main has reached, and what it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}
        self.refs: dict[str, Any] = {}

    def __getitem__(self, name: str) -> threading.Event:
        with self._lock:
            return self._events.setdefault(name, threading.Event())

    def open(self, name: str) -> None:
        self[name].set()

    def open_all(self) -> None:
        """Nothing is to be left waiting."""
        with self._lock:
            for event in self._events.values():
                event.set()

    def pass_through(self, name: str) -> None:
        """Say that somebody stands here, and wait until it is opened."""
        self.open(f"at {name}")
        assert self[name].wait(LONG), name

    def reached(self, name: str) -> None:
        """Wait until somebody stands there."""
        assert self[f"at {name}"].wait(LONG), name


class Here:
    """The doors of the test that runs."""

    doors = Doors()


@module
def stands(door: str, value: int = 0) -> Ref[int]:
    """Waits in its own code."""
    Here.doors.pass_through(door)
    return double(value)


@module
def opens(door: str, value: int = 0) -> Ref[int]:
    """Lets another one go on."""
    Here.doors.open(door)
    return double(value)


@module
def breaks(door: str) -> Ref[int]:
    Here.doors.pass_through(door)
    raise ValueError("no way")


@module
def asks(x: int) -> Ref[int]:
    """Waits for what a module returns, which waits too."""
    return double(asks_once(x).result())


@module
def asks_once(x: int) -> int:
    return double(x).result()


@module
def around(door: str, value: int) -> Ref[int]:
    """Waits for a result of one that stands somewhere, and then stands itself."""
    inner = stands(f"{door} inside", value).result()
    Here.doors.pass_through(door)
    return add(inner, 1)


@module
def asks_behind(gate: str) -> Ref[int]:
    """Waits for a result that comes when a file is there."""
    return double(waits(gate, 3).result())


@module
def uses_twice(folder: str, door: str) -> Ref[int]:
    """What it has waited for is in what it returns."""
    noted = note(1, folder)
    noted.result()
    Here.doors.pass_through(door)
    return add(noted, 1)


@module
def asks_for_another(name: str, door: str) -> Any:
    """Waits for what somebody else has made."""
    Here.doors.pass_through(door)
    return Here.doors.refs[name].result()


@module
def asks_later(door: str) -> Any:
    """Tells how it was told that its run is over."""
    Here.doors.pass_through(door)
    try:
        return double(1).result()
    except BaseException as error:
        Here.doors.refs["told"] = error
        Here.doors.open("told")
        raise


def elements(door: str, count: int) -> Iterator[int]:
    """Waits before the first."""
    Here.doors.pass_through(door)
    yield from range(count)


def results(door: str, count: int) -> Iterator[int]:
    """Waits for a result for each, and for somebody else before the second."""
    for n in range(count):
        if n == 1:
            Here.doors.pass_through(door)
        yield double(n).result()


@task
def twice(x: int) -> int:
    return 2 * x
