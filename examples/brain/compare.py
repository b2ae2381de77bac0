"""Run the brain pipeline on several backends: are the results equal, and what is gained?

`python compare.py` takes about half a minute; `python compare.py --quick` a few seconds.
Each time is that of a whole run in a session of its own: the start of the workers, which
have to import numpy and the rest, is in it. Exit code 1 if any two results differ.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fancypipe_core import Session
from fancypipe_core.hooks import RunInfo, TaskEvent, hookimpl
from pipeline import brain


class Watch:
    """Counts the tasks of a run and adds up their time."""

    def __init__(self) -> None:
        self.workers = 0
        self.tasks = 0
        self.seconds = 0.0

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Keep how many workers there are."""
        self.workers = run.workers

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Add what is done."""
        for event in events:
            if event.kind == "done":
                self.tasks += 1
                self.seconds += event.seconds or 0.0


@dataclass(frozen=True)
class Trial:
    """What one backend gave, and how long it took."""

    backend: str
    wall: float
    watch: Watch
    result: dict[str, Any]
    files: dict[str, bytes]


def attempt(backend: str, workers: int | None, folder: Path, inputs: dict[str, Any]) -> Trial:
    """Run the pipeline once."""
    watch = Watch()
    began = time.perf_counter()
    with Session(backend=backend, workers=workers, observers=[watch]) as session:
        result = session.run(brain(out=folder, **inputs))
    wall = time.perf_counter() - began
    files = {name: (folder / name).read_bytes() for name in result["files"]}
    return Trial(backend, wall, watch, {**result, "folder": None}, files)


def differences(one: Trial, other: Trial) -> list[str]:
    """What two backends do not agree on."""
    names = [name for name, content in one.files.items() if other.files.get(name) != content]
    return names + ["the result"] * (one.result != other.result)


def cores() -> int:
    """How many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def main() -> int:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one volume and a narrow search")
    parser.add_argument("--workers", type=int, help="by default as many as there are cores")
    parser.add_argument("--backends", nargs="+", default=["serial", "threads", "procs"])
    options = parser.parse_args()
    print(
        f"{cores()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )
    print("backend   workers  tasks  sum of task time  wall time  speed-up")
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory() as temporary:
        for backend in options.backends:
            folder = Path(temporary) / backend
            trial = attempt(backend, options.workers, folder, {"quick": options.quick})
            trials.append(trial)
            watch = trial.watch
            print(
                f"{backend:<9} {watch.workers:7} {watch.tasks:6} {watch.seconds:15.2f} s "
                f"{trial.wall:8.2f} s {trials[0].wall / trial.wall:8.2f}x",
                flush=True,
            )
    first = trials[0]
    wrong = {trial.backend: differences(first, trial) for trial in trials[1:]}
    for backend, names in wrong.items():
        if names:
            print(f"{backend} differs from {first.backend} in {', '.join(names)}")
    if any(wrong.values()):
        return 1
    print(f"equal on all, byte for byte: {', '.join(first.files)}, and the result")
    return 0


if __name__ == "__main__":
    sys.exit(main())
