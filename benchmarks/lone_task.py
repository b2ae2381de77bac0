"""What one task that does nothing passes through: `python -m benchmarks.lone_task [BACKEND]`.

What is counted does not depend on what else the machine has to do: the Python functions that
are called in the client, the files that they are in, and the calls for each of many tasks.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from benchmarks.table import markdown
from fancypipe_core import Session, task

_OURS = "fancypipe_"


@task
def noop(value: Any) -> Any:
    """Give back what it was given."""
    return value


class Passed(NamedTuple):
    """What was passed through, for a task.

    Attributes:
        calls: Of Python functions.
        files: Of ours that these are in, and how often something in each is called.
    """

    calls: float
    files: dict[str, float]


def counted(work: Callable[[], Any], tasks: int) -> Passed:
    """Do the work of so many tasks, and count what this thread calls."""
    files: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            files[frame.f_code.co_filename] += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    ours = {
        _OURS + name.rpartition(f"/{_OURS}")[2]: number / tasks
        for name, number in files.most_common()
        if f"/{_OURS}" in name
    }
    return Passed(sum(files.values()) / tasks, ours)


def lone(session: Session, tasks: int = 20) -> Passed:
    """Count for tasks that are run one by one."""
    targets = [noop(number) for number in range(tasks)]
    return counted(lambda: [session.run(target) for target in targets], tasks)


def many(session: Session, tasks: int = 2000) -> Passed:
    """Count for tasks that are run together."""
    targets = [noop(number) for number in range(tasks)]
    return counted(lambda: session.run(targets), tasks)


def main(argv: list[str] | None = None) -> None:
    """Print what a task passes through."""
    parser = argparse.ArgumentParser(prog="benchmarks.lone_task", description=__doc__)
    parser.add_argument("backend", nargs="?", default="procs")
    with Session(parser.parse_args(argv).backend, 2) as session:
        session.run([noop(number) for number in range(100)])
        session.run(noop(0))
        alone, together = lone(session), many(session)
    print(
        f"{alone.calls:.0f} calls for a lone task in the client, {together.calls:.1f} for each of"
    )
    print(f"many; the lone one passes through {len(alone.files)} files:\n")
    rows = [[f"`{name}`", f"{calls:.0f}"] for name, calls in alone.files.items()]
    print(markdown(["file", "calls"], rows))


if __name__ == "__main__":
    main()
