"""Starts, and Ctrl-C at random moments: nothing may be left.

`python -m tests.system.storm 1000` does it a thousand times.
"""

from __future__ import annotations

import argparse
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.system.terminal import Terminal
from tests.waiting import wait_until

__all__ = ["run"]

# Tasks of all lengths, on two levels, with temporary files.
PIPELINE = """\
import time
from fancypipe_core import current, module, task

@task
def work(n):
    open("begun", "w").close()
    path = current().tempfile()
    path.write_text("temporary")
    until = time.monotonic() + 0.002 * (n % 7)
    while time.monotonic() < until: time.sleep(0.001)
    return path

@task
def size(paths): return sum(path.stat().st_size for path in paths)

@module
def many(n: int = 2000): return size([work(i) for i in range(n)])

if __name__ == "__main__":
    many.cli()
"""

AT_MOST = 0.6  # seconds from the start, or from the first task, to the key
_FRAME = re.compile(r'File "([^"]+)"')


def once(folder: Path, backend: str, moment: float, keys: int, script: bool) -> tuple[str, str]:
    """Start, press Ctrl-C, and see how it ended.

    Returns:
        A word for how it ended, and what is wrong; empty if nothing is.
    """
    command = str(Path(sys.executable).with_name("fancypipe"))
    start = [sys.executable, "pipeline.py"] if script else [command]
    file = [] if script else ["pipeline.py"]
    words = [f"-workertype={backend}", "-numworkers=2", "-grace=1"]
    with Terminal(folder, [*start, *words, *file]) as terminal:
        if moment > AT_MOST:  # counted from the first task
            wait_until((folder / "begun").exists, lambda: terminal.text)
        time.sleep(moment % AT_MOST)  # the moment is what is tried, and nothing is waited for
        for _ in range(keys):
            terminal.press()
            select.select([], [], [], 0.05)
        try:
            code = terminal.end()
        except AssertionError as error:
            return "wrong", f"{error}\n{terminal.text}"
        text = terminal.text
    # Until it is ours the process is Python's, which has ways of its own; and a script's
    # imports are the script's.
    ours = "many.cli()" in text if script else _is_ours(text)
    early = not ours and ("Traceback" in text or text.strip("^C\n") == "KeyboardInterrupt")
    how = "by the signal" if code == -signal.SIGINT else f"code {code}"
    if early:
        return "before our first line", ""
    if "Traceback" in text or "Exception ignored" in text or code not in (130, -signal.SIGINT):
        return "wrong", f"{how} of {start + words} after {moment:.3f} s:\n{text}"
    return how, ""


def _is_ours(text: str) -> bool:
    """Whether a traceback is from where the command has Ctrl-C in its hands."""
    frames = [Path(file) for file in _FRAME.findall(text)]
    # `__main__` sees to it first of all, and `__init__` is what Python imports before that.
    return any("fancypipe_core" in file.parts and file.name[:2] != "__" for file in frames)


def run(
    folder: Path, starts: int, seed: int, at_once: int = 2, told: Counter[str] | None = None
) -> list[str]:
    """Start so many times; return what was wrong.

    Args:
        folder: Where to work.
        starts: How many times.
        seed: Of the moments.
        at_once: How many at the same time.
        told: Counts how they ended.
    """

    def try_it(plan: tuple[int, str, float, int, bool]) -> str:
        number, backend, moment, keys, script = plan
        mine = folder / str(number)
        mine.mkdir()
        (mine / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
        word, wrong = once(mine, backend, moment, keys, script)
        if told is not None:
            told[word] += 1
        if not wrong:
            shutil.rmtree(mine)
        return wrong

    with ThreadPoolExecutor(at_once) as pool:
        return [wrong for wrong in pool.map(try_it, _plans(starts, seed)) if wrong]


def _plans(starts: int, seed: int) -> Iterator[tuple[int, str, float, int, bool]]:
    chance = random.Random(seed)
    for number in range(starts):
        moment, keys = chance.uniform(0.0, 2 * AT_MOST), chance.choice((1, 1, 2, 5))
        yield number, "STP"[number % 3], moment, keys, chance.random() < 0.3


def main() -> None:
    """Do it from the command line."""
    parser = argparse.ArgumentParser(description="Starts, and Ctrl-C at random moments.")
    parser.add_argument("starts", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    told: Counter[str] = Counter()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), asked.starts, asked.seed, asked.at_once, told)
    print(*wrong, sep="\n")  # noqa: T201 - it is what was asked for
    counts = ", ".join(f"{count} {how}" for how, count in sorted(told.items()))
    seconds = time.monotonic() - begun
    print(f"{asked.starts} starts in {seconds:.0f} s: {counts}; {len(wrong)} wrong")  # noqa: T201
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
