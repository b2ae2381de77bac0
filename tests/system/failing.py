"""Tasks that fail in all ways, for `test_replay.py`: `failing.py BACKEND`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from fancypipe_core import Exec, Task, current, errors, module, run, task

ISOLATING = ("procs", "remote", "dask")


class Ratio(Task):
    def main(self, x: float, by: float = 0.0) -> float:
        return x / by


@task
def writes(text: str) -> Path:
    path = current().tempfile("text")
    path.write_text(text)
    return path


@task
def reads(path: Path, words: list[str]) -> None:
    assert path.read_text() == "kept", path
    assert words == ["as", "new"], words
    words.append("changed by the task")
    current().tempfile("debris").write_text("left behind")
    raise KeyError("read all")


@task
def words() -> list[str]:
    return ["as", "new"]


@task
def element(x: int, *, by: list[int]) -> int:
    if x == 7:
        raise ValueError(f"no {x} by {by}")
    return x * by[0]


@task
def inner(n: int) -> int:
    raise RuntimeError(f"inner {n}")


@task
def waits(n: int) -> int:
    return int(inner(n).result()) + 1


@task
def makes(n: int) -> Any:
    return inner(n)


@task
def dies(code: int) -> None:
    os._exit(code)


@task
def sends_a_file() -> Any:
    return open(os.devnull)  # it is what is wrong


@module
def composes(n: int) -> Any:
    return [words()][n]


def local() -> list[Any]:
    by = 0

    @task
    def inside(x: int) -> float:
        there = x
        return there / by

    return [inside(1), task(lambda given: given["no"])({"yes": 1})]


def main(backend: str) -> None:
    targets = [
        *local(),
        Ratio(3.0),
        reads(writes("kept"), words()),
        element.map(range(20), by=[2]),
        waits(3),
        makes(4),
        composes(3),
        Exec("sh", "-c", "echo said; exit 3"),
    ]
    if backend in ISOLATING:
        targets += [dies(5), sends_a_file()]
    try:
        run(targets, backend=backend, keep_going=True, journal=True, max_losses=1)
    except errors.RunFailed:
        return


if __name__ == "__main__":
    main(sys.argv[1])
