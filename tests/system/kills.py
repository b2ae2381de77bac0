"""Kills a pipeline again and again, and takes it up each time.

    python -m tests.system.kills [SEED]

does so with the brain example: ten times, at random moments.  What has been recorded as done must
not run again, and in the end all is as after a run that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from fancypipe_core.plugins.runs import find_runs, read_journal

BRAIN = Path(__file__).parents[2] / "examples" / "brain"
LIMIT = 600.0  # seconds for one run


class Told(NamedTuple):
    """What a run has left.

    Attributes:
        began: The keys of tasks that ran, by path.
        done: The keys of those that are done.
        cached: How many did not run.
    """

    began: dict[str, str]
    done: set[str]
    cached: int


def told(folder: Path) -> Told:
    """Read what a run has left."""
    keys: dict[int, str] = {}
    paths: dict[int, str] = {}
    for line in (folder / "keys.jsonl").read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            found = json.loads(line)
            if found["kind"] in ("hit", "miss"):
                keys[found["task"]], paths[found["task"]] = found["key"], found["path"]
    began, done, cached = set(), set(), 0
    for event in read_journal(folder):
        if event["kind"] in ("submitted", "unfolded"):
            began.add(event["task"])
        elif event["kind"] == "done":
            if event.get("cached"):
                cached += 1
            else:
                done.add(event["task"])
    return Told(
        {paths[task]: keys[task] for task in began if task in keys},
        {keys[task] for task in done if task in keys},
        cached,
    )


def killed(words: Sequence[str], here: Path, runs: Path, enough: Callable[[Path], bool]) -> bool:
    """Run a command until it is enough, then kill it; tell whether it was killed."""
    before = set(find_runs(runs))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(
        words, cwd=here, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + LIMIT
    try:
        while run.poll() is None:
            assert time.monotonic() < end, f"{words} takes longer than {LIMIT:g} s"
            new = set(find_runs(runs)) - before
            if new and enough(new.pop()):
                break
            time.sleep(0.01)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    return run.returncode == -signal.SIGKILL


def after(count: int, delay: float = 0.0) -> Callable[[Path], bool]:
    """Return what says that so many tasks have run, and so many seconds are over since then."""
    since: list[float] = []

    def enough(folder: Path) -> bool:
        if not since:
            done = [one for one in read_journal(folder) if one["kind"] == "done"]
            if sum(not one.get("cached") for one in done) >= count:
                since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= delay

    return enough


def check(folders: Sequence[Path]) -> list[Told]:
    """Hold the runs against each other, the first first: nothing ran that was done before."""
    seen: set[str] = set()
    found = []
    for folder in folders:
        one = told(folder)
        twice = [path for path, key in one.began.items() if key in seen]
        assert not twice, f"{twice} had been done, and ran again in {folder}"
        seen |= one.done
        found.append(one)
    return found


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(seed: int) -> None:
    """Kill the brain example."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        runs = here / ".fancypipe" / "runs"
        words = [sys.executable, str(BRAIN / "pipeline.py"), "-workertype=P", "-numworkers=2"]
        words += ["-no-page"]
        began = time.monotonic()
        subprocess.run([*words, "--out", "whole"], cwd=here, check=True, stdout=subprocess.DEVNULL)
        part = (time.monotonic() - began) / 10  # all ten are killed before it is over
        words += ["-resume", "--out", "resumed"]
        before = len(find_runs(runs))
        kills = 0
        while kills < 10:
            moment = after(random.randint(0, 4), random.uniform(0.0, part))
            assert killed(words, here, runs, moment), f"it was over after {kills} kills"
            kills += 1
            say(f"killed {kills} times")
        subprocess.run(words, cwd=here, check=True, stdout=subprocess.DEVNULL)
        found = check(find_runs(runs)[before:])
        for number, one in enumerate(found, 1):
            say(f"run {number}: {len(one.done)} tasks done, {one.cached} taken from before")
        for file in sorted((here / "whole").iterdir()):
            assert file.read_bytes() == (here / "resumed" / file.name).read_bytes(), file.name
        say("the results are those of a run that nobody disturbed")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
