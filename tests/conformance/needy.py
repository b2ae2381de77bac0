"""Tasks with needs, for all backends."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from fancypipe_core import Exec, Ref, current, module, task

_SHOW = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"


@task(needs={"gpu": 1})
def device(_n: int = 0) -> tuple[str, ...]:
    return current().devices


@task(needs={"gpu": 2})
def both() -> tuple[str, ...]:
    return current().devices


@task
def nothing_special() -> tuple[int, tuple[str, ...], str | None]:
    here = current()
    return here.cpus, here.devices, os.environ.get("CUDA_VISIBLE_DEVICES")


@task(needs={"cpus": 2, "memory": "1M"})
def cores() -> int:
    return current().cpus


@module
def a_program() -> Ref[Any]:
    return Exec(sys.executable, "-c", _SHOW).with_options(needs={"gpu": 1})["stdout"]


@task
def makes_needy() -> Ref[int]:
    return cores()


@task(needs={"cpus": 2})
def element(n: int) -> tuple[int, int]:
    return n, current().cpus


@task(needs={"cpus": 10_000})
def too_many() -> None: ...


@task(needs={"memory": "900T"})
def too_large() -> None: ...


@task(needs={"gpu": 50})
def too_visible() -> None: ...


@task(needs={"cpus": 2})
def counted(n: int, folder: str) -> int:
    """Return how many of these run now, in whatever process."""
    mine = os.path.join(folder, str(n))
    with open(mine, "x", encoding="ascii"):
        count = len(os.listdir(folder))
    threading.Event().wait(0.02)
    os.remove(mine)
    return count


@task(needs={"gpu": 1})
def until_there(_n: int, file: str) -> bool:
    """Wait until another task has made a file."""
    for _ in range(750):
        if os.path.exists(file):
            return True
        threading.Event().wait(0.02)
    return False


@task
def makes(file: str) -> None:
    open(file, "x", encoding="ascii").close()
