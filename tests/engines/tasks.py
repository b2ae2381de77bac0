"""Tasks for the backends on engines of others."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from fancypipe_core import File, current, task

__all__ = [
    "SIZE",
    "changed",
    "close_dask_worker",
    "dies_once",
    "doubled",
    "environment",
    "late",
    "leave",
    "leave_once",
    "leave_with",
    "nap",
    "noted",
    "numbers",
    "slowly_changed",
    "total",
    "variables",
]

SIZE = 500_000  # numbers of eight bytes


@task
def nap(number: int, seconds: float, folder: str = "") -> int:
    """Sleep; in a folder, leave the worker's process number there first."""
    if folder:
        Path(folder, f"{number}.pid").write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(seconds)
    return number


@task
def noted(number: int, seconds: float, file: str, pid_in: str = "") -> int:
    """Write down that this ran, then sleep; leave the worker's process number in a folder first."""
    to = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(to, b"%d\n" % number)
    os.close(to)
    return nap.main(number, seconds, pid_in)


@task
def numbers() -> Any:
    """Return a large array."""
    return np.zeros(SIZE)


@task
def changed(data: Any, number: int) -> float:
    """Write to an array, and return its sum."""
    data += number
    return float(data.sum())


@task
def total(numbers: list[int]) -> int:
    """Add up."""
    return sum(numbers)


@task
def leave_once(mark: str) -> str:
    """End the process; the second time, say so."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return "again"
    os._exit(3)


@task
def leave() -> None:
    """End the process."""
    os._exit(3)


@task
def leave_with(data: Any) -> None:
    """End the process, whatever it was given."""
    leave.main()


@task
def close_dask_worker(mark: str, marks: list[str]) -> str:
    """Once, have the worker close itself when others are here too, as one that loses its line."""
    from distributed import Worker

    if Path(mark).exists():
        return mark
    Path(mark).touch()
    until = time.monotonic() + 60
    while not all(Path(one).exists() for one in marks):
        assert time.monotonic() < until, "the others did not begin"
        time.sleep(0.01)
    (worker,) = Worker._instances
    worker.loop.add_callback(worker.close)
    time.sleep(60)
    return mark


@task
def slowly_changed(data: Any, number: int, folder: str) -> float:
    """As `changed`; leave the worker's process number in a folder first, and stay a moment."""
    nap.main(number, 0.5, folder)
    return float(changed.main(data, number))


@task
def variables(*names: str) -> list[str | None]:
    """Return these variables of the worker's environment."""
    return [os.environ.get(name) for name in names]


@task
def environment() -> dict[str, str]:
    """Return the worker's environment."""
    return dict(os.environ)


@task(timeout=1.0)
def late() -> None:
    """Take much too long."""
    time.sleep(1000)


@task
def doubled(file: File) -> File:
    """Return a file with the content twice."""
    path = current().tempfile("twice")
    path.write_bytes(file.read_bytes() * 2)
    return File(path)


@task
def dies_once(file: File, mark: str) -> int:
    """Kill the worker that has got the file, the first time; then return its size."""
    if not os.path.exists(mark):
        Path(mark).write_text("", encoding="utf-8")
        os._exit(1)
    return file.stat().st_size
