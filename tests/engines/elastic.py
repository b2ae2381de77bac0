"""Tasks and a pipeline for the tests of jobs that come and go."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

from fancypipe_core import current, run, task

__all__ = ["cores", "hold", "meet", "nap"]

LIMIT = 100.0  # seconds


def wait_for(folder: Path, count: int) -> None:
    """Wait until a folder has so many files."""
    until = time.monotonic() + LIMIT
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < until, f"not {count} in {folder}: {list(folder.iterdir())}"
        time.sleep(0.02)


@task
def meet(folder: str, count: int) -> None:
    """Come back when so many tasks run at the same time."""
    Path(folder, uuid.uuid4().hex).touch()
    wait_for(Path(folder), count)


@task
def hold(begun: str, end: str) -> str:
    """Run until there is a file in a folder."""
    Path(begun, uuid.uuid4().hex).touch()
    wait_for(Path(end), 1)
    return "held"


@task
def nap(number: int, seconds: float, runs: str) -> int:
    """Sleep, and leave a file for each run."""
    Path(runs, f"{number}-{uuid.uuid4().hex}").touch()
    time.sleep(seconds)
    return number


@task(needs={"cpus": 2})
def cores() -> int:
    """Say how many cores it got."""
    return current().cpus


def main(folder: Path) -> None:
    """Run what never ends, in more jobs than there are nodes."""
    for name in ("begun", "end"):
        (folder / name).mkdir()
    tasks = [hold(str(folder / "begun"), str(folder / "end")) for _ in range(4)]
    run(tasks, backend="slurm", most=4, host="127.0.0.1", folder=str(folder / "own"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
