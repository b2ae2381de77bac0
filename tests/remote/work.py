"""A pipeline for clusters."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fancypipe_core import module, task
from fancypipe_core.toolkit import LocalListener

FAR = "TESTS_FAR_AWAY"
"""A variable of the environment: be as on a machine of your own, with no way past the manager."""

if FAR in os.environ:

    def _nobody(_: LocalListener) -> None:
        return None

    LocalListener.accept = _nobody  # type: ignore[assignment,method-assign]


@task
def slow(number: int, seconds: float, folder: str = "") -> int:
    """Take a while; leave a file for each time that it runs."""
    if folder:
        Path(folder, f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return number


@module
def many(count: int = 100, seconds: float = 0.005, folder: str = "") -> Any:
    """Independent tasks."""
    return [slow(number, seconds, folder) for number in range(count)]


@task
def meet(mine: str, other: str, folder: str) -> str:
    """Run as long as the other does."""
    Path(folder, mine).touch()
    until = time.monotonic() + 60
    while not Path(folder, other).exists():
        assert time.monotonic() < until, "the other never ran beside this one"
        time.sleep(0.01)
    return mine


@module
def pair(folder: str) -> Any:
    """Two tasks that must run at the same time."""
    return [meet("a", "b", folder), meet("b", "a", folder)]


@task
def where() -> int:
    return os.getpid()


@task
def exit_process(code: int) -> None:
    os._exit(code)


@task
def double(data: bytes) -> bytes:
    return data + data


@task
def size(data: bytes) -> int:
    return len(data)


@module
def large(megabytes: int = 64) -> Any:
    """More than any message holds, there and back."""
    return size(double(bytes(megabytes << 20)))


@task
def returned(data: bytes, folder: str) -> bytes:
    """Give back what does not get smaller; leave a file for each time that it runs."""
    Path(folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return data[::-1]


@module
def there_and_back(count: int, folder: str) -> Any:
    return size(returned(os.urandom(count), folder))


class Mark:
    """Leaves the number of the process that unpickles it."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (_leave, (self.file,))


def _leave(file: str) -> Mark:
    with Path(file).open("a") as out:
        out.write(f"{os.getpid()}\n")
    return Mark(file)


@task
def count(mark: Mark, number: int) -> int:
    return number


@module
def dangerous(mark: str) -> Any:
    """A value whose unpickling runs code."""
    return count(Mark(mark), 7)


@task
def random_bytes(megabytes: int) -> bytes:
    return os.urandom(megabytes << 20)


@task
def end_of(data: bytes, number: int) -> tuple[int, int]:
    return len(data), number


@module
def given_to_many(megabytes: int = 4, count: int = 20) -> Any:
    """A result, and a value of the client's own, that many tasks are given."""
    made, own = random_bytes(megabytes), os.urandom(megabytes << 20)
    return [end_of(data, number) for number in range(count) for data in (made, own)]


@task
def taken(number: int, _before: Any) -> int:
    time.sleep(0.05)
    return number


@module
def in_two_steps(count: int = 40) -> Any:
    """Each task of the second step is given what all of the first have returned."""
    first = [taken(number, None) for number in range(count)]
    return [taken(number, first) for number in range(count)]


@task
def read(path: str) -> str:
    return Path(path).read_text("utf-8")
