"""Tasks with values that are large enough for shared memory.  Workers import this."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from fancypipe_core import module, task

MIB = 1 << 20


@task
def filled(number: int, size: int = MIB) -> Any:
    return np.full(size // 8, number, dtype=np.int64)


@task
def text(number: int, size: int = MIB) -> bytes:
    return bytes([number]) * size


@task
def total(array: Any) -> int:
    return int(array.sum())


@task
def kept_too(number: int, size: int) -> Any:
    """Return an array, and keep it."""
    kept.append(np.full(size // 8, number, dtype=np.int64))
    return kept[-1]


@task
def sum_of_kept(after: Any) -> int:
    return int(kept.pop().sum()) - int(after.sum())


@task
def spoilt(array: Any) -> int:
    """Write over the input, and return what it was."""
    before = int(array.sum())
    array[:] = -1
    return before


@task
def fails(size: int = MIB) -> None:
    raise ValueError(b"x" * size)


class Unreadable:
    """Can be written down, and raises when it is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return (_unread, (self.data, os.getpid()))


def _unread(data: bytes, made_by: int) -> Any:
    if os.getpid() != made_by:
        raise ValueError("not to be read elsewhere")
    return Unreadable(data)


@task
def unreadable(size: int = MIB) -> Any:
    return Unreadable(b"x" * size)


@task
def same(value: Any) -> Any:
    return value


@task
def modes(folder: str, array: Any) -> set[int]:
    """Return the modes of a folder and of what is in it."""
    return {path.lstat().st_mode for path in (Path(folder), *Path(folder).iterdir())}


@task
def summed(*arrays: Any) -> int:
    return sum(int(one.sum()) for one in arrays)


@task
def alone(folder: str, *arrays: Any) -> int:
    """Fail if another is in here at the same time."""
    place = Path(folder, "taken")
    place.mkdir()
    try:
        return sum(int(one.sum()) for one in arrays)
    finally:
        place.rmdir()


@task
def grown(array: Any) -> tuple[int, int, int]:
    """Return the sum, and by how much private memory and all of it grow while it is computed."""
    before = memory()
    found = int(array.sum())
    after = memory()
    return found, after[0] - before[0], after[1] - before[1]


def memory() -> tuple[int, int]:
    """Return this process's memory in bytes: what is nobody else's, and all that it sees."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    return fields["Anonymous"], fields["Rss"]


@task
def kept_open() -> list[str]:
    return memory_that_is_open()


def memory_that_is_open() -> list[str]:
    """Return what this process has open of shared memory for values."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return [one for one in found if one.startswith("/memfd:fancypipe (")]


@task
def dies_once(array: Any, file: str) -> int:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return int(array.sum())
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@module
def changes_its_mind() -> list[int]:
    """Give tasks an array that is changed between them."""
    array = np.ones(MIB // 8, dtype=np.int64)
    first = total(array).result()
    array[:] = 2
    second = total(array).result()
    array[:] = 3
    return [first, second, *[total(array).result() for _ in range(2)]]


kept: list[Any] = []


@task
def hoards(array: Any) -> int:
    """Keep the input for ever."""
    kept.append(array)
    return len(kept)
